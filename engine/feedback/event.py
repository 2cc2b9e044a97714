"""Delivery events as values: what happened to one mail, in one vocabulary for every provider.

| kind | the mail | what follows |
| --- | --- | --- |
| processed, deferred | is with the provider | an `unknown` message was accepted |
| delivered | reached the mailbox's server | |
| bounced | was refused for good (`hard`), or for now | hard: the address is never mailed again; soft: after `SOFT_IN_A_ROW` |
| dropped | the provider did not send it | as its reason says |
| opened, clicked | was looked at | a fact, unless a machine did it |
| complained | was called spam | no marketing any more; counts for the brake |
| unsubscribed, resubscribed | the reader told the provider | a consent |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Kind = Literal[
    "processed", "deferred", "delivered", "bounced", "dropped", "opened", "clicked", "complained", "unsubscribed", "resubscribed"
]  # fmt: skip
SOFT_IN_A_ROW = 8


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """One event; `key` is the same when it is told again.

    `message_key` is ours, empty where the provider does not know it; `message_id` the mail's Message-ID in angle brackets;
    `address` the reader's, which is never kept; `machine` says that no person did it; `hard` that the address is bad.
    """

    key: str
    kind: Kind
    at: datetime
    message_key: str = ""
    message_id: str = ""
    provider_id: str = ""
    address: str = field(default="", repr=False)
    reason: str = ""
    hard: bool = False
    machine: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
