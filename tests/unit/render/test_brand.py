"""The colours of a shop's mails: one accent is enough, and everything can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.render.brand import DEFAULTS, ENOUGH, contrast, palette

UPON = [
    ("ink", "surface"), ("ink", "background"), ("ink", "soft"), ("muted", "surface"), ("muted", "background"),
    ("muted", "soft"), ("accent_text", "surface"), ("accent_text", "soft"), ("accent_text", "background"),
    ("on_accent", "accent"),
    ("dark_ink", "dark_surface"), ("dark_ink", "dark_background"), ("dark_ink", "dark_soft"),
    ("dark_muted", "dark_surface"), ("dark_muted", "dark_background"), ("dark_muted", "dark_soft"),
    ("dark_accent", "dark_surface"), ("dark_accent", "dark_soft"), ("dark_accent", "dark_background"),
    ("dark_on_accent", "dark_accent"),
]  # fmt: skip
"""Which colour is written on which."""

STYLE = Path(__file__).resolve().parents[3] / "templates/layouts/style.mjml"


@pytest.mark.parametrize(("above", "below"), UPON)
def test_default_colours_can_be_read(above: str, below: str) -> None:
    """Every text of the starter mails stands out from its ground by 4.5 to 1 at least, by day and by night."""
    brand = palette({})
    assert contrast(brand[above], brand[below]) >= ENOUGH


@given(st.integers(0, 0xFFFFFF))
def test_any_accent_can_be_read(colour: int) -> None:
    """Whatever accent a shop has, every text can be read on every ground, by day and by night."""
    brand = palette({"accent": f"#{colour:06x}"})
    for above, below in UPON:
        assert contrast(brand[above], brand[below]) >= ENOUGH, (above, below)
    assert all(re.fullmatch("#[0-9a-f]{6}", brand[name]) for pair in UPON for name in pair)


@given(st.integers(0, 0xFFFFFF), st.integers(0, 0xFFFFFF), st.integers(0, 0xFFFFFF))
def test_panels_stay_readable_where_their_surface_is(accent: int, surface: int, muted: int) -> None:
    """Also with colours of a shop's own: what can be read on the sheet can be read on its panels, day and night."""
    told = {"accent": f"#{accent:06x}"}
    for name in ("", "dark_"):
        told |= {f"{name}surface": f"#{surface:06x}", f"{name}muted": f"#{muted:06x}"}
    brand = palette(told)
    for name in ("ink", "muted", "dark_ink", "dark_muted"):
        night = name.removesuffix("ink").removesuffix("muted")
        if contrast(brand[name], brand[f"{night}surface"]) >= ENOUGH:
            assert contrast(brand[name], brand[f"{night}soft"]) >= ENOUGH


def test_at_night_no_word_on_a_band_takes_the_colour_of_the_page() -> None:
    """Whatever the night turns light on the page stays as it is on a band, whose ground is the accent by night too."""
    rules = dict(
        re.findall(
            r"^(.*?) \{ color: \{\{ (brand\.\w+) \}\} !important; \}$", STYLE.read_text(), re.MULTILINE
        )
    )
    coloured = {
        colour: {part.strip().removeprefix("{{ of }}.page ") for part in parts.split(",")}
        for parts, colour in rules.items()
    }
    turned = {name for name in coloured["brand.dark_ink"] if name != "a.title"}
    assert turned >= {"div", "p", "h1"}
    assert coloured["brand.on_accent"] == {f".band {name}" for name in turned}


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
