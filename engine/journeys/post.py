"""Posting: due messages are written to the outbox, with the offer's code that belongs to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from engine.flows.model import Flow, Send, Webhook
from engine.journeys.journal import Entry
from engine.journeys.round import Round
from engine.offers.issue import Issued, Wanted, issue
from engine.outbox import own_facts
from engine.outbox.ledger import drop, make, supersede
from engine.store import meta
from engine.store.tables import messages

EMPTY_POOL_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Posting:
    """A message that a step asks for; `entry` is the journal row of the decision, completed with the message's id."""

    enrollment_id: int
    flow_name: str
    version: str
    customer_id: int
    step: Send | Webhook
    template: str | None
    flow: Flow
    due_at: datetime
    expires_at: datetime
    visit: int
    zone: str
    context: Mapping[str, Any]
    entry: Entry

    @property
    def key(self) -> str:
        """The message key: enrollment, step and visit, unique for ever."""
        return f"{self.enrollment_id}:{self.step.id}:{self.visit}"


def post_messages(connection: Connection, posts: Sequence[Posting], at: Round) -> None:
    """Write the messages of one round of decisions; a newer one of an enrollment supersedes what still waits."""
    if not posts:
        return
    supersede(connection, {post.enrollment_id: post.due_at for post in posts}, at.now)
    ids = make(connection, [_row(post, at) for post in posts])
    for post in posts:
        post.entry["message_id"] = ids[post.key]
    with_offer = [post for post in posts if isinstance(post.step, Send) and post.step.offer]
    if with_offer:
        _give_offers(connection, with_offer, ids, at)


def _row(post: Posting, at: Round) -> dict[str, Any]:
    step = post.step
    content: dict[str, Any]
    if isinstance(step, Send):
        content = {"subject": step.subject, "sender": step.sender or post.flow.sender}
        topic = step.topic or post.flow.topic
    else:
        content = {"to": step.to, "body": dict(step.body)}
        topic = post.flow.topic
    return {
        "key": post.key,
        "enrollment_id": post.enrollment_id,
        "flow": post.flow_name,
        "version": post.version,
        "step": step.id,
        "channel": "email" if isinstance(step, Send) else "webhook",
        "template": post.template,
        "customer_id": post.customer_id,
        "kind": post.flow.kind,
        "topic": topic,
        "priority": post.flow.priority,
        "state": "pending",
        "created_at": at.now,
        "due_at": post.due_at,
        "expires_at": post.expires_at,
        "try_at": at.now,
        "sandbox": at.sandbox,
        "content": content,
    }


def _give_offers(connection: Connection, posts: Sequence[Posting], ids: Mapping[str, int], at: Round) -> None:
    secret = meta.secret(connection)
    wanted = [
        Wanted(post.step.offer, post.customer_id, ids[post.key], post.zone)
        for post in posts
        if isinstance(post.step, Send) and post.step.offer
    ]
    issued = issue(connection, wanted, at.offers, at.now, secret)
    bound, refused, waiting, facts = [], [], [], []
    for post, got in zip(posts, issued, strict=True):
        message_id = ids[post.key]
        if got.offer is not None and got.reason is None:
            bound.append({"which": message_id, "content": _row(post, at)["content"] | {"offer": _told(got)}})
            if got.fresh:
                told = {"offer": got.offer, "flow": post.flow_name}
                facts.append(own_facts.fact(f"offer_issued:{message_id}", post.customer_id, "offer_issued", at.now, told))
        elif got.wait:
            waiting.append({"which": message_id, "later": at.now + EMPTY_POOL_RETRY})
        elif got.reason is not None:
            refused.append(message_id)
    if bound:
        statement = update(messages).where(messages.c.id == bindparam("which")).values(content=bindparam("content"))
        connection.execute(statement, bound)
    if waiting:
        statement = update(messages).where(messages.c.id == bindparam("which")).values(try_at=bindparam("later"))
        connection.execute(statement, waiting)
    if refused:
        rows = connection.execute(select(messages).where(messages.c.id.in_(refused))).all()
        drop(connection, [(row, "no_offer") for row in rows], at.now)
    own_facts.record(connection, facts, at.listened)


def _told(got: Issued) -> dict[str, Any]:
    return {"name": got.offer, "code": got.code, "expires_at": got.expires_at.isoformat() if got.expires_at else None}
