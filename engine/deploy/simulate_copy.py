"""How the customers of a database stand at this moment, copied into a store of its own from which time can go on.

Comes in: the real database (only read), a scratch database, which customers. Goes out: the scratch database, holding what
decisions may ask about them. Promises that a message which somebody else holds at this moment is not sent again, and that
only mails which count for the present mode count for caps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, or_, select

from engine.deploy.simulate_feed import Slice
from engine.store import meta
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.dialect import among
from engine.store.tables import (
    arrivals,
    cart_lines,
    carts,
    consent_state,
    consents,
    customer_ids,
    customer_scores,
    customers,
    enrollments,
    events,
    fact_inbox,
    flow_versions,
    flows,
    marks,
    messages,
    offer_codes,
    order_lines,
    orders,
    product_affinities,
    product_changes,
    product_prices,
    product_ranks,
    products,
    segment_members,
    sources,
    suppressions,
    timers,
)
from engine.store.tables import meta as meta_table

PEOPLE = 1_000
ROWS = 5_000
Row = dict[str, Any]
Change = Callable[[Row], Row | None]
_WHOLE = (
    flow_versions, flows, sources, marks, meta_table, products, product_prices, product_ranks, product_affinities,
)  # fmt: skip
_OWN = (
    customer_ids, consents, consent_state, suppressions, orders, carts, events, timers, enrollments, segment_members,
    offer_codes, customer_scores,
)  # fmt: skip


def customers_of(connection: Connection, part: Slice) -> list[int]:
    """Return the ids of the customers in a part; erased ones are in none."""
    table = customers.c
    query = (
        select(table.id, table.external_id, table.email).where(table.erased_at.is_(None)).order_by(table.id)
    )
    return [
        identity
        for identity, external, email in connection.execute(query)
        if part.has(external or email or "")
    ]


def copy_state(source: Database, target: Database, part: Slice, *, sandbox: bool) -> int:
    """Copy how these customers stand, and everything that is nobody's; return how many customers that were."""
    with source.read() as connection:
        for table in _WHOLE:
            _write(target, table, _rows(connection, select(table)), _kept if table is meta_table else None)
        ids = customers_of(connection, part)
        for start in range(0, len(ids), PEOPLE):
            _copy_people(connection, target, ids[start : start + PEOPLE], sandbox=sandbox)
        _copy_unread(connection, target, set(ids))
        unused = select(offer_codes).where(offer_codes.c.customer_id.is_(None))
        _write(target, offer_codes, _rows(connection, unused))
    return len(ids)


def _copy_people(connection: Connection, target: Database, ids: Sequence[int], *, sandbox: bool) -> None:
    mine = select(customers).where(among(connection, customers.c.id, ids))
    _write(target, customers, _rows(connection, mine))
    for table in _OWN:
        own = select(table).where(among(connection, table.c.customer_id, ids))
        _write(target, table, _rows(connection, own))
    for lines, of, key in ((order_lines, orders, "order_id"), (cart_lines, carts, "cart_id")):
        things = select(of.c[key]).where(among(connection, of.c.customer_id, ids))
        _write(target, lines, _rows(connection, select(lines).where(lines.c[key].in_(things))))
    posted = select(messages).where(
        among(connection, messages.c.customer_id, ids), messages.c.sandbox.is_(sandbox)
    )
    _write(target, messages, _rows(connection, posted), _settled)


def _copy_unread(connection: Connection, target: Database, ids: set[int]) -> None:
    """Copy the facts that no pass has looked at yet, as far as they are about these customers or about nobody."""
    for table in (fact_inbox, arrivals):
        query = select(table, events.c.customer_id.label("whose")).outerjoin(
            events, events.c.id == table.c.event_id
        )
        waiting = (
            {name: value for name, value in row.items() if name != "whose"}
            for row in _rows(connection, query.order_by(table.c.id))
            if row["whose"] is None or row["whose"] in ids
        )
        _write(target, table, waiting)
    recent = select(product_changes).where(
        or_(
            product_changes.c.id.in_(select(fact_inbox.c.change_id)),
            product_changes.c.id.in_(select(arrivals.c.change_id)),
        )
    )
    _write(target, product_changes, _rows(connection, recent))


def _kept(row: Row) -> Row | None:
    """Return what of the installation's own facts holds in a copy: not its clock, not where it went live."""
    return row if row["name"] in (meta.SECRET, "sources_stamp", "paused_all", "recommend") else None


def _settled(row: Row) -> Row:
    """Return a message as nobody holds it: one that may have left counts as gone."""
    state = {"claimed": "pending", "handing_over": "unknown"}.get(row["state"], row["state"])
    return {**row, "state": state, "claimed_by": None, "lease_until": None, "sandbox": True}


def _rows(connection: Connection, query: Any) -> Iterator[Mapping[str, Any]]:
    for row in connection.execution_options(yield_per=ROWS).execute(query).mappings():
        yield dict(row)


def _write(
    target: Database, table: Table, rows: Iterator[Mapping[str, Any]], change: Change | None = None
) -> None:
    chunk: list[Row] = []
    for row in rows:
        found = dict(row) if change is None else change(dict(row))
        if found is not None:
            chunk.append(found)
        if len(chunk) >= ROWS:
            _insert(target, table, chunk)
            chunk = []
    _insert(target, table, chunk)


def _insert(target: Database, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        with target.write() as connection:
            insert_rows(connection, table, rows)
