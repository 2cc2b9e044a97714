"""A plugin of pytest that writes down which tests failed, and whether it was by an assertion of theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

SEEN = "HOMING_PLANT_SEEN"
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
FAILURES = (AssertionError, pytest.fail.Exception)  # the second: an error that did not come


def pytest_sessionstart() -> None:
    """Let Hypothesis fail with the first example that does: making it small would take minutes, and nobody reads it."""
    settings.register_profile("planted", settings(), phases=QUICK, report_multiple_bugs=False)
    settings.load_profile("planted")


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(
    node: pytest.Item | pytest.Collector,
    call: pytest.CallInfo[object],
    report: pytest.TestReport | pytest.CollectReport,
) -> None:
    """Write one line for each failure: the test, whether it was an assertion of the test, and its first words."""
    assert call.excinfo is not None
    seen = {
        "test": node.nodeid,
        "by_assertion": report.when == "call" and _is_assertion(call.excinfo.value),
        "words": " ".join(call.excinfo.exconly().split())[:300],
    }
    with Path(os.environ[SEEN]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(seen) + "\n")


def _is_assertion(error: BaseException) -> bool:
    """Return whether a test said so itself; schemathesis says several at once."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_assertion, error.exceptions))
    return isinstance(error, FAILURES)
