"""Corners of the language where two sentences meet."""

from __future__ import annotations

import pytest

from tests.contracts.language.plays import Plays

OPENED = "{at: 2026-03-02 10:00, event: app_opened}"


@pytest.mark.parametrize(
    "clause", ["customer: {tier: gold}", "segment: golden", "not: {customer: {tier: silver}}"]
)
def test_exits_by_what_a_customer_is(shop: Plays, clause: str) -> None:
    """An exit by a field or a segment holds with the fact that made it true, in the middle of a wait."""
    shop.write("flows/segments.yaml", "golden: [{customer: {tier: gold}}]\n")
    shop.holds(
        f"trigger: {{event: app_opened}}\nexit_when: [{{{clause}}}]\nsteps: [{{wait: 5d}}, {{send: letter}}]\n",
        "customer: {timezone: UTC, consent: all, tier: silver}\n"
        f"timeline: [{OPENED}, {{after: 1d, event: customer_updated, tier: gold}}]\n"
        f"expect: [{{after: 1d, exits: '{clause}'}}, nothing_more]",
    )


def test_one_birthday_a_year(shop: Plays) -> None:
    """A birthday that is corrected after its mail brings no second one in that year."""
    shop.holds(
        "trigger: {anniversary: birthday, at: '09:00'}\nsteps: [{send: letter}]\n",
        "customer: {timezone: UTC, consent: all, birthday: 03-05}\n"
        "timeline: [{at: 2026-03-02 10:00, event: app_opened}, {at: 2026-03-20 10:00, event: customer_updated, birthday: 04-10}, {at: 2027-04-20 10:00, event: app_opened}]\n"
        "expect: [{at: 2026-03-05 09:00, sends: letter}, {at: 2027-04-10 09:00, sends: letter}, nothing_more]",
    )


def test_a_date_that_comes_back(shop: Plays) -> None:
    """The value is the occurrence: a date told again after another one is not met twice."""
    shop.holds(
        "trigger: {date: points_expire_at, offset: -5d, at: '09:00'}\nsteps: [{send: letter}]\n",
        "customer: {timezone: UTC, consent: all, points_expire_at: 2026-03-10}\n"
        "timeline: [{at: 2026-03-02 10:00, event: app_opened}, {at: 2026-03-06 10:00, event: customer_updated, points_expire_at: 2026-05-10}, {at: 2026-03-07 10:00, event: customer_updated, points_expire_at: 2026-03-10}]\n"
        "expect: [{at: 2026-03-05 09:00, sends: letter}, nothing_more]",
    )


def test_gather_in_a_list_of_triggers(shop: Plays) -> None:
    """One trigger of a list may gather while another does not."""
    shop.template("letter", subject="{{ products | length }}")
    shop.holds(
        "trigger: [{event: wishlist_added, gather: 4h}, {event: app_opened}]\nre_entry: {per: occurrence}\nsteps: [{send: letter}]\n",
        "timeline: [{at: 2026-03-02 10:00, event: wishlist_added, sku: A}, {after: 1h, event: wishlist_added, sku: B}, {after: 1h, event: app_opened}]\n"
        "expect: [{at: 2026-03-02 12:00, sends: letter, subject: '0'}, {at: 2026-03-02 14:00, sends: letter, subject: '2'}, nothing_more]",
    )


def test_gathered_facts_still_meet_the_door(shop: Plays) -> None:
    """Entry comes when the time is over, and is asked then: who bought meanwhile does not come in."""
    shop.holds(
        "trigger: {event: wishlist_added, gather: 1d}\nenter_if: [{did_not: order_placed, within: 2d}]\nsteps: [{send: letter}]\n",
        "timeline: [{at: 2026-03-02 10:00, event: wishlist_added, sku: A}, {after: 3h, event: order_placed}]\n"
        "expect: [{does_not_send: letter, because: 'condition_false: did_not: order_placed'}, nothing_more]",
    )


def test_same_order(shop: Plays) -> None:
    """`same: order_id` ends the story of that order alone."""
    shop.holds(
        "trigger: {event: order_placed}\nre_entry: {per: order}\nexit_when: [{did: order_cancelled, same: order_id}]\nsteps: [{wait: 3d}, {send: letter}]\n",
        "timeline:\n"
        "  - {at: 2026-03-02 10:00, event: order_placed, order_id: o1}\n"
        "  - {at: 2026-03-02 11:00, event: order_placed, order_id: o2}\n"
        "  - {at: 2026-03-03 10:00, event: order_cancelled, order_id: o1}\n"
        "expect: [{exits: 'did: order_cancelled'}, {at: 2026-03-05 11:00, sends: letter}, nothing_more]",
    )


def test_offers_as_facts(shop: Plays) -> None:
    """Issuing and using an offer are facts that say which flow and which offer."""
    told = "where: {flow: f, offer: spring}"
    shop.holds(
        "trigger: {event: app_opened}\nsteps:\n"
        "  - {send: letter, offer: spring}\n"
        f"  - wait: {{until: {{did: offer_used, {told}}}, up_to: 9d}}\n"
        f"  - {{send: other, only_if: [{{did: offer_issued, {told}}}, {{did: offer_used, {told}}}]}}\n",
        f"timeline: [{OPENED}, {{after: 2d, event: order_placed, order_id: o1, total: 20, coupon: SPRING}}]\n"
        "expect: [{after: 0h, sends: letter}, {after: 2d, sends: other}, nothing_more]",
    )


def test_a_wait_counts_from_the_entry(shop: Plays) -> None:
    """What was done before the entry ends no wait, unless the wait says since when."""
    flow = "trigger: {event: app_opened}\nsteps: [{wait: {until: {did: visited%s}, up_to: 2d}}, {send: letter}]\n"
    story = f"timeline: [{{at: 2026-03-01 10:00, event: visited}}, {OPENED}]\n"
    shop.holds(flow % "", story + "expect: [{after: 2d, sends: letter}, nothing_more]")
    shop.holds(flow % ", within: 30d", story + "expect: [{after: 0h, sends: letter}, nothing_more]")


@pytest.mark.parametrize(
    "wrong",
    [
        "trigger: {event: app_opened}\nsender: nobody\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened}\ntopic: nothing\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened}\nsteps: [{send: nothing}]\n",
        "trigger: {event: app_opened}\nsteps: [{send: letter, offer: nothing}]\n",
        "trigger: {segment: nothing}\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened}\nsteps: [{webhook: {to: nothing}}]\n",
        "trigger: {event: app_opened}\nsteps: [{set: {consent: {all: granted}}}]\n",
        "trigger: {event: app_opened}\n",
        "steps: [{send: letter}]\n",
        "trigger: {event: app_opened}\nfoo: 1\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened, quiet: 4h}\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened}\nsteps: [{wait: 4x}, {send: letter}]\n",
        "trigger: {event: app_opened}\nsteps: [{sned: letter}]\n",
        "trigger: {event: app_opened}\nenter_if: [{customer: {points: {bigger: 4}}}]\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened}\nre_entry: sometimes\nsteps: [{send: letter}]\n",
        "trigger: {event: app_opened}\nholdout: 120%\nsteps: [{send: letter}]\n",
        "kind: both\ntrigger: {event: app_opened}\nsteps: [{send: letter}]\n",
        "trigger: {anniversary: tier}\nsteps: [{send: letter}]\n",
    ],
)  # fmt: skip
def test_mistakes_are_errors(shop: Plays, wrong: str) -> None:
    """What names nothing, is no key, or cannot mean anything is an error before anything runs."""
    shop.flow(wrong)
    assert shop.errors()


@pytest.mark.parametrize(
    "clause",
    ["trigger: {event: product_price_drop}", "trigger: {event: a}\nenter_if: [{did: product_low_stock}]"],
)
def test_what_happens_to_products_happens_to_nobody(shop: Plays, clause: str) -> None:
    """An event of the catalogue is no customer's: who writes it is told of the trigger that finds people."""
    shop.flow(f"{clause}\nexit_when: [{{did: order_placed}}]\nsteps: [{{send: letter}}]\n")
    assert "C204" in shop.advice()


def test_a_file_is_named_as_its_flow(shop: Plays) -> None:
    """A flow under another name than its file's is an error."""
    shop.write("flows/g.yaml", "flow: f\ntopic: reminders\ntrigger: {event: a}\nsteps: [{send: letter}]\n")
    assert shop.errors()
