"""What became of a claimed message: a mail, a webhook call, or the reason why there is neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.delivery.claim import Claimed
from engine.render.mail import Mail


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """What a webhook step hands over: the target's name and the body."""

    key: str
    to: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one claimed message: a mail or a webhook call, or the reason why there is none.

    `error` tells that the template or the customer's data failed, which is tried again before it is given up; `links` is
    where the mail's counted links lead, by number.
    """

    message: Claimed
    mail: Mail | None = None
    call: WebhookCall | None = None
    reason: str | None = None
    error: str | None = None
    slots: Mapping[str, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    links: Sequence[str] = ()
