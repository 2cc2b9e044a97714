"""Every error that a user can cause, drawn as one tree.

    HomingError                 a plain sentence for the user; the command ends with `exit_code`
    ├── UsageError         (2)  wrong usage: an unknown customer, flow, option value
    ├── FindingsError      (1)  the input has findings; they travel with the error
    └── OutsideError       (3)  the outside world failed: database, provider, file
        └── DatabaseBehind (3)  the schema is older than this program

Anything else that escapes is a bug of ours and is reported as such (family B).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.diagnostics import Finding


class HomingError(Exception):
    """Something that the user can understand and mend; `str()` is a plain sentence."""

    exit_code = 1


class UsageError(HomingError):
    """The command was asked for something that does not exist or does not fit."""

    exit_code = 2


class FindingsError(HomingError):
    """The input has findings that forbid going on; `findings` holds all of them."""

    exit_code = 1

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(f"{len(self.findings)} finding(s) must be mended first")


class OutsideError(HomingError):
    """Something outside of Homing failed: the database, a provider, a file."""

    exit_code = 3


class DatabaseBehind(OutsideError):
    """The database's schema is not the one this program needs; `homing db upgrade` mends it."""


def sentence_of(error: Exception) -> str:
    """Return an error as a sentence for people: its own where it has one, else that it is ours and where it lies."""
    if isinstance(error, HomingError):
        return str(error)
    return f"a bug of ours stopped it, in {place(error)}; the log says more"


def place(error: Exception) -> str:
    """Return where an error came from, without the values that may be a customer's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"
