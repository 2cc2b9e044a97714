"""What a write key may say: a key that stands in a page is everybody's.

Comes in: a call and what was read from it. Goes out: why that may not be taken, if it may not. What Homing does itself is told by Homing alone; that a customer agreed is told by keys of the scope `consent`; that one withdrew, by any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.facts.fact import Fact, Kind
from engine.facts.normalise import event_name
from engine.flows.fields import ENGINE_EVENTS
from engine.web.intake.calls import Call

_GRANTED, _WITHDRAWN = "consent_granted", "consent_withdrawn"


def with_source(call: Call, kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row that says by which key it came, where it tells of a consent and not where that was given."""
    if kind != "events" or event_name(str(row.get("event") or "")) not in (_GRANTED, _WITHDRAWN):
        return dict(row)
    told = row.get("source")
    return {
        **row,
        "source": told if isinstance(told, str) and told.strip() else f"write key {call.key}".strip(),
    }


def refusal(call: Call, facts: Sequence[Fact]) -> str:
    """Return why facts may not be taken from a call; empty where they may."""
    for fact in facts:
        name = str(fact.fields.get("event") or "") if fact.kind == "events" else ""
        if name in ENGINE_EVENTS:
            return f"event `{name}` is told by Homing itself, never from outside"
        granted = fact.kind == "consents" and fact.fields.get("state") != "withdrawn"
        if (granted or name == _GRANTED) and not call.may_grant:
            return f"event `{_GRANTED}` needs a write key of the scope `consent`, which stands in no page"
    return ""
