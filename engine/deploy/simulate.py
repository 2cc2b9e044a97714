"""`homing simulate`: what flows would have done with the recorded past, or would do from now on.

Comes in: the real database (only read), flows, a stretch of time. Goes out: a `Simulation` of counted results. Promises:
the decisions come from the engine's own passes on a store of its own; nothing of the real database is written and nothing
leaves the house; the same input, seed and beat give the same numbers, whatever the database, the number of processes and
the size of batches.

Customers do not depend on each other, so parts of them are driven by processes of their own. Where something does tie
them together (pools of codes, scores over everybody, medians of the shop), one process takes them all.
"""

from __future__ import annotations

import gc
import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import FlowChange, changes_of, put_live, with_excluded
from engine.deploy.simulate_behaviour import stage_likely
from engine.deploy.simulate_copy import Slice, copy_state
from engine.deploy.simulate_feed import BEGINNING, Asked, Coming, tell_past
from engine.deploy.simulate_folder import own_folder, used_too
from engine.deploy.simulate_known import add_up
from engine.deploy.simulate_run import Nowhere, Run, needs_nights
from engine.deploy.simulate_shelf import Shelf, shelves
from engine.deploy.simulate_tally import Before, Tally, count, gone_before
from engine.facts.ingest import arrive
from engine.flows.fingerprint import version_hash
from engine.flows.load import Project
from engine.flows.model import Flow, LapsedTrigger, ProductTrigger, ReplenishTrigger, Send
from engine.journeys.program import names_in
from engine.outbox.ledger import OPEN
from engine.render.library import TemplateLibrary
from engine.runtime.nightly import asks_for_scores
from engine.runtime.passes import Engine, settle
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.dialect import insert_new
from engine.store.marks import NIGHT
from engine.store.scratch import lone
from engine.store.tables import INSIDE, customers, enrollments, events, marks, messages

MOST = 2_000  # messages judged at once
APART = 2_000  # customers from which processes of their own are worth their start
EXACT = 500  # facts or customers up to which the clock stops at every moment
FINE = 5_000  # up to which it stops every quarter of an hour
COARSE = 50_000  # up to which it stops every hour; beyond, every two
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)
BEHAVIOURS = ("none", "history")
Progress = Callable[[datetime, int, float], None]


@dataclass(frozen=True, slots=True)
class Play:
    """The flows, templates and offers that are played; `alone`: nobody is inside any other flow, and none mails."""

    project: Project
    templates: dict[str, str]
    name: str = "folder"
    alone: bool = False

    @property
    def flows(self) -> dict[str, Flow]:
        """The flows by name."""
        return dict(self.project.definitions.flows)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is simulated: `replay` feeds the recorded past; a forecast goes on from how everybody stands now.

    `beat` is how often the virtual clock stops at most; None: at every moment at which something arrives or is due.
    `sample` takes only one in so many customers.
    """

    start: datetime
    until: datetime
    replay: bool
    behaviour: str = "none"
    seed: int = 1
    beat: timedelta | None = None
    sample: int = 1
    sandbox: bool = True


@dataclass(slots=True)
class Simulation:
    """What came of it."""

    stretch: Stretch
    play: Play
    tally: Tally = field(default_factory=Tally)
    runs: list[Tally] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Task:
    """One part of the customers, for a process of its own."""

    url: str
    root: Path
    play: Play
    stretch: Stretch
    part: Slice = field(default_factory=Slice)
    shelves: tuple[Shelf, ...] = ()
    folder: Path | None = None


def simulate(
    database: Database,
    play: Play,
    stretch: Stretch,
    *,
    processes: int | None = None,
    progress: Progress = lambda _moment, _mails, _share: None,
) -> Simulation:
    """Drive all customers through the stretch and return what came of it, counted."""
    parts = 1 if tied_together(play) else _parts(database, processes, stretch)
    progress(stretch.start, 0, 0.0)  # before the clock starts, what was known then is written
    with own_folder() as folder:
        root = play.project.settings.root
        tasks = [
            Task(database.url, root, play, stretch, _slice(stretch, number, parts), folder=folder)
            for number in range(parts)
        ]
        found = _in_turn(database, tasks, progress) if parts == 1 else _at_once(tasks, progress)
    simulation = Simulation(stretch, play)
    for tally in found:
        simulation.tally.add(tally)
    return simulation


def _slice(stretch: Stretch, number: int, parts: int) -> Slice:
    """Return one part of the customers; of a sample, one part of every so many."""
    return Slice(number * stretch.sample, parts * stretch.sample)


def _parts(database: Database, processes: int | None, stretch: Stretch) -> int:
    if processes is not None:
        return max(1, processes)
    with database.read() as connection:
        people = (connection.scalar(select(func.count()).select_from(customers)) or 0) // stretch.sample
    shared = database.url not in ("sqlite://", "sqlite:///:memory:")
    return max(1, min(os.cpu_count() or 1, people // APART)) if shared else 1


def usual_beat(database: Database, start: datetime, until: datetime) -> timedelta | None:
    """Return how often the clock stops where nobody says: the more facts, the coarser."""
    with database.read() as connection:
        query = select(func.count()).select_from(events)
        facts = (
            connection.scalar(query.where(events.c.occurred_at > start, events.c.occurred_at <= until)) or 0
        )
        people = connection.scalar(select(func.count()).select_from(customers)) or 0
    weight = max(facts, people)
    if weight <= EXACT:
        return None
    return QUARTER if weight <= FINE else HOUR if weight <= COARSE else 2 * HOUR


# ── what the flows ask for ───────────────────────────────────────────────────────────────────────────────────────────


def tied_together(play: Play) -> bool:
    """Return whether what becomes of one customer depends on others."""
    definitions = play.project.definitions
    used = {
        step.offer
        for flow in play.flows.values()
        for step in flow.all_steps()
        if isinstance(step, Send) and step.offer
    }
    pools = any(offer.pool is not None for name, offer in definitions.offers.items() if name in used)
    medians = any(
        isinstance(trigger, LapsedTrigger) and trigger.factor is not None and trigger.otherwise is None
        for flow in play.flows.values()
        for trigger in flow.triggers
    )
    return pools or medians or asks_for_scores(_Named(flow) for flow in play.flows.values())


@dataclass(frozen=True, slots=True)
class _Named:
    """A flow as if it were live, for what only looks at its conditions."""

    flow: Flow


def asks_for_tables(play: Play) -> bool:
    """Return whether any mail recommends, or any trigger needs what is learned from repeats."""
    library = TemplateLibrary(play.templates)
    learned = any(
        isinstance(trigger, ReplenishTrigger) for flow in play.flows.values() for trigger in flow.triggers
    )
    return learned or bool(strategies(play, library))


# What a strategy is served from, where that is more than the rows of its own name.
_TABLES = {
    "for_you": {"for_you", "bought_together", "similar"},
    "popular_in_category": {"popular_in_category", "bestsellers"},
}


def tables_for(play: Play) -> set[str]:
    """Return the strategies whose tables these flows' mails are served from."""
    used = strategies(play, TemplateLibrary(play.templates))
    return {name for each in used for name in _TABLES.get(each, {each})}


def strategies(play: Play, library: TemplateLibrary) -> set[str]:
    """Return the strategies by which these flows' mails recommend."""
    names = {
        name
        for flow in play.flows.values()
        for step in flow.all_steps()
        if isinstance(step, Send)
        for name in step.templates
    }
    return {
        strategy
        for name in sorted(names & set(library.names()))
        for path in library.paths(name)
        for block in library.parse(path).recommend
        for strategy in block.strategies
    }


_OF_STRATEGY = {
    "recently_viewed": {"product_viewed"}, "wishlist": {"wishlist_added", "wishlist_removed"},
    "for_you": {"product_viewed", "wishlist_added", "wishlist_removed"},
}  # fmt: skip
_LOOKED_AT = frozenset({"product_viewed", "wishlist_added", "wishlist_removed"})


def asked_for(play: Play) -> Asked:
    """Return which events of what was looked at no flow hears of, and of them those that no mail asks for either."""
    asked = {name for flow in play.flows.values() for name in names_in(flow)}
    told = " ".join(str(definition) for definition in play.project.definitions.raw.values())
    told += str(play.project.definitions.segments)
    products = any(
        isinstance(trigger, ProductTrigger) for flow in play.flows.values() for trigger in flow.triggers
    )
    if products or "last_activity_at" in told:
        return Asked()
    unheard = _LOOKED_AT - asked
    recommending = {
        name
        for each in strategies(play, TemplateLibrary(play.templates))
        for name in _OF_STRATEGY.get(each, ())
    }
    return Asked(unheard - recommending, unheard & recommending)


# ── driving ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_turn(database: Database, tasks: Sequence[Task], progress: Progress) -> list[Tally]:
    found = []
    tables = _tables(database, tasks[0])
    for each in tasks:
        task = replace(each, shelves=tables)
        span = task.stretch.until - task.stretch.start

        def tell(moment: datetime, mails: int, task: Task = task, span: timedelta = span) -> None:
            progress(moment, mails, (moment - task.stretch.start) / span if span else 1.0)

        found.append(drive_part(database, task, tell))
    return found


def _tables(database: Database, task: Task, share: tuple[int, int] = (0, 1)) -> tuple[Shelf, ...]:
    """Return the recommendation tables that a replay is served from, or a share of them."""
    stretch, folder = task.stretch, task.folder
    if not stretch.replay or not asks_for_tables(task.play) or folder is None:
        return ()
    return tuple(shelves(database, stretch.start, stretch.until, tables_for(task.play), folder, share))


def _at_once(tasks: Sequence[Task], progress: Progress) -> list[Tally]:
    context = get_context("spawn")
    clocks: Any = context.Array("d", len(tasks) * 2)
    first = tasks[0].stretch
    span = first.until - first.start
    with ProcessPoolExecutor(len(tasks), context, _begin, (clocks,)) as pool:
        waiting: set[Future[Tally]] = set()
        made = [pool.submit(_tables_alone, task, (number, len(tasks))) for number, task in enumerate(tasks)]
        tables = tuple(
            sorted((shelf for each in made for shelf in each.result()), key=lambda shelf: shelf.since)
        )
        tasks = [replace(task, shelves=tables) for task in tasks]
        futures = [pool.submit(_drive_alone, number, task) for number, task in enumerate(tasks)]
        waiting.update(futures)
        while waiting:
            _, waiting = wait(waiting, timeout=0.5)
            shares = list(clocks)[::2]
            progress(first.start + span * min(shares), int(sum(list(clocks)[1::2])), min(shares))
        return [future.result() for future in futures]


_clocks: Any = None


def _begin(clocks: Any) -> None:
    global _clocks  # noqa: PLW0603 - set once for each process
    _clocks = clocks
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process where the one that started it was killed: nobody waits for its part any more."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _tables_alone(task: Task, share: tuple[int, int]) -> tuple[Shelf, ...]:
    database = connect(task.url, task.root)
    try:
        with used_too(task.folder), _seldom_collected():
            return _tables(database, task, share)
    finally:
        database.close()


def _drive_alone(number: int, task: Task) -> Tally:
    """Drive one part in a process of its own."""
    database = connect(task.url, task.root)
    span = task.stretch.until - task.stretch.start

    def tell(moment: datetime, mails: int) -> None:
        if _clocks is not None:
            _clocks[number * 2], _clocks[number * 2 + 1] = (moment - task.stretch.start) / span, mails

    try:
        with used_too(task.folder):
            return drive_part(database, task, tell)
    finally:
        database.close()


def drive_part(source: Database, task: Task, tell: Callable[[datetime, int], None]) -> Tally:
    """Drive the customers of one part through the stretch and count what came of them."""
    with source.read() as connection:
        before = Before() if task.stretch.replay else gone_before(connection, task.stretch.start)
    with driven(source, task, tell) as engine, engine.database.read() as connection:
        library = TemplateLibrary(task.play.templates)
        zone = engine.settings.shop.timezone
        return count(connection, task.stretch.start, task.stretch.until, zone, library, before)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Look for cycles only where a run says so: a store is nothing but rows, and most of them stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


@contextmanager
def driven(
    source: Database, task: Task, tell: Callable[[datetime, int], None] = lambda _moment, _mails: None
) -> Iterator[Engine]:
    """Give the engine, with the store in which the customers of one part were driven through the stretch."""
    stretch = task.stretch
    with _seldom_collected(), tempfile.TemporaryDirectory(prefix="part-", dir=task.folder) as name:
        database = lone(Path(name))
        try:
            engine = quiet_engine(task.play.project.settings, database)
            coming = _prepare(source, engine, task)
            run = Run(
                engine, stretch.start, stretch.until, stretch.beat, coming.suppressed, task.shelves,
                nights=needs_nights(engine), catalogue=coming.catalogue, tell=tell,
            )  # fmt: skip
            run.play()
            yield engine
        finally:
            database.close()


def quiet_engine(settings: Settings, database: Database) -> Engine:
    """Return an engine whose mails and calls go nowhere; it is in sandbox, where no brake stops it."""
    nowhere = Nowhere()
    held = replace(settings, delivery=replace(settings.delivery, mode="sandbox", allow=()))
    worker = Worker("simulation", machine_now, random.Random(0), most=MOST)  # noqa: S311 - it spreads retries
    return Engine(held, database, Exits(nowhere, None, lambda call: nowhere.hand_over([call])[0]), worker)  # type: ignore[list-item]


def _prepare(source: Database, engine: Engine, task: Task) -> Coming:
    """Fill the store with what is known at the start, and make the flows live."""
    stretch, database = task.stretch, engine.database
    if not stretch.replay:
        copy_state(source, database, task.part, sandbox=stretch.sandbox)
        if task.play.alone:
            _end_others(database, sorted(task.play.flows))
        with database.write() as connection:
            meta.set_virtual_now(connection, stretch.start)
        settle(engine, stretch.start)
        _make_live(engine, task.play, stretch.start, anew=False)
        if stretch.behaviour == "history":
            stage_likely(source, database, task.part, stretch.start, stretch.until, stretch.seed)
        return Coming()
    with database.write() as connection:
        meta.set_virtual_now(connection, BEGINNING)
        meta.put(connection, meta.SECRET, "00" * 32)  # the same codes each time
    coming, known = tell_past(source, database, task.part, stretch.start, stretch.until, asked_for(task.play))
    arrive(database, until=stretch.start, settings=engine.settings)
    add_up(database, known, engine.settings.shop.currency, stretch.start)
    with database.write() as connection:
        meta.set_virtual_now(connection, stretch.start)
    _make_live(engine, task.play, stretch.start, anew=True)
    return coming


def _end_others(database: Database, names: Sequence[str]) -> None:
    """Take everybody out of the flows that are not played, and what waits to go of theirs."""
    with database.write() as connection:
        inside = update(enrollments).where(enrollments.c.flow.not_in(names), INSIDE)
        connection.execute(inside.values(state="exited", next_at=None))
        waiting = update(messages).where(messages.c.flow.not_in(names), messages.c.state.in_(OPEN))
        connection.execute(waiting.values(state="dropped"))


def _make_live(engine: Engine, play: Play, now: datetime, *, anew: bool) -> None:
    """Make the flows live: as new ones, or as `apply` would change what is live."""
    with engine.database.write() as connection:
        changes: Sequence[FlowChange]
        if anew:
            flows = {name: with_excluded(flow, play.project) for name, flow in play.flows.items()}
            changes = [
                FlowChange(name, "new", None, version_hash(flow)) for name, flow in sorted(flows.items())
            ]
        else:
            changes = changes_of(connection, play.project, play.templates)
        put_live(connection, play.project, play.templates, changes, engine.settings, now, None)
        insert_new(connection, marks, [{"name": NIGHT, "at": now}])
