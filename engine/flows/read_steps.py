"""Reading steps: what a flow does, in order.

Comes in: the list under `steps`, with its arms. Goes out: step values of `engine.flows.model`, each with an identity.
A step's identity is its `id`, else its template's or experiment's name, else its path in the file, counted from 1:
`steps.2.wait`, inside arms `steps.3.branch.1.steps.2.wait`, `steps.3.branch.2.otherwise.1.exit`,
`steps.5.experiment.ARM.steps.1.send`. Promises: no two steps of a flow share an identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import time
from typing import Any

from engine.calendar import WEEKDAYS as DAY_NAMES
from engine.calendar import Duration, parse_clock
from engine.diagnostics import Span
from engine.flows import fields, problems
from engine.flows.conditions import SCOPES
from engine.flows.model import (
    ALL_DAYS,
    WEEKDAYS,
    Arm,
    Branch,
    Exit,
    Experiment,
    ExperimentArm,
    Send,
    Set,
    Step,
    WaitClock,
    WaitField,
    WaitFor,
    WaitUntil,
    Webhook,
)  # fmt: skip
from engine.flows.nodes import Entry, Items, Node, Scalar, Table, exact
from engine.flows.read_conditions import clause, clauses
from engine.flows.read_triggers import customer_date, default_of, optional
from engine.flows.reading import NAME, Reader, clock_way_out, describe, short_duration

KINDS = ("send", "wait", "branch", "experiment", "set", "webhook", "exit")
KEYS: dict[str, tuple[str, ...]] = {
    "send": ("send", "id", "subject", "offer", "topic", "sender", "only_if"),
    "wait": ("wait", "id"),
    "branch": ("branch", "id"),
    "experiment": ("experiment", "id"),
    "set": ("set", "id"),
    "webhook": ("webhook", "id", "only_if"),
    "exit": ("exit", "id"),
}
ALL_KEYS = tuple(dict.fromkeys(key for keys in KEYS.values() for key in keys))
WAIT_KEYS = ("until", "days", "at_least", "offset", "up_to", "as")
MAX_WEIGHT = 1_000_000
SETTABLE = ("tier", "locale", "first_name", "last_name")  # stored fields that a flow may set


def steps(reader: Reader, node: Node) -> tuple[Step, ...]:
    """Read a flow's whole list of steps and tell identities that stand twice."""
    reading = _Steps(reader)
    found = reading.read(node, "steps", "steps")
    reading.tell_doubles()
    return found


def _free(identity: str, taken: set[str]) -> str:
    """Return the next name behind an identity that no step has: behind `guide-2`, too, comes `guide-3`."""
    base, _, number = identity.rpartition("-")
    stem = base if number.isdecimal() and base in taken else identity
    return next(name for name in (f"{stem}-{count}" for count in range(2, 100_000)) if name not in taken)


class _Steps:
    """Reads lists of steps, remembering identities on the way."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.identities: list[tuple[str, Span]] = []

    def tell_doubles(self) -> None:
        """Tell each identity that stands a second time."""
        first: dict[str, Span] = {}
        taken = {identity for identity, _ in self.identities}
        for identity, span in self.identities:
            if identity in first:
                free = _free(identity, taken)
                taken.add(free)
                self.reader.add(problems.same_step_twice(span, identity, first[identity], free))
            else:
                first[identity] = span

    def read(self, node: Node, key: str, path: str) -> tuple[Step, ...]:
        """Read one list of steps; `path` is the path of the list."""
        items = self.reader.items(
            node, key, way_out=f"write each step on a line of its own: `{key}:` and then `- send: …`"
        )
        if items is None:
            return ()
        found = [self._step(item, f"{path}.{number}") for number, item in enumerate(items, 1)]
        return tuple(step for step in found if step is not None)

    def _step(self, node: Node, path: str) -> Step | None:
        reader = self.reader
        table = reader.table(node, "a step", way_out="write `- send: TEMPLATE` or `- wait: 2d`")
        if table is None:
            return None
        kinds = [kind for kind in KINDS if kind in table]
        if len(kinds) != 1:
            strange = [entry for entry in table if entry.key not in ALL_KEYS]
            for entry in strange:
                reader.add(problems.unknown_key(entry.key_span, entry.key, "a step", ALL_KEYS))
            if kinds or not strange:
                reader.add(problems.which_one(table.span, "this step", kinds, KINDS))
            return None
        kind, before = kinds[0], len(reader.findings)
        self._only(table, kind)
        identity = self._identity(table, kind, path)
        step = getattr(self, f"_{kind}")(table, identity, f"{path}.{kind}")
        return step if reader.is_clean(before) else None

    def _only(self, table: Table, kind: str) -> None:
        for entry in table:
            if entry.key in KEYS[kind]:
                continue
            if entry.key in ALL_KEYS:
                self.reader.add(
                    problems.does_not_go_with(entry.key_span, entry.key, f"it does not belong to `{kind}`")
                )
            else:
                self.reader.add(
                    problems.unknown_key(entry.key_span, entry.key, f"`{kind}`", KEYS[kind], taken=table.keys)
                )

    def _identity(self, table: Table, kind: str, path: str) -> str:
        node = table.get("id")
        if node is not None:
            given = self.reader.name(node, "id")
            if given is not None:
                self.identities.append((given, node.span))
            return given or ""
        named = table.get(kind)
        if kind == "experiment" and isinstance(named, Table):
            named = named.get("name")
        if kind in ("send", "experiment") and isinstance(named, Scalar) and isinstance(named.value, str):
            self.identities.append((named.value, named.span))
            return named.value
        return f"{path}.{kind}"

    # ── mails and webhooks ───────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, table: Table, identity: str, path: str) -> Step:
        reader = self.reader
        node = _value(table, "send")
        given = [reader.name(item, "send") for item in (node if isinstance(node, Items) else (node,))]
        templates = tuple(name for name in given if name is not None)
        if isinstance(node, Items):
            self._several(node, templates)
        return Send(
            identity,
            templates,
            subject=optional(table, "subject", reader.text),
            offer=optional(table, "offer", reader.name),
            topic=optional(table, "topic", reader.name),
            sender=optional(table, "sender", reader.name),
            only_if=optional(table, "only_if", lambda n, k: clauses(reader, n, k), ()),
            span=table.span,
            subject_span=_value(table, "subject").span if "subject" in table else table.span,
        )

    def _several(self, node: Items, templates: tuple[str, ...]) -> None:
        if not len(node):
            self.reader.add(
                problems.wrong_shape(node.span, "send", "a template or a list of them", "an empty list")
            )
        for number, name in enumerate(templates):
            if name in templates[:number]:
                why = f'"{name}" stands in this list already, and each template is sent once'
                self.reader.add(problems.does_not_go_with(node.items[number].span, name, why))

    def _webhook(self, table: Table, identity: str, path: str) -> Step | None:
        reader = self.reader
        inner = reader.table(
            _value(table, "webhook"),
            "webhook",
            ("to", "with"),
            way_out="write `webhook: {to: NAME, with: {…}}`",
        )
        if inner is None:
            return None
        to, body = inner.get("to"), inner.get("with")
        if to is None:
            reader.add(
                problems.missing_key(
                    inner.span, "to", "webhook", way_out="name one of [webhooks] in homing.toml"
                )
            )
        content = None if body is None else reader.table(body, "with")
        return Webhook(
            identity,
            "" if to is None else reader.name(to, "to") or "",
            {} if content is None else exact(content),
            only_if=optional(table, "only_if", lambda n, k: clauses(reader, n, k), ()),
            span=table.span,
        )

    # ── waits ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _wait(self, table: Table, identity: str, path: str) -> Step | None:
        node = _value(table, "wait")
        if not isinstance(node, Table):
            if self._tells_a_clock(node):
                return None
            duration = self.reader.duration(node, "wait")
            return None if duration is None else WaitFor(identity, duration, span=table.span)
        self.reader.only(node, "wait", WAIT_KEYS)
        until = node.get("until")
        if until is None:
            self.reader.add(
                problems.missing_key(node.span, "until", "this wait", way_out='for example `until: "09:00"`')
            )
            return None
        if isinstance(until, Table):
            return self._wait_until(node, until, identity, table.span)
        clock = _as_clock(until)
        if clock is not None:
            return self._wait_clock(node, clock, identity, table.span)
        if not _begins_with_letter(until):
            self._no_moment(until)
            return None
        return self._wait_field(node, until, identity, table.span)

    def _no_moment(self, node: Node) -> None:
        text = str(node.value) if isinstance(node, Scalar) else ""
        meant, length = clock_way_out(text), short_duration(text) or _as_duration(text)
        way_out = 'write a time in quotes ("09:00"), a field (points_expire_at) or a condition ({did: …})'
        if meant or length:
            way_out = f"write {meant}" if meant else f"a stretch of time stands alone: write `wait: {length}`"
        sentence = f"{describe(node)} is no time of day, field or condition"
        self.reader.add(
            problems.unreadable(node.span, "until", sentence, way_out=way_out, fixable=bool(meant))
        )

    def _tells_a_clock(self, node: Node) -> bool:
        """Tell a time of day that stands where a stretch of time belongs, and return whether it does."""
        meant = clock_way_out(str(node.value)) if isinstance(node, Scalar) else None
        if meant:
            sentence = f"{describe(node)} is a time of day, not a stretch of time"
            way_out = f"write {{until: {meant}}}"
            self.reader.add(problems.unreadable(node.span, "wait", sentence, way_out=way_out))
        return meant is not None

    def _allow(self, table: Table, what: str, keys: tuple[str, ...]) -> None:
        for entry in table:
            if entry.key in WAIT_KEYS and entry.key not in ("until", *keys):
                why = f"a wait until {what} takes {problems.listed(keys)}"
                self.reader.add(problems.does_not_go_with(entry.key_span, entry.key, why))

    def _wait_clock(self, table: Table, clock: time, identity: str, span: Span) -> Step:
        self._allow(table, "a time of day", ("days", "at_least"))
        days = table.get("days")
        return WaitClock(
            identity,
            clock,
            ALL_DAYS if days is None else self._days(days),
            optional(table, "at_least", self.reader.duration, default_of(WaitClock, "at_least")),
            span=span,
        )

    def _days(self, node: Node) -> frozenset[int]:
        if isinstance(node, Scalar) and node.value == "weekdays":
            return WEEKDAYS
        known = ("weekdays", *DAY_NAMES)
        if isinstance(node, Table) or (isinstance(node, Items) and not len(node)):
            self.reader.add(
                problems.wrong_shape(
                    node.span, "days", "weekdays or a list such as [mon, thu]", describe(node)
                )
            )
            return ALL_DAYS
        given = [self.reader.one_of(item, "days", DAY_NAMES if isinstance(node, Items) else known)
                 for item in (node if isinstance(node, Items) else (node,))]  # fmt: skip
        return frozenset(DAY_NAMES.index(day) for day in given if day is not None)

    def _wait_field(self, table: Table, node: Node, identity: str, span: Span) -> Step:
        self._allow(table, "a date in a field", ("offset",))
        return WaitField(
            identity,
            self._moment_path(node) or "",
            optional(
                table,
                "offset",
                lambda n, k: self.reader.duration(n, k, negative=True),
                default_of(WaitField, "offset"),
            ),
            span=span,
        )

    def _moment_path(self, node: Node) -> str | None:
        text = str(node.value) if isinstance(node, Scalar) else ""
        head, _, rest = text.partition(".")
        if head == "offer":
            name, _, what = rest.partition(".")
            if NAME.fullmatch(name) is None or what != "expires_at":
                self.reader.add(problems.bad_path(node.span, text))
            return text
        if head not in SCOPES or not rest:
            return customer_date(self.reader, node, "until")
        if not fields.is_path(text):
            self.reader.add(problems.bad_path(node.span, text))
        elif not fields.is_known(head, rest):
            self.reader.add(problems.unknown_field(node.span, head, rest, list(fields.OF_SCOPE[head] or ())))
        return rest if head == "customer" else text

    def _wait_until(self, table: Table, node: Table, identity: str, span: Span) -> Step | None:
        self._allow(table, "a condition", ("up_to", "as"))
        until = clause(self.reader, node)
        limit, answer = table.get("up_to"), table.get("as")
        if limit is None:
            way_out = "say for how long at most: `up_to: 14d`"
            self.reader.needs(table, "a wait until a condition", ("up_to",), WAIT_KEYS, way_out=way_out)
            return None
        up_to = self.reader.duration(limit, "up_to")
        name = None if answer is None else self.reader.name(answer, "as")
        if until is None or up_to is None:
            return None
        return WaitUntil(identity, until, up_to, name, span=span)

    # ── ways ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _branch(self, table: Table, identity: str, path: str) -> Step | None:
        items = self.reader.items(
            _value(table, "branch"), "branch", way_out="write `branch:` and then `- when: […]` with `steps:`"
        )
        if items is None:
            return None
        arms, ended, before = [], False, len(self.reader.findings)
        for number, item in enumerate(items, 1):
            if ended:
                self.reader.add(
                    problems.order_of_arms(
                        item.span, "this arm stands after `otherwise`, so nobody comes here"
                    )
                )
            arm = self._arm(item, f"{path}.{number}")
            arms.append(arm)
            ended = ended or (arm is not None and arm.when is None)
        if self.reader.is_clean(before) and all(arm is None or arm.when is None for arm in arms):
            self.reader.add(
                problems.order_of_arms(
                    items.span,
                    "this branch has no arm with `when`",
                    way_out="write `- when: [{cart: {value: {gte: 80}}}]` with `steps:`",
                )
            )
        return Branch(identity, tuple(arm for arm in arms if arm is not None), span=table.span)

    def _arm(self, node: Node, path: str) -> Arm | None:
        table = self.reader.table(
            node, "an arm", ("when", "steps", "otherwise"), way_out="write `- when: […]` with `steps:`"
        )
        if table is None:
            return None
        otherwise = table.get("otherwise")
        if otherwise is not None:
            for key in ("when", "steps"):
                if key in table:
                    self.reader.add(
                        problems.does_not_go_with(
                            table.key_span(key), key, "`otherwise` holds its steps itself"
                        )
                    )
            return Arm(None, self.read(otherwise, "otherwise", f"{path}.otherwise"))
        when, inner = table.get("when"), table.get("steps")
        for key, value in (("when", when), ("steps", inner)):
            if value is None:
                self.reader.add(problems.missing_key(table.span, key, "an arm of a branch"))
        return Arm(
            () if when is None else clauses(self.reader, when, "when"),
            () if inner is None else self.read(inner, "steps", f"{path}.steps"),
        )

    def _experiment(self, table: Table, identity: str, path: str) -> Step | None:
        way_out = "write `experiment: {name: NAME, arms: {A: {weight: 50, steps: […]}, B: …}}`"
        inner = self.reader.table(
            _value(table, "experiment"), "experiment", ("name", "arms"), way_out=way_out
        )
        if inner is None:
            return None
        name, arms = inner.get("name"), inner.get("arms")
        if name is None:
            self.reader.add(problems.missing_key(inner.span, "name", "an experiment"))
        else:
            self.reader.name(name, "name")
        if arms is None:
            self.reader.add(problems.missing_key(inner.span, "arms", "an experiment", way_out=way_out))
            return None
        several = self.reader.table(arms, "arms", way_out=way_out)
        if several is None:
            return None
        found = [self._experiment_arm(entry, path) for entry in sorted(several, key=lambda entry: entry.key)]
        good = tuple(arm for arm in found if arm is not None)
        if len(several) < 2:
            self.reader.add(
                problems.unreadable(
                    several.span,
                    "arms",
                    "an experiment compares at least two arms",
                    way_out="add another arm, such as `nothing: {weight: 50, steps: []}`",
                )
            )
        elif len(good) == len(several) and not sum(arm.weight for arm in good):
            self.reader.add(
                problems.unreadable(
                    several.span,
                    "arms",
                    "no arm has a weight, so nobody could enter one",
                    way_out="give one a `weight` above 0",
                )
            )
        return Experiment(identity, good, span=table.span)

    def _experiment_arm(self, entry: Entry, path: str) -> ExperimentArm | None:
        if NAME.fullmatch(entry.key) is None:
            self.reader.add(problems.bad_name(entry.key_span, "the arm", entry.key))
        table = self.reader.table(
            entry.value, f"arm {entry.key}", ("weight", "steps"), way_out="write `{weight: 50, steps: […]}`"
        )
        if table is None:
            return None
        weight, inner = table.get("weight"), table.get("steps")
        for key, value in (("weight", weight), ("steps", inner)):
            if value is None:
                self.reader.add(problems.missing_key(table.span, key, f"arm {entry.key}"))
        return ExperimentArm(
            entry.key,
            0 if weight is None else self.reader.whole(weight, "weight", 0, MAX_WEIGHT) or 0,
            () if inner is None else self.read(inner, "steps", f"{path}.{entry.key}.steps"),
        )

    # ── set, exit ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _set(self, table: Table, identity: str, path: str) -> Step | None:
        inner = self.reader.table(
            _value(table, "set"), "set", way_out="write `set: {properties.NAME: VALUE}`"
        )
        if inner is None:
            return None
        if not len(inner):
            self.reader.add(
                problems.wrong_shape(inner.span, "set", "a table of fields with values", "an empty table")
            )
        values: dict[str, Any] = {}
        for entry in inner:
            _SET.get(entry.key, _set_property)(self.reader, entry, values)
        return Set(identity, values, span=table.span)

    def _exit(self, table: Table, identity: str, path: str) -> Step:
        return Exit(identity, self.reader.text(_value(table, "exit"), "exit") or "", span=table.span)


def _value(table: Table, key: str) -> Node:
    node = table.get(key)
    assert node is not None  # the kind was found by this key
    return node


def _as_duration(text: str) -> str:
    with suppress(ValueError, OverflowError):
        Duration.parse(text)
        return text
    return ""


def _begins_with_letter(node: Node) -> bool:
    text = node.value if isinstance(node, Scalar) else None
    return isinstance(text, str) and re.match(r"[^\W\d]", text) is not None


def _as_clock(node: Node) -> time | None:
    if not isinstance(node, Scalar):
        return None
    try:
        return parse_clock(node.value)
    except ValueError:
        return None


def _set_tags(reader: Reader, entry: Entry, values: dict[str, Any]) -> None:
    table = reader.table(entry.value, "tags", ("add", "remove"), way_out="write `tags: {add: vip}`")
    changes: dict[str, list[str]] = {}
    for change in table or ():
        node = change.value
        found = [reader.text(item, change.key) for item in (node if isinstance(node, Items) else (node,))]
        changes[change.key] = [tag for tag in found if tag is not None]
    values["tags"] = changes


def _set_consent(reader: Reader, entry: Entry, values: dict[str, Any]) -> None:
    table = reader.table(entry.value, "consent", way_out="write `consent: {all: withdrawn}`")
    topics: dict[str, str] = {}
    for topic in table or ():
        if isinstance(topic.value, Scalar) and topic.value.value == "withdrawn":
            topics[topic.key] = "withdrawn"
        else:
            shown = topic.value.value if isinstance(topic.value, Scalar) else describe(topic.value)
            reader.add(problems.cannot_grant(topic.value.span, shown))
    values["consent"] = topics


def _set_property(reader: Reader, entry: Entry, values: dict[str, Any]) -> None:
    name = entry.key.removeprefix("properties.")
    key = entry.key if entry.key in SETTABLE else f"properties.{name}"
    if not fields.is_path(name) or "." in name:
        reader.add(problems.bad_path(entry.key_span, entry.key))
    elif entry.key in fields.CUSTOMER and entry.key not in SETTABLE:
        why = "this field is told by the shop's facts; a flow sets properties, tags and consent"
        way_out = f"write `properties.{entry.key}`"
        reader.add(problems.does_not_go_with(entry.key_span, entry.key, why, way_out=way_out))
    elif isinstance(entry.value, Table):
        reader.add(
            problems.wrong_shape(entry.value.span, entry.key, "one value or a list", describe(entry.value))
        )
    elif entry.key in SETTABLE:
        reader.text(entry.value, entry.key)
    values[key] = exact(entry.value)


_SET: dict[str, Callable[[Reader, Entry, dict[str, Any]], None]] = {
    "tags": _set_tags,
    "consent": _set_consent,
}
