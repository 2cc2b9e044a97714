"""`homing validate --database`: what flows ask for and the data never told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.facts.ingest import ingest_rows
from engine.flows.load import load_project
from engine.runtime.unseen import unseen
from engine.settings import load
from engine.store.database import Database

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
FLOW = """\
flow: one
topic: reminders
trigger: {event: order_placed}
enter_if:
  - customer: {properties.shoesize: {gte: 44}}
  - customer: {tier: gold, properties.asked: {exists: false}}
  - {did: parcel_deliverd, within: 30d}
steps:
  - send: a
"""
MAIL = """\
---
subject: "Hello"
recommend:
  picks: {from: [bestsellers], count: 4, at_least: 2, otherwise: skip}
---
<mjml></mjml>
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Give a project with one flow and one mail."""
    files = {"homing.toml": "[shop]\n", "flows/one.yaml": FLOW, "templates/a.mjml": MAIL}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def told(database: Database, root: Path) -> list[tuple[str, str, str]]:
    """Return code, place and help of what the database never saw."""
    project = load_project(root, load(root, {}))
    assert not [str(finding) for finding in project.findings]
    with database.read() as connection:
        return [(each.code, str(each.span), each.help) for each in unseen(connection, project, NOW)]


def test_properties_are_not_alike_for_standing_among_properties(database: Database, shop: Path) -> None:
    """The `properties.` before both names counts for nothing."""
    row = {"external_id": "c1", "email": "a@b.test", "properties": {"favourite": "tea"}}
    ingest_rows(database, "customers", [row], settings=load(shop, {}), now=NOW)
    hints = [way_out for code, _, way_out in told(database, shop) if code == "C212"]
    assert hints
    assert not any("favourite" in hint for hint in hints)


def test_what_was_never_told_is_told(database: Database, shop: Path) -> None:
    """Fields without a value, events that resemble others, and blocks that nothing can fill; once told, no more."""
    settings = load(shop, {})

    def tell(kind: str, **row: object) -> None:
        ingest_rows(database, kind, [row], settings=settings, now=NOW)  # type: ignore[arg-type]

    assert told(database, shop) == []  # an empty database says nothing
    tell("customers", external_id="c1", email="a@b.test", properties={"shoe_size": 45}, tier="silver")
    tell("events", customer="c1", event="order_placed", order_id="o1", at=NOW.isoformat())
    tell("events", customer="c1", event="parcel_delivered", at=NOW.isoformat())
    assert told(database, shop) == [
        ("C212", "flows/one.yaml:5:16", 'did you mean "properties.shoe_size"?'),
        ("C213", "flows/one.yaml:7:11", 'did you mean "parcel_delivered"?'),
        (
            "T412",
            "templates/a.mjml:4:1",
            "tell image_url and price of the products, or write `otherwise: omit`",
        ),
    ]
    tell("customers", external_id="c1", email="a@b.test", properties={"shoesize": 45})
    tell("events", customer="c1", event="parcel_deliverd", at=NOW.isoformat())
    tell("products", sku="T1", title="Tea", price=3, currency="EUR", image_url="https://shop.test/t.png")
    assert told(database, shop) == []


ASKS = """\
flow: one
topic: reminders
trigger: {event: order_placed, where: {delivery: express, total: {gte: 5}}}
enter_if:
  - {trigger: {mood: good, order_number: 1, coupon: {exists: false}}}
  - {did: order_cancelled, where: {why: late}}
  - {did: order_placed, same: sku}
  - {did: order_placed, same: basket}
  - {did: order_placed, where: {valu: {gte: 5}}}
steps:
  - {wait: {until: {did: survey_answered, where: {survey: nps}, same: order_id}, up_to: 7d, as: nps}}
  - {send: a, only_if: [{answer: {choice: a, nps.mood: good}}]}
"""


def test_fields_that_no_fact_has_are_told(database: Database, shop: Path) -> None:
    """Where facts of an event were told and none has the field; not where it is asked to be missing, or none came."""
    settings = load(shop, {})
    (shop / "flows/one.yaml").write_text(ASKS, encoding="utf-8")

    def tell(kind: str, **row: object) -> None:
        ingest_rows(database, kind, [row], settings=settings, now=NOW)  # type: ignore[arg-type]

    tell("customers", external_id="c1", email="a@b.test")
    tell("products", sku="T1", title="Tea", price=3, currency="EUR", image_url="https://shop.test/t.png")
    assert told(database, shop) == []
    tell("orders", order_id="o1", customer="c1", placed_at=NOW.isoformat(), delivery_type="post",
         lines=[{"sku": "T1", "quantity": 1, "price": 3}])  # fmt: skip
    tell("events", customer="c1", event="survey_answered", survey="nps", choice="b", at=NOW.isoformat())
    other = "tell the field with these facts, or ask for another one"
    assert told(database, shop) == [
        ("C216", "flows/one.yaml:3:40", 'did you mean "delivery_type"?'),
        ("C216", "flows/one.yaml:5:16", other),
        ("C216", "flows/one.yaml:8:31", other),
        ("C216", "flows/one.yaml:11:71", other),
        ("C216", "flows/one.yaml:12:46", other),
    ]
    tell("orders", order_id="o2", customer="c1", placed_at=NOW.isoformat(), delivery="post", mood="good", basket="b",
         lines=[])  # fmt: skip
    tell("events", customer="c1", event="survey_answered", order_id="o2", mood="", at=NOW.isoformat())
    assert told(database, shop) == [("C216", "flows/one.yaml:12:46", other)]


def test_names_of_homing_are_not_taken_for_one_another(database: Database, shop: Path) -> None:
    """An event that did not happen yet is none that was misspelt; unless the shop's own event is called alike."""
    settings = load(shop, {})
    flow = FLOW.replace("parcel_deliverd", "return_requested").replace("properties.shoesize", "email")
    flow = flow.replace("{gte: 44}", "x").replace("tier: gold, ", "")
    (shop / "flows/one.yaml").write_text(flow, encoding="utf-8")

    def tell(kind: str, **row: object) -> None:
        ingest_rows(database, kind, [row], settings=settings, now=NOW)  # type: ignore[arg-type]

    tell("products", sku="T1", title="Tea", price=3, currency="EUR", image_url="https://shop.test/t.png")
    tell("orders", order_id="o1", customer="c1", placed_at=NOW.isoformat(), status="refunded", lines=[])
    tell("customers", external_id="c1", email="a@b.test")
    assert told(database, shop) == []
    tell("events", customer="c1", event="return_request", at=NOW.isoformat())
    assert told(database, shop) == [("C213", "flows/one.yaml:7:11", 'did you mean "return_request"?')]


def test_counting_by_what_was_never_told_is_told(database: Database, shop: Path) -> None:
    """`re_entry: {per: cart}` is told where the facts of the shop's own event carry no cart_id, and no more once one does."""
    (shop / "templates" / "a.mjml").write_text("---\nsubject: Hello\n---\n<mjml></mjml>\n", encoding="utf-8")
    flow = "flow: one\ntopic: reminders\ntrigger: {event: quiz_done}\nre_entry: {per: cart, after: 7d}\nsteps: [{send: a}]\n"
    (shop / "flows" / "one.yaml").write_text(flow, encoding="utf-8")
    settings = load(shop, {})

    def tell(kind: str, **row: object) -> None:
        ingest_rows(database, kind, [row], settings=settings, now=NOW)  # type: ignore[arg-type]

    tell("customers", external_id="c1", email="a@b.test")
    tell("events", customer="c1", event="other", at=NOW.isoformat())
    assert [code for code, *_ in told(database, shop)] == ["C213"]  # nobody knows what it will tell
    tell("events", customer="c1", event="quiz_done", at=NOW.isoformat())
    way_out = "let the shop tell cart_id with it, or leave `per` out"
    assert told(database, shop) == [("F231", "flows/one.yaml:4:11", way_out)]
    tell("events", customer="c1", event="quiz_done", cart_id="k1", at=NOW.isoformat())
    assert told(database, shop) == []
