"""The shop's own rules for recommended products: `[recommend]` of homing.toml.

Comes in: the section as a table. Goes out: `ShopRules`, and what is wrong with it as sentences with the key they belong
to. Promises the language of `where`: a rule is a table of tests on a product, all of which must hold; beside a product's
fields it knows `tags` (`properties.tags`) and `margin` (`properties.margin`, else what `properties.cost` leaves of the
price, as a share).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.diagnostics import Finding, has_errors
from engine.errors import FindingsError
from engine.flows.conditions import FieldTest
from engine.flows.nodes import from_plain
from engine.flows.read_conditions import field_tests
from engine.flows.reading import Reader
from engine.settings import Settings, setting_place

CODE = "S205"
PER_CATEGORY = 2
MOST = 24  # slots of a block
LEAST_BOOST, MOST_BOOST = 0.1, 10.0
_OURS = ("tags", "margin")  # read like properties, and found by serving

Tests = tuple[FieldTest, ...]


@dataclass(frozen=True, slots=True)
class Boost:
    """Products that pass the tests count `by` times as much; below 1 they count less."""

    tests: Tests
    by: float


@dataclass(frozen=True, slots=True)
class ShopRules:
    """What a shop wants of every block: at most so many of a category (0: any number), never, always, more of."""

    per_category: int = PER_CATEGORY
    never: tuple[Tests, ...] = ()
    always: tuple[Tests, ...] = ()
    boost: tuple[Boost, ...] = ()


def shop_rules(table: Mapping[str, Any]) -> tuple[ShopRules, list[tuple[str, str]]]:
    """Return the rules of a `[recommend]` section, and (key, sentence) for each thing in it that cannot be read."""
    wrong: list[tuple[str, str]] = []
    return (
        ShopRules(
            _per_category(table.get("per_category", PER_CATEGORY), wrong),
            tuple(tests for tests, _ in _rules(table, "never", wrong)),
            tuple(tests for tests, _ in _rules(table, "always", wrong)),
            tuple(Boost(tests, by) for tests, by in _rules(table, "boost", wrong)),
        ),
        wrong,
    )


def rules_of(settings: Settings) -> ShopRules:
    """Return the shop's rules; raise FindingsError where they cannot be read, so that no rule is lost in silence."""
    rules, _ = shop_rules(settings.recommend)
    findings = findings_of(settings)
    if has_errors(findings):
        raise FindingsError(findings)
    return rules


def findings_of(settings: Settings) -> tuple[Finding, ...]:
    """Return what is wrong with `[recommend]`, at its places in homing.toml."""
    _, wrong = shop_rules(settings.recommend)
    effect = "no mail that recommends products can be made"
    return tuple(
        Finding(
            CODE, "error", sentence, setting_place(settings.root, "recommend", key), effect=effect,
            help=f"`homing explain {CODE}` shows how rules are written",
        )
        for key, sentence in wrong
    )  # fmt: skip


def _per_category(value: Any, wrong: list[tuple[str, str]]) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)  # from the environment
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
        return value
    wrong.append(("per_category", f"per_category is a whole number from 0 (any number) to {MOST}"))
    return PER_CATEGORY


def _rules(table: Mapping[str, Any], key: str, wrong: list[tuple[str, str]]) -> list[tuple[Tests, float]]:
    listed = table.get(key, [])
    if not isinstance(listed, list) or not all(isinstance(rule, dict) for rule in listed):
        wrong.append((key, f'{key} is a list of tables, such as {key} = [{{tags = "sale"}}]'))
        return []
    found = []
    for rule in listed:
        by = rule.get("by", 1.0)
        if key == "boost" and not _is_factor(rule.get("by")):
            wrong.append((key, f"each boost says `by` how much, from {LEAST_BOOST} to {MOST_BOOST:g}"))
            continue
        named = {name: test for name, test in rule.items() if key != "boost" or name != "by"}
        tests = _tests(named, key, wrong)
        if tests:
            found.append((tests, float(by) if key == "boost" else 1.0))
    return found


def _is_factor(by: Any) -> bool:
    return isinstance(by, int | float) and not isinstance(by, bool) and LEAST_BOOST <= by <= MOST_BOOST


def _tests(rule: Mapping[str, Any], key: str, wrong: list[tuple[str, str]]) -> Tests:
    if not rule:
        wrong.append((key, f"a rule of {key} without a test would mean every product"))
        return ()
    findings: list[Finding] = []
    plain = {f"properties.{name}" if name in _OURS else name: test for name, test in rule.items()}
    tests = field_tests(Reader(findings, stored=True), from_plain(plain), "product")
    wrong += [(key, _sentence(finding)) for finding in findings if finding.is_error]
    return () if any(finding.is_error for finding in findings) else _renamed(tests)


def _renamed(tests: Sequence[FieldTest]) -> Tests:
    ours = {f"properties.{name}": name for name in _OURS}
    return tuple(replace(test, path=ours.get(test.path, test.path)) for test in tests)


def _sentence(finding: Finding) -> str:
    return f"{finding.message}; {finding.help}" if finding.help else finding.message
