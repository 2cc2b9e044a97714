"""Bugs planted on purpose, one switch each: the crash suite must find every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, update

from engine.delivery import dispatch, recording
from engine.delivery.outcome import Accepted
from engine.store import bulk
from engine.store.tables import messages


def resend() -> None:
    """Send again what was under way when a worker died."""

    def recover(connection: Connection, *_: Any) -> int:
        held = messages.c.state.in_(("claimed", "handing_over"))
        back = {"state": "pending", "claimed_by": None, "lease_until": None}
        connection.execute(update(messages).where(held).values(**back))
        return 0

    setattr(dispatch, "recover", recover)  # noqa: B010 - for this process


def no_fence() -> None:
    """Believe whoever speaks, however late."""
    together = bulk.together

    def unfenced(connection: Connection, *changes: bulk.Change) -> list[int]:
        loose = [
            bulk.Change(
                each.table, [{k: v for k, v in row.items() if k != "fence"} for row in each.rows], tuple(k for k in each.keys if k != "fence")
            )
            if each.keys
            else each
            for each in changes
        ]  # fmt: skip
        return together(connection, *loose)

    setattr(recording, "together", unfenced)  # noqa: B010 - for this process


def late_attempt() -> None:
    """Commit the attempt after the provider was called."""
    hand_over = dispatch._hand_over_group

    def called_first(database: Any, group: Any, at: Any, exits: Any, worker: Any, tally: Any) -> None:
        dispatch._call([(made, dispatch._route(made, exits)) for made in group], exits)
        quiet = dispatch.Exits(_Silent(exits), None, exits.call, exits.allow, exits.live)
        hand_over(database, group, at, quiet, worker, tally)

    setattr(dispatch, "_hand_over_group", called_first)  # noqa: B010 - for this process


class _Silent:
    """Says of every mail that it was accepted."""

    name = "smtp"

    def __init__(self, exits: dispatch.Exits) -> None:
        self._exits = exits

    def hand_over(self, mails: Any) -> list[Any]:
        """Accept, because the mails have left already."""
        return [Accepted("planted") for _ in mails]

    def check(self) -> list[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Have nothing to close."""


PLANTS: Mapping[str, Callable[[], None]] = {
    "resend": resend,
    "no-fence": no_fence,
    "late-attempt": late_attempt,
}
