"""Sample mails tell dates that fit together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from engine import settings
from engine.deploy.preview import Shot, open_studio, preview_sample
from engine.deploy.preview_moments import at_moment
from engine.flows.model import Send
from engine.render.samples import NOW, personas, sample_context

ROOT = Path(__file__).parents[2]


def _shot(target: str) -> Shot:
    (shot,) = preview_sample(open_studio(settings.load(ROOT, {})), target, judged=False)
    assert shot.mail is not None, shot.error
    return shot


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("post-purchase-thank-you:thank-you-first", "Order 1042 · 2 March"),
        ("replenishment:replenish-soon", "Empty around 5 March"),
        ("replenishment:replenish-late", "ran out around 25 February"),
    ],
)
def test_a_mail_tells_of_its_own_moment(target: str, told: str) -> None:
    """A thank-you shows today's order; what runs out does so after the first reminder and before the second."""
    shot = _shot(target)
    assert shot.mail is not None
    assert NOW.date().isoformat() == "2026-03-02"
    assert told in shot.mail.text


def test_waits_before_a_step_lie_behind_it() -> None:
    """A mail after waits, also inside of a branch, comes that long after what let the customer in."""
    flows = open_studio(settings.load(ROOT, {})).project.definitions.flows
    flow = flows["cart-recovery"]
    sends = [step for step in flow.all_steps() if isinstance(step, Send)]
    context = sample_context(personas()[0])
    ages = []
    for send in sends:
        cart = at_moment(context, flow, send).cart
        assert cart is not None
        ages.append(NOW - cart["updated_at"])
    assert ages == [timedelta(hours=5), timedelta(hours=25), timedelta(hours=73)]
    assert at_moment(context, None, None) is context
