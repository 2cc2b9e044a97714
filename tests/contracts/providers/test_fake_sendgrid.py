"""The fake is no pushover: it refuses what the real SendGrid's published rules refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.servers.sendgrid_rules import RESERVED_HEADERS, problems

GOOD: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ann@customers.test"}], "custom_args": {"message": "m1"}}],
    "from": {"email": "hello@kiyomi.test", "name": "Kiyomi"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Hello"}, {"type": "text/html", "value": "<p>Hello"}],
    "categories": ["thanks"],
}
Break = Callable[[dict[str, Any]], object]


def test_a_good_request_passes() -> None:
    """The request that all others here are made from has no problem."""
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    "make_wrong",
    [
        lambda body: body.pop("personalizations"),
        lambda body: body.update(personalizations=[]),
        lambda body: body.update(personalizations=body["personalizations"] * 1001),
        lambda body: body["personalizations"][0].pop("to"),
        lambda body: body["personalizations"][0]["to"].append({"email": "ANN@customers.test"}),
        lambda body: body["personalizations"][0]["to"][0].update(email="ann"),
        lambda body: body["personalizations"][0]["to"][0].update(email="änn@customers.test"),
        lambda body: body["personalizations"][0]["to"][0].update(name="Example, Ann"),
        lambda body: body["personalizations"][0].update(custom_args={"version": 3}),
        lambda body: body["personalizations"][0].update(custom_args={"x": "y" * 9_999}),
        lambda body: body["personalizations"][0].update(headers={"X-Größe": "1"}),
        lambda body: body["personalizations"][0].update(headers={"X-Size": "größer"}),
        lambda body: body["personalizations"][0].update(headers={"X-Size": "a\r\nBcc: b@c.test"}),
        lambda body: body.pop("from"),
        lambda body: body.update({"from": {"name": "Kiyomi"}}),
        lambda body: body.pop("subject"),
        lambda body: body.update(subject=""),
        lambda body: body.pop("content"),
        lambda body: body["content"].reverse(),
        lambda body: body["content"][0].update(value=""),
        lambda body: body.update(categories=[f"c{number}" for number in range(11)]),
        lambda body: body.update(categories=["a", "a"]),
        lambda body: body.update(categories=["a" * 256]),
        lambda body: body.update(categories="a"),
        lambda body: body.update(tracking_settings={"click_tracking": {"enable": "no"}}),
        lambda body: body.update(key="value"),
        *[
            lambda body, name=name: body["personalizations"][0].update(headers={name.title(): "x"})
            for name in sorted(RESERVED_HEADERS)
        ],
    ],
)
def test_every_rule_bites(make_wrong: Break) -> None:
    """Breaking one rule is refused, with the field that broke it."""
    body = copy.deepcopy(GOOD)
    make_wrong(body)
    assert problems(body)
