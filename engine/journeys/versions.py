"""The flows that are live, and every version that somebody is still inside, parsed and ready.

Definitions are content-addressed: a version's hash never means anything else, so parsed programs are kept for the life
of the process. The one thing that a version borrows is segments that it does not name itself: a policy that excludes a
segment holds for those too who entered before anybody thought of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from engine.flows.load import flow_from_definition
from engine.flows.model import Flow
from engine.journeys.program import Program, compile_program
from engine.store.prepared import Prepared
from engine.store.tables import flow_versions, flows

_FLOWS = Prepared(select(flows))
_Segments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Parsed programs by hash, with the segments that were lent to them."""

    lent: _Segments
    programs: dict[str, Program]


_kept = _Kept({}, {})
# What the table of flows held at the last look, and what that means: it seldom changes, and every pass asks.
_last: tuple[tuple[Any, bool], dict[str, LiveFlow]] = (((), False), {})


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
    global _last  # noqa: PLW0603 - replaced as a whole, as `_kept` is
    rows = _FLOWS.unread(connection)
    told, live = _last
    if told != (rows, paused_all):
        live = _read(
            connection, [_FLOWS.read(connection.dialect, row) for row in rows], paused_all=paused_all
        )
        _last = (rows, paused_all), live
    return dict(live)


def _read(connection: Connection, rows: Sequence[Any], *, paused_all: bool) -> dict[str, LiveFlow]:
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
    global _kept  # noqa: PLW0603 - replaced as a whole, so that other threads see the old or the new
    kept = _kept
    if any(digest not in kept.programs for digest in hashes):
        lent = _applied_segments(connection)
        kept = _Kept(lent, dict(kept.programs) if kept.lent == lent else {})
        missing = sorted({digest for digest in hashes if digest not in kept.programs})
        for row in connection.execute(select(flow_versions).where(flow_versions.c.hash.in_(missing))):
            kept.programs[row.hash] = _program(row.hash, row.definition, lent)
        _kept = kept
    return {digest: kept.programs[digest] for digest in hashes}


def _applied_segments(connection: Connection) -> dict[str, Any]:
    """Return the segments of the newest versions of all active flows, by name; one name has one meaning there."""
    found: dict[str, Any] = {}
    newest = flow_versions.join(flows, flows.c.version == flow_versions.c.hash)
    query = select(flow_versions.c.definition).select_from(newest).where(flows.c.active)
    for definition in connection.scalars(query.order_by(flows.c.version_at, flows.c.flow)):
        found |= definition.get("segments", {})
    return found


def _program(digest: str, definition: Mapping[str, Any], lent: _Segments) -> Program:
    segments = {**lent, **definition.get("segments", {})}
    return compile_program(
        flow_from_definition({**definition, "segments": segments} if segments else definition), digest
    )
