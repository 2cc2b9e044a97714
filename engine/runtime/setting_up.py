"""Setting up: newly applied flows get their timers customer by customer, in short transactions.

Comes in: which triggers are to be armed, kept in the database when a flow is applied. Goes out: their timers, five hundred
customers in each transaction. Whoever finds work left does the next part: `apply` itself, or, where that was killed, the
next apply or pass. Until it is done, none of the flow's timers fires: what is due meanwhile enters late, never by an old
definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from engine.clock import sleep
from engine.journeys.arming_known import ToArm, arm_part
from engine.journeys.versions import live_flows
from engine.runtime.work import ARMING, one_router
from engine.store import meta
from engine.store.database import Database

PART = 500  # customers in one transaction
PAUSE = 0.01  # seconds in which others may write


def put_off(connection: Connection, flow: str, more: Sequence[ToArm], triggers: int) -> None:
    """Keep what is to be armed for a flow; a trigger that is still under way and stays as it is goes on."""
    numbers = {each.number for each in more}
    standing = [each for each in _left(connection) if each.flow != flow or _goes_on(each, numbers, triggers)]
    _keep(connection, [*standing, *more])


def _goes_on(todo: ToArm, again: set[int], triggers: int) -> bool:
    return todo.number not in again and todo.number < triggers


def set_up_part(connection: Connection, shop_zone: str, most: int = PART) -> bool:
    """Do the next part in the caller's transaction; return whether more is left."""
    one_router(connection)
    left = _left(connection)
    live = live_flows(connection) if left else {}
    while left and not live[left[0].flow].active:
        left.pop(0)
    if left:
        rest = arm_part(connection, live[left[0].flow], left[0], shop_zone, most)
        left = [*([rest] if rest is not None else []), *left[1:]]
        _keep(connection, left)
    return bool(left)


def set_up(database: Database, shop_zone: str) -> None:
    """Do everything that is left, part by part."""
    while True:
        with database.write() as connection:
            more = set_up_part(connection, shop_zone)
        if not more:
            return
        sleep(PAUSE)


def _left(connection: Connection) -> list[ToArm]:
    return [ToArm.read(each) for each in meta.get(connection, ARMING, [])]


def _keep(connection: Connection, left: Sequence[ToArm]) -> None:
    stored: list[dict[str, Any]] = [each.stored() for each in left]
    if stored:
        meta.put(connection, ARMING, stored)
    else:
        meta.drop(connection, ARMING)
