"""The flows that are live, and every version that somebody is still inside, parsed and ready.

Definitions are content-addressed: a version's hash never means anything else, so parsed programs are kept for the life
of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from engine.flows.load import flow_from_definition
from engine.flows.model import Flow
from engine.journeys.program import Program, compile_program
from engine.store.tables import flow_versions, flows

_programs: dict[str, Program] = {}


@dataclass(frozen=True, slots=True)
class LiveFlow:
    """One applied flow: its newest version, since when, and whether it may enter and send."""

    program: Program
    applied_at: datetime
    version_at: datetime
    active: bool
    paused: bool
    frozen: bool
    allowance: int | None

    @property
    def flow(self) -> Flow:
        """The definition of the newest version."""
        return self.program.flow

    @property
    def open(self) -> bool:
        """Whether customers may enter; those inside a flow that was removed finish it."""
        return self.active and not self.stopped

    @property
    def stopped(self) -> bool:
        """Whether neither entries nor mails may go on until somebody resumes the flow."""
        return self.paused or self.frozen


def live_flows(connection: Connection, *, paused_all: bool = False) -> dict[str, LiveFlow]:
    """Return every applied flow by name; `paused_all` marks all of them paused."""
    rows = connection.execute(select(flows)).all()
    found = programs(connection, [row.version for row in rows])
    return {
        row.flow: LiveFlow(
            found[row.version],
            row.applied_at,
            row.version_at,
            row.active,
            paused_all or row.paused_at is not None,
            row.frozen_at is not None,
            row.allowance,
        )
        for row in rows
    }


def programs(connection: Connection, hashes: Sequence[str]) -> dict[str, Program]:
    """Return the programs of these versions, reading those that this process has not seen yet."""
    missing = sorted({digest for digest in hashes if digest not in _programs})
    if missing:
        for row in connection.execute(select(flow_versions).where(flow_versions.c.hash.in_(missing))):
            _programs[row.hash] = compile_program(flow_from_definition(row.definition), row.hash)
    return {digest: _programs[digest] for digest in hashes}
