"""Templates as values: front matter and body, taken apart.

A template's source comes in; a frozen `Template` and findings with file, line and column go out. Nothing is rendered
here, and a source that cannot be understood gives findings, never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import yaml

from engine.diagnostics import Finding, Span, did_you_mean

STRATEGIES = (
    "bought_together", "similar", "popular_in_category", "bestsellers", "trending", "recently_viewed",
    "wishlist", "cart", "for_you", "reorder", "newest",
)  # fmt: skip
MAX_SOURCE = 200_000
MAX_PICKS = 24
_KEYS = ("subject", "preheader", "recommend")
_BLOCK_KEYS = ("from", "count", "at_least", "otherwise", "where")
_FENCE = re.compile(r"---[ \t]*(?:\n|$)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class RecommendBlock:
    """A slot for product recommendations: which strategies fill it, how far, and what happens when they cannot.

    The strategies fill the block in order, up to `count` products. With fewer than `at_least`, `otherwise` says
    whether the block is left out (`omit`) or the whole mail (`skip`). `where` narrows the products.
    """

    name: str
    strategies: tuple[str, ...]
    count: int = 4
    at_least: int = 1
    otherwise: Literal["omit", "skip"] = "omit"
    where: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


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
    so that their subject is empty.
    """

    name: str
    path: str
    subject: Inline
    preheader: Inline
    recommend: tuple[RecommendBlock, ...]
    body: str
    body_line: int


def parse_template(name: str, path: str, source: str) -> tuple[Template, tuple[Finding, ...]]:
    """Return the template in a source and what is wrong with it; the file of each finding is templates/`path`."""
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    reader = _FrontMatter(f"templates/{path}")
    if len(source) > MAX_SOURCE:
        reader.add("T101", f"this template is longer than {MAX_SOURCE:,} characters", 1, 1)
        source = ""
    opening = _FENCE.match(source)
    if opening is None:
        return Template(name, path, Inline(""), Inline(""), (), source, 1), tuple(reader.findings)
    closing = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE).search(source, opening.end())
    if closing is None:
        reader.add(
            "T101", "the front matter has no closing ---", 1, 1, length=3, way_out="end it with a line of ---"
        )
        return Template(name, path, Inline(""), Inline(""), (), "", 1), tuple(reader.findings)
    reader.read(source[opening.end() : closing.start()])
    body_line = source.count("\n", 0, closing.end()) + 1
    template = Template(
        name,
        path,
        reader.subject,
        reader.preheader,
        tuple(reader.recommend),
        source[closing.end() :],
        body_line,
    )
    return template, tuple(reader.findings)


class _FrontMatter:
    """Reads the YAML between the fences; its first line is line 2 of the file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.subject = self.preheader = Inline("")
        self.recommend: list[RecommendBlock] = []

    def add(
        self, code: str, message: str, line: int, column: int, *, length: int = 1, way_out: str = ""
    ) -> None:
        self.findings.append(
            Finding(code, "error", message, Span(self.file, line, column, max(length, 1)), help=way_out)
        )

    def at(self, node: yaml.Node, code: str, message: str, way_out: str = "") -> None:
        mark, end = node.start_mark, node.end_mark
        length = end.column - mark.column if end.line == mark.line else 1
        self.add(code, message, mark.line + 2, mark.column + 1, length=length, way_out=way_out)

    def read(self, text: str) -> None:
        try:
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
                self.add("T101", "the front matter of a template knows no aliases (*name)", 2, 1)
                return
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line + 2, mark.column + 1) if mark else (2, 1)
            problem = getattr(error, "problem", None) or "it cannot be read"
            self.add("T101", f"the front matter is not YAML: {problem}", line, column)
            return
        if root is None:
            return
        for key, node in self.pairs(root, _KEYS, "the front matter"):
            if key == "recommend":
                self.recommend = [block for block in self.blocks(node) if block]
            elif isinstance(node, yaml.ScalarNode):
                setattr(self, key, self.inline(node))
            else:
                self.at(node, "T101", f"{key} is one line of text")

    def pairs(
        self, node: yaml.Node, known: tuple[str, ...] | None, where: str
    ) -> list[tuple[str, yaml.Node]]:
        """Return the entries of a mapping; unknown and doubled keys are findings and left out."""
        if not isinstance(node, yaml.MappingNode):
            self.at(node, "T101", f"{where} holds `key: value` lines")
            return []
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if known is not None and name not in known:
                self.at(
                    key, "T102", f'"{name}" is no key of {where}', did_you_mean(name, known) or _one_of(known)
                )
            elif name in found:
                self.at(key, "T102", f'"{name}" stands here twice', "keep one of them")
            else:
                found[name] = value
        return list(found.items())

    def inline(self, node: yaml.ScalarNode) -> Inline:
        quoted = node.style in ("'", '"')
        if not quoted and _scalar(node) is None:
            return Inline("")
        return Inline(str(node.value), node.start_mark.line + 2, node.start_mark.column + 1 + quoted)

    def blocks(self, node: yaml.Node) -> list[RecommendBlock | None]:
        return [self.block(name, value) for name, value in self.pairs(node, None, "recommend")]

    def block(self, name: str, node: yaml.Node) -> RecommendBlock | None:
        before = len(self.findings)
        if not _NAME.fullmatch(name):
            self.at(node, "T103", f'"{name}" cannot name a block', "letters, digits and underscores")
        entries = dict(self.pairs(node, _BLOCK_KEYS, "a recommend block"))
        if "from" not in entries and isinstance(node, yaml.MappingNode):
            self.at(node, "T103", f'the block "{name}" has no `from`', _one_of(STRATEGIES))
        strategies = self.strategies(entries.get("from"))
        count = self.number(entries.get("count"), 4)
        at_least = self.number(entries.get("at_least"), 1)
        if at_least > count:
            self.at(
                entries.get("at_least", node), "T103", f"at_least ({at_least}) is more than count ({count})"
            )
        otherwise = self.otherwise(entries.get("otherwise"))
        where = entries.get("where")
        tests = {key: _plain(value) for key, value in self.pairs(where, None, "where")} if where else {}
        if len(self.findings) > before:
            return None
        return RecommendBlock(name, strategies, count, at_least, otherwise, MappingProxyType(tests))

    def strategies(self, node: yaml.Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        names: list[str] = []
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            name = str(item.value) if isinstance(item, yaml.ScalarNode) else ""
            if name not in STRATEGIES:
                hint = did_you_mean(name, STRATEGIES) or _one_of(STRATEGIES)
                self.at(item, "T103", f'"{name}" is no recommendation strategy', hint)
            names.append(name)
        return tuple(dict.fromkeys(names))

    def number(self, node: yaml.Node | None, default: int) -> int:
        if node is None:
            return default
        value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PICKS:
            self.at(node, "T103", f"this is a number from 1 to {MAX_PICKS}")
            return default
        return value

    def otherwise(self, node: yaml.Node | None) -> Literal["omit", "skip"]:
        if node is None or node.value == "omit":
            return "omit"
        if node.value != "skip":
            self.at(node, "T103", "otherwise is omit (leave the block out) or skip (send no mail)")
        return "skip"


def _one_of(words: tuple[str, ...]) -> str:
    return "one of " + ", ".join(words)


def _plain(node: yaml.Node) -> Any:
    """Return a node's value by YAML 1.2's rules, so that `no` and `on` stay words."""
    if isinstance(node, yaml.SequenceNode):
        return tuple(_plain(item) for item in node.value)
    if isinstance(node, yaml.MappingNode):
        return MappingProxyType({str(key.value): _plain(value) for key, value in node.value})
    return _scalar(node)


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    if getattr(node, "style", None) is not None:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    return int(text) if _INTEGER.fullmatch(text) else text
