"""The shop's colours as style."""

from __future__ import annotations

from engine.web.paper import brand_style


def test_a_brand_cannot_leave_its_place() -> None:
    """What is no colour, no font and no radius stays at its default, so that nothing else gets into the style."""
    style = brand_style(
        {"accent": "red;}body{display:none", "font": "x;} * {y:z", "radius": "1px;}", "ink": "#123456"}
    )
    assert "display" not in style
    assert "y:z" not in style
    assert "--ink:#123456" in style
    assert style.count("}") == 3
