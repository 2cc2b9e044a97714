"""Reports of simulate and plan in the house: made at a button by our own program, shown where nothing runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.deploy.apply import apply
from engine.store.database import connect
from engine.web.house.outlooks import MADE, ReportFolder
from engine.web.house.password import set_password
from tests.integration.small_shop import START, make_project, tell
from tests.integration.test_house import PASSWORD, log_in, mark_in, rows
from tests.integration.web_server import PATIENCE, Serving, serving


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server with an open house over a shop with flows."""
    settings, database = make_project(tmp_path), connect(sqlite_url)
    tell(database, settings, START)
    apply(database, settings, now=START, who="test")
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database) as served:
        log_in(served)
        yield served
    database.close()


def press(served: Serving, kind: str) -> None:
    """Ask for a report and wait until it is made."""
    mark = mark_in(served.client.get("/house/reports"))
    answer = served.client.post("/house/reports", data={"mark": mark, "kind": kind})
    assert answer.status_code == 303
    thread = served.state.report
    assert isinstance(thread, threading.Thread)
    thread.join(PATIENCE)


@pytest.mark.parametrize("kind", ["plan", "forecast"])
def test_a_report_is_made_at_a_button(house: Serving, kind: str) -> None:
    """A button makes the report that the command makes, changes nothing else, and its page shows it."""
    before = rows(house)
    press(house, kind)
    (report,) = ReportFolder(house.site).all()
    assert not report.failed, ReportFolder(house.site).read(report.name)
    assert f"{MADE[kind].button}</a>" in house.client.get("/house/reports").text
    page = house.client.get(f"/house/reports/{report.name}")
    assert page.status_code == 200
    if kind == "plan":
        assert "for 40 customers" in page.text
    else:
        frame = house.client.get(f"/house/reports/{report.name}/frame")
        assert "what lies ahead" in frame.text
        assert "<b>40</b><span>customers" in frame.text
        assert frame.headers["content-security-policy"].endswith("sandbox")
    assert rows(house) == before


def test_how_customers_buy_is_looked_at_by_a_button(house: Serving) -> None:
    """The button scores every customer; the page then shows when and how often they bought, and how sure that is."""
    assert "There are no scores yet" in house.client.get("/house/reports").text
    press(house, "customers")
    page = house.client.get("/house/reports").text
    assert "There are no scores yet" not in page
    assert "customers by when and how often they bought" in page
    (report,) = ReportFolder(house.site).all()
    assert "customers with an order" in (ReportFolder(house.site).read(report.name) or "")


def test_one_at_a_time_and_failures_leave_their_words(house: Serving) -> None:
    """While one is made another one is not begun; a project that cannot be read leaves the reason, not a page."""
    folder = ReportFolder(house.site)
    folder.folder.mkdir()
    with folder.alone() as alone:
        assert alone
        assert folder.make("plan") is None
        assert "A report is being made" in house.client.get("/house/reports").text
    (house.site.settings.root / "flows" / "cart.yaml").write_text("flow: [", encoding="utf-8")
    press(house, "forecast")
    (report,) = folder.all()
    assert report.failed
    assert "cart.yaml" in house.client.get(f"/house/reports/{report.name}").text


def test_what_a_folder_holds_beside_is_not_shown(house: Serving) -> None:
    """Only reports of the folder are shown: no way leads out of it, through a link or a name, and no other form is read."""
    folder = ReportFolder(house.site)
    folder.folder.mkdir()
    (folder.folder / "secret.env").write_text("x", encoding="utf-8")
    (folder.folder / "linked.txt").symlink_to(house.site.settings.root / "homing.toml")
    (folder.folder / "hostile.html").write_text("<script>alert(1)</script>", encoding="utf-8")
    for name in ("secret.env", "linked.txt", "..%2fhoming.toml", "%2e%2e%2fhoming.toml", "nobody.html"):
        assert house.client.get(f"/house/reports/{name}").status_code == 404
        assert house.client.get(f"/house/reports/{name}/frame").status_code == 404
    assert [each.name for each in folder.all()] == ["hostile.html"]
    assert (
        "sandbox" in house.client.get("/house/reports/hostile.html/frame").headers["content-security-policy"]
    )


def test_no_request_adds_an_argument(house: Serving) -> None:
    """What a form says beside a known kind makes no report."""
    mark = mark_in(house.client.get("/house/reports"))
    for kind in ("", "../x", "plan --project /", "simulate"):
        house.client.post("/house/reports", data={"mark": mark, "kind": kind})
    time.sleep(0.2)
    assert ReportFolder(house.site).all() == []
    assert all(" " not in argument for each in MADE.values() for argument in each.arguments(START))
