"""`/a/TOKEN` and `/s/TOKEN`: an answer, and "not yet". GET shows a page with a button, POST records the event.

The page shows the question and the answer that was pressed before anything is recorded: a link scanner that opens every
link answers nothing. The same link pressed twice is one event, whose newest content counts. A score
or a number of stars may still be changed on the page; so may a word be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.errors import UsageError
from engine.facts.fact import iso
from engine.policy.wishes import SNOOZED, with_snooze
from engine.web.links.browser import mail_of
from engine.web.links.gone import gone
from engine.web.links.reading import Reader, name_of, read
from engine.web.paper import page, words_for
from engine.web.site import Site
from engine.web.telling import tell

LONGEST_TEXT = 2_000


def routes() -> list[Route]:
    """Return the routes of answers and of snoozing."""
    return [
        Route("/a/{token}", _ask, methods=["GET"]),
        Route("/a/{token}", _answer, methods=["POST"]),
        Route("/s/{token}", _offer_rest, methods=["GET"]),
        Route("/s/{token}", _snooze, methods=["POST"]),
    ]


async def _reader(request: Request, action: str) -> Reader | None:
    site: Site = request.app.state.site

    def look() -> Reader | None:
        with site.database.read() as connection:
            return read(connection, request.path_params["token"], action)

    reader = await run_in_threadpool(look)
    return reader if reader is not None and reader.known else None


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _ask(request: Request) -> Response:
    reader = await _reader(request, "a")
    if reader is None:
        return gone(request)
    facts = reader.token.facts
    asked, chosen = await run_in_threadpool(
        _question, request.app.state.site, reader, request.path_params["token"]
    )
    score, rating = _whole(facts.get("score"), 0, 10), _whole(facts.get("rating"), 1, 5)
    # A scale shows its number itself; the words of a star's link are one star, whichever it is.
    scaled = (score is not None or rating is not None) and not facts.keys() & {"choice", "answer"}
    values = {
        "question": asked, "chosen": "" if scaled else chosen, "score": score, "rating": rating,
    }  # fmt: skip
    return page(request, "answer", values, locale=reader.locale)


def _question(site: Site, reader: Reader, token: str) -> tuple[str, str]:
    """Return what was asked and which answer was pressed, in the words of the mail; else in those of the link's facts."""
    facts = reader.token.facts
    with site.database.read() as connection:
        mail = mail_of(connection, site, reader)
    asked = facts.get("question") or reader.message.get("subject") or (mail.subject if mail else "")
    chosen = link_text(mail.html, f"/a/{token}") if mail else ""
    plain = next((facts[name] for name in ("choice", "answer", "score", "rating") if name in facts), "")
    return str(asked or facts.get("survey") or reader.token.event), chosen or str(plain).replace("_", " ")


def link_text(html: str, path: str) -> str:
    """Return the words of the link that ends with a path; empty where there is none.

    >>> link_text('<p><a href="https://shop.test/a/x"><b>Yes</b>, very</a></p>', "/a/x")
    'Yes, very'
    """
    finder = _LinkText(path)
    finder.feed(html)
    finder.close()
    return " ".join("".join(finder.words).split())


class _LinkText(HTMLParser):
    """Gathers the words of the first link to a path; a picture counts as what stands for it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path, self._inside, self._found = path, False, False
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "a" and not self._found:
            self._inside = self._found = (told.get("href") or "").endswith(self._path)
        elif tag == "img" and self._inside:
            self.words.append(told.get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.words.append(data)


async def _answer(request: Request) -> Response:
    form = await request.form(max_files=0, max_fields=20)
    reader = await _reader(request, "a")
    if reader is None:
        return gone(request)
    await run_in_threadpool(_record, request.app.state.site, reader, answered(reader.token.facts, form))
    t = words_for(request, reader.locale)
    return page(
        request,
        "told",
        {"heading": t["answered_title"], "words": t["answered"], "link": ""},
        locale=reader.locale,
    )


def answered(facts: Mapping[str, Any], form: FormData) -> dict[str, Any]:
    """Return the facts of an answer: what the link says, with what was changed or added on the page."""
    told = dict(facts)
    for name, least, most in (("score", 0, 10), ("rating", 1, 5)):
        if _whole(told.get(name), least, most) is not None:
            changed = _whole(form.get(name), least, most)
            told[name] = _whole(told[name], least, most) if changed is None else changed
    text = form.get("text")
    if isinstance(text, str) and (words := " ".join(text.replace("\x00", " ").split())):
        told["text"] = words[:LONGEST_TEXT]
    return told


def _whole(value: Any, least: int, most: int) -> int | None:
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if least <= number <= most else None


def _record(site: Site, reader: Reader, facts: Mapping[str, Any]) -> None:
    now, token = site.now(), reader.token
    about = ":".join(str(facts[name]) for name in ("survey", "order_id", "sku") if facts.get(name))
    row = {
        **facts, "id": f"link:{token.message_key}:{token.event}:{about}"[:200], "event": token.event,
        "customer": reader.reference, "at": iso(now), "message": token.message_key,
    }  # fmt: skip
    with site.database.write() as connection:
        tell(connection, site.settings, now, ("events", row))


# ── not yet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _offer_rest(request: Request) -> Response:
    reader = await _reader(request, "s")
    if reader is None:
        return gone(request)
    t, days = words_for(request, reader.locale), reader.token.days
    values = {
        "heading": t["snooze_title"],
        "words": t["snooze_lead"].format(days=days),
        "button": t["snooze_button"],
    }
    return page(request, "ask", values, locale=reader.locale)


async def _snooze(request: Request) -> Response:
    reader = await _reader(request, "s")
    if reader is None:
        return gone(request)
    try:
        await run_in_threadpool(_rest, request.app.state.site, reader)
    except UsageError:
        return gone(request)
    t = words_for(request, reader.locale)
    words = t["snoozed"].format(days=reader.token.days)
    return page(
        request, "told", {"heading": t["snoozed_title"], "words": words, "link": ""}, locale=reader.locale
    )


def _rest(site: Site, reader: Reader) -> None:
    """Record when to remind again: of a product that runs out, by its date; else the mail's flow keeps silent until then."""
    now, token = site.now(), reader.token
    sku, flow = reader.enrollment.get("sku"), reader.message.get("flow")
    runs_out = (reader.enrollment.get("context") or {}).get("trigger", {}).get("run_out_at")
    if not flow:
        raise UsageError("nobody knows any more which mail this was")
    row = {
        "id": f"link:{token.message_key}:snooze:{token.days}", "customer": reader.reference, "at": iso(now), "days": token.days,
        "message": token.message_key, "flow": flow, "sku": sku, "order_id": reader.enrollment.get("order_id"),
    }  # fmt: skip
    told = {name: value for name, value in row.items() if value is not None}
    with site.database.write() as connection:
        if sku and runs_out:
            told |= {"event": "refill_answered", "remind_in": token.days}
            tell(connection, site.settings, now, ("events", told))
            return
        standing = (reader.customer["properties"] or {}).get(SNOOZED)
        until = now.replace(microsecond=0) + timedelta(days=token.days)
        wish = {SNOOZED: with_snooze(standing, flow, until, now)}
        who = {**name_of(reader), "updated_at": iso(now), "properties": wish}
        tell(
            connection,
            site.settings,
            now,
            ("events", told | {"event": "reminder_snoozed"}),
            ("customers", who),
        )
