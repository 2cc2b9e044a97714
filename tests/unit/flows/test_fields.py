"""The fields that the language knows are those that conditions can ask."""

from __future__ import annotations

import pytest

from engine.audience import fields as asked
from engine.flows import fields


@pytest.mark.parametrize(
    ("scope", "audience_scope"),
    [
        ("customer", "customer"),
        ("product", "product"),
        ("cart", "cart"),
        ("order", "order"),
        ("lines", "line"),
    ],
)
def test_known_fields_agree(scope: str, audience_scope: asked.FieldScope) -> None:
    """Each field that the parser knows has a meaning in the audience, and the other way round."""
    known = fields.OF_SCOPE[scope]
    assert known is not None
    assert {name for name in known if asked.known_field(audience_scope, name) is None} == set()
    assert set(asked._KNOWN[audience_scope]) - set(known) == set()


@pytest.mark.parametrize(
    "path",
    [
        "properties.shoe_size",
        "properties.Shoe size",
        "orders",
        "rfm.r",
        "a.b.c",
        "x'y",
        "a..b",
        "",
        "a" * 101,
    ],
)
def test_paths_agree(path: str) -> None:
    """What the parser takes for a path can be asked, and nothing else."""
    assert fields.is_path(path) is asked.is_path(path)
