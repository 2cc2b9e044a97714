"""Codes: what a pattern makes, and that a slip of the pen is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutsideError
from engine.offers.issue import ALPHABET, checks, pattern_code
from engine.offers.pools import codes_of

KEY = b"k" * 32
PATTERN = "TEA-########"


@given(st.integers(0, 10**9))
def test_a_code_fits_its_pattern(number: int) -> None:
    """It has the pattern's letters, and its last sign checks the others."""
    code = pattern_code(PATTERN, KEY, number)
    assert code.startswith("TEA-")
    assert len(code) == len(PATTERN)
    assert checks(PATTERN, code)


@given(st.integers(0, 10**9), st.integers(0, 7), st.sampled_from(ALPHABET))
def test_one_wrong_sign_is_noticed(number: int, place: int, sign: str) -> None:
    """Any single sign that is another makes the code a wrong one."""
    code = pattern_code(PATTERN, KEY, number)
    slipped = code[: 4 + place] + sign + code[5 + place :]
    assert checks(PATTERN, slipped) == (slipped == code)


def test_codes_differ_by_number_and_by_key() -> None:
    """A thousand numbers give a thousand codes, and another installation gives others."""
    codes = {pattern_code(PATTERN, KEY, number) for number in range(1_000)}
    assert len(codes) == 1_000
    assert not codes & {pattern_code(PATTERN, b"x" * 32, number) for number in range(1_000)}


def test_a_pool_is_read_line_by_line(tmp_path: Path) -> None:
    """Spaces, empty lines, remarks and repetitions fall away; a file that is not there is told plainly."""
    path = tmp_path / "codes.txt"
    path.write_text("\ufeffA-1\n\n  A-2  # for Ann\nA-1\n# nothing\n", encoding="utf-8")
    assert codes_of(path) == ["A-1", "A-2"]
    with pytest.raises(OutsideError, match=r"codes\.csv"):
        codes_of(tmp_path / "codes.csv")
