"""Whose clock a scenario is on, and when each line of its timeline happens.

Comes in: a scenario and the shop's time zone. Goes out: the customer's zone and aware moments. The check of scenarios and
their play both ask here, so that what is checked is what happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from engine.calendar import ONE_ZONE_COUNTRIES, add, at_wall
from engine.flows.scenario import Happening, Scenario


def zone_of(scenario: Scenario, shop_zone: str) -> str:
    """Return the customer's clock: the own zone, else that of a country with one, else the shop's."""
    told = scenario.customer.get("timezone")
    return str(told or ONE_ZONE_COUNTRIES.get(str(scenario.customer.get("country", "")).upper()) or shop_zone)


def aware(moment: datetime, zone: str) -> datetime:
    """Return a moment that may be naive (then on that zone's clock) as an aware one."""
    return moment if moment.tzinfo is not None else at_wall(moment.date(), moment.time(), zone)


def moments_of(timeline: Sequence[Happening], zone: str) -> list[datetime]:
    """Return when each line of a timeline happens."""
    moments: list[datetime] = []
    for line in timeline:
        before = moments[-1] if moments else None
        moment = aware(line.when.at, zone) if line.when.at is not None else None
        if moment is None:
            assert before is not None  # the first line says when it is
            assert line.when.after is not None
            moment = add(before, line.when.after, zone)
        moments.append(moment)
    return moments
