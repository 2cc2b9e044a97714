"""Every row of the table of triggers: when somebody comes in, when not, and what makes an entry one of its own."""

from __future__ import annotations

from tests.contracts.language.plays import Plays


def test_event_and_where(shop: Plays) -> None:
    """A fact of that name that passes `where` lets in at once; `where` is looked at once, then never again."""
    shop.holds(
        """
        trigger: {event: cart_updated, where: {value: {gte: 20}}}
        steps: [{wait: 2h}, {send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, value: 20}
          - {after: 1h, event: cart_updated, cart_id: c1, value: 5}
        expect: [{after: 2h, sends: letter}, nothing_more]
        """,
        """
        timeline: [{at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, value: 19.99}]
        expect: [nothing_more]
        """,
    )


def test_event_occurrence_is_the_fact(shop: Plays) -> None:
    """Each fact is an occurrence of its own, once the one before has left."""
    shop.holds(
        """
        trigger: {event: app_opened}
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: app_opened}
          - {after: 1min, event: app_opened}
          - {after: 1min, event: app_opened}
        expect:
          - {at: 2026-03-02 10:00, sends: letter}
          - {at: 2026-03-02 10:01, sends: letter}
          - {at: 2026-03-02 10:02, sends: letter}
          - nothing_more
        """,
    )


def test_quiet_for_order_and_product(shop: Plays) -> None:
    """Quiet is counted by cart, order or product, whatever the fact carries, and by customer where it carries none."""
    shop.holds(
        """
        trigger: {event: review_given, quiet_for: 4h}
        re_entry: {per: occurrence}
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: review_given, order_id: o1}
          - {after: 1h, event: review_given, order_id: o2}
          - {after: 1h, event: review_given, order_id: o1}
        expect: [{at: 2026-03-02 15:00, sends: letter}, {at: 2026-03-02 16:00, sends: letter}, nothing_more]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: review_given}
          - {after: 3h, event: review_given}
        expect: [{at: 2026-03-02 17:00, sends: letter}, nothing_more]
        """,
    )


def test_quiet_for_is_broken_by_any_touch_of_the_cart(shop: Plays) -> None:
    """Anything newer with the same cart breaks the quiet: here a checkout of that cart, an emptied cart ends it."""
    shop.holds(
        """
        trigger: {event: cart_updated, quiet_for: 4h}
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: cart_updated, cart_id: c1, lines: [{sku: T1, quantity: 1, price: 60}]}
          - {after: 2h, event: product_viewed, sku: T1}
        expect: [{at: 2026-03-02 14:00, sends: letter}, nothing_more]
        """,
    )


def test_anniversary_of_any_date_field(shop: Plays) -> None:
    """A property that holds a date comes round each year as a birthday does, at the hour given, in the customer's zone."""
    shop.holds(
        """
        trigger: {anniversary: properties.wedding, offset: -7d, at: "09:00"}
        steps: [{send: letter, subject: "{{ trigger.years }}"}]
        """,
        """
        customer: {timezone: Asia/Tokyo, consent: all, properties: {wedding: 2010-06-15}}
        timeline: [{at: 2026-05-20 10:00, event: app_opened}, {at: 2027-06-20 10:00, event: app_opened}]
        expect: [{at: 2026-06-08 09:00, sends: letter, subject: "16"}, {at: 2027-06-08 09:00, sends: letter, subject: "17"}, nothing_more]
        """,
    )


def test_29_february(shop: Plays) -> None:
    """Who was born on the 29th of February is congratulated on the 28th in other years."""
    shop.holds(
        """
        trigger: {anniversary: birthday, at: "09:00"}
        steps: [{send: letter}]
        """,
        """
        customer: {timezone: UTC, consent: all, birthday: 02-29}
        timeline: [{at: 2027-02-01 10:00, event: app_opened}, {at: 2028-03-02 10:00, event: app_opened}]
        expect: [{at: 2027-02-28 09:00, sends: letter}, {at: 2028-02-29 09:00, sends: letter}, nothing_more]
        """,
    )


def test_date_enters_once_for_each_value(shop: Plays) -> None:
    """A date lets in on that one day; another value is another day, the same value told again is not."""
    shop.holds(
        """
        trigger: {date: points_expire_at, offset: -3d, at: "09:00"}
        steps: [{send: letter}]
        """,
        """
        customer: {timezone: UTC, consent: all, points_expire_at: 2026-04-10}
        timeline:
          - {at: 2026-04-01 10:00, event: app_opened}
          - {at: 2026-04-08 10:00, event: customer_updated, points_expire_at: 2026-04-10}
          - {at: 2026-04-09 10:00, event: customer_updated, points_expire_at: 2026-04-20}
        expect: [{at: 2026-04-07 09:00, sends: letter}, {at: 2026-04-17 09:00, sends: letter}, nothing_more]
        """,
    )


def test_a_date_known_late_enters_until_the_date(shop: Plays) -> None:
    """A date that becomes known after its offset has passed still lets in, until the day itself is over."""
    shop.holds(
        """
        trigger: {date: properties.exam, offset: -14d, at: "09:00"}
        steps: [{send: letter}]
        """,
        """
        timeline: [{at: 2026-04-01 10:00, event: customer_updated, properties: {exam: 2026-04-05}}]
        expect: [{at: 2026-04-01 10:00, sends: letter}, nothing_more]
        """,
        """
        timeline: [{at: 2026-04-06 10:00, event: customer_updated, properties: {exam: 2026-04-05}}]
        expect: [nothing_more]
        """,
    )


def test_lapsed(shop: Plays) -> None:
    """So long after the last such fact, once nothing newer came; each last fact is one lapse."""
    shop.holds(
        """
        trigger: {lapsed: {event: app_opened, after: 90d}}
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-01-01 10:00, event: app_opened}
          - {at: 2026-03-01 10:00, event: app_opened}
          - {at: 2026-07-01 10:00, event: app_opened}
        expect: [{at: 2026-05-30 10:00, sends: letter}, {at: 2026-09-29 10:00, sends: letter}, nothing_more]
        """,
    )


def test_lapsed_by_the_customers_own_gap(shop: Plays) -> None:
    """1.5x is one and a half times the median gap from three orders up, within at_least and at_most; else otherwise."""
    shop.holds(
        """
        trigger: {lapsed: {event: order_placed, after: 1.5x, at_least: 10d, at_most: 100d, otherwise: 60d}}
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-01-01 10:00, event: order_placed, order_id: o1}
          - {at: 2026-01-21 10:00, event: order_placed, order_id: o2}
          - {at: 2026-02-10 10:00, event: order_placed, order_id: o3}
        expect: [{at: 2026-03-12 10:00, sends: letter}, nothing_more]
        """,
        """
        timeline:
          - {at: 2026-01-01 10:00, event: order_placed, order_id: o1}
          - {at: 2026-01-21 10:00, event: order_placed, order_id: o2}
        expect: [{at: 2026-03-22 10:00, sends: letter}, nothing_more]
        """,
        """
        timeline:
          - {at: 2026-01-01 10:00, event: order_placed, order_id: o1}
          - {at: 2026-01-02 10:00, event: order_placed, order_id: o2}
          - {at: 2026-01-03 10:00, event: order_placed, order_id: o3}
        expect: [{at: 2026-01-13 10:00, sends: letter}, nothing_more]
        """,
        """
        timeline:
          - {at: 2025-01-01 10:00, event: order_placed, order_id: o1}
          - {at: 2025-06-01 10:00, event: order_placed, order_id: o2}
          - {at: 2025-12-01 10:00, event: order_placed, order_id: o3}
        expect: [{at: 2026-03-11 10:00, sends: letter}]
        """,
    )


def test_replenish(shop: Plays) -> None:
    """A bought product runs out after its days of supply times the quantity; `lead` comes before; a newer one moves it."""
    shop.holds(
        """
        trigger: {replenish: {lead: 3d}}
        re_entry: {per: occurrence}
        steps: [{send: letter, subject: "{{ product.sku }}"}]
        """,
        """
        products: [{sku: T1, days_of_supply: 30}, {sku: T2, days_of_supply: 10}, {sku: T3}]
        timeline:
          - {at: 2026-01-01 10:00, event: order_placed, order_id: o1, lines: [{sku: T1, quantity: 2, price: 5}, {sku: T2, quantity: 1, price: 5}, {sku: T3, quantity: 1, price: 1}]}
          - {at: 2026-01-05 10:00, event: order_placed, order_id: o2, lines: [{sku: T2, quantity: 1, price: 5}]}
        expect:
          - {at: 2026-01-12 10:00, sends: letter, subject: T2}
          - {at: 2026-02-27 10:00, sends: letter, subject: T1}
          - nothing_more
        """,
    )


def test_refill_answer_moves_the_moment(shop: Plays) -> None:
    """Who says for how many days they still have moves the run-out date."""
    shop.holds(
        """
        trigger: {replenish: {lead: 3d}}
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1, days_of_supply: 30}]
        timeline:
          - {at: 2026-01-01 10:00, event: order_placed, order_id: o1, lines: [{sku: T1, quantity: 1, price: 5}]}
          - {at: 2026-01-20 10:00, event: refill_answered, sku: T1, days: 20}
        expect: [{at: 2026-02-06 10:00, sends: letter}, nothing_more]
        """,
    )


def test_segment(shop: Plays) -> None:
    """Coming to match a segment lets in; leaving it keeps the next mail back; coming again is another entry."""
    shop.write("flows/segments.yaml", "vip: [{customer: {points: {gte: 100}}}]\n")
    shop.holds(
        """
        trigger: {segment: vip}
        steps: [{send: letter}, {wait: 2d}, {send: other}]
        """,
        """
        customer: {timezone: UTC, consent: all, points: 50}
        timeline:
          - {at: 2026-03-02 10:00, event: customer_updated, points: 120}
          - {after: 1d, event: customer_updated, points: 20}
          - {after: 5d, event: customer_updated, points: 200}
        expect:
          - {at: 2026-03-02 10:00, sends: letter}
          - {does_not_send: other, because: "condition_false: segment: vip"}
          - {at: 2026-03-08 10:00, sends: letter}
          - {at: 2026-03-10 10:00, sends: other}
          - nothing_more
        """,
    )


def test_product_back_in_stock(shop: Plays) -> None:
    """A product that is there again lets in who had it on their wishlist, looked at it or had it in the cart."""
    flow = """
        trigger: {product: back_in_stock, interest: [wishlist, viewed, cart], within: 30d}
        steps: [{send: letter, subject: "{{ product.title }} {{ trigger.sku }}"}]
        """
    back = "{after: 1d, event: product_back_in_stock, sku: T1}"
    goods = "products: [{sku: T1, title: Sencha, stock: 0}]"
    told = "expect: [{at: 2026-03-03 10:00, sends: letter, subject: Sencha T1}, nothing_more]"
    ways = (
        "event: wishlist_added, sku: T1",
        "event: product_viewed, sku: T1",
        "event: cart_updated, cart_id: c1, lines: [{sku: T1, quantity: 1, price: 3}]",
    )
    scenarios = [f"{goods}\ntimeline: [{{at: 2026-03-02 10:00, {way}}}, {back}]\n{told}" for way in ways]
    gone = f"{goods}\ntimeline: [{{at: 2026-03-02 08:00, {ways[0]}}}, {{after: 1h, event: wishlist_removed, sku: T1}}, {back}]\nexpect: [nothing_more]"
    shop.holds(flow, *scenarios, gone)


def test_product_price_drop_by(shop: Plays) -> None:
    """A drop is measured against the price when it was seen, and `by` is the least share."""
    shop.holds(
        """
        trigger: {product: price_drop, interest: [viewed], by: 10%}
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1, price: 100}]
        timeline:
          - {at: 2026-03-02 10:00, event: product_viewed, sku: T1}
          - {after: 1d, event: product_price_drop, sku: T1, price: 95}
          - {after: 1d, event: product_price_drop, sku: T1, price: 89}
        expect: [{at: 2026-03-04 10:00, sends: letter}, nothing_more]
        """,
    )


def test_product_low_stock_below(shop: Plays) -> None:
    """The stock falls below the number: once for that fall."""
    shop.holds(
        """
        trigger: {product: low_stock, interest: [wishlist], below: 5}
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1, price: 100, stock: 30}]
        timeline:
          - {at: 2026-03-02 10:00, event: wishlist_added, sku: T1}
          - {after: 1d, event: product_low_stock, sku: T1, stock: 8}
          - {after: 1d, event: product_low_stock, sku: T1, stock: 4}
          - {after: 1d, event: product_low_stock, sku: T1, stock: 2}
        expect: [{at: 2026-03-04 10:00, sends: letter}, nothing_more]
        """,
    )


def test_schedules(shop: Plays) -> None:
    """By the calendar, for everyone in the segment, on the customer's clock unless the shop's is named."""
    shop.write("flows/segments.yaml", "german: [{customer: {country: DE}}]\n")
    people = "customer: {{timezone: Asia/Tokyo, consent: all, country: {}}}\ntimeline: [{{at: 2026-03-25 10:00, event: app_opened}}]\n"
    flow = "trigger: {{schedule: {}, segment: german{}}}\nsteps: [{{send: letter}}]\n"
    cron, once = '"0 9 1 * *"', '"2026-04-26 10:00"'
    nobody = people.format("JP") + "expect: [nothing_more]"
    shop.holds(
        flow.format(cron, ""),
        people.format("DE") + "expect: [{at: 2026-04-01 09:00, sends: letter}]",
        nobody,
    )
    shop.holds(
        flow.format(once, ""),
        people.format("DE") + "expect: [{at: 2026-04-26 10:00, sends: letter}, nothing_more]",
    )
    shop.holds(
        flow.format(cron, ", clock: customer"),
        people.format("DE") + "expect: [{at: 2026-04-01 09:00, sends: letter}]",
        nobody,
    )
    shop.holds(
        flow.format(cron, ", clock: shop"),
        people.format("DE") + 'expect: [{at: "2026-04-01T07:00:00Z", sends: letter}]',
    )
    shop.holds(
        flow.format(once, ", clock: shop"),
        people.format("DE") + 'expect: [{at: "2026-04-26T08:00:00Z", sends: letter}, nothing_more]',
        nobody,
    )
    shop.holds(
        flow.format(once, ", clock: customer"),
        people.format("DE") + "expect: [{at: 2026-04-26 10:00, sends: letter}, nothing_more]",
    )


def test_a_list_of_triggers(shop: Plays) -> None:
    """Any of a list lets in; where two are meant at once, each is an occurrence."""
    shop.holds(
        """
        trigger: [{event: app_opened}, {anniversary: birthday, at: "09:00"}, {date: points_expire_at, at: "10:00"}]
        steps: [{send: letter}]
        """,
        """
        customer: {timezone: UTC, consent: all, birthday: 03-05, points_expire_at: 2026-03-07}
        timeline: [{at: 2026-03-02 10:00, event: app_opened}]
        expect: [{at: 2026-03-02 10:00, sends: letter}, {at: 2026-03-05 09:00, sends: letter}, {at: 2026-03-07 10:00, sends: letter}]
        """,
    )


def test_gather(shop: Plays) -> None:
    """Further occurrences join the first; entry comes when that time is over, one mail holds all products."""
    shop.template(
        "letter", subject="{{ products | length }}: {% for p in products %}{{ p.sku }} {% endfor %}"
    )
    shop.holds(
        """
        trigger: {event: wishlist_added, gather: 1d}
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1}, {sku: T2}, {sku: T3}]
        timeline:
          - {at: 2026-03-02 10:00, event: wishlist_added, sku: T1}
          - {after: 2h, event: wishlist_added, sku: T2}
          - {after: 3h, event: wishlist_added, sku: T3}
          - {at: 2026-03-03 11:00, event: wishlist_added, sku: T1}
        expect: [{at: 2026-03-03 10:00, sends: letter, subject: "3: T1 T2 T3"}, {at: 2026-03-04 11:00, sends: letter, subject: "1: T1"}, nothing_more]
        """,
    )


def test_gather_of_catalogue_changes(shop: Plays) -> None:
    """Two changes of one evening reach a customer as one mail about both products."""
    shop.template("letter", subject="{% for p in products %}{{ p.sku }} {% endfor %}")
    shop.holds(
        """
        trigger: {product: price_drop, interest: [wishlist], gather: 4h}
        steps: [{send: letter}]
        """,
        """
        products: [{sku: T1, price: 10}, {sku: T2, price: 10}]
        timeline:
          - {at: 2026-03-01 10:00, event: wishlist_added, sku: T1}
          - {at: 2026-03-01 11:00, event: wishlist_added, sku: T2}
          - {at: 2026-03-02 18:00, event: product_price_drop, sku: T1, price: 5}
          - {at: 2026-03-02 18:00, event: product_price_drop, sku: T2, price: 5}
        expect: [{at: 2026-03-02 22:00, sends: letter, subject: "T1 T2"}, nothing_more]
        """,
    )
