"""Log lines of the daemon: one a line, for people (`key=value`) or for machines (JSON).

Comes in: a record whose `extra={"told": {…}}` holds what is to be said beside the message. Goes out: time, level,
message and those fields. Promises: an address or a key that slipped into a text is taken out again.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO

from engine.delivery.outcome import plain

LOGGER = "homing"


class LogLine(logging.Formatter):
    """Writes a record as one line."""

    def __init__(self, *, as_json: bool, timed: bool = True) -> None:
        super().__init__()
        self._as_json = as_json
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: `2026-03-01T09:00:00.125Z INFO tick entered=3`, or the same as a JSON object."""
        moment = (
            datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
        )
        told: dict[str, Any] = {key: _safe(value) for key, value in getattr(record, "told", {}).items()}
        message = plain(record.getMessage())
        if self._as_json:
            head = {"at": moment, "level": record.levelname.lower(), "message": message}
            return json.dumps(head | told, ensure_ascii=False, default=str)
        words = [record.levelname, message, *(f"{key}={_quoted(value)}" for key, value in told.items())]
        line = " ".join([moment, *words] if self._timed else words)
        # Only `-vv` lets the place of a mistake of ours through; what a library could not do is said in its sentence.
        ours = record.name.partition(".")[0] == LOGGER
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info and ours else line


def tell_warnings(stream: TextIO, *, verbosity: int) -> None:
    """Send what goes wrong in a command that ends by itself to a stream; with `-v` also how it goes."""
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogLine(as_json=False, timed=False))
    logging.basicConfig(level=logging.WARNING - 10 * max(verbosity, 0), handlers=[handler])


def start_logging(stream: TextIO, *, as_json: bool, verbosity: int) -> None:
    """Send what the daemon says to a stream: warnings with `-q`, each beat with `-v`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogLine(as_json=as_json))
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO - 10 * verbosity)
    # It tells of each beat that found the last one at work, which is as it should be.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("celery", "kombu"):  # what they say of a broker that is away is one line each, as ours are
        theirs = logging.getLogger(name)
        theirs.handlers[:] = [handler]
        theirs.propagate = False
        theirs.setLevel(logging.ERROR)


def _safe(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' ="') else text
