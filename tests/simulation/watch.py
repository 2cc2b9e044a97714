"""The watch: looks at the database and the provider from the outside, and knows what must never be.

What it believes about a customer comes from the facts that were acknowledged to it, not from the engine's tables. It
looks after each commit; what it finds is a `Violation` that names the customer.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.delivery.outcome import Failed, Retry
from engine.render.mail import Mail
from engine.store.marks import TICK
from tests.simulation.outside import Provider
from tests.simulation.scheduler import Scheduler
from tests.simulation.shop import CAP, CAP_DAYS, CART_AGAIN, QUIET, START, Telling

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MARKETING = ("cart", "check-in", "nudge", "birthday", "news", "looked", "welcome-club", "gift")
TOPIC = {"cart": "reminders", "check-in": "reminders", "nudge": "reminders", "looked": "reminders",
         "birthday": "offers", "news": "offers", "welcome-club": "offers",
         "gift": "offers"}  # fmt: skip
REASONS = ("capped", "quiet_hours", "no_consent", "suppressed", "condition_false", "exited", "holdout", "too_late",
           "superseded", "template_error", "nothing_to_recommend", "no_offer", "outranked", "paused", "frozen",
           "quarantined", "sandboxed")  # fmt: skip
SKEW = HOUR  # how far a worker's clock may be off


class Violation(AssertionError):
    """A promise is broken."""

    def __init__(self, promise: str, customer: str, moment: datetime, detail: str = "") -> None:
        super().__init__(f"{promise} ({customer}, {moment:%Y-%m-%d %H:%M}Z{': ' + detail if detail else ''})")
        self.promise, self.customer, self.moment = promise, customer, moment


@dataclass(slots=True)
class Believed:
    """What was acknowledged about one customer."""

    zone: str = "Europe/Berlin"
    granted: dict[str, datetime] = field(default_factory=dict)
    withdrawn: dict[str, datetime] = field(default_factory=dict)
    orders: dict[str, datetime] = field(default_factory=dict)  # order → own time
    told_orders: dict[str, datetime] = field(default_factory=dict)  # order → when it was told
    erased: bool = False
    bounced: bool = False
    carts: dict[str, datetime] = field(default_factory=dict)

    def consents(self, topic: str) -> bool:
        """Return whether a topic may be mailed: a grant that is not older than the last withdrawal."""
        granted = max((self.granted[t] for t in (topic, "all") if t in self.granted), default=None)
        withdrawn = max((self.withdrawn[t] for t in (topic, "all") if t in self.withdrawn), default=None)
        return granted is not None and (withdrawn is None or granted > withdrawn)


@dataclass(frozen=True, slots=True)
class Begun:
    """One hand-over that began."""

    at: datetime
    flow: str
    key: str
    priority: int


SET_ASIDE = "something was set aside"


class Watch:
    """Looks after each commit."""

    provider: Provider

    def __init__(self, outside: Callable[[], sqlite3.Cursor], scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._outside = outside
        self.people: dict[str, Believed] = defaultdict(Believed)
        self.begun: dict[str, list[Begun]] = defaultdict(list)
        self.paused: dict[str | None, int] = {}
        self.dispatches: dict[str, int] = {}
        self.step = 0
        self._attempt = 0
        self._names: dict[int, str] = {}

    # ── what it is told ──────────────────────────────────────────────────────────────────────────────────────────────

    def acknowledged(self, telling: Telling) -> None:
        """Believe what the engine has just acknowledged."""
        self.step += 1
        row, person = telling.row, self.people[telling.customer]
        match telling.kind:
            case "customers":
                person.zone = row["timezone"]
                topics = [row["consent"]] if isinstance(row["consent"], str) else row["consent"]
                for topic in topics:
                    person.granted[topic] = datetime.fromisoformat(row["consent_at"])
            case "consents":
                kept = person.granted if row["state"] == "granted" else person.withdrawn
                at = min(datetime.fromisoformat(row["at"]), self.scheduler.now)
                kept[row["topic"]] = max(at, kept.get(row["topic"], at))
            case "orders":
                person.orders.setdefault(row["order_id"], datetime.fromisoformat(row["placed_at"]))
                person.told_orders.setdefault(row["order_id"], self.scheduler.now)
            case "erase":
                person.erased = True
            case "pause":
                self.paused[row["flow"]] = self.step
            case "resume":
                if row["flow"] is None:
                    self.paused.clear()
                self.paused.pop(row["flow"], None)
            case _:
                pass

    def begins_sending(self, worker: str) -> None:
        """Note that a worker begins a dispatch: what was paused before it must not go."""
        self.dispatches[worker] = self.step

    def looked_at(self) -> datetime | None:
        """Return up to when a tick has looked at what is due."""
        row = self._outside().execute("SELECT at FROM marks WHERE name = ?", (TICK,)).fetchone()
        return None if row is None else _moment(row["at"])

    def has_mail_by(self, moment: datetime) -> bool:
        """Return whether a message is due by a moment, or in somebody's hands."""
        query = """SELECT 1 FROM messages WHERE state IN ('pending', 'claimed', 'handing_over')
                   AND (state <> 'pending' OR try_at <= ?) LIMIT 1"""
        return self._outside().execute(query, (_micros(moment),)).fetchone() is not None

    def handed_over(self, mail: Mail) -> None:
        """Look at one mail as it reaches the provider: its attempt must be committed."""
        row = (
            self._outside()
            .execute(
                "SELECT m.state, c.external_id FROM messages m JOIN customers c ON c.id = m.customer_id WHERE m.key = ?",
                (mail.key,),
            )
            .fetchone()
        )
        if row is None:
            raise Violation("a mail that the ledger does not know", mail.to.email, self.scheduler.now)
        if row["state"] in ("pending", "claimed"):
            raise Violation(
                "a mail before its attempt was committed", row["external_id"] or "?", self.scheduler.now
            )

    # ── after each commit ────────────────────────────────────────────────────────────────────────────────────────────

    def committed(self) -> None:
        """Look at every hand-over that began with this commit."""
        query = """
            SELECT a.id, a.at, a.worker, m.key, m.flow, m.step, m.kind, m.priority, m.due_at, m.expires_at, m.customer_id,
                   e.state, e.since_at, e.entered_at, e.occurrence, c.external_id
            FROM attempts a JOIN messages m ON m.id = a.message_id JOIN enrollments e ON e.id = m.enrollment_id
            JOIN customers c ON c.id = m.customer_id WHERE a.id > ? ORDER BY a.id"""
        for row in self._outside().execute(query, (self._attempt,)).fetchall():
            self._attempt = row["id"]
            self._look_at(row)
        self._note_bounces()

    def _note_bounces(self) -> None:
        """Believe that an address does not exist once the ledger has recorded what the provider said of it."""
        for key in list(self.provider.no_such_address):
            query = """SELECT c.external_id FROM messages m JOIN customers c ON c.id = m.customer_id
                       WHERE m.key = ? AND m.state = 'failed'"""
            row = self._outside().execute(query, (key,)).fetchone()
            if row is not None:
                self.provider.no_such_address.remove(key)
                self.people[row["external_id"]].bounced = True

    def _look_at(self, row: sqlite3.Row) -> None:
        name = row["external_id"] or self._names.get(row["customer_id"], "?")
        self._names[row["customer_id"]] = name
        at, person, flow = _moment(row["at"]), self.people[name], row["flow"]

        def broken(promise: str, detail: str = "") -> Violation:
            return Violation(promise, name, at, detail or f"{row['key']}, {flow}/{row['step']}")

        if person.erased:
            raise broken("a hand-over after an acknowledged erasure")
        if person.bounced:
            raise broken("a hand-over to an address that does not exist")
        if self.provider.accepted[row["key"]]:
            raise broken("a hand-over of a mail that the provider took already")
        if row["state"] == "exited":
            raise broken("a mail after its customer left the flow")
        if at > _moment(row["expires_at"]):
            raise broken("a mail later than max_lateness")
        if at < _moment(row["due_at"]) - SKEW:
            raise broken("a mail before it is due")
        worker = row["worker"].rpartition(" ")[0]
        if any(self.paused.get(which, 1 << 60) <= self.dispatches.get(worker, 0) for which in (None, flow)):
            raise broken("a hand-over while paused")
        if flow in MARKETING:
            self._look_at_marketing(row, person, at, broken)
        if flow == "cart":
            since = _moment(row["since_at"])
            bought = [each for each, own in person.orders.items() if own > since]  # whatever a clock says
            if bought:
                raise broken("a cart mail after an acknowledged purchase", f"{row['key']}, {bought}")
        self.begun[name].append(Begun(at, flow, row["key"], row["priority"]))

    def _look_at_marketing(self, row: sqlite3.Row, person: Believed, at: datetime, broken: Any) -> None:
        flow = row["flow"]
        if not person.consents(TOPIC[flow]):
            raise broken("a hand-over after an acknowledged opt-out, or without consent")
        hour = at.astimezone(ZoneInfo(person.zone)).hour
        if hour >= QUIET[0] or hour < QUIET[1]:
            raise broken("a mail in quiet hours", f"{hour}:00 in {person.zone}")
        if row["state"] == "held_out":
            raise broken("a mail to a holdout")
        mine = self.begun[row["external_id"]]
        counted = {each.key for each in mine
                   if each.flow in MARKETING and each.key != row["key"] and self._counts(each.key)
                   and timedelta(0) <= abs(at - each.at) < CAP_DAYS * DAY - HOUR - SKEW}  # fmt: skip
        if len(counted) >= CAP:
            raise broken(
                f"more than {CAP} mails in {CAP_DAYS} days", ", ".join(sorted({row["key"], *counted}))
            )

    def _counts(self, key: str) -> bool:
        """Return whether a hand-over may have been accepted: it was surely not where the last word says so."""
        words = self.provider.said.get(key)
        return self.provider.accepted[key] > 0 or not words or not isinstance(words[-1], Retry | Failed)

    # ── at the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def at_the_end(self) -> None:
        """Look at everything once the dust has settled."""
        self._healthy()
        self._accounts()
        self._ends()
        self._explained()
        self._entries()

    def _healthy(self) -> None:
        """No decision and no mail has failed by itself: no fault that is injected lies in them."""
        row = self._outside().execute("SELECT kind, subject, reason FROM quarantine LIMIT 1").fetchone()
        if row is not None:
            told = f"{row['kind']} {row['subject']}: {row['reason']}"
            raise Violation(SET_ASIDE, "?", self.scheduler.now, told)

    def _accounts(self) -> None:
        """What the provider took and what the ledger says must agree, whatever the keys of messages are."""
        now = self.scheduler.now
        sent: Counter[tuple[int, str, str]] = Counter()
        rows = self._outside().execute(
            "SELECT m.*, c.external_id, e.state AS left FROM messages m JOIN customers c ON c.id = m.customer_id "
            "JOIN enrollments e ON e.id = m.enrollment_id"
        )
        for row in rows.fetchall():
            name, took = row["external_id"] or "?", self.provider.accepted[row["key"]]
            visit = row["enrollment_id"], row["step"], row["key"].rpartition(":")[2]
            sent[visit] += took
            if sent[visit] > 1:
                raise Violation("the same mail twice", name, now, row["key"])
            if row["state"] in ("accepted", "delivered") and not took:
                raise Violation("a mail that counts as accepted and was never taken", name, now, row["key"])
            if took and row["state"] not in ("accepted", "delivered", "bounced", "unknown"):
                raise Violation(f"a mail that was taken and counts as {row['state']}", name, now, row["key"])
            if row["state"] in ("claimed", "handing_over"):
                raise Violation(f"a message that stays {row['state']}", name, now, row["key"])
            if (
                row["state"] == "pending"
                and _moment(row["try_at"]) < now - 3 * HOUR
                and not self._stopped(row["flow"])
            ):
                raise Violation("a message that waits for nothing", name, now, row["key"])
            if row["state"] == "pending" and row["left"] == "exited":
                raise Violation(
                    "a message that waits though its customer left the flow", name, now, row["key"]
                )

    def _stopped(self, flow: str) -> bool:
        row = (
            self._outside()
            .execute("SELECT paused_at, frozen_at FROM flows WHERE flow = ?", (flow,))
            .fetchone()
        )
        everything = None in self.paused
        return everything or row["paused_at"] is not None or row["frozen_at"] is not None

    def _ends(self) -> None:
        """Every enrollment has ended, or waits for a moment that is to come."""
        now = self.scheduler.now
        query = """SELECT e.*, c.external_id FROM enrollments e JOIN customers c ON c.id = e.customer_id
                   WHERE e.state IN ('active', 'waiting')"""
        for row in self._outside().execute(query).fetchall():
            late = row["next_at"] is not None and _moment(row["next_at"]) < now - 3 * HOUR
            if (row["next_at"] is None or late) and not self._stopped(row["flow"]):
                raise Violation(
                    "an enrollment that waits for nothing", row["external_id"] or "?", now, row["flow"]
                )
        query = """SELECT c.external_id FROM enrollments e JOIN customers c ON c.id = e.customer_id
                   WHERE e.flow = 'gift' AND e.state = 'waiting' AND e.next_at > e.anchor_at AND NOT EXISTS (
                     SELECT 1 FROM messages m WHERE m.enrollment_id = e.id AND m.content LIKE '%offer_awaited%')"""
        for row in self._outside().execute(query).fetchall():
            if not self._stopped("gift"):
                raise Violation("an enrollment that stands still for nothing", row["external_id"] or "?", now)
        query = "SELECT flow, state, count(*) n FROM enrollments GROUP BY flow, state"
        states = Counter[str]()
        for row in self._outside().execute(query):
            if row["state"] not in ("active", "waiting", "completed", "exited", "held_out", "failed"):
                raise Violation(f"an unknown state {row['state']}", "?", now, row["flow"])
            states[row["flow"]] += row["n"]
        query = """SELECT flow, count(DISTINCT enrollment_id) n FROM journal
                   WHERE decision IN ('entered', 'held_out') GROUP BY flow"""
        for row in self._outside().execute(query):
            if states[row["flow"]] != row["n"]:
                told = f"{row['flow']}: {row['n']} entered, {states[row['flow']]} are somewhere"
                raise Violation("entered is not the sum of the states", "?", now, told)

    def _explained(self) -> None:
        """Every message that went or did not go has its line in the journal, with a reason that is one of ours."""
        now = self.scheduler.now
        query = """SELECT m.key, m.state, m.reason, c.external_id,
                     (SELECT count(*) FROM journal j WHERE j.message_id = m.id
                      AND j.decision IN ('sent', 'dropped', 'failed', 'unknown', 'settled')) told
                   FROM messages m JOIN customers c ON c.id = m.customer_id
                   WHERE m.state IN ('accepted', 'dropped', 'failed', 'delivered', 'bounced')"""
        for row in self._outside().execute(query).fetchall():
            if not row["told"]:
                raise Violation(
                    f"{row['state']}, and the journal does not tell why",
                    row["external_id"] or "?",
                    now,
                    row["key"],
                )
            if row["state"] == "dropped" and (row["reason"] or "").partition(":")[0] not in REASONS:
                raise Violation(
                    "dropped for no known reason", row["external_id"] or "?", now, row["reason"] or "none"
                )

    def _entries(self) -> None:
        """Nobody enters twice by the same thing, holdouts are who they are, and each purchase has its receipt."""
        now = self.scheduler.now
        carts: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        receipts: Counter[str] = Counter()
        query = """SELECT e.*, c.external_id FROM enrollments e JOIN customers c ON c.id = e.customer_id
                   ORDER BY e.entered_at"""
        for row in self._outside().execute(query).fetchall():
            name = row["external_id"]
            if name is None:
                continue
            if row["flow"] == "receipt":
                receipts[row["order_id"]] += 1
            if row["flow"] != "cart":
                continue
            entered = carts[name, row["cart_id"]]
            if entered and _moment(row["entered_at"]) - entered[-1] < CART_AGAIN:
                raise Violation("the same cart again within 3 days", name, now, row["cart_id"])
            entered.append(_moment(row["entered_at"]))
            if _is_holdout("cart", name) != (row["state"] == "held_out"):
                raise Violation("a holdout that is none, or none that is one", name, now, row["state"])
        self._receipts(receipts)

    def _receipts(self, receipts: Mapping[str, int]) -> None:
        now = self.scheduler.now
        for name, person in self.people.items():
            for order, told in person.told_orders.items():
                if person.erased or person.bounced or now - told < 12 * HOUR or self._stopped("receipt"):
                    continue
                if receipts[order] != 1 and person.orders[order] >= START:
                    raise Violation(f"a purchase that entered {receipts[order]} times", name, now, order)


def _is_holdout(flow: str, name: str) -> bool:
    """Return what the documented hash says of a customer in a flow with a holdout of 20 %."""
    digest = hashlib.sha256(f"holdout\x1f{flow}\x1f{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < 0.2


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(microseconds: int | None) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds or 0)
