"""Log lines of the daemon: one a line, for people or machines, without addresses and keys."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from engine.runtime.log_lines import LogLine


def record(message: str, **told: object) -> logging.LogRecord:
    """Return a record as the daemon makes them."""
    made = logging.LogRecord("homing.daemon", logging.INFO, "", 0, message, None, None)
    made.created = 1772355600.125
    made.told = told
    return made


def test_for_people() -> None:
    """Time, level, message, and `key=value` for the rest, quoted where a space would mislead."""
    line = LogLine(as_json=False).format(record("tick", entered=3, reason="the database failed: gone"))
    assert line == '2026-03-01T09:00:00.125Z INFO tick entered=3 reason="the database failed: gone"'


def test_for_machines() -> None:
    """The same as one JSON object."""
    line = LogLine(as_json=True).format(record("tick", entered=3))
    assert json.loads(line) == {
        "at": "2026-03-01T09:00:00.125Z",
        "level": "info",
        "message": "tick",
        "entered": 3,
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_an_address_that_slipped_in_is_taken_out(as_json: bool) -> None:
    """Neither message nor fields show an address or a provider's key, and a line break makes no second line."""
    line = LogLine(as_json=as_json).format(
        record(
            "failed for ann@example.test\nERROR forged", reason="key SG.abcdefgh.12345678 of bob@example.test"
        )
    )
    assert "example.test" not in line
    assert "SG.abc" not in line
    assert "\n" not in line


def test_a_command_that_ends_by_itself_tells_no_time() -> None:
    """The same line without the moment, and below it, where a mistake of ours is to be shown, its place."""
    line = LogLine(as_json=False, timed=False)
    assert line.format(record("a message: unknown", flow="hello")) == "INFO a message: unknown flow=hello"
    made = record("bug")
    try:
        raise ValueError("no")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *place = line.format(made).splitlines()
    assert (first, place[-1]) == ("INFO bug", "ValueError: no")


def test_what_a_library_could_not_do_is_one_line() -> None:
    """A broker that is away is told in a sentence: where in the library that was found out helps nobody."""
    try:
        raise ConnectionError("refused")
    except ConnectionError:
        made = logging.LogRecord("kombu", logging.CRITICAL, "", 0, "Couldn't ack 7", None, sys.exc_info())
    assert LogLine(as_json=False, timed=False).format(made) == "CRITICAL Couldn't ack 7"
