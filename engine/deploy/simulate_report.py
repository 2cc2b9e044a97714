"""A simulation as plain data: everything the page shows, in one document.

Comes in: counted simulations. Goes out: JSON's types, keys in one order. Promises the same bytes for the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from math import sqrt
from typing import Any

from engine.calendar import local
from engine.deploy.simulate import Simulation
from engine.deploy.simulate_tally import BOUGHT, NEAR, Tally
from engine.facts.fact import iso

Document = dict[str, Any]


def document(
    simulation: Simulation, runs: Sequence[Simulation] = (), against: Simulation | None = None
) -> Document:
    """Return everything that is reported; `runs` are the same stretch with other seeds, `against` other flows."""
    stretch = simulation.stretch
    found: Document = {
        "mode": "replay" if stretch.replay else "forecast",
        "from": iso(stretch.start),
        "until": iso(stretch.until),
        "behaviour": "as recorded" if stretch.replay else stretch.behaviour,
        "seed": stretch.seed,
        "clock": "every moment"
        if stretch.beat is None
        else f"every {int(stretch.beat / timedelta(minutes=1))} minutes",
        "sample": stretch.sample,
        "played": simulation.play.name,
        "flows": sorted(simulation.play.flows),
        **counted(simulation),
    }
    if runs:
        found["runs"] = len(runs) + 1
        found["interval"] = interval([simulation, *runs])
    if against is not None:
        found["against"] = {"played": against.play.name, **counted(against)}
        found["comparison"] = comparison(simulation.tally, against.tally)
    return found


def counted(simulation: Simulation) -> Document:
    """Return the numbers of one simulation."""
    tally = simulation.tally
    return {
        "customers": tally.customers,
        "total": sum(tally.mails.values()),
        "mails": nested(tally.mails),
        "entered": _sorted(tally.entered),
        "goals": _sorted(tally.goals),
        "not_sent": _by_second(tally.not_sent),
        "reasons": _reasons(tally),
        "deferred": nested(_swapped(tally.deferred)),
        "days": _days(simulation),
        "per_customer": _per_customer(tally),
        "hours": [[tally.hours[day, hour] for hour in range(24)] for day in range(7)],
        "pressure": _pressure(tally),
        "exits": nested(tally.exits),
        "exits_by_purchase": _bought_exits(tally),
        "purchases": _purchases(simulation),
        "recommendations": _recommendations(tally),
        "facts": _sorted(tally.facts),
    }


def nested(found: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Return counts by two words as a mapping of mappings, in order.

    >>> nested({("b", "x"): 1, ("a", "y"): 2})
    {'a': {'y': 2}, 'b': {'x': 1}}
    """
    result: dict[str, dict[str, int]] = {}
    for (first, second), number in sorted(found.items()):
        if number:
            result.setdefault(first, {})[second] = number
    return result


def _swapped(found: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {(second, first): number for (first, second), number in found.items()}


def _sorted(found: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in sorted(found.items()) if number}


def _by_second(found: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (_, second), number in found.items():
        counts[second] += number
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _reasons(tally: Tally) -> list[Document]:
    flows = nested(_swapped(tally.not_sent))
    return [
        {
            "reason": reason, "count": number, "flows": flows[reason],
            "examples": [
                {"at": at, "customer": who, "flow": flow, "step": step or None}
                for at, who, flow, step in tally.examples.get(reason, [])
            ],
        }
        for reason, number in _by_second(tally.not_sent).items()
    ]  # fmt: skip


def _days(simulation: Simulation) -> list[Document]:
    """Return every day of the stretch, those without mails too."""
    zone = simulation.play.project.settings.shop.timezone
    by_day = nested(simulation.tally.days)
    first, last = (
        local(moment, zone).date() for moment in (simulation.stretch.start, simulation.stretch.until)
    )
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [{"day": day.isoformat(), "mails": by_day.get(day.isoformat(), {})} for day in days]


def _per_customer(tally: Tally) -> Document:
    people = max(tally.customers, 1)
    mails = sum(number * count for number, count in tally.per_customer.items())
    return {
        "mean": round(mails / people, 3),
        "most": max((number for number, count in tally.per_customer.items() if count), default=0),
        "distribution": {str(number): count for number, count in sorted(tally.per_customer.items()) if count},
        "worst": [{"customer": who, "mails": number} for number, who in tally.worst],
    }


def _pressure(tally: Tally) -> Document:
    """Return how often caps and quiet hours stood in the way, beside what went."""
    sent = sum(tally.mails.values())
    capped = {
        reason: sum(n for (_, r), n in tally.not_sent.items() if r == reason)
        for reason in ("capped", "outranked")
    }
    quiet = sum(number for (_, reason), number in tally.deferred.items() if reason == "quiet_hours")
    waited = sum(number for (_, reason), number in tally.deferred.items() if reason == "capped")
    due = sent + sum(capped.values())
    return {
        "due": due, "sent": sent, **capped, "waited_for_a_cap": waited, "deferred_by_quiet_hours": quiet,
        "capped_share": round(sum(capped.values()) / due, 4) if due else 0.0,
        "quiet_share": round(quiet / due, 4) if due else 0.0,
    }  # fmt: skip


def _bought_exits(tally: Tally) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (flow, reason), number in tally.exits.items():
        if reason.startswith("exited:") and BOUGHT in reason:
            counts[flow] += number
    return _sorted(counts)


def _purchases(simulation: Simulation) -> Document:
    tally = simulation.tally
    return {
        "days": NEAR.days,
        "currency": simulation.play.project.settings.shop.currency,
        "all": tally.orders["all"],
        "after_a_mail": tally.orders["after a mail"],
        "value": money(tally.revenue["all"]),
        "value_after_a_mail": money(tally.revenue["after a mail"]),
        "by_flow": {
            flow: {"orders": number, "value_last_mail": money(tally.revenue[flow])}
            for flow, number in sorted(tally.near.items())
        },
    }


def money(cents: int) -> str:
    """Return cents as an amount.

    >>> money(123450)
    '1234.50'
    """
    return f"{cents // 100}.{cents % 100:02d}"


def _recommendations(tally: Tally) -> list[Document]:
    strategies = nested(tally.slots)
    return [
        {
            "block": block, "mails": numbers.get("mails", 0), "wanted": numbers.get("wanted", 0),
            "filled": numbers.get("filled", 0), "short": numbers.get("wanted", 0) - numbers.get("filled", 0),
            "empty": numbers.get("empty", 0), "strategies": strategies.get(block, {}),
        }
        for block, numbers in nested(tally.blocks).items()
    ]  # fmt: skip


# ── several ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def interval(simulations: Sequence[Simulation]) -> Document:
    """Return the mean of each flow's mails over the runs, and two standard deviations to both sides."""
    flows = sorted({flow for each in simulations for flow, _ in each.tally.mails})
    totals = {
        flow: [sum(n for (name, _), n in each.tally.mails.items() if name == flow) for each in simulations]
        for flow in flows
    }
    totals["total"] = [sum(each.tally.mails.values()) for each in simulations]
    return {name: _around(numbers) for name, numbers in totals.items()}


def _around(numbers: Sequence[int]) -> Document:
    mean = sum(numbers) / len(numbers)
    spread = sum((number - mean) ** 2 for number in numbers) / max(1, len(numbers) - 1)
    # A course of events is never surer than its number of mails: counts vary by their square root at least.
    deviation = sqrt(max(spread, mean))
    return {
        "low": max(0, round(mean - 2 * deviation)),
        "expected": round(mean),
        "high": round(mean + 2 * deviation),
    }


def comparison(this: Tally, other: Tally) -> list[Document]:
    """Return mails by flow and step side by side."""
    keys = sorted({*this.mails, *other.mails})
    return [
        {"flow": flow, "step": step, "this": this.mails[flow, step], "against": other.mails[flow, step]}
        for flow, step in keys
    ]


def weekly(days: Iterable[Document]) -> list[Document]:
    """Return days gathered into weeks, named by their Mondays, for long stretches."""
    weeks: dict[str, Counter[str]] = {}
    for each in days:
        day = date.fromisoformat(each["day"])
        monday = (day - timedelta(days=day.weekday())).isoformat()
        weeks.setdefault(monday, Counter()).update(each["mails"])
    return [{"day": monday, "mails": dict(sorted(mails.items()))} for monday, mails in weeks.items()]
