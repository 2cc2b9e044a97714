"""What MJML allows, held against a rendered document: tags, nesting, ends, pictures, links.

The compiler checks nothing of this: it leaves out what it does not know. An MJML document comes in; `Problem`s go out,
each at an offset into it. Where the document was made with marks (`mark`), `place_of` gives the author's file, line and
column for an offset, through layouts, blocks and loops.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote

from engine.diagnostics import Finding, Span
from engine.render import problems
from engine.render.attributes import IGNORED, OFTEN_MEANT, written
from engine.render.mjml import TAG

_COLUMN = frozenset(
    [
        "mj-text",
        "mj-image",
        "mj-button",
        "mj-divider",
        "mj-spacer",
        "mj-table",
        "mj-social",
        "mj-navbar",
        "mj-accordion",
        "mj-carousel",
        "mj-raw",
    ]
)
_WITHIN = {
    "mjml": "mj-head mj-body mj-raw",
    "mj-head": "mj-attributes mj-breakpoint mj-font mj-preview mj-style mj-title mj-raw",
    "mj-body": "mj-section mj-wrapper mj-hero mj-raw",
    "mj-wrapper": "mj-section mj-hero mj-raw",
    "mj-section": "mj-column mj-group mj-raw",
    "mj-group": "mj-column mj-raw",
    "mj-social": "mj-social-element mj-raw",
    "mj-navbar": "mj-navbar-link mj-raw",
    "mj-accordion": "mj-accordion-element mj-raw",
    "mj-accordion-element": "mj-accordion-title mj-accordion-text",
    "mj-carousel": "mj-carousel-image",
}
CHILDREN: Mapping[str, frozenset[str]] = {
    **{name: frozenset(allowed.split()) for name, allowed in _WITHIN.items()},
    "mj-column": _COLUMN,
    "mj-hero": _COLUMN,
}
_HOLDS_HTML = frozenset(
    [
        "mj-text",
        "mj-button",
        "mj-table",
        "mj-raw",
        "mj-accordion-title",
        "mj-accordion-text",
        "mj-navbar-link",
        "mj-social-element",
        "mj-preview",
        "mj-title",
        "mj-style",
    ]
)
_EMPTY = frozenset(
    [
        "mj-image",
        "mj-divider",
        "mj-spacer",
        "mj-carousel-image",
        "mj-font",
        "mj-breakpoint",
        "mj-all",
        "mj-class",
    ]
)
_MJML = frozenset(CHILDREN) | _HOLDS_HTML | _EMPTY | {"mj-attributes", "mj-include", "mj-html-attributes"}
_HTML = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "center",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "font",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "ins",
        "li",
        "meta",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
        "wbr",
        "style",
        "link",
        "title",
    ]
)
_ACTIVE = frozenset(["script", "iframe", "object", "embed", "form", "input", "button", "base"])
_VOID = frozenset(["br", "hr", "img", "meta", "link", "col", "wbr", "input", "area"])
_TAG_PARTS = re.compile(r"<(/?)([A-Za-z][\w:-]*)(.*?)(/?)>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([A-Za-z][\w:-]*)\s*=\s*(\"[^\"]*\"|'[^']*')")
_MARK = re.compile(r' data-at="([^"]*):(\d+):(\d+)"')
_ANY_TAG = re.compile(r"</?[A-Za-z][\w:-]*")
_NAMES = re.compile(r"(?:^|\s)([A-Za-z][\w:-]*)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_BARE = re.compile(r"<(?![A-Za-z/!?])|<!\[CDATA\[")
_OPEN_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)|<([A-Za-z][\w:-]*)(?=[\s<])(?:[^<>\"'=]|=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>=])|[\"'])*+(?=<)",
    re.DOTALL,
)
_AMPERSAND = re.compile(r"&(?!#\d+;|#x[0-9A-Fa-f]+;|[A-Za-z][A-Za-z0-9]*;)")
_SHARED = frozenset(["mj-section", "mj-group"])
_SHARING = frozenset(["mj-column", "mj-group", "mj-image"])
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(px|%)")
_WHOLE = 100.5  # three columns of 33.4% are fine
_WHOLE_ADDRESS = re.compile(r"(?:https?://|mailto:|tel:|cid:)", re.IGNORECASE)
_UNENCODED = re.compile(r"[\s<>\"{}|\\^`\u3000]")
_LOCAL = re.compile(r"https?://(?:localhost|127\.|0\.0\.0\.0|10\.|192\.168\.|\[::1\])", re.IGNORECASE)

_TAG_NAME = re.compile(r"</?[\w-]+")

LOCAL = "this goes to a machine that customers cannot reach"


@dataclass(frozen=True, slots=True)
class Element:
    """A tag that is open: its name, and where it begins."""

    name: str
    at: int


def mark(text: str, place: Callable[[int], Span]) -> str:
    """Return template text whose tags say where they stand; `place` gives the span of an offset into it."""

    def marked(match: re.Match[str]) -> str:
        span = place(match.start())
        return f'{match[0]} data-at="{span.file}:{span.line}:{span.column}"'

    return _ANY_TAG.sub(marked, text)


def shape(document: str) -> tuple[str, ...]:
    """Return the names of a document's tags, in order: what MJML makes of two of the same shape differs in words only."""
    return tuple(_TAG_NAME.findall(document))


def unmarked(document: str) -> str:
    """Return a marked document without its marks."""
    return _MARK.sub("", document)


def place_of(document: str, at: int) -> Span:
    """Return the author's place for an offset: that of the tag there, else of the nearest one before."""
    found = _MARK.search(document, at)
    if document[at : at + 1] != "<" or found is None or document.find(">", at) < found.start():
        earlier = list(_MARK.finditer(document, 0, at + 1))
        found = earlier[-1] if earlier else _MARK.search(document)
    return Span(found[1], int(found[2]), int(found[3])) if found else Span()


def check_text(text: str, place: Callable[[int], Span]) -> Iterator[Finding]:
    """Yield bare `<` and `&` in a piece of template text, and tags without a `>` before the next one."""
    for match in _OPEN_TAG.finditer(text):
        if match[1]:
            yield problems.open_tag(place(match.start()), match[1])
    for match in _BARE.finditer(text):
        yield problems.bare_sign(place(match.start()), "<")
    for match in _AMPERSAND.finditer(text):
        yield problems.bare_sign(place(match.start()), "&")


def check(
    document: str, *, base: str = "", within: Callable[[Span, str], Span] = lambda span, _name: span
) -> list[Finding]:
    """Return what is wrong with the structure of a marked MJML document.

    Links below `base`, the address that the settings give, are not the template's. `within` gives the place of an attribute
    of the tag at a place.
    """
    return _Checker(document, base, within).run()


def told_once(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with one for what comes again with other words or samples.

    All links of a file to machines of one's own come from one setting; a subject or mail is too long once, by its longest.
    """
    kept: list[Finding] = []
    local: dict[str, list[Finding]] = {}
    longest: dict[tuple[str, Span], Finding] = {}
    for finding in findings:
        place = finding.code, finding.span
        if finding.code == "T402" and finding.message == LOCAL:
            local.setdefault(finding.span.file, []).append(finding)
        elif finding.code not in ("T403", "T405"):
            kept.append(finding)
        elif place not in longest or _number(longest[place]) < _number(finding):
            longest[place] = finding
    kept += longest.values()
    for found in local.values():
        first = min(found, key=lambda finding: finding.span)
        more = len({finding.span for finding in found}) - 1
        label = f"and {more} more in this file" if more else first.label
        kept.append(replace(first, label=label))
    return kept


def _number(finding: Finding) -> int:
    """Return the number in a finding's sentence."""
    found = re.search(r"\d[\d,.]*", finding.message)
    return int(re.sub(r"\D", "", found[0])) if found else 0


@lru_cache(maxsize=16_384)
def _parts(tag: str) -> re.Match[str] | None:
    return _TAG_PARTS.fullmatch(tag)


# Tags, with their marks and what they stand in, that nothing was to be said about: a layout's come again in every mail.
_FINE: set[tuple[str, str, str]] = set()
_MOST_FINE = 50_000


def _remember(known: tuple[str, str, str]) -> None:
    if len(_FINE) >= _MOST_FINE:
        _FINE.clear()
    _FINE.add(known)


class _Checker:
    """Goes through a document tag by tag with a stack of what is open."""

    def __init__(self, document: str, base: str, within: Callable[[Span, str], Span]) -> None:
        self.document, self.base, self.within = document, base, within
        self.findings: list[Finding] = []
        self.open: list[Element] = []
        self.told = 0
        self.after = 0  # where the text since the last tag begins
        self.shares: list[float] = []  # for each open section or group, the percent that its columns take

    def run(self) -> list[Finding]:
        for match in TAG.finditer(self.document):
            self.between(match.start())
            self.after = match.end()
            if not match[0].startswith("<!--"):
                parts = _parts(match[0])
                if parts is not None:
                    self.tag(parts, match.start())
        for element in self.open:
            self.add(problems.not_closed(self.span(element.at, element.name), element.name))
        return self.findings

    def add(self, finding: Finding) -> None:
        self.told += 1
        if finding not in self.findings:
            self.findings.append(finding)

    def span(self, at: int, name: str = "") -> Span:
        span = place_of(self.document, at)
        return Span(span.file, span.line, span.column, len(name) + 1)

    @property
    def parent(self) -> str:
        """The innermost open element of MJML; inside mj-text and its like, that one."""
        return next((element.name for element in reversed(self.open) if element.name.startswith("mj")), "")

    def tag(self, parts: re.Match[str], at: int) -> None:
        name = parts[2].lower()
        if parts[1]:
            self.close(name, at)
            return
        known = self.base, self.parent, parts[0]
        if known not in _FINE:
            told = self.told
            if name.startswith("mj"):
                self.mjml(name, parts[3], at)
            elif self.parent != "mj-style":
                self.html(name, parts[3], at)
            if told == self.told:
                _remember(known)
        if name in _SHARED or name in _SHARING:
            self.width(name, parts[3], at)
        if not parts[4] and name not in _VOID:
            self.open.append(Element(name, at))
            if name in _SHARED:
                self.shares.append(0.0)

    def close(self, name: str, at: int) -> None:
        if name in _VOID:
            return
        if not any(element.name == name for element in self.open):
            self.add(problems.not_closed(self.span(at, name), f"/{name}"))
            return
        while self.open[-1].name != name:
            left = self.open.pop()
            self.add(problems.not_closed(self.span(left.at, left.name), left.name))
            self.ended(left)
        self.ended(self.open.pop())

    def ended(self, element: Element) -> None:
        """Look at the columns of a section or group that is complete."""
        if element.name in _SHARED and self.shares and self.shares.pop() > _WHOLE:
            self.add(
                problems.odd_width(
                    self.span(element.at, element.name),
                    f"the columns of this <{element.name}> take more than 100%",
                    "let them share 100%",
                )
            )

    def width(self, name: str, attributes: str, at: int) -> None:
        """Look at the width of a column, group or picture, and count a column's share."""
        told = next(
            (match[2][1:-1].strip() for match in _ATTRIBUTE.finditer(attributes) if match[1] == "width"), ""
        )
        if not told or self.parent == "mj-attributes":
            return
        units = ("px",) if name == "mj-image" else ("px", "%")
        found = _LENGTH.fullmatch(told)
        if found is None or found[2] not in units or float(found[1]) <= 0:
            shown = " or ".join(f"100{unit}" for unit in units)
            self.add(
                problems.odd_width(
                    self.span(at, name), f'"{told}" is no width of <{name}>', f"write it as {shown}"
                )
            )
        elif found[2] == "%" and self.shares:
            self.shares[-1] += float(found[1])

    def mjml(self, name: str, attributes: str, at: int) -> None:
        parent = self.parent
        if name not in _MJML and parent != "mj-attributes":
            self.add(problems.unknown_tag(self.span(at, name), name, sorted(_MJML)))
        elif name == "mj-include":
            self.add(problems.not_supported(self.span(at, name), "<mj-include>", "use {% include %}"))
        elif name == "mj-html-attributes":
            self.add(
                problems.not_supported(self.span(at, name), f"<{name}>", "write the attribute on the element")
            )
        elif parent in _HOLDS_HTML or (parent in CHILDREN and name not in CHILDREN[parent]):
            self.add(problems.wrong_place(self.span(at, name), f"<{name}>", parent, _way_out(name)))
        if name == "mj-style" and re.search(r"\binline\s*=", attributes):
            self.add(
                problems.not_supported(
                    self.span(at, name), 'inline="inline"', "write style=… on the elements"
                )
            )
        self.attributes(name, attributes, at)
        if name in ("mj-image", "mj-carousel-image") and parent != "mj-attributes":
            self.picture(attributes, at, name)
        self.links(attributes, at, name)

    def attributes(self, name: str, attributes: str, at: int) -> None:
        """Look at the names of a tag's attributes: what MJML does not know, and what changes nothing here."""
        known = written(name)
        if known is None:
            return
        for attribute in dict.fromkeys(_NAMES.findall(attributes)):
            if attribute in known or attribute == "data-at":
                continue
            span = self.within(self.span(at, name), attribute)
            way_out = IGNORED.get(name, {}).get(attribute)
            if way_out is not None:
                self.add(problems.not_supported(span, f"{attribute}= on <{name}>", way_out))
            else:
                meant = OFTEN_MEANT.get(attribute, "")
                meant = meant if meant in known else ""
                self.add(problems.unknown_attribute(span, name, attribute, meant, known))

    def html(self, name: str, attributes: str, at: int) -> None:
        parent = self.parent
        if name in _ACTIVE or name not in _HTML:
            self.add(problems.unknown_tag(self.span(at, name), name, sorted(_HTML | _MJML)))
        elif parent and parent not in _HOLDS_HTML:
            self.add(problems.wrong_place(self.span(at, name), f"<{name}>", parent, "put it into <mj-text>"))
        if name == "img":
            self.picture(attributes, at, name)
        self.links(attributes, at, name)

    def picture(self, attributes: str, at: int, name: str) -> None:
        if not any(match[1] == "alt" for match in _ATTRIBUTE.finditer(attributes)):
            self.add(problems.no_alt(self.span(at, name)))

    def links(self, attributes: str, at: int, name: str) -> None:
        for match in _ATTRIBUTE.finditer(attributes):
            address = match[2][1:-1].strip()
            if match[1] not in ("href", "src", "background-url"):
                continue
            if self.base and address.startswith(f"{self.base}/"):
                continue  # what is wrong with it stands in the settings, and is told there
            if _LOCAL.match(address):
                self.add(problems.unsafe_link(self.span(at, name), LOCAL, address=address))
            elif address.lower().startswith("http://"):
                self.add(
                    problems.unsafe_link(
                        self.span(at, name), "this address is http, not https", address=address
                    )
                )
            elif not address:
                self.add(problems.unsafe_link(self.span(at, name), f"this {match[1]} is empty"))
            elif not address.startswith("#") and not _WHOLE_ADDRESS.match(address):
                self.add(
                    problems.unsafe_link(
                        self.span(at, name),
                        f"this {match[1]} is no whole address: it leads nowhere",
                        address=address,
                    )
                )
            else:
                self.encoded(match[1], html.unescape(address), at, name)

    def encoded(self, attribute: str, address: str, at: int, name: str) -> None:
        """Look for signs that end an address, or that clients read in ways of their own."""
        odd = _UNENCODED.search(address)
        if odd is not None and not address.lower().startswith("mailto:"):
            shown = "a space" if odd[0].isspace() else f'a "{odd[0]}"'
            self.add(
                problems.unsafe_link(
                    self.span(at, name),
                    f"the address in this {attribute} has {shown} in it",
                    f"write {quote(odd[0])}; a value goes through `| urlencode`",
                )
            )

    def between(self, end: int) -> None:
        words = self.document[self.after : end].strip()
        innermost = self.open[-1].name if self.open else ""
        if words and innermost in CHILDREN:
            at = self.open[-1].at
            shown = f'"{words[:24]}…"' if len(words) > 24 else f'"{words}"'
            self.add(
                problems.wrong_place(
                    self.span(at, innermost), f"the text {shown}", innermost, "put it into <mj-text>"
                )
            )


def _way_out(name: str) -> str:
    parents = [parent for parent, allowed in CHILDREN.items() if name in allowed and parent != "mj-hero"]
    return f"put it into <{parents[0]}>" if parents else ""
