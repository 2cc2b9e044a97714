"""What is the same in every mail of a shop, worked out once: `brand.ink`, `words.total`, `shop.name`.

A parsed template and its constants (records by name) come in; the tree goes out with their fields replaced by values, and
with outputs of values replaced by the escaped text. A name that the template gives another meaning, anywhere, is left
alone, and so is every field that is missing: it fails as it would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer
from markupsafe import escape

from engine.render.context import Record

_SCALARS = (str, int, float, Decimal, bool, type(None))


def fold(tree: nodes.Template, constants: Mapping[str, Record], *, escaped: bool) -> nodes.Template:
    """Return the tree with the fields of constant records in place; `escaped` tells whether output is markup."""
    bound = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    bound |= {node.target for node in tree.find_all(nodes.Import)}
    for node in tree.find_all(nodes.FromImport):
        bound |= {name if isinstance(name, str) else name[1] for name in node.names}
    bound |= {node.name for node in tree.find_all(nodes.Macro)}
    known = {name: record for name, record in constants.items() if name not in bound}
    return _Folding(known, escaped=escaped).visit(tree) if known else tree


class _Folding(NodeTransformer):
    def __init__(self, constants: Mapping[str, Record], *, escaped: bool) -> None:
        self.constants, self.escaped = constants, escaped

    def visit_Getattr(self, node: nodes.Getattr, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Replace a field of a constant record by its value."""
        if isinstance(node.node, nodes.Name) and node.node.name in self.constants:
            try:
                value = getattr(self.constants[node.node.name], node.attr)
            except AttributeError:
                return node
            if isinstance(value, _SCALARS):
                return nodes.Const(value, lineno=node.lineno)
            return node
        self.generic_visit(node)
        return node

    def visit_Output(self, node: nodes.Output, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Replace the output of a constant by its text."""
        self.generic_visit(node)
        node.nodes = [self.written(child) for child in node.nodes]
        return node

    def written(self, child: nodes.Expr) -> nodes.Expr:
        """Return text for a constant."""
        if not isinstance(child, nodes.Const):
            return child
        text = "" if child.value is None else str(child.value)
        return nodes.TemplateData(str(escape(text)) if self.escaped else text, lineno=child.lineno)
