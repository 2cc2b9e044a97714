"""`/webhooks/shopify` and `/webhooks/woocommerce`: signed, deduplicated, durable when answered 200.

The signature is of the raw bytes, compared in constant time; the secrets stand in HOMING_SHOPIFY_SECRET and
HOMING_WOOCOMMERCE_SECRET, several apart by commas while they change; without one nothing is taken. A delivery told again
(by its webhook or its event id) changes nothing. What cannot be read lies in the raw inbox and is answered 200: telling it
again would not make it better, and shops switch off webhooks that fail.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.facts.fact import BadRow, Fact
from engine.facts.fields import Reading
from engine.facts.ingest import take
from engine.facts.normalise import normalise
from engine.settings import Settings
from engine.store.bulk import insert_rows
from engine.store.dialect import among
from engine.store.tables import receipts
from engine.web.counts import LAG
from engine.web.intake import inbox, shopify, woocommerce
from engine.web.intake.effects import carry_out
from engine.web.intake.inbox import Unread, as_text
from engine.web.intake.shopify import Told
from engine.web.site import Site

_KNOWN = {
    topic: topic for topic in (*shopify.TOPICS, *woocommerce.TOPICS)
}  # nobody signs the header that tells it


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook as it came: from where, about what, its ids, its body, and when it was triggered."""

    source: str
    topic: str
    ids: tuple[str, ...]
    body: bytes
    at: datetime


def routes() -> list[Route]:
    """Return the routes of shops."""
    return [
        Route("/webhooks/shopify", _shopify, methods=["POST"]),
        Route("/webhooks/woocommerce", _woocommerce, methods=["POST"]),
    ]


async def _shopify(request: Request) -> Response:
    site, body = request.app.state.site, await request.body()
    if not is_signed(site.secret("HOMING_SHOPIFY_SECRET"), _told(request, "hmac-sha256"), body):
        return _refuse(request, "shopify")
    topic, now = _told(request, "topic").lower(), site.present()
    ids = tuple(
        f"{name}:{topic}:{told}" for name in ("webhook-id", "event-id") if (told := _told(request, name))
    )
    triggered = min(_moment(_told(request, "triggered-at")) or now, now)
    return await _take(request, Delivery("shopify", topic, ids, body, triggered))


async def _woocommerce(request: Request) -> Response:
    site, body = request.app.state.site, await request.body()
    signature = request.headers.get("x-wc-webhook-signature", "")
    if not signature and re.fullmatch(rb"webhook_id=\d{1,12}", body):
        return JSONResponse({"success": True})  # the ping on saving, which nobody signs
    if not is_signed(site.secret("HOMING_WOOCOMMERCE_SECRET"), signature, body):
        return _refuse(request, "woocommerce")
    told = request.headers.get("x-wc-webhook-delivery-id", "")
    topic = request.headers.get("x-wc-webhook-topic", "").lower()
    ids = (f"delivery:{topic}:{told}",) if told else ()
    return await _take(request, Delivery("woocommerce", topic, ids, body, site.present()))


def _told(request: Request, name: str) -> str:
    """Return a header of Shopify, by its older or its newer spelling."""
    return request.headers.get(f"x-shopify-{name}") or request.headers.get(f"shopify-{name}") or ""


def is_signed(secrets: str, signature: str, body: bytes) -> bool:
    """Return whether any of the secrets signed these bytes (base64 of HMAC-SHA256)."""
    fits = [
        hmac.compare_digest(
            base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()),
            signature.encode("utf-8", "replace"),
        )
        for secret in re.split(r"[,\s]+", secrets)
        if secret
    ]
    return any(fits)


def _refuse(request: Request, source: str) -> Response:
    request.app.state.counts.add("homing_webhook_refused_total", source=source)
    return JSONResponse({"success": False, "error": "the signature does not fit"}, 401)


async def _take(request: Request, delivery: Delivery) -> Response:
    site: Site = request.app.state.site
    new = await run_in_threadpool(take_delivery, site, delivery)
    request.app.state.counts.add(
        "homing_webhook_events_total",
        source=delivery.source,
        topic=_KNOWN.get(delivery.topic, "other") if new else "repeated",
    )
    if new and delivery.source == "shopify":  # WooCommerce does not say when
        lag = (site.present() - delivery.at).total_seconds()
        request.app.state.counts.observe(LAG, lag, source=delivery.source)
    return JSONResponse({"success": True})


# ── taking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def take_delivery(site: Site, delivery: Delivery) -> bool:
    """Take a webhook in one transaction; return whether it was not told before."""
    now = site.now()
    with site.database.write() as connection:
        if _is_known(connection, delivery, now):
            return False
        aside = take_body(connection, site.settings, delivery, now)
        inbox.keep(connection, aside, now)
    return True


def _is_known(connection: Connection, delivery: Delivery, now: datetime) -> bool:
    """Return whether a delivery was told before, and remember it."""
    wanted = receipts.select().where(
        receipts.c.source == delivery.source, among(connection, receipts.c.key, list(delivery.ids))
    )
    known = {row.key for row in connection.execute(wanted)} if delivery.ids else set()
    rows = [{"source": delivery.source, "key": key, "at": now} for key in delivery.ids if key not in known]
    insert_rows(connection, receipts, rows)
    return bool(known)


def take_body(connection: Connection, settings: Settings, delivery: Delivery, now: datetime) -> list[Unread]:
    """Take what a webhook says; return what of it could not be used."""

    def unread(reason: str) -> Unread:
        return Unread(delivery.source, delivery.topic, reason, as_text(delivery.body))

    try:
        told = _read(delivery, settings)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return [unread("it cannot be read: a part of it is missing, or is not what the shop system sends")]
    if not told.known:
        return [unread(f'the topic "{delivery.topic[:60]}" is not known')]
    rows = [*told.rows, *carry_out(connection, told.effects, now)]
    reading = Reading("UTC", now, frozenset(settings.topics))
    facts: list[Fact] = []
    aside = [unread(told.note)] if told.note else []
    for kind, row in rows:
        read = normalise(kind, row, reading)
        if isinstance(read, BadRow):
            aside.append(unread(f"{kind}: {read.column} {read.reason}"))
        else:
            facts += read
    if facts:
        take(connection, facts, settings=settings, now=now, virtual=False)
    return aside


def _read(delivery: Delivery, settings: Settings) -> Told:
    body: Any = json.loads(delivery.body)
    if not isinstance(body, Mapping):
        raise TypeError("the body is no JSON object")
    if delivery.source == "shopify":
        return shopify.read(delivery.topic, body, delivery.at, settings.shop.url)
    return woocommerce.read(delivery.topic, body, delivery.at)


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
