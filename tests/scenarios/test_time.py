"""What only time shows: outages, pauses, new versions, backfill, nights; played with the daemon's own code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from engine.deploy import apply as apply_module
from engine.facts.rights import suppress
from engine.journeys.round import Round
from engine.runtime.intake import take_in
from engine.runtime.setting_up import unnoted
from engine.runtime.why import why
from engine.runtime.work import look
from engine.store.keys import KeyRange
from engine.store.tables import enrollments, events, fact_inbox, flow_versions, journal, quarantine, timers
from tests.scenarios.world import START, World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

THREE = """
flow: three
topic: reminders
max_lateness: 3d
trigger: {event: checkout_started}
re_entry: always
exit_when: [{did: order_placed}]
steps:
  - send: letter
    id: first
  - wait: 1d
  - send: letter
    id: second
  - wait: 1d
  - send: letter
    id: third
"""


def test_only_the_newest_of_several_sends_goes_after_an_outage(anywhere: World) -> None:
    """Two days without the engine: of three sends that fell due meanwhile the newest goes, the others are superseded."""
    here = anywhere
    here.flow(THREE)
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.sleep_to(START + 2 * DAY + HOUR)
    here.go_on(hours=1)
    assert here.steps() == ["third"]
    assert here.ledger == [
        ("first", "dropped", "superseded"), ("second", "dropped", "superseded"), ("third", "accepted", None),
    ]  # fmt: skip


@pytest.mark.parametrize("again", ["always", "{after: 7d}"])
def test_who_is_through_at_once_lets_the_next_fact_in(anywhere: World, again: str) -> None:
    """Of two facts in one file the old one, whose mail is too late, keeps out no new one, as if each had its own tick."""
    here = anywhere
    here.flow(
        f"flow: one\ntopic: reminders\ntrigger: {{event: checkout_started}}\nre_entry: {again}\nsteps: [{{send: letter}}]\n"
    )
    here.customer()
    here.apply()
    told = {"event": "checkout_started", "customer": "ann"}
    moments = (START - MINUTE, START - 300 * DAY, START - 299 * DAY)
    here.tell("events", *({**told, "id": at.isoformat(), "at": at.isoformat()} for at in moments))
    here.go_on(hours=1)
    refused = ["re_entry: after 7d"] if "7d" in again else []
    assert here.reasons("refused") == refused
    assert here.ledger == [("letter", "accepted", None)]
    assert [row.state for row in here.rows(enrollments)] == ["completed"] * (3 - len(refused))


def test_a_fact_while_inside_stays_out_however_late_it_is_looked_at(anywhere: World) -> None:
    """Two facts during an outage, the second while the first would have been inside: nobody gets the mails twice."""
    here = anywhere
    here.flow(THREE)
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.event("checkout_started", at=START + 12 * HOUR)
    here.event("checkout_started", at=START + 49 * HOUR)
    here.sleep_to(START + 50 * HOUR)
    here.go_on(hours=1)
    assert here.reasons("refused") == ["re_entry: still inside"]
    assert [state for _, state, _ in here.ledger].count("accepted") == 2
    assert len(here.rows(enrollments)) == 2


def test_waits_count_from_when_steps_were_due_not_from_a_late_tick(here: World) -> None:
    """After an outage of five hours the next mail still goes a day after the first was due."""
    here.flow(THREE)
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.sleep_to(START + 5 * HOUR)
    here.go_to(START + 3 * DAY)
    assert here.sent == [
        ("03-01 14:00", "ann", "first"),
        ("03-02 09:00", "ann", "second"),
        ("03-03 09:00", "ann", "third"),
    ]


def test_what_is_too_late_after_an_outage_is_not_sent(here: World) -> None:
    """Ten days without the engine: everything is later than it may be, and nothing goes."""
    here.flow(THREE)
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.sleep_to(START + 10 * DAY)
    here.go_on(hours=1)
    assert here.sent == []
    assert here.reasons("skipped") == ["too_late"] * 3
    assert here.inside == [("three", "completed", None)]


def test_a_purchase_during_the_outage_ends_the_flow_first(here: World) -> None:
    """What happened while the engine was away counts before anything is sent."""
    here.flow(THREE)
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    here.sleep_to(START + DAY + HOUR)
    here.event("order_placed", at=START + 20 * HOUR, order_id="o1")
    here.go_on(hours=1)
    assert here.steps() == ["first"]
    assert here.inside == [("three", "exited", "exited: did: order_placed")]


def test_an_awaited_fact_counts_from_when_it_happened(here: World) -> None:
    """A delivery that is told two days late still starts the wait behind it at its own moment; one past the limit does not count."""
    here.flow(
        "flow: tips\ntopic: reminders\ntrigger: {event: order_placed}\nre_entry: {per: order}\nsteps:\n"
        "  - wait: {until: {did: order_delivered, same: order_id}, up_to: 5d}\n  - wait: 3d\n  - send: letter\n"
    )
    here.customer()
    here.apply()
    here.event("order_placed", order_id="o1")
    here.go_on(days=4)
    here.tell("orders", {"order_id": "o1", "status": "delivered", "status_at": (START + 2 * DAY).isoformat()})
    here.go_to(START + 30 * DAY)
    assert here.sent == [("03-06 09:00", "ann", "letter")]


def test_what_happened_after_the_limit_is_no_answer(here: World) -> None:
    """The engine was away at the limit: a fact from later does not count as heard, and the flow goes on from the limit."""
    here.flow(
        "flow: asks\ntopic: reminders\nmax_lateness: 9d\ntrigger: {event: checkout_started}\nsteps:\n"
        "  - wait: {until: {did: survey_answered}, up_to: 1d, as: answer}\n"
        "  - branch:\n    - when: [{answer: {score: {exists: true}}}]\n      steps: [{send: letter, id: heard}]\n"
        "    - otherwise: [{send: letter, id: unheard}]\n"
    )
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    here.sleep_to(START + 2 * DAY)
    here.event("survey_answered", at=START + 30 * HOUR, score=9)
    here.go_on(hours=1)
    assert here.steps() == ["unheard"]
    with here.database.read() as connection:
        assert connection.scalar(select(enrollments.c.anchor_at)) == START + DAY


# ── pause, freeze ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pause_keeps_arrivals_and_stops_no_exit(anywhere: World) -> None:
    """While a flow is paused nobody enters and nothing goes; who buys leaves; what arrived meets lateness afterwards."""
    here = anywhere
    here.flow(THREE)
    for name in ("ann", "bob", "eve"):
        here.customer(name)
    here.apply()
    here.event("checkout_started", "ann")
    here.go_on(hours=1)
    here.pause("three")
    here.event("checkout_started", "bob")
    here.go_on(hours=1)
    here.event("order_placed", "ann", order_id="o1")
    here.go_on(hours=2)
    assert here.steps("bob") == []
    assert [left for _, _, left in here.inside] == ["exited: did: order_placed"]
    here.resume("three")
    here.go_on(hours=1)
    assert here.sent[-1] == ("03-01 13:00", "bob", "first")


def test_a_pause_of_everything_holds_every_flow(here: World) -> None:
    """`pause` without a flow holds all of them, and a long one lets only the newest go."""
    here.flow(THREE)
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    here.pause()
    here.go_on(days=3)
    assert here.steps() == ["first"]
    here.resume()
    here.go_on(hours=1)
    assert here.steps() == ["first", "third"]


def test_time_triggers_wait_out_a_pause(here: World) -> None:
    """A birthday that came during a pause enters afterwards, and is too late or not like any other mail."""
    here.flow(
        "flow: bday\ntopic: offers\nmax_lateness: 15h\ntrigger: {anniversary: birthday, at: '09:00'}\nsteps: [{send: letter}]\n"
    )
    here.customer("ann", birthday="1990-03-02")
    here.customer("bob", birthday="1990-03-04")
    here.apply()
    here.pause("bday")
    here.go_to(START + 3 * DAY + 2 * HOUR)
    here.resume("bday")
    here.go_on(hours=1)
    assert here.sent == [("03-04 11:00", "bob", "letter")]
    assert here.reasons("skipped") == ["too_late"]


# ── applying ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_flow_takes_only_facts_that_arrive_from_then_on(here: World) -> None:
    """What was known before `apply` triggers nothing, and a fact that arrives later does, however old."""
    here.customer()
    here.event("checkout_started")
    here.go_on(hours=1)
    here.flow(THREE.replace("flow: three", "flow: four").replace("checkout_started", "trip_booked"))
    here.apply()
    here.event("checkout_started", checkout_id="shortly before")
    here.flow(THREE)
    here.apply()
    here.go_on(hours=1)
    assert here.sent == []
    here.event("checkout_started", at=START + HOUR / 2, checkout_id="older")
    here.go_on(hours=1)
    assert here.steps() == ["first"]


def test_a_time_trigger_is_new_when_its_moment_is(here: World) -> None:
    """A purchase from long before `apply` lapses when its moment comes; one whose moment has passed does not."""
    here.customer("ann")
    here.customer("bob")
    here.tell(
        "orders",
        {"order_id": "o1", "customer": "ann", "placed_at": (START - 80 * DAY).isoformat(), "total": 10},
        backfill=True,
    )
    here.tell(
        "orders",
        {"order_id": "o2", "customer": "bob", "placed_at": (START - 95 * DAY).isoformat(), "total": 10},
        backfill=True,
    )
    here.flow(
        "flow: lapsed\ntopic: offers\ntrigger: {lapsed: {event: order_placed, after: 90d}}\nsteps: [{send: letter}]\n"
    )
    here.apply()
    here.go_on(days=30)
    assert here.sent == [("03-11 09:00", "ann", "letter")]


def test_a_cart_touched_before_apply_is_quiet_at_its_own_moment(here: World) -> None:
    """The quiet time of a cart that was touched two hours before `apply` ends two hours after it."""
    here.customer()
    here.tell("carts", {"cart_id": "c1", "customer": "ann", "updated_at": START.isoformat(), "value": 10})
    here.tell(
        "carts",
        {"cart_id": "c0", "customer": "ann", "updated_at": (START - 9 * HOUR).isoformat(), "value": 10},
    )
    here.flow(
        "flow: cart\ntopic: reminders\nre_entry: {per: cart}\ntrigger: {event: cart_updated, quiet_for: 4h}\nsteps: [{send: letter}]\n"
    )
    here.go_on(hours=2)
    here.apply()
    here.go_on(days=1)
    assert here.sent == [("03-01 13:00", "ann", "letter")]


def test_backfill_places_past_customers_where_they_would_stand(here: World) -> None:
    """With `--backfill` who started two days ago stands behind the second mail, and gets the third in time."""
    here.customer("ann")
    here.event("checkout_started", "ann")
    here.go_on(hours=36)
    here.flow(THREE.replace("max_lateness: 3d", "max_lateness: 4h"))
    here.apply(backfill=True)
    here.go_to(START + 5 * DAY)
    assert here.sent == [("03-03 09:00", "ann", "third")]
    assert here.reasons("skipped") == ["too_late", "too_late"]


def test_who_is_placed_in_the_past_enters_before_leaving(anywhere: World) -> None:
    """However long ago a placed customer would have left, the facts say that they entered and then left."""
    here = anywhere
    here.customer("ann")
    here.event("checkout_started", "ann")
    here.go_on(days=10)
    here.flow(THREE)
    here.apply(backfill=True)
    here.go_on(hours=1)
    told = [row for row in here.rows(events) if row.name in ("flow_entered", "flow_left")]
    assert [row.name for row in sorted(told, key=lambda row: (row.occurred_at, row.id))] == [
        "flow_entered",
        "flow_left",
    ]
    with here.database.read() as connection:
        story = why(connection, told[0].customer_id, "three", Round(here.now, here.settings))[0]
    decided = [each["decision"] for each in story["decisions"] if each["decision"] != "waiting"]
    assert decided == ["entered", "skipped", "skipped", "skipped", "completed"]


def test_what_no_calendar_holds_sets_nobody_aside(here: World) -> None:
    """Quantities and answers beyond all measure arm nothing that ever comes, and are no poison."""
    here.flow(
        "flow: refill\ntopic: reminders\nre_entry: {per: occurrence}\ntrigger: {replenish: {lead: 3d}}\nsteps: [{send: letter}]\n"
    )
    here.customer()
    here.tell("products", {"sku": "T1", "title": "Sencha", "days_of_supply": 3660})
    here.apply()
    lines = [{"sku": "T1", "quantity": 1_000_000, "price": 1}]
    here.tell(
        "orders", {"order_id": "o1", "customer": "ann", "placed_at": here.now.isoformat(), "lines": lines}
    )
    for days in ("nan", "inf", 1e9, "soon"):
        here.event("refill_answered", sku="T1", days=days)
    here.go_on(days=1)
    assert (here.sent, here.rows(quarantine), here.inside) == ([], [], [])


SNOOZABLE = """
flow: cart
topic: reminders
trigger: {event: cart_updated}
steps:
  - {id: first, send: letter}
  - wait: 1d
  - {id: second, send: letter}
  - wait: 1d
  - {id: third, send: letter}
"""


def test_not_yet_puts_off_what_an_enrollment_does_next(here: World) -> None:
    """`reminder_snoozed` holds the enrollments of its flow: the next mail comes at its end, the one after counts from there."""
    here.flow(SNOOZABLE)
    here.customer()
    here.apply()
    here.event("cart_updated", cart_id="c1")
    here.go_on(hours=1)
    here.event("reminder_snoozed", flow="another", days=30)
    here.event("reminder_snoozed", flow="cart", days="soon")
    here.event("reminder_snoozed", flow="cart", days=14)
    start = here.now
    here.go_on(days=13)
    assert len(here.sent) == 1
    here.go_on(days=5)
    moments = [moment for moment, _, _ in here.sent]
    later = [(start + timedelta(days=days)).strftime("%m-%d") for days in (14, 15)]
    assert [moment[:5] for moment in moments[1:]] == later


def test_nothing_of_a_snoozed_flow_goes_before_its_time(here: World) -> None:
    """A flow that the customer keeps silent sends nothing, also in an enrollment that began since; then it does again."""
    here.flow(SNOOZABLE)
    until = here.now + timedelta(days=5)
    here.customer(properties={"mail_snoozed": f"cart={until.isoformat()} other=soon"})
    here.apply()
    here.event("cart_updated", cart_id="c1")
    here.go_on(days=4)
    assert here.sent == []
    here.go_on(days=2)
    here.event("cart_updated", cart_id="c2")
    here.go_on(days=1)
    assert here.sent


def test_the_answer_not_yet_is_reminded_of_that_day_whatever_the_lead(here: World) -> None:
    """`remind_in` counts days to the reminder, not to the day on which the product runs out."""
    here.flow("flow: refill\ntopic: reminders\ntrigger: {replenish: {lead: 3d}}\nsteps: [{send: letter}]\n")
    here.customer()
    here.tell("products", {"sku": "T1", "title": "Sencha"})
    here.apply()
    start = here.now
    here.event("refill_answered", sku="T1", days=14, remind_in=14)
    here.go_on(days=20)
    assert [moment[:5] for moment, _, _ in here.sent] == [(start + timedelta(days=14)).strftime("%m-%d")]


def test_a_gathered_anniversary_comes_round(here: World) -> None:
    """An anniversary that gathers lets in once its time is over, each year."""
    here.flow(
        "flow: born\ntopic: reminders\nmax_lateness: 3d\n"
        "trigger: {anniversary: birthday, at: '09:00', gather: 1d}\nsteps: [{send: letter}]\n"
    )
    here.customer(birthday="1990-03-02")
    here.apply()
    here.go_on(days=380)
    assert [moment for moment, _, _ in here.sent] == ["03-03 09:00", "03-03 09:00"]


VIPS = """
flow: vips
topic: reminders
trigger: {segment: vip}
re_entry: always
steps: [{send: letter}]
"""


def test_backfill_places_those_in_a_segment_once(anywhere: World) -> None:
    """With `--backfill` who is in the segment enters, once for each time of being in it; without, only who comes later."""
    here = anywhere
    here.write("flows/segments.yaml", "vip: [{customer: {tier: vip}}]\n")
    here.flow(VIPS)
    here.customer("ann", tier="vip")
    here.customer("bob")
    here.apply()
    here.go_on(days=1)
    assert here.sent == []
    here.apply(backfill=True)
    here.go_on(days=1)
    here.apply(backfill=True)
    here.go_on(days=1)
    assert here.sent == [("03-02 09:00", "ann", "letter")]
    here.customer("bob", tier="vip", updated_at=here.now.isoformat())
    here.go_on(days=1)
    here.apply(backfill=True)
    here.go_on(days=1)
    assert here.sent[1:] == [("03-04 09:00", "bob", "letter")]


def test_a_member_who_is_touched_while_memberships_are_noted(
    anywhere: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fact about a member whom a killed apply had not come to lets nobody in who was in the segment before."""
    here = anywhere
    here.write("flows/segments.yaml", "vip: [{customer: {tier: vip}}]\n")
    here.flow(VIPS)
    here.customer("ann", tier="vip")
    monkeypatch.setattr(apply_module, "set_up", lambda *_: None)
    here.apply()
    with here.database.read() as connection:
        assert unnoted(connection, "vips") == {0: KeyRange(1, 2)}
    here.event("app_opened")
    with here.database.read() as connection:
        work = look(connection, here.settings, here.now)
    with here.database.write() as connection:
        take_in(connection, work)
    here.go_on(days=1)
    assert here.inside == []
    here.customer("ann", tier="none", updated_at=here.now.isoformat())
    here.go_on(days=1)
    here.customer("ann", tier="vip", updated_at=here.now.isoformat())
    here.go_on(days=1)
    assert here.inside == [("vips", "completed", None)]


def test_backfilled_facts_trigger_no_event_but_count(here: World) -> None:
    """A backfilled fact enters nobody by itself, and a condition sees it."""
    here.flow(
        "flow: on\ntopic: reminders\ntrigger: {event: checkout_started}\nonly_if: [{did: review_given}]\nsteps: [{send: letter}]\n"
    )
    here.flow("flow: review\ntopic: reminders\ntrigger: {event: review_given}\nsteps: [{send: other}]\n")
    here.customer()
    here.apply()
    here.tell(
        "events",
        {"event": "review_given", "customer": "ann", "sku": "T1", "at": (START - DAY).isoformat()},
        backfill=True,
    )
    here.event("checkout_started")
    here.go_on(hours=1)
    assert here.steps() == ["letter"]


def test_an_enrollment_stays_on_the_version_it_entered(anywhere: World) -> None:
    """A changed flow holds for those who enter from then on; templates are the current ones for everybody."""
    here = anywhere
    here.flow(THREE)
    here.customer("ann")
    here.customer("bob")
    here.apply()
    here.event("checkout_started", "ann")
    here.go_on(hours=1)
    here.flow(THREE.replace("wait: 1d", "wait: 3d"))
    here.write(
        "templates/letter.mjml",
        here.root.joinpath("templates/letter.mjml").read_text().replace("letter for", "news for"),
    )
    assert [change.change for change in here.apply().changes] == ["behaviour"]
    here.event("checkout_started", "bob")
    here.go_to(START + 20 * DAY)
    assert [entry for entry in here.sent if entry[1] == "ann"] == [
        ("03-01 09:00", "ann", "first"), ("03-02 09:00", "ann", "second"), ("03-03 09:00", "ann", "third"),
    ]  # fmt: skip
    assert [entry for entry in here.sent if entry[1] == "bob"] == [
        ("03-01 10:00", "bob", "first"), ("03-04 10:00", "bob", "second"), ("03-07 10:00", "bob", "third"),
    ]  # fmt: skip
    assert [mail.subject for mail in here.tray.mails][:2] == ["letter for you", "news for you"]
    assert len(here.rows_of(flow_versions.c.hash)) == 2


def test_a_changed_trigger_arms_anew(here: World) -> None:
    """Another offset or quiet time holds for everybody who has not entered yet."""
    flow = "flow: bday\ntopic: offers\nre_entry: {per: year}\ntrigger: {anniversary: birthday, offset: -7d, at: '09:00'}\nsteps: [{send: letter}]\n"
    here.flow(flow)
    here.customer(birthday="1990-03-20")
    here.apply()
    here.go_on(days=1)
    here.flow(flow.replace("-7d", "-3d"))
    here.apply()
    here.go_on(days=30)
    assert here.sent == [("03-17 09:00", "ann", "letter")]


def test_an_unchanged_trigger_keeps_its_moments(here: World) -> None:
    """Changing a step forgets no quiet cart and enters nobody twice."""
    flow = "flow: cart\ntopic: reminders\nre_entry: {per: cart}\ntrigger: {event: cart_updated, quiet_for: 4h}\nsteps: [{send: letter}]\n"
    here.flow(flow)
    here.customer()
    here.apply()
    here.tell("carts", {"cart_id": "c1", "customer": "ann", "updated_at": here.now.isoformat(), "value": 10})
    here.go_on(hours=1)
    here.flow(flow.replace("{send: letter}", "{send: other}"))
    here.apply()
    here.go_on(days=1)
    assert here.sent == [("03-01 13:00", "ann", "other")]


def test_nobody_enters_a_removed_flow(here: World) -> None:
    """A flow whose file is gone lets nobody in any more."""
    here.flow(THREE)
    here.customer("ann")
    here.customer("bob")
    here.apply()
    here.event("checkout_started", "ann")
    here.go_on(hours=1)
    (here.root / "flows/three.yaml").unlink()
    here.apply()
    here.event("checkout_started", "bob")
    here.go_on(days=5)
    assert here.steps("bob") == []
    assert len(here.inside) == 1


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_withdrawal_by_a_flow_ends_the_other_flows_at_once(here: World) -> None:
    """`set: {consent: …}` raises no fact, and still nobody waits for a mail that may not come."""
    here.flow(THREE)
    here.flow(
        "flow: sunset\ntopic: offers\ntrigger: {event: sunset_asked}\nsteps: [{set: {consent: {all: withdrawn}}}]\n"
    )
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    here.event("sunset_asked")
    here.go_on(minutes=1)
    assert ("three", "exited", "no_consent") in here.inside
    assert here.rows_of(fact_inbox.c.id) == []


def test_suppression_drops_what_waits_in_the_outbox(here: World) -> None:
    """A message that waits for room under a cap is dropped with the suppression, not when its time comes."""
    here.policy(caps=["1 per 16h"])
    here.flow(
        "flow: two\ntopic: reminders\npolicy: {when_capped: wait}\ntrigger: {event: checkout_started}\n"
        "steps: [{send: letter, id: first}, {wait: 1h}, {send: letter, id: second}]\n"
    )
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=2)
    assert here.ledger.pop() == ("second", "pending", None)
    with here.database.write() as connection:
        suppress(connection, 1, now=here.now)
    assert here.ledger[-1:] == [("second", "dropped", "suppressed")]
    here.go_on(days=2)
    assert here.steps() == ["first"]


def test_the_shops_median_gap_stands_in_for_the_own(here: World) -> None:
    """Who has bought once lapses after one and a half times what is usual in this shop."""
    here.flow(
        "flow: lapsed\ntopic: offers\ntrigger: {lapsed: {event: order_placed, after: 1.5x}}\nsteps: [{send: letter}]\n"
    )
    for number in range(3):
        here.customer(f"old{number}", consent=None)
        for day in (60, 40, 20):
            here.tell(
                "orders",
                {
                    "order_id": f"{number}-{day}",
                    "customer": f"old{number}",
                    "placed_at": (START - day * DAY).isoformat(),
                    "total": 5,
                },
                backfill=True,
            )
    here.customer("ann")
    here.apply()
    here.event("order_placed", "ann", order_id="a1")
    here.go_on(days=60)
    assert here.sent == [("03-31 09:00", "ann", "letter")]


def test_a_zone_that_nobody_lived_in_begins_at_the_present(here: World) -> None:
    """A schedule on customers' clocks that ran for months does not catch up for the first customer of another zone."""
    here.flow(
        "flow: news\ntopic: offers\nre_entry: always\ntrigger: {schedule: '0 9 * * mon', clock: customer}\nsteps: [{send: letter}]\n"
    )
    here.customer("ann")
    here.apply()
    here.go_to(datetime(2026, 4, 15, 12, tzinfo=UTC))
    here.customer("kei", timezone="Asia/Tokyo")
    here.go_to(datetime(2026, 4, 21, tzinfo=UTC))
    assert [entry for entry in here.sent if entry[1] == "kei"] == [("04-20 00:00", "kei", "letter")]
    assert here.reasons("refused") == []


def test_everyone_of_a_segment_on_the_shops_clock(here: World) -> None:
    """A schedule takes everyone in the segment once a slot, and those outside not at all."""
    here.write("flows/segments.yaml", "germans: [{customer: {country: DE}}]\n")
    here.flow(
        "flow: news\ntopic: offers\nre_entry: always\ntrigger: {schedule: '2026-03-02 10:00', segment: germans, clock: shop}\nsteps: [{send: letter}]\n"
    )
    here.customer("ann", country="DE")
    here.customer("kei", country="JP")
    here.customer("bob", country="DE", consent=None)
    here.apply()
    here.go_on(days=5)
    assert here.sent == [("03-02 09:00", "ann", "letter")]
    assert here.reasons("refused") == ["no_consent"]


def test_who_is_in_the_segment_already_does_not_come_into_it(here: World) -> None:
    """Applying a flow with a segment trigger mails nobody who matched before."""
    here.write("flows/segments.yaml", "germans: [{customer: {country: DE}}]\n")
    here.flow("flow: hello\ntopic: offers\ntrigger: {segment: germans}\nsteps: [{send: letter}]\n")
    here.customer("ann", country="DE")
    here.apply()
    here.customer("bob", country="DE")
    here.go_on(days=3)
    assert here.sent == [("03-01 09:00", "bob", "letter")]


def test_timers_of_a_spent_trigger_are_gone(here: World) -> None:
    """A quiet cart leaves no timer behind; a birthday leaves the next year's."""
    here.flow(
        "flow: cart\ntopic: reminders\ntrigger: {event: cart_updated, quiet_for: 4h}\nsteps: [{send: letter}]\n"
    )
    here.flow("flow: bday\ntopic: offers\ntrigger: {anniversary: birthday}\nsteps: [{send: letter}]\n")
    here.customer(birthday="1990-03-02")
    here.apply()
    here.tell("carts", {"cart_id": "c1", "customer": "ann", "updated_at": here.now.isoformat(), "value": 10})
    here.go_on(days=3)
    assert here.rows_of(timers.c.due_at) == [datetime(2027, 3, 2, tzinfo=UTC)]


def test_every_decision_has_its_clauses(here: World) -> None:
    """A refusal says which clause was false."""
    here.flow(
        "flow: on\ntopic: reminders\ntrigger: {event: checkout_started}\nenter_if: [{customer: {country: DE}}]\nsteps: [{send: letter}]\n"
    )
    here.customer(country="JP")
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    refused = [row for row in here.rows(journal) if row.decision == "refused"]
    assert [(row.reason, row.detail["clauses"]) for row in refused] == [
        ("condition_false: customer: {country: DE}", [{"clause": "customer: {country: DE}", "holds": False}])
    ]
