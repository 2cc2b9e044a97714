"""Whatever is asked for, by whatever method, with whatever body: nothing is a 5xx, and nothing is written by GET."""

# ruff: noqa: F811 - pytest names fixtures by arguments
from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import select

from engine.store.tables import raw_inbox
from tests.integration.test_web_described import key, served  # noqa: F401 - fixtures, as arguments below
from tests.integration.test_web_shops import signature
from tests.integration.web_server import Serving, links_of

NAMES = (
    "type", "batch", "userId", "anonymousId", "event", "properties", "traits", "context", "messageId", "timestamp", "sentAt",
    "products", "sku", "product_id", "quantity", "price", "order_id", "cart_id", "total", "email", "id", "customer", "line_items",
    "variants", "updated_at", "customer_id", "status", "tags", "customerId", "order_id", "transactions", "billing", "previousId",
)  # fmt: skip
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=30)
    | some.sampled_from(["track", "identify", "alias", "Product Added", "Order Completed", "u1", "ann@example.test", "2026-03-01T00:00:00Z", "processing"]),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.sampled_from(NAMES), inner, max_size=8),
    max_leaves=25,
)  # fmt: skip
TOPICS = ("customers/update", "orders/create", "refunds/create", "carts/update", "checkouts/update", "products/update", "fulfillments/create", "customer.tags_added", "customers/merge", "customers/redact")  # fmt: skip
WOO = ("customer.updated", "order.updated", "product.updated")
HOOKS = [
    *(("shopify", "X-Shopify", "new", topic) for topic in TOPICS),
    *(("woocommerce", "X-WC-Webhook", "woo", topic) for topic in WOO),
]


ROAM = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def encoded(told: Any) -> bytes:
    """Return a value as JSON, with numbers that JSON does not have as some programs write them."""
    return json.dumps(told).encode()


@ROAM
@given(kind=some.sampled_from(["batch", "track", "identify", "alias", "group", "page", "t", "i"]), told=some.dictionaries(some.sampled_from(NAMES), VALUES, max_size=10))  # fmt: skip
def test_calls(served: Serving, key: str, kind: str, told: dict[str, Any]) -> None:
    """Every call is taken, or refused with a reason."""
    answer = served.client.post(
        f"/v1/{kind}", content=encoded(told), headers={"authorization": f"Bearer {key}"}
    )
    assert answer.status_code in (200, 400), answer.text
    assert isinstance(answer.json()["success"], bool)


@ROAM
@given(hook=some.sampled_from(HOOKS), told=VALUES)
def test_webhooks(served: Serving, hook: tuple[str, str, str, str], told: Any) -> None:
    """Every signed webhook of a shop is answered 200, understood or set aside."""
    shop, prefix, secret, topic = hook
    body = encoded(told)
    name = {"shopify": "Hmac-Sha256", "woocommerce": "Signature"}[shop]
    headers = {f"{prefix}-Topic": topic, f"{prefix}-{name}": signature(secret, body)}
    assert served.client.post(f"/webhooks/{shop}", content=body, headers=headers).status_code == 200


@ROAM
@given(letter=some.sampled_from("upvascd"), form=some.dictionaries(some.sampled_from(["do", "topic", "frequency", "pause", "resume", "language", "month", "day", "stop", "score", "rating", "text", "sure", "List-Unsubscribe"]), some.text(max_size=40), max_size=6))  # fmt: skip
def test_forms(served: Serving, letter: str, form: dict[str, str]) -> None:
    """Every form is taken or told what is wrong with it."""
    links = links_of(served.site, 1)
    urls = {
        "u": links.unsubscribe(), "p": links.preferences(), "v": links.view_in_browser(), "s": links.snooze(3),
        "a": links.answer("survey_answered", survey="nps", score=9), "c": "/c/x", "d": "/d/x",
    }  # fmt: skip
    path = httpx.URL(urls[letter]).path
    assert served.client.post(path, data=form).status_code < 500


@ROAM
@given(method=some.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]), path=some.text(max_size=60), body=some.binary(max_size=200))  # fmt: skip
def test_anything(served: Serving, method: str, path: str, body: bytes) -> None:
    """Whatever is asked for is answered, and never by a 5xx."""
    assert served.client.request(method, "/" + quote(path), content=body).status_code < 500


def test_nothing_failed_within(served: Serving) -> None:
    """What was set aside by the tests above was not understood; nothing of it was an error of ours."""
    with served.site.database.read() as connection:
        reasons = set(
            connection.scalars(select(raw_inbox.c.reason).where(raw_inbox.c.reason.startswith("failed here")))
        )
    assert reasons == set()
