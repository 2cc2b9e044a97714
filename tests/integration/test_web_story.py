"""The whole story: a visit to a shop's page leads to a cart mail, its links work, the order comes, and the next mail does not.

Played on a virtual clock by the commands that people use, with a real server in between; once with the calls sent by hand,
once by a real browser that loads a page of the shop from another origin.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from engine import settings as settings_module
from engine.facts.finding import find_customer
from engine.facts.profile import consent_standing
from engine.store.database import connect
from engine.store.tables import carts
from tests.integration.test_web_shops import SECRETS, order, person, shopify
from tests.integration.web_server import Serving, serving

ROOT = Path(__file__).resolve().parents[2]
NOON = "2026-03-02T12:00:00Z"
SENCHA = {"sku": "SEN-100", "name": "Sencha Superior", "price": 12.25, "currency": "EUR", "url": "https://kiyomi.test/p/sencha", "image_url": "https://kiyomi.test/i/sencha.png"}  # fmt: skip
VISIT = {"anonymousId": "visitor-1"}
CALLS: tuple[dict[str, Any], ...] = (
    {"type": "page", "name": "Sencha Superior", **VISIT},
    {"type": "track", "event": "Product Viewed", "properties": SENCHA, **VISIT},
    {"type": "track", "event": "Product Added", "properties": {**SENCHA, "quantity": 2}, **VISIT},
    {
        "type": "identify",
        "userId": "17",
        "traits": {"email": "ann@example.test", "firstName": "Ann", "locale": "en"},
        **VISIT,
    },
)
PAGE = """<!doctype html><title>Sencha Superior</title><h1>Sencha Superior</h1><p id="done">sending</p>
<script>
const calls = %s;
async function send() {
  for (const call of calls) {
    // As Segment's library for browsers does: text, so that no preflight is needed.
    const answer = await fetch("%s/v1/" + call.type[0], {method: "POST", body: JSON.stringify({...call, writeKey: "%s",
      messageId: "ajs-" + calls.indexOf(call), sentAt: new Date().toISOString()})});
    if (answer.status !== 200) throw answer.status;
  }
  document.getElementById("done").textContent = "all sent";
}
send().catch((error) => { document.getElementById("done").textContent = "failed " + error; });
</script>"""


def homing(root: Path, *arguments: str) -> str:
    """Run a command to its end and return what it says."""
    command = [sys.executable, "-m", "cli", *arguments, "--project", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def mails(root: Path) -> list[Message]:
    """Return the mails in the local mailbox, oldest first."""
    found = [message_from_bytes(path.read_bytes()) for path in (root / "mailbox" / "new").glob("*")]
    return sorted(found, key=lambda mail: str(mail["X-Homing-Message"]))


def html_of(mail: Message) -> str:
    """Return the HTML of a mail."""
    return str(mail.get_payload()[1].get_payload(decode=True).decode())  # type: ignore[union-attr,index]


def by_hand(served: Serving, key: str, _folder: Path) -> None:
    """Send the calls of the page one after another."""
    for number, call in enumerate(CALLS):
        told = {**call, "writeKey": key, "messageId": f"ajs-{number}"}
        assert served.client.post(f"/v1/{str(call['type'])[0]}", content=json.dumps(told)).status_code == 200


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """Serve a folder from another origin."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def by_browser(served: Serving, key: str, folder: Path) -> None:
    """Let a real browser load the shop's page, which sends the calls itself."""
    browser = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if browser is None:
        if os.environ.get("CI"):
            raise RuntimeError("this test needs a browser (Debian: apt-get install chromium)")
        pytest.skip("no browser is here")
    (folder / "shop").mkdir()
    (folder / "shop" / "page.html").write_text(PAGE % (json.dumps(CALLS), served.url, key), encoding="utf-8")
    with hosted(folder / "shop") as origin:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
                   "--virtual-time-budget=15000", "--dump-dom", f"{origin}/page.html"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "all sent" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "visit", [by_hand, pytest.param(by_browser, marks=[pytest.mark.slow, pytest.mark.web])]
)
def test_from_a_visit_to_an_order(tmp_path: Path, visit: Callable[[Serving, str, Path], None]) -> None:
    """Visit, cart, mail, click, order, and no second mail: and `why` says that the order ended it."""
    root = tmp_path / "project"
    _init(root)
    homing(root, "apply", "--yes", "--now", NOON)
    settings = settings_module.load(root)
    database = connect(settings.database_url, root)
    with serving(settings, database, SECRETS) as served:
        signed_up = _sign_up(served)
        visit(served, served.write_key(), tmp_path)
        with database.read() as connection:
            assert connection.scalar(select(carts.c.cart_id)) == "web:17"
            assert find_customer(connection, "17") == signed_up
        homing(root, "tick", "--until", "2026-03-02T16:30:00Z")
        (letter, mail) = sorted(mails(root), key=lambda each: each["X-Homing-Flow"] == "cart-recovery")
        assert letter["X-Homing-Flow"] == "web"
        assert mail["X-Homing-Step"] == "cart-reminder"
        _links_work(served, mail)
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


def _links_work(served: Serving, mail: Message) -> None:
    """Every link of the mail that leads to us is answered; the mail in the browser is that mail; scanners end nothing."""
    html = html_of(mail).replace("\r\n", "\n")
    ours = sorted(set(re.findall(r'href="(https://mail\.kiyomi\.test/[a-z]/[^"]+)"', html)))
    assert {urlsplit(link).path[1] for link in ours} >= {"u", "p", "v"}
    answers: dict[str, Mapping[str, Any]] = {}
    for link in ours:
        answer = served.client.get(urlsplit(link).path)
        assert answer.status_code == 200, link
        answers[urlsplit(link).path[1]] = {
            "text": answer.text,
            "policy": answer.headers["content-security-policy"],
        }
    assert answers["v"]["text"].strip() == html.strip()
    assert "sandbox" in answers["v"]["policy"]
    assert "script" not in answers["v"]["policy"]
