"""Static check of the names in templates: every variable, field, filter, block and file, on its exact place.

A template's path comes in; findings for it and for everything that it extends, includes, imports or calls go out. No
values are needed: types follow `engine.render.context.KINDS` through loops, `set` and filters that keep them; where a
type is not known, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from jinja2 import nodes

from engine.diagnostics import Finding, Span, slip_of
from engine.flows.fields import OF_FACTS
from engine.render import problems
from engine.render.context import KINDS, NAMES
from engine.render.filters import FILTERS, TESTS
from engine.render.library import SUFFIX, TemplateLibrary
from engine.render.locales import DEFAULT
from engine.render.positions import Source, offset, parse
from engine.render.template import Template

Type = str | None  # a kind or scalar of KINDS, `kind*` for many, `blocks`, `macro:NAME`; None: not known

_NONE: Mapping[str, Collection[str]] = {}
_KEEPING = frozenset(["sort", "reverse", "list", "select", "reject", "selectattr", "rejectattr", "unique"])
_GLOBALS: Mapping[str, Type] = {**NAMES, "range": None, "namespace": None, "dict": None}
_BY_ATTRIBUTE = frozenset(
    ["map", "sum", "sort", "selectattr", "rejectattr", "groupby", "unique", "join", "min", "max"]
)
_MAY_BE_UNDEFINED = frozenset({"default", "d"})


@dataclass(frozen=True, slots=True)
class Macro:
    """What a macro takes: the names of its arguments, how many of the last have defaults, and whether it takes any."""

    name: str
    arguments: tuple[str, ...]
    defaults: int
    takes_any: bool
    takes_any_name: bool

    @property
    def signature(self) -> str:
        """How the macro is called: `products(products, heading=…)`."""
        first = len(self.arguments) - self.defaults
        shown = [name if number < first else f"{name}=…" for number, name in enumerate(self.arguments)]
        return f"{self.name}({', '.join(shown)})"


def sources_of(template: Template) -> Iterator[Source]:
    """Yield the Jinja sources of a template: subject, preheader and body, with their places."""
    file = f"templates/{template.path}"
    for inline in (template.subject, template.preheader):
        if inline.source:
            yield Source(file, inline.source, inline.line, inline.column)
    yield Source(file, template.body, template.body_line)


def check_names(
    library: TemplateLibrary,
    path: str,
    chain: tuple[str, ...],
    own_fields: Mapping[str, Collection[str]] = _NONE,
) -> tuple[list[Finding], list[str]]:
    """Return what is wrong with the names of a template and of every file that it draws on, and those files' paths.

    `own_fields` names further fields that a project brings along: `{"shop": {"slogan"}}` for a key of `[shop]`.
    """
    own: dict[str, Type] = dict.fromkeys(library.parse(path).declared, "product*")
    around = {**own_fields, "words": library.words(chain)}
    findings: list[Finding] = []
    waiting, seen = [path], [path]
    while waiting:
        current = waiting.pop()
        found, drawn, top = _looked_over(library, current, chain, around, own)
        findings += [finding for finding in found if finding not in findings]
        if current == path:
            own |= top  # a layout sees what its child sets
        new = [each for each in drawn if each not in seen]
        waiting += new
        seen += new
    return findings, seen


_Looked = tuple[list[Finding], list[str], dict[str, Type]]
_LOOKED: WeakKeyDictionary[TemplateLibrary, dict[object, _Looked]] = WeakKeyDictionary()


def _looked_over(
    library: TemplateLibrary,
    path: str,
    chain: tuple[str, ...],
    around: Mapping[str, Collection[str]],
    own: Mapping[str, Type],
) -> _Looked:
    """Return what is wrong in one file with these names in scope, what it draws on, and what it gives values to.

    The layouts and blocks of a project are drawn on by every mail; with the same names they are gone through once.
    """
    known = _LOOKED.setdefault(library, {})
    fields = frozenset((name, frozenset(of)) for name, of in around.items())
    key = path, chain, fields, frozenset(own.items())
    if key not in known:
        checking = _Checking(library, chain, around)
        given: dict[str, Type] = {}
        for source in sources_of(library.parse(path)):
            tree = parse(source, checking.findings)
            if tree is not None:
                top = _assigned(tree.body)
                scope = {**_GLOBALS, **own, **given, **top}
                _Walker(checking, source, scope).block(tree.body, scope)
                given |= top
        known[key] = checking.findings, checking.drawn, given
    return known[key]


def check_line(
    library: TemplateLibrary, line: str, at: Span, own_fields: Mapping[str, Collection[str]] = _NONE
) -> list[Finding]:
    """Return what is wrong with the names in a line outside of templates, such as a step's subject.

    `at` is where its value stands there. What has escapes in it, or goes on in another line, is told at `at` as a whole.
    """
    checking = _Checking(library, (DEFAULT,), {**own_fields, "words": library.words((DEFAULT,))})
    quotes = at.length - len(line)
    as_written = quotes in (0, 2) and "\n" not in line
    source = Source(at.file, line, at.line, at.column + quotes // 2 if as_written else at.column)
    tree = parse(source, checking.findings)
    if tree is not None:
        scope = {**_GLOBALS, **_assigned(tree.body)}
        _Walker(checking, source, scope).block(tree.body, scope)
    return [finding if as_written else replace(finding, span=at) for finding in checking.findings]


@dataclass(slots=True)
class _Checking:
    """What one check shares between files: the library, what was found, and the files drawn on so far."""

    library: TemplateLibrary
    chain: tuple[str, ...]
    own_fields: Mapping[str, Collection[str]]
    findings: list[Finding] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)

    def draw(self, name: str) -> bool:
        """Note a file that is used; return whether there is one."""
        path = self.library.find(name, self.chain)
        if path is not None and path not in self.drawn:
            self.drawn.append(path)
        return path is not None

    def block_names(self) -> list[str]:
        """Return the names of all blocks."""
        parts = (path.split("blocks/", 1)[1] for path in self.library.sources if "blocks/" in path)
        return sorted({name.removesuffix(SUFFIX) for name in parts})

    def macro(self, name: str) -> Macro | None:
        """Return what the block of that name takes."""
        path = self.library.find(f"blocks/{name}", self.chain)
        if path is None:
            return None
        tree = parse(Source(path, self.library.parse(path).body), [])
        found = (node for node in tree.find_all(nodes.Macro) if node.name == name) if tree else iter(())
        return next((macro_of(node) for node in found), None)

    def other_names(self, name: str) -> list[str] | None:
        """Return the macros of a block's file that lacks the block's own; None where it is there, or cannot be read."""
        path = self.library.find(f"blocks/{name}", self.chain)
        tree = parse(Source(path, self.library.parse(path).body), []) if path is not None else None
        if tree is None or name in _assigned(tree.body):
            return None
        return [node.name for node in tree.find_all(nodes.Macro)]


def macro_of(node: nodes.Macro) -> Macro:
    """Return what a macro takes."""
    used = {name.name for name in node.find_all(nodes.Name)}
    arguments = tuple(argument.name for argument in node.args)
    return Macro(node.name, arguments, len(node.defaults), "varargs" in used, "kwargs" in used)


def _assigned(body: list[nodes.Node]) -> dict[str, Type]:
    """Return the names that statements on one level give values to; their types come while walking."""
    found: dict[str, Type] = {}
    for node in body:
        if isinstance(node, nodes.Assign | nodes.AssignBlock):
            found |= dict.fromkeys((name.name for name in _targets(node.target)), None)
        elif isinstance(node, nodes.Macro):
            found[node.name] = None
        elif isinstance(node, nodes.Import):
            found[node.target] = None
        elif isinstance(node, nodes.FromImport):
            found |= dict.fromkeys((name if isinstance(name, str) else name[1] for name in node.names), None)
        elif isinstance(node, nodes.If):
            for part in (node.body, *(other.body for other in node.elif_), node.else_):
                found |= _assigned(part)
    return found


def _targets(node: nodes.Node) -> list[nodes.Name]:
    return [node] if isinstance(node, nodes.Name) else list(node.find_all(nodes.Name))


class _Walker:
    """Walks one tree with the names in scope, noting what does not exist."""

    def __init__(self, checking: _Checking, source: Source, top: dict[str, Type]) -> None:
        self.checking, self.source, self.top = checking, source, top

    def add(self, finding: Finding) -> None:
        if finding not in self.checking.findings:
            self.checking.findings.append(finding)

    # ── statements ───────────────────────────────────────────────────────────────────────────────────────────────

    def block(self, body: list[nodes.Node], scope: dict[str, Type]) -> None:
        """Walk statements that share a scope, in order."""
        for node in body:
            handle = _STATEMENTS.get(type(node))
            if handle is not None:
                handle(self, node, scope)
            else:
                self.children(node, scope)

    def children(self, node: nodes.Node, scope: dict[str, Type]) -> None:
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.Expr):
                self.infer(child, scope)
            else:
                self.block([child], scope)

    def inner(self, body: list[nodes.Node], scope: dict[str, Type], *more: str) -> None:
        self.block(body, {**scope, **_assigned(body), **dict.fromkeys(more)})

    def if_(self, node: nodes.If, scope: dict[str, Type]) -> None:
        self.infer(node.test, scope)
        self.block(node.body, scope)
        for other in node.elif_:
            self.if_(other, scope)
        self.block(node.else_, scope)

    def for_(self, node: nodes.For, scope: dict[str, Type]) -> None:
        each = _element(self.infer(node.iter, scope))
        names = [name.name for name in _targets(node.target)]
        types: dict[str, Type] = dict.fromkeys(names, None)
        if isinstance(node.target, nodes.Name):
            types[node.target.name] = each
        if node.test is not None:
            self.infer(node.test, {**scope, **types})
        self.inner(node.body, {**scope, **types}, "loop")
        self.inner(node.else_, scope)

    def assign(self, node: nodes.Assign, scope: dict[str, Type]) -> None:
        found = self.infer(node.node, scope)
        if isinstance(node.target, nodes.Name):
            scope[node.target.name] = found

    def assign_block(self, node: nodes.AssignBlock, scope: dict[str, Type]) -> None:
        if node.filter is not None:
            self.infer(node.filter, scope)
        self.inner(node.body, scope)

    def macro(self, node: nodes.Macro, scope: dict[str, Type]) -> None:
        for default in node.defaults:
            self.infer(default, scope)
        arguments: dict[str, Type] = dict.fromkeys((argument.name for argument in node.args), None)
        self.inner(node.body, {**scope, **arguments}, "caller", "varargs", "kwargs")

    def call_block(self, node: nodes.CallBlock, scope: dict[str, Type]) -> None:
        self.infer(node.call, scope)
        arguments: dict[str, Type] = dict.fromkeys((argument.name for argument in node.args), None)
        self.inner(node.body, {**scope, **arguments})

    def named_block(self, node: nodes.Block, scope: dict[str, Type]) -> None:
        outer = scope if node.scoped else self.top
        self.inner(node.body, outer, "self", "super")

    def with_(self, node: nodes.With, scope: dict[str, Type]) -> None:
        types = [self.infer(value, scope) for value in node.values]
        given = {
            target.name: found
            for target, found in zip(node.targets, types, strict=True)
            if isinstance(target, nodes.Name)
        }
        self.inner(node.body, {**scope, **given})

    def draws(
        self, node: nodes.Extends | nodes.Include | nodes.Import | nodes.FromImport, scope: dict[str, Type]
    ) -> None:
        wanted = node.template
        names = (
            [item.value for item in wanted.items if isinstance(item, nodes.Const)]
            if isinstance(wanted, nodes.List | nodes.Tuple)
            else []
        )
        if isinstance(wanted, nodes.Const):
            names = [wanted.value]
        optional = isinstance(node, nodes.Include) and node.ignore_missing
        if not names:
            first = min(offset(part) for part in (wanted, *wanted.find_all(nodes.Expr)))
            self.add(problems.unknown_template(self.source.span(first), "", ()))
        elif [name for name in names if self.checking.draw(str(name))] == [] and not optional:
            span = self.source.span(offset(wanted), len(str(names[0])) + 2)
            self.add(problems.unknown_template(span, str(names[0]), self.checking.library.sources))

    # ── expressions ──────────────────────────────────────────────────────────────────────────────────────────────

    def infer(self, node: nodes.Node, scope: dict[str, Type]) -> Type:
        """Return an expression's type, noting on the way what does not exist."""
        handle = _EXPRESSIONS.get(type(node))
        if handle is not None:
            return handle(self, node, scope)
        for child in node.iter_child_nodes():
            self.infer(child, scope)
        return None

    def name(self, node: nodes.Name, scope: dict[str, Type]) -> Type:
        if node.ctx == "load" and node.name not in scope:
            span = self.source.find(node.name, offset(node))
            self.add(problems.unknown_name(span, node.name, sorted(scope)))
        return scope.get(node.name)

    def attribute(self, node: nodes.Getattr, scope: dict[str, Type]) -> Type:
        return self.field(self.infer(node.node, scope), node.attr, offset(node))

    def item(self, node: nodes.Getitem, scope: dict[str, Type]) -> Type:
        owner = self.infer(node.node, scope)
        self.infer(node.arg, scope)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return self.field(owner, node.arg.value, offset(node.arg))
        return owner if isinstance(node.arg, nodes.Slice) else _element(owner)

    def field(self, owner: Type, name: str, at: int) -> Type:
        """Return the type of an owner's field; a field that does not exist is a finding."""
        if owner == "blocks":
            if self.checking.draw(f"blocks/{name}"):
                others = self.checking.other_names(name)
                if others is not None:
                    self.add(problems.empty_block(self.source.find(name, at), name, others))
                return f"macro:{name}"
            self.add(problems.unknown_block(self.source.find(name, at), name, self.checking.block_names()))
            return None
        if owner is not None and owner.endswith("*"):
            if name not in ("index", "count"):
                self.add(
                    problems.unknown_field(self.source.find(name, at), f"a list of {owner[:-1]}s", name, ())
                )
            return None
        kind = KINDS.get(owner or "")
        if kind is None:
            return None
        known = {*kind.fields, *self.checking.own_fields.get(str(owner), ())}
        if name not in known and not kind.open:
            self.add(problems.unknown_field(self.source.find(name, at), str(owner), name, sorted(known)))
        elif (
            name not in known
            and known
            and name not in OF_FACTS
            and (meant := slip_of(name, {*known, *OF_FACTS}))
        ):
            self.add(problems.unlikely_field(self.source.find(name, at), str(owner), name, meant))
        return kind.fields.get(name)

    def filter(self, node: nodes.Filter, scope: dict[str, Type]) -> Type:
        subject: Type = None
        if isinstance(node.node, nodes.Name) and node.name in _MAY_BE_UNDEFINED:
            subject = scope.get(node.node.name)
        elif node.node is not None:
            subject = self.infer(node.node, scope)
        for argument in (*node.args, *(pair.value for pair in node.kwargs)):
            self.infer(argument, scope)
        if node.name not in FILTERS:
            span = self.source.find(node.name, offset(node))
            self.add(problems.unknown_filter(span, "filter", node.name, sorted(FILTERS)))
        if node.name in _BY_ATTRIBUTE:
            self.by_attribute(node, subject)
        if node.name in ("first", "last"):
            return _element(subject)
        return subject if node.name in _KEEPING else None

    def by_attribute(self, node: nodes.Filter, subject: Type) -> None:
        named = [pair.value for pair in node.kwargs if pair.key == "attribute"]
        if node.name in ("selectattr", "rejectattr") and node.args:
            named.append(node.args[0])
        for value in named:
            if (
                isinstance(value, nodes.Const)
                and isinstance(value.value, str)
                and subject
                and subject.endswith("*")
            ):
                owner: Type = subject[:-1]
                for part in value.value.split("."):
                    owner = self.field(owner, part, offset(value))

    def test(self, node: nodes.Test, scope: dict[str, Type]) -> Type:
        if not (isinstance(node.node, nodes.Name) and node.name in ("defined", "undefined")):
            self.infer(node.node, scope)
        for argument in node.args:
            self.infer(argument, scope)
        if node.name not in TESTS:
            span = self.source.find(node.name, offset(node))
            self.add(problems.unknown_filter(span, "test", node.name, sorted(TESTS)))
        return None

    def call(self, node: nodes.Call, scope: dict[str, Type]) -> Type:
        callee = self.infer(node.node, scope)
        for argument in (*node.args, *(pair.value for pair in node.kwargs)):
            self.infer(argument, scope)
        if (
            callee is not None
            and callee.startswith("macro:")
            and node.dyn_args is None
            and node.dyn_kwargs is None
        ):
            macro = self.checking.macro(callee.removeprefix("macro:"))
            if macro is not None:
                self.arguments(node, macro)
        return None

    def arguments(self, node: nodes.Call, macro: Macro) -> None:
        span = self.source.find(macro.name, offset(node.node))
        if len(node.args) > len(macro.arguments) and not macro.takes_any:
            message = f"takes {len(macro.arguments)} arguments, not {len(node.args)}"
            self.add(problems.wrong_arguments(span, macro.name, message, macro.signature))
        for pair in node.kwargs:
            if pair.key not in macro.arguments and pair.key != "caller" and not macro.takes_any_name:
                message = f"has no argument {pair.key}"
                self.add(problems.wrong_arguments(span, macro.name, message, macro.signature))

    def either(self, node: nodes.Or | nodes.And, scope: dict[str, Type]) -> Type:
        left, right = self.infer(node.left, scope), self.infer(node.right, scope)
        return left if left == right else None

    def choice(self, node: nodes.CondExpr, scope: dict[str, Type]) -> Type:
        self.infer(node.test, scope)
        first = self.infer(node.expr1, scope)
        other = self.infer(node.expr2, scope) if node.expr2 is not None else first
        return first if first == other else None


def _element(owner: Type) -> Type:
    return owner[:-1] if owner is not None and owner.endswith("*") else None


_STATEMENTS: Mapping[type[nodes.Node], Callable[..., None]] = {
    nodes.If: _Walker.if_,
    nodes.For: _Walker.for_,
    nodes.Assign: _Walker.assign,
    nodes.AssignBlock: _Walker.assign_block,
    nodes.Macro: _Walker.macro,
    nodes.CallBlock: _Walker.call_block,
    nodes.Block: _Walker.named_block,
    nodes.With: _Walker.with_,
    nodes.Extends: _Walker.draws,
    nodes.Include: _Walker.draws,
    nodes.Import: _Walker.draws,
    nodes.FromImport: _Walker.draws,
}
_EXPRESSIONS: Mapping[type[nodes.Node], Callable[..., Type]] = {
    nodes.Name: _Walker.name,
    nodes.Getattr: _Walker.attribute,
    nodes.Getitem: _Walker.item,
    nodes.Filter: _Walker.filter,
    nodes.Test: _Walker.test,
    nodes.Call: _Walker.call,
    nodes.Or: _Walker.either,
    nodes.And: _Walker.either,
    nodes.CondExpr: _Walker.choice,
}
