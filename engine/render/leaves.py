"""A document of MJML taken apart into what repeats: its frame, and the leaves in it.

Comes in: MJML with tokens. Goes out: the document with places for leaves, and the leaves with their kinds: what stands in
each mj-text, and the rows of tables outside of them.
"""

from __future__ import annotations

from engine.render.pieces import LEAF, ROW, WORDS


def taken_apart(source: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the source of the document with places for leaves, and the leaves by kind and source."""
    outer: list[str] = []
    leaves: list[tuple[str, str]] = []
    *ended, last = source.split("</mj-text>")
    for segment in ended:
        begins = segment.find(">", segment.rfind("<mj-text")) + 1
        _take_rows(segment[:begins], outer, leaves)
        if begins < len(segment):
            outer.append(LEAF + WORDS)
            leaves.append((WORDS, segment[begins:]))
        outer.append("</mj-text>")
    _take_rows(last, outer, leaves)
    return "".join(outer), leaves


def _take_rows(source: str, outer: list[str], leaves: list[tuple[str, str]]) -> None:
    """Take the rows of tables out of a part of the document; rows that hold tables of their own stay in it."""
    if "<tr" not in source:
        outer.append(source)
        return
    *ended, last = source.split("</tr>")
    if any(part.count("<tr") != 1 for part in ended):
        outer.append(source)
        return
    for part in ended:
        begins = part.find("<tr")
        outer += (part[:begins], LEAF + ROW)
        leaves.append((ROW, part[begins:] + "</tr>"))
    outer.append(last)
