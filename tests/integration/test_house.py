"""The house, asked by a real client over a real socket: who comes in, what a button needs, and that looking changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, insert, select

from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.runtime import rails
from engine.store.database import Database, connect
from engine.store.tables import flows, metadata, quarantine
from engine.web.house.password import set_password
from engine.web.intake import inbox
from engine.web.intake.inbox import Unread
from tests.integration.small_shop import START, make_project, tell
from tests.integration.web_server import NOW, Serving, serving, settings_at, small_shop

PASSWORD = "kiyomi opens at nine"
MARK = re.compile(r'name="mark" value="([0-9a-f]+)"')


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over a small shop whose house has a password."""
    settings = settings_at(tmp_path)
    database = connect(sqlite_url)
    small_shop(database, settings)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database) as served:
        yield served
    database.close()


def mark_in(answer: httpx.Response) -> str:
    """Return the mark of the first form of a page."""
    found = MARK.search(answer.text)
    assert found is not None, answer.text
    return found[1]


def log_in(served: Serving, password: str = PASSWORD) -> httpx.Response:
    """Come in through the login page."""
    mark = mark_in(served.client.get("/house/login"))
    return served.client.post("/house/login", data={"mark": mark, "password": password})


def rows(served: Serving) -> dict[str, int]:
    """Return how many rows every table has."""
    with served.site.database.read() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }


PAGES = ["/house", "/house/customers", "/house/customers/1"]


@pytest.mark.parametrize("page", PAGES)
def test_without_a_visit_every_page_leads_to_the_login(small: Serving, page: str) -> None:
    """Nobody sees anything of the house without the password, not even whether a page exists."""
    answer = small.client.get(page)
    assert (answer.status_code, answer.headers["location"]) == (303, "/house/login")


def test_the_password_opens_the_house_and_leaving_closes_it(small: Serving) -> None:
    """The right password opens, its cookie is out of reach of scripts, and after leaving the same cookie opens nothing."""
    answer = log_in(small)
    assert (answer.status_code, answer.headers["location"]) == (303, "/house")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=lax" in answer.headers["set-cookie"]
    page = small.client.get("/house")
    assert page.status_code == 200
    assert "Today" in page.text
    kept = {"cookie": f"homing_house={small.client.cookies['homing_house']}"}
    assert small.client.post("/house/logout", data={"mark": mark_in(page)}).status_code == 303
    assert small.client.get("/house", headers=kept).status_code == 303


def test_the_cookie_travels_on_https_only(small: Serving) -> None:
    """Where the installation is known by an https address, its cookies never go over a plain line."""
    answer = small.client.get("/house/login", headers={"host": "mail.kiyomi.test"})
    assert "Secure" in answer.headers["set-cookie"]


def test_a_wrong_password_is_refused_and_tries_are_few(small: Serving) -> None:
    """A wrong password opens nothing; after five tries even the right one has to wait."""
    answers = [log_in(small, "kiyomi opens at ten") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {403}
    late = log_in(small)
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 0


def test_a_new_password_ends_every_visit(small: Serving) -> None:
    """Who was in before the password changed has to come in anew."""
    log_in(small)
    with small.site.database.write() as connection:
        set_password(connection, PASSWORD + "!")
    assert small.client.get("/house").status_code == 303


def test_the_password_is_kept_as_a_slow_hash(small: Serving) -> None:
    """Neither the password nor a visit's token stands in the database."""
    log_in(small)
    token = small.client.cookies["homing_house"]
    with small.site.database.read() as connection:
        kept = repr(connection.execute(select(metadata.tables["meta"])).all())
    assert PASSWORD not in kept
    assert token not in kept


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_a_button_on_another_page_does_nothing(small: Serving, headers: dict[str, str]) -> None:
    """A POST from elsewhere is refused, even with a mark that was good."""
    log_in(small)
    mark = mark_in(small.client.get("/house"))
    answer = small.client.post("/house/everything", data={"mark": mark, "do": "pause"}, headers=headers)
    assert answer.status_code == 403
    with small.site.database.read() as connection:
        assert not rails.paused_all(connection)


@pytest.mark.parametrize("mark", ["", "0" * 64, "ü"])
def test_a_post_without_the_visits_mark_does_nothing(small: Serving, mark: str) -> None:
    """The cookie alone is not enough to press a button."""
    log_in(small)
    assert small.client.post("/house/everything", data={"mark": mark, "do": "pause"}).status_code == 403
    with small.site.database.read() as connection:
        assert not rails.paused_all(connection)


def test_a_mark_of_another_visit_does_nothing(small: Serving) -> None:
    """What a page of one visit holds presses no button in another."""
    log_in(small)
    other = mark_in(small.client.get("/house"))
    small.client.cookies.clear()
    log_in(small)
    assert small.client.post("/house/everything", data={"mark": other, "do": "pause"}).status_code == 403
    with small.site.database.read() as connection:
        assert not rails.paused_all(connection)


def test_looking_changes_nothing(small: Serving) -> None:
    """No GET and no HEAD of the house writes a row."""
    log_in(small)
    before = rows(small)
    for page in PAGES:
        assert small.client.get(page).status_code == 200, page
        assert small.client.head(page).status_code == 200, page
    assert rows(small) == before


def test_pages_come_without_scripts_and_from_our_host_only(small: Serving) -> None:
    """Every page forbids scripts, has none, and names no other host."""
    log_in(small)
    for page in PAGES:
        answer = small.client.get(page)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert "<script" not in answer.text
        assert " style=" not in answer.text
        assert not re.search(r'(?:src|href|action)="https?://', answer.text), page


def test_everything_can_be_paused_and_resumed(small: Serving) -> None:
    """The button pauses every flow, the page says so, and the other button lets everything go on."""
    log_in(small)
    mark = mark_in(small.client.get("/house"))
    small.client.post("/house/everything", data={"mark": mark, "do": "pause"})
    assert "Everything is paused" in small.client.get("/house").text
    small.client.post("/house/everything", data={"mark": mark, "do": "resume"})
    assert "Everything is paused" not in small.client.get("/house").text


def test_what_was_set_aside_can_be_tried_again(small: Serving) -> None:
    """The button thaws a flow that failed, and the entry is gone from the page."""
    with small.site.database.write() as connection:
        flow = {"flow": "hello", "version": "v1", "applied_at": NOW, "version_at": NOW, "active": False}
        connection.execute(insert(flows), [flow])
        entry = {"kind": "flow", "subject": "hello", "reason": "<b>failed</b>", "at": NOW}
        connection.execute(insert(quarantine), [entry])
    log_in(small)
    page = small.client.get("/house")
    assert "&lt;b&gt;failed" in page.text
    small.client.post("/house/quarantine", data={"mark": mark_in(page), "entry": "1", "do": "retry"})
    assert "Nothing is set aside" in small.client.get("/house").text


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_what_was_not_understood_is_seen_and_tried_again(small: Serving) -> None:
    """Today tells calls and webhooks that were kept whole, by reason; buttons try one reason's again, or let them go."""
    known = {"type": "track", "event": "Tea Poured", "userId": "c1", "timestamp": "2026-02-01T00:00:00Z"}
    person = {"customer": {"id": 7}}
    with small.site.database.write() as connection:
        inbox.keep(
            connection,
            [
                *(Unread("segment", "track", "failed here", json.dumps({**known, "messageId": f"m{n}"})) for n in range(3)),
                Unread("shopify", "themes/publish", "<b>not known</b>", "{}"),
                Unread("shopify", "customers/data_request", "a person asks for their data", json.dumps(person)),
            ],
            NOW,
        )  # fmt: skip
    log_in(small)

    def press(reason: str, do: str) -> str:
        page = small.client.get("/house")
        with small.site.database.read() as connection:
            (entry,) = (each.newest for each in inbox.waiting(connection) if each.reason == reason)
        told = {"mark": mark_in(page), "entry": entry, "do": do}
        assert small.client.post("/house/unread", data=told).status_code == 303
        return small.client.get("/house").text

    page = small.client.get("/house").text
    assert "&lt;b&gt;not known" in page
    assert "a person asks for their data" in page
    assert "failed here" not in press("failed here", "retry")
    assert len(small.events("tea_poured")) == 3
    assert "not known" not in press("<b>not known</b>", "drop")
    assert "a person asks for their data" in small.client.get("/house").text


def test_a_hostile_name_is_only_text(small: Serving) -> None:
    """Whatever a customer calls themselves is shown as text: in the list, on their page, and in what was searched for."""
    told = {
        "external_id": "c2",
        "email": "eve@example.org",
        "first_name": HOSTILE,
        "updated_at": "2026-01-01T00:00:00Z",
    }
    ingest_rows(small.site.database, "customers", [told], settings=small.site.settings, now=NOW)
    log_in(small)
    page = small.client.get("/house/customers")
    found = small.client.post("/house/customers", data={"mark": mark_in(page), "q": HOSTILE + "nobody"})
    for answer in (page, found, small.client.get("/house/customers/2")):
        assert answer.status_code == 200
        assert "<script" not in answer.text
        assert "<img" not in answer.text
        assert "&lt;script&gt;" in answer.text


@pytest.mark.parametrize("asked", ["ann@example.test", "c1", "Ann", "an"])
def test_a_customer_is_found(small: Serving, asked: str) -> None:
    """An address, an id, or the beginning of a name leads to the customer, and stands in no address line."""
    log_in(small)
    mark = mark_in(small.client.get("/house/customers"))
    answer = small.client.post("/house/customers", data={"mark": mark, "q": asked})
    assert answer.headers.get("location") == "/house/customers/1"


@pytest.mark.parametrize("asked", ["佐藤", "佐藤結衣", "佐藤 結衣", "結衣 佐藤"])
def test_a_name_in_han_is_found_and_shown_family_first(small: Serving, asked: str) -> None:
    """However a name in Han is typed it is found, and the page says it as its readers write it."""
    person = {"external_id": "yui", "first_name": "結衣", "last_name": "佐藤"}
    ingest_rows(small.site.database, "customers", [person], settings=small.site.settings, now=NOW)
    log_in(small)
    mark = mark_in(small.client.get("/house/customers"))
    found = small.client.post("/house/customers", data={"mark": mark, "q": asked}, follow_redirects=True)
    assert "佐藤結衣" in found.text


def test_pages_stand_on_both_databases(database: Database, tmp_path: Path) -> None:
    """Every page answers, a search finds, and a button works, on SQLite and on PostgreSQL."""
    settings = make_project(tmp_path)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    tell(database, settings, START)
    apply(database, settings, now=START, who="test")
    with serving(settings, database) as served:
        log_in(served)
        for page in (
            *PAGES,
            "/house/flows",
            "/house/flows/lapse",
            "/house/customers/1/why/cart",
            "/house/mails",
            "/house/mails/note",
            "/house/reports",
        ):
            assert served.client.get(page).status_code == 200, page
        mark = mark_in(served.client.get("/house/customers"))
        found = served.client.post("/house/customers", data={"mark": mark, "q": "c39@ex"})
        assert found.status_code == 303
        served.client.post("/house/flows/cart", data={"mark": mark, "do": "pause"})
        assert "Paused" in served.client.get("/house/flows/cart").text


def test_a_flow_that_waits_though_nobody_stopped_it_is_told(sqlite_url: str, tmp_path: Path) -> None:
    """Today names each flow that is held back, with the reason and what to do, beside paused and frozen ones."""
    settings, database = make_project(tmp_path), connect(sqlite_url)
    tell(database, settings, START)
    apply(database, settings, now=START, who="test")
    (tmp_path / "flows" / "segments.yaml").write_text(
        "staff: [{customer: {country: FR}}]\n", encoding="utf-8"
    )
    with (tmp_path / "homing.toml").open("a", encoding="utf-8") as file:
        file.write('[policy]\nexclude = ["staff"]\n')
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings_module.load(tmp_path), database) as served:
        log_in(served)
        page = served.client.get("/house").text
    database.close()
    assert page.count("waits: [policy] exclude names staff, which is not applied") == 3


def test_the_house_stands_behind_a_proxys_path(sqlite_url: str, tmp_path: Path) -> None:
    """Served under a path, every link, form, redirect and cookie of the house stays under it."""
    settings = settings_at(tmp_path)
    database = connect(sqlite_url)
    small_shop(database, settings)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database, root_path="/mail") as served:
        answer = served.client.get("/house")
        assert answer.headers["location"] == "/mail/house/login"
        login = served.client.get("/house/login")
        assert "Path=/mail/house" in login.headers["set-cookie"]
        assert not re.search(r'(?:href|action|src)="/(?!mail/)', login.text)
    database.close()


def test_a_slash_more_leads_to_the_same_page(small: Serving) -> None:
    """`/house/` leads to `/house` by its path alone, whatever host a request names."""
    log_in(small)
    answer = small.client.get("/house/", headers={"host": "evil.test"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, "/house")


def test_a_customer_who_does_not_exist_is_a_page(small: Serving) -> None:
    """A number of nobody is answered 404, without a traceback."""
    log_in(small)
    assert small.client.get("/house/customers/99").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *(f"{place}/{number}" for place in ("customers", "messages") for number in ("9" * 18, "9" * 20, "9" * 200)),
        "messages/" + "9" * 20 + "/frame", "customers/" + "9" * 20 + "/why/hello", "customers/1/why/nope",
        "customers/1/why/hello%00", "customers/-1", "flows/nope", "mails/nope", "files/nope", "reports/nope",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(small: Serving, path: str) -> None:
    """A number that no database counts to, or a flow that was never applied, is answered 404: nothing failed."""
    log_in(small)
    assert small.client.get(f"/house/{path}").status_code == 404
