"""Calls of many requests become facts in one transaction.

Comes in: calls. Goes out: rows through the same reading and projecting as any file's. What cannot be read is set aside in
the raw inbox with its reason, and the rest goes on. The number of statements does not grow with the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from engine.facts.fact import BadRow, Fact, Kind
from engine.facts.fields import Reading
from engine.facts.formats import segment_call
from engine.facts.ingest import take
from engine.facts.normalise import normalise
from engine.settings import Settings
from engine.store.dialect import insert_new
from engine.store.tables import customer_ids, customers
from engine.web.intake import baskets, inbox, learning
from engine.web.intake.calls import Call, as_kept
from engine.web.intake.inbox import Unread, as_text
from engine.web.intake.trust import refusal, with_source
from engine.web.intake.visitors import known_calls

_WHO = ("external_id", "updated_at")


def take_calls(
    connection: Connection,
    calls: Sequence[Call],
    settings: Settings,
    now: datetime,
    unread: Sequence[Unread] = (),
) -> Sequence[Unread]:
    """Take calls received at `now`; `unread` is kept beside what turns out to be unusable."""
    aside = list(unread)
    reading = Reading(settings.shop.timezone, now, frozenset(settings.topics))
    for part in _parts(known_calls(connection, sorted(calls, key=lambda call: call.at), now)):
        if part[0].type == "alias":
            _rename(connection, part[0], aside)
        facts: list[Fact] = []
        for origin, kind, row in _rows(connection, part):
            facts += _read(origin, kind, row, reading, aside)
        if facts:
            take(connection, facts, settings=settings, now=now, virtual=False)
    inbox.keep(connection, aside, now)
    return aside


def _read(
    origin: Call | None, kind: Kind, row: dict[str, Any], reading: Reading, aside: list[Unread]
) -> list[Fact]:
    """Read a row; what an identify says wrongly of a customer is left out, and kept aside with its reason."""
    told = row if origin is None else with_source(origin, kind, row)
    wrong: list[str] = []
    read = normalise(kind, told, reading)
    while isinstance(read, BadRow):
        part = _part_of(told, read.column) if kind == "customers" else None
        if part is None:
            wrong.append(f"{read.column} {read.reason}".strip())
            aside.append(_unusable(origin, row, "; ".join(wrong)))
            return []
        told, names = _without(told, part, reading)
        wrong += [f"{name} {read.reason}" for name in names]
        read = normalise(kind, told, reading)
    refused = "" if origin is None else refusal(origin, read)
    if refused:
        aside.append(_unusable(origin, row, refused))
        return []
    if wrong:
        aside.append(_unusable(origin, row, "; ".join(wrong) + "; the rest was taken"))
    return read


def _part_of(row: dict[str, Any], column: str) -> str | None:
    """Return which part of a customer's row is wrong; None where it is who it is about, or nothing that can be left out."""
    part = column if column in row else column.partition(".")[0]
    return part if part in row and part not in _WHO else None


def _without(row: dict[str, Any], part: str, reading: Reading) -> tuple[dict[str, Any], list[str]]:
    """Return a customer's row without its wrong part, and what that is called; of properties only the wrong ones go."""
    rest = {name: value for name, value in row.items() if name != part}
    properties = row[part] if part == "properties" else None
    if not isinstance(properties, dict):
        return rest, [part]
    good = {
        name: value
        for name, value in properties.items()
        if not isinstance(normalise("customers", {"external_id": "x", part: {name: value}}, reading), BadRow)
    }
    wrong = [f"{part}.{name}"[:60] for name in properties if name not in good]
    return (rest | {part: good}, wrong) if wrong else (rest, [part])


def _parts(calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """Yield the calls cut before each alias, which may name somebody whom the calls before it made known."""
    start = 0
    for place, call in enumerate(calls):
        if call.type == "alias" and place > start:
            yield calls[start:place]
            start = place
    if calls:
        yield calls[start:]


def _unusable(origin: Call | None, row: dict[str, Any], reason: str) -> Unread:
    if origin is None:
        return Unread("segment", "", reason, as_text(row))
    return unread_call(origin, reason)


def unread_call(call: Call, reason: str) -> Unread:
    """Return a call for the raw inbox, with what its key may say: a retry judges it as it was judged when it came.

    Of the same call by two keys, that of the one which may grant is kept beside the other.
    """
    kept = as_text(as_kept(call.content, call.key, may_grant=call.may_grant))
    key = f"{call.message_id}\x1fconsent" if call.message_id and call.may_grant else call.message_id
    return Unread("segment", call.type, reason, kept, key)


def _rows(connection: Connection, told: Sequence[Call]) -> Iterator[tuple[Call | None, Kind, dict[str, Any]]]:
    for row in learning.rows_of(connection, told):
        yield None, "products", row
    carts: dict[int, list[dict[str, Any]]] = {}
    for call, row in baskets.rows_of(connection, told):
        carts.setdefault(id(call), []).append(row)
    for call in told:
        if call.type == "group":
            yield call, "customers", _member(call)
        else:
            for kind, row in segment_call(call.content):
                if kind != "carts":  # which baskets.rows_of knows better
                    yield call, kind, row
        for row in carts.get(id(call), ()):
            yield call, "carts", row


def _member(call: Call) -> dict[str, Any]:
    """Return a group call as what is known of the customer: the group's id and name."""
    traits = call.content.get("traits")
    name = traits.get("name") if isinstance(traits, dict) else None
    told = {"group_id": call.content.get("groupId"), "group_name": name}
    who = {"email": call.person} if "@" in call.person else {"external_id": call.person}
    return {
        **who,
        "updated_at": call.content["timestamp"],
        "properties": {k: v for k, v in told.items() if v is not None},
    }


def _rename(connection: Connection, alias: Call, aside: list[Unread]) -> None:
    """Let a new id name the customer whom an old id named; two who are both known stay two."""
    wanted = select(customer_ids.c.external_id, customer_ids.c.customer_id)
    rows = connection.execute(wanted.where(customer_ids.c.external_id.in_([alias.previous, alias.person])))
    known = {row.external_id: row.customer_id for row in rows}
    old, new = known.get(alias.previous), known.get(alias.person)
    if old is None or old == new:
        return  # a visitor's id, which is linked already
    if new is not None:
        aside.append(_unusable(alias, {}, "both ids are known customers already"))
        return
    insert_new(connection, customer_ids, [{"external_id": alias.person, "customer_id": old}])
    renamed = update(customers).where(customers.c.id == old, customers.c.external_id == alias.previous)
    connection.execute(renamed.values(external_id=alias.person))
