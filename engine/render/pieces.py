"""A compiled piece of a mail with room for values: its HTML, the draft of its text, and what may stand where.

MJML whose values are tokens comes in: a whole document with places for its leaves, or one leaf (what stands in an mj-text,
or a row of a table). A frozen `Piece` goes out that can be filled as often as wanted. What cannot be kept apart raises
`Unfit`, and the mail is made the plain way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Literal

from markupsafe import escape

from engine.render import mjml
from engine.render.text import Reader

TOKEN, END, LEAF, ROW, WORDS = "\x01", "\x02", "\x03", "\x04", "\x05"
"""In a piece's source: what stands for a value (with its number and END, as long as it has one), and for a leaf, whose
kind follows. No mail holds these signs itself."""

_NAME = "zqhv"
"""How tokens are called while they go through the compiler; no source may hold it."""
MARKS = (_NAME, TOKEN, END, LEAF, ROW, WORDS)

MOST_VARIANTS = 200
"""How many sets of values that belong to the structure are known for one source."""

Place = Literal["text", "attribute", "address", "comment", "fixed"]
"""Where a value stands: in words; in an attribute; at the beginning of a link; of a link in Outlook's comments; where
only its own letters will do."""

_KEPT = {"a": ("href", "title"), "img": ("src", "alt", "title"), "mj-button": ("href", "title"),
         "mj-image": ("src", "href", "alt", "title")}  # fmt: skip
_ADDRESSES = frozenset(["href", "src"])
_TAG_NAME = re.compile(r"</?([A-Za-z][\w:-]*)")
_ATTRIBUTE = re.compile(r"""([A-Za-z_:][\w:.-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_VALUE = re.compile(_NAME + r"v(\d+)z")
_LINK_IN_COMMENT = re.compile(f'\\shref="{TOKEN}(?=")')
_SLOT = re.compile(rf'<tr id="{_NAME}r(\d+)z"></tr>|{_NAME}w(\d+)z|{_NAME}v(\d+)z')
_STYLED = re.compile(r"<(mj-style|style)\b.*?</\1>", re.DOTALL)
_TITLED = re.compile(r"<mj-title>.*?</mj-title>", re.DOTALL)
_HALF_ENTITY = re.compile(f"&#?[0-9A-Za-z]*{TOKEN}")  # with the value behind it, it might become another sign
_PAGE = "<mjml><mj-body><mj-section><mj-column>{}</mj-column></mj-section></mj-body></mjml>"


class Unfit(Exception):
    """Values and structure of this mail cannot be kept apart."""


class Slots:
    """Literal pieces with a slot between each two: slots below `values` are values, the others leaves. Never changes."""

    __slots__ = ("_parts", "_pick", "literals", "slots")

    def __init__(self, literals: tuple[str, ...], slots: tuple[int, ...]) -> None:
        self.literals, self.slots = literals, slots
        self._parts = [""] * (2 * len(slots) + 1)
        self._parts[0::2] = literals
        self._pick = itemgetter(*slots) if len(slots) > 1 else None

    def filled(self, fillings: Sequence[str]) -> str:
        """Return the text with its slots filled."""
        if self._pick is None:
            first, *more = self.literals
            return f"{first}{fillings[self.slots[0]]}{more[0]}" if more else first
        parts = self._parts.copy()
        parts[1::2] = self._pick(fillings)
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Piece:
    """A compiled piece: `html` and `draft` with their slots, `places` of its values, `in_data` for each of its leaves.

    `drafts` holds the draft for a place outside of tables of data, and inside of one.
    """

    html: Slots
    drafts: tuple[Slots, Slots]
    places: tuple[Place, ...]
    in_data: tuple[bool, ...] = ()

    @property
    def size(self) -> int:
        """About how many characters are kept."""
        return sum(len(text) for slots in (self.html, *self.drafts) for text in slots.literals)

    def written(self, values: Sequence[str]) -> list[str]:
        """Return the values as they stand in the HTML; raise Unfit for one that cannot stand there."""
        return [write(value) for write, value in zip(self.writers, values, strict=True)]

    @property
    def writers(self) -> tuple[Callable[[str], str], ...]:
        """What writes each of its values into the HTML; it may raise Unfit."""
        return _writers(self.places)


@dataclass(slots=True)
class Kept:
    """One source with tokens: the places of its values, and its pieces by the values that had to be put in first."""

    places: tuple[Place, ...]
    fixed: tuple[int, ...]
    kind: str = ""
    counts: tuple[int, ...] = ()
    pieces: dict[tuple[str, ...], Piece] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """A mail's HTML and text; `is_new` tells that a piece was compiled for it."""

    html: str
    text: str
    is_new: bool


def in_text(value: str) -> str:
    """Return a value as it stands between tags."""
    if "&" in value or "<" in value or ">" in value or '"' in value or "'" in value:
        return escape(value)
    return value


def in_attribute(value: str) -> str:
    """Return a value as it stands in an attribute when it has been through the compiler."""
    if not value.isascii() or not value.isprintable() or "\\" in value:
        return mjml.attribute(str(in_text(value)))
    return in_text(value)


def in_address(value: str) -> str:
    """Return a value as it stands at the beginning of a link; raise Unfit for what is no web address."""
    if value[:8] != "https://" and value[:7] != "http://":
        raise Unfit
    return in_attribute(value)


def in_comment(value: str) -> str:
    """Return a link as it stands in a comment of Outlook's; raise Unfit where it would end it."""
    if "--" in value:
        raise Unfit
    return in_address(value)


WRITERS: Mapping[Place, Callable[[str], str]] = {
    "text": in_text, "attribute": in_attribute, "address": in_address, "comment": in_comment, "fixed": in_text,
}  # fmt: skip
"""What writes a value into the HTML, by its place; values of the structure are not written at all."""


@lru_cache(maxsize=4_096)
def _writers(where: tuple[Place, ...]) -> tuple[Callable[[str], str], ...]:
    return tuple(WRITERS[place] for place in where)


def places(source: str) -> tuple[Place, ...]:
    """Return the place of each token in MJML, in order."""
    found: list[Place] = ["text"] * source.count(TOKEN)
    if not found:
        return ()
    if _HALF_ENTITY.search(source):
        raise Unfit
    order = {match.start(): number for number, match in enumerate(re.finditer(TOKEN, source))}
    for match in mjml.TAG.finditer(source):
        if TOKEN in match[0]:
            inside = [at for at in order if match.start() <= at < match.end()]
            kept = _kept(match[0])
            for at in inside:
                found[order[at]] = kept.get(at - match.start(), "fixed")
    for pattern, place in ((_TITLED, "attribute"), (_STYLED, "fixed")):
        for match in pattern.finditer(source):
            for at, number in order.items():
                if match.start() <= at < match.end():
                    found[number] = place  # type: ignore[call-overload]
    return tuple(found)


def _kept(tag: str) -> dict[int, Place]:
    """Return the places of the tokens in a tag that stand in attributes which are passed through."""
    if tag.startswith("<!--"):
        links = _LINK_IN_COMMENT.finditer(tag) if tag.startswith("<!--[if") else ()
        return {match.end() - 1: "comment" for match in links}
    name = _TAG_NAME.match(tag)
    known = _KEPT.get(name[1].lower(), ()) if name else ()
    found: dict[int, Place] = {}
    for match in _ATTRIBUTE.finditer(tag):
        value, start = match[2] or match[3] or "", match.end() - 1 - len(match[2] or match[3] or "")
        for token in re.finditer(TOKEN, value) if match[1] in known else ():
            found[start + token.start()] = "attribute"
            before = value[: token.start()]
            if match[1] in _ADDRESSES and not re.search(r"[:/?#]", before.replace(TOKEN, "")):
                leads = token.start() == 0
                found[start + token.start()] = "address" if leads else "attribute"
                if not leads and not before.startswith(TOKEN):
                    found[start + token.start()] = "fixed"
    return found


def outer_piece(source: str, kept: tuple[Place, ...]) -> Piece:
    """Return the compiled document; `kept` are the places of the tokens that are still in it."""
    return _piece(mjml.compile(_named(source)), kept, in_data=False, start="<body")


def leaf_piece(source: str, kept: tuple[Place, ...], kind: str) -> Piece:
    """Return a compiled leaf: what stands in an mj-text, or a row."""
    element = "mj-table" if kind == ROW else "mj-text"
    around = mjml.compile(_PAGE.format(f"<{element}>{_held(kind, 0)}</{element}>"))
    before, _, after = around.partition(_held(kind, 0))
    whole = mjml.compile(_PAGE.format(f"<{element}>{_named(source)}</{element}>"))
    if not whole.startswith(before) or not whole.endswith(after):
        raise Unfit
    return _piece(whole[len(before) : len(whole) - len(after)], kept, in_data=True)


def _held(kind: str, number: int) -> str:
    return f'<tr id="{_NAME}r{number}z"></tr>' if kind == ROW else f"{_NAME}w{number}z"


def _named(source: str) -> str:
    """Return a source with tokens and leaves as the compiler sees them, numbered in order."""
    parts = source.split(TOKEN)
    named = "".join(
        part + (f"{_NAME}v{number}z" if number < len(parts) - 1 else "") for number, part in enumerate(parts)
    )
    pieces = named.split(LEAF)
    return pieces[0] + "".join(_held(piece[0], number) + piece[1:] for number, piece in enumerate(pieces[1:]))


def _piece(compiled: str, kept: tuple[Place, ...], *, in_data: bool, start: str = "") -> Piece:
    values = len(kept)
    html = _slots(compiled, values)
    reader = SlotReader()
    reader.read(compiled, max(compiled.find(start), 0))
    drafts = [reader]
    if in_data:
        inside = SlotReader(in_data=True)
        inside.read(compiled)
        drafts.append(inside)
    if not all(each.is_between and len(each.tables) == 1 for each in drafts):
        raise Unfit
    leaves = tuple(reader.leaves[number] for number in sorted(reader.leaves))
    if sum(1 for slot in html.slots if slot >= values) != len(leaves):
        raise Unfit
    slots = [_slots(each.draft(), values) for each in drafts]
    return Piece(html, (slots[0], slots[-1]), kept, leaves)


def _slots(text: str, values: int) -> Slots:
    literals: list[str] = []
    slots: list[int] = []
    at = 0
    for match in _SLOT.finditer(text):
        literals.append(text[at : match.start()])
        leaf = match[1] or match[2]
        slots.append(values + int(leaf) if leaf is not None else int(match[3]))
        at = match.end()
    return Slots((*literals, text[at:]), tuple(slots))


class SlotReader(Reader):
    """Reads HTML with slots: notes for each leaf whether it stands in data, and passes a row's place on as it is."""

    def __init__(self, *, in_data: bool = False) -> None:
        super().__init__(in_data=in_data)
        self.leaves: dict[int, bool] = {}

    def text(self, raw: str) -> None:
        """Take in words; leaves among them are noted."""
        for number in re.findall(rf"{_NAME}w(\d+)z", raw):
            self._note(int(number))
        super().text(raw)

    def tag(self, name: str, attributes: str, *, closing: bool) -> None:
        """Take in a tag; a row that holds a leaf's place becomes that place."""
        held = re.fullmatch(rf' id="({_NAME}r(\d+)z)"', attributes) if name == "tr" else None
        if held is None:
            super().tag(name, attributes, closing=closing)
            return
        self._note(int(held[2]))
        self.out.append(_held(ROW, int(held[2])))
        self.skipped, self.depth = "tr", 1  # until its end

    def _note(self, number: int) -> None:
        if not self.is_between:
            raise Unfit
        self.leaves[number] = self.in_data
