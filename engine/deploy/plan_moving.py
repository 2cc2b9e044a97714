"""Moving those inside to the newest version, and going back to an earlier one; both in the transaction of `apply`.

Comes in: applied changes, or the hash of a stored version. Goes out: who was moved and who could not be; the earlier flow
as something to apply. Promises that an enrollment goes on at the same step, counted from the same moment, and that one
whose step is gone stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, select, update

from engine.errors import UsageError
from engine.flows.fingerprint import Change, change_between, fingerprint
from engine.flows.load import Project
from engine.flows.model import Definitions
from engine.flows.parse import flow_from_definition
from engine.journeys.program import Program
from engine.journeys.versions import programs
from engine.store.dialect import among
from engine.store.tables import INSIDE, applies, enrollments, flow_versions, flows


@dataclass(frozen=True, slots=True)
class Moved:
    """How many of a flow's enrollments stood at one step of an older version, and whether they were moved."""

    flow: str
    version: str
    step: str | None
    enrollments: int
    moved: bool


def can_move(old: Program, new: Program, position: str | None) -> bool:
    """Return whether somebody at this step of the old version can go on at the same step of the new one."""
    if position is None:
        return True
    there, here = new.nodes.get(position), old.nodes.get(position)
    return there is not None and here is not None and type(there.step) is type(here.step)


def move_inside(connection: Connection, names: Sequence[str]) -> list[Moved]:
    """Move everybody inside these flows to the newest version, step by identity; return who was and who was not."""
    table = enrollments.c
    newest = {
        row.flow: row.version
        for row in connection.execute(
            select(flows.c.flow, flows.c.version).where(among(connection, flows.c.flow, names))
        )
    }
    grouped = (
        select(table.flow, table.version, table.position, func.count())
        .where(among(connection, table.flow, names), INSIDE)
        .group_by(table.flow, table.version, table.position)
        .order_by(table.flow, table.version, table.position)
    )
    moved = []
    for flow, version, position, number in connection.execute(grouped).all():
        if version == newest[flow]:
            continue
        found = programs(connection, [version, newest[flow]])
        possible = can_move(found[version], found[newest[flow]], position)
        moved.append(Moved(flow, version, position, number, possible))
        if possible:
            here = table.position.is_(None) if position is None else table.position == position
            connection.execute(
                update(enrollments)
                .where(table.flow == flow, table.version == version, here, INSIDE)
                .values(version=newest[flow])
            )
    return moved


# ── going back ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Earlier:
    """A stored version as something that can be applied or played."""

    flow: str
    version: str
    definition: Mapping[str, Any]

    def into(self, project: Project, *, alone: bool) -> Project:
        """Return the project with this flow as it was; `alone`: with no other."""
        flow = flow_from_definition(self.definition)
        known = project.definitions
        others = {} if alone else dict(known.flows)
        raw = {} if alone else dict(known.raw)
        definitions = Definitions(
            {**others, self.flow: flow},
            known.segments,
            known.offers,
            {**raw, self.flow: dict(self.definition)},
        )
        return replace(project, definitions=definitions)


def earlier_version(connection: Connection, digest: str) -> Earlier:
    """Return the stored version whose hash begins like this; raise UsageError where there is none, or several."""
    table = flow_versions.c
    query = select(table.hash, table.flow, table.definition).where(
        table.hash.startswith(digest, autoescape=True)
    )
    rows = connection.execute(query.order_by(table.created_at).limit(3)).all() if digest else []
    if len(rows) == 1:
        return Earlier(rows[0].flow, rows[0].hash, rows[0].definition)
    if rows:
        raise UsageError(f'several versions begin with "{digest}": {", ".join(row.hash for row in rows)} …')
    raise UsageError(f'no version "{digest}" was ever applied here; `homing plan --history` lists them')


def change_to(connection: Connection, earlier: Earlier) -> tuple[Change, str | None]:
    """Return what kind of change leads to an earlier version from the applied one, and the latter's hash."""
    query = select(flows.c.version, flows.c.active, flow_versions.c.definition).join(
        flow_versions, flow_versions.c.hash == flows.c.version
    )
    row = connection.execute(query.where(flows.c.flow == earlier.flow)).first()
    if row is None or not row.active:
        return "new", None
    old = fingerprint(flow_from_definition(row.definition))
    return change_between(old, fingerprint(flow_from_definition(earlier.definition))), row.version


def history(connection: Connection, most: int = 50) -> list[dict[str, Any]]:
    """Return what was applied when and by whom, newest first."""
    query = select(applies).order_by(applies.c.id.desc()).limit(most)
    return [{"at": row.at, "who": row.who, "changes": row.changes} for row in connection.execute(query)]
