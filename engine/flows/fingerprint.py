"""Fingerprints: what changed between two versions of a flow, by comparing hashes.

Comes in: flows and the text of templates. Goes out: short hexadecimal hashes. `behaviour` covers who gets which mail
when; `content` the templates and subjects; `text` the summary. Promises: comments, layout and the order of keys change
nothing; a field at its default hashes like one that is absent, so that the model can grow without changing any version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

from engine.calendar import Duration
from engine.flows.conditions import All, Any_, Clause
from engine.flows.model import Flow, Send

DIGITS = 16
Change = Literal["new", "behaviour", "content", "text", "unchanged", "removed"]

# Where a field speaks only to people, it is no behaviour: (type, field).
_TEXT = {(Flow, "summary"), (Clause, "text")}
_CONTENT = {(Send, "subject")}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hashes of one flow version; `version` covers behaviour, subjects and text, not the templates' content."""

    version: str
    behaviour: str
    content: str
    text: str


def fingerprint(flow: Flow, template_text: Callable[[str], str | None] = lambda _: None) -> Fingerprint:
    """Return all hashes; `template_text` gives what a template and everything it draws in holds (None: nothing)."""
    return Fingerprint(
        version_hash(flow), behaviour_hash(flow), content_hash(flow, template_text), text_hash(flow)
    )


def behaviour_hash(flow: Flow) -> str:
    """Return the hash of everything that decides who gets which mail when."""
    return _hash(_canonical(flow, frozenset(_TEXT | _CONTENT)))


def version_hash(flow: Flow) -> str:
    """Return the hash of the whole definition, subjects and summary included: the identity of a stored version."""
    return _hash(_canonical(flow, frozenset({(Clause, "text")})))


def content_hash(flow: Flow, template_text: Callable[[str], str | None]) -> str:
    """Return the hash of the templates' content and of the subjects that steps set."""
    sends = [step for step in flow.all_steps() if isinstance(step, Send)]
    texts = {name: template_text(name) for step in sends for name in step.templates}
    return _hash([texts, {step.id: step.subject for step in sends if step.subject is not None}])


def text_hash(flow: Flow) -> str:
    """Return the hash of what only people read."""
    return _hash(flow.summary)


def change_between(old: Fingerprint | None, new: Fingerprint | None) -> Change:
    """Return what kind of change leads from one version to another (None: it did not or does not exist)."""
    if old is None or new is None:
        return "removed" if new is None and old is not None else "new"
    if old.behaviour != new.behaviour:
        return "behaviour"
    if old.content != new.content:
        return "content"
    return "text" if old.text != new.text else "unchanged"


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _canonical(value: Any, leave: frozenset[tuple[type, str]]) -> Any:
    """Return the value as JSON data in its one form."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, Duration | Decimal | datetime | time | float):
        return [type(value).__name__, _one_form(value)]
    if is_dataclass(value):
        return _fields_of(value, leave)
    if isinstance(value, Mapping):
        return {str(key): _canonical(item, leave) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_canonical(item, leave) for item in value]


def _one_form(value: Any) -> str:
    if isinstance(value, Duration):
        return f"{value.months} {value.days} {value.seconds}"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return repr(value) if isinstance(value, float) else str(value.isoformat())


def _fields_of(value: Any, leave: frozenset[tuple[type, str]]) -> dict[str, Any]:
    kind: Any = type(value)
    found: dict[str, Any] = {"is": kind.__name__}
    for name, default in _compared(kind):
        if (kind, name) in leave:
            continue
        item = getattr(value, name)
        if item == default and type(item) is type(default):
            continue
        found[name] = _canonical(item, leave)
    if isinstance(
        value, All | Any_
    ):  # the order of what must hold together, or of alternatives, decides nothing
        found["items"] = sorted(found["items"], key=lambda item: json.dumps(item, sort_keys=True))
    return found


@lru_cache(maxsize=256)
def _compared(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((item.name, _default(item)) for item in fields(kind) if item.compare)


def _default(item: Field[Any]) -> Any:
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else MISSING
