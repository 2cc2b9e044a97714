"""What became of one hand-over, as a value.

A provider answers every mail with exactly one of four outcomes, and the difference between them is the whole promise
of the outbox: `Retry` is used only where the mail was surely not accepted, `Unknown` wherever it may have been.
Reasons are for people and for the ledger: `plain` takes addresses, keys and control characters out of what the outside
said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_REASON_LENGTH = 240
_CONTROLS = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_ADDRESS = re.compile(r"<?[^\s<>,;:]*@[^\s<>,;:]*>?")
_PROVIDER_KEY = re.compile(r"SG\.[\w.-]{8,}")
_THEIR_WORDS = re.compile(r"(\(\d{3}\)|the server is closing): .*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the mail; `provider_id` is its own name for it."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The mail was surely not accepted and may be handed over again.

    `after_seconds` is the wait that the provider asked for, if it did. `setup` says that the installation is at fault
    (credentials, certificate, address of the provider) and not this mail: every other mail will meet the same.
    """

    reason: str
    after_seconds: float | None = None
    setup: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The mail was refused for good; `suppress` says that the address itself is bad and must not be mailed again."""

    reason: str
    suppress: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """The mail may have been accepted: no answer came, or one that cannot be understood."""

    reason: str


Outcome = Accepted | Retry | Failed | Unknown


def plain(text: str, *secrets: str) -> str:
    r"""Return what the outside said as one short line without addresses, keys, `secrets` and control characters.

    >>> plain("550 5.1.1 <ann@example.test>:\r\n unknown")
    '550 5.1.1 <address>: unknown'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _CONTROLS.sub(" ", text).strip()
    text = _ADDRESS.sub("<address>", _PROVIDER_KEY.sub("***", text))
    return text if len(text) <= _REASON_LENGTH else text[: _REASON_LENGTH - 1] + "…"


def for_a_log(reason: str) -> str:
    """Return a reason without the words of a reply, which may repeat a customer's name; the ledger keeps them.

    >>> for_a_log("the recipient was put off (450): 4.1.1 Ann is not here yet")
    'the recipient was put off (450)'
    """
    return _THEIR_WORDS.sub(r"\1", reason)
