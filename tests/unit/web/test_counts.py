"""What `/metrics` tells of a process: counters, how long things took, and slow counts that are made seldom."""

from __future__ import annotations

from engine.web.counts import Counts
from engine.web.health import Seldom


def test_counters_and_histograms_are_told_as_prometheus_reads_them() -> None:
    """Buckets hold everything up to their step; sum and count go with them; labels are in order."""
    counts = Counts(process="7")
    counts.add("calls_total", 2, source="b")
    counts.add("calls_total", source="b")
    for seconds in (0.5, 30.0, 90_000.0, -5.0):
        counts.observe("lag_seconds", seconds, source="a")
    lines = list(counts.lines())
    assert lines[:2] == ["# TYPE calls_total counter", 'calls_total{process="7",source="b"} 3']
    assert 'lag_seconds_bucket{process="7",source="a",le="1"} 2' in lines
    assert 'lag_seconds_bucket{process="7",source="a",le="60"} 3' in lines
    assert 'lag_seconds_bucket{process="7",source="a",le="+Inf"} 4' in lines
    assert lines[-2:] == [
        'lag_seconds_sum{process="7",source="a"} 90030.500',
        'lag_seconds_count{process="7",source="a"} 4',
    ]


def test_no_label_can_break_a_line() -> None:
    """Quotes, backslashes and line breaks of a label do not reach the page."""
    counts = Counts()
    counts.add("calls_total", topic='x"} 9\n# evil\\')
    assert list(counts.lines())[1] == 'calls_total{topic="x} 9 # evil"} 1'


def test_slow_counts_are_made_seldom() -> None:
    """What reads whole tables is not made anew for each scrape."""
    made: list[int] = []
    seldom = Seldom(seconds=60)

    def make() -> list[str]:
        made.append(1)
        return ["line"]

    assert [seldom.get(make) for _ in range(5)] == [["line"]] * 5
    assert len(made) == 1
    assert Seldom(seconds=0).get(make) == ["line"]
