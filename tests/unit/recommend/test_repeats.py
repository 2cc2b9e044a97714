"""How far quantity counts, with numbers worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from engine.recommend.repeats import fitted_exponent
from tests.unit.recommend.shop import NOW


def history(*steps: tuple[float, float]) -> list[tuple[datetime, float]]:
    """Return purchases of so many pieces, each followed by so many days."""
    at = NOW
    found: list[tuple[datetime, float]] = []
    for pieces, days in steps:
        found.append((at, pieces))
        at += timedelta(days=days)
    return [*found, (at, 1.0)]


def test_twice_the_pieces_last_twice_as_long_until_sales_say_otherwise() -> None:
    """Nothing known, a single gap, and gaps that grow with the pieces all give 1."""
    assert fitted_exponent([]) == 1.0
    assert fitted_exponent([history((4, 10))]) == 1.0
    assert fitted_exponent([history((1, 10), (2, 20), (4, 40))] * 500) == pytest.approx(1.0)


def test_where_gaps_do_not_follow_the_pieces_quantity_stops_counting() -> None:
    """10 days after one piece as after eight: the exponent nears 0 as such customers add up."""
    flat = history((1, 10), (8, 10), (1, 10), (8, 10))
    few, many = fitted_exponent([flat] * 2), fitted_exponent([flat] * 500)
    assert few > 0.5
    assert many < 0.02


def test_the_exponent_never_leaves_its_bounds() -> None:
    """Customers who come back sooner after buying more do not make it negative."""
    assert fitted_exponent([history((1, 40), (8, 5), (1, 40), (8, 5))] * 100) == 0.0
