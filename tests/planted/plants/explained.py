"""Bugs planted in what GUARANTEES.md promises under "Everything explained"."""

from __future__ import annotations

from typing import Any

from engine.delivery import outcome
from engine.store import database
from tests.planted.planting import breaks, instead

SILENT = "No address and no secret in a log"


@breaks(SILENT, "tests/attacks/test_silence.py::test_nothing_personal_in_logs")
def reply_of_a_provider_is_logged() -> None:
    """A log line repeats what a provider said."""
    instead(outcome, "for_a_log", lambda _: lambda reason: reason)


@breaks(SILENT, "tests/attacks/test_silence.py::test_an_error_of_the_database_tells_no_value")
def error_of_the_database_tells_its_values() -> None:
    """The values of a statement stand in its error."""

    def telling(real: Any) -> Any:
        return lambda *told, **how: real(*told, **{**how, "hide_parameters": False})

    instead(database, "create_engine", telling)
