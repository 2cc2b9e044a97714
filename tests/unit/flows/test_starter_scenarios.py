"""Every starter flow ships with a scenario for each thing that goes wrong in shops: the list is held line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine import settings as settings_module
from engine.calendar import QuietHours
from engine.flows.scenario import Scenario, Sends, SendsNot, WaitsUntil, load_scenarios

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = settings_module.load(ROOT, {})
FLOWS = sorted(
    path.stem for path in (ROOT / "flows").glob("*.yaml") if path.stem not in ("segments", "offers")
)
ALL = load_scenarios(ROOT, [])
OWN_TIMES = ("placed_at", "updated_at", "status_at", "occurred_at")


def scenarios(flow: str) -> list[Scenario]:
    """Return the scenarios that `homing init` copies for a starter flow."""
    return [each for each in ALL if each.flow == flow]


def zone_of(scenario: Scenario) -> ZoneInfo:
    """Return the clock that a scenario's times are on."""
    return ZoneInfo(str(scenario.customer.get("timezone") or SETTINGS.shop.timezone))


def moments(scenario: Scenario) -> Iterator[datetime]:
    """Yield the moments that a scenario names, on the customer's clock, in the order of writing."""
    told = [line.when.at for line in scenario.timeline]
    told += [each.when.at for each in scenario.expect if isinstance(each, Sends) and each.when is not None]
    told += [each.at for each in scenario.expect if isinstance(each, WaitsUntil)]
    for at in told:
        if at is not None:
            zone = zone_of(scenario)
            yield at.replace(tzinfo=zone) if at.tzinfo is None else at.astimezone(zone)


def sent(scenario: Scenario) -> list[str]:
    """Return the templates that must go out."""
    return [each.template for each in scenario.expect if isinstance(each, Sends)]


def happy(scenario: Scenario) -> bool:
    """One thing happens, and everything goes out that is expected to."""
    left_out = any(isinstance(each, SendsNot) for each in scenario.expect)
    return len(scenario.timeline) <= 2 and len(sent(scenario)) >= 1 and not left_out


def purchase(scenario: Scenario) -> bool:
    """Something is bought after the beginning."""
    return any(line.event == "order_placed" for line in scenario.timeline[1:])


def opt_out(scenario: Scenario) -> bool:
    """Consent is withdrawn after the beginning."""
    return any(line.event == "consent_withdrawn" for line in scenario.timeline[1:])


def quiet(scenario: Scenario) -> bool:
    """A mail goes out at the very end of the night."""
    if scenario.policy == "off":
        return False
    own: object = SETTINGS.policy.quiet_hours
    if scenario.policy != "project":
        own = scenario.policy.get("quiet_hours")
    if not own:
        return False
    ends = own.end if isinstance(own, QuietHours) else time.fromisoformat(str(own).split("-")[1])
    return any(at.time() == ends for at in list(moments(scenario))[len(scenario.timeline) :])


def capped(scenario: Scenario) -> bool:
    """A cap is told, and has no room."""
    refused = any(
        isinstance(each, SendsNot) and each.because in ("capped", "outranked") for each in scenario.expect
    )
    return refused or (isinstance(scenario.policy, Mapping) and bool(scenario.policy.get("caps")))


def clocks_change(scenario: Scenario) -> bool:
    """The clocks change between two moments of the story."""
    return len({at.utcoffset() for at in moments(scenario)}) > 1


def leap_day(scenario: Scenario) -> bool:
    """The story names a 29 February."""
    days = {(at.month, at.day) for at in moments(scenario)}
    return (2, 29) in days


def late(scenario: Scenario) -> bool:
    """Something is told after it happened, or a date after the moment that it would have set."""
    for line in scenario.timeline:
        if line.event == "customer_updated" and line.fields.get("birthday"):
            return True
        for name in OWN_TIMES:
            own = line.fields.get(name)
            if (
                own is not None
                and line.when.at is not None
                and str(own)[:16] != f"{line.when.at:%Y-%m-%d %H:%M}"
            ):
                return True
    return False


def again(scenario: Scenario) -> bool:
    """What lets somebody in happens a second time."""
    first = scenario.timeline[0]
    same = [line for line in scenario.timeline if line.event == first.event]
    return len(same) > 1 and (len(sent(scenario)) > len(set(sent(scenario))) or first.event == "order_placed")


def nothing_known(scenario: Scenario) -> bool:
    """Somebody without a name, a time zone, a country and a locale gets a mail."""
    known = {"first_name", "timezone", "country", "locale"} & set(scenario.customer)
    return not known and bool(sent(scenario))


LIST: dict[str, Callable[[Scenario], bool]] = {
    "the happy path": happy,
    "the purchase in between": purchase,
    "the opt-out in between": opt_out,
    "quiet hours": quiet,
    "a cap": capped,
    "the night when the clocks change": clocks_change,
    "29 February": leap_day,
    "a late fact": late,
    "coming in again": again,
    "no name, time zone and locale": nothing_known,
}


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("line", LIST)
def test_a_starter_flow_has_a_scenario_for(line: str, flow: str) -> None:
    """The happy path and each usual trouble stand in the flow's own file of scenarios."""
    assert [each.name for each in scenarios(flow) if LIST[line](each)], f"{flow}: no scenario for {line}"


def test_there_are_six_starter_flows() -> None:
    """The list is asked of all that `homing init` copies."""
    assert len(FLOWS) == 6
