"""The brake on mails counts anew for each claim, but for a flow whose count costs so much that it would slow the sending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engine.runtime import rails
from engine.runtime.braking import EXACT_SECONDS, HOLDS, Counts, SendBrake
from engine.runtime.work import look
from tests.scenarios.world import World

FLOW = "flow: hello\ntopic: reminders\ntrigger: {event: said_hello}\nsteps: [{send: letter}]\n"


@pytest.mark.parametrize(
    ("took", "after", "times"),
    [
        (EXACT_SECONDS / 2, 0.001, 2),
        (EXACT_SECONDS * 2, EXACT_SECONDS * HOLDS, 1),
        (EXACT_SECONDS * 2, EXACT_SECONDS * 2 * (HOLDS + 1), 2),
    ],
)
def test_a_count_holds_as_long_as_it_was_dear(
    here: World, monkeypatch: pytest.MonkeyPatch, took: float, after: float, times: int
) -> None:
    """A cheap count is made for each claim, a dear one again when twenty times as long has gone by; a new allowance is heard."""
    now, asked = 100.0, list[str]()

    def counted(_connection: Any, flows: Mapping[str, Any], _at: Any) -> dict[str, str]:
        nonlocal now
        now += took
        asked.extend(flows)
        return {}

    here.flow(FLOW)
    here.apply()
    monkeypatch.setattr(rails, "brake_on_sends", counted)
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

    def stops(_connection: Any, flows: Mapping[str, Any], _at: Any) -> dict[str, str]:
        nonlocal now
        now += 10
        return dict.fromkeys(flows, "would mail everybody")

    here.flow(FLOW)
    here.apply()
    monkeypatch.setattr(rails, "brake_on_sends", stops)
    with here.database.read() as connection:
        brake = SendBrake(here.database, look(connection, here.settings, here.now), Counts(), lambda: now)
        for _ in range(2):
            assert brake.stopped(connection, ["hello"]) == {"hello": "would mail everybody"}
