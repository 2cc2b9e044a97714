"""The shop of the crash suite: a real project whose mails go to a server outside, and what must hold at the end of a run.

Three customers have their mails already (accepted before anything is killed); the facts of the others wait in the inbox,
so that a run takes them through routing, entering, advancing and dispatch.
"""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.facts.fact import Kind
from engine.facts.ingest import ingest_rows
from engine.render.compose import message_id
from engine.runtime.opening import open_engine, own_name
from engine.runtime.passes import Engine, run_pass
from engine.settings import Settings
from engine.store.database import Database, connect
from engine.store.tables import attempts, enrollments, events, journal, messages
from tests.crash.fuse import Fuse
from tests.integration.living_shop import FLOW, SENDER, SETTINGS, TEMPLATE
from tests.servers.process import API_KEY, RunningServer

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
BEFORE, WAITING = 3, 22
GROUP = 10
ENVIRON = {"SENDGRID_API_KEY": API_KEY}
LATE = GROUP  # mails that a server may answer late where the machine has much else to do: who is hasty gives up on them
DIED = "the worker died during the hand-over"
OPEN = ("pending", "claimed", "handing_over")
OPTIONS = {
    "smtp": '[delivery.smtp]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\n',
    "sendgrid": '[delivery.sendgrid]\nurl = "http://127.0.0.1:{port}"\n',
}
HASTE = {"smtp": "answer_seconds = 0.4", "sendgrid": "answer_seconds = 0.4\nconnections = 2"}
# What the server does to one mail of the run: the words of its script.
Outcome = Mapping[str, object]
OUTCOMES: Mapping[str, Mapping[str, Outcome]] = {
    "smtp": {
        "accepted": {},
        "accepted, then reset": {"phase": "answer", "do": "drop", "recorded": True},
        "timeout before the body": {"phase": "content", "do": "hang"},
        "timeout after the body": {"phase": "answer", "do": "hang", "recorded": True},
        "not now": {"phase": "rcpt", "do": "reply", "reply": "450 4.7.1 later, please"},
        "late error": {"phase": "answer", "do": "reply", "reply": "451 4.3.0 no room"},
        "refused": {"phase": "rcpt", "do": "reply", "reply": "550 5.1.1 nobody of this name"},
        "nonsense": {"phase": "answer", "do": "garbage", "recorded": True},
        "refused content": {"phase": "answer", "do": "reply", "reply": "554 5.7.1 not wanted"},
        "slow": {"phase": "answer", "do": "slow", "seconds": 1.0, "recorded": True},
    },
    "sendgrid": {
        "accepted": {},
        "accepted, then reset": {"phase": "after", "do": "reset", "recorded": True},
        "timeout before the body": {"phase": "before", "do": "hang"},
        "timeout after the body": {"phase": "after", "do": "hang", "recorded": True},
        "not now": {"phase": "after", "do": "reply", "status": 429, "headers": {"Retry-After": "30"}},
        "late error": {"phase": "after", "do": "reply", "status": 503},
        "refused": {"phase": "after", "do": "reply", "status": 400, "body": {"errors": [{"message": "no"}]}},
        "nonsense": {"phase": "after", "do": "garbage", "recorded": True},
        "slow": {"phase": "after", "do": "slow", "seconds": 1.0, "recorded": True},
    },
}


@dataclass(slots=True)
class Shop:
    """The project, its open engine (which children inherit), and the server outside."""

    root: Path
    provider: str
    server: RunningServer
    engine: Engine

    def run(self, now: datetime = NOW) -> None:
        """Do in this process what `homing tick` does, under this process's own name."""
        run_pass(replace(self.engine, worker=replace(self.engine.worker, name=own_name())), now)

    def run_with(self, fuse: Fuse) -> None:
        """The same, with a fuse laid."""
        fuse.lay(self.engine.database.engine)
        self.run()

    def finish(self) -> None:
        """Go on until nothing is open: later passes take what had to be tried again."""
        for hours in (0, 1, 2, 4, 8):
            self.run(NOW + timedelta(hours=hours))
            if not self.states().keys() & set(OPEN):
                return

    def states(self) -> Counter[str]:
        """Return how many messages are in each state."""
        with self.engine.database.read() as connection:
            query = select(messages.c.state, func.count()).group_by(messages.c.state)
            return Counter({row[0]: row[1] for row in connection.execute(query)})

    def let_leases_end(self) -> None:
        """Move the leases into the past, so that a run need not wait for a minute."""
        with self.engine.database.write() as connection:
            past = datetime(2000, 1, 1, tzinfo=UTC)
            held = messages.update().where(messages.c.lease_until.is_not(None))
            connection.execute(held.values(lease_until=past))

    def misbehave(self, outcome: str, skip: int) -> None:
        """Let the server do that to one mail, after `skip` mails."""
        wanted = dict(OUTCOMES[self.provider][outcome])
        if not wanted:
            self.server.behave()
            return
        phase, do = str(wanted.pop("phase")), str(wanted.pop("do"))
        self.server.script(phase, do, times=1, skip=skip, **wanted)

    def begin(self, outcome: str, skip: int) -> int:
        """Begin a run in which the server does that; return where its lines begin in the ledger (bytes)."""
        self.server.reset()
        self.misbehave(outcome, skip)
        return self.server.ledger.stat().st_size

    def arrived(self, since: int) -> Counter[str]:
        """Return how often each mail was taken, by its Message-ID; lines before `since` (bytes) belong to earlier runs."""
        with self.server.ledger.open("rb") as ledger:
            ledger.seek(since)
            whole = ledger.read().rpartition(b"\n")[0]  # the server may be writing the last one
            lines = [entry for line in whole.splitlines() if self.server.is_new(entry := json.loads(line))]
        if self.provider == "sendgrid":
            keys = [line["body"]["personalizations"][0]["custom_args"]["homing_message"] for line in lines]
            return Counter(message_id(key, SENDER) for key in keys)
        found = [BytesHeaderParser().parsebytes(base64.b64decode(line["content"])) for line in lines]
        return Counter(str(each["Message-ID"]) for each in found)


def prepare(root: Path, url: str, provider: str, server: RunningServer, times: str | None = None) -> Shop:
    """Write the project, apply it to the migrated database, and send the first mails.

    `times` are the provider's options on how long to wait for answers; without them it is hasty.
    """
    for folder in ("flows", "templates"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "flows" / "hello.yaml").write_text(FLOW, encoding="utf-8")
    (root / "templates" / "hello.mjml").write_text(TEMPLATE, encoding="utf-8")
    database = connect(url)
    patient = _settings(root, provider, server, "")  # the first mails are accepted, however busy the machine
    apply(database, patient, now=NOW - timedelta(hours=1), who="crash")
    shop = Shop(root, provider, server, _opened(patient, database))
    server.ledger.touch()
    sign_up(shop, 0, BEFORE, NOW - timedelta(minutes=30))
    shop.run(NOW - timedelta(minutes=20))
    if shop.engine.exits.real is not None:
        shop.engine.exits.real.close()
    given = _settings(root, provider, server, HASTE[provider] if times is None else times)
    shop.engine = _opened(given, database)
    sign_up(shop, BEFORE, WAITING, NOW - timedelta(minutes=10))
    assert shop.states() == {"accepted": BEFORE}
    return shop


def _settings(root: Path, provider: str, server: RunningServer, times: str) -> Settings:
    options = OPTIONS[provider].format(port=server.port) + times
    (root / "homing.toml").write_text(
        SETTINGS.format(sender=SENDER, provider=provider, rate="100000/s", options=options), encoding="utf-8"
    )
    return settings_module.load(root)


def _opened(settings: Settings, database: Database) -> Engine:
    return open_engine(settings, database, environ=ENVIRON, chance=random.Random(1))


def sign_up(shop: Shop, first: int, count: int, now: datetime) -> None:
    """Let so many customers with consent sign up."""
    numbers = range(first, first + count)
    people = [{"external_id": f"c{n}", "email": f"c{n}@example.test", "consent": ["offers"]} for n in numbers]
    told = [{"customer": f"c{n}", "event": "signed_up", "message_id": f"m{n}"} for n in numbers]
    facts: tuple[tuple[Kind, list[dict[str, Any]]], ...] = (("customers", people), ("events", told))
    for kind, rows in facts:
        ingest_rows(shop.engine.database, kind, rows, settings=shop.engine.settings, now=now)


def hold(shop: Shop, arrived: Counter[str], dead: int, silent: int) -> list[str]:
    """Return what does not hold at the end of a run.

    So many mails may be unknown because their worker died, and so many because the server gave no answer in time that could
    be understood.
    """
    with shop.engine.database.read() as connection:
        rows = connection.execute(
            select(messages.c.id, messages.c.key, messages.c.state, messages.c.reason).order_by(messages.c.id)
        ).all()
        entered = connection.scalar(select(func.count()).select_from(enrollments))
        begun = connection.scalar(select(func.count()).where(attempts.c.outcome.is_(None)))
        sent = Counter(connection.scalars(select(journal.c.message_id).where(journal.c.decision == "sent")))
        told = connection.scalar(select(func.count()).where(events.c.name == "mail_sent"))
    by_state: dict[str, set[str]] = {}
    for row in rows:
        by_state.setdefault(row.state, set()).add(message_id(row.key, SENDER))
    accepted, unknown = by_state.get("accepted", set()), by_state.get("unknown", set())
    died = sum(row.state == "unknown" and row.reason == DIED for row in rows)
    earlier = {message_id(row.key, SENDER) for row in rows[:BEFORE]}
    checks: list[tuple[str, Callable[[], bool]]] = [
        ("a mail arrived twice", lambda: max(arrived.values(), default=0) <= 1),
        ("a mail of an earlier pass was sent again", lambda: not earlier & set(arrived)),
        ("a message was lost or made twice", lambda: len(rows) == entered == BEFORE + WAITING),
        ("a message is left open", lambda: set(by_state) <= {"accepted", "unknown", "failed", "dropped"}),
        ("a reason is missing", lambda: all(r.reason for r in rows if r.state in ("failed", "dropped", "unknown"))),
        ("accepted, but it never arrived", lambda: accepted - earlier <= set(arrived)),
        ("it arrived, but is neither accepted nor unknown", lambda: set(arrived) <= accepted | unknown),
        ("too many are in doubt for a death", lambda: died <= dead),
        ("too many are in doubt for a silence", lambda: len(unknown) - died <= silent),
        ("an attempt has no end", lambda: begun == 0),
        ("the journal does not tell each sending once",
         lambda: sent == Counter({row.id: 1 for row in rows if row.state == "accepted"})),
        ("the facts do not tell each sending once", lambda: told == len(accepted)),
    ]  # fmt: skip
    return [f"{what} ({Counter(row.state for row in rows)})" for what, holds in checks if not holds()]
