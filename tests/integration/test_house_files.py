"""Uploading facts in the house: seen before taken, durable once confirmed, bounded, and only by the people of the shop."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from engine.store.database import connect
from engine.store.tables import customers, orders
from engine.web.house import uploads
from engine.web.house.password import set_password
from engine.web.house.uploads import Uploads
from tests.integration.test_house import PASSWORD, log_in, mark_in, rows
from tests.integration.web_server import NOW, PATIENCE, Serving, serving, settings_at, small_shop

PEOPLE = (
    "Kundennummer,E-Mail,Vorname,Lieblingstee\nk1,bo@example.test,Bo,Sencha\nk2,cy@example.test,Cy,Hojicha\n"
)


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server with an open house over a small shop."""
    settings, database = settings_at(tmp_path), connect(sqlite_url)
    small_shop(database, settings)
    with database.write() as connection:
        set_password(connection, PASSWORD)
    with serving(settings, database) as served:
        log_in(served)
        yield served
    database.close()


def upload(
    served: Serving, content: bytes | str, name: str = "customers.csv", mark: str | None = None
) -> httpx.Response:
    """Upload a file as a browser does."""
    told = mark_in(served.client.get("/house/files")) if mark is None else mark
    body = content.encode() if isinstance(content, str) else content
    return served.client.post("/house/files", data={"mark": told}, files={"file": (name, io.BytesIO(body))})


def act(served: Serving, place: str, do: str, **more: str) -> httpx.Response:
    """Press a button on the page of an upload."""
    mark = mark_in(served.client.get(place))
    return served.client.post(place, data={"mark": mark, "do": do, **more})


def ended(served: Serving, place: str) -> str:
    """Wait until an upload is taken in; return its page."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        page = served.client.get(place)
        if "refresh" not in page.headers:
            return page.text
        time.sleep(0.05)
    raise AssertionError("the file was not taken in")


def count(served: Serving, table: object = customers) -> int:
    """Return how many rows a table has."""
    with served.site.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


LATIN = "email,first_name\nl1@example.test,Jürgen\nl2@example.test,Zoë\n"
KANA = "email,first_name\nk1@example.test,東京のはなこ\nk2@example.test,さくら\n"


@pytest.mark.parametrize(
    ("content", "encoding", "shown", "packed"),
    [
        (LATIN, "cp1252", "l1@example.test,Jürgen", False),
        (LATIN, "cp1252", "l1@example.test,Jürgen", True),
        (KANA, "cp932", "k1@example.test,東京のはなこ", False),
    ],
)
def test_a_file_that_is_not_utf8_is_read_as_what_somebody_says_it_is(
    house: Serving, content: str, encoding: str, shown: str, packed: bool
) -> None:
    """The page names the likeliest encoding first, shows a line in it, takes nothing in before, and reads it so when asked."""
    body = content.encode(encoding)
    sent, name = (gzip.compress(body), "people.csv.gz") if packed else (body, "customers.csv")
    answer = upload(house, sent, name)
    assert answer.status_code == 303
    place = answer.headers["location"]
    page = house.client.get(place)
    assert page.status_code == 200
    assert "not UTF-8" in page.text
    assert "save it as UTF-8" in page.text
    first = page.text.index('name="encoding" value="')
    assert page.text[first:].startswith(f'name="encoding" value="{encoding}"')
    assert shown in page.text
    assert act(house, place, "take").status_code == 400
    assert act(house, place, "look", encoding=encoding).status_code == 303
    assert act(house, place, "take", kind="customers").status_code == 303
    assert "Set aside" in ended(house, place)
    with house.site.database.read() as connection:
        names = set(connection.scalars(select(customers.c.first_name)))
    assert {line.partition(",")[2] for line in content.splitlines()[1:]} <= names


@pytest.mark.parametrize(
    "content",
    [
        b"\xe9mail,J\xfcrgen\n1,\xff\n",
        b"email,a\nx@example.test,\x81\x81\xff\n",
        b"email,a\nx@example.test,\x98\xff,\x81\n",  # which is text in no encoding
    ],
)
def test_a_file_of_any_bytes_can_be_looked_at_and_let_go(house: Serving, content: bytes) -> None:
    """Pages of files are shown whatever bytes a file holds, and it is let go on its page or in the list."""
    for listed in (False, True):
        place = upload(house, content).headers["location"]
        page = house.client.get(place)
        assert page.status_code == 200
        assert "not UTF-8" in page.text
        listing = house.client.get("/house/files")
        assert listing.status_code == 200
        assert f'action="{place}"' in listing.text
        mark = mark_in(listing if listed else house.client.get(place))
        dropped = house.client.post(place, data={"mark": mark, "do": "drop"})
        assert dropped.status_code == 303
        assert house.client.get(place).status_code == 404


def test_a_file_is_not_read_as_what_it_is_not(house: Serving) -> None:
    """An encoding that is unknown, or that does not fit to the end, leaves the file as it is and says so."""
    place = upload(house, LATIN.encode("cp1252")).headers["location"]
    for encoding in ("cp932", "rot13"):
        answer = act(house, place, "look", encoding=encoding)
        assert answer.status_code == 400
    assert "not UTF-8" in house.client.get(place).text


def test_a_file_is_seen_mapped_and_then_taken_in(house: Serving) -> None:
    """Nothing is taken in by uploading; columns that are nearly ours are found, others can be named; then facts are there."""
    place = upload(house, PEOPLE).headers["location"]
    page = house.client.get(place).text
    assert "bo@example.test" in page
    assert '<option value="email" selected>' in page
    assert count(house) == 1
    assert (
        act(
            house, place, "look", kind="customers", map0="external_id", map1="email", map2="first_name"
        ).status_code
        == 303
    )
    answer = act(house, place, "take", kind="customers", map0="external_id", map1="email", map2="first_name")
    assert answer.headers["location"] == place
    assert "New facts</dt><dd>2" in ended(house, place)
    with house.site.database.read() as connection:
        row = connection.execute(select(customers).where(customers.c.external_id == "k1")).one()
    assert (row.email, row.first_name, row.properties["Lieblingstee"]) == ("bo@example.test", "Bo", "Sencha")


def test_exports_of_shops_are_known_by_their_columns(house: Serving) -> None:
    """An export of Shopify or Klaviyo needs no naming of columns."""
    shopify = "Name,Email,Created at,Currency,Total,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku\n#1001,ann@example.test,2026-02-01 10:00:00 +0100,EUR,20.00,1,Sencha,20.00,SEN\n"
    place = upload(house, shopify, "export.csv").headers["location"]
    assert "an export of Shopify" in house.client.get(place).text
    act(house, place, "take")
    ended(house, place)
    assert count(house, orders) == 1
    klaviyo = "Email,First Name,Email Marketing Consent\ndo@example.test,Do,SUBSCRIBED\n"
    assert (
        "an export of Klaviyo"
        in house.client.get(upload(house, klaviyo, "people.csv").headers["location"]).text
    )


def test_a_file_is_known_by_what_is_in_it(house: Serving) -> None:
    """A name that ends otherwise than the file is written stands in nobody's way: the page offers no choice of a format."""
    lines = '{"external_id": "j1", "email": "jo@example.test"}\n'
    for content, name in ((lines, "customers.csv"), (PEOPLE, "customers.jsonl")):
        page = house.client.get(upload(house, content, name).headers["location"]).text
        assert 'role="alert"' not in page
        assert "@example.test" in page
    calls = (
        '{"type": "identify", "messageId": "m1", "userId": "s1", "traits": {"email": "su@example.test"}}\n'
    )
    assert "calls of Segment" in house.client.get(upload(house, calls, "calls.txt").headers["location"]).text
    shopify = "Name,Email,Lineitem sku,Lineitem price\n#1,ann@example.test,SEN,20.00\n"
    page = house.client.get(upload(house, shopify, "orders.json").headers["location"]).text
    assert "an export of Shopify" in page


def test_bad_rows_are_shown_before_and_set_aside_after(house: Serving) -> None:
    """What cannot be read is told with its row and reason, taken in are the others, and the page of files keeps showing it."""
    place = upload(house, PEOPLE + "k3,no address,Di,Matcha\n").headers["location"]
    assert "2 of 3 first rows can be read" in house.client.get(place).text
    mapped = {"map0": "external_id", "map1": "email", "map2": "first_name"}
    act(house, place, "take", kind="customers", **mapped)
    assert "quarantine/customers.csv" in ended(house, place)
    assert count(house) == 3
    listed = house.client.get("/house/files").text
    assert "customers.csv" in listed
    assert "Rows set aside" in listed


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n", b"%PDF-1.7 x", b"\x1f\x8bbroken", b"a,a\n1,2\n", b"nothing\nknown\n"]
)
def test_what_is_no_file_of_facts_is_told_plainly(house: Serving, content: bytes) -> None:
    """Whatever is uploaded, a sentence says what is wrong, and nothing is taken in."""
    answer = upload(house, content, "facts.csv")
    if answer.status_code == 303:
        place = answer.headers["location"]
        assert 'role="alert"' in house.client.get(place).text
        assert act(house, place, "take", kind="customers").status_code == 400
    else:
        assert answer.status_code == 400
    assert count(house) == 1


def test_only_visitors_upload_and_only_from_our_own_page(house: Serving) -> None:
    """Without a visit, with a forged mark, or from another site nothing is kept."""
    assert upload(house, PEOPLE, mark="0" * 64).status_code == 403
    mark = mark_in(house.client.get("/house/files"))
    foreign = house.client.post(
        "/house/files", data={"mark": mark}, files={"file": ("a.csv", b"email\n")}, headers={"origin": "https://evil.test"}
    )  # fmt: skip
    assert foreign.status_code == 403
    house.client.cookies.clear()
    answer = house.client.post("/house/files", files={"file": ("a.csv", PEOPLE.encode())})
    assert answer.headers["location"] == "/house/login"
    assert not Uploads(house.site.settings.root).all()


def test_a_name_leads_nowhere_else(house: Serving) -> None:
    """A file lies in its own folder whatever it is called, and an address of an upload opens no other file."""
    upload(house, PEOPLE, "../../../homing.toml")
    (kept,) = Uploads(house.site.settings.root).all()
    assert Uploads(house.site.settings.root).path(kept).parent.parent == house.site.settings.root / "uploads"
    for name in ("%2e%2e", "..%2f..%2fhoming.toml", "0" * 16):
        assert house.client.get(f"/house/files/{name}").status_code in (303, 404)


def test_sizes_and_numbers_are_bounded(house: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large, packed or unpacked, and one too many are refused, and leave nothing behind."""
    monkeypatch.setattr(uploads, "LARGEST", 1_000)
    assert upload(house, PEOPLE * 100).status_code == 400
    monkeypatch.setattr(uploads, "LARGEST_UNPACKED", 100_000)
    assert upload(house, gzip.compress(b"email\n" + b"x" * 200_000), "bomb.csv.gz").status_code == 400
    monkeypatch.setattr(uploads, "LARGEST_ARRAY", 10)
    assert upload(house, b'[{"email": "bo@example.test"}]', "list.json").status_code == 400
    assert not list((house.site.settings.root / "uploads").iterdir())
    monkeypatch.setattr(uploads, "MOST_OPEN", 1)
    assert upload(house, PEOPLE).status_code == 303
    assert upload(house, PEOPLE).status_code == 400


def test_a_confirmed_file_outlives_the_program(house: Serving) -> None:
    """A file that was confirmed and not finished is taken in by the next program, once, and changes nothing twice."""
    site = house.site
    uploads = Uploads(site.settings.root)
    kept = uploads.add(
        io.BytesIO(PEOPLE.replace("Kundennummer,E-Mail", "external_id,email").encode()), "people.csv", NOW
    )
    uploads.keep(replace(kept, state="confirmed", kind="customers", format="csv"))
    again = Uploads(site.settings.root)
    with again.held(kept) as held:
        assert held
        assert uploads.take_next(site.database, site.settings, NOW) is None
    done = again.take_next(site.database, site.settings, NOW)
    assert done is not None
    assert (done.state, done.report["new"]) == ("taken", 2)
    assert again.take_next(site.database, site.settings, NOW) is None


def test_looking_at_a_file_writes_no_fact(house: Serving) -> None:
    """The page of an upload can be asked for as often as one likes: no row of the database changes."""
    place = upload(house, PEOPLE).headers["location"]
    before = rows(house)
    for _ in range(3):
        assert house.client.get(place).status_code == 200
        assert house.client.get("/house/files").status_code == 200
    assert rows(house) == before
