"""What came of scenarios, for people and for build servers: expected beside actual, coverage, JUnit XML.

Comes in: a performance. Goes out: text. Promises: a scenario that failed shows both timelines side by side, and behind
what did not hold the clause or reason that decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import east_asian_width
from xml.etree.ElementTree import Element, SubElement, tostring

from engine.deploy.happened import Covered, Deed, clock, covered
from engine.deploy.scenarios import Performance, Verdict
from engine.flows.scenario import Scenario

WIDTH = 46
SHOWN = 40


def verdict_text(verdict: Verdict, zone: str) -> str:
    """Return a verdict in words: one line where it passed, both timelines where it did not."""
    scenario = verdict.scenario
    if verdict.passed:
        return f"ok    {scenario.name}"
    lines = [f"FAIL  {scenario.name}", f"      {scenario.span} · {scenario.flow} · times in {zone}"]
    lines += [f"      cannot be played: {problem}" for problem in verdict.problems]
    lines += [f"    {_padded('expected')}   actual", *_sides(verdict)]
    lines += [
        "    what happened:",
        *(f"      {clock(deed.at, zone)}  {deed.text(zone)}" for deed in _shown(verdict)),
    ]
    return "\n".join(lines)


def _sides(verdict: Verdict) -> Iterator[str]:
    for line in verdict.lines:
        mark = " " if line.holds else "+" if not line.expected else "-" if not line.actual else "!"
        yield f"  {mark} {_padded(line.expected)}   {line.actual}".rstrip()
        if line.why:
            yield f"        {line.why}"


def _shown(verdict: Verdict) -> list[Deed]:
    deeds = verdict.story.deeds
    return list(deeds[:SHOWN])


def _padded(text: str) -> str:
    width = sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)
    return text + " " * max(0, WIDTH - width)


def failure_text(verdict: Verdict) -> str:
    """Return in one line per mishap what was expected and what came, without the timeline."""
    told = [*verdict.problems]
    for line in verdict.lines:
        if not line.holds:
            came = line.actual or "nothing"
            told.append(
                f"expected: {line.expected or 'nothing'}; came: {came}"
                + (f" ({line.why})" if line.why else "")
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
