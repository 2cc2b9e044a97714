"""Guarding: one flow's failure is undone by itself, counted, and freezes that flow after the third time.

Comes in: one flow's share of a pass. Goes out: its result, or None where it failed; the error's place stands in the
quarantine, without the values that may be a customer's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import OperationalError

from engine.errors import HomingError, place, sentence_of
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow
from engine.runtime import rails
from engine.store.prepared import undoing
from engine.store.tables import quarantine

log = logging.getLogger("homing.pass")
FLOW_TRIES = 3


class Braked(HomingError):
    """A flow would take in far more customers than usual."""


T = TypeVar("T")


def guarded(
    connection: Connection,
    live: LiveFlow,
    step: Callable[[], T],
    at: Round,
    apart: Callable[[], T] | None = None,
) -> T | None:
    """Do one flow's share in a savepoint; where it fails, undo it, and freeze the flow after the third time.

    `apart` does the same share item by item, and sets those aside that fail alone.

    What the database itself refuses (a lost connection, a full disk) ends the pass: it is nobody's fault in here.
    """
    try:
        return undoing(connection, step)
    except Braked as braked:
        rails.freeze(connection, live.flow.name, str(braked), at.now)
        log.error("flow %s is frozen: it %s", live.flow.name, braked)
        return None
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - one flow's failure must not stop the others
        if apart is not None and not isinstance(error, HomingError):
            log.error(
                "flow %s: some of a batch failed: %s at %s",
                live.flow.name,
                type(error).__name__,
                place(error),
            )
            return guarded(connection, live, apart, at)
        _count_failure(connection, live.flow.name, error, at.now)
        return None


def _count_failure(connection: Connection, flow: str, error: Exception, now: datetime) -> None:
    reason = sentence_of(error)
    log.error("flow %s failed: %s at %s", flow, type(error).__name__, place(error))
    table = quarantine.c
    standing = connection.execute(
        select(table.id, table.tries).where(
            table.kind == "flow", table.subject == flow, table.resolved_at.is_(None)
        )
    ).first()
    if standing is None:
        connection.execute(insert(quarantine).values(kind="flow", subject=flow, reason=reason, at=now))
        return
    connection.execute(
        update(quarantine).where(table.id == standing.id).values(tries=standing.tries + 1, reason=reason)
    )
    if standing.tries + 1 >= FLOW_TRIES:
        rails.freeze(connection, flow, f"failed {FLOW_TRIES} times: {reason}", now)
