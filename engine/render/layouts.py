"""A whole mail, or a row of one, with room for values: one list of literals for the HTML, one for the text.

The compiled pieces of a structure come in (see `engine.render.pieces`); a frozen `Layout` goes out, whose filling is two
joins. The text is finished beforehand wherever no value can change how it reads; where a value could (links that turn out
to lead to one place, a name that is a dash), the draft is finished anew for that mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.render.pieces import Piece, Slots, in_text
from engine.render.text import LINE_BREAK, LINK, PARAGRAPH_BREAK, finished
from engine.render.values import SIGNS

_HELD = "\x0e{}\x0f"
_FOUND = re.compile("\x0e(\\d+)\x0f")
_LETTERS = str.maketrans(dict.fromkeys([*SIGNS, "|"], "x"))
_NOTHING = Slots(("",), ())
_Said = int | str | Slots  # a value's number, words, or both


@dataclass(frozen=True, slots=True)
class Filled:
    """What a layout gives: HTML, text as it stands in the mail (empty where it has to be finished), and its draft."""

    html: str
    text: str
    draft: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The slots of a mail or a row: its values first, then the rows that are put into it, then nothing.

    `writers` has one for each value, `careful` are those that change more than HTML's own signs. `asked` are the comparisons between the `said` on which the text rests.
    """

    html: Slots
    draft: Slots
    text: Slots
    writers: tuple[Callable[[str], str], ...]
    careful: tuple[tuple[int, Callable[[str], str]], ...]
    said: tuple[_Said, ...]
    asked: tuple[tuple[int, int, bool], ...]

    def filled(self, values: Sequence[str], rows: Sequence[Filled], *, plain: bool, bare: bool) -> Filled:
        """Return it with values and rows put in.

        `plain` tells that no value can pass for a sign of the text's own, `bare` that none holds a sign of HTML's.
        """
        written = self._written(values, bare=bare)
        if rows:
            html = self.html.filled([*written, *[row.html for row in rows], ""])
            if plain and self._holds(values):
                return Filled(html, self.text.filled([*values, *[row.text for row in rows], ""]), "")
            return Filled(html, "", self.draft.filled([*values, *[row.draft for row in rows], ""]))
        written.append("")
        html = self.html.filled(written)
        said = [*values, ""]
        if plain and self._holds(values):
            return Filled(html, self.text.filled(said), "")
        return Filled(html, "", self.draft.filled(said))

    def row(self, values: Sequence[str], *, bare: bool = False) -> Filled:
        """Return a row with values put in: text and draft, whatever the values are; `bare` as above."""
        said = [*values, ""]
        written = [*self._written(values, bare=bare), ""]
        return Filled(self.html.filled(written), self.text.filled(said), self.draft.filled(said))

    def _written(self, values: Sequence[str], *, bare: bool) -> list[str]:
        """Return the values as they stand in the HTML; raise Unfit for one that cannot stand there."""
        if not bare:
            return [write(value) for write, value in zip(self.writers, values, strict=True)]
        written = list(values)
        for number, write in self.careful:
            written[number] = write(values[number])
        return written

    def _holds(self, values: Sequence[str]) -> bool:
        """Return whether links lead to the same places, and to others, as in the mail that the text was finished for."""
        said = [
            values[each] if type(each) is int else each if type(each) is str else each.filled(values)  # type: ignore[union-attr]
            for each in self.said
        ]
        for one, other, same in self.asked:  # noqa: SIM110 - a generator takes twice as long
            if (said[one] == said[other]) is not same:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Part:
    """A piece in its place: which of the layout's values are in it, by number."""

    piece: Piece
    numbers: tuple[int, ...]


def mail_layout(
    outer: Part, leaves: Sequence[Part | int], values: Sequence[str], rows: Sequence[Filled]
) -> Layout | None:
    """Return the layout of a mail whose leaves are parts, or rows by number; None where its text cannot be laid out.

    `values` and `rows` are those of one mail with that structure.
    """
    count = len(values)
    values = _without_signs(values)
    for leaf, in_data in zip(leaves, outer.piece.in_data, strict=True):
        if isinstance(leaf, int) and not in_data:
            return None
    html = _put_together(
        outer, leaves, count, len(rows), [_html_of(leaf) for leaf in leaves], outer.piece.html
    )
    drafts = [
        _draft_of(leaf, in_data=inside) for leaf, inside in zip(leaves, outer.piece.in_data, strict=True)
    ]
    draft = _put_together(outer, leaves, count, len(rows), drafts, outer.piece.drafts[0])
    said = [*values, *[row.draft for row in rows], ""]
    asked = _Comparing([*values, *[row.text for row in rows]])
    marks = [_HELD.format(number) for number in range(count)]
    lines = [_HELD.format(count + number) + LINE_BREAK for number in range(len(rows))]
    text = _read(finished(draft.filled([*marks, *lines, ""]), asked.same))
    if text.filled([*values, *[row.text for row in rows], ""]) != finished(draft.filled(said)):
        return None
    writers = _writers(count, [outer, *leaves])
    return Layout(html, draft, text, writers, _careful(writers), tuple(asked.said), tuple(asked.asked))


def row_layout(part: Part, values: Sequence[str]) -> Layout | None:
    """Return the layout of a row; None where its text is no line of its own."""
    draft = part.piece.drafts[1]
    pieces = "".join(draft.literals)
    own = not any(sign in pieces for sign in (LINK, PARAGRAPH_BREAK)) and pieces.count(LINE_BREAK) == 1
    if not own or not draft.literals[-1].endswith(LINE_BREAK):
        return None
    draft, html = _renumbered(draft, part.numbers), _renumbered(part.piece.html, part.numbers)
    count = len(values)
    values = _without_signs(values)
    line = finished(draft.filled([_HELD.format(number) for number in range(count)]))[:-1]
    whole = finished(draft.filled(values))[:-1]
    if not line or "\n" in line or _read(line).filled(values) != whole:
        return None
    writers = _writers(count, [part])
    return Layout(html, draft, _read(line), writers, _careful(writers), (), ())


def _without_signs(values: Sequence[str]) -> list[str]:
    """Return values in whose places none of the text's own signs stand; those that were the same still are."""
    return [value.translate(_LETTERS) if value in SIGNS or "|" in value else value for value in values]


def _html_of(leaf: Part | int) -> Slots:
    """Return the HTML of a leaf; a row of its own has a place only."""
    return _NOTHING if isinstance(leaf, int) else leaf.piece.html


def _draft_of(leaf: Part | int, *, in_data: bool) -> Slots:
    """Return the draft of a leaf in its place."""
    return _NOTHING if isinstance(leaf, int) else leaf.piece.drafts[in_data]


def _put_together(
    outer: Part, leaves: Sequence[Part | int], values: int, rows: int, inner: Sequence[Slots], frame: Slots
) -> Slots:
    """Return the slots of a frame with those of its leaves put in; their literals stay the same objects."""
    nothing = values + rows
    literals, slots = [frame.literals[0]], []
    own = len(outer.numbers)
    for slot, literal in zip(frame.slots, frame.literals[1:], strict=True):
        leaf = leaves[slot - own] if slot >= own else None
        if leaf is None:
            slots.append(outer.numbers[slot])
        elif isinstance(leaf, int):
            slots.append(values + leaf)
        else:
            put = inner[slot - own]
            literals += put.literals
            slots += [nothing, *[leaf.numbers[number] for number in put.slots], nothing]
        literals.append(literal)
    return Slots(tuple(literals), tuple(slots))


def _renumbered(slots: Slots, numbers: Sequence[int]) -> Slots:
    return Slots(slots.literals, tuple(numbers[slot] for slot in slots.slots))


def _writers(count: int, parts: Sequence[Part | int]) -> tuple[Callable[[str], str], ...]:
    writers: list[Callable[[str], str]] = [str] * count  # values that belong to the structure are not written
    for part in parts:
        if isinstance(part, Part):
            for number, write in zip(part.numbers, part.piece.writers, strict=True):
                writers[number] = write
    return tuple(writers)


def _careful(writers: Sequence[Callable[[str], str]]) -> tuple[tuple[int, Callable[[str], str]], ...]:
    return tuple((number, write) for number, write in enumerate(writers) if write not in (str, in_text))


def _read(text: str) -> Slots:
    parts = _FOUND.split(text)
    return Slots(tuple(parts[0::2]), tuple(map(int, parts[1::2])))


class _Comparing:
    """Answers, for values that are held by their numbers, whether two texts are the same, and notes what was asked."""

    def __init__(self, values: Sequence[str]) -> None:
        self.values = values
        self.said: list[_Said] = []
        self.asked: list[tuple[int, int, bool]] = []
        self._places: dict[str, int] = {}

    def same(self, one: str, other: str) -> bool:
        """Return whether two texts are the same once their values are put in."""
        slots = _read(one), _read(other)
        answer = slots[0].filled(self.values) == slots[1].filled(self.values)
        if slots[0].slots or slots[1].slots:
            self.asked.append((self._place(one, slots[0]), self._place(other, slots[1]), answer))
        return answer

    def _place(self, text: str, slots: Slots) -> int:
        if text not in self._places:
            self._places[text] = len(self.said)
            bare = slots.literals == ("", "")
            self.said.append(slots.slots[0] if bare else slots if slots.slots else text)
        return self._places[text]
