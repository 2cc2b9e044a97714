"""Clicks and opens by our own links: from a mail that went out to the customer's story, machines told from people."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from datetime import timedelta
from html import escape
from pathlib import Path

import pytest
from sqlalchemy import select, update

from engine import settings as settings_module
from engine.facts import rights
from engine.facts.finding import find_customer
from engine.render.links import SignedLinks
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import delivery_events, messages
from engine.web.house.customers import story
from engine.web.house.password import set_password
from engine.web.links.looks import Look, Looks, take_looks
from tests.integration.living_shop import make_project, prepare
from tests.integration.test_house import PASSWORD, log_in
from tests.integration.web_server import (
    KEY,
    NOW,
    SETTINGS,
    Serving,
    serving,
    settings_at,
    small_shop,
)

PERSON = {
    "user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"
}
TARGETS = ["https://kiyomi.test/tea?a=1&b=2", "https://kiyomi.test/", "https://kiyomi.test/three"]
LATER = NOW + timedelta(hours=2)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over a small shop whose mail has three counted links and was handed over two hours ago."""
    settings = settings_at(tmp_path, SETTINGS + "track_clicks = true\ntrack_opens = true\n")
    small_shop(database, settings)
    with database.write() as connection:
        connection.execute(update(messages).values(content={"links": TARGETS}))
    with serving(settings, database) as served:
        yield served


def links(served: Serving) -> SignedLinks:
    """Return what makes the links of the small shop's mail, on this server."""
    with served.site.database.write() as connection:
        return SignedLinks(served.url, meta.link_secrets(connection)[0], KEY, 1, "reminders")


def told(served: Serving) -> list[tuple[str, bool]]:
    """Return what was kept of looks: kind, and whether a machine did it."""
    with served.site.database.read() as connection:
        rows = connection.execute(select(delivery_events).order_by(delivery_events.c.id)).all()
    return [(row.kind, row.machine) for row in rows]


def written(served: Serving) -> None:
    """Write what was gathered, without waiting."""
    looks: Looks = served.state.looks
    looks.write(all_of_them=True)


def test_a_click_leads_to_the_stored_address_only(shop: Serving) -> None:
    """A link leads where the mail said; a number too many leads to the shop, a forged token and any query nowhere else."""
    made = links(shop)
    answers = [shop.client.get(made.click(number), headers=PERSON) for number in (0, 2, 9)]
    assert [answer.status_code for answer in answers] == [302, 302, 302]
    assert [answer.headers["location"] for answer in answers] == [
        TARGETS[0],
        TARGETS[2],
        "https://kiyomi.test",
    ]
    asked = shop.client.get(made.click(1) + "?url=https://evil.test&next=//evil.test", headers=PERSON)
    assert asked.headers["location"] == TARGETS[1]
    forged = SignedLinks(shop.url, b"x" * 32, KEY, 1, "reminders")
    for url in (
        forged.click(0),
        made.click(0)[:-1],
        made.open().replace("/o/", "/r/"),
        shop.url + "/r/https:%2f%2fevil.test",
    ):
        answer = shop.client.get(url, headers=PERSON)
        assert answer.status_code == 404
        assert "location" not in answer.headers


def test_a_persons_click_and_open_become_facts_and_part_of_the_story(shop: Serving) -> None:
    """What a person did is a fact for conditions and a line of the customer's story; told again it stays one."""
    made = links(shop)
    for _ in range(3):
        shop.client.get(made.click(0), headers=PERSON)
        shop.client.get(made.open(), headers=PERSON)
        written(shop)
    assert sorted(told(shop)) == [("clicked", False), ("opened", False)]
    assert len(shop.events("mail_clicked")) == len(shop.events("mail_opened")) == 1
    with shop.site.database.write() as connection:
        set_password(connection, PASSWORD)
    log_in(shop)
    assert escape(TARGETS[0]) in shop.client.get("/house/messages/1").text
    with shop.site.database.read() as connection:
        lines = [line["words"] for line in story(connection, 1, "UTC")]
    assert [words for words in lines if words.startswith(("clicked", "opened"))]


@pytest.mark.parametrize(
    "headers",
    [
        {"user-agent": "Mozilla/5.0"},
        {
            "user-agent": "Mozilla/5.0 (Windows NT 10.0) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
        },
        {"user-agent": "Barracuda Sentinel (EE)"},
        {"user-agent": ""},
        PERSON | {"sec-purpose": "prefetch"},
    ],
)
def test_machines_are_marked_and_decide_nothing(shop: Serving, headers: dict[str, str]) -> None:
    """Apple's privacy proxy, Gmail's fetching ahead, gateways and prefetching browsers make no fact."""
    made = links(shop)
    shop.client.get(made.click(0), headers=headers)
    shop.client.get(made.open(), headers=headers)
    written(shop)
    assert sorted(told(shop)) == [("clicked", True), ("opened", True)]
    assert not shop.events("mail_clicked")
    assert not shop.events("mail_opened")


def test_who_opens_every_link_at_once_is_a_scanner(shop: Serving) -> None:
    """A scanner that calls itself a browser is known by its haste, also when it comes to two processes."""
    made = links(shop)
    for number in range(3):
        shop.client.get(made.click(number), headers=PERSON)
    written(shop)
    assert told(shop) == [("clicked", True)] * 3
    now = shop.site.now()
    take_looks(shop.site, [Look(KEY, "clicked", 7, now, machine=False)])
    assert told(shop)[-1] == ("clicked", True)
    assert not shop.events("mail_clicked")


def test_who_looks_right_after_the_hand_over_is_a_machine(shop: Serving) -> None:
    """Nobody reads a mail in the second in which it leaves."""
    take_looks(shop.site, [Look(KEY, "opened", 0, NOW + timedelta(seconds=3), machine=False)])
    take_looks(shop.site, [Look(KEY, "opened", 0, LATER, machine=False)])
    assert told(shop) == [("opened", True), ("opened", False)]


def test_ten_thousand_scans_are_a_handful_of_rows(shop: Serving) -> None:
    """HEAD, and a reader who asks not to be followed, leave nothing; a flood of clicks leaves one row a link and day."""
    made = links(shop)
    shop.client.head(made.click(0), headers=PERSON)
    shop.client.get(made.click(0), headers=PERSON | {"sec-gpc": "1"})
    written(shop)
    assert told(shop) == []
    now = shop.site.now()
    for _ in range(20):
        take_looks(shop.site, [Look(KEY, "clicked", n % 3, now, machine=True) for n in range(500)])
    assert told(shop) == [("clicked", True)] * 3


def test_an_erased_customer_is_not_followed(shop: Serving) -> None:
    """After erasure old links lead to the shop, and nothing is written."""
    made = links(shop)
    with shop.site.database.write() as connection:
        rights.erase(connection, 1, now=NOW)
    assert shop.client.get(made.click(0), headers=PERSON).headers["location"] == "https://kiyomi.test"
    shop.client.get(made.open(), headers=PERSON)
    written(shop)
    assert told(shop) == []


def _sent(root: Path, sqlite_url: str, more: str) -> tuple[str, str]:
    make_project(root)
    path = root / "homing.toml"
    path.write_text(path.read_text() + f'[web]\nurl = "https://mail.kiyomi.test"\n{more}')
    template = root / "templates" / "hello.mjml"
    template.write_text(template.read_text().replace("Hello.", '<a href="https://kiyomi.test/tea">Tea</a>'))
    living = prepare(root, sqlite_url, signed_up=1)
    assert living.homing("tick").returncode == 0
    (path,) = (root / "mailbox" / "new").glob("*")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html is not None
    assert text is not None
    return html.get_content(), text.get_content()


@pytest.mark.parametrize("tracked", [False, True])
def test_only_a_shop_that_wants_it_counts(sqlite_url: str, tmp_path: Path, *, tracked: bool) -> None:
    """Without the setting a mail holds its plain links; with it the HTML holds ours, and the text part the plain ones."""
    html, text = _sent(tmp_path, sqlite_url, "track_clicks = true\ntrack_opens = true\n" if tracked else "")
    assert ("https://kiyomi.test/tea" in html) is not tracked
    assert bool(re.search(r"https://mail\.kiyomi\.test/r/[\w-]+", html)) is tracked
    assert bool(re.search(r"https://mail\.kiyomi\.test/o/[\w-]+", html)) is tracked
    assert "https://kiyomi.test/tea" in text


def test_the_mail_in_the_browser_counts_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """The page of a sent mail has its plain links, whatever the mail itself had."""
    html, _ = _sent(tmp_path, sqlite_url, "track_clicks = true\n")
    found = re.search(r"/r/([\w-]+)", html)
    assert found is not None
    from engine.store.database import connect  # noqa: PLC0415

    database = connect(sqlite_url)
    with serving(settings_module.load(tmp_path), database) as served:
        assert (
            served.client.get(f"/r/{found[1]}", headers=PERSON).headers["location"]
            == "https://kiyomi.test/tea"
        )
        with database.write() as connection:
            customer = find_customer(connection, "c0")
            key = connection.scalar(select(messages.c.key))
            assert customer is not None
            made = SignedLinks(served.url, meta.link_secrets(connection)[0], str(key), customer, "offers")
        page = served.client.get(made.view_in_browser())
        assert "https://kiyomi.test/tea" in page.text
        assert "/r/" not in page.text
    database.close()
