"""What is the same in every mail of a shop, worked out once: `brand.ink`, `words.total`, `shop.name`.

A parsed template and its constants (records by name) come in; the tree goes out with their fields replaced by values, with
names that are only ever set to a constant replaced by it, and with outputs of constants, and of `'a' if … else 'b'`, turned
into text. A name that the template gives another meaning, anywhere, is left alone, and so is every field that is missing: it
fails as it would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from jinja2 import Environment, nodes
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from engine.render.context import Record

_MOST_WRITTEN = 20_000
_SCALARS = (str, int, float, Decimal, bool, type(None))


def fold(
    tree: nodes.Template, constants: Mapping[str, Record], environment: Environment, *, escaped: bool
) -> nodes.Template:
    """Return the tree with what is constant in place; `escaped` tells whether output is markup."""
    given = names_given(tree)
    known = {name: record for name, record in constants.items() if name not in given}
    folding = _Folding(known, environment, escaped=escaped)
    tree = folding.visit(tree)
    folding.values = dict(_set_once(tree, given, folding))
    folding.writers = dict(_writers(tree, given))
    return folding.visit(tree) if folding.values or folding.writers else tree


def every(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield a node and all that is in it, in no order: what `find_all` does, several times quicker."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        for name in node.fields:
            value = getattr(node, name, None)
            if type(value) is list:
                waiting += [each for each in value if isinstance(each, nodes.Node)]
            elif isinstance(value, nodes.Node):
                waiting.append(value)


def names_given(tree: nodes.Node) -> Counter[str]:
    """Return how often each name is given a meaning in a tree."""
    found: Counter[str] = Counter()
    for node in every(tree):
        if isinstance(node, nodes.Name):
            found[node.name] += node.ctx != "load"
        elif isinstance(node, nodes.Macro | nodes.NSRef):
            found[node.name] += 1
        elif isinstance(node, nodes.Import):
            found[node.target] += 1
        elif isinstance(node, nodes.FromImport):
            found.update(name if isinstance(name, str) else name[1] for name in node.names)
    return +found


def _set_once(
    tree: nodes.Template, given: Mapping[str, int], folding: _Folding
) -> Iterator[tuple[str, nodes.Const]]:
    """Yield the names that are set to a constant, once, before all that reads them and in the same body."""
    read = Counter(each.name for each in every(tree) if isinstance(each, nodes.Name) and each.ctx == "load")
    in_blocks = _read_in(list(tree.find_all(nodes.Block)))
    for body in _bodies(tree):
        after: Counter[str] | None = None
        for place, statement in reversed(list(enumerate(body))):
            if not isinstance(statement, nodes.Assign) or not isinstance(statement.target, nodes.Name):
                continue
            name, value = statement.target.name, folding.constant(statement.node)
            if value is None or given.get(name) != 1 or in_blocks[name]:
                continue  # a layout may set the same name before it comes to the block
            if after is None:
                after, known = _read_in(body[place + 1 :]), place
            elif known != place:
                after, known = after + _read_in(body[place + 1 : known + 1]), place
            if after[name] == read[name]:
                yield name, value


def _writers(tree: nodes.Template, given: Mapping[str, int]) -> Iterator[tuple[str, nodes.Macro]]:
    """Yield the macros that write nothing but text and what they are given."""
    for macro in tree.find_all(nodes.Macro):
        taken = {argument.name for argument in macro.args}
        written = [child for part in macro.body if isinstance(part, nodes.Output) for child in part.nodes]
        plain = all(isinstance(part, nodes.Output | nodes.ExprStmt) for part in macro.body)
        known = all(
            isinstance(child, nodes.TemplateData) or (isinstance(child, nodes.Name) and child.name in taken)
            for child in written
        )
        if plain and known and not macro.defaults and given.get(macro.name) == 1:
            yield macro.name, macro


def _bodies(tree: nodes.Template) -> Iterator[list[nodes.Node]]:
    for node in every(tree):
        for field in ("body", "else_"):
            body = getattr(node, field, None)
            if isinstance(body, list):
                yield body


def _text(node: nodes.Node) -> str:
    return node.data if isinstance(node, nodes.TemplateData) else ""


def _read_in(body: Sequence[nodes.Node]) -> Counter[str]:
    """Return how often each name stands in these statements."""
    return Counter(each.name for node in body for each in every(node) if isinstance(each, nodes.Name))


class _Folding(NodeTransformer):
    def __init__(self, constants: Mapping[str, Record], environment: Environment, *, escaped: bool) -> None:
        self.constants, self.escaped = constants, escaped
        self.values: Mapping[str, nodes.Const] = {}
        self.writers: Mapping[str, nodes.Macro] = {}
        self.context = nodes.EvalContext(environment)

    def visit_Getattr(self, node: nodes.Getattr, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Replace a field of a constant record by its value."""
        if isinstance(node.node, nodes.Name) and node.node.name in self.constants:
            try:
                value = getattr(self.constants[node.node.name], node.attr)
            except AttributeError:
                return node
            return nodes.Const(value, lineno=node.lineno) if isinstance(value, _SCALARS) else node
        self.generic_visit(node)
        return node

    def visit_Name(self, node: nodes.Name, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Replace a name that is always the same."""
        known = self.values.get(node.name) if node.ctx == "load" else None
        return node if known is None else nodes.Const(known.value, lineno=node.lineno)

    def visit_Output(self, node: nodes.Output, *_: Any, **__: Any) -> list[nodes.Node]:  # noqa: N802 - Jinja's name
        """Write constants, and choices between two of them, as text."""
        self.generic_visit(node)
        written: list[nodes.Node] = []
        together: list[nodes.Expr] = []
        for child in node.nodes:
            choice = self.choice(child) if isinstance(child, nodes.CondExpr) else None
            if choice is None:
                together.append(self.written(child) or child)
                continue
            if together:
                written.append(nodes.Output(together, lineno=together[0].lineno))
            written.append(choice)
            together = []
        return [*written, nodes.Output(together, lineno=node.lineno)] if together else written

    def choice(self, node: nodes.CondExpr) -> nodes.If | None:
        """Return the statement for a choice between two constants."""
        one, other = self.written(node.expr1), self.written(node.expr2) if node.expr2 is not None else None
        if one is None or other is None:
            return None
        bodies = [[nodes.Output([text], lineno=node.lineno)] for text in (one, other)]
        return nodes.If(node.test, bodies[0], [], bodies[1], lineno=node.lineno)

    def written(self, child: nodes.Expr) -> nodes.TemplateData | None:
        """Return the text that a constant writes."""
        found = self.constant(child)
        if found is None:
            return self.called(child) if isinstance(child, nodes.Call) else None
        text = "" if found.value is None else str(found.value)
        return nodes.TemplateData(str(escape(text)) if self.escaped else text, lineno=child.lineno)

    def called(self, call: nodes.Call) -> nodes.TemplateData | None:
        """Return what a macro writes that only writes, when it is called with constants."""
        macro = self.writers.get(call.node.name) if isinstance(call.node, nodes.Name) else None
        values = [self.written(argument) for argument in call.args]
        more = call.kwargs or call.dyn_args is not None or call.dyn_kwargs is not None
        if macro is None or more or not self.escaped or len(values) != len(macro.args):
            return None
        if any(value is None or not isinstance(value, nodes.TemplateData) for value in values):
            return None
        said = {
            argument.name: value.data for argument, value in zip(macro.args, values, strict=True) if value
        }
        pieces = [child for part in macro.body if isinstance(part, nodes.Output) for child in part.nodes]
        texts = [said[child.name] if isinstance(child, nodes.Name) else _text(child) for child in pieces]
        if sum(map(len, texts)) > _MOST_WRITTEN:
            return None  # when the mail is made, it costs its budget
        return nodes.TemplateData("".join(texts), lineno=call.lineno)

    def constant(self, node: nodes.Node) -> nodes.Const | None:
        """Return an expression's value where it is always the same."""
        if isinstance(node, nodes.TemplateData) or not isinstance(node, nodes.Expr):
            return None
        try:
            value = node.as_const(self.context)
        except Exception:  # noqa: BLE001 - whatever goes wrong goes wrong when the mail is made
            return None
        plain = isinstance(value, _SCALARS) and not isinstance(value, Markup)
        return nodes.Const(value, lineno=node.lineno) if plain else None
