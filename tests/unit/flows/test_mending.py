"""Mending never breaks a file: every legal way to write the same flow, and mistakes planted in each of them."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.diagnostics import Finding, did_you_mean, is_sure
from engine.flows.conditions import OPERATORS
from engine.flows.fields import CUSTOMER
from engine.flows.parse import FLOW_KEYS
from engine.flows.read_conditions import KNOWN as CONDITION_KEYS
from engine.flows.read_steps import ALL_KEYS as STEP_KEYS
from engine.flows.validate import fixes, validate
from engine.settings import load
from tests.unit.flows.conftest import Folder

START = "flow: one\nsummary: x\ntopic: offers\ntrigger: {event: cart_updated, quiet_for: 4h}\n"
EXIT = "exit_when: [{did: order_placed}]\n"
STEPS = "steps: [send: a]\n"


def mend(folder: Folder, text: str, rounds: int = 5) -> tuple[str, list[Finding], list[Finding]]:
    """Mend a flow as `validate --fix` does; return its text with the findings before and after."""
    path = folder.root / "flows/one.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    before = found = validate(folder.root, folder.settings)
    for _ in range(rounds):
        mended = fixes(folder.root, found)
        if not mended:
            break
        assert list(mended) == [path]
        path.write_bytes(mended[path].encode())
        found = validate(folder.root, folder.settings)
    assert fixes(folder.root, found) == {}
    assert not any(finding.fixable for finding in found)
    return path.read_bytes().decode(), before, found


def errors(findings: list[Finding]) -> int:
    """Return how many of the findings are errors."""
    return sum(finding.is_error for finding in findings)


# before → after, both as what follows START
SPELLINGS = [
    ('"exit_when": [{did: other}]\n' + STEPS, '"exit_when": [{did: order_placed}, {did: other}]\n' + STEPS),
    ("exit_when : [{did: other}, x5]\n", "exit_when : [{did: other}, x5]\n"),
    ("exit_when : [{did: other}]\n" + STEPS, "exit_when : [{did: order_placed}, {did: other}]\n" + STEPS),
    ("exit_when:\n  [{did: other}]\n" + STEPS, "exit_when:\n  [{did: order_placed}, {did: other}]\n" + STEPS),
    ("exit_when: [\n  {did: other},\n]\n" + STEPS, "exit_when: [{did: order_placed},\n  {did: other},\n]\n" + STEPS),
    ("exit_when:\n- did: other\n" + STEPS, "exit_when:\n- did: order_placed\n- did: other\n" + STEPS),
    ("exit_when: {did: other}  # leave\n" + STEPS, "exit_when: [{did: order_placed}, {did: other}]  # leave\n" + STEPS),
    ('"steps": [send: a]\n', EXIT + '"steps": [send: a]\n'),
    ("enter_if: &e [{did: other}]\nexit_when: *e\n" + STEPS, "enter_if: &e [{did: other}]\nexit_when: *e\n" + STEPS),
    ("exit_when: &e [{did: other}]\nenter_if: *e\n" + STEPS, "exit_when: &e [{did: other}]\nenter_if: *e\n" + STEPS),
    ("exit_when:\n  did: other\n" + STEPS, "exit_when:\n  did: other\n" + STEPS),
    (EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - offer: ten\n    send: a\n",
     EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - offer: ten\n    send: a\n    id: a-2\n"),
    (EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - send: &s a\n", EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - send: &s a\n    id: a-2\n"),
    (EXIT + "steps:\n  - send: &s a\n  - wait: 2d\n  - send: *s\n", EXIT + "steps:\n  - send: &s a\n  - wait: 2d\n  - send: *s\n"),
    (EXIT + "steps:\n  - &s {send: a}\n  - wait: 2d\n  - *s\n", EXIT + "steps:\n  - &s {send: a}\n  - wait: 2d\n  - *s\n"),
    (EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - 'send' : \"a\"\n", EXIT + "steps:\n  - send: a\n  - wait: 2d\n  - 'send' : \"a\"\n    id: a-2\n"),
    (EXIT + "steps: [{send: a}, {wait: 2d}, {\"send\": a}]\n", EXIT + "steps: [{send: a}, {wait: 2d}, {\"send\": a, id: a-2}]\n"),
    (EXIT + "enter_if: [{customer: {country: DE, Country: JP}}]\n" + STEPS, EXIT + "enter_if: [{customer: {country: DE, Country: JP}}]\n" + STEPS),
    (EXIT + "enter_if: [{customer: {cuntry: DE, Country: JP}}]\n" + STEPS, EXIT + "enter_if: [{customer: {country: DE, Country: JP}}]\n" + STEPS),
    (EXIT + "enter_if: [{customer: {shoes: 1, properties.shoes: 2}}]\n" + STEPS, EXIT + "enter_if: [{customer: {shoes: 1, properties.shoes: 2}}]\n" + STEPS),
    (EXIT + "enter_if: [{did: order_cancelled, same: order_id, sme: order_id}]\n" + STEPS,
     EXIT + "enter_if: [{did: order_cancelled, same: order_id, sme: order_id}]\n" + STEPS),
    (EXIT + "enter_if: [{did: x, ddi_not: y}]\n" + STEPS, EXIT + "enter_if: [{did: x, ddi_not: y}]\n" + STEPS),
    (EXIT + "enter_if: [{customer: {orders: {gte: 3, '>=': 4}}}]\n" + STEPS, EXIT + "enter_if: [{customer: {orders: {gte: 3, '>=': 4}}}]\n" + STEPS),
    (EXIT + "enter_if: [{customer: {country: &c uk}}, {customer: {country: *c}}]\n" + STEPS,
     EXIT + "enter_if: [{customer: {country: &c GB}}, {customer: {country: *c}}]\n" + STEPS),
    (EXIT + "stps: [{snd: a}, {wait: 3 days}, {snd: b}, {wait: 2 days}, {send: a}, {send: b}]\n",
     EXIT + "steps: [{send: a}, {wait: 3d}, {send: b}, {wait: 2d}, {send: a, id: a-2}, {send: b, id: b-2}]\n"),
]  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("before", "after"), SPELLINGS)
def test_legal_spellings_are_mended_or_not_promised(
    folder: Folder, before: str, after: str, ending: str
) -> None:
    """However a flow is written: what is promised is done, once, in its own line ends, and nothing breaks."""
    folder.write({"templates/ten.mjml": "", "flows/offers.yaml": "ten: {percent: 10, valid_for: 7d}\n"})
    mended, first, last = mend(folder, (START + before).replace("\n", ending))
    assert mended == (START + after).replace("\n", ending)
    assert errors(last) <= errors(first)
    assert any(finding.fixable for finding in first) == (mended != (START + before).replace("\n", ending))


def test_a_flow_in_one_line_is_mended(folder: Folder) -> None:
    """JSON is YAML, too."""
    line = "{flow: one, summary: x, topic: offers, trigger: {event: cart_updated, quiet_for: 4h}, steps: [send: a]}\n"
    assert mend(folder, line)[0] == line.replace("steps", "exit_when: [{did: order_placed}], steps")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_a_missing_last_line_end_stay(folder: Folder, mark: str) -> None:
    """The first column is behind the mark, and a line that goes on the end of a file gets the file's line ends."""
    text = f"{mark}{START}{EXIT}steps:\n  - send: a\n  - wait: 2d\n  - send: a".replace("\n", "\r\n")
    assert mend(folder, text)[0] == text + "\r\n    id: a-2"


def test_two_mends_that_make_one_key_are_not_both_promised(folder: Folder) -> None:
    """Each would be fine alone; together they write a key twice: the first is made, the second told."""
    text = START + EXIT + "enter_if: [{customer: {cuntry: DE, Country: JP}}]\n" + STEPS
    _, first, last = mend(folder, text)
    assert [finding.fixable for finding in first if finding.code == "C102"] == [True, False]
    assert [finding.help for finding in last] == ['remove it: "country" stands here already']


def test_what_a_mend_uncovers_may_not_be_more_errors(folder: Folder) -> None:
    """A key is left misspelt where what stands under it holds more errors than anything could mend."""
    inner = "[{send: nosuch, x1: 1}, {send: neither, x2: 1}]"
    mended, first, last = mend(folder, START + EXIT + f"stps: {inner}\n")
    assert f"stps: {inner}" in mended
    assert (errors(first), errors(last)) == (1, 1)
    assert [finding.help for finding in last if finding.is_error] == ['did you mean "steps"?']


def test_settings_are_not_written_twice(folder: Folder) -> None:
    """A misspelt key of homing.toml beside the right one is told and left."""
    path = folder.root / "homing.toml"
    path.write_text("[sender]\nemail = 'a@shop.example'\nemial = 'b@shop.example'\n", encoding="utf-8")
    findings = validate(folder.root, load(folder.root, {}, strict=False))
    assert [finding.fixable for finding in findings if finding.code == "S104"] == [False]


def test_scenarios_are_mended_with_care(folder: Folder) -> None:
    """The same holds for the files under tests/."""
    scenario = "scenario: x\nflow: one\ntimeline: [{at: 2026-03-02 10:00, event: cart_updated}]\nexpect: [nothing_more]\n"
    folder.write(
        {"flows/one.yaml": START + EXIT + STEPS, "tests/one.yaml": scenario + "holdout: yes\nhold_out: no\n"}
    )
    findings = validate(folder.root, folder.settings)
    mended = fixes(folder.root, findings)
    assert mended == {folder.root / "tests/one.yaml": scenario + "holdout: true\nhold_out: no\n"}


KEYS = ("{}:", '"{}":', "'{}' :", "{} :")
EXITS = ("", " [{did: other}]", " []", "\n  [{did: other}]", "\n  - did: other", "\n- {did: other}", " {did: other}",
         " &e [{did: other}]", "\n  # some\n  - did: other", " [\n  {did: other}\n  ]", "\n  did: other")  # fmt: skip
LASTS = ("- send: b", "- {send: a}", "- offer: ten\n    send: a", "- send: &s a", "- &s {send: a}", '- "send": a',
         "- send: a\n    id: a", "- {id: &i a, send: b}", "-   send: a  # again")  # fmt: skip
ENTERS = ("", "{customer: {cuntry: uk}}", "{customer: {country: DE, Country: JP}}", "{did: x, same: y, sme: y}",
          "{did: order_place, within: 3 days}", "{customer: {orders: {'>=': '3', gte: 2}}}", "&c {custmer: {shoes: 42}}",
          "{customer: &x {contry: us}}, {customer: *x}")  # fmt: skip
ENDINGS = ("\n", "\r\n", "\r")


@given(st.data())
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mending_never_breaks_a_file(folder: Folder, data: st.DataObject) -> None:
    """Whatever stands together: no more errors than before, no promise that is not kept, nothing done twice."""
    folder.write({"flows/offers.yaml": "ten: {percent: 10, valid_for: 7d}\n"})

    def pick(*choices: str) -> str:
        return data.draw(st.sampled_from(choices))

    leaves, enters = pick(*EXITS), pick(*ENTERS)
    text = START.replace("summary", pick("summary", "sumary"))
    text += f"{pick(*KEYS).format('exit_when')}{leaves}\n" if leaves else ""
    text += f"{pick(*KEYS).format('enter_if')} [{enters}]\n" if enters else ""
    text += f"{pick('# steps', '')}\n{pick(*KEYS).format(pick('steps', 'stps'))}\n  - send: a\n  - wait: {pick('2d', '2 days')}\n  {pick(*LASTS)}\n"
    _, first, last = mend(folder, text.replace("\n", pick(*ENDINGS)))
    assert errors(last) <= errors(first)
    told = Counter((finding.code, finding.message) for finding in last)
    promised = [finding for finding in first if finding.fixable]
    assert not [finding for finding in promised if told[finding.code, finding.message]]


@pytest.mark.parametrize(("key", "leaves"), list(product(KEYS, EXITS[1:])))
def test_a_purchase_ends_the_flow_once(folder: Folder, key: str, leaves: str) -> None:
    """In every spelling the exit is added once, or not promised."""
    text = f"{START}{key.format('exit_when')}{leaves}\n{STEPS}"
    mended, first, last = mend(folder, text)
    assert errors(last) == 0
    assert mended.count("order_placed") == any(finding.fixable for finding in first)
    assert mended.count("exit_when") == 1


MEANT = ("tags: {contains: vip}", "spent: {gte: 100}", "orders: 3", "tier: [gold, silver]", "last_order_at: {within: 30d}",
         "email: {exists: true}")  # fmt: skip


def misshapen(meant: str) -> list[str]:
    """Return ways to write a test of a customer's field that are none."""
    field, test = meant.split(": ", 1)
    shapes = [
        f"customer.{field}: {test}",
        f"{field}: {test}",
        f"customers.{field}: {test}",
        f"customr: {{{meant}}}",
    ]
    shapes += [f"customer: {{customer.{field}: {test}}}", f"customer: {{{field.upper()}: {test}}}"]
    shapes += [f"customer: {test}", f"customer: {{properties: {{{meant}}}}}"] if test.startswith("{") else []
    if test.startswith("{"):
        operator, operand = test.strip("{}").split(": ")
        shapes += [
            f"customer: {{{field}.{operator}: {operand}}}",
            f"customer: {{{operator}: {{{field}: {operand}}}}}",
        ]
    return shapes


@pytest.mark.parametrize(
    ("meant", "wrong"), [(meant, wrong) for meant in MEANT for wrong in misshapen(meant)]
)
def test_a_mend_never_makes_another_condition(folder: Folder, meant: str, wrong: str) -> None:
    """Where no error is left, the flow asks what was meant: nothing is silenced by a test that nobody passes."""
    mended, first, last = mend(folder, f"{START}{EXIT}enter_if:\n  - {wrong}\n{STEPS}")
    assert any(finding.is_error for finding in first) or "properties." in mended
    assert any(finding.is_error for finding in last) or f"customer: {{{meant}}}" in mended, mended


@pytest.mark.parametrize(
    ("wrong", "way_out"),
    [
        ("customer.tags: {contains: vip}", "write {customer: {tags: …}}"),
        ("offer.cart-ten.held: true", "write {offer: {cart-ten: {held: true}}}"),
        ("customer: {contains: vip}", "name the field: `customer: {FIELD: {contains: …}}`"),
    ],
)
def test_a_condition_of_another_shape_is_left_with_the_right_one_named(
    folder: Folder, wrong: str, way_out: str
) -> None:
    """The shape is told whole; the author writes it."""
    text = f"{START}{EXIT}enter_if:\n  - {wrong}\n{STEPS}"
    mended, first, _ = mend(folder, text)
    assert (mended, [finding.help for finding in first if finding.is_error]) == (text, [way_out])


@pytest.mark.parametrize(
    "steps",
    [
        "[{sent: a}]",
        "[{send: a}, {wait: 3m}, {send: b}]",
        "[{send: a, only_if: [{customer: {country: ja}}]}]",
        "[{send: a, only_if: [{customer: {spent: {gth: 3}}}]}]",
    ],
)
def test_what_may_mean_two_things_is_not_mended(folder: Folder, steps: str) -> None:
    """`sent` is as near to `set` as to `send`, `3m` is minutes or months, and `JA` is no country."""
    text = f"{START}{EXIT}steps: {steps}\n"
    mended, first, _ = mend(folder, text)
    assert mended == text
    assert len(first) >= 1


KNOWN_WORDS = (FLOW_KEYS, STEP_KEYS, CONDITION_KEYS, tuple(CUSTOMER), OPERATORS)


@given(st.data())
@hypothesis_settings(deadline=None)
def test_what_is_surely_meant_was_meant(data: st.DataObject) -> None:
    """Of all words with one slip of the pen: a program writes the one that was meant, or none."""
    known = data.draw(st.sampled_from(KNOWN_WORDS))
    word = data.draw(st.sampled_from(known))
    place, letter = (
        data.draw(st.integers(0, len(word) - 1)),
        data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_")),
    )
    slip = data.draw(
        st.sampled_from(
            (
                word[:place] + word[place + 1 :],
                word[:place] + letter + word[place:],
                word[:place] + letter + word[place + 1 :],
                word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
            )
        )
    )
    if slip not in known and is_sure(slip, known):
        assert did_you_mean(slip, known) == f'did you mean "{word}"?'


def test_copies_of_a_step_are_counted_on(folder: Folder) -> None:
    """The third is `-3` and the fourth `-4`, whatever was mended before."""
    steps = (
        "steps: [{send: a}, {wait: 2d}, {send: a}, {wait: 2d}, {send: a}, {wait: 2d}, {send: a, id: a-2}]\n"
    )
    mended, _, last = mend(folder, START + EXIT + steps)
    assert [finding for finding in last if finding.is_error] == []
    assert mended.endswith(
        "[{send: a}, {wait: 2d}, {send: a, id: a-3}, {wait: 2d}, {send: a, id: a-4}, {wait: 2d}, {send: a, id: a-2}]\n"
    )


@pytest.mark.parametrize(
    ("written", "way_out"),
    [
        ("exit_when: did order_placed\n" + STEPS, "write `exit_when: [{did: order_placed}]`"),
        ("exit_when: [did_not order_placed]\n" + STEPS, "write {did_not: order_placed}"),
        (EXIT + "steps: [{send: 'a, b'}]\n", "write [a, b], of which each customer gets the first that they were not sent yet"),
    ],
)  # fmt: skip
def test_what_was_meant_is_said_as_it_is_written(folder: Folder, written: str, way_out: str) -> None:
    """A way out can be written as it stands there."""
    _, first, _ = mend(folder, START + written)
    assert [finding.help for finding in first if finding.is_error] == [way_out]
