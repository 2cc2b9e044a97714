"""A store of its own on a virtual clock, driven by the daemon's own passes, whose mails go nowhere.

Comes in: an engine over a scratch database, from when until when, and how often the clock stops. Goes out: the store,
filled with what would have happened. Promises that nothing is rendered and nothing leaves; everything else - taking facts
in, entering, advancing, the gate with its caps and hours - is the code that sends.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from engine.delivery.dispatch import rehearse
from engine.delivery.outcome import Accepted, Outcome
from engine.delivery.outlines import make_outlines
from engine.deploy.simulate_feed import Suppressed
from engine.deploy.simulate_shelf import Shelf, put_on
from engine.facts.finding import find_customer
from engine.facts.rights import suppress
from engine.journeys.versions import live_flows
from engine.outbox.ledger import held
from engine.recommend.catalogue import Memory
from engine.render.mail import Mail
from engine.runtime import nightly
from engine.runtime.passes import Engine, work_through
from engine.runtime.work import Work, look
from engine.store.scratch import Lone
from engine.store.types import EPOCH

SETTLED_EVERY = (
    32  # stops of the clock: what is undone in memory stays small, and a page is written once for all
)
COLLECTED_EVERY = 200  # stops: what was found to stay is not looked at again
Tell = Callable[[datetime, int], None]


@dataclass(slots=True)
class Nowhere:
    """Takes every mail and lets it vanish."""

    name: str = "mailbox"
    taken: int = 0

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Accept everything."""
        self.taken += len(mails)
        return [Accepted(mail.key) for mail in mails]

    def check(self) -> list[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Hold nothing open."""


@dataclass(slots=True)
class Run:
    """One stretch of virtual time: `beat` is how often the clock stops at most, None at every moment that matters."""

    engine: Engine
    start: datetime
    until: datetime
    beat: timedelta | None
    suppressed: Sequence[Suppressed] = ()
    shelves: Sequence[Shelf] = ()
    nights: bool = False
    catalogue: Sequence[datetime] = ()  # when facts about products arrive
    tell: Tell = lambda _moment, _mails: None
    mails: int = field(default=0, init=False)
    _next_suppressed: int = field(default=0, init=False)
    _next_shelf: int = field(default=0, init=False)
    _next_change: int = field(default=0, init=False)
    _known: Work | None = field(default=None, init=False)  # until anything but a pass writes
    _memory: Memory = field(default_factory=Memory, init=False)  # until shelves or the catalogue change

    def play(self) -> None:
        """Let everything happen from `start` until `until`."""
        night = self._night(self.start)
        for number, moment in enumerate(self._moments(), 1):
            self._suppress(moment)
            self._restock(moment)
            if night is not None and night <= moment:
                self._by_night(moment)
                night = self._night(moment)
            handed, self._known = self._settle(moment)
            self.mails += handed
            if isinstance(self.engine.database, Lone) and not number % SETTLED_EVERY:
                self.engine.database.settle()
            if not number % COLLECTED_EVERY and not gc.isenabled():
                gc.collect()
                gc.freeze()
            self.tell(moment, self.mails)

    def _settle(self, moment: datetime) -> tuple[int, Work]:
        step = partial(settle_moment, self.engine, moment, self._known, self._memory)
        database = self.engine.database
        return database.boldly(step) if isinstance(database, Lone) else step()

    def _moments(self) -> Iterator[datetime]:
        """Yield where the clock stops: wherever something is due, on the beat."""
        moment = self.start
        while True:
            yield moment
            if moment >= self.until:
                return
            assert self._known is not None
            ahead = self._known.following
            stops = [self.until, ahead, self._night(moment), self._coming()]
            following = min(stop for stop in stops if stop is not None)
            moment = min(self.until, max(on_beat(following, self.beat), moment + timedelta(microseconds=1)))

    def _coming(self) -> datetime | None:
        """Return when the next suppression or table comes into force."""
        moments = [each.at for each in self.suppressed[self._next_suppressed : self._next_suppressed + 1]]
        moments += [each.since for each in self.shelves[self._next_shelf : self._next_shelf + 1]]
        return min(moments, default=None)

    def _suppress(self, moment: datetime) -> None:
        while self._next_suppressed < len(self.suppressed):
            each = self.suppressed[self._next_suppressed]
            if each.at > moment:
                return
            self._next_suppressed += 1
            self._known = None
            with self.engine.database.write() as connection:
                who = find_customer(connection, each.customer)
                if who is not None:
                    suppress(
                        connection,
                        who,
                        now=each.at,
                        scope="marketing" if each.scope == "marketing" else "all",
                    )

    def _restock(self, moment: datetime) -> None:
        while self._next_shelf < len(self.shelves) and self.shelves[self._next_shelf].since <= moment:
            with self.engine.database.write() as connection:
                put_on(connection, self.shelves[self._next_shelf])
            self._next_shelf += 1
            self._memory.forget()
        while self._next_change < len(self.catalogue) and self.catalogue[self._next_change] <= moment:
            self._next_change += 1
            self._memory.forget()

    def _night(self, moment: datetime) -> datetime | None:
        if not self.nights:
            return None
        return nightly.due_at(self.engine.database, self.engine.settings.shop.timezone, moment)

    def _by_night(self, moment: datetime) -> None:
        self._known = None
        nightly.run_nightly(self.engine, moment, tables=False)


def on_beat(moment: datetime, beat: timedelta | None) -> datetime:
    """Return the first stop at or after a moment.

    >>> from datetime import UTC
    >>> f"{on_beat(datetime(2026, 3, 1, 9, 1, tzinfo=UTC), timedelta(hours=1)):%H:%M}"
    '10:00'
    """
    return moment if beat is None else EPOCH - (EPOCH - moment) // beat * beat


def settle_moment(
    engine: Engine, moment: datetime, known: Work | None = None, memory: Memory | None = None
) -> tuple[int, Work]:
    """Do everything that is due at one moment; return how many mails would have gone, and what is known then.

    `known` is what is known already, where nothing was written since; `memory` what recommendations are made from.
    """
    handed = 0
    while True:
        _, known = work_through(engine, moment, sending=False, known=known)
        claimed, tally = _hand_over(engine, known, moment, memory)
        handed += tally
        if not claimed:
            return handed, known
        with engine.database.read() as connection:
            known = look(connection, engine.settings, moment)
        if known.agenda.without_mails.nothing_by(moment):  # nobody waits for what was just sent, or decided
            return handed, known


def _hand_over(engine: Engine, work: Work, moment: datetime, memory: Memory | None) -> tuple[int, int]:
    """Take what is due through the gate; return how many messages were claimed and how many went."""
    with engine.database.read() as connection:
        due = moment if held(connection) else work.agenda.messages_at
    claimed = handed = 0
    while due is not None and due <= moment:
        tally = rehearse(
            engine.database, work.at, work.library, work.secret, work.closed, engine.worker.most,
            make=partial(make_outlines, memory=memory),
        )  # fmt: skip
        claimed += tally.claimed
        handed += tally.outcomes.get("accepted", 0)
        if tally.claimed < engine.worker.most:  # less than a whole claim was all there was
            break
    return claimed, handed


def needs_nights(engine: Engine) -> bool:
    """Return whether a night can change anything: segments compared, scores reckoned anew."""
    with engine.database.read() as connection:
        live = live_flows(connection)
    return nightly.has_segments(live.values()) or nightly.asks_for_scores(live.values())
