"""Reading flows, segments and offers: what is right gives values, what is wrong its finding in its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from decimal import Decimal

import pytest

from engine.calendar import Duration
from engine.diagnostics import Finding, Span
from engine.flows.conditions import All, Any_, Did, FieldTest, InSegment, Lines, Not, Of, OfferIs, Test
from engine.flows.model import (
    AnniversaryTrigger,
    Branch,
    DateTrigger,
    EventTrigger,
    Exit,
    Experiment,
    Flow,
    LapsedTrigger,
    Offer,
    ProductTrigger,
    ReEntry,
    ReplenishTrigger,
    ScheduleTrigger,
    SegmentTrigger,
    Send,
    Set,
    WaitClock,
    WaitField,
    WaitFor,
    WaitUntil,
    Webhook,
)  # fmt: skip
from engine.flows.nodes import from_plain
from engine.flows.parse import parse_conditions, parse_flow
from engine.flows.yaml_source import read_yaml
from tests.unit.flows.conftest import MINIMAL, Folder
from tests.unit.flows.everything import FILES

HOURS = 3600


@pytest.fixture
def everything(folder: Folder) -> Flow:
    """The flow that uses every word of the language."""
    folder.write(FILES)
    project = folder.load()
    assert [str(f.span) + f.message for f in project.findings] == []
    return project.definitions.flows["one"]


def test_defaults_are_the_models(folder: Folder) -> None:
    """A flow that says the least equals the model's own defaults."""
    flow = folder.flow(MINIMAL)
    assert flow == Flow("one", (EventTrigger("order_placed"),), (Send("a", ("a",)),), topic="offers")


def test_every_trigger_is_read(everything: Flow) -> None:
    """Each kind of trigger becomes its value."""
    assert everything.triggers == (
        EventTrigger(
            "cart_updated",
            (
                FieldTest("cart_id", (Test("exists", True),)),
                FieldTest("value", (Test("gte", Decimal("20.5")),)),
            ),
            Duration(seconds=4 * HOURS),
            Duration(days=1),
        ),
        AnniversaryTrigger("birthday", Duration(days=-7), time(9)),
        DateTrigger("points_expire_at", Duration(months=-1), time(8, 30)),
        DateTrigger("properties.renewal"),
        LapsedTrigger(
            "order_placed", None, Decimal("1.5"), Duration(days=30), Duration(months=12), Duration(days=90)
        ),
        LapsedTrigger("order_placed", Duration(days=90), where=(FieldTest("value", (Test("gt", 0),)),)),
        ReplenishTrigger(Duration(days=3), (FieldTest("category", (Test("eq", "tea"),)),)),
        SegmentTrigger("loyal-in-asia"),
        ProductTrigger("back_in_stock", ("wishlist", "viewed"), Duration(days=60)),
        ProductTrigger("price_drop", by=Decimal("0.05")),
        ProductTrigger("low_stock", ("cart",), below=5),
        ScheduleTrigger("0 9 1 * *", None, "loyal", "customer"),
        ScheduleTrigger(None, datetime(2026, 11, 26, 10, 0)),  # noqa: DTZ001 - local by meaning
    )


def test_every_condition_is_read(everything: Flow) -> None:
    """Conditions nest; a bare value is equal, a list one of; keys come in one order, whatever was written."""
    customer, no_order, some = (clause.condition for clause in everything.enter_if)
    assert customer == Of(
        "customer",
        (
            FieldTest("country", (Test("in", ("JP", "TW", "NO")),)),
            FieldTest("properties.shoe_size", (Test("eq", 42),)),
            FieldTest("rfm.r", (Test("gte", 4), Test("lt", 6))),
            FieldTest("tags", (Test("contains", "vip"),)),
        ),
    )
    assert no_order == Not(
        Did("order_placed", within=Duration(days=30), where=(FieldTest("value", (Test("gte", 10),)),))
    )
    assert some == Any_(
        (
            Did("product_viewed", times=(Test("gte", 2),), since=datetime(2026, 1, 1, tzinfo=UTC)),
            All(
                (
                    InSegment("loyal"),
                    Not(Of("customer", (FieldTest("email", (Test("starts_with", "test"),)),))),
                )
            ),
            Did(
                "order_placed",
                times=(Test("eq", 3),),
                since="entry",
                sums=(FieldTest("value", (Test("gte", 100),)),),
            ),
            Did("review_given", same="order_id"),
        )
    )
    assert everything.only_if[0].condition == Of(
        "cart",
        (FieldTest("value", (Test("gte", 20),)),),
        (
            Lines("any", (FieldTest("in_stock", (Test("eq", True),)),)),
            Lines("none", (FieldTest("category", (Test("eq", "wine"),)),)),
        ),
    )
    assert everything.only_if[3].condition == Of(
        "trigger",
        (
            FieldTest(
                "at",
                (
                    Test("before", datetime(2027, 1, 1, 1, tzinfo=UTC)),
                    Test("after", datetime(2026, 1, 1, tzinfo=UTC)),
                ),
            ),
            FieldTest("value", (Test("eq", 20),)),
            FieldTest("years", (Test("exists", False),)),
        ),
    )
    assert everything.only_if[5].condition == OfferIs("ten", held=True, used=False)
    assert everything.only_if[6].condition == Not(InSegment("loyal-in-asia"))


def test_a_clause_speaks_its_authors_words(everything: Flow) -> None:
    """The reason's text is what was written, but for the order of keys."""
    assert everything.exit_when[0].text == "did: order_placed"
    assert everything.enter_if[1].text == "did_not: order_placed, within: 30d, where: {value: {gte: 10}}"
    assert (
        everything.only_if[0].text
        == "cart: {lines: {any: {in_stock: true}, none: {category: wine}}, value: {gte: 20}}"
    )


def test_every_step_is_read(everything: Flow) -> None:
    """Each kind of step becomes its value; unnamed ones are known by their path, counted from 1."""
    kinds = [(type(step), step.id) for step in everything.all_steps()]
    assert kinds == [
        (Send, "a"), (WaitFor, "steps.2.wait"), (WaitClock, "steps.3.wait"), (WaitClock, "evening"),
        (WaitField, "steps.5.wait"), (WaitField, "steps.6.wait"), (WaitUntil, "steps.7.wait"), (Branch, "steps.8.branch"),
        (Send, "b"), (WaitFor, "steps.8.branch.1.steps.2.wait"), (Set, "steps.8.branch.3.otherwise.1.set"),
        (Exit, "steps.8.branch.3.otherwise.2.exit"), (Experiment, "nudge"), (Send, "b-again"),
        (WaitFor, "steps.9.experiment.more.steps.2.wait"), (Webhook, "steps.10.webhook"), (Send, "guide"),
    ]  # fmt: skip


def test_waits_are_read(everything: Flow) -> None:
    """All forms of waiting."""
    steps = {step.id: step for step in everything.all_steps()}
    assert steps["steps.2.wait"] == WaitFor("steps.2.wait", Duration(seconds=1800))
    clock = WaitClock("steps.3.wait", time(9), frozenset(range(5)), Duration(seconds=20 * HOURS))
    assert steps["steps.3.wait"] == clock
    assert steps["evening"] == WaitClock("evening", time(18, 30), frozenset({0, 3}))
    assert steps["steps.5.wait"] == WaitField("steps.5.wait", "points_expire_at", Duration(days=-7))
    assert steps["steps.6.wait"] == WaitField("steps.6.wait", "offer.ten.expires_at")
    until = steps["steps.7.wait"]
    assert isinstance(until, WaitUntil)
    assert (until.until.condition, until.up_to, until.answer) == (
        Did("survey_answered", where=(FieldTest("survey", (Test("eq", "nps"),)),)),
        Duration(days=14),
        "answer",
    )


def test_sends_sets_and_webhooks_are_read(everything: Flow) -> None:
    """What goes out, and what is changed."""
    steps = {step.id: step for step in everything.all_steps()}
    sent = steps["b"]
    assert isinstance(sent, Send)
    assert (sent.subject, sent.offer, sent.topic, sent.sender) == (
        "Thank you, {{ customer.first_name }}", "ten", "offers", "ceo",
    )  # fmt: skip
    assert sent.only_if[0].text == "did_not: order_placed, since: entry"
    assert steps["guide"] == Send("guide", ("a", "b", "c"))
    changed = steps["steps.8.branch.3.otherwise.1.set"]
    assert isinstance(changed, Set)
    assert changed.values == {
        "properties.vip": True,
        "properties.note": "{{ answer.text }}",
        "tags": {"add": ["vip"], "remove": ["new"]},
        "consent": {"all": "withdrawn"},
    }
    handed = steps["steps.10.webhook"]
    assert isinstance(handed, Webhook)
    assert handed.to == "sms"
    assert handed.body == {
        "text": "Hello {{ customer.first_name }}", "priority": 1, "score": Decimal("0.5"), "to": ["a", "b"],
    }  # fmt: skip


def test_policy_and_limits_are_read(everything: Flow) -> None:
    """What a flow says instead of the project's policy."""
    assert everything.policy.quiet_hours == "22:00-07:00"
    assert everything.policy.caps == ("2 per 1d",)
    assert everything.policy.when_capped == "wait"
    assert everything.max_lateness == Duration(days=3)
    assert everything.holdout == Decimal("0.125")
    assert everything.re_entry == ReEntry(per="cart", after=Duration(days=7))
    assert everything.goal is not None
    assert (everything.goal.clause.text, everything.goal.within) == ("did: order_placed", Duration(days=5))


def test_offers_are_read(folder: Folder) -> None:
    """Each form of an offer becomes its value."""
    folder.write(FILES)
    offers = folder.load().definitions.offers
    assert offers["ten"] == Offer(
        "ten", "percent", "10", pattern="TEA-########", valid_for=Duration(days=7), when_empty="five"
    )
    assert offers["five"] == Offer(
        "five", "amount", "5 EUR", code="SPRING", once_per="message", when_empty="wait"
    )
    assert [offers[name].gives for name in ("ship", "gift", "two", "early")] == [
        "free_shipping", "gift", "buy_one_get_one", "early_access",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("re_entry: never", ReEntry(never=True)),
        ("re_entry: always", ReEntry()),
        ("re_entry: {after: 7d}", ReEntry(after=Duration(days=7))),
    ],
)
def test_re_entry_forms(folder: Folder, line: str, value: ReEntry) -> None:
    """Never, always, or limits."""
    assert folder.flow(MINIMAL + line).re_entry == value


def test_one_condition_stands_for_a_list_of_one(folder: Folder) -> None:
    """`exit_when: {did: …}` is a list of one; several questions in one table mean all of them."""
    flow = folder.flow(MINIMAL + "exit_when: {did: order_placed, customer: {orders: 2}}")
    assert len(flow.exit_when) == 1
    assert isinstance(flow.exit_when[0].condition, All)


# each: a line after the minimal flow, code, line, column, length
WRONG_LINES = [
    ("summry: x", "F101", 6, 1, 6),
    ("kind: Marketing", "F104", 6, 7, 9),
    ("priority: high", "F105", 6, 11, 4),
    ("priority: true", "F105", 6, 11, 4),
    ("holdout: 10", "F105", 6, 10, 2),
    ("holdout: 130%", "F105", 6, 10, 4),
    ("max_lateness: soon", "F105", 6, 15, 4),
    ("max_lateness: 99y", "F105", 6, 15, 3),
    ("re_entry: sometimes", "F104", 6, 11, 9),
    ("re_entry: {per: month}", "F104", 6, 17, 5),
    ("re_entry: {}", "F102", 6, 11, 2),
    ("summary: [a]", "F103", 6, 10, 3),
    ("exit_when: order_placed", "F103", 6, 12, 12),
    ("exit_when:", "F103", 6, 11, 1),
    ("goal: [{did: order_placed}]", "F103", 6, 7, 21),
    ("sender: boss", "F122", 6, 9, 4),
    ("policy: {caps: none}", "F103", 6, 16, 4),
    ("policy: {caps: [often]}", "F105", 6, 17, 5),
    ("policy: {quiet_hours: night}", "F105", 6, 23, 5),
    ("policy: {exclude: [vip]}", "F107", 6, 10, 7),
    ("policy: {quiet: x}", "F101", 6, 10, 5),
    ("policy: {max_lateness: 3d}\nmax_lateness: 2d", "F107", 6, 10, 12),
    ("segments: {}", "F101", 6, 1, 8),
    ("enter_if: [{country: JP}]", "C101", 6, 13, 7),
    ("enter_if: [{did: order_placed, did_not: x}]", "C108", 6, 32, 7),
    ("enter_if: [{within: 3d, customer: {orders: 1}}]", "F107", 6, 13, 6),
    ("enter_if: [{}]", "F103", 6, 12, 2),
    ("enter_if: [order_placed]", "F103", 6, 12, 12),
    ("enter_if: [{did: [a, b]}]", "F103", 6, 18, 6),
    ("enter_if: [{did: 'order placed!'}]", "F106", 6, 18, 15),
    ("enter_if: [{customer: {ordrs: 1}}]", "C102", 6, 24, 5),
    ("enter_if: [{customer: {properties: {size: 1}}}]", "C102", 6, 24, 10),
    ("enter_if: [{customer: {orders: {'>=': 1}}}]", "C103", 6, 33, 4),
    ("enter_if: [{customer: {orders: {gte: [1]}}}]", "C104", 6, 38, 3),
    ("enter_if: [{customer: {orders: {gte: true}}}]", "C104", 6, 38, 4),
    ("enter_if: [{customer: {orders: null}}]", "C104", 6, 32, 4),
    ("enter_if: [{customer: {orders: []}}]", "C104", 6, 32, 2),
    ("enter_if: [{customer: {orders: {}}}]", "F103", 6, 32, 2),
    ("enter_if: [{customer: {orders: {in: 3}}}]", "C104", 6, 37, 1),
    ("enter_if: [{customer: {email: {exists: maybe}}}]", "F103", 6, 40, 5),
    ("enter_if: [{customer: {email: {starts_with: 5}}}]", "C104", 6, 45, 1),
    ("enter_if: [{customer: {created_at: {within: 2026-01-01}}}]", "F105", 6, 45, 10),
    ("enter_if: [{customer: {created_at: {before: 30d}}}]", "F105", 6, 45, 3),
    ('enter_if: [{customer: {"a\'b": 1}}]', "C105", 6, 24, 5),
    ("enter_if: [{did: a, times: 1.5}]", "C104", 6, 28, 3),
    ("enter_if: [{did: a, since: yesterday}]", "F105", 6, 28, 9),
    ("enter_if: [{cart: {lines: {some: {sku: x}}}}]", "F101", 6, 28, 4),
    ("enter_if: [{cart: {lines: {any: {categry: x}}}}]", "C102", 6, 34, 7),
    ("enter_if: [{segment: nobody}]", "C106", 6, 22, 6),
    ("enter_if: [{any: [{not: {segment: nobody}}]}]", "C106", 6, 35, 6),
    ("enter_if: [{offer: {nothing: {held: true}}}]", "F123", 6, 21, 7),
    ("enter_if: [{offer: {ten: {}}}]", "F102", 6, 26, 2),
    ("enter_if: [{not: [{did: x}]}]", "F103", 6, 18, 10),
    ("enter_if: [{any: {did: x}}]", "F103", 6, 18, 8),
]


@pytest.mark.parametrize(("line", "code", "row", "column", "length"), WRONG_LINES)
def test_what_is_wrong_is_told_in_its_place(
    with_key: Callable[[str], list[Finding]], line: str, code: str, row: int, column: int, length: int
) -> None:
    """One mistake gives one finding with code, line, column and length; its words say what and the way out."""
    (finding,) = with_key(line)
    assert (finding.code, finding.span) == (code, Span("flows/one.yaml", row, column, length))
    assert finding.message
    assert finding.help
    assert "invalid" not in finding.message.lower()


# each: a trigger, then code and column
WRONG_TRIGGERS = [
    ("{}", "F108", 10),
    ("[]", "F103", 10),
    ("order_placed", "F103", 10),
    ("{event: a, date: birthday}", "F108", 10),
    ("{evnt: a}", "F101", 11),
    ("{event: cart_updated, quite_for: 4h}", "F101", 32),
    ("{event: cart_updated, offset: 4h}", "F107", 32),
    ("{event: cart_updated, quiet_for: -4h}", "F105", 43),
    ("{anniversary: brithday}", "C102", 24),
    ("{anniversary: country}", "F104", 24),
    ("{anniversary: birthday, at: 25:00}", "F105", 38),
    ("{date: points_expire_at, offset: soon}", "F105", 43),
    ("{lapsed: 90d}", "F103", 19),
    ("{lapsed: {event: order_placed}}", "F102", 19),
    ("{lapsed: {event: order_placed, after: 0x}}", "F105", 48),
    ("{replenish: 3d}", "F103", 22),
    ("{segment: nobody}", "C106", 20),
    ("{product: sold_out}", "F104", 20),
    ("{product: back_in_stock, by: 5%}", "F107", 35),
    ("{product: low_stock, below: 0}", "F105", 38),
    ("{product: low_stock, interest: [bought]}", "F104", 42),
    ("{schedule: every monday}", "F105", 21),
    ("{schedule: '2026-13-01 10:00'}", "F105", 21),
    ("{schedule: '2026-11-26T10:00+01:00'}", "F105", 21),
    ("{schedule: '0 9 * * *', segment: nobody}", "C106", 43),
    ("{schedule: '0 9 * * *', clock: mine}", "F104", 41),
]


@pytest.mark.parametrize(("trigger", "code", "column"), WRONG_TRIGGERS)
def test_wrong_triggers_are_told_in_their_place(folder: Folder, trigger: str, code: str, column: int) -> None:
    """Each mistake in a trigger gives one finding with its line and column."""
    (finding,) = folder.problems(f"flow: one\ntopic: offers\ntrigger: {trigger}\nsteps: [send: a]")
    assert (finding.code, finding.span.line, finding.span.column) == (code, 3, column)


# each: a step, then code and column
WRONG_STEPS = [
    ("send", "F103", 3),
    ("{}", "F108", 3),
    ("{send: a, wait: 2d}", "F108", 3),
    ("{snd: a}", "F101", 4),
    ("{send: nothing}", "F125", 10),
    ("{send: []}", "F103", 10),
    ("{send: [b, b]}", "F107", 14),
    ("{send: b, days: 2}", "F101", 13),
    ("{send: b, offer: nothing}", "F123", 20),
    ("{send: b, topic: nothing}", "F121", 20),
    ("{send: b, id: 'x y'}", "F106", 17),
    ("{send: a}", "F109", 10),
    ("{send: b, id: a}", "F109", 17),
    ("{wait: 4}", "F105", 10),
    ("{wait: 4 hours}", "F105", 10),
    ("{wait: {days: weekdays}}", "F102", 10),
    ("{wait: {until: 09:00, days: [monday]}}", "F104", 32),
    ("{wait: {until: 09:00, offset: 1d}}", "F107", 25),
    ("{wait: {until: birthda}}", "C102", 18),
    ("{wait: {until: 12}}", "F105", 18),
    ("{wait: {until: offer.x.expires_at}}", "F123", 18),
    ("{wait: {until: offer.ten.code}}", "C105", 18),
    ("{wait: {until: {did: x}}}", "F102", 10),
    ("{wait: {until: {did: x}, up_to: 1d, days: weekdays}}", "F107", 39),
    ("{branch: []}", "F111", 12),
    ("{branch: [{otherwise: []}]}", "F111", 12),
    ("{branch: [{when: [{did: x}], steps: []}, {otherwise: []}, {when: [{did: x}], steps: []}]}", "F111", 61),
    ("{branch: [{when: [{did: x}]}]}", "F102", 13),
    ("{branch: [{otherwise: [], when: [{did: x}]}]}", "F107", 29),
    ("{branch: {when: []}}", "F103", 12),
    ("{experiment: {name: x}}", "F102", 16),
    ("{experiment: {name: x, arms: {a: {weight: 1, steps: []}}}}", "F105", 32),
    ("{experiment: {name: x, arms: {a: {weight: 0, steps: []}, b: {weight: 0, steps: []}}}}", "F105", 32),
    ("{experiment: {name: x, arms: {a: {steps: []}, b: {weight: 1, steps: []}}}}", "F102", 36),
    ("{experiment: {name: a, arms: {a: {weight: 1, steps: []}, b: {weight: 1, steps: []}}}}", "F109", 23),
    ("{set: {}}", "F103", 9),
    ("{set: {email: x}}", "F107", 10),
    ("{set: {consent: {offers: granted}}}", "F110", 28),
    ("{set: {consent: {nothing: withdrawn}}}", "F121", 20),
    ("{set: {tags: {ad: vip}}}", "F101", 17),
    ("{set: {x: {y: 1}}}", "F103", 13),
    ("{webhook: {to: fax}}", "F124", 18),
    ("{webhook: {with: {}}}", "F102", 13),
    ("{exit: }", "F103", 10),
]


@pytest.mark.parametrize(("step", "code", "column"), WRONG_STEPS)
def test_wrong_steps_are_told_in_their_place(folder: Folder, step: str, code: str, column: int) -> None:
    """Each mistake in a step gives one finding with its line and column."""
    folder.write({"flows/offers.yaml": "ten: {percent: 10}"})
    (finding,) = folder.problems(
        f"flow: one\ntopic: offers\ntrigger: {{event: x}}\nsteps:\n- send: a\n- {step}\n"
    )
    assert (finding.code, finding.span.line, finding.span.column) == (code, 6, column)


@pytest.mark.parametrize(
    ("step", "way_out", "fixable"),
    [
        ("{wait: 09:00}", 'write {until: "09:00"}', False),
        ("{wait: 9 am}", 'write {until: "09:00"}', False),
        ("{wait: {until: 10pm}}", 'write "22:00"', True),
        ("{wait: {until: '09.00', days: weekdays}}", 'write "09:00"', True),
        ("{wait: {until: 4h}}", "a stretch of time stands alone: write `wait: 4h`", False),
        ("{wait: {until: 3 days}}", "a stretch of time stands alone: write `wait: 3d`", False),
    ],
)
def test_times_that_were_meant_otherwise_say_how(
    folder: Folder, step: str, way_out: str, fixable: bool
) -> None:
    """A time of day and a stretch of time are not taken for each other, and what stands beside them is left alone."""
    (finding,) = folder.problems(
        f"flow: one\ntopic: offers\ntrigger: {{event: x}}\nsteps: [send: a, {step}]\n"
    )
    assert (finding.code, finding.help, finding.fixable) == ("F105", way_out, fixable)


@pytest.mark.parametrize(
    ("share", "way_out"),
    [("0.1", "write 10%, or 0.1% where that little is meant"), ("0.125", "write 12.5%, or 0.125% where that little is meant"), ("12.5", "write 12.5%")],
)  # fmt: skip
def test_a_share_is_written_in_percent(folder: Folder, share: str, way_out: str) -> None:
    """A fraction may be either, so nothing mends it but its author."""
    (finding,) = folder.problems(MINIMAL + f"holdout: {share}\ngoal: {{did: x}}\n")
    assert (finding.help, finding.fixable) == (way_out, share == "12.5")


def test_every_mistake_is_told_at_once(folder: Folder) -> None:
    """A file full of mistakes gives all of them, in order of place."""
    findings = folder.problems(
        "flow: one!\nkind: markting\ntrigger: {event: x, quite_for: 4h}\nenter_if: [{customer: {ordrs: 1, spent: {gt: []}}}]\n"
        "holdout: 5\nsteps:\n  - send: nothing\n  - wait: soon\n  - {branch: [{when: [{did: 1.5}], steps: [{snd: a}]}]}\n"
    )
    assert [(finding.code, finding.span.line) for finding in findings] == [
        ("F102", 1), ("F106", 1), ("F104", 2), ("F101", 3), ("C102", 4), ("C104", 4), ("F105", 5), ("F125", 7), ("F105", 8), ("F101", 9),
    ]  # fmt: skip


def test_unknown_names_suggest_the_likely_one(folder: Folder) -> None:
    """Misspelt words of the language and names of the project come with the likely one."""
    (finding,) = folder.problems("flow: one\ntopic: ofers\ntrigger: {event: x}\nsteps: [send: a]")
    assert finding.help == 'did you mean "offers"?'
    (finding,) = folder.problems(MINIMAL + "enter_if: [{customer: {contry: JP}}]")
    assert finding.help == 'did you mean "country"?'


@pytest.mark.parametrize(
    ("word", "way_out"),
    [
        ("greater", "say gt (more than) or gte (at least)"),
        ("more_than", "say gt (more than) or gte (at least)"),
        ("below", "say lt (less than) or lte (at most)"),
        ("at_least", "write gte"),
        ("befor", 'did you mean "before"?'),
    ],
)
def test_a_comparison_in_other_words_names_ours(folder: Folder, word: str, way_out: str) -> None:
    """Who says `greater` hears of gt and gte, and only what is surely meant is mended by itself."""
    (finding,) = folder.problems(MINIMAL + f"enter_if: [{{customer: {{spent: {{{word}: 5}}}}}}]")
    assert (finding.help, finding.fixable) == (way_out, not way_out.startswith("say"))


def test_an_unknown_field_of_ones_own_is_a_property(folder: Folder) -> None:
    """A name that resembles no field is a property, with a warning."""
    flow = folder.flow(MINIMAL + "enter_if: [{customer: {shoe_size: 42}}]\ngoal: {did: x}")
    assert flow.enter_if[0].condition == Of("customer", (FieldTest("shoe_size", (Test("eq", 42),)),))
    (finding,) = folder.load().findings
    assert (finding.code, finding.severity) == ("C102", "warning")


@pytest.mark.parametrize(
    "data", [None, 1, "x", [], {}, {"flow": []}, {"flow": "x", "trigger": 1, "steps": {}}, [{"a": 1}]]
)
def test_any_data_gives_findings(data: object) -> None:
    """Whatever shape a definition has, there are findings and no traceback."""
    findings: list[Finding] = []
    assert parse_flow(from_plain(data), findings) is None
    assert findings


def test_conditions_are_read_alone() -> None:
    """A list of conditions can be read by itself."""
    node = read_yaml("[{did: order_placed}, {customer: {orders: 0}}]", "x", [])
    assert node is not None
    assert [clause.text for clause in parse_conditions(node, [])] == [
        "did: order_placed",
        "customer: {orders: 0}",
    ]
