"""`/r/TOKEN` and `/o/TOKEN`: clicks and opens of marketing mails, where `[web] track_clicks` and `track_opens` ask for them.

A click leads to the address that the message keeps under the token's number, never to one that a request names. Looks are
gathered for a few seconds and written together, so that a scanner, which opens every link at once, is known as one before
anything follows from it. What a machine did is kept with that mark and decides nothing; HEAD, and a reader whose browser
asks not to be followed (Sec-GPC), are not counted at all.
"""

from __future__ import annotations

import base64
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any, Literal

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.clock import machine_seconds
from engine.errors import HomingError
from engine.feedback.event import DeliveryEvent
from engine.feedback.machines import is_ahead, is_program
from engine.render.links import Token, read_token
from engine.store import meta
from engine.store.dialect import among
from engine.store.tables import customers, delivery_events, messages
from engine.web.links.gone import gone
from engine.web.provider_events import take_events
from engine.web.site import Site

log = logging.getLogger("homing.web")
GATHERED = 10.0  # seconds that looks at one mail wait for further ones
MOST_LINKS = 2  # different links of one mail that a person opens within that time
SOON = timedelta(seconds=10)  # who looks sooner after the hand-over is a machine
MOST_WAITING = 20_000
_POINT = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_POINT_HEADERS = {"cache-control": "no-store, private", "cross-origin-resource-policy": "cross-origin"}


def routes() -> list[Route]:
    """Return the routes of looks."""
    return [Route("/r/{token}", _click, methods=["GET"]), Route("/o/{token}", _open, methods=["GET"])]


@dataclass(frozen=True, slots=True)
class Look:
    """One click or open: of which message, of its link `number`, when, and whether the request showed a machine."""

    message_key: str
    kind: Literal["opened", "clicked"]
    number: int
    at: datetime
    machine: bool

    def same_as(self, looks: Sequence[Look]) -> bool:
        """Return whether one of these already says the same."""
        return any(
            (each.kind, each.number, each.machine) == (self.kind, self.number, self.machine) for each in looks
        )


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _click(request: Request) -> Response:
    site: Site = request.app.state.site
    token, target, counts = await run_in_threadpool(_target, site, request.path_params["token"])
    if token is None:
        return gone(request)
    if counts:
        _note(request, token, "clicked")
    return RedirectResponse(target or site.settings.shop.url, 302)


def _target(site: Site, text: str) -> tuple[Token | None, str, bool]:
    """Return what a token says, where it leads (empty: not known any more), and whether the click is worth noting."""
    with site.database.read() as connection:
        token = read_token(meta.link_secrets(connection), text, "r")
        if token is None:
            return None, "", False
        content = connection.scalar(select(messages.c.content).where(messages.c.key == token.message_key))
    kept = (content or {}).get("links") or []
    known = 0 <= token.number < len(kept)
    return token, str(kept[token.number]) if known else "", known


async def _open(request: Request) -> Response:
    site: Site = request.app.state.site

    def look() -> Token | None:
        with site.database.read() as connection:
            return read_token(meta.link_secrets(connection), request.path_params["token"], "o")

    token = await run_in_threadpool(look)
    if token is not None:
        _note(request, token, "opened")
    return Response(_POINT, media_type="image/gif", headers=_POINT_HEADERS)


def _note(request: Request, token: Token, kind: Literal["opened", "clicked"]) -> None:
    if request.method != "GET" or request.headers.get("sec-gpc") == "1":
        return
    looks: Looks = request.app.state.looks
    site: Site = request.app.state.site
    machine = is_program(request.headers.get("user-agent", "")) or is_ahead(request.headers)
    if looks.add(Look(token.message_key, kind, token.number, site.now(), machine)):
        request.app.state.counts.add("homing_looks_total", kind=kind, machine=str(machine).lower())


# ── gathering ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Looks:
    """Gathers looks by message, and writes those of a message together; `start` and `stop` with the server."""

    def __init__(self, site: Site, *, gathered: float = GATHERED) -> None:
        self._site, self._gathered = site, gathered
        self._lock, self._ended = Lock(), Event()
        self._waiting: dict[str, tuple[float, list[Look]]] = {}
        self._count = 0
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = Thread(target=self._run, name="looks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what was gathered, then end."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.write(all_of_them=True)

    def add(self, look: Look) -> bool:
        """Gather a look; return False, and forget it, where too many wait or the same one does."""
        with self._lock:
            since, looks = self._waiting.get(look.message_key, (machine_seconds(), []))
            if look.same_as(looks) or self._count >= MOST_WAITING:
                return False
            looks.append(look)
            self._waiting[look.message_key] = (since, looks)
            self._count += 1
            return True

    def write(self, *, all_of_them: bool = False) -> int:
        """Write the looks of the messages that have waited long enough; return how many were taken."""
        ripe = machine_seconds() - self._gathered
        with self._lock:
            keys = [key for key, (since, _) in self._waiting.items() if all_of_them or since <= ripe]
            taken = [look for key in keys for look in self._waiting.pop(key)[1]]
            self._count -= len(taken)
        if taken:
            take_looks(self._site, taken)
        return len(taken)

    def _run(self) -> None:
        while not self._ended.wait(min(self._gathered, 1.0)):
            try:
                self.write()
            except (DBAPIError, HomingError) as error:  # a look is no fact that anybody was promised
                log.warning("looks could not be written", extra={"told": {"what": type(error).__name__}})


# ── what they are ────────────────────────────────────────────────────────────────────────────────────────────────────


def take_looks(site: Site, looks: Sequence[Look]) -> None:
    """Write looks as delivery events; those of machines carry that mark."""
    with site.database.read() as connection:
        handed_over = _handed_over(connection, {look.message_key for look in looks})
        before = _clicked_before(connection, looks)
    scanned = _scanned(looks, before)
    events = []
    for look in looks:
        at = handed_over.get(look.message_key)
        if at is None:
            continue  # was erased, or never left
        soon = not site.virtual and look.at - at < SOON
        machine = look.machine or soon or (look.kind == "clicked" and look.message_key in scanned)
        events.append(_event(look, machine=machine))
    take_events(site, events)


def _handed_over(connection: Connection, keys: Collection[str]) -> Mapping[str, datetime]:
    own = messages.c
    query = select(own.key, own.counted_at).join(customers, customers.c.id == own.customer_id)
    there = (own.counted_at.is_not(None), customers.c.erased_at.is_(None))
    rows = connection.execute(query.where(among(connection, own.key, sorted(keys)), *there))
    return {row.key: row.counted_at for row in rows}


def _clicked_before(connection: Connection, looks: Sequence[Look]) -> Mapping[str, set[int]]:
    """Return which links of these messages were clicked just before, as another process may have written."""
    clicks = [look for look in looks if look.kind == "clicked"]
    if not clicks:
        return {}
    own, since = delivery_events.c, min(look.at for look in clicks) - SOON
    query = select(messages.c.key, own.raw).join(messages, messages.c.id == own.message_id)
    keys = sorted({look.message_key for look in clicks})
    rows = connection.execute(
        query.where(among(connection, messages.c.key, keys), own.kind == "clicked", own.at >= since)
    )
    found: dict[str, set[int]] = defaultdict(set)
    for key, raw in rows:
        number: Any = (raw or {}).get("link")
        if isinstance(number, int):
            found[key].add(number)
    return found


def _scanned(looks: Sequence[Look], before: Mapping[str, set[int]]) -> frozenset[str]:
    """Return the messages of which more links were opened at once than a person opens."""
    opened: dict[str, set[int]] = defaultdict(set)
    for look in looks:
        if look.kind == "clicked":
            opened[look.message_key].add(look.number)
    return frozenset(
        key for key, numbers in opened.items() if len(numbers | before.get(key, set())) > MOST_LINKS
    )


def _event(look: Look, *, machine: bool) -> DeliveryEvent:
    """Return the event of a look; the same link on the same day is one, so that no scanner can fill the table."""
    by = "machine" if machine else "person"
    return DeliveryEvent(
        key=f"own:{look.kind}:{look.message_key}:{look.number}:{by}:{look.at:%Y%m%d}"[:300], kind=look.kind, at=look.at,
        message_key=look.message_key, machine=machine, raw={"event": look.kind, "link": look.number},
    )  # fmt: skip
