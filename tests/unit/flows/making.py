"""Flows made at random from a seed: plain data in the language of flows, without errors, in no special order."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

DURATIONS = ("30min", "4h", "30d", "2w", "6mo", "1y", "0h")
EVENTS = ("order_placed", "cart_updated", "product_viewed", "some.event", "mail_clicked")
WORDS = (
    "NO",
    "on",
    "10:30",
    "2026-01-01",
    "null",
    "1e3",
    "yes",
    "~",
    "tea",
    "緑茶",
    "a: b # c",
    " x ",
    "'",
    '"\\',
    "🍵",
    "-",
    "{{ x }}",
)
DATES = ("2026-01-01", "2026-01-01T10:00:00Z", "2026-06-30 08:15")
FIELDS = ("value", "properties.size", "sku", "rating", "name")


class Maker:
    """Makes one flow."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.steps_made = 0

    def one(self, *makers: Callable[[], Any]) -> Any:
        """Return what one of the makers makes."""
        return self.random.choice(makers)()

    def some(self, **keys: Callable[[], Any]) -> dict[str, Any]:
        """Return a table with any of the keys, in any order."""
        chosen = [key for key in keys if self.random.random() < 0.4]
        self.random.shuffle(chosen)
        return {key: keys[key]() for key in chosen}

    def several(self, make: Callable[[], Any], least: int = 0) -> list[Any]:
        """Return a short list."""
        return [make() for _ in range(self.random.randint(least, least + 2))]

    def pick(self, words: tuple[str, ...]) -> str:
        """Return one of the words."""
        return self.random.choice(words)

    def number(self) -> int | float:
        """Return a whole number or one with two places."""
        made: int | float = self.one(
            lambda: self.random.randint(-(10**12), 10**12), lambda: round(self.random.uniform(-999, 999), 2)
        )
        return made

    def value(self) -> Any:
        """Return a value of any type."""
        return self.one(lambda: self.pick(WORDS), self.number, lambda: self.random.random() < 0.5)

    def test(self) -> Any:
        """Return a test in any form."""
        return self.one(self.value, lambda: self.several(self.value, 1), self.operators)

    def operators(self) -> dict[str, Any]:
        """Return operators with operands that fit."""
        made = self.some(
            gt=self.number, gte=self.number, lt=self.number, lte=lambda: self.pick(WORDS), ne=self.value, eq=self.value,
            contains=self.value, starts_with=lambda: self.pick(WORDS), exists=lambda: True, before=lambda: self.pick(DATES),
            after=lambda: self.pick(DATES), within=lambda: self.pick(DURATIONS), in_next=lambda: self.pick(DURATIONS),
            **{"in": lambda: self.several(self.value, 1)},
        )  # fmt: skip
        return made or {"older_than": "30d"}

    def tests(self, names: tuple[str, ...] = FIELDS) -> dict[str, Any]:
        """Return fields with tests, at least one."""
        return {name: self.test() for name in self.random.sample(names, self.random.randint(1, 2))}

    def did(self) -> dict[str, Any]:
        """Return a question about events."""
        more = self.some(
            times=lambda: self.one(lambda: 2, lambda: {"gte": 3}), within=lambda: self.pick(DURATIONS), where=self.tests,
            since=lambda: self.pick(("entry", *DATES)), sum=self.tests, same=lambda: "cart_id",
        )  # fmt: skip
        return {**more, self.pick(("did", "did_not")): self.pick(EVENTS)}

    def leaf(self) -> dict[str, Any]:
        """Return a condition that holds no others."""
        customer = ("orders", "spent", "country", "tags", "properties.x", "rfm.r")
        made: dict[str, Any] = self.one(
            self.did,
            lambda: {"customer": self.tests(customer)},
            lambda: {"trigger": self.tests()},
            lambda: {
                "cart": {
                    "lines": {
                        "any": self.tests(("sku", "category")),
                        "none": self.tests(("price", "in_stock")),
                    }
                }
            },
            lambda: {"segment": "loyal"},
            lambda: {"offer": {"ten": {"held": True, "used": False}}},
            lambda: {"not_segment": "loyal", "customer": self.tests(customer)},
        )
        return made

    def condition(self, depth: int = 0) -> dict[str, Any]:
        """Return a condition, nested at most three deep."""
        if depth > 2 or self.random.random() < 0.7:
            return self.leaf()

        def inner() -> dict[str, Any]:
            return self.condition(depth + 1)

        made: dict[str, Any] = self.one(
            lambda: {"any": self.several(inner)},
            lambda: {"all": self.several(inner)},
            lambda: {"not": inner()},
        )
        return made

    def conditions(self) -> list[Any]:
        """Return a list of conditions."""
        return self.several(self.condition)

    def trigger(self) -> dict[str, Any]:
        """Return one trigger."""
        made: dict[str, Any] = self.one(
            lambda: {
                "event": self.pick(EVENTS),
                **self.some(where=self.tests, quiet_for=lambda: "4h", gather=lambda: "1d"),
            },
            lambda: {"anniversary": "birthday", "offset": "-7d", "at": "09:00"},
            lambda: {"date": "points_expire_at"},
            lambda: {"lapsed": {"event": "order_placed", "after": self.pick(("1.5x", "90d"))}},
            lambda: {"segment": "loyal"},
            lambda: {"schedule": "0 9 1 * *", "segment": "loyal"},
        )
        return made

    def wait(self) -> dict[str, Any]:
        """Return a wait in any form."""
        return {
            "wait": self.one(
                lambda: self.pick(DURATIONS),
                lambda: {"until": "09:00", "days": "weekdays", "at_least": "20h"},
                lambda: {"until": "points_expire_at", "offset": "-7d"},
                lambda: {"until": self.leaf(), "up_to": "14d", "as": "answer"},
            )
        }

    def send(self) -> dict[str, Any]:
        """Return a send."""
        templates = self.random.choice(("a", "b", ["a", "b"], ["c", "a", "b"]))
        subject = lambda: "Hello, {{ customer.first_name }}"  # noqa: E731 - one of the makers below
        return {"send": templates, **self.some(subject=subject, offer=lambda: "ten", only_if=self.conditions)}

    def step(self, depth: int) -> dict[str, Any]:
        """Return a step with an identity of its own."""
        self.steps_made += 1
        simple = (
            self.send, self.wait, lambda: {"set": {"properties.x": self.value(), "tags": {"add": "vip"}}},
            lambda: {"webhook": {"to": "sms", "with": {"deep": [1, {"x": 0.5}]}}}, lambda: {"exit": "done"},
        )  # fmt: skip
        number = self.steps_made
        ways = () if depth > 1 else (lambda: self.branch(depth), lambda: self.experiment(depth))
        return {"id": f"step-{number}", **self.one(*simple, *ways)}

    def steps(self, depth: int = 0) -> list[Any]:
        """Return a list of steps."""
        return self.several(lambda: self.step(depth), 1 - min(depth, 1))

    def branch(self, depth: int) -> dict[str, Any]:
        """Return a branch."""
        arms = self.several(lambda: {"steps": self.steps(depth + 1), "when": self.conditions()}, 1)
        return {"branch": [*arms, {"otherwise": self.steps(depth + 1)}]}

    def experiment(self, depth: int) -> dict[str, Any]:
        """Return an experiment."""
        arms = {
            name: {"weight": self.random.randint(1, 9), "steps": self.steps(depth + 1)}
            for name in ("zero", "one", "two")
        }
        return {"experiment": {"name": "test", "arms": arms}}

    def flow(self) -> dict[str, Any]:
        """Return a flow named `one`."""
        return {
            "flow": "one",
            "topic": "offers",
            "trigger": self.one(self.trigger, lambda: self.several(self.trigger, 1)),
            **self.some(
                summary=lambda: self.pick(WORDS[8:]), priority=lambda: self.random.randint(0, 100), enter_if=self.conditions,
                only_if=self.conditions, exit_when=self.conditions, goal=self.leaf, max_lateness=lambda: self.pick(DURATIONS),
                holdout=lambda: self.pick(("10%", "12.5%", "0%")), policy=lambda: {"when_capped": "wait", "caps": ["1 per 1d"]},
                re_entry=lambda: self.random.choice(("never", "always", {"per": "cart"}, {"after": "7d", "per": "order"})),
            ),
            "steps": self.steps(),
        }  # fmt: skip


FLOWS = st.integers(0, 2**32).map(lambda seed: Maker(seed).flow())
