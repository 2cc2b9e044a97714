"""Plans: kinds of change, audience with reasons, mails to come, those inside, the brake, and going back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.calendar import Duration
from engine.commands.simulating import only
from engine.deploy import plan as plan_module
from engine.deploy.apply import apply, apply_version
from engine.deploy.plan import FlowPlan, Plan, Range, most_entries, most_mails, plan
from engine.deploy.plan_moving import earlier_version, history
from engine.deploy.plan_text import as_data, as_markdown, as_text
from engine.deploy.simulate import Stretch, quiet_engine, simulate
from engine.errors import UsageError
from engine.facts.ingest import ingest_rows
from engine.flows.model import (
    EventTrigger,
    Experiment,
    ExperimentArm,
    Flow,
    ReEntry,
    ScheduleTrigger,
    Send,
    WaitFor,
)
from engine.runtime.ticking import drive
from engine.settings import Cap, Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import INSIDE, enrollments, flows
from tests.integration.small_shop import FLOWS, NOW, checksum, make_project, play_of, tell


def planned(
    database: Database, settings: Settings, allow: int | None = None
) -> tuple[Plan, dict[str, FlowPlan]]:
    """Return the plan of the folder, and its flows by name."""
    found = plan(database, settings, now=NOW, sandbox=True, allow_audience=allow)
    return found, {flow.change.flow: flow for flow in found.flows}


def rewrite(settings: Settings, flow: str, old: str, new: str) -> None:
    """Change a flow's file."""
    path = settings.root / "flows" / f"{flow}.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_plan_says_why_mails_would_not_go(tmp_path: Path, sqlite_database: Database) -> None:
    """Where more mails are kept back than go, their reasons stand beside the number; a flow that mails needs none."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    closed = replace(settings, policy=replace(settings.policy, caps=(Cap(0, Duration.parse("1d")),)))
    shut, by_name = planned(sqlite_database, closed)
    assert by_name["lapse"].month.expected == 0
    assert by_name["lapse"].kept_back["capped"] > 0
    number = by_name["lapse"].kept_back["capped"]
    assert f"kept back        about {number:,}: a frequency cap has no room" in as_text(
        shut, "UTC", colour=False
    )
    told = {each["flow"]: each["kept_back"] for each in as_data(shut)["flows"]}
    assert told["lapse"] == by_name["lapse"].kept_back
    usual, _ = planned(sqlite_database, settings)
    assert "kept back" not in as_text(usual, "UTC", colour=False)


def test_a_plan_says_who_could_enter_and_what_keeps_the_others_out(
    tmp_path: Path, database: Database
) -> None:
    """New flows count consent and entry clauses over everybody; the first reason of each customer is counted once."""
    settings = make_project(tmp_path)
    tell(database, settings, NOW)
    before = checksum(database)
    found, by_name = planned(database, settings)
    thanks = by_name["thanks"].audience
    assert thanks is not None
    assert (found.customers, thanks.customers) == (40, 40)
    # c0, c9, c18, c27 and c36 gave no consent; of the others those with a number of 3 modulo 4 live in France.
    assert thanks.excluded == {"condition_false: customer: {country: [DE, JP, US]}": 9, "no_consent": 5}
    assert thanks.size == 26
    assert {flow.change.change for flow in found.flows} == {"new"}
    assert by_name["lapse"].month.expected > 0
    assert by_name["cart"].month.low <= by_name["cart"].month.expected <= by_name["cart"].month.high
    assert not found.braked
    assert checksum(database) == before


def test_a_day_that_has_passed_is_told(tmp_path: Path, sqlite_database: Database) -> None:
    """A flow whose only time is gone lets nobody in, and its plan says so; one with another time to come does not."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    gone, coming = (f"{NOW + timedelta(days=days):%Y-%m-%d} 10:00" for days in (-3, 3))
    for name, times in (("past", [gone]), ("both", [gone, coming])):
        triggers = "".join(f"  - schedule: {time}\n" for time in times)
        text = f"flow: {name}\ntopic: offers\ntrigger:\n{triggers}steps:\n  - send: note\n"
        (settings.root / "flows" / f"{name}.yaml").write_text(text, encoding="utf-8")
    found, by_name = planned(sqlite_database, settings)
    assert by_name["past"].over is not None
    assert by_name["both"].over is None
    line = f"its schedule was for {gone}, which has passed: nobody will enter"
    assert as_text(found, "Europe/Berlin", colour=False).count(line) == 1
    assert as_markdown(found, "Europe/Berlin").count(line) == 1


def test_a_plan_tells_kinds_of_change_and_where_they_lie(tmp_path: Path, sqlite_database: Database) -> None:
    """Behaviour, content, text, removed and unchanged are told apart, with the place of each difference."""
    settings = make_project(tmp_path)
    (tmp_path / "flows" / "old.yaml").write_text(
        FLOWS["thanks"].replace("flow: thanks", "flow: old").lstrip()
    )
    (tmp_path / "templates" / "other.mjml").write_text((tmp_path / "templates" / "note.mjml").read_text())
    rewrite(settings, "lapse", "{send: note, id: please}", "{send: other, id: please}")
    tell(sqlite_database, settings, NOW)
    apply(sqlite_database, settings, now=NOW, who="ann")
    (tmp_path / "flows" / "old.yaml").unlink()
    rewrite(settings, "cart", "wait: 20h", "wait: 2d")
    rewrite(settings, "thanks", "topic: reminders", "topic: reminders\nsummary: Say thanks.")
    (tmp_path / "templates" / "other.mjml").write_text(
        (tmp_path / "templates" / "note.mjml").read_text() + "\n"
    )
    found, by_name = planned(sqlite_database, settings)
    kinds = {name: flow.change.change for name, flow in by_name.items()}
    assert kinds == {"cart": "behaviour", "lapse": "content", "old": "removed", "thanks": "text"}
    assert by_name["cart"].differences == ("~ steps.2.wait: 20h → 2d",)
    assert by_name["thanks"].differences == ("+ summary: Say thanks.",)
    text, markdown, data = as_text(found, "UTC", colour=False), as_markdown(found, "UTC"), as_data(found)
    for words in ("~ cart  behaviour", "- old  removed", "0 new, 3 changed, 1 removed, 0 unchanged"):
        assert words in text
    assert "| `~` | cart | behaviour |" in markdown
    assert {flow["flow"]: flow["change"] for flow in data["flows"]} == kinds
    assert "\x1b[" in as_text(found, "UTC", colour=True)
    with sqlite_database.read() as connection:
        (entry,) = history(connection)
    assert (entry["who"], {change["change"] for change in entry["changes"]}) == ("ann", {"new"})


def test_a_plan_names_the_mails_and_offers_that_say_or_give_something_else(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """A mail in any language, a layout, words or an offer's terms are content of the flows that use them, and no others'."""
    settings = make_project(tmp_path)
    rewrite(settings, "lapse", "{send: note, id: please}", "{send: other, id: please, offer: ten}")
    offers = tmp_path / "flows" / "offers.yaml"
    offers.write_text(
        "ten: {percent: 10, code: TEN, valid_for: 7d, when_empty: five}\nfive: {percent: 5, code: FIVE, valid_for: 7d}\n"
    )
    note = (tmp_path / "templates" / "note.mjml").read_text()
    for path in ("other.mjml", "ja/other.mjml", "layouts/page.mjml"):
        (tmp_path / "templates" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "templates" / path).write_text(note)
    apply(sqlite_database, settings, now=NOW, who="ann")

    def differences() -> dict[str, tuple[str, ...]]:
        found = planned(sqlite_database, settings)[1]
        assert {flow.change.change for flow in found.values()} <= {"content", "unchanged"}
        return {name: flow.differences for name, flow in found.items() if flow.differences}

    offers.write_text(
        offers.read_text().replace("percent: 10", "percent: 50").replace("percent: 5,", "percent: 6,")
    )
    assert differences() == {"lapse": ("~ offers.five.percent: 5 → 6", "~ offers.ten.percent: 10 → 50")}
    apply(sqlite_database, settings, now=NOW, who="ann")
    assert differences() == {}
    (tmp_path / "templates/ja/other.mjml").write_text(note + "<!-- x -->")
    assert differences() == {"lapse": ("~ templates/ja/other.mjml",)}
    apply(sqlite_database, settings, now=NOW, who="ann")
    (tmp_path / "templates/layouts/page.mjml").write_text(note + "<!-- x -->")
    assert differences() == dict.fromkeys(("cart", "thanks", "lapse"), ("~ templates/layouts/page.mjml",))


def inside(database: Database, flow: str) -> dict[str, int]:
    """Return how many are inside each version of a flow."""
    with database.read() as connection:
        rows = connection.scalars(
            select(enrollments.c.version).where(enrollments.c.flow == flow, INSIDE)
        ).all()
    return {version: rows.count(version) for version in set(rows)}


def let_in(database: Database, settings: Settings, number: int) -> None:
    """Make the folder live, and let so many customers into `thanks`."""
    with database.write() as connection:
        meta.set_virtual_now(connection, NOW)
    people = [
        {"external_id": f"n{n}", "email": f"n{n}@example.test", "country": "DE", "consent": ["reminders"]}
        for n in range(number)
    ]
    ingest_rows(database, "customers", people, settings=settings, now=NOW)
    apply(database, settings, now=NOW, who="ann")
    bought = [
        {"order_id": f"b{n}", "customer": f"n{n}", "placed_at": NOW.isoformat(), "total": 3, "lines": []}
        for n in range(number)
    ]
    ingest_rows(database, "orders", bought, settings=settings, now=NOW)
    drive(quiet_engine(settings, database), NOW, NOW, nights=False)


def test_those_inside_are_moved_step_by_step_and_back_again(tmp_path: Path, database: Database) -> None:
    """--migrate moves those whose step the new version has, tells who stays; --version makes the earlier one live again."""
    settings = make_project(tmp_path)
    let_in(database, settings, 5)
    (first,) = inside(database, "thanks")
    rewrite(settings, "thanks", "{send: note, id: thank-you}", "{send: note, id: merci}")
    _, by_name = planned(database, settings)
    assert [(each.version, each.customers, each.moves) for each in by_name["thanks"].inside] == [
        (first, 5, False)
    ]
    done = apply(database, settings, now=NOW, who="ann", migrate=True)
    assert [(each.flow, each.step, each.enrollments, each.moved) for each in done.moved] == [
        ("thanks", "thank-you", 5, False)
    ]
    rewrite(
        settings,
        "thanks",
        "{send: note, id: merci}",
        "{send: note, id: thank-you}\n  - {send: note, id: merci}",
    )
    done = apply(database, settings, now=NOW + timedelta(minutes=1), who="ann", migrate=True)
    assert [(each.enrollments, each.moved) for each in done.moved] == [(5, True)]
    second = {change.flow: change.after for change in done.changes}["thanks"]
    assert inside(database, "thanks") == {second: 5}
    back = apply_version(database, settings, first[:10], now=NOW + timedelta(minutes=2), who="bob")
    assert [(change.flow, change.change, change.after) for change in back.changes] == [
        ("thanks", "behaviour", first)
    ]
    with database.read() as connection:
        assert connection.scalar(select(flows.c.version).where(flows.c.flow == "thanks")) == first
        assert history(connection)[0]["who"] == "bob"
        with pytest.raises(UsageError, match="no version"):
            earlier_version(connection, "feedfeed")
    assert inside(database, "thanks") == {second: 5}


def mailed_at_once(folder: Path, database: Database, customers: int) -> Settings:
    """Make a project with a flow that enters so many customers at one moment and mails each once."""
    settings = make_project(folder)
    (folder / "flows" / "all.yaml").write_text(
        "flow: all\ntopic: offers\ntrigger: {schedule: '2026-03-24 10:00', clock: shop}\n"
        "exit_when: [{did: order_placed}]\nsteps: [{send: note}]\n"
    )
    people = [
        {"external_id": f"m{n}", "email": f"m{n}@example.test", "consent": ["offers"]}
        for n in range(customers)
    ]
    ingest_rows(database, "customers", people, settings=settings, now=NOW)
    return settings


def test_the_brake_stops_what_is_far_beyond_usual_until_it_is_allowed(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """A new flow that would take in 300 customers at once is stopped; the number that the plan names lets it through."""
    settings = mailed_at_once(tmp_path, sqlite_database, 300)
    found, by_name = planned(sqlite_database, settings)
    assert by_name["all"].entries == Range(300, 300, 300)
    assert found.braked
    assert (found.needed, as_data(found)["needed"]) == (300, 300)
    for words in (as_text(found, "UTC", colour=False), as_markdown(found, "UTC")):
        assert "would enter 300 customers within 24 hours; usual is at most 200.\n" in words
        assert "--allow-audience 300" in words
    allowed, _ = planned(sqlite_database, settings, allow=300)
    assert not allowed.braked
    one_less, _ = planned(sqlite_database, settings, allow=299)
    assert one_less.braked
    assert "usual is at most 200, and 299 are allowed." in as_text(one_less, "UTC", colour=False)


def test_what_cannot_be_is_in_no_range() -> None:
    """Entries are bounded by the customers where each enters once, mails by who is inside and what one can get."""
    once = ScheduleTrigger(once=datetime(2026, 3, 24, 10))  # noqa: DTZ001 - on the clock that the trigger names
    note, wait = Send("note", ("note",)), WaitFor("wait", Duration.parse("1d"))
    ways = Experiment("try", (ExperimentArm("a", 1, (note, wait, note)), ExperimentArm("b", 1, (note,))))
    assert [most_mails(steps) for steps in ((note,), (note, ways, wait), ())] == [1, 3, 0]
    day = timedelta(days=1)
    for flow, most in (
        (Flow("all", (once,), (note,)), 230), (Flow("all", (once, once), (note,)), 460),
        (Flow("all", (EventTrigger("order_placed"),), (note,)), None),
        (Flow("all", (EventTrigger("order_placed"),), (note,), re_entry=ReEntry(never=True)), 230),
        (Flow("all", (EventTrigger("order_placed"),), (note,), re_entry=ReEntry(after=Duration.parse("2d"))), 230),
    ):  # fmt: skip
        assert most_entries(flow, 230, day) == most


def test_no_more_mails_are_forecast_than_the_audience_can_get(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sample a range is wide; where everybody is mailed once, it ends with everybody."""
    settings = mailed_at_once(tmp_path, sqlite_database, 40)
    monkeypatch.setattr(plan_module, "SAMPLE", 20)
    monkeypatch.setattr(plan_module, "DAY_SAMPLE", 20)
    found, by_name = planned(sqlite_database, settings)
    assert (found.sample, found.day_sample) == (2, 2)
    flow = by_name["all"]
    assert flow.entries.low < flow.entries.high == flow.day.high == flow.month.high == 40


def test_a_month_is_no_less_than_its_first_day_and_no_more_than_can_be(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample that happens to hold few of those who are mailed on the first day does not take from what is known of it."""
    settings = mailed_at_once(tmp_path, sqlite_database, 40)
    monkeypatch.setattr(plan_module, "SAMPLE", 10)
    found, by_name = planned(sqlite_database, settings)
    assert (found.sample, found.day_sample) == (4, 1)
    assert (by_name["all"].day, by_name["all"].month) == (Range(40, 40, 40), Range(40, 40, 40))
    for flow in found.flows:
        day, month = flow.day, flow.month
        assert day.low <= month.low
        assert day.expected <= month.expected
        assert day.high <= month.high


def test_of_a_large_shop_the_first_day_is_forecast_from_more_customers_than_the_month(
    tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both samples are told, and the ranges of the samples hold what driving everybody gives; audiences stay exact."""
    settings = make_project(tmp_path)
    tell(sqlite_database, settings, NOW)
    exact, of_all = planned(sqlite_database, settings)
    assert (exact.sample, exact.day_sample) == (1, 1)
    monkeypatch.setattr(plan_module, "SAMPLE", 10)
    monkeypatch.setattr(plan_module, "DAY_SAMPLE", 20)
    told: list[float] = []
    found = plan(
        sqlite_database, settings, now=NOW, sandbox=True, progress=lambda _what, share: told.append(share)
    )
    assert (found.sample, found.day_sample) == (4, 2)
    assert told == sorted(told)
    assert told[-1] == 1
    assert "forecast from one customer in 2, the 30 days from one in 4; nobody new" in as_text(
        found, "UTC", colour=False
    )
    for flow in found.flows:
        whole = of_all[flow.change.flow]
        assert flow.audience == whole.audience
        assert flow.day.low <= whole.day.expected <= flow.day.high
        assert flow.entries.low <= whole.entries.expected <= flow.entries.high
        assert flow.month.low <= whole.month.expected <= flow.month.high


def test_a_removed_flow_is_forecast_with_the_mails_of_those_inside(
    tmp_path: Path, database: Database
) -> None:
    """Nobody enters a removed flow any more, but those inside finish it: their mails stand in every form of the plan."""
    settings = make_project(tmp_path)
    let_in(database, settings, 5)
    (tmp_path / "flows" / "thanks.yaml").unlink()
    found, by_name = planned(database, settings)
    gone = by_name["thanks"]
    assert (gone.change.change, sum(each.customers for each in gone.inside)) == ("removed", 5)
    assert (gone.entries, gone.month.expected, gone.month.high) == (Range(), 5, 5)
    text, markdown, data = as_text(found, "UTC", colour=False), as_markdown(found, "UTC"), as_data(found)
    assert "mails in 30 days   5\n" in text
    assert "5 finish it; nobody enters any more" in text
    assert "| `-` | thanks | removed |  | 0 | 5 |" in markdown
    assert {each["flow"]: each["mails"]["30d"]["expected"] for each in data["flows"]}["thanks"] == 5


def test_those_inside_an_older_version_are_told_where_it_differs(
    tmp_path: Path, sqlite_database: Database
) -> None:
    """Another summary changes nothing for anybody; whoever stayed on other behaviour is named under unchanged flows, too."""
    settings = make_project(tmp_path)
    let_in(sqlite_database, settings, 1)
    (first,) = inside(sqlite_database, "thanks")

    def told() -> tuple[str, str, list[bool]]:
        found, by_name = planned(sqlite_database, settings)
        alike = [each.alike for each in by_name["thanks"].inside]
        return as_text(found, "UTC", colour=False), as_markdown(found, "UTC"), alike

    rewrite(settings, "thanks", "topic: reminders", "topic: reminders\nsummary: Say thanks.")
    for text, markdown, alike in [told()]:
        assert "inside now         1; nothing changes for them\n" in text
        assert "inside now         1; nothing changes for them\n" in markdown
        assert "enter in 24 hours: 0" in markdown
        assert alike == [True]
    apply(sqlite_database, settings, now=NOW, who="ann")
    assert "inside now" not in told()[0]
    rewrite(settings, "thanks", "at_least: 12h", "at_least: 15h")
    apply(sqlite_database, settings, now=NOW, who="ann")
    for text, markdown, alike in [told()]:
        for words in (text, markdown):
            assert f"{first} 1 before thank-you (--migrate moves it)" in words
        assert alike == [False]


def test_a_forecast_of_some_flows_has_no_others(tmp_path: Path, sqlite_database: Database) -> None:
    """Those inside another flow are mailed by it in a forecast of the folder, and not in one of some flows only."""
    settings = make_project(tmp_path)
    let_in(sqlite_database, settings, 5)
    stretch = Stretch(NOW, NOW + timedelta(days=30), replay=False)
    play = play_of(settings)
    mails = [simulate(sqlite_database, each, stretch).tally.mails for each in (play, only(play, "cart"))]
    assert mails == [{("thanks", "thank-you"): 5}, {}]
