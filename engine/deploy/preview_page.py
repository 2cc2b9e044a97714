"""The page of a preview: every mail in order, on a phone and on a desktop, light and dark, in one file.

Comes in: shots. Goes out: one HTML document that needs nothing else and asks nobody for anything but the pictures of the
mails; those on hosts that cannot exist (`.test`, `.example`) are drawn in their place, so that it works offline. Mails
stand in sandboxed frames in which nothing runs.
"""

from __future__ import annotations

import hashlib
import html
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, StrictUndefined, Template

from engine.deploy import pictures
from engine.deploy.preview import CLIPPED_AT, Shot
from engine.render.locales import direction

_PAGE = Path(__file__).with_name("preview_page.html")
_IMAGE = re.compile(r"<img\b[^>]*>")
_ATTRIBUTE = re.compile(r'\b(src|alt|width|height)="([^"]*)"')
_DATA = re.compile(r'data:image/[^"\s]+')
_FILLERS = ("&#847;", "\u034f", "&zwnj;", "\u200c")
_SHOWN_LINK = re.compile(r":? <?https?://\S+>?")
_NOWHERE = (".test", ".example", ".invalid", ".localhost")
_TINTS = (
    ("#dfe8df", "#4f6f58"), ("#efe3d3", "#8a6a3c"), ("#e3e4ee", "#565b86"), ("#f0dedd", "#8d504c"),
    ("#dcebee", "#3f7480"), ("#ece6d8", "#77693f"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """The same mails as somebody else would get them: `who` in a few words."""

    who: str
    shots: Sequence[Shot]


def page(
    shots: Sequence[Shot],
    *,
    title: str,
    shop: str,
    who: str,
    files: Sequence[str] = (),
    others: Sequence[Seen] = (),
    live: str = "",
    base: str = "",
) -> str:
    """Return the page; `files` are the names of the mails' own HTML files beside it, in order.

    `others` can be chosen on the page. `live` is the version of a served page: it asks for `version` beside it, and loads
    itself anew when that is another. `base` is the address that `homing serve` answers at.
    """
    told = _Pictures(base)
    people = [
        {
            "who": seen.who,
            "mails": [
                _told(shot, files[at] if not number and at < len(files) else "", told)
                for at, shot in enumerate(seen.shots)
            ],
        }
        for number, seen in enumerate((Seen(who, shots), *others))
    ]
    return _template().render(
        people=people, title=title, shop=shop, clipped_at=CLIPPED_AT, live=live, pictures=told.addresses
    )


class _Pictures:
    """Keeps each picture that stands in the mails once, however many mails show it."""

    def __init__(self, base: str) -> None:
        self.addresses: list[str] = []
        self._base = base
        self._known: dict[str, int] = {}

    def apart(self, document: str) -> str:
        """Return a mail that needs no network, in which pictures are named by their number."""
        return _DATA.sub(self._numbered, offline(document, self._base))

    def _numbered(self, match: re.Match[str]) -> str:
        if match[0] not in self._known:
            self._known[match[0]] = len(self.addresses)
            self.addresses.append(match[0])
        return f"picture:{self._known[match[0]]}:"


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE.read_text(encoding="utf-8"))


def _told(shot: Shot, file: str, told: _Pictures) -> dict[str, Any]:
    mail, slot = shot.mail, shot.slot
    return {
        "number": slot.number, "step": slot.step, "template": slot.template, "before": list(slot.before), "file": file,
        "error": shot.error, "note": shot.note, "size": shot.size, "locale": shot.locale,
        "direction": direction(shot.locale or "en"), "subject": mail.subject if mail else "",
        "preheader": mail.preheader if mail else "", "text": mail.text if mail else "",
        "sender": (mail.sender.name or mail.sender.email) if mail else "", "headers": shot.headers,
        "html": told.apart(mail.html) if mail else "", "at": f"{mail.date:%H:%M}" if mail else "",
        "after": _continued(mail.html, mail.preheader, mail.text) if mail else "",
        "findings": [
            {"severity": finding.severity, "code": finding.code, "place": str(finding.span), "message": finding.message,
             "effect": finding.effect, "help": finding.help}
            for finding in shot.findings
        ],
    }  # fmt: skip


def _continued(document: str, preheader: str, text: str) -> str:
    """Return what a list view shows behind the preheader: the mail's first words, unless it keeps them away."""
    head = document[document.find("<body") :][: len(preheader) + 1_500]
    if any(sign in head for sign in _FILLERS):
        return ""
    return " ".join(_SHOWN_LINK.sub("", text).split())[:240]


def offline(document: str, base: str = "") -> str:
    """Return a mail that needs no network for its pictures: those on hosts that cannot exist are drawn by their words.

    Pictures that `homing serve` has below `base`, and all of the demo's, are put into the mail itself.

    >>> "data:image" in offline('<img src="https://shop.test/a.jpg" alt="Tea">')
    True
    >>> offline('<img src="https://shop.example.com/a.jpg">')
    '<img src="https://shop.example.com/a.jpg">'
    """
    served = f"{base}{pictures.PATH}/"
    return _IMAGE.sub(lambda match: _drawn(match[0], served), document)


def _drawn(tag: str, served: str) -> str:
    told = dict(_ATTRIBUTE.findall(tag))
    source = html.unescape(told.get("src", ""))
    nowhere = (urlsplit(source).hostname or "").endswith(_NOWHERE)
    stored = pictures.picture(source) if nowhere or source.startswith(served) else None
    if stored is not None:
        return tag.replace(told["src"], f"data:image/png;base64,{b64encode(stored).decode('ascii')}")
    if not nowhere:
        return tag
    width, height = (int(told[name]) if told.get(name, "").isdigit() else 0 for name in ("width", "height"))
    ratio = height / width if width and height else 1.0
    return tag.replace(told["src"], picture(source, html.unescape(told.get("alt", "")), ratio))


def picture(name: str, words: str, ratio: float = 1.0) -> str:
    """Return a plain picture as a data URL: always the same for the same name."""
    soft, strong = _TINTS[hashlib.sha256(name.encode()).digest()[0] % len(_TINTS)]
    height = round(400 * ratio)
    across, letter = min(height, 400), next((char for char in words if char.isalnum()), "")
    sign = (
        f'<text x="200" y="{height / 2}" dy=".36em" text-anchor="middle" font-family="Georgia,serif" '
        f'font-size="{across * 0.27:.0f}" fill="{strong}">{html.escape(letter.upper())}</text>'
        if letter
        else f'<path transform="translate(200 {height / 2}) scale({across / 400})" fill="{strong}" opacity=".8" '
        'd="M-52 52C-66-22-14-62 60-58 62 14 26 66-40 44l-16 22z"/>'
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 {height}">'
        f'<rect width="400" height="{height}" fill="{soft}"/>'
        f'<circle cx="200" cy="{height / 2}" r="{across * 0.3:.0f}" fill="#fff" opacity=".55"/>{sign}</svg>'
    )
    return f"data:image/svg+xml,{quote(svg, safe='')}"
