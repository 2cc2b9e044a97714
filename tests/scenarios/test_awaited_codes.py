"""What follows a mail that waits for a code: nobody leaves, or is asked about the offer, before that mail is decided."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection

from engine.clock import machine_now
from engine.delivery import dispatch as dispatching
from engine.journeys import awaiting
from engine.runtime.story import next_words, sentence
from engine.runtime.why import why
from engine.runtime.work import look
from engine.store.tables import enrollments, journal, messages, offer_codes
from tests.scenarios.world import START, World

HOUR = timedelta(hours=1)
UNTIL_ITS_END = "{wait: {until: offer.pool.expires_at, offset: -1d}}"
MISSING = "exited: offer.pool.expires_at is missing"


def shop(here: World, *steps: str, when_empty: str = "wait", zone: str | None = None, **keys: str) -> None:
    """Apply a flow of these steps whose offer's pool is empty, let Ann enter it, and let half an hour pass."""
    here.write(
        "flows/offers.yaml",
        f"pool: {{amount: 5 EUR, pool: codes.txt, valid_for: 3d, once_per: message, when_empty: {when_empty}}}\n"
        "spare: {amount: 1 EUR, pool: spare.txt, valid_for: 5d, when_empty: wait}\n",
    )
    here.write("codes.txt", "")
    here.write("spare.txt", "")
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    here.flow(
        f"flow: club\ntopic: offers\n{more}trigger: {{event: checkout_started}}\nsteps: [{', '.join(steps)}]\n"
    )
    here.customer(**({} if zone is None else {"timezone": zone}))
    here.apply()
    here.event("checkout_started")
    here.go_on(minutes=30)


def fill(here: World, *codes: str, pool: str = "codes") -> None:
    """Put codes into a pool."""
    here.write(f"{pool}.txt", "".join(f"{code}\n" for code in codes))
    here.apply()


LETTER = "{send: letter, offer: pool}"


def test_a_wait_for_the_codes_end_begins_with_the_code(anywhere: World) -> None:
    """The customer stays inside while the mail waits; the wait then counts from the code that the mail carries."""
    here = anywhere
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    assert here.inside == [("club", "waiting", None)]
    here.go_on(hours=5)
    fill(here, "P-1")
    here.go_on(days=4)
    assert here.sent == [("03-01 15:00", "ann", "letter"), ("03-03 15:00", "ann", "other")]
    assert here.inside == [("club", "completed", None)]


def test_without_a_code_the_customer_leaves_when_the_mail_is_given_up(anywhere: World) -> None:
    """A pool that stays empty ends the mail first and the enrollment then, at that very moment."""
    here = anywhere
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    here.go_on(days=3)
    assert here.inside == [("club", "exited", MISSING)]
    assert here.ledger == [("letter", "dropped", "no_offer")]
    assert [row.left_at for row in here.rows(enrollments)] == [START + 24 * HOUR]
    told = [(row.decision, row.at) for row in here.rows(journal) if row.decision in ("dropped", "exited")]
    assert told == [("dropped", START + 24 * HOUR), ("exited", START + 24 * HOUR)]
    fill(here, "P-1")
    here.go_on(days=1)
    assert here.sent == []


def test_a_code_given_late_is_good_for_days_of_the_customers_calendar(here: World) -> None:
    """Three days over the night in which New York's clocks go forward are 71 hours, whichever pass gives the code."""
    shop(here, LETTER, zone="America/New_York", max_lateness="10d")
    here.go_on(days=5)
    fill(here, "P-1")
    here.go_on(hours=2)
    (code,) = here.rows(offer_codes)
    assert code.expires_at - code.issued_at == timedelta(hours=71)


@pytest.mark.parametrize(
    "step",
    [
        "{wait: {until: customer.points_expire_at}}",
        "{exit: all said}",
        "{branch: [{when: [{offer: {pool: {held: true}}}], steps: [{send: other}]}, {otherwise: [{exit: no code}]}]}",
    ],
)
def test_nobody_leaves_before_their_mail_is_decided(here: World, step: str) -> None:
    """A missing date of any kind, an `exit` and a branch on the offer stand behind the mail that waits for its code."""
    shop(here, LETTER, step)
    here.go_on(hours=3)
    assert here.inside == [("club", "waiting", None)]
    fill(here, "P-1")
    here.go_on(hours=1)
    assert here.steps()[:1] == ["letter"]
    assert here.inside[0][1] in ("exited", "completed")
    assert [row.state for row in here.rows(messages) if row.state == "pending"] == []
    assert (here.steps() == ["letter", "other"]) == ("branch" in step)


def test_other_steps_go_on(here: World) -> None:
    """A mail that waits for a code holds up nothing that does not depend on it: a newer mail supersedes it as ever."""
    orders = "{branch: [{when: [{customer: {orders: 0}}], steps: [{wait: 2h}]}]}"
    shop(here, LETTER, orders, "{send: other}", UNTIL_ITS_END)
    here.go_on(hours=3)
    assert here.sent == [("03-01 11:00", "ann", "other")]
    assert here.ledger[0] == ("letter", "dropped", "superseded")
    assert [row.left_at for row in here.rows(enrollments)] == [START + 2 * HOUR]


def test_mails_between_go_at_their_moment(here: World) -> None:
    """What stands between the mail and the wait goes at once; the wait still waits for the code."""
    shop(here, LETTER, "{send: other}", UNTIL_ITS_END, "{send: third}")
    assert here.steps() == ["other"]
    here.go_on(hours=4)
    fill(here, "P-1")
    here.go_on(days=3)
    assert here.sent[1:] == [("03-01 14:00", "ann", "letter"), ("03-03 14:00", "ann", "third")]


def test_a_wait_before_is_not_cut_short(anywhere: World) -> None:
    """The code that comes during a plain wait ends only what stands still for it."""
    here = anywhere
    shop(here, LETTER, "{wait: 6h}", UNTIL_ITS_END, "{send: other}")
    here.go_on(hours=1)
    fill(here, "P-1")
    here.go_on(days=3)
    assert here.sent == [("03-01 11:00", "ann", "letter"), ("03-03 11:00", "ann", "other")]
    waits = [row.at for row in here.rows(journal) if row.decision == "waiting"]
    assert START + 6 * HOUR in waits


def test_an_offer_that_steps_in_is_waited_for_too(here: World) -> None:
    """A wait until the end of the offer that stands in begins with that one's code."""
    shop(here, LETTER, "{wait: {until: offer.spare.expires_at}}", "{send: other}", when_empty="spare")
    here.go_on(hours=1)
    fill(here, "S-1", pool="spare")
    here.go_on(days=6)
    assert here.sent == [("03-01 11:00", "ann", "letter"), ("03-06 11:00", "ann", "other")]


def test_an_exit_meanwhile_drops_the_mail(anywhere: World) -> None:
    """Who buys while the mail waits leaves with that fact, and the mail goes to nobody when codes come."""
    here = anywhere
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}", exit_when="[{did: order_placed}]")
    here.event("order_placed")
    here.go_on(hours=1)
    assert here.inside == [("club", "exited", "exited: did: order_placed")]
    assert here.ledger == [("letter", "dropped", "exited: did: order_placed")]
    fill(here, "P-1")
    here.go_on(days=2)
    assert here.sent == []


def test_a_mail_that_the_gate_refuses_leaves_no_code(here: World) -> None:
    """The code of a mail that its gate drops goes back: the wait finds none."""
    here.policy(caps=["1 per 3d"])
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    here.write(
        "flows/news.yaml", "flow: news\ntopic: offers\ntrigger: {event: app_opened}\nsteps: [{send: third}]\n"
    )
    here.apply()
    here.event("app_opened")
    here.go_on(minutes=10)
    fill(here, "P-1")
    here.go_on(days=2)
    assert here.steps() == ["third"]
    assert [row[1:] for row in here.ledger if row[0] == "letter"] == [("dropped", "outranked")]
    assert here.inside[0] == ("club", "exited", MISSING)


def test_quiet_hours_defer_the_mail_and_what_follows(here: World) -> None:
    """A code that comes at night goes with its mail in the morning, and the wait still ends with the code."""
    here.policy(quiet_hours="21:00-08:00")
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    here.go_to(START.replace(hour=22, minute=30))
    fill(here, "P-1")
    here.go_on(days=4)
    assert here.sent == [("03-02 08:00", "ann", "letter"), ("03-04 08:00", "ann", "other")]


@pytest.mark.parametrize("days", [0.5, 3])
def test_a_pause_is_waited_out(anywhere: World, days: float) -> None:
    """A paused flow decides nothing; resumed, the mail is decided first, and the wait by what became of it."""
    here = anywhere
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    here.pause("club")
    fill(here, "P-1")
    here.go_on(days=days)
    assert here.inside == [("club", "waiting", None)]
    here.resume("club")
    here.go_on(days=5)
    if days < 1:
        assert here.sent == [("03-01 21:30", "ann", "letter"), ("03-03 21:30", "ann", "other")]
    else:
        assert here.sent == []
        assert here.ledger == [("letter", "dropped", "too_late")]
        assert here.inside == [("club", "exited", MISSING)]


def test_who_dies_after_giving_the_code_leaves_nobody_behind(
    anywhere: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that gives the code also lets the enrollment go on, whatever becomes of the process that made it."""
    here = anywhere
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    fill(here, "P-1")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dispatching, "make_mails", die)
        with pytest.raises(KeyboardInterrupt):
            here.go_on(hours=2)
    (row,) = here.rows(enrollments)
    assert row.next_at == START + HOUR
    here.now = START + HOUR
    here.sleep_to(START + 2 * HOUR)
    with here.database.write() as connection:
        connection.execute(messages.update().values(lease_until=machine_now() - HOUR))
    here.go_on(days=3)
    assert here.steps() == ["letter", "other"]
    assert here.sent[1] == ("03-03 10:00", "ann", "other")


def test_a_new_version_takes_over_where_it_stands(here: World) -> None:
    """Who is moved to a new version while standing still goes on with the code, by the new version's steps."""
    shop(here, LETTER, "{wait: {until: offer.pool.expires_at, offset: -1d}, id: w}", "{send: other}")
    here.flow(
        "flow: club\ntopic: offers\ntrigger: {event: checkout_started}\n"
        "steps: [{send: letter, offer: pool}, {wait: {until: offer.pool.expires_at, offset: -2d}, id: w}, {send: third}]\n"
    )
    here.apply(migrate=True)
    fill(here, "P-1")
    here.go_on(days=3)
    assert here.sent == [("03-01 10:00", "ann", "letter"), ("03-02 10:00", "ann", "third")]


def test_why_tells_what_is_waited_for(here: World) -> None:
    """`homing why` names the offer whose codes are used up, and promises no moment for the mail."""
    shop(here, LETTER, UNTIL_ITS_END, "{send: other}")
    who = here.rows(enrollments)[0].customer_id
    with here.database.read() as connection:
        (story,) = why(connection, who, "club", look(connection, here.settings, here.now).at)
    assert next_words(story["next"], "UTC") == (
        "letter waits for a code of pool, and is tried again at Sun 01 Mar 2026 10:00"
    )
    assert sentence(story["decisions"][-1], "UTC") == (
        "waits for a mail that needs a code of pool, at the latest until Mon 02 Mar 2026 09:00"
    )


def test_flows_whose_mails_never_wait_ask_nothing_more(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a code may be waited for is the outbox asked about mails that wait, and not each time that they are tried."""
    asked: list[object] = []
    waiting = awaiting._WAITING.rows

    def rows(connection: Connection, **values: object) -> list[Any]:
        asked.append(values)
        return waiting(connection, **values)

    monkeypatch.setattr(awaiting, "_WAITING", SimpleNamespace(rows=rows))
    shop(here, LETTER, UNTIL_ITS_END, "{exit: done}", when_empty="without")
    here.flow(
        "flow: patient\ntopic: offers\ntrigger: {event: app_opened}\n"
        "steps: [{send: other, offer: spare}, {wait: {until: offer.spare.expires_at}}]\n"
    )
    here.apply()
    here.go_on(days=1)
    assert asked == []
    here.event("app_opened")
    here.go_on(hours=8)
    assert len(asked) == 1
