"""Runs the migrations on the connection that it is given.

`engine.store.migrate` gives a connection that already stands in a transaction under the migration lock. Alembic's own
command line (`make migration`) gives none: then the database of HOMING_DATABASE_URL is used, or an empty one in memory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection

from engine.store import tables, types
from engine.store.database import connect


def run(connection: Connection) -> None:
    """Run what was asked for in the transaction of this connection."""
    context.configure(
        connection=connection,
        target_metadata=tables.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        render_item=render_type,
        compare_type=True,
        compare_server_default=False,  # SQLite and PostgreSQL spell the same default differently
        transactional_ddl=True,
        process_revision_directives=number,
    )
    with context.begin_transaction():
        context.run_migrations()


def render_type(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our own column types by name, so that a migration reads the same for both databases."""
    if kind != "type":
        return False
    named = {types.Key: "types.Key", types.Document: "types.Document"}
    name = next((named[known] for known in named if known is item), None)
    if name is None and isinstance(item, (types.Instant, types.Money)):
        name = f"types.{type(item).__name__}()"
    if name is None:
        return False
    autogen.imports.add("from engine.store import types")
    return name


def number(_context: Any, _revision: Any, directives: list[Any]) -> None:
    """Number migrations 0001, 0002, … instead of naming them by chance."""
    versions = Path(__file__).parent / "versions"
    for directive in directives:
        directive.rev_id = f"{len(list(versions.glob('[0-9]*.py'))) + 1:04d}"


def main() -> None:
    """Use the connection that was handed over, else open the database of the environment."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    database = connect(os.environ.get("HOMING_DATABASE_URL", "sqlite://"))
    with database.write() as connection:
        run(connection)
    database.close()


main()
