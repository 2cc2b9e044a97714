"""Where a template works on what it has written: there, values cannot be replaced by tokens.

`{% filter upper %}`, `{% set x %}…{% endset %}{{ x | length }}` or `blocks.price(…) | replace(…)` take output that was
captured and change or measure it. A template's files come in; the places where that happens go out. Captured output that
is only written (`{{ caller() }}`, `{{ blocks.cart(cart) }}`), joined by `~`, or asked whether it is empty, is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from jinja2 import nodes

from engine.diagnostics import Span
from engine.render.environment import TEXT_METHODS, TIME_FIELDS
from engine.render.names import sources_of
from engine.render.pieces import MARKS
from engine.render.positions import offset, parse
from engine.render.template import Template

_LEAF_IN_COMMENT = re.compile(r"<!--(?:(?!-->).)*<(?:mj-text|tr)\b", re.DOTALL)
_PLAIN_CALLS = frozenset(["range", "dict", "namespace"])
_HARMLESS_FILTERS = frozenset(["default", "d", "e", "escape"])
_HARMLESS_TESTS = frozenset(["defined", "undefined", "none"])


def transformed(templates: Iterable[Template]) -> list[Span]:
    """Return the places in these files, which one mail draws on, where captured output is changed or measured."""
    sources = [source for template in templates for source in sources_of(template)]
    trees = [(source, tree) for source in sources if (tree := parse(source, [])) is not None]
    passed = any(_Captured(tree, frozenset()).is_passed_on() for _, tree in trees)
    found: list[Span] = []
    for source, tree in trees:
        arguments = _argument_names(tree) if passed else frozenset()
        found += [source.span(at) for at in _Captured(tree, arguments).changed()]
    return found


def hides_marks(template: Template) -> bool:
    """Return whether a file holds text that tokens or leaves could be mistaken for."""
    found = any(mark in source.text for source in sources_of(template) for mark in MARKS)
    return found or _LEAF_IN_COMMENT.search(template.body) is not None


def _argument_names(tree: nodes.Template) -> frozenset[str]:
    """Return the names of what macros take: any of them may have got captured output."""
    taken = [argument for macro in tree.find_all(nodes.Macro) for argument in macro.args]
    taken += [argument for call in tree.find_all(nodes.CallBlock) for argument in call.args]
    return frozenset(argument.name for argument in taken)


class _Captured:
    """What may hold captured output in one file: calls of macros and blocks, and the names given to them."""

    def __init__(self, tree: nodes.Template, names: frozenset[str]) -> None:
        self.tree = tree
        self.names = set(names) | _names_of_blocks(tree)
        while more := {name for name in self._assigned() if name not in self.names}:
            self.names |= more

    def _assigned(self) -> Iterator[str]:
        for node in self.tree.find_all((nodes.Assign, nodes.For, nodes.With)):
            pairs: Iterable[tuple[nodes.Node, nodes.Node]]
            if isinstance(node, nodes.Assign):
                pairs = [(node.target, node.node)]
            elif isinstance(node, nodes.For):
                pairs = [(node.target, node.iter)]
            else:
                assert isinstance(node, nodes.With)
                pairs = zip(node.targets, node.values, strict=True)
            for target, value in pairs:
                if self.holds(value):
                    yield from _names_in(target)

    def holds(self, node: nodes.Node) -> bool:
        """Return whether an expression may be, or contain, captured output."""
        if isinstance(node, nodes.Name):
            return node.name in self.names
        if isinstance(node, nodes.Call):
            return self._captures(node) or any(self.holds(part) for part in _arguments(node))
        if isinstance(node, nodes.Test | nodes.Compare):
            return False
        return any(self.holds(child) for child in node.iter_child_nodes())

    def _captures(self, call: nodes.Call) -> bool:
        callee = call.node
        if isinstance(callee, nodes.Name):
            return callee.name not in _PLAIN_CALLS
        if isinstance(callee, nodes.Getattr):
            owner = callee.node
            if isinstance(owner, nodes.Name) and owner.name == "links":
                return False
            return callee.attr not in TEXT_METHODS and callee.attr not in TIME_FIELDS
        return True

    def is_passed_on(self) -> bool:
        """Return whether captured output is an argument of a call."""
        return any(self.holds(part) for call in self.tree.find_all(nodes.Call) for part in _arguments(call))

    def changed(self) -> Iterator[int]:
        """Yield the offset of each place that changes or measures captured output."""
        for node in self.tree.find_all(nodes.Node):
            if any(self.holds(part) for part in _worked_on(node)) or _is_filtered(node):
                yield offset(node)


def _worked_on(node: nodes.Node) -> list[nodes.Node]:
    """Return the parts of a node that it changes or measures."""
    if isinstance(node, nodes.Filter):
        return [] if node.name in _HARMLESS_FILTERS else list(node.iter_child_nodes())
    if isinstance(node, nodes.Test):
        return [] if node.name in _HARMLESS_TESTS else list(node.iter_child_nodes())
    if isinstance(node, nodes.Compare | nodes.BinExpr) and not isinstance(node, nodes.And | nodes.Or):
        return list(node.iter_child_nodes())
    if isinstance(node, nodes.Getitem | nodes.Getattr | nodes.UnaryExpr) and not isinstance(node, nodes.Not):
        return list(node.iter_child_nodes())
    return [node.iter] if isinstance(node, nodes.For) and not isinstance(node.iter, _LITERAL) else []


_LITERAL = (nodes.List, nodes.Tuple)


def _is_filtered(node: nodes.Node) -> bool:
    return isinstance(node, nodes.FilterBlock) or (
        isinstance(node, nodes.AssignBlock) and node.filter is not None
    )


def _names_of_blocks(tree: nodes.Template) -> set[str]:
    return {name for node in tree.find_all(nodes.AssignBlock) for name in _names_in(node.target)}


def _names_in(target: nodes.Node) -> set[str]:
    if isinstance(target, nodes.Name):
        return {target.name}
    if isinstance(target, nodes.NSRef):
        return {target.name}
    return {name.name for name in target.find_all(nodes.Name)}


def _arguments(call: nodes.Call) -> Iterator[nodes.Node]:
    yield from call.args
    yield from (pair.value for pair in call.kwargs)
    yield from (part for part in (call.dyn_args, call.dyn_kwargs) if part is not None)
