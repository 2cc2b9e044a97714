"""Why: what was found and wanted, how caps and hours stood, what the provider told, who got nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from engine.calendar import Duration, local
from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import apply
from engine.deploy.stage import Tray
from engine.errors import UsageError
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.journeys.round import Round
from engine.runtime import rails
from engine.runtime.passes import Engine
from engine.runtime.story import sentences
from engine.runtime.ticking import drive
from engine.runtime.why import why
from engine.runtime.why_missing import missing
from engine.settings import Cap, Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import delivery_events, enrollments, flows, journal, messages
from tests.integration.small_shop import END, START, make_project, tell

BEFORE = START - timedelta(days=30)


def engine_of(settings: Settings, database: Database) -> Engine:
    """Return an engine whose mails end in a tray."""
    tray = Tray()
    worker = Worker("test", machine_now, random.Random(1))
    return Engine(settings, database, Exits(tray, None, tray.call), worker)


def live_through(database: Database, root: Path) -> Settings:
    """Let the shop live three weeks with its flows."""
    settings = make_project(root)
    with database.write() as connection:
        meta.set_virtual_now(connection, BEFORE)
    tell(database, settings, BEFORE)
    engine = engine_of(settings, database)
    drive(engine, BEFORE, START, beat=timedelta(days=1), nights=False)
    apply(database, settings, now=START, who="test")
    drive(engine, START, END, beat=timedelta(hours=1), nights=False)
    return settings


def stories(database: Database, settings: Settings, flow: str | None = None) -> list[dict[str, Any]]:
    """Return everybody's stories."""
    at = Round(END, settings)
    with database.read() as connection:
        ids = [find_customer(connection, f"c{number}") for number in range(40)]
        return [story for each in ids if each is not None for story in why(connection, each, flow, at)]


def test_a_story_holds_what_was_found_wanted_and_how_the_gate_stood(
    tmp_path: Path, database: Database
) -> None:
    """Refusals tell the failed clause with found and wanted; capped mails the caps; deferred ones the customer's hour."""
    settings = live_through(database, tmp_path)
    told = stories(database, settings)
    decisions = [(story, each) for story in told for each in story["decisions"]]
    refused = [each for _, each in decisions if str(each["reason"]).startswith("condition_false: customer")]
    clause = next(clause for clause in refused[0]["clauses"] if not clause["holds"])
    assert clause["found"].endswith("FR")
    assert clause["wanted"] == "customer country one of DE, JP, US"
    capped = [each for _, each in decisions if each["decision"] == "dropped" and each["reason"] == "capped"]
    full = [cap for cap in capped[0]["gate"]["caps"] if cap["used"] >= cap["of"]]
    assert full
    assert all(cap["room_at"] > capped[0]["at"] for cap in full)
    put_off = [each for _, each in decisions if each["decision"] == "deferred"]
    assert all(
        each["gate"]["quiet"] and each["gate"]["quiet_hours"] == "21:00-08:00"
        for each in put_off
        if "gate" in each
    )
    entered_again = [each for _, each in decisions if str(each["reason"]).startswith("re_entry")]
    assert all(each["last_entry"] is not None for each in entered_again if "after" in each["reason"])
    lines = "\n".join(line for story in told for line in sentences(story, "Europe/Berlin"))
    assert "wanted: customer country one of DE, JP, US" in lines
    assert "handed over before, room again" in lines


def test_a_story_tells_the_fate_of_each_mail(tmp_path: Path, sqlite_database: Database) -> None:
    """What the provider told of a mail stands in the story, with its attempts."""
    settings = live_through(sqlite_database, tmp_path)
    with sqlite_database.write() as connection:
        sent = connection.execute(
            select(messages.c.id, messages.c.customer_id).where(messages.c.state == "accepted")
        ).first()
        assert sent is not None
        connection.execute(
            insert(delivery_events).values(key="d1", message_id=sent.id, kind="delivered", at=END)
        )
        story = next(
            each
            for each in why(connection, sent.customer_id, None, Round(END, settings))
            if any(message["id"] == sent.id for message in each["messages"])
        )
    mail = next(message for message in story["messages"] if message["id"] == sent.id)
    assert [(each["event"], each["at"]) for each in mail["events"]] == [("delivered", END)]
    assert [each["outcome"] for each in mail["attempts"]] == ["accepted"]
    assert any("the provider says delivered" in line for line in sentences(story, "UTC"))


def test_those_who_got_nothing_are_grouped_by_reason(tmp_path: Path, database: Database) -> None:
    """Everybody who had the trigger is in exactly one group, or got a mail; an unknown flow is wrong usage."""
    settings = live_through(database, tmp_path)
    at = Round(END, settings)
    with database.read() as connection:
        found = missing(connection, "thanks", START, at)
        with pytest.raises(UsageError, match="thanks"):
            missing(connection, "thank", START, at)
    assert found["got_nothing"] == sum(group["customers"] for group in found["reasons"])
    assert found["had_the_trigger"] == found["got_nothing"] + found["got_a_mail"]
    reasons = {group["reason"]: group for group in found["reasons"]}
    assert {"no_consent", "condition_false: customer: {country: [DE, JP, US]}"} <= reasons.keys()
    assert all(1 <= len(group["examples"]) <= 5 for group in reasons.values())
    told = stories(database, settings, "thanks")
    without = [
        story
        for story in told
        if story["decisions"] and not any(m["handed_over_at"] for m in story["messages"])
    ]
    assert len(without) == found["got_nothing"]


def test_no_table_is_read_whole_for_a_story(tmp_path: Path, sqlite_database: Database) -> None:
    """Each statement of a story finds its rows by an index, so that a million messages cost no more than a thousand."""
    settings = live_through(sqlite_database, tmp_path)
    asked: set[tuple[str, Any]] = set()

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.add((statement, tuple(parameters) if isinstance(parameters, list | tuple) else parameters))

    event.listen(sqlite_database.engine, "before_cursor_execute", note)
    stories(sqlite_database, settings)
    event.remove(sqlite_database.engine, "before_cursor_execute", note)
    large = {
        messages.name,
        enrollments.name,
        "journal",
        "events",
        "attempts",
        "delivery_events",
        "timers",
        "customers",
    }
    whole = []
    with sqlite_database.read() as connection:
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "WITH")):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                whole += [
                    f"{row[3]}: {statement}"
                    for row in plan
                    if row[3].split()[:1] == ["SCAN"] and row[3].split()[1] in large
                ]
    assert asked
    assert not whole


def test_a_story_reads_in_order_and_leaves_out_what_had_no_say(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """A flow's end comes after its last mail; exits that did not hold are not told where somebody was let in or not."""
    told = stories(sqlite_database, live_through(sqlite_database, tmp_path))
    ended = 0
    for story in told:
        for before, after in pairwise(story["decisions"]):
            assert before["at"] <= after["at"]
            if before["decision"] == "completed":
                assert before["at"] < after["at"] or before["enrollment"] != after["enrollment"]
                ended += 1
    assert ended
    refused = [
        (story, each)
        for story in told
        for each in story["decisions"]
        if each["decision"] == "refused" and any(clause.get("ends") for clause in each["clauses"])
    ]
    assert refused
    for story, decision in refused:
        lines = list(sentences({**story, "decisions": [decision]}, "UTC"))
        exits = {
            clause["clause"] for clause in decision["clauses"] if clause.get("ends") and not clause["holds"]
        }
        assert not [line for line in lines for clause in exits if line.startswith(f"      no   {clause}")]


def test_who_got_nothing_is_told_by_what_became_of_the_entry(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Somebody who left by buying counts as that, though the purchase was then refused a second entry."""
    settings = make_project(tmp_path)
    flow = settings.root / "flows" / "cart.yaml"
    text = flow.read_text(encoding="utf-8")
    for old, new in (
        ("trigger: {event: cart_updated, quiet_for: 4h}", "trigger: {event: order_placed}"),
        ("re_entry: {per: cart, after: 2d}", "re_entry: never"),
        ("  - send: note", "  - wait: 20d\n  - send: note"),
    ):
        assert old in text
        text = text.replace(old, new)
    flow.write_text(text, encoding="utf-8")
    database = sqlite_database
    with database.write() as connection:
        meta.set_virtual_now(connection, BEFORE)
    tell(database, settings, BEFORE)
    apply(database, settings, now=BEFORE, who="test")
    engine = engine_of(settings, database)
    drive(engine, BEFORE, END, beat=timedelta(hours=1), nights=False)
    with database.read() as connection:
        found = missing(connection, "cart", BEFORE, Round(END, settings))
    reasons = {group["reason"]: group["customers"] for group in found["reasons"]}
    assert reasons.get("exited: did: order_placed", 0) > 0
    assert not [reason for reason in reasons if reason.startswith("re_entry")]
    nexts = [(story, list(sentences(story, "UTC"))[-1]) for story in stories(database, settings, "cart")]
    over = {line for story, line in nexts if story["enrollments"] and story["next"] is None}
    assert over == {"  next: nothing; this flow lets nobody in twice (re_entry: never)"}
    assert not [line for story, line in nexts if not story["enrollments"] and "twice" in line]


def test_a_mail_stands_right_behind_its_moment(tmp_path: Path, sqlite_database: Database) -> None:
    """What became of a mail as it fell due comes before the steps that the flow took meanwhile."""
    told = stories(sqlite_database, live_through(sqlite_database, tmp_path), "cart")
    seen = 0
    for story in told:
        for before, after in pairwise(story["decisions"]):
            at_once = [
                each
                for each in story["decisions"]
                if each["message"] == before["message"] and each["at"] == before["at"]
            ]
            if before["decision"] == "due" and len(at_once) > 1:
                assert (after["message"], after["at"]) == (before["message"], before["at"])
                seen += 1
    assert seen


def test_a_story_names_what_each_enrollment_is_about(tmp_path: Path, database: Database) -> None:
    """Where a flow is entered per order or cart, entries name theirs; of several every sentence does, and JSON always."""
    settings = live_through(database, tmp_path)
    seen = 0
    for flow, kind in (("thanks", "order"), ("cart", "cart")):
        for story in stories(database, settings, flow):
            named = [each["about"]["id"] for each in story["enrollments"]]
            lines = list(sentences(story, "UTC"))
            entries = [line for line in lines if "entered the flow" in line]
            assert [line.rpartition("(")[2] for line in entries] == [f"{kind} {name})" for name in named]
            for each in story["decisions"]:
                if each["enrollment"] is not None and len(named) > 1:
                    assert each["about"]["kind"] == kind
                    seen += 1
            refused = [each for each in story["decisions"] if each["decision"] == "refused"]
            assert all(
                each["about"] == {"kind": kind, "id": each["asked_about"][f"{kind}_id"]} for each in refused
            )
            assert len(named) < 2 or not [line for line in lines if line.endswith("fell due")]
    assert seen
    lapsed = [each for story in stories(database, settings, "lapse") for each in story["decisions"]]
    assert {each["about"] for each in lapsed} == {None}


def widened(settings: Settings) -> Settings:
    """Return the settings with one cap that has room for everything."""
    return replace(settings, policy=replace(settings.policy, caps=(Cap(1000, Duration.parse("7d")),)))


def capped_in(database: Database, settings: Settings) -> list[str]:
    """Return in words every decision by which a cap kept a mail back, as it reads with these settings."""
    return [
        "\n".join(sentences({**story, "decisions": [each]}, "UTC"))
        for story in stories(database, settings)
        for each in story["decisions"]
        if each["reason"] in ("capped", "outranked")
    ]


def test_caps_are_those_that_were_in_force(tmp_path: Path, sqlite_database: Database) -> None:
    """Settings that have changed since do not change what is told of a mail that a cap kept back."""
    settings = live_through(sqlite_database, tmp_path)
    before = capped_in(sqlite_database, settings)
    assert before
    assert all("as set now" not in text for text in before)
    assert all(f"cap {cap}:" in text for text in before for cap in settings.policy.caps)
    assert capped_in(sqlite_database, widened(settings)) == before


def test_caps_of_before_are_those_of_now_and_say_so(tmp_path: Path, sqlite_database: Database) -> None:
    """A decision that does not hold its caps is told with those of now, and does not claim that they kept the mail back."""
    settings = live_through(sqlite_database, tmp_path)
    with sqlite_database.write() as connection:
        connection.execute(update(journal).where(journal.c.reason == "capped").values(detail=None))
    capped = [text for text in capped_in(sqlite_database, widened(settings)) if "as set now" in text]
    assert capped
    assert all("by the caps as they are set now there was room" in text for text in capped)
    assert all("cap 1000 per 7d (as set now)" in text for text in capped)


def test_what_hangs_on_the_trigger_is_not_asked_without_one(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Somebody who never came to the door is asked about what is theirs; clauses about a cart or order are left open."""
    settings = make_project(tmp_path)
    flow = settings.root / "flows" / "thanks.yaml"
    text = flow.read_text(encoding="utf-8")
    flow.write_text(
        text.replace("enter_if: [", "enter_if: [{trigger: {order_number: 1}}, "), encoding="utf-8"
    )
    tell(sqlite_database, settings, END)
    apply(sqlite_database, settings, now=END, who="test")
    told = stories(sqlite_database, settings, "thanks")
    assert told
    for story in told:
        assert story["now"]["open"] == ["trigger: {order_number: 1}"]
        assert [clause["clause"] for clause in story["now"]["clauses"]] == [
            "customer: {country: [DE, JP, US]}"
        ]
        assert "      ?    trigger: {order_number: 1}  (nobody can know before it happens)" in sentences(
            story, "UTC"
        )


def test_a_paused_flow_says_what_comes_next(tmp_path: Path, database: Database) -> None:
    """Who waits inside, and whose fact came meanwhile, hear what comes and that the flow must be resumed first."""
    settings = live_through(database, tmp_path)
    with database.write() as connection:
        rails.pause(connection, "thanks", START)
    told = stories(database, settings, "thanks")
    standing = [story["next"] for story in told if story["next"]]
    assert standing
    assert {following.get("waits") for following in standing} == {"paused"}
    lines = [line for story in told for line in sentences(story, "UTC") if line.startswith("  next: ")]
    assert any("may enter by what happened at" in line for line in lines)
    assert all("paused; not before `homing resume`" in line for line in lines if "nothing" not in line)
    with database.write() as connection:
        rails.resume(connection, "thanks")
    assert not [
        story for story in stories(database, settings, "thanks") if (story["next"] or {}).get("waits")
    ]


CALENDAR = """flow: monthly
summary: On the first of each month.
topic: offers
re_entry: {after: 7d}
trigger: {schedule: "0 9 1 * *", segment: abroad}
exit_when: [{did: order_placed}]
steps: [{send: note}]
"""


def test_a_flow_by_the_calendar_tells_its_next_slot(tmp_path: Path, sqlite_database: Database) -> None:
    """The next slot of a schedule is told on the customer's clock, before and after the first entry, until there is none."""
    settings = make_project(tmp_path)
    (tmp_path / "flows" / "segments.yaml").write_text("abroad: [{customer: {country: [JP, US, FR]}}]\n")
    (tmp_path / "flows" / "monthly.yaml").write_text(CALENDAR)
    never = CALENDAR.replace("monthly", "once").replace("{after: 7d}", "never")
    (tmp_path / "flows" / "once.yaml").write_text(never.replace(", segment: abroad", ", clock: shop"))
    with sqlite_database.write() as connection:
        meta.set_virtual_now(connection, BEFORE)
    tell(sqlite_database, settings, BEFORE)
    engine = engine_of(settings, sqlite_database)
    drive(engine, BEFORE, START, beat=timedelta(days=1), nights=False)
    apply(sqlite_database, settings, now=START, who="test")
    zones = {story["next"]["at"] for story in stories(sqlite_database, settings, "monthly")}
    assert {at.isoformat() for at in zones} >= {"2026-04-01T07:00:00+00:00", "2026-04-01T00:00:00+00:00"}
    told = next(
        story for story in stories(sqlite_database, settings, "monthly") if not story["next"]["barred"]
    )
    line = f"  next: may enter at {local(told['next']['at'], 'UTC'):%a %d %b %Y %H:%M}, if in the segment abroad by then"
    assert list(sentences(told, "UTC"))[-1] == line
    drive(engine, START, START + timedelta(days=40), beat=timedelta(hours=6), nights=False)
    inside = [story for story in stories(sqlite_database, settings, "monthly") if story["entered"]]
    assert inside
    assert {f"{story['next']['at']:%m-%d}" for story in inside} <= {"05-01", "04-30"}
    entered = [story for story in stories(sqlite_database, settings, "once") if story["entered"]]
    assert entered
    assert [story["next"] for story in entered] == [None] * len(entered)
    with sqlite_database.write() as connection:
        connection.execute(update(flows).values(active=False))
    assert [s["next"] for s in stories(sqlite_database, settings, "monthly")] == [None] * len(
        stories(sqlite_database, settings, "monthly")
    )


def test_a_cap_that_was_lost_within_a_pass_shows_who_took_it(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """A mail that another one outranked at the same moment is told with a cap that is full."""
    settings = live_through(sqlite_database, tmp_path)
    decisions = [each for story in stories(sqlite_database, settings) for each in story["decisions"]]
    lost = [each for each in decisions if each["reason"] in ("outranked", "capped") and each.get("gate")]
    assert {each["reason"] for each in lost} >= {"outranked"}
    assert all(any(cap["used"] >= cap["of"] for cap in each["gate"]["caps"]) for each in lost)


def test_a_timer_tells_what_can_still_change(tmp_path: Path, sqlite_database: Database) -> None:
    """A lapse moves with a newer order and a birthday does not; without consent the moment lets nobody in."""
    settings = make_project(tmp_path)
    (tmp_path / "flows" / "birthday.yaml").write_text(
        "flow: birthday\ntopic: offers\ntrigger: {anniversary: birthday}\nsteps: [{send: note}]\n",
        encoding="utf-8",
    )
    database = sqlite_database
    with database.write() as connection:
        meta.set_virtual_now(connection, START)
    people = [
        {"external_id": f"c{n}", "email": f"c{n}@example.test", "birthday": "1990-07-01", "consent": topics}
        for n, topics in ((1, ["offers"]), (2, []))
    ]
    ingest_rows(database, "customers", people, settings=settings, now=START)
    apply(database, settings, now=START, who="test")
    orders = [
        {"order_id": f"o{n}", "customer": f"c{n}", "placed_at": END.isoformat(), "total": 3, "lines": []}
        for n in (1, 2)
    ]
    drive(engine_of(settings, database), START, END, nights=False)
    ingest_rows(database, "orders", orders, settings=settings, now=END)
    drive(engine_of(settings, database), END, END, nights=False)
    for flow, moves in (("birthday", False), ("lapse", True)):
        free, barred = stories(database, settings, flow)
        assert (free["next"]["moves"], free["next"]["barred"], barred["next"]["barred"]) == (
            moves,
            None,
            "no_consent",
        )
        lines = [list(sentences(story, "UTC"))[-1] for story in (free, barred)]
        assert lines[0].startswith("  next: may enter at ")
        assert lines[0].endswith("if nothing newer comes before") == moves
        assert lines[1].startswith("  next: its moment comes at ")
        assert lines[1].endswith("but as things stand: no consent for the topic is recorded")
