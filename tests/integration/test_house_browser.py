"""The house in a real browser, over a shop that lived three weeks: its pages, its journeys, on a phone and at a desk.

The Chromium of the machine is driven (Debian: apt-get install chromium); nothing is downloaded.
What needs no browser is asked without one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from engine.clock import machine_now
from engine.delivery.dispatch import Exits, Worker
from engine.deploy.apply import apply
from engine.deploy.stage import Tray
from engine.runtime.passes import Engine
from engine.runtime.ticking import drive
from engine.settings import Settings
from engine.store import meta
from engine.store.database import connect
from engine.store.migrate import upgrade
from engine.web.house.files import guessed
from engine.web.house.outlooks import ReportFolder
from engine.web.house.password import set_password
from engine.web.house.uploads import Upload, Uploads
from tests.integration import small_shop
from tests.integration.small_shop import END, START, checksum, make_project, tell
from tests.integration.web_server import PATIENCE, Serving, serving

PASSWORD = "kiyomi opens at nine"
CHROMIUM = Path("/usr/bin/chromium")
PAGES = (
    "/house", "/house/flows", "/house/flows/cart", "/house/flows/lapse", "/house/customers", "/house/customers/2",
    "/house/customers/2/why/cart", "/house/mails", "/house/mails/note", "/house/messages/1", "/house/reports",
    "/house/reports/house-plan-20260324T000000.txt", "/house/reports/house-forecast-20260324T000000.html",
    "/house/reports/house-likely-20260324T000000-failed.txt",
    "/house/files", "/house/files/00000000000000a1", "/house/files/00000000000000a2", "/house/files/00000000000000a3",
)  # fmt: skip
TABLE = "Kundennummer,E-Mail,Geburtstag\nk1,bo@example.test,1990-02-30\nk2,cy@example.test,1991-03-04\n"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Give a server over a shop that lived three weeks with its flows."""
    with living(tmp_path_factory.mktemp("house")) as served:
        yield served


@contextmanager
def living(root: Path) -> Iterator[Serving]:
    """Let a shop live three weeks with its flows, and serve its house to a client that is logged in."""
    database = connect(f"sqlite:///{root}/house.db")
    upgrade(database)
    settings, before = make_project(root), START - timedelta(days=30)
    with database.write() as connection:
        meta.set_virtual_now(connection, before)
        set_password(connection, PASSWORD)
    tell(database, settings, before)
    tray = Tray()
    engine = Engine(
        settings, database, Exits(tray, None, tray.call), Worker("test", machine_now, random.Random(1))
    )
    drive(engine, before, START, beat=timedelta(days=1), nights=False)
    apply(database, settings, now=START, who="test")
    drive(engine, START, END, beat=timedelta(hours=3), nights=False)
    leave_files(settings, END)
    with serving(settings, database) as served:
        for kind in ("plan", "forecast"):
            thread = ReportFolder(served.site).make(kind)
            assert thread is not None
            thread.join(PATIENCE)
        for made in ("plan.txt", "forecast.html"):
            kind, _, suffix = made.partition(".")
            (found,) = (root / "reports").glob(f"house-{kind}-*.{suffix}")
            found.rename(root / "reports" / f"house-{kind}-20260324T000000.{suffix}")
        mark = re.search(r'name="mark" value="([0-9a-f]+)"', served.client.get("/house/login").text)
        assert mark is not None
        served.client.post("/house/login", data={"mark": mark[1], "password": PASSWORD})
        yield served
    database.close()


def leave_files(settings: Settings, now: datetime) -> None:
    """Leave uploads as people leave them: one that waits, one that failed, one of which rows were set aside."""
    uploads, row = (
        Uploads(settings.root),
        {"row": 2, "column": "birthday", "reason": "is no day of the calendar"},
    )
    told = {"read": 2, "new": 1, "unchanged": 0, "stale": 0, "staged": 0, "erased": 0, "quarantined": 1}
    for number, more in enumerate(
        (
            {"state": "looked"}, {"state": "failed", "problem": "it is no table"},
            {"state": "taken", "rows": 2, "report": {**told, "bad": [row], "warnings": ["1 fact: is odd"]}},
        ),
        1,
    ):  # fmt: skip
        upload = Upload(f"00000000000000a{number}", "customers.csv", now.isoformat(), **more)  # type: ignore[arg-type]
        uploads.path(upload).parent.mkdir(parents=True)
        uploads.path(upload).write_text(TABLE, encoding="utf-8")
        uploads.keep(guessed(uploads.path(upload), upload))
    (settings.root / "reports").mkdir()
    failed = settings.root / "reports" / "house-likely-20260324T000000-failed.txt"
    failed.write_text("error: a flow cannot be read", encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give the machine's Chromium."""
    if not CHROMIUM.exists():
        pytest.fail(f"these tests need {CHROMIUM} (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        with suppress(Exception):
            started.close()


def at_home(browser: Browser, served: Serving, width: int = 1200, scheme: str = "light") -> Page:
    """Open a window that is logged in."""
    dark = "dark" if scheme == "dark" else "light"
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=dark)  # type: ignore[arg-type]
    token = served.client.cookies["homing_house"]
    context.add_cookies([{"name": "homing_house", "value": token, "url": f"{served.url}/house"}])
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1_000)
    return page


# ── without a browser ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_without_scripts(lived: Serving, path: str) -> None:
    """Each page answers, with no script and no style of its own."""
    answer = lived.client.get(path)
    assert answer.status_code == 200
    assert "<script" not in answer.text
    assert " style=" not in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]


FRAMES = ("/house/mails/note/frame", "/house/messages/1/frame")


def test_no_page_writes_a_row(lived: Serving) -> None:
    """No GET and no HEAD of any page or frame changes a table."""
    before = checksum(lived.site.database)
    for path in (*PAGES, *FRAMES):
        assert lived.client.get(path).status_code == 200, path
        assert lived.client.head(path).status_code == 200, path
    assert checksum(lived.site.database) == before


SHOWING = (
    "customers",
    "customers/2",
    "customers/2/why/cart",
    "files/00000000000000a1",
    "mails",
    "messages/1",
)
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_whatever_a_shop_is_told_is_only_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, ids of orders and carts, titles, cells of a file: no page has a tag of theirs; those that show them have them as text."""

    def named(row: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {"title": HOSTILE} if "title" in row else {}
        if "email" in row:
            more = {
                "first_name": HOSTILE,
                "last_name": HOSTILE,
                "properties": {"tea": HOSTILE},
                "tags": [HOSTILE],
            }
        return row | more | {key: f"{row[key]}{HOSTILE}" for key in ("order_id", "cart_id") if key in row}

    told = [(kind, [named(row) for row in rows]) for kind, rows in small_shop.facts()]
    monkeypatch.setattr(small_shop, "facts", lambda: told)
    monkeypatch.setitem(globals(), "TABLE", TABLE.replace("k1", HOSTILE.replace('"', "")))
    shown = set()
    with living(tmp_path) as served:
        for path in PAGES:
            answer = served.client.get(path)
            assert answer.status_code == 200
            assert "<script" not in answer.text, path
            assert "<img" not in answer.text, path
            shown |= {path} if "&lt;script&gt;" in answer.text else set()
    assert shown >= {f"/house/{page}" for page in SHOWING}


@pytest.mark.parametrize("path", FRAMES)
def test_a_mail_stands_in_a_sandbox(lived: Serving, path: str) -> None:
    """A mail's frame runs nothing, posts nothing, and may be framed by our own pages only."""
    answer = lived.client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.endswith("sandbox")
    assert "frame-ancestors 'self'" in policy
    assert "form-action 'none'" in policy
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize("path", [*PAGES, *FRAMES])
def test_nothing_is_seen_without_a_visit(lived: Serving, path: str) -> None:
    """Every page and every frame asks for the password first."""
    answer = httpx.get(lived.url + path)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/house/login")


@pytest.mark.parametrize(
    "path", ["/house/flows/nobody", "/house/mails/nobody", "/house/messages/99999", "/house/customers/9999"]
)
def test_what_does_not_exist_is_a_page(lived: Serving, path: str) -> None:
    """An unknown name is answered 404, without a traceback."""
    assert lived.client.get(path).status_code == 404


# ── in a browser ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_logging_in_by_keyboard(browser: Browser, lived: Serving) -> None:
    """The password field has the focus; Enter logs in; the first Tab offers to skip the places."""
    page = browser.new_context().new_page()
    page.goto(f"{lived.url}/house")
    page.wait_for_function("document.activeElement.name === 'password'")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Today", exact=True).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.context.close()


def test_finding_a_customer_and_reading_why(browser: Browser, lived: Serving) -> None:
    """An address leads to the customer's story, and from there to each decision with its clauses."""
    page = at_home(browser, lived, width=375)
    page.goto(f"{lived.url}/house/customers")
    page.get_by_role("searchbox").fill("c1@example.test")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="The story so far").wait_for()
    assert "c1@example.test" not in page.url
    page.locator(".picks a").first.click()
    page.get_by_role("heading", name=re.compile("^Why")).wait_for()
    assert page.locator(".story li").count() > 0
    page.context.close()


def test_pausing_a_flow_and_letting_it_go_on(browser: Browser, lived: Serving) -> None:
    """The button of a flow's page pauses it and says so; the next one lets it go on."""
    page = at_home(browser, lived)
    page.goto(f"{lived.url}/house/flows/cart")
    page.get_by_role("button", name="Pause this flow").click()
    page.get_by_text("nobody enters and nothing is sent").wait_for()
    page.get_by_role("button", name="Let it go on").click()
    page.get_by_role("button", name="Pause this flow").wait_for()
    page.context.close()


def test_uploading_a_file_with_its_columns(browser: Browser, lived: Serving, tmp_path: Path) -> None:
    """A table is uploaded, a column is named, what cannot be read is seen, and the others are taken in."""
    table = tmp_path / "customers.csv"
    table.write_text("Who,E-Mail\nw1,w1@example.test\nw2,nothing\n", encoding="utf-8")
    page = at_home(browser, lived, width=375)
    page.goto(f"{lived.url}/house/files")
    page.get_by_label("A file").set_input_files(table)
    page.get_by_role("button", name="Upload").click()
    page.get_by_text("1 of 2 first rows can be read").wait_for()
    page.get_by_label("What Who is here").select_option("external_id")
    page.get_by_role("button", name="Take it in").click()
    page.get_by_text("Told before").wait_for()
    assert page.locator(".tiles dd").all_inner_texts()[:2] == ["2", "1"]
    page.context.close()


def test_pages_fit_and_stay_with_our_host(browser: Browser, lived: Serving) -> None:
    """No page is wider than a phone, none breaks its own policy, and none asks another host for anything."""
    page = at_home(browser, lived, width=375, scheme="dark")
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda asked: troubles.append(asked.url) if not asked.url.startswith((lived.url, "data:")) else None,
    )
    for path in PAGES:
        page.goto(lived.url + path)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0, path
    assert troubles == []
    page.context.close()
