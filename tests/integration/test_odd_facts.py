"""What is taken in can be carried through: no customer's odd data becomes poison for a flow."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sqlalchemy import func, select

from benchmarks.ticks import Nothing
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.fact import BadRow
from engine.facts.ingest import ingest_rows
from engine.journeys.round import Round
from engine.project import init_project
from engine.runtime.nightly import failures, run_nightly
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass
from engine.runtime.why import why
from engine.settings import Settings
from engine.store.database import Database
from engine.store.tables import customers, enrollments, messages, quarantine
from tests.contracts.conditions.worlds import DOCUMENTS, JSON, SCALARS, TEXTS

# Each trigger, condition, step and policy of the language.
SHOP = Path(__file__).parents[1] / "scenarios" / "shop"
URLS = st.just("https://kiyomi.test/a b?c=<d>&e") | TEXTS
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
LATER = tuple(timedelta(hours=hours) for hours in (0, 1, 5, 26, 24 * 8, 24 * 16, 24 * 40))
EVENTS = (
    "checkout_started", "order_delivered", "order_shipped", "survey_answered", "trip_booked", "call_wanted", "sunset_asked",
    "review_given", "product_viewed", "app_opened", "complaint_closed", "return_received", "wishlist_added", "nps_answered",
)  # fmt: skip
Rows = dict[str, Any]
NUMBERS = st.sampled_from(
    [0, 1, 3, 10, 0.1, -1, 1e11, 2**31, 2**53, 10**30, 1e308, 5e-324, "9", "10,5", None]
)
EDGES = [
    "2000-02-29",
    "1900-01-01",
    "0001-01-01",
    "9999-12-31",
    "2024-02-29T12:00:00+14:00",
    "03-02",
    "",
    None,
]


def _moments(now: datetime) -> SearchStrategy[str]:
    hours = st.sampled_from([0, 1, 12, 30, 24 * 40, 24 * 400, 24 * 7_000])
    return hours.map(lambda ago: (now - timedelta(hours=ago, microseconds=1)).isoformat())


def _dates(now: datetime) -> SearchStrategy[Any]:
    near = st.sampled_from([-1, 0, 1, 7, 14]).map(
        lambda days: (now + timedelta(days=days)).date().isoformat()
    )
    return near | st.sampled_from(EDGES)


def _event(n: int, now: datetime) -> SearchStrategy[Rows]:
    known = {
        "order_id": st.sampled_from([f"o{n}", None]), "cart_id": st.sampled_from([f"k{n}", None]),
        "sku": st.sampled_from(["T1", "T2", "missing"]), "rating": NUMBERS, "score": NUMBERS, "value": NUMBERS,
        "survey": st.just("nps"), "leaves_at": _dates(now) | SCALARS, "at_best": _dates(now) | SCALARS,
    }  # fmt: skip
    said = st.fixed_dictionaries(
        {"customer": st.just(f"c{n}"), "event": st.sampled_from(EVENTS), "at": _moments(now)}, optional=known
    )
    return st.builds(lambda fact, more: {**more, **fact}, said, DOCUMENTS)


def _facts(n: int, now: datetime) -> SearchStrategy[dict[str, list[Rows]]]:
    """Return what may be said about one customer, in each kind's own words, most of it odd."""
    customer = st.fixed_dictionaries(
        {"external_id": st.just(f"c{n}"), "email": st.just(f"c{n}@example.test"),
         "consent": st.just(["reminders", "offers"])},
        optional={
            "first_name": TEXTS, "birthday": _dates(now), "points_expire_at": _dates(now), "created_at": _moments(now),
            "timezone": st.sampled_from(["Asia/Tokyo", "Pacific/Apia", "America/New_York", "Mars/Base", ""]),
            "locale": st.sampled_from(["de", "zh_TW", "tlh", "x", ""]), "country": TEXTS, "tags": JSON, "a": JSON,
        },
    )  # fmt: skip
    line = st.fixed_dictionaries(
        {
            "sku": st.sampled_from(["T1", "T2", "missing"]),
            "quantity": st.sampled_from([1, 2, 0, -1, 10**6, 2**40]),
        },
        optional={"price": NUMBERS, "title": TEXTS, "a": JSON},
    )
    lines = st.lists(line, max_size=3)
    order = st.fixed_dictionaries(
        {
            "order_id": st.just(f"o{n}"),
            "customer": st.just(f"c{n}"),
            "placed_at": _moments(now),
            "lines": lines,
        },
        optional={
            "total": NUMBERS,
            "status": st.sampled_from(["placed", "cancelled", "refunded"]),
            "a": JSON,
        },
    )
    cart = st.fixed_dictionaries(
        {
            "cart_id": st.just(f"k{n}"),
            "customer": st.just(f"c{n}"),
            "updated_at": _moments(now),
            "lines": lines,
        },
        optional={"value": NUMBERS, "url": URLS},
    )
    product = st.fixed_dictionaries(
        {"sku": st.sampled_from(["T1", "T2"]), "title": TEXTS, "price": NUMBERS},
        optional={
            "stock": NUMBERS, "category": TEXTS, "days_of_supply": NUMBERS, "tags": JSON, "a": JSON, "url": URLS,
            "image_url": URLS, "brand": TEXTS, "variant": TEXTS, "compare_at_price": NUMBERS, "created_at": _moments(now),
        },
    )  # fmt: skip
    return st.fixed_dictionaries(
        {
            "customers": st.lists(customer, min_size=1, max_size=2), "products": st.lists(product, max_size=3),
            "orders": st.lists(order, min_size=1, max_size=2), "carts": st.lists(cart, min_size=1, max_size=2),
            "events": st.lists(_event(n, now), min_size=1, max_size=6),
        }
    )  # fmt: skip


@given(data=st.data())
@examples(
    max_examples=8,
    # Making four customers' facts smaller would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def _carries_odd_facts_through(
    database: Database, settings: Settings, numbers: count[int], data: st.DataObject
) -> None:
    engine = open_engine(settings, database, environ={}, chance=random.Random(1))
    worker = replace(engine.worker, wait_for_rate=lambda _count: None)
    engine = replace(engine, exits=replace(engine.exits, mailbox=Nothing()), worker=worker)
    with database.write() as connection:
        connection.execute(quarantine.delete())
    number = next(numbers)  # a clock that goes on: each example begins after the one before
    now = NOW + number * timedelta(days=45)
    told = [data.draw(_facts(4 * number + each, now)) for each in range(4)]
    refused: list[BadRow] = []
    for kind in ("customers", "products", "orders", "carts", "events"):
        rows = [row for each in told for row in each[kind]]
        ingest_rows(database, kind, rows, settings=settings, now=now, on_bad=refused.append)
    for later in LATER:
        run_pass(engine, now + later)
        if later > timedelta(days=9):
            run_nightly(engine, now + later)
    with database.read() as connection:
        assert failures(connection) == {}
        at = Round(now + LATER[-1], settings, frozenset(), {})
        ids = list(connection.scalars(select(customers.c.id)))
        assert json.dumps([why(connection, customer, None, at) for customer in ids[-4:]], default=str)
        told_of = select(quarantine.c.kind, quarantine.c.subject, quarantine.c.reason)
        aside = [tuple(row) for row in connection.execute(told_of)]
    assert aside == []


@pytest.mark.parametrize("starter", [False, True], ids=["the whole language", "the starter shop"])
def test_odd_facts_never_become_poison(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, starter: bool
) -> None:
    """Whatever was taken in, each step can be decided, carried out, written, made and told; no batch is done again."""
    if starter:
        init_project(tmp_path / "shop")
    settings = settings_module.load(tmp_path / "shop" if starter else SHOP, {})
    apply(database, settings, now=NOW - timedelta(days=30), who="test")
    _carries_odd_facts_through(database, settings, count())
    assert [record.message for record in caplog.records if "failed" in record.message] == []
    with database.read() as connection:
        assert (connection.scalar(select(func.count()).select_from(enrollments)) or 0) > 20
        assert (connection.scalar(select(func.count()).where(messages.c.state == "accepted")) or 0) > 10
