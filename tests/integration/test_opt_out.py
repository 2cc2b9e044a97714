"""A word against a mail that is due (an opt-out, a purchase): wherever one of the two comes between the steps of the other.

One thread sends what is due; another clicks the link in an earlier mail, or tells the shop's purchase. Either is held at one
of its steps (a statement, a commit, the call to the provider) until the other has ended or waits for it. What must hold each
time: once the click is answered 200, or the purchase is acknowledged, no hand-over begins, and only what had begun is handed over.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine as Pool
from sqlalchemy import event, select

from engine import settings as settings_module
from engine.delivery.outcome import Accepted, Outcome
from engine.facts.ingest import ingest_rows
from engine.render.links import SignedLinks
from engine.render.mail import Mail
from engine.runtime.opening import open_engine
from engine.runtime.passes import Engine, run_pass, send_due
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.tables import messages
from tests.integration.living_shop import LivingShop, make_project, prepare
from tests.integration.web_server import Serving, serving

WAITS = 0.25  # seconds after which the second thread, where it says nothing any more, is taken to wait for the first
PATIENCE = 120.0  # seconds for a thread that nobody holds up
EVERY = 1 if os.environ.get("HOMING_TEST_SHARE") == "full" else 23
NOWHERE = 10_000  # a step that is never reached


@dataclass
class Side:
    """One of the two: counts its steps, and stands still at one of them until it may go on."""

    count: int = 0
    hold_at: int = NOWHERE
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def begin(self, hold_at: int) -> None:
        """Begin anew."""
        self.count, self.hold_at = 0, hold_at
        self.held.clear()
        self.go.clear()

    def step(self) -> None:
        """Pass a step."""
        self.count += 1
        if self.count == self.hold_at:
            self.held.set()
            assert self.go.wait(PATIENCE)

    def watch(self, pool: Pool, thread: str, passed: Callable[[str], None]) -> None:
        """Take each statement and end of a transaction of threads so called as a step."""

        def tell(what: str) -> None:
            if threading.current_thread().name.startswith(thread):
                passed(what)
                self.step()

        commit = pool.dialect.do_commit

        def committed(connection: Any) -> None:
            tell("before commit")
            commit(connection)
            tell("committed")

        event.listen(pool, "before_cursor_execute", lambda *_: tell("statement"))
        pool.dialect.do_commit = committed  # type: ignore[method-assign,assignment]


@dataclass
class Duel:
    """A shop in which one customer after the other has a mail due, and says a word against it.

    `say` says it for the customer of that number, whose link of an earlier mail it is given, and returns once that is
    acknowledged.
    """

    shop: LivingShop
    engine: Engine
    server: Database
    watching: Database
    say: Callable[[int, str], None]
    sending: Side = field(default_factory=Side)
    saying: Side = field(default_factory=Side)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    message: int = 0
    handed: list[str] = field(default_factory=list)
    acknowledged: threading.Event = field(default_factory=threading.Event)
    was_acknowledged: bool = False
    begun: list[bool] = field(default_factory=list)  # whether the word was acknowledged before it began

    name = "mailbox"

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Be the provider, which takes everything; its call is a step too."""
        self.sending.step()
        self.handed += [mail.key for mail in mails]
        return [Accepted(mail.key) for mail in mails]

    def check(self) -> list[str]:
        """Find nothing wrong."""
        return []

    def close(self) -> None:
        """Have nothing to close."""

    def sent(self, what: str) -> None:
        """See when the hand-over begins: at the commit after which the message says so."""
        if what == "before commit":
            self.was_acknowledged = self.acknowledged.is_set()
        if what == "committed" and not self.begun and self.state() == "handing_over":
            self.begun.append(self.was_acknowledged)

    def state(self) -> str:
        """Return the state of the message."""
        with self.watching.read() as connection:
            return str(connection.scalar(select(messages.c.state).where(messages.c.id == self.message)))

    def fight(self, first: str, sending_at: int, saying_at: int) -> None:
        """Let both come to where they are held, `first` before the other, and then to their ends; judge what came of it."""
        number = next(self.numbers)
        now, link = self._due(number)
        self.sending.begin(sending_at)
        self.saying.begin(saying_at)

        def say() -> None:
            self.say(number, link)
            self.acknowledged.set()

        works = {
            "sending": (lambda: send_due(self.engine, now, now), self.sending),
            "saying": (say, self.saying),
        }
        order = [first, *(name for name in works if name != first)]
        threads = [threading.Thread(target=works[name][0], name=name) for name in order]
        for name, thread in zip(order, threads, strict=True):
            thread.start()
            # The first is alone: it comes to its step, or its end, however long that takes.
            _wait(thread, works[name][1], PATIENCE if name == first else WAITS)
        for name, thread in zip(order, threads, strict=True):
            works[name][1].go.set()
            thread.join(WAITS)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._judge()

    def _due(self, number: int) -> tuple[datetime, str]:
        """Let another customer have a mail due; return the moment, and the link that they could click."""
        self.shop.sign_up(number, 1)
        now = datetime.now(UTC)
        run_pass(self.engine, now, sending=False)
        with self.watching.read() as connection:
            due = connection.execute(
                select(messages.c.id, messages.c.key, messages.c.customer_id).where(
                    messages.c.state == "pending"
                )
            ).one()
            secret = meta.link_secrets(connection)[0]
        self.message = due.id
        self.handed.clear()
        self.begun.clear()
        self.acknowledged.clear()
        return now, SignedLinks("", secret, due.key, due.customer_id, "offers").unsubscribe()

    def _judge(self) -> None:
        assert self.acknowledged.is_set()
        self.sending.hold_at = NOWHERE
        now = datetime.now(UTC)
        send_due(self.engine, now, now)  # a dispatch steps over whom somebody else is working on
        assert self.begun in ([], [False]), "a hand-over began after the word was acknowledged"
        assert len(self.handed) == len(self.begun)
        assert self.state() == ("accepted" if self.begun else "dropped")


def _wait(thread: threading.Thread, side: Side, quiet: float) -> None:
    """Wait until a thread stands at its step, has ended, or has passed no step for so many seconds."""
    passed, until = -1, 0.0
    while thread.is_alive() and not side.held.is_set():
        now, count = time.monotonic(), side.count
        if count != passed:
            passed, until = count, now + quiet
        if now > until:
            return
        time.sleep(0.001)


@contextmanager
def duel(
    url: str, root: Path, say: Callable[[Database, int, str], None], thread: str = "saying"
) -> Iterator[Duel]:
    """Give a shop in which `say` says the word by a database of its own, whose steps are those of threads so called."""
    make_project(root)
    shop = prepare(root, url)
    settings = settings_module.load(root, {})
    sender, server, watching = connect(url), connect(url), connect(url)
    engine = open_engine(settings, sender, environ={})
    duel = Duel(shop, engine, server, watching, lambda number, link: say(server, number, link))
    duel.engine = replace(duel.engine, exits=replace(duel.engine.exits, mailbox=duel))
    duel.sending.watch(sender.engine, "sending", duel.sent)
    duel.saying.watch(server.engine, thread, lambda _what: None)
    yield duel
    for opened in (sender, server, watching):
        opened.close()


def fight_at_every_step(duel: Duel) -> None:
    """Hold each at each of its steps in turn, sending and the word, and both in between."""
    duel.fight("sending", NOWHERE, NOWHERE)
    assert duel.begun, "undisturbed, the mail goes before the word"
    steps = duel.sending.count
    duel.fight("saying", NOWHERE, NOWHERE)
    assert not duel.begun, "undisturbed, the word comes before the mail"
    words = duel.saying.count
    assert steps >= 6
    assert words >= 4
    ends = set()
    for at in range(1, steps + 1):
        duel.fight("sending", at, NOWHERE)
        ends.add(bool(duel.begun))
    for at in range(1, words + 1):
        duel.fight("saying", NOWHERE, at)
        ends.add(bool(duel.begun))
    for first, (mail, word) in itertools.product(
        ("sending", "saying"), list(itertools.product(range(1, steps + 1), range(1, words + 1)))[::EVERY]
    ):
        duel.fight(first, mail, word)
    assert ends == {True, False}, "either may come first"


def test_after_the_click_no_hand_over_begins(database_url: str, tmp_path: Path) -> None:
    """Wherever a click comes between the steps of sending: once it is answered, nothing is handed over any more."""
    clients: list[Serving] = []

    def click(_server: Database, _number: int, link: str) -> None:
        answer = clients[0].client.post(link, data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200

    with (
        duel(database_url, tmp_path, click, "AnyIO worker") as fighting,
        serving(settings_module.load(tmp_path, {}), fighting.server) as served,
    ):
        clients.append(served)
        fight_at_every_step(fighting)


def test_after_the_purchase_no_hand_over_begins(database_url: str, tmp_path: Path) -> None:
    """Wherever the purchase comes that ends its flow: once it is acknowledged, nothing is handed over any more."""

    def buy(server: Database, number: int, _link: str) -> None:
        settings, now = settings_module.load(tmp_path, {}), datetime.now(UTC)
        order = {
            "order_id": f"o{number}",
            "customer": f"c{number}",
            "placed_at": now.isoformat(),
            "total": "9.00",
        }
        report = ingest_rows(server, "orders", [order], settings=settings, now=now)
        assert report.new == 1

    with duel(database_url, tmp_path, buy) as fighting:
        fight_at_every_step(fighting)
