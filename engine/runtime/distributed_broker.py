"""The broker behind hints: Celery over Redis or RabbitMQ, which the extra `distributed` brings.

Comes in: the broker's URL and the shared database, whose secret names the queue, so that two installations may share a
broker. Goes out: hints into the queue, and out of it into a worker's hands. Hints are acknowledged when they are taken:
one that is lost is said again, so that nothing ever depends on the broker's memory.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import OutsideError, UsageError
from engine.runtime.distributed import Hint
from engine.runtime.distributed_work import HintWorker
from engine.store import meta
from engine.store.database import Database

TASK = "homing.hint"
ANSWER_SECONDS = 5.0
SCHEMES = ("redis", "rediss", "amqp", "amqps", "sentinel", "memory")


class CeleryBroker:
    """A queue of hints; raises UsageError where the extra is not installed or the URL names no broker."""

    def __init__(self, url: str, queue: str) -> None:
        if not url:
            raise UsageError(
                "a distributed installation needs a broker: set HOMING_BROKER_URL (or url in [broker]), "
                "such as redis://localhost:6379/0 or amqp://USER:PASSWORD@HOST/"
            )
        scheme = url.partition("://")[0].partition("+")[0]
        if "://" not in url or scheme not in SCHEMES:
            raise UsageError("the broker's URL begins with redis://, rediss://, amqp:// or amqps://")
        try:
            from celery import Celery  # noqa: PLC0415 - the extra may not be there
        except ImportError as error:
            raise UsageError(
                "a distributed installation needs Celery: pip install 'homing[distributed]'"
            ) from error
        self.queue = queue

        def make() -> Any:
            app = Celery("homing", broker=url, set_as_current=False)
            app.conf.update(_configuration(queue, redis=scheme in ("redis", "rediss")))
            return app

        self._make = make
        self._app = make()

    def send(self, hint: Hint, expires: float) -> None:
        """Put a hint in the queue, void after so many seconds."""
        self._asked(
            lambda: self._app.send_task(
                TASK, kwargs={"told": hint.written()}, expires=expires, ignore_result=True, retry=False
            )
        )

    def waiting(self) -> int:
        """Return how many hints wait in the queue."""

        def ask() -> int:
            with self._app.pool.acquire(block=True) as connection:
                missing: tuple[type[Exception], ...] = connection.channel_errors
                try:
                    with connection.channel() as channel:
                        return int(channel.queue_declare(queue=self.queue, passive=True).message_count)
                except missing:
                    return 0  # nobody has made the queue yet

        count: int = self._asked(ask)
        return count

    def _asked(self, ask: Callable[[], Any]) -> Any:
        """Ask the broker; after a failure go on with new connections."""
        from kombu import pools  # noqa: PLC0415

        failures = self._failures()
        try:
            return ask()
        except Exception as error:
            # Kombu pools producers whose channel died with the broker, and fails in them for ever after.
            pools.reset()  # type: ignore[no-untyped-call]
            self._app = self._make()
            if isinstance(error, failures):
                raise OutsideError(
                    "the broker does not answer; is [broker] url right, and does it run?"
                ) from error
            raise

    def _failures(self) -> tuple[type[Exception], ...]:
        from kombu.exceptions import KombuError  # noqa: PLC0415
        from kombu.exceptions import OperationalError as Refused  # noqa: PLC0415

        connection = self._app.connection_for_write()
        return (OSError, KombuError, Refused, *connection.connection_errors, *connection.channel_errors)

    def task(self, worker: HintWorker) -> Any:
        """Return the task that a hint in the queue calls: it lets this worker perform it."""

        def perform(told: Mapping[str, object]) -> None:
            worker.perform(told)

        # Not shared: Celery would give every later app of this program this worker's task under the same name.
        made = self._app.task(name=TASK, ignore_result=True, shared=False)(perform)
        self._app.finalize()
        return made

    def take(self) -> Mapping[str, Any] | None:
        """Take one message out of the queue without working on it; return the task's keywords, or None: it is empty."""
        with self._app.pool.acquire(block=True) as connection, connection.channel() as channel:
            message = channel.basic_get(self.queue, no_ack=True)
            if message is None:
                return None
            _, keywords, _ = message.decode()
            found: Mapping[str, Any] = keywords
            return found

    def work(self, worker: HintWorker, threads: int) -> int:
        """Take hints in so many threads until SIGTERM or SIGINT; return the exit code."""
        from celery import signals  # noqa: PLC0415
        from celery.exceptions import SecurityWarning  # noqa: PLC0415

        def stop(**_: object) -> None:
            worker.stop()

        # Of root and pickle, and of tasks that are acknowledged late: hints are JSON, acknowledged as they are taken.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)
        signals.setup_logging.connect(_leave_logging_alone, weak=False)
        self.task(worker)
        signals.worker_shutting_down.connect(stop, weak=False)
        with worker.living():
            taking = self._app.Worker(
                hostname=f"homing@{worker.name}", pool_cls="threads", concurrency=threads, loglevel="ERROR",
                quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True,
            )  # fmt: skip
            taking.start()
        code: int = taking.exitcode or 0
        return code


def open_broker(url: str, database: Database) -> CeleryBroker:
    """Return the queue of this installation's hints."""
    with database.write() as connection:
        secret = meta.secret(connection)
    return CeleryBroker(url, f"homing-{hashlib.sha256(b'queue' + secret).hexdigest()[:12]}")


def _leave_logging_alone(**_: object) -> None:
    """Keep Celery from setting up logs of its own: a receiver of this signal is all that it asks for."""


def _configuration(queue: str, *, redis: bool) -> dict[str, Any]:
    configured: dict[str, Any] = {
        "task_default_queue": queue,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": ANSWER_SECONDS,
    }
    if redis:
        configured["broker_transport_options"] = {
            "socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS, "health_check_interval": 10,
        }  # fmt: skip
    return configured
