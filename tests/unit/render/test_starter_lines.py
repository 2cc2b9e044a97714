"""Orders and carts of every length, the empty one too, and titles with measures fit into a mail."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.bundled import bundled
from engine.render.library import TemplateLibrary, read_folder
from engine.render.render import render
from engine.render.samples import personas, sample_context


def test_an_order_of_a_thousand_lines_fits() -> None:
    """A thank-you for a thousand lines shows the first forty, says how many more there are, and stays below Gmail's cut."""
    context = sample_context(personas()[1])
    lines = [
        {"sku": f"T{number}", "title": f"Tea {number}", "quantity": 1, "price": "4.50"}
        for number in range(1_000)
    ]
    context = replace(context, order={"order_id": "o1", "currency": "EUR", "lines": lines, "total": "4500"})
    mail = render(TemplateLibrary(read_folder(bundled("templates"))), "thank-you-repeat", context)
    assert "Tea 39" in mail.text
    assert "Tea 40" not in mail.text
    assert "960" in mail.text
    assert mail.size < 102_000


@pytest.mark.parametrize("locale", ["en", "ja", "zh-TW"])
@pytest.mark.parametrize("name", ["cart-reminder", "cart-second-reminder"])
def test_an_empty_cart_counts_nothing(name: str, locale: str) -> None:
    """Where a cart holds nothing, a reminder counts no things and shows no cart, but says so in every language."""
    context = sample_context(personas()[0])
    context = replace(context, cart={**(context.cart or {}), "lines": ()})
    mail = render(TemplateLibrary(read_folder(bundled("templates"))), name, context, locale=locale)
    assert not re.search(r"\b0 ", mail.preheader)
    assert not re.search("0点|0 項", mail.preheader)
    assert any(word in mail.text for word in ("cart is empty", "カートはいま空", "購物車現在是空的"))


def test_no_line_ends_before_a_unit() -> None:
    """Wherever starter mails show a product, "100 g" stays on one line, in HTML and in text."""
    library = TemplateLibrary(read_folder(bundled("templates")))
    names = [name for name in library.names() if "/" not in name]
    for name in names:
        blocks = sorted({block.name for block in library.template(name, "en").recommend})
        for locale in ("en", "ja", "zh-TW"):
            context = sample_context(personas()[0], recommend=blocks)
            mail = render(library, name, context, locale=locale)
            shown = re.sub(
                r'aria-label="[^"]*"|<title>.*?</title>|<div style="display:none.*?</div>', "", mail.html
            )
            assert not re.search(r"\d (g|l)\b", shown), (name, locale)


@pytest.mark.parametrize("locale", ["", "ja/", "zh-Hant/"])
@pytest.mark.parametrize("name", ["thank-you-first", "care-tips"])
def test_categories_are_compared_by_whole_words(locale: str, name: str) -> None:
    """Steaks are no tea, and hardware is no teaware: what is asked of is a list of words, not a text."""
    source = (Path(__file__).resolve().parents[3] / f"templates/{locale}{name}.mjml").read_text(
        encoding="utf-8"
    )
    assert '{% set kinds = kinds.split(" ") %}' in source
    assert '"ware" in kinds' not in source
