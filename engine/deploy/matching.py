"""What a scenario expects, held against what happened.

Comes in: expectations and a story. Goes out: one `Line` for each expectation and for each mail that nobody expected; where
something else happened, with the clause that decided and what was found for it.
A mail that is expected takes the first mail of that name that is not taken yet, and so does a wait; times count to the
minute. A mail that `does_not_send` gives a reason for may have gone at other times; without a reason it never goes.
`after` counts from the fact that let the customer in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.calendar import add
from engine.deploy.happened import Deed, Story, clock
from engine.flows.scenario import Exits, Expectation, NothingMore, Sends, SendsNot, Takes, WaitsUntil, When
from engine.flows.scenario_clock import aware


@dataclass(frozen=True, slots=True)
class Line:
    """An expectation in words (empty: nobody expected it) beside what happened; `why` says what decided otherwise.

    `deed` is what happened, where there is such; `due` the moment that was expected, where one was said.
    """

    expected: str
    actual: str
    holds: bool
    deed: Deed | None = None
    why: str = ""
    due: datetime | None = None


def hold_against(expected: Sequence[Expectation], story: Story, zone: str) -> Iterator[Line]:
    """Yield a line for each expectation, then one for each mail that should not be there."""
    taken: set[int] = set()
    for each in expected:
        if isinstance(each, Sends):
            yield _sends(each, story, zone, taken)
        elif isinstance(each, Exits):
            yield _exits(each, story, zone)
        elif isinstance(each, WaitsUntil):
            yield _waits(each, story, zone, taken)
        elif isinstance(each, Takes):
            yield _takes(each, story, zone)
    left = [deed for deed in story.of("sent") if id(deed) not in taken]
    for each in expected:
        if isinstance(each, SendsNot):
            yield _sends_not(each, story, left if each.because else story.of("sent"), zone)
    if any(isinstance(each, NothingMore) for each in expected):
        for deed in left:
            yield Line("", _beside(deed, zone), holds=False, deed=deed)
        if not left:
            yield Line("nothing more", "", holds=True)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _moment(when: When | None, since: datetime | None, zone: str) -> datetime | None:
    if when is None:
        return None
    if when.at is not None:
        return aware(when.at, zone)
    return add(since, when.after, zone) if since is not None and when.after is not None else None


def _in_words(when: When | None, zone: str, said: str) -> str:
    if when is None:
        return said
    return (
        f"{clock(aware(when.at, zone), zone)} {said}" if when.at is not None else f"after {when.after} {said}"
    )


# ── mails ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sends(expected: Sends, story: Story, zone: str, taken: set[int]) -> Line:
    said = _in_words(expected.when, zone, f"sends {expected.template}")
    said += f' "…{expected.subject}…"' if expected.subject else ""
    said += f" with {expected.offer}" if expected.offer else ""
    due = _moment(expected.when, story.since, zone)
    fitting = [d for d in story.of("sent") if expected.template in d.names and id(d) not in taken]
    chosen = next((deed for deed in fitting if not _wrong(expected, deed, zone)), None)
    if chosen is None and fitting:
        chosen = fitting[0]
        taken.add(id(chosen))
        why = _wrong(expected, chosen, zone)
        return Line(
            said,
            _beside(chosen, zone),
            holds=False,
            deed=chosen,
            why=why,
            due=_moment(expected.when, chosen.since, zone),
        )
    if chosen is None:
        others = [deed for deed in story.of("sent") if expected.template in deed.names]
        why = _all_taken(others, expected.template) if others else decided(story, expected.template, zone)
        return Line(said, "", holds=False, why=why, due=due)
    taken.add(id(chosen))
    return Line(said, _beside(chosen, zone), holds=True, deed=chosen)


def _all_taken(others: Sequence[Deed], name: str) -> str:
    times = "once" if len(others) == 1 else f"{len(others)} times"
    return f"{name} was sent {times}, and that is expected above already"


def _beside(deed: Deed, zone: str) -> str:
    return f"{clock(deed.at, zone)} {deed.text(zone)}"


def _wrong(expected: Sends, deed: Deed, zone: str) -> str:
    """Return all that is wrong with this mail, a line each, or nothing."""
    told = []
    moment = _moment(expected.when, deed.since, zone)
    if moment is not None and _minute(moment) != _minute(deed.at):
        told.append(f"expected at {clock(moment, zone)}")
    if expected.subject and expected.subject not in deed.subject:
        told.append(f'the subject is "{deed.subject}"')
    if expected.offer and expected.offer != deed.offer:
        told.append(f"the offer is {deed.offer or 'none'}")
    return "\n".join(told)


def _sends_not(expected: SendsNot, story: Story, unwanted: Sequence[Deed], zone: str) -> Line:
    said = f"does not send {expected.template}" + (f": {expected.because}" if expected.because else "")
    sent = next((deed for deed in unwanted if expected.template in deed.names), None)
    if sent is not None:
        return Line(said, _beside(sent, zone), holds=False, deed=sent)
    if not expected.because:
        return Line(said, "", holds=True)
    reasons = _reasons(story, expected.template)
    found = next((deed for deed in reasons if deed.reason.startswith(expected.because)), None)
    if found is not None:
        return Line(said, _beside(found, zone), holds=True, deed=found)
    return Line(said, "", holds=False, why=decided(story, expected.template, zone))


def _reasons(story: Story, template: str) -> list[Deed]:
    """Return what may have kept this mail from going: its own skips first, else what ended or refused the whole."""
    own = [deed for deed in story.of("skipped", "dropped", "deferred", "failed") if template in deed.names]
    return [*own, *story.of("refused", "turned_away", "exited", "held_out")]


def decided(story: Story, template: str, zone: str) -> str:
    """Return in words why a mail that was expected did not go: the deed, the clause it rests on, and what was found."""
    reasons = _reasons(story, template)
    if reasons:
        return "\n".join((_beside(reasons[0], zone), *deciding(reasons[0])))
    if not story.of("entered"):
        return "the customer never entered"
    ways = [deed for deed in story.of("took") if deed.clauses]
    told = [line for deed in ways for line in (_beside(deed, zone), *deciding(deed))]
    return "\n".join((f"{template} was never reached", *told))


def deciding(deed: Deed) -> Iterator[str]:
    """Yield the clauses that decided, each with what was found: those that a reason names, else all that did not hold."""
    named = deed.reason.removeprefix("condition_false: ").removeprefix("exited: ")
    own = [clause for clause in deed.clauses if clause["clause"] == named]
    if not own and deed.word in ("took", "refused", "turned_away") and not _is_law(deed.reason):
        own = [clause for clause in deed.clauses if not clause.get("holds")]
    for clause in own:
        yield from _told(clause)


def _told(clause: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    truth = "holds" if clause.get("holds") else "does not hold"
    found = f": {clause['found']}" if clause.get("found") else ""
    yield f"{indent}{clause['clause']} {truth}{found}"
    for part in clause.get("parts", ()):
        yield from _told(part, indent + "  ")


def _is_law(reason: str) -> bool:
    """Return whether a reason says all by itself, such as `no_consent`."""
    return bool(reason) and not reason.startswith(("condition_false", "exited"))


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _exits(expected: Exits, story: Story, zone: str) -> Line:
    said = _in_words(expected.when, zone, f"exits: {expected.reason}")
    ends = story.of("exited", "refused")
    ends = [deed for deed in ends if deed.reason]
    for deed in ends:
        moment = _moment(expected.when, deed.since or story.start, zone)
        if _is_reason(expected.reason, deed) and (moment is None or _minute(moment) == _minute(deed.at)):
            return Line(said, _beside(deed, zone), holds=True, deed=deed)
    near = next((deed for deed in ends if _is_reason(expected.reason, deed)), ends[0] if ends else None)
    if near is not None:
        why = "\n".join(deciding(near))
        due = _moment(expected.when, near.since or story.start, zone)
        return Line(said, _beside(near, zone), holds=False, deed=near, why=why, due=due)
    last = next(iter(reversed(story.of("entered", "completed", "waiting", "held_out"))), None)
    return Line(
        said, "", holds=False, why=_beside(last, zone) if last is not None else "the customer never entered"
    )


def _is_reason(expected: str, deed: Deed) -> bool:
    """Return whether a reason is the expected one, or the expected clause with more behind it (`same: order_id`)."""
    plain = deed.reason.removeprefix("exited: ")
    return expected.removeprefix("exited: ") == plain or plain.startswith(
        f"{expected.removeprefix('exited: ')}, "
    )


def _waits(expected: WaitsUntil, story: Story, zone: str, taken: set[int]) -> Line:
    moment = aware(expected.at, zone)
    said = f"waits until {clock(moment, zone)}"
    waits = [deed for deed in story.of("waiting", "deferred") if deed.until is not None]
    fitting = [deed for deed in waits if deed.until and _minute(deed.until) == _minute(moment)]
    for deed in fitting:
        if id(deed) not in taken:
            taken.add(id(deed))
            return Line(said, _beside(deed, zone), holds=True, deed=deed)
    if fitting:
        return Line(said, "", holds=False, why="that wait is expected above already")
    if not waits:
        return Line(said, "", holds=False, why="no wait was reached")
    return Line(said, _beside(waits[0], zone), holds=False, deed=waits[0])


def _takes(expected: Takes, story: Story, zone: str) -> Line:
    said = f"takes {expected.step}: {expected.arm}"
    taken = [deed for deed in story.of("took") if deed.step == expected.step]
    for deed in taken:
        if deed.name == expected.arm:
            return Line(said, _beside(deed, zone), holds=True, deed=deed)
    if not taken:
        return Line(said, "", holds=False, why=f"{expected.step} was never reached")
    return Line(said, _beside(taken[0], zone), holds=False, deed=taken[0])
