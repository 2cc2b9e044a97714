"""Finds the lowest point of a function of a few variables, without derivatives (Nelder and Mead, 1965).

Comes in: a function and a starting point. Goes out: the best point, its value, and whether the search settled. Promises
the same answer for the same input, on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isnan

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lowest:
    """Where the search ended; `settled` is false where it ran out of rounds."""

    point: Point
    value: float
    settled: bool


def minimise(
    function: Callable[[Point], float],
    start: Sequence[float],
    *,
    step: float = 0.5,
    near: float = 1e-7,
    rounds: int = 2000,
) -> Lowest:
    """Search from `start` until the simplex and its values lie within `near` of each other.

    >>> found = minimise(lambda at: (at[0] - 3) ** 2 + (at[1] + 1) ** 2, (0.0, 0.0))
    >>> [round(value, 4) for value in found.point], found.settled
    ([3.0, -1.0], True)
    """

    def value_at(point: Point) -> float:
        value = function(point)
        return inf if isnan(value) else value

    first = tuple(start)
    points = [first, *(_moved(first, axis, step) for axis in range(len(first)))]
    simplex = sorted((value_at(point), point) for point in points)
    for _ in range(rounds):
        lowest, highest = simplex[0], simplex[-1]
        if highest[0] - lowest[0] <= near and _width([point for _, point in simplex]) <= near:
            return Lowest(lowest[1], lowest[0], settled=True)
        simplex = sorted(_step(simplex, value_at))
    return Lowest(simplex[0][1], simplex[0][0], settled=False)


_Simplex = list[tuple[float, Point]]


def _step(simplex: _Simplex, value_at: Callable[[Point], float]) -> _Simplex:
    """Return the simplex with its worst corner reflected, expanded or contracted, or all of it shrunk to the best."""
    kept, (worst_value, worst) = simplex[:-1], simplex[-1]
    centre = tuple(sum(point[axis] for _, point in kept) / len(kept) for axis in range(len(worst)))

    def corner(far: float) -> tuple[float, Point]:
        point = tuple(middle + far * (middle - away) for middle, away in zip(centre, worst, strict=True))
        return value_at(point), point

    reflected = corner(1.0)
    if reflected[0] < kept[0][0]:
        return [*kept, min(corner(2.0), reflected)]
    if reflected[0] < kept[-1][0]:
        return [*kept, reflected]
    contracted = corner(0.5 if reflected[0] < worst_value else -0.5)
    if contracted[0] < min(reflected[0], worst_value):
        return [*kept, contracted]
    best = simplex[0][1]
    halfway = [tuple((a + b) / 2 for a, b in zip(best, point, strict=True)) for _, point in simplex[1:]]
    return [simplex[0], *((value_at(point), point) for point in halfway)]


def _moved(point: Point, axis: int, step: float) -> Point:
    return (*point[:axis], point[axis] + step, *point[axis + 1 :])


def _width(points: Sequence[Point]) -> float:
    widths: list[float] = [max(axis) - min(axis) for axis in zip(*points, strict=True)]
    return max(widths)
