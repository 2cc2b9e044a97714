"""One address is one customer: what joining two of them does to the mails of both, at once."""

from __future__ import annotations

import pytest

from engine.facts.finding import find_customer
from engine.facts.rights import suppress
from tests.scenarios.world import World

FLOW = "flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nsteps: [{send: letter}, {wait: 5d}, {send: other}]\n"
SHIPPED = "flow: s\nkind: transactional\ntrigger: {event: app_opened}\nsteps: [{wait: 5d}, {send: third}]\n"


@pytest.mark.parametrize("who", ["ann", "ben"])
@pytest.mark.parametrize("topic", ["reminders", "all", "offers"])
def test_the_stricter_consent_wins_at_once(here: World, who: str, topic: str) -> None:
    """A withdrawal that comes with joining two customers ends enrollments with that fact, not at their next step."""
    here.flow(FLOW)
    here.flow(SHIPPED)
    here.apply()
    here.customer("ann", email="ann@example.test")
    here.customer("ben", email="ben@example.test")
    here.event("app_opened", "ann")
    here.go_on(hours=1)
    if who == "ben":
        here.tell(
            "consents",
            {"customer": "ben", "topic": topic, "state": "withdrawn", "at": here.now.isoformat()},
        )
    here.go_on(days=1)
    if who == "ann":  # the other way round: she is inside, and it is the newer id that goes
        here.tell("customers", {"external_id": "cleo", "email": "cleo@example.test"})
        here.tell(
            "consents",
            {"customer": "cleo", "topic": topic, "state": "withdrawn", "at": here.now.isoformat()},
        )
        here.tell("customers", {"external_id": "cleo", "email": "ann@example.test"})
    else:
        here.tell("customers", {"external_id": "ben", "email": "ann@example.test"})
    left = ("f", "exited", "no_consent") if topic != "offers" else ("f", "waiting", None)
    assert here.inside[0] == left
    here.go_on(days=10)
    assert here.steps() == (["letter", "third"] if topic != "offers" else ["letter", "other", "third"])


def test_a_suppression_comes_with_them(here: World) -> None:
    """Who was never to be mailed is not mailed under the other id either, from the joining on."""
    here.flow(FLOW)
    here.flow(SHIPPED)
    here.apply()
    here.customer("ann", email="ann@example.test")
    here.customer("ben", email="ben@example.test")
    here.event("app_opened", "ann")
    here.go_on(days=1)
    with here.database.write() as connection:
        found = find_customer(connection, "ben")
        assert found is not None
        suppress(connection, found, now=here.now)
    here.tell("customers", {"external_id": "ben", "email": "ann@example.test"})
    assert {(flow, reason) for flow, _, reason in here.inside} == {("f", "suppressed"), ("s", "suppressed")}
    here.go_on(days=10)
    assert here.steps() == ["letter"]
