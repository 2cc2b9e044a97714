"""References in the values of `set` and `webhook`: `{{ answer.score }}` stands for what an enrollment or customer holds.

Comes in: plain values of a flow, and names. Goes out: the values with their references filled. A reference that stands
alone keeps its type; one inside of text becomes text; what is missing is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.audience.meaning import answer_document, flat_fact

_REFERENCE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


def names_of(context: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return what may be referred to: `trigger`, `answer` (and each answer by its own name), and what the caller adds."""
    answers = answer_document(context.get("answers", {}))
    told = {
        name: flat_fact(fact)
        for name, fact in context.get("answers", {}).items()
        if isinstance(fact, Mapping)
    }
    return {**told, "trigger": flat_fact(context.get("trigger", {})), "answer": answers, **more}


def resolved(value: Any, names: Mapping[str, Any]) -> Any:
    """Return a value with its references filled.

    >>> resolved({"a": "{{ answer.score }}", "b": "score {{ answer.score }}{{ answer.none }}"}, {"answer": {"score": 9}})
    {'a': 9, 'b': 'score 9'}
    """
    if isinstance(value, Mapping):
        return {key: resolved(each, names) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [resolved(each, names) for each in value]
    if not isinstance(value, str):
        return value
    alone = _REFERENCE.fullmatch(value.strip())
    if alone:
        return _dig(names, alone[1])
    return _REFERENCE.sub(lambda match: _text(_dig(names, match[1])), value)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _dig(names: Mapping[str, Any], path: str) -> Any:
    value: Any = names
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
