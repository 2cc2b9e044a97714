"""Names of the fields of facts: what `where`, `sum`, `same`, `trigger` and `answer` ask for.

Facts carry any field, so no name is an error. But Homing knows what facts of its own events tell by themselves, and a
database knows what was told (`homing validate --database`, in `engine.runtime.unseen`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.diagnostics import Finding, Span, slip_of
from engine.flows import fields
from engine.flows.nodes import Entry, Items, Node, Scalar, Table
from engine.flows.rules.registry import Look, flow_rule, tables_of, told

_BODIES = ("set", "webhook")  # what stands in these are values, whatever they are called


@dataclass(frozen=True, slots=True)
class AskedOfFacts:
    """A field of facts that a flow asks for: its path, where it stands and the facts that it is looked for in.

    `known` are the fields that Homing knows of these facts, or None where it does not know them; `events` their names,
    empty where they come from no event. `absent` says that the test is for the field's absence, `same` that the fact is
    compared with the trigger's.
    """

    what: str
    path: str
    span: Span
    events: tuple[str, ...]
    known: frozenset[str] | None
    absent: bool = False
    same: bool = False

    def slip(self) -> str:
        """Return the known field that was probably meant, or an empty string."""
        head, _, rest = self.path.partition(".")
        if self.known is None or head == "properties":
            return ""
        if head not in self.known:
            return slip_of(head, self.known)
        inner = rest.partition(".")[0]
        if head != "lines" or not inner or inner in (*fields.LINE, "properties"):
            return ""
        return slip_of(inner, fields.LINE)


@flow_rule("C215", "unlikely-field-of-a-fact")
def unlikely_field(look: Look) -> Iterator[Finding]:
    """A field of a fact resembles one that such facts have, but is another.

    Facts carry what the shop tells with them, so this may be right: where a property of the shop's own is meant, write
    `properties.NAME`, and nothing is said. More often it is a slip, and the field is missing in every fact.

    Before:

        wait: {until: {did: survey_answered, where: {survy: check-in}, same: ordr_id}, up_to: 14d}

    After:

        wait: {until: {did: survey_answered, where: {survey: check-in}, same: order_id}, up_to: 14d}
    """
    for asked in asked_of_facts(look.table):
        meant = asked.slip()
        if meant:
            effect = "if nobody tells such a field, " + (
                "nothing is the same" if asked.same else "the test fails for everybody"
            )
            yield told(asked.span, f'{asked.what} has no field "{asked.path}" of its own', effect=effect,
                       help=f'did you mean "{meant}"?')  # fmt: skip


def asked_of_facts(tree: Table) -> Iterator[AskedOfFacts]:
    """Yield every field of facts that a flow (or a segment) asks for, in order of writing.

    It looks at what is written alone, so that a flow with errors can be held to it too.
    """
    written = tree.get("trigger")
    triggers = [each for each in _items(written) if isinstance(each, Table)]
    let_in = [_of_trigger(each) for each in triggers]
    for each, facts in zip(triggers, let_in, strict=True):
        for where in (each.get("where"), _inside(each, "lapsed", "where")):
            yield from _tested(where, (facts,)) if facts.is_event else ()
    rest = tree.without("trigger")
    answers = _answers(rest)
    for table in _conditions(rest):
        yield from _of_did(table, let_in)
        yield from _tested(table.get("trigger"), let_in, "the trigger", fields.OF_ANY_TRIGGER)
        for tests, may_be in _by_answer(table.get("answer"), answers):
            yield from _tested(tests, may_be, "the answer")


@dataclass(frozen=True, slots=True)
class _Facts:
    """Facts of one kind: their name, whether it is that of an event, and their fields where Homing knows them."""

    name: str
    known: frozenset[str] | None
    is_event: bool = True


def _of_event(node: Node | None) -> _Facts:
    name = node.value if isinstance(node, Scalar) and isinstance(node.value, str) else ""
    return _Facts(name, fields.of_event(name), is_event=bool(name))


def _of_trigger(table: Table) -> _Facts:
    event = table.get("event") or _inside(table, "lapsed", "event")
    if event is not None:
        return _of_event(event)
    for kind, own in fields.OF_TRIGGER.items():
        if kind in table:
            return _Facts(kind, frozenset((*own, *fields.OF_ANY_EVENT)), is_event=False)
    return _Facts("", None, is_event=False)


def _of_did(table: Table, let_in: Sequence[_Facts]) -> Iterator[AskedOfFacts]:
    node = table.get("did") or table.get("did_not")
    facts = _of_event(node)
    if not facts.name:
        return
    for key in ("where", "sum"):
        yield from _tested(table.get(key), (facts,))
    same = table.get("same")
    if isinstance(same, Scalar) and isinstance(same.value, str):
        # An id that either of the two has by itself is none that was misspelt.
        known = _known((facts, *let_in), fields.OF_ANY_TRIGGER)
        yield AskedOfFacts(f"`{facts.name}`", same.value, same.span, (facts.name,), known, same=True)


def _tested(
    node: Node | None, facts: Sequence[_Facts], what: str = "", more: tuple[str, ...] = ()
) -> Iterator[AskedOfFacts]:
    """Yield the fields of a table of tests, each of which is looked for in these facts."""
    events = tuple(dict.fromkeys(each.name for each in facts)) if all(each.is_event for each in facts) else ()
    known = _known(facts, more)
    for entry in node if isinstance(node, Table) and facts else ():
        if not isinstance(entry.value, Table) or entry.key != "lines":  # lines are read by their known fields
            absent = (
                any(_asks_for_absence(test) for test in entry.value)
                if isinstance(entry.value, Table)
                else False
            )
            yield AskedOfFacts(what or f"`{facts[0].name}`", entry.key, entry.key_span, events, known, absent)


def _known(facts: Iterable[_Facts], more: tuple[str, ...]) -> frozenset[str] | None:
    found = frozenset(more)
    for each in facts:
        if each.known is None:
            return None
        found |= each.known
    return found


def _asks_for_absence(test: Entry) -> bool:
    return test.key == "exists" and isinstance(test.value, Scalar) and test.value.value is False


def _answers(tree: Node) -> dict[str, list[_Facts]]:
    """Return the facts that each answer of the flow may be, by its name."""
    found: dict[str, list[_Facts]] = {}
    for table in _conditions(tree):
        wait = table.get("wait")
        name = wait.get("as") if isinstance(wait, Table) else None
        until = wait.get("until") if isinstance(wait, Table) else None
        if isinstance(name, Scalar) and until is not None:
            dids = [each.get("did") for each in tables_of(until) if "did" in each]
            found.setdefault(str(name.value), []).extend(_of_event(did) for did in dids)
    return found


def _by_answer(
    node: Node | None, answers: Mapping[str, list[_Facts]]
) -> Iterator[tuple[Table, list[_Facts]]]:
    """Yield the tests of an `answer`, apart by the answer that they name (`nps.score`), with the facts of that one."""
    everything = [each for facts in answers.values() for each in facts]
    for entry in node if isinstance(node, Table) else ():
        head, _, rest = entry.key.partition(".")
        named = rest and head in answers
        inner = Entry(rest, entry.key_span, entry.value) if named else entry
        if entry.key not in answers:
            yield Table((inner,)), answers[head] if named else everything


def _conditions(node: Node) -> Iterator[Table]:
    """Yield every table in a tree, but not the values that steps set or hand over."""
    if isinstance(node, Table):
        yield node
        for entry in node:
            if entry.key not in _BODIES:
                yield from _conditions(entry.value)
    elif isinstance(node, Items):
        for item in node:
            yield from _conditions(item)


def _items(node: Node | None) -> Iterable[Node]:
    return node if isinstance(node, Items) else () if node is None else (node,)


def _inside(table: Table, key: str, name: str) -> Node | None:
    inner = table.get(key)
    return inner.get(name) if isinstance(inner, Table) else None
