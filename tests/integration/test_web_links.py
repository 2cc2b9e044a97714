"""The pages that mails link to, asked by a real client over a real socket."""

from __future__ import annotations

import email
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import func, select, update

from engine.deploy.pictures import names
from engine.facts import rights
from engine.facts.finding import find_customer
from engine.facts.ingest import ingest_rows
from engine.facts.profile import consent_standing
from engine.facts.rights import record_consent
from engine.policy.wishes import snoozes_of
from engine.runtime.installation import LIVE_FINGERPRINT, fingerprint
from engine.settings import Delivery
from engine.store import meta
from engine.store.database import Database
from engine.store.tables import consents, customers, enrollments, erased, events, messages, metadata
from tests.integration.web_server import (
    NOW,
    Serving,
    links_of,
    serving,
    settings_at,
    small_served,
    small_shop,
)

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over a small shop, on SQLite and on PostgreSQL."""
    settings = settings_at(tmp_path)
    small_shop(database, settings)
    with serving(settings, database) as served:
        yield served


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over a small shop on SQLite."""
    with small_served(sqlite_url, tmp_path) as served:
        yield served


def path_of(url: str) -> str:
    """Return the path of a link, as a proxy in front of the server would ask for it."""
    return urlsplit(url).path


def standing(served: Serving) -> dict[str, str]:
    """Return how the customer stands to each topic."""
    with served.site.database.read() as connection:
        found = find_customer(connection, "c1")
        assert found is not None
        return consent_standing(connection, found)


def rows(served: Serving) -> dict[str, int]:
    """Return how many rows every table has."""
    with served.site.database.read() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }


def letters(served: Serving) -> list[str]:
    """Return the texts of the mails in the local mailbox."""
    found = []
    for path in sorted((served.site.settings.root / "mailbox" / "new").glob("*")):
        body = email.message_from_bytes(path.read_bytes()).get_payload()[0]  # type: ignore[index]
        found.append(body.get_payload(decode=True).decode())  # type: ignore[union-attr]
    return found


def test_one_click_unsubscribes(shop: Serving) -> None:
    """RFC 8058: a POST as a form ends the topic, is answered 200 without redirect or cookie, and stands in the ledger."""
    url = path_of(links_of(shop.site, 1).unsubscribe())
    answer = shop.client.post(url, data=ONE_CLICK)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert standing(shop).get("reminders") == "withdrawn"
    assert standing(shop).get("all") == "granted"
    (fact,) = shop.events("consent_withdrawn")
    assert fact["properties"]["source"] == "one-click unsubscribe (RFC 8058)"
    assert fact["properties"]["wording"]


@pytest.mark.parametrize(
    "how",
    [{"files": {"List-Unsubscribe": (None, "One-Click")}}, {"content": b""}, {"content": b"\xff\x00garbage"},
     {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=x"}}],
    ids=["multipart", "empty", "garbage", "broken multipart"],
)  # fmt: skip
def test_every_post_to_a_good_link_unsubscribes(small: Serving, how: dict[str, object]) -> None:
    """Multipart, or a body that nobody can read: the intent is plain."""
    answer = small.client.post(path_of(links_of(small.site, 1).unsubscribe()), **how)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert standing(small).get("reminders") == "withdrawn"


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.web])])
def test_scanners_change_nothing(small: Serving, count: int) -> None:
    """Thousands of GET and HEAD requests to all links of a mail, as scanners make them, leave every table as it was."""
    links = links_of(small.site, 1)
    small.client.post("/signup", data={"email": "new@example.test", "topic": "offers", "consent": "1"})
    small.client.post(path_of(links.preferences()), data={"do": "data"})
    mailed = [
        path_of(word) for text in letters(small) for word in text.split() if "/c/" in word or "/d/" in word
    ]
    assert len(mailed) == 2
    urls = mailed + [
        path_of(url)
        for url in (
            links.unsubscribe(), links.preferences(), links.answer("survey_answered", survey="nps", score=9), links.snooze(14),
        )
    ]  # fmt: skip
    before = rows(small)
    for _ in range(count // 2 // len(urls)):
        for url in urls:
            assert small.client.get(url).status_code == 200
            assert small.client.head(url).status_code == 200
    assert rows(small) == before


def test_a_person_may_stop_everything(small: Serving) -> None:
    """The page offers the topic and all marketing; the second press of a button writes nothing new."""
    url = path_of(links_of(small.site, 1).unsubscribe())
    page = small.client.get(url)
    assert "Stop “Reminders”" in page.text
    assert "<script" not in page.text
    for _ in range(2):
        assert small.client.post(url, data={"stop": "all"}).status_code == 200
    assert standing(small)["all"] == "withdrawn"
    assert len(small.events("consent_withdrawn")) == 1


def test_forged_and_swapped_tokens_do_nothing(small: Serving) -> None:
    """Another letter, another byte, no token: the same page, 404, and nothing changes."""
    good = path_of(links_of(small.site, 1).unsubscribe()).removeprefix("/u/")
    swapped = path_of(links_of(small.site, 1).preferences()).removeprefix("/p/")
    before = rows(small)
    for bad in (good[:-1] + ("A" if good[-1] != "A" else "B"), swapped, "x", "%00", "é", "a" * 3_000):
        assert small.client.post(f"/u/{bad}", data=ONE_CLICK).status_code == 404
    assert rows(small) == before


def test_old_links_outlive_their_secret(small: Serving) -> None:
    """Links are signed with a new secret after a change; those sent before stay good for ever."""
    old = path_of(links_of(small.site, 1).unsubscribe())
    with small.site.database.write() as connection:
        meta.rotate_link_secret(connection)
        meta.rotate_link_secret(connection)
    new = path_of(links_of(small.site, 1).unsubscribe())
    assert new != old
    assert small.client.get(new).status_code == small.client.get(old).status_code == 200


@pytest.mark.parametrize(
    ("language", "words"),
    [("ja", "配信停止"), ("zh_TW", "取消訂閱"), ("zh-HK", "取消訂閱"), ("de", "Unsubscribe")],
)
def test_pages_speak_the_customers_language(small: Serving, language: str, words: str) -> None:
    """A page is in the customer's language, else the browser's, else the shop's."""
    with small.site.database.write() as connection:
        connection.execute(customers.update().values(locale=language))
    page = small.client.get(path_of(links_of(small.site, 1).unsubscribe()))
    assert words in page.text
    other = small.client.get("/u/unknown", headers={"accept-language": "ja;q=0.9, en"})
    assert 'lang="ja"' in other.text


def test_an_answer_is_a_fact(shop: Serving) -> None:
    """Pressing the button records the event with the link's facts, what was changed on the page, and a word; once."""
    url = path_of(links_of(shop.site, 1).answer("survey_answered", survey="nps", score=9, order_id="o1"))
    for text in ("lovely tea", "lovely tea"):
        assert shop.client.post(url, data={"score": "10", "text": text}).status_code == 200
    (fact,) = shop.events("survey_answered")
    told = fact["properties"]
    assert (told["survey"], told["score"], told["text"], told["order_id"]) == ("nps", 10, "lovely tea", "o1")
    assert fact["order_id"] == "o1"


def test_not_yet_moves_the_reminder(small: Serving) -> None:
    """`snooze` tells how long the product will last, by the product of the mail's enrollment."""
    with small.site.database.write() as connection:
        context = {"trigger": {"run_out_at": "2026-03-12T10:00:00+00:00"}}
        connection.execute(update(enrollments).values(context=context))
    assert small.client.post(path_of(links_of(small.site, 1).snooze(14))).status_code == 200
    (fact,) = small.events("refill_answered")
    assert (fact["sku"], fact["properties"]["days"]) == ("SEN-100", 14)
    assert fact["properties"]["remind_in"] == 14
    assert not small.events("reminder_snoozed")


def test_not_yet_keeps_a_flow_without_a_product_silent(small: Serving) -> None:
    """In any other flow the customer wants nothing of that flow for so long: told as a fact, and kept for the gate."""
    with small.site.database.write() as connection:
        connection.execute(update(enrollments).values(sku=None))
    url = path_of(links_of(small.site, 1).snooze(14))
    assert "?" in small.client.get(url).text
    assert "remind you again" not in small.client.get(url).text
    page = small.client.post(url).text
    assert "We will not write to you about this for 14 days." in page
    (fact,) = small.events("reminder_snoozed")
    with small.site.database.read() as connection:
        flow = connection.execute(select(messages.c.flow)).scalars().first()
        (told,) = connection.execute(select(customers.c.properties)).scalars()
    assert (fact["properties"]["flow"], fact["properties"]["days"]) == (flow, 14)
    until = snoozes_of(told["mail_snoozed"])[str(flow)]
    assert timedelta(days=14) - timedelta(seconds=2) < until - small.site.now() <= timedelta(days=14)


def test_preferences_record_what_changed(shop: Serving) -> None:
    """Topics, frequency, break, language and birthday: each change is a fact, and nothing else is."""
    url = path_of(links_of(shop.site, 1).preferences())
    form = {
        "topic": ["offers"], "frequency": "weekly", "pause": "30", "language": "ja", "month": "2", "day": "29", "do": "save",
    }  # fmt: skip
    page = shop.client.post(url, data=form)
    assert page.status_code == 200
    assert standing(shop)["reminders"] == "withdrawn"
    assert standing(shop)["all"] == "granted"
    with shop.site.database.read() as connection:
        row = connection.execute(select(customers)).mappings().one()
        ledger = connection.execute(select(consents.c.topic, consents.c.source, consents.c.wording)).all()
    assert (row["birthday"], row["locale"]) == ("02-29", "ja")
    assert row["properties"]["mail_frequency"] == "weekly"
    assert row["properties"]["mail_paused_until"]
    assert ("reminders", "preference page", "Reminders") in ledger
    before = rows(shop)
    shop.client.post(url, data=form)
    assert rows(shop) == before
    shop.client.post(
        url,
        data=form
        | {"topic": ["offers", "reminders"], "frequency": "", "resume": "1", "month": "", "day": ""},
    )
    with shop.site.database.read() as connection:
        row = connection.execute(select(customers)).mappings().one()
    assert standing(shop)["reminders"] == "granted"
    assert row["birthday"] is None
    assert not row["properties"]


@pytest.mark.parametrize(
    ("locale", "selected", "words"),
    [
        (None, "", "–"), ("en-GB", "en", "English"), ("de", "de", "Deutsch"), ("de-AT", "de-AT", "Deutsch (Österreich)"),
        ("fr-CA", "fr", "français"), ("zh-CN", "zh-CN", "中文 (简体, 中国)"), ("ja", "ja", "日本語"),
    ],
)  # fmt: skip
def test_saving_preferences_unchanged_changes_nothing(
    small: Serving, locale: str | None, selected: str, words: str
) -> None:
    """The customer's own language stands chosen, whichever it is; a form sent as it is shown leaves the customer as they were."""
    (small.site.settings.root / "templates" / "fr").mkdir(parents=True)
    with small.site.database.write() as connection:
        connection.execute(update(customers).values(locale=locale))
    url, before = path_of(links_of(small.site, 1).preferences()), rows(small)
    page = small.client.get(url, headers={"accept-language": "en"}).text
    assert f'<option value="{selected}" selected>{words}</option>' in page
    assert '<option value="fr"' in page
    asked = {
        "do": "save",
        "language": selected,
        "frequency": "",
        "month": "",
        "day": "",
        "topic": ["reminders", "offers"],
    }
    known = [topic for topic in small.site.settings.topics if f'value="{topic}" checked' in page]
    assert small.client.post(url, data=asked | {"topic": known}).status_code == 200
    assert rows(small) == before
    assert small.client.post(url, data=asked | {"topic": known, "language": "fr"}).status_code == 200
    with small.site.database.read() as connection:
        told = connection.scalar(select(customers.c.locale))
    assert told == (locale if selected == "fr" else "fr")


def test_no_such_day(small: Serving) -> None:
    """The 31st of June is told, and nothing changes."""
    before = rows(small)
    url = path_of(links_of(small.site, 1).preferences())
    assert small.client.post(url, data={"month": "6", "day": "31"}).status_code == 400
    assert rows(small) == before


def test_data_goes_to_the_address_only(small: Serving) -> None:
    """Whoever holds a forwarded mail can have a link mailed to its owner, and see nothing themselves."""
    url = path_of(links_of(small.site, 1).preferences())
    assert "ann@example.test" not in small.client.post(url, data={"do": "data"}).text
    (text,) = letters(small)
    link = next(
        urlsplit(word).path for word in text.split() if word.startswith("https://mail.kiyomi.test/d/")
    )
    assert small.client.get(link).status_code == 200
    copy = small.client.post(link, data={"do": "copy"})
    assert copy.json()["email"] == "ann@example.test"
    assert small.client.post(link, data={"do": "erase"}).status_code == 400
    assert small.client.post(link, data={"do": "erase", "sure": "1"}).status_code == 200
    with small.site.database.read() as connection:
        assert connection.scalar(select(customers.c.email)) is None
        assert connection.scalar(select(func.count()).select_from(erased)) == 2
    assert small.client.post(link, data={"do": "copy"}).status_code == 404
    assert small.client.get(url).status_code == 404
    unsubscribe = path_of(links_of(small.site, 1).unsubscribe())
    assert small.client.post(unsubscribe, data=ONE_CLICK).status_code == 200


def test_signing_up_takes_two_steps(small: Serving) -> None:
    """A sign-up is pending with the words that were shown, and granted by the button behind the mailed link only."""
    form = {
        "email": "New@Example.test",
        "topic": "offers",
        "consent": "1",
        "first_name": "Noa",
        "shown": "ja",
    }
    assert small.client.post("/signup", data=form | {"consent": ""}).status_code == 400
    assert small.client.post("/signup", data=form | {"email": "nobody"}).status_code == 400
    assert small.client.post("/signup", data=form | {"website": "spam"}).status_code == 200
    assert not small.events("customer_updated")
    assert small.client.post("/signup", data=form, headers={"accept-language": "ja"}).status_code == 200
    with small.site.database.read() as connection:
        new = find_customer(connection, "new@example.test")
        assert new is not None
        assert consent_standing(connection, new) == {"offers": "pending"}
        wording = connection.scalar(select(consents.c.wording).where(consents.c.customer_id == new))
    shown = small.client.get("/signup", headers={"accept-language": "ja"}).text
    assert "同意します" in (wording or "")
    assert (wording or "-") in shown
    assert 'name="shown" value="ja"' in shown
    (text,) = letters(small)
    link = next(urlsplit(word).path for word in text.split() if "/c/" in word)
    asked = small.client.get(link, headers={"accept-language": "en"})
    assert asked.status_code == 200
    with small.site.database.read() as connection:
        assert consent_standing(connection, new) == {"offers": "pending"}
    told = small.client.post(link, headers={"accept-language": "en"})
    assert told.status_code == 200
    assert {page.headers["content-language"] for page in (asked, told)} == {"ja"}
    with small.site.database.read() as connection:
        assert consent_standing(connection, new) == {"offers": "granted"}
        last = select(consents.c.wording).where(consents.c.customer_id == new).order_by(consents.c.id.desc())
        assert (connection.scalar(last.limit(1)) or "-") in asked.text


@pytest.mark.parametrize("topics", [[], [""], ["all"], ["nonsense"], ["offers", "nonsense"]])
def test_a_sign_up_is_for_what_was_chosen_only(small: Serving, topics: list[str]) -> None:
    """No topic is none, not all; one that does not exist is refused; the page has nothing ticked, and keeps what was typed."""
    page = small.client.get("/signup?topic=offers").text
    assert "checked" not in page
    assert 'value="reminders"' not in page
    before = rows(small)
    form = {"email": "new@example.test", "consent": "1", "topic": topics}
    answer = small.client.post("/signup", data=form)
    assert answer.status_code == 400
    assert 'value="new@example.test"' in answer.text
    assert ("checked" in answer.text) == ("offers" in topics)
    assert rows(small) == before


@pytest.mark.parametrize("told", ["Yes, write to me about offers.", "long " * 1_000, ""])
def test_the_words_of_a_shops_own_form_are_recorded(small: Serving, told: str) -> None:
    """A form on another page tells its words; they are kept, bounded, as that form's; nothing is made up where it tells none."""
    form = {"email": "new@example.test", "consent": "1", "topic": "offers", "wording": told}
    assert small.client.post("/signup", data=form).status_code == 200
    with small.site.database.read() as connection:
        row = connection.execute(
            select(consents).where(consents.c.customer_id == find_customer(connection, "new@example.test"))
        ).one()
    assert row.source == "sign-up form of another page, in its own words"
    assert row.wording == (told[:1_000].strip() or "the form did not tell its words")


def test_who_was_erased_comes_back_by_their_own_word_only(shop: Serving) -> None:
    """After erasure a file mails nobody; a new sign-up is granted by the mailed link and the address typed behind it."""
    told = [{"email": "ann@example.test", "consent": "offers"}]
    with shop.site.database.write() as connection:
        rights.erase(connection, 1, now=NOW)

    def found() -> int | None:
        with shop.site.database.read() as connection:
            return find_customer(connection, "ann@example.test")

    def again() -> None:
        ingest_rows(shop.site.database, "customers", told, settings=shop.site.settings, now=NOW)

    again()
    form = {"email": "ann@example.test", "topic": "offers", "consent": "1"}
    assert shop.client.post("/signup", data=form).status_code == 200
    again()
    assert found() is None
    (text,) = letters(shop)
    link = next(urlsplit(word).path for word in text.split() if "/c/" in word)
    assert "ann" not in link
    assert 'name="email"' in shop.client.get(link).text
    for wrong in ({}, {"email": "bob@example.test"}, {"email": "nothing"}):
        assert shop.client.post(link, data=wrong).status_code == 400
        assert found() is None
    assert shop.client.post(link, data={"email": "Ann@Example.test"}).status_code == 200
    number = found()
    assert number is not None
    with shop.site.database.read() as connection:
        assert consent_standing(connection, number) == {"offers": "granted"}
        wording = connection.scalar(select(consents.c.wording).where(consents.c.customer_id == number))
    assert "Offers and news" in (wording or "")
    with shop.site.database.write() as connection:
        record_consent(connection, number, "offers", "withdrawn", now=shop.site.now())
    assert shop.client.post(link, data={"email": "ann@example.test"}).status_code == 200
    with shop.site.database.read() as connection:
        assert consent_standing(connection, number) == {"offers": "withdrawn"}


def test_a_sign_up_tells_nobody_who_is_a_customer(small: Serving) -> None:
    """A known address sees the page that an unknown one sees, and gets no mail where nothing is left to confirm."""
    form = {"topic": ["offers", "reminders"], "consent": "1"}
    known = small.client.post("/signup", data=form | {"email": "ann@example.test"})
    other = small.client.post("/signup", data=form | {"email": "other@example.test"})
    assert known.text == other.text
    assert len(letters(small)) == 1


def test_every_answer_is_safe(small: Serving) -> None:
    """Every page forbids scripts, frames, sniffing, storing and referrers; unknown pages and wrong methods too."""
    for url in (
        "/",
        "/signup",
        "/u/x",
        "/healthz",
        "/assets/pages.css",
        path_of(links_of(small.site, 1).preferences()),
    ):
        answer = small.client.get(url)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-request-id"]
        assert "server" not in answer.headers
    assert small.client.delete("/signup").status_code == 405


def test_large_and_slow_bodies_are_refused(small: Serving) -> None:
    """A body over the limit is answered 413, with or without a length; the server goes on."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert small.client.post("/signup", content=b"x" * (1024 * 1024 + 1), headers=form).status_code == 413
    chunks = (b"x" * 65_536 for _ in range(20))
    assert small.client.post("/signup", content=chunks, headers=form).status_code == 413
    assert small.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("told", "path", "pieces"), [(True, "/v1/batch", 40), (False, "/v1/batch", 40), (True, "/signup", 80)]
)
def test_who_sends_too_much_still_hears_so(small: Serving, told: bool, path: str, pieces: int) -> None:
    """A client that writes several megabytes before it reads finds the answer, not a broken connection."""
    url, piece = urlsplit(small.url), b"x" * 65_536
    kind = "Content-Type: application/x-www-form-urlencoded"
    length = f"Content-Length: {pieces * len(piece)}" if told else "Transfer-Encoding: chunked"
    with socket.create_connection((url.hostname, url.port or 80), timeout=60) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{kind}\r\n{length}\r\n\r\n".encode())
        try:
            for _ in range(pieces):
                client.sendall(piece if told else b"%x\r\n%b\r\n" % (len(piece), piece))
            client.sendall(b"" if told else b"0\r\n\r\n")
            answer = client.recv(1_000)
        except ConnectionError:
            answer = b"a broken connection"
        assert answer.startswith(b"HTTP/1.1 413")


def test_who_asks_before_sending_is_told_at_once(small: Serving) -> None:
    """`Expect: 100-continue` with a length over the limit is answered before any of the body."""
    url = urlsplit(small.url)
    with socket.create_connection((url.hostname, url.port or 80), timeout=60) as client:
        head = "POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(1_000).startswith(b"HTTP/1.1 413")


def test_a_break_and_a_name_cannot_be_injected(small: Serving) -> None:
    """What a customer wrote is text on every page."""
    page = small.client.post("/signup", data={"email": '"><script>x</script>', "first_name": "<b>"})
    assert page.status_code == 400
    assert "<script" not in page.text
    assert "&lt;b&gt;" in page.text


def test_two_who_became_one_are_found_by_either_mail(small: Serving) -> None:
    """The message knows its customer: a link of a merged customer's mail ends the mails of the one that stayed."""
    links = links_of(small.site, 4711)
    assert small.client.post(path_of(links.unsubscribe()), data=ONE_CLICK).status_code == 200
    assert standing(small)["reminders"] == "withdrawn"


def test_metrics_name_no_customer(small: Serving) -> None:
    """Prometheus can read the metrics, and finds no address in them."""
    text = httpx.get(f"{small.url}/metrics").text
    assert 'homing_messages{state="accepted",reason=""} 1' in text
    assert "homing_complaint_rate 0.0" in text
    assert "@" not in text
    with small.site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(events)) == len(small.events())


def test_letters_follow_homing_live(small: Serving) -> None:
    """A server that was started in the sandbox hands letters to customers as soon as the installation is live."""
    live = replace(small.site.settings, delivery=Delivery(mode="live"))
    site = replace(small.site, settings=live)
    assert site.held_settings().delivery.mode == "sandbox"
    with site.database.write() as connection:
        meta.put(connection, LIVE_FINGERPRINT, fingerprint(live, site.database))
    assert site.held_settings().delivery.mode == "live"


def test_pictures_of_the_demo_are_served(small: Serving) -> None:
    """Every picture that travels with the program is a PNG that may be kept, and asked for again by its tag."""
    for name in names():
        answer = small.client.get(f"/images/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG")
        assert "public, max-age=604800" in answer.headers["cache-control"]
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        again = small.client.get(f"/images/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["no.png", "..%2fpictures.py", "%2e%2e/pictures.py", "whisk.PNG", ""])
def test_no_other_file_is_served(small: Serving, name: str) -> None:
    """What is no picture of ours is not there, however its path is written."""
    assert small.client.get(f"/images/{name}").status_code == 404


@pytest.mark.parametrize(
    ("locale", "title", "signed_up"),
    [
        ("ja-JP", "リマインダー", "リマインダー、おすすめと新着のお知らせ"),
        ("zh-TW", "提醒", "提醒、優惠與新訊"),
    ],
)
def test_topics_are_called_in_the_readers_language(
    small: Serving, locale: str, title: str, signed_up: str
) -> None:
    """Unsubscribing, preferences, the sign-up form and what is kept as the words agreed to name topics as the page does."""
    with small.site.database.write() as connection:
        connection.execute(update(customers).values(locale=locale))
    links = links_of(small.site, 1)
    assert title in small.client.get(path_of(links.unsubscribe())).text
    page = small.client.get(path_of(links.preferences())).text
    assert f"<span>{title}</span>" in page
    assert "Reminders" not in page
    assert (
        small.client.post(path_of(links.preferences()), data={"topic": ["offers"], "do": "save"}).status_code
        == 200
    )
    with small.site.database.read() as connection:
        assert title in connection.scalars(select(consents.c.wording)).all()
    assert title in small.client.post(path_of(links.unsubscribe()), data={"stop": "topic"}).text
    form = small.client.get("/signup", headers={"accept-language": locale}).text
    assert all(f"<span>{each}</span>" in form for each in signed_up.split("、"))
