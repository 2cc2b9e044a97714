"""What every provider does, and the one place that makes one.

A provider's name and its options from `homing.toml` come in, a `Provider` goes out. Wrong options raise `UsageError`
with the likely one; what can only be found out by asking (a refused password, a server that is down) never raises: it
is an outcome of `hand_over` or a sentence of `check`. Providers may be used by several threads at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.delivery.mailbox import MailboxProvider
from engine.delivery.options import Options
from engine.delivery.outcome import Outcome
from engine.delivery.smtp import SmtpProvider
from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.render.mail import Mail

PROVIDERS = ("mailbox", "smtp", "sendgrid")


class Provider(Protocol):
    """Takes finished mails out of the house."""

    @property
    def name(self) -> str:
        """The name by which settings and the ledger know it."""
        ...

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Hand the mails over once each and return what became of each, in the same order.

        Ends within the provider's own time limits and never raises for what the outside does.
        """
        ...

    def check(self) -> list[str]:
        """Return what would keep mails from leaving (credentials, connection), in plain sentences; sends nothing."""
        ...

    def close(self) -> None:
        """Let go of connections; the provider opens new ones if it is used again."""
        ...


def make_provider(
    name: str, options: Mapping[str, Any], *, environ: Mapping[str, str], project: Path
) -> Provider:
    """Return the provider with that name; `options` is `[delivery.NAME]`, secrets come from `environ`.

    `project` is the folder that relative paths start from. Opens no connection. Raises UsageError for an unknown name,
    an unknown option or a value that does not fit.
    """
    reading = Options(f"delivery.{name}", options, environ=environ, project=project)
    match name:
        case "mailbox":
            return MailboxProvider.from_options(reading)
        case "smtp":
            return SmtpProvider.from_options(reading)
        case "sendgrid":
            # Imported here: the package takes 0.1 s to load, and most installations never need it.
            from engine.delivery.sendgrid import SendGridProvider  # noqa: PLC0415

            return SendGridProvider.from_options(reading)
    known = ", ".join(PROVIDERS)
    raise UsageError(
        " ".join(
            filter(None, [f'there is no provider "{name}" (known: {known})', did_you_mean(name, PROVIDERS)])
        )
    )
