"""Poison in a step or a mail: whoever it concerns is tried three times and set aside; the others pay next to nothing for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from engine.delivery import mailroom
from engine.journeys import advance as advancing
from engine.journeys.decide import decide
from engine.journeys.effects import take
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.store.tables import customers, journal, messages, quarantine
from tests.scenarios.world import World, world

PEOPLE = tuple(f"p{number}" for number in range(10))
FLOW = "flow: hello\ntopic: reminders\ntrigger: {event: said_hello}\nsteps: [{send: share}]\n"
SHARE = """---
subject: "For {{ customer.external_id }}"
---
<mjml><mj-body><mj-section><mj-column>
  <mj-text>One tenth of your share is {{ 10 / customer.properties.share }}.</mj-text>
  <mj-text><a href="{{ links.unsubscribe }}">Unsubscribe</a> {{ shop.postal_address }}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""
Poisoning = Callable[[World, set[str], pytest.MonkeyPatch], None]


def nothing_to_share(here: World, victims: set[str], _patch: pytest.MonkeyPatch) -> None:
    """Let the template divide by nothing."""
    for name in victims:
        here.customer(name, share=0)


def ids_of(here: World, victims: set[str]) -> set[int]:
    """Return the customers' numbers."""
    return {row.id for row in here.rows(customers) if row.external_id in victims}


def undecidable(here: World, victims: set[str], patch: pytest.MonkeyPatch) -> None:
    """Let nobody be able to say what these do next."""
    ids = ids_of(here, victims)

    def fails(program: Any, standing: Any, *rest: Any) -> Any:
        if standing.customer_id in ids:
            raise ArithmeticError("secret")
        return decide(program, standing, *rest)

    patch.setattr(advancing, "decide", fails)


def impossible(here: World, victims: set[str], patch: pytest.MonkeyPatch) -> None:
    """Let what was decided for these fail when all of it is done."""
    ids = ids_of(here, victims)

    def fails(walker: Any, *rest: Any) -> None:
        take(walker, *rest)
        if walker.customer_id in ids:
            raise ArithmeticError("secret")

    patch.setattr(advancing, "take", fails)


def play(here: World, poisoning: Poisoning, victims: set[str], patch: pytest.MonkeyPatch) -> int:
    """Let everybody and the victims say hello, and an hour go by; return how many statements that took."""
    here.flow(FLOW)
    here.write("templates/share.mjml", SHARE)
    everybody = sorted({*PEOPLE, *victims})
    for name in everybody:
        here.customer(name, share=5)
    here.apply()
    poisoning(here, victims, patch)
    for name in everybody:
        here.event("said_hello", name)
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(here.database.engine, "before_cursor_execute", note)
    try:
        here.go_on(hours=1)
    finally:
        event.remove(here.database.engine, "before_cursor_execute", note)
    return len(statements)


def test_a_mail_that_cannot_be_made_is_set_aside(anywhere: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three tries it is dropped, with the template's place in the quarantine; everybody else got theirs at once."""
    here = anywhere
    play(here, nothing_to_share, {"bad1", "bad2"}, monkeypatch)
    assert {name for _, name, _ in here.sent} == set(PEOPLE)
    assert len({moment for moment, _, _ in here.sent}) == 1
    failed = [row for row in here.rows(messages) if row.state == "dropped"]
    assert [row.reason for row in failed] == ["template_error"] * 2
    aside = here.rows(quarantine)
    assert [(row.kind, row.subject, row.tries) for row in aside] == [("template", "share", 3)] * 2
    assert {row.payload["message"] for row in aside} == {row.key for row in failed}
    assert all("templates/share.mjml" in row.reason and ":5:" in row.reason for row in aside), aside[0].reason


@pytest.mark.parametrize("name", ["read_material", "context_of"])
def test_a_mail_that_fails_as_nobody_foresaw_is_set_aside_alone(
    anywhere: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A bug that one customer's data shows while mails are read for or made costs nobody else theirs."""
    here = anywhere
    real = getattr(mailroom, name)

    def poisoning(_here: World, victims: set[str], patch: pytest.MonkeyPatch) -> None:
        bad = ids_of(here, victims)

        def fails(*given: Any) -> Any:
            messages_at = given[1] if name == "read_material" else [given[0]]
            if bad & {message.customer_id for message in messages_at}:
                raise AttributeError("secret")
            return real(*given)

        patch.setattr(mailroom, name, fails)

    play(here, poisoning, {"bad1", "bad2"}, monkeypatch)
    assert {name for _, name, _ in here.sent} == set(PEOPLE)
    assert len({moment for moment, _, _ in here.sent}) == 1
    assert [(row.kind, row.tries) for row in here.rows(quarantine)] == [("template", 3)] * 2
    assert all(
        "a bug of ours stopped it" in row.reason and "secret" not in row.reason
        for row in here.rows(quarantine)
    )


def test_where_everybodys_mail_fails_nobodys_is_given_up(
    anywhere: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails for more than ten at once is no customer's: the pass says so, and the mails wait until it is mended."""
    here = anywhere

    def fails(*_: Any) -> Any:
        raise AttributeError("secret")

    def poisoning(_here: World, _victims: set[str], patch: pytest.MonkeyPatch) -> None:
        patch.setattr(mailroom, "context_of", fails)

    with monkeypatch.context() as patch, pytest.raises(AttributeError):
        play(here, poisoning, {"more"}, patch)
    assert here.rows(quarantine) == []
    here.go_on(hours=1)
    assert {name for _, name, _ in here.sent} == {*PEOPLE, "more"}


@pytest.mark.parametrize("poisoning", [undecidable, impossible])
def test_steps_that_fail_together_are_set_aside(
    anywhere: World, monkeypatch: pytest.MonkeyPatch, poisoning: Poisoning
) -> None:
    """Several customers of one batch whose step fails have three tries each; everybody else goes on at once."""
    here = anywhere
    play(here, poisoning, {"bad1", "bad2"}, monkeypatch)
    assert {name for _, name, _ in here.sent} == set(PEOPLE)
    aside = here.rows(quarantine)
    assert sorted((row.kind, row.subject, row.tries) for row in aside) == [
        ("customer", "bad1", 3),
        ("customer", "bad2", 3),
    ]
    assert sorted(state for _, state, _ in here.inside) == ["completed"] * 10 + ["failed"] * 2
    assert here.reasons("failed") == ["quarantined"] * 2
    bad = ids_of(here, {"bad1", "bad2"})
    assert not [row for row in here.rows(messages) if row.customer_id in bad]
    told = [row.decision for row in here.rows(journal) if row.customer_id in bad]
    assert sorted(told) == ["entered", "entered", "failed", "failed"]


@pytest.mark.parametrize("poisoning", [nothing_to_share, undecidable, impossible])
def test_what_fails_is_set_aside_by_a_few_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poisoning: Poisoning
) -> None:
    """Where six fail, setting them aside takes no more statements than where one does, and no batch is done again."""
    took = []
    for turn, number in enumerate((1, 1, 6)):  # the first may pay for what a process learns once
        database = connect("sqlite://")
        upgrade(database)
        with monkeypatch.context() as patch, world(tmp_path / str(turn), database) as here:
            took.append(play(here, poisoning, {f"bad{each}" for each in range(number)}, patch))
            assert len(here.rows(quarantine)) == number
        database.close()
    assert took[1] == took[2]
