"""What users rely on: leaving, the gate, reasons, consent, old and late facts, quiet hours, caps, priority, offers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.store.tables import enrollments
from tests.contracts.language.plays import Plays
from tests.scenarios.world import World

OPENED = "{at: 2026-03-02 10:00, event: app_opened}"
TWO = "trigger: {event: app_opened}\nsteps: [{send: letter}, {wait: 5d}, {send: other}]\n"
LETTER = "steps: [{send: letter}]\n"


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        ("event: consent_withdrawn, topic: reminders", "no_consent"),
        ("event: consent_withdrawn, topic: all", "no_consent"),
        ("event: customer_suppressed", "suppressed"),
        ("event: customer_suppressed, scope: marketing", "suppressed"),
        ("event: customer_erased", "suppressed"),
    ],
)
def test_leaving_always_and_at_once(shop: Plays, fact: str, reason: str) -> None:
    """Withdrawal, suppression and erasure end it with the fact, not at the end of the wait."""
    shop.holds(
        TWO,
        f"timeline: [{OPENED}, {{after: 1d, {fact}}}]\nexpect: [{{after: 0h, sends: letter}}, {{after: 1d, exits: {reason}}}, nothing_more]",
    )


def test_what_does_not_make_leave(shop: Plays) -> None:
    """Another topic's withdrawal ends nothing, nor does a purchase without `exit_when`."""
    shop.holds(
        TWO,
        f"timeline: [{OPENED}, {{after: 1d, event: consent_withdrawn, topic: offers}}, {{after: 1d, event: order_placed}}]\n"
        "expect: [{after: 0h, sends: letter}, {after: 5d, sends: other}, nothing_more]",
    )


def test_unsubscribing_never_stops_transactional_mail(shop: Plays) -> None:
    """A transactional flow passes consent, caps, quiet hours and topics, never a suppression of its scope."""
    flow = "kind: transactional\ntrigger: {event: order_shipped}\nre_entry: {per: order}\nsteps: [{send: letter}, {wait: 1h}, {send: other}]\n"
    told = "policy: {quiet_hours: '21:00-08:00', caps: [1 per 30d]}\ncustomer: {timezone: UTC}\ntimeline: [{at: 2026-03-02 23:00, event: order_shipped, order_id: o1}, {after: 10min, %s}]\n"
    both = (
        "expect: [{at: 2026-03-02 23:00, sends: letter}, {at: 2026-03-03 00:00, sends: other}, nothing_more]"
    )
    one = "expect: [{at: 2026-03-02 23:00, sends: letter}, {exits: %s}, nothing_more]"
    shop.holds(
        flow,
        told % "event: consent_withdrawn, topic: all" + both,
        told % "event: customer_suppressed, scope: marketing" + both,
        told % "event: customer_suppressed" + one % "suppressed",
        told % "event: customer_erased" + one % "suppressed",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "kind: transactional\ntrigger: {event: order_shipped}\nsteps: [{send: letter, offer: ten}]\n",
        "kind: transactional\ntrigger: {event: order_shipped}\nsteps: [{send: picks}]\n",
    ],
)
def test_transactional_holds_nothing_to_sell(shop: Plays, wrong: str) -> None:
    """An offer or a recommendation in a transactional flow is an error."""
    shop.write(
        "templates/picks.mjml",
        "---\nsubject: picks\nrecommend:\n  picks: {from: [bestsellers], count: 2}\n---\n"
        "<mjml><mj-body><mj-section><mj-column><mj-text>{{ picks | length }}</mj-text></mj-column></mj-section></mj-body></mjml>\n",
    )
    shop.flow(wrong)
    assert shop.check_errors()


@pytest.mark.parametrize(
    ("consents", "goes"),
    [
        ([("granted", 1)], True),
        ([("granted", 1), ("withdrawn", 2), ("granted", 3)], True),
        ([("granted", 1), ("withdrawn", 2), ("granted", 1)], False),
        ([("withdrawn", 2), ("granted", 2)], False),
        ([("pending", 1)], False),
        ([], False),
    ],
)
def test_consent(here: World, consents: list[tuple[str, int]], goes: bool) -> None:
    """No word is no consent; pending is none; a grant that is not dated after a withdrawal never overrides it."""
    here.flow("flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nsteps: [{send: letter}]\n")
    here.apply()
    here.customer(consent=[])
    here.go_on(days=5)
    for state, day in consents:
        at = datetime(2026, 3, day, 12, 0, tzinfo=UTC).isoformat()
        here.tell("consents", {"customer": "ann", "topic": "reminders", "state": state, "at": at})
    here.event("app_opened")
    here.go_on(hours=1)
    assert here.steps() == (["letter"] if goes else [])


def test_old_facts(here: World) -> None:
    """Backfilled facts count for conditions and time triggers and are never an event trigger."""
    here.flow("flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nsteps: [{send: letter}]\n")
    here.flow(
        "flow: g\ntopic: reminders\ntrigger: {lapsed: {event: app_opened, after: 10d}}\nenter_if: [{did: shop_visited}]\nsteps: [{send: other}]\n"
    )
    here.apply()
    here.customer()
    here.event("shop_visited", backfill=True)
    here.event("app_opened", backfill=True)
    here.go_on(days=11)
    assert here.sent == [("03-11 09:00", "ann", "other")]


def test_time_triggers_are_new_when_their_moment_is(here: World) -> None:
    """A flow takes facts from its apply on; of time triggers those whose moment lies after it, however old the fact."""
    here.flow("flow: first\ntopic: reminders\ntrigger: {event: never_happens}\nsteps: [{send: third}]\n")
    here.apply()
    here.customer()
    here.event("app_opened")
    here.customer("ben")
    here.event("app_opened", "ben", at=here.now - timedelta(days=9))
    here.go_on(days=5)
    here.flow("flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nsteps: [{send: letter}]\n")
    here.flow(
        "flow: g\ntopic: reminders\ntrigger: {lapsed: {event: app_opened, after: 10d}}\nsteps: [{send: other}]\n"
    )
    here.apply()
    here.go_on(days=10)
    assert here.sent == [("03-11 09:00", "ann", "other")]


def test_late_facts(here: World) -> None:
    """Waits count from when things happened; what is later than `max_lateness` is skipped as too late."""
    here.flow(
        "flow: f\ntopic: reminders\nre_entry: always\ntrigger: {event: app_opened}\nsteps: [{wait: 4h}, {send: letter}]\n"
    )
    here.apply()
    here.customer()
    here.event("app_opened", at=here.now - timedelta(hours=3))
    here.go_on(days=1)
    assert here.sent == [("03-01 10:00", "ann", "letter")]
    here.event("app_opened", at=here.now - timedelta(hours=30))
    here.go_on(days=1)
    assert len(here.sent) == 1
    assert "too_late" in here.reasons("skipped", "dropped")


def test_after_an_outage_the_newest_goes(here: World) -> None:
    """Of several mails of one enrollment that fell due meanwhile only the newest goes; the others are superseded."""
    here.flow(
        "flow: f\ntopic: reminders\nmax_lateness: 30d\ntrigger: {event: app_opened}\nsteps: [{wait: 1d}, {send: letter}, {wait: 1d}, {send: other}, {wait: 1d}, {send: third}]\n"
    )
    here.apply()
    here.customer()
    here.event("app_opened")
    here.go_on(hours=1)
    here.sleep_to(here.now + timedelta(days=2, hours=10))
    here.go_on(days=3)
    assert here.steps() == ["other", "third"]
    assert here.reasons("skipped", "dropped") == ["superseded"]


def test_quiet_hours_defer_and_caps_drop(shop: Plays) -> None:
    """Quiet hours put off, caps drop; `when_capped: wait` waits as long as the mail is not too late."""
    night = "policy: {quiet_hours: '21:00-08:00'}\ntimeline: [{at: 2026-03-02 22:00, event: app_opened}]\n"
    shop.holds(
        "trigger: {event: app_opened}\n" + LETTER,
        night + "expect: [{at: 2026-03-03 08:00, sends: letter}, nothing_more]",
    )
    capped = "policy: {caps: [1 per 16h]}\n" + f"timeline: [{OPENED}]\n"
    flow = "trigger: {event: app_opened}\n%ssteps: [{send: letter}, {wait: 1h}, {send: other}]\n"
    shop.holds(
        flow % "",
        capped
        + "expect: [{after: 0h, sends: letter}, {does_not_send: other, because: capped}, nothing_more]",
    )
    shop.holds(
        flow % "policy: {when_capped: wait}\n",
        capped + "expect: [{after: 0h, sends: letter}, {after: 16h, sends: other}, nothing_more]",
    )
    shop.holds(
        flow % "policy: {when_capped: wait}\nmax_lateness: 10h\n",
        capped + "expect: [{after: 0h, sends: letter}, {does_not_send: other}, nothing_more]",
    )


def test_a_flows_own_policy(shop: Plays) -> None:
    """A flow may have quiet hours and caps of its own."""
    story = "policy: project\ntimeline: [{at: 2026-03-02 22:00, event: app_opened}]\n"
    shop.holds(
        'trigger: {event: app_opened}\npolicy: {quiet_hours: "", caps: []}\nsteps: [{send: letter}, {wait: 1h}, {send: other}]\n',
        story
        + "expect: [{at: 2026-03-02 22:00, sends: letter}, {at: 2026-03-02 23:00, sends: other}, nothing_more]",
    )
    shop.holds(
        'trigger: {event: app_opened}\npolicy: {quiet_hours: "20:00-09:30"}\nsteps: [{send: letter}]\n',
        story + "expect: [{at: 2026-03-03 09:30, sends: letter}, nothing_more]",
    )


def test_a_deferred_message_is_judged_anew(shop: Plays) -> None:
    """What was put off for the night does not go where its condition fails in the morning."""
    shop.holds(
        "trigger: {event: app_opened}\nonly_if: [{did_not: order_placed, since: entry}]\n" + LETTER,
        "policy: {quiet_hours: '21:00-08:00'}\ntimeline: [{at: 2026-03-02 22:00, event: app_opened}, {after: 2h, event: order_placed}]\n"
        "expect: [{does_not_send: letter, because: 'condition_false: did_not: order_placed'}, nothing_more]",
    )


def test_priority(here: World) -> None:
    """Of mails that are due together the higher priority goes; the loser of a cap is outranked."""
    here.policy(caps=["1 per 16h"])
    for name, priority, letter in (("low", 10, "letter"), ("high", 90, "other"), ("middle", 50, "third")):
        here.flow(
            f"flow: {name}\ntopic: reminders\npriority: {priority}\ntrigger: {{event: app_opened}}\nsteps: [{{send: {letter}}}]\n"
        )
    here.apply()
    here.customer()
    here.event("app_opened")
    here.go_on(hours=20)
    assert here.steps() == ["other"]
    assert here.reasons("dropped", "skipped") == ["outranked", "outranked"]


def test_time_zone(shop: Plays) -> None:
    """The customer's zone, else that of a country with one zone, else the shop's."""
    flow = 'trigger: {event: app_opened}\nsteps: [{wait: {until: "09:00"}}, {send: letter}]\n'
    told = 'timeline: [{at: "2026-03-02T12:00:00Z", event: app_opened}]\n'
    shop.holds(
        flow,
        "customer: {timezone: America/New_York, country: JP, consent: all}\n"
        + told
        + 'expect: [{at: "2026-03-02T14:00:00Z", sends: letter}, nothing_more]',
        "customer: {country: JP, consent: all}\n"
        + told
        + 'expect: [{at: "2026-03-03T00:00:00Z", sends: letter}, nothing_more]',
        "customer: {country: US, consent: all}\n"
        + told
        + 'expect: [{at: "2026-03-03T08:00:00Z", sends: letter}, nothing_more]',
    )


def test_goal_never_exits(here: World) -> None:
    """A goal ends nothing, is measured for holdouts too, and counts what comes within its time."""
    here.flow(
        "flow: f\ntopic: reminders\nholdout: 50%\ntrigger: {event: app_opened}\ngoal: {did: order_placed, within: 5d}\nsteps: [{wait: 2d}, {send: letter}]\n"
    )
    here.apply()
    names = [f"c{number}" for number in range(12)]
    for name in names:
        here.customer(name)
        here.event("app_opened", name)
    here.go_on(days=1)
    for name in names[:6]:
        here.tell(
            "orders",
            {
                "order_id": f"o{name}",
                "customer": name,
                "placed_at": here.now.isoformat(),
                "total": 5,
                "currency": "EUR",
            },
        )
    here.go_on(days=9)
    for name in names[6:]:
        here.tell(
            "orders",
            {
                "order_id": f"o{name}",
                "customer": name,
                "placed_at": here.now.isoformat(),
                "total": 5,
                "currency": "EUR",
            },
        )
    here.go_on(days=1)
    found = here.rows(enrollments)
    assert {row.state for row in found} == {"held_out", "completed"}
    reached = sum(row.goal_at is not None for row in found)
    assert reached == 6
    assert len(here.sent) == sum(row.state == "completed" for row in found)


def test_pause(here: World) -> None:
    """A pause stops entries and mails, never exits; what arrives meanwhile waits, and then meets `max_lateness`."""
    here.flow(
        "flow: f\ntopic: reminders\ntrigger: {event: app_opened}\nre_entry: {per: occurrence}\nexit_when: [{did: order_placed}]\nsteps: [{send: letter}, {wait: 2d}, {send: other}]\n"
    )
    here.apply()
    here.customer("ann")
    here.customer("ben")
    here.event("app_opened", "ann")
    here.go_on(hours=1)
    here.pause("f")
    here.event("app_opened", "ben")
    here.tell(
        "orders",
        {
            "order_id": "o1",
            "customer": "ann",
            "placed_at": here.now.isoformat(),
            "total": 5,
            "currency": "EUR",
        },
    )
    here.go_on(hours=5)
    assert here.steps("ben") == []
    assert ("f", "exited", "exited: did: order_placed") in here.inside
    here.resume("f")
    here.go_on(hours=1)
    assert here.steps("ben") == ["letter"]
    here.pause("f")
    here.go_on(days=5)
    here.resume("f")
    here.go_on(days=1)
    assert here.steps("ben") == ["letter"]
    assert here.reasons("dropped", "skipped")[-1] == "too_late"


# ── offers ──


@pytest.mark.parametrize(
    "offer",
    [
        "percent: 10, code: TEN",
        "amount: 5 EUR, code: FIVE",
        "free_shipping: true, code: SHIP",
        "buy_one_get_one: T1, code: BOGO",
        "gift: T1, code: GIFT",
        "early_access: early, code: EARLY",
        'percent: 10, pattern: "TEA-########"',
        "percent: 10, pool: codes.txt",
        "percent: 10, code: X, once_per: message, when_empty: wait",
        "percent: 10, pool: codes.txt, when_empty: ten",
    ],
)
def test_offers(shop: Plays, offer: str) -> None:
    """Each kind of offer, with each source of codes, goes out with its code."""
    shop.write("flows/segments.yaml", "early: [{did_not: order_placed}]\n")
    shop.write("codes.txt", "A1\nA2\n")
    shop.write("flows/offers.yaml", f"ten: {{percent: 10, code: TEN2}}\nit: {{{offer}, valid_for: 7d}}\n")
    shop.template("letter", subject="{{ offer.code }} {{ offer.expires_at | date }}")
    shop.holds(
        "trigger: {event: app_opened}\nonly_if: [{segment: early}]\nsteps: [{send: letter, offer: it}]\n",
        f"products: [{{sku: T1, price: 3}}]\ntimeline: [{OPENED}]\nexpect: [{{after: 0h, sends: letter, offer: it}}, nothing_more]",
    )


@pytest.mark.parametrize(
    ("when_empty", "expect"),
    [
        ("without", "{after: 0h, sends: letter}"),
        ("wait", "{does_not_send: letter, because: no_offer}"),
        ("ten", "{after: 0h, sends: letter, offer: ten}"),
    ],
)
def test_a_pool_that_is_dry(shop: Plays, when_empty: str, expect: str) -> None:
    """Where no code is left the mail waits, goes without, or takes another offer."""
    shop.write("codes.txt", "")
    shop.write(
        "flows/offers.yaml",
        f"ten: {{percent: 10, code: TEN}}\nit: {{percent: 20, pool: codes.txt, when_empty: {when_empty}}}\n",
    )
    shop.holds(
        "trigger: {event: app_opened}\nsteps: [{send: letter, offer: it}]\n",
        f"timeline: [{OPENED}]\nexpect: [{expect}, nothing_more]",
    )


@pytest.mark.parametrize(
    ("step", "expect"),
    [
        ("{wait: {until: offer.it.expires_at}}", '{exits: "offer.it.expires_at is missing"}'),
        ("{wait: {until: customer.points_expire_at}}", '{exits: "points_expire_at is missing"}'),
        ("{exit: all said}", "{exits: all said}"),
        (
            "{branch: [{when: [{offer: {it: {held: true}}}], steps: []}, {otherwise: [{exit: none}]}]}",
            "{exits: none}",
        ),
    ],
)
def test_nobody_leaves_before_their_mail(shop: Plays, step: str, expect: str) -> None:
    """A step that asks about an offer, or ends the flow, waits with the mail that waits for its code."""
    shop.write("codes.txt", "")
    shop.write("flows/offers.yaml", "it: {percent: 20, pool: codes.txt, valid_for: 3d, when_empty: wait}\n")
    shop.holds(
        f"trigger: {{event: app_opened}}\nmax_lateness: 2d\nsteps: [{{send: letter, offer: it}}, {step}]\n",
        f"timeline: [{OPENED}]\n"
        f"expect: [{{does_not_send: letter, because: no_offer}}, {{after: 2d, {expect[1:]}, nothing_more]",
    )


def test_the_same_offer_shows_the_same_code(shop: Plays) -> None:
    """Sending the same offer again to its holder shows the same code."""
    shop.template("letter", subject="{{ offer.code }}")
    shop.template("other", subject="{{ offer.code }}")
    shop.flow(
        "trigger: {event: app_opened}\nsteps: [{send: letter, offer: ten}, {wait: 1d}, {send: other, offer: ten}]\n"
    )
    (verdict,) = shop.play(
        f"timeline: [{OPENED}]\nexpect: [{{after: 0h, sends: letter}}, {{after: 1d, sends: other}}]"
    )
    codes = [deed.subject for deed in verdict.story.deeds if deed.word == "sent"]
    assert verdict.passed
    assert len(codes) == 2
    assert len(set(codes)) == 1
    assert codes[0].startswith("TEN-")


# ── templates ──


def test_names_of_a_template(shop: Plays) -> None:
    """A mail may use every name of the contract."""
    body = (
        "{{ customer.first_name }} {{ shop.name }} {{ shop.url }} {{ shop.currency }} {{ sender.name }} {{ trigger.event }} {{ order.order_id }} "
        "{{ cart.cart_id if cart else '' }} {{ product.sku if product else '' }} {{ products | length }} {{ offer.code if offer else '' }} "
        "{{ answer.score if answer else '' }} {{ flow.name }} {{ now.year }} {{ links.preferences }} {{ links.view_in_browser }} "
        "{{ links.answer('survey_answered', survey='nps', score=9) }} {{ links.snooze(14) }}"
    )
    shop.template(
        "letter",
        body=body,
        subject="{{ customer.first_name }} {{ order.total }} {{ now.hour }} {{ flow.name }}",
    )
    shop.holds(
        "trigger: {event: order_placed}\n" + LETTER,
        "customer: {timezone: UTC, consent: all, first_name: Anna}\n"
        "timeline: [{at: 2026-03-02 10:00, event: order_placed, order_id: o1, total: 20, lines: [{sku: T1, quantity: 1, price: 20}]}]\n"
        "expect: [{after: 0h, sends: letter, subject: Anna}, nothing_more]",
    )


def test_localised_copies(shop: Plays) -> None:
    """`zh-TW` falls back to `zh-Hant`, then `zh`, then the default."""
    for place, subject in (("zh-Hant/letter", "hant"), ("zh/letter", "han"), ("ja/letter", "ja")):
        shop.template(place, subject=subject)
    told = f"timeline: [{OPENED}]\n"
    shop.holds(
        "trigger: {event: app_opened}\n" + LETTER,
        *(
            f"customer: {{timezone: UTC, consent: all, locale: {locale}}}\n{told}expect: [{{after: 0h, sends: letter, subject: {subject}}}, nothing_more]"
            for locale, subject in (
                ("zh-TW", "hant"),
                ("zh-CN", "han"),
                ("ja-JP", "ja"),
                ("de-DE", "letter"),
                ("zh_TW", "hant"),
            )
        ),
    )
