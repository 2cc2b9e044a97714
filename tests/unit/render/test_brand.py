"""The colours of a shop's mails: one accent is enough, and everything can be read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.render.brand import DEFAULTS, ENOUGH, contrast, palette

UPON = [
    ("ink", "surface"), ("ink", "background"), ("ink", "soft"), ("muted", "surface"), ("muted", "background"),
    ("muted", "soft"), ("accent_text", "surface"), ("accent_text", "soft"), ("on_accent", "accent"),
    ("dark_ink", "dark_surface"), ("dark_ink", "dark_background"), ("dark_ink", "dark_soft"),
    ("dark_muted", "dark_surface"), ("dark_muted", "dark_background"), ("dark_muted", "dark_soft"),
    ("dark_accent", "dark_surface"), ("dark_accent", "dark_soft"), ("dark_on_accent", "dark_accent"),
]  # fmt: skip
"""Which colour is written on which."""

FOLLOWING = [pair for pair in UPON if any("accent" in name for name in pair)]


@pytest.mark.parametrize(("above", "below"), UPON)
def test_default_colours_can_be_read(above: str, below: str) -> None:
    """Every text of the starter mails stands out from its ground by 4.5 to 1 at least, by day and by night."""
    brand = palette({})
    assert contrast(brand[above], brand[below]) >= ENOUGH


@given(st.integers(0, 0xFFFFFF))
def test_any_accent_can_be_read(colour: int) -> None:
    """Whatever accent a shop has, what is written with it and upon it can be read."""
    brand = palette({"accent": f"#{colour:06x}"})
    for above, below in FOLLOWING:
        assert contrast(brand[above], brand[below]) >= ENOUGH, (above, below)
    assert all(re.fullmatch("#[0-9a-f]{6}", brand[name]) for pair in UPON for name in pair)


def test_what_a_shop_says_is_never_changed() -> None:
    """A colour of [brand] stays as it is, also one that cannot be read or is no colour; an empty key is none."""
    told = {"accent": "#ffee00", "on_accent": "#ffffff", "soft": "beige", "line": "", "slogan": "Tea."}
    brand = palette(told)
    assert (brand["accent"], brand["on_accent"], brand["soft"]) == ("#ffee00", "#ffffff", "beige")
    assert brand["line"] == DEFAULTS["line"]
    assert brand["slogan"] == "Tea."
    assert palette({"accent": "rebeccapurple"})["accent"] == "rebeccapurple"
    assert palette({"tone": "shouting"})["tone"] == "warm"
    assert palette({"tone": "formal"})["tone"] == "formal"
