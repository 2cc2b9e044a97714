"""Mails from layouts: what is known of a word (see `engine.render.codes`) is found by it, whole.

A word and its values come in, the finished mail goes out. The rows of tables are kept apart, so that carts of any length
share one layout. A word that comes for the first time is made from pieces and only noted; the second time its layout is
made, held against the same mail from pieces, and kept. Memory is bounded: two generations, of so many literals each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.render.codes import ROW_OPEN, ROW_SHUT, Codes
from engine.render.layouts import Filled, Layout, Part, mail_layout, row_layout
from engine.render.leaves import taken_apart
from engine.render.pieces import MOST_VARIANTS, ROW, TOKEN, Finished, Kept, Piece
from engine.render.text import finished
from engine.render.values import settled

MOST_KEPT = 12_000_000
_MOST_NOTED = 50_000


class Pieces(Protocol):
    """The compiled pieces that layouts are made of."""

    def kept(self, kind: str, source: str) -> Kept:
        """Return what is kept of one source."""
        ...

    def piece(self, kept: Kept, source: str, values: Sequence[str]) -> tuple[Piece, Sequence[str]]:
        """Return the compiled piece for these values, and those that are still to be filled in."""
        ...

    def finish(self, document: str, given: Sequence[str], *, numbered: bool) -> Finished:
        """Return the mail of a document, from pieces."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """What a run of a template wrote: the signs for its texts, and what distinguishes it from other templates' words."""

    mark: str
    word: str
    codes: Codes
    admit: Callable[[str], None]
    """Raises Unfit for a document that needs more than was written."""


@dataclass(slots=True)
class _Known:
    """The layouts of a word, by the values that belong to its structure; `rows` tells whether its rows are apart."""

    fixed: tuple[int, ...] = ()
    layouts: dict[tuple[str, ...], Layout | None] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    rows: bool = True

    def of(self, values: Sequence[str]) -> Layout | None:
        """Return the layout for these values."""
        return self.layouts.get(tuple([values[number] for number in self.fixed]) if self.fixed else ())

    def learn(self, values: Sequence[str], layout: Layout | None) -> None:
        """Keep the layout for these values; where they are too many, only the last ones."""
        if len(self.layouts) >= MOST_VARIANTS:
            self.layouts.clear()
            del self.pieces[:-20]
        self.layouts[tuple([values[number] for number in self.fixed])] = layout


class Laying:
    """The layouts of one library."""

    def __init__(self, pieces: Pieces, most: int = MOST_KEPT) -> None:
        self._pieces, self._most = pieces, most
        self._young: dict[str, _Known] = {}
        self._old: dict[str, _Known] = {}
        self._size = 0
        self._held: dict[int, Piece] = {}
        self._noted: set[int] = set()  # words that came once
        self._refused: set[int] = set()  # words that cannot be filled as a whole

    def finish(self, written: Written, given: Sequence[str]) -> tuple[Finished, bool]:
        """Return the mail, and whether it was filled as a whole. Raises Unfit, and RenderError where it cannot be made."""
        word, values, plain, bare = settled(written.word, given)
        found = self._filled(written, word, values, plain=plain, bare=bare)
        if found is not None:
            return found, True
        document = written.codes.document(word)
        written.admit(document)
        made = self._pieces.finish(document, values, numbered=False)
        key = hash(written.mark + word)
        if key not in self._refused and not self._is_learned(
            written, word, document, values, made, plain=plain
        ):
            _note(self._refused, key)
        return made, False

    def _is_learned(
        self,
        written: Written,
        word: str,
        document: str,
        values: Sequence[str],
        made: Finished,
        *,
        plain: bool,
    ) -> bool:
        """Learn a word; return whether it can be filled as a whole, and comes out as it was made from pieces."""
        known, own = self._learn(written, word, document, values)
        if known is None:
            return True  # the next time
        if known.of(own) is not None:
            found = self._filled(written, word, values, plain=plain, bare=False)
        else:
            found = None
        if found is None or (found.html, found.text) == (made.html, made.text):
            return found is not None
        known.learn(own, None)
        return False

    def _filled(
        self, written: Written, word: str, values: Sequence[str], *, plain: bool, bare: bool
    ) -> Finished | None:
        frame, rows = _apart(word)
        known = self._find(written.mark + frame)
        if known is not None and not known.rows:
            frame, rows = word, []
            known = self._find(written.mark + frame + ROW_OPEN)
        if known is None:
            return None
        own, of_rows = _shared_out(frame, rows, values) if rows else (values, [])
        layout = known.of(own)
        if layout is None:
            return None
        filled: list[Filled] = []
        for row, mine in zip(rows, of_rows, strict=True):
            of_row = self._find(written.mark + ROW_OPEN + row)
            its = of_row.of(mine) if of_row is not None else None
            if its is None:
                return None
            filled.append(its.row(mine, bare=bare))
        done = layout.filled(own, filled, plain=plain, bare=bare)
        return Finished(done.html, done.text or finished(done.draft), is_new=False)

    def _find(self, key: str) -> _Known | None:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self._keep(key, found)
        return found

    def _keep(self, key: str, known: _Known) -> None:
        if self._size > self._most:
            self._old, self._young, self._held, self._size = self._young, {}, {}, 0
        self._young[key] = known
        self._size += len(key)
        for piece in known.pieces:
            if id(piece) not in self._held:
                self._held[id(piece)] = piece
                self._size += piece.size

    def _learn(
        self, written: Written, word: str, document: str, values: Sequence[str]
    ) -> tuple[_Known | None, Sequence[str]]:
        """Keep what is needed to fill this word as a whole, when it comes again; return it, and the frame's values."""
        frame, rows = _apart(word)
        mark = hash(written.mark + frame)
        if mark not in self._noted:
            _note(self._noted, mark)
            return None, ()
        outer, leaves = taken_apart(document)
        sources = [written.codes.document(row) for row in rows]
        apart = sources == [source for kind, source in leaves if kind == ROW]
        own, of_rows = _shared_out(frame, rows, values) if apart else (values, [])
        filled: list[Filled] = []
        for row, source, mine in zip(rows, sources, of_rows, strict=apart):
            its = self._row(written.mark + ROW_OPEN + row, source, mine)
            if its is None:
                apart = False
                break
            filled.append(its.row(mine))
        if apart:
            return self._mail(written.mark + frame, outer, leaves, own, filled), own
        self._keep(written.mark + frame, _Known(rows=False))
        return self._mail(written.mark + word + ROW_OPEN, outer, leaves, values, None), values

    def _row(self, key: str, source: str, values: Sequence[str]) -> Layout | None:
        kept = self._pieces.kept(ROW, source)
        known = self._find(key) or _Known(kept.fixed)
        part = self._part(known, kept, source, range(len(values)), values)
        layout = known.of(values) or row_layout(part, values)
        known.learn(values, layout)
        self._keep(key, known)
        return layout

    def _mail(
        self,
        key: str,
        outer: str,
        leaves: Sequence[tuple[str, str]],
        values: Sequence[str],
        rows: Sequence[Filled] | None,
    ) -> _Known:
        whole = self._pieces.kept("", outer)
        known = self._find(key) or _Known()
        own: list[int] = []
        fixed: list[int] = []
        parts: list[Part | int] = []
        at = row = 0
        for number, (kind, source) in enumerate(leaves):
            end = at + whole.counts[number]
            own += range(at, end)
            at = end
            if kind == ROW and rows is not None:
                parts.append(row)
                row += 1
                continue
            kept = self._pieces.kept(kind, source)
            numbers = range(at, at + len(kept.places))
            at = numbers.stop
            parts.append(self._part(known, kept, source, numbers, values))
            fixed += [numbers[each] for each in kept.fixed]
        own += range(at, len(values))
        frame = self._part(known, whole, outer, own, values)
        known.fixed = tuple(fixed + [own[each] for each in whole.fixed])
        known.learn(values, mail_layout(frame, parts, values, rows or []))
        self._keep(key, known)
        return known

    def _part(
        self, known: _Known, kept: Kept, source: str, numbers: Sequence[int], values: Sequence[str]
    ) -> Part:
        piece, _ = self._pieces.piece(kept, source, [values[number] for number in numbers])
        known.pieces.append(piece)
        return Part(
            piece, tuple([n for n, place in zip(numbers, kept.places, strict=True) if place != "fixed"])
        )


def _note(noted: set[int], mark: int) -> None:
    if len(noted) >= _MOST_NOTED:
        noted.clear()
    noted.add(mark)


def _apart(word: str) -> tuple[str, list[str]]:
    """Return a word with its rows taken out, and the rows; without rows where they do not stand side by side."""
    first, *parts = word.split(ROW_OPEN)
    frame, rows = [first], []
    for part in parts:
        row, _, rest = part.partition(ROW_SHUT)
        if len(row) == len(part) or ROW_SHUT in rest:
            return word, []
        rows.append(row)
        frame.append(rest)
    return (ROW_OPEN.join(frame), rows) if rows else (word, [])


def _shared_out(
    frame: str, rows: Sequence[str], values: Sequence[str]
) -> tuple[list[str], list[Sequence[str]]]:
    """Return the values of a frame, and those of each of its rows."""
    own: list[str] = []
    of_rows: list[Sequence[str]] = []
    at = 0
    for number, part in enumerate(frame.split(ROW_OPEN)):
        end = at + part.count(TOKEN)
        own += values[at:end]
        at = end
        if number < len(rows):
            end = at + rows[number].count(TOKEN)
            of_rows.append(values[at:end])
            at = end
    return own, of_rows
