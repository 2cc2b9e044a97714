"""Standing still while a mail of the enrollment waits for a code of its offer.

Comes in: the walkers of a round at steps that depend on such a mail. Goes out: who stands still, for which offer and until when;
and, once the mail has its code or is dropped, who goes on. Three steps depend on it: one that asks about the offer (a wait until its
end, a branch), one that would end the enrollment (`exit`), and a wait that would, as its date is missing. So no mail goes after
its customer left the flow, and a wait counts from the code that the mail carries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from engine.flows.conditions import OfferIs, through_segments
from engine.flows.model import Branch, Exit, Flow, Offer, Send, Step, WaitField
from engine.journeys.decide import Await
from engine.journeys.post import AWAITED, EMPTY_POOL_RETRY
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.journeys.walker import Walker
from engine.offers.issue import may_wait, standing_in
from engine.outbox.ledger import OPEN
from engine.store.bulk import update_rows
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import enrollments, messages

_WANTED = messages.c.content[AWAITED].as_string()
# Locked: who finds the mail waiting stands still before a dispatcher can give it its code, who finds it given sees the code.
_WAITING = Prepared(
    select(messages.c.enrollment_id, messages.c.expires_at, _WANTED.label("offer"))
    .where(within(messages.c.enrollment_id, "ids"), messages.c.state.in_(OPEN), _WANTED.is_not(None))
    .order_by(messages.c.id)
    .with_for_update()
)
# Who sleeps through a wait, or was deferred, looks again at the very moment from which the next step counts; who stands still, later.
_STANDING = Prepared(
    select(enrollments.c.id, enrollments.c.version, enrollments.c.position).where(
        within(enrollments.c.id, "ids"),
        enrollments.c.state == "waiting",
        enrollments.c.next_at > enrollments.c.anchor_at,
    )
)


@dataclass(frozen=True, slots=True)
class Asking:
    """What a step has to know of mails that wait for a code: of these offers, or, where the enrollment would end, of any.

    `path` is the date whose lack would end it; without one and without offers the step is the end.
    """

    offers: frozenset[str] = frozenset()
    path: str | None = None

    def of_any(self, walker: Walker) -> bool:
        """Return whether the walker would leave at this step, so that every mail of its enrollment matters."""
        if self.path is not None:
            return walker.person.moments.get(self.path) is None
        return not self.offers


def asking_of(step: Step | None, flow: Flow) -> Asking | None:
    """Return what a step has to know, or None where it goes on whatever a mail waits for."""
    if isinstance(step, Exit):
        return Asking()
    if isinstance(step, WaitField):
        head, *rest = step.field_path.split(".")
        return Asking(frozenset(rest[:1] if head == "offer" else ()), step.field_path)
    if isinstance(step, Branch):
        clauses = (clause for arm in step.arms for clause in arm.when or ())
        parts = (part for clause in clauses for part in through_segments(clause, flow.segments))
        offers = frozenset(part.offer for part in parts if isinstance(part, OfferIs))
        return Asking(offers) if offers else None
    return None


def mails_may_wait(flow: Flow, offers: Mapping[str, Offer]) -> bool:
    """Return whether any mail of a flow may have to wait for a code; of the others nothing has to be asked."""
    sends = (step for step in flow.all_steps() if isinstance(step, Send))
    return any(step.offer is not None and may_wait(step.offer, offers) for step in sends)


def still_awaited(
    connection: Connection, asking: Sequence[tuple[Walker, Asking]], at: Round
) -> dict[int, Await]:
    """Return what these walkers stand still for, by enrollment: the mail that may wait longest."""
    wanting = {walker.id: (walker, want) for walker, want in asking if want.offers or want.of_any(walker)}
    found: dict[int, Await] = {}
    for row in _WAITING.rows(connection, ids=sorted(wanting)) if wanting else ():
        walker, want = wanting[row.enrollment_id]
        if not want.of_any(walker) and want.offers.isdisjoint(standing_in(row.offer, at.offers)):
            continue
        until = max(row.expires_at, at.now)
        if row.enrollment_id not in found or until > found[row.enrollment_id].until:
            found[row.enrollment_id] = Await(row.offer, until, until + EMPTY_POOL_RETRY)
    return found


def wake(connection: Connection, enrollment_ids: Collection[int], now: datetime) -> None:
    """Let those of these enrollments that stand still look again at `now`; what follows counts from then."""
    rows = _STANDING.rows(connection, ids=sorted(enrollment_ids)) if enrollment_ids else []
    found = programs(connection, [row.version for row in rows])
    standing = [
        row.id
        for row in rows
        if (node := found[row.version].nodes.get(row.position)) is not None
        and asking_of(node.step, found[row.version].flow) is not None
    ]
    update_rows(connection, enrollments, [{"next_at": now, "id": each} for each in standing])
