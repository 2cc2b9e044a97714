"""Apply: the folder's flows, templates and offers become what the daemon runs, in one transaction, with who and when.

New or changed behaviour is a new version under its hash; enrollments stay on the version they entered. A newly applied
flow takes only facts that arrive from then on; its time triggers only moments after that. With `backfill` past
customers are placed where they would stand now. What concerns everybody (timers, members of segments, past facts) follows in short transactions of
its own; what a killed apply left undone, the next apply or pass does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from engine.deploy.content import Content
from engine.deploy.plan_moving import Moved, change_to, earlier_version, move_inside
from engine.diagnostics import Finding
from engine.errors import FindingsError
from engine.flows.fingerprint import Change, Fingerprint, change_between, fingerprint
from engine.flows.load import Project, load_project, used_segments
from engine.flows.model import Flow
from engine.flows.nodes import plain
from engine.flows.parse import flow_from_definition
from engine.flows.validate import Lint, refusals, validate
from engine.journeys.arming_known import to_arm
from engine.journeys.versions import live_flows
from engine.offers.pools import PoolMoved, load_pools
from engine.render.library import read_folder
from engine.runtime.applied import OFFERS, STAMP, TEMPLATES
from engine.runtime.setting_up import put_off, set_up, set_up_part
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database
from engine.store.dialect import insert_new, upsert
from engine.store.marks import NIGHT
from engine.store.tables import applies, flow_versions, flows, marks, sources


@dataclass(frozen=True, slots=True)
class FlowChange:
    """What applying does to one flow; `before` and `after` are version hashes."""

    flow: str
    change: Change
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Planned:
    """The folder against what is applied."""

    project: Project
    templates: Mapping[str, str]
    changes: tuple[FlowChange, ...]
    findings: tuple[Finding, ...] = field(default=())
    moved: tuple[Moved, ...] = ()
    allowed: tuple[
        str, ...
    ] = ()  # flows that the brake had stopped, and that may go beyond what is usual now
    codes: tuple[PoolMoved, ...] = ()  # of offers whose files of codes changed


def compare(database: Database, settings: Settings) -> Planned:
    """Return what `apply` would change; findings of the folder travel along."""
    project = load_project(settings.root, settings)
    templates = read_folder(settings.root / "templates")
    with database.read() as connection:
        changes = tuple(changes_of(connection, project, templates))
    return Planned(project, templates, changes, project.findings)


def checked(database: Database, settings: Settings, lint: Lint | None) -> Planned:
    """Return what `apply` would change, with all findings; raise FindingsError where it would refuse."""
    findings = validate(settings.root, settings, lint=lint)
    if refused := refusals(findings):
        raise FindingsError(refused)
    return replace(compare(database, settings), findings=tuple(findings))


def apply(
    database: Database,
    settings: Settings,
    *,
    now: datetime,
    who: str,
    backfill: bool = False,
    allow_audience: int | None = None,
    migrate: bool = False,
    lint: Lint | None = None,
) -> Planned:
    """Make the folder live and return what changed; raise FindingsError where it has errors.

    `migrate` moves those inside changed flows to the new version, where it has their step.
    """
    planned = checked(database, settings, lint)
    with database.write() as connection:
        changes = tuple(changes_of(connection, planned.project, planned.templates))
        codes = _activate(
            connection,
            planned.project,
            planned.templates,
            changes,
            settings,
            now,
            allow_audience,
            backfill=backfill,
        )
        moved = _moved(connection, changes) if migrate else ()
        allowed = _let_frozen_through(connection, changes, allow_audience)
        _record(connection, changes, who, now)
        insert_new(connection, marks, [{"name": NIGHT, "at": now}])  # nights count from the first apply
    set_up(database, settings.shop.timezone)
    return Planned(planned.project, planned.templates, changes, planned.findings, moved, allowed, codes)


def apply_version(
    database: Database,
    settings: Settings,
    digest: str,
    *,
    now: datetime,
    who: str,
    allow_audience: int | None = None,
    migrate: bool = False,
) -> Planned:
    """Make an earlier version of one flow live again, by the beginning of its hash; mails and offers stay as they are."""
    folder = load_project(settings.root, settings)
    with database.write() as connection:
        earlier = earlier_version(connection, digest)
        kind, before = change_to(connection, earlier)
        project = earlier.into(folder, alone=True)
        changes = (FlowChange(earlier.flow, kind, before, earlier.version),)
        _activate(connection, project, None, changes, settings, now, allow_audience)
        moved = _moved(connection, changes) if migrate else ()
        _record(connection, changes, who, now)
    set_up(database, settings.shop.timezone)
    return Planned(project, {}, changes, (), moved)


def _let_frozen_through(
    connection: Connection, changes: Sequence[FlowChange], allowance: int | None
) -> tuple[str, ...]:
    """Give the allowance to flows that are as they were and that the brake has stopped; return their names."""
    same = [each.flow for each in changes if each.change in ("unchanged", "content", "text")]
    if allowance is None or not same:
        return ()
    stopped = select(flows.c.flow).where(
        flows.c.flow.in_(same), flows.c.active, flows.c.frozen_at.is_not(None)
    )
    names = tuple(connection.scalars(stopped.order_by(flows.c.flow)))
    connection.execute(update(flows).where(flows.c.flow.in_(names)).values(allowance=allowance))
    return names


def _moved(connection: Connection, changes: Sequence[FlowChange]) -> tuple[Moved, ...]:
    return tuple(move_inside(connection, [each.flow for each in changes if each.change != "removed"]))


def put_live(
    connection: Connection,
    project: Project,
    templates: Mapping[str, str] | None,
    changes: Sequence[FlowChange],
    settings: Settings,
    now: datetime,
    allowance: int | None,
    *,
    backfill: bool = False,
) -> None:
    """Make these changes what the daemon runs, in the caller's transaction; `templates` None leaves the applied ones."""
    _activate(connection, project, templates, changes, settings, now, allowance, backfill=backfill)
    while set_up_part(connection, settings.shop.timezone, most=5_000):
        pass


def _activate(
    connection: Connection,
    project: Project,
    templates: Mapping[str, str] | None,
    changes: Sequence[FlowChange],
    settings: Settings,
    now: datetime,
    allowance: int | None,
    *,
    backfill: bool = False,
) -> tuple[PoolMoved, ...]:
    """Make these changes live; what is to be armed for them is put off. Return which pools of codes changed."""
    meta.secret(connection)
    codes: list[PoolMoved] = []
    if templates is not None:
        _store_sources(connection, settings.root, templates)
        codes = load_pools(connection, settings.root, project.definitions.offers)
    before = live_flows(connection)
    for change in changes:
        _apply_one(connection, project, change, now, allowance)
    live = live_flows(connection)
    for change in changes:
        anew = change.change in ("new", "behaviour")
        if anew or (backfill and change.change != "removed"):
            old = before[change.flow].flow.triggers if change.change == "behaviour" else ()
            own = live[change.flow]
            more = to_arm(connection, own, now, placing=backfill, before=old)
            put_off(connection, change.flow, more, len(own.flow.triggers))
    return tuple(codes)


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def changes_of(connection: Connection, project: Project, templates: Mapping[str, str]) -> list[FlowChange]:
    """Return what leads from the applied flows to these, by flow."""
    known = {
        row.flow: row
        for row in connection.execute(
            select(flows.c.flow, flows.c.version, flows.c.active, flow_versions.c.definition).join(
                flow_versions, flow_versions.c.hash == flows.c.version
            )
        )
    }
    lying, stored = Content.of_folder(project, templates), applied_content(connection)
    result = []
    for name, flow in sorted(project.definitions.flows.items()):
        new = _fingerprint(with_excluded(flow, project), lying)
        row = known.get(name)
        old = (
            _fingerprint(flow_from_definition(row.definition), stored)
            if row is not None and row.active
            else None
        )
        before = row.version if row is not None and row.active else None
        result.append(FlowChange(name, change_between(old, new), before, new.version))
    for name, row in sorted(known.items()):
        if row.active and name not in project.definitions.flows:
            result.append(FlowChange(name, "removed", row.version, None))
    return result


def applied_content(connection: Connection) -> Content:
    """Return what the mails of live flows are made of."""
    return Content.of_applied(
        {row.path: row.content for row in connection.execute(select(sources.c.path, sources.c.content))}
    )


def _fingerprint(flow: Flow, content: Content) -> Fingerprint:
    text = content.text(flow)
    return fingerprint(flow, lambda _: text)


def with_excluded(flow: Flow, project: Project) -> Flow:
    """Return the flow with the project's excluded segments among its own, so that a version can ask about them."""
    if flow.kind != "marketing" or not project.settings.policy.exclude:
        return flow
    wanted = {
        name: project.definitions.segments[name]
        for name in project.settings.policy.exclude
        if name in project.definitions.segments
    }
    more = dict(flow.segments)
    for name, clauses in wanted.items():
        more[name] = clauses
        more |= _nested(clauses, project)
    return replace(flow, segments=more)


def _nested(clauses: Any, project: Project) -> Mapping[str, Any]:
    probe = Flow("probe", (), (), enter_if=clauses)
    return used_segments(probe, project.definitions.segments)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _store_sources(connection: Connection, root: Path, templates: Mapping[str, str]) -> None:
    content = {f"{TEMPLATES}{path}": text for path, text in templates.items()}
    offers = root / OFFERS
    if offers.is_file():
        content[OFFERS] = offers.read_text(encoding="utf-8")
    connection.execute(delete(sources).where(sources.c.path.not_in(sorted(content) or [""])))
    rows = [
        {"path": path, "content": text, "hash": hashlib.sha256(text.encode()).hexdigest()}
        for path, text in content.items()
    ]
    upsert(connection, sources, rows, update=["content", "hash"])
    together = "".join(
        f"{path}:{hashlib.sha256(text.encode()).hexdigest()};" for path, text in sorted(content.items())
    )
    meta.put(connection, STAMP, hashlib.sha256(together.encode()).hexdigest())


def _apply_one(
    connection: Connection, project: Project, change: FlowChange, now: datetime, allowance: int | None
) -> None:
    if change.change == "removed":
        connection.execute(update(flows).where(flows.c.flow == change.flow).values(active=False))
        return
    if change.change in ("unchanged", "content") and change.before == change.after:
        return
    flow = with_excluded(project.definitions.flows[change.flow], project)
    definition = dict(project.definitions.raw[change.flow])
    if flow.segments:  # its own, and those that the policy excludes; a stored definition keeps what it brings
        definition["segments"] = raw_segments(project, flow) | definition.get("segments", {})
    print_of = fingerprint(flow)
    insert_new(
        connection,
        flow_versions,
        [
            {
                "hash": change.after, "flow": change.flow, "behaviour_hash": print_of.behaviour, "definition": definition,
                "created_at": now,
            }
        ],
    )  # fmt: skip
    values: dict[str, Any] = {"version": change.after, "version_at": now, "active": True}
    if change.change in ("new", "behaviour"):
        values |= {"allowance": allowance}
    if change.change == "new":
        values |= {"applied_at": now}
    known = connection.scalar(select(flows.c.flow).where(flows.c.flow == change.flow))
    if known is None:
        connection.execute(insert(flows).values(flow=change.flow, **values))
    else:
        connection.execute(update(flows).where(flows.c.flow == change.flow).values(**values))


def raw_segments(project: Project, flow: Flow) -> dict[str, Any]:
    """Return the segments that a flow brings, as its version keeps them."""
    table = project.segments_node
    return (
        {entry.key: plain(entry.value) for entry in table if entry.key in flow.segments}
        if table is not None
        else {}
    )


def _record(connection: Connection, changes: Sequence[FlowChange], who: str, now: datetime) -> None:
    told = [
        {"flow": change.flow, "change": change.change, "from": change.before, "to": change.after}
        for change in changes
        if change.change != "unchanged"
    ]
    if told:
        connection.execute(insert(applies).values(at=now, who=who, changes=told))
