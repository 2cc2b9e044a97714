"""What schemas are made of: texts, words, lists, stretches of time, tests; each with the sentence that editors show.

Comes in: a description and what is special. Goes out: a piece of a draft-07 schema as plain data, with a message of its own
where a pattern's would say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.flows import fields

Schema = dict[str, Any]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
AS_DURATION = "write a duration such as 30min, 4h, 30d, 2w, 6mo or 1y"
DURATION = r"^-?\s*\d{1,6}(\.\d{1,3})?\s*(s|sec|min|h|d|w|mo|y)$"


def ref(name: str, description: str = "", **more: Any) -> Schema:
    """Return a reference with a text of its own (in draft-07 a bare $ref hides its neighbours)."""
    pointer = {"$ref": f"#/definitions/{name}"}
    return {"description": description, **more, "allOf": [pointer]} if description or more else pointer


def table(properties: Mapping[str, Any], description: str = "", **more: Any) -> Schema:
    """Return an object of these keys and no others."""
    made: Schema = {"type": "object", "additionalProperties": False, **more, "properties": dict(properties)}
    return {"description": description, **made} if description else made


def listed(items: Schema, description: str = "", **more: Any) -> Schema:
    """Return a list of such items."""
    made = {"type": "array", "items": items, **more}
    return {"description": description, **made} if description else made


def text(description: str, **more: Any) -> Schema:
    """Return a text."""
    return {"description": description, "type": "string", **more}


def word(description: str, known: Iterable[str], **more: Any) -> Schema:
    """Return one of these words."""
    return {"description": description, "enum": list(known), **more}


def name(description: str, **more: Any) -> Schema:
    """Return the name of a flow, step or offer."""
    return text(description, pattern=NAME, patternErrorMessage="use letters, digits and dashes", **more)


def needs(keys: Iterable[str], *owners: str) -> Schema:
    """Return dependencies: each key has a meaning only beside one of the owners."""
    either = (
        {"required": [owners[0]]}
        if len(owners) == 1
        else {"anyOf": [{"required": [owner]} for owner in owners]}
    )
    return dict.fromkeys(keys, either)


def share(description: str, **more: Any) -> Schema:
    """Return a share such as 10%."""
    wanted = "write a share such as 10%"
    return text(
        description, pattern=r"^\d{1,3}(\.\d+)?\s*%$", patternErrorMessage=wanted, errorMessage=wanted, **more
    )


def clock(description: str, **more: Any) -> Schema:
    """Return a time of day such as "09:00"."""
    wanted = 'write a time of day in quotes: "09:00"'
    return text(
        description, pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", patternErrorMessage=wanted, errorMessage=wanted,
        examples=["09:00"], **more,
    )  # fmt: skip


def duration(description: str, *examples: str, **more: Any) -> Schema:
    """Return a stretch of time, with examples."""
    return ref("duration", description, examples=list(examples or ("4h", "30d")), **more)


_FIELD_TEXTS = {
    "orders": "How many orders the customer has placed (0, never missing; cancelled ones do not count).",
    "spent": "What the customer has spent in all.",
    "country": "ISO 3166 code of two capital letters.",
    "birthday": "YYYY-MM-DD or MM-DD.",
    "average_gap_days": "Mean number of days between orders.",
    "usual_gap_days": "Median number of days between orders, from three orders up.",
    "in_stock": "false only where the product is known to be unavailable or at stock 0.",
    "items": "How many lines there are.",
    "tags": "A list; `contains` asks for one of them.",
    "churn_risk": "0 to 1: how likely the customer has left.",
    "predicted_value": "What the customer will probably spend in the next year.",
    "spent_percentile": "0 to 100: the share of customers who spent less.",
}


_A_TEST = "A value (equal), a list (one of), or operators, all of which must hold."


def tests(known: Mapping[str, fields.FieldType] | None, description: str, **more: Schema) -> Schema:
    """Return a table of fields with tests; every field of one's own is allowed, known ones are offered."""
    properties: Schema = {
        name: ref("test", _FIELD_TEXTS.get(name, f"The {name.replace('_', ' ')} ({kind})."))
        for name, kind in (known or {}).items()
    }
    return table(
        {**properties, **more}, description, additionalProperties=ref("test", _A_TEST), minProperties=1
    )
