"""What a pass asks the database: no statement reads a whole table that grows with the customers, nor one row each.

A small shop with a history stands in for a large one. Every statement of its passes is explained as it was sent. SQLite
says which tables it scans; PostgreSQL is made to believe that what grows is huge, and plans for that. The nightly comparison of segments looks at everybody, and is not part of a pass.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from benchmarks import shop
from benchmarks.facts import a_day_of_facts
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.project import init_project
from engine.runtime.opening import open_engine
from engine.runtime.passes import Engine, run_pass
from engine.runtime.setting_up import PART
from engine.store.bulk import insert_rows
from engine.store.database import Database
from engine.store.tables import customer_scores, metadata, suppressions

CUSTOMERS = 1_500
# Queues, definitions and the catalogue: they grow with what is unread or with what the shop writes, not with customers.
BOUNDED = frozenset(
    [
        "fact_inbox",
        "staged_facts",
        "arrivals",
        "flows",
        "flow_versions",
        "sources",
        "meta",
        "marks",
        "leases",
        "quarantine",
        "products",
        "product_ranks",
        "product_affinities",
        "product_changes",
        "product_prices",
        "applies",
    ]
)
# Partial indexes over what is still open: they are as long as the work that waits.
OPEN_WORK = frozenset({"ix_enrollments_due", "ix_messages_open"})
# What SQLite finds by these alone is a share of everybody; of a flow's timers only the first is read.
BY_KIND = frozenset({"(flow=?)", "(name=?)", "(state=?)"})
Statement = tuple[str, Any]


@pytest.fixture
def engine(database: Database, tmp_path: Path) -> Engine:
    """Give an engine with the starter flows applied to a shop with a history."""
    init_project(tmp_path / "shop")
    settings = settings_module.load(tmp_path / "shop")
    shop.build(database, CUSTOMERS)
    with database.write() as connection:
        rows = [
            {"address_hash": bytes([n]), "customer_id": n, "scope": "all", "reason": "told", "at": shop.NOW}
            for n in range(1, 200)
        ]
        insert_rows(connection, suppressions, rows)
        insert_rows(
            connection,
            customer_scores,
            [{"customer_id": number, "at": shop.NOW} for number in range(1, CUSTOMERS)],
        )
    apply(database, settings, now=shop.NOW, who="test")
    return open_engine(settings, database)


@contextmanager
def listening(database: Database) -> Iterator[list[Statement]]:
    """Give the list of the statements sent inside the block."""
    sent: list[Statement] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if statement.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            sent.append((statement, parameters[0] if many else parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)


def passes(engine: Engine, facts: int, rounds: int = 1) -> tuple[list[Statement], int]:
    """Let facts come in and everything happen that follows within days; return what was asked, and how many mails went."""
    with listening(engine.database) as sent:
        mails = 0
        for number in range(rounds):
            now = shop.NOW + timedelta(minutes=number)
            known = len(sent)
            a_day_of_facts(engine.database, engine.settings, now, facts, CUSTOMERS, name=f"r{facts}.{number}")
            del sent[known:]  # ingest reads what it changes; it is no part of a pass
            mails += run_pass(engine, now).outcomes.get("accepted", 0)
        for hours in (1, 5, 30, 24 * 8):
            mails += run_pass(engine, shop.NOW + timedelta(hours=hours)).outcomes.get("accepted", 0)
    return sent, mails


def whole_reads(database: Database, statements: Sequence[Statement], *, shared: bool = False) -> list[str]:
    """Return the statements that read the whole of a table that grows, with the line of the plan that says so.

    With `shared` PostgreSQL plans for values that it does not know, as it does for what is asked again and again.
    """
    found: dict[str, str] = {}
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            _enlarge(connection)
            if shared:
                connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
        explain = _sqlite_scans if database.is_sqlite else _prepared_scans if shared else _postgres_scans
        for statement, parameters in dict(statements).items():
            for line in explain(connection, statement, parameters):
                found[statement] = line
        connection.rollback()
    return [f"{line}: {statement[:400]}" for statement, line in found.items()]


def _enlarge(connection: Connection) -> None:
    """Tell PostgreSQL's planner, until the transaction is rolled back, that growing tables have many more rows."""
    connection.exec_driver_sql("ANALYZE")
    names = [name for name in metadata.tables if name not in BOUNDED]
    connection.execute(
        text(
            "UPDATE pg_class SET reltuples = greatest(reltuples, 1) * 100000 WHERE oid = ANY (SELECT c.oid FROM pg_class c "
            "LEFT JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid) "
            "WHERE t.relname = ANY (:names))"
        ),
        {"names": names},
    )


def _sqlite_scans(connection: Connection, statement: str, parameters: Any) -> Iterator[str]:
    for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
        words = row[3].split()
        if (
            (words[0] == "SCAN" or (words[-1] in BY_KIND and words[1] != "timers"))
            and words[1] not in BOUNDED
            and _is_table(words[1])
            and not OPEN_WORK & set(words)
        ):
            yield str(row[3])


def _is_table(name: str) -> bool:
    """Return whether a plan's name is one of our tables, or an alias of one (`events_3`)."""
    return any(
        name == table or name.startswith(f"{table}_") for table in metadata.tables if table not in BOUNDED
    )


def _postgres_scans(connection: Connection, statement: str, parameters: Any) -> Iterator[str]:
    yield from _whole(_plan(connection, f"EXPLAIN (FORMAT JSON) {statement}", parameters), limited=False)


def _prepared_scans(connection: Connection, statement: str, _parameters: Any) -> Iterator[str]:
    """Yield the scans of the plan that a prepared statement may come to share between all its values."""
    names: dict[str, int] = {}
    numbers = itertools.count(1)

    def numbered(found: re.Match[str]) -> str:
        name = found[1]
        return f"${next(numbers) if name is None else names.setdefault(name, len(names) + 1)}"

    text = re.sub(r"%(?:\((\w+)\))?s", numbered, statement).replace("%%", "%")
    connection.exec_driver_sql(f"PREPARE asked AS {text}")
    count = len(re.findall(r"%s", statement)) or len(names)
    given = f"({', '.join(['NULL'] * count)})" if count else ""
    plan = _plan(connection, f"EXPLAIN (FORMAT JSON) EXECUTE asked{given}", ())
    connection.exec_driver_sql("DEALLOCATE asked")
    yield from _whole(plan, limited=False)


def _plan(connection: Connection, explained: str, parameters: Any) -> Any:
    told: Any = connection.exec_driver_sql(explained, parameters).scalar_one()
    return (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]


def _whole(node: Mapping[str, Any], *, limited: bool) -> Iterator[str]:
    table, index = node.get("Relation Name"), node.get("Index Name")
    grows = table is not None and table not in BOUNDED and index not in OPEN_WORK
    through_index = "Index Cond" in node or node["Node Type"] in ("Bitmap Heap Scan", "ModifyTable")
    if grows and not through_index and not (limited and index is not None):
        yield f"{node['Node Type']} on {table} {index or ''}"
    for child in node.get("Plans", ()):
        yield from _whole(child, limited=limited or node["Node Type"] == "Limit")


def test_no_statement_of_a_pass_reads_a_growing_table(engine: Engine) -> None:
    """Entering, leaving, waking, advancing, the gate and the hand-over read what is new or due, by an index."""
    statements, mails = passes(engine, facts=40, rounds=2)
    assert mails > 10
    assert len(dict(statements)) > 40
    assert "\n".join(whole_reads(engine.database, statements)) == ""
    assert "\n".join(whole_reads(engine.database, statements, shared=True)) == ""


def test_a_pass_sends_as_many_statements_for_many_facts_as_for_few(engine: Engine) -> None:
    """Without dispatch, whose groups are bounded, ten times as many facts take the same statements, each once."""

    def asked(facts: int, now: datetime) -> list[str]:
        a_day_of_facts(engine.database, engine.settings, now, facts, CUSTOMERS, name=f"f{facts}")
        with listening(engine.database) as sent:
            report = run_pass(engine, now, sending=False)
        assert report.entered > facts / 4
        return sorted(statement for statement, _ in sent)

    asked(20, shop.NOW)
    few = asked(20 + 1, shop.NOW + timedelta(minutes=1))
    many = asked(200, shop.NOW + timedelta(minutes=2))
    assert len(many) <= len(few) + 2


def test_setting_a_part_of_the_timers_again_reads_that_part(engine: Engine) -> None:
    """What an apply takes away is found by its customers, not by the flow: else a shop of twice the size takes four times as long."""
    flow = engine.settings.root / "flows" / "birthday.yaml"
    flow.write_text(flow.read_text().replace("offset: -7d", "offset: -8d"))
    with listening(engine.database) as sent:
        apply(engine.database, engine.settings, now=shop.NOW, who="test")
    removing = [
        (statement, values) for statement, values in sent if statement.startswith("DELETE FROM timers")
    ]
    assert len(removing) >= CUSTOMERS // PART
    with engine.database.engine.connect() as connection:
        if engine.database.is_sqlite:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {removing[0][0]}", removing[0][1])
            ways = [row[3] for row in plan]
        else:
            _enlarge(connection)
            ways = list(
                _conditions(_plan(connection, f"EXPLAIN (FORMAT JSON) {removing[0][0]}", removing[0][1]))
            )
    assert ways
    assert all("customer_id" in way for way in ways), ways


def _conditions(node: Mapping[str, Any]) -> Iterator[str]:
    if "Index Cond" in node:
        yield str(node["Index Cond"])
    for child in node.get("Plans", ()):
        yield from _conditions(child)
