"""A small shop on real time for tests that start, kill and stop real programs.

One flow mails everybody who signs up, at once; nothing holds it back. `prepare` makes the project and its database with
facts that wait to be taken in; copies of it are made for each program under test, which is started as a shell would.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text, update

from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.ingest import ingest_rows
from engine.runtime.daemon import STOP_SECONDS
from engine.runtime.leader import DAEMON
from engine.store.database import Database, connect
from engine.store.tables import enrollments, leases, messages

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = float(os.environ.get("HOMING_TEST_PATIENCE", "180"))
"""Seconds for what nobody promised a time for, where the machine has much else to do."""
# A program that is told to stop gives itself STOP_SECONDS, which leaves 2 of the 10 that it promises; as long again is left
# to a busy machine. A provider that never answers would hold it up for 20 seconds.
ENDS_SECONDS = 2 * STOP_SECONDS
SENDER = "hello@kiyomi.test"
SETTINGS = """
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "{sender}"
[delivery]
provider = "{provider}"
allow = ["@example.test"]
rate = "{rate}"
{options}
[policy]
quiet_hours = ""
caps = []
"""
FLOW = """
flow: hello
summary: Greet everybody who signs up.
topic: offers
trigger: {event: signed_up}
exit_when: [{did: order_placed}]
steps:
  - send: hello
"""
TEMPLATE = """---
subject: "Hello {{ customer.first_name or 'there' }}"
preheader: "Good to see you."
---
<mjml><mj-head><mj-title>{{ subject }}</mj-title></mj-head><mj-body><mj-section><mj-column>
<mj-text>Hello. <a href="{{ links.unsubscribe }}">Unsubscribe</a> {{ shop.postal_address }}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""


@dataclass(slots=True)
class LivingShop:
    """A project folder and the URL of its database."""

    root: Path
    url: str
    environ: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the database for a moment."""
        opened = connect(self.url)
        try:
            yield opened
        finally:
            opened.close()

    def start(self, *arguments: str, log: str = "log") -> subprocess.Popen[bytes]:
        """Start `homing` and return the process; what it says on stderr goes to the file `log`."""
        with (self.root / log).open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments, "--project", str(self.root), "--database", self.url],
                cwd=ROOT, env={**os.environ, **self.environ}, stdout=subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip

    def homing(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `homing` to its end, which must come."""
        command = [
            sys.executable,
            "-m",
            "cli",
            *arguments,
            "--project",
            str(self.root),
            "--database",
            self.url,
        ]
        try:
            return subprocess.run(
                command, cwd=ROOT, env={**os.environ, **self.environ}, capture_output=True, text=True, check=False,
                timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise AssertionError(f"homing {' '.join(arguments)} did not end") from None

    def log(self, name: str = "log") -> str:
        """Return what a started program said."""
        path = self.root / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def states(self) -> Counter[str]:
        """Return how many messages are in each state."""
        with self.database() as database, database.read() as connection:
            query = select(messages.c.state, func.count()).group_by(messages.c.state)
            return Counter({row[0]: row[1] for row in connection.execute(query)})

    def entered(self) -> int:
        """Return how many customers entered."""
        with self.database() as database, database.read() as connection:
            return connection.scalar(select(func.count()).select_from(enrollments)) or 0

    def signs(self) -> int:
        """Return how many programs that send have said that they live, the dead ones among them."""
        with self.database() as database, database.read() as connection:
            query = select(func.count()).select_from(leases).where(leases.c.name.startswith(DAEMON))
            return connection.scalar(query) or 0

    def let_leases_end(self) -> None:
        """Let the leases of dead programs end now instead of in a minute: only their times are moved."""
        past = datetime(2000, 1, 1, tzinfo=UTC)
        with self.database() as database, database.write() as connection:
            connection.execute(
                update(messages).where(messages.c.lease_until.is_not(None)).values(lease_until=past)
            )
            connection.execute(
                text("UPDATE leases SET until = :past").bindparams(past=_stored(database, past))
            )

    def mailbox(self) -> Counter[str]:
        """Return how often each Message-ID lies in the local mailbox."""
        found = [path.read_bytes() for path in (self.root / "mailbox" / "new").glob("*")]
        return Counter(message_id(content) for content in found)

    def sign_up(self, first: int, count: int, domain: str = "example.test") -> None:
        """Let customers with consent sign up, now."""
        settings = settings_module.load(self.root)
        now = datetime.now(UTC)
        self.introduce(first, count, domain)
        told = [
            {"customer": f"c{n}", "event": "signed_up", "message_id": f"m{n}"}
            for n in range(first, first + count)
        ]
        with self.database() as database:
            ingest_rows(database, "events", told, settings=settings, now=now)

    def introduce(self, first: int, count: int, domain: str = "example.test") -> None:
        """Let customers be known who consented, and have not signed up."""
        people = [
            {"external_id": f"c{n}", "email": f"c{n}@{domain}", "consent": ["offers"]}
            for n in range(first, first + count)
        ]
        with self.database() as database:
            ingest_rows(
                database, "customers", people, settings=settings_module.load(self.root), now=datetime.now(UTC)
            )


def _stored(database: Database, moment: datetime) -> Any:
    return int(moment.timestamp() * 1_000_000) if database.is_sqlite else moment


def message_id(content: bytes) -> str:
    """Return the Message-ID of a mail: the same for the same message, however often it was handed over."""
    return str(BytesHeaderParser().parsebytes(content)["Message-ID"])


def in_ledger(ledger: Path) -> Counter[str]:
    """Return how often each Message-ID was taken by the test's SMTP server."""
    lines = ledger.read_bytes().split(b"\n")[:-1] if ledger.exists() else []
    return Counter(message_id(base64.b64decode(json.loads(line)["content"])) for line in lines)


def make_project(root: Path, *, smtp_port: int | None = None, rate: str = "100000/s") -> None:
    """Write the shop's project."""
    options = (
        f'[delivery.smtp]\nhost = "127.0.0.1"\nport = {smtp_port}\nsecurity = "none"' if smtp_port else ""
    )
    provider = "smtp" if smtp_port else "mailbox"
    (root / "flows").mkdir(parents=True, exist_ok=True)
    (root / "templates").mkdir(exist_ok=True)
    (root / "homing.toml").write_text(
        SETTINGS.format(sender=SENDER, provider=provider, rate=rate, options=options), encoding="utf-8"
    )
    (root / "flows" / "hello.yaml").write_text(FLOW, encoding="utf-8")
    (root / "templates" / "hello.mjml").write_text(TEMPLATE, encoding="utf-8")


def prepare(root: Path, url: str, signed_up: int = 0) -> LivingShop:
    """Apply the project at `root` to the migrated database at `url`, and let customers sign up."""
    shop = LivingShop(root, url)
    with shop.database() as database:
        apply(database, settings_module.load(root), now=datetime.now(UTC), who="test")
    if signed_up:
        shop.sign_up(0, signed_up)
    return shop


def wait_for(condition: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> float:
    """Wait until the condition holds and return the seconds that it took; fail where it does not in time.

    `what` is what was waited for; a function is asked at the end, so that it can tell what the programs said meanwhile.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return time.monotonic() - started


def terminate(
    process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, seconds: float = PATIENCE
) -> tuple[int, float]:
    """Signal a program and wait for its end; return its exit code and how long it took."""
    started = time.monotonic()
    process.send_signal(how)
    return process.wait(timeout=seconds), time.monotonic() - started
