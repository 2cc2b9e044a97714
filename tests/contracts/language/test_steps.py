"""Every step of the language, re-entry, and how steps are called."""

from __future__ import annotations

import pytest

from tests.contracts.language.plays import Plays

OPENED = "{at: 2026-03-02 10:00, event: app_opened}"  # a Monday


def follows(shop: Plays, steps: str, expect: str, more: str = "", person: str = "") -> None:
    """Hold what steps do for somebody who comes in on Monday the 2nd of March at ten."""
    who = f"customer: {{timezone: UTC, consent: all, {person}}}\n"
    shop.holds(
        f"trigger: {{event: app_opened}}\nsteps: {steps}\n",
        f"{who}timeline: [{OPENED}{', ' if more else ''}{more}]\nexpect: {expect}\n",
    )


# ── send ──


def test_send_with_its_keys(shop: Plays) -> None:
    """A mail may have an id, a subject, an offer, a topic, a sender and a condition of its own."""
    follows(
        shop,
        """
  - send: letter
    id: hello
    subject: "Hi {{ customer.first_name }}"
    offer: ten
    topic: offers
    sender: founder
    only_if: [{customer: {first_name: Anna}}]
""",
        '[{after: 0h, sends: hello, subject: "Hi Anna", offer: ten}, nothing_more]',
        person="first_name: Anna",
    )


def test_a_topic_of_its_own(shop: Plays) -> None:
    """Consent is asked for the mail's own topic."""
    shop.holds(
        "trigger: {event: app_opened}\nsteps: [{send: letter}, {send: other, topic: offers}]\n",
        f"customer: {{timezone: UTC, consent: [reminders]}}\ntimeline: [{OPENED}]\n"
        "expect: [{after: 0h, sends: letter}, {does_not_send: other, because: no_consent}, nothing_more]",
    )


def test_send_a_list(shop: Plays) -> None:
    """A list sends the first that this customer was not sent yet; where none is left, the flow goes on."""
    shop.holds(
        """
        trigger: {event: app_opened}
        steps: [{send: [guide-1, guide-2], id: guide}, {wait: 1h}, {send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: app_opened}
          - {after: 1d, event: app_opened}
          - {after: 1d, event: app_opened}
        expect:
          - {at: 2026-03-02 10:00, sends: guide-1}
          - {at: 2026-03-02 11:00, sends: letter}
          - {at: 2026-03-03 10:00, sends: guide-2}
          - {at: 2026-03-03 11:00, sends: letter}
          - {at: 2026-03-04 11:00, sends: letter}
          - nothing_more
        """,
    )


# ── wait ──


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        ("30min", "2026-03-02 10:30"),
        ("4h", "2026-03-02 14:00"),
        ("30d", "2026-04-01 10:00"),
        ("2w", "2026-03-16 10:00"),
        ("6mo", "2026-09-02 10:00"),
        ("1y", "2027-03-02 10:00"),
        ('{until: "09:00"}', "2026-03-03 09:00"),
        ('{until: "12:00"}', "2026-03-02 12:00"),
        ('{until: "12:00", at_least: 3h}', "2026-03-03 12:00"),
        ('{until: "09:00", days: [thu, sun]}', "2026-03-05 09:00"),
        ('{until: "09:00", days: weekdays, at_least: 4d}', "2026-03-09 09:00"),
        ('{until: "10:00", days: weekdays, at_least: 20h}', "2026-03-03 10:00"),
        ("{until: points_expire_at, offset: -7d}", "2026-05-13 00:00"),
        ("{until: birthday}", "2026-05-01 00:00"),
        ("{until: properties.trip, offset: 2h}", "2026-03-20 17:00"),
        ("{until: created_at}", "2026-03-02 10:00"),
    ],
)
def test_waits(shop: Plays, wait: str, until: str) -> None:
    """A wait is a stretch, a time of day, or a date of theirs; a moment that is past is over at once."""
    person = 'points_expire_at: 2026-05-20, birthday: 1990-05-01, created_at: 2020-01-01, properties: {trip: "2026-03-20T15:00:00Z"}'
    follows(
        shop,
        f"[{{wait: {wait}}}, {{send: letter}}]",
        f"[{{at: {until}, sends: letter}}, nothing_more]",
        person=person,
    )


def test_wait_for_a_missing_date(shop: Plays) -> None:
    """Who has no such date leaves."""
    follows(
        shop,
        "[{wait: {until: points_expire_at}}, {send: letter}]",
        "[{exits: points_expire_at is missing}, nothing_more]",
    )


def test_wait_until_an_offer_ends(shop: Plays) -> None:
    """A wait may end some time before the offer does."""
    follows(
        shop,
        "[{send: letter, offer: ten}, {wait: {until: offer.ten.expires_at, offset: -1d}}, {send: other, offer: ten}]",
        "[{after: 0h, sends: letter, offer: ten}, {after: 6d, sends: other, offer: ten}, nothing_more]",
    )


def test_wait_for_a_fact(shop: Plays) -> None:
    """It goes on with the fact, or at the limit; the fact's name serves conditions, set, webhooks and templates."""
    shop.template("letter", subject="score {{ answer.score }}")
    steps = """
  - wait: {until: {did: survey_answered, where: {survey: nps}}, up_to: 14d, as: answer}
  - set: {properties.nps: "{{ answer.score }}"}
  - branch:
      - when: [{answer: {score: {gte: 9}}}, {customer: {properties.nps: {gte: 9}}}]
        steps: [{webhook: {to: sms, with: {text: "You gave {{ answer.score }}"}}, id: thanks}, {send: letter}]
      - otherwise: [{send: other}]
"""
    answered = "{after: 3d, event: survey_answered, survey: %s, score: 9}"
    follows(
        shop,
        steps,
        '[{after: 3d, sends: thanks}, {after: 3d, sends: letter, subject: "score 9"}, nothing_more]',
        answered % "nps",
    )
    follows(shop, steps, "[{after: 14d, sends: other}, nothing_more]", answered % "csat")


def test_waits_count_from_when_the_step_before_was_due(shop: Plays) -> None:
    """A wait counts from when the step before was due, or was put off to; whole days keep the time of day across DST."""
    shop.holds(
        "trigger: {event: app_opened}\nsteps: [{send: letter}, {wait: 1d}, {send: other}, {wait: 24h}, {send: third}]\n",
        "customer: {timezone: Europe/Berlin, consent: all}\n"
        "timeline: [{at: 2026-03-28 10:00, event: app_opened}]\n"
        "expect: [{at: 2026-03-28 10:00, sends: letter}, {at: 2026-03-29 10:00, sends: other}, {at: 2026-03-30 10:00, sends: third}, nothing_more]",
        "policy: {quiet_hours: '21:00-08:00'}\n"
        "timeline: [{at: 2026-03-02 22:00, event: app_opened}]\n"
        "expect: [{at: 2026-03-03 08:00, sends: letter}, {at: 2026-03-04 08:00, sends: other}, {at: 2026-03-05 08:00, sends: third}, nothing_more]",
    )


def test_months_are_clipped(shop: Plays) -> None:
    """The 31st of January and a month is the last of February."""
    shop.holds(
        "trigger: {event: app_opened}\nsteps: [{wait: 1mo}, {send: letter}]\n",
        "timeline: [{at: 2026-01-31 10:00, event: app_opened}]\nexpect: [{at: 2026-02-28 10:00, sends: letter}, nothing_more]",
        "timeline: [{at: 2028-01-31 10:00, event: app_opened}]\nexpect: [{at: 2028-02-29 10:00, sends: letter}, nothing_more]",
    )


@pytest.mark.parametrize(
    ("start", "clock", "sent"),
    [
        ("2026-03-28 12:00", "09:00", '"2026-03-29T07:00:00Z"'),  # nine stays nine when the clocks go on
        (
            "2026-03-28 12:00",
            "02:30",
            '"2026-03-29T01:00:00Z"',
        ),  # does not exist: the next valid minute, 03:00
        ("2026-10-24 12:00", "02:30", '"2026-10-25T00:30:00Z"'),  # twice: the first
    ],
)
def test_wall_clocks_survive_the_change_of_clocks(shop: Plays, start: str, clock: str, sent: str) -> None:
    """A time of day stays that, the next valid minute where it does not exist, the first where it is twice."""
    shop.holds(
        f'trigger: {{event: app_opened}}\nsteps: [{{wait: {{until: "{clock}"}}}}, {{send: letter}}]\n',
        f"customer: {{timezone: Europe/Berlin, consent: all}}\ntimeline: [{{at: {start}, event: app_opened}}]\n"
        f"expect: [{{at: {sent}, sends: letter}}, nothing_more]",
    )


# ── branch, experiment, set, webhook, exit ──


def test_branch(shop: Plays) -> None:
    """The first arm that holds, else `otherwise`, else on; arms join again. A scenario calls them as a timeline does."""
    steps = """
  - branch:
      - when: [{trigger: {value: {gte: 100}}}]
        steps: [{send: letter}]
      - when: [{trigger: {value: {gte: 10}}}]
        steps: [{send: other}]
  - wait: 1d
  - send: third
"""
    flow = f"trigger: {{event: paid}}\nsteps: {steps}"
    paid = "timeline: [{at: 2026-03-02 10:00, event: paid, value: %s}]\n"
    after = "{after: 1d, sends: third}, nothing_more]"
    shop.holds(
        flow,
        paid % 150 + "expect: [{after: 0h, sends: letter}, " + after,
        paid % 50 + "expect: [{after: 0h, sends: other}, " + after,
        paid % 5 + "expect: [" + after,
        paid % 150
        + "expect: [{takes: {steps.1.branch: {trigger: {value: {gte: 100}}}}}, {sends: letter}, "
        + after,
        paid % 5 + "expect: [{takes: {steps.1.branch: none}}, " + after,
    )
    shop.holds(
        flow.replace("  - wait", "      - otherwise: [{send: letter, id: fourth}]\n  - wait"),
        paid % 5 + "expect: [{takes: {steps.1.branch: otherwise}}, {after: 0h, sends: fourth}, " + after,
    )


def test_experiment(shop: Plays) -> None:
    """The same customer always takes the same arm; a scenario may force one; arms join again."""
    flow = """
        trigger: {event: app_opened}
        steps:
          - experiment:
              name: nudge
              arms:
                nothing: {weight: 50, steps: []}
                something: {weight: 50, steps: [{send: letter}]}
          - wait: 1d
          - send: other
    """
    told = f"timeline: [{OPENED}]\n"
    shop.holds(
        flow,
        "arms: {nudge: nothing}\n"
        + told
        + "expect: [{takes: {nudge: nothing}}, {after: 1d, sends: other}, nothing_more]",
        "arms: {nudge: something}\n"
        + told
        + "expect: [{takes: {nudge: something}}, {after: 0h, sends: letter}, {after: 1d, sends: other}, nothing_more]",
    )
    shop.flow(flow)
    again = [
        [deed.name for deed in each.story.deeds if deed.word == "took"]
        for each in shop.play(*[told + "expect: []"] * 3)
    ]
    assert again[0] == again[1] == again[2] != []


def test_set(shop: Plays) -> None:
    """It writes a property, adds and removes tags, withdraws consent, and raises no fact."""
    steps = """
  - set: {properties.asked: true, mood: good, tags: {add: [warm, vip], remove: cold}}
  - wait: 1h
  - send: letter
    only_if: [{customer: {properties.asked: true, properties.mood: good, tags: vip}}, {not: {customer: {tags: cold}}}, {did_not: customer_updated}]
  - wait: 1h
  - set: {consent: {reminders: withdrawn}}
  - send: other
"""
    follows(
        shop,
        steps,
        "[{after: 1h, sends: letter}, {exits: no_consent}, nothing_more]",
        person="tags: [cold]",
    )


def test_set_withdraws_all(shop: Plays) -> None:
    """`consent: {all: withdrawn}` ends every topic: what comes behind it is not sent."""
    follows(
        shop,
        "[{send: letter}, {wait: 1h}, {set: {consent: {all: withdrawn}}}, {wait: 1h}, {send: other, topic: offers}]",
        "[{after: 0h, sends: letter}, {exits: no_consent}, nothing_more]",
    )


def test_exit(shop: Plays) -> None:
    """A flow may be left by a step, with a reason."""
    follows(
        shop,
        "[{send: letter}, {exit: enough}, {send: other}]",
        "[{after: 0h, sends: letter}, {exits: enough}, nothing_more]",
    )


def test_webhook_meets_the_gate(shop: Plays) -> None:
    """A webhook is asked for consent and quiet hours as a mail is."""
    shop.holds(
        "trigger: {event: app_opened}\nsteps: [{webhook: {to: sms, with: {text: hello}}, id: sms}]\n",
        "policy: {quiet_hours: '21:00-08:00'}\ntimeline: [{at: 2026-03-02 22:00, event: app_opened}]\nexpect: [{at: 2026-03-03 08:00, sends: sms}, nothing_more]",
        "customer: {timezone: UTC}\ntimeline: [{at: 2026-03-02 22:00, event: app_opened}]\nexpect: [nothing_more]",
    )


# ── identities ──


def test_how_steps_are_called(shop: Plays) -> None:
    """A step is called by its id, else its template or experiment, else its path."""
    shop.flow(
        """
        trigger: {event: app_opened}
        steps:
          - send: letter
          - wait: 1h
          - send: letter
            id: again
          - branch:
              - when: [{customer: {tier: gold}}]
                steps: [{exit: done}]
          - experiment:
              name: nudge
              arms: {a: {weight: 1, steps: []}, b: {weight: 1, steps: []}}
          - set: {mood: good}
        """
    )
    assert shop.steps() == [
        "letter",
        "steps.2.wait",
        "again",
        "steps.4.branch",
        "steps.4.branch.1.steps.1.exit",
        "nudge",
        "steps.6.set",
    ]


def test_a_template_twice_needs_an_id(shop: Plays) -> None:
    """The same template twice without an id is an error."""
    shop.flow("trigger: {event: app_opened}\nsteps: [{send: letter}, {wait: 1d}, {send: letter}]\n")
    assert shop.errors()


# ── re-entry ──


@pytest.mark.parametrize(
    ("re_entry", "days"),
    [
        ("never", [2]),
        ("always", [2, 3, 12]),
        ("{after: 7d}", [2, 12]),
        ("{per: cart}", [2, 12]),
        ("{per: cart, after: 2d}", [2, 12]),
        ("{per: year}", [2]),
    ],
)
def test_re_entry(shop: Plays, re_entry: str, days: list[int]) -> None:
    """Once ever, always, once for each cart, once a year, and not within so long of the last entry."""
    shop.holds(
        f"trigger: {{event: cart_updated}}\nre_entry: {re_entry}\nsteps: [{{send: letter}}]\n",
        "timeline:\n"
        "  - {at: 2026-03-02 10:00, event: cart_updated, cart_id: c1}\n"
        "  - {at: 2026-03-03 10:00, event: cart_updated, cart_id: c1}\n"
        "  - {at: 2026-03-12 10:00, event: cart_updated, cart_id: c2}\n"
        f"expect: [{', '.join(f'{{at: 2026-03-{day:02} 10:00, sends: letter}}' for day in days)}, nothing_more]",
    )


def test_at_most_one_inside_except_with_per(shop: Plays) -> None:
    """Somebody is inside a flow once at a time; with `per` once for each."""
    story = "timeline: [{at: 2026-03-02 10:00, event: order_placed, order_id: o1}, {after: 1h, event: order_placed, order_id: o2}]\n"
    flow = "trigger: {event: order_placed}\nre_entry: %s\nsteps: [{wait: 1d}, {send: letter}]\n"
    shop.holds(flow % "always", story + "expect: [{at: 2026-03-03 10:00, sends: letter}, nothing_more]")
    shop.holds(
        flow % "{per: order}",
        story
        + "expect: [{at: 2026-03-03 10:00, sends: letter}, {at: 2026-03-03 11:00, sends: letter}, nothing_more]",
    )


def test_a_refused_entry_uses_nothing_up(shop: Plays) -> None:
    """Who was refused once may come in later, even where one may come in once ever."""
    shop.holds(
        """
        trigger: {event: app_opened}
        re_entry: never
        enter_if: [{customer: {tier: gold}}]
        steps: [{send: letter}]
        """,
        """
        timeline:
          - {at: 2026-03-02 10:00, event: app_opened}
          - {after: 1d, event: customer_updated, tier: gold}
          - {after: 1d, event: app_opened}
        expect: [{at: 2026-03-04 10:00, sends: letter}, nothing_more]
        """,
    )


def test_a_holdout_counts_as_an_entry(shop: Plays) -> None:
    """Who is held out once ever is not let in later."""
    shop.holds(
        "trigger: {event: app_opened}\nre_entry: never\nholdout: 10%\nsteps: [{send: letter}]\n",
        f"holdout: true\ntimeline: [{OPENED}, {{after: 1d, event: app_opened}}]\nexpect: [{{does_not_send: letter, because: holdout}}, nothing_more]",
    )


def test_no_consent_no_entry(shop: Plays) -> None:
    """Without consent for the topic nobody comes in; pending is none; a soft opt-in counts where the topic accepts it."""
    told = f"timeline: [{OPENED}]\n"
    flow = "trigger: {event: app_opened}\nsteps: [{send: letter}]\n"
    shop.holds(
        flow,
        "customer: {timezone: UTC}\n"
        + told
        + "expect: [{does_not_send: letter, because: no_consent}, nothing_more]",
        "customer: {timezone: UTC, consent: [offers]}\n"
        + told
        + "expect: [{does_not_send: letter, because: no_consent}, nothing_more]",
    )
