"""The stage of a scenario: one flow applied in a virtual database in memory, one customer, nothing that leaves the house.

Comes in: a loaded project and a scenario. Goes out: an open engine whose mails and webhook calls are collected instead of
sent. The flow, templates and offers are those of the folder; only what a scenario switches off or forces is changed in
the copy that is played: quiet hours, caps and holdouts, the holdout of this customer, the arms of experiments.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.calendar import Duration, QuietHours
from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.delivery.made import WebhookCall
from engine.delivery.outcome import Accepted, Outcome
from engine.deploy.apply import FlowChange, put_live
from engine.flows.fingerprint import version_hash
from engine.flows.load import Project, load_project
from engine.flows.model import Flow
from engine.flows.parse import flow_from_definition
from engine.flows.scenario import Scenario
from engine.render.library import read_folder
from engine.render.mail import Mail
from engine.runtime.passes import Engine
from engine.settings import Cap, Policy, Settings, percent
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.migrate import upgrade

OFF = Policy(quiet_hours=None, caps=())


_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)  # no flow is applied then, so that no moment counts from it


@dataclass(slots=True)
class Tray:
    """Takes mails and webhook calls instead of a provider, and keeps them."""

    name: str = "mailbox"
    mails: list[Mail] = field(default_factory=list)
    calls: list[WebhookCall] = field(default_factory=list)

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Accept every mail."""
        self.mails += mails
        return [Accepted(mail.key) for mail in mails]

    def call(self, call: WebhookCall) -> Outcome:
        """Accept a webhook call."""
        self.calls.append(call)
        return Accepted(call.key)

    def check(self) -> list[str]:
        """Return nothing: this always works."""
        return []

    def close(self) -> None:
        """Hold nothing open."""


@dataclass(slots=True)
class Theatre:
    """A project, loaded once, in which any number of scenarios are played."""

    project: Project
    templates: Mapping[str, str]
    _image: bytes | None = None
    _database: Database | None = None

    @classmethod
    def of(cls, root: Path, settings: Settings) -> Theatre:
        """Load the folder's flows and templates."""
        return cls(load_project(root, settings), read_folder(root / "templates"))

    def stage(self, scenario: Scenario, start: datetime) -> Stage:
        """Return a fresh stage on which the scenario's flow is not applied yet; its clock stands at `start`.

        There is one stage at a time: they share a connection, whose statements are compiled once.
        """
        database = self._emptied()
        with database.write() as connection:
            meta.set_virtual_now(connection, start)
        settings = replace(self.project.settings, policy=policy_of(self.project.settings.policy, scenario))
        if isinstance(scenario.policy, Mapping) and "soft_opt_in" in scenario.policy:
            settings = replace(settings, soft_opt_in=frozenset(scenario.policy["soft_opt_in"]))
        settings = replace(settings, delivery=replace(settings.delivery, mode="sandbox", allow=()))
        return Stage(
            scenario, replace(self.project, settings=settings), self.templates, settings, database, Tray()
        )

    def prepare(self) -> None:
        """Make what all stages begin with, so that processes that are forked from this one share it."""
        self._empty_image()

    def _emptied(self) -> Database:
        """Return the one database of all stages, as it is before anything has happened."""
        image = self._empty_image()
        if self._database is None:
            self._database = connect("sqlite://")
        try:
            _restore(self._database, image)
        except (
            sqlite3.OperationalError
        ):  # a statement of the last scenario is still open, as after an error in it
            self.close()
            self._database = connect("sqlite://")
            _restore(self._database, image)
        return self._database

    def close(self) -> None:
        """Let go of the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _empty_image(self) -> bytes:
        """Return a migrated database that holds the project's templates and offers, as bytes; made once."""
        if self._image is None:
            database = connect("sqlite://")
            _restore(database, _migrated())
            with database.write() as connection:
                put_live(connection, self.project, self.templates, (), self.project.settings, _LONG_AGO, None)
            self._image = _image_of(database)
            database.close()
        return self._image


@lru_cache(maxsize=1)
def _migrated() -> bytes:
    """Return a database in which nothing has happened yet, as bytes."""
    database = connect("sqlite://")
    upgrade(database)
    image = _image_of(database)
    database.close()
    return image


def _image_of(database: Database) -> bytes:
    with database.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        return bytes(raw.serialize())


def _restore(database: Database, image: bytes) -> None:
    with database.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        source = sqlite3.connect(":memory:")
        source.deserialize(image)
        source.backup(raw)
        source.close()


@dataclass(slots=True)
class Stage:
    """Where one scenario is played."""

    scenario: Scenario
    project: Project
    templates: Mapping[str, str]
    settings: Settings
    database: Database
    tray: Tray

    @property
    def flow(self) -> Flow:
        """The flow as it is played."""
        return self.project.definitions.flows[self.scenario.flow]

    def engine(self) -> Engine:
        """Return the engine that plays: the daemon's own code, with the tray as its only way out."""
        worker = Worker("scenario", machine_now, random.Random(0))  # noqa: S311 - it spreads retries
        return Engine(self.settings, self.database, Exits(self.tray, None, self.tray.call), worker)

    def apply(self, now: datetime) -> None:
        """Make the scenario's flow live, as it is to be played."""
        definition = as_played(self.project.definitions.raw[self.scenario.flow], self.scenario)
        flow = flow_from_definition(definition)
        known = self.project.definitions
        self.project = replace(
            self.project,
            definitions=replace(known, flows={flow.name: flow}, raw={flow.name: definition}),
        )
        change = FlowChange(flow.name, "new", None, version_hash(flow))
        with self.database.write() as connection:
            put_live(connection, self.project, None, (change,), self.settings, now, None)


# ── what a scenario changes ──────────────────────────────────────────────────────────────────────────────────────────


def policy_of(project: Policy, scenario: Scenario) -> Policy:
    """Return the policy that holds in a scenario: none of quiet hours, caps and holdouts unless it asks for them."""
    if scenario.policy == "project":
        return project
    off = replace(OFF, max_lateness=project.max_lateness, exclude=project.exclude)
    if scenario.policy == "off":
        return off
    told: dict[str, Any] = {}
    for name, value in scenario.policy.items():
        if name == "quiet_hours":
            told[name] = QuietHours.parse(str(value))
        elif name == "caps":
            told[name] = tuple(Cap.parse(cap) for cap in value)
        elif name == "max_lateness":
            told[name] = Duration.parse(value)
        elif name == "global_holdout":
            told[name] = percent(value)
        elif name == "exclude":
            told[name] = tuple(value)
    return replace(off, **told)


def as_played(definition: Mapping[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Return a flow's definition with what the scenario switches off or forces."""
    changed = deepcopy(dict(definition))
    if scenario.holdout:
        changed["holdout"] = "100%"
    elif scenario.policy != "project":
        changed.pop("holdout", None)
    if scenario.policy == "off" and isinstance(changed.get("policy"), dict):
        changed["policy"] = {
            key: value for key, value in changed["policy"].items() if key not in ("quiet_hours", "caps")
        }
    if scenario.arms:
        _force_arms(changed.get("steps"), scenario.arms)
    return changed


def _force_arms(node: Any, arms: Mapping[str, str]) -> None:
    """Give all the weight to the wanted arm, wherever its experiment stands."""
    if isinstance(node, list):
        for item in node:
            _force_arms(item, arms)
        return
    if not isinstance(node, dict):
        return
    experiment = node.get("experiment")
    if isinstance(experiment, dict) and isinstance(experiment.get("arms"), dict):
        wanted = arms.get(str(node.get("id") or experiment.get("name")))
        if wanted in experiment["arms"]:
            for name, arm in experiment["arms"].items():
                arm["weight"] = 1 if name == wanted else 0
    for value in node.values():
        _force_arms(value, arms)


def plain_numbers(value: Any) -> Any:
    """Return a row of a scenario as a file would tell it: Decimals as numbers."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {key: plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(item) for item in value]
    return value
