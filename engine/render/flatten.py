"""One template out of many files: layouts, includes and blocks put into the place where they are written.

The parsed files of a mail come in; one tree goes out that writes the same, without a call, a lookup or a frame for each
block. What is known when a block is put in (`look="quiet"`, whether it has a caller) is put in too, so that most choices
are made once. Names of blocks get names of their own, so that nothing means something else in its new place. What cannot
be put in stays a call; what cannot be flat at all raises `NotFlat`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from jinja2 import Environment, nodes
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from engine.render.folding import every, names_given

_SCALARS = (str, int, float, Decimal, bool, type(None))
LINES = "_lines"
"""The filter that writes each line of a text as a token."""

_OWN = "flat{}x"
_DEEPEST = 8
_SMALL = 100_000
_WORKED_OUT: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_SAID = re.compile(r"<mjml\b[^>]* lang=[^>]* dir=")
_MOST_NODES = 60_000
_TOP = (nodes.Assign, nodes.Import, nodes.FromImport, nodes.Macro)


def copied(part: Any) -> Any:
    """Return a part of a tree with copies of all that is in it; the environment is shared."""
    if isinstance(part, list):
        return [copied(each) for each in part]
    if not isinstance(part, nodes.Node):
        return part
    new = object.__new__(type(part))
    for name in part.fields:
        setattr(new, name, copied(getattr(part, name)))
    for name in part.attributes:
        setattr(new, name, getattr(part, name, None))
    return new


class NotFlat(Exception):
    """A mail's files cannot be put together."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's macro, the names that it takes from outside, its own, and those of them that it sets."""

    macro: nodes.Macro
    free: frozenset[str]
    own: frozenset[str]
    assigned: frozenset[str]


def flattened(
    name: str,
    load: Callable[[str], nodes.Template],
    environment: Environment,
    blocks: dict[str, Block | None],
) -> nodes.Template:
    """Return the tree of a mail. Raises NotFlat, or whatever `load` raises.

    `load` gives a file's own tree; `blocks` are those that were read for other mails of the same files, and get more.
    """
    return _Flattening(load, environment, blocks).flat(name)


def without_unused(tree: nodes.Template) -> nodes.Template:
    """Return a tree without the macros that nothing calls any more."""
    used = {each.name for each in every(tree) if isinstance(each, nodes.Name) and each.ctx == "load"}
    return _Unused(used).visit(tree)  # type: ignore[no-any-return]


class _Unused(NodeTransformer):
    def __init__(self, used: set[str]) -> None:
        self.used = used

    def visit_Macro(self, node: nodes.Macro, *_: Any, **__: Any) -> nodes.Node | None:  # noqa: N802 - Jinja's name
        """Leave out a macro that nobody names."""
        return node if node.name in self.used else None


def with_token_lines(tree: nodes.Template) -> nodes.Template:
    """Return a tree whose outputs of `… | lines` write tokens, a line each; anywhere else the lines are markup."""
    for output in tree.find_all(nodes.Output):
        written: list[nodes.Expr] = []
        for child in output.nodes:
            plain = isinstance(child, nodes.Filter) and not (child.args or child.kwargs or child.dyn_args)
            if plain and child.name == "lines":  # type: ignore[attr-defined]
                written += _lines_of(child)  # type: ignore[arg-type]
            else:
                written.append(child)
        output.nodes = written
    return tree


def _lines_of(call: nodes.Filter) -> list[nodes.Expr]:
    """Return what writes the lines of a text: the text itself where it is known."""
    text = call.node.value if isinstance(call.node, nodes.Const) else None
    if not isinstance(text, str) or len(text) > _SMALL:
        call.name = LINES
        return [call]
    between = nodes.TemplateData("<br />", lineno=call.lineno)
    lines: list[nodes.Expr] = []
    for line in text.splitlines():
        lines += [between, nodes.TemplateData(str(escape(line)), lineno=call.lineno)]
    return lines[1:]


def is_ordered(tree: nodes.Template) -> bool:
    """Return whether everything is written in the order in which it is worked out: nothing is captured or put in later."""
    captured = (nodes.Macro, nodes.CallBlock, nodes.AssignBlock, nodes.FilterBlock, nodes.Include, nodes.Import,
                nodes.FromImport, nodes.Block)  # fmt: skip
    found = list(every(tree))
    if any(isinstance(each, captured) for each in found):
        return False
    text = "".join([data.data for data in tree.find_all(nodes.TemplateData)])  # in order
    if not (_SAID.search(text) and "<mj-title" in text and "<mj-preview" in text):
        return False  # the head gets what is missing when all else is written
    return not any(_block_name(each) for each in found)


@dataclass(slots=True)
class _Flattening:
    load: Callable[[str], nodes.Template]
    environment: Environment
    blocks: dict[str, Block | None]
    names: set[str] = field(
        default_factory=set
    )  # what the mail itself, its layouts and includes give a meaning
    count: int = 0

    def flat(self, name: str) -> nodes.Template:
        body = self._with_includes(self._extended(name), 0)
        tree = nodes.Template(body, lineno=1)
        if any(isinstance(each, nodes.Name) and each.name in ("super", "self") for each in every(tree)):
            raise NotFlat
        self.names = set(names_given(tree))
        if any(each.startswith("flat") for each in self.names):
            raise NotFlat
        tree.body = self._put_in(tree.body, 0)
        if sum(1 for _ in every(tree)) > _MOST_NODES:
            raise NotFlat
        return tree

    # ── layouts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _extended(self, name: str) -> list[nodes.Node]:
        """Return the body of the outermost layout with the blocks of all that extend it, behind what these set."""
        before: list[nodes.Node] = []
        blocks: dict[str, nodes.Block] = {}
        for _ in range(_DEEPEST):
            tree = copied(self.load(name))
            parent = next((each for each in tree.body if isinstance(each, nodes.Extends)), None)
            for block in tree.find_all(nodes.Block):
                if block.scoped or block.required:
                    raise NotFlat
                blocks.setdefault(block.name, block)
            if parent is None:
                _refuse_blocks_in_loops(tree)
                return [*before, *_Blocks(blocks).visit(nodes.Template(tree.body)).body]
            before += self._before(tree, parent)
            if not isinstance(parent.template, nodes.Const):
                raise NotFlat
            name = parent.template.value
        raise NotFlat

    def _before(self, tree: nodes.Template, parent: nodes.Extends) -> Iterator[nodes.Node]:
        """Yield what a template that extends another does by itself; what it writes outside of blocks is not seen."""
        seen = False
        for each in tree.body:
            if each is parent:
                seen = True
            elif isinstance(each, _TOP):
                yield each
            elif isinstance(each, nodes.Output):
                if not seen and any(not _is_blank(child) for child in each.nodes):
                    raise NotFlat
            elif not isinstance(each, nodes.Block):
                raise NotFlat

    def _with_includes(self, body: list[nodes.Node], depth: int) -> list[nodes.Node]:
        if depth > _DEEPEST:
            raise NotFlat
        return [_Includes(self, depth).visit(each) for each in body]

    def included(self, node: nodes.Include, depth: int) -> nodes.Node:
        """Return what stands in the place of an include."""
        if not isinstance(node.template, nodes.Const) or not isinstance(node.template.value, str):
            raise NotFlat
        if node.ignore_missing or not node.with_context:
            raise NotFlat
        tree = copied(self.load(node.template.value))
        if any(True for _ in tree.find_all((nodes.Extends, nodes.Block))):
            raise NotFlat
        return nodes.Scope(self._with_includes(tree.body, depth + 1), lineno=node.lineno)

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _put_in(self, body: list[nodes.Node], depth: int) -> list[nodes.Node]:
        """Return a body with the blocks that it calls in the place of the calls."""
        done: list[nodes.Node] = []
        for statement in body:
            if isinstance(statement, nodes.Output):
                done += self._output(statement, depth)
            elif isinstance(statement, nodes.CallBlock):
                inner = self._put_in(statement.body, depth)
                put = None if statement.args else self._block(statement.call, inner, depth)
                if put is None:
                    statement.body = inner
                done.append(put or statement)
            else:
                for key in ("body", "else_"):
                    inside = getattr(statement, key, None)
                    if isinstance(inside, list):
                        setattr(statement, key, self._put_in(inside, depth))
                if isinstance(statement, nodes.If):
                    self._put_in([*statement.elif_], depth)  # each of them in its own place
                done.append(statement)
        return done

    def _output(self, statement: nodes.Output, depth: int) -> Iterator[nodes.Node]:
        together: list[nodes.Expr] = []
        for child in statement.nodes:
            put = self._block(child, None, depth) if isinstance(child, nodes.Call) else None
            if put is None:
                together.append(child)
                continue
            if together:
                yield nodes.Output(together, lineno=statement.lineno)
            together = []
            yield put
        if together:
            yield nodes.Output(together, lineno=statement.lineno)

    def _block(self, call: nodes.Call, caller: list[nodes.Node] | None, depth: int) -> nodes.Node | None:
        """Return what a call of a block writes, or None where it has to stay a call."""
        name = _block_name(call)
        block = self._known(name) if name and depth < _DEEPEST else None
        if block is None or block.free & self.names:
            return None
        given = _arguments(block.macro, call)
        if given is None:
            return None
        self.count += 1
        prefix = _OWN.format(self.count)
        macro = copied(block.macro)
        constants: dict[str, nodes.Const] = {}
        sets: list[nodes.Node] = []
        renaming = _Renaming(block.own, prefix, constants)
        for argument in macro.args:
            value, is_own = given[argument.name]
            if is_own:  # a default may name the arguments before it
                value = renaming.visit(copied(value))
            constant = self._constant(value)
            if constant is not None and argument.name not in block.assigned:
                constants[argument.name] = constant
            else:
                target = nodes.Name(prefix + argument.name, "store", lineno=call.lineno)
                sets.append(nodes.Assign(target, value, lineno=call.lineno))
        body = [renaming.visit(each) for each in macro.body]
        body = _Simplified(self._constant, caller is not None).all(body)
        if _asks_otherwise(body):
            return None
        body = self._put_in(body, depth + 1)
        body = _Called(caller or []).visit(nodes.Scope(body)).body
        return nodes.Scope([*sets, *body], lineno=call.lineno)

    def _known(self, name: str) -> Block | None:
        if name not in self.blocks:
            self.blocks[name] = self._read(name)
        return self.blocks[name]

    def _read(self, name: str) -> Block | None:
        """Return a block whose file holds its macro and nothing else."""
        tree = self.load(f"blocks/{name}.mjml")
        macros = [each for each in tree.body if isinstance(each, nodes.Macro)]
        rest = [each for each in tree.body if not isinstance(each, nodes.Macro | nodes.Output)]
        if len(macros) != 1 or macros[0].name != name or rest:
            return None
        (macro,) = macros
        if any(
            True
            for _ in macro.find_all((nodes.Block, nodes.Include, nodes.Import, nodes.FromImport, nodes.Macro))
        ):
            return None
        loaded = {each.name for each in every(macro) if isinstance(each, nodes.Name) and each.ctx == "load"}
        if loaded & {"varargs", "kwargs"}:
            return None
        own = frozenset(names_given(macro)) | {each.name for each in macro.args}
        free = loaded - own - {"caller"}
        if "loop" in free and not any(True for _ in macro.find_all(nodes.For)):
            return None
        assigned = frozenset(names_given(nodes.Scope(macro.body)))
        return Block(macro, frozenset(free - {"loop"}), own, assigned)

    def _constant(self, node: nodes.Expr) -> nodes.Const | None:
        if isinstance(node, nodes.TemplateData):
            return None
        try:
            value = node.as_const(nodes.EvalContext(self.environment))
        except Exception:  # noqa: BLE001 - what goes wrong goes wrong when the mail is made
            return None
        if isinstance(value, _SCALARS) and not isinstance(value, Markup):
            return nodes.Const(value, lineno=node.lineno)
        return None


class _Blocks(NodeTransformer):
    """Puts the bodies of blocks in their places."""

    def __init__(self, blocks: Mapping[str, nodes.Block]) -> None:
        self.blocks = blocks

    def visit_Block(self, node: nodes.Block, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Put in the body of the block by that name, of whoever says it first."""
        body: list[nodes.Node] = copied(self.blocks[node.name].body)
        return nodes.Scope([self.visit(each) for each in body], lineno=node.lineno)


class _Includes(NodeTransformer):
    """Puts included files in their places."""

    def __init__(self, flattening: _Flattening, depth: int) -> None:
        self.flattening, self.depth = flattening, depth

    def visit_Include(self, node: nodes.Include, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Put in the file."""
        return self.flattening.included(node, self.depth)


class _Renaming(NodeTransformer):
    """Gives the names of a block's own names of their own, or the constants that they are."""

    def __init__(self, own: frozenset[str], prefix: str, constants: Mapping[str, nodes.Const]) -> None:
        self.own, self.prefix, self.constants = own, prefix, constants

    def visit_Name(self, node: nodes.Name, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Rename one."""
        if node.name not in self.own:
            return node
        known = self.constants.get(node.name) if node.ctx == "load" else None
        if known is not None:
            return nodes.Const(known.value, lineno=node.lineno)
        return nodes.Name(self.prefix + node.name, node.ctx, lineno=node.lineno)

    def visit_NSRef(self, node: nodes.NSRef, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Rename the namespace that is written to."""
        return (
            nodes.NSRef(self.prefix + node.name, node.attr, lineno=node.lineno)
            if node.name in self.own
            else node
        )


class _Called(NodeTransformer):
    """Puts what a caller writes in the place of `caller()`."""

    def __init__(self, body: list[nodes.Node]) -> None:
        self.body = body

    def visit_Output(self, node: nodes.Output, *_: Any, **__: Any) -> list[nodes.Node]:  # noqa: N802 - Jinja's name
        """Split an output where the caller comes."""
        done: list[nodes.Node] = []
        together: list[nodes.Expr] = []
        for child in node.nodes:
            if not _is_caller(child):
                together.append(child)
                continue
            if together:
                done.append(nodes.Output(together, lineno=node.lineno))
            together = []
            done.append(nodes.Scope(copied(self.body), lineno=node.lineno))
        return [*done, nodes.Output(together, lineno=node.lineno)] if together else done


class _Simplified(NodeTransformer):
    """Makes the choices that are known: whether there is a caller, and what follows from constants."""

    def __init__(self, constant: Callable[[nodes.Expr], nodes.Const | None], called: bool) -> None:  # noqa: FBT001 - private
        self.constant, self.called = constant, called

    def all(self, body: list[nodes.Node]) -> list[nodes.Node]:
        """Return a body without the choices that are made."""
        return list(self.visit(nodes.Scope(body)).body)

    def visit_Test(self, node: nodes.Test, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Answer `caller is defined`."""
        self.generic_visit(node)
        if node.name in ("defined", "undefined") and _is_name(node.node, "caller"):
            return nodes.Const(self.called == (node.name == "defined"), lineno=node.lineno)
        return node

    def _worked_out(self, node: nodes.BinExpr, *_: Any, **__: Any) -> nodes.Node:
        """Work out a sum or product of two small whole numbers."""
        self.generic_visit(node)
        left, right = self.constant(node.left), self.constant(node.right)
        if left is None or right is None or type(left.value) is not int or type(right.value) is not int:
            return node
        if max(abs(left.value), abs(right.value)) > _SMALL or node.operator not in _WORKED_OUT:
            return node
        return nodes.Const(_WORKED_OUT[node.operator](left.value, right.value), lineno=node.lineno)

    visit_Add = visit_Sub = visit_Mul = _worked_out  # noqa: N815 - Jinja's names

    def visit_CondExpr(self, node: nodes.CondExpr, *_: Any, **__: Any) -> nodes.Node:  # noqa: N802 - Jinja's name
        """Choose where the test is known."""
        self.generic_visit(node)
        test = self.constant(node.test)
        if test is None or node.expr2 is None:
            return node
        return node.expr1 if test.value else node.expr2

    def visit_If(self, node: nodes.If, *_: Any, **__: Any) -> nodes.Node | list[nodes.Node]:  # noqa: N802 - Jinja's name
        """Choose where the test is known."""
        if node.elif_:
            first, *more = node.elif_
            node.else_ = [nodes.If(first.test, first.body, more, node.else_, lineno=first.lineno)]
            node.elif_ = []
        self.generic_visit(node)
        test = self.constant(node.test) if isinstance(node.test, nodes.Expr) else None
        if test is None:
            return node
        return node.body if test.value else node.else_


def _block_name(call: nodes.Node) -> str:
    """Return the block that a call is of; empty for other calls."""
    target = getattr(call, "node", None)
    if isinstance(call, nodes.Call) and isinstance(target, nodes.Getattr) and _is_name(target.node, "blocks"):
        return str(target.attr)
    return ""


def _arguments(macro: nodes.Macro, call: nodes.Call) -> dict[str, tuple[nodes.Expr, bool]] | None:
    """Return the value of each argument, and whether it is the macro's own default; None where they do not fit."""
    if call.dyn_args is not None or call.dyn_kwargs is not None or len(call.args) > len(macro.args):
        return None
    given = {argument.name: (value, False) for argument, value in zip(macro.args, call.args, strict=False)}
    names = {argument.name for argument in macro.args}
    for pair in call.kwargs:
        if pair.key in given or pair.key not in names:
            return None
        given[pair.key] = (pair.value, False)
    with_default = macro.args[len(macro.args) - len(macro.defaults) :]
    for argument, value in zip(with_default, macro.defaults, strict=True):
        given.setdefault(argument.name, (value, True))
    return given if len(given) == len(macro.args) else None


def _asks_otherwise(body: list[nodes.Node]) -> bool:
    """Return whether a block does anything with its caller but write it."""
    asked = written = 0
    for each in every(nodes.Scope(body)):
        if isinstance(each, nodes.Name):
            asked += each.name == "caller"
        elif isinstance(each, nodes.Output):
            written += sum(1 for child in each.nodes if _is_caller(child))
    return asked != written


def _is_caller(node: nodes.Node) -> bool:
    bare = isinstance(node, nodes.Call) and not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
    return bare and _is_name(node.node, "caller")  # type: ignore[attr-defined]


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def _is_blank(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()


def _refuse_blocks_in_loops(tree: nodes.Template) -> None:
    """A block sees nothing of the loop, macro or with around it: put in there, it would."""
    around = (nodes.For, nodes.With, nodes.Macro, nodes.FilterBlock, nodes.AssignBlock)
    if any(True for each in tree.find_all(around) for _ in each.find_all(nodes.Block)):
        raise NotFlat
    if any(each.args for each in tree.find_all(nodes.CallBlock)):
        raise NotFlat
