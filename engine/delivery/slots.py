"""What the recommendation blocks of a batch of mails ask for, and what fills them.

Comes in: claimed messages, their customers' languages, the lines of their carts and orders. Goes out: picks for each block,
or, for who renders nothing, the strategies of its slots alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, select

from engine.delivery.claim import Claimed
from engine.errors import HomingError
from engine.flows.conditions import FieldTest
from engine.flows.read_conditions import field_tests_of
from engine.flows.recommend_rules import rules_of
from engine.journeys.round import Round
from engine.recommend.block import Pick
from engine.recommend.catalogue import Memory
from engine.recommend.serve import recommend, slots_of
from engine.recommend.strategies import Request
from engine.render.library import TemplateLibrary
from engine.render.template import RecommendBlock
from engine.store.dialect import within
from engine.store.prepared import Prepared
from engine.store.tables import cart_lines, order_lines

Blocks = Mapping[int, tuple[RecommendBlock, ...]]  # of templates, by message
_NOBODY: Mapping[str, Any] = {}


def blocks_in(
    library: TemplateLibrary, template: str | None, locale: str | None
) -> tuple[RecommendBlock, ...]:
    """Return the recommendation blocks of a template in a language."""
    try:
        return library.template(template or "", locale).recommend
    except HomingError:
        return ()  # rendering will say what is wrong with the template


def blocks_of(
    messages: Sequence[Claimed], people: Mapping[int, Mapping[str, Any]], at: Round, library: TemplateLibrary
) -> Blocks:
    """Return the blocks of each message's template in its customer's language; a batch knows few of those."""
    usual = at.settings.shop.locale
    known: dict[tuple[str | None, str], tuple[RecommendBlock, ...]] = {}
    found: dict[int, tuple[RecommendBlock, ...]] = {}
    for message in messages:
        key = message.template, people.get(message.customer_id, _NOBODY).get("locale") or usual
        if key not in known:
            known[key] = blocks_in(library, *key)
        found[message.id] = known[key]
    return found


def picks_for(
    connection: Connection, asked: Sequence[tuple[tuple[int, str], Request]], at: Round
) -> dict[tuple[int, str], Sequence[Pick]]:
    """Return the picks of what blocks ask for, by message and block."""
    found = recommend(connection, [request for _, request in asked], at.now, rules_of(at.settings))
    return {key: picks for (key, _), picks in zip(asked, found, strict=True)}


def requests_of(
    messages: Sequence[Claimed],
    blocks: Blocks,
    found_carts: Mapping[str, Mapping[str, Any]],
    found_orders: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[tuple[int, str], Request]]:
    """Yield what the blocks of these mails ask for, by message and block."""
    for message in messages:
        for block in blocks[message.id]:
            lines = [
                *found_carts.get(message.enrollment.cart_id, {}).get("lines", []),
                *found_orders.get(message.enrollment.order_id, {}).get("lines", []),
            ]
            context = dict.fromkeys([*trigger_skus(message), *(str(line["sku"]) for line in lines)])
            request = Request(
                message.customer_id, tuple(context), tuple(block.strategies), block.count, block.at_least,
                _narrowing(block), per_category=block.per_category, mail=message.id,
            )  # fmt: skip
            yield (message.id, block.name), request


def _narrowing(block: RecommendBlock) -> tuple[FieldTest, ...]:
    return field_tests_of(dict(block.where)) if block.where else ()


def slots_for(
    connection: Connection,
    picking: Sequence[Claimed],
    blocks: Blocks,
    at: Round,
    memory: Memory | None = None,
) -> Mapping[tuple[int, str], Sequence[str]]:
    """Return the strategies of the slots that blocks would have, by message and block."""
    if not picking:
        return {}
    ids = {m.enrollment.cart_id for m in picking if m.enrollment.cart_id}
    found_carts = _line_skus(connection, cart_lines, "cart_id", ids)
    ids = {m.enrollment.order_id for m in picking if m.enrollment.order_id}
    found_orders = _line_skus(connection, order_lines, "order_id", ids)
    asked = list(requests_of(picking, blocks, found_carts, found_orders))
    found = slots_of(connection, [request for _, request in asked], at.now, rules_of(at.settings), memory)
    return {key: slots for (key, _), slots in zip(asked, found, strict=True)}


def _line_skus(
    connection: Connection, line_table: Table, key: str, ids: set[str]
) -> Mapping[Any, Mapping[str, Any]]:
    """Return carts or orders with nothing but the products of their lines, which is all that recommending asks for."""
    found: dict[Any, dict[str, Any]] = {}
    for thing, sku in _skus_by(line_table, key).rows(connection, ids=sorted(ids)) if ids else ():
        found.setdefault(thing, {"lines": []})["lines"].append({"sku": sku})
    return found


@lru_cache(maxsize=8)
def _skus_by(table: Table, key: str) -> Prepared:
    query = select(table.c[key], table.c.sku).where(within(table.c[key], "ids"))
    return Prepared(query.order_by(table.c[key], table.c.line_no))


def trigger_skus(message: Claimed) -> list[str]:
    """Return the products that let the customer in, each once: those of the facts, of their lines, and the trigger's own."""
    context = message.enrollment.context
    facts = [context.get("trigger", {}), *context.get("facts", [])]
    lines = [line for fact in facts for line in _listed(fact.get("lines"))]
    skus = [str(each["sku"]) for each in (*facts, *lines) if each.get("sku")]
    if message.enrollment.sku:
        skus.append(message.enrollment.sku)
    return list(dict.fromkeys(skus))


def _listed(told: Any) -> list[Mapping[str, Any]]:
    """Return the lines that a fact tells of: anybody may send anything under that name."""
    return [line for line in told if isinstance(line, Mapping)] if isinstance(told, list | tuple) else []
