"""Scenario files: what happens to one customer, and what should come of it.

Comes in: YAML files under `tests/`. Goes out: frozen `Scenario` values, which `homing test` runs in virtual time, and
findings. Promises: all mistakes at once with their places; a time without an offset stays naive, since it is on the
customer's own clock; the first line of a timeline says when it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast
from zoneinfo import available_timezones

from engine.calendar import Duration, QuietHours, is_zone
from engine.diagnostics import Finding, Span, did_you_mean
from engine.flows import problems
from engine.flows.conditions import clause_text
from engine.flows.nodes import Entry, Items, Node, Scalar, Table, exact
from engine.flows.read_triggers import optional
from engine.flows.reading import Reader, describe
from engine.flows.yaml_source import read_file, read_yaml
from engine.settings import FILE as SETTINGS
from engine.settings import Cap, percent

FOLDER = "tests"
KEYS = ("scenario", "flow", "customer", "products", "timeline", "expect", "policy", "holdout", "arms")
EXPECTATIONS = ("sends", "does_not_send", "exits", "waits_until", "takes")
DETAILS: Mapping[str, tuple[str, ...]] = {
    "sends": ("at", "after", "subject", "offer"),
    "does_not_send": ("because",),
    "exits": ("at", "after"),
    "waits_until": (),
    "takes": (),
}
POLICY_KEYS = ("quiet_hours", "caps", "max_lateness", "global_holdout", "exclude", "soft_opt_in")
YEARS = range(1971, 3000)  # far from the ends of what a calendar holds, whatever is added to it
_MARKS = frozenset(("scenario", "timeline", "expect"))


@dataclass(frozen=True, slots=True)
class When:
    """A moment (naive: on the customer's clock), or a stretch after what comes before it."""

    at: datetime | None = None
    after: Duration | None = None
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the timeline: an event with the fields of its kind, as in FACTS; numbers are int or Decimal."""

    when: When
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Sends:
    """This template (or step) goes out, at that moment where one is given; `subject` is contained in its subject."""

    template: str
    when: When | None = None
    subject: str | None = None
    offer: str | None = None
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class SendsNot:
    """This template (or step) does not go out; `because` begins the reason, where one is given."""

    template: str
    because: str | None = None
    span: Span = field(default=Span(), compare=False)
    because_span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Exits:
    """The customer leaves the flow, for this reason (the words of the clause)."""

    reason: str
    when: When | None = None
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class WaitsUntil:
    """The customer stands in a wait that ends at this moment."""

    at: datetime
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class Takes:
    """The customer goes through this arm of an experiment or a branch."""

    step: str
    arm: str
    span: Span = field(default=Span(), compare=False)


@dataclass(frozen=True, slots=True)
class NothingMore:
    """Nothing else is sent."""

    span: Span = field(default=Span(), compare=False)


Expectation = Sends | SendsNot | Exits | WaitsUntil | Takes | NothingMore


@dataclass(frozen=True, slots=True)
class Scenario:
    """One test of one flow.

    `policy` is `off` (no caps, quiet hours, holdouts), `project`, or settings of `[policy]` to use instead of none.
    `holdout` forces the customer into the flow's holdout, `arms` into these arms.
    """

    name: str
    flow: str
    timeline: tuple[Happening, ...]
    expect: tuple[Expectation, ...]
    customer: Mapping[str, Any] = field(default_factory=dict)
    products: tuple[Mapping[str, Any], ...] = ()
    policy: Literal["off", "project"] | Mapping[str, Any] = "off"
    holdout: bool = False
    arms: Mapping[str, str] = field(default_factory=dict)
    span: Span = field(default=Span(), compare=False)
    places: Mapping[str, Span] = field(default_factory=dict, compare=False)

    @property
    def flow_span(self) -> Span:
        """Where the name of its flow stands."""
        return self.places.get("flow", self.span)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_scenario(node: Node, findings: list[Finding]) -> Scenario | None:
    """Read one scenario; None where it has errors."""
    before = len(findings)
    made = as_written(node, findings)
    return made if Reader(findings).is_clean(before) else None


def as_written(node: Node, findings: list[Finding]) -> Scenario | None:
    """Return what can be read of a scenario: what has errors is left out, or empty."""
    reader = Reader(findings)
    table = reader.table(node, "a scenario", KEYS)
    if table is None:
        return None
    reader.needs(table, "a scenario", ("scenario", "flow", "timeline", "expect"), KEYS)
    return Scenario(
        name=optional(table, "scenario", reader.text, ""),
        flow=optional(table, "flow", reader.name, ""),
        timeline=optional(table, "timeline", lambda n, _: _timeline(reader, n), ()),
        expect=optional(table, "expect", lambda n, _: _expect(reader, n), ()),
        customer=optional(table, "customer", lambda n, _: _customer(reader, n), {}),
        products=optional(table, "products", lambda n, _: _products(reader, n), ()),
        policy=optional(table, "policy", lambda n, _: _policy(reader, n), "off"),
        holdout=optional(table, "holdout", reader.flag, False),
        arms=optional(table, "arms", lambda n, _: _arms(reader, n), {}),
        span=table.key_span("scenario"),
        places={
            **_places_of(table.get("arms")),
            **{key: given.span for key in ("flow", "expect") if (given := table.get(key)) is not None},
        },
    )


def _places_of(node: Node | None) -> dict[str, Span]:
    """Return where each experiment that is forced, and its arm, stand."""
    entries = node.entries if isinstance(node, Table) else ()
    return {f"arms.{entry.key}": entry.key_span for entry in entries} | {
        f"arms.{entry.key}.arm": entry.value.span for entry in entries
    }


def load_scenarios(root: Path, findings: list[Finding], paths: list[Path] | None = None) -> list[Scenario]:
    """Read every scenario of a project (or of some files), in order of their files."""
    found = []
    for path in scenario_files(root) if paths is None else sorted(paths):
        for node in scenario_nodes(root, path, findings):
            scenario = parse_scenario(node, findings)
            if scenario is not None:
                found.append(scenario)
    return found


def scenario_files(root: Path) -> list[Path]:
    """Return the YAML files under `tests/`, but for those of another project that lies in there."""
    inner = [path.parent for path in (root / FOLDER).rglob(SETTINGS)]
    found = sorted((root / FOLDER).rglob("*.yaml"))
    return [path for path in found if not any(path.is_relative_to(folder) for folder in inner)]


def scenario_nodes(
    root: Path, path: Path, findings: list[Finding], others: list[Table | Scalar] | None = None
) -> Iterator[Table]:
    """Yield the scenarios of a file, one or a list of them; what is none of them, of any kind, is added to `others`."""
    own: list[Finding] = []
    name = (
        path.resolve().relative_to(root.resolve()).as_posix()
        if path.resolve().is_relative_to(root.resolve())
        else str(path)
    )
    node = read_file(path, name, own)
    several = node.items if isinstance(node, Items) else (node,)
    for item in several:
        if isinstance(item, Table) and _MARKS & set(item.keys):
            yield item
        elif others is not None and (isinstance(item, Table) or (isinstance(item, Scalar) and item is node)):
            others.append(item)
    if node is None:
        findings += own


def findings_in(text: str, file: str) -> list[Finding]:
    """Return what would be wrong with the scenarios of a file if it held this text."""
    findings: list[Finding] = []
    node = read_yaml(text, file, findings)
    for item in node.items if isinstance(node, Items) else (node,):
        if isinstance(item, Table) and _MARKS & set(item.keys):
            parse_scenario(item, findings)
    return findings


def _timeline(reader: Reader, node: Node) -> tuple[Happening, ...]:
    items = reader.items(node, "timeline", way_out="write `- {at: 2026-03-02 10:00, event: …}`")
    found = []
    for number, item in enumerate(items or ()):
        table = reader.table(
            item, "a line of the timeline", way_out="write `- {after: 5h, event: order_placed}`"
        )
        if table is None:
            continue
        if "event" not in table:
            reader.add(problems.missing_key(table.span, "event", "a line of the timeline"))
        when = _when(reader, table, needed=("at",) if number == 0 else ("at", "after"))
        event = optional(table, "event", reader.text, "")
        fields = exact(table.without("at", "after", "event"))
        if when is not None:
            found.append(Happening(when, event, fields, table.span))
    return tuple(found)


def _when(reader: Reader, table: Table, needed: tuple[str, ...] = ()) -> When | None:
    given = [key for key in ("at", "after") if key in table]
    if len(given) == 2:
        reader.add(
            problems.does_not_go_with(table.key_span("after"), "after", "`at` says the moment already")
        )
    if needed and not set(given) & set(needed):
        way_out = "say the moment: `at: 2026-03-02 10:00`" if needed == ("at",) else "say `at` or `after`"
        reader.add(problems.missing_key(table.span, needed[0], "this line of the timeline", way_out=way_out))
    if not given:
        return None
    at = optional(
        table, "at", lambda n, k: reader.read(n, k, _local, wanted="a moment such as 2026-03-02 10:00")
    )
    return When(
        at, optional(table, "after", reader.duration), table.entries[table.keys.index(given[0])].value.span
    )


def _local(text: str) -> datetime:
    """Read a moment and leave it naive where it has no offset."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f'"{text}" is not a moment such as 2026-03-02 10:00') from None
    if moment.year not in YEARS:
        raise ValueError(f'"{text}" lies outside of the years {YEARS.start} to {YEARS.stop - 1}')
    return moment


def _customer(reader: Reader, node: Node) -> dict[str, Any] | None:
    table = reader.table(
        node, "customer", way_out="write `customer: {timezone: Asia/Tokyo, consent: [reminders]}`"
    )
    if table is None:
        return None
    zone = table.get("timezone")
    if zone is not None and not (isinstance(zone, Scalar) and is_zone(zone.value)):
        reader.add(
            problems.unreadable(
                zone.span,
                "timezone",
                f"{describe(zone)} is no IANA time zone",
                way_out=did_you_mean(str(getattr(zone, "value", "")), available_timezones())
                or "for example Asia/Tokyo",
            )
        )
    consent = table.get("consent")
    if isinstance(consent, Table):
        reader.add(
            problems.wrong_shape(consent.span, "consent", "a list of topics, or all", describe(consent))
        )
    return cast(dict[str, Any], exact(table))


def _products(reader: Reader, node: Node) -> tuple[Mapping[str, Any], ...]:
    found = []
    for item in reader.items(node, "products", way_out="write `- {sku: T1, title: Sencha}`") or ():
        table = reader.table(item, "a product", way_out="write `{sku: T1, title: Sencha}`")
        if table is not None and "sku" not in table:
            reader.add(problems.missing_key(table.span, "sku", "a product"))
        if table is not None:
            found.append(exact(table))
    return tuple(found)


def _policy(reader: Reader, node: Node) -> Literal["off", "project"] | Mapping[str, Any] | None:
    if not isinstance(node, Table):
        word = reader.one_of(node, "policy", ("project", "off"))
        return cast(Literal["off", "project"] | None, word)
    reader.only(node, "policy", POLICY_KEYS)
    for key, read in (
        ("quiet_hours", QuietHours.parse),
        ("max_lateness", Duration.parse),
        ("global_holdout", percent),
    ):
        value = node.get(key)
        if value is not None and not (
            isinstance(value, Scalar) and value.value == "" and key == "quiet_hours"
        ):
            reader.read(
                value, key, cast(Callable[[str], object], read), wanted="what homing.toml says under [policy]"
            )
    caps = node.get("caps")
    for item in (reader.items(caps, "caps") or ()) if caps is not None else ():
        reader.read(item, "caps", Cap.parse, wanted="a cap such as 1 per 16h")
    return cast(Mapping[str, Any], exact(node))


def _arms(reader: Reader, node: Node) -> dict[str, str]:
    table = reader.table(node, "arms", way_out="write `arms: {EXPERIMENT: ARM}`")
    return {entry.key: reader.name(entry.value, entry.key) or "" for entry in table or ()}


# ── expectations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _expect(reader: Reader, node: Node) -> tuple[Expectation, ...]:
    found = [
        _expectation(reader, item)
        for item in reader.items(node, "expect", way_out="write `- {after: 4h, sends: TEMPLATE}`") or ()
    ]
    return tuple(item for item in found if item is not None)


def _expectation(reader: Reader, node: Node) -> Expectation | None:
    if isinstance(node, Scalar):
        if node.value == "nothing_more":
            return NothingMore(node.span)
        reader.add(
            problems.not_one_of(node.span, "an expectation", node.value, ("nothing_more", *EXPECTATIONS))
        )
        return None
    table = reader.table(node, "an expectation", way_out="write `{after: 4h, sends: TEMPLATE}`")
    if table is None:
        return None
    kinds = [key for key in EXPECTATIONS if key in table]
    if len(kinds) != 1:
        strange = [
            entry
            for entry in table
            if entry.key not in (*EXPECTATIONS, "at", "after", "subject", "offer", "because")
        ]
        for entry in strange:
            reader.add(problems.unknown_key(entry.key_span, entry.key, "an expectation", EXPECTATIONS))
        if kinds or not strange:
            reader.add(problems.which_one(table.span, "this expectation", kinds, EXPECTATIONS))
        return None
    reader.only(table, f"`{kinds[0]}`", (kinds[0], *DETAILS[kinds[0]]))
    chosen = table.entry(kinds[0])
    assert chosen is not None  # the kind was found by this key
    return _EXPECT[kinds[0]](reader, table, chosen)


def _sends(reader: Reader, table: Table, entry: Entry) -> Expectation:
    return Sends(
        reader.name(entry.value, "sends") or "",
        _when(reader, table),
        optional(table, "subject", reader.text),
        optional(table, "offer", reader.name),
        entry.value.span,
    )


def _sends_not(reader: Reader, table: Table, entry: Entry) -> Expectation:
    because, said = optional(table, "because", lambda n, k: _words(reader, n, k)), table.get("because")
    template = reader.name(entry.value, "does_not_send") or ""
    return SendsNot(template, because, entry.value.span, entry.value.span if said is None else said.span)


def _exits(reader: Reader, table: Table, entry: Entry) -> Expectation:
    return Exits(_words(reader, entry.value, "exits") or "", _when(reader, table), entry.value.span)


def _words(reader: Reader, node: Node, key: str) -> str | None:
    """Read the words of a reason or an arm: text in quotes, or the condition itself."""
    return clause_text(exact(node)) if isinstance(node, Table) else reader.text(node, key)


def _waits(reader: Reader, _: Table, entry: Entry) -> Expectation | None:
    at = reader.read(entry.value, "waits_until", _local, wanted="a moment such as 2026-03-02 10:00")
    return None if at is None else WaitsUntil(at, entry.value.span)


def _takes(reader: Reader, _: Table, entry: Entry) -> Expectation | None:
    inner = reader.table(entry.value, "takes", way_out="write `takes: {STEP: ARM}`")
    if inner is None or len(inner) != 1:
        if inner is not None:
            reader.add(
                problems.wrong_shape(
                    inner.span, "takes", "one experiment or branch with its arm", describe(inner)
                )
            )
        return None
    only = inner.entries[0]
    return Takes(only.key, _words(reader, only.value, only.key) or "", only.value.span)


_EXPECT: Mapping[str, Callable[[Reader, Table, Entry], Expectation | None]] = {
    "sends": _sends,
    "does_not_send": _sends_not,
    "exits": _exits,
    "waits_until": _waits,
    "takes": _takes,
}
