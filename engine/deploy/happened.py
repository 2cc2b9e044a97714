"""What happened to the customer of a scenario, read from the journal and the ledger in the order of time.

Comes in: the database after the play. Goes out: a `Story`: deeds with their moments, reasons and the clauses they rested
on, and the names of the steps and arms that were reached. `clauses_found` adds the values that the clauses met, and the
facts whose `where` did not hold, for scenarios that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.calendar import local
from engine.flows.model import Branch, Experiment, Flow
from engine.flows.scenario import Happening
from engine.journeys.journal import Decided, decisions
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow
from engine.runtime.doorstep import turned_away
from engine.runtime.found import Looking
from engine.store.tables import customers, enrollments, events, journal, messages, quarantine

SILENT = frozenset({"due", "set", "heard", "not_heard"})
WORDS = {
    "sent": "sends", "skipped": "does not send", "dropped": "does not send", "waiting": "waits until", "deferred": "waits until",
    "exited": "exits", "entered": "enters", "refused": "does not enter", "held_out": "is held out", "took": "takes",
    "completed": "is through", "turned_away": "does not enter",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that happened. `word` is the journal's decision, or `told` for a line of the timeline.

    `since` is when the fact happened that let the customer in; `until` the end of a wait; `name` a template, arm or event;
    `row` the journal's.
    """

    at: datetime
    word: str
    step: str = ""
    name: str = ""
    reason: str = ""
    subject: str = ""
    offer: str = ""
    until: datetime | None = None
    since: datetime | None = None
    clauses: tuple[Mapping[str, Any], ...] = ()
    row: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """By what an expectation may call it: template and step."""
        return (self.name, self.step)

    def text(self, zone: str) -> str:
        """Return the deed in words; moments are on the customer's clock."""
        what = self.name or self.step
        if self.word in ("waiting", "deferred"):
            because = (
                f" ({self.reason})" if self.reason else f" (for a code of {self.offer})" if self.offer else ""
            )
            return f"waits until {clock(self.until, zone) if self.until else 'something happens'}{because}"
        if self.word == "sent":
            with_offer = f" with {self.offer}" if self.offer else ""
            subject = f' "{self.subject}"' if self.subject else ""
            return f"sends {what}{subject}{with_offer}"
        if self.word in ("skipped", "dropped"):
            return f"does not send {what}: {self.reason}"
        if self.word == "took":
            return f"takes {self.step}: {self.name}"
        said = WORDS.get(self.word, self.word)
        if self.word == "exited":
            return f"exits: {self.reason.removeprefix('exited: ')}"
        return f"{said}: {self.reason}" if self.reason else said if self.word != "told" else self.name


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that happened, in order; `reached` names the steps and arms that were come to."""

    deeds: tuple[Deed, ...]
    reached: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    start: datetime | None = None

    def of(self, *words: str) -> list[Deed]:
        """Return the deeds of these words."""
        return [deed for deed in self.deeds if deed.word in words]

    @property
    def since(self) -> datetime | None:
        """When the first fact happened that let the customer in, else the first line of the timeline."""
        return next((deed.since for deed in self.of("entered", "held_out") if deed.since), self.start)


def clock(moment: datetime, zone: str) -> str:
    """Return a moment as a person in that zone reads it, to the minute."""
    return f"{local(moment, zone):%a %Y-%m-%d %H:%M}"


def read_story(connection: Connection, flow: Flow, timeline: Sequence[tuple[datetime, Happening]]) -> Story:
    """Return what happened in this flow, the timeline's own lines included."""
    owned = _enrollments(connection)
    mails = {row.id: row for row in connection.execute(select(messages))}
    query = select(journal).where(journal.c.flow == flow.name).order_by(journal.c.id)
    rows = list(decisions(connection.execute(query)))
    deeds = [Deed(moment, "told", name=line.event) for moment, line in timeline]
    deeds += [_deed(row, mails.get(row.message_id), owned) for row in _told_in_order(rows)]
    reached = frozenset(name for row in rows for name in _reached(row))
    errors = tuple(
        f"{row.kind} {row.subject}: {row.reason}" for row in connection.execute(select(quarantine))
    )
    deeds.sort(key=lambda deed: (deed.at, deed.word != "told"))
    return Story(tuple(deeds), reached, errors, timeline[0][0])


def _told_in_order(rows: Sequence[Decided]) -> list[Decided]:
    """Return what is told, with what became of a mail where it fell due, before the steps that the flow took meanwhile."""
    due: dict[tuple[int | None, datetime], int] = {
        (row.message_id, row.at): row.id
        for row in rows
        if row.decision == "due" and row.message_id is not None
    }
    told = [row for row in rows if row.decision not in SILENT]
    # A wait that began with the mail bears its row's id, and comes after it.
    return sorted(
        told, key=lambda row: (due.get((row.message_id, row.at), row.id), row.decision == "waiting")
    )


def clauses_found(connection: Connection, story: Story, live: LiveFlow, at: Round) -> Story:
    """Return the story with what each clause met at its decision, and with the facts that `where` turned away."""
    inside = connection.execute(select(enrollments).where(enrollments.c.flow == live.flow.name)).all()
    looking = Looking(connection, live.flow, {row.id: row for row in inside}, at)
    rows = {
        row.id: row for row in connection.execute(select(journal).where(journal.c.flow == live.flow.name))
    }
    asked = {step.id: _asked(step) for step in live.flow.all_steps() if isinstance(step, Branch)}
    deeds = [
        replace(deed, clauses=_of_the_step(deed, asked, looking.clauses(rows[deed.row])))
        if deed.row in rows and deed.clauses
        else deed
        for deed in story.deeds
    ]
    for customer in connection.scalars(select(customers.c.id)).all():
        deeds += [
            Deed(
                each["at"],
                "turned_away",
                name=each["event"],
                reason=each["reason"],
                clauses=tuple(each["clauses"]),
            )
            for each in turned_away(connection, customer, live, at)
        ]
    deeds.sort(key=lambda deed: (deed.at, deed.word != "told"))
    return replace(story, deeds=tuple(deeds))


def _asked(branch: Branch) -> set[str]:
    return {clause.text for arm in branch.arms for clause in arm.when or ()}


def _of_the_step(
    deed: Deed, asked: Mapping[str, set[str]], clauses: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    """Return the clauses that chose: those of its arms for a branch, all of them for anything else."""
    if deed.word != "took":
        return tuple(clauses)
    return tuple(clause for clause in clauses if clause["clause"] in asked.get(deed.step, ()))


def _enrollments(connection: Connection) -> dict[int | None, datetime]:
    """Return for each enrollment when the fact happened that let the customer in."""
    query = select(enrollments.c.id, enrollments.c.entered_at, events.c.occurred_at)
    joined = enrollments.outerjoin(events, events.c.id == enrollments.c.event_id)
    return {
        row.id: row.occurred_at or row.entered_at for row in connection.execute(query.select_from(joined))
    }


def _deed(row: Decided, mail: Row[Any] | None, owned: Mapping[int | None, datetime]) -> Deed:
    detail = row.detail or {}
    name = ""
    if row.decision == "took":
        name = str(detail.get("arm", ""))
    elif mail is not None:
        name = mail.template or ""
    content = (mail.content or {}) if mail is not None else {}
    return Deed(
        row.at,
        row.decision,
        step=row.step or "",
        name=name,
        reason=row.reason or "",
        subject=(mail.subject or "") if mail is not None else "",
        offer=str((content.get("offer") or {}).get("name") or detail.get("offer") or ""),
        until=datetime.fromisoformat(detail["until"]) if detail.get("until") else None,
        since=owned.get(row.enrollment_id),
        clauses=tuple(detail.get("clauses", ())),
        row=row.id,
    )


def _reached(row: Decided) -> Iterator[str]:
    if row.step and row.enrollment_id is not None:
        yield row.step
    if row.decision == "took":
        yield place(row.step or "", str((row.detail or {}).get("arm", "")))


# ── coverage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Covered:
    """How much of a flow the scenarios reach: its steps, arms of branches and of experiments."""

    reached: int
    total: int
    missing: tuple[str, ...] = field(default=())


def place(step: str, arm: str) -> str:
    """Return the name of an arm for coverage."""
    return f"{step}: {arm}"


def places_of(flow: Flow) -> Iterator[str]:
    """Yield the names of all steps and arms of a flow."""
    for step in flow.all_steps():
        yield step.id
        if isinstance(step, Experiment | Branch):
            yield from (place(step.id, arm.name) for arm in step.arms)


def covered(flow: Flow, reached: frozenset[str]) -> Covered:
    """Return how much of a flow was reached."""
    places = list(dict.fromkeys(places_of(flow)))
    missing = tuple(each for each in places if each not in reached)
    return Covered(len(places) - len(missing), len(places), missing)


def percent_of(several: Sequence[Covered]) -> float:
    """Return how much of several flows was reached, in percent with one place; 100 where there is nothing to reach.

    >>> percent_of([Covered(1, 2), Covered(1, 1)])
    66.7
    """
    total = sum(each.total for each in several)
    return round(100 * sum(each.reached for each in several) / total, 1) if total else 100.0
