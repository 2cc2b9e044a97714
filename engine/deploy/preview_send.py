"""Sending previews: a few mails to one address, for a look in a real mail program.

Comes in: mails of a preview and an address. Goes out: what became of each. They go the way any mail would: into the local
mailbox while in sandbox, unless `[delivery] allow` names the address; nothing is written to the database. They are dated
when they leave, each with a Message-ID of its own: mail programs show a second mail by the same one nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from engine.delivery.addresses import UnsafeMail, addr_spec
from engine.delivery.outcome import Accepted
from engine.errors import OutsideError, UsageError
from engine.render.compose import message_id
from engine.render.mail import Address, Mail
from engine.runtime.opening import open_exits
from engine.settings import Settings


def send_previews(
    settings: Settings, mails: Sequence[Mail], address: str, environ: Mapping[str, str], at: datetime
) -> list[dict[str, str]]:
    """Hand the mails over to the address at a moment (aware); raise UsageError for one that is none, OutsideError where none was taken."""
    try:
        addr_spec(address)
    except UnsafeMail as error:
        raise UsageError(f"--send-to takes an email address; this is none: {error}") from error
    exits = open_exits(settings, environ)
    done = []
    for mail in mails:
        own = replace(
            mail,
            to=Address(address),
            subject=f"[preview] {mail.subject}",
            date=at,
            message_id=message_id(f"preview {mail.key} {at.isoformat()}", mail.sender.email),
        )
        provider = exits.provider_for(own)
        (outcome,) = provider.hand_over([own])
        if not isinstance(outcome, Accepted):
            raise OutsideError(
                f"{provider.name} did not take the mail: {getattr(outcome, 'reason', type(outcome).__name__.lower())}"
            )
        done.append(
            {"subject": own.subject, "provider": provider.name, "outcome": f"handed over to {provider.name}"}
        )
    return done
