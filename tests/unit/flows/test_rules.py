"""Every rule with a wrong and a right file, and the manual."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.calendar import Duration
from engine.diagnostics import Finding
from engine.flows import fields, rules
from engine.flows.conditions import Test
from engine.flows.rules.asking import contradiction
from engine.settings import Cap, Delivery, Policy, Sender, Shop
from tests.unit.flows.conftest import Folder

STOPS = "exit_when: [{did: order_placed}]\n"


def flow(
    more: str = "",
    steps: str = "[send: a]",
    trigger: str = "{event: order_placed}",
    kind: str = "topic: offers",
) -> str:
    """Return a flow on few lines: name, kind, summary, trigger, steps, then more."""
    return f"flow: one\n{kind}\nsummary: x\ntrigger: {trigger}\nsteps: {steps}\n{STOPS if 'exit_when' not in more else ''}{more}"


NO_TOPIC = "kind: transactional"
# code → a wrong flow, the place of the finding in it, a right flow
FLOWS: dict[str, tuple[str, tuple[int, int], str]] = {
    "F201": (flow(steps="[wait: 2d, exit: done]"), (5, 1), flow(steps="[{set: {properties.x: 1}}]")),
    "F202": (flow(steps="[send: a, exit: done, send: b]"), (5, 30), flow(steps="[send: a, exit: done]")),
    "F203": (flow(steps="[send: a, wait: 2d]"), (5, 18), flow(steps="[send: a, wait: 2d, send: b]")),
    "F204": (flow("exit_when: []", trigger="{event: cart_updated, quiet_for: 4h}"), (5, 9), flow(trigger="{event: cart_updated, quiet_for: 4h}")),
    "F205": (
        flow("exit_when: []", "[send: a, wait: 30d, send: b]", kind=NO_TOPIC), (5, 1),
        flow("exit_when: [{did: order_cancelled}]", "[send: a, wait: 30d, send: b]", kind=NO_TOPIC),
    ),
    "F206": (flow(trigger="{event: product_viewed}"), (4, 10), flow("re_entry: {after: 14d}", trigger="{event: product_viewed}")),
    "F207": (flow(trigger="{event: mail_clicked}"), (4, 10), flow(trigger="{event: mail_clicked, where: {flow: two}}")),
    "F209": (flow(trigger="{anniversary: birthday}"), (4, 10), "# 29 February: on the 28th\n" + flow(trigger="{anniversary: birthday}")),
    "F210": (
        flow("goal: {did: x}", "[{experiment: {name: x, arms: {p: {weight: 0, steps: []}, q: {weight: 1, steps: [send: a]}}}}]"), (5, 9),
        flow("goal: {did: x}", "[{experiment: {name: x, arms: {p: {weight: 1, steps: []}, q: {weight: 1, steps: [send: a]}}}}]"),
    ),
    "F211": (
        flow(steps="[{branch: [{when: [], steps: [send: a]}, {otherwise: [send: b]}]}]"), (5, 9),
        flow(steps="[{branch: [{when: [{customer: {orders: 1}}], steps: [send: a]}, {otherwise: [send: b]}]}]"),
    ),
    "F212": (flow("holdout: 10%"), (7, 1), flow("holdout: 10%\ngoal: {did: order_placed}")),
    "F213": (flow("holdout: 90%\ngoal: {did: x}"), (7, 10), flow("holdout: 50%\ngoal: {did: x}")),
    "F214": (flow("re_entry: {per: cart}"), (7, 11), flow("re_entry: {per: order}")),
    "F215": (flow(steps="[send: a, wait: 0h, send: b]"), (5, 18), flow(steps="[send: a, wait: 2d, send: b]")),
    "F216": (
        flow(steps='[{wait: {until: "09:00"}}, send: a, {wait: {until: "09:00"}}, send: b]'), (5, 44),
        flow(steps='[{wait: {until: "09:00"}}, send: a, {wait: {until: "09:00", at_least: 12h}}, send: b]'),
    ),
    "F217": (
        flow(steps="[{branch: [{when: [{did: x}], steps: [send: a]}, {when: [{did: x}], steps: [send: b]}]}]"), (5, 65),
        flow(steps="[{branch: [{when: [{did: x}], steps: [send: a]}, {when: [{did: y}], steps: [send: b]}]}]"),
    ),
    "F218": (
        flow(trigger="{lapsed: {event: x, after: 1.5x, at_least: 45d, at_most: 1mo}}"), (4, 67),
        flow(trigger="{lapsed: {event: x, after: 1.5x, at_least: 1mo, at_most: 45d}}"),
    ),
    "F230": (flow(trigger='{schedule: "0 9 30 2 *"}'), (4, 21), flow(trigger='{schedule: "0 9 29 2 *"}')),
    "F301": (flow(steps="[{send: a, offer: ten}]", kind=NO_TOPIC), (5, 9), flow(steps="[{send: a, offer: ten}]")),
    "F302": (flow("holdout: 10%\ngoal: {did: x}", kind=NO_TOPIC), (7, 1), flow("holdout: 10%\ngoal: {did: x}")),
    "F303": (flow().replace("summary: x\n", ""), (1, 1), flow()),
    "C201": (flow("enter_if: [{customer: {orders: {gte: 5, lt: 3}}}]"), (7, 32), flow("enter_if: [{customer: {orders: {gte: 3, lt: 5}}}]")),
    "C202": (flow('enter_if: [{customer: {orders: "3"}}]'), (7, 32), flow("enter_if: [{customer: {orders: 3}}]")),
    "C203": (flow("enter_if: [{did: x, times: {gte: 0}}]"), (7, 28), flow("enter_if: [{did: x, times: {gte: 1}}]")),
    "C204": (flow("enter_if: [{did: order_place}]"), (7, 18), flow("enter_if: [{did: tea_ceremony}]")),
    "C205": (flow("enter_if: [{customer: {country: [DE, jp]}}]"), (7, 38), flow("enter_if: [{customer: {country: [DE, JP]}}]")),
    "C206": (flow("enter_if: [{did: x, since: 1970-01-01}]"), (7, 28), flow("enter_if: [{did: x, since: 2020-01-01}]")),
    "C207": (
        flow("enter_if: [{customer: {tier: gold}}]\nexit_when: [{customer: {tier: gold}}, {did: order_placed}]"), (7, 13),
        flow("enter_if: [{customer: {tier: gold}}]\nexit_when: [{customer: {tier: {ne: gold}}}, {did: order_placed}]"),
    ),
    "C208": (flow("enter_if: [{did: x}, {did: x}]"), (7, 22), flow("enter_if: [{did: x}, {did: y}]")),
    "C209": (
        flow("only_if: [{answer: {score: 9}}]"), (7, 20),
        flow("only_if: [{answer: {score: 9}}]", "[{wait: {until: {did: x}, up_to: 1d, as: answer}}, send: a]"),
    ),
    "C210": (flow("enter_if: [{did: x, within: 0d}]"), (7, 29), flow("enter_if: [{did: x, within: 1d}]")),
    "C230": (
        flow("enter_if: [{customer: {birthday: {in_next: 30d}}}]"), (7, 34),
        flow("enter_if: [{customer: {points_expire_at: {in_next: 30d}, birthday: {before: 2008-01-01}}}]"),
    ),
    "C214": (
        flow("enter_if: [{customer: {country: DE}}]\nonly_if: [{customer: {country: FR}}]"), (8, 32),
        flow("enter_if: [{customer: {country: [DE, FR]}}]\nonly_if: [{customer: {country: FR}}]"),
    ),
    "C215": (
        flow("enter_if: [{did: review_given, where: {ratng: {gte: 4}}}]"), (7, 40),
        flow("enter_if: [{did: review_given, where: {rating: {gte: 4}}}]"),
    ),
    "P201": (flow(steps='[wait: {until: "07:00"}, send: a]'), (5, 9), flow(steps='[wait: {until: "08:00"}, send: a]')),
    "P202": (flow(steps="[send: a, wait: 4h, send: b]"), (5, 28), flow(steps="[send: a, wait: 20h, send: b]")),
    "P203": (flow("max_lateness: 6h"), (7, 15), flow("max_lateness: 11h")),
}  # fmt: skip


def found(folder: Folder, code: str) -> list[Finding]:
    """Return the findings of one code."""
    project = folder.load()
    assert not [str(finding) for finding in project.findings]
    return [finding for finding in rules.run(project) if finding.code == code]


@pytest.mark.parametrize("code", FLOWS)
def test_each_rule_of_flows_tells_wrong_from_right(folder: Folder, code: str) -> None:
    """A rule finds what is wrong, in its place, and nothing in what is right."""
    wrong, place, right = FLOWS[code]
    folder.write(
        {"flows/offers.yaml": "ten: {percent: 10, code: X, valid_for: 7d}\n", "flows/one.yaml": wrong}
    )
    (finding,) = found(folder, code)
    assert (finding.span.file, finding.span.line, finding.span.column) == ("flows/one.yaml", *place)
    assert finding.severity == next(rule.severity for rule in rules.registered() if rule.code == code)
    assert finding.message
    assert finding.help
    folder.write({"flows/one.yaml": right})
    assert found(folder, code) == []


# code → a wrong offers.yaml, the place, a right one
OFFERS = {
    "F401": ("a: {percent: 10, code: X}", (1, 1), "a: {percent: 10, code: X, valid_for: 7d}"),
    "F402": (
        'a: {percent: 10, pattern: "A-####", valid_for: 7d}',
        (1, 27),
        'a: {percent: 10, pattern: "A-########", valid_for: 7d}',
    ),
    "F403": ("a: {percent: 75, code: X, valid_for: 7d}", (1, 14), "a: {percent: 50, code: X, valid_for: 7d}"),
    "F404": (
        "a: {amount: 5 USD, code: X, valid_for: 7d}",
        (1, 13),
        "a: {amount: 5 EUR, code: X, valid_for: 7d}",
    ),
    "F405": ("a: {percent: 10, code: X, valid_for: 7d}", (1, 1), ""),
    "F406": (
        "a: {percent: 10, pool: flows/one.yaml, valid_for: 7d}\nb: {percent: 5, pool: ./flows/one.yaml, valid_for: 7d}",
        (2, 23),
        "a: {percent: 10, pool: flows/one.yaml, valid_for: 7d}",
    ),
}


@pytest.mark.parametrize("code", OFFERS)
def test_each_rule_of_offers_tells_wrong_from_right(folder: Folder, code: str) -> None:
    """A rule finds what is wrong with an offer, and nothing in a right one."""
    wrong, place, right = OFFERS[code]
    folder.write({"flows/one.yaml": flow(), "flows/offers.yaml": wrong})
    (finding,) = found(folder, code)
    assert (finding.span.file, finding.span.line, finding.span.column) == ("flows/offers.yaml", *place)
    folder.write({"flows/offers.yaml": right})
    assert found(folder, code) == []


VIP = """\
vip: [{customer: {orders: {gte: 5}}}]
vip-in-japan: [{segment: vip}, {customer: {country: JP}}]
vip-or-new: [{any: [{segment: vip}, {customer: {orders: 0}}]}]
"""
EARLY = "early: {early_access: vip, code: E}\nten: {percent: 10, pool: codes.txt, valid_for: 7d, when_empty: early}\n"
GIVES = "[{send: a, offer: early}]"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (flow(steps=GIVES), True),
        (flow(steps="[{send: a, offer: ten}]"), True),
        (flow("enter_if: [{segment: vip-or-new}]", GIVES), True),
        (flow("enter_if: [{not_segment: vip}]", GIVES), True),
        (flow(steps=GIVES, trigger="[{segment: vip}, {event: order_placed}]"), True),
        (flow(steps="[{branch: [{when: [{segment: vip}], steps: []}, {otherwise: [{send: a, offer: early}]}]}]"), True),
        (flow(steps="[{send: a, offer: early, only_if: [{segment: vip}]}]"), False),
        (flow(steps="[{send: a, offer: ten, only_if: [{segment: vip}]}]"), False),
        (flow("only_if: [{segment: vip-in-japan}]", GIVES), False),
        (flow("enter_if: [{all: [{segment: vip}, {customer: {country: DE}}]}]", GIVES), False),
        (flow("exit_when: [{not_segment: vip}]", GIVES), False),
        (flow(steps=GIVES, trigger="{segment: vip}"), False),
        (flow(steps=GIVES, trigger="{schedule: 2026-11-26 10:00, segment: vip}"), False),
        (flow(steps="[{branch: [{when: [{segment: vip}], steps: [{send: a, offer: early}]}]}]"), False),
    ],
)  # fmt: skip
def test_early_access_is_for_its_segment(folder: Folder, written: str, told: bool) -> None:
    """Early access that may go to customers outside its segment is told, wherever the flow could ask for the segment."""
    folder.write(
        {
            "flows/segments.yaml": VIP,
            "flows/offers.yaml": EARLY,
            "codes.txt": "A1\n",
            "flows/one.yaml": written,
        }
    )
    assert [finding.severity for finding in found(folder, "F407")] == ["error"] * told


LIVE = Delivery(mode="live", provider="smtp")
SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "S201": ({"shop": Shop()}, "warning"),
    "S202": ({"sender": Sender(), "delivery": LIVE}, "error"),
    "S203": ({"web_url": "http://localhost:8000"}, "warning"),
    "S204": ({"policy": Policy(quiet_hours=None, caps=())}, "warning"),
    "S205": ({"recommend": {"never": "sale"}}, "error"),
    "S206": ({"shop": Shop(postal_address="x", currency="eur")}, "warning"),
    "S207": ({"shop": Shop(postal_address="x", locale="xx-99")}, "warning"),
    "D201": ({"delivery": Delivery(mode="live", provider="mailbox")}, "warning"),
    "D202": ({"delivery": Delivery(provider="sendgird")}, "error"),
    "D203": ({"sender": Sender(email="shop@gmail.com")}, "warning"),
    "D204": ({"delivery": LIVE}, "warning"),
}


@pytest.mark.parametrize("code", SETTINGS)
def test_each_rule_of_settings_tells_wrong_from_right(folder: Folder, code: str) -> None:
    """A rule finds what is wrong with the settings, as grave as the mode makes it, and nothing in right ones."""
    folder.write(
        {
            "flows/one.yaml": flow(),
            "homing.toml": "[shop]\n[sender]\nemail = 'x'\n[web]\nurl = 'x'\n[delivery]\n",
        }
    )
    good, (changes, severity) = folder.settings, SETTINGS[code]
    folder.settings = replace(good, **changes)
    finding = found(folder, code)[0]
    assert (finding.span.file, finding.severity) == ("homing.toml", severity)
    folder.settings = good
    assert found(folder, code) == []


@pytest.mark.parametrize(
    ("key", "value", "way_out"),
    [
        ("currency", "eur", 'write "EUR"'),
        ("currency", "Euro", "write its code of three capital letters, such as EUR"),
        ("currency", "ABC", "write its code of three capital letters, such as EUR"),
        ("currency", "", "write its code of three capital letters, such as EUR"),
        ("locale", "xx", "write a language such as de, en-GB or zh-Hant-TW"),
        ("locale", "german", "write a language such as de, en-GB or zh-Hant-TW"),
        ("locale", "en-UK", 'write "en-GB"'),
        ("locale", "de-99", 'write "de"'),
    ],
)
def test_what_no_money_and_no_language_is_called_is_told(
    folder: Folder, key: str, value: str, way_out: str
) -> None:
    """At the very value, with the one that was probably meant."""
    folder.write({"flows/one.yaml": flow(), "homing.toml": f"[shop]\n{key} = '{value}'\n"})
    change: dict[str, Any] = {key: value}
    folder.settings = replace(folder.settings, shop=replace(folder.settings.shop, **change))
    (finding,) = found(folder, "S206" if key == "currency" else "S207")
    assert (finding.help, finding.span.line, finding.span.column) == (way_out, 2, len(key) + 4)


@pytest.mark.parametrize(
    ("currency", "locale"), [("JPY", "zh-Hant-TW"), ("USD", "es-419"), ("CHF", "de_CH"), ("XAF", "fil")]
)
def test_currencies_and_locales_of_the_world_are_known(folder: Folder, currency: str, locale: str) -> None:
    """Whatever the world pays with and speaks is right."""
    shop = replace(folder.settings.shop, currency=currency, locale=locale)
    folder.settings = replace(folder.settings, shop=shop)
    folder.write({"flows/one.yaml": flow()})
    assert found(folder, "S206") + found(folder, "S207") == []


def test_flows_that_mail_together_are_told(folder: Folder) -> None:
    """Two flows with the same trigger whose first mails are due together are told; with a wait between, not."""
    folder.write({"flows/one.yaml": flow(), "flows/two.yaml": flow().replace("flow: one", "flow: two")})
    (finding,) = found(folder, "F208")
    assert (finding.span.file, finding.second and finding.second.file) == ("flows/two.yaml", "flows/one.yaml")
    folder.write({"flows/two.yaml": flow(steps="[wait: 3d, send: a]").replace("flow: one", "flow: two")})
    assert found(folder, "F208") == []


def test_unused_segments_are_remarks(folder: Folder) -> None:
    """A segment that nothing uses is told as a remark; a use through another segment counts."""
    folder.write(
        {
            "flows/one.yaml": flow("enter_if: [{segment: b}]"),
            "flows/segments.yaml": "a: [{did: x}]\nb: [{segment: a}]\nc: [{did: x}]\n",
        }
    )
    assert [(finding.severity, finding.span.line) for finding in found(folder, "C211")] == [("info", 3)]


def test_every_rule_is_tried() -> None:
    """No rule is without a wrong and a right file here."""
    tried = {*FLOWS, *OFFERS, *SETTINGS, "F208", "F407", "C211"}
    assert {rule.code for rule in rules.registered()} == tried


@pytest.mark.parametrize("trigger", ["{event: order_placed}", "{anniversary: birthday}"])
def test_a_flow_with_another_exit_need_not_end_with_a_purchase(folder: Folder, trigger: str) -> None:
    """Where a purchase is not what the flow is after, any exit will do."""
    folder.write({"flows/one.yaml": flow("exit_when: [{did: complaint_opened}]", trigger=trigger)})
    assert found(folder, "F204") == []
    folder.write({"flows/one.yaml": flow("exit_when: []", trigger=trigger)})
    assert len(found(folder, "F204")) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{did: x}", "{did_not: x}"),
        ("{segment: vip}", "{not_segment: vip}"),
        ("{customer: {orders: {gte: 5}}}", "{customer: {orders: {lt: 3}}}"),
        ("{customer: {tier: [gold, silver]}}", "{customer: {tier: bronze}}"),
        ("{trigger: {value: {gte: 100}}}", "{trigger: {value: {lt: 50}}}"),
        ("{all: [{customer: {country: DE}}]}", "{customer: {country: FR}}"),
    ],
)
def test_conditions_that_exclude_each_other_are_told(folder: Folder, first: str, second: str) -> None:
    """Two conditions of one list that never hold together are told at the second, with the first beside it."""
    folder.write({"flows/segments.yaml": "vip: [{customer: {orders: 1}}]"})
    folder.write({"flows/one.yaml": flow(f"only_if: [{first}, {second}]")})
    (finding,) = found(folder, "C214")
    assert finding.second is not None
    assert finding.second.column < finding.span.column


@pytest.mark.parametrize(
    "conditions",
    [
        "[{customer: {orders: {gte: 3}}}, {customer: {orders: {gte: 5}}}]",
        "[{customer: {tags: {contains: a}}}, {customer: {tags: {contains: b}}}]",
        "[{trigger: {sizes: a}}, {trigger: {sizes: b}}]",
        "[{customer: {properties.x: a}}, {customer: {properties.x: b}}]",
        "[{customer: {country: [DE, FR]}}, {customer: {country: FR}}]",
        "[{any: [{customer: {country: DE}}, {customer: {country: FR}}]}, {customer: {country: FR}}]",
        "[{did: x, within: 30d}, {did_not: x, within: 3d}]",
    ],
)
def test_conditions_that_can_hold_together_are_not_told(folder: Folder, conditions: str) -> None:
    """What narrows, may hold several values, or stands in `any` excludes nothing."""
    folder.write({"flows/one.yaml": flow(f"only_if: {conditions}")})
    assert found(folder, "C214") == []


SURVEY = "[{wait: {until: {did: survey_answered}, up_to: 7d, as: answer}}, {send: a, only_if: [{answer: {%s: x}}]}]"
SURVEYS = SURVEY.replace("as: answer}}", "as: nps}}, {wait: {until: {did: nps_left}, up_to: 7d, as: second}}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (flow(trigger="{event: order_placed, where: {valu: {gte: 20}}}"), "value"),
        (flow(trigger="{lapsed: {event: order_placed, after: 90d, where: {totl: {gte: 20}}}}"), "total"),
        (flow("enter_if: [{trigger: {order_nmber: 1}}]"), "order_number"),
        (flow("enter_if: [{trigger: {orderNumber: 1}}]"), "order_number"),
        (flow("enter_if: [{trigger: {sku_s: {exists: true}}}, {trigger: {old_prise: 5}}]", trigger="{product: price_drop}"), "old_price"),
        (flow("exit_when: [{did: order_cancelled, same: ordr_id}, {did: order_placed}]"), "order_id"),
        (flow("enter_if: [{did_not: order_placed, sum: {vlaue: {gte: 100}}}]"), "value"),
        (flow("enter_if: [{did: order_placed, where: {lines.skuu: T1}}]"), "sku"),
        (flow("goal: {did: survey_answered, where: {survy: nps}, within: 7d}"), "survey"),
        (flow("enter_if: [{did: mail_sent, where: {flw: one}}]"), "flow"),
        (flow(steps=SURVEY % "choic"), "choice"),
        (flow(steps=SURVEYS % "nps.scroe"), "score"),
    ],
)  # fmt: skip
def test_slips_in_the_fields_of_facts_are_told(folder: Folder, written: str, meant: str) -> None:
    """A field that no fact of this kind has by itself, a slip away from one, wherever facts are asked."""
    folder.write({"flows/one.yaml": written})
    (finding,) = found(folder, "C215")
    assert finding.help == f'did you mean "{meant}"?'
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    "written",
    [
        flow(trigger="{event: order_placed, where: {channel: web, value: 20, currency: EUR}}"),
        flow("enter_if: [{trigger: {valu: 20}}]", trigger="{event: trip_booked}"),
        flow("enter_if: [{trigger: {valu: 20}}]", trigger="[{event: trip_booked}, {event: order_placed}]"),
        flow("enter_if: [{did: trip_booked, where: {valu: 20}, same: bokking_id}]"),
        flow("enter_if: [{did: order_placed, where: {properties.valu: 20}}]"),
        flow("enter_if: [{did: order_placed, where: {lines.properties.skuu: 20, lines.category: tea}}]"),
        flow("enter_if: [{did: survey_answered, where: {survey_id: 7, store: Berlin, cat: a}}]"),
        flow("enter_if: [{trigger: {order_number: 1, value: 5, event: order_placed}}]"),
        flow("enter_if: [{trigger: {order_id: x, quantity: 1, run_out_at: {exists: true}}}]", trigger="{replenish: {lead: 3d}}"),
        flow("enter_if: [{trigger: {years: 1}}]", trigger="{anniversary: birthday}"),
        flow("exit_when: [{did: order_placed, same: cart_id}]", trigger="{event: cart_updated}"),
        flow("exit_when: [{did: order_placed, same: checkout_id}]", trigger="{event: checkout_started}"),
        flow(steps=SURVEYS % "scroe"),
        flow(steps=SURVEYS % "second.scroe"),
        flow(steps="[{webhook: {to: sms, with: {trigger: {valu: 1}}}}, {set: {properties.did: x}}]"),
    ],
)  # fmt: skip
def test_fields_of_ones_own_are_not_told(folder: Folder, written: str) -> None:
    """What resembles nothing, belongs to an event of one's own, or is said to be a property, is taken as it is."""
    folder.write({"flows/one.yaml": written})
    project = folder.load()
    assert [each for each in rules.run(project) if each.code == "C215"] == []


def test_every_event_with_a_meaning_has_its_fields() -> None:
    """What Homing knows by name, it knows by its fields."""
    assert set(fields.OF_EVENT) == set(fields.EVENTS)


@pytest.mark.parametrize("name", ["cart_empty", "order_cancel", "complaint_close", "points_earn"])
def test_another_form_of_the_verb_is_told(folder: Folder, name: str) -> None:
    """Events are named as what happened."""
    folder.write({"flows/one.yaml": flow(f"enter_if: [{{did: {name}}}]")})
    assert len(found(folder, "C204")) == 1


def test_a_wait_of_no_length_is_told(folder: Folder) -> None:
    """Nobody answers in no time."""
    folder.write({"flows/one.yaml": flow(steps="[send: a, {wait: {until: {did: x}, up_to: 0d}}, send: b]")})
    assert len(found(folder, "C210")) == 1


def test_caps_of_the_flow_itself_count(folder: Folder) -> None:
    """A flow's own caps, and waiting for room, are taken into account."""
    steps = "[send: a, wait: 4h, send: b]"
    folder.write({"flows/one.yaml": flow("policy: {when_capped: wait}", steps)})
    assert found(folder, "P202") == []
    folder.write({"flows/one.yaml": flow("policy: {caps: [1 per 2h]}", steps)})
    assert found(folder, "P202") == []
    folder.settings = replace(folder.settings, policy=Policy(caps=(Cap(2, Duration(days=7)),)))
    folder.write({"flows/one.yaml": flow(steps="[send: a, wait: 1d, send: b, wait: 1d, send: c]")})
    assert len(found(folder, "P202")) == 1


@pytest.mark.parametrize(
    ("tests", "empty"),
    [
        ((Test("gt", 3), Test("lt", 4)), False),
        ((Test("gt", 3), Test("lte", 3)), True),
        ((Test("gte", Decimal("3.5")), Test("lte", Decimal("3.5"))), False),
        ((Test("eq", 3), Test("gt", 5)), True),
        ((Test("in", ("a", "b")), Test("not_in", ("b", "a"))), True),
        ((Test("in", ("a", "b")), Test("ne", "a")), False),
        ((Test("eq", "a"), Test("in", ("b",))), True),
        ((Test("exists", operand=False), Test("eq", 1)), True),
        ((Test("exists", operand=False), Test("ne", 1)), False),
        ((Test("eq", True), Test("gte", 5)), False),
    ],
)
def test_contradictions(tests: tuple[Test, ...], empty: bool) -> None:
    """Ranges, values and exclusions that leave nothing are seen, others are not."""
    assert bool(contradiction(tests)) is empty


# ── the manual ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_code_has_a_page() -> None:
    """Each page says in its first line what is wrong, and no page says invalid."""
    for page in rules.all_rules():
        assert re.fullmatch(r"[FCTPSDB]\d{3}", page.code)
        assert re.fullmatch(r"[a-z0-9-]+", page.name)
        assert page.title.endswith(".")
        assert not re.search(r"(?<!\.)\binvalid", page.text.lower())  # `.invalid` is a domain
        assert rules.explain(page.code.lower()) == page.render()
    assert rules.explain("F999") is None


def test_names_are_used_once() -> None:
    """No two codes share a name."""
    names = [page.name for page in rules.all_rules() if not page.code.startswith("T")]
    assert len(names) == len(set(names))


def test_settings_codes_have_pages_too() -> None:
    """Whatever the settings' own reader finds can be explained."""
    source = (Path(__file__).resolve().parents[3] / "engine/settings.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'"(S\d{3})"', source))
    assert codes
    assert {code for code in codes if rules.explain(code) is None} == set()
