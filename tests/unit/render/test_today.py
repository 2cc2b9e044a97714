"""What a mail says of a cart is what holds today."""

from __future__ import annotations

from typing import Any

import pytest

from engine.render import mjml
from tests.unit.render.conftest import written

LINE = {"sku": "T1", "quantity": 2, "price": "10.00"}


def now(*lines: dict[str, Any]) -> str:
    """Return what a cart of these lines costs today."""
    cart = {"cart_id": "c1", "currency": "EUR", "lines": lines, "value": "999"}
    return written("{{ cart.value_now }}", cart=cart)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([LINE], "20.00"),
        ([{**LINE, "price_now": "8.50"}], "17.00"),
        ([LINE, {**LINE, "stock": 0}], "20.00"),
        ([LINE, {**LINE, "available": False}], "20.00"),
        ([LINE, {"sku": "T2"}], ""),
        ([{**LINE, "quantity": 2.0, "price_now": 8.5}], "17.00"),
    ],
    ids=["as told", "cheaper", "sold out", "not available", "no price known", "other numbers"],
)
def test_a_cart_costs_what_can_be_bought_today(lines: list[dict[str, Any]], told: str) -> None:
    """Today's prices count, what has sold out does not, and without all prices there is no sum."""
    assert now(*lines) in (told, told.rstrip("0"))


def test_a_preheader_hides_without_disguise() -> None:
    """The list view's line is not displayed; it is not white on white either, which filters take for a trick."""
    compiled = mjml.compile(
        "<mjml><mj-head><mj-preview>Soon</mj-preview></mj-head><mj-body></mj-body></mjml>"
    )
    before = compiled[: compiled.index("Soon")].rpartition("<div")[2]
    assert "display:none" in before
    assert "color" not in before
    assert "font-size" not in before
