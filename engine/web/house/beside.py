"""Groups side by side: the arms of an experiment, and a flow's holdout; by the goal and by what was spent, with intervals.

Comes in: a connection and a flow. Goes out: rows with their charts. Shares have Wilson's interval, amounts the normal one;
where intervals overlap widely nothing is decided, and the page says so.
"""

from __future__ import annotations

from datetime import datetime
from math import sqrt
from typing import Any

from sqlalchemy import Connection, func, select

from engine.flows.model import Experiment, Flow
from engine.store.tables import enrollments, journal
from engine.web.house.charts import amounts, compared
from engine.web.house.worth import spending_beside_holdout, spending_by_arm


def arms(connection: Connection, flow: Flow, now: datetime, currency: str) -> list[dict[str, Any]]:
    """Return each experiment with its arms: how many took it, reached the goal, and what they spent."""
    wanted = [step.id for step in flow.all_steps() if isinstance(step, Experiment)]
    if not wanted:
        return []
    told, own = journal.c, enrollments.c
    joined = journal.join(enrollments, own.id == told.enrollment_id)
    query = select(told.step, told.detail, own.goal_at.is_not(None)).select_from(joined)
    took: dict[tuple[str, str], list[int]] = {}
    for step, detail, reached in connection.execute(
        query.where(told.flow == flow.name, told.decision == "took", told.step.in_(wanted))
    ):
        numbers = took.setdefault((step, str((detail or {}).get("arm"))), [0, 0])
        numbers[0] += 1
        numbers[1] += bool(reached)
    found = []
    for step in wanted:
        spent = spending_by_arm(connection, flow.name, step, now, currency)
        rows = [(arm, number, goal) for (of, arm), (number, goal) in sorted(took.items()) if of == step]
        found.append(
            {
                "step": step,
                "rows": rows,
                "chart": compared(
                    [(arm, goal, number, *interval(goal, number)) for arm, number, goal in rows]
                ),
                "spent": amounts([(arm, spent[arm]) for arm, *_ in rows if arm in spent], currency),
            }
        )
    return found


def holdout(connection: Connection, name: str, now: datetime, currency: str) -> dict[str, Any] | None:
    """Return how the holdout fared beside the others, or None where there is none."""
    own = enrollments.c
    held = (own.state == "held_out").label("held")
    query = select(held, func.count(), func.count(own.goal_at)).where(own.flow == name).group_by(held)
    found = {bool(row[0]): (row[1], row[2]) for row in connection.execute(query)}
    if True not in found:
        return None
    rows = [("mailed", *found.get(False, (0, 0))), ("holdout", *found[True])]
    spent = spending_beside_holdout(connection, name, now, currency)
    means = [(words, spent[held]) for words, held in (("mailed", False), ("holdout", True)) if held in spent]
    return {
        "rows": rows,
        "chart": compared([(words, goal, number, *interval(goal, number)) for words, number, goal in rows]),
        "spent": amounts(means, currency),
    }


def interval(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927); (0, 1) where nothing was counted.

    >>> tuple(round(bound, 3) for bound in interval(5, 50))
    (0.043, 0.214)
    """
    if not whole:
        return 0.0, 1.0
    z, found = 1.96, part / whole
    middle = (found + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * sqrt(found * (1 - found) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    return max(0.0, middle - half), min(1.0, middle + half)
