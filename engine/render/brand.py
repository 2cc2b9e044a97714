"""The colours and type of a shop's mails: what `[brand]` says, and what follows from it.

`[brand]` comes in, the full set that layouts draw with goes out. A shop may give its accent colour alone: the text upon
it, the tint of panels and the colours of dark mode follow from it, each with a contrast of at least 4.5 to what it
stands on. What a shop does give is never changed; what is no #rrggbb colour is passed on and nothing follows from it.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

ENOUGH = 4.5
"""The contrast that text needs (WCAG 2.2, level AA)."""

DEFAULTS: Mapping[str, Any] = {
    "background": "#f3efe8", "surface": "#fffdfa", "ink": "#26241f", "muted": "#686257", "line": "#e3dcd0",
    "accent": "#2f5d50", "radius": "8px", "tone": "warm", "logo_width": 140,
    "font": "-apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif",
    "heading_font": "Georgia, 'Times New Roman', serif",
    "dark_background": "#141412", "dark_surface": "#1e1d1a", "dark_ink": "#ece8df", "dark_muted": "#aba598",
    "dark_line": "#3b3832",
}  # fmt: skip
"""What `[brand]` leaves open and does not follow from the accent."""

TONES = ("warm", "formal")
"""How mails greet: by first name, or by full name and title."""

_ROOTS = (
    "accent", "background", "surface", "ink", "muted", "dark_background", "dark_surface", "dark_ink", "dark_muted",
)  # fmt: skip
_HEX = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_STEPS = 50  # from a colour to white or black
_BLACK, _WHITE = "#161513", "#ffffff"


def palette(brand: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return everything that `brand` has in a template, from the keys of `[brand]`."""
    given = {name: value for name, value in brand.items() if value not in (None, "")}
    if given.get("tone") not in TONES:
        given.pop("tone", None)
    known = {**DEFAULTS, **given}
    return {**_following(*(str(known[name]) for name in _ROOTS)), **known}


@lru_cache(maxsize=64)
def _following(*told: str) -> Mapping[str, str]:
    colours = dict(zip(_ROOTS, told, strict=True))
    if not all(_HEX.fullmatch(colour) for colour in told):
        colours = {name: str(DEFAULTS[name]) for name in _ROOTS}
    accent, surface, dark_surface = (colours[name] for name in ("accent", "surface", "dark_surface"))
    soft = _tint(accent, surface, 0.09, (colours["ink"], colours["muted"]))
    dark_soft = _tint(accent, dark_surface, 0.22, (colours["dark_ink"], colours["dark_muted"]))
    accent_text, dark_accent = accent, accent
    for ground in (soft, surface, colours["background"]):
        accent_text = readable(accent_text, ground, lighter=False)
    for ground in (dark_soft, dark_surface, colours["dark_background"]):
        dark_accent = readable(dark_accent, ground, lighter=True)
    return {
        "on_accent": upon(accent),
        "accent_text": accent_text,
        "soft": soft,
        "dark_accent": dark_accent,
        "dark_on_accent": upon(dark_accent),
        "dark_soft": dark_soft,
    }


def _tint(accent: str, surface: str, most: float, texts: tuple[str, ...]) -> str:
    """Return a surface with as much of the accent in it, up to `most`, as leaves these texts readable upon it.

    A text that cannot be read on the surface itself sets no bound: no tint would help it.
    """
    judged = [text for text in texts if contrast(text, surface) >= ENOUGH]
    for step in range(_STEPS):
        tint = mixed(accent, surface, most * (1 - step / _STEPS))
        if all(contrast(text, tint) >= ENOUGH for text in judged):
            return tint
    return surface


def upon(colour: str) -> str:
    """Return white or near-black, whichever is read better on a colour; black where neither is enough.

    >>> upon("#2f5d50"), upon("#ffd400")
    ('#ffffff', '#161513')
    """
    best = max((_WHITE, _BLACK), key=lambda text: contrast(text, colour))
    return best if contrast(best, colour) >= ENOUGH else "#000000"


def readable(colour: str, ground: str, *, lighter: bool) -> str:
    """Return the colour, made lighter or darker until it can be read on the ground; its hue stays.

    >>> readable("#2f5d50", "#ffffff", lighter=False)
    '#2f5d50'
    >>> readable("#2f5d50", "#1e1d1a", lighter=True)
    '#4a937f'
    """
    hue, light, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in _channels(colour)))
    end = 1.0 if lighter else 0.0
    for step in range(_STEPS + 1):
        moved = colorsys.hls_to_rgb(hue, light + (end - light) * step / _STEPS, saturation)
        told = "#" + "".join(f"{round(channel * 255):02x}" for channel in moved) if step else colour
        if contrast(told, ground) >= ENOUGH:
            break
    return told


def mixed(colour: str, ground: str, share: float) -> str:
    """Return a share of one colour in another.

    >>> mixed("#000000", "#ffffff", 0.5)
    '#808080'
    """
    pairs = zip(_channels(colour), _channels(ground), strict=True)
    return "#" + "".join(f"{round(there + (here - there) * share):02x}" for here, there in pairs)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21, as WCAG 2.2 defines it.

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(channel / 255) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _channels(colour: str) -> tuple[int, int, int]:
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
