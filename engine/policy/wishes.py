"""What a customer wished about how often to be written to, in properties of theirs.

They are `mail_frequency`, `mail_paused_until` and `mail_snoozed`. Comes in: the values as facts have them. Goes out: a further cap and a moment, for marketing mail only, and the flows that
keep silent until a moment each, whatever their kind. Whatever is not understood is no wish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from engine.calendar import Duration
from engine.settings import Cap

FREQUENCY, PAUSED_UNTIL, SNOOZED = "mail_frequency", "mail_paused_until", "mail_snoozed"
_CAPS = {"weekly": (Cap(1, Duration(days=7)),), "monthly": (Cap(1, Duration(days=30)),)}


@dataclass(frozen=True, slots=True)
class Wish:
    """How often at most, until when not at all, and until when nothing of some flows."""

    caps: tuple[Cap, ...] = ()
    paused_until: datetime | None = None
    snoozed: Mapping[str, datetime] = field(default_factory=dict)


NO_WISH = Wish()


def wish_of(frequency: str | None, paused_until: str | None, snoozed: str | None = None) -> Wish:
    """Return a customer's wish.

    >>> wish_of("weekly", None).caps[0].count, wish_of("never", "soon")
    (1, Wish(caps=(), paused_until=None, snoozed={}))
    """
    if frequency is None and paused_until is None and snoozed is None:
        return NO_WISH
    return Wish(_CAPS.get(frequency or "", ()), _moment(paused_until), snoozes_of(snoozed))


def snoozes_of(told: str | None) -> dict[str, datetime]:
    """Return until when flows keep silent, from the words of `mail_snoozed`.

    >>> snoozes_of("cart-recovery=2026-05-15T00:00:00Z win-back=soon")
    {'cart-recovery': datetime.datetime(2026, 5, 15, 0, 0, tzinfo=datetime.timezone.utc)}
    """
    pairs = (each.partition("=") for each in (told or "").split())
    return {flow: until for flow, _, moment in pairs if (until := _moment(moment)) is not None}


def with_snooze(told: str | None, flow: str, until: datetime, now: datetime) -> str:
    """Return the words of `mail_snoozed` with one more flow that keeps silent; those that are over are left out."""
    standing = {name: moment for name, moment in snoozes_of(told).items() if moment > now} | {flow: until}
    return " ".join(f"{name}={moment.isoformat()}" for name, moment in sorted(standing.items()))


def _moment(words: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(words) if words else None
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment
