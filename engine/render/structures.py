"""Mails made from compiled structures: what repeats is compiled once, values are filled in.

A prepared rendering comes in. Its templates run with tokens in the place of values; what remains depends on control flow
only, and is taken apart into a document and its leaves (texts, rows of tables), each kept compiled by its source. The
HTML and text that go out are those of the plain way, byte for byte: whatever cannot be kept apart is made plainly, and
each mail that brings a new structure, and one in a thousand of the others, is compared with its plain self. Memory is
bounded; `Tally` counts what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from engine.render.context import refuse_whole
from engine.render.laying import Laying
from engine.render.leaves import taken_apart
from engine.render.limits import MAX_OUTPUT
from engine.render.pieces import (
    END,
    LEAF,
    MOST_VARIANTS,
    TOKEN,
    Finished,
    Kept,
    Piece,
    Place,
    Unfit,
    leaf_piece,
    outer_piece,
    places,
)
from engine.render.text import finished
from engine.render.values import MOST_TOKENS, is_odd

MOST_KEPT = 12_000_000  # characters in one generation of the cache; there are two
CHECK_EVERY = 1_000

_TOKENS = [Markup(f"{TOKEN}{number}{END}") for number in range(MOST_TOKENS)]  # noqa: S704 - our own
_ORDER = [str(number) for number in range(MOST_TOKENS)]


@dataclass(slots=True)
class Tally:
    """What became of the mails of one library: `filled` from kept structures alone, `compiled` with a new one, `plain`.

    Of the filled ones, `laid` were filled as a whole (see `engine.render.layouts`).
    `checked` counts comparisons with the plain way, `differed` those that did not hold (their templates are made
    plainly from then on); `kept` is the number of pieces in memory, `characters` their size.
    """

    filled: int = 0
    laid: int = 0
    compiled: int = 0
    plain: int = 0
    checked: int = 0
    differed: int = 0
    kept: int = 0
    characters: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of mails that were filled from kept structures, from 0 to 1; 0 before the first mail."""
        mails = self.filled + self.compiled + self.plain
        return self.filled / mails if mails else 0.0


class Tokens:
    """Takes the values of one mail and gives numbered tokens for them.

    A value whose own form matters (odd spaces, invisible signs, markup) stays as it is and belongs to the structure.
    """

    __slots__ = ("characters", "values")

    def __init__(self) -> None:
        self.values: list[str] = []
        self.characters = 0

    def emit(self, value: Any) -> str:
        """Return what is written for whatever an output expression gives."""
        kind = type(value)
        if kind is not str:
            if kind is Markup:
                return value  # type: ignore[no-any-return]
            if value is None:
                return ""
            refuse_whole(value)
        return self.take(value)

    def take(self, value: Any) -> str:
        """Return what is written for a value that is not markup yet."""
        text = value if type(value) is str else str(value)
        if not text:
            return ""
        if is_odd(text):
            return escape(text)
        number = len(self.values)
        self.characters += len(text)
        if number == MOST_TOKENS or self.characters > MAX_OUTPUT:
            raise Unfit
        self.values.append(text)
        return _TOKENS[number]


class Structures:
    """The compiled structures of one library of templates."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.tally = Tally()
        self.judged: dict[tuple[str, tuple[str, ...]], bool] = {}
        """Whether a template's copy, with what it draws on, can be made from structures; by path and chain."""
        self._most = most
        self._young: dict[tuple[str, str], Kept] = {}
        self._old: dict[tuple[str, str], Kept] = {}
        self._size = 0
        self.laying = Laying(self)

    def finish(self, document: str, given: Sequence[str], *, numbered: bool = True) -> Finished:
        """Return the mail of an MJML document with tokens, and the values that they stand for, in order or by number.

        Raises Unfit where it has to be made plainly, RenderError where it cannot be made.
        """
        if not numbered:
            if document.count(TOKEN) != len(given):
                raise Unfit
            outer, leaves = taken_apart(document)
            return self._filled(outer, leaves, given)
        first, *parts = document.split(TOKEN)
        literals, numbers = [first], []
        for part in parts:
            number, _, literal = part.partition(END)
            numbers.append(number)
            literals.append(literal)
        values = given if numbers == _ORDER[: len(given)] else [given[int(number)] for number in numbers]
        outer, leaves = taken_apart(TOKEN.join(literals))
        return self._filled(outer, leaves, values)

    def count(self, made: Finished) -> bool:
        """Count a mail; return whether it is to be compared with its plain self."""
        tally = self.tally
        if made.is_new:
            tally.compiled += 1
        else:
            tally.filled += 1
        if made.is_new or tally.filled % CHECK_EVERY == 0:
            tally.checked += 1
            return True
        return False

    def _filled(self, outer: str, leaves: Sequence[tuple[str, str]], values: Sequence[str]) -> Finished:
        before, young = self.tally.kept, self._young
        whole = self.kept("", outer)
        mine: list[str] = []
        htmls: list[str] = []
        drafts: list[tuple[Piece, Sequence[str]]] = []
        at = 0
        for number, (kind, source) in enumerate(leaves):
            end = at + whole.counts[number]
            mine += values[at:end]
            kept = young.get((kind, source)) or self.kept(kind, source)
            at = end + len(kept.places)
            own: Sequence[str] = values[end:at]
            piece = None if kept.fixed else kept.pieces.get(())
            if piece is None:
                piece, own = self.piece(kept, source, own)
            htmls.append(piece.html.filled(piece.written(own)) if own else piece.html.literals[0])
            drafts.append((piece, own))
        mine += values[at:]
        piece, own = self.piece(whole, outer, mine)
        html = piece.html.filled([*piece.written(own), *htmls])
        texts = [
            leaf.drafts[inside].filled(said)
            for (leaf, said), inside in zip(drafts, piece.in_data, strict=True)
        ]
        text = finished(piece.drafts[0].filled([*own, *texts]))
        return Finished(html, text, self.tally.kept != before)

    def kept(self, kind: str, source: str) -> Kept:
        """Return what is kept of one source: a leaf's, or with an empty kind a document's."""
        key = (kind, source)
        found = self._young.get(key)
        if found is not None:
            return found
        found = self._old.get(key)
        if found is None:
            where = places(source)
            fixed = tuple(number for number, place in enumerate(where) if place == "fixed")
            counts = tuple(segment.count(TOKEN) for segment in source.split(LEAF))
            found = Kept(where, fixed, kind, counts)
        self._remember(key, found, len(source) + sum(piece.size for piece in found.pieces.values()))
        return found

    def _remember(self, key: tuple[str, str], kept: Kept, size: int) -> None:
        if self._size + size > self._most:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = kept
        self._size += size
        self.tally.characters = self._size

    def piece(self, kept: Kept, source: str, values: Sequence[str]) -> tuple[Piece, Sequence[str]]:
        """Return the compiled piece for these values, and those of them that are still to be filled in."""
        if not kept.fixed:
            key: tuple[str, ...] = ()
        else:
            key = tuple(values[number] for number in kept.fixed)
            values = [value for value, place in zip(values, kept.places, strict=True) if place != "fixed"]
        piece = kept.pieces.get(key)
        if piece is None:
            open_places = tuple(place for place in kept.places if place != "fixed")
            put_in = _put_in(source, kept.places, key)
            piece = (
                leaf_piece(put_in, open_places, kept.kind) if kept.kind else outer_piece(put_in, open_places)
            )
            if len(kept.pieces) >= MOST_VARIANTS:
                kept.pieces.clear()
            kept.pieces[key] = piece
            self._size += piece.size
            self.tally.kept += 1
        return piece, values


def _put_in(source: str, where: Sequence[Place], fixed: Sequence[str]) -> str:
    """Return a source with the values put in that belong to its structure."""
    waiting = iter(fixed)
    parts = source.split(TOKEN)
    put = [parts[0]]
    for part, place in zip(parts[1:], where, strict=True):
        put += (str(escape(next(waiting))) if place == "fixed" else TOKEN, part)
    return "".join(put)
