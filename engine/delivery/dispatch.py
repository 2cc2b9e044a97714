"""Dispatch: what waits in the outbox is claimed, made, judged, handed over, recorded.

For each group of about ten messages: the gate is asked in the transaction that commits `handing_over` (and the attempt);
only then the provider is called; then the outcome is recorded. A crash in between makes that group `unknown`, never
sends it twice. Every write names the fence it holds, so that a worker that slept past its lease changes nothing.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeGuard

from sqlalchemy import Connection, bindparam, delete, select, update

from engine.delivery.claim import CLAIM_LEASE, LEASE, Claimed, claim, look_at, put_back, recover, release
from engine.delivery.gatekeeping import verdicts
from engine.delivery.made import Made, WebhookCall
from engine.delivery.mailroom import make_mails
from engine.delivery.outcome import Accepted, Failed, Outcome, Unknown
from engine.delivery.provider import Provider
from engine.delivery.recording import record_surely, tell
from engine.journeys import journal
from engine.journeys.awaiting import wake
from engine.journeys.post import AWAITED, Carrying, give_offers
from engine.journeys.round import Round
from engine.journeys.versions import programs
from engine.offers.issue import Wanted
from engine.outbox.ledger import drop, held, write_held
from engine.policy.gate import Allow, Defer, Drop, Verdict
from engine.render.library import TemplateLibrary
from engine.render.mail import Mail
from engine.store.bulk import Change, insert_rows, together, update_rows
from engine.store.database import Database
from engine.store.dialect import only_counts, within
from engine.store.keys import KeyRange
from engine.store.prepared import Prepared
from engine.store.tables import attempts, customers, enrollments, messages, quarantine

log = logging.getLogger("homing.dispatch")

GROUP = 10
CLAIM = 200
CLAIM_SPARE = timedelta(seconds=5)  # before the end of a claim's lease when no further group is begun
RENDER_TRIES = 3
RENDER_RETRY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Exits:
    """The ways out of the house: which provider takes a mail, and who takes webhook calls."""

    mailbox: Provider
    real: Provider | None = None
    call: Callable[[WebhookCall], Outcome] | None = None
    allow: tuple[str, ...] = ()
    live: bool = False

    def provider_for(self, mail: Mail) -> Provider:
        """Return the real provider where the mode or the `allow` list permits it, else the local mailbox."""
        if self.real is not None and (self.live or allowed(mail.to.email, self.allow)):
            return self.real
        return self.mailbox


def allowed(address: str, allow: Collection[str]) -> bool:
    """Return whether an address is in `allow`: whole addresses, or domains written `@example.test`.

    >>> allowed("ann@example.test", ["@example.test"]), allowed("ann@other.test", ["@example.test"])
    (True, False)
    """
    plain = address.strip().lower()
    return any(
        plain == entry.lower() or (entry.startswith("@") and plain.endswith(entry.lower())) for entry in allow
    )


_ZONES = Prepared(select(customers.c.id, customers.c.zone).where(within(customers.c.id, "ids")))
Maker = Callable[[Connection, Sequence[Claimed], Round, TemplateLibrary, bytes], list[Made]]


@dataclass(slots=True)
class Tally:
    """What one dispatch did, for logs and the caller's loop."""

    claimed: int = 0
    stopped: tuple[str, ...] = ()  # flows that the brake stopped
    outcomes: dict[str, int] = field(default_factory=dict)
    filled: float = 0.0
    """The share of all mails so far, of these templates in this process, that no structure had to be compiled for."""

    def count(self, what: str) -> None:
        """Add one."""
        self.outcomes[what] = self.outcomes.get(what, 0) + 1


@dataclass(frozen=True, slots=True)
class Worker:
    """One dispatching worker: its name, the machine's clock for leases, chance for backoff, and what holds it back.

    `may_go_on` is asked before each group with the flows that were closed when the messages were claimed: False as soon
    as another one is paused, or the program is to end (`stopping`). `wait_for_rate` returns when that many mails may
    leave by a real provider. `is_gone` tells that a worker of that name has died. `most` is how many messages are claimed at once.
    `domain_delay` tells how many seconds a mail to a domain has to wait, with so many to it before.
    """

    name: str
    machine_now: Callable[[], datetime]
    chance: random.Random
    may_go_on: Callable[[Collection[str]], bool] = lambda _closed: True
    wait_for_rate: Callable[[int], None] = lambda _count: None
    stopping: Callable[[], bool] = lambda: False
    is_gone: Callable[[str], bool] = lambda _name: False
    most: int = CLAIM
    domain_delay: Callable[[str, int], float] = lambda _domain, _behind: 0.0


class Brake(Protocol):
    """What stops a flow that is about to mail far more people than usual."""

    def stopped(self, connection: Connection, flows: Collection[str]) -> Mapping[str, str]:
        """Return which of these flows may not mail now, and why; asked in the transaction that claimed their messages."""

    def pull(self, stopped: Mapping[str, str]) -> None:
        """Freeze flows, by a transaction of its own: an entering one that froze the same flow would be waited for in a ring."""


def dispatch(
    database: Database,
    at: Round,
    exits: Exits,
    library: TemplateLibrary,
    secret: bytes,
    worker: Worker,
    closed: Collection[str] = (),
    brake: Brake | None = None,
    limit: int | None = None,
    due_by: datetime | None = None,
    make: Maker | None = None,
    group: int = GROUP,
    keys: KeyRange | None = None,
    among: int = 1,
) -> Tally:
    """Claim what is due and take it through the gate and out of the house; return what became of it.

    `brake` is asked about the flows of each claim, whose messages go back where it stops them.

    `make` makes the mails (default: `make_mails`); `group` of them share a hand-over: what a crash makes `unknown`.

    `due_by` (default: the moment of `at`) leaves younger messages for later: the gate judges at the present, but only
    what was due when a pass looked at everything, so that priorities meet. `among`: so many threads dispatch beside each
    other, and share what is due.
    """
    tally = Tally()
    begin_by = worker.machine_now() + CLAIM_LEASE - CLAIM_SPARE
    with database.write() as connection:
        recover(connection, at.now, worker.machine_now(), worker.is_gone)
        claimed = claim(
            connection,
            worker.name,
            due_by or at.now,
            worker.machine_now(),
            closed,
            limit or worker.most,
            keys,
            among,
        )
        tally.claimed = len(claimed)
        stopped = brake.stopped(connection, {each.flow for each in claimed}) if brake and claimed else {}
        release(connection, [each for each in claimed if each.flow in stopped])
        claimed = [each for each in claimed if each.flow not in stopped]
        claimed = _with_awaited_offers(connection, claimed, at, tally)
    if brake and stopped:
        brake.pull(stopped)
        tally.stopped = tuple(stopped)
        closed = (*closed, *stopped)
    if not claimed:
        return tally
    with database.read() as connection:
        made = (make or make_mails)(connection, claimed, at, library, secret)
    tally.filled = library.structures.tally.hit_rate
    _refuse(database, [each for each in made if each.mail is None and each.call is None], at, tally)
    ready = [each for each in made if each.mail is not None or each.call is not None]
    ready = _in_turn(database, ready, at, exits, worker, tally)
    for start in range(0, len(ready), group):
        together = ready[start : start + group]
        # Waited for before the hand-over begins: what dies while it waits is not in doubt.
        worker.wait_for_rate(sum(1 for made in together if _route(made, exits) not in ("mailbox", "webhook")))
        # What is not begun well before its lease ends goes back, to be claimed and judged anew.
        if not worker.may_go_on(closed) or worker.machine_now() > begin_by:
            with database.write() as connection:
                release(connection, [each.message for each in ready[start:]])
            break
        _hand_over_group(database, together, at, exits, worker, tally)
    return tally


def rehearse(
    database: Database,
    at: Round,
    library: TemplateLibrary,
    secret: bytes,
    closed: Collection[str],
    most: int,
    make: Maker,
) -> Tally:
    """Do what `dispatch` would with one claim of mails that all are accepted; nothing is handed to anybody.

    For a store that one program holds: nobody comes between, so no lease, fence or attempt is written.
    """
    tally = Tally()
    with database.write() as connection:
        claimed = look_at(connection, at.now, closed, most)
        tally.claimed = len(claimed)
        claimed = _with_awaited_offers(connection, claimed, at, tally)
        made = make(connection, claimed, at, library, secret)
        refused = [(each.message, each.reason) for each in made if each.reason is not None]
        write_held(connection, [message.id for message, _ in refused])
        drop(connection, refused, at.now)
        for _, reason in refused:
            tally.count(reason)
        ready = [each for each in made if each.reason is None]
        judged = verdicts(connection, [each.message for each in ready], at) if ready else []
        pairs = list(zip(ready, judged, strict=True))
        write_held(connection, [each.message.id for each, verdict in pairs if not isinstance(verdict, Allow)])
        _stop(connection, [(each.message, verdict) for each, verdict in pairs], at, tally)
        gone = [each for each, verdict in pairs if isinstance(verdict, Allow)]
        _let_go(connection, gone, at)
        tally.outcomes["accepted"] = len(gone)
    return tally


def _let_go(connection: Connection, gone: Sequence[Made], at: Round) -> None:
    """Write messages down as accepted at once; what a slot held is kept, to be counted."""
    unwritten = held(connection)
    fresh = [made for made in gone if made.message.id in unwritten]
    rows = [
        {"id": made.message.id, **unwritten.pop(made.message.id), **_accepted(made, at)} for made in fresh
    ]
    insert_rows(connection, messages, rows)  # once, as they stand
    known = {made.message.id for made in fresh}
    _note_accepted(connection, [made for made in gone if made.message.id not in known], at)
    if not at.listened.isdisjoint(("mail_sent", "offer_issued")):
        tell(connection, [(made, "", Accepted(made.message.key)) for made in gone], at)


def _accepted(made: Made, at: Round) -> dict[str, Any]:
    return {
        "state": "accepted", "counted_at": at.now, "accepted_at": at.now, "settled_at": at.now,
        "tries": made.message.tries + 1, "sandbox": at.sandbox, "content": _kept(made),
    }  # fmt: skip


def _note_accepted(connection: Connection, gone: Sequence[Made], at: Round) -> None:
    plain = [made.message.id for made in gone if not made.slots and not made.links]
    if plain:
        _ACCEPTED.run(connection, ids=plain, moment=at.now, in_sandbox=at.sandbox)
    shown = [made for made in gone if made.slots or made.links]
    rows = [{**_accepted(made, at), "id": made.message.id} for made in shown]
    update_rows(connection, messages, rows)


def _with_awaited_offers(
    connection: Connection, claimed: Sequence[Claimed], at: Round, tally: Tally
) -> list[Claimed]:
    """Try again for the messages whose pool of codes was empty; those that still get none are left out.

    Who stood still for one that waits no more goes on, by the same commit: whoever dies after it leaves nobody behind.
    """
    awaiting = [each for each in claimed if AWAITED in each.content]
    if not awaiting:
        return list(claimed)
    found = _ZONES.rows(connection, ids=sorted({each.customer_id for each in awaiting}))
    zones = {row.id: row.zone or at.shop_zone for row in found}
    carrying = [
        Carrying(
            Wanted(each.content[AWAITED], each.customer_id, each.id, zones[each.customer_id]),
            each.content,
            each.expires_at,
        )
        for each in awaiting
    ]
    going, waiting = give_offers(connection, carrying, at)
    wake(connection, {each.enrollment_id for each in awaiting if each.id not in waiting}, at.now)
    left_out = {each.id for each in awaiting} - going.keys()
    for _ in left_out - waiting:
        tally.count("no_offer")
    return [
        each._replace(content=going.get(each.id, each.content)) for each in claimed if each.id not in left_out
    ]


# ── what cannot be made ──────────────────────────────────────────────────────────────────────────────────────────────


def _refuse(database: Database, refused: Sequence[Made], at: Round, tally: Tally) -> None:
    """Drop messages that have a reason; try those that failed again, and give them up after the third time."""
    if not refused:
        return
    with database.write() as connection:
        held = _held(connection, [made.message for made in refused])
        refused = [made for made in refused if made.message.id in held]
        dropped = [(made.message, made.reason) for made in refused if made.reason is not None]
        failed = [made for made in refused if made.error is not None]
        given_up = [made for made in failed if made.message.tries + 1 >= RENDER_TRIES]
        again = [made for made in failed if made.message.tries + 1 < RENDER_TRIES]
        drop(connection, [*dropped, *((made.message, "template_error") for made in given_up)], at.now)
        insert_rows(connection, quarantine, [_set_aside(made, at.now) for made in given_up])
        later = {"moment": at.now + RENDER_RETRY}
        told = [{"which": m.message.id, "held": m.message.fence, "why": m.error, **later} for m in again]
        _MADE_LATER.run_each(connection, told)
    for reason in (*(why for _, why in dropped), *("template_error" for _ in given_up)):
        tally.count(reason)


_MADE_LATER = Prepared(
    update(messages)
    .where(messages.c.id == bindparam("which"), messages.c.fence == bindparam("held"))
    .values(
        state="pending", claimed_by=None, lease_until=None, tries=messages.c.tries + 1, try_at=bindparam("moment"),
        reason=bindparam("why"),
    )
)  # fmt: skip


def _set_aside(made: Made, now: datetime) -> dict[str, Any]:
    """Return the row of the quarantine for a mail that could not be made three times."""
    message = made.message
    return {
        "kind": "template", "subject": message.template or "", "reason": made.error or "", "tries": RENDER_TRIES,
        "at": now, "payload": {"message": message.key, "customer": message.customer_id, "flow": message.flow},
    }  # fmt: skip


# ── what its domain does not take as fast ────────────────────────────────────────────────────────────────────────────


def _in_turn(
    database: Database, ready: Sequence[Made], at: Round, exits: Exits, worker: Worker, tally: Tally
) -> list[Made]:
    """Return what may leave now; mails that their domain takes only later are put back until their turn."""
    going: list[Made] = []
    later: list[tuple[Claimed, float]] = []
    behind: Counter[str] = Counter()
    for made in ready:
        seconds = 0.0
        if made.mail is not None and exits.provider_for(made.mail) is exits.real:
            domain = made.mail.to.email.rpartition("@")[2].lower()
            seconds = worker.domain_delay(domain, behind[domain])
            behind[domain] += seconds > 0
        if seconds > 0:
            later.append((made.message, seconds))
            tally.count("domain_rate")
        else:
            going.append(made)
    if later:
        with database.write() as connection:
            put_back(connection, [(message, at.now + timedelta(seconds=wait)) for message, wait in later])
    return going


# ── gate and hand-over ───────────────────────────────────────────────────────────────────────────────────────────────


def _hand_over_group(
    database: Database, group: Sequence[Made], at: Round, exits: Exits, worker: Worker, tally: Tally
) -> None:
    routes = [_route(made, exits) for made in group]
    with database.write() as connection:
        judged = verdicts(connection, [made.message for made in group], at)
        going = _commit_verdicts(connection, group, routes, judged, at, worker, tally)
    if not going:
        return
    outcomes = _call(going, exits)
    results = [(made, route, outcome) for (made, route), outcome in zip(going, outcomes, strict=True)]
    record_surely(database, results, at, worker)
    for outcome in outcomes:
        tally.count(type(outcome).__name__.lower())


def _route(made: Made, exits: Exits) -> str:
    return "webhook" if made.mail is None else exits.provider_for(made.mail).name


def _commit_verdicts(
    connection: Connection,
    group: Sequence[Made],
    routes: Sequence[str],
    judged: Sequence[Verdict],
    at: Round,
    worker: Worker,
    tally: Tally,
) -> list[tuple[Made, str]]:
    """Write what the gate said; return what may go, in hand-over state and with its attempt begun."""
    allowed_ones = [(m, r) for m, r, v in zip(group, routes, judged, strict=True) if isinstance(v, Allow)]
    going = _begin(connection, allowed_ones, at, worker)
    if len(allowed_ones) < len(group):
        _hold_back(connection, group, judged, at, tally)
    return going


def _hold_back(
    connection: Connection, group: Sequence[Made], judged: Sequence[Verdict], at: Round, tally: Tally
) -> None:
    """Drop and defer as the gate said, but nothing that another worker has taken over.

    What belongs to another customer by now, into whom its own was merged, goes back: it is made anew, and judged, for that one.
    """
    held = _held(connection, [made.message for made in group])
    moved = [
        m.message for m in group if held.get(m.message.id, m.message.customer_id) != m.message.customer_id
    ]
    release(connection, moved)
    for message in moved:
        del held[message.id]
    _stop(
        connection,
        [(m.message, v) for m, v in zip(group, judged, strict=True) if m.message.id in held],
        at,
        tally,
    )


def _stop(connection: Connection, judged: Sequence[tuple[Claimed, Verdict]], at: Round, tally: Tally) -> None:
    """Drop and defer as the gate said; what it allows is left alone."""
    dropped = [(message, verdict.reason) for message, verdict in judged if isinstance(verdict, Drop)]
    drop(
        connection,
        dropped,
        at.now,
        {message.id: _in_force(verdict) for message, verdict in judged if _capped(verdict)},
    )
    for _, reason in dropped:
        tally.count(reason.partition(":")[0])
    deferred = [(message, verdict) for message, verdict in judged if isinstance(verdict, Defer)]
    _defer(connection, deferred, at)
    for _ in deferred:
        tally.count("deferred")


def _capped(verdict: Verdict) -> TypeGuard[Drop | Defer]:
    return not isinstance(verdict, Allow) and bool(verdict.caps)


def _in_force(verdict: Drop | Defer) -> dict[str, Any]:
    """Return the caps that had no room, as the journal keeps them: those of the settings may be others tomorrow."""
    return {"caps": [str(cap) for cap in verdict.caps]}


def _held(connection: Connection, claimed: Sequence[Claimed]) -> dict[int, int]:
    """Return which of these messages are still in this worker's hands, and whose they are."""
    fences = {each.id: each.fence for each in claimed}
    rows = _CLAIMED.rows(connection, ids=list(fences))
    return {row.id: row.customer_id for row in rows if row.fence == fences[row.id]}


def _begin(
    connection: Connection, allowed_ones: Sequence[tuple[Made, str]], at: Round, worker: Worker
) -> list[tuple[Made, str]]:
    """Move messages to `handing_over` and begin their attempts; return those whose fence has not passed on."""
    lease = worker.machine_now() + LEASE
    rows = [
        {
            "state": "handing_over", "counted_at": at.now, "tries": made.message.tries + 1, "provider": route,
            "sandbox": at.sandbox, "lease_until": lease, "subject": made.mail.subject if made.mail else None,
            "locale": made.mail.locale if made.mail else None,
            "content": _kept(made),
            "id": made.message.id, "fence": made.message.fence,
        }
        for made, route in allowed_ones
    ]  # fmt: skip
    begun = [
        {
            "message_id": made.message.id, "number": made.message.tries + 1, "at": at.now, "worker": worker.name,
            "fence": made.message.fence,
        }
        for made, _ in allowed_ones
    ]  # fmt: skip
    moved, _ = together(
        connection,
        Change(messages, rows, ("id", "fence"), only=(("state", "claimed"),)),
        Change(attempts, () if only_counts(connection) else begun),
    )
    if moved == len(rows):
        return list(allowed_ones)
    held = dict(_HANDED_OVER.rows(connection, ids=[row["id"] for row in rows]))
    lost = [each for each in begun if held.get(each["message_id"]) != each["fence"]]
    for each in lost:
        own = (attempts.c.message_id == each["message_id"], attempts.c.fence == each["fence"])
        connection.execute(delete(attempts).where(*own, attempts.c.outcome.is_(None)))
    return [(made, route) for made, route in allowed_ones if held.get(made.message.id) == made.message.fence]


def _kept(made: Made) -> Mapping[str, Any]:
    """Return what a message keeps to be shown again: what its slots held, where its counted links lead."""
    if not made.slots and not made.links:
        return made.message.content  # which those of one step share, to be written down once
    shown = {"slots": made.slots} if made.slots else {}
    return {**made.message.content, **shown, **({"links": list(made.links)} if made.links else {})}


_ACCEPTED = Prepared(
    update(messages)
    .where(within(messages.c.id, "ids"))
    .values(
        state="accepted", counted_at=bindparam("moment"), accepted_at=bindparam("moment"), settled_at=bindparam("moment"),
        tries=messages.c.tries + 1, sandbox=bindparam("in_sandbox"),
    )
)  # fmt: skip
_CLAIMED = Prepared(
    select(messages.c.id, messages.c.fence, messages.c.customer_id).where(
        within(messages.c.id, "ids"), messages.c.state == "claimed"
    )
)
_HANDED_OVER = Prepared(
    select(messages.c.id, messages.c.fence).where(
        within(messages.c.id, "ids"), messages.c.state == "handing_over"
    )
)


def _defer(connection: Connection, deferred: Sequence[tuple[Claimed, Defer]], at: Round) -> None:
    """Let messages wait; what comes after each in its enrollment counts from the new moment."""
    if not deferred:
        return
    waiting = [
        {
            "state": "pending", "claimed_by": None, "lease_until": None, "try_at": verdict.until, **_moved(message, verdict),
            "id": message.id, "fence": message.fence,
        }
        for message, verdict in deferred
    ]  # fmt: skip
    found = programs(connection, [message.version for message, _ in deferred])
    following = [
        {
            "position": found[message.version].nodes[message.step].next, "anchor_at": verdict.until,
            "next_at": verdict.until, "visit": message.visit + 1, "id": message.enrollment_id,
        }
        for message, verdict in deferred
    ]  # fmt: skip
    update_rows(connection, messages, waiting, keys=("id", "fence"))
    update_rows(connection, enrollments, following, keys=("visit", "id"), only={"state": "waiting"})
    journal.write(
        connection,
        [
            journal.entry(
                at.now, message.flow, message.customer_id, "deferred", verdict.reason,
                enrollment_id=message.enrollment_id, message_id=message.id, step=message.step,
                detail={"until": verdict.until.isoformat()} | (_in_force(verdict) if _capped(verdict) else {}),
            )
            for message, verdict in deferred
        ],
    )  # fmt: skip


def _moved(message: Claimed, verdict: Defer) -> dict[str, datetime]:
    """Return when a deferred message is due: in quiet hours it becomes so later; for a cap it grows late as it waits."""
    if verdict.reason != "quiet_hours":
        return {"due_at": message.due_at, "expires_at": message.expires_at}
    return {"due_at": verdict.until, "expires_at": verdict.until + (message.expires_at - message.due_at)}


def _call(going: Sequence[tuple[Made, str]], exits: Exits) -> list[Outcome]:
    """Hand everything over, mails together by provider; the outcomes are in order."""
    outcomes: list[Outcome | None] = [None] * len(going)
    for provider in {id(p): p for p in (exits.mailbox, exits.real) if p is not None}.values():
        indexes = [
            i
            for i, (made, _) in enumerate(going)
            if made.mail is not None and exits.provider_for(made.mail) is provider
        ]
        mails = [made.mail for made, _ in (going[i] for i in indexes) if made.mail is not None]
        if mails:
            for index, outcome in zip(indexes, provider.hand_over(mails), strict=True):
                outcomes[index] = outcome
    for index, (made, _) in enumerate(going):
        if made.call is not None:
            outcomes[index] = (
                exits.call(made.call) if exits.call is not None else Failed("no webhook is set up")
            )
    return [
        outcome if outcome is not None else Unknown("the provider gave no answer") for outcome in outcomes
    ]
