"""The Jinja environment that templates run in: strict, escaped, sandboxed, bounded.

Every value is escaped and there is no way to switch that off; an unknown name is an error with a likely one; nothing
can be changed, imported or called beyond a short list; loops, texts, output and time are charged to the rendering's
`Budget` (see `engine.render.limits`). Everything that goes wrong leaves as `RenderError` with file and line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from io import StringIO
from itertools import count
from types import MethodType
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, Template, TemplateNotFound, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import (
    SecurityError,
    TemplateAssertionError,
    TemplateError,
    TemplateSyntaxError,
    UndefinedError,
)
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing, pass_context
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from engine.diagnostics import did_you_mean
from engine.render.codes import Codes, TooMany
from engine.render.context import KINDS, NAMES, READERS, Links, Record, kind_of, refuse_whole
from engine.render.errors import RenderError
from engine.render.filters import FILTERS, TESTS, join_text, replace_text
from engine.render.flatten import (
    LINES,
    Block,
    NotFlat,
    flattened,
    is_ordered,
    with_token_lines,
    without_unused,
)
from engine.render.folding import every, fold
from engine.render.limits import Budget, bounded_range, bounded_text, check_operation
from engine.render.positions import sentence

BUDGET, FORMATS = "_budget", "_formats"
TEXT_METHODS = frozenset(
    [
        "lower",
        "upper",
        "title",
        "capitalize",
        "casefold",
        "swapcase",
        "strip",
        "lstrip",
        "rstrip",
        "split",
        "rsplit",
        "splitlines",
        "startswith",
        "endswith",
        "find",
        "rfind",
        "index",
        "rindex",
        "count",
        "partition",
        "rpartition",
        "removeprefix",
        "removesuffix",
        "isdigit",
        "isalpha",
        "isalnum",
        "isupper",
        "islower",
        "isspace",
        "isnumeric",
        "istitle",
    ]
)
_TEXT_REPLACED: Mapping[str, Callable[..., Any]] = {"replace": replace_text, "join": join_text}
TIME_FIELDS = frozenset(
    ["year", "month", "day", "hour", "minute", "second", "weekday", "isoweekday", "date", "isoformat"]
)
_OF_LOOPS = frozenset(
    ["first", "last", "index", "index0", "revindex", "revindex0", "length", "depth", "depth0"]
)
_CALLED_LINKS = frozenset(["answer", "snooze"])
_KEPT_LINES = 500
FLAT_AFTER = 40
_FOR_VALUE = 8
_MARKS = count()
_BODIES = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block, nodes.Template)
_NO_AUTOESCAPE = "values in a mail are always escaped; {% autoescape %} is not known"
_HIDDEN_TYPES = (int, float, Decimal, bytes, Budget)


class StrictName(StrictUndefined):
    """An unknown name or field: using it in any way is an error that says which one it is."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        name = str(self._undefined_name)
        if isinstance(self._undefined_obj, Record):
            kind = kind_of(self._undefined_obj)
            return _sentence(f'{kind} has no field "{name}"', did_you_mean(name, KINDS[kind].fields))
        if isinstance(self._undefined_obj, Links):
            return _sentence(f'links has no "{name}"', did_you_mean(name, KINDS["links"].fields))
        if type(self._undefined_obj) is Blocks:
            return f'there is no block "{name}" in templates/blocks/'
        if name.lstrip("-").isdigit():
            return f"there is no item {name} in this list; guard it with {{% if … %}}"
        if self._undefined_obj is None:
            return f'"{name}" is asked of something that this mail does not have; guard it with {{% if … %}}'
        if self._undefined_hint:
            return self._undefined_hint
        return _sentence(f'"{name}" is no name that a template knows', did_you_mean(name, NAMES))


class Names(dict[str, Any]):
    """The names of one rendering with their values; any other is Jinja's `missing`."""

    __slots__ = ()

    def __missing__(self, name: str) -> Any:
        return missing


class Blocks:
    """The `blocks` of one rendering: `blocks.cart(...)` is the macro `cart` in blocks/cart.mjml."""

    __slots__ = ("_environment", "_known", "_loaded", "_names")

    def __init__(self, environment: MailEnvironment, names: dict[str, Any]) -> None:
        self._environment, self._names = environment, names
        self._known: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        found = self._loaded.get(name)
        if found is None:
            found = self._loaded[name] = self._load(name)
        return found

    def _load(self, name: str) -> Any:
        path = f"blocks/{name}.mjml"
        try:
            template = self._environment.get_template(path)
        except TemplateNotFound:
            raise AttributeError(name) from None
        self._known = self._known or dict(self._names)
        context = Context(self._environment, self._known, template.name, template.blocks)
        deque(
            template.root_render_func(context), maxlen=0
        )  # what stands outside of macros is written nowhere
        macro = context.vars.get(name)
        if macro is None:
            raise RenderError(f'this file defines no macro "{name}"', template=f"templates/{path}")
        return macro


class _Charged(NodeTransformer):
    """Puts a charge into each body that can run more than once, and a bound around each joined text.

    Refuses what would get around the sandbox's rules: hidden names, and blocks that are not escaped. `for_value` is what
    each value that a body writes costs beforehand, where it costs nothing when it is written.
    """

    def __init__(self, for_value: int = 0) -> None:
        self._for_value = for_value

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """Return the node that takes a node's place."""
        if isinstance(node, nodes.Name) and node.name.startswith("_") and node.name != "_":
            raise TemplateAssertionError(f'"{node.name}" is no name that a template knows', node.lineno)
        if isinstance(node, nodes.ScopedEvalContextModifier):
            raise TemplateAssertionError(_NO_AUTOESCAPE, node.lineno)
        if isinstance(node, nodes.Import | nodes.FromImport | nodes.Include):
            node.with_context = True  # the budget is in it
        if isinstance(node, _BODIES):
            return self._charge(node)
        self.generic_visit(node)
        if isinstance(node, nodes.Concat):
            return nodes.Filter(node, "_sized", [], [], None, None, lineno=node.lineno)
        return node

    def _charge(self, node: Any) -> nodes.Node:
        written = 0
        for each in every(node):
            if isinstance(each, nodes.TemplateData):
                written += len(each.data)
            elif isinstance(each, nodes.Output):
                written += self._for_value * len(each.nodes)
        self.generic_visit(node)
        cost = nodes.Filter(nodes.Const(written), "_charge", [], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(cost, lineno=node.lineno))
        return node  # type: ignore[no-any-return]


@pass_context
def _charge(context: Context, characters: int) -> str:
    context.parent[BUDGET].charge(characters)
    return ""


@pass_context
def _token_lines(context: Context, text: object) -> Markup:
    """Return what the filter `lines` does, with a token for each line."""
    take = context.parent[BUDGET].tokens.take
    return Markup("<br />").join([Markup(take(line)) for line in bounded_text(str(text)).splitlines()])  # noqa: S704 - escaped


class _Code(CodeGenerator):
    """Compiles output of markup to one call of `MailEnvironment.written`."""

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        if frame.eval_ctx.autoescape:
            self.write("environment.written(context, ")
        else:
            self.write("environment.line_of(context, ")

    def _output_child_post(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(")")


class _LineCode(_Code):
    """Compiles a line of plain text: fields of records are read without detours."""

    def write_commons(self) -> None:
        """Begin each function with what reads a field."""
        super().write_commons()
        self.writeline("field = environment.field")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        """Read a field."""
        self.write("field(")
        self.visit(node.node, frame)
        self.write(f", {node.attr!r})")


class _FlatCode(_LineCode):
    """Compiles a mail's one tree: what is output goes to its tokens, fields of records are read without detours."""

    codes: Codes | None = None

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        text = "".join(group)
        return repr(text if self.codes is None else self.codes.word(text))

    def write_commons(self) -> None:
        """Begin each function with the names that its outputs use."""
        super().write_commons()
        self.writeline(f"budget = context.parent[{BUDGET!r}]")
        self.writeline("emit, charge = budget.tokens.emit, budget.charge")
        self.writeline(
            "resolve = context.parent.__getitem__"
        )  # `Names` gives `missing` for what is not there

    def visit_ExprStmt(self, node: nodes.ExprStmt, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        """Take a body's cost off the budget."""
        cost = node.node
        if isinstance(cost, nodes.Filter) and cost.name == "_charge" and isinstance(cost.node, nodes.Const):
            self.writeline(f"charge({cost.node.value})", node)
        else:
            super().visit_ExprStmt(node, frame)

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write("emit(")

    def _output_child_post(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(")")


@dataclass(frozen=True, slots=True)
class Flat:
    """A mail as one template.

    With `codes`, its values are written in the order in which they are worked out, and signs for all its texts. `mark`
    is its own among all templates.
    """

    template: Template
    mark: str
    codes: Codes | None

    def written(self, values: dict[str, Any]) -> str:
        """Return what it writes with these values."""
        return rendered(self.template, values)


class MailEnvironment(ImmutableSandboxedEnvironment):
    """Compiles and runs templates that a `loader` finds; one for each library and chain of locales."""

    code_generator_class = _Code
    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def __init__(self, loader: BaseLoader, constants: Mapping[str, Record] | None = None) -> None:
        self.constants = self._constants = constants or {}
        super().__init__(
            loader=loader, undefined=StrictName, autoescape=_escapes, trim_blocks=True, lstrip_blocks=True,
            cache_size=-1, auto_reload=False,
        )  # fmt: skip
        self.filters = {**FILTERS, "_charge": _charge, "_sized": bounded_text, LINES: _token_lines}
        self.tests = dict(TESTS)
        self._lines: dict[str, Template] = {}
        self._ready: dict[str, Template] = {}
        self._flat: dict[str, Flat | None] = {}
        self._asked: dict[str, int] = {}
        self._trees: dict[str, nodes.Template] = {}
        self._blocks: dict[str, Block | None] = {}
        self._codes = Codes()
        self.field = _field(self)
        self.globals = {"range": bounded_range, "namespace": Namespace, "dict": dict}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        tree = _Charged().visit(tree)
        return fold(tree, self._constants, self, escaped=_escapes(name)) if self._constants else tree

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,  # noqa: FBT001 - Jinja's
    ) -> str:
        kind = _Code if _escapes(name) else _LineCode
        stream = StringIO()
        kind(self, name, filename, stream, defer_init, True).visit(source)
        return stream.getvalue()

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> Template:  # noqa: A002 - Jinja's name
        """Return a template by name; each is loaded once."""
        found = self._ready.get(name) if isinstance(name, str) else None
        if found is None:
            found = super().get_template(name, parent, globals)
            if isinstance(name, str):
                self._ready[name] = found
        return found

    def flat(self, name: str) -> Flat | None:
        """Return a mail as one template that writes tokens for its values; None where its files cannot be put together.

        A mail's first renderings are made without: putting it together takes as long as forty of them.
        """
        asked = self._asked[name] = self._asked.get(name, 0) + 1
        if asked <= FLAT_AFTER:
            return None
        if name not in self._flat:
            try:
                self._flat[name] = self._flattened(name)
            except (NotFlat, TooMany, TemplateError, RecursionError):
                self._flat[name] = None
        return self._flat[name]

    def _flattened(self, name: str) -> Flat:
        tree = flattened(name, self._own_tree, self, self._blocks)
        tree.set_environment(self)
        tree = fold(_Charged(_FOR_VALUE).visit(tree), self._constants, self, escaped=True)
        tree = with_token_lines(without_unused(fold(tree, self._constants, self, escaped=True)))
        codes = self._codes if is_ordered(tree) else None
        stream = StringIO()
        generator = _FlatCode(self, name, "flat", stream, False, True)
        generator.codes = codes
        generator.visit(tree)
        code = self._compile(_with_less_to_yield(stream.getvalue()), "flat")
        return Flat(self.template_class.from_code(self, code, dict(self.globals)), f"{next(_MARKS)}:", codes)

    def _own_tree(self, name: str) -> nodes.Template:
        """Return the tree of one file with its constants in place, not yet charged for."""
        known = self._trees.get(name)
        if known is None:
            source, filename, _ = self.loader.get_source(self, name)  # type: ignore[union-attr]
            known = fold(super()._parse(source, name, filename), self._constants, self, escaped=True)
            self._trees[name] = known
        return known

    def written(self, context: Context, value: Any) -> str:
        """Return what an output expression writes: nothing for None, else the escaped value, or its token."""
        if value is None:
            return ""
        budget: Budget | None = context.parent.get(BUDGET)
        kind = type(value)
        if kind is Markup:
            if budget is not None:
                budget.charge(len(value))
            return value  # type: ignore[no-any-return]
        if kind is not str:
            refuse_whole(value)
        if budget is None:
            return escape(value)
        budget.charge(len(value) if kind is str else 16)
        return escape(value) if budget.tokens is None else budget.tokens.take(value)

    def line_of(self, context: Context, value: Any) -> str:
        """Return what an output expression writes into a line of plain text."""
        if value is None:
            return ""
        refuse_whole(value)
        budget: Budget | None = context.parent.get(BUDGET)
        if budget is not None:
            budget.charge(len(value) if isinstance(value, str) else 16)
        return str(value)

    def line(self, source: str) -> Template:
        """Return a short template of plain text that is in no file, such as a step's own subject."""
        name = f"#{source}"
        if name not in self._lines:
            if len(self._lines) >= _KEPT_LINES:
                self._lines.clear()
            code = self.compile(source, name, "subject")
            self._lines[name] = self.template_class.from_code(self, code, dict(self.globals))
        return self._lines[name]

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a field, item or allowed method; anything else is an unknown name."""
        if type(obj) is Record:
            try:
                return obj.__getattr__(attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        if type(obj) is Blocks:
            try:
                return obj.__getattr__(attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        if type(obj) is Links and attribute in KINDS["links"].fields:
            return getattr(obj, attribute)
        if isinstance(obj, str) and attribute in _TEXT_REPLACED:
            return partial(_TEXT_REPLACED[attribute], obj)
        if isinstance(obj, str) and attribute not in TEXT_METHODS:
            return self.unsafe_undefined(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item; a text's and a record's items by name are what `getattr` gives."""
        if isinstance(argument, str) and isinstance(obj, (str, Record)):
            return self.getattr(obj, str(argument))
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may see an attribute; short lists for texts and times, none for numbers."""
        if isinstance(obj, str):
            return attr in TEXT_METHODS
        if isinstance(obj, (datetime, date)):
            return attr in TIME_FIELDS
        if isinstance(obj, _HIDDEN_TYPES):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, block or allowed method, at the cost of one step."""
        budget = context.parent.get(BUDGET)
        if budget is not None:
            budget.charge()
        if type(obj) is Macro:  # what the sandbox would do for one, without asking what it is
            kwargs.pop("_block_vars", None)
            kwargs.pop("_loop_vars", None)
            return obj(context.eval_ctx, *args, **kwargs)
        if type(obj) is MethodType and type(obj.__self__) is Links and obj.__name__ in _CALLED_LINKS:
            kwargs.pop("_block_vars", None)
            kwargs.pop("_loop_vars", None)
            return obj(*args, **kwargs)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Work out an operation, refusing one whose result would be huge."""
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)


_YIELDS = re.compile(r"^( +)yield ('[^'\\\n]*')((?:\n\1pass)*)\n\1yield '(?=[^'\\\n]*'$)", re.MULTILINE)


def _with_less_to_yield(source: str) -> str:
    """Return a function's source with constants that are written one after another written at once, on the same lines."""
    found = 1
    while found:
        source, found = _YIELDS.subn(
            lambda match: f"{match[1]}pass{match[3]}\n{match[1]}yield {match[2][:-1]}", source
        )
    return source


def _field(environment: MailEnvironment) -> Callable[[Any, str], Any]:
    """Return what reads a field as the environment does, sooner where it is one of a record or a link."""
    known_links = KINDS["links"].fields

    def field(obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is Record:
            known = obj._known  # noqa: SLF001 - the way that every mail goes forty times
            if known is None:
                known = obj._known = {}  # noqa: SLF001
            elif attribute in known:
                return known[attribute]
            reader = READERS[obj._kind].get(attribute)  # noqa: SLF001
            if reader is None:
                return environment.getattr(obj, attribute)
            value = known[attribute] = reader(obj._values)  # noqa: SLF001
            return value
        if (kind is Links and attribute in known_links) or (kind is LoopContext and attribute in _OF_LOOPS):
            return getattr(obj, attribute)
        return environment.getattr(obj, attribute)

    return field


def _escapes(name: str | None) -> bool:
    """Subjects and preheaders are plain text; everything else is markup."""
    return name is None or "#" not in name


def run(environment: MailEnvironment, name: str, values: dict[str, Any], where: Callable[[str], str]) -> str:
    """Return what a template writes with these values; `where` gives a template name's path in the project.

    `values` holds the names of `engine.render.context.NAMES` and, under `BUDGET` and `FORMATS`, the rendering's own.
    Raises RenderError with the place in the author's file for everything that goes wrong.
    """
    return guarded(lambda: rendered(environment.get_template(name), values), name, where)


def rendered(template: Template, values: dict[str, Any]) -> str:
    """Return what a template writes: what its own `render` does, without copying all names; they hold the globals.

    What fails in it goes up as it is: Jinja's way to show the author's lines in a traceback costs more than the mail.
    """
    context = Context(template.environment, values, template.name, template.blocks)
    return "".join(template.root_render_func(context))


def guarded(write: Callable[[], str], name: str, where: Callable[[str], str]) -> str:
    """Return what `write` writes; every failure of a template becomes a RenderError with its place."""
    try:
        return write()
    except RenderError as error:
        raise error.placed(*_place(error, name, where)) from error
    except TemplateSyntaxError as error:
        path = where(error.name or name)
        raise RenderError(sentence(error), template=path, line=error.lineno) from error
    except TemplateNotFound as error:
        raise RenderError(
            _missing(error), template=where(name), line=_place(error, name, where)[1]
        ) from error
    except RecursionError as error:
        path, line = _place(error, name, where)
        raise RenderError(
            "templates, macros or brackets are nested without end", template=path, line=line
        ) from error
    except (UndefinedError, SecurityError, TemplateError) as error:
        left_out = _LEFT_OUT.fullmatch(error.message or "")
        path, line = _place(error, name, where, callers=1 if left_out else 0)
        problem = f'this call leaves out "{left_out[1]}"' if left_out else _sentence_of(error)
        raise RenderError(problem, template=path, line=line) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, AssertionError) as error:
        path, line = _place(error, name, where)
        raise RenderError(f"this cannot be worked out: {_reason(error)}", template=path, line=line) from error
    except MemoryError as error:
        raise RenderError("the template needs too much memory", template=where(name)) from error


_LEFT_OUT = re.compile(r"parameter '(\w+)' was not provided")


def _place(error: BaseException, name: str, where: Callable[[str], str], callers: int = 0) -> tuple[str, int]:
    """Return the innermost template line of a traceback, as compiled or rewritten by Jinja; or that so many callers before."""
    found = [(where(name), 0)]
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        filename = frame.f_code.co_filename
        if filename.startswith("templates/"):
            compiled: Template | None = frame.f_globals.get("__jinja_template__")
            at = traceback.tb_lineno
            found.append((filename, at if compiled is None else compiled.get_corresponding_lineno(at)))
        traceback = traceback.tb_next
    return found[max(0, len(found) - 1 - callers)]


def _missing(error: TemplateNotFound) -> str:
    names = [str(name) for name in getattr(error, "templates", None) or [error.name]]
    return f'there is no template "{names[0]}"'


def _sentence_of(error: TemplateError) -> str:
    if isinstance(error, SecurityError):
        return "this reaches for something that templates may not touch"
    return error.message or "this cannot be rendered"


def _reason(error: Exception) -> str:
    """Return an exception's text where it names types only; values of customers never leave."""
    if isinstance(error, (TypeError, AttributeError)):
        return _in_words(str(error))
    return "division by zero" if isinstance(error, ZeroDivisionError) else "a value has the wrong form"


_TYPES = {
    "NoneType": "nothing", "bool": "true or false", "int": "a number", "float": "a number", "Decimal": "a number",
    "str": "text", "Markup": "text", "list": "a list", "tuple": "a list", "dict": "a table", "datetime": "a moment",
    "date": "a date", "timedelta": "a stretch of time", "Undefined": "nothing",
}  # fmt: skip
_PYTHON = (
    (re.compile(r"unsupported operand type\(s\) for (\S+?):? '([\w.]+)' and '([\w.]+)'"), "{0} does not work with {1} and {2}"),
    (re.compile(r"can only concatenate ()([\w.]+) \(not \"([\w.]+)\"\) to .+"), "+ does not work with {1} and {2}"),
    (re.compile(r"'(\S+)' not supported between instances of '([\w.]+)' and '([\w.]+)'"), "{0} does not compare {1} with {2}"),
    (re.compile(r"()'([\w.]+)' object is not iterable"), "a loop cannot go through {1}"),
    (re.compile(r"'([\w.]+)' object is not callable()"), "{0} is no function to call"),
)  # fmt: skip


def _in_words(said: str) -> str:
    """Return Python's sentence about types in the words of the language.

    >>> _in_words("unsupported operand type(s) for +: 'NoneType' and 'int'")
    '+ does not work with nothing and a number'
    >>> _in_words('can only concatenate str (not "int") to str')
    '+ does not work with text and a number: join text with ~'
    """
    for pattern, plain in _PYTHON:
        match = pattern.fullmatch(said)
        if match is not None:
            words = [_TYPES.get(word.rpartition(".")[2], word) for word in match.groups()]
            told = plain.format(*words)
            return (
                f"{told}: join text with ~"
                if words[0] in ("+", "") and "text" in words[1:] and "with" in told
                else told
            )
    return said


def _sentence(problem: str, hint: str) -> str:
    return f"{problem}; {hint}" if hint else problem
