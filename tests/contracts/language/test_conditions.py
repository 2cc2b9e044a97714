"""Every condition, test and bound of the language: what holds, what does not, and what a missing value does."""

from __future__ import annotations

import pytest

from tests.contracts.language.plays import Plays

OPENED = "{at: 2026-03-10 12:00, event: app_opened, value: 50, name: Anna, seen: 2026-03-01}"
YES, NO = "[{after: 0h, sends: letter}, nothing_more]", "[nothing_more]"


def asks(shop: Plays, condition: str, *stories: tuple[str, str], more: str = "") -> None:
    """Hold whether a condition lets in, for stories that come before the fact that asks."""
    flow = f"trigger: {{event: app_opened}}\nenter_if: [{condition}]\nsteps: [{{send: letter}}]\n"
    shop.holds(
        flow,
        *(f"timeline: [{before}{OPENED}]\nexpect: {wanted}\n{more}" for before, wanted in stories),
    )


def judge(shop: Plays, person: str, *tests: tuple[str, bool]) -> None:
    """Hold which of many conditions hold, in one story: each stands before a mail of its own."""
    steps = "".join(
        f"  - {{send: letter, id: t{n}, only_if: [{each}]}}\n" for n, (each, _) in enumerate(tests)
    )
    words = [
        f"{{sends: t{n}}}" if holds else f"{{does_not_send: t{n}}}" for n, (_, holds) in enumerate(tests)
    ]
    shop.holds(
        f"trigger: {{event: app_opened}}\nsteps:\n{steps}",
        f"customer: {{timezone: UTC, consent: all, {person}}}\ntimeline: [{OPENED}]\n"
        f"expect: [{', '.join(words)}, nothing_more]",
    )


def of_customer(shop: Plays, fields: str, *tests: tuple[str, bool]) -> None:
    """Hold whether tests of a customer's fields hold."""
    judge(shop, fields, *((f"{{customer: {{{test}}}}}", holds) for test, holds in tests))


def test_any_all_not(shop: Plays) -> None:
    """`any`, `all` and `not` hold one another to any depth."""
    of_both = "{any: [{all: [{did: a}, {did: b}]}, {not: {any: [{did: c}, {did: d}]}}]}"
    a, b, c = (f"{{at: 2026-03-01 10:00, event: {name}}}, " for name in "abc")
    asks(shop, of_both, ("", YES), (c, NO), (a + c, NO), (a + b + c, YES))


def test_did_and_did_not(shop: Plays) -> None:
    """What they did ever counts, before the entry too; the fact that lets in never counts itself."""
    viewed = "{at: 2020-03-01 10:00, event: product_viewed, sku: T1}, "
    asks(shop, "{did: product_viewed}", (viewed, YES), ("", NO))
    asks(shop, "{did_not: product_viewed}", (viewed, NO), ("", YES))
    asks(
        shop,
        "{did: app_opened}",
        ("", NO),
        (
            "{at: 2026-03-09 12:00, event: app_opened}, ",
            "[{at: 2026-03-10 12:00, sends: letter}, nothing_more]",
        ),
    )


def test_bounds_of_did(shop: Plays) -> None:
    """How often, how lately, since a day, with which content, and what it adds up to."""
    one = "{at: 2026-03-01 10:00, event: bought, value: 60, colour: red}, "
    two = "{at: 2026-03-05 10:00, event: bought, value: 40, colour: blue}, "
    asks(shop, "{did: bought, times: {gte: 2}}", (one, NO), (one + two, YES))
    asks(shop, "{did: bought, times: 1}", (one, YES), (one + two, NO))
    asks(shop, "{did: bought, within: 6d}", (one, NO), (two, YES))
    asks(shop, "{did: bought, since: 2026-03-03}", (one, NO), (two, YES))
    asks(shop, "{did: bought, since: entry}", (one + two, NO))
    asks(shop, "{did: bought, where: {colour: red}}", (one, YES), (two, NO))
    asks(shop, "{did: bought, where: {colour: [blue, green], value: {lt: 41}}}", (one, NO), (two, YES))
    asks(shop, "{did: bought, sum: {value: {gte: 100}}}", (one, NO), (one + two, YES))
    asks(shop, "{did_not: bought, times: {gte: 2}, within: 30d}", (one, YES), (one + two, NO))


def test_same(shop: Plays) -> None:
    """`same` asks only for facts that share that id with the fact that let in."""
    flow = """
        trigger: {event: cart_updated}
        re_entry: {per: occurrence}
        steps:
          - wait: 2h
          - branch:
              - when: [{did: order_placed, same: cart_id, since: entry}]
                steps: [{send: other}]
              - otherwise: [{send: letter}]
    """
    cart = "{at: 2026-03-02 10:00, event: cart_updated, cart_id: c1}"
    shop.holds(
        flow,
        f"timeline: [{cart}, {{after: 1h, event: order_placed, order_id: o1, cart_id: c1}}]\nexpect: [{{after: 2h, sends: other}}, nothing_more]",
        f"timeline: [{cart}, {{after: 1h, event: order_placed, order_id: o1, cart_id: c2}}]\nexpect: [{{after: 2h, sends: letter}}, nothing_more]",
    )


def test_fields_of_the_customer(shop: Plays) -> None:
    """A stored field, a property, and a computed one are asked alike."""
    of_customer(
        shop,
        "country: DE, points: 120, tier: gold, tags: [vip, tea], properties: {shoe_size: 42}, created_at: 2025-01-01",
        ("country: [JP, DE]", True),
        ("points: {gte: 120}", True),
        ("tier: gold", True),
        ("tags: vip", True),
        ("tags: {contains: tea}", True),
        ("tags: {in: [vip]}", True),
        ("properties.shoe_size: {gte: 42}", True),
        ("properties.shoe_size: {lt: 42}", False),
        ("created_at: {before: 2025-06-01}", True),
        ("orders: 0", True),
        ("spent: {exists: false}", False),
        ("first_order_at: {exists: false}", True),
        ("last_order_at: {exists: true}", False),
        ("average_gap_days: {exists: false}", True),
    )


def test_computed_fields(shop: Plays) -> None:
    """Orders, spending and gaps are counted; a cancelled order counts for neither orders nor spending."""
    orders = (
        "{at: 2026-01-01 10:00, event: order_placed, order_id: o1, total: 30}, "
        "{at: 2026-01-11 10:00, event: order_placed, order_id: o2, total: 40}, "
        "{at: 2026-01-31 10:00, event: order_placed, order_id: o3, total: 50}, "
        "{at: 2026-02-01 10:00, event: order_cancelled, order_id: o3}, "
    )
    asks(shop, "{customer: {orders: 2, spent: 70}}", (orders, YES))
    asks(
        shop,
        "{customer: {first_order_at: {before: 2026-01-02}, last_order_at: {within: 60d}}}",
        (orders, YES),
    )
    asks(shop, "{customer: {last_order_at: {older_than: 57d}, average_gap_days: 10}}", (orders, YES))


TESTS = [
    ("value: 50", True),
    ("value: [49, 50]", True),
    ("value: {eq: 50}", True),
    ("value: {ne: 50}", False),
    ("value: {gt: 50}", False),
    ("value: {gte: 50}", True),
    ("value: {lt: 50}", False),
    ("value: {lte: 50}", True),
    ("value: {gte: 40, lt: 60}", True),
    ("value: {in: [50]}", True),
    ("value: {not_in: [50]}", False),
    ("name: {contains: nn}", True),
    ("name: {contains: NN}", False),
    ("name: {starts_with: An}", True),
    ("name: anna", False),
    ("name: {gt: 5}", False),
    ("value: {contains: 5}", False),
    ("value: {exists: true}", True),
    ("seen: {before: 2026-03-02}", True),
    ("seen: {after: 2026-03-02}", False),
    ("seen: {within: 10d}", True),
    ("seen: {older_than: 9d}", True),
    ("seen: {in_next: 10d}", False),
    ("gone: 1", False),
    ("gone: {exists: false}", True),
    ("gone: {exists: true}", False),
    ("gone: {ne: 1}", True),
    ("gone: {not_in: [1]}", True),
    ("gone: {lt: 1}", False),
    ("gone: {contains: a}", False),
    ("gone: {before: 2030-01-01}", False),
    ("name: {ne: 5}", True),
    ("name: {not_in: [5]}", True),
    ("name: {before: 2030-01-01}", False),
]


def test_tests(shop: Plays) -> None:
    """Each test holds as it reads; text minds its case; what is missing or of another type fails all but three tests."""
    judge(shop, "first_name: Anna", *((f"{{trigger: {{{test}}}}}", holds) for test, holds in TESTS))


def test_in_next(shop: Plays) -> None:
    """A date that lies ahead is found by `in_next`."""
    of_customer(
        shop,
        "points_expire_at: 2026-03-20",
        ("points_expire_at: {in_next: 14d}", True),
        ("points_expire_at: {in_next: 5d}", False),
        ("points_expire_at: {within: 30d}", False),
    )


def test_order_number(shop: Plays) -> None:
    """The fact that let in knows how many of the customer's orders it was."""
    shop.holds(
        """
        trigger: {event: order_placed}
        enter_if: [{trigger: {order_number: {gte: 2}}}]
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: order_placed, order_id: o1}
          - {at: 2026-03-05 10:00, event: order_placed, order_id: o2}
        expect: [{at: 2026-03-05 10:00, sends: letter}, nothing_more]
        """,
    )


def test_trigger_as_it_was_and_things_as_they_are(shop: Plays) -> None:
    """`trigger` is the fact as it was; `cart`, `order` and `product` are as they are now."""
    shop.holds(
        """
        trigger: {event: cart_updated, where: {value: {gte: 50}}}
        re_entry: {per: cart}
        steps:
          - wait: 2h
          - send: letter
            only_if: [{trigger: {value: 60}}, {cart: {value: 20, lines: {any: {sku: T1, category: tea, in_stock: true}}}}]
          - send: other
            only_if: [{cart: {lines: {none: {sku: T2}}}}, {cart: {lines: {all: {category: tea}}}}]
          - send: third
            only_if: [{cart: {lines: {any: {price: {gt: 20}}}}}]
        """,
        """
        products: [{sku: T1, category: tea, stock: 5}, {sku: T2, category: cup}]
        timeline:
          - {at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, lines: [{sku: T1, quantity: 1, price: 20}, {sku: T2, quantity: 2, price: 20}]}
          - {after: 1h, event: cart_updated, cart_id: c1, lines: [{sku: T1, quantity: 1, price: 20}]}
        expect: [{after: 2h, sends: letter}, {after: 2h, sends: other}, {does_not_send: third, because: condition_false}, nothing_more]
        """,
    )


@pytest.mark.parametrize(
    ("product", "there"),
    [("{sku: T1}", True), ("{sku: T9}", True), ("{sku: T1, stock: 0}", False), ("{sku: T1, available: false}", False),
     ("{sku: T1, stock: 3, available: false}", False), ("{sku: T1, stock: 3}", True)],
)  # fmt: skip
def test_in_stock(shop: Plays, product: str, there: bool) -> None:
    """A line is out of stock only where its product is known to be unavailable or at stock 0."""
    expect = "{after: 0h, sends: letter}" if there else "nothing_more"
    shop.holds(
        """
        trigger: {event: cart_updated}
        only_if: [{cart: {lines: {any: {in_stock: true}}}}]
        steps: [{send: letter}]
        """,
        f"products: [{product}]\ntimeline: [{{at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, lines: [{{sku: T1, quantity: 1, price: 1}}]}}]\nexpect: [{expect}]",
    )


def test_product_and_order(shop: Plays) -> None:
    """`product` is what the fact speaks of; `order` the order it belongs to, with its lines."""
    shop.holds(
        """
        trigger: {event: order_delivered}
        only_if: [{order: {status: delivered, total: {gte: 10}, lines: {any: {category: tea}}}}]
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1, category: tea}]
        timeline:
          - {at: 2026-03-02 10:00, event: order_placed, order_id: o1, total: 12, lines: [{sku: T1, quantity: 1, price: 12}]}
          - {after: 2d, event: order_delivered, order_id: o1}
        expect: [{at: 2026-03-04 10:00, sends: letter}, nothing_more]
        """,
    )
    shop.holds(
        """
        trigger: {event: product_viewed}
        only_if: [{product: {category: tea, price: {lte: 5}, stock: {gte: 1}}}]
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1, category: tea, price: 5, stock: 2}]
        timeline: [{at: 2026-03-02 10:00, event: product_viewed, sku: T1}]
        expect: [{after: 0h, sends: letter}, nothing_more]
        """,
    )


def test_offer_held_and_used(shop: Plays) -> None:
    """An offer is held from its mail on and used when an order carries its code."""
    shop.holds(
        """
        trigger: {event: app_opened}
        steps:
          - send: letter
            only_if: [{offer: {spring: {held: false}}}]
            offer: spring
          - wait: 1d
          - send: other
            only_if: [{offer: {spring: {held: true, used: false}}}]
          - wait: 1d
          - send: third
            only_if: [{offer: {spring: {used: true}}}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: app_opened}
          - {after: 30h, event: order_placed, order_id: o1, total: 20, coupon: SPRING}
        expect: [{after: 0h, sends: letter, offer: spring}, {after: 1d, sends: other}, {after: 2d, sends: third}, nothing_more]
        """,
    )


def test_segments_in_conditions(shop: Plays) -> None:
    """`segment` and `not_segment` ask for a named list of conditions, all of which must hold."""
    shop.write("flows/segments.yaml", "rich: [{customer: {points: {gte: 100}}}, {customer: {country: DE}}]\n")
    for word, points, holds in (("segment", 100, True), ("segment", 99, False), ("not_segment", 99, True)):
        person = f"customer: {{timezone: UTC, consent: all, country: DE, points: {points}}}\n"
        asks(shop, f"{{{word}: rich}}", ("", YES if holds else NO), more=person)


def test_facts_of_the_engine(shop: Plays) -> None:
    """What the engine did itself is asked like any fact: mails, entries, leavings and offers, by flow."""
    flow = """
        trigger: {event: app_opened}
        exit_when: [{did: order_placed}]
        steps:
          - send: letter
            offer: spring
          - wait: 1d
          - branch:
              - when:
                  - {did: mail_sent, where: {flow: f, step: letter}}
                  - {did: flow_entered, where: {flow: f}}
                  - {did_not: mail_sent, where: {flow: another}}
                  - {did_not: mail_opened}
                  - {did_not: mail_clicked}
                  - {did_not: flow_left, where: {flow: f}}
                  - {did: offer_issued}
                  - {did_not: offer_used}
                steps: [{send: other}]
              - otherwise: [{send: third}]
    """
    shop.holds(
        flow,
        "timeline: [{at: 2026-03-02 10:00, event: app_opened}]\nexpect: [{after: 0h, sends: letter}, {after: 1d, sends: other}, nothing_more]",
    )
    shop.holds(
        """
        trigger: {event: app_opened}
        exit_when: [{did: order_placed}]
        steps:
          - branch:
              - when: [{did: flow_left, where: {flow: f}}]
                steps: [{send: other}]
              - otherwise: [{wait: 1d}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: app_opened}
          - {after: 1h, event: order_placed}
          - {after: 2d, event: app_opened}
        expect: [{exits: "did: order_placed"}, {at: 2026-03-04 11:00, sends: other}, nothing_more]
        """,
    )


def test_opened_and_clicked_are_facts(shop: Plays) -> None:
    """An opened or clicked mail is a fact that a wait can hear, by flow and step."""
    shop.holds(
        """
        trigger: {event: app_opened}
        steps:
          - send: letter
          - wait: {until: {did: mail_clicked, where: {flow: f}}, up_to: 3d}
          - send: other
            only_if: [{did: mail_clicked}]
        """,
        """
        timeline: [{at: 2026-03-02 10:00, event: app_opened}, {after: 5h, event: mail_clicked, flow: f, step: letter}]
        expect: [{after: 0h, sends: letter}, {after: 5h, sends: other}, nothing_more]
        """,
    )


def test_lists_in_exit_when_mean_any(shop: Plays) -> None:
    """In `exit_when` one of a list is enough, and only what came after the entry counts, unless it is bounded."""
    flow = """
        trigger: {event: app_opened}
        exit_when: [{did: a}, {did: b}]
        steps: [{wait: 1d}, {send: letter}]
    """
    told = "{at: 2026-03-10 12:00, event: app_opened}"
    shop.holds(
        flow,
        f"timeline: [{told}, {{after: 1h, event: b}}]\nexpect: [{{after: 1h, exits: 'did: b'}}, nothing_more]",
        f"timeline: [{{at: 2026-03-01 12:00, event: a}}, {told}]\nexpect: [{{after: 1d, sends: letter}}, nothing_more]",
    )
    shop.holds(
        flow.replace("{did: a}", "{did: a, within: 30d}"),
        f"timeline: [{{at: 2026-03-01 12:00, event: a}}, {told}]\nexpect: [nothing_more]",
    )


def test_exit_at_entry_with_quiet_for(shop: Plays) -> None:
    """With `quiet_for` what happened since the last touch keeps out, and says so."""
    shop.holds(
        """
        trigger: {event: cart_updated, quiet_for: 4h}
        exit_when: [{did: order_placed}]
        steps: [{send: letter}]
        """,
        """
        timeline: [{at: 2026-03-02 10:00, event: cart_updated, cart_id: c1}, {after: 1h, event: order_placed}]
        expect: [{does_not_send: letter, because: "exited: did: order_placed"}, nothing_more]
        """,
    )


def test_enter_if_only_if(shop: Plays) -> None:
    """`enter_if` is asked once; `only_if` on entry and again before every message, of which it leaves out one at a time."""
    flow = """
        trigger: {event: app_opened}
        %s: [{customer: {tier: gold}}]
        steps: [{send: letter}, {wait: 1d}, {send: other}, {wait: 1d}, {send: third}]
    """
    opened = "{at: 2026-03-02 10:00, event: app_opened}"
    changes = "{after: 5h, event: customer_updated, tier: silver}, {after: 24h, event: customer_updated, tier: gold}"
    story = f"customer: {{timezone: UTC, consent: all, tier: gold}}\ntimeline: [{opened}, {changes}]\n"
    false = "condition_false: customer: {tier: gold}"
    shop.holds(
        flow % "enter_if",
        story
        + "expect: [{after: 0h, sends: letter}, {after: 1d, sends: other}, {after: 2d, sends: third}, nothing_more]",
    )
    left_out = f"{{does_not_send: other, because: '{false}'}}"
    shop.holds(
        flow % "only_if",
        story
        + f"expect: [{{after: 0h, sends: letter}}, {left_out}, {{after: 2d, sends: third}}, nothing_more]",
        f"customer: {{timezone: UTC, consent: all, tier: silver}}\ntimeline: [{opened}]\n"
        f"expect: [{{does_not_send: letter, because: '{false}'}}, nothing_more]",
    )
