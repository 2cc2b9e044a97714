"""Posting: due messages are written to the outbox, with the offer's code that belongs to each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from engine.flows.model import Flow, Send, Webhook
from engine.journeys.journal import Entry
from engine.journeys.round import Round
from engine.offers.issue import Issued, Wanted, issue
from engine.outbox.ledger import drop, hold, make, supersede
from engine.outbox.own_facts import NAMES as OWN_FACTS
from engine.store import meta
from engine.store.bulk import update_rows
from engine.store.keeping import kept
from engine.store.tables import messages

EMPTY_POOL_RETRY = timedelta(hours=1)
POSTED = "posted"  # the kind of what is kept of messages that were just posted
AWAITED = "offer_awaited"  # in the content of a message whose pool of codes was empty


class Posting(NamedTuple):
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
    walker: Any = None  # whose decision it is, as it stands when the message is handed over

    @property
    def key(self) -> str:
        """The message key: enrollment, step and visit, unique for ever."""
        return f"{self.enrollment_id}:{self.step.id}:{self.visit}"


class Posted(NamedTuple):
    """A message that was posted at `at`, as a store that is driven alone keeps it for the hand-over of the same stop.

    `asked` tells that the clauses which the gate would ask held when it was decided, at that very moment, and that nothing
    that they could ask about has been written since.
    """

    at: datetime
    row: Mapping[str, Any]
    walker: Any
    asked: bool = True


def post_messages(connection: Connection, posts: Sequence[Posting], at: Round) -> None:
    """Write the messages of one round of decisions; a newer one of an enrollment supersedes what still waits."""
    if not posts:
        return
    again = {
        post.enrollment_id: post.due_at for post in posts if post.visit
    }  # before a first one nothing waits
    supersede(connection, again, at.now)
    contents = {id(post.step): _content(post) for post in posts}  # those of one step share theirs
    rows = [_row(post, contents[id(post.step)], at) for post in posts]
    memory = kept(connection)
    keeping = memory is not None and at.listened.isdisjoint(OWN_FACTS)
    if memory is not None and keeping and memory.bold:
        ids = hold(connection, rows, [not _has_offer(post) for post in posts])
    else:
        ids = make(connection, rows)
    for post, row in zip(posts, rows, strict=True):
        post.entry["message_id"] = ids[row["key"]]
    with_offer = [post for post in posts if _has_offer(post)]
    going = _give_offers(connection, with_offer, ids, at) if with_offer else {}
    if memory is not None and keeping:
        held = memory.beside(POSTED)
        for post, row in zip(posts, rows, strict=True):
            which = ids[row["key"]]
            if not _has_offer(post):
                held[which] = Posted(at.now, row, post.walker)
            elif which in going:
                held[which] = Posted(at.now, {**row, "content": going[which]}, post.walker, asked=False)


def _has_offer(post: Posting) -> bool:
    return isinstance(post.step, Send) and bool(post.step.offer)


def _content(post: Posting) -> dict[str, Any]:
    """Return what the sender needs beyond the enrollment."""
    step = post.step
    if isinstance(step, Send):
        return {"subject": step.subject, "sender": step.sender or post.flow.sender}
    return {"to": step.to, "body": dict(step.body)}


def _row(post: Posting, content: Mapping[str, Any], at: Round) -> dict[str, Any]:
    step = post.step
    own_topic = step.topic if isinstance(step, Send) else None
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
        "topic": own_topic or post.flow.topic,
        "priority": post.flow.priority,
        "state": "pending",
        "created_at": at.now,
        "due_at": post.due_at,
        "expires_at": post.expires_at,
        "try_at": at.now,
        "sandbox": at.sandbox,
        "content": content,
    }


def ask_again(connection: Connection, customer_ids: Collection[int]) -> None:
    """Have the clauses asked at the gate of what was posted to these customers just now: other ones may be true."""
    memory = kept(connection)
    if memory is not None and customer_ids:
        held = memory.beside(POSTED)
        for which, posted in held.items():
            if posted.row["customer_id"] in customer_ids:
                held[which] = posted._replace(asked=False)


def _give_offers(
    connection: Connection, posts: Sequence[Posting], ids: Mapping[str, int], at: Round
) -> Mapping[int, Mapping[str, Any]]:
    carrying = [
        Carrying(
            Wanted(post.step.offer, post.customer_id, ids[post.key], post.zone),
            _content(post),
            post.expires_at,
        )
        for post in posts
        if isinstance(post.step, Send) and post.step.offer
    ]
    return give_offers(connection, carrying, at).going


@dataclass(frozen=True, slots=True)
class Carrying:
    """A message that is to carry an offer: what it wants, what it holds already, and until when it makes sense."""

    wanted: Wanted
    content: Mapping[str, Any]
    expires_at: datetime


class Given(NamedTuple):
    """What became of messages that were to carry offers: the new contents of those that may go, and who still waits, by id."""

    going: Mapping[int, Mapping[str, Any]]
    waiting: frozenset[int]


def give_offers(connection: Connection, carrying: Sequence[Carrying], at: Round) -> Given:
    """Give each message its code; return which may go, and which wait.

    Those whose pool is empty wait (an hour at a time, as long as they make sense); the others are dropped.
    """
    if not carrying:
        return Given({}, frozenset())
    issued = issue(connection, [each.wanted for each in carrying], at.offers, at.now, meta.secret(connection))
    going: dict[int, Mapping[str, Any]] = {}
    refused: dict[int, Mapping[str, Any]] = {}
    waiting: list[dict[str, Any]] = []
    for each, got in zip(carrying, issued, strict=True):
        which = each.wanted.message_id
        plain = {key: value for key, value in each.content.items() if key != AWAITED}
        if got.reason is None:
            going[which] = plain | ({"offer": _told(got)} if got.offer is not None else {})
        elif got.wait and at.now < each.expires_at:
            waiting.append(
                {
                    "which": which,
                    "later": min(at.now + EMPTY_POOL_RETRY, each.expires_at),
                    "held": {**plain, AWAITED: each.wanted.offer},
                }
            )
        else:
            refused[which] = {"cause": got.cause}
    if going:
        update_rows(connection, messages, [{"content": held, "id": which} for which, held in going.items()])
    if waiting:
        statement = update(messages).where(messages.c.id == bindparam("which"))
        statement = statement.values(
            content=bindparam("held"),
            try_at=bindparam("later"),
            state="pending",
            claimed_by=None,
            lease_until=None,
        )
        connection.execute(statement, waiting)
    if refused:
        rows = connection.execute(select(messages).where(messages.c.id.in_(list(refused)))).all()
        drop(connection, [(row, "no_offer") for row in rows], at.now, refused)
    return Given(going, frozenset(each["which"] for each in waiting))


def _told(got: Issued) -> dict[str, Any]:
    expires_at = got.expires_at.isoformat() if got.expires_at else None
    return {"name": got.offer, "code": got.code, "expires_at": expires_at, "fresh": got.fresh}
