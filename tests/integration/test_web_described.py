"""The web side asked by its own description: whatever that allows, and much that it does not, is answered as described."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from engine.web.app import ROUTES
from engine.web.openapi import description
from tests.integration.test_web_shops import SECRETS
from tests.integration.web_server import Serving, copied, links_of, small_served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(description())


@pytest.fixture(scope="module")
def served(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Give one server for all requests."""
    folder = tmp_path_factory.mktemp("described")
    with small_served(copied(sqlite_template, folder), folder, SECRETS) as running:
        yield running


@pytest.fixture(scope="module")
def key(served: Serving) -> str:
    """Give a write key."""
    return served.write_key("described")


def _real_token(served: Serving, letter: str) -> str | None:
    links = links_of(served.site, 1)
    made: dict[str, Callable[[], str]] = {
        "u": links.unsubscribe, "p": links.preferences, "v": links.view_in_browser, "o": links.open,
        "s": lambda: links.snooze(3), "a": lambda: links.answer("survey_answered", score=9), "r": lambda: links.click(0),
    }  # fmt: skip
    return made[letter]().rpartition("/")[2] if letter in made else None


@SCHEMA.parametrize()
@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
def test_every_operation_answers_as_described(case: Any, served: Serving, key: str) -> None:
    """No 5xx, no status and no form that the description does not name; half of the tokens and keys are real ones."""
    token = (case.path_parameters or {}).get("token")
    if token is not None and len(token) % 2:
        case.path_parameters["token"] = _real_token(served, case.path[1]) or token
    headers = {"authorization": f"Bearer {key}"} if case.path.startswith("/v1/") else {}
    response = case.call(base_url=served.url, headers=headers, allow_redirects=False)
    case.validate_response(response, checks=CHECKS)


def test_every_route_is_described() -> None:
    """Nothing outside the house, its styles and pictures is left out, and nothing is described that is not there."""
    ours = {route.path for routes in ROUTES for route in routes()}  # type: ignore[attr-defined]
    left_out = ("/house", "/assets/", "/images/")
    told = {path if not path.startswith("/v1/") else "/v1/{kind}" for path in description()["paths"]}
    assert told == {path for path in ours if not path.startswith(left_out)}
