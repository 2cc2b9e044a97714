"""A scheduler of one thread: actors run in turns that a seed decides, on a clock that moves when nobody has work.

Comes in: a source of chance and how likely each fault is. Each actor is a greenlet that passes through `point` at every
statement, commit and call; there the scheduler may let another one go on, hold this one up for a while, or kill it, as a
`Killed` that nothing in the engine catches. The same seed gives the same run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """This actor's process was killed: nothing that it does from here on counts."""


KINDS = ("switch", "kill", "delay", "fail")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong: points between two kills, two delays and so on; 0 for what never does."""

    switch_every: float = 6.5
    kill_every: float = 4_000
    delay_every: float = 2_500
    fail_every: float = 6_000


@dataclass(slots=True, eq=False)
class Actor:
    """Somebody who works in turns: what it does, and what it waits for."""

    name: str
    work: Callable[[], None]
    mortal: bool = True
    greenlet: Any = None
    wakes_at: datetime | None = None
    listens: bool = False
    wants: Lock | None = None
    lives: int = 0


@dataclass(slots=True, eq=False)
class Lock:
    """A lock between actors: SQLite's single writer."""

    holder: Actor | None = None


@dataclass(slots=True)
class Scheduler:
    """The actors, the clock, and chance."""

    chance: random.Random
    now: datetime
    faults: Faults = Faults()
    actors: list[Actor] = field(default_factory=list)
    current: Actor | None = None
    points: int = 0
    kills: int = 0
    _next: dict[str, float] = field(
        default_factory=dict
    )  # by what goes wrong: the point from which on it does
    _soonest: float = 0.0
    _hub: Any = None

    def spawn(self, name: str, work: Callable[[], None], *, mortal: bool = True) -> Actor:
        """Add an actor; one that is killed begins anew a little later, under another `lives`."""
        actor = Actor(name, work, mortal)
        self.actors.append(actor)
        return actor

    # ── what actors call ─────────────────────────────────────────────────────────────────────────────────────────────

    def point(self, kind: str) -> None:
        """Pass a place where another actor may come between, or this one may be held up or killed."""
        if self.current is None:
            return
        self.points += 1
        if self.points >= self._soonest:
            self._meet(kind)

    def statement(self) -> bool:
        """Pass the point before a statement; return whether the database fails at it."""
        if self.current is None:
            return False
        self.points += 1
        if self.points < self._soonest:
            return False
        self._meet("statement")
        return self.current.mortal and self._strikes("fail")

    def _meet(self, kind: str) -> None:
        """Let happen what is to happen here, if it can."""
        actor = self.current
        assert actor is not None
        if actor.mortal and self._strikes("kill"):
            self.kills += 1
            raise Killed
        if kind != "statement" and self._strikes("delay"):
            self.sleep(timedelta(seconds=self.chance.choice((5, 31, 70, 200, 4_000))))
        elif self._strikes("switch"):
            self._hub.switch()

    def sleep(self, stretch: timedelta) -> None:
        """Let the current actor stand still for a while."""
        self.wait(self.now + stretch)

    def wait(self, until: datetime | None, *, or_signal: bool = False) -> None:
        """Let the current actor wait for a moment, or for somebody's signal."""
        actor = self.current
        assert actor is not None
        actor.wakes_at, actor.listens = until, or_signal
        self._hub.switch()

    def signal(self) -> None:
        """Wake everybody who listens."""
        for actor in self.actors:
            if actor.listens:
                actor.wakes_at, actor.listens = self.now, False

    def acquire(self, lock: Lock) -> None:
        """Take a lock, after whoever holds it."""
        actor = self.current
        if actor is None:
            return
        while lock.holder is not None and lock.holder is not actor:
            actor.wants = lock
            self._hub.switch()
        actor.wants = None
        lock.holder = actor

    def release(self, lock: Lock) -> None:
        """Give a lock back."""
        if lock.holder is self.current:
            lock.holder = None

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, until: datetime) -> None:
        """Let the actors work in turns until the clock stands at `until` and nobody has anything to do."""
        self._hub = getcurrent()
        while True:
            ready = [actor for actor in self.actors if self._is_ready(actor)]
            if ready:
                self._turn(self.chance.choice(ready) if len(ready) > 1 else ready[0])
                continue
            moments = [actor.wakes_at for actor in self.actors if actor.wakes_at is not None]
            following = min(moments, default=until)
            if following >= until:
                self.now = until
                return
            self.now = following

    def calm(self) -> None:
        """Let nothing go wrong from here on."""
        self.faults = Faults(*(0.0 for _ in KINDS))
        self._next.clear()
        self._soonest = 0.0

    def stop(self) -> None:
        """End every actor where it stands."""
        for actor in self.actors:
            if actor.greenlet is not None and not actor.greenlet.dead:
                self.current = None
                with suppress(Killed):
                    actor.greenlet.throw(Killed)

    def _is_ready(self, actor: Actor) -> bool:
        if actor.wants is not None:
            return actor.wants.holder is None
        return actor.wakes_at is not None and actor.wakes_at <= self.now

    def _turn(self, actor: Actor) -> None:
        if actor.greenlet is None:
            actor.lives += 1
            actor.greenlet = greenlet(actor.work)
        actor.wakes_at = actor.wakes_at if actor.wants is not None else self.now
        self.current = actor
        try:
            actor.greenlet.switch()
        except Killed:
            actor.wants = None
        finally:
            self.current = None
        if actor.greenlet is not None and actor.greenlet.dead:
            actor.greenlet, actor.listens = None, False
            actor.wakes_at = (
                self.now + timedelta(seconds=self.chance.choice((1, 20, 90))) if actor.mortal else None
            )

    def _strikes(self, what: str) -> bool:
        """Return whether the point has come from which on this goes wrong; then the next one is drawn."""
        if what not in self._next:
            self._draw(what)
        if self.points < self._next[what]:
            return False
        self._draw(what)
        return True

    def _draw(self, what: str) -> None:
        every = getattr(self.faults, f"{what}_every")
        self._next[what] = self.points + self.chance.expovariate(1 / every) if every else math.inf
        self._soonest = min(self._next.values()) if len(self._next) == len(KINDS) else 0.0
