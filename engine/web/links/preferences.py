"""`/p/TOKEN`: topics, how often, a break, language, birthday; and the way to one's own data.

GET shows what holds; POST records what changed, and only that: each consent with the words that stood beside the box,
the rest as a fact about the customer. How often and the break are the properties `mail_frequency` and
`mail_paused_until`, which the gate heeds for every marketing mail.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from babel.core import Locale, UnknownLocaleError
from babel.dates import format_date, get_month_names
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.calendar import local
from engine.facts.fact import iso
from engine.facts.profile import consent_standing
from engine.facts.rights import record_consent
from engine.render.locales import babel_locale, is_locale_folder, locale_chain
from engine.web.links.data import ask_for_data
from engine.web.links.gone import gone
from engine.web.links.reading import Reader, name_of, read
from engine.web.paper import language_of, page, topic_title, words_for
from engine.web.site import Site
from engine.web.telling import tell, withdraw
from engine.web.words import NAMES, WORDS

SOURCE = "preference page"
FREQUENCIES = ("", "weekly", "monthly")
PAUSE = timedelta(days=30)


def routes() -> list[Route]:
    """Return the routes of the preference page."""
    return [Route("/p/{token}", _show, methods=["GET"]), Route("/p/{token}", _save, methods=["POST"])]


def _look(site: Site, token: str) -> tuple[Reader, dict[str, str]] | None:
    with site.database.read() as connection:
        reader = read(connection, token, "p")
        if reader is None or not reader.known:
            return None
        return reader, consent_standing(connection, reader.customer["id"])


async def _show(request: Request) -> Response:
    found = await run_in_threadpool(_look, request.app.state.site, request.path_params["token"])
    return gone(request) if found is None else _page(request, *found)


async def _save(request: Request) -> Response:
    site: Site = request.app.state.site
    form = await request.form(max_files=0, max_fields=100)
    found = await run_in_threadpool(_look, site, request.path_params["token"])
    if found is None:
        return gone(request)
    reader, standing = found
    t = words_for(request, reader.locale)
    if form.get("do") == "data":
        language = language_of(request, reader.locale)
        await run_in_threadpool(ask_for_data, site, reader.customer, language, request.app.state.limits)
        told = {"heading": t["your_data"], "words": t["data_sent"], "link": ""}
        return page(request, "told", told, locale=reader.locale)
    if not _is_day(form):
        return _page(request, reader, standing, problem=t["bad_date"], status=400)
    await run_in_threadpool(_record, site, reader, standing, form, language_of(request, reader.locale))
    found = await run_in_threadpool(_look, site, request.path_params["token"])
    return gone(request) if found is None else _page(request, *found, saved=True)


# ── recording ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _record(site: Site, reader: Reader, standing: Mapping[str, str], form: FormData, language: str) -> None:
    now, customer_id = site.now(), reader.customer["id"]
    with site.database.write() as connection:
        if form.get("do") == "stop":
            withdraw(
                connection, customer_id, "all", now=now, source=SOURCE, wording=WORDS[language]["stop_all"]
            )
            return
        _record_topics(connection, site, customer_id, standing, set(form.getlist("topic")), now, language)
        about = _about(site, reader, form, now)
        if about:
            row = {"updated_at": iso(now), **name_of(reader), **about}
            tell(connection, site.settings, now, ("customers", row))


def _record_topics(
    connection: Connection,
    site: Site,
    customer_id: int,
    standing: Mapping[str, str],
    chosen: set[Any],
    now: datetime,
    language: str,
) -> None:
    for topic in site.settings.topics:
        title = topic_title(site, topic, language)
        before = is_on(site, standing, topic)
        if topic in chosen and not before:
            record_consent(connection, customer_id, topic, "granted", now=now, source=SOURCE, wording=title)
        elif topic not in chosen and before:
            withdraw(connection, customer_id, topic, now=now, source=SOURCE, wording=title)


def _about(site: Site, reader: Reader, form: FormData, now: datetime) -> dict[str, Any]:
    """Return what changed about the customer, in canonical names."""
    known, properties = reader.customer, reader.customer["properties"] or {}
    told: dict[str, Any] = {}
    language = str(form.get("language") or "")
    choices, chosen = _languages(site, known["locale"])
    if language and language in choices and language != chosen:
        told["locale"] = language
    month, day = str(form.get("month") or ""), str(form.get("day") or "")
    if "month" in form and _month_day(known["birthday"]) != (month, day):
        told["birthday"] = f"{int(month):02}-{int(day):02}" if month and day else None
    wishes: dict[str, Any] = {}
    frequency = str(form.get("frequency") or "")
    if (
        "frequency" in form
        and frequency in FREQUENCIES
        and frequency != (properties.get("mail_frequency") or "")
    ):
        wishes["mail_frequency"] = frequency or None
    if form.get("pause") and _paused_until(known, now) is None:
        wishes["mail_paused_until"] = iso(now + PAUSE)
    if form.get("resume") and properties.get("mail_paused_until"):
        wishes["mail_paused_until"] = None
    return told | ({"properties": wishes} if wishes else {})


def _is_day(form: FormData) -> bool:
    month, day = str(form.get("month") or ""), str(form.get("day") or "")
    if not month and not day:
        return True
    if not (month.isdecimal() and day.isdecimal() and 1 <= int(month) <= 12):
        return False
    return 1 <= int(day) <= calendar.monthrange(2024, int(month))[1]


# ── showing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_on(site: Site, standing: Mapping[str, str], topic: str) -> bool:
    """Return whether a customer gets mail about a topic as things stand."""
    own = standing.get(topic, standing.get("all", "none"))
    return own == "granted" or (own == "soft" and topic in site.settings.soft_opt_in)


def _page(
    request: Request, reader: Reader, standing: Mapping[str, str], *, saved: bool = False, problem: str = "", status: int = 200
) -> Response:  # fmt: skip
    site: Site = request.app.state.site
    language, known = language_of(request, reader.locale), reader.customer
    t = words_for(request, reader.locale)
    month, day = _month_day(known["birthday"])
    until = _paused_until(known, site.now())
    choices, chosen = _languages(site, known["locale"])
    if not chosen:
        choices = {"": t["not_told"], **choices}
    zone = known["zone"] or site.settings.shop.timezone
    values = {
        "topics": [
            {"key": key, "title": topic_title(site, key, language), "on": is_on(site, standing, key), "pending": standing.get(key) == "pending"}
            for key in site.settings.topics
        ],
        "frequencies": [(value, t[f"frequency_{value or 'any'}"]) for value in FREQUENCIES],
        "frequency": (known["properties"] or {}).get("mail_frequency") or "",
        "paused": format_date(local(until, zone), "long", babel_locale(language)) if until else "",
        "languages": list(choices.items()), "language": chosen,
        "months": list(get_month_names("wide", "stand-alone", babel_locale(language)).items()),
        "month": int(month or 0), "day": int(day or 0), "saved": saved, "problem": problem,
    }  # fmt: skip
    return page(request, "preferences", values, locale=reader.locale, status=status)


def _languages(site: Site, locale: str | None) -> tuple[dict[str, str], str]:
    """Return the languages to choose from by their own names, the customer's always one of them, and which it is."""
    choices = dict(NAMES)
    for folder in sorted((site.settings.root / "templates").glob("*/")):
        if is_locale_folder(folder.name):
            choices.setdefault(folder.name, _own_name(folder.name))
    chosen = next((name for name in locale_chain(locale) if name in choices), locale or "")
    if chosen:
        choices.setdefault(chosen, _own_name(chosen))
    return choices, chosen


def _own_name(language: str) -> str:
    try:
        return Locale.parse(language, sep="-").get_display_name() or language
    except (ValueError, UnknownLocaleError):
        return language


def _month_day(birthday: str | None) -> tuple[str, str]:
    if not birthday:
        return "", ""
    month, day = birthday.split("-")[-2:]
    return str(int(month)), str(int(day))


def _paused_until(customer: Mapping[str, Any], now: datetime) -> datetime | None:
    told = (customer["properties"] or {}).get("mail_paused_until")
    try:
        until = datetime.fromisoformat(str(told)) if told else None
    except ValueError:
        return None
    return until if until is not None and until.tzinfo is not None and until > now else None
