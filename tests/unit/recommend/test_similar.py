"""Likeness of products."""

from __future__ import annotations

import pytest

from engine.recommend.similar import Article, similar, words


def nearest(*catalogue: Article) -> dict[str, list[str]]:
    """Return the skus like each product, nearest first."""
    return {sku: [item.sku for item in ranked] for sku, ranked in similar(catalogue)}


def article(sku: str, title: str = "", **fields: object) -> Article:
    """Return a product to compare."""
    values: dict[str, object] = {"category": None, "brand": None, "price": 10.0, "group": None} | fields
    return Article(sku, title, **values)  # type: ignore[arg-type]


def test_shared_rare_words_bring_products_together() -> None:
    """Of two teas the other jasmine one is nearer than the black one; a lamp shares nothing and is not there."""
    found = nearest(
        article("a", "Jasmine tea tin"), article("b", "Black tea tin"), article("c", "Jasmine tea bag"),
        article("d", "Brass lamp"), article("e", "Green tea tin"),
    )  # fmt: skip
    assert found["a"][0] == "c"
    assert "d" not in found
    assert "d" not in found["a"]


def test_category_brand_and_price_count() -> None:
    """Without words in common: same category first, then the nearer price."""
    found = nearest(
        article("a", category="tea", price=10.0), article("b", category="tea", price=11.0),
        article("c", category="tea", price=50.0), article("d", category="mugs", price=10.0),
    )  # fmt: skip
    assert found["a"] == ["b", "c"]
    assert "d" not in found


def test_variants_of_one_article_are_not_similar() -> None:
    """The same shirt in another size is the same shirt."""
    found = nearest(
        article("s", "Linen shirt", group="shirt"),
        article("m", "Linen shirt", group="shirt"),
        article("x", "Linen skirt"),
    )
    assert found["s"] == ["x"]


def test_a_worked_score() -> None:
    """Same title, category and brand at half the price: .5 + .25 + .1 + .15/2 = .925."""
    alike = {"category": "tea", "brand": "Leaf"}
    found = dict(similar([article("a", "Tea", **alike), article("b", "Tea", price=20.0, **alike)]))
    assert found["a"][0].score == pytest.approx(0.925)


def test_scripts_without_spaces_have_words_too() -> None:
    """Japanese, Chinese and Thai titles are cut into pairs of signs, mixed ones at the seam."""
    assert words("宇治抹茶100g") == ["宇治", "治抹", "抹茶", "100g"]
    found = nearest(article("a", "宇治抹茶"), article("b", "抹茶ラテ"), article("c", "湯のみ"))
    assert found["a"] == ["b"]


def test_an_empty_catalogue_and_empty_titles_are_fine() -> None:
    """Nothing in, nothing out."""
    assert nearest() == {}
    assert nearest(article("a"), article("b")) == {}
