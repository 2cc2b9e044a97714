"""The filters and tests of templates: Jinja's harmless ones, bounded, and our own for money, dates and plurals.

What is not listed here does not exist in a template: nothing that marks text as safe, draws lots, or pads to any size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, wraps
from typing import Any, cast

from jinja2 import Environment
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.runtime import Context
from jinja2.utils import pass_context, pass_environment
from markupsafe import Markup, escape

from engine.render.errors import RenderError, TooMuch
from engine.render.limits import MAX_TEXT, bounded_items, bounded_text
from engine.render.locales import Formats, to_decimal

_JINJA: Mapping[str, Callable[..., Any]] = cast(Any, jinja_filters.FILTERS)
_PLAIN = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items",
    "last", "length", "lower", "max", "min", "striptags", "string", "sum", "title", "trim", "truncate", "upper",
    "urlencode", "wordcount",
)  # fmt: skip
_COLLECTING = ("list", "reverse", "sort", "unique", "groupby")
_TESTS = (
    "boolean", "defined", "divisibleby", "eq", "equalto", "==", "!=", "even", "false", "ge", "gt", "greaterthan", ">",
    ">=", "in", "le", "lt", "lessthan", "<", "<=", "lower", "mapping", "ne", "none", "number", "odd", "sequence",
    "string", "true", "undefined", "upper",
)  # fmt: skip


_TEXT_ALONE = frozenset([str])


def replace_text(text: str, old: str, new: str, count: int = -1) -> str:
    """Return the text with `old` replaced; refuses a result beyond the limit before making it."""
    growth = (text.count(str(old)) if old else len(text) + 1) * len(str(new))
    if len(text) + growth > MAX_TEXT:
        raise TooMuch(f"a text in the template grows beyond {MAX_TEXT:,} characters")
    return text.replace(str(old), str(new), count)


def join_text(separator: str, values: Iterable[Any]) -> str:
    """Return the values joined; markup where one of them is markup, and then everything is escaped."""
    items = list(values)
    bounded_items(items)
    if type(separator) is str and set(map(type, items)) <= _TEXT_ALONE:
        if sum(map(len, items)) + len(separator) * len(items) > MAX_TEXT:
            raise TooMuch(f"a text in the template grows beyond {MAX_TEXT:,} characters")
        return separator.join(items)
    markup = isinstance(separator, Markup) or any(isinstance(item, Markup) for item in items)
    parts = [escape(item) if markup else str(item) for item in items]
    size = sum(len(part) for part in parts) + len(separator) * len(parts)
    if size > MAX_TEXT:
        raise TooMuch(f"a text in the template grows beyond {MAX_TEXT:,} characters")
    return escape(separator).join(parts) if markup else separator.join(parts)


@pass_environment
def _join(
    environment: Environment, values: Iterable[Any], separator: str = "", attribute: str | None = None
) -> str:
    if attribute is not None:
        values = [environment.getitem(item, attribute) for item in values]
    return join_text(separator, ["" if value is None else value for value in values])


def _replace(text: object, old: str, new: str, count: int = -1) -> str:
    return replace_text(text if isinstance(text, str) else str(text), old, new, count)


def _round(value: object, precision: int = 0) -> Decimal | str:
    number = to_decimal(value)
    if number is None:
        return ""
    digits = min(max(int(precision), 0), 12)
    return number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def _batch(values: Iterable[Any], size: int) -> list[list[Any]]:
    """Return rows of `size` values each; the last one may be shorter."""
    items = list(bounded_items(list(values)))  # type: ignore[call-overload]
    if not 1 <= int(size) <= len(items) + 1_000:
        raise RenderError("batch takes the number of items in a row, from 1")
    return [items[start : start + int(size)] for start in range(0, len(items), int(size))]


def _lines(text: object) -> Markup:
    """Return text with its line breaks kept as <br />."""
    return Markup("<br />").join(escape(line) for line in bounded_text(str(text)).splitlines())


_MEASURE = re.compile(
    r"(?<=\d)[ \t](?=(?:[kcm]?[gl]|[kcm]?m|[mcd]?L|fl\.? ?oz|oz|lbs?|°[CF]|%|[kM]?W|V|pcs)(?!\w))"
)
_SHORT = 256  # characters: texts that are worth remembering


def _measured(text: str) -> str:
    return _MEASURE.sub("\u00a0", text)


_remembered = lru_cache(maxsize=4_096)(_measured)


def _unbroken(text: object) -> str:
    """Return text in which no line ends between a number and its unit: "500 g" stays on one line."""
    if text is None:
        return ""
    known = bounded_text(text if isinstance(text, str) else str(text))
    if isinstance(known, Markup):
        return Markup(_measured(str(known)))  # noqa: S704 - as safe as it came: one space became another
    return _remembered(known) if len(known) <= _SHORT else _measured(known)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            bounded_items(value)
        result = function(*args, **kwargs)
        return result if isinstance(result, (str, list, dict)) else bounded_items(list(result))

    return bounded


def _chosen(name: str, *, keep: bool) -> Callable[..., Any]:
    """Return `selectattr` or `rejectattr`; asked for the truth of one field, as usual, it takes no detours."""
    jinja = _bounded(_JINJA[name])

    @pass_context
    def choose(context: Context, values: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or type(args[0]) is not str or not args[0].isidentifier():
            return jinja(context, values, *args, **kwargs)
        bounded_items(values)
        getitem = context.environment.getitem
        chosen = [item for item in values if bool(getitem(item, args[0])) is keep] if values else []
        return bounded_items(chosen)

    return choose


def _picked(name: str, *, keep: bool) -> Callable[..., Any]:
    """Return `select` or `reject`; asked for what is true, or for texts, as usual, it takes no detours."""
    jinja = _bounded(_JINJA[name])

    @pass_context
    def pick(context: Context, values: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs or (args and args != ("string",)):
            return jinja(context, values, *args, **kwargs)
        bounded_items(values)
        if not values:
            return []
        if args:
            return bounded_items([item for item in values if isinstance(item, str) is keep])
        return bounded_items([item for item in values if bool(item) is keep])

    return pick


@pass_context
def _map(context: Context, values: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what Jinja's `map` does; asked for one field, as usual, it takes no detours."""
    field = kwargs.get("attribute")
    if args or len(kwargs) != 1 or type(field) is not str or not field.isidentifier():
        return _map_by_jinja(context, values, *args, **kwargs)
    bounded_items(values)
    getitem = context.environment.getitem
    return bounded_items([getitem(item, field) for item in values]) if values else []


_map_by_jinja = _bounded(_JINJA["map"])


def _formatted(method: Callable[..., str]) -> Callable[..., str]:
    @pass_context
    def write(context: Context, value: object, *args: Any, **kwargs: Any) -> str:
        return method(context.parent["_formats"], value, *args, **kwargs)

    return write


FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _JINJA[name] for name in _PLAIN},
    **{name: _bounded(_JINJA[name]) for name in _COLLECTING},
    "map": _map,
    "select": _picked("select", keep=True),
    "reject": _picked("reject", keep=False),
    "selectattr": _chosen("selectattr", keep=True),
    "rejectattr": _chosen("rejectattr", keep=False),
    "join": _join,
    "replace": _replace,
    "round": _round,
    "batch": _batch,
    "lines": _lines,
    "unbroken": _unbroken,
    "money": _formatted(Formats.money),
    "number": _formatted(Formats.number),
    "date": _formatted(Formats.date),
    "datetime": _formatted(Formats.datetime),
    "plural": _formatted(Formats.plural),
}

_JINJA_TESTS: Mapping[str, Callable[..., Any]] = cast(Any, jinja_tests.TESTS)
TESTS: dict[str, Callable[..., Any]] = {name: _JINJA_TESTS[name] for name in _TESTS}
