"""Which fields can be asked, and where they are kept."""

from __future__ import annotations

import pytest

from engine.audience.fields import SCOPES, FieldScope, is_path, known_field, resolve, suggest
from engine.errors import UsageError
from engine.flows import fields as language
from engine.store.tables import metadata


@pytest.mark.parametrize("scope", ["customer", "product", "cart", "order", "lines"])
def test_every_field_of_the_language_is_kept_somewhere(scope: str) -> None:
    """A field that the parser knows is a column or a computed value here, never a property by accident."""
    own: FieldScope = "line" if scope == "lines" else scope  # type: ignore[assignment]
    known = language.OF_SCOPE[scope]
    assert known is not None
    assert [path for path in known if known_field(own, path) is None] == []


@pytest.mark.parametrize("scope", SCOPES)
def test_every_column_exists(scope: FieldScope) -> None:
    """Fields name columns that the tables have."""
    for name in (*(language.OF_SCOPE.get(scope) or ()), "anything", "rfm.r", "tags.a"):
        found = resolve(scope, name)
        if found.table in metadata.tables:
            assert found.column in metadata.tables[found.table].c


def test_unknown_names_are_properties() -> None:
    """A name that has no meaning of its own is looked for among the properties, nested ones too."""
    assert resolve("customer", "shoe.size").keys == ("shoe", "size")
    assert resolve("customer", "properties.orders").keys == ("orders",)
    assert resolve("trigger", "properties.colour") == resolve("trigger", "colour")
    assert known_field("customer", "properties.orders") == "any"
    assert known_field("customer", "ordrs") is None
    assert suggest("customer", "ordrs") == 'did you mean "orders"?'


@pytest.mark.parametrize(
    "path", ["", ".", "a.", "a..b", "a'b", 'a"b', "a\\b", "a[0]", "a\x00", "a;b", "a*", "?", "a\n"]
)
def test_only_the_closed_grammar_is_a_path(path: str) -> None:
    """Nothing that could mean something inside a path or a statement is a name."""
    assert not is_path(path)
    assert known_field("customer", path) is None
    with pytest.raises(UsageError):
        resolve("customer", path)


def test_all_properties_at_once_are_no_field() -> None:
    """`properties` alone is refused with a way out."""
    with pytest.raises(UsageError, match=r"properties\.shoe_size"):
        resolve("trigger", "properties")


def test_names_in_other_scripts_are_paths() -> None:
    """Shops name their properties in their own language."""
    assert is_path("properties.サイズ")
    assert is_path("properties.Größe.L-1")
