"""The gate: order of judgement, and caps that hold in every window whatever comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.calendar import Duration, QuietHours, add
from engine.policy.gate import Allow, Defer, Drop, Handed, Question, judge
from engine.settings import Cap

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FINE = Question("marketing", "UTC", NOW, NOW + 24 * HOUR)


def test_nothing_against_it() -> None:
    """It may go."""
    assert judge(FINE, NOW) == Allow()


def test_each_reason_in_its_turn() -> None:
    """Everything is against it; taking the first reason away shows the next."""
    bad = replace(
        FINE, suppressed=True, consented=False, paused_until=NOW + HOUR, snoozed_until=NOW + HOUR, exit_clause="did: x", expires_at=NOW - HOUR, false_clause="did: y",
        quiet_hours=QuietHours.parse("00:00-12:00"), caps=(Cap(0, Duration(days=1)),),
    )  # fmt: skip
    assert judge(bad, NOW) == Drop("suppressed")
    bad = replace(bad, suppressed=False)
    assert judge(bad, NOW) == Drop("no_consent")
    bad = replace(bad, consented=True)
    assert judge(bad, NOW) == Drop("paused_by_customer")
    bad = replace(bad, paused_until=NOW)
    assert judge(bad, NOW) == Drop("snoozed_by_customer")
    bad = replace(bad, snoozed_until=NOW)
    assert judge(bad, NOW) == Drop("exited: did: x")
    bad = replace(bad, exit_clause=None)
    assert judge(bad, NOW) == Drop("too_late")
    bad = replace(bad, expires_at=NOW)
    assert judge(bad, NOW) == Drop("condition_false: did: y")
    bad = replace(bad, false_clause=None)
    assert judge(bad, NOW) == Defer(NOW + 2 * HOUR, "quiet_hours")
    bad = replace(bad, quiet_hours=None)
    assert judge(bad, NOW) == Drop("capped")


def test_transactional_passes_but_for_suppression_exits_lateness_and_conditions() -> None:
    """Consent, a pause, the night and caps do not concern it."""
    notice = replace(
        FINE,
        kind="transactional",
        consented=False,
        paused_until=NOW + HOUR,
        quiet_hours=QuietHours.parse("00:00-12:00"),
        caps=(Cap(0, Duration(days=1)),),
    )
    assert judge(notice, NOW) == Allow()
    assert judge(replace(notice, suppressed=True), NOW) == Drop("suppressed")
    assert judge(replace(notice, expires_at=NOW - HOUR), NOW) == Drop("too_late")


@pytest.mark.parametrize(("ago", "verdict"), [(15, Drop("capped")), (16, Allow())])
def test_a_cap_looks_back_exactly_so_far(ago: int, verdict: object) -> None:
    """Sixteen hours are over when sixteen hours are over."""
    assert (
        judge(
            replace(FINE, caps=(Cap(1, Duration(seconds=16 * 3600)),), handed=(Handed(NOW - ago * HOUR),)),
            NOW,
        )
        == verdict
    )


def test_a_mail_by_a_faster_clock_counts() -> None:
    """What was sent by a machine whose clock is ahead of this one's counts for a cap, though it lies in the future."""
    capped = replace(FINE, caps=(Cap(1, Duration(days=1)),), handed=(Handed(NOW + HOUR),))
    assert isinstance(judge(capped, NOW), Drop)


def test_waiting_for_room() -> None:
    """Until the mail that fills the cap leaves the window, if it makes sense until then; several caps must all have room."""
    caps = (Cap(1, Duration(seconds=16 * 3600)), Cap(2, Duration(seconds=20 * 3600)))
    asking = replace(FINE, caps=caps, when_capped="wait", handed=(Handed(NOW - 3 * HOUR), Handed(NOW - HOUR)))
    assert judge(asking, NOW) == Defer(NOW + 17 * HOUR, "capped")
    assert judge(replace(asking, expires_at=NOW + 17 * HOUR), NOW) == Defer(NOW + 17 * HOUR, "capped")
    assert judge(replace(asking, expires_at=NOW + 16 * HOUR), NOW) == Drop("capped")


def test_who_lost_to_a_rival_says_so() -> None:
    """What was handed over since this mail fell due was due together with it."""
    caps = (Cap(1, Duration(days=1)),)
    assert judge(replace(FINE, caps=caps, handed=(Handed(NOW),)), NOW) == Drop("outranked")
    assert judge(replace(FINE, caps=caps, handed=(Handed(NOW - HOUR),)), NOW) == Drop("capped")


CAPS = st.lists(
    st.builds(
        Cap, st.integers(1, 4), st.builds(Duration, days=st.integers(0, 9), seconds=st.integers(3600, 80_000))
    ),
    max_size=3,
)


@given(
    CAPS,
    st.lists(st.integers(0, 60 * 24 * 20), max_size=40),
    st.sampled_from(["skip", "wait"]),
    st.sampled_from(["UTC", "Europe/Berlin"]),
)
def test_no_window_ever_holds_more_than_its_cap(
    caps: list[Cap], minutes: list[int], when_capped: str, zone: str
) -> None:
    """Whatever asks when, in every rolling window there are at most as many mails as each cap says."""
    start = datetime(2026, 3, 20, tzinfo=UTC)  # the clocks of Berlin change in between
    waiting = sorted(start + timedelta(minutes=minute) for minute in minutes)
    handed: list[Handed] = []
    for _ in range(len(waiting) * 4):
        if not waiting:
            break
        now = waiting.pop(0)
        asking = Question(
            "marketing",
            zone,
            now,
            now + timedelta(days=30),
            caps=caps,
            when_capped=when_capped,
            handed=tuple(handed),
        )
        verdict = judge(asking, now)
        if isinstance(verdict, Allow):
            handed.append(Handed(now))
        elif isinstance(verdict, Defer):
            assert verdict.until > now
            waiting = sorted([*waiting, verdict.until])
    for cap in caps:
        for mail in handed:
            until = add(mail.at, cap.per, zone)
            assert sum(mail.at <= other.at < until for other in handed) <= cap.count
