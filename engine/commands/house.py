"""The command of the house: its password."""

from __future__ import annotations

import secrets
import sys

import click

from engine.commands.session import Session, command
from engine.web.house import password as door


def register(group: click.Group) -> None:
    """Add this command to `homing`."""

    @group.group("house")
    def house() -> None:
        """The pages of the house, at /house of `homing serve`."""

    @command(house, "password")
    @click.option("--make", is_flag=True, help="Make one of chance and show it, this once.")
    @click.option("--take", is_flag=True, help="Lock the house: no password opens it.")
    def password(session: Session, make: bool, take: bool) -> None:
        """Set the password of the house (asked for, or read from stdin); ends every visit."""
        if take:
            with session.database.write() as connection:
                door.take_password(connection)
            _told(session, {"locked": True}, "the house is locked")
            return
        given = secrets.token_urlsafe(15) if make else _asked()
        with session.database.write() as connection:
            door.set_password(connection, given)
        shown: dict[str, object] = {"password": given} if make else {"locked": False}
        _told(session, shown, f"{given}\nthis is shown once" if make else "the password is set")


def _told(session: Session, document: dict[str, object], words: str) -> None:
    if session.as_json:
        session.document(document)
    session.say(words)


def _asked() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")
