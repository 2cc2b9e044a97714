"""Short signs for what a template writes: the key of a mail's structure, without its kilobytes of markup.

The texts of one environment's templates come in while these are put together; each becomes one sign of Unicode's private
planes, and what a run writes is a short word of such signs, of tokens for values, and of marks around the rows of tables.
`document` gives back the MJML of a word. Two words are the same only where the documents are.
"""

from __future__ import annotations

import re
from itertools import pairwise

ROW_OPEN, ROW_SHUT = "\x06", "\x07"
"""In a word: what stands around a row of a table. No mail holds these signs itself."""

_FIRST, _LAST = 0xF0000, 0x10FFFD
_ROWS = re.compile(r"(?=<tr\b)|(?<=</tr>)")


class TooMany(Exception):
    """There are no signs left."""


class Codes:
    """The signs of one environment. It only grows, and ends with its environment."""

    __slots__ = ("_signs", "_texts")

    def __init__(self) -> None:
        self._signs: dict[str, str] = {}
        self._texts: dict[int, str] = {ord(ROW_OPEN): "", ord(ROW_SHUT): ""}

    def word(self, text: str) -> str:
        """Return the word for a text of a template; raise TooMany where no sign is left."""
        parts = _ROWS.split(text)
        word = self._sign(parts[0])
        for before, part in pairwise(parts):
            word += ROW_SHUT if before.endswith("</tr>") else ""
            word += ROW_OPEN if part.startswith("<tr") else ""
            word += self._sign(part)
        return word

    def document(self, word: str) -> str:
        """Return the MJML that a word stands for, with its tokens."""
        return word.translate(self._texts)

    def _sign(self, text: str) -> str:
        if not text:
            return ""
        found = self._signs.get(text)
        if found is None:
            at = _FIRST + len(self._signs)
            if at > _LAST:
                raise TooMany
            found = self._signs[text] = chr(at)
            self._texts[at] = text
        return found
