"""Reading conditions: what a flow asks about a customer.

Comes in: nodes of `enter_if`, `only_if`, `exit_when`, `when`, goals, waits, segments, and tests of `where`. Goes out:
values of `engine.flows.conditions`. Promises: the order in which keys are written changes nothing, not even the words
in which a clause is reported; every mistake in a list is told, not only the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast

from engine.calendar import Duration
from engine.flows import fields, problems
from engine.flows.conditions import (
    OPERATORS,
    SCOPES,
    All,
    Any_,
    Clause,
    Condition,
    Did,
    FieldTest,
    InSegment,
    Lines,
    Not,
    Of,
    OfferIs,
    Operator,
    Quantifier,
    Scalar,
    Scope,
    Test,
    clause_text,
)  # fmt: skip
from engine.flows.nodes import Entry, Items, Node, Table, exact, from_plain
from engine.flows.nodes import Scalar as ScalarNode
from engine.flows.reading import NAME, Reader, describe

GROUPS = ("any", "all", "not")
DID_KEYS = ("times", "within", "since", "where", "sum", "same")
HEADS = (*GROUPS, "did", "did_not", *SCOPES, "offer", "segment", "not_segment")
KNOWN = (*HEADS, *DID_KEYS)
_LANGUAGE = ("did", "did_not", *DID_KEYS, *HEADS, "held", "used", *OPERATORS)
_ORDER = {key: number for number, key in enumerate(dict.fromkeys(_LANGUAGE))}


def clauses(reader: Reader, node: Node, key: str) -> tuple[Clause, ...]:
    """Read a list of conditions (one condition stands for a list of one)."""
    if isinstance(node, Table):
        return _clause(reader, node)
    if not isinstance(node, Items):
        meant = _meant(node)
        way_out = f"write `{key}: [{{{meant}}}]`" if meant else ""
        reader.add(
            problems.wrong_shape(node.span, key, "a list of conditions", describe(node), way_out=way_out)
        )
        return ()
    return tuple(clause for item in node for clause in _clause(reader, item))


def _meant(node: Node) -> str:
    """Return the condition that text may have meant: the name of an event, with or without the `did` before it."""
    text = node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) else ""
    match = re.fullmatch(r"(?:(did|did_not|did not)[ :]+)?([\w.:-]+)", text.strip())
    if match is None or not fields.is_path(match[2]):
        return ""
    return f"{(match[1] or 'did').replace(' ', '_')}: {match[2]}"


def _clause(reader: Reader, node: Node) -> tuple[Clause, ...]:
    found = clause(reader, node)
    return () if found is None else (found,)


def clause(reader: Reader, node: Node) -> Clause | None:
    """Read one condition with the words in which it is reported."""
    condition = read_condition(reader, node)
    return None if condition is None else Clause(condition, clause_text(_ordered(exact(node))), node.span)


def _ordered(raw: Any) -> Any:
    """Return the data with keys in the language's order, names in alphabetical order."""
    if isinstance(raw, dict):
        return {
            key: _ordered(raw[key])
            for key in sorted(raw, key=lambda key: (_ORDER.get(key, len(_ORDER)), key))
        }
    return [_ordered(item) for item in raw] if isinstance(raw, list) else raw


def read_condition(reader: Reader, node: Node) -> Condition | None:
    """Read one condition; several in one table mean all of them."""
    if not isinstance(node, Table):
        meant = _meant(node)
        way_out = f"write {{{meant}}}" if meant else ""
        reader.add(
            problems.wrong_shape(
                node.span,
                "a condition",
                "a table such as {did: order_placed}",
                describe(node),
                way_out=way_out,
            )
        )
        return None
    if _strangers(reader, node):
        return None
    heads = sorted((entry for entry in node if entry.key in HEADS), key=lambda entry: _ORDER[entry.key])
    if not heads:
        _headless(reader, node)
        return None
    found = [_head(reader, node, entry) for entry in heads]
    good = tuple(condition for condition in found if condition is not None)
    if len(good) < len(found):
        return None
    return good[0] if len(good) == 1 else All(good)


def _strangers(reader: Reader, table: Table) -> bool:
    strange = [entry for entry in table if entry.key not in KNOWN]
    for entry in strange:
        way_out = ""
        if entry.key in fields.CUSTOMER or entry.key.startswith("properties."):
            way_out = f"write {{customer: {{{entry.key}: …}}}}"
        elif entry.key in fields.EVENTS:
            way_out = f"write {{did: {entry.key}}}"
        elif "." in entry.key:
            way_out = _dotted(entry.key)
        reader.add(
            problems.unknown_condition(entry.key_span, entry.key, KNOWN, way_out=way_out, taken=table.keys)
        )
    events = [entry for entry in table if entry.key in ("did", "did_not")]
    if len(events) == 2:
        reader.add(problems.did_twice(events[1].key_span))
        return True
    if not events:
        loose = [entry for entry in table if entry.key in DID_KEYS]
        for entry in loose if len(loose) < len(table) else ():
            reader.add(
                problems.does_not_go_with(entry.key_span, entry.key, "it belongs to `did` or `did_not`")
            )
            strange.append(entry)
    return bool(strange)


def _dotted(key: str) -> str:
    """Return how a condition is written that names its field in one word with its scope, as in `customer.tags`."""
    head, _, field = key.partition(".")
    if head == "offer":
        return f"write {{offer: {{{field.partition('.')[0]}: {{held: true}}}}}}"
    return f"write {{{head}: {{{field}: …}}}}" if head in SCOPES and field else ""


def _headless(reader: Reader, table: Table) -> None:
    keys = ", ".join(table.keys) or "an empty table"
    reader.add(problems.wrong_shape(table.span, "a condition", "a table such as {did: order_placed}", keys))


def _head(reader: Reader, table: Table, entry: Entry) -> Condition | None:
    key, value = entry.key, entry.value
    if key in ("any", "all"):
        return _group(reader, key, value)
    if key == "not":
        inner = read_condition(reader, value)
        return None if inner is None else Not(inner)
    if key in ("did", "did_not"):
        did = _did(reader, table, entry)
        return Not(did) if did is not None and key == "did_not" else did
    if key in ("segment", "not_segment"):
        name = reader.name(value, key)
        return None if name is None else Not(InSegment(name)) if key == "not_segment" else InSegment(name)
    if key == "offer":
        return _offer(reader, value)
    return _of(reader, cast(Scope, key), value)


def _group(reader: Reader, key: str, node: Node) -> Condition | None:
    items = reader.items(node, key, way_out=f"write `{key}: [{{…}}, {{…}}]`")
    if items is None:
        return None
    found = [read_condition(reader, item) for item in items]
    good = tuple(condition for condition in found if condition is not None)
    if len(good) < len(found):
        return None
    return Any_(good) if key == "any" else All(good)


# ── did ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _did(reader: Reader, table: Table, entry: Entry) -> Did | None:
    before = len(reader.findings)
    event = event_name(reader, entry.value, entry.key)
    get = table.get
    times, within, since = get("times"), get("within"), get("since")
    where, total, same = get("where"), get("sum"), get("same")
    did = Did(
        event or "",
        times=() if times is None else _counts(reader, times),
        within=None if within is None else reader.duration(within, "within"),
        since=None if since is None else _since(reader, since),
        where=() if where is None else field_tests(reader, where, "where"),
        sums=() if total is None else field_tests(reader, total, "sum"),
        same=None if same is None else _path(reader, same, "same"),
    )
    return did if reader.is_clean(before) else None


def event_name(reader: Reader, node: Node, key: str) -> str | None:
    """Read the name of an event: any name of letters, digits, `_`, `-`, `.` and `:`."""
    if isinstance(node, Items):
        way_out = (
            "write any: [{did: …}, {did: …}]"
            if key.startswith("did")
            else "write one trigger for each of them"
        )
        reader.add(problems.wrong_shape(node.span, key, "the name of one event", "a list", way_out=way_out))
        return None
    text = reader.text(node, key)
    if text is not None and NAME.fullmatch(text.replace(".", "_").replace(":", "_")) is None:
        reader.add(problems.bad_name(node.span, key, text))
        return None
    return text


def _counts(reader: Reader, node: Node) -> tuple[Test, ...]:
    tests = read_tests(
        reader, node, "times", operators=("eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in")
    )
    for test in tests:
        operands = test.operand if isinstance(test.operand, tuple) else (test.operand,)
        if any(isinstance(item, bool) or not isinstance(item, int) or item < 0 for item in operands):
            reader.add(problems.wrong_operand(node.span, "times", "a whole number", describe(node)))
            return ()
    return tests


def _since(reader: Reader, node: Node) -> Literal["entry"] | datetime | None:
    if isinstance(node, ScalarNode) and node.value == "entry":
        return "entry"
    return reader.moment(node, "since (`entry` or a date)")


def _path(reader: Reader, node: Node, key: str) -> str | None:
    text = reader.text(node, key)
    if text is not None and not fields.is_path(text):
        reader.add(problems.bad_path(node.span, text))
        return None
    return text


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of(reader: Reader, scope: Scope, node: Node) -> Of | None:
    before = len(reader.findings)
    table = reader.table(node, scope, way_out=f"write `{scope}: {{FIELD: value}}`")
    if table is None:
        return None
    if not len(table):
        reader.add(problems.wrong_shape(table.span, scope, "a table of fields with tests", "an empty table"))
        return None
    lines = (
        table.get("lines") if scope in fields.WITH_LINES and isinstance(table.get("lines"), Table) else None
    )
    of = Of(
        scope,
        field_tests(reader, table.without("lines") if lines is not None else table, scope),
        () if lines is None else _lines(reader, lines),
    )
    return of if reader.is_clean(before) else None


def _lines(reader: Reader, node: Node) -> tuple[Lines, ...]:
    table = reader.table(
        node, "lines", ("any", "all", "none"), way_out="write `lines: {any: {category: tea}}`"
    )
    if table is None:
        return ()
    if not len(table):
        reader.add(
            problems.wrong_shape(table.span, "lines", "a table with any, all or none", "an empty table")
        )
    return tuple(
        Lines(cast(Quantifier, entry.key), field_tests(reader, entry.value, "lines"))
        for entry in _sorted(table)
        if entry.key in ("any", "all", "none")
    )


def _sorted(table: Table) -> Iterable[Entry]:
    return sorted(table, key=lambda entry: entry.key)


def field_tests(reader: Reader, node: Node, scope: str) -> tuple[FieldTest, ...]:
    """Read `{FIELD: TEST, …}`; `scope` says whose fields they are (see `engine.flows.fields`)."""
    table = reader.table(node, scope, way_out=f"write `{scope}: {{FIELD: value}}`")
    if table is None:
        return ()
    found = []
    for entry in _sorted(table):
        if not _known_path(reader, entry, scope, table.keys):
            continue
        tests = read_tests(reader, entry.value, entry.key)
        if tests:
            found.append(FieldTest(entry.key, tests))
    return tuple(found)


def field_tests_of(plain: Mapping[str, Any], scope: str = "product") -> tuple[FieldTest, ...]:
    """Return the tests of plain data, such as a template's `where`; what cannot be read is left out."""
    return field_tests(Reader([], stored=True), from_plain(plain), scope)


def _known_path(reader: Reader, entry: Entry, scope: str, taken: Sequence[str]) -> bool:
    if not fields.is_path(entry.key):
        reader.add(problems.bad_path(entry.key_span, entry.key))
        return False
    if fields.OF_SCOPE.get(scope) is None:
        return True
    field, _, operator = entry.key.rpartition(".")
    if operator in OPERATORS and not reader.stored and (not field or fields.is_field(scope, field)):
        reader.add(
            problems.test_as_field(entry.key_span, scope, field, operator)
        )  # what was applied goes on as it is
        return False
    if fields.is_known(scope, entry.key):
        return True
    known = list(fields.OF_SCOPE[scope] or ())
    if entry.key == "properties":
        inner = entry.value.keys[0] if isinstance(entry.value, Table) and len(entry.value) else "NAME"
        known = [f"properties.{inner}"]
    own = entry.key.removeprefix(f"{scope}.")
    if own != entry.key and fields.is_known(scope, own) and own not in taken:
        reader.add(problems.scope_twice(entry.key_span, scope, own))
        return False
    finding = problems.unknown_field(entry.key_span, scope, entry.key, known, taken=taken)
    reader.add(finding)
    return not finding.is_error


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_tests(
    reader: Reader, node: Node, path: str, operators: tuple[Operator, ...] = OPERATORS
) -> tuple[Test, ...]:
    """Read a test: a value (equal), a list (one of), or operators, all of which must hold."""
    if isinstance(node, Items):
        operand = _several(reader, node, path)
        return () if operand is None else (Test("in", operand),)
    if isinstance(node, ScalarNode):
        value = _one(reader, node, path)
        return () if value is None else (Test("eq", value),)
    if not len(node):
        reader.add(problems.wrong_shape(node.span, path, "a test such as {gte: 20}", "an empty table"))
        return ()
    found = []
    for entry in sorted(node, key=lambda entry: _ORDER.get(entry.key, 0)):
        if entry.key not in operators:
            reader.add(
                problems.unknown_operator(
                    entry.key_span, entry.key, path, operators, way_out=_operator_help(entry, path)
                )
            )
            continue
        compared = _operand(reader, entry.key, entry.value)
        if compared is not None:
            found.append(Test(entry.key, compared))
    return tuple(found)


_SIGNS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "eq", "==": "eq", "!=": "ne", "is": "eq", "not": "ne",
          "min": "gte", "max": "lte", "ge": "gte", "le": "lte", "at_least": "gte", "at_most": "lte", "equals": "eq", "one_of": "in", "newer_than": "within", "startswith": "starts_with"}  # fmt: skip


_MORE, _LESS = "say gt (more than) or gte (at least)", "say lt (less than) or lte (at most)"
_WORDS = {
    **dict.fromkeys(("greater", "greater_than", "more", "more_than", "above", "over"), _MORE),
    **dict.fromkeys(("less", "less_than", "fewer", "fewer_than", "below", "under", "smaller"), _LESS),
}  # whether the number itself is meant too, only the author knows


def _operator_help(entry: Entry, path: str) -> str:
    if entry.key in _WORDS:
        return _WORDS[entry.key]
    if entry.key in _SIGNS:
        return f"write {_SIGNS[entry.key]}"
    return f"write `{path}.{entry.key}: …`" if path in ("properties", "rfm") else ""


def _operand(reader: Reader, operator: Operator, node: Node) -> Scalar | tuple[Scalar, ...] | None:
    if operator in ("in", "not_in"):
        if isinstance(node, Items):
            return _several(reader, node, operator)
        reader.add(
            problems.wrong_operand(node.span, operator, "a list", describe(node), way_out="put it into [ ]")
        )
        return None
    if operator == "exists":
        return reader.flag(node, "exists")
    if operator in ("within", "older_than", "in_next"):
        return _relative(reader, operator, node)
    if operator in ("before", "after"):
        return reader.moment(node, operator)
    return _compared(reader, operator, node)


def _compared(reader: Reader, operator: Operator, node: Node) -> Scalar | None:
    if not isinstance(node, ScalarNode):
        way_out = "`in` takes a list" if isinstance(node, Items) else ""
        reader.add(problems.wrong_operand(node.span, operator, "one value", describe(node), way_out=way_out))
        return None
    if operator == "starts_with" and not isinstance(node.value, str):
        reader.add(
            problems.wrong_operand(node.span, operator, "text", describe(node), way_out="put it in quotes")
        )
        return None
    if operator in ("gt", "gte", "lt", "lte") and isinstance(node.value, bool):
        reader.add(problems.wrong_operand(node.span, operator, "a number", describe(node)))
        return None
    return _one(reader, node, operator)


def _relative(reader: Reader, operator: Operator, node: Node) -> Duration | None:
    if isinstance(node, Table | Items):
        reader.add(problems.wrong_operand(node.span, operator, "a duration such as 30d", describe(node)))
        return None
    return reader.duration(node, operator)


def _one(reader: Reader, node: ScalarNode, what: str) -> Scalar | None:
    if node.value is None:
        reader.add(
            problems.wrong_operand(
                node.span, what, "a value", "nothing", way_out="a missing value is asked by {exists: false}"
            )
        )
    return node.value


def _several(reader: Reader, node: Items, what: str) -> tuple[Scalar, ...] | None:
    values: list[Scalar] = []
    for item in node:
        if not isinstance(item, ScalarNode) or item.value is None:
            reader.add(problems.wrong_operand(item.span, what, "single values", describe(item)))
            return None
        values.append(item.value)
    if not values:
        reader.add(problems.wrong_operand(node.span, what, "at least one value", "an empty list"))
        return None
    return tuple(values)


def _offer(reader: Reader, node: Node) -> Condition | None:
    table = reader.table(node, "offer", way_out="write `offer: {NAME: {held: true}}`")
    if table is None:
        return None
    found: list[Condition] = []
    for entry in _sorted(table):
        inner = reader.table(
            entry.value, f"offer {entry.key}", ("held", "used"), way_out="write {held: true} or {used: false}"
        )
        if inner is None:
            return None
        held, used = inner.get("held"), inner.get("used")
        is_held = None if held is None else reader.flag(held, "held")
        is_used = None if used is None else reader.flag(used, "used")
        if is_held is None and is_used is None:
            if not len(inner):
                reader.add(
                    problems.missing_key(
                        inner.span, "held", f"offer {entry.key}", way_out="say {held: true} or {used: false}"
                    )
                )
            return None
        found.append(OfferIs(entry.key, is_held, is_used))
    if not found:
        reader.add(
            problems.wrong_shape(table.span, "offer", "a table with the offer's name", "an empty table")
        )
        return None
    return found[0] if len(found) == 1 else All(tuple(found))
