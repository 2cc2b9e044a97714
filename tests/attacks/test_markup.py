"""Nothing that a customer or a product is called becomes active: not in a mail, not on a page that shows one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from engine.render.context import RenderContext
from engine.render.library import TemplateLibrary, read_folder
from engine.render.render import plainly, prepare, render
from engine.render.samples import personas, sample_context
from tests.attacks.vectors import ADDRESSES, markup_vectors

ROOT = Path(__file__).parents[2]
VECTORS = markup_vectors()
RECOMMEND = ("for_you", "popular", "together", "picks", "tips", "reorder")
TEXTS = {"first_name", "last_name", "title", "category", "brand", "code", "order_id", "carrier", "name"}
ADDRESS_FIELDS = {"url", "image_url", "checkout_url", "tracking_url"}
FORBIDDEN = {
    "script",
    "iframe",
    "object",
    "embed",
    "form",
    "base",
    "svg",
    "math",
    "video",
    "details",
    "noscript",
}
FETCHES = {"href", "src", "action", "background", "poster", "srcset", "data", "formaction", "xlink:href"}


class Skeleton(HTMLParser):
    """What a browser would make of a page, without its words: tags with the names of their attributes, in order."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.addresses: list[str] = []
        self.comments = 0
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag."""
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in FETCHES]

    def handle_comment(self, data: str) -> None:
        """Count what Outlook alone reads."""
        self.comments += 1


@pytest.fixture(scope="module")
def library() -> TemplateLibrary:
    """Give the starter templates."""
    return TemplateLibrary(read_folder(ROOT / "templates"))


def templates() -> list[str]:
    """Return the names of the starter mails."""
    return sorted(path.stem for path in (ROOT / "templates").glob("*.mjml"))


def told(value: Any, texts: str | None, address: str | None) -> Any:
    """Return a value of a context with its texts and addresses replaced, however deep."""
    if isinstance(value, Mapping):
        return {name: _field(name, inner, texts, address) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return tuple(told(inner, texts, address) for inner in value)
    return value


def _field(name: str, value: Any, texts: str | None, address: str | None) -> Any:
    if isinstance(value, str) and texts is not None and name in TEXTS:
        return texts
    if isinstance(value, str) and address is not None and name in ADDRESS_FIELDS:
        return address
    return told(value, texts, address)


def attacked(*, texts: str | None = None, address: str | None = None) -> RenderContext:
    """Return the first sample customer in a shop in which everything is called alike, or leads to one address."""
    base = sample_context(personas()[0], recommend=RECOMMEND)
    names = ("customer", "order", "cart", "product", "products", "offer", "picks")
    return replace(base, **{name: told(getattr(base, name), texts, address) for name in names})


@pytest.mark.parametrize("name", templates())
def test_a_hostile_text_changes_no_tag(library: TemplateLibrary, name: str) -> None:
    """A mail in which customer, products, offer and order carry an attack has exactly the tags of a harmless one."""
    for vector in VECTORS[templates().index(name) :: len(templates())]:
        mail = render(library, name, attacked(texts=vector))
        harmless = Skeleton(render(library, name, attacked(texts=re.sub(r"[^\w\s]|_", "x", vector))).html)
        skeleton = Skeleton(mail.html)
        assert skeleton.tags == harmless.tags, vector
        assert skeleton.comments == harmless.comments, vector
        assert "1337" not in mail.html + mail.text  # 7 * 191: a value is never a template
        assert "\n" not in mail.subject + mail.preheader


def test_the_quick_way_is_as_deaf(library: TemplateLibrary) -> None:
    """Mails from compiled structures are the plain way's mails, also where every value is an attack."""
    for number, vector in enumerate(VECTORS[::8]):
        name, context = templates()[number % len(templates())], attacked(texts=vector)
        done = render(library, name, context)
        plain = prepare(library, name, context)
        plain.values["subject"], plain.values["preheader"] = done.subject, done.preheader
        assert (done.html, done.text) == plainly(plain), vector


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_hostile_address_leads_nowhere(library: TemplateLibrary, address: str) -> None:
    """An address that is no page of the web is no link and no picture, whatever field brought it."""
    for name in templates():
        mail = render(library, name, attacked(address=address))
        skeleton = Skeleton(mail.html)
        assert not FORBIDDEN & {tag[0] for tag in skeleton.tags}
        assert not [
            names for names in skeleton.tags if any(attribute.startswith("on") for attribute in names[1:])
        ]
        for found in skeleton.addresses:
            assert urlsplit(found).scheme in ("http", "https", "mailto", ""), found
            assert not re.search(r"[\x00-\x20\"<>]", found), found
