"""One writer for all requests: what arrives while a transaction runs is written together by the next one.

Comes in: bundles (the calls of one request). Goes out: a future for each, done when its facts are committed: whoever was
answered 200 will find them after a power cut. A bundle that fails is tried by itself; if it fails again for a reason of its
own, it is kept in the raw inbox, so that one poisonous request never holds up the others. The queue is bounded.
"""

from __future__ import annotations

import logging
import queue
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Thread

from sqlalchemy.exc import DBAPIError

from engine.clock import machine_now
from engine.web.intake import inbox
from engine.web.intake.calls import Call
from engine.web.intake.inbox import Unread
from engine.web.intake.taking import take_calls, unread_call
from engine.web.intake.visitors import forget_old
from engine.web.limits import CallLimit
from engine.web.site import Site

log = logging.getLogger("homing.web")
MOST_WAITING = 20_000  # calls
MOST_AT_ONCE = 1_000  # calls in one transaction, which keeps it under 100 ms or so
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Bundle:
    """The calls of one request, received at `at` with a write key, and what of it could not be used."""

    calls: Sequence[Call]
    unread: Sequence[Unread]
    at: datetime
    key: str = ""
    done: Future[None] = field(default_factory=Future)

    @property
    def size(self) -> int:
        """How many calls it has, one at least."""
        return max(len(self.calls) + len(self.unread), 1)


class Full(Exception):
    """More waits than can be written soon; the client tries again later."""


class Writer:
    """A thread that writes bundles in order; `start` and `stop` with the server."""

    def __init__(self, site: Site, limit: CallLimit) -> None:
        self._site, self._limit = site, limit
        self._queue: queue.SimpleQueue[Bundle | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread: Thread | None = None
        self._forgotten: datetime | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread = Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._waiting

    def submit(self, bundle: Bundle) -> Future[None]:
        """Queue a bundle; raise Full where too much waits. Called from one thread, the server's."""
        if self._waiting > MOST_WAITING:
            raise Full
        self._waiting += bundle.size
        self._queue.put(bundle)
        return bundle.done

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            bundles, last = self._gather(first)
            self._write(bundles)
            if last:
                return

    def _gather(self, first: Bundle) -> tuple[list[Bundle], bool]:
        bundles, count = [first], first.size
        while count < MOST_AT_ONCE:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return bundles, True
            bundles.append(more)
            count += more.size
        return bundles, False

    def _write(self, bundles: Sequence[Bundle]) -> None:
        try:
            self._take(bundles)
        except Exception as error:  # noqa: BLE001 - told to each bundle below
            for bundle in bundles:
                self._write_alone(bundle, error if len(bundles) == 1 else None)
        else:
            for bundle in bundles:
                bundle.done.set_result(None)
        finally:
            self._waiting -= sum(bundle.size for bundle in bundles)

    def _write_alone(self, bundle: Bundle, error: Exception | None) -> None:
        try:
            if error is None:
                self._take([bundle])
            elif isinstance(error, DBAPIError):
                raise error
            else:
                self._set_aside(bundle, error)
        except DBAPIError as lost:
            bundle.done.set_exception(lost)  # the database's fault: the client tries again
        except Exception as own:  # noqa: BLE001 - a bug of ours must not stop the others
            try:
                self._set_aside(bundle, own)
            except Exception as again:  # noqa: BLE001 - then the client has to
                bundle.done.set_exception(again)
            else:
                bundle.done.set_result(None)
        else:
            bundle.done.set_result(None)

    def _take(self, bundles: Sequence[Bundle]) -> None:
        site = self._site
        now = max(bundle.at for bundle in bundles)
        by_key: Counter[str] = Counter()
        for bundle in bundles:
            by_key[bundle.key] += bundle.size
        with site.database.write() as connection:
            take_calls(
                connection,
                [call for bundle in bundles for call in bundle.calls],
                site.settings,
                now,
                [each for bundle in bundles for each in bundle.unread],
            )
            # Its row is held for the shortest time: other processes wait for it.
            levels = self._limit.note(connection, by_key, machine_now())
            if self._forgotten is None or now - self._forgotten > _HOUR:
                forget_old(connection, now)
                self._forgotten = now
        self._limit.learn(levels)

    def _set_aside(self, bundle: Bundle, error: Exception) -> None:
        log.error(
            "calls could not be taken",
            extra={"told": {"what": type(error).__name__, "calls": len(bundle.calls)}},
        )
        reason = "failed here, by a mistake of ours: the log says more"
        rows = [unread_call(call, reason) for call in bundle.calls]
        with self._site.database.write() as connection:
            inbox.keep(connection, [*rows, *bundle.unread], bundle.at)
