"""Files become rows: formats, names of columns, kinds, and whatever real files do wrong."""

from __future__ import annotations

import gzip
import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from engine.errors import OutsideError, UsageError
from engine.facts import json_texts
from engine.facts.fact import BadRow, Kind, Row
from engine.facts.json_texts import json_rows
from engine.facts.readers import detect_kind, group_lines, open_source


def rows_of(path: Path, **how: Any) -> list[Row | BadRow]:
    """Return the rows of a file."""
    return list(open_source(path, **how).rows())


def values_of(path: Path, **how: Any) -> list[Any]:
    """Return the values of a file's rows, all of which are good."""
    return [row.values for row in rows_of(path, **how) if isinstance(row, Row)]


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and return it."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("id,email\nc1,a@x.test\n", "utf-8"),
        ("id;email\nc1;a@x.test\n", "utf-8-sig"),
        ("id\temail\r\nc1\ta@x.test\r\n", "utf-16"),
    ],
)
def test_csv(tmp_path: Path, text: str, encoding: str) -> None:
    """Commas, semicolons and tabs, byte order marks and gzip are seen by themselves."""
    plain = write(tmp_path / "customers.csv", text.encode(encoding))
    zipped = write(tmp_path / "customers.csv.gz", gzip.compress(text.encode(encoding)))
    for path in (plain, zipped):
        assert values_of(path, mapping={"id": "external_id"}) == [{"external_id": "c1", "email": "a@x.test"}]


def test_json_lines(tmp_path: Path) -> None:
    """JSON Lines give Decimals for numbers with a fraction; a row may name its own kind; a whole array is taken too."""
    text = (
        '{"event": "x", "value": 12.50}\n\n{"kind": "orders", "order_id": "o1"}\nnonsense\n{"a": NaN}\n[1]\n'
    )
    first, second, *bad = rows_of(write(tmp_path / "events.jsonl", text))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.values["value"] == Decimal("12.50")
    assert second.kind == "orders"
    assert [(row.number, isinstance(row, BadRow)) for row in bad] == [(4, True), (5, True), (6, True)]
    assert values_of(write(tmp_path / "products.json", '[{"sku": "T"}]')) == [{"sku": "T"}]


def test_parquet(tmp_path: Path) -> None:
    """Parquet gives the same rows, through gzip too; what is null in a column is not told."""
    table = pa.table(
        {
            "order_id": ["o1", "o2"],
            "total": pa.array([Decimal("1.50"), None]),
            "lines": [[{"sku": "T"}], None],
        }
    )
    parquet.write_table(table, tmp_path / "orders.parquet")
    zipped = write(tmp_path / "orders.parquet.gz", gzip.compress((tmp_path / "orders.parquet").read_bytes()))
    for path in (tmp_path / "orders.parquet", zipped):
        assert values_of(path) == [
            {"order_id": "o1", "total": Decimal("1.50"), "lines": [{"sku": "T"}]},
            {"order_id": "o2"},
        ]


def test_parquet_that_is_none(tmp_path: Path) -> None:
    """A file that is no parquet says so in a sentence."""
    with pytest.raises(OutsideError, match="no parquet file"):
        rows_of(write(tmp_path / "orders.parquet", b"nonsense" * 10), kind="orders")


@pytest.mark.parametrize(
    ("name", "columns", "kind"),
    [
        ("customers.csv", [], "customers"),
        ("2026-03 Customer export.csv", [], "customers"),
        ("order.jsonl.gz", [], "orders"),
        ("a.csv", ["order_id", "sku"], "orders"),
        ("a.csv", ["cart_id", "customer"], "carts"),
        ("a.csv", ["event", "customer"], "events"),
        ("a.csv", ["customer", "topic", "state"], "consents"),
        ("a.csv", ["sku", "title"], "products"),
        ("a.csv", ["email"], "customers"),
    ],
)
def test_kinds(name: str, columns: list[str], kind: Kind) -> None:
    """What a file holds is told by its name, else by its columns."""
    assert detect_kind(Path(name), columns) == kind


def test_wrong_usage(tmp_path: Path) -> None:
    """What a file holds, and how, must be clear; the likely name is offered."""
    path = write(tmp_path / "a.csv", "foo,bar\n1,2\n")
    with pytest.raises(UsageError, match="--as"):
        open_source(path)
    with pytest.raises(UsageError, match='did you mean "orders"'):
        open_source(path, kind="order")
    with pytest.raises(UsageError, match='did you mean "jsonl"'):
        open_source(path, format="json")
    with pytest.raises(UsageError, match='did you mean "foo"'):
        open_source(path, kind="events", mapping={"fo": "event"})
    with pytest.raises(UsageError, match="two columns"):
        open_source(path, kind="events", mapping={"foo": "bar"})
    with pytest.raises(UsageError, match="twice"):
        rows_of(write(tmp_path / "b.csv", "email,email\n1,2\n"), kind="customers")
    with pytest.raises(OutsideError):
        open_source(tmp_path / "missing.csv")


def test_a_file_cut_off(tmp_path: Path) -> None:
    """A gzipped file that ends in the middle gives its rows so far, and then says so."""
    whole = gzip.compress(b"external_id\n" + b"".join(b"c%d\n" % number for number in range(500_000)))
    path = write(tmp_path / "customers.csv.gz", whole[: len(whole) // 2])
    seen: list[Row | BadRow] = []
    with pytest.raises(OutsideError, match="cannot be read to its end"):
        seen.extend(open_source(path).rows())
    assert len(seen) > 1_000


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    """Ragged, giant and undecodable rows are set aside one by one; the rest goes on."""
    big = b"x" * 1_100_000
    path = write(
        tmp_path / "customers.csv",
        b"external_id,email\nc1,a@x.test,more\nc2\n\nc3," + big + b"\nc4,d@x.test\n",
    )
    rows = rows_of(path)
    assert [isinstance(row, BadRow) for row in rows] == [True, True, True, False]
    giant = rows_of(write(tmp_path / "events.jsonl", b'{"event": "' + big + b'"}\n{"event": "x"}\n'))
    assert [isinstance(row, BadRow) for row in giant] == [True, False]


def test_lines_of_one_order(tmp_path: Path) -> None:
    """One line a row: the rows of one order belong together wherever they stand; a status is a telling of its own."""
    path = write(
        tmp_path / "orders.csv",
        "order_id,customer,status,sku,quantity,price\no1,c1,placed,T1,1,2\no1,c1,placed,T2,1,3\no2,c2,placed,T1,2,2\no1,c1,placed,T3,1,4\no1,c1,cancelled,,,\n",
    )
    found = {
        (row.values["order_id"], row.values["status"]): row for row in rows_of(path) if isinstance(row, Row)
    }
    assert len(found) == 3
    assert [line["sku"] for line in found["o1", "placed"].values["lines"]] == ["T1", "T2", "T3"]
    assert found["o1", "placed"].numbers == (1, 2, 4)
    assert "lines" not in found["o1", "cancelled"].values


def test_lines_of_one_cart(tmp_path: Path) -> None:
    """One line a row holds for carts too: each moment of a cart is a telling of its own, and no product an emptied one."""
    path = write(
        tmp_path / "carts.csv",
        "cart_id,customer,updated_at,sku,quantity,price\nk1,c1,2026-03-01,T1,1,2\nk1,c1,2026-03-01,T2,2,3\nk2,c2,2026-03-01,T1,1,2\nk1,c1,2026-03-02,,,\n",
    )
    found = {
        (row.values["cart_id"], row.values["updated_at"]): row
        for row in rows_of(path)
        if isinstance(row, Row)
    }
    assert [line["sku"] for line in found["k1", "2026-03-01"].values["lines"]] == ["T1", "T2"]
    assert found["k1", "2026-03-02"].values["lines"] == []
    assert set(found["k2", "2026-03-01"].values) == {"cart_id", "customer", "updated_at", "lines"}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["T1", "T2"])), max_size=30))
def test_grouping_loses_no_line(lines: list[tuple[str, str]]) -> None:
    """Every line of every order comes out once, in its place, in one row for each order."""
    given_rows = [
        Row(number, {"order_id": order, "sku": sku}, None, ({"order_id": order, "sku": sku},))
        for number, (order, sku) in enumerate(lines, 1)
    ]
    grouped = [row for row in group_lines(lambda: iter(given_rows), "orders") if isinstance(row, Row)]
    assert sorted(row.values["order_id"] for row in grouped) == sorted({order for order, _ in lines})
    for row in grouped:
        expected = [sku for order, sku in lines if order == row.values["order_id"]]
        assert [line["sku"] for line in row.values["lines"]] == expected
        assert len(row.raw) == len(row.numbers) == len(expected)


def test_shopify_orders(tmp_path: Path) -> None:
    """Shopify's export of orders: one row a line, what became of the order as facts of their own."""
    path = write(
        tmp_path / "orders_export_1.csv",
        "Name,Email,Financial Status,Paid at,Fulfilled at,Currency,Total,Discount Code,Discount Amount,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at,Refunded Amount\n"
        "#1001,ann@x.test,partially_refunded,2026-01-02 10:00:00 -0500,2026-01-04 09:00:00 -0500,EUR,25.00,TEA10,2.50,2026-01-02 09:59:00 -0500,2,Sencha,10.00,T1,,5.00\n"
        "#1001,ann@x.test,,,,,,,,2026-01-02 09:59:00 -0500,1,Cup,7.50,,,\n",
    )
    rows = values_of(path, format="shopify")
    assert [row.get("status") for row in rows] == ["placed", "paid", "shipped", "refunded"]
    assert rows[0]["lines"] == [
        {"sku": "T1", "quantity": "2", "price": "10.00"},
        {"sku": "Cup", "quantity": "1", "price": "7.50"},
    ]
    assert (rows[0]["customer"], rows[0]["coupon"], rows[0]["placed_at"]) == (
        "ann@x.test",
        "TEA10",
        "2026-01-02 09:59:00-05:00",
    )
    assert rows[3]["status_at"] == "2026-01-04 09:00:00-05:00"


def test_shopify_products_and_customers(tmp_path: Path) -> None:
    """Shopify's products are one row a variant, of which the first has what all share; customers who accept marketing granted all."""
    products = write(
        tmp_path / "products_export.csv",
        "Handle,Title,Vendor,Type,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Price,Image Src,Status\n"
        "sencha,Sencha,Kiyomi,Green tea,T1,shopify,-2,9.90,https://x.test/1.jpg,active\nsencha,,,,T2,,5,19.90,,\nsencha,,,,,,,,https://x.test/2.jpg,\n",
    )
    first, second = values_of(products, format="shopify")
    assert (first["sku"], first["stock"], first["category"], first["group"]) == (
        "T1",
        "0",
        "Green tea",
        "sencha",
    )
    assert (second["title"], second["image_url"], "stock" in second) == (
        "Sencha",
        "https://x.test/1.jpg",
        False,
    )
    people = write(
        tmp_path / "customers_export.csv",
        "Customer ID,First Name,Last Name,Email,Accepts Email Marketing,Default Address Country Code,Phone,Tags\n'71,Ann,Lee,ann@x.test,yes,GB,'+44 1,vip\n",
    )
    (ann,) = values_of(people, format="shopify")
    assert (ann["external_id"], ann["consent"], ann["country"], ann["phone"]) == ("71", "all", "GB", "+44 1")


def test_klaviyo(tmp_path: Path) -> None:
    """Klaviyo's profiles: custom properties are kept, and each consent is a dated fact; never subscribed is none."""
    path = write(
        tmp_path / "people.csv",
        "Email,First Name,Country,Email Marketing Consent,Email Marketing Consent Timestamp,Shoe Size\n"
        "a@x.test,Ann,Japan,Subscribed,2026-01-02 10:00:00,42\nb@x.test,Bo,,Unsubscribed,2026-01-03 10:00:00,\nc@x.test,Cy,,Never subscribed,,\n",
    )
    rows = [row for row in rows_of(path, format="klaviyo") if isinstance(row, Row)]
    assert [(row.kind, row.values.get("state")) for row in rows] == [
        ("customers", None), ("consents", "granted"), ("customers", None), ("consents", "withdrawn"), ("customers", None),
    ]  # fmt: skip
    assert rows[0].values["shoe_size"] == "42"


def test_segment(tmp_path: Path) -> None:
    """Segment's calls become customers, orders, carts and events; anonymous calls name nobody and are left out."""
    calls = [
        {"type": "identify", "userId": "u1", "traits": {"email": "a@x.test", "firstName": "Ann", "plan": None, "address": {"country": "GB"}}, "timestamp": "2026-01-01T00:00:00Z"},
        {"type": "track", "userId": "u1", "event": "Order Completed", "messageId": "m1", "timestamp": "2026-01-02T00:00:00Z",
         "properties": {"order_id": "o1", "revenue": 20, "currency": "EUR", "products": [{"product_id": "T1", "quantity": 2, "price": 10}]}},
        {"type": "track", "userId": "u1", "event": "Product Viewed", "messageId": "m2", "properties": {"product_id": "T1"}},
        {"type": "track", "anonymousId": "x", "userId": None, "event": "Product Viewed", "messageId": "m3"},
        {"batch": [{"type": "page", "userId": "u1", "name": "Home", "messageId": "m4"}, {"type": "alias", "userId": "u1"}]},
    ]  # fmt: skip
    path = write(tmp_path / "calls.jsonl", "\n".join(json.dumps(call) for call in calls))
    rows = [row for row in rows_of(path, format="segment") if isinstance(row, Row)]
    assert [row.kind for row in rows] == ["customers", "orders", "events", "events"]
    assert rows[0].values["country"] == "GB"
    assert rows[1].values["lines"] == [{"sku": "T1", "quantity": 2, "price": 10}]
    assert (rows[1].values["total"], rows[1].values["placed_at"]) == (20, "2026-01-02T00:00:00Z")
    assert (rows[2].values["event"], rows[2].values["sku"]) == ("product_viewed", "T1")
    assert rows[3].values["event"] == "page_viewed"


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_an_array_is_read_in_pieces(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a piece of the file ends, the items of an array are whole, and what breaks off tells where."""
    monkeypatch.setattr(json_texts, "_CHUNK", chunk)
    items = [{"a": 'x"]}\\', "b": [1, {"c": "é]\n"}]}, {"sku": 'T\\"'}, {}]
    whole = json.dumps(items, ensure_ascii=False, indent=1)
    rows = list(json_rows(io.BufferedReader(io.BytesIO(whole.encode()))))
    assert [dict(row.values) for row in rows if isinstance(row, Row)] == items
    for end in range(2, len(whole)):
        cut = list(json_rows(io.BufferedReader(io.BytesIO(whole[:end].encode()))))
        assert isinstance(cut[-1], BadRow)
        assert [dict(row.values) for row in cut[:-1] if isinstance(row, Row)] == items[: len(cut) - 1]


EXPORTS = {
    "shopify": "Customer ID,First Name,Last Name,Email,Accepts Email Marketing\n'1,Ann,Lee,ann@x.test,yes\n",
    "klaviyo": "Klaviyo ID,Email,First Name,Email Marketing Consent\nK1,bob@x.test,Bob,SUBSCRIBED\n",
    "segment": '{"type": "track", "messageId": "m1", "userId": "u1", "event": "Order Completed"}\n',
    "csv": "external_id,email,first_name\nc1,cy@x.test,Cy\n",
    "jsonl": '{"external_id": "c1", "email": "cy@x.test"}\n',
}


@pytest.mark.parametrize("said", EXPORTS)
@pytest.mark.parametrize("held", EXPORTS)
def test_a_file_of_one_format_is_not_read_as_another(tmp_path: Path, said: str, held: str) -> None:
    """Whoever names the wrong format is told what the file looks like; not one row of it is taken in by half."""
    path = write(tmp_path / f"customers.{'jsonl' if held in ('segment', 'jsonl') else 'csv'}", EXPORTS[held])
    if said == held:
        assert values_of(path, format=said)
        return
    with pytest.raises(UsageError) as told:
        open_source(path, format=said)
    ours = {"csv": "leave --format away", "jsonl": "leave --format away|--format jsonl"}
    assert re.search(
        ours.get(held, f"--format ({held}|jsonl)" if held == "segment" else f"--format {held}"),
        str(told.value),
    )


def test_an_export_of_other_things_than_said(tmp_path: Path) -> None:
    """Products of Shopify are no orders, whatever --as says; a header alone is held to its format too."""
    products = write(tmp_path / "export.csv", "Handle,Title,Variant SKU,Variant Price\ntea,Tea,T1,9.90\n")
    with pytest.raises(UsageError, match="holds products of Shopify, not orders"):
        open_source(products, format="shopify", kind="orders")
    header = write(tmp_path / "people.csv", "Handle,Title,Variant SKU,Variant Price\n")
    with pytest.raises(UsageError, match="--format shopify instead"):
        open_source(header, format="klaviyo")


def test_names_that_segment_uses_too_are_ones_own(tmp_path: Path) -> None:
    """A customer with a property `type`, or a product with a `batch`, is no call of Segment."""
    own = '{"external_id": "c1", "type": "b2b", "userId": "u1", "messageId": "m"}\n{"kind": "products", "sku": "T1", "batch": 4}\n'
    assert len(values_of(write(tmp_path / "customers.jsonl", own))) == 2
