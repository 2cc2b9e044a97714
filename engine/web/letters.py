"""Letters: the two mails that a page itself sends, on the spot, because somebody has just asked for them.

Comes in: an address, words and one link. Goes out: a mail through the same ways as every other (the local mailbox while
in sandbox, unless `allow` names the address). An address that was erased, or that is suppressed for all mail, gets none.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from html import escape

from sqlalchemy import Connection, select

from engine.delivery.outcome import Accepted
from engine.errors import UsageError
from engine.render.brand import palette
from engine.render.compose import message_id
from engine.render.mail import Address, Mail
from engine.runtime.opening import open_exits
from engine.store import meta
from engine.store.tables import erased, suppressions
from engine.web.site import Site

log = logging.getLogger("homing.web")


@dataclass(frozen=True, slots=True)
class Letter:
    """What a letter says: lines before and after one link, which is also a button."""

    subject: str
    before: str
    button: str
    link: str
    after: str
    language: str


def may_write(connection: Connection, address: str) -> bool:
    """Return whether an address may get any mail at all."""
    return not is_barred(connection, address) and not is_erased(connection, address)


def is_barred(connection: Connection, address: str) -> bool:
    """Return whether an address is suppressed for all mail."""
    hashed = meta.keyed_hash(meta.secret(connection), address)
    barred = select(suppressions.c.id).where(
        suppressions.c.address_hash == hashed, suppressions.c.scope == "all"
    )
    return connection.execute(barred).first() is not None


def is_erased(connection: Connection, address: str) -> bool:
    """Return whether an address belonged to somebody who was erased."""
    hashed = meta.keyed_hash(meta.secret(connection), address)
    return connection.execute(select(erased.c.hash).where(erased.c.hash == hashed)).first() is not None


def send(site: Site, address: str, letter: Letter) -> bool:
    """Hand a letter over; return whether it was taken. Waits for the provider."""
    settings = site.held_settings()
    sender = Address(settings.sender.email, settings.sender.name or settings.shop.name)
    key = f"letter:{secrets.token_hex(8)}"
    mail = Mail(
        key=key,
        message_id=message_id(key, sender.email),
        sender=sender,
        to=Address(address),
        subject=letter.subject,
        html=_html(site, letter),
        text=_text(site, letter),
        date=site.now(),
        kind="transactional",
        locale=letter.language,
        metadata={"flow": "web", "step": "letter", "message": key},
    )
    try:
        exits = open_exits(settings, site.environ)
    except UsageError as error:
        log.error("a letter could not leave: %s", error)
        return False
    provider = exits.provider_for(mail)
    (outcome,) = provider.hand_over([mail])
    for way in (exits.mailbox, exits.real):
        if way is not None:
            way.close()
    if not isinstance(outcome, Accepted):
        log.error("a letter could not leave: %s", getattr(outcome, "reason", "unknown"))
    return isinstance(outcome, Accepted)


def _text(site: Site, letter: Letter) -> str:
    shop = site.settings.shop
    place = f"{shop.name}\n{shop.postal_address}".strip()
    return f"{letter.before}\n\n{letter.link}\n\n{letter.after}\n\n-- \n{place}\n"


def _html(site: Site, letter: Letter) -> str:
    shop, brand = site.settings.shop, palette(site.settings.brand)
    font, accent = escape(str(brand["font"])), escape(str(brand["accent"]))
    button = (
        f"display:inline-block;padding:14px 28px;border-radius:6px;background:{accent};"
        f"color:{escape(str(brand['on_accent']))};font-weight:600;text-decoration:none"
    )
    return (
        f'<!doctype html><html lang="{letter.language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(letter.subject)}</title></head>'
        f'<body style="margin:0;padding:32px 24px;font:16px/1.6 {font};color:#2b2a28;background:#ffffff">'
        f'<div style="max-width:520px;margin:0 auto"><p>{escape(letter.before)}</p>'
        f'<p style="margin:28px 0"><a href="{escape(letter.link)}" style="{button}">{escape(letter.button)}</a></p>'
        f'<p>{escape(letter.after)}</p><p style="color:#66625c;font-size:14px;margin-top:40px">{escape(shop.name)}<br>'
        f"{escape(shop.postal_address)}</p></div></body></html>"
    )
