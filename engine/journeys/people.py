"""What deciding needs to know of customers, read for a whole batch in a handful of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, select

from engine.facts.days import DAY_COLUMNS, column_of, value_of
from engine.flows.model import Flow, Send, WaitField
from engine.journeys.dates import dig
from engine.journeys.decide import Person
from engine.journeys.moments import as_moment, yearly
from engine.journeys.round import Round
from engine.outbox.ledger import write_held
from engine.policy.consent import granted_topics, suppressed_kinds
from engine.store.dialect import among, within
from engine.store.keeping import CUSTOMER, kept, known
from engine.store.prepared import Prepared
from engine.store.tables import customers, messages, offer_codes

Moment = datetime | tuple[int, int] | None

_PEOPLE = Prepared(
    select(
        customers.c.id,
        customers.c.zone,
        customers.c.external_id,
        customers.c.email,
        customers.c.erased_at,
        customers.c.quarantined_at,
    ).where(within(customers.c.id, "ids"))
)


def read_people(
    connection: Connection, customer_ids: Collection[int], flows: Iterable[Flow], at: Round
) -> dict[int, Person]:
    """Return a Person for each customer, with the topics, templates and moments that these flows ask for."""
    flow_list = list(flows)
    plain = plain_people(connection, customer_ids, topics_of(flow_list), at)
    return with_particulars(connection, plain, flow_list, at)


def topics_of(flows: Iterable[Flow]) -> frozenset[str]:
    """Return the topics that messages of these flows are about."""
    return frozenset().union(*(_wanted(_SameFlow(flow)).topics for flow in flows))


def asks_particulars(flow: Flow) -> bool:
    """Return whether steps of a flow ask for more than `plain_people` tells."""
    wanted = _wanted(_SameFlow(flow))
    return bool(wanted.choices or wanted.paths)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What one flow wants to know: topics, templates that a step chooses among, moments that a wait refers to."""

    topics: frozenset[str]
    choices: frozenset[str]
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class _SameFlow:
    """A flow, compared by its identity: quick, and definitions never change."""

    flow: Flow

    def __hash__(self) -> int:
        return id(self.flow)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameFlow) and self.flow is other.flow


@lru_cache(maxsize=256)
def _wanted(same: _SameFlow) -> _Wanted:
    steps = list(same.flow.all_steps())
    sends = [step for step in steps if isinstance(step, Send)]
    topics = {same.flow.topic, *(step.topic for step in sends)}
    return _Wanted(
        frozenset(topic for topic in topics if topic),
        frozenset(name for step in sends if len(step.templates) > 1 for name in step.templates),
        frozenset(step.field_path for step in steps if isinstance(step, WaitField)),
    )


def plain_people(
    connection: Connection, customer_ids: Collection[int], topics: Collection[str], at: Round
) -> dict[int, Person]:
    """Return a Person for each customer with what every flow asks for: zone, identity, consent, suppression."""
    asked = frozenset(topics)
    if kept(connection) is not None:
        asked = asked.union(at.settings.topics)  # of other topics, too, so that other flows can use it
    return dict(
        known(
            connection,
            ("people", asked),
            sorted(set(customer_ids)),
            lambda ids: _read_plain(connection, ids, asked, at),
        )
    )


def _read_plain(
    connection: Connection, ids: Sequence[int], topics: Collection[str], at: Round
) -> dict[int, Person]:
    granted = granted_topics(connection, ids, topics, at.settings.soft_opt_in)
    suppressed = suppressed_kinds(connection, ids)
    nothing: frozenset[str] = frozenset()
    return {
        customer_id: Person(
            zone=zone or at.shop_zone,
            identity=external_id or email or str(customer_id),
            granted=granted.get(customer_id, nothing),
            suppressed=suppressed.get(customer_id, nothing),
            erased=erased_at is not None,
            quarantined=quarantined_at is not None,
        )
        for customer_id, zone, external_id, email, erased_at, quarantined_at in _PEOPLE.rows(
            connection, ids=ids
        )
    }


def with_particulars(
    connection: Connection, people: dict[int, Person], flows: Sequence[Flow], at: Round
) -> dict[int, Person]:
    """Return the people with the templates and moments that steps of these flows ask for; most ask for neither."""
    ids = list(people)
    sent = _sent_templates(connection, ids, flows)
    moments = _moments(connection, ids, flows, at)
    if not sent and not moments:
        return people
    nothing: frozenset[str] = frozenset()
    return {
        customer_id: replace(
            person, sent_templates=sent.get(customer_id, nothing), moments=moments.get(customer_id, {})
        )
        for customer_id, person in people.items()
    }


def _sent_templates(
    connection: Connection, ids: Sequence[int], flows: Sequence[Flow]
) -> dict[int, frozenset[str]]:
    """Return which templates each customer was sent, asked only where a step chooses among several."""
    choices = {name for flow in flows for name in _wanted(_SameFlow(flow)).choices}
    if not choices:
        return {}
    write_held(connection)
    query = select(messages.c.customer_id, messages.c.template).where(
        among(connection, messages.c.customer_id, ids),
        messages.c.template.in_(sorted(choices)),
        messages.c.state.not_in(("dropped", "failed")),
    )
    found: dict[int, set[str]] = defaultdict(set)
    for customer_id, template in connection.execute(query):
        found[customer_id].add(template)
    return {customer_id: frozenset(names) for customer_id, names in found.items()}


@lru_cache(maxsize=64)
def _fields_of(names: tuple[str, ...]) -> Prepared:
    """Return the statement for what these fields of customers are read from."""
    told = [column for name in names if (column := column_of(name)) is not None]
    days = [customers.c[DAY_COLUMNS[column.key]] for column in told if column.key in DAY_COLUMNS]
    properties = [customers.c.properties] if any(column_of(name) is None for name in names) else []
    columns = dict.fromkeys((customers.c.id, customers.c.zone, *told, *days, *properties))
    return Prepared(select(*columns).where(within(customers.c.id, "ids")))


def _moments(
    connection: Connection, ids: Sequence[int], flows: Sequence[Flow], at: Round
) -> Mapping[int, Mapping[str, Moment]]:
    """Return the moments that waits of these flows refer to, for each customer."""
    paths = sorted({path for flow in flows for path in _wanted(_SameFlow(flow)).paths})
    if not paths:
        return {}

    def read(some: Sequence[int]) -> dict[int, dict[str, Moment]]:
        return _read_moments(connection, some, paths, at)

    columns = [column for path in paths if (column := column_of(path.removeprefix("customer."))) is not None]
    offers = any(path.startswith("offer.") for path in paths)
    if offers or any(column.key not in CUSTOMER for column in columns):
        return read(ids)
    return known(connection, ("moments", *paths), ids, read)


def _read_moments(
    connection: Connection, ids: Sequence[int], paths: Sequence[str], at: Round
) -> dict[int, dict[str, Moment]]:
    found: dict[int, dict[str, Moment]] = defaultdict(dict)
    plain = {path: path.removeprefix("customer.") for path in paths}
    for row in _fields_of(tuple(plain.values())).dicts(connection, ids=ids):
        zone, own = row["zone"] or at.shop_zone, found[row["id"]]
        for path, name in plain.items():
            column = column_of(name)
            value = (
                value_of(column.key, row)
                if column is not None
                else dig(row["properties"], name.removeprefix("properties.").split("."))
            )
            own[path] = yearly(value, zone) if name == "birthday" else as_moment(value, zone)
    for path in paths:
        parts = path.split(".")
        if len(parts) == 3 and parts[0] == "offer" and parts[2] == "expires_at":
            query = select(offer_codes.c.customer_id, offer_codes.c.expires_at).where(
                offer_codes.c.offer == parts[1],
                among(connection, offer_codes.c.customer_id, ids),
                offer_codes.c.expires_at.is_not(None),
            )
            for customer_id, expires_at in connection.execute(query.order_by(offer_codes.c.issued_at)):
                found[customer_id][path] = expires_at
    return dict(found)
