"""What came of scenarios, for people and for build servers: expected beside actual, coverage, JUnit XML.

Comes in: a performance. Goes out: text. Promises: a scenario that failed shows both timelines side by side in the order of
time, and under what did not hold the clause that decided, with the value that it met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from unicodedata import east_asian_width
from xml.etree.ElementTree import Element, SubElement, tostring

from engine.deploy.happened import Covered, clock, covered
from engine.deploy.matching import Line
from engine.deploy.scenarios import Performance, Verdict
from engine.diagnostics import Finding
from engine.flows.scenario import Scenario

MARGIN, WIDEST = 2, 48
SHOWN = 60
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of both timelines. Marks: `-` expected and missing, `+` not expected, `!` another than expected."""

    at: datetime | None
    mark: str
    expected: str
    actual: str
    why: str = ""


def verdict_text(verdict: Verdict, zone: str, shop_zone: str = "") -> str:
    """Return a verdict in words: one line where it passed, both timelines where it did not.

    Moments are on the customer's clock, `zone`; what clauses found is told on the shop's, as everywhere.
    """
    scenario = verdict.scenario
    if verdict.passed:
        return f"ok    {scenario.name}"
    clocks = f"times in {zone}" + (f", what was found in {shop_zone}" if shop_zone not in ("", zone) else "")
    lines = [f"FAIL  {scenario.name}", f"      {scenario.span} · {scenario.flow} · {clocks}"]
    lines += [f"      cannot be played: {problem}" for problem in verdict.problems]
    return "\n".join([*lines, "", *_table(_rows(verdict, zone), zone), ""])


def _rows(verdict: Verdict, zone: str) -> list[_Row]:
    """Return expected and actual in the order of time; what has no moment of its own stands at the end."""
    by_deed: dict[int, list[Line]] = {}
    for line in verdict.lines:
        if line.deed is not None:
            by_deed.setdefault(id(line.deed), []).append(line)
    rows: list[_Row] = []
    for deed in verdict.story.deeds[:SHOWN]:
        beside = by_deed.get(id(deed), [])
        said = deed.text(zone)
        rows += [_beside(line, said) for line in beside] or [_Row(deed.at, " ", "", said)]
        rows += [_Row(line.due, "-", line.expected, "", line.why) for line in beside if _is_elsewhere(line)]
    for line in verdict.lines:
        if line.deed is None:
            rows.append(_Row(line.due, " " if line.holds else "-", line.expected, line.actual, line.why))
    return sorted(rows, key=lambda row: row.at or _NEVER)


def _is_elsewhere(line: Line) -> bool:
    """Return whether the right thing came at a wrong moment, so that it stands in two rows."""
    if line.holds or line.due is None or line.deed is None:
        return False
    return line.due.replace(second=0, microsecond=0) != line.deed.at.replace(second=0, microsecond=0)


def _beside(line: Line, said: str) -> _Row:
    at = line.deed.at if line.deed is not None else None
    if _is_elsewhere(line):
        return _Row(at, "+", "", said)
    mark = " " if line.holds else "!" if line.expected else "+"
    return _Row(at, mark, line.expected, said, line.why)


def _table(rows: list[_Row], zone: str) -> Iterator[str]:
    wide = min(max([_cells(row.expected) for row in rows] + [len("expected")]), WIDEST)
    stamp = len(clock(datetime(2026, 1, 1, tzinfo=UTC), zone))
    yield f"{'':{MARGIN + 2 + stamp}}  {_padded('expected', wide)}  actual"
    for row in rows:
        when = clock(row.at, zone) if row.at is not None else ""
        yield f"{'':{MARGIN}}{row.mark} {when:{stamp}}  {_padded(row.expected, wide)}  {row.actual}".rstrip()
        for words in row.why.splitlines():
            yield f"{'':{MARGIN + 2 + stamp}}    {words}"


def _cells(text: str) -> int:
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)


def _padded(text: str, wide: int) -> str:
    return text + " " * max(0, wide - _cells(text))


def failure_text(verdict: Verdict) -> str:
    """Return in one line per mishap what was expected and what came, without the timeline."""
    told = [*verdict.problems]
    for line in verdict.lines:
        if not line.holds:
            came = line.actual or "nothing"
            told.append(
                f"expected: {line.expected or 'nothing'}; came: {came}"
                + (f" ({'; '.join(line.why.splitlines())})" if line.why else "")
            )
    return "\n".join(told)


# ── coverage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def coverage_of(performance: Performance) -> dict[str, Covered]:
    """Return for each flow how much of it the scenarios reach."""
    reached: dict[str, frozenset[str]] = {}
    for verdict in performance.verdicts:
        flow = verdict.scenario.flow
        reached[flow] = reached.get(flow, frozenset()) | verdict.story.reached
    return {
        name: covered(flow, reached.get(name, frozenset()))
        for name, flow in sorted(performance.flows.items())
    }


def coverage_text(found: dict[str, Covered]) -> str:
    """Return the coverage in words, with what no scenario reaches."""
    lines = []
    for name, each in found.items():
        lines.append(f"{name:<32} {each.reached:>3} of {each.total} steps and arms")
        lines += [f"    not reached: {place}" for place in each.missing]
    return "\n".join(lines)


# ── build servers ────────────────────────────────────────────────────────────────────────────────────────────────────


def junit(performance: Performance) -> str:
    """Return the verdicts as JUnit XML."""
    counts = {"tests": str(len(performance.verdicts)), "failures": str(performance.failed)}
    root = Element("testsuites", {"name": "homing", **counts})
    suite = SubElement(root, "testsuite", {"name": "scenarios", "errors": "0", **counts})
    for verdict in performance.verdicts:
        case = SubElement(suite, "testcase", _case(verdict.scenario))
        if not verdict.passed:
            told = failure_text(verdict)
            failure = SubElement(case, "failure", {"message": told.partition("\n")[0]})
            failure.text = _storable(told)
    return _document(root)


def junit_of(findings: Sequence[Finding]) -> str:
    """Return as JUnit XML why nothing could be played: an error for each finding, at its place."""
    counts = {"tests": str(len(findings)), "failures": "0", "errors": str(len(findings))}
    root = Element("testsuites", {"name": "homing", **counts})
    suite = SubElement(root, "testsuite", {"name": "scenarios", **counts})
    for finding in findings:
        place = {"file": finding.span.file, "line": str(finding.span.line)}
        case = SubElement(suite, "testcase", {"name": str(finding.span), "classname": finding.code, **place})
        error = SubElement(case, "error", {"message": _storable(finding.message)})
        error.text = _storable(finding.help)
    return _document(root)


def _document(root: Element) -> str:
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _case(scenario: Scenario) -> dict[str, str]:
    return {
        "name": _storable(scenario.name),
        "classname": scenario.flow,
        "file": scenario.span.file,
        "line": str(scenario.span.line),
    }


def _storable(text: str) -> str:
    """Return a text without the signs that XML cannot hold."""
    return "".join(sign for sign in text if sign in "\t\n" or ord(sign) >= 0x20)
