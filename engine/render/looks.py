"""How a mail looks to those who read it: contrast, size of type, words of another mailer that were left in.

Comes in: a rendered MJML document with marks (`engine.render.structure`). Goes out: findings, each at the author's tag.
Promises: only what is said in attributes and inline styles is judged; a colour that is not a plain one, or stands upon a
picture, is left alone. Contrast is that of WCAG 2.2 (1.4.3): 4.5, for large type 3.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from engine.diagnostics import Finding, Span
from engine.render import problems
from engine.render.mjml import TAG
from engine.render.structure import place_of

ENOUGH, ENOUGH_FOR_LARGE = 4.5, 3.0
SMALLEST = 12.0
_LARGE, _LARGE_AND_BOLD = 24.0, 18.66
_PARTS = re.compile(r"<(/?)([A-Za-z][\w:-]*)(.*?)(/?)>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([A-Za-z][\w:-]*)\s*=\s*(\"[^\"]*\"|'[^']*')")
_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})")
_RGB = re.compile(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")
_NAMED = {
    "white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128), "grey": (128, 128, 128), "silver": (192, 192, 192),
    "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "orange": (255, 165, 0),
    "lightgray": (211, 211, 211), "lightgrey": (211, 211, 211), "darkgray": (169, 169, 169), "navy": (0, 0, 128),
}  # fmt: skip
_VOID = frozenset(["br", "hr", "img", "meta", "link", "col", "wbr"])
_WORDS = frozenset(
    ["mj-text", "mj-button", "mj-table", "mj-navbar-link", "mj-accordion-title", "mj-accordion-text"]
)
_LEFT_OVER = re.compile(
    r"\*\|[A-Z_:0-9]+\|\*|%%\w+%%|(?<![\w%])%[A-Z][A-Z_]{2,}%|\[\[\s*\w+\s*\]\]|\$?\{\s*[a-z]+(?:[_.]\w+)+\s*\}|<<\w+>>|\{\{|\}\}"
)

_LIGHT = 0.4  # luminance from which light words cannot be read on a ground
_STYLE = re.compile(r"<mj-style[^>]*>(.*?)</mj-style[^>]*>", re.DOTALL)
_AT_NIGHT = re.compile(r"@media[^{]*prefers-color-scheme:\s*dark[^{]*\{((?:[^{}]*\{[^{}]*\})*)", re.DOTALL)
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SCAFFOLD = frozenset(
    [">", "table", "tbody", "tr", "td"]
)  # what MJML puts around the element that bears the class
_TURNED = frozenset(["div", "p", "td", "h1", "h2", "h3", "span", "b"])

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Look:
    """What holds for the words inside an element; None where it cannot be known."""

    name: str
    at: int
    colour: Colour | None = (0, 0, 0)
    background: Colour | None = (255, 255, 255)
    size: float | None = 13.0
    bold: bool = False
    hidden: bool = False
    classes: frozenset[str] = frozenset()  # its own, and those of what it stands in
    stays: bool = False  # its ground is the same at night


@dataclass(frozen=True, slots=True)
class _Night:
    """What a mail's styles change at night: whether words turn light, which grounds turn dark, which words stay dark."""

    turned: bool = False
    grounds: frozenset[str] = frozenset()  # classes whose own ground changes
    inner: frozenset[tuple[str, str]] = (
        frozenset()
    )  # a class, and a tag somewhere in it, whose ground changes
    inked: frozenset[str] = frozenset()  # classes whose words are given a dark colour

    def changes(self, name: str, own: Mapping[str, str], classes: frozenset[str]) -> bool:
        """Return whether the ground that an element has of its own is another at night."""
        mine = _classes(own)
        return bool(mine & self.grounds) or any((each, name) in self.inner for each in classes)


@dataclass(slots=True)
class _Defaults:
    """What mj-attributes says: for all tags, for one tag, for a class."""

    night: _Night = field(default_factory=_Night)
    by_tag: dict[str, dict[str, str]] = field(default_factory=dict)
    by_class: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "mj-class":
            self.by_class.setdefault(attributes.get("name", ""), {}).update(attributes)
        else:
            self.by_tag.setdefault(name, {}).update(attributes)

    def of(self, name: str, own: Mapping[str, str]) -> dict[str, str]:
        """Return the attributes of an element with the defaults under them."""
        classes = [self.by_class.get(word, {}) for word in own.get("mj-class", "").split()]
        merged: dict[str, str] = {}
        for layer in (self.by_tag.get("mj-all", {}), self.by_tag.get(name, {}), *classes, own):
            merged.update(layer)
        return merged


def check(document: str) -> list[Finding]:
    """Return what is hard to read in a marked document, each element once."""
    found: dict[tuple[str, Span], Finding] = {}
    night = _night("".join(_STYLE.findall(document)))
    for words, look in _texts(document, night):
        for finding in _judged(document, words, look, night):
            found.setdefault((finding.code, finding.span), finding)
    return list(found.values())


def left_over(text: str) -> str | None:
    """Return words of another mailer in a text, such as `*|FNAME|*`, or None.

    >>> left_over("Hi *|FNAME|*, 50% off"), left_over("Hi Ann, 50% off")
    ('*|FNAME|*', None)
    """
    match = _LEFT_OVER.search(text)
    return match[0] if match is not None else None


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast of two colours, from 1 to 21.

    >>> round(contrast((0, 0, 0), (255, 255, 255)), 1)
    21.0
    """
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def colour_of(text: str) -> Colour | None:
    """Return a colour written as #rgb, #rrggbb, rgb() or by a usual name; None for anything else.

    >>> colour_of("#fff"), colour_of("rgb(1, 2, 3)"), colour_of("url(x)")
    ((255, 255, 255), (1, 2, 3), None)
    """
    word = text.strip().lower()
    if match := _HEX.fullmatch(word):
        digits = match[1] if len(match[1]) == 6 else "".join(sign * 2 for sign in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if match := _RGB.fullmatch(word):
        red, green, blue = (min(int(part), 255) for part in match.groups())
        return red, green, blue
    return _NAMED.get(word)


# ── going through ────────────────────────────────────────────────────────────────────────────────────────────────────


def _texts(document: str, night: _Night) -> Iterator[tuple[str, _Look]]:
    """Yield each piece of text that people read, with how it looks."""
    defaults, stack, after = _Defaults(night), [_Look("", 0)], 0
    for match in TAG.finditer(document):
        words = document[after : match.start()].strip()
        if words and any(look.name in _WORDS for look in stack):
            yield words, stack[-1]
        after = match.end()
        tag = _read(match[0])
        if tag is None:
            continue
        name, closes, stands_alone, attributes = tag
        if closes:
            while len(stack) > 1 and stack.pop().name != name:
                pass
            continue
        if any(look.name == "mj-attributes" for look in stack):
            defaults.note(name, attributes)
        if not stands_alone and name not in _VOID:
            stack.append(_inside(name, match.start(), stack[-1], attributes, defaults))


@lru_cache(maxsize=8_192)
def _read(tag: str) -> tuple[str, bool, bool, Mapping[str, str]] | None:
    """Return a tag's name, whether it closes, whether it stands alone, and its attributes."""
    parts = _PARTS.fullmatch(tag)
    if parts is None:
        return None
    attributes = {each[1].lower(): html.unescape(each[2][1:-1]) for each in _ATTRIBUTE.finditer(parts[3])}
    return parts[2].lower(), bool(parts[1]), bool(parts[4]), attributes


def _inside(name: str, at: int, outer: _Look, own: Mapping[str, str], defaults: _Defaults) -> _Look:
    outer = replace(outer, name=name, at=at, classes=outer.classes | _classes(own))
    if not name.startswith("mj"):
        bold = outer.bold or name in ("b", "strong", "th", "h1", "h2", "h3")
        return _styled(replace(outer, bold=bold), own, defaults.night)
    attributes, look = defaults.of(name, own), outer
    stays = not defaults.night.changes(name, own, look.classes)
    if "background-url" in attributes or "background" in attributes:
        look = replace(look, background=None)
    if name == "mj-button":
        return _worded(
            replace(look, background=colour_of(attributes.get("background-color", "#414141")), stays=stays),
            attributes,
            "#ffffff",
        )
    ground = attributes.get("container-background-color" if name in _WORDS else "background-color")
    if ground and ground != "transparent":
        look = replace(look, background=colour_of(ground), stays=stays)
    return _worded(look, attributes, "#000000") if name in _WORDS else look


def _worded(look: _Look, attributes: Mapping[str, str], colour: str) -> _Look:
    return replace(
        look,
        colour=colour_of(attributes.get("color", colour)),
        size=_size(attributes.get("font-size", "13px"), None),
        bold=_is_bold(attributes.get("font-weight", "")),
    )


def _styled(look: _Look, own: Mapping[str, str], night: _Night) -> _Look:
    style = {
        part.partition(":")[0].strip().lower(): part.partition(":")[2].strip()
        for part in own.get("style", "").split(";")
    }
    if "color" in style or "color" in own:
        look = replace(look, colour=colour_of(style.get("color") or own.get("color", "")))
    ground = style.get("background-color") or style.get("background") or own.get("bgcolor")
    if ground and ground not in ("none", "transparent"):
        stays = not night.changes(look.name, own, look.classes)
        look = replace(look, background=colour_of(ground), stays=stays)
    if "font-size" in style:
        look = replace(look, size=_size(style["font-size"], look.size))
    if "font-weight" in style:
        look = replace(look, bold=_is_bold(style["font-weight"]))
    return replace(
        look, hidden=look.hidden or style.get("display") == "none" or style.get("font-size") == "0"
    )


# ── at night ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _classes(own: Mapping[str, str]) -> frozenset[str]:
    return frozenset(f"{own.get('css-class', '')} {own.get('class', '')}".split())


@lru_cache(maxsize=64)
def _night(styles: str) -> _Night:
    """Read what styles say for `prefers-color-scheme: dark`."""
    turned = False
    grounds: set[str] = set()
    inner: set[tuple[str, str]] = set()
    inked: set[str] = set()
    for part in _AT_NIGHT.findall(styles):
        for selectors, body in _RULE.findall(part):
            told = {
                name.strip().lower(): value
                for name, _, value in (each.partition(":") for each in body.split(";"))
            }
            colour = colour_of(told.get("color", "").replace("!important", ""))
            ground = "background" in told or "background-color" in told
            for selector in selectors.split(","):
                steps = re.sub(r"\s*>\s*", " > ", selector.strip()).split()
                if not steps:
                    continue
                last = max((at for at, step in enumerate(steps) if "." in step), default=None)
                named = frozenset(re.findall(r"\.([\w-]+)", steps[last])) if last is not None else frozenset()
                rest = steps[last + 1 :] if last is not None else steps
                if ground and all(step in _SCAFFOLD for step in rest):
                    grounds |= named
                elif ground:
                    inner |= {(each, rest[-1]) for each in named}
                if colour is not None and _luminance(colour) > _LIGHT:
                    turned = turned or (bool(rest) and rest[-1] in _TURNED)
                elif colour is not None:
                    inked |= named
    return _Night(turned, frozenset(grounds), frozenset(inner), frozenset(inked))


def _size(text: str, outer: float | None) -> float | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(px|pt|em|rem|%)\s*", text.lower())
    if match is None:
        return None
    number = float(match[1])
    if match[2] in ("em", "%"):
        return None if outer is None else outer * (number / 100 if match[2] == "%" else number)
    return number * {"px": 1, "pt": 4 / 3, "rem": 16}[match[2]]


def _is_bold(text: str) -> bool:
    return text in ("bold", "bolder") or (text.isdigit() and int(text) >= 700)


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _judged(document: str, words: str, look: _Look, night: _Night) -> Iterator[Finding]:
    plain = html.unescape(words).strip(" \u00a0\u200b\u200c·•|–—-\n\t")
    if look.hidden or not any(sign.isalnum() for sign in plain):
        return
    span = _span(document, look)
    if look.colour is not None and look.background is not None:
        found = contrast(look.colour, look.background)
        large = look.size is not None and look.size >= (_LARGE_AND_BOLD if look.bold else _LARGE)
        if found < (ENOUGH_FOR_LARGE if large else ENOUGH) - 0.005:
            yield problems.low_contrast(span, found, ENOUGH_FOR_LARGE if large else ENOUGH)
    light = look.background is not None and _luminance(look.background) > _LIGHT
    if night.turned and look.stays and light and not look.classes & night.inked:
        yield problems.light_at_night(span)
    if look.size is not None and 0 < look.size < SMALLEST:
        yield problems.small_text(span, look.size)
    other = left_over(plain)
    if other is not None:
        yield problems.merge_tag(span, other)


def _span(document: str, look: _Look) -> Span:
    place = place_of(document, look.at)
    return Span(place.file, place.line, place.column, len(look.name) + 1)
