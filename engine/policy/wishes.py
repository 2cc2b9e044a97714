"""What a customer wished about how often to be written to: the properties `mail_frequency` and `mail_paused_until`.

Comes in: the two values as facts have them. Goes out: a further cap and a moment, for marketing mail only. Whatever is
not understood is no wish.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.calendar import Duration
from engine.settings import Cap

FREQUENCY, PAUSED_UNTIL = "mail_frequency", "mail_paused_until"
_CAPS = {"weekly": (Cap(1, Duration(days=7)),), "monthly": (Cap(1, Duration(days=30)),)}


@dataclass(frozen=True, slots=True)
class Wish:
    """How often at most, and until when not at all."""

    caps: tuple[Cap, ...] = ()
    paused_until: datetime | None = None


NO_WISH = Wish()


def wish_of(frequency: str | None, paused_until: str | None) -> Wish:
    """Return a customer's wish.

    >>> wish_of("weekly", None).caps[0].count, wish_of("never", "soon")
    (1, Wish(caps=(), paused_until=None))
    """
    if frequency is None and paused_until is None:
        return NO_WISH
    try:
        until = datetime.fromisoformat(paused_until) if paused_until else None
    except ValueError:
        until = None
    if until is not None and until.tzinfo is None:
        until = None
    return Wish(_CAPS.get(frequency or "", ()), until)
