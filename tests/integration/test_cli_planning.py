"""The commands that look ahead, as typed: exit codes, documents, files, and mistakes told plainly."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cli
from engine.store.database import connect
from tests.integration.small_shop import FLOWS, NOW, START, make_project, tell


@pytest.fixture
def shop(tmp_path: Path, sqlite_url: str) -> Path:
    """Give a project with its history in a database of its own."""
    root = tmp_path / "shop"
    settings = make_project(root)
    database = connect(sqlite_url)
    tell(database, settings, NOW)
    database.close()
    with (root / "homing.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[database]\nurl = "{sqlite_url}"\n')
    return root


def homing(shop: Path, *arguments: str) -> Result:
    """Type a command."""
    return CliRunner().invoke(cli.main, [*arguments, "--project", str(shop)])


def document(result: Result) -> Any:
    """Return the one document on stdout."""
    return json.loads(result.stdout)


def test_plan_apply_and_history_as_typed(shop: Path) -> None:
    """Plan lists every flow with audience and mails; after apply all are unchanged; history tells who."""
    now = ("--now", NOW.isoformat())
    found = document(homing(shop, "plan", "--json", *now))
    assert {flow["flow"]: (flow["change"], flow["audience"] > 0) for flow in found["flows"]} == dict.fromkeys(
        FLOWS, ("new", True)
    )
    assert homing(shop, "plan", "--format", "markdown", *now).stdout.startswith("### Homing plan: 3 new")
    applied = homing(shop, "apply", "--yes", "--migrate", "--json")
    assert applied.exit_code == 0
    assert document(applied)["moved"] == []
    after = document(homing(shop, "plan", "--json"))
    assert {flow["change"] for flow in after["flows"]} == {"unchanged"}
    version = next(flow["to"] for flow in after["flows"] if flow["flow"] == "cart")
    history = document(homing(shop, "plan", "--history", "--json"))
    assert {change["flow"] for change in history[0]["changes"]} == set(FLOWS)
    assert homing(shop, "apply", "--yes", "--version", version).exit_code == 0
    wrong = homing(shop, "apply", "--yes", "--version", "0123456789")
    assert wrong.exit_code == 2
    assert "plan --history" in wrong.stderr


def test_simulate_as_typed(shop: Path, tmp_path: Path) -> None:
    """A replay writes a page and prints a document; a forecast needs nothing; mistakes are told with exit code 2."""
    out = tmp_path / "reports" / "spring.html"
    span = (
        "--from",
        START.isoformat(),
        "--to",
        "2026-03-12T00:00+00:00",
        "--every",
        "2h",
        "--now",
        NOW.isoformat(),
    )
    replay = homing(shop, "simulate", *span, "--out", str(out), "--json")
    assert replay.exit_code == 0, replay.output
    found = document(replay)
    assert (found["mode"], sorted(found["mails"])) == ("replay", ["cart", "lapse", "thanks"])
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = homing(
        shop, "simulate", *span, "--flows", "cart", "--against", str(shop), "--out", str(tmp_path / "r.json")
    )
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["played"] == "folder"
    likely = homing(
        shop,
        "simulate",
        "--behaviour",
        "history",
        "--runs",
        "2",
        "--every",
        "6h",
        "--json",
        "--now",
        NOW.isoformat(),
    )
    interval = document(likely)["interval"]["total"]
    assert interval["low"] <= interval["expected"] <= interval["high"]
    for wrong, words in (
        (("--flows", "cartt"), 'did you mean "cart"'),
        (("--from", "2026-03-05", "--to", "2026-03-01"), "--to must lie after --from"),
        (("--from", "2026-03-05", "--behaviour", "history"), "--behaviour is for a forecast"),
        (("--every", "soon"), "--every"),
        (("--against", "feedbeef"), "was ever applied"),
        (("--out", "report.txt"), "--out writes .html or .json"),
    ):
        told = homing(shop, "simulate", *wrong, "--now", NOW.isoformat())
        assert told.exit_code == 2
        assert words in told.stderr


def test_only_the_flows_that_were_asked_for_are_compared(shop: Path) -> None:
    """--flows limits both sides: what is live, too; a version of another flow, or one that is not live, is told."""
    assert homing(shop, "apply", "--yes").exit_code == 0
    span = (
        "--from",
        START.isoformat(),
        "--to",
        "2026-03-12T00:00+00:00",
        "--every",
        "6h",
        "--now",
        NOW.isoformat(),
    )
    found = document(
        homing(shop, "simulate", *span, "--flows", "cart,thanks", "--against", "applied", "--json")
    )
    assert {each["flow"] for each in found["comparison"]} == {"cart", "thanks"}
    assert [each for each in found["comparison"] if each["this"] != each["against"]] == []
    plans = {
        each["flow"]: each["to"]
        for each in document(homing(shop, "plan", "--json", "--now", NOW.isoformat()))["flows"]
    }
    (shop / "flows/new.yaml").write_text(FLOWS["lapse"].replace("flow: lapse", "flow: new"), "utf-8")
    for flow, against, words in (
        ("cart", plans["thanks"], 'one of "thanks", which --flows leaves out'),
        ("new", "applied", "none of these flows was applied yet"),
    ):
        told = homing(shop, "simulate", *span, "--flows", flow, "--against", against)
        assert (told.exit_code, words in told.stderr) == (2, True), told.output


def test_why_missing_as_typed(shop: Path) -> None:
    """Why --missing prints groups; without a customer or a flow it says how it is used."""
    assert homing(shop, "apply", "--yes").exit_code == 0
    found = document(homing(shop, "why", "--missing", "cart", "--since", START.isoformat(), "--json"))
    assert (found["flow"], found["got_nothing"]) == ("cart", 0)
    stretch = document(
        homing(shop, "why", "--missing", "cart", "--since", "60d", "--json", "--now", NOW.isoformat())
    )
    assert stretch["since"].startswith(f"{NOW - timedelta(days=60):%Y-%m-%d}")
    for wrong, words in (
        ((), "--missing"),
        (("c1", "--missing", "cart"), 'leave "c1" out'),
        (("--missing", "cart", "--since=-60d"), "is not a time"),
        (("--missing", "cart", "--since", "soon"), "is not a time"),
    ):
        told = homing(shop, "why", *wrong)
        assert told.exit_code == 2
        assert words in told.stderr


def test_plan_tells_what_apply_would_refuse_in_every_form(shop: Path) -> None:
    """A mail that cannot be made stops `apply`: `plan` says the same before, with exit code 1, in a pull request too."""
    template = shop / "templates" / "note.mjml"
    template.write_text(
        template.read_text("utf-8").replace("Hello. <a", "Hello {{ customer.nme }}. <a"), "utf-8"
    )
    refused = homing(shop, "apply", "--yes")
    assert refused.exit_code == 1
    code = refused.stderr.split("error[")[1][:4]
    for form in ("text", "json", "markdown"):
        told = homing(shop, "plan", "--format", form)
        assert told.exit_code == 1
        assert code in (told.stderr if form == "text" else told.stdout), form
    assert homing(shop, "plan").stderr == refused.stderr
    assert {each["code"] for each in document(homing(shop, "plan", "--json"))["findings"]} == {code}
    comment = homing(shop, "plan", "--format", "markdown").stdout
    assert comment.startswith("### Homing plan: `apply` would refuse this\n")
    assert refused.stderr.strip() in comment


def test_a_mend_is_promised_only_where_it_was_tried(shop: Path) -> None:
    """Every command that ends with findings says of the same ones as `validate` that --fix can mend them."""
    toml = shop / "homing.toml"
    before = toml.read_text("utf-8")
    for delivery, promised in (('moed = "sandbox"', True), ('mode = "sandbox"\nmoed = "sandbox"', False)):
        toml.write_text(f"{before}\n[delivery]\n{delivery}\n", "utf-8")
        for command in ("validate", "plan", "apply", "simulate"):
            told = homing(shop, command)
            assert (told.exit_code, "S104" in told.output) == (1, True)
            mend = 'did you mean "mode"?   (validate --fix can do it)'
            assert (mend in told.output) == promised, command


def test_a_flow_may_go_before_its_scenarios(shop: Path) -> None:
    """Scenarios of a flow that is gone are told once a file, by `validate` as an error; `plan` and `apply` go on."""
    scenario = (
        "- scenario: number {}\n  flow: cart\n  timeline: [{{at: 2026-03-02 10:00, event: cart_updated}}]\n"
        "  expect: [{{after: 4h, sends: note}}]\n"
    )
    (shop / "tests").mkdir()
    for name in ("one", "two"):
        (shop / "tests" / f"{name}.yaml").write_text("".join(scenario.format(n) for n in range(3)), "utf-8")
    assert homing(shop, "apply", "--yes").exit_code == 0
    (shop / "flows" / "cart.yaml").unlink()
    told = document(homing(shop, "validate", "--format", "json"))["findings"]
    lost = [each for each in told if each["code"] == "F501"]
    assert [each["file"] for each in lost] == ["tests/one.yaml", "tests/two.yaml"]
    assert {each["severity"] for each in lost} == {"error"}
    assert homing(shop, "validate").exit_code == 1
    planned = homing(shop, "plan")
    assert (planned.exit_code, "- cart  removed" in planned.stdout) == (0, True)
    applied = homing(shop, "apply", "--yes")
    assert applied.exit_code == 0
    assert applied.stderr.count("error[F501]") == 2


def test_a_plan_of_a_new_folder_makes_no_database(tmp_path: Path) -> None:
    """Whoever only looks leaves no file behind."""
    make_project(tmp_path)
    done = homing(tmp_path, "plan")
    assert (done.exit_code, "3 new" in done.stdout) == (0, True)
    assert homing(tmp_path, "plan", "--history").exit_code == 0
    assert not list(tmp_path.glob("*.db*"))


def test_going_back_is_told_as_what_it_is(shop: Path) -> None:
    """A version that is live is named where the folder differs; a flow that comes back comes from nothing."""
    assert homing(shop, "apply", "--yes").exit_code == 0
    flows = document(homing(shop, "plan", "--json"))["flows"]
    version = next(flow["to"] for flow in flows if flow["flow"] == "cart")
    (shop / "flows" / "cart.yaml").unlink()
    again = homing(shop, "apply", "--yes", "--version", version[:6])
    assert f"nothing to apply: version {version} is live" in again.stdout
    assert homing(shop, "apply", "--yes").exit_code == 0
    assert homing(shop, "apply", "--yes", "--version", version[:6]).exit_code == 0
    (newest, *_) = document(homing(shop, "plan", "--history", "--json"))
    assert newest["changes"] == [{"flow": "cart", "change": "new", "from": None, "to": version}]
    assert f"new        cart                         {version}\n" in homing(shop, "plan", "--history").stdout
