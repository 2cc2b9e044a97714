"""The brake on mails counts anew for each claim, but for a flow whose count costs so much that it would slow the sending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engine.runtime import rails
from engine.runtime.braking import EXACT, HOLDS, Counts, SendBrake
from engine.runtime.work import look
from tests.scenarios.world import World

FLOW = "flow: hello\ntopic: reminders\ntrigger: {event: said_hello}\nsteps: [{send: letter}]\n"


@pytest.mark.parametrize(
    ("due", "after", "times"),
    [(EXACT, 0.001, 2), (EXACT + 1, float(HOLDS), 1), (EXACT + 1, float(HOLDS + 1), 2)],
)
def test_a_count_holds_as_long_as_it_was_dear(
    here: World, monkeypatch: pytest.MonkeyPatch, due: int, after: float, times: int
) -> None:
    """Few mails are counted for each claim, however long it takes, very many again when twenty times as long has gone by."""
    now, asked = 100.0, list[str]()

    def counted(_connection: Any, flows: Mapping[str, Any], _at: Any) -> dict[str, int]:
        nonlocal now
        now += 1.0
        asked.extend(flows)
        return dict.fromkeys(flows, due)

    here.flow(FLOW)
    here.apply()
    monkeypatch.setattr(rails, "due_to_send", counted)
    monkeypatch.setattr(rails, "brake_on_sends", lambda *_: {})
    with here.database.read() as connection:
        brake = SendBrake(here.database, look(connection, here.settings, here.now), Counts(), lambda: now)
        assert not brake.stopped(connection, ["hello", "of another time"])
        now = 100.0 + after
        assert not brake.stopped(connection, ["hello"])
    assert asked == ["hello"] * times


def test_a_flow_that_is_stopped_is_counted_at_once_when_it_goes_on(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found to be too much is not remembered as fine, however long the count took."""
    now = 100.0

    def stops(_connection: Any, flows: Mapping[str, Any], _due: Any, _at: Any) -> dict[str, str]:
        nonlocal now
        now += 10
        return dict.fromkeys(flows, "would mail everybody")

    here.flow(FLOW)
    here.apply()
    monkeypatch.setattr(rails, "due_to_send", lambda _connection, flows, _at: dict.fromkeys(flows, EXACT + 1))
    monkeypatch.setattr(rails, "brake_on_sends", stops)
    with here.database.read() as connection:
        brake = SendBrake(here.database, look(connection, here.settings, here.now), Counts(), lambda: now)
        for _ in range(2):
            assert brake.stopped(connection, ["hello"]) == {"hello": "would mail everybody"}
