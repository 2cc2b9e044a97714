"""What the tests of rendering share: the starter templates, and one-line mails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.render.context import RenderContext
from engine.render.library import TemplateLibrary, read_folder
from engine.render.render import Rendered, render
from engine.render.samples import personas, sample_context

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def starter() -> TemplateLibrary:
    """Give the repository's own templates."""
    return TemplateLibrary(read_folder(ROOT / "templates"))


def mail(body: str, *, subject: str = "Hello", head: str = "") -> str:
    """Return the source of a template with one text."""
    return (
        f'---\nsubject: "{subject}"\n{head}---\n<mjml><mj-body><mj-section><mj-column>'
        f"<mj-text>{body}</mj-text></mj-column></mj-section></mj-body></mjml>"
    )


def context(**fields: Any) -> RenderContext:
    """Return the first sample customer's context; `customer` and other names replace what it holds."""
    base = sample_context(personas()[0])
    customer = {**base.customer, **fields.pop("customer", {})}
    return replace(base, customer=customer, **fields)


def rendered(body: str, *, subject: str = "Hello", **fields: Any) -> Rendered:
    """Return a mail of one text."""
    return render(TemplateLibrary({"x.mjml": mail(body, subject=subject)}), "x", context(**fields))


def written(body: str, **fields: Any) -> str:
    """Return what a text becomes in the HTML."""
    html = rendered(f"<p>{body}</p>", **fields).html
    return html.split("<p>", 1)[1].split("</p>", 1)[0]
