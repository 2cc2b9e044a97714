"""The schemas for editors agree with the parsers."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from engine.errors import UsageError
from engine.flows.nodes import plain
from engine.flows.schema import NAMES, schema
from engine.flows.yaml_source import read_file, read_yaml
from tests.unit.flows.everything import FILES
from tests.unit.flows.making import FLOWS
from tests.unit.flows.test_parse import WRONG_LINES, WRONG_STEPS, WRONG_TRIGGERS

STARTER = Path(__file__).resolve().parents[3]
VALIDATORS = {name: jsonschema.Draft7Validator(schema(name)) for name in NAMES}


def complaints(name: str, data: Any) -> list[str]:
    """Return what a schema says about data."""
    return [
        f"{list(error.absolute_path)}: {error.message[:200]}" for error in VALIDATORS[name].iter_errors(data)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name: str) -> None:
    """Each is a valid draft-07 schema of JSON data."""
    jsonschema.Draft7Validator.check_schema(schema(name))
    assert json.loads(json.dumps(schema(name))) == schema(name)


def test_another_name_is_wrong_usage() -> None:
    """There is no schema of anything else."""
    with pytest.raises(UsageError):
        schema("template")


def test_the_starter_project_fits() -> None:
    """Every file that a new project gets fits its schema."""
    kinds = {"segments.yaml": "segments", "offers.yaml": "offers"}
    files = [(path, kinds.get(path.name, "flow")) for path in sorted((STARTER / "flows").glob("*.yaml"))]
    files += [(path, "scenario") for path in sorted((STARTER / "tests/flows").glob("*.yaml"))]
    for path, kind in files:
        node = read_file(path, path.name, [])
        assert node is not None
        assert complaints(kind, plain(node)) == [], path.name
    assert complaints("settings", tomllib.loads((STARTER / "homing.toml").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("file", "kind"),
    [("flows/one.yaml", "flow"), ("flows/segments.yaml", "segments"), ("flows/offers.yaml", "offers")],
)
def test_every_word_of_the_language_fits(file: str, kind: str) -> None:
    """The files that use everything fit."""
    node = read_yaml(FILES[file], file, [])
    assert node is not None
    assert complaints(kind, plain(node)) == []


@given(FLOWS)
@hypothesis_settings(max_examples=50, deadline=None)
def test_what_the_parser_takes_fits(data: dict[str, Any]) -> None:
    """Any flow without errors is valid."""
    assert complaints("flow", data) == []


# Mistakes of shape and words, which a schema can know; not names of the project, ranges, or what depends on other steps.
KNOWN_TO_SCHEMA = {"F101", "F104", "C101", "C103", "F108"}


@pytest.mark.parametrize(
    ("line", "code"), [(line[0], line[1]) for line in WRONG_LINES if line[1] in KNOWN_TO_SCHEMA]
)
def test_editors_see_wrong_lines(line: str, code: str) -> None:
    """What is misspelt in a flow is underlined while it is written."""
    del code
    assert _told(f"flow: one\ntopic: offers\ntrigger: {{event: x}}\nsteps: [send: a]\n{line}\n")


@pytest.mark.parametrize(
    "trigger", [line[0] for line in WRONG_TRIGGERS if line[1] in {*KNOWN_TO_SCHEMA, "F107"}]
)
def test_editors_see_wrong_triggers(trigger: str) -> None:
    """What is misspelt in a trigger is underlined while it is written."""
    if trigger not in (
        "{event: a, date: birthday}",
        "{product: back_in_stock, by: 5%}",
        "{anniversary: country}",
    ):
        assert _told(f"flow: one\ntopic: offers\ntrigger: {trigger}\nsteps: [send: a]\n")


@pytest.mark.parametrize("step", [line[0] for line in WRONG_STEPS if line[1] in KNOWN_TO_SCHEMA])
def test_editors_see_wrong_steps(step: str) -> None:
    """What is misspelt in a step is underlined while it is written."""
    if step != "{send: a, wait: 2d}":
        assert _told(f"flow: one\ntopic: offers\ntrigger: {{event: x}}\nsteps:\n- {step}\n")


def _told(text: str) -> bool:
    node = read_yaml(text, "one.yaml", [])
    assert node is not None
    return bool(complaints("flow", plain(node)))


def test_every_key_has_a_text() -> None:
    """Hovering over any key of a table with known keys says what it means."""

    def walk(value: Any, path: str) -> list[str]:
        found = []
        if isinstance(value, dict):
            for key, item in (
                value.get("properties", {}).items() if isinstance(value.get("properties"), dict) else ()
            ):
                if isinstance(item, dict) and not item.get("description") and item:
                    found.append(f"{path}.{key}")
            for key, item in value.items():
                if key not in ("if", "else", "dependencies"):
                    found += walk(item, f"{path}.{key}")
        elif isinstance(value, list):
            for item in value:
                found += walk(item, path)
        return found

    for name in NAMES:
        assert walk(schema(name), name) == []
