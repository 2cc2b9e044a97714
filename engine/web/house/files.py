"""Files: uploading facts, saying what their columns are, looking at what would be read, and taking them in.

Comes in: a request of a visitor; a file as a multipart form, streamed to the disk. Goes out: pages. Nothing of a file becomes a
fact before somebody has seen its first rows and pressed the button; what happens then survives this program (`uploads.py`).
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sqlalchemy.exc import DBAPIError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from engine.errors import HomingError, UsageError
from engine.facts.encodings import Guess, foreign, is_utf, rewrite
from engine.facts.fact import KINDS, BadRow, Row
from engine.facts.fields import FIELDS, Reading
from engine.facts.normalise import normalise
from engine.facts.openings import LOOK
from engine.facts.origins import FOREIGN, foreign_format
from engine.facts.quarantine import set_aside
from engine.facts.readers import Source, detect_format, detect_kind, open_binary, open_source
from engine.settings import Settings
from engine.web.house.door import acting, house_path, looking
from engine.web.house.sheet import sheet
from engine.web.house.uploads import LARGEST, Upload, Uploads
from engine.web.site import Site

log = logging.getLogger("homing.web")
LOOKED_AT = 200  # rows that are tried before anything is taken in
_SHOWN, _SHOWN_ASIDE, _LONGEST = 3, 30, 60
_MOST_COLUMNS = 400
_POLL_SECONDS, _STOP_SECONDS = 15.0, 5.0
_LINES = ("sku", "quantity", "price")
_SAME = {
    "e_mail": "email", "email_address": "email", "mail": "email", "firstname": "first_name", "given_name": "first_name",
    "lastname": "last_name", "surname": "last_name", "family_name": "last_name", "customer_id": "external_id",
    "customer_email": "customer", "customer_no": "external_id", "id": "external_id", "order_no": "order_id",
    "order_number": "order_id", "order": "order_id", "ordered_at": "placed_at", "order_date": "placed_at", "date": "placed_at",
    "created": "created_at", "amount": "total", "total_price": "total", "order_total": "total", "qty": "quantity",
    "product": "sku", "product_id": "sku", "item": "sku", "unit_price": "price", "name": "title", "product_name": "title",
    "image": "image_url", "link": "url", "stock_quantity": "stock", "inventory": "stock", "birth_date": "birthday",
    "date_of_birth": "birthday", "language": "locale", "country_code": "country", "event_name": "event", "timestamp": "at",
    "happened_at": "at", "kundennummer": "external_id", "vorname": "first_name", "nachname": "last_name", "geburtstag": "birthday",
    "sprache": "locale", "land": "country", "bestellnummer": "order_id", "bestelldatum": "placed_at", "artikelnummer": "sku",
    "menge": "quantity", "preis": "price", "summe": "total",
}  # fmt: skip


def routes() -> list[Route]:
    """Return the routes of these pages."""
    return [
        Route("/house/files", looking(_files), methods=["GET"]),
        Route("/house/files", acting(_upload, files=1), methods=["POST"]),
        Route("/house/files/{upload}", looking(_one), methods=["GET"]),
        Route("/house/files/{upload}", acting(_act, fields=_MOST_COLUMNS + 20), methods=["POST"]),
    ]


# ── what a file holds ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what the file calls it, what it is here (empty: a property of its own name), and some of its values."""

    name: str
    ours: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a file: its columns, what its kind could hold, how many rows can be read, and what stands in the way."""

    columns: Sequence[Column] = ()
    choices: Sequence[str] = ()
    tried: int = 0
    bad: Sequence[BadRow] = ()
    problem: str = ""
    guesses: Sequence[Guess] = ()


def guessed(path: Path, upload: Upload) -> Upload:
    """Return an upload with what its name and columns tell: format, kind, and columns that are nearly ours."""
    rows = _raw_rows(path)
    columns = _columns_of(rows)
    how = foreign_format(columns) or _how(path)
    upload = replace(upload, foreign=how != "parquet" and not _is_utf(path))
    try:
        kind = (
            open_source(path, format=how).kind
            if how in FOREIGN
            else detect_kind(path, [*columns, *_plain_names(columns)])
        )
    except HomingError:
        kind = max(KINDS, key=lambda each: len(_near(columns, each)))
    return replace(upload, format=how, kind=kind, mapping=_near(columns, kind) if how == "csv" else {})


def _is_utf(path: Path) -> bool:
    try:
        return is_utf(path)
    except (HomingError, OSError, EOFError, zlib.error):
        return True  # what is broken is told where its rows are read


def look_at(path: Path, upload: Upload, settings: Settings, upload_now: Any) -> Look:
    """Return what would be read of a file's first rows; nothing is written."""
    if upload.foreign:
        guesses = foreign(path)
        problem = f"the file is not UTF-8 but, by its looks, {guesses[0].name}"
        return Look(problem=problem, guesses=[guess for guess in guesses if guess.encoding])
    rows = _raw_rows(path)
    columns = [
        Column(name, upload.mapping.get(name, ""), _samples(rows, name))
        for name in _columns_of(rows)[:_MOST_COLUMNS]
    ]
    choices = (
        sorted({*FIELDS[upload.kind], *(_LINES if upload.kind == "orders" else ())})
        if upload.kind in FIELDS
        else []
    )
    reading = Reading(settings.shop.timezone, upload_now, frozenset(settings.topics))
    tried, bad = 0, []
    try:
        source = open_source(path, kind=upload.kind, format=upload.format, mapping=upload.mapping)
        source.shop_url = settings.shop.url
        for row in islice(source.rows(), LOOKED_AT):
            tried += 1
            read = row if isinstance(row, BadRow) else normalise(
                row.kind or source.kind, row.values, reading, number=row.number, cells=source.cells
            )  # fmt: skip
            if isinstance(read, BadRow):
                bad.append(read)
    except HomingError as error:
        problem = str(error).replace("map them with --map theirs=ours", "say below what its columns are")
        return Look(columns, choices, tried, bad, problem)
    problem = (
        "" if tried > len(bad) else "not one of its first rows can be read" if tried else "it has no rows"
    )
    return Look(columns, choices, tried, bad, problem)


def _how(path: Path) -> str:
    """Return how a file is written: by its name, unless its first sign says otherwise. Nobody can say so on the page."""
    by_name = detect_format(path)
    if by_name == "parquet":
        return by_name
    try:
        with open_binary(path) as (stream, _):
            first = stream.peek(LOOK)[:LOOK].lstrip(b"\xef\xbb\xbf \r\n\t")[:1]
    except (HomingError, OSError, EOFError, zlib.error):
        return by_name  # what is broken is told where its rows are read
    return "jsonl" if first in (b"{", b"[") else "csv"


def _raw_rows(path: Path) -> list[Row]:
    try:
        rows = Source(path, "events", _how(path), {}).rows()
        return [row for row in islice(rows, LOOKED_AT) if isinstance(row, Row)]
    except HomingError:
        return []


def _columns_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(name) for row in rows[:20] for name in row.values))


def _samples(rows: Sequence[Row], column: str) -> list[str]:
    found = dict.fromkeys(str(row.values.get(column, "") or "")[:_LONGEST] for row in rows)
    return [value for value in found if value][:_SHOWN]


def _plain_names(columns: Sequence[str]) -> list[str]:
    """Return what columns are called here under a slightly other name, whatever the file holds."""
    plain = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in columns]
    return [*plain, *(_SAME[name] for name in plain if name in _SAME)]


def _near(columns: Sequence[str], kind: str) -> dict[str, str]:
    """Return which columns are ours under a slightly other name; none twice."""
    known = {*FIELDS[kind], *(_LINES if kind == "orders" else ())}
    mapping: dict[str, str] = {}
    taken = known & set(columns)
    for name in columns:
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        for ours in (plain, _SAME.get(plain, "")):
            if name not in known and ours in known and ours not in taken:
                mapping[name] = ours
                taken.add(ours)
                break
    return mapping


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _uploads(request: Request) -> Uploads:
    site: Site = request.app.state.site
    return Uploads(site.settings.root)


def _files(request: Request, problem: str = "", status: int = 200) -> Response:
    site: Site = request.app.state.site
    aside = list(islice(set_aside(site.settings.root), _SHOWN_ASIDE + 1))
    values = {
        "uploads": _uploads(request).all(), "aside": aside[:_SHOWN_ASIDE], "more_aside": len(aside) > _SHOWN_ASIDE,
        "problem": problem, "largest": LARGEST // 2**20,
    }  # fmt: skip
    return sheet(request, "files", values, status=status)


def _upload(request: Request, form: FormData) -> Response:
    site: Site = request.app.state.site
    given, uploads = form.get("file"), _uploads(request)
    if not isinstance(given, UploadFile) or not given.filename:
        return _files(request, "Please choose a file first.", 400)
    try:
        upload = uploads.add(given.file, given.filename, site.now())
    except UsageError as error:
        return _files(request, f"{str(error)[:1].upper()}{str(error)[1:]}.", 400)
    uploads.keep(guessed(uploads.path(upload), upload))
    log.info("a file was uploaded", extra={"told": {"upload": upload.name}})
    return RedirectResponse(house_path(request, f"files/{upload.name}"), 303)


def _found(request: Request) -> Upload:
    upload = _uploads(request).find(request.path_params["upload"])
    if upload is None:
        raise HTTPException(404)
    return upload


def _one(request: Request, problem: str = "", status: int = 200) -> Response:
    site: Site = request.app.state.site
    upload, uploads = _found(request), _uploads(request)
    look = Look()
    if upload.state == "looked":
        look = look_at(uploads.path(upload), upload, site.settings, site.now())
    values = {"upload": upload, "look": look, "kinds": KINDS, "problem": problem or look.problem}
    answer = sheet(request, "file", values, status=status)
    if upload.state == "confirmed":
        answer.headers["refresh"] = "2"
    return answer


def _act(request: Request, form: FormData) -> Response:
    site: Site = request.app.state.site
    upload, uploads, do = _found(request), _uploads(request), form.get("do")
    if do == "drop" and upload.state != "confirmed":
        uploads.drop(upload)
        return RedirectResponse(house_path(request, "files"), 303)
    if upload.state != "looked" or do not in ("look", "take"):
        return RedirectResponse(house_path(request, f"files/{upload.name}"), 303)
    if form.get("encoding"):
        return _read_as(request, upload, str(form["encoding"]))
    upload = _told_anew(upload, uploads, form)
    uploads.keep(upload)
    if do == "take":
        look = look_at(uploads.path(upload), upload, site.settings, site.now())
        if look.problem:
            return _one(request, look.problem, 400)
        uploads.keep(replace(upload, state="confirmed"))
        request.app.state.taking.look()
    return RedirectResponse(house_path(request, f"files/{upload.name}"), 303)


def _read_as(request: Request, upload: Upload, encoding: str) -> Response:
    """Make a file UTF-8 that was said to be something else, and look at it anew."""
    uploads = _uploads(request)
    if upload.foreign:
        try:
            rewrite(uploads.path(upload), encoding)
        except UsageError as error:
            return _one(request, str(error), 400)
        uploads.keep(guessed(uploads.path(upload), upload))
    return RedirectResponse(house_path(request, f"files/{upload.name}"), 303)


def _told_anew(upload: Upload, uploads: Uploads, form: FormData) -> Upload:
    """Return an upload as the form describes it; another kind begins with what its columns nearly are."""
    kind = str(form.get("kind", upload.kind))
    kind = kind if kind in KINDS else upload.kind
    backfill = form.get("backfill") == "1"
    if upload.format not in ("csv", "parquet", "jsonl"):
        return replace(upload, backfill=backfill)
    columns = _columns_of(_raw_rows(uploads.path(upload)))[:_MOST_COLUMNS]
    if kind != upload.kind:
        return replace(upload, kind=kind, mapping=_near(columns, kind), backfill=backfill)
    mapping = _mapping(columns, form, {*FIELDS[kind], *_LINES})
    return replace(upload, kind=kind, mapping=mapping, backfill=backfill)


def _mapping(columns: Sequence[str], form: Mapping[str, Any], known: set[str]) -> dict[str, str]:
    told = {name: str(form.get(f"map{place}", "")) for place, name in enumerate(columns)}
    return {name: ours for name, ours in told.items() if ours in known and ours != name}


# ── taking in ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Taking:
    """A thread that takes confirmed files in, one after the other; `start` and `stop` with the server."""

    def __init__(self, site: Site) -> None:
        self._site, self._uploads = site, Uploads(site.settings.root)
        self._wake, self._ended = Event(), Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin, with what an earlier program left."""
        self._thread = Thread(target=self._run, name="files", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End soon: a file that is being read stays confirmed, and is read again by the next program."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def look(self) -> None:
        """Look at once whether something waits."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                more = (
                    self._uploads.take_next(self._site.database, self._site.settings, self._site.now())
                    is not None
                )
            except (DBAPIError, OSError) as error:
                log.warning(
                    "a file could not be taken in yet", extra={"told": {"what": type(error).__name__}}
                )
                more = False
            if not more:
                self._wake.wait(_POLL_SECONDS)
                self._wake.clear()
