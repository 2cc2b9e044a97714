"""The fields of every kind: how each is read from a cell or a JSON value, and how it stands in a document.

A reader takes the raw value and a `Reading` (the shop's zone, the time of receipt, the warnings so far) and returns
the canonical value, or raises `BadField` with a plain reason. Money and quantities are Decimals, never floats.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError, localedata

from engine.calendar import at_wall, is_zone
from engine.facts.days import Day
from engine.facts.fact import Line, iso, plain_lines, plain_number

EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
LONGEST_ID = 255
LONGEST_TEXT = 4_000
MOST_LINES = 2_000
MOST_MONEY = Decimal("1e11")
_MOST_POWER, _LEAST_POWER = 15, -300  # of ten; what is smaller is zero
MOST_WHOLE = 2_000_000_000
_CENT = Decimal("0.0001")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d{0,13})(\.\d{1,6})?")
_ADDRESS = re.compile(
    r"""[^\s@,;:<>()\[\]\\"\x00-\x1f\x7f]{1,64}@[^\s@,;:<>()\[\]\\"/\x00-\x1f\x7f]+\.[^\s@,;:<>()\[\]\\"/.\x00-\x1f\x7f]+"""
)
_BIRTHDAY = re.compile(r"(?:(\d{4})-|--)?(\d{2})-(\d{2})(?:[T ].*)?")
_LOCALE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?(?:[.@].*)?")
_NO_DATE = re.compile(
    r"(?:2[2-9]|[3-9]\d)\d\d-\d\d-\d\d|0000-00-00"
)  # from the year 2200 on, and what MySQL writes
_LONGEST_DATE = len("2026-03-01")  # every form of a time of ISO 8601 is longer
_SPACED_OFFSET = re.compile(r"\s+([-+]\d{2}:?\d{2})$")
_CURRENCY = re.compile(r"[A-Z]{3}")
TRUE, FALSE = frozenset({"true", "1", "yes", "y", "t"}), frozenset({"false", "0", "no", "n", "f"})


class BadField(ValueError):
    """A value that cannot be used; `str()` is a plain reason without the value, which may be personal.

    In a list of lines `column` names the field of the line and `line` its place, from 0.
    """

    def __init__(self, reason: str, column: str = "", line: int = 0) -> None:
        super().__init__(reason)
        self.column, self.line = column, line


@dataclass(slots=True)
class Reading:
    """What reading a row depends on beside the row, and what was odd but usable (`warnings`: sentence → how often)."""

    zone: str
    now: datetime
    topics: frozenset[str] = frozenset()
    warnings: Counter[str] = field(default_factory=Counter)


Reader = Callable[[Any, Reading], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """How a field is read, how its value stands in a document (None: as it is), and which values say that there is none."""

    read: Reader
    plain: Callable[[Any], Any] | None = None
    is_nothing: Callable[[Any], bool] | None = None


def text(limit: int = LONGEST_TEXT, *, one_line: bool = False) -> Reader:
    """Return the reader of a text of at most `limit` characters; numbers are taken as they are written.

    What is of `one_line` by its nature, such as an id or a name, is no such thing with a line break in it.
    """

    def read(value: Any, _reading: Reading) -> str | None:
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise BadField("is no text")
        words = str(value).strip()
        if len(words) > limit:
            raise BadField(f"is longer than {limit} characters")
        if one_line and ("\n" in words or "\r" in words):
            raise BadField("holds a line break")
        return words or None

    return read


identity, _words = text(LONGEST_ID, one_line=True), text()


def number(value: Any, _reading: Reading | None = None) -> Decimal:
    """Read a finite number below 1e15."""
    if isinstance(value, str):
        return _number_of_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise BadField("is no number")
    return _bounded(value if isinstance(value, Decimal) else Decimal(str(value)))


@lru_cache(maxsize=16_384)
def _number_of_text(words: str) -> Decimal:
    if not _NUMBER.fullmatch(words.strip()):
        raise BadField("is no number")
    return _bounded(Decimal(words.strip()))


def _bounded(amount: Decimal) -> Decimal:
    if not amount.is_finite():
        raise BadField("is no finite number")
    power = amount.adjusted()  # first: a number like 1e999999999 is beyond what can be worked with at all
    if power < _LEAST_POWER or not amount:
        return Decimal(0) if abs(power) > _MOST_POWER else amount
    if power >= _MOST_POWER:
        raise BadField("is larger than any number here should be")
    return amount


def any_amount(value: Any, _reading: Reading) -> Decimal:
    """Read an amount of money, below zero too (a rebate's line), rounded half-even to ten-thousandths."""
    amount = number(value)
    if abs(amount) >= MOST_MONEY:
        raise BadField("is larger than any amount here should be")
    exponent = amount.as_tuple().exponent
    return amount.quantize(_CENT, ROUND_HALF_EVEN) if isinstance(exponent, int) and exponent < -4 else amount


def money(value: Any, reading: Reading) -> Decimal:
    """Read an amount of money that is not below zero."""
    amount = any_amount(value, reading)
    if amount < 0:
        raise BadField("is below zero")
    return amount


def quantity(value: Any, _reading: Reading) -> Decimal:
    """Read how many pieces, not below zero."""
    pieces = number(value)
    if pieces < 0 or pieces >= MOST_WHOLE:
        raise BadField("is below zero" if pieces < 0 else "is larger than any quantity here should be")
    return pieces


def whole(value: Any, _reading: Reading) -> int:
    """Read a whole number that is not below zero."""
    amount = number(value)
    if amount != int(amount):
        raise BadField("is no whole number")
    if amount < 0 or amount > MOST_WHOLE:
        raise BadField("is below zero" if amount < 0 else "is larger than any number here should be")
    return int(amount)


def days(value: Any, _reading: Reading) -> float:
    """Read a number of days, above zero and at most ten years."""
    amount = number(value)
    if not 0 < amount <= 3660:
        raise BadField("is not between 0 and 3660 days")
    return float(amount)


def truth(value: Any, _reading: Reading) -> bool:
    """Read true or false, as words or as 1 and 0."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise BadField("is neither true nor false")


@lru_cache(maxsize=16_384)
def _moment(words: str, zone: str) -> datetime:
    try:
        # Shopify and others put a space before the offset.
        told = datetime.fromisoformat(_SPACED_OFFSET.sub(r"\1", words))
    except ValueError:
        raise BadField("is no ISO 8601 time such as 2026-03-01T09:30:00+01:00") from None
    if not EARLIEST.year <= told.year <= LATEST.year:
        raise BadField("lies outside of the years 1970 to 2199")
    if told.tzinfo is not None:
        moment = told.astimezone(UTC)
    elif zone == "UTC":
        moment = told.replace(tzinfo=UTC)
    else:
        moment = at_wall(told.date(), told.time(), zone)
    if not EARLIEST <= moment < LATEST:
        raise BadField("lies outside of the years 1970 to 2199")
    return moment


def moment(value: Any, reading: Reading) -> datetime:
    """Read a time: ISO 8601 with offset, else on the shop's clock; a date alone is its midnight there."""
    if isinstance(value, str):
        return _moment(value.strip(), reading.zone)
    if isinstance(value, datetime | date):
        return _moment(value.isoformat(), reading.zone)
    raise BadField("is no ISO 8601 time such as 2026-03-01T09:30:00+01:00")


def day_or_moment(value: Any, reading: Reading) -> Day | datetime:
    """Read a time as `moment` does; a date alone stays a day, which is the customer's own."""
    begins = moment(value, reading)
    words = value.strip() if isinstance(value, str) else value.isoformat()
    return Day(date.fromisoformat(words), begins) if len(words) <= _LONGEST_DATE else begins


def is_never(value: Any) -> bool:
    """Return whether a date is how programs write that there is none.

    >>> is_never("9999-12-31"), is_never("0000-00-00 00:00:00"), is_never("2027-01-01")
    (True, True, False)
    """
    words = value.strip() if isinstance(value, str) else value.isoformat() if isinstance(value, date) else ""
    return _NO_DATE.match(words) is not None


def _plain_day(told: Day | datetime) -> str:
    return told.date.isoformat() if isinstance(told, Day) else iso(told)


@lru_cache(maxsize=8_192)
def normal_email(value: str) -> str | None:
    """Return the address trimmed, in lower case, its domain in ASCII; None for what is no address.

    >>> normal_email(" Ann@Bücher.test ")
    'ann@xn--bcher-kva.test'
    """
    address = value.strip().lower()
    if len(address) > 254 or not _ADDRESS.fullmatch(address) or ".." in address.rpartition("@")[2]:
        return None
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return None


def email(value: Any, _reading: Reading) -> str:
    """Read an email address, normalised."""
    address = normal_email(value) if isinstance(value, str) else None
    if address is None:
        raise BadField("is no email address")
    return address


def birthday(value: Any, reading: Reading) -> str:
    """Read YYYY-MM-DD or MM-DD."""
    match = _BIRTHDAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, date):
        match = _BIRTHDAY.fullmatch(value.isoformat())
    if match is None:
        raise BadField("is no date such as 1990-05-17 or 05-17")
    year = int(match[1] or 2000)
    try:
        day = date(year, int(match[2]), int(match[3]))
    except ValueError:
        raise BadField("is a day that the calendar does not have") from None
    if match[1] and not 1880 <= year <= reading.now.year:
        raise BadField("is no year that a customer can be born in")
    return day.isoformat() if match[1] else f"{match[2]}-{match[3]}"


def timezone(value: Any, reading: Reading) -> str | None:
    """Read an IANA zone; what is none counts as not told, with a warning."""
    name = str(value).strip()
    if is_zone(name):
        return name
    reading.warnings["names a time zone that is not known; the country's or the shop's is used"] += 1
    return None


def locale(value: Any, reading: Reading) -> str | None:
    """Read a locale such as de, pt-BR, zh-Hant-TW; what is none counts as not told, with a warning."""
    match = _LOCALE.fullmatch(str(value).strip())
    if match is None or not _is_language(match[1].lower()):
        reading.warnings["names a locale that is not known; the shop's is used"] += 1
        return None
    parts = (match[1].lower(), (match[2] or "").title(), (match[3] or "").upper())
    return "-".join(part for part in parts if part)


@lru_cache(maxsize=1024)
def _is_language(code: str) -> bool:
    try:
        return localedata.exists(code) or bool(Locale("en").languages.get(code))
    except UnknownLocaleError:
        return False


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, str]:
    """Return code → code and English name → code, all in upper case."""
    territories = {
        code: name for code, name in Locale("en").territories.items() if len(code) == 2 and code.isalpha()
    }
    known = {name.upper(): code for code, name in territories.items()}
    known.update({code: code for code in territories if code not in ("ZZ", "EU", "EZ", "UN", "XA", "XB")})
    known.update(
        {
            "UK": "GB",
            "USA": "US",
            "UNITED STATES OF AMERICA": "US",
            "SOUTH KOREA": "KR",
            "CZECH REPUBLIC": "CZ",
        }
    )
    known.update({"TURKEY": "TR", "HONG KONG": "HK", "MACAU": "MO", "RUSSIA": "RU", "IVORY COAST": "CI"})
    return known


def country(value: Any, reading: Reading) -> str | None:
    """Read an ISO 3166 code or a country's English name; what is none counts as not told, with a warning."""
    code = _countries().get(str(value).strip().upper())
    if code is None:
        reading.warnings["names a country that is not known; it is left out"] += 1
    return code


def currency(value: Any, _reading: Reading) -> str:
    """Read an ISO 4217 code."""
    code = str(value).strip().upper()
    if not _CURRENCY.fullmatch(code):
        raise BadField("is no currency such as EUR")
    return code


def names(value: Any, _reading: Reading) -> list[str]:
    """Read a list of texts, or comma text."""
    parsed = from_cell(value)
    parts = parsed.split(",") if isinstance(parsed, str) else parsed
    if not isinstance(parts, list) or not all(isinstance(part, str | int) for part in parts):
        raise BadField("is no list of texts")
    kept = dict.fromkeys(str(part).strip() for part in parts)
    return [part for part in kept if part]


def codes(value: Any, reading: Reading) -> str | None:
    """Read the codes of an order: one, several as comma text as they stand, or a list."""
    if isinstance(value, list | tuple):
        told = [_words(part, reading) for part in value]
        value = ", ".join(dict.fromkeys(each for each in told if each))
    words: str | None = _words(value, reading)
    return words


def from_cell(value: Any) -> Any:
    """Return what a cell holds: JSON where it looks like a list or a mapping, else the text itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value, parse_float=Decimal, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise BadField("is no JSON") from None
    return value


def _refuse(_word: str) -> Any:
    raise BadField("holds NaN or Infinity")


def documents(value: Any, _reading: Reading) -> list[dict[str, Any]]:
    """Read a list of mappings, such as shipments; one mapping alone is a list of one."""
    parsed = from_cell(value)
    if isinstance(parsed, Mapping):
        parsed = [parsed]
    if not isinstance(parsed, list | tuple) or not all(isinstance(item, Mapping) for item in parsed):
        raise BadField("is no list of mappings")
    if len(parsed) > MOST_LINES:
        raise BadField(f"has more than {MOST_LINES} entries")
    return [{str(key): free(inner) for key, inner in item.items()} for item in parsed]


def lines(value: Any, reading: Reading) -> tuple[Line, ...]:
    """Read the lines of an order or a cart: [{sku, quantity, price}]."""
    parsed = from_cell(value)
    if not isinstance(parsed, list | tuple):
        raise BadField("is no list of lines")
    if len(parsed) > MOST_LINES:
        raise BadField(f"has more than {MOST_LINES} lines")
    return tuple([_line(place, item, reading) for place, item in enumerate(parsed)])


def _line(place: int, item: Any, reading: Reading) -> Line:
    """Read one line; the quantity is 1 where it is not told."""
    if type(item) is dict:
        try:
            return _line_of_cells(item["sku"], item["quantity"], item["price"])
        except (KeyError, TypeError, BadField):
            pass  # told in another way, or badly: read it field by field, and say which is bad
    return _line_of_values(place, item, reading)


@lru_cache(maxsize=16_384)
def _line_of_cells(sku: Any, pieces: Any, price: Any) -> Line:
    """Read a line whose fields are all texts: tables repeat the same few."""
    if not all(isinstance(cell, str) and cell for cell in (sku, pieces, price)):
        raise BadField("is told in another way")
    return _line_of_values(0, {"sku": sku, "quantity": pieces, "price": price}, _ANY)


def _line_of_values(place: int, item: Any, reading: Reading) -> Line:
    if not isinstance(item, Mapping):
        raise BadField("has a line that is no mapping")
    column = "sku"
    try:
        sku = identity(item.get("sku") or "", reading)
        if not sku:
            raise BadField("is missing")
        column, pieces = "quantity", item.get("quantity")
        count = Decimal(1) if pieces is None or pieces == "" else quantity(pieces, reading)
        column, price = "price", item.get("price")
        return Line(sku, count, None if price is None or price == "" else any_amount(price, reading))
    except BadField as error:
        raise BadField(str(error), column, place) from None


def free(value: Any, depth: int = 0) -> Any:
    """Return any JSON value as it is kept in properties: numbers finite, times in the normal form, depth at most 16."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float | Decimal):
        return plain_number(number(value)) if not isinstance(value, int) else _whole(value)
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date | time):
        return value.isoformat()
    if depth >= 16:
        raise BadField("is nested more than 16 deep")
    if isinstance(value, Mapping):
        return {str(key): free(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [free(inner, depth + 1) for inner in value]
    raise BadField("is of a type that cannot be kept")


def _whole(value: int) -> int:
    if abs(value) >= 2**63:
        raise BadField("is larger than any number here should be")
    return value


def from_text(value: str) -> Any:
    """Return a property given as a cell: a number where it is written plainly as one, true, false, else the text.

    >>> from_text("42"), from_text("0042"), from_text("true"), from_text("+49 30")
    (42, '0042', True, '+49 30')
    """
    if _PLAIN_NUMBER.fullmatch(value):
        return plain_number(Decimal(value))
    if value in ("true", "false"):
        return value == "true"
    parsed = from_cell(value)
    return parsed if isinstance(parsed, str) else free(parsed)


_ANY = Reading("UTC", EARLIEST)
_TEXT, _ID, _MOMENT = Field(text()), Field(identity), Field(moment, iso)
_NAME = Field(text(one_line=True))
_DAY = Field(day_or_moment, _plain_day)
_MONEY, _LINES = Field(money, plain_number), Field(lines, plain_lines)

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "customers": {
        "external_id": _ID,
        "updated_at": _MOMENT,
        "email": Field(email),
        "first_name": _NAME,
        "last_name": _NAME,
        "locale": Field(locale),
        "timezone": Field(timezone),
        "country": Field(country),
        "birthday": Field(birthday),
        "created_at": _DAY,
        "tags": Field(names),
        "points": Field(whole),
        "points_expire_at": Field(day_or_moment, _plain_day, is_never),
        "tier": _ID,
        "referral_code": _ID,
        "referral_url": _TEXT,
        "subscription_status": _ID,
        "consent": Field(names),
        "consent_source": _TEXT,
        "consent_at": _MOMENT,
    },
    "products": {
        "sku": _ID,
        "updated_at": _MOMENT,
        "title": _TEXT,
        "category": _ID,
        "brand": _ID,
        "price": _MONEY,
        "currency": Field(currency),
        "url": _TEXT,
        "image_url": _TEXT,
        "stock": Field(whole),
        "available": Field(truth),
        "days_of_supply": Field(days),
        "group": _ID,
    },
    "orders": {
        "order_id": _ID,
        "customer": _ID,
        "placed_at": _MOMENT,
        "status": _ID,
        "status_at": _MOMENT,
        "currency": Field(currency),
        "total": _MONEY,
        "discount": _MONEY,
        "coupon": Field(codes),
        "lines": _LINES,
        "shipments": Field(documents),
        "refunds": Field(documents),
        "returns": Field(documents),
    },
    "carts": {
        "cart_id": _ID,
        "customer": _ID,
        "updated_at": _MOMENT,
        "url": _TEXT,
        "checkout_url": _TEXT,
        "currency": Field(currency),
        "value": _MONEY,
        "lines": _LINES,
    },
    "events": {
        "id": _ID,
        "event": _ID,
        "customer": _ID,
        "at": _MOMENT,
    },
    "consents": {
        "customer": _ID,
        "topic": _ID,
        "state": _ID,
        "basis": _ID,
        "at": _MOMENT,
        "source": _TEXT,
        "wording": _TEXT,
    },
}
