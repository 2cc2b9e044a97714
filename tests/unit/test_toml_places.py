"""Where keys and values of a TOML file stand."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.toml_places import places

ROOT = Path(__file__).resolve().parents[2]
HARD = '''
# [not] = "a section"
title = "a # in text"   # and a comment
[one]
"quoted key" = 'single'
dotted.key = 1
long = """
[two]
name = "inside of text"
"""
list = [
  "a",  # ] not the end
  "b, c",
  {x = 1, y = [2, 3]},
]
[ two . three ]
inline = { a = "}", b = true }
when = 2026-01-01T10:00:00Z
[[several]]
a = 1
[[several]]
a = 2
'''  # fmt: skip


def paths(data: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path of everything in read TOML."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        yield (*above, str(key)), value
        yield from paths(value, (*above, str(key)))


def check(source: str) -> int:
    """Hold every single value of a file against what stands at its place; return how many there are."""
    found = places(source, "f")
    lines = source.split("\n")
    seen = 0
    for path, value in paths(tomllib.loads(source)):
        if isinstance(value, dict | list):
            continue
        place = found[path]
        line = lines[place.value.line - 1]
        written = line[place.value.column - 1 : place.value.column - 1 + place.value.length]
        if '"""' not in written:
            assert tomllib.loads(f"x = {written}")["x"] == value, (path, written)
        key = lines[place.key.line - 1][place.key.column - 1 :][: place.key.length]
        assert path[-1] in key or place.key == place.value, (path, key)
        seen += 1
    return seen


def test_every_value_stands_where_it_is_said_to_stand() -> None:
    """Comments, quoted keys, lists over lines, inline tables and dotted keys lead nobody astray."""
    assert check(HARD) == 14


def test_the_settings_of_a_new_project_can_be_followed() -> None:
    """Also with everything in them that is commented out."""
    source = (ROOT / "homing.toml").read_text(encoding="utf-8")
    assert check(source) > 10
    assert check(re.sub(r"^# (?=\[|\w+ = )", "", source, flags=re.MULTILINE)) > 25


def test_sections_stand_at_their_headers() -> None:
    """The place of a section is its header."""
    found = places("a = 1\n  [b.c]\nd = 2\n", "f")
    assert (found["b", "c"].key.line, found["b", "c"].key.column, found["b", "c"].key.length) == (2, 3, 5)


@given(st.text(alphabet="a=[]{}\"'#\n ,.1", max_size=60))
def test_any_text_is_survived(text: str) -> None:
    """What is no TOML gives the places of what could be followed, and nothing is raised."""
    places(text, "f")
