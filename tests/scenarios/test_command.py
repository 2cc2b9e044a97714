"""`homing test` as a person and a build server use it: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest
from click.testing import CliRunner, Result

from cli import main
from engine import settings as settings_module
from engine.deploy.scenarios import play
from engine.deploy.stage import Theatre
from engine.flows.scenario import load_scenarios
from tests.machine import usual_seconds
from tests.scenarios.world import LETTER, TOML

FLOW = """
flow: cart
topic: reminders
trigger: {event: cart_updated, quiet_for: 4h}
only_if: [{customer: {country: DE}}]
exit_when: [{did: order_placed}]
steps:
  - send: letter
  - branch:
      - when: [{trigger: {value: {gte: 100}}}]
        steps: [{send: letter, id: big}]
      - otherwise: [{send: letter, id: small}]
"""
GOOD = """
scenario: a small cart
flow: cart
customer: {timezone: UTC, country: DE, consent: [reminders]}
timeline: [{at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, value: 10}]
expect: [{after: 4h, sends: letter}, {after: 4h, sends: small}, nothing_more]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project with one flow and one scenario that passes."""
    files = {
        "homing.toml": TOML, "flows/cart.yaml": FLOW, "templates/letter.mjml": LETTER.format(subject="A letter"),
        "tests/good.yaml": GOOD,
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(project: Path, *arguments: str) -> Result:
    """Run `homing test` in a project."""
    return CliRunner().invoke(main, ["test", *arguments, "--project", str(project)])


def write(project: Path, name: str, *replaced: tuple[str, str]) -> None:
    """Write another scenario that differs from the good one."""
    text = GOOD
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    (project / "tests" / name).write_text(text, encoding="utf-8")


def test_a_pass(project: Path) -> None:
    """Everything holds: exit 0, one line, no database left behind."""
    done = run(project)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("1 passed, 0 failed")
    assert sorted(path.name for path in project.iterdir()) == ["flows", "homing.toml", "templates", "tests"]


def test_a_failure_shows_both_timelines_and_the_clause(project: Path) -> None:
    """Exit 1; expected stands beside actual, and what decided otherwise is named."""
    write(project, "bad.yaml", ("country: DE", "country: JP"))
    done = run(project)
    assert done.exit_code == 1
    assert "FAIL  a small cart" in done.output
    assert re.search(r"- Mon 2026-03-02 14:00 +after 4h sends letter$", done.output, re.MULTILINE)
    assert re.search(r"Mon 2026-03-02 10:00 +cart_updated$", done.output, re.MULTILINE)
    assert "does not enter: condition_false: customer: {country: DE}" in done.output
    assert "customer: {country: DE} does not hold: country JP" in done.output
    assert done.output.splitlines()[-1].startswith("1 passed, 1 failed")


def test_a_wrong_moment_stands_in_two_rows(project: Path) -> None:
    """What was expected at another moment is missing there, and stands unexpected where it came."""
    write(project, "bad.yaml", ("after: 4h, sends: letter", "after: 5h, sends: letter"))
    rows = run(project, "bad").output.splitlines()
    missing = next(row for row in rows if row.strip().startswith("- Mon 2026-03-02 15:00"))
    came = next(row for row in rows if row.strip().startswith("+ Mon 2026-03-02 14:00"))
    assert missing.endswith("after 5h sends letter")
    assert came.endswith('sends letter "A letter"')
    assert rows.index(came) < rows.index(missing)


def test_another_subject_stands_beside_what_was_expected(project: Path) -> None:
    """What came at the right moment with other words is one row, expected and actual side by side."""
    write(project, "bad.yaml", ("after: 4h, sends: letter", 'after: 4h, subject: "A card", sends: letter'))
    said = run(project, "bad").output
    (row,) = [line for line in said.splitlines() if "A card" in line]
    assert row.startswith("  ! Mon 2026-03-02 14:00  after 4h sends letter")
    assert 'sends letter "A letter"' in row
    assert "  + " not in said


def test_all_that_is_wrong_with_a_mail_is_told(project: Path) -> None:
    """A mail at another moment with another subject and offer is told with all three, and whose clocks the words are on."""
    wrong = 'after: 5h, subject: "A card", offer: ten, sends: letter'
    write(project, "bad.yaml", ("after: 4h, sends: letter", wrong))
    said = run(project, "bad").output
    assert "times in UTC, what was found in Europe/Berlin" in said
    for told in ("expected at Mon 2026-03-02 15:00", 'the subject is "A letter"', "the offer is none"):
        assert told in said


def test_a_mail_stands_before_what_the_flow_did_after_it(project: Path) -> None:
    """Of one moment, a mail comes before the steps that follow it, and before the end of the flow."""
    write(project, "bad.yaml", ("after: 4h, sends: letter", "after: 5h, sends: letter"))
    said = run(project, "bad").output
    words = [
        "enters",
        'sends letter "A letter"',
        "takes steps.2.branch",
        'sends letter "A letter"',
        "is through",
    ]
    actual = [line.rpartition("  ")[2] for line in said.splitlines() if " 14:00 " in line]
    assert [next(word for word in words if line.startswith(word)) for line in actual] == words


def test_the_clause_of_a_branch_is_told(project: Path) -> None:
    """Where the customer went another way, the clause that sent them there stands with the value that it met."""
    write(project, "bad.yaml", ("{after: 4h, sends: small}", "{after: 4h, sends: big}"))
    done = run(project, "bad")
    assert "big was never reached" in done.output
    assert "trigger: {value: {gte: 100}} does not hold: value 10" in done.output
    assert "order_placed" not in done.output


def test_a_fact_that_was_turned_away_is_told(project: Path) -> None:
    """A fact whose `where` did not hold leaves no trace in the engine; the failure tells it all the same."""
    flow = (project / "flows/cart.yaml").read_text(encoding="utf-8")
    (project / "flows/cart.yaml").write_text(
        flow.replace(
            "{event: cart_updated, quiet_for: 4h}", "{event: cart_updated, where: {value: {gte: 20}}}"
        ),
        encoding="utf-8",
    )
    done = run(project, "good")
    assert "does not enter: condition_false: where" in done.output
    assert "where does not hold: value 10" in done.output


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ((("after: 4h, sends: letter", "after: 5h, sends: letter"),), "expected at Mon 2026-03-02 15:00"),
        ((("{after: 4h, sends: small}, ", ""),), 'sends letter "A letter"'),
        ((("sends: letter}", "sends: letter, subject: Else}"),), 'the subject is "A letter"'),
        ((("sends: letter}", "sends: letter, offer: ten}"),), "the offer is none"),
        (
            (("nothing_more", "{does_not_send: small}"), ("{after: 4h, sends: small}, ", "")),
            "does not send small",
        ),
        ((("nothing_more", '{exits: "did: order_placed"}'),), "exits: did: order_placed"),
        ((("nothing_more", "{waits_until: 2026-03-03 10:00}"),), "no wait was reached"),
        ((("value: 10}", "value: ten}"),), "cannot be played"),
        (
            (("nothing_more", "{sends: letter}, {sends: letter}"),),
            "letter was sent 2 times, and that is expected above",
        ),
        ((("nothing_more", "{does_not_send: small}"),), "does not send small"),
    ],
)
def test_each_expectation_can_fail(project: Path, replaced: tuple[tuple[str, str], ...], told: str) -> None:
    """What does not hold is told for what it is."""
    write(project, "bad.yaml", *replaced)
    done = run(project, str(project / "tests/bad.yaml"))
    assert (done.exit_code, told in done.output) == (1, True), done.output


def test_a_wait_that_is_expected_twice_is_one_wait(project: Path) -> None:
    """A second line of the same wait needs a second wait."""
    flow = (project / "flows/cart.yaml").read_text(encoding="utf-8")
    (project / "flows/cart.yaml").write_text(
        flow.replace("  - branch:", "  - wait: 2d\n  - branch:"), encoding="utf-8"
    )
    once = "{waits_until: 2026-03-04 14:00}, {at: 2026-03-04 14:00, sends: small}"
    write(project, "good.yaml", ("{after: 4h, sends: small}", once))
    assert run(project).exit_code == 0, run(project).output
    write(project, "good.yaml", ("{after: 4h, sends: small}", "{waits_until: 2026-03-04 14:00}, " + once))
    done = run(project)
    assert (done.exit_code, "that wait is expected above already" in done.output) == (1, True), done.output


def test_no_scenario_at_all_is_told(project: Path) -> None:
    """A project that lost its scenarios passes, and says what that is worth."""
    (project / "tests/good.yaml").unlink()
    done = run(project)
    assert (done.exit_code, done.output.splitlines()[0]) == (
        0,
        "no scenario under tests/: nothing was played, so nothing could fail",
    )


def test_json_and_coverage(project: Path) -> None:
    """One document with the counts, the share that is reached and what is not."""
    done = run(project, "--json", "--coverage")
    told = json.loads(done.output)
    assert (told["passed"], told["failed"], told["coverage"]["percent"]) == (1, 0, 66.7)
    assert told["coverage"]["flows"]["cart"]["missing"] == [
        "steps.2.branch: trigger: {value: {gte: 100}}",
        "big",
    ]
    write(project, "big.yaml", ("value: 10", "value: 100"), ("small", "big"), ("a big cart", "a small cart"))
    assert json.loads(run(project, "--json", "--coverage").output)["coverage"]["percent"] == 100.0


def test_junit(project: Path) -> None:
    """A file that build servers read: one case a scenario, failures with what was expected."""
    write(project, "bad.yaml", ("after: 4h, sends: letter", "after: 5h, sends: letter"))
    assert run(project, "--junit", str(project / "out/junit.xml")).exit_code == 1
    suite = parse(project / "out/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failures = [failure.text for case in suite for failure in case]
    assert failures == [
        'expected: after 5h sends letter; came: Mon 2026-03-02 14:00 sends letter "A letter" (expected at Mon 2026-03-02 15:00)'
    ]


def test_what_is_wrong_is_told_and_nothing_is_played(project: Path) -> None:
    """A flow or scenario with errors is a finding, an unknown path wrong usage."""
    write(project, "lost.yaml", ("flow: cart", "flow: carts"))
    done = run(project)
    assert done.exit_code == 1
    assert "F501" in done.output
    assert 'did you mean "cart"?' in done.output
    assert run(project, "nowhere.yaml").exit_code == 2


def test_a_flow_with_errors_is_not_told_as_missing(project: Path) -> None:
    """Its own errors are told once, and not that each of its scenarios tests a flow that is not there."""
    (project / "flows/cart.yaml").write_text(FLOW.replace("topic:", "topik:"), encoding="utf-8")
    done = run(project)
    assert done.exit_code == 1
    assert "F101" in done.output
    assert "F501" not in done.output


def test_paths_choose(project: Path) -> None:
    """A folder, a file, or the name of a file."""
    write(project, "bad.yaml", ("after: 4h, sends: letter", "after: 5h, sends: letter"))
    assert run(project, str(project / "tests/good.yaml")).exit_code == 0
    assert run(project, "good").exit_code == 0
    assert run(project, str(project / "tests")).exit_code == 1
    (project / "tests/none.yaml").write_text("flow: letter\nscenarios: []\n", encoding="utf-8")
    nothing = run(project, "none")
    assert (nothing.exit_code, nothing.output) == (2, "error: there is no scenario in none\n")


def test_statements_are_compiled_once_for_all_scenarios(project: Path) -> None:
    """Thirty scenarios take far less than a second of machine time each, as one does that compiles its own statements."""
    for number in range(30):
        write(project, f"s{number}.yaml", ("c1", f"c{number}"))
    run(project, "good")
    assert usual_seconds(lambda: run(project, "-j", "1"), 12.0) < 12.0
    done = run(project, "-j", "1")
    assert done.output.startswith("31 passed")


def test_processes_do_not_change_the_result(project: Path) -> None:
    """The same verdicts in the same order, played by one process or by three."""
    for number in range(40):
        write(
            project,
            f"s{number:02}.yaml",
            ("c1", f"c{number}"),
            ("after: 4h, sends: letter", f"after: {number % 5}h, sends: letter"),
        )
    told = []
    for jobs in ("1", "3"):
        command = [sys.executable, "-m", "cli", "test", "--json", "-j", jobs, "--project", str(project)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
        assert done.returncode == 1, done.stderr
        told.append(json.loads(done.stdout))
    assert told[0] == told[1]
    assert (told[0]["passed"], told[0]["failed"]) == (9, 32)


def test_a_stage_is_free_again_after_an_error(project: Path) -> None:
    """A statement that a scenario left open does not keep the next one from its stage."""
    theatre = Theatre.of(project, settings_module.load(project, {}))
    (scenario,) = load_scenarios(project, [])
    assert play(theatre, scenario).passed
    assert theatre._database is not None
    with theatre._database.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
    left_open = raw.execute("SELECT name FROM sqlite_master")
    left_open.fetchone()
    assert play(theatre, scenario).passed
    theatre.close()


def test_junit_tells_what_cannot_be_read(project: Path) -> None:
    """A build server learns of a line that is no scenario, too: each finding is an error at its place."""
    write(project, "bad.yaml", ("after: 4h, sends: letter", "after: 4 hors, sends: letter"))
    assert run(project, "--junit", str(project / "out.xml")).exit_code == 1
    suite = parse(project / "out.xml").getroot()[0]
    (case,) = suite
    assert (suite.get("errors"), case.get("file"), case.get("classname")) == ("1", "tests/bad.yaml", "F105")
    assert case[0].get("message")
