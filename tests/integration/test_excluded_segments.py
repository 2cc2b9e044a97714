"""Segments that the policy excludes: whatever the flow asks for itself, and whoever was inside before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select, update

from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.deploy.plan import plan as make_plan
from engine.deploy.simulate import quiet_engine
from engine.facts.fact import Kind
from engine.facts.ingest import ingest_rows
from engine.journeys.round import Round
from engine.runtime.doctor import examine
from engine.runtime.status import status
from engine.runtime.story import sentences
from engine.runtime.ticking import drive
from engine.runtime.why import why
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import customers, enrollments, messages, quarantine
from tests.integration.small_shop import SETTINGS, TEMPLATE

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
FLOW = """flow: {name}
topic: reminders
trigger: {{event: sign_up}}
{more}
steps: [{{send: note}}, {{wait: 3d}}, {{send: note, id: again}}]
"""
SEGMENTS = """staff: [{customer: {tags: {contains: staff}}}]
german: [{customer: {country: DE}}]
"""


def project(root: Path, *, exclude: str = "[]") -> Settings:
    """Write two flows, one of which asks for a segment of its own."""
    for folder in ("flows", "templates"):
        (root / folder).mkdir(exist_ok=True)
    policy = f"[policy]\nquiet_hours = ''\ncaps = []\nexclude = {exclude}\n"
    (root / "homing.toml").write_text(SETTINGS + policy, encoding="utf-8")
    (root / "templates" / "note.mjml").write_text(TEMPLATE, encoding="utf-8")
    (root / "flows" / "segments.yaml").write_text(SEGMENTS, encoding="utf-8")
    for name, more in (("plain", ""), ("asking", "enter_if: [{segment: german}]")):
        text = FLOW.format(name=name, more=more)
        (root / "flows" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return settings_module.load(root)


def told(database: Database, settings: Settings, kind: Kind, rows: list[dict[str, object]]) -> None:
    """Tell facts at the virtual start."""
    ingest_rows(database, kind, rows, settings=settings, now=NOW, virtual=True)


def people(database: Database, settings: Settings) -> None:
    """Ann is a customer, Bob is staff; both sign up."""
    with database.write() as connection:
        meta.set_virtual_now(connection, NOW)
    told(database, settings, "customers", [
        {"external_id": "ann", "email": "ann@example.test", "country": "DE", "consent": "all", "tags": []},
        {"external_id": "bob", "email": "bob@example.test", "country": "DE", "consent": "all", "tags": ["staff"]},
    ])  # fmt: skip


def sign_ups(database: Database, settings: Settings) -> None:
    """Both sign up."""
    rows: list[dict[str, object]] = [
        {"id": f"s-{name}", "event": "sign_up", "customer": name, "at": NOW.isoformat()}
        for name in ("ann", "bob")
    ]
    told(database, settings, "events", rows)


def mailed(database: Database) -> list[tuple[str, str, str]]:
    """Return who was mailed what."""
    query = select(customers.c.external_id, messages.c.flow, messages.c.step).join_from(
        messages, customers, customers.c.id == messages.c.customer_id
    )
    with database.read() as connection:
        return sorted(
            (row[0], row[1], row[2])
            for row in connection.execute(query.where(messages.c.state == "accepted"))
        )


def test_an_excluded_segment_holds_beside_a_flows_own(tmp_path: Path, database: Database) -> None:
    """A flow that asks for a segment itself keeps out who is excluded, and mails the others."""
    settings = project(tmp_path, exclude="['staff']")
    people(database, settings)
    apply(database, settings, now=NOW, who="ann")
    sign_ups(database, settings)
    drive(quiet_engine(settings, database), NOW, NOW + timedelta(days=4), nights=False)
    expected = [("ann", flow, step) for flow in ("asking", "plain") for step in ("again", "note")]
    assert mailed(database) == expected


def test_an_exclusion_reaches_those_inside(tmp_path: Path, database: Database) -> None:
    """Who entered before the policy named a segment finishes the flow, but gets no mail where excluded."""
    settings = project(tmp_path)
    people(database, settings)
    apply(database, settings, now=NOW, who="ann")
    sign_ups(database, settings)
    drive(quiet_engine(settings, database), NOW, NOW + timedelta(days=1), nights=False)
    settings = project(tmp_path, exclude="['staff']")
    apply(database, settings, now=NOW + timedelta(days=1), who="ann")
    drive(quiet_engine(settings, database), NOW + timedelta(days=1), NOW + timedelta(days=4), nights=False)
    both = [(who, flow, "note") for who in ("ann", "bob") for flow in ("asking", "plain")]
    assert mailed(database) == sorted([*both, ("ann", "asking", "again"), ("ann", "plain", "again")])
    with database.read() as connection:
        assert set(connection.scalars(select(enrollments.c.state))) == {"completed"}


def only_flow(root: Path, name: str, *, exclude: str = "[]") -> Settings:
    """Write one flow that asks for no segment, of a name that no other test applies."""
    settings = project(root, exclude=exclude)
    for other in ("plain", "asking"):
        (root / "flows" / f"{other}.yaml").unlink()
    text = FLOW.format(name=name, more="")
    (root / "flows" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return settings


def test_an_exclusion_that_is_not_applied_holds_marketing_back(tmp_path: Path, database: Database) -> None:
    """Until a newly excluded segment is applied nobody enters or is mailed, everybody is told why, and nothing is lost."""
    settings = only_flow(tmp_path, "alone")
    people(database, settings)
    segments = tmp_path / "flows" / "segments.yaml"
    segments.write_text(SEGMENTS.replace("staff", "other"), encoding="utf-8")
    apply(database, settings, now=NOW, who="ann")
    settings = only_flow(tmp_path, "alone", exclude="['staff']")
    sign_ups(database, settings)
    drive(quiet_engine(settings, database), NOW, NOW + timedelta(hours=1), nights=False)
    assert mailed(database) == []
    sentence = "[policy] exclude names staff, which is not applied; run `homing apply`"
    with database.read() as connection:
        found = status(connection, NOW, sandbox=True, settings=settings)
        story = why(connection, 1, "alone", Round(NOW, settings))
        assert list(connection.scalars(select(quarantine.c.id))) == []
    assert [(flow["held"], flow["frozen"], flow["paused"]) for flow in found["flows"]] == [
        (sentence, None, False)
    ]
    assert f"  waits: {sentence}" in list(sentences(story[0], "UTC"))
    codes = [each.code for each in examine(settings, NOW, {}, database).findings]
    assert "D507" in codes
    apply(database, settings, now=NOW + timedelta(hours=1), who="ann")
    drive(quiet_engine(settings, database), NOW + timedelta(hours=1), NOW + timedelta(days=4), nights=False)
    assert mailed(database) == [("ann", "alone", "again"), ("ann", "alone", "note")]


def test_the_doctor_tells_who_is_on_another_clock(tmp_path: Path, database: Database) -> None:
    """Customers whose zone nobody knows, or whose zone was never told, are counted by zone."""
    settings = project(tmp_path)
    people(database, settings)
    zones = {"cat": {"timezone": "Asia/Tokyo"}, "dan": {"timezone": "Mars/Olympus"}, "eve": {"country": "US"}}
    rows = [{"external_id": name, **told} for name, told in zones.items()]
    report = ingest_rows(database, "customers", rows, settings=settings, now=NOW, virtual=True)
    assert "names a time zone that is not known" in " ".join(report.warnings)
    with database.write() as connection:  # as another machine's newer list of zones would have let it in
        cat = customers.c.external_id == "cat"
        connection.execute(update(customers).where(cat).values(zone="Europe/Atlantis"))
    found = {each.code: each.message for each in examine(settings, NOW, {}, database).findings}
    assert found["D508"] == "this machine does not know the time zone Europe/Atlantis of 1 customers"
    assert found["D509"] == "no time zone is known of 2 customers"


def test_the_plan_tells_what_is_excluded_now(tmp_path: Path, sqlite_database: Database) -> None:
    """A segment that the policy excludes now, or no more, or that means something else, is told as that."""
    settings = project(tmp_path)
    people(sqlite_database, settings)
    apply(sqlite_database, settings, now=NOW, who="ann")

    def told(settings: Settings) -> dict[str, tuple[str, ...]]:
        found = make_plan(sqlite_database, settings, now=NOW, sandbox=True)
        return {flow.change.flow: flow.differences for flow in found.flows}

    excluding = project(tmp_path, exclude="['staff']")
    assert told(excluding) == dict.fromkeys(("asking", "plain"), ("+ [policy] exclude: staff",))
    apply(sqlite_database, excluding, now=NOW, who="ann")
    assert told(excluding) == {"asking": (), "plain": ()}
    (tmp_path / "flows" / "segments.yaml").write_text(SEGMENTS.replace("DE", "AT"), encoding="utf-8")
    assert told(excluding) == {"asking": ("~ segments.german.1.customer.country: DE → AT",), "plain": ()}
    assert told(project(tmp_path)) == dict.fromkeys(("asking", "plain"), ("- [policy] exclude: staff",))
