"""The shop of the simulation: its flows, its customers, and what happens to them in a month, as a seed decides.

Small flows that between them use what can go wrong: quiet hours, caps, offers from a pool, experiments, holdouts, waits
on the customer's clock and for facts, timers, gathering, segments, a calendar.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine.facts.fact import Kind

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)  # clocks change in America on the 8th, in Europe on the 29th
ZONES = (
    "Asia/Tokyo",
    "America/New_York",
    "Europe/Berlin",
    "Pacific/Auckland",
    "Asia/Kolkata",
    "America/Los_Angeles",
)
CAP = 2
CAP_DAYS = 7
QUIET = (21, 8)
CART_AGAIN = timedelta(days=3)

TOML = f"""
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
timezone = "Europe/Berlin"
currency = "EUR"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "hello@kiyomi.test"
[policy]
quiet_hours = "{QUIET[0]}:00-0{QUIET[1]}:00"
caps = ["{CAP} per {CAP_DAYS}d"]
"""

FLOWS = {
    "cart": """
flow: cart
topic: reminders
priority: 80
holdout: 20%
trigger: {event: cart_updated, quiet_for: 4h}
re_entry: {per: cart, after: 3d}
exit_when: [{did: order_placed}]
goal: {did: order_placed, within: 5d}
steps:
  - send: cart-first
  - wait: 20h
  - send: cart-second
    offer: ten
  - wait: 2d
  - experiment:
      name: last
      arms:
        nothing: {weight: 50, steps: []}
        third: {weight: 50, steps: [{send: cart-third}]}
""",
    "receipt": """
flow: receipt
kind: transactional
trigger: {event: order_placed}
re_entry: {per: order}
max_lateness: 30d
steps:
  - send: receipt
  - wait: {until: {did: order_delivered, same: order_id}, up_to: 6d, as: arrival}
  - send: care
""",
    "check-in": """
flow: check-in
topic: reminders
priority: 40
trigger: {event: order_placed}
re_entry: {after: 5d}
exit_when: [{did: order_cancelled}]
steps:
  - wait: {until: "10:00", days: weekdays, at_least: 3d}
  - send: check-in
  - wait: 4d
  - branch:
      - when: [{customer: {orders: {gte: 2}}}]
        steps: [{send: check-in-loyal}]
      - otherwise: [{send: check-in-new}]
""",
    "nudge": """
flow: nudge
topic: reminders
priority: 30
policy: {when_capped: wait}
max_lateness: 3d
trigger: {lapsed: {event: order_placed, after: 8d}}
exit_when: [{did: order_placed}]
steps:
  - send: nudge
  - wait: 2d
  - send: nudge-again
    only_if: [{did_not: product_viewed, within: 2d}]
""",
    "birthday": """
flow: birthday
topic: offers
priority: 60
max_lateness: 12h
trigger: {anniversary: birthday, at: "09:00"}
exit_when: [{did: order_placed}]
steps:
  - send: birthday
""",
    "news": """
flow: news
topic: offers
priority: 20
trigger: {schedule: "0 9 * * 1", segment: buyers, clock: shop}
exit_when: [{did: complaint_opened}]
steps:
  - send: news
""",
    "looked": """
flow: looked
topic: reminders
priority: 50
trigger: {event: product_viewed, gather: 6h}
re_entry: {after: 4d}
enter_if: [{did_not: order_placed, within: 2d}]
exit_when: [{did: order_placed}]
steps:
  - send: looked
""",
    "welcome-club": """
flow: welcome-club
topic: offers
priority: 55
trigger: {segment: buyers}
re_entry: never
exit_when: [{did: order_cancelled}]
steps:
  - wait: 1h
  - send: welcome-club
""",
    "gift": """
flow: gift
topic: offers
priority: 45
max_lateness: 4d
trigger: {event: order_placed}
re_entry: {per: order}
exit_when: [{did: order_cancelled}]
steps:
  - send: gift
    offer: scarce
  - wait: {until: offer.scarce.expires_at, offset: -1d}
  - send: gift-ends
""",
}
SEGMENTS = "buyers: [{customer: {orders: {gte: 1}}}]\n"
OFFERS = """ten: {percent: 10, pattern: "TEN-######", valid_for: 7d, once_per: message}
scarce: {amount: 5 EUR, pool: codes.txt, valid_for: 3d, once_per: message, when_empty: wait}
"""
CODES = ("S-1", "S-2")
LETTER = """---
subject: "{subject}"
---
<mjml><mj-body><mj-section><mj-column>
  <mj-text>{{{{ offer.code if offer else '' }}}} {{{{ products | length }}}} <a href="{{{{ links.unsubscribe }}}}">Unsubscribe</a></mj-text>
  <mj-text>{{{{ shop.postal_address }}}}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""
RECEIPT = LETTER.replace("{{{{ offer.code if offer else '' }}}} ", "").replace(
    '<a href="{{{{ links.unsubscribe }}}}">Unsubscribe</a>', ""
)


def write_project(root: Path) -> None:
    """Write the shop's folder."""
    for folder in ("flows", "templates"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "homing.toml").write_text(TOML, encoding="utf-8")
    (root / "flows/segments.yaml").write_text(SEGMENTS, encoding="utf-8")
    (root / "flows/offers.yaml").write_text(OFFERS, encoding="utf-8")
    (root / "codes.txt").write_text("\n".join(CODES), encoding="utf-8")
    for name, text in FLOWS.items():
        (root / f"flows/{name}.yaml").write_text(text.lstrip(), encoding="utf-8")
    letters = ["cart-first", "cart-second", "cart-third", "check-in", "check-in-loyal", "check-in-new", "nudge", "nudge-again", "birthday", "news", "looked", "welcome-club", "gift", "gift-ends"]  # fmt: skip
    for letter in letters:
        (root / f"templates/{letter}.mjml").write_text(LETTER.format(subject=letter), encoding="utf-8")
    for letter in ("receipt", "care"):
        (root / f"templates/{letter}.mjml").write_text(RECEIPT.format(subject=letter), encoding="utf-8")


@dataclass(frozen=True, slots=True, order=True)
class Telling:
    """One thing that somebody tells the shop, or does to it, at a moment."""

    at: datetime
    number: int
    customer: str = field(compare=False)
    kind: Kind | str = field(compare=False)  # a kind of fact, or: erase, pause, resume, restock
    row: Mapping[str, Any] = field(compare=False)


def customers_of(count: int) -> list[str]:
    """Return the names of the shop's customers."""
    return [f"c{number:02d}" for number in range(count)]


def month(seed: int, names: list[str], days: int) -> list[Telling]:
    """Return everything that is told in a month, in the order of the telling: late, twice and out of order at times.

    Each customer's story hangs on the seed and the name alone, so that leaving others out does not change it.
    """
    told: list[Telling] = []
    for name in names:
        told += _story(random.Random(f"{seed}:{name}"), name, days)
    return sorted(
        Telling(each.at, number, each.customer, each.kind, each.row) for number, each in enumerate(told)
    )


def _story(chance: random.Random, name: str, days: int) -> list[Telling]:
    story: list[Telling] = []

    def tell(at: datetime, kind: Kind | str, /, **row: Any) -> None:
        late = chance.choice((0, 0, 0, 0, 2, 40, 600)) if kind not in ("erase",) else 0
        story.append(Telling(at + timedelta(minutes=late), 0, name, kind, row))
        if chance.random() < 0.1 and kind in ("events", "orders", "carts", "consents"):
            again = timedelta(minutes=late + chance.choice((0, 1, 300, 3_000)))
            story.append(Telling(at + again, 0, name, kind, row))

    day = timedelta(days=1)
    horizon = days * 24 * 60

    def moment(first: float = 0) -> datetime:
        return START + timedelta(minutes=chance.randint(int(first), horizon), seconds=chance.randint(0, 59))

    birthday = (START + day * chance.randint(1, 40)).strftime("%m-%d") if chance.random() < 0.5 else None
    consent = chance.choice(("all", "all", "all", ["reminders"], ["offers"], []))
    row = {
        "external_id": name, "email": f"{name}@example.test", "timezone": chance.choice(ZONES),
        "consent": consent, "consent_at": (START - 30 * day).isoformat(), "birthday": birthday,
    }  # fmt: skip
    story.append(Telling(START, 0, name, "customers", {k: v for k, v in row.items() if v is not None}))
    mailed: list[datetime] = []  # about when a mail goes out for what they did
    for number in range(chance.randint(0, 3)):
        at = moment()
        cart = {
            "cart_id": f"{name}-cart{chance.randint(0, number)}",
            "customer": name,
            "value": 30,
            "currency": "EUR",
        }
        for _ in range(chance.randint(1, 2)):
            tell(at, "carts", **cart, updated_at=at.isoformat())
            mailed.append(at + timedelta(hours=4))
            at += timedelta(minutes=chance.randint(1, 400))
        if chance.random() < 0.4:
            bought = at + timedelta(minutes=chance.randint(0, 4_000))
            if chance.random() < 0.75:  # the mail is being sent
                bought = mailed[-1] + timedelta(minutes=chance.randint(-10, 60))
            _order(tell, chance, name, f"{name}-bought{number}", bought)
    for number in range(chance.randint(0, 2)):
        _order(tell, chance, name, f"{name}-order{number}", moment())
    for _ in range(chance.randint(0, 3)):
        at = moment()
        identity = f"{name}-view{at.timestamp():.0f}"
        tell(at, "events", id=identity, event="product_viewed", customer=name, at=at.isoformat(), sku="tea")
        mailed.append(at + timedelta(hours=6))
    if chance.random() < 0.35:
        topic = chance.choice(("all", "reminders", "offers"))
        at = moment()
        if mailed and chance.random() < 0.5:  # a mail is what people think of stopping at
            at = chance.choice(mailed) + timedelta(minutes=chance.randint(0, 600))
        tell(at, "consents", customer=name, topic=topic, state="withdrawn", at=at.isoformat(), source="test")
        if chance.random() < 0.3:
            at += timedelta(minutes=chance.randint(-3_000, 6_000))
            tell(
                at + day,
                "consents",
                customer=name,
                topic=topic,
                state="granted",
                at=at.isoformat(),
                source="test",
            )
    if chance.random() < 0.06:
        story.append(Telling(moment(min(2_000, horizon)), 0, name, "erase", {}))
    return story


def _order(tell: Any, chance: random.Random, name: str, order: str, at: datetime) -> None:
    row = {"order_id": order, "customer": name, "placed_at": at.isoformat(), "total": 25, "currency": "EUR"}
    tell(at, "orders", **row, status="placed", status_at=at.isoformat())
    what = chance.random()
    if what < 0.15:
        then = at + timedelta(minutes=chance.randint(10, 4_000))
        tell(then, "orders", **row, status="cancelled", status_at=then.isoformat())
    elif what < 0.6:
        then = at + timedelta(minutes=chance.randint(2_000, 9_000))
        tell(then, "orders", **row, status="delivered", status_at=then.isoformat())


def restocks(seed: int, days: int) -> list[Telling]:
    """Return the moments of this month at which somebody puts further codes into the pool that runs dry."""
    chance = random.Random(f"{seed}:codes")
    return [
        Telling(
            START + timedelta(minutes=chance.randint(0, days * 24 * 60)), number, "", "restock",
            {"codes": [f"S-{number}-{each}" for each in range(chance.randint(1, 4))]},
        )
        for number in range(chance.randint(1, 6))
    ]  # fmt: skip


def pauses(seed: int, days: int) -> list[Telling]:
    """Return the hours of this month in which somebody pauses a flow, or everything: often as mails are going out."""
    chance = random.Random(f"{seed}:pauses")
    told = []
    for number in range(chance.choice((0, 1, 1, 2))):
        flow = chance.choice((None, None, "news", *FLOWS))
        at = START + timedelta(minutes=chance.randint(0, days * 24 * 60))
        if flow in (None, "news") and chance.random() < 0.7:
            week = chance.randint(0, days // 7)  # Mondays, from nine o'clock in the shop on
            at = START + timedelta(weeks=week, hours=2, minutes=chance.randint(0, 600))
        ends = at + timedelta(minutes=chance.randint(5, 2_000))
        told += [
            Telling(at, number, "", "pause", {"flow": flow}),
            Telling(ends, number, "", "resume", {"flow": flow}),
        ]
    return told
