"""Beyond one machine: the leader says what there is to do, in hints; workers anywhere do it (`distributed_work`).

Comes in: a database that several machines share, and a broker. Goes out: hints to work on a slice (take facts in, let a
range of customers take their steps, send to a range, do the night's work). Promises: a hint carries no truth. The
database says what is due, so a hint may be lost, come twice or late: as long as there is work it is said again, and while
one of its kind and slice waits or is worked on, it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, func, select

from engine.clock import has_ended, machine_now, machine_seconds
from engine.errors import UsageError
from engine.runtime.agenda import Agenda
from engine.runtime.daemon import Daemon, log
from engine.runtime.installation import why_sandbox
from engine.runtime.leader import living_daemons
from engine.runtime.ticking import night_is_due, note_tick
from engine.runtime.work import Work, look
from engine.settings import Settings
from engine.store.database import Database
from engine.store.keys import KeyRange, cut
from engine.store.marks import TICK, marked
from engine.store.tables import INSIDE, UNSETTLED, customers, enrollments, fact_inbox, leases, messages

TAKE_IN, ADVANCE, DISPATCH, NIGHT = KINDS = ("take in", "advance", "dispatch", "night")
LANE = "hint:"
EXPIRES_SECONDS = 10.0  # a hint that nobody took by then is void, and is said again
FEWEST_PARTS, MOST_PARTS, PARTS_EACH = 8, 256, 4
SAMPLE = 1_000


@dataclass(frozen=True, slots=True)
class Hint:
    """Something to look at: a kind of work and a slice of the customers; `mode` is the leader's."""

    kind: str
    mode: str
    part: int = 0
    parts: int = 1
    low: int = 0
    high: int | None = None

    @property
    def lane(self) -> str:
        """The name of the lease that whoever works on this slice holds."""
        return f"{LANE}{self.kind}:{self.part}/{self.parts}"

    @property
    def keys(self) -> KeyRange:
        """The range of customers."""
        return KeyRange(self.low, self.high)

    def written(self) -> dict[str, Any]:
        """Return it as it travels."""
        return asdict(self)

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Hint:
        """Read what came from the broker; raise ValueError for anything that is no hint."""
        try:
            hint = cls(**told)
        except TypeError as error:
            raise ValueError("not a hint of this version") from error
        numbers = [hint.part, hint.parts, hint.low, *([] if hint.high is None else [hint.high])]
        if hint.kind not in KINDS or not all(type(number) is int for number in numbers):
            raise ValueError("not a hint of this version")
        return hint


class Broker(Protocol):
    """What carries hints from the leader to the workers."""

    def send(self, hint: Hint, expires: float) -> None:
        """Put a hint in the queue, void after so many seconds; raise OutsideError where the broker does not answer."""
        ...

    def waiting(self) -> int:
        """Return how many hints wait in the queue; raise OutsideError where the broker does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What the leader saw in one look."""

    work: Work
    unread_from: int | None
    unread_to: int
    marked: datetime | None

    def taken_in(self, goal: Goal) -> bool:
        """Return whether everything that was new or due at the goal was taken in, facts that came later aside."""
        agenda = self.work.agenda
        steps = agenda.enrollments_at is None or agenda.enrollments_at > goal.moment
        facts = self.unread_from is None or self.unread_from > goal.unread_to
        return steps and facts and not (agenda.kept or self.work.slot_due or agenda.due_flows(goal.moment))


@dataclass(frozen=True, slots=True)
class Goal:
    """A moment that the work is to catch up with, and the last fact that had come by then."""

    moment: datetime
    unread_to: int


class Beater(Daemon):
    """The daemon of `homing run --distributed`: it leads or waits to lead, sends hints, and mails nothing itself."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Callable[[], datetime],
        broker: Broker,
        **more: Any,
    ) -> None:
        need_shared_database(settings, database)
        super().__init__(settings, database, clock, workers=0, sends=False, **more)
        self._broker = broker
        self._sent: dict[str, tuple[int, float]] = {}
        self._goal: Goal | None = None

    def _tick(self) -> None:
        """Note how far the work has come, and hint at what is due."""
        if not self._leadership.leads():
            self._sent.clear()
            return
        engine, now = self._engine.current(), self._clock()
        with self._database.read() as connection:
            seen = self._see(connection, now)
        marked = self._come_so_far(seen, now)
        with self._database.read() as connection:
            hints = list(due_hints(connection, seen.work, marked, engine.settings.delivery.mode))
            lanes = _lanes(connection)
        if night_is_due(engine, now):
            hints.append(Hint(NIGHT, engine.settings.delivery.mode))
        self._send_hints(hints, lanes)

    def _nightly(self) -> None:
        """Do nothing: the night's work is hinted at."""

    def _see(self, connection: Connection, now: datetime) -> Seen:
        work = look(connection, self._engine.current().settings, now)
        ends = connection.execute(select(func.min(fact_inbox.c.id), func.max(fact_inbox.c.id))).one()
        since = marked(connection, TICK)
        return Seen(work, ends[0], ends[1] or 0, since)

    def _come_so_far(self, seen: Seen, now: datetime) -> datetime | None:
        """Note up to which moment everything was taken in: dispatch goes no further. Return that moment."""
        present = Goal(now, seen.unread_to)
        goal = self._goal or present
        if seen.taken_in(present):
            goal = present
        elif not seen.taken_in(goal):
            self._goal = goal
            return seen.marked
        self._goal = present
        # At rest the mark may lag a little: each writing of it is a commit that waits for the disk.
        behind = (now - seen.marked).total_seconds() if seen.marked is not None else self._rhythm.mark
        posted = seen.work.agenda.messages_at
        if behind >= self._rhythm.mark or behind < 0 or (posted is not None and posted <= now):
            note_tick(self._database, goal.moment)
            return goal.moment
        return seen.marked

    def _send_hints(self, hints: Iterable[Hint], lanes: Mapping[str, tuple[int, datetime]]) -> None:
        """Send those of which none waits or is worked on; none where the queue is long already."""
        present, seconds = machine_now(), machine_seconds()
        wanted = []
        for hint in hints:
            fence, until = lanes.get(hint.lane, (0, None))
            at_work = until is not None and not has_ended(until, present)
            before, at = self._sent.get(hint.lane, (-1, 0.0))
            waits = before == fence and seconds - at < EXPIRES_SECONDS
            if not at_work and not waits:
                wanted.append((hint, fence))
        if not wanted:
            return
        room = 3 * MOST_PARTS - self._broker.waiting()
        if room <= 0:
            log.warning(
                "the queue of hints is full: is a worker there?", extra={"told": {"hints": len(wanted)}}
            )
        for hint, fence in wanted[: max(0, room)]:
            self._broker.send(hint, EXPIRES_SECONDS)
            self._sent[hint.lane] = (fence, seconds)


def need_shared_database(settings: Settings, database: Database) -> None:
    """Refuse SQLite, and a place that mails nobody while the settings say live; raise UsageError."""
    if database.is_sqlite:
        raise UsageError(
            "several machines share one PostgreSQL, and this is SQLite, a file on one machine: "
            "set [database] url to a PostgreSQL server"
        )
    reason = why_sandbox(settings, database)
    if settings.delivery.mode == "live" and reason is not None:
        raise UsageError(
            f"mode is live, but here mails would stay in the sandbox: {reason}. All machines of one installation give "
            "themselves the same HOMING_INSTALLATION (any name) and the same database URL before `homing live`"
        )


def due_hints(connection: Connection, work: Work, marked: datetime | None, mode: str) -> Iterable[Hint]:
    """Return what there is to do, the pressing first; mails only up to `marked`, when everything had been taken in."""
    now = work.at.now
    slices = _slices(connection)
    if marked is not None:
        due = [UNSETTLED, messages.c.state == "pending", messages.c.try_at <= min(marked, now)]
        if work.closed:
            due.append(messages.c.flow.not_in(sorted(work.closed)))
        query = select(messages.c.customer_id).where(*due).order_by(messages.c.try_at, messages.c.id)
        # Somebody must look after what dead workers held, also where nothing else is due.
        always = [0] if work.agenda.leased else []
        yield from _sliced(DISPATCH, mode, slices, connection.scalars(query.limit(SAMPLE)), always)
    if _to_take_in(work.agenda, now) or work.slot_due or work.arming:
        yield Hint(TAKE_IN, mode)
    steps = [INSIDE, enrollments.c.next_at <= now]
    if work.closed:
        steps.append(enrollments.c.flow.not_in(sorted(work.closed)))
    query = select(enrollments.c.customer_id).where(*steps)
    query = query.order_by(enrollments.c.next_at, enrollments.c.id).limit(SAMPLE)
    yield from _sliced(ADVANCE, mode, slices, connection.scalars(query))


def _slices(connection: Connection) -> list[KeyRange]:
    """Return ranges of customers, a few for each living worker, so that none waits for the slowest slice."""
    ends = connection.execute(select(func.min(customers.c.id), func.max(customers.c.id))).one()
    wanted = PARTS_EACH * living_daemons(connection, machine_now())
    parts = FEWEST_PARTS
    while parts < min(wanted, MOST_PARTS):
        parts *= 2
    return cut(ends[0] or 0, ends[1] or 0, parts)


def _to_take_in(agenda: Agenda, now: datetime) -> bool:
    return bool(agenda.unread or agenda.kept or agenda.due_flows(now))


def _sliced(
    kind: str, mode: str, slices: list[KeyRange], due: Iterable[int], always: Iterable[int] = ()
) -> Iterable[Hint]:
    """Return hints for the slices that something due lies in; for all where the sample is full of it."""
    ids = list(due)
    parts = set(always)
    if len(ids) >= SAMPLE:
        parts |= set(range(len(slices)))
    else:
        parts |= {number for number, keys in enumerate(slices) if any(key in keys for key in ids)}
    for number in sorted(parts):
        keys = slices[number]
        yield Hint(kind, mode, number, len(slices), keys.low, keys.high)


def _lanes(connection: Connection) -> dict[str, tuple[int, datetime]]:
    query = select(leases.c.name, leases.c.fence, leases.c.until).where(
        leases.c.name.startswith(LANE, autoescape=True)
    )
    return {row.name: (row.fence, row.until) for row in connection.execute(query)}
