"""The values of one mail on their way into a structure: which of them are like any other.

Values come in as a template writes them, texts in the order of their places go out, with a token for each. A value whose
own form matters to what is made of it (odd spaces, invisible signs) is odd: it belongs to the structure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from engine.render.context import refuse_whole
from engine.render.limits import MAX_OUTPUT
from engine.render.pieces import TOKEN, Unfit

MOST_TOKENS = 4_000
_SHORT = 512

_ODD = re.compile(
    "^\\s|\\s$|  |[\x00-\x1f\x7f-\x9f\u00ad\u034f\u200a-\u200c\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
_PRIVATE = re.compile("[\x01-\x07\x0e\x0f\U000f0000-\U0010ffff]")


def is_odd(text: str) -> bool:
    """Return whether a text's own form matters; raise Unfit where it holds signs of ours."""
    if text.isprintable() and text[0] != " " and text[-1] != " " and "  " not in text:
        return False
    if _ODD.search(text) is None:
        return False
    if _PRIVATE.search(text):
        raise Unfit
    return True


class Values:
    """Takes the values of one mail in the order in which they are written; a token stands for each."""

    __slots__ = ("_room", "taken")

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._room = MAX_OUTPUT

    def emit(self, value: Any) -> str:
        """Return what is written for whatever an output expression gives; raise Unfit where it is too much.

        How many there can be is bounded by the budget of the run, which each of them was charged to.
        """
        if type(value) is str and len(value) < _SHORT:
            if not value:
                return ""
            self.taken.append(value)
            return TOKEN
        if value is None:
            return ""
        if type(value) is Markup:
            if _PRIVATE.search(value) and not _only_tokens(value):
                raise Unfit
            return value
        refuse_whole(value)
        return self.take(value)

    def take(self, value: Any) -> str:
        """Return what is written for a value that is not markup yet."""
        text = value if type(value) is str else str(value)
        if not text:
            return ""
        self._room -= len(text)
        if self._room < 0:
            raise Unfit
        self.taken.append(text)
        return TOKEN


def settled(word: str, values: Sequence[str]) -> tuple[str, Sequence[str], bool, bool]:
    """Return word and values with odd values put into the word, and two answers about the values.

    The first is whether none could pass for a sign of a mail's text, the second whether none holds a sign of HTML's.
    Raises Unfit where they cannot be told apart.
    """
    lines = "\n".join(values)
    if word.count(TOKEN) != len(values) or len(values) > MOST_TOKENS:
        raise Unfit  # a value brought a token of its own
    if not values:
        return word, values, True, True
    if _has_odd(lines) or lines.count("\n") != len(values) - 1:
        word, values = _without_odd(word, values)
    around = f"\n{lines}\n"
    plain = "|" not in lines and _DASH not in around and _DOT not in around and _BULLET not in around
    bare = (
        "&" not in lines and "'" not in lines and "<" not in lines and ">" not in lines and '"' not in lines
    )
    return word, values, plain, bare


SIGNS = ("-", "·", "•")
"""Values that could pass for a sign of a text's own, as could any that holds a `|`."""
_DASH, _DOT, _BULLET = (f"\n{sign}\n" for sign in SIGNS)


def _has_odd(lines: str) -> bool:
    """Return whether one of the values in these lines could be odd."""
    beyond = lines.encode("utf-8", "surrogatepass").translate(None, _PRINTABLE)
    if beyond:
        signs = beyond.decode("utf-8", "surrogatepass")
        if not signs.replace("\u00a0", "").isprintable():
            return True
        if "\u00a0" in signs:
            lines = lines.replace("\u00a0", " ")
    return "  " in lines or "\n " in lines or " \n" in lines or lines[0] == " " or lines[-1] == " "


_PRINTABLE = bytes(range(32, 127)) + b"\n"


def _without_odd(word: str, values: Sequence[str]) -> tuple[str, list[str]]:
    first, *parts = word.split(TOKEN)
    written, left = [first], []
    for value, part in zip(values, parts, strict=True):
        if is_odd(value):
            written.append(escape(value))
        else:
            written.append(TOKEN)
            left.append(value)
        written.append(part)
    return "".join(written), left


def _only_tokens(markup: str) -> bool:
    """Return whether markup holds no signs of ours but tokens, as lines do."""
    return _PRIVATE.search(markup.replace(TOKEN, "")) is None
