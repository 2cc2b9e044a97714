"""Templates as values: front matter and body, taken apart.

A template's source comes in; a frozen `Template` and findings with file, line and column go out. Nothing is rendered
here, and a source that cannot be understood gives findings, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from engine.diagnostics import Finding, Span, has_errors
from engine.flows.nodes import Entry, Items, Node, Scalar, Table, exact, is_nothing
from engine.flows.read_conditions import field_tests
from engine.flows.reading import Reader
from engine.flows.yaml_source import read_yaml
from engine.render import problems

STRATEGIES = (
    "bought_together", "similar", "popular_in_category", "bestsellers", "trending", "recently_viewed",
    "wishlist", "cart", "for_you", "reorder", "newest",
)  # fmt: skip
MAX_SOURCE = 200_000
MAX_PICKS = 24
_KEYS = ("subject", "preheader", "recommend")
_BLOCK_KEYS = ("from", "count", "at_least", "otherwise", "where", "per_category")
_FENCE = re.compile(r"---[ \t]*(?:\n|$)")
_CLOSING = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class RecommendBlock:
    """A slot for product recommendations: which strategies fill it, how far, and what happens when they cannot.

    The strategies fill the block in order, up to `count` products. With fewer than `at_least`, `otherwise` says
    whether the block is left out (`omit`) or the whole mail (`skip`). `where` narrows the products; `per_category` is the
    most of one category, where the shop's own limit is not to hold.
    """

    name: str
    strategies: tuple[str, ...]
    count: int = 4
    at_least: int = 1
    otherwise: Literal["omit", "skip"] = "omit"
    where: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    per_category: int | None = None


@dataclass(frozen=True, slots=True)
class Inline:
    """A short template of one line, such as a subject, with the place of its first character in the file."""

    source: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Template:
    """One template file: `name` as flows call it, `path` below templates/, and what stands in it.

    `body_line` is the line of the file on which the body begins (1-based). Layouts and blocks have no front matter,
    so that their subject is empty. `declared` names every recommend block that is written, those with mistakes too.
    """

    name: str
    path: str
    subject: Inline
    preheader: Inline
    recommend: tuple[RecommendBlock, ...]
    body: str
    body_line: int
    declared: tuple[str, ...] = ()


def parse_template(name: str, path: str, source: str) -> tuple[Template, tuple[Finding, ...]]:
    """Return the template in a source and what is wrong with it; the file of each finding is templates/`path`."""
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    file = f"templates/{path}"
    nothing = Template(name, path, Inline(""), Inline(""), (), "", 1)
    if len(source) > MAX_SOURCE:
        return nothing, (problems.too_long(Span(file, 1, 1), MAX_SOURCE),)
    opening = _FENCE.match(source)
    if opening is None:
        return replace(nothing, body=source), ()
    closing = _CLOSING.search(source, opening.end())
    if closing is None:
        return nothing, (problems.open_front_matter(Span(file, 1, 1, 3)),)
    reader = _FrontMatter(file)
    reader.read(source[opening.end() : closing.start()])
    template = replace(
        nothing,
        subject=reader.subject,
        preheader=reader.preheader,
        recommend=tuple(reader.recommend),
        declared=reader.declared,
        body=source[closing.end() :],
        body_line=source.count("\n", 0, closing.end()) + 1,
    )
    return template, tuple(reader.findings)


class _FrontMatter:
    """Reads the YAML between the fences; the opening fence becomes a comment, so that lines are the file's."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.reader = Reader(self.findings)
        self.subject = self.preheader = Inline("")
        self.recommend: list[RecommendBlock] = []
        self.declared: tuple[str, ...] = ()

    def read(self, text: str) -> None:
        if not text.strip():
            return
        node = read_yaml("#--\n" + text, self.file, self.findings)
        table = None if node is None else self.reader.table(node, "the front matter", _KEYS)
        for entry in table or ():
            if entry.key == "subject":
                self.subject = self.inline(entry)
            elif entry.key == "preheader":
                self.preheader = self.inline(entry)
            elif entry.key == "recommend" and not is_nothing(entry.value):
                blocks = self.reader.table(entry.value, "recommend")
                self.declared = () if blocks is None else tuple(blocks.keys)
                self.recommend = [found for item in blocks or () if (found := self.block(item))]

    def inline(self, entry: Entry) -> Inline:
        if is_nothing(entry.value):
            return Inline("")
        text = self.reader.text(entry.value, entry.key)
        span = entry.value.span
        quoted = isinstance(entry.value, Scalar) and entry.value.quoted
        return Inline(text or "", span.line, span.column + quoted)

    def block(self, entry: Entry) -> RecommendBlock | None:
        before = len(self.findings)
        if not _NAME.fullmatch(entry.key):
            self.findings.append(problems.block_name(entry.key_span, entry.key))
        table = self.reader.table(entry.value, entry.key, _BLOCK_KEYS)
        if table is None:
            return None
        chain = table.get("from")
        if chain is None:
            self.findings.append(problems.no_strategies(table.span, entry.key, STRATEGIES))
        count, at_least = self.number(table, "count", 4), self.number(table, "at_least", 1)
        if at_least > count:
            self.findings.append(problems.more_than_count(table.key_span("at_least"), at_least, count))
        otherwise = self.one_of(table.get("otherwise"), "otherwise", ("omit", "skip")) or "omit"
        where = table.get("where")
        if where is not None:
            field_tests(self.reader, where, "product")
        tests = exact(where) if isinstance(where, Table) else {}
        strategies = self.strategies(chain) if chain is not None else ()
        if has_errors(self.findings[before:]):
            return None
        return RecommendBlock(
            entry.key, strategies, count, at_least,
            "skip" if otherwise == "skip" else "omit", MappingProxyType(tests),
            self.number(table, "per_category", 0) or None,
        )  # fmt: skip

    def strategies(self, node: Node) -> tuple[str, ...]:
        items = node if isinstance(node, Items) else (node,)
        found = (self.one_of(item, "from", STRATEGIES) for item in items)
        return tuple(dict.fromkeys(name for name in found if name))

    def number(self, table: Table, key: str, default: int) -> int:
        node = table.get(key)
        return default if node is None else self.reader.whole(node, key, 1, MAX_PICKS) or default

    def one_of(self, node: Node | None, key: str, known: tuple[str, ...]) -> str | None:
        return None if node is None else self.reader.one_of(node, key, known)
