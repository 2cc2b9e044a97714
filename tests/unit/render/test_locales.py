"""Locales: folders, and how money, dates and counts are written."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from babel import localedata
from babel.numbers import format_currency
from hypothesis import given
from hypothesis import strategies as st

from engine.render.locales import (
    Formats,
    babel_locale,
    direction,
    formatting_locale,
    is_locale_folder,
    locale_chain,
)

NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("locale", "chain"),
    [
        ("zh-TW", ("zh-TW", "zh-Hant", "zh", "")),
        ("zh_HK", ("zh-HK", "zh-Hant", "zh", "")),
        ("zh-CN", ("zh-CN", "zh-Hans", "zh", "")),
        ("zh-Hant-TW", ("zh-Hant-TW", "zh-TW", "zh-Hant", "zh", "")),
        ("pt_BR.UTF-8", ("pt-BR", "pt", "")),
        ("en", ("en", "")),
        ("", ("",)),
        ("../x", ("",)),
    ],
)
def test_chains(locale: str, chain: tuple[str, ...]) -> None:
    """Each locale falls back through script and language to the default."""
    assert locale_chain(locale) == chain


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("ja", True), ("zh-Hant", True), ("pt-BR", True), ("blocks", False), ("vip", False), ("JA", False)],
)
def test_locale_folders(name: str, is_one: bool) -> None:
    """A folder is a language only where it is named as one."""
    assert is_locale_folder(name) is is_one


@pytest.mark.parametrize(
    ("locale", "currency", "amount", "text"),
    [
        ("de-DE", "EUR", "1234.5", f"1.234,50{NBSP}€"),
        ("en-GB", "GBP", Decimal("9.9"), "£9.90"),
        ("ja-JP", "JPY", 1200, "￥1,200"),
        ("zh-TW", "TWD", 1200, "$1,200.00"),
        ("fr-FR", "EUR", 12.5, f"12,50{NBSP}€"),
        ("xx", "EUR", 1, "€1.00"),
        ("en", "EUR", None, ""),
        ("en", "EUR", "no number", ""),
        ("en", "EUR", "1e999999", ""),
        ("en", "EUR", float("nan"), ""),
    ],
)
def test_money(locale: str, currency: str, amount: object, text: str) -> None:
    """Prices are written as the customer's country writes them; what is no amount is nothing."""
    assert Formats(locale).money(amount, currency) == text


def test_dates_are_the_customers() -> None:
    """A moment is told by the customer's own calendar day."""
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    assert Formats("ja-JP", ZoneInfo("Asia/Tokyo")).date(late) == "2026年3月2日"
    assert Formats("en-US", ZoneInfo("America/New_York")).date(late) == "March 1, 2026"
    assert Formats("de-DE", ZoneInfo("Europe/Berlin")).datetime(late) == "02.03.2026, 00:30"
    assert Formats("en-GB").date("2026-03-01", "MMMd") == "1 Mar"
    assert Formats("en").date("soon") == ""


def test_plurals_follow_the_language() -> None:
    """Each language has its own number of forms."""
    assert [Formats("en").plural(count, "# item", "# items") for count in (0, 1, 2)] == [
        "0 items",
        "1 item",
        "2 items",
    ]
    polish = [
        Formats("pl").plural(count, "# list", "# lista", few="# listy", many="# listów")
        for count in (1, 2, 5)
    ]
    assert polish == ["1 list", "2 listy", "5 listów"]
    assert Formats("ja").plural(3, "#点") == "3点"


def test_dates_speak_the_language_of_the_words() -> None:
    """An English mail to a customer in France has English dates; one to a customer in Britain has British ones."""
    assert formatting_locale("", "fr-FR", "en") == "en"
    assert formatting_locale("", "en-GB", "en") == "en-GB"
    assert formatting_locale("ja", "ja-JP", "en") == "ja-JP"
    assert formatting_locale("zh-Hant", "zh_TW", "en") == "zh-TW"


def test_direction() -> None:
    """Arabic and Hebrew run from right to left."""
    assert [direction(locale) for locale in ("ar-EG", "he", "en", "ja")] == ["rtl", "rtl", "ltr", "ltr"]


@given(
    locale=st.sampled_from(sorted(localedata.locale_identifiers())),
    currency=st.sampled_from(["EUR", "USD", "JPY", "KWD", "CHF", "INR", "XYZ"]),
    amount=st.decimals(-(10**6), 10**14, allow_nan=False, allow_infinity=False, places=3),
)
def test_money_is_what_babel_writes(locale: str, currency: str, amount: Decimal) -> None:
    """The short way of writing amounts is Babel's, in every locale that it knows."""
    name = locale.replace("_", "-")
    assert Formats(name).money(amount, currency) == format_currency(
        amount, currency, locale=babel_locale(name)
    )
