"""What flows ask for and the data never told: fields without a value, events that nobody sent, products without a picture.

Comes in: a loaded project and a connection to its database. Goes out: findings of `homing validate --database`. Promises:
only reads; a database without customers says nothing, since everything would be unseen in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from engine.audience.meaning import flat_fact
from engine.audience.sql import customers_matching
from engine.diagnostics import Finding, Span, did_you_mean
from engine.flows import fields
from engine.flows.conditions import Clause, Did, FieldTest, Of, Test, walk
from engine.flows.load import Project, flow_clauses
from engine.flows.manual import page
from engine.flows.model import EventTrigger, LapsedTrigger, Send
from engine.flows.nodes import Node, Table
from engine.flows.rules.fields_of_facts import AskedOfFacts, asked_of_facts
from engine.flows.rules.registry import entries_of
from engine.render.library import TemplateLibrary, read_folder
from engine.store.tables import customers, events, products

_OWN = ("orders", "spent")  # never missing
_COUNTED = {"cart": "cart_id", "order": "order_id", "product": "sku"}


@page("C212", "field-never-seen", "warning")
def field_never_seen(span: Span, path: str, hint: str) -> Finding:
    """A condition asks for a field of customers that holds no value for anybody.

    Found with `homing validate --database URL` only. A field that was never told is missing for all, so that the test
    fails for all; most often its name, or the mapping of the import, is a slip.

    Before (where the shop's customers have `properties.shoe_size`):

        customer: {properties.shoesize: {gte: 44}}

    After:

        customer: {properties.shoe_size: {gte: 44}}
    """
    return Finding("C212", "warning", f'no customer in the database has "{path}"', span, effect="the test fails for everybody",
                   help=hint or "tell the field with the customers, or ask for another one")  # fmt: skip


@page("C213", "event-never-seen", "warning")
def event_never_seen(span: Span, name: str, hint: str) -> Finding:
    """A flow waits for, or asks about, an event that the database never saw.

    Found with `homing validate --database URL` only. It may be too early for it; more often the shop calls it otherwise.

    Before (where the shop tells `parcel_delivered`):

        - wait: {until: {did: order_delivered, same: order_id}, up_to: 10d}

    After:

        - wait: {until: {did: parcel_delivered, same: order_id}, up_to: 10d}
    """
    return Finding("C213", "warning", f'the database never saw the event "{name}"', span, effect="what rests on it never happens",
                   help=hint or "let the shop tell it, or name the event that it tells")  # fmt: skip


@page("C216", "fact-field-never-seen", "warning")
def fact_field_never_seen(span: Span, asked: AskedOfFacts, names: str, hint: str) -> Finding:
    """A condition or trigger asks facts for a field that none of them has.

    Found with `homing validate --database URL` only, once the database saw such facts. A field that was never told is
    missing in all of them, so that the test fails for everybody; most often its name is a slip, or the shop calls it
    otherwise.

    Before (where the shop tells `delivery_type` with its orders):

        trigger: {event: order_placed, where: {delivery: express}}

    After:

        trigger: {event: order_placed, where: {delivery_type: express}}
    """
    effect = "no fact is about the same" if asked.same else "the test fails for everybody"
    return Finding("C216", "warning", f'no {names} in the database has "{asked.path}"', span, effect=effect,
                   help=hint or "tell the field with these facts, or ask for another one")  # fmt: skip


@page("F231", "never-told-to-count-by", "warning")
def never_told(span: Span, event: str, per: str) -> Finding:
    """`re_entry: {per: …}` counts by an id that the facts of the flow's trigger never told.

    Found with `homing validate --database URL` only. An event of the shop's own may carry a `cart_id`, an `order_id` or a
    `sku`; where none does, each fact counts as another cart, order or product, and lets the customer in again.

    Before (where `quiz_done` is told without a `cart_id`):

        trigger: {event: quiz_done}
        re_entry: {per: cart, after: 7d}

    After:

        trigger: {event: quiz_done}
        re_entry: {after: 7d}
    """
    return Finding("F231", "warning", f'no "{event}" of the database tells its {_COUNTED[per]}', span,
                   effect="each fact lets the customer in, as if it were of another one",
                   help=f"let the shop tell {_COUNTED[per]} with it, or leave `per` out")  # fmt: skip


@page("T412", "nothing-to-recommend-from", "warning")
def nothing_to_recommend_from(span: Span, name: str) -> Finding:
    """A mail is skipped where there is nothing to recommend, and no product can be recommended.

    Found with `homing validate --database URL` only. A recommended product needs a picture, a price and a place in the
    catalogue that is not sold out; `otherwise: skip` then sends the mail to nobody.

    Before (in a shop whose products have no `image_url`):

        picks: {from: [bestsellers], at_least: 2, otherwise: skip}

    After: the products are told with their pictures, or the block says `otherwise: omit`.
    """
    return Finding("T412", "warning", f'no product of the database can fill the block "{name}"', span,
                   effect="nobody gets this mail (`nothing_to_recommend`)",
                   help="tell image_url and price of the products, or write `otherwise: omit`")  # fmt: skip


def unseen(connection: Connection, project: Project, now: datetime) -> list[Finding]:
    """Return what the project's flows ask for that the database never saw, each place once."""
    if connection.execute(select(customers.c.id).limit(1)).first() is None:
        return []
    found = [
        *_fields(connection, project, now),
        *_events(connection, project),
        *_fact_fields(connection, project, now),
        *_counted_by(connection, project),
        *_products(connection, project.root, project),
    ]
    return list(dict.fromkeys(found))


def _all_clauses(project: Project) -> Iterator[Clause]:
    for flow in project.definitions.flows.values():
        yield from flow_clauses(flow)
    for clauses in project.definitions.segments.values():
        yield from clauses


def _trees(project: Project) -> Iterator[Node]:
    yield from (source.node for source in project.sources)
    if project.segments_node is not None:
        yield project.segments_node


def _places(project: Project, name: str, *keys: str) -> Iterator[Span]:
    """Yield where a field is a key, or an event the value of one of the keys."""
    for tree in _trees(project):
        for entry in entries_of(tree):
            if not keys and entry.key == name:
                yield entry.key_span
            elif entry.key in keys and getattr(entry.value, "value", None) == name:
                yield entry.value.span


def _fields(connection: Connection, project: Project, now: datetime) -> Iterator[Finding]:
    wanted = {
        test.path: None
        for clause in _all_clauses(project)
        for part in walk(clause.condition)
        if isinstance(part, Of) and part.scope == "customer"
        for test in part.fields
        if test.path not in _OWN and not _asks_for_absence(test.tests)
    }
    for path in wanted:
        if not _is_there(connection, project, path, now):
            hint = _like(path, _told_properties(connection))
            yield from (field_never_seen(span, path, hint) for span in _places(project, path))


def _like(path: str, told: Iterable[str]) -> str:
    """Return the hint at a field that is called alike; the `properties.` before their names makes nothing alike."""
    names = {name.removeprefix("properties."): name for name in told if name != path}
    hint = did_you_mean(path.removeprefix("properties."), names)
    return re.sub(r'"(.+?)"', lambda bare: f'"{names[bare[1]]}"', hint)


def _asks_for_absence(tests: Iterable[Test]) -> bool:
    return any(test.op == "exists" and test.operand is False for test in tests)


def _is_there(connection: Connection, project: Project, path: str, now: datetime) -> bool:
    there = Clause(
        Of("customer", (FieldTest(path, (Test("exists", operand=True),)),)),
        f"customer: {{{path}: {{exists: true}}}}",
    )
    query = customers_matching(
        [there], now=now, segments=project.definitions.segments, shop_zone=project.settings.shop.timezone
    )
    return connection.execute(query.limit(1)).first() is not None


def _told_properties(connection: Connection) -> list[str]:
    """Return the fields that some customers have: the stored ones, and the properties of the last thousand."""
    rows = connection.scalars(select(customers.c.properties).order_by(customers.c.id.desc()).limit(1_000))
    names = {f"properties.{name}" for row in rows if isinstance(row, dict) for name in row}
    return sorted(names | set(fields.CUSTOMER))


def _events(connection: Connection, project: Project) -> Iterator[Finding]:
    wanted = {
        part.event
        for clause in _all_clauses(project)
        for part in walk(clause.condition)
        if isinstance(part, Did)
    }
    for flow in project.definitions.flows.values():
        wanted |= {
            trigger.event for trigger in flow.triggers if isinstance(trigger, EventTrigger | LapsedTrigger)
        }
    unknown = sorted(name for name in wanted - fields.ENGINE_EVENTS if not _was_seen(connection, name))
    known = connection.scalars(select(events.c.name).distinct()).all() if unknown else ()
    of_the_shop = [name for name in known if name not in fields.EVENTS]
    for name in unknown:
        hint = did_you_mean(name, of_the_shop if name in fields.EVENTS else known)
        if name in fields.EVENTS and not hint:
            continue  # one of Homing's own names: the shop may simply not have had it yet
        yield from (
            event_never_seen(span, name, hint) for span in _places(project, name, "did", "did_not", "event")
        )


def _counted_by(connection: Connection, project: Project) -> Iterator[Finding]:
    """Yield each flow that counts entries by what its event never told, where the event was seen at all."""
    for source in project.sources:
        flow = source.flow and project.definitions.flows.get(source.flow.name)
        column = events.c[_COUNTED[flow.re_entry.per]] if flow and flow.re_entry.per in _COUNTED else None
        if flow is None or column is None or not isinstance(source.node, Table):
            continue
        for trigger in flow.triggers:
            if not isinstance(trigger, EventTrigger) or trigger.event in fields.EVENTS:
                continue  # what Homing's own events tell is known without a database (F214)
            if not _was_seen(connection, trigger.event):
                continue
            known = select(events.c.id).where(events.c.name == trigger.event, column.is_not(None)).limit(1)
            if connection.execute(known).first() is None:
                place = source.node.get("re_entry")
                yield never_told(place.span if place else flow.span, trigger.event, str(flow.re_entry.per))


def _was_seen(connection: Connection, name: str) -> bool:
    return connection.execute(select(events.c.id).where(events.c.name == name).limit(1)).first() is not None


def _fact_fields(connection: Connection, project: Project, now: datetime) -> Iterator[Finding]:
    asked = [
        each
        for tree in _trees(project)
        if isinstance(tree, Table)
        for each in asked_of_facts(tree)
        if each.events and not each.absent and each.path.partition(".")[0] not in fields.OF_ANY_TRIGGER
    ]
    seen = {name: _was_seen(connection, name) for name in {name for each in asked for name in each.events}}
    told: dict[tuple[str, str], bool] = {}
    for each in asked:
        if each.slip() or not all(seen[name] for name in each.events):
            continue  # a slip is told already; facts that never came may have the field
        # Facts with lines are about the same product where one of their lines is.
        paths = (each.path, "lines.sku") if each.same and each.path == "sku" else (each.path,)
        for key in ((name, path) for name in each.events for path in paths):
            if key not in told:
                told[key] = _was_told(connection, project, *key, now)
            if told[key]:
                break
        else:
            hint = did_you_mean(
                each.path, [name for name in _told_with(connection, each) if name != each.path]
            )
            yield fact_field_never_seen(each.span, each, " or ".join(each.events), hint)


def _was_told(connection: Connection, project: Project, event: str, path: str, now: datetime) -> bool:
    there = Did(event, where=(FieldTest(path, (Test("exists", operand=True),)),))
    clause = Clause(there, f"did: {event}, where: {{{path}: {{exists: true}}}}")
    query = customers_matching([clause], now=now, segments={}, shop_zone=project.settings.shop.timezone)
    return connection.execute(query.limit(1)).first() is not None


def _told_with(connection: Connection, asked: AskedOfFacts) -> list[str]:
    """Return the fields of the last thousand of these facts, those inside their properties too."""
    query = select(events.c.properties).where(events.c.name.in_(asked.events))
    rows = connection.scalars(query.order_by(events.c.id.desc()).limit(1_000))
    return sorted({name for row in rows if isinstance(row, dict) for name in flat_fact(row)})


def _products(connection: Connection, root: Path, project: Project) -> Iterator[Finding]:
    table = products.c
    query = select(table.sku).where(table.image_url.is_not(None), table.price.is_not(None)).limit(1)
    if connection.execute(query).first() is not None:
        return
    library = TemplateLibrary(read_folder(root / "templates"))
    sent = {
        name
        for flow in project.definitions.flows.values()
        for step in flow.all_steps()
        if isinstance(step, Send)
        for name in step.templates
    }
    for name in sorted(sent & set(library.names())):
        for path in library.paths(name):
            for block in library.parse(path).recommend:
                if block.otherwise == "skip":
                    line = next(
                        (
                            n
                            for n, text in enumerate(library.sources[path].split("\n"), 1)
                            if block.name + ":" in text
                        ),
                        1,
                    )
                    yield nothing_to_recommend_from(Span(f"templates/{path}", line, 1), block.name)
