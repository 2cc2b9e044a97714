"""The `set` step: changing customers' records. It can withdraw consent, never grant it, and raises no fact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy import insert as plain_insert

from engine.journeys.round import Round
from engine.store.dialect import insert
from engine.store.tables import consent_state, consents, customers

PLAIN = ("tier", "locale", "first_name", "last_name")


def apply_changes(
    connection: Connection, changes: Sequence[tuple[int, Mapping[str, Any]]], at: Round
) -> set[int]:
    """Apply (customer, values) in order: properties, plain fields, `tags: {add, remove}`, `consent: {topic: withdrawn}`.

    Return the customers who withdrew consent by it.
    """
    if not changes:
        return set()
    ids = sorted({customer_id for customer_id, _ in changes})
    query = select(
        customers.c.id, customers.c.tags, customers.c.properties, *(customers.c[name] for name in PLAIN)
    )
    records = {
        row["id"]: {**row, "tags": list(row["tags"] or []), "properties": dict(row["properties"] or {})}
        for row in connection.execute(query.where(customers.c.id.in_(ids))).mappings()
    }
    withdrawn: list[tuple[int, str]] = []
    for customer_id, values in changes:
        record = records[customer_id]
        for field, value in values.items():
            if field == "consent":
                withdrawn += [(customer_id, topic) for topic, state in value.items() if state == "withdrawn"]
            elif field == "tags":
                record["tags"] = changed_tags(record["tags"], value)
            elif field in PLAIN:
                record[field] = value
            else:
                record["properties"][field.removeprefix("properties.")] = value
    _save(connection, records)
    _withdraw(connection, withdrawn, at)
    return {customer_id for customer_id, _ in withdrawn}


def changed_tags(tags: Sequence[str], change: Any) -> list[str]:
    """Return tags after `{add: …, remove: …}` (text or list), or the new list itself.

    >>> changed_tags(["new"], {"add": "vip", "remove": ["new"]})
    ['vip']
    """
    if not isinstance(change, Mapping):
        return _texts(change)
    removed = set(_texts(change.get("remove")))
    return [tag for tag in dict.fromkeys([*tags, *_texts(change.get("add"))]) if tag not in removed]


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


def _save(connection: Connection, records: Mapping[int, Mapping[str, Any]]) -> None:
    names = ("tags", "properties", *PLAIN)
    statement = (
        update(customers)
        .where(customers.c.id == bindparam("which"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    rows = [
        {"which": customer_id} | {f"new_{name}": record[name] for name in names}
        for customer_id, record in records.items()
    ]
    connection.execute(statement, rows)


def _withdraw(connection: Connection, withdrawn: Sequence[tuple[int, str]], at: Round) -> None:
    if not withdrawn:
        return
    rows = [
        {
            "customer_id": customer_id,
            "topic": topic,
            "state": "withdrawn",
            "at": at.now,
            "received_at": at.now,
            "source": "flow",
        }
        for customer_id, topic in withdrawn
    ]
    connection.execute(plain_insert(consents), rows)
    statement = insert(connection, consent_state)
    statement = statement.on_conflict_do_update(
        index_elements=["customer_id", "topic"], set_={"withdrawn_at": statement.excluded.withdrawn_at}
    )
    connection.execute(
        statement,
        [{"customer_id": c, "topic": topic, "withdrawn_at": at.now} for c, topic in dict.fromkeys(withdrawn)],
    )
