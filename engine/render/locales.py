"""Locales: which copies of a template a customer may get, and how numbers and dates are written there.

`locale_chain` turns a customer's locale into the folders to look into, most fitting first; the empty name is the
default. `Formats` writes money, dates, numbers and plurals for one locale and time zone through Babel, with caches
that are shared by all mails. Nothing here reads files or the clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache

from babel import Locale, UnknownLocaleError, localedata
from babel import dates as babel_dates
from babel import numbers as babel_numbers

DEFAULT = ""
_HANT = frozenset({"TW", "HK", "MO"})
_RTL = frozenset({"ar", "he", "fa", "ur", "ps", "sd", "ug", "yi", "dv", "ckb"})
_PARTS = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?(?:[-_.@].*)?")
_LOCALE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Za-z]{2}|\d{3}))?")
_FOLDER = re.compile(r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|\d{3}))?")


@lru_cache(maxsize=1024)
def locale_chain(locale: str | None) -> tuple[str, ...]:
    """Return the template folders for a locale, most fitting first; the last is the default, an empty name.

    >>> locale_chain("zh_TW")
    ('zh-TW', 'zh-Hant', 'zh', '')
    >>> locale_chain("pt-br")
    ('pt-BR', 'pt', '')
    """
    match = _PARTS.fullmatch((locale or "").strip())
    if match is None:
        return (DEFAULT,)
    language, script, region = match[1].lower(), (match[2] or "").title(), (match[3] or "").upper()
    wanted = [
        f"{language}-{script}-{region}" if script and region else "",
        f"{language}-{region}" if region else "",
    ]
    if language == "zh" and not script and region:
        script = "Hant" if region in _HANT else "Hans"
    wanted += [f"{language}-{script}" if script else "", language]
    return (*dict.fromkeys(name for name in wanted if name), DEFAULT)


@lru_cache(maxsize=1024)
def is_locale_folder(name: str) -> bool:
    """Return whether a folder under templates/ holds localised copies: `ja`, `zh-Hant`, `pt-BR`."""
    return bool(_FOLDER.fullmatch(name)) and localedata.exists(name.split("-", maxsplit=1)[0])


@lru_cache(maxsize=1024)
def is_locale(name: str) -> bool:
    """Return whether a name is that of a language that mails can be written for, with its script and region.

    >>> is_locale("zh_TW"), is_locale("pt-br"), is_locale("xx_!!"), is_locale("en_!!")
    (True, True, False, False)
    """
    match = _LOCALE.fullmatch(name)
    return match is not None and localedata.exists(match[1].lower())


@lru_cache(maxsize=4096)
def formatting_locale(folder: str, customer: str | None, shop: str) -> str:
    """Return the locale for dates and money in a mail whose words come from `folder`.

    The customer's own locale where it speaks the language of the words, else that of the words: an English mail never
    has French dates in it.
    """
    words = folder or shop
    mine = (customer or "").replace("_", "-")
    return (
        mine
        if mine and mine.split("-")[0].lower() == words.split("-")[0].lower()
        else words.replace("_", "-")
    )


@lru_cache(maxsize=1024)
def direction(locale: str) -> str:
    """Return `rtl` for a locale that is written from right to left, else `ltr`."""
    return "rtl" if locale.replace("_", "-").split("-")[0].lower() in _RTL else "ltr"


@lru_cache(maxsize=256)
def babel_locale(locale: str) -> Locale:
    """Return Babel's locale for a name such as `zh-TW`; English where Babel knows none of its parts."""
    for name in locale_chain(locale):
        try:
            return Locale.parse(name, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return Locale.parse("en")


@dataclass(frozen=True, slots=True)
class Formats:
    """Writes values for one locale and time zone; `currency` is used where a price names none."""

    locale: str = "en"
    zone: tzinfo = UTC
    currency: str = "EUR"

    def money(self, amount: object, currency: object = None) -> str:
        """Return an amount with its currency: `€12.50`, `12,50 €`, `¥1,200`."""
        number = to_decimal(amount)
        return "" if number is None else _money(number, str(currency or self.currency).upper(), self.locale)

    def number(self, value: object, digits: int | None = None) -> str:
        """Return a number with the locale's separators; `digits` after the point, else as many as it has (up to 3)."""
        number = to_decimal(value)
        return "" if number is None else _number(number, digits, self.locale)

    def date(self, value: object, form: str = "long") -> str:
        """Return a date: `short`, `medium`, `long`, `full`, or a CLDR skeleton such as `MMMd`; times in the zone."""
        day = to_day(value, self.zone)
        return "" if day is None else _date(day, form, self.locale)

    def datetime(self, value: object, form: str = "medium") -> str:
        """Return a date with its time of day in the customer's zone."""
        moment = to_moment(value)
        if moment is None:
            return ""
        local = moment.astimezone(self.zone) if moment.tzinfo else moment
        return _datetime(local.replace(tzinfo=None), form, self.locale)

    def plural(self, count: object, one: str, other: str | None = None, **forms: str) -> str:
        """Return the form that the locale's plural rule picks for the count; `#` in it becomes the number."""
        number = to_decimal(count)
        if number is None:
            return ""
        rule = _plural_rule(number, self.locale)
        chosen = forms.get(rule) or (one if rule == "one" else other if other is not None else one)
        return chosen.replace("#", self.number(number))


def to_decimal(value: object) -> Decimal | None:
    """Return a finite number as Decimal, None for what is none."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = Decimal(str(value).strip()[:64])
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def to_moment(value: object) -> datetime | None:
    """Return a datetime for a datetime, a date or ISO text; None for anything else."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    return None


def to_day(value: object, zone: tzinfo) -> date | None:
    """Return the day of a date, or of a moment as it is in the zone."""
    moment = to_moment(value)
    if moment is None:
        return None
    return (moment if moment.tzinfo in (None, zone) else moment.astimezone(zone)).date()


@lru_cache(maxsize=8192)
def _money(amount: Decimal, currency: str, locale: str) -> str:
    if abs(amount.adjusted()) > 30:
        return ""
    form = _money_form(currency, locale)
    if form is not None and 0 <= amount < _MOST_BY_FORM:
        return form.written(amount)
    return babel_numbers.format_currency(amount, currency, locale=babel_locale(locale))


_MOST_BY_FORM = 10**12
_SAMPLES = [
    Decimal(text)
    for text in [
        "0",
        "0.4",
        "7.125",
        "12.5",
        "999.995",
        "1234.005",
        "98765",
        "123456789012.345",
        "1234567.891",
        "1234567",
    ]
]


@dataclass(frozen=True, slots=True)
class _Form:
    """How amounts that are not negative are written in a currency and locale."""

    before: str
    after: str
    group: str
    point: str
    unit: Decimal

    def written(self, amount: Decimal) -> str:
        """Return an amount below `_MOST_BY_FORM`, as Babel writes it."""
        whole, _, part = f"{amount.quantize(self.unit, ROUND_HALF_EVEN):,f}".partition(".")
        if self.group != ",":
            whole = whole.replace(",", self.group)
        return (
            f"{self.before}{whole}{self.point}{part}{self.after}"
            if part
            else f"{self.before}{whole}{self.after}"
        )


@lru_cache(maxsize=512)
def _money_form(currency: str, locale: str) -> _Form | None:
    """Return the form of a currency's amounts, read from what Babel writes; None where it does not write all alike."""
    known = babel_locale(locale)
    told = [babel_numbers.format_currency(sample, currency, locale=known) for sample in _SAMPLES]
    found = re.fullmatch(r"(\D*)1(?P<group>\D*)234(?P=group)567(?:(\D+)(\d+))?(\D*)", told[-1])
    if found is None:
        return None
    unit = Decimal(1).scaleb(-len(found[4] or ""))
    form = _Form(found[1], found[5], found[2], found[3] or "", unit)
    return form if [form.written(sample) for sample in _SAMPLES] == told else None


@lru_cache(maxsize=4096)
def _plural_rule(number: Decimal, locale: str) -> str:
    return str(babel_locale(locale).plural_form(number))


@lru_cache(maxsize=8192)
def _number(value: Decimal, digits: int | None, locale: str) -> str:
    if abs(value.adjusted()) > 30:
        return ""
    if digits is None:
        return babel_numbers.format_decimal(value, locale=babel_locale(locale))
    pattern = "#,##0." + "0" * min(max(digits, 0), 12) if digits > 0 else "#,##0"
    return babel_numbers.format_decimal(value, format=pattern, locale=babel_locale(locale))


@lru_cache(maxsize=4096)
def _date(day: date, form: str, locale: str) -> str:
    if form in ("short", "medium", "long", "full"):
        return babel_dates.format_date(day, form, locale=babel_locale(locale))
    return babel_dates.format_skeleton(form[:32], day, locale=babel_locale(locale))


@lru_cache(maxsize=4096)
def _datetime(moment: datetime, form: str, locale: str) -> str:
    known = babel_locale(locale)
    if form not in ("short", "medium", "long", "full"):
        return babel_dates.format_skeleton(form[:32], moment, locale=known)
    time_of_day = babel_dates.format_time(moment.time(), "short", locale=known)
    pattern = str(known.datetime_formats[form])
    return (
        pattern.replace("{1}", _date(moment.date(), form, locale))
        .replace("{0}", time_of_day)
        .replace("'", "")
    )
