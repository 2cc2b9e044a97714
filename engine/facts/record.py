"""A record folds facts about one thing, in whatever order they arrive, into what is known of it now.

Each field keeps its newest telling by the fact's own time (microseconds since 1970); of two with the same time the
one received later wins. A field told to be nothing is remembered as such, so that an older value does not return.
Properties are fields named `properties.KEY`. Times are stored only where they differ from the record's newest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PROPERTY = "properties."
_NEVER = 0  # every fact is younger


class Record:
    """What is known of one customer, product, order or cart: values, and when each was told.

    `moved` says that something must be stored: a value, or only that it was told again later.
    """

    __slots__ = ("moved", "times", "updated", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.times: dict[str, int] = {}
        self.updated: int | None = None
        self.moved = False

    @classmethod
    def stored(
        cls,
        values: Mapping[str, Any],
        properties: Mapping[str, Any] | None,
        updated: int | None,
        told: Mapping[str, int | None] | None,
    ) -> Record:
        """Return the record of a stored row; `told` holds the times that differ from `updated`, None for a value derived."""
        record = cls()
        record.updated = updated
        told = told or {}
        for name, value in _flat(values, properties):
            time = told.get(name, updated) if value is not None else told.get(name)
            if time is None and name in told:
                continue  # derived, not told
            if value is not None or time is not None:
                record.values[name] = value
                record.times[name] = _NEVER if time is None else time
        for name in told.keys() - record.times.keys():
            if (time := told[name]) is not None:  # told to be nothing: a row has no place for that
                record.values[name], record.times[name] = None, time
        return record

    def tell(self, fields: Mapping[str, Any], properties: Mapping[str, Any], at: int) -> bool:
        """Take what a fact of that own time tells; return whether anything known changed."""
        changed = self.note(fields, at, properties)
        if self.updated is None or at > self.updated:
            self.updated = at
            self.moved = True
        return changed

    def note(self, fields: Mapping[str, Any], at: int, properties: Mapping[str, Any] | None = None) -> bool:
        """Take fields as `tell` does, but leave alone when the record as a whole was told."""
        changed = False
        values, times = self.values, self.times
        for name, value in _flat(fields, properties):
            if at >= times.get(name, _NEVER):
                self.moved = self.moved or times.get(name) != at
                times[name] = at
                if name not in values or values[name] != value:
                    changed = changed or value is not None or values.get(name) is not None
                    values[name] = value
        self.moved = self.moved or changed
        return changed

    def is_older(self, at: int) -> bool:
        """Return whether a fact of that own time is older than what is known."""
        return self.updated is not None and at < self.updated

    def merge(self, other: Record) -> None:
        """Take over what another record of the same thing was told later."""
        for name, time in other.times.items():
            if name not in self.times or time > self.times[name]:
                self.times[name], self.values[name] = time, other.values[name]
        if other.updated is not None and (self.updated is None or other.updated > self.updated):
            self.updated = other.updated

    def properties(self) -> dict[str, Any] | None:
        """Return the properties that are not nothing, or None."""
        found = {
            name[len(PROPERTY) :]: value
            for name, value in self.values.items()
            if value is not None and name.startswith(PROPERTY)
        }
        return found or None

    def told(self, derived: Iterable[str] = ()) -> dict[str, int | None] | None:
        """Return what `stored` needs beside the values: times that differ, None for the fields in `derived`."""
        updated = self.updated
        odd: dict[str, int | None] = {
            name: time
            for name, time in self.times.items()
            if time != updated or self.values[name] is None or self.values[name] == ()
        }
        odd |= dict.fromkeys(derived)
        return odd or None


def _flat(fields: Mapping[str, Any], properties: Mapping[str, Any] | None) -> Iterable[tuple[str, Any]]:
    if not properties:
        return fields.items()
    return [*fields.items(), *((PROPERTY + name, value) for name, value in properties.items())]
