"""What goes out and what does not: offers, priorities, caps among flows, webhooks, holdouts and goals, products."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from engine.journeys.round import Round
from engine.runtime.passes import run_pass, send_due
from engine.runtime.story import sentences
from engine.runtime.why import why
from engine.store.tables import enrollments, events, messages, offer_codes
from tests.scenarios.world import LETTER, START, World

DAY = timedelta(days=1)


def simple(name: str, *, offer: str = "", **more: str) -> str:
    """Return a flow that sends one letter when somebody checks out."""
    keys = "".join(f"{key}: {value}\n" for key, value in more.items())
    step = f"{{send: letter, offer: {offer}}}" if offer else "{send: letter}"
    return f"flow: {name}\ntopic: offers\n{keys}trigger: {{event: checkout_started}}\nre_entry: always\nsteps: [{step}]\n"


# ── priorities, caps ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_priority_decides_among_mails_due_together(anywhere: World) -> None:
    """Where a cap has room for one, the flow of higher priority sends, and the loser says so."""
    here = anywhere
    here.policy(caps=["1 per 16h"])
    for name, priority in (("low", "10"), ("high", "90"), ("middle", "50")):
        here.flow(simple(name, priority=priority))
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    assert [mail.metadata["flow"] for mail in here.tray.mails] == ["high"]
    assert here.reasons("dropped") == ["outranked", "outranked"]


def test_a_mail_from_before_caps_and_is_no_rival(here: World) -> None:
    """What went an hour ago fills the cap: the later mail is capped, not outranked."""
    here.policy(caps=["1 per 16h"])
    here.flow(simple("one"))
    here.customer()
    here.apply()
    here.event("checkout_started", checkout_id="a")
    here.go_on(hours=1)
    here.event("checkout_started", checkout_id="b")
    here.go_on(hours=1)
    assert here.reasons("dropped") == ["capped"]


def test_the_best_of_the_night_goes_in_the_morning(here: World) -> None:
    """Mails that quiet hours put off meet in the morning, and priority decides among them."""
    here.policy(caps=["1 per 16h"], quiet_hours="21:00-08:00")
    here.flow(simple("low", priority="10"))
    here.flow(simple("high", priority="90").replace("checkout_started", "review_given"))
    here.customer()
    here.apply()
    here.go_to(START.replace(hour=22))
    here.event("checkout_started")
    here.go_on(hours=1)
    here.event("review_given", sku="T1")
    here.go_on(hours=12)
    assert here.sent == [("03-02 08:00", "ann", "letter")]
    assert here.tray.mails[0].metadata["flow"] == "high"
    assert here.reasons("dropped") == ["outranked"]


def test_transactional_mail_fills_no_cap(here: World) -> None:
    """A shipping notice before does not keep marketing back."""
    here.policy(caps=["1 per 16h"])
    here.flow(
        simple("notice")
        .replace("topic: offers\n", "kind: transactional\n")
        .replace("checkout_started", "order_shipped")
    )
    here.flow(simple("news"))
    here.customer()
    here.apply()
    here.event("order_shipped", order_id="o1")
    here.go_on(hours=1)
    here.event("checkout_started")
    here.go_on(hours=1)
    assert [mail.metadata["flow"] for mail in here.tray.mails] == ["notice", "news"]


def test_a_deferral_in_the_gate_moves_what_comes_after(here: World) -> None:
    """A mail that the night catches at the gate goes in the morning, is not late by it, and later steps count from there."""
    here.flow(
        "flow: two\ntopic: offers\nmax_lateness: 1h\npolicy: {quiet_hours: '21:00-08:00'}\ntrigger: {event: checkout_started}\n"
        "steps: [{send: letter, id: first}, {wait: 1h}, {send: letter, id: second}]\n"
    )
    here.customer()
    here.apply()
    here.go_to(START.replace(hour=20, minute=59))
    here.event("checkout_started")
    engine = here.engine()
    run_pass(engine, here.now, sending=False)
    later = here.now + timedelta(minutes=2)
    assert send_due(engine, later, later).outcomes == {"deferred": 1}
    here.now = later
    here.go_on(hours=14)
    assert here.sent == [("03-02 08:00", "ann", "first"), ("03-02 09:00", "ann", "second")]


# ── offers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

OFFERS = """
spring: {percent: 20, code: SPRING, valid_for: 30d, once_per: customer}
own: {percent: 10, pattern: "TEN-########", valid_for: 7d, once_per: customer}
fresh: {percent: 10, pattern: "NEW-########", valid_for: 7d, once_per: message}
pool: {amount: 5 EUR, pool: codes.txt, when_empty: %s}
"""


def offers(here: World, when_empty: str = "without") -> None:
    """Declare the offers, with a pool of two codes."""
    here.write("codes.txt", "P-1\nP-2\n")
    here.write("flows/offers.yaml", OFFERS % when_empty)


def codes(here: World) -> list[str | None]:
    """Return the codes that mails carried, in order."""
    return [
        (row.content.get("offer") or {}).get("code") for row in here.rows(messages) if row.state == "accepted"
    ]


def test_the_same_offer_shows_its_holder_the_same_code(anywhere: World) -> None:
    """`once_per: customer` gives one code; `once_per: message` a new one each time; a fixed code is the same for all."""
    here = anywhere
    offers(here)
    for name in ("own", "fresh", "spring"):
        here.flow(simple(name, offer=name))
    here.customer()
    here.apply()
    for number in range(2):
        here.event("checkout_started", checkout_id=str(number))
        here.go_on(days=1)
    found = codes(here)
    assert len({code for code in found if code and code.startswith("TEN-")}) == 1
    assert len({code for code in found if code and code.startswith("NEW-")}) == 2
    assert found.count("SPRING") == 2


def test_a_mail_knows_the_product_that_its_offer_gives(here: World) -> None:
    """`offer.product` is the gift, or what comes twice, although it is in no cart, order or block of the mail."""
    here.tell("products", {"sku": "M1", "title": "Blue mug"}, {"sku": "T1", "title": "Sencha"})
    here.write("flows/offers.yaml", "mug: {gift: M1, code: MUG}\ntwice: {buy_one_get_one: T1, code: TWO}\n")
    here.write("templates/letter.mjml", LETTER.format(subject="{{ offer.product.title }}"))
    for name in ("mug", "twice"):
        here.flow(simple(name, offer=name))
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    assert sorted(mail.subject for mail in here.tray.mails) == ["Blue mug", "Sencha"]


def test_once_per_customer_is_once_for_ever(here: World) -> None:
    """Past its end the same offer is not given to the same customer again: the mail says `no_offer`."""
    offers(here)
    here.flow(simple("own", offer="own"))
    here.customer()
    here.apply()
    here.event("checkout_started", checkout_id="a")
    here.go_on(days=8)
    here.event("checkout_started", checkout_id="b")
    here.go_on(days=1)
    assert len(here.tray.mails) == 1
    assert here.reasons("dropped") == ["no_offer"]
    with here.database.read() as connection:
        (story,) = why(connection, 1, "own", Round(here.now, here.settings))
    told = [line for line in sentences(story, "UTC") if "letter" in line]
    assert [line[25:] for line in told[-2:]] == [
        "letter fell due",
        "letter was not sent, because the customer's code of the offer is past its end",
    ]


def test_no_code_of_a_pool_is_given_twice(anywhere: World) -> None:
    """Two customers get different codes; the third gets the mail without one."""
    here = anywhere
    offers(here)
    here.flow(simple("pool", offer="pool"))
    for name in ("ann", "bob", "eve"):
        here.customer(name)
    here.apply()
    for name in ("ann", "bob", "eve"):
        here.event("checkout_started", name)
        here.go_on(hours=1)
    assert codes(here) == ["P-1", "P-2", None]


def test_a_mail_waits_for_a_full_pool(here: World) -> None:
    """`when_empty: wait` holds the mail until codes are applied, and it goes with one."""
    offers(here, "wait")
    here.write("codes.txt", "")
    here.flow(simple("pool", offer="pool"))
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=5)
    assert here.tray.mails == []
    here.write("codes.txt", "P-9\n")
    here.apply()
    here.go_on(hours=2)
    assert codes(here) == ["P-9"]


def test_a_mail_does_not_wait_for_ever(here: World) -> None:
    """A pool that stays empty for as long as the mail makes sense ends it with `no_offer`."""
    offers(here, "wait")
    here.write("codes.txt", "")
    here.flow(simple("pool", offer="pool"))
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(days=2)
    assert here.reasons("dropped") == ["no_offer"]


def test_another_offer_steps_in(here: World) -> None:
    """`when_empty: OFFER` gives that one instead."""
    offers(here, "spring")
    here.write("codes.txt", "")
    here.flow(simple("pool", offer="pool"))
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    assert codes(here) == ["SPRING"]


def test_an_order_that_carries_the_code_uses_it(anywhere: World) -> None:
    """The code is marked, `offer_used` is raised once for its holder with the flow that gave it, and flows can hear it."""
    here = anywhere
    offers(here)
    here.flow(simple("own", offer="own"))
    here.flow(
        "flow: thanks\ntopic: offers\ntrigger: {event: offer_used, where: {offer: own}}\nsteps: [{send: other}]\n"
    )
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    code = codes(here)[0]
    assert code is not None
    order = {
        "order_id": "o1",
        "customer": "ann",
        "placed_at": here.now.isoformat(),
        "total": 30,
        "coupon": code.lower(),
    }
    here.tell("orders", order)
    here.tell("orders", order | {"status": "paid", "status_at": here.now.isoformat()})
    here.go_on(hours=1)
    used = [row for row in here.rows(events) if row.name == "offer_used"]
    assert [(row.properties["offer"], row.properties["flow"], row.order_id) for row in used] == [
        ("own", "own", "o1")
    ]
    assert [row.used_order_id for row in here.rows(offer_codes) if row.code == code] == ["o1"]
    assert here.steps() == ["letter", "other"]


@pytest.mark.parametrize("form", ["X-1, {0}, {1}", "{0};{1}", "list"])
def test_each_code_of_an_order_is_used(here: World, form: str) -> None:
    """An order with several codes uses every one of them, once, whichever stands first."""
    offers(here)
    here.flow(simple("own", offer="own"))
    here.flow(simple("spring", offer="spring"))
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(hours=1)
    held = sorted(row.code for row in here.rows(offer_codes) if row.issued_at)
    assert len(held) == 2
    coupon: object = ["X-1", *held] if form == "list" else form.format(*held)
    order = {
        "order_id": "o1",
        "customer": "ann",
        "placed_at": here.now.isoformat(),
        "total": 30,
        "coupon": coupon,
    }
    for _ in range(2):
        here.tell("orders", order)
    here.go_on(hours=1)
    assert [row.used_order_id for row in here.rows(offer_codes) if row.issued_at] == ["o1", "o1"]
    used = [row.properties["code"] for row in here.rows(events) if row.name == "offer_used"]
    assert sorted(used) == held


def test_a_shared_code_is_used_by_its_own_holder_only(here: World) -> None:
    """SPRING in another customer's order uses up nobody else's."""
    offers(here)
    here.flow(simple("spring", offer="spring"))
    here.customer("ann")
    here.customer("bob")
    here.apply()
    for name in ("ann", "bob"):
        here.event("checkout_started", name)
    here.go_on(hours=1)
    here.tell(
        "orders",
        {
            "order_id": "o1",
            "customer": "bob",
            "placed_at": here.now.isoformat(),
            "total": 30,
            "coupon": "SPRING",
        },
    )
    here.tell(
        "orders",
        {
            "order_id": "o2",
            "customer": "eve",
            "placed_at": here.now.isoformat(),
            "total": 30,
            "coupon": "SPRING",
        },
    )
    assert [(row.customer_id, row.used_order_id) for row in here.rows(offer_codes) if row.issued_at] == [
        (1, None),
        (2, "o1"),
    ]


def test_a_mail_that_never_went_gives_its_code_back(here: World) -> None:
    """A capped mail uses no code up, and raises no `offer_issued`."""
    offers(here)
    here.policy(caps=["1 per 16h"])
    here.flow(simple("first", priority="90"))
    here.flow(simple("pool", offer="pool", priority="10"))
    here.customer("ann")
    here.customer("bob")
    here.apply()
    here.event("checkout_started", "ann")
    here.go_on(hours=1)
    assert here.reasons("dropped") == ["outranked"]
    assert [row.code for row in here.rows(offer_codes) if row.customer_id is not None] == []
    assert [row for row in here.rows(events) if row.name == "offer_issued"] == []


# ── webhooks, set ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_webhook_hands_over_what_it_is_given(anywhere: World) -> None:
    """References are filled, the customer is named by id, and the same ledger and gate hold."""
    here = anywhere
    here.flow(
        "flow: call\ntopic: offers\nre_entry: always\ntrigger: {event: survey_answered}\nonly_if: [{customer: {country: DE}}]\nsteps:\n"
        "  - set: {properties.nps: '{{ trigger.score }}', tags: {add: asked}}\n"
        "  - webhook: {to: sms, with: {text: 'Score {{ trigger.score }} of {{ customer.first_name }}', score: '{{ trigger.score }}'}}\n"
    )
    here.customer(first_name="Ann", country="DE")
    here.apply()
    here.event("survey_answered", survey="nps", score=3)
    here.go_on(hours=1)
    call = here.tray.calls[0]
    assert (call.to, call.body["text"], call.body["score"], call.body["customer"]) == (
        "sms",
        "Score 3 of Ann",
        3,
        "ann",
    )
    assert here.ledger == [("steps.2.webhook", "accepted", None)]
    here.tell("customers", {"external_id": "ann", "country": "JP"})
    here.event("survey_answered", survey="nps", score=4)
    here.go_on(hours=1)
    assert len(here.tray.calls) == 1


def test_a_webhook_counts_for_caps_as_a_mail(anywhere: World) -> None:
    """An SMS after a mail is capped, and so is a mail after an SMS."""
    here = anywhere
    here.policy(caps=["1 per 16h"])
    calling = simple("call").replace("{send: letter}", "{webhook: {to: sms, with: {text: Hello}}}")
    here.flow(calling.replace("checkout_started", "survey_answered"))
    here.flow(simple("write"))
    here.customer()
    here.apply()
    for name in ("checkout_started", "survey_answered"):
        here.event(name)
        here.go_on(hours=1)
    assert (len(here.tray.mails), len(here.tray.calls)) == (1, 0)
    here.go_on(hours=20)
    for name in ("survey_answered", "checkout_started"):
        here.event(name)
        here.go_on(hours=1)
    assert (len(here.tray.mails), len(here.tray.calls)) == (1, 1)
    assert here.reasons("dropped") == ["capped", "capped"]


def test_set_changes_what_later_conditions_see(here: World) -> None:
    """A property and a tag that a step sets hold for the very next step, and raise no fact."""
    here.flow(
        "flow: sets\ntopic: offers\ntrigger: {event: survey_answered}\nsteps:\n"
        "  - set: {properties.nps: '{{ trigger.score }}', tags: {add: asked}, tier: gold}\n"
        "  - send: letter\n    only_if: [{customer: {tags: asked, tier: gold, properties.nps: {gte: 9}}}]\n"
    )
    here.flow("flow: never\ntopic: offers\ntrigger: {event: customer_updated}\nsteps: [{send: other}]\n")
    here.customer()
    here.apply()
    here.event("survey_answered", score=10)
    here.go_on(hours=1)
    assert here.steps() == ["letter"]


# ── holdouts, experiments, goals ─────────────────────────────────────────────────────────────────────────────────────


def test_a_holdout_is_compared_by_the_same_goal(anywhere: World) -> None:
    """About the stated share is held out and gets nothing; the goal is noted for them too, within its time only."""
    here = anywhere
    here.flow(simple("test", holdout="50%", goal="{did: order_placed, within: 5d}"))
    names = [f"c{number}" for number in range(60)]
    for name in names:
        here.customer(name)
    here.apply()
    for name in names:
        here.event("checkout_started", name)
    here.go_on(days=1)
    for name in names:
        here.event("order_placed", name, order_id=f"o-{name}")
    here.go_on(hours=1)
    rows = here.rows(enrollments)
    held = [row for row in rows if row.state == "held_out"]
    assert 15 <= len(held) <= 45
    assert len(here.tray.mails) == 60 - len(held)
    assert all(row.goal_at is not None for row in rows)


def test_a_goal_after_its_time_is_none(here: World) -> None:
    """What comes after `within` is not counted, and what comes within is, with its own moment."""
    here.flow(simple("test", goal="{did: order_placed, within: 2d}"))
    here.customer("ann")
    here.customer("bob")
    here.apply()
    for name in ("ann", "bob"):
        here.event("checkout_started", name)
    here.go_on(days=1)
    here.event("order_placed", "ann", order_id="o1")
    here.go_on(days=2)
    here.event("order_placed", "bob", order_id="o2")
    here.go_on(hours=1)
    assert [row.goal_at for row in here.rows(enrollments)] == [START + DAY, None]


def test_arms_are_stable_and_weighed(here: World) -> None:
    """The same customer takes the same arm every time, and the arms are taken by their weights."""
    here.flow(
        "flow: trial\ntopic: offers\nre_entry: always\ntrigger: {event: checkout_started}\nsteps:\n"
        "  - experiment:\n      name: x\n      arms:\n        a: {weight: 80, steps: [{send: letter}]}\n        b: {weight: 20, steps: [{send: other}]}\n"
    )
    names = [f"c{number}" for number in range(100)]
    for name in names:
        here.customer(name)
    here.apply()
    for turn in range(2):
        for name in names:
            here.event("checkout_started", name, checkout_id=f"{name}-{turn}")
        here.go_on(days=1)
    taken = {name: here.steps(name) for name in names}
    assert all(steps[0] == steps[1] for steps in taken.values())
    assert 65 <= sum(steps[0] == "letter" for steps in taken.values()) <= 95


# ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_gathered_products_stand_in_one_mail(here: World) -> None:
    """Three drops within a day are one mail that knows all three products."""
    here.flow(
        "flow: drops\ntopic: offers\ntrigger: {product: price_drop, gather: 1d}\nsteps: [{send: letter}]\n"
    )
    here.tell(
        "products",
        *({"sku": f"T{n}", "title": f"Tea {n}", "price": 100, "currency": "EUR"} for n in range(3)),
    )
    here.customer()
    here.apply()
    for number in range(3):
        here.event("product_viewed", sku=f"T{number}")
    here.go_on(hours=1)
    for number in range(3):
        here.tell("products", {"sku": f"T{number}", "price": 80})
        here.go_on(hours=2)
    here.go_on(days=2)
    assert here.sent == [("03-02 10:00", "ann", "letter")]
    assert ">3<" in here.tray.mails[0].html.replace(" ", "").replace("\n", "")


def test_gathered_facts_stand_in_one_mail(here: World) -> None:
    """What a trigger gathered is `facts` to the template, in the order in which it came."""
    here.flow(
        "flow: wishes\ntopic: offers\ntrigger: {event: wishlist_added, gather: 1d}\nsteps: [{send: wished}]\n"
    )
    told = "{% for fact in facts %}[{{ fact.sku }}]{% endfor %}"
    text = f"<mj-section><mj-column><mj-text>{told}</mj-text></mj-column></mj-section>"
    here.write("templates/wished.mjml", f"---\nsubject: Yours\n---\n<mjml><mj-body>{text}</mj-body></mjml>\n")
    here.customer()
    here.apply()
    for number in (2, 0, 1):
        here.event("wishlist_added", sku=f"T{number}")
        here.go_on(hours=1)
    here.go_on(days=2)
    assert "[T2][T0][T1]" in here.tray.mails[0].html


def test_everyone_with_an_interest_is_told(here: World) -> None:
    """A change of the catalogue reaches all who showed interest, each once."""
    here.flow(
        "flow: back\ntopic: offers\nre_entry: {per: product}\ntrigger: {product: back_in_stock}\nsteps: [{send: letter}]\n"
    )
    here.tell("products", {"sku": "T1", "title": "Tea", "price": 10, "currency": "EUR", "stock": 0})
    for name in ("ann", "bob", "eve"):
        here.customer(name)
    here.apply()
    for name in ("ann", "bob"):
        here.event("wishlist_added", name, sku="T1")
    here.go_on(hours=1)
    here.tell("products", {"sku": "T1", "stock": 4})
    here.go_on(hours=1)
    here.tell("products", {"sku": "T1", "stock": 3})
    here.go_on(hours=1)
    assert sorted(customer for _, customer, _ in here.sent) == ["ann", "bob"]


def test_nothing_of_the_first_load_is_news(here: World) -> None:
    """Loading a catalogue tells nobody anything."""
    here.flow("flow: back\ntopic: offers\ntrigger: {product: back_in_stock}\nsteps: [{send: letter}]\n")
    here.customer()
    here.apply()
    here.event("wishlist_added", sku="T1")
    here.go_on(hours=1)
    here.tell("products", {"sku": "T1", "title": "Tea", "price": 10, "stock": 5})
    here.go_on(hours=1)
    assert here.sent == []


# ── the engine's own facts ───────────────────────────────────────────────────────────────────────────────────────────


def test_flows_can_follow_each_other(anywhere: World) -> None:
    """`flow_left` of one flow lets into another, and `mail_sent` can be waited for."""
    here = anywhere
    here.flow(simple("one"))
    here.flow(
        "flow: after\ntopic: offers\ntrigger: {event: flow_left, where: {flow: one}}\nsteps: [{wait: 1d}, {send: other}]\n"
    )
    here.flow(
        "flow: counts\ntopic: offers\ntrigger: {event: mail_sent, where: {flow: one}}\nsteps: [{send: third}]\n"
    )
    here.customer()
    here.apply()
    here.event("checkout_started")
    here.go_on(days=2)
    assert here.sent == [
        ("03-01 09:00", "ann", "letter"),
        ("03-01 09:00", "ann", "third"),
        ("03-02 09:00", "ann", "other"),
    ]


def test_two_passes_at_one_moment_send_once(here: World) -> None:
    """Going on at the same moment again changes nothing."""
    here.flow(simple("one"))
    here.customer()
    here.apply()
    here.event("checkout_started")
    for _ in range(3):
        here.go_to(here.now)
    assert len(here.tray.mails) == 1
    assert isinstance(here.tray.mails[0].date, datetime)
