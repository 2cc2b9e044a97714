"""`/webhooks/sendgrid`: events of SendGrid, signed, in any order, several times over.

The public keys stand in HOMING_SENDGRID_WEBHOOK_KEY (base64, several apart by commas while they change). Without one
nothing is taken: anybody could say that a mail bounced. What is genuine and cannot be understood lies in the raw inbox.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.feedback.event import DeliveryEvent
from engine.feedback.sendgrid import events_of, is_genuine
from engine.feedback.settle import settle
from engine.journeys.versions import live_flows
from engine.runtime.work import listened_names
from engine.settings import Settings
from engine.web.counts import LAG
from engine.web.intake import inbox
from engine.web.intake.inbox import Unread, as_text
from engine.web.site import Site

KEY = "HOMING_SENDGRID_WEBHOOK_KEY"
_HEADER = "x-twilio-email-event-webhook-"


def routes() -> list[Route]:
    """Return the routes of providers."""
    return [Route("/webhooks/sendgrid", _sendgrid, methods=["POST"])]


async def _sendgrid(request: Request) -> Response:
    site: Site = request.app.state.site
    body = await request.body()
    keys = [key for key in re.split(r"[,\s]+", site.secret(KEY)) if key]
    signature, timestamp = (request.headers.get(_HEADER + name, "") for name in ("signature", "timestamp"))
    # The signature is as old as the sending, whatever a virtual clock says.
    if not is_genuine(keys, signature, timestamp, body, site.present()):
        request.app.state.counts.add("homing_webhook_refused_total", source="sendgrid")
        return JSONResponse({"success": False, "error": "the signature does not fit"}, 403)
    events, unusable = events_of(body)
    unread = [Unread("sendgrid", "events", reason, as_text(item)) for item, reason in unusable]
    await run_in_threadpool(take_events, site, events, unread)
    request.app.state.counts.add("homing_webhook_events_total", len(events), source="sendgrid")
    now = site.present()
    for event in events:
        request.app.state.counts.observe(LAG, (now - event.at).total_seconds(), source="sendgrid")
    return JSONResponse({"success": True})


def take_events(site: Site, events: Sequence[DeliveryEvent], unread: Sequence[Unread] = ()) -> dict[str, int]:
    """Settle events in one transaction; return how many of each kind were new."""
    now = site.now()
    with site.database.write() as connection:
        counts = settle(connection, events, now, listened(connection), senders_of(site.settings))
        inbox.keep(connection, unread, now)
    return dict(counts)


def listened(connection: Connection) -> frozenset[str]:
    """Return the events that the applied flows listen to."""
    return listened_names(live_flows(connection).values())


def senders_of(settings: Settings) -> list[str]:
    """Return the addresses that mails come from."""
    senders = (settings.sender, *settings.senders.values())
    return list(dict.fromkeys(sender.email for sender in senders if sender.email))
