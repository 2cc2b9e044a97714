"""Turn UCI "Online Retail" into facts: customers.csv, products.csv and orders.jsonl.

    python examples/online-retail/convert.py online_retail.csv.gz --out facts

Comes in: the data set as CSV (541,909 order lines; gzipped or not). Goes out: files that `homing ingest` takes. What is
read how stands in mapping.toml; what becomes of cancellations, anonymous sales and codes that are no products, and what
is invented, in README.md. The same input always gives the same files.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

HERE = Path(__file__).resolve().parent
CANCELLED = "C"  # invoices of cancellations start with it
Mapping_ = Mapping[str, Any]


@dataclass
class Line:
    """A line of an invoice; `left` is what was not cancelled."""

    sku: str
    title: str
    quantity: int
    price: Decimal
    left: int = 0


@dataclass
class Invoice:
    """An order, or a cancellation (its quantities are below zero)."""

    number: str
    customer: str
    country: str
    at: datetime
    lines: list[Line] = field(default_factory=list)
    extras: Decimal = Decimal(0)  # postage and manual entries: paid, but no products
    refunds: list[Decimal] = field(default_factory=list)

    @property
    def total(self) -> Decimal:
        """What was paid."""
        return max(
            sum((line.quantity * line.price for line in self.lines), Decimal(0)) + self.extras, Decimal(0)
        )


@dataclass
class Facts:
    """The rows of the three files, and how many lines were left out, by reason."""

    customers: list[dict[str, Any]]
    products: list[dict[str, Any]]
    orders: list[dict[str, Any]]
    left_out: Counter[str]


def read_mapping(path: Path = HERE / "mapping.toml") -> Mapping_:
    """Return what mapping.toml says."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def convert(source: Path, mapping: Mapping_) -> Facts:
    """Return the facts that the data set tells."""
    left_out: Counter[str] = Counter()
    invoices = read_invoices(_rows(source, mapping), mapping, left_out)
    orders = [invoice for invoice in invoices if not invoice.number.startswith(CANCELLED) and invoice.lines]
    cancellations = [invoice for invoice in invoices if invoice.number.startswith(CANCELLED)]
    told = [_placed(order, mapping) for order in orders]
    told += list(cancel(orders, cancellations, left_out))
    told.sort(key=lambda row: row["status_at"])
    return Facts(_customers(orders, mapping), _products(orders, mapping), told, left_out)


def _rows(source: Path, mapping: Mapping_) -> Iterator[dict[str, str]]:
    zipped = source.read_bytes()[:2] == b"\x1f\x8b"
    names = mapping["columns"]
    with (
        gzip.open(source, "rt", encoding="utf-8", newline="")
        if zipped
        else source.open(encoding="utf-8", newline="") as stream
    ):
        for row in csv.DictReader(stream):
            yield {names[name]: cell.strip() for name, cell in row.items() if name in names}


def read_invoices(
    rows: Iterable[Mapping[str, str]], mapping: Mapping_, left_out: Counter[str]
) -> list[Invoice]:
    """Group lines into invoices by number, in order of time; lines that tell of no sale are counted in `left_out`."""
    zone = ZoneInfo(mapping["timezone"])
    postage, other = set(mapping["codes"]["postage"]), set(mapping["codes"]["other"])
    invoices: dict[str, Invoice] = {}
    for row in rows:
        number, sku = row["order_id"], row["sku"]
        quantity, price = int(Decimal(row["quantity"])), Decimal(row["price"])
        customer = row["customer"].removesuffix(".0")
        reason = _no_sale(number, quantity, price, customer)
        if reason:
            left_out[reason] += 1
            continue
        at = datetime.fromisoformat(row["placed_at"]).replace(tzinfo=zone)
        invoice = invoices.setdefault(number, Invoice(number, customer, row["country"], at))
        invoice.at = min(invoice.at, at)
        if sku.upper() in postage | other:
            left_out["no product"] += 1
            invoice.extras += quantity * price
        else:
            invoice.lines.append(Line(sku.upper(), row["title"], quantity, price, quantity))
    return sorted(invoices.values(), key=lambda invoice: (invoice.at, invoice.number))


def _no_sale(number: str, quantity: int, price: Decimal, customer: str) -> str:
    if not number.lstrip(CANCELLED).isdigit() or price < 0:
        return "accounting entry"
    if quantity < 0 and not number.startswith(CANCELLED):
        return "stock adjustment"
    return "stock adjustment" if price == 0 and not customer else ""


def cancel(
    orders: Iterable[Invoice], cancellations: Iterable[Invoice], left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield what becomes of orders: each cancelled line reduces the customer's latest earlier order of that product.

    Lines at the same price come first. Where an order's last piece goes it is cancelled, else it is refunded in part.
    What finds no order (it was placed before the data begin, or by nobody known) is counted in `left_out`.
    """
    bought: defaultdict[tuple[str, str], list[tuple[Invoice, Line]]] = defaultdict(list)
    for order in orders:
        for line in order.lines:
            if order.customer:
                bought[order.customer, line.sku].append((order, line))
    for cancellation in cancellations:
        amounts: dict[str, Decimal] = {}
        touched: dict[str, Invoice] = {}
        for line in cancellation.lines:
            missing = -line.quantity
            candidates = [
                pair
                for pair in bought.get((cancellation.customer, line.sku), ())
                if pair[0].at <= cancellation.at
            ]
            for order, sold in sorted(
                candidates, key=lambda pair: (pair[1].price == line.price, pair[0].at), reverse=True
            ):
                pieces = min(missing, sold.left)
                if pieces:
                    sold.left -= pieces
                    missing -= pieces
                    amounts[order.number] = amounts.get(order.number, Decimal(0)) + pieces * line.price
                    touched[order.number] = order
            left_out["cancelled piece without its order"] += missing
        for number, order in touched.items():
            order.refunds.append(amounts[number])
            gone = all(line.left == 0 for line in order.lines)
            yield {
                "order_id": number,
                "status": "cancelled" if gone else "refunded",
                "status_at": cancellation.at.isoformat(),
                "refunds": [{"amount": str(amount)} for amount in order.refunds],
            }


def _placed(order: Invoice, mapping: Mapping_) -> dict[str, Any]:
    at = order.at.isoformat()
    row = {
        "order_id": order.number,
        "customer": order.customer,
        "placed_at": at,
        "status": "placed",
        "status_at": at,
    }
    row |= {"currency": mapping["currency"], "total": str(order.total)}
    lines = [{"sku": line.sku, "quantity": line.quantity, "price": str(line.price)} for line in order.lines]
    return {name: value for name, value in row.items() if value} | {"lines": lines}


def _customers(orders: Iterable[Invoice], mapping: Mapping_) -> list[dict[str, Any]]:
    invented, countries = mapping["invented"], mapping["countries"]
    customers: dict[str, dict[str, Any]] = {}
    for order in orders:
        if order.customer and order.customer not in customers:
            at = order.at.isoformat()
            consent = _consent(order.customer, invented)
            customers[order.customer] = {
                "external_id": order.customer,
                "email": invented["address"].format(customer=order.customer),
                "country": countries.get(order.country, order.country),
                "created_at": at,
                "updated_at": at,
                "consent": consent,
                "consent_at": at if consent else "",
                "consent_source": "invented for the example" if consent else "",
            }
    return list(customers.values())


def _consent(customer: str, invented: Mapping_) -> str:
    share = hashlib.sha256(customer.encode()).digest()[0] * 100 // 256
    if share < invented["consent_all"]:
        return "all"
    return "reminders" if share < invented["consent_all"] + invented["consent_reminders"] else ""


def _products(orders: Iterable[Invoice], mapping: Mapping_) -> list[dict[str, Any]]:
    titles: defaultdict[str, Counter[str]] = defaultdict(Counter)
    prices: dict[str, Decimal] = {}
    for order in orders:
        for line in order.lines:
            titles[line.sku][" ".join(line.title.split()).capitalize()] += 1
            if line.price:
                prices[line.sku] = line.price
    invented = mapping["invented"]
    return [
        {
            "sku": sku,
            "title": names.most_common(1)[0][0],
            "price": str(prices.get(sku, "")),
            "currency": mapping["currency"],
            "url": invented["url"].format(sku=sku),
            "image_url": invented["image_url"].format(sku=sku),
        }
        for sku, names in sorted(titles.items())
    ]


def write(facts: Facts, folder: Path) -> list[Path]:
    """Write the three files and return their paths, in the order in which they are best taken."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "products.csv", folder / "customers.csv", folder / "orders.jsonl"]
    for path, rows in ((paths[0], facts.products), (paths[1], facts.customers)):
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    with paths[2].open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in facts.orders)
    return paths


def main() -> None:
    """Convert the data set named on the command line."""
    parser = argparse.ArgumentParser(description='Turn UCI "Online Retail" into facts for homing ingest.')
    parser.add_argument("source", type=Path, help="online_retail.csv, gzipped or not")
    parser.add_argument("--out", type=Path, default=Path("facts"), help="the folder to write to")
    given = parser.parse_args()
    facts = convert(given.source, read_mapping())
    paths = write(facts, given.out)
    placed = sum(row["status"] == "placed" for row in facts.orders)
    sys.stdout.write(
        f"{len(facts.customers):,} customers, {len(facts.products):,} products, {placed:,} orders in {given.out}\n"
    )
    for reason, count in facts.left_out.most_common():
        sys.stdout.write(f"left out: {count:,} × {reason}\n")
    sys.stdout.write("homing ingest " + " ".join(str(path) for path in paths) + "\n")


if __name__ == "__main__":
    main()
