"""Co-purchase lift."""

from __future__ import annotations

from engine.recommend.together import LARGEST_BASKET, Baskets, bought_together, lift

SKUS = ("tea", "pot", "bag", "rare")
TEA, POT, BAG, RARE = range(4)


def companions(*baskets: tuple[int, ...]) -> dict[str, list[str]]:
    """Return the companions of each product, best first."""
    packed = Baskets(baskets, len(SKUS))
    return {sku: [item.sku for item in ranked] for sku, ranked in bought_together(packed, SKUS)}


def test_what_meets_more_often_than_chance_has_it_goes_together() -> None:
    """Tea and pots meet in 20 baskets where chance would have it 8 times: each is the other's companion."""
    found = companions(*[(TEA, POT)] * 20, *[(TEA,)] * 10, *[(BAG,)] * 50)
    assert found == {"tea": ["pot"], "pot": ["tea"]}


def test_a_bestseller_does_not_go_with_everything() -> None:
    """The bag lies in every basket, with tea as with all else: chance explains it, so it is nobody's companion."""
    found = companions(*[(TEA, POT, BAG)] * 20, *[(BAG,)] * 80)
    assert found["tea"] == ["pot"]
    assert "bag" not in found


def test_a_single_meeting_is_no_evidence() -> None:
    """One basket with both says nothing, however rare they are."""
    assert companions((TEA, RARE), *[(BAG,)] * 500) == {}


def test_much_evidence_beats_a_striking_accident() -> None:
    """Two meetings out of two stand behind forty out of fifty."""
    found = companions(*[(TEA, RARE)] * 2, *[(TEA, POT)] * 40, *[(POT,)] * 10, *[(BAG,)] * 300)
    assert found["tea"] == ["pot", "rare"]


def test_a_stocktaking_is_no_taste() -> None:
    """A basket beyond the limit counts for popularity only."""
    size = LARGEST_BASKET + 1
    packed = Baskets([range(size)] * 3, size)
    assert packed.frequency[0] == 3
    assert not packed.companions(0)


def test_the_score_grows_with_evidence_and_is_zero_at_chance() -> None:
    """The same lift counts more from more baskets; less than chance is below zero."""
    assert lift(400, 100.0) > lift(40, 10.0) > lift(4, 1.0) > 0 == lift(7, 7.0) > lift(2, 7.0)
