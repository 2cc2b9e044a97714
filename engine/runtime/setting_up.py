"""Setting up: newly applied flows get their timers, members and past facts customer by customer, in short transactions.

Comes in: what is to be set, kept in the database when a flow is applied. Goes out: five hundred customers of it in each
transaction. Whoever finds work left does the next part: `apply` itself, or, where that was killed, the
next apply or pass. Until it is done, none of the flow's timers fires: what is due meanwhile enters late, never by an old
definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from engine.clock import sleep
from engine.journeys.arming_known import ToArm, arm_part
from engine.journeys.versions import live_flows
from engine.runtime.work import ARMING, one_router
from engine.store import meta
from engine.store.database import Database
from engine.store.keys import KeyRange

PART = 500  # customers in one transaction
PAUSE = 0.01  # seconds in which others may write


def put_off(connection: Connection, flow: str, more: Sequence[ToArm], triggers: int) -> None:
    """Keep what is to be armed for a flow; a trigger that is still under way and stays as it is goes on."""
    again: set[tuple[str, int]] = {(each.what, each.number) for each in more}
    before = _left(connection)
    standing = [each for each in before if each.flow != flow or _goes_on(each, again, triggers)]
    placing = {
        each.number for each in before if each.flow == flow and each.what == "members" and each.placing
    }
    more = [
        replace(each, placing=True) if each.what == "members" and each.number in placing else each
        for each in more
    ]
    _keep(connection, [*standing, *more])


def _goes_on(todo: ToArm, again: set[tuple[str, int]], triggers: int) -> bool:
    return (todo.what, todo.number) not in again and todo.number < triggers


def unnoted(connection: Connection, flow: str) -> dict[int, KeyRange]:
    """Return by segment trigger of a flow the customers whose memberships are still to be noted."""
    return {
        each.number: each.keys for each in _left(connection) if each.flow == flow and each.what == "members"
    }


def set_up_part(connection: Connection, shop_zone: str, most: int = PART) -> bool:
    """Do the next part in the caller's transaction; return whether more is left."""
    one_router(connection)
    left = _left(connection)
    if not left:
        return False
    live = live_flows(connection)
    left = [each for each in left if live[each.flow].active]
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
