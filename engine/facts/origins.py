"""Whose export a file is, by its columns.

Comes in: the columns of a table, or the keys of the first object of JSON Lines. Goes out: the format that they ask for, and a
plain sentence where another one was asked for. Promises: an export that is read as somebody else's is told, not half taken
in: Shopify and Klaviyo share columns of names and addresses, but not those of consent, orders and prices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from engine.facts.fact import Kind

FOREIGN = ("shopify", "klaviyo", "segment")
_SIGNS: Mapping[str, frozenset[str]] = {
    "shopify": frozenset(
        {
            "Lineitem sku", "Lineitem quantity", "Lineitem price", "Accepts Marketing", "Accepts Email Marketing", "Variant SKU",
            "Variant Price", "URL handle",
        }
    ),
    "klaviyo": frozenset({"Klaviyo ID", "Email Marketing Consent", "Email Marketing Consent Timestamp"}),
}  # fmt: skip
"""Columns that stand in the exports of others and nowhere else."""
_READ: Mapping[str, frozenset[str]] = {
    "shopify": frozenset({"Email", "Name", "Handle", "URL handle", "Customer ID", "Lineitem name"}),
    "klaviyo": frozenset({"Email", "External ID", "Klaviyo ID"}),
}
"""Columns without all of which no row of an export says whose or what it is."""
_OURS = frozenset({"customer", "external_id", "email", "sku", "order_id", "cart_id"})


def foreign_format(columns: Iterable[str]) -> str | None:
    """Return the program that a file comes from, by columns that only its exports have; None for nobody's that we know.

    >>> foreign_format(["Name", "Email", "Lineitem sku"]), foreign_format(["sku", "price"])
    ('shopify', None)
    """
    has = set(columns)
    for form, signs in _SIGNS.items():
        if signs & has:
            return form
    return "segment" if _are_calls(has) and _OURS.isdisjoint(has) else None


def foreign_kind(format_name: str, columns: Iterable[str]) -> Kind | None:
    """Return what a foreign file holds by its columns; None where they do not tell."""
    has = set(columns)
    if format_name == "segment":
        return "events"
    if format_name == "klaviyo":
        return "customers"
    if "Lineitem quantity" in has:
        return "orders"
    if "Handle" in has or "URL handle" in has:
        return "products"
    return "customers" if "Email" in has else None


def other_than_said(format_name: str, kind: Kind, columns: Collection[str]) -> str:
    """Return what a file is instead of the export that it was said to be, and the way out; empty where it may be one."""
    has, whose = set(columns), format_name.capitalize()
    likely = foreign_format(has)
    if likely is not None and likely != format_name and has.isdisjoint(_SIGNS.get(format_name, ())):
        return f"is no export of {whose}: it looks like one of {likely.capitalize()}: say --format {likely} instead"
    if format_name == "segment":
        return "" if _are_calls(has) else f"holds no calls of Segment: {shown(columns)}{_instead(columns)}"
    if has.isdisjoint(_READ[format_name]):
        return f"names no column that exports of {whose} have: {shown(columns)}{_instead(columns)}"
    holds = foreign_kind(format_name, has)
    if format_name == "shopify" and holds not in (None, kind):
        return f"holds {holds} of Shopify, not {kind}: leave --as away"
    return ""


def way_out(columns: Iterable[str]) -> str:
    """Return which `--format` a file's columns ask for; empty where they are nobody's that we know.

    >>> way_out(["Name", "Email", "Lineitem sku"])
    'it looks like an export of Shopify: add --format shopify'
    """
    told = list(columns)
    form = foreign_format(told)
    if form is not None:
        return f"it looks like an export of {form.capitalize()}: add --format {form}"
    if told and told[0].lstrip("[ ").startswith("{"):
        return "it looks like JSON Lines: add --format jsonl"
    return ""


def shown(columns: Iterable[str]) -> str:
    """Return the first columns as a sentence shows them."""
    first = [name.encode("utf-8", "replace").decode()[:40] for name in columns][:4]
    return ", ".join(first)


def _are_calls(has: Collection[str]) -> bool:
    return "batch" in has or {"type", "messageId"} <= set(has) or {"type", "userId"} <= set(has)


def _instead(columns: Collection[str]) -> str:
    if not _OURS.isdisjoint(columns):
        return "; its columns are ours: leave --format away"
    likely = way_out(columns)
    return f"; {likely}" if likely else ""
