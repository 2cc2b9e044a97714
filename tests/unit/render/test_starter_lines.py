"""Orders of every length fit into a mail."""

from __future__ import annotations

from dataclasses import replace

from engine.bundled import bundled
from engine.render.library import TemplateLibrary, read_folder
from engine.render.render import render
from engine.render.samples import personas, sample_context


def test_an_order_of_a_thousand_lines_fits() -> None:
    """A thank-you for a thousand lines shows the first forty, says how many more there are, and stays below Gmail's cut."""
    context = sample_context(personas()[1])
    lines = [
        {"sku": f"T{number}", "title": f"Tea {number}", "quantity": 1, "price": "4.50"}
        for number in range(1_000)
    ]
    context = replace(context, order={"order_id": "o1", "currency": "EUR", "lines": lines, "total": "4500"})
    mail = render(TemplateLibrary(read_folder(bundled("templates"))), "thank-you-repeat", context)
    assert "Tea 39" in mail.text
    assert "Tea 40" not in mail.text
    assert "960" in mail.text
    assert mail.size < 102_000
