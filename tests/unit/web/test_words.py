"""The words of the customers' pages."""

from __future__ import annotations

import re

from engine.web.words import NAMES, WORDS


def test_every_language_has_every_word() -> None:
    """No page meets a word that its language lacks, and every language has a name of its own."""
    for words in WORDS.values():
        assert words.keys() == WORDS["en"].keys()
        assert all(words.values())
    assert NAMES.keys() == WORDS.keys()


def test_every_language_fills_in_the_same() -> None:
    """A place that one language fills in is a place in all."""
    for key, english in WORDS["en"].items():
        places = set(re.findall(r"{(\w+)}", english))
        assert {
            name: set(re.findall(r"{(\w+)}", words[key])) for name, words in WORDS.items()
        } == dict.fromkeys(WORDS, places)
