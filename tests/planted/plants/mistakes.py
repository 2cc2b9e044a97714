"""Bugs planted in what GUARANTEES.md promises under "Mistakes are told"."""

from __future__ import annotations

import re
from typing import Any

from engine.flows import fixing
from engine.runtime import (
    rails,
)
from tests.planted.planting import breaks, instead


@breaks(
    "Mending keeps comments and layout, and mending twice changes nothing more",
    "tests/unit/flows/test_validate.py::test_what_can_be_mended_is",
)
def mending_drops_comments() -> None:
    """A file that is mended loses what stands behind a #."""
    instead(
        fixing,
        "fixes",
        lambda real: lambda *told: {path: re.sub(r" +#.*", "", text) for path, text in real(*told).items()},
    )


RAILS = "tests/scenarios/test_rails.py::"


@breaks(
    "The number that a plan names lets a flow through", RAILS + "test_an_allowance_lets_just_so_many_through"
)
def allowance_ignores_its_number() -> None:
    """Where any number was allowed, everybody may."""

    def lenient(real: Any) -> Any:
        return lambda connection, live, *rest: None if live.allowance else real(connection, live, *rest)

    instead(rails, "_brake", lenient)
