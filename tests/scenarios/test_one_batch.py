"""Many facts of one customer in one batch: what they lead to is what each after the other would, and costs no more."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from engine.store.tables import enrollments, messages
from tests.scenarios.world import World

GREETED = "topic: reminders\ntrigger: {event: said_hello}\n"
CHOICE = "steps: [{send: [letter, other, third]}]\n"


def say_hello(here: World, count: int) -> None:
    """Let ann say hello so often at this very moment."""
    at = here.now.isoformat()
    facts = ({"event": "said_hello", "customer": "ann", "at": at, "id": f"{at} {n}"} for n in range(count))
    here.tell("events", *facts)
    here.go_on(seconds=1)


@pytest.mark.parametrize("re_entry", ["always", "{per: occurrence}"])
def test_a_choice_among_templates_knows_what_the_batch_before_it_chose(here: World, re_entry: str) -> None:
    """Each template of a step goes out once, in their order, however many facts let its customer in at once."""
    here.flow(f"flow: hello\n{GREETED}re_entry: {re_entry}\n{CHOICE}")
    here.customer()
    here.apply()
    say_hello(here, 5)
    assert here.rows_of(messages.c.template) == ["letter", "other", "third"]
    assert [state for _, state, _ in here.inside] == ["completed"] * 5
    say_hello(here, 2)
    assert len(here.sent) == 3


def test_those_who_come_to_a_choice_together_choose_one_after_the_other(here: World) -> None:
    """Enrollments of one customer that wait for the same moment do not get the same template at it."""
    here.flow(
        f"flow: hello\n{GREETED}re_entry: {{per: occurrence}}\nsteps: [{{wait: 1d}}, {{send: [letter, other]}}]\n"
    )
    here.customer()
    here.apply()
    say_hello(here, 3)
    here.go_on(days=2)
    assert here.rows_of(messages.c.template) == ["letter", "other"]


def test_a_choice_behind_a_branch_is_made_in_the_order_of_the_entries(here: World) -> None:
    """Where entries may part before a choice, they come in one after the other, and choose as they would alone."""
    here.flow(
        f"flow: hello\n{GREETED}re_entry: always\nsteps:\n"
        "  - branch: [{when: [{trigger: {first: true}}], steps: [{send: third}]}]\n"
        "  - send: [third, letter, other]\n"
    )
    here.customer()
    here.apply()
    at = here.now.isoformat()
    told = {"event": "said_hello", "customer": "ann", "at": at}
    here.tell("events", {**told, "id": "a", "first": True}, {**told, "id": "b", "first": False})
    here.go_on(seconds=1)
    assert here.rows_of(messages.c.template) == ["third", "letter", "other"]


def test_in_quiet_hours_the_first_of_a_batch_stays_inside(here: World) -> None:
    """Whose mail waits for the morning is inside: further facts of the same moment are refused, as later ones are."""
    here.flow(f"flow: hello\n{GREETED}re_entry: always\nsteps: [{{send: letter}}]\n")
    here.policy(quiet_hours="21:00-08:00")
    here.customer()
    here.apply()
    here.go_on(hours=13)
    say_hello(here, 3)
    assert [state for _, state, _ in here.inside] == ["waiting"]
    assert here.reasons("refused") == ["re_entry: still inside"] * 2


@pytest.mark.parametrize("steps", [CHOICE, "steps: [{webhook: {to: sms, with: {text: hello}}}]\n"])
def test_more_facts_of_a_customer_take_no_more_rounds(here: World, steps: str) -> None:
    """A batch of facts of one customer is taken in at once where nothing keeps anybody inside: no round for each."""
    here.flow(f"flow: hello\n{GREETED}re_entry: always\n{steps}")
    here.customer()
    here.apply()
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(here.database.engine, "before_cursor_execute", note)
    counts = []
    for count in (3, 60):
        asked.clear()
        say_hello(here, count)
        counts.append(sum("enrollments" in statement for statement in asked))
    assert len(here.rows(enrollments)) == 63
    assert counts[1] <= counts[0] + 5, counts
