"""Commands of an installation on several machines: worker, and the leader's part of `run --distributed`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from engine.clock import SystemClock
from engine.commands.session import Session, command
from engine.errors import UsageError
from engine.runtime.daemon import Daemon
from engine.runtime.distributed import Beater, need_shared_database
from engine.runtime.distributed_broker import open_broker
from engine.runtime.distributed_work import HintWorker
from engine.runtime.log_lines import start_logging


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @command(group, "worker")
    @click.option(
        "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Threads that work."
    )
    def worker(session: Session, workers: int) -> None:
        """Work for `homing run --distributed`, here or on another machine, until SIGTERM."""
        if session.now_text is not None:
            raise UsageError("this command lives on real time and takes no --now")
        start_logging(sys.stderr, as_json=session.as_json, verbosity=session.verbosity)
        session.patiently(lambda: need_shared_database(session.settings, session.database))
        broker = open_broker(session.settings.broker_url, session.database)
        hints = HintWorker(session.settings, session.database, SystemClock().now)
        sys.exit(broker.work(hints, workers))


def beater(session: Session, watch: Callable[[], None] | None) -> Daemon:
    """Return the daemon that hints at work instead of doing it."""
    need_shared_database(session.settings, session.database)
    broker = open_broker(session.settings.broker_url, session.database)
    return Beater(session.settings, session.database, SystemClock().now, broker, watch=watch)
