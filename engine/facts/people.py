"""Who a fact is about: ids and addresses become customers, in the order in which the facts arrive.

Comes in: the facts of one chunk. Goes out: a `Person` for each reference, customers rows written and merged. Promises:
one email is one customer (two ids that come to share an address are merged, the older row stays); an unknown id or
address makes a customer; a reference that was erased makes none. A handful of statements for each chunk, never one a
customer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, func, select, update

from engine.calendar import ONE_ZONE_COUNTRIES
from engine.facts.days import DAY_COLUMNS, columns_of, told_of
from engine.facts.fact import Fact
from engine.facts.fields import normal_email
from engine.facts.merging import merge_customers
from engine.facts.record import Record
from engine.store import meta
from engine.store.bulk import insert_rows, reserve, update_rows
from engine.store.dialect import among, insert_new, within
from engine.store.keeping import kept
from engine.store.prepared import Prepared
from engine.store.tables import customer_ids, customers, erased, suppressions
from engine.store.types import from_micros, to_micros

FIELDS = (
    "email", "first_name", "last_name", "locale", "timezone", "country", "birthday", "created_at", "tags", "points",
    "points_expire_at", "tier", "referral_code", "referral_url", "subscription_status",
)  # fmt: skip
PROFILE_EVENTS = frozenset({"points_earned", "points_redeemed", "tier_reached"})
_HASHES = 500
FACTS_LOCK = 0x686F6D696E67

_REFERENCE = (customers.c.id, customers.c.external_id, customers.c.email, customers.c.first_seen_at)


def _found(columns: Iterable[Any]) -> tuple[Prepared, Prepared]:
    """Return the statements that find customers by their ids and by their addresses."""
    joined = customers.join(customer_ids, customer_ids.c.customer_id == customers.c.id)
    by_id = select(*columns, customer_ids.c.external_id.label("named")).select_from(joined)
    return (
        Prepared(by_id.where(within(customer_ids.c.external_id, "ids"))),
        Prepared(select(*columns).where(within(customers.c.email, "emails"))),
    )


_WHOLE, _PLAIN = _found(customers.c), _found(_REFERENCE)
_NAMED = Prepared(select(*_REFERENCE).where(within(customers.c.id, "ids")))
_ANY_SUPPRESSED = Prepared(select(suppressions.c.id).limit(1))
_ANY_ERASED = Prepared(select(erased.c.hash).limit(1))


class Person:
    """A customer within one chunk; `id` is known once the chunk's people are written."""

    __slots__ = (
        "changed",
        "email",
        "external_id",
        "first_seen",
        "id",
        "ids",
        "merged_into",
        "record",
        "stored",
        "stored_email",
    )

    def __init__(
        self, person_id: int | None, external_id: str | None, email: str | None, first_seen: datetime
    ) -> None:
        self.id = person_id
        self.stored = person_id is not None
        self.external_id = external_id
        self.email = self.stored_email = email
        self.first_seen = first_seen
        self.record: Record | None = None
        self.ids: set[str] = set()  # external ids that this chunk links to the person
        self.changed = person_id is None
        self.merged_into: Person | None = None

    @property
    def stays(self) -> Person:
        """Return the person whom this one was merged into, or itself."""
        person = self
        while person.merged_into is not None:
            person = person.merged_into
        return person


class _Names:
    """Customers by their ids where what was read is kept: each row stands with the ids by which it was found."""

    def __init__(self, rows: dict[int, tuple[Any, set[str]]], places: dict[str, int]) -> None:
        self._rows = rows  # those of whom nothing was written since
        self._places = places  # id → whose row it was found with

    @classmethod
    def of(cls, connection: Connection) -> _Names | None:
        """Return what is known there, or None where nothing is kept."""
        memory = kept(connection)
        return None if memory is None else cls(memory.of("names"), memory.beside("names"))

    def among(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the rows of those of these ids that are known."""
        found = {}
        for name in names:
            row, own = self._rows.get(self._places.get(name, 0), (None, ()))
            if name in own:
                found[name] = row
        return found

    def keep(self, row: Any) -> None:
        """Keep a row with the id by which it was found."""
        self._places[row.named] = row.id
        self._rows.setdefault(row.id, (row, set()))[1].add(row.named)


class People:
    """The customers that the facts of one chunk name."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.by_id: dict[str, Person] = {}
        self.by_email: dict[str, Person] = {}
        self.known: dict[int, Person] = {}
        self.everyone: list[Person] = []
        self.merged: list[Person] = []
        self._erased = Erased(connection)

    def load(self, facts: Sequence[Fact]) -> None:
        """Read everyone whom the facts name: whole rows for facts about customers, else ids only."""
        ids: set[Any] = set()
        emails: set[Any] = set()
        told_ids: set[Any] = set()
        told_emails: set[Any] = set()
        for fact in facts:
            if fact.kind == "customers":
                told_ids.add(fact.fields.get("external_id"))
                told_emails.add(fact.fields.get("email"))
            elif fact.customer:
                whole = fact.kind == "events" and fact.fields["event"] in PROFILE_EVENTS
                (told_ids if whole else ids).add(fact.customer)
                if "@" in fact.customer:
                    (told_emails if whole else emails).add(normal_email(fact.customer))
        for names in (ids, emails, told_ids, told_emails):
            names.discard(None)
        self._load(told_ids, told_emails, whole=True)
        self._load(ids - self.by_id.keys(), emails - self.by_email.keys(), whole=False)
        self._erased.load(
            told_ids | told_emails | (ids - self.by_id.keys()) | (emails - self.by_email.keys())
        )

    def _load(self, ids: Iterable[str], emails: Iterable[str], *, whole: bool) -> None:
        by_id, by_email = _WHOLE if whole else _PLAIN
        names = None if whole else _Names.of(self.connection)
        if names is not None:
            for name in (known := names.among(ids)):
                self.by_id[name] = self._person(known[name], whole=False)
            ids = set(ids) - known.keys()
        ids, emails = sorted(ids), sorted(emails)
        for row in by_id.rows(self.connection, ids=ids) if ids else ():
            self.by_id[row.named] = self._person(row, whole=whole)
            if names is not None:
                names.keep(row)
        for row in by_email.rows(self.connection, emails=emails) if emails else ():
            self.by_email[row.email] = self._person(row, whole=whole)

    def _person(self, row: Any, *, whole: bool) -> Person:
        person = self.known.get(row.id)
        if person is None:
            person = Person(row.id, row.external_id, row.email, row.first_seen_at)
            self.known[row.id] = person
            self.everyone.append(person)
            if person.email:
                self.by_email.setdefault(person.email, person)
        if whole and person.record is None:
            values = {name: getattr(row, name) for name in FIELDS}
            values |= {name: told_of(name, row) for name in DAY_COLUMNS}
            updated = None if row.updated_at is None else to_micros(row.updated_at)
            person.record = Record.stored(values, row.properties, updated, row.told_at)
        return person

    def named(self, reference: str, received: datetime) -> Person | None:
        """Return the customer of an external id or an email, making one where it is unknown; None where erased."""
        person = self.by_id.get(reference)
        if person is not None:
            return person.stays
        address = normal_email(reference) if "@" in reference else None
        if address is not None and address in self.by_email:
            return self.by_email[address].stays
        if self._erased.has(reference):
            return None
        person = self._new(None if address else reference, address, received)
        if address is None:
            self._link(person, reference)
        else:
            self.by_email[address] = person
        return person

    def _new(self, external_id: str | None, address: str | None, received: datetime) -> Person:
        person = Person(None, external_id, address, received)
        person.record = Record()
        if address is not None:
            person.record.tell({"email": address}, {}, 0)
            person.record.updated = None
        self.everyone.append(person)
        return person

    def _link(self, person: Person, external_id: str) -> None:
        self.by_id[external_id] = person
        person.ids.add(external_id)
        if person.external_id is None:
            person.external_id = external_id
            person.changed = True

    def tell(self, fact: Fact, at: datetime, received: datetime) -> tuple[Person, bool, bool, bool] | None:
        """Take a fact about a customer; return the person, and whether it changed anything, is the first one, is old.

        None where the id or the address was erased.
        """
        external_id, address = fact.fields.get("external_id"), fact.fields.get("email")
        if any(name and self._erased.has(name) for name in (external_id, address)):
            return None
        own = to_micros(at)
        person = self._meet(external_id, address, own, received)
        if external_id and external_id not in self.by_id:
            self._link(person, external_id)
        record = person.record
        assert record is not None
        first, stale = record.updated is None, record.is_older(own)
        before = record.values.get("email")
        told = {name: value for name, value in fact.fields.items() if name in FIELDS}
        changed = record.tell(told, fact.properties, own)
        after = record.values.get("email")
        if before != after:
            if before is not None and self.by_email.get(before) is person:
                del self.by_email[before]
            if after is not None:
                self.by_email[after] = person
            person.email = after
        person.changed = True
        return person, changed, first, stale

    def note(self, person: Person, fields: Mapping[str, Any], at: datetime) -> None:
        """Take what an event tells about its customer (a balance, a tier)."""
        if person.record is not None:
            person.record.note(fields, to_micros(at))
            person.changed = True

    def _meet(self, external_id: str | None, address: str | None, own: int, received: datetime) -> Person:
        """Return the one customer of an id and an address told together, merging two that turn out to be one."""
        by_id = self.by_id.get(external_id) if external_id else None
        by_email = self.by_email.get(address) if address else None
        by_id, by_email = by_id and by_id.stays, by_email and by_email.stays
        if by_id is None and by_email is None:
            return self._new(external_id, None, received)
        if by_id is None or by_email is None or by_id is by_email:
            return by_id or by_email  # type: ignore[return-value]  # one of the two is somebody
        if by_id.record is not None and by_id.record.times.get("email", 0) > own:
            return by_id  # an old address of theirs, which is somebody else's by now
        return self._merge(by_id, by_email)

    def _merge(self, one: Person, other: Person) -> Person:
        stays, gone = sorted((one, other), key=self._age)
        assert stays.record is not None
        assert gone.record is not None
        stays.record.merge(gone.record)
        stays.external_id = stays.external_id or gone.external_id
        stays.first_seen = min(stays.first_seen, gone.first_seen)
        stays.ids |= gone.ids
        stays.changed = True
        gone.merged_into = stays
        self.merged.append(gone)
        kept = stays.record.values.get("email")
        for address in (one.email, other.email):
            if address is not None and address != kept:
                self.by_email.pop(address, None)
        stays.email = kept
        return stays

    def _age(self, person: Person) -> tuple[bool, int]:
        """Return what orders people by how long they are known."""
        return (person.id is None, self.everyone.index(person) if person.id is None else person.id)

    def settle(self, received: datetime) -> None:
        """Write the customers: merge rows, then insert and update; afterwards every person has an id."""
        staying = [person for person in self.everyone if person.merged_into is None]
        new = [person for person in staying if not person.stored]
        stored = [person for person in self.everyone if person.stored]
        lock_customers(self.connection, [person.id for person in stored if person.id is not None])
        for person, number in zip(new, next_ids(self.connection, customers, len(new)), strict=True):
            person.id = number
        self._write_merges(received)
        changed = [person for person in stored if person.changed and person.merged_into is None]
        moved = [person.id for person in changed if person.stored_email not in (None, person.email)]
        if moved:
            # Two customers may swap addresses within a chunk: none holds one while they change.
            freed = update(customers).where(
                among(self.connection, customers.c.id, [i for i in moved if i is not None])
            )
            self.connection.execute(freed.values(email=None))
        insert_rows(self.connection, customers, [{"id": person.id, **_columns(person)} for person in new])
        update_rows(self.connection, customers, [{**_columns(person), "id": person.id} for person in changed])
        links = [
            {"external_id": name, "customer_id": person.id}
            for person in staying
            for name in sorted(person.ids)
        ]
        insert_rows(self.connection, customer_ids, links)
        fresh = [person for person in staying if person.email != person.stored_email or not person.stored]
        carry_suppressions(
            self.connection, {p.email: p.id for p in fresh if p.email is not None and p.id is not None}
        )

    def _write_merges(self, received: datetime) -> None:
        pairs = [(gone.id, gone.stays.id) for gone in self.merged if gone.id is not None]
        if pairs:
            merge_customers(
                self.connection, [(gone, stays) for gone, stays in pairs if stays is not None], received
            )


def _columns(person: Person) -> dict[str, Any]:
    """Return the columns of a customer's row that facts about customers decide."""
    record = person.record
    assert record is not None
    values = record.values
    row: dict[str, Any] = {name: values.get(name) for name in FIELDS}
    for name in DAY_COLUMNS:
        row |= columns_of(name, values.get(name))
    row["external_id"] = person.external_id
    row["zone"] = values.get("timezone") or ONE_ZONE_COUNTRIES.get(values.get("country") or "")
    row["properties"] = record.properties()
    row["updated_at"] = None if record.updated is None else from_micros(record.updated)
    row["told_at"] = record.told()
    row["first_seen_at"] = person.first_seen
    return row


def next_ids(connection: Connection, table: Table, count: int) -> Sequence[int]:
    """Return that many unused ids of a table, ascending; the caller holds the lock of `lock_facts`."""
    if not count:
        return ()
    if connection.dialect.name == "postgresql":
        sequence = func.nextval(func.pg_get_serial_sequence(table.name, "id"))
        return sorted(connection.scalars(select(sequence).select_from(func.generate_series(1, count))))
    return reserve(connection, table, count)


def lock_facts(connection: Connection) -> None:
    """Let one transaction at a time project facts: PostgreSQL's counterpart of SQLite's single writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(FACTS_LOCK)))


def lock_customers(connection: Connection, ids: Sequence[int]) -> None:
    """Take the customers' locks, in the order of their ids so that nobody waits in a circle."""
    if ids and connection.dialect.name == "postgresql":
        wanted = select(customers.c.id).where(among(connection, customers.c.id, sorted(ids)))
        connection.execute(wanted.order_by(customers.c.id).with_for_update())


def customer_names(connection: Connection, ids: Iterable[int]) -> dict[int, str]:
    """Return what documents call the customers of those ids: the external id, else the address."""
    listed = sorted(ids)
    if not listed:
        return {}
    return {row.id: row.external_id or row.email or "" for row in _NAMED.rows(connection, ids=listed)}


def carry_suppressions(connection: Connection, addresses: Mapping[str, int]) -> None:
    """Let a suppressed address stay suppressed whoever holds it now."""
    if not addresses or _ANY_SUPPRESSED.first(connection) is None:
        return
    key = meta.secret(connection)
    holders = {meta.keyed_hash(key, address): customer for address, customer in addresses.items()}
    hashes = list(holders)
    table = suppressions
    for start in range(0, len(hashes), _HASHES):
        wanted = select(table.c.address_hash, table.c.scope, table.c.reason, table.c.at)
        rows = connection.execute(
            wanted.where(table.c.address_hash.in_(hashes[start : start + _HASHES])).distinct()
        ).mappings()
        insert_new(connection, table, [{**row, "customer_id": holders[row["address_hash"]]} for row in rows])


class Erased:
    """Which references belong to somebody who was erased; asks the database once for each chunk."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._names: frozenset[str] = frozenset()

    def load(self, names: Iterable[str]) -> None:
        """Find out which of the names were erased."""
        listed = list(names)
        if not listed or _ANY_ERASED.first(self.connection) is None:
            return
        key = meta.secret(self.connection)
        hashes = {meta.keyed_hash(key, name): name for name in listed}
        found: set[str] = set()
        for start in range(0, len(listed), _HASHES):
            wanted = erased.c.hash.in_(list(hashes)[start : start + _HASHES])
            found.update(
                hashes[hashed] for hashed in self.connection.scalars(select(erased.c.hash).where(wanted))
            )
        self._names = frozenset(name.strip().lower() for name in found)

    def has(self, name: str) -> bool:
        """Return whether that id or address was erased."""
        return bool(self._names) and name.strip().lower() in self._names
