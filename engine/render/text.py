"""The text part of a mail, made from the structure of its compiled HTML.

Layout tables (role=presentation) are blocks, other tables are rows of `a | b`; a link is `label: url`, or `label <url>`
where the sentence goes on at once, and links side by side stand below each other; lists have dashes, a cell of the class
`number` begins its line (`1. `). What readers of the HTML do not see (preheader, hidden elements,
comments) is left out. Works on the compiler's own, well-formed output; it is not a parser for HTML found in the wild.
"""

from __future__ import annotations

import html
import operator
import re
from collections.abc import Callable

_TOKEN = re.compile(
    r"<!--.*?-->|<(/?)([a-zA-Z][a-zA-Z0-9:-]*)((?:[^>\"']++|\"[^\"]*\"|'[^']*')*+)>|<!doctype[^>]*>|([^<]+|<)",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([a-zA-Z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_SPACES = re.compile(r"[ \t\r\n]+")
_HIDDEN = re.compile(r"display:\s*none|visibility:\s*hidden|mso-hide:\s*all|max-height:\s*0(?:px)?\s*[;\"]")
_VOID = frozenset(["br", "img", "hr", "meta", "link", "input", "wbr", "col", "area", "source"])
_INLINE = {
    "",
    "b",
    "i",
    "em",
    "strong",
    "span",
    "u",
    "s",
    "small",
    "font",
    "tbody",
    "thead",
}  # no break of their own
_UNSEEN = frozenset(["head", "style", "script", "title"])
_PARAGRAPH = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote"])
_LINE = frozenset(["div", "tr", "li", "body", "center", "section", "article"])
_NUMBER = re.compile(r'\bclass="(?:[^"]* )?number(?: [^"]*)?"')
_INVISIBLE = re.compile("[\u200b\u200c\u2060\ufeff\u00ad\u034f\u200a]")
_ALT, LINK, _END, LINE_BREAK, PARAGRAPH_BREAK = "\x01", "\x02", "\x03", "\x04", "\x05"
"""In a draft: what stands around the words of a picture, where a link begins, where it ends, and the two kinds of breaks."""

Same = Callable[[str, str], bool]
"""Tells whether two texts of a draft, addresses or the words of links, are the same."""


def text_of(compiled: str) -> str:
    """Return the plain text of a compiled mail, ending with one line break."""
    reader = Reader()
    reader.read(compiled, max(compiled.find("<body"), 0))
    return finished(reader.draft())


class Reader:
    """Collects text token by token: a draft, in which breaks and links are still marks that `finished` writes out.

    `in_data` tells that what is read stands inside a table of data. Drafts of pieces that hold whole elements can be put
    together: what decides between two pieces (breaks, neighbouring links) is looked at by `finished` alone.
    """

    def __init__(self, *, in_data: bool = False) -> None:
        self.out: list[str] = []
        self.skipped: str | None = None  # the element that is being passed over
        self.depth = 0
        self.tables: list[bool] = [in_data]  # for each open table, whether it holds data
        self.row_cells = 0
        self.lists: list[int] = []  # the next number; 0 for dashes
        self.links: list[tuple[str, int, str]] = []  # where it leads, where its words begin, how it is called
        self.row_links: list[str] = []
        self.numbering = self.numbered = (
            False  # whether a number's cell is open, or the words behind it come next
        )

    def read(self, compiled: str, start: int = 0) -> None:
        """Take in HTML from an offset on."""
        for closing, name, attributes, text in _TOKEN.findall(compiled, start):
            if text:
                self.text(text)
            elif (
                name not in _INLINE or self.skipped is not None or "hid" in attributes or "none" in attributes
            ):
                self.tag(name.lower(), attributes, closing=closing == "/")

    def draft(self) -> str:
        """Return what was read so far, with marks for breaks and links."""
        return "".join(self.out)

    @property
    def in_data(self) -> bool:
        """Whether the next word stands in a table of data."""
        return self.tables[-1]

    @property
    def is_between(self) -> bool:
        """Whether no link, list or hidden element is open: whole elements can follow."""
        return self.skipped is None and not self.links and not self.lists

    def text(self, raw: str) -> None:
        """Take in words between tags."""
        if self.skipped is None and raw.strip(" \t\r\n"):
            words = html.unescape(raw) if "&" in raw else raw
            words = _SPACES.sub(" ", words)
            self.out.append(words if words.isascii() else _INVISIBLE.sub("", words))
        elif (
            self.skipped is None
            and self.out
            and not self.out[-1].endswith(("\n", " ", LINE_BREAK, PARAGRAPH_BREAK))
        ):
            self.out.append(" ")

    def tag(self, name: str, attributes: str, *, closing: bool) -> None:
        """Take in a tag."""
        if self.skipped is not None:
            self._skip(name, attributes, closing=closing)
        elif closing:
            self._close(name)
        elif name in _UNSEEN or (name not in _VOID and _is_hidden(attributes)):
            if not attributes.rstrip().endswith("/"):
                self.skipped, self.depth = name, 1
        else:
            self._open(name, attributes)

    def _skip(self, name: str, attributes: str, *, closing: bool) -> None:
        if name == self.skipped and not attributes.rstrip().endswith("/"):
            self.depth += -1 if closing else 1
            if self.depth == 0:
                self.skipped = None

    def _open(self, name: str, attributes: str) -> None:
        if name == "br":
            self.out.append(", " if self.in_data else "\n")
        elif name == "img":
            self._image(attributes)
        elif name == "a":
            called = _attribute(attributes, "aria-label") if "aria-label" in attributes else ""
            self.links.append((_attribute(attributes, "href"), len(self.out), html.unescape(called)))
        elif name == "table":
            self.tables.append('role="presentation"' not in attributes)
            self.out.append(PARAGRAPH_BREAK)
        elif name in ("td", "th"):
            self._cell()
            self.numbering = not self.in_data and _NUMBER.search(attributes) is not None
        elif name == "li":
            self._item()
        elif name in ("ul", "ol"):
            self.lists.append(1 if name == "ol" else 0)
            self.out.append(PARAGRAPH_BREAK)
        else:
            self._break(name)
            if name == "tr":
                self.row_cells = 0

    def _close(self, name: str) -> None:
        if name == "a" and self.links:
            self._link(*self.links.pop())
        elif name == "table" and len(self.tables) > 1:
            self.tables.pop()
            self.out.append(PARAGRAPH_BREAK)
        elif name in ("ul", "ol") and self.lists:
            self.lists.pop()
            self.out.append(PARAGRAPH_BREAK)
        elif name in ("td", "th"):
            if self.numbering:
                self.out.append(". ")
                self.numbering, self.numbered = False, True
            elif not self.in_data:
                self.out.append(PARAGRAPH_BREAK)
        elif name == "tr" and self.in_data:
            self.out.extend(f" | {url}" for url in self.row_links)
            self.row_links.clear()
            self.out.append(LINE_BREAK)
        else:
            self._break(name)

    def _break(self, name: str) -> None:
        if name in _PARAGRAPH:
            self.out.append(PARAGRAPH_BREAK)
        elif name in _LINE:
            self.out.append(LINE_BREAK)

    def _cell(self) -> None:
        if not self.in_data:
            if not self.numbered:
                self.out.append(PARAGRAPH_BREAK)
            self.numbered = False
            return
        if self.row_cells:
            self.out.append(" | ")
        self.row_cells += 1

    def _item(self) -> None:
        number = self.lists[-1] if self.lists else 0
        self.out.append(f"{LINE_BREAK}{number}. " if number else f"{LINE_BREAK}- ")
        if number:
            self.lists[-1] += 1

    def _image(self, attributes: str) -> None:
        """A picture speaks only inside a link that has no words of its own."""
        alt = html.unescape(_attribute(attributes, "alt")).strip()
        if self.links and alt:
            self.out.append(f"{_ALT}{_SPACES.sub(' ', alt)}{_ALT}")

    def _link(self, url: str, start: int, called: str) -> None:
        label = called or "".join(self.out[start:])
        words = re.sub(f"{_ALT}[^{_ALT}]*{_ALT}", "", label).strip()
        of_picture = not words
        words = _SPACES.sub(" ", words or label.replace(_ALT, "")).strip()
        leading = " " if label[:1] == " " else ""
        trailing = " " if label[-1:] == " " else ""
        del self.out[start:]
        if not words or not url or url.startswith("#"):
            self.out.append(leading + words + trailing)
            return
        if self.in_data:
            self.row_links.append(html.unescape(url))
            self.out.append(leading + words + trailing)
            return
        mark = "i" if of_picture else "t"
        self.out.append(f"{leading}{LINK}{mark}{words}{LINK}{html.unescape(url)}{_END}{trailing}")


def finished(draft: str, same: Same = operator.eq) -> str:
    """Return a draft as text: links and breaks written out, no empty rows, one line break at the end.

    Whatever is asked about two addresses or the words of links is asked through `same`.
    """
    draft = _SIDE_BY_SIDE.sub(f"{_END}{LINE_BREAK}{LINK}", draft)
    text = _BREAKS.sub(_one_break, _resolve_links(draft, same))
    if "  " in text:
        text = _WIDE.sub(" ", text)
    lines = text.split("\n")
    joined = "\n".join(
        [_row(line) if line and (line[0] in _AT_START or line[-1] in " |") else line for line in lines]
    ).strip("\n ")
    if "\n\n\n" in joined:
        joined = _EMPTY_LINES.sub("\n\n", joined)
    return joined + "\n"


_BREAKS = re.compile(f"[{LINE_BREAK}{PARAGRAPH_BREAK}][ {LINE_BREAK}{PARAGRAPH_BREAK}]*")
_SIDE_BY_SIDE = re.compile(f"{_END}[ \u00a0]*(?:[·|•][ \u00a0]*)?{LINK}")
_WIDE = re.compile(" {2,}")
_AT_START = frozenset(" |-\t\v\f\r\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(space) for space in range(0x2000, 0x200B)
}
"""What a line begins with that may hold nothing, or nothing but cells without words."""
_EMPTY_LINES = re.compile(r"\n{3,}")
_FOUND_LINK = re.compile(f"{LINK}([it])([^{LINK}]*){LINK}([^{_END}]*){_END}")


def _one_break(match: re.Match[str]) -> str:
    return "\n\n" if PARAGRAPH_BREAK in match[0] else "\n"


def _resolve_links(text: str, same: Same) -> str:
    """Write links out: a picture's only where no words link there; of neighbours to one place, the last has the URL."""
    links = list(_FOUND_LINK.finditer(text))
    spoken = [match[3] for match in links if match[1] == "t"]
    following = iter([*spoken[1:], None])  # where the next words link to
    pieces: list[str] = []
    position = 0
    for match in links:
        next_url = next(following) if match[1] == "t" else None
        pieces.append(text[position : match.start()])
        position = match.end()
        label, url = match[2], match[3]
        if match[1] == "i" and any(same(url, each) for each in spoken):
            continue
        if next_url is not None and same(next_url, url):
            pieces.append(label)
        else:
            shown = url.removeprefix("mailto:").removeprefix("tel:")
            inside = text[position : position + 1].strip(f" \n{LINE_BREAK}{PARAGRAPH_BREAK}")
            if not same(shown, label):  # a sign right behind an address would be read as part of it
                shown = f"{label} <{shown}>" if inside else f"{label}: {shown}"
            pieces.append(shown)
    return "".join([*pieces, text[position:]])


def _row(line: str) -> str:
    """Return a line without the spaces and empty cells at its ends."""
    line = line.strip(" ")
    if "|" in line:
        while line.startswith("| ") or line == "|":
            line = line[1:].strip(" ")
        while line.endswith(" |"):
            line = line[:-1].strip(" ")
    return (
        "" if line == "-" or not line.strip() else line
    )  # the latter: no-break spaces that hold a cell open


def _is_hidden(attributes: str) -> bool:
    if "none" not in attributes and "hid" not in attributes and "max-height" not in attributes:
        return False
    return _HIDDEN.search(attributes) is not None or 'aria-hidden="true"' in attributes


def _attribute(attributes: str, name: str) -> str:
    for match in _ATTRIBUTE.finditer(attributes):
        if match[1].lower() == name:
            return match[2] if match[2] is not None else match[3]
    return ""
