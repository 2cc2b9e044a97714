"""Outlines of mails, for dry runs: who would get one, and the strategies of its slots; nothing is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from engine.delivery.claim import Claimed
from engine.delivery.made import Made, WebhookCall
from engine.delivery.slots import blocks_of, slots_for
from engine.journeys.round import Round
from engine.recommend.catalogue import Memory
from engine.recommend.strategies import ALWAYS, STRATEGIES
from engine.render.library import TemplateLibrary
from engine.render.template import RecommendBlock
from engine.store.dialect import within
from engine.store.keeping import known
from engine.store.prepared import Prepared
from engine.store.tables import customers

_SLOT: Mapping[str, Mapping[str, str]] = {name: {"strategy": name} for name in (*STRATEGIES, ALWAYS)}
_ADDRESSES = Prepared(
    select(customers.c.id, customers.c.email, customers.c.locale, customers.c.erased_at).where(
        within(customers.c.id, "ids")
    )
)


def make_outlines(
    connection: Connection,
    claimed: Sequence[Claimed],
    at: Round,
    library: TemplateLibrary,
    secret: bytes,
    memory: Memory | None = None,
) -> list[Made]:
    """Return what `make_mails` would, with nothing rendered, for dry runs: no mail, and of each slot its strategy alone.

    `memory` keeps what recommendations are made from, for who says when it changes.
    """
    del secret
    mails = [message for message in claimed if message.channel == "email"]
    ids = sorted({message.customer_id for message in claimed})
    people = known(
        connection,
        "addresses",
        ids,
        lambda some: {row["id"]: row for row in _ADDRESSES.dicts(connection, ids=some)},
    )
    blocks = blocks_of(mails, people, at, library)
    slots = slots_for(connection, [message for message in mails if blocks[message.id]], blocks, at, memory)
    return [
        _outline(message, people.get(message.customer_id), blocks.get(message.id, ()), slots)
        for message in claimed
    ]


def _outline(
    message: Claimed,
    person: Mapping[str, Any] | None,
    blocks: Sequence[RecommendBlock],
    filled: Mapping[tuple[int, str], Sequence[str]],
) -> Made:
    if person is None or person["erased_at"] is not None:
        return Made(message, reason="suppressed")
    if message.channel == "webhook":
        return Made(message, call=WebhookCall(message.key, message.content["to"], {}))
    if not person["email"]:
        return Made(message, reason="suppressed")
    slots = {}
    for block in blocks:
        chosen = filled.get((message.id, block.name), ())
        if not chosen and block.otherwise == "skip":
            return Made(message, reason="nothing_to_recommend")
        slots[block.name] = [_SLOT[strategy] for strategy in chosen]
    return Made(message, slots=slots)
