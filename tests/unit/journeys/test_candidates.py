"""Re-entry, judged without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from engine.calendar import Duration
from engine.flows.model import ReEntry
from engine.journeys.candidates import (
    ALREADY,
    ArrivedEvent,
    Candidate,
    PastEntry,
    Told,
    candidate_of,
    refused_by_re_entry,
)

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def coming(occurrence: str = "e9", cart: str | None = "c1", at: datetime = NOW) -> Candidate:
    """Return somebody who may enter."""
    return Candidate(0, 1, occurrence, at, at, cart_id=cart)


def before(days: int, cart: str | None = None, *, live: bool = False, occurrence: str = "e1") -> PastEntry:
    """Return an entry of some days ago."""
    return PastEntry(occurrence, cart, NOW - days * DAY, live)


def test_the_same_occurrence_never_enters_twice() -> None:
    """Whatever the rule says, and without a word in the journal."""
    for rule in (ReEntry(), ReEntry(never=True), ReEntry(per="cart")):
        assert refused_by_re_entry(rule, coming("e1"), [before(9)], "UTC") == ALREADY


def test_never_is_once_ever() -> None:
    """The first may enter, nobody after."""
    assert refused_by_re_entry(ReEntry(never=True), coming(), [], "UTC") is None
    assert refused_by_re_entry(ReEntry(never=True), coming(), [before(900)], "UTC") == "re_entry: never"


def test_nobody_is_inside_twice_except_per_something() -> None:
    """Without `per` one active enrollment; with it one for each thing."""
    assert refused_by_re_entry(ReEntry(), coming(), [before(1, live=True)], "UTC") == "re_entry: still inside"
    assert refused_by_re_entry(ReEntry(per="cart"), coming(), [before(1, "c0", live=True)], "UTC") is None
    assert (
        refused_by_re_entry(ReEntry(per="cart"), coming(), [before(1, "c1")], "UTC")
        == "re_entry: once per cart"
    )


def test_who_went_through_was_inside_until_then() -> None:
    """A fact of a time before the last step was due came while inside, however late either is looked at."""
    past = [PastEntry("e1", None, NOW - 2 * DAY, live=False, through_at=NOW - DAY)]
    refused = [
        refused_by_re_entry(ReEntry(), coming(at=NOW - days * DAY), past, "UTC") for days in (3, 2, 1.5, 1, 0)
    ]
    assert refused == [None, "re_entry: still inside", "re_entry: still inside", None, None]


def test_a_year_is_the_customers_own() -> None:
    """On the customer's clock, whatever year UTC has, and whatever a fact itself calls `year`."""
    eve = datetime(2026, 12, 31, 23, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    rule, here = ReEntry(per="year"), "America/New_York"
    past = [PastEntry("e1", coming(at=eve - 200 * DAY).scope_key("year", here), eve - 200 * DAY, live=False)]
    assert refused_by_re_entry(rule, coming("e2", at=eve), past, here) == "re_entry: once per year"
    assert refused_by_re_entry(rule, coming("e3", at=eve + timedelta(hours=11)), past, here) is None
    told = Candidate(0, 1, "e4", eve, eve, {"year": 1999}, event_id=4)
    assert told.scope_key("year", here) == "2026"
    birthday = Candidate(0, 1, "year:2027", eve, eve, {"year": 2027})
    assert birthday.scope_key("year", here) == "2027"


def test_after_counts_from_the_last_entry() -> None:
    """To the minute, on the customer's clock, and together with `per` where both are given."""
    rule = ReEntry(per="cart", after=Duration(days=7))
    assert refused_by_re_entry(rule, coming(), [before(7, "c0")], "UTC") is None
    assert (
        refused_by_re_entry(rule, coming(at=NOW - timedelta(seconds=1)), [before(7, "c0")], "UTC")
        == "re_entry: after 7d"
    )
    assert (
        refused_by_re_entry(rule, coming(), [before(30, "c1"), before(9, "c0")], "UTC")
        == "re_entry: once per cart"
    )


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(1, 60))
def test_entries_keep_their_distance(days: list[int], after: int) -> None:
    """However facts come, no two entries lie closer together than `after`."""
    rule, history = ReEntry(after=Duration(days=after)), list[PastEntry]()
    for number, day in enumerate(sorted(days)):
        candidate = coming(f"e{number}", at=NOW + day * DAY)
        if refused_by_re_entry(rule, candidate, history, "UTC") is None:
            history.append(PastEntry(candidate.occurrence, None, candidate.entered_at, live=False))
    moments = [entry.entered_at for entry in history]
    assert all(later - earlier >= after * DAY for earlier, later in pairwise(moments))


def test_what_a_newer_fact_must_share() -> None:
    """The cart, else the order, else the product, else the customer alone."""
    event = ArrivedEvent(1, 1, "x", NOW, "UTC", Told({}))
    assert event.group_key == ""
    assert ArrivedEvent(1, 1, "x", NOW, "UTC", Told({}), sku="T1").group_key == "sku:T1"
    assert ArrivedEvent(1, 1, "x", NOW, "UTC", Told({}), order_id="o", sku="T1").group_key == "order:o"
    assert ArrivedEvent(1, 1, "x", NOW, "UTC", Told({}), order_id="o", cart_id="c").group_key == "cart:c"
    assert candidate_of(event, 2).trigger_no == 2
