"""Files that draw on themselves without end: an include, layout or block that comes back to where it began.

A library and a template's path come in; a finding for each circle goes out, at the place that closes it. Only what happens
in every case counts: what stands under `if` or in a loop may come to an end, and is left to rendering.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import nodes

from engine.diagnostics import Finding, Span
from engine.render import problems
from engine.render.library import TemplateLibrary
from engine.render.names import sources_of
from engine.render.positions import Source, offset, parse

_MAY_END = (nodes.If, nodes.For, nodes.CondExpr, nodes.And, nodes.Or)
_Drawn = tuple[str, Span]


def circles(library: TemplateLibrary, path: str, chain: tuple[str, ...]) -> list[Finding]:
    """Return a finding for each circle that begins with the template at a path, as a chain of folders finds its files."""
    return _Looking(library, chain).begin(path)


class _Looking:
    def __init__(self, library: TemplateLibrary, chain: tuple[str, ...]) -> None:
        self.library, self.chain = library, chain
        self.findings: list[Finding] = []
        self.done: set[str] = set()

    def begin(self, path: str) -> list[Finding]:
        """Follow everything that a file draws on, and return what was found."""
        stack = [path]
        waiting = [self._drawn(path)]
        while waiting:
            drawn = next(waiting[-1], None)
            if drawn is None:
                waiting.pop()
                self.done.add(stack.pop())
                continue
            target, span = drawn
            if target in stack:
                way = [*stack[stack.index(target) :], target]
                self.findings.append(problems.endless(span, way))
            elif target not in self.done:
                stack.append(target)
                waiting.append(self._drawn(target))
        return self.findings

    def _drawn(self, path: str) -> Iterator[_Drawn]:
        *_, source = sources_of(self.library.parse(path))
        tree = parse(source, [])
        body = [] if tree is None else self._body(tree, path)
        for node in (found for each in body for found in _always(each)):
            yield from self._of(node, source)

    def _body(self, tree: nodes.Template, path: str) -> list[nodes.Node]:
        """Return what runs: of a block's file its macro, of any other file all but macros."""
        name = path.rpartition("/")[2].removesuffix(".mjml")
        macros = [each for each in tree.body if isinstance(each, nodes.Macro)]
        own = next((each for each in macros if each.name == name and "blocks/" in path), None)
        return [*own.body] if own is not None else [each for each in tree.body if each not in macros]

    def _of(self, node: nodes.Node, source: Source) -> Iterator[_Drawn]:
        name, length = "", 1
        if isinstance(node, nodes.Extends | nodes.Include | nodes.Import | nodes.FromImport):
            if isinstance(node.template, nodes.Const) and isinstance(node.template.value, str):
                name = node.template.value
                length = 4 if isinstance(node, nodes.FromImport) else len(type(node).__name__)
        elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            name = f"blocks/{node.attr}" if node.node.name == "blocks" else ""
            length = len(f"blocks.{node.attr}")
            node = node.node
        path = self.library.find(name, self.chain) if name else None
        if path is not None:
            yield path, source.span(offset(node), length)


def _always(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield a node and all in it that is reached whenever it is."""
    yield node
    for child in node.iter_child_nodes():
        if isinstance(node, _MAY_END) or isinstance(child, nodes.Macro):
            continue
        yield from _always(child)
