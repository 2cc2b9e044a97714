"""Lines of carts and of orders: read for many owners at once, and written anew where they changed.

Comes in: the table of lines and the column of its owner. Goes out: lines by owner, in their order. For the caller's write
transaction; one statement to read, two to write, whatever their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy import Connection, Table, delete, select

from engine.facts.fact import Line
from engine.store.bulk import insert_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared


class LineTable:
    """One table of lines, whose owners `owner` names."""

    def __init__(self, table: Table, owner: str) -> None:
        self._table, self._owner = table, owner
        column = table.c[owner]
        found = select(column.label("owner"), table.c.sku, table.c.quantity, table.c.price)
        self._read = Prepared(found.where(within(column, "ids")).order_by(column, table.c.line_no))
        self._delete = Prepared(delete(table).where(within(column, "ids")))

    def read(self, connection: Connection, owners: Sequence[str]) -> Mapping[str, Sequence[Line]]:
        """Return the lines of each owner; whoever has none has an empty list."""
        lines: defaultdict[str, list[Line]] = defaultdict(list)
        for row in self._read.rows(connection, ids=owners):
            lines[row.owner].append(Line(row.sku, Decimal(str(row.quantity)), row.price))
        return lines

    def write(
        self, connection: Connection, stale: Sequence[str], fresh: Sequence[tuple[str, Sequence[Line]]]
    ) -> None:
        """Take away the lines of owners that had some, and write those that are told now."""
        if stale:
            self._delete.run(connection, ids=stale)
        rows = [
            {
                self._owner: owner, "line_no": number, "sku": line.sku, "quantity": float(line.quantity), "price": line.price,
            }
            for owner, lines in fresh
            for number, line in enumerate(lines, 1)
        ]  # fmt: skip
        insert_rows(connection, self._table, rows)
