"""Segment's API: by hand, by Segment's own unmodified libraries, and by requests recorded from them."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segment.analytics as segment_analytics
from segment.analytics.client import Client
from sqlalchemy import func, select, update
from starlette.responses import JSONResponse

from engine.deploy.apply import apply
from engine.facts.finding import find_customer
from engine.flows.fields import ENGINE_EVENTS
from engine.store.database import Database, connect
from engine.store.tables import (
    cart_lines,
    carts,
    consents,
    customer_ids,
    customers,
    fact_inbox,
    held_facts,
    orders,
    products,
    raw_inbox,
    write_keys,
)
from engine.web import limits
from engine.web.app import create_app
from engine.web.intake import writer
from engine.web.intake.retrying import retry
from engine.web.site import open_site
from tests.integration.npm_packages import modules
from tests.integration.web_server import NOW, Serving, serving, settings_at

CAPTURES = Path("/work/shared/captures")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over an empty database, on SQLite and on PostgreSQL."""
    with serving(settings_at(tmp_path), database) as served:
        yield served


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Serving]:
    """Give a server over an empty SQLite database."""
    database = connect(sqlite_url)
    with serving(settings_at(tmp_path), database) as served:
        yield served
    database.close()


def basic(key: str) -> dict[str, str]:
    """Return the header by which a client names its key."""
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


def track(event: str, user: str | None = "u1", at: int = 0, **more: Any) -> dict[str, Any]:
    """Return a call; `at` is seconds after noon."""
    call = {
        "type": "track",
        "event": event,
        "messageId": f"{event}-{user}-{at}",
        "timestamp": f"2026-03-01T12:00:{at:02}Z",
    }
    return call | ({"userId": user} if user else {}) | more


def batch(served: Serving, key: str, *calls: dict[str, Any]) -> None:
    """Send calls together."""
    answer = served.client.post("/v1/batch", json={"batch": list(calls)}, headers=basic(key))
    assert (answer.status_code, answer.json()) == (200, {"success": True})


def count(served: Serving, table: Any) -> int:
    """Return how many rows a table has."""
    with served.site.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def cart(served: Serving, cart_id: str) -> dict[str, float]:
    """Return the pieces in a cart by sku."""
    with served.site.database.read() as connection:
        rows = connection.execute(
            select(cart_lines.c.sku, cart_lines.c.quantity).where(cart_lines.c.cart_id == cart_id)
        )
        return {row.sku: row.quantity for row in rows}


# ── keys and limits ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_hashed_several_and_revocable(small: Serving) -> None:
    """Two keys work at once, by header or body; a revoked one is refused within two seconds; no key is stored."""
    from engine.web import keys  # noqa: PLC0415

    one, other = small.write_key("one"), small.write_key("other")
    batch(small, one, track("A"))
    answer = small.client.post(
        "/v1/t", content=json.dumps(track("B") | {"writeKey": other}), headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 200
    with small.site.database.write() as connection:
        assert one.encode() not in b"".join(connection.scalars(select(write_keys.c.hash)))
        keys.revoke(connection, "one", NOW)
    for _ in range(40):
        refused = small.client.post("/v1/t", json=track("C"), headers=basic(one)).status_code
        if refused == 401:
            break
        import time  # noqa: PLC0415

        time.sleep(0.1)
    assert refused == 401
    assert small.client.post("/v1/t", json=track("C")).status_code == 401
    assert small.client.post("/v1/t", json=track("D"), headers=basic(other)).status_code == 200


def test_a_page_may_use_the_keys_that_allow_it(small: Serving) -> None:
    """The preflight of a browser is answered; a key with origins is refused to pages of others."""
    key = small.write_key(origins=("https://shop.example",))
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = small.client.options("/v1/t", headers=asked)
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    good = small.client.post(
        "/v1/t", json=track("A"), headers=basic(key) | {"origin": "https://shop.example"}
    )
    assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert (
        small.client.post(
            "/v1/t", json=track("A"), headers=basic(key) | {"origin": "https://evil.example"}
        ).status_code
        == 403
    )


def test_limits_are_answered(small: Serving) -> None:
    """400 for what breaks a rule, 413 for what is too large, 404 for a call that does not exist; nothing is a 5xx."""
    key = basic(small.write_key())
    large = {"batch": [track("A", properties={"x": "y" * 40_000})]}
    assert small.client.post("/v1/batch", json=large, headers=key).status_code == 400
    assert small.client.post("/v1/batch", content=b"x" * 600_000, headers=key).status_code == 413
    assert (
        small.client.post("/v1/batch", content=gzip.compress(b"0" * 9_000_000), headers=key).status_code
        == 413
    )
    assert small.client.post("/v1/nothing", json={}, headers=key).status_code == 404
    for body in (b"", b"[]", b"{", b"\xff", b'{"batch": 1}', b"null"):
        assert small.client.post("/v1/batch", content=body, headers=key).status_code == 400
    assert small.client.get("/v1/track").status_code == 405


def test_too_much_is_told_when_to_come_back(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 carries Retry-After."""
    monkeypatch.setattr(limits, "CALLS_A_SECOND", 0.2)
    database = connect(sqlite_url)
    settings = settings_at(tmp_path)
    with serving(settings, database) as served:
        key = basic(served.write_key())
        found = [served.client.post("/v1/t", json=track("A", at=n), headers=key) for n in range(4)]
        assert [answer.status_code for answer in found] == [200, 200, 429, 429]
        assert int(found[-1].headers["retry-after"]) >= 1
    database.close()


# ── meaning ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_identify_makes_a_customer(shop: Serving) -> None:
    """Traits become fields and properties; traits in the context count; nulls say nothing."""
    key = shop.write_key()
    batch(
        shop, key,
        {"type": "identify", "userId": "u1", "traits": {"email": "Jane@Example.test", "firstName": "Zoë", "plan": "gold", "x": None}},
        {"type": "identify", "userId": "u2", "context": {"traits": {"email": "bo@example.test"}, "locale": "ja-JP"}},
        {"type": "group", "userId": "u1", "groupId": "g7", "traits": {"name": "Tea Club"}},
    )  # fmt: skip
    with shop.site.database.read() as connection:
        rows = {row["external_id"]: row for row in connection.execute(select(customers)).mappings()}
    assert (rows["u1"]["email"], rows["u1"]["first_name"]) == ("jane@example.test", "Zoë")
    assert rows["u1"]["properties"] == {"plan": "gold", "group_id": "g7", "group_name": "Tea Club"}
    assert (rows["u2"]["email"], rows["u2"]["locale"]) == ("bo@example.test", "ja-JP")


def test_the_same_call_twice_is_one(shop: Serving) -> None:
    """`messageId` deduplicates: within a batch, across requests and across kinds of steps."""
    key = shop.write_key()
    added = track("Product Added", properties={"product_id": "S1", "price": 5, "name": "Sencha"})
    for _ in range(2):
        batch(shop, key, track("A"), track("A"), added, added)
    assert len(shop.events("a")) == 1
    assert cart(shop, "web:u1") == {"S1": 1}


def test_a_cart_from_steps(shop: Serving) -> None:
    """Steps without a cart's id build the customer's own cart, in the order of their time; an order empties it."""
    key = shop.write_key()
    sencha, genmai = (
        {"sku": "S1", "price": "5.50", "name": "Sencha"},
        {"sku": "G1", "price": 4, "name": "Genmaicha"},
    )
    batch(
        shop, key,
        track("Product Removed", at=3, properties=genmai), track("Product Added", at=1, properties={**sencha, "quantity": 2}),
        track("Product Added", at=2, properties=genmai),
    )  # fmt: skip
    batch(shop, key, track("Product Added", at=4, properties=sencha))
    assert cart(shop, "web:u1") == {"S1": 3}
    order = {"order_id": "o1", "total": 16.5, "currency": "EUR", "products": [{**sencha, "quantity": 3}]}
    batch(shop, key, track("Order Completed", at=9, properties=order))
    assert cart(shop, "web:u1") == {}
    batch(shop, key, track("Product Added", at=20, properties=genmai))
    batch(shop, key, track("Order Completed", at=9, properties=order))
    assert cart(shop, "web:u1") == {"G1": 1}
    with shop.site.database.read() as connection:
        (row,) = connection.execute(select(orders)).mappings().all()
        titles = dict(connection.execute(select(products.c.sku, products.c.title)).all())
        owner = connection.scalar(select(carts.c.customer_id))
    assert (row["order_id"], str(row["total"]), row["customer_id"]) == ("o1", "16.50", owner)
    assert titles == {"S1": "Sencha", "G1": "Genmaicha"}
    assert [event["name"] for event in shop.events() if event["name"].startswith("order")] == ["order_placed"]


def test_a_catalogue_knows_better_than_a_page(small: Serving) -> None:
    """Events fill in products that nobody told; a told one keeps its price, and no drop is raised."""
    from engine.facts.ingest import ingest_rows  # noqa: PLC0415

    told = [{"sku": "S1", "title": "Sencha", "price": 10, "currency": "EUR"}]
    ingest_rows(small.site.database, "products", told, settings=small.site.settings, now=NOW)
    key = small.write_key()
    batch(small, key, track("Product Viewed", properties={"sku": "S1", "name": "Cheap", "price": 1}))
    batch(small, key, track("Product Viewed", at=1, properties={"sku": "N1", "name": "New", "price": 3}))
    batch(small, key, track("Product Viewed", at=2, properties={"sku": "N1", "name": "New", "price": 4}))
    with small.site.database.read() as connection:
        prices = dict(connection.execute(select(products.c.sku, products.c.price)).all())
    assert {sku: float(price) for sku, price in prices.items()} == {"S1": 10.0, "N1": 4.0}


def test_a_visitor_becomes_a_customer(shop: Serving) -> None:
    """What somebody did before they were known is told again as theirs, once; the cart that they had is theirs."""
    key = shop.write_key()
    visit = {"anonymousId": "a1"}
    batch(shop, key, track("Product Viewed", None, 1, properties={"sku": "S1"}, **visit))
    batch(shop, key, track("Product Added", None, 2, properties={"sku": "S1", "name": "Sencha"}, **visit))
    batch(shop, key, track("Product Viewed", None, 2, properties={"sku": "S9"}, anonymousId="stranger"))
    assert count(shop, customers) == 0
    assert count(shop, held_facts) == 3
    identify = {
        "type": "identify",
        "userId": "u1",
        "messageId": "i1",
        "traits": {"email": "ann@example.test"},
        **visit,
    }
    batch(shop, key, identify)
    batch(shop, key, identify)
    batch(shop, key, track("Product Viewed", None, 5, properties={"sku": "S2"}, **visit))
    assert [event["sku"] for event in shop.events("product_viewed")] == ["S1", "S2"]
    assert cart(shop, "web:u1") == {"S1": 1}
    assert count(shop, customers) == 1
    assert count(shop, held_facts) == 1


def test_on_a_shared_device_nobody_is_mixed_up(small: Serving) -> None:
    """Two people name themselves on one device: each keeps what they did, and they stay two."""
    key = small.write_key()
    batch(small, key, track("Product Viewed", None, 1, properties={"sku": "S1"}, anonymousId="a1"))
    batch(small, key, track("A", "u1", 2, anonymousId="a1"))
    batch(small, key, track("A", "u2", 3, anonymousId="a1"))
    batch(small, key, track("Product Viewed", None, 4, properties={"sku": "S2"}, anonymousId="a1"))
    with small.site.database.read() as connection:
        who = {find_customer(connection, name): name for name in ("u1", "u2")}
    assert [(who[event["customer_id"]], event["sku"]) for event in small.events("product_viewed")] == [
        ("u1", "S1"),
        ("u2", "S2"),
    ]


def test_alias_names_a_customer_anew(shop: Serving) -> None:
    """A visitor's id and an older user id become the new one; two who are known both are left apart, and told of."""
    key = shop.write_key()
    batch(shop, key, track("Product Viewed", None, 1, properties={"sku": "S1"}, anonymousId="a1"))
    batch(shop, key, {"type": "alias", "previousId": "a1", "userId": "u1"})
    batch(
        shop,
        key,
        track("A", "old", 2),
        {"type": "alias", "previousId": "old", "userId": "new", "timestamp": "2026-03-01T12:00:02.5Z"},
        track("B", "new", 3),
    )
    batch(shop, key, {"type": "alias", "previousId": "u1", "userId": "new"})
    assert len(shop.events("product_viewed")) == 1
    with shop.site.database.read() as connection:
        assert find_customer(connection, "old") == find_customer(connection, "new") is not None
        assert find_customer(connection, "u1") != find_customer(connection, "new")
        assert connection.scalars(select(raw_inbox.c.reason)).all() == [
            "both ids are known customers already"
        ]
        assert connection.scalar(select(func.count()).select_from(customer_ids)) == 3


def test_what_cannot_be_understood_is_kept(small: Serving) -> None:
    """Bad calls of a batch lie whole in the raw inbox with their reason, once; the good ones are taken."""
    key = small.write_key()
    bad = {"type": "identify", "userId": "u9", "messageId": "bad", "traits": {"email": "no address"}}
    for _ in range(2):
        batch(small, key, track("A"), bad, {"type": "track"}, 5)  # type: ignore[arg-type]
    with small.site.database.read() as connection:
        rows = connection.execute(select(raw_inbox).order_by(raw_inbox.c.id)).all()
    assert {row.reason.split(" ")[0] for row in rows} >= {"email", "userId", "a"}
    assert (
        json.loads(next(row.payload for row in rows if row.reason.startswith("email")))["messageId"] == "bad"
    )
    assert len(rows) == 3
    assert len(small.events("a")) == 1


def test_a_wrong_trait_leaves_the_rest(small: Serving) -> None:
    """What an identify says wrongly of a customer is left out and named in the raw inbox; all else is taken."""
    key = small.write_key()
    traits = {
        "email": "u9@example.test", "birthday": "31/02/1990", "firstName": "Bo", "tea": "Sencha", "cups": 10**30,
    }  # fmt: skip
    batch(small, key, {"type": "identify", "userId": "u9", "messageId": "half", "traits": traits})
    with small.site.database.read() as connection:
        found = connection.execute(select(customers).where(customers.c.external_id == "u9")).one()
        reasons = list(connection.scalars(select(raw_inbox.c.reason)))
    assert (found.email, found.first_name, found.birthday) == ("u9@example.test", "Bo", None)
    assert found.properties == {"tea": "Sencha"}
    assert len(reasons) == 1
    assert "birthday is" in reasons[0]
    assert "properties.cups is" in reasons[0]
    assert reasons[0].endswith("the rest was taken")


def consents_of(served: Serving, customer: str) -> list[tuple[str, str, str, str | None]]:
    """Return topic, state, source and wording of each consent that was recorded of a customer."""
    with served.site.database.read() as connection:
        known = find_customer(connection, customer)
        rows = connection.execute(
            select(consents).where(consents.c.customer_id == known).order_by(consents.c.id)
        )
        return [(row.topic, row.state, row.source, row.wording) for row in rows]


@pytest.mark.parametrize("name", ["consent_granted", "Consent Granted", "ConsentGranted"])
def test_a_key_of_a_page_grants_no_consent(small: Serving, name: str) -> None:
    """A key that may only write says that nobody agreed, neither at once nor as a visitor, nor by a retry; withdrawing it may."""
    page, about = small.write_key(), {"properties": {"topic": "all", "source": "", "wording": ""}}
    traits = {"email": "victim@example.test", "consent": ["all"]}
    batch(small, page, {"type": "identify", "userId": "victim", "messageId": "i", "traits": traits})
    batch(small, page, track(name, "victim", 1, **about), track(name, None, 2, anonymousId="v", **about))
    batch(small, page, {"type": "identify", "userId": "victim", "anonymousId": "v", "messageId": "i2"})
    with small.site.database.read() as connection:
        reasons = list(connection.scalars(select(raw_inbox.c.reason)))
    assert len(reasons) == 2
    assert all("scope `consent`" in reason for reason in reasons)
    assert retry(small.site.database, small.site.settings, NOW) == (2, 2)
    assert consents_of(small, "victim") == []
    assert small.events("consent_granted") == []
    batch(small, page, track("Consent Withdrawn", "victim", 3, properties={"topic": "all"}))
    assert consents_of(small, "victim") == [("all", "withdrawn", "write key shop", None)]


def test_a_key_of_the_scope_consent_grants(small: Serving) -> None:
    """A key of a shop's own server grants, for a visitor too; where and with which words is recorded, else by which key."""
    key = small.write_key("backend", scopes=("write", "consent"))
    told = {"topic": "all", "source": "checkout", "wording": "Yes, write to me."}
    batch(small, key, {"type": "identify", "userId": "u1", "messageId": "i"})
    batch(small, key, track("Consent Granted", "u1", 1, properties=told))
    batch(small, key, track("Consent Granted", None, 2, anonymousId="v", properties={"topic": "all"}))
    batch(small, key, {"type": "identify", "userId": "u2", "anonymousId": "v", "messageId": "i2"})
    assert consents_of(small, "u1") == [("all", "granted", "checkout", "Yes, write to me.")]
    assert consents_of(small, "u2") == [("all", "granted", "write key backend", None)]


def test_a_retry_grants_what_its_key_might_grant(small: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consent that fell into the raw inbox by a mistake of ours need not be sent again; one of a page's key stays there."""
    backend, page = small.write_key("backend", scopes=("write", "consent")), small.write_key()
    granted = [
        track("Consent Granted", f"u{number}", number, properties={"topic": "all"}) for number in (1, 2)
    ]
    with monkeypatch.context() as broken:
        broken.setattr(writer, "take_calls", lambda *_: 1 / 0)
        batch(small, backend, granted[0])
        batch(small, page, granted[1], track("Consent Granted", "u1", 1, properties={"topic": "all"}))
    assert retry(small.site.database, small.site.settings, NOW) == (3, 2)
    assert consents_of(small, "u1") == [("all", "granted", "write key backend", None)]
    assert consents_of(small, "u2") == []


def test_nobody_says_by_which_key_a_call_came(small: Serving) -> None:
    """What a client writes where its key is kept is lost: no retry takes its word for it."""
    mine = {"homing": ["backend", True], "userId": "u1", "properties": {"topic": "all"}, "type": "track"}
    batch(
        small,
        small.write_key(),
        {**mine, "event": " ", "messageId": "m"},
        {**mine, "event": "Seen", "anonymousId": "v"},
    )
    with small.site.database.write() as connection:
        (kept,) = connection.scalars(select(raw_inbox.c.payload))
        connection.execute(update(raw_inbox).values(payload=kept.replace('" "', '"Consent Granted"')))
    assert json.loads(kept)["homing"] == ["shop", False]
    assert retry(small.site.database, small.site.settings, NOW) == (1, 1)
    assert small.events("consent_granted") == []


@pytest.mark.parametrize("name", sorted(ENGINE_EVENTS))
def test_nobody_tells_what_homing_tells_itself(small: Serving, name: str) -> None:
    """What Homing does itself is no fact when it comes from outside; it is kept with its reason."""
    batch(small, small.write_key("backend", scopes=("write", "consent")), track(name), track("seen"))
    with small.site.database.read() as connection:
        reasons = list(connection.scalars(select(raw_inbox.c.reason)))
    assert [name in reason and "Homing itself" in reason for reason in reasons] == [True]
    assert small.events(name) == []
    assert len(small.events("seen")) == 1


def test_a_virtual_shop_takes_facts_too(sqlite_url: str, tmp_path: Path) -> None:
    """On a virtual clock a call happens where the clock stands."""
    from engine.store import meta  # noqa: PLC0415

    database = connect(sqlite_url)
    with database.write() as connection:
        meta.set_virtual_now(connection, NOW)
    with serving(settings_at(tmp_path), database) as served:
        batch(served, served.write_key(), {"type": "track", "event": "A", "userId": "u1"})
        (event,) = served.events("a")
        assert event["occurred_at"] == event["arrived_at"] == NOW
    database.close()


# ── real clients ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Faulty:
    """Answers the first requests with these statuses, then lets everything through."""

    def __init__(self, app: Any, statuses: list[int]) -> None:
        self.app, self.statuses, self.seen = app, statuses, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            self.seen += 1
            if self.statuses:
                status = self.statuses.pop(0)
                await JSONResponse({"success": False}, status, {"retry-after": "0"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzip"])
def test_segments_python_library(sqlite_url: str, tmp_path: Path, gzipped: bool) -> None:
    """The unmodified library sends 57 events through a 500 and a 429 without loss, doubles or an error of its own."""
    database = connect(sqlite_url)
    settings = settings_at(tmp_path)
    faulty = Faulty(create_app(open_site(settings, database)), [500, 429])
    errors: list[Any] = []
    with serving(settings, database, app=faulty) as served:
        client = Client(
            served.write_key(), host=served.url, gzip=gzipped, max_retries=5, upload_interval=0.1, sync_mode=False,
            on_error=lambda error, _items: errors.append(error),
        )  # fmt: skip
        client.identify("u1", {"email": "jane@example.test", "firstName": "Zoë", "plan": None})
        for number in range(57):
            client.track("u1", "Product Viewed", {"product_id": f"S{number}", "price": 19.99})
        client.alias("a0", "u1")
        client.group("u1", "g1", {"name": "Club"})
        client.page("u1", "Tea", "Sencha", {"url": "https://shop.test/sencha"})
        client.screen("u1", "Home")
        client.flush()
        client.join()
        assert errors == []
        assert faulty.seen >= 3
        assert len(served.events("product_viewed")) == 57
        assert len(served.events("page_viewed")) == len(served.events("screen_viewed")) == 1
        with served.site.database.read() as connection:
            row = connection.execute(select(customers)).mappings().one()
        assert (row["email"], row["first_name"]) == ("jane@example.test", "Zoë")
        assert count(served, raw_inbox) == 0
    database.close()
    assert segment_analytics.__name__


NODE = """
const { Analytics } = require("@segment/analytics-node");
const [url, key] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: key, host: url, flushAt: 15, flushInterval: 100, maxRetries: 5 });
analytics.on("error", (error) => { console.error(JSON.stringify(error)); process.exitCode = 1; });
analytics.identify({ userId: "u1", traits: { email: "jane@example.com", firstName: "Zoë" } });
for (let n = 0; n < 57; n++) analytics.track({ userId: "u1", event: "Product Viewed", properties: { product_id: `S${n}` } });
analytics.track({ anonymousId: "a1", event: "Product Viewed", properties: { product_id: "before" } });
analytics.alias({ previousId: "a1", userId: "u1" });
analytics.page({ userId: "u1", name: "Sencha" });
analytics.closeAndFlush({ timeout: 20000 });
"""


@pytest.fixture(scope="session")
def node_library() -> Path:
    """Give the folder with Segment's library for Node, and the program that uses it."""
    folder = modules().parent
    (folder / "send.js").write_text(NODE, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.web
def test_segments_node_library(sqlite_url: str, tmp_path: Path, node_library: Path) -> None:
    """The unmodified library sends a burst in several requests at once, through a 500 and a 429, without loss or doubles."""
    database = connect(sqlite_url)
    settings = settings_at(tmp_path)
    faulty = Faulty(create_app(open_site(settings, database)), [500, 429])
    with serving(settings, database, app=faulty) as served:
        command = [shutil.which("node") or "node", "send.js", served.url, served.write_key()]
        done = subprocess.run(
            command, cwd=node_library, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        viewed = served.events("product_viewed")
        assert len(viewed) == 58
        assert "before" in {event["sku"] for event in viewed}
        assert len(served.events("page_viewed")) == 1
        assert count(served, raw_inbox) == 0
    database.close()


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the recorded requests are not here")
def test_recorded_requests(small: Serving) -> None:
    """Requests as two real libraries sent them are taken whole, in any order, and again without effect."""
    key = small.write_key()
    files = sorted(CAPTURES.glob("seg*.json"))
    assert files
    sent: set[str] = set()
    for _ in range(2):
        for path in reversed(files):
            recorded = json.loads(path.read_text(encoding="utf-8"))
            headers = {
                name: value
                for name, value in recorded["headers"]
                if name.lower() in ("user-agent", "content-type")
            }
            body = json.dumps(recorded["json"]).encode()
            answer = small.client.post(recorded["path"], content=body, headers=headers | basic(key))
            assert (answer.status_code, answer.json()) == (200, {"success": True})
            sent |= {call["messageId"] for call in recorded["json"]["batch"] if call["type"] == "track"}
        before = len(small.events())
    assert len(small.events()) == before
    assert count(small, raw_inbox) == 0
    told = {event["properties"].get("id") for event in small.events()}
    ordered = [event for event in small.events() if event["name"].startswith(("order_", "cart_"))]
    assert len(sent - told) <= len(ordered)


def test_a_call_sets_a_flow_in_motion(sqlite_url: str, tmp_path: Path) -> None:
    """What comes in by the web waits in the inbox of the next pass, like any fact."""
    database = connect(sqlite_url)
    settings = settings_at(tmp_path)
    (tmp_path / "flows").mkdir()
    (tmp_path / "templates").mkdir()
    (tmp_path / "flows" / "hello.yaml").write_text("flow: hello\nsummary: x\ntopic: offers\ntrigger: {event: signed_up}\nexit_when: [{did: order_placed}]\nsteps:\n  - send: hello\n", encoding="utf-8")  # fmt: skip
    (tmp_path / "templates" / "hello.mjml").write_text(
        '---\nsubject: "Hello"\npreheader: "x"\n---\n<mjml><mj-head><mj-title>x</mj-title></mj-head><mj-body><mj-section><mj-column>'
        '<mj-text>Hello <a href="{{ links.unsubscribe }}">Unsubscribe</a> {{ shop.postal_address }}</mj-text></mj-column></mj-section></mj-body></mjml>\n',
        encoding="utf-8",
    )
    apply(database, settings, now=NOW, who="a test", lint=lambda _root, _settings: [])
    with serving(settings, database) as served:
        batch(served, served.write_key(), track("Signed Up"))
        assert count(served, fact_inbox) == 1
    database.close()
