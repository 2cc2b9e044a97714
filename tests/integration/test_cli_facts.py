"""What somebody sees who types `homing ingest` with files that are not quite right: nothing is lost without a word."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.integration.test_cli import Shop, made_shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Give a new project without a database."""
    return made_shop(tmp_path / "shop")


def write(shop: Shop, name: str, text: str) -> str:
    """Write a file of the shop and return where it lies."""
    (shop.folder / name).write_text(text, encoding="utf-8")
    return shop.file(name)


def people(*numbers: int) -> str:
    """Return plain rows of these numbers."""
    return "".join(f"{number},q{number}@x.test,N{number}\n" for number in numbers)


def test_a_quote_that_is_never_closed(shop: Shop) -> None:
    """Its row is set aside with the line and a way out, the rows below go in, and mended it goes in as well."""
    file = write(
        shop, "customers.csv", 'external_id,email,first_name\n10,q10@x.test,"Jo\n' + people(*range(11, 60))
    )
    told = shop.run("ingest", file, ends=1).output
    assert "customers.csv: 50 rows: 49 new facts" in told
    assert "row 1: first_name opens a quote in line 2 of the file that is never closed" in told
    assert "the 49 lines below were read without it; close it, or take it away" in told
    assert shop.json("customer", "show", "q20@x.test")["first_name"] == "N20"
    assert shop.json("customer", "show", "59")["first_name"] == "N59"
    shop.run("customer", "show", "10", ends=2)

    aside = shop.folder / "quarantine" / "customers.csv"
    aside.write_text(aside.read_text().replace('"""Jo"', "Jo"))
    shop.run("quarantine", "retry")
    assert shop.json("customer", "show", "10")["first_name"] == "Jo"
    assert not aside.exists()


def test_a_quote_that_the_next_name_closes(shop: Shop) -> None:
    """Customers between a stray quote and the next quoted name are not swallowed."""
    rows = '100,w100@x.test,"Jo\n' + people(*range(111, 120)) + '130,w130@x.test,"Al"\n' + people(131)
    file = write(shop, "customers.csv", "external_id,email,first_name\n" + rows)
    report = shop.json("ingest", file, ends=1)
    assert (report["read"], report["new"], report["quarantined"]) == (12, 11, 1)
    for who, name in (("111", "N111"), ("119", "N119"), ("130", "Al"), ("131", "N131")):
        assert shop.json("customer", "show", who)["first_name"] == name


def test_a_cell_that_swallowed_rows(shop: Shop) -> None:
    """Where it cannot be known whether a cell or rows are meant, all of it is set aside, and said."""
    rows = '100,w100@x.test,"Jo\n' + people(111, 112) + '113,q113@x.test,12"\n' + people(131)
    file = write(shop, "customers.csv", "external_id,email,first_name\n" + rows)
    told = shop.run("ingest", file, ends=1).output
    assert "line 2 of the file that is closed in line 5 only" in told
    with (shop.folder / "quarantine" / "customers.csv").open(newline="") as stream:
        (kept,) = csv.DictReader(stream)
    assert kept["first_name"] == "Jo\n" + people(111, 112) + "113,q113@x.test,12"
    write(shop, "customers.csv", ("external_id,email,first_name\n" + rows).replace('"Jo', "Jo"))
    assert shop.json("ingest", file)["new"] == 4


def test_line_breaks_where_text_has_them(shop: Shop) -> None:
    """Addresses and notes may have line breaks, an id or a name may not."""
    text = 'external_id,email,address,note\n1,a@x.test,"1 High St\nLondon, UK","Dear all,\n\nthanks, Ann"\n'
    assert shop.json("ingest", write(shop, "customers.csv", text))["new"] == 1
    told = shop.json("customer", "show", "1")["properties"]
    assert told == {"address": "1 High St\nLondon, UK", "note": "Dear all,\n\nthanks, Ann"}
    text = 'external_id,email,first_name\n2,b@x.test,"Bo\nBob"\n"3\n4",c@x.test,Cy\n'
    report = shop.json("ingest", write(shop, "more-customers.csv", text), ends=1)
    assert [(row["column"], row["reason"]) for row in report["files"][0]["bad_rows"]] == [
        ("first_name", "holds a line break"),
        ("external_id", "holds a line break"),
    ]


def test_ragged_rows_are_mended_and_retried(shop: Shop) -> None:
    """Rows of too few and too many cells lie below the whole header; mended to its length they go in."""
    file = write(
        shop,
        "customers.csv",
        "external_id,email,first_name\n1,a1@x.test\n2,a2@x.test,Bob\n3,a3@x.test,Cy,extra\n4\n",
    )
    shop.run("ingest", file, ends=1)
    aside = shop.folder / "quarantine" / "customers.csv"
    header, short, long, shorter = aside.read_text().splitlines()
    assert header == "row,column,reason,external_id,email,first_name"
    assert short.endswith(",1,a1@x.test")
    assert long.endswith(",3,a3@x.test,Cy,extra")
    again = shop.json("quarantine", "retry", ends=1)
    assert [row["reason"] for row in again["files"][0]["bad_rows"]] == [
        "the row has 2 cells, the header 3",
        "the row has 4 cells, the header 3",
        "the row has 1 cells, the header 3",
    ]
    assert aside.read_text().splitlines()[0] == header

    mended = [header, short + ",Ann", long.removesuffix(",extra"), shorter + ",,Dan"]
    aside.write_text("\n".join(mended) + "\n")
    assert shop.json("quarantine", "retry")["new"] == 3
    assert not aside.exists()
    names = [shop.json("customer", "show", who)["first_name"] for who in "1234"]
    assert names == ["Ann", "Bob", "Cy", "Dan"]


def test_ragged_rows_of_two_readings_stay_whole(shop: Shop) -> None:
    """What an earlier reading set aside keeps all of its cells, those beyond the header too."""
    for row in ("1,a@x.test,Ann,more,and more", "2,b@x.test"):
        shop.run("ingest", write(shop, "customers.csv", f"external_id,email,first_name\n{row}\n"), ends=1)
    kept = [
        line.split('"')[-1]
        for line in (shop.folder / "quarantine" / "customers.csv").read_text().splitlines()
    ]
    assert kept[1:] == [",2,b@x.test", ",1,a@x.test,Ann,more,and more"]


def test_a_table_with_a_reason_of_its_own(shop: Shop) -> None:
    """A column that is called as one of the quarantine's is kept beside it, and can be retried."""
    file = write(shop, "events.csv", "id,event,customer,reason,at\ne1,cancelled,c1,too dear,yesterday\n")
    shop.run("ingest", file, ends=1)
    (found,) = shop.json("quarantine", "list")["facts"]
    assert (found["column"], found["raw"]["reason"]) == ("at", "too dear")
    assert "ISO 8601" in found["reason"]
    aside = shop.folder / "quarantine" / "events.csv"
    aside.write_text(aside.read_text().replace("yesterday", "2026-02-01"))
    assert shop.json("quarantine", "retry")["new"] == 1


def test_rows_are_those_of_the_file(shop: Shop) -> None:
    """Orders of several lines are counted by their rows, and so are rows that tell several facts."""
    rows = "A,1,T1,1\nA,1,T2,1\nB,1,T1,1\nA,1,T3,1\nC,1,T1,-1\nD,1,T1,x\nD,1,T2,1\n"
    file = write(shop, "orders.csv", "order_id,customer,sku,quantity\n" + rows)
    report = shop.json("ingest", file, ends=1)
    assert (report["read"], report["new"], report["quarantined"]) == (7, 2, 2)
    text = "Email,Email Marketing Consent,Email Marketing Consent Timestamp\n" + "".join(
        f"k{number}@x.test,SUBSCRIBED,2026-01-01 10:00:00\n" for number in range(3)
    )
    report = shop.json("ingest", write(shop, "klaviyo.csv", text), "--format", "klaviyo")
    assert (report["read"], report["new"]) == (3, 6)


def test_foreign_orders_that_wait_for_the_virtual_clock(shop: Shop) -> None:
    """Orders in another currency are told of where they are taken in, though they arrive later; and once only."""
    shop.run("ingest", shop.file("products.csv"), "--now", "2026-02-01")
    rows = "".join(
        f"o{n},c1,2026-02-{n:02} 10:00,{currency},10\n"
        for n, currency in ((2, "USD"), (3, "EUR"), (4, "GBP"))
    )
    file = write(shop, "orders.csv", "order_id,customer,placed_at,currency,total\n" + rows)
    report = shop.json("ingest", file)
    assert report["staged"] == 3
    assert report["files"][0]["warnings"] == [
        "2 facts: is in another currency than EUR: it counts as an order, and not in `spent`"
    ]
    assert shop.json("ingest", file)["files"][0]["warnings"] == []
    shop.run("tick", "--until", "2026-02-10")
    found = shop.json("customer", "show", "c1")
    assert (found["orders"], found["spent"]) == (3, 10)


def test_a_foreign_order_of_which_a_part_waits(shop: Shop) -> None:
    """An order that was placed and is yet to be shipped is one foreign order, not two."""
    shop.run("ingest", shop.file("products.csv"), "--now", "2026-02-01")
    row = '{"order_id": "o1", "customer": "c1", "placed_at": "2026-01-05", "status": "shipped", "status_at": "2026-02-05", "currency": "USD", "total": 9}'
    report = shop.json("ingest", write(shop, "orders.jsonl", row + "\n"))
    (warning,) = report["files"][0]["warnings"]
    assert warning.startswith("1 fact: is in another currency")
