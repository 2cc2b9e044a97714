"""The whole story: a visit to a shop's page leads to a cart mail, its links work, the order comes, and the next mail does not.

Played on a virtual clock by the commands that people use, with a real server in between; once by single requests, once by a
real browser that opens a page of the shop from another origin, the mail, and the house.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright
from sqlalchemy import select

from engine import settings as settings_module
from engine.facts.finding import find_customer
from engine.facts.profile import consent_standing
from engine.store.database import connect
from engine.store.tables import carts
from engine.web.house.password import set_password
from tests.integration.test_house import PASSWORD, log_in, mark_in
from tests.integration.test_house_browser import CHROMIUM
from tests.integration.test_web_shops import SECRETS, order, person, shopify
from tests.integration.web_server import Serving, serving

ROOT = Path(__file__).resolve().parents[2]
NOON = "2026-03-02T12:00:00Z"
SENCHA = {"sku": "SEN-100", "name": "Sencha Superior", "price": 12.25, "currency": "EUR", "url": "https://kiyomi.test/p/sencha", "checkout_url": "https://kiyomi.test/cart/7"}  # fmt: skip
VISIT = {"anonymousId": "visitor-1"}
CALLS: tuple[dict[str, Any], ...] = (
    {"type": "page", "name": "Sencha Superior", **VISIT},
    {"type": "track", "event": "Product Viewed", "properties": SENCHA, **VISIT},
    {"type": "track", "event": "Product Added", "properties": {**SENCHA, "quantity": 2}, **VISIT},
    {
        "type": "identify",
        "userId": "17",
        "traits": {"email": "ann@example.test", "firstName": "Ann"},
        **VISIT,
    },
)


def homing(root: Path, *arguments: str) -> str:
    """Run a command to its end and return what it says."""
    command = [sys.executable, "-m", "cli", *arguments, "--project", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def mails(root: Path) -> list[Message]:
    """Return the mails in the local mailbox, oldest first."""
    found = [message_from_bytes(path.read_bytes()) for path in (root / "mailbox" / "new").glob("*")]
    return sorted(found, key=lambda mail: str(mail["X-Homing-Message"]))


def html_of(mail: Message) -> str:
    """Return the HTML of a mail."""
    return str(mail.get_payload()[1].get_payload(decode=True).decode())  # type: ignore[union-attr,index]


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """Serve a folder from another origin."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Hand:
    """Does by single requests what a visitor and the people of the shop do."""

    cart = "web:17"

    def __init__(self, served: Serving, _folder: Path) -> None:
        self.served = served

    def visit(self, key: str) -> None:
        """Send the calls of a page one after another."""
        for number, call in enumerate(CALLS):
            told = {**call, "writeKey": key, "messageId": f"ajs-{number}"}
            path = f"/v1/{str(call['type'])[0]}"
            assert self.served.client.post(path, content=json.dumps(told)).status_code == 200

    def press(self, mail: Message) -> None:
        """Look for the mail's button."""
        assert re.search(r'href="https://kiyomi\.test/cart/7"', html_of(mail))

    def why(self) -> str:
        """Return what the house says of the flow."""
        log_in(self.served)
        mark = mark_in(self.served.client.get("/house/customers"))
        found = self.served.client.post("/house/customers", data={"mark": mark, "q": "ann@example.test"})
        return self.served.client.get(f"{found.headers['location']}/why/cart-recovery").text


class Chromium:
    """Does the same in a real browser, on the page of `examples/shop-page`, which comes from another origin."""

    cart = "web:ann@example.test"

    def __init__(self, served: Serving, _folder: Path) -> None:
        self.served = served
        self.ways = ExitStack()
        self.shop = self.ways.enter_context(hosted(ROOT / "examples" / "shop-page"))
        started = self.ways.enter_context(sync_playwright())
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        self.ways.callback(browser.close)
        self.page = browser.new_page(viewport={"width": 375, "height": 800})
        self.page.set_default_timeout(120_000)

    def visit(self, key: str) -> None:
        """Look at the tea, put it into the cart twice, leave the address."""
        page = self.page
        page.goto(f"{self.shop}/index.html?host={self.served.url}&key={key}")
        for _ in range(2):
            page.get_by_role("button", name="Add to cart").click()
        page.get_by_label("Your address").fill("ann@example.test")
        page.get_by_role("button", name="Keep it").click()
        page.get_by_text("Told: identify").wait_for()

    def press(self, mail: Message) -> None:
        """Open the mail in the browser and press its button, which leads back to the cart."""
        view = next(link for link in ours(mail) if urlsplit(link).path.startswith("/v/"))
        self.page.goto(self.served.url + urlsplit(view).path)
        with self.page.expect_popup() as opened:
            self.page.get_by_role("link", name="Back to your cart").click()
        opened.value.get_by_role("heading", name="Sencha Superior").wait_for()
        assert opened.value.url == f"{self.shop}/index.html#cart"

    def why(self) -> str:
        """Log in, find the customer, and read why."""
        page = self.page
        page.goto(f"{self.served.url}/house")
        page.locator("#password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Customers").click()
        page.get_by_role("searchbox").fill("ann@example.test")
        page.keyboard.press("Enter")
        page.locator(".picks").get_by_role("link", name="cart-recovery").click()
        page.get_by_role("heading", name="Why: cart-recovery").wait_for()
        told = page.content()
        self.ways.close()
        return told


@pytest.mark.parametrize("reader", [Hand, pytest.param(Chromium, marks=[pytest.mark.slow, pytest.mark.web])])
def test_from_a_visit_to_an_order(tmp_path: Path, reader: type[Hand | Chromium]) -> None:
    """Visit, cart, mail, click, order, and no second mail: and `why` says that the order ended it, as does the house."""
    root = tmp_path / "project"
    _init(root)
    homing(root, "apply", "--yes", "--now", NOON)
    settings = settings_module.load(root)
    database = connect(settings.database_url, root)
    with serving(settings, database, SECRETS) as served:
        signed_up = _sign_up(served)
        with database.write() as connection:
            set_password(connection, PASSWORD)
        somebody = reader(served, tmp_path)
        somebody.visit(served.write_key())
        with database.read() as connection:
            assert connection.scalar(select(carts.c.cart_id)) == somebody.cart
            assert find_customer(connection, somebody.cart.removeprefix("web:")) == signed_up
        homing(root, "tick", "--until", "2026-03-02T16:30:00Z")
        (letter, mail) = sorted(mails(root), key=lambda each: each["X-Homing-Flow"] == "cart-recovery")
        assert letter["X-Homing-Flow"] == "web"
        assert mail["X-Homing-Step"] == "cart-reminder"
        _links_work(served, mail)
        somebody.press(mail)
        bought = order(
            customer=person(17, email="ann@example.test"), email="ann@example.test", cart_token=None,
            created_at="2026-03-02T16:20:00Z", updated_at="2026-03-02T16:20:00Z",
        )  # fmt: skip
        assert shopify(served, "orders/create", bought) == 200
        homing(root, "tick", "--until", "2026-03-06T12:00:00Z")
        assert [
            each["X-Homing-Step"] for each in mails(root) if each["X-Homing-Flow"] == "cart-recovery"
        ] == ["cart-reminder"]
        (story,) = json.loads(homing(root, "why", "ann@example.test", "cart-recovery", "--json"))
        left = [step for step in story["decisions"] if step["decision"] == "exited"]
        assert any("order_placed" in json.dumps(step) for step in left), story["decisions"]
        assert "left the flow" in somebody.why()
    database.close()


def _init(root: Path) -> None:
    command = [sys.executable, "-m", "cli", "init", str(root)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    toml = (root / "homing.toml").read_text(encoding="utf-8")
    toml = toml.replace("[web]\n", '[web]\nurl = "https://mail.kiyomi.test"\n').replace(
        'quiet_hours = "21:00-08:00"', 'quiet_hours = ""'
    )
    (root / "homing.toml").write_text(toml, encoding="utf-8")


def _sign_up(served: Serving) -> int:
    """Sign up by the form and confirm by the mailed link; return the customer's number."""
    form = {"email": "ann@example.test", "topic": ["reminders", "offers"], "consent": "1"}
    assert served.client.post("/signup", data=form).status_code == 200
    (letter,) = mails(served.site.settings.root)
    text = letter.get_payload()[0].get_payload(decode=True).decode()  # type: ignore[union-attr,index]
    link = next(word for word in text.split() if "/c/" in word)
    assert served.client.post(urlsplit(link).path).status_code == 200
    with served.site.database.read() as connection:
        found = find_customer(connection, "ann@example.test")
        assert found is not None
        assert set(consent_standing(connection, found).values()) == {"granted"}
    return found


def ours(mail: Message) -> list[str]:
    """Return the links of a mail that lead to us."""
    return sorted(set(re.findall(r'href="(https://mail\.kiyomi\.test/[a-z]/[^"]+)"', html_of(mail))))


def _links_work(served: Serving, mail: Message) -> None:
    """Every link of the mail that leads to us is answered; the mail in the browser is that mail; scanners end nothing."""
    html = html_of(mail).replace("\r\n", "\n")
    links = ours(mail)
    assert {urlsplit(link).path[1] for link in links} >= {"u", "p", "v"}
    answers: dict[str, Mapping[str, Any]] = {}
    for link in links:
        answer = served.client.get(urlsplit(link).path)
        assert answer.status_code == 200, link
        answers[urlsplit(link).path[1]] = {
            "text": answer.text,
            "policy": answer.headers["content-security-policy"],
        }
    assert answers["v"]["text"].strip() == html.strip()
    assert "sandbox" in answers["v"]["policy"]
    assert "script" not in answers["v"]["policy"]
