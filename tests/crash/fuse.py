"""A fuse in a forked child: it counts what the engine does to the world, and ends or stops the process at one of them.

A step is a statement before it is sent and after it is answered, a commit before and after, and each sending to and
reading from a provider. `Fuse(None)` only writes down the steps, so that a run can be enumerated before it is cut.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event


def forked(work: Callable[[], None]) -> int:
    """Do the work in a fork of this process, which ends with 0, or with 1 and a trace on stderr; return its number."""
    child = os.fork()
    if child != 0:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the child must never return into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a fork and wait for its end; return its wait status."""
    return os.waitpid(forked(work), 0)[1]


class Fuse:
    """Does `how` to this process at step number `at` (counted from 1); `steps` are the labels so far.

    SIGSTOP waits for the first step from there on at which no transaction is open.
    """

    def __init__(self, at: int | None, how: signal.Signals = signal.SIGKILL) -> None:
        self._at, self._how = at, how
        self._open: set[int] = set()
        self.steps: list[str] = []

    def lay(self, engine: Engine) -> None:
        """Watch this engine's statements and commits, and every socket, for the rest of this process's life."""
        event.listen(engine, "begin", lambda c: self._open.add(_raw(c.connection)), insert=True)
        event.listen(engine, "before_cursor_execute", self._before_sql)
        event.listen(engine, "after_cursor_execute", lambda *_: self.step("after sql"))
        for name in ("do_commit", "do_rollback"):
            setattr(engine.dialect, name, self._around_end(name, getattr(engine.dialect, name)))
        for name in ("sendall", "recv_into"):
            setattr(socket.socket, name, self._around(name, getattr(socket.socket, name)))

    def _before_sql(self, connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(
            "BEGIN"
        ):  # SQLite begins by a statement of ours, and "begin" may not be told of it
            self._open.add(_raw(connection.connection))
        self.step("before sql")

    def step(self, what: str) -> None:
        """Count one step; the process may end in here."""
        self.steps.append(what if not self._open else f"{what}, in a transaction")
        # Nobody could take over from a process that stands still with the writer's lock in its hands.
        if (
            self._at is not None
            and len(self.steps) >= self._at
            and not (self._how == signal.SIGSTOP and self._open)
        ):
            self._at = None
            # To this thread: a signal to the process may be taken by another one, while this one goes on into a transaction.
            signal.pthread_kill(threading.get_ident(), self._how)

    def _around_end(self, name: str, end: Callable[..., Any]) -> Callable[..., Any]:
        def ended(connection: Any) -> None:
            if name == "do_commit":
                self.step("before commit")
            end(connection)
            self._open.discard(_raw(connection))
            if name == "do_commit":
                self.step("after commit")

        return ended

    def _around(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(sock: socket.socket, *arguments: Any) -> Any:
            self.step(f"before {name}")
            result = act(sock, *arguments)
            self.step(f"after {name}")
            return result

        return acted


def _raw(connection: Any) -> int:
    return id(getattr(connection, "dbapi_connection", connection))
