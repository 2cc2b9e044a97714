"""Every starter mail, to three customers in three languages, as it would leave."""

from __future__ import annotations

import re
import unicodedata
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser

import pytest
from fast_mail_parser import parse_email

from engine.delivery.mime import to_bytes
from engine.render.library import split_path
from engine.render.links import ACTIONS, read_token
from tests.mails.starter import LOCALES, SECRET, Shop, StarterMail, open_shop, starter_mails

MAX_BYTES = 60_000
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}
UNSEEN = re.compile(r"<head>.*?</head>|<!--.*?-->|<div style=\"display:none.*?</div>", re.DOTALL)
SHAPE = re.compile(r'<v:roundrect [^>]*href="([^"]*)"')


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Give the repository as a project."""
    return open_shop()


@pytest.fixture(scope="module")
def mails(shop: Shop) -> list[StarterMail]:
    """Give every mail of every starter flow."""
    return list(starter_mails(shop))


class Page(HTMLParser):
    """Reads HTML: tags that do not match, addresses, pictures, words."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.hrefs: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.title = ""
        self.root: dict[str, str | None] = {}
        self.feed(document)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an opening tag."""
        told = dict(attrs)
        if len(told) != len(attrs):
            self.wrong.append(f"{tag} says something twice")
        if tag == "html":
            self.root = told
        if tag == "img":
            self.pictures.append(told)
        if told.get("href"):
            self.hrefs.append(str(told["href"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag that closes itself: HTML lets only those do it that never hold anything."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.wrong.append(f"<{tag} />")

    def handle_endtag(self, tag: str) -> None:
        """Take a closing tag: it closes what was opened last."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """Take words."""
        if self.open and self.open[-1] == "title":
            self.title += data
        elif not self.open or self.open[-1] != "style":
            self.words += data.split()


def width(text: str) -> int:
    """Return how much room a text takes in a list view: Japanese and Chinese signs take two letters'."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def test_every_template_has_its_copies(shop: Shop) -> None:
    """Each starter template is written in each language."""
    for name in shop.library.names():
        assert {split_path(path)[0] for path in shop.library.paths(name)} == {"", "ja", "zh-Hant"}, name


def test_mails_are_small(mails: list[StarterMail]) -> None:
    """No mail has more than 60 KB of HTML: Gmail shows it whole, and a phone loads it at once."""
    assert max(mail.rendered.size for mail in mails) <= MAX_BYTES


def test_list_views_say_what_is_inside(mails: list[StarterMail]) -> None:
    """Subject and preheader are there, differ, and fit a phone's two or three lines."""
    for mail in mails:
        subject, preheader = mail.mail.subject, mail.mail.preheader
        assert 8 <= width(subject) <= 62, (mail.name, subject)
        assert 30 <= width(preheader) <= 110, (mail.name, preheader)
        assert subject not in preheader


def test_the_html_is_well_formed(mails: list[StarterMail]) -> None:
    """Every tag is closed in its turn; the page names its language, direction and title; each picture has its words."""
    for mail in mails:
        page = Page(mail.mail.html)
        assert page.wrong == [], mail.name
        assert (page.root["lang"], page.root["dir"]) == (mail.locale, "ltr")
        assert page.title == mail.mail.subject
        assert all(picture.get("alt") is not None for picture in page.pictures)


def test_links_resolve(shop: Shop, mails: list[StarterMail]) -> None:
    """Every link leads to the shop, to a mailbox, or to one of our pages with a token that we read again."""
    ours = re.compile(rf"{re.escape(shop.settings.link_base)}/([{''.join(ACTIONS)}])/([\w-]{{40,}})")
    for mail in mails:
        actions = set()
        for href in Page(mail.mail.html).hrefs:
            signed = ours.fullmatch(href)
            if signed:
                assert read_token(SECRET, signed[2], signed[1]) is not None
                actions.add(signed[1])
            else:
                assert href.startswith((shop.settings.shop.url, "mailto:")), (mail.name, href)
        assert {"u", "p", "v"} <= actions, mail.name


def test_not_yet_and_answers_are_links_of_their_own(mails: list[StarterMail]) -> None:
    """A refill can be put off, and the check-in's question has three answers that name the order."""
    for mail in mails:
        if mail.template in ("replenish-soon", "replenish-late"):
            assert len(set(re.findall(r"/s/[\w-]+", mail.mail.html))) == 1
        if mail.template == "check-in":
            tokens = set(re.findall(r"/a/([\w-]+)", mail.mail.html))
            facts = [token.facts for text in tokens if (token := read_token(SECRET, text, "a"))]
            assert {fact["choice"] for fact in facts} == {"happy", "all_right", "unhappy"}
            assert {fact["order_id"] for fact in facts} == {"1042"}


def test_outlook_gets_a_shape_for_each_button(mails: list[StarterMail]) -> None:
    """Each button exists twice, as a link and as Outlook's own shape, and both lead to the same place."""
    for mail in mails:
        shapes = SHAPE.findall(mail.mail.html)
        links = re.findall(r'<!--\[if !mso\]><!--><a href="([^"]*)"', mail.mail.html)
        assert shapes == links, mail.name


def test_both_parts_say_the_same(mails: list[StarterMail]) -> None:
    """Every word that is seen in the HTML stands in the text part too, and every link of the one in the other."""
    for mail in mails:
        page = Page(UNSEEN.sub("", mail.mail.html))
        text = "".join(mail.mail.text.split())
        missing = [word for word in page.words if word not in text and word != "·"]
        assert missing == [], (mail.name, missing)
        told = set(re.findall(r"https://[\w./?=&%#~+-]+", mail.mail.text))
        assert told == {href for href in page.hrefs if href.startswith("https")}, mail.name


def test_mails_say_why_they_came_and_from_whom(shop: Shop, mails: list[StarterMail]) -> None:
    """The foot of each mail has the reason, the shop's name and address, and somebody to write to."""
    for mail in mails:
        foot = mail.mail.text[-1_500:]
        assert shop.settings.shop.name in foot
        assert shop.settings.shop.postal_address in foot
        assert mail.mail.sender.email in foot


def test_no_value_is_written_that_is_none(mails: list[StarterMail]) -> None:
    """What a customer does not have leaves no hole: no None, no brackets, no two spaces, no comma at the beginning."""
    for mail in mails:
        for part in (mail.mail.subject, mail.mail.preheader, mail.mail.text):
            assert not re.search(r"None|\{\{|\}\}|nan\b| ,|\(\)", part), (mail.name, part)
            assert not re.search(r"[^\n ] {2,}|^[,、，]", part, re.MULTILINE), (mail.name, part)


def test_the_brand_is_the_shops(shop: Shop) -> None:
    """With another accent, radius, type and logo, no colour of ours is left, and the tone greets by the whole name."""
    brand = {
        "accent": "#b3261e", "background": "#ffffff", "surface": "#fafafa", "ink": "#101010", "muted": "#5a5a5a",
        "line": "#d0d0d0", "radius": "0px", "font": "Verdana, sans-serif", "heading_font": "Verdana, sans-serif",
        "logo": "https://kiyomi.test/logo.png", "tone": "formal", "dark_background": "#000000",
        "dark_surface": "#111111", "dark_ink": "#eeeeee", "dark_muted": "#bbbbbb", "dark_line": "#444444",
    }  # fmt: skip
    ours = re.compile(
        "#(?:2f5d50|f3efe8|fffdfa|26241f|686257|e3dcd0|141412|1e1d1a|ece8df|aba598|3b3832)|Georgia"
    )
    made = [
        mail for mail in starter_mails(shop, brand=brand) if mail.customer == "usual" and mail.locale == "en"
    ]
    for mail in made:
        assert ours.search(mail.mail.html) is None, mail.name
        if mail.template == "cart-reminder":
            assert "Dear Grace Okafor," in mail.mail.text
            assert 'src="https://kiyomi.test/logo.png"' in mail.mail.html


def test_languages_do_not_mix(mails: list[StarterMail]) -> None:
    """A Japanese or Chinese mail has no English sentence in it: what is Latin is a name, a title, a code or a number."""
    for mail in mails:
        if mail.locale != "en":
            plain = re.sub(r"https?://\S+|\S+@\S+", "", mail.mail.text)
            assert not re.search(
                r"\b(?:the|your|you|and|of stars|Hello|Total|off)\b", _without_titles(plain)
            ), mail.name


def _without_titles(text: str) -> str:
    for title in (
        "Sencha of the first harvest",
        "Two porcelain cups",
        "Genmaicha with rice",
        "Matcha for every day",
    ):
        text = text.replace(title, "")
    return text


def test_every_language_is_looked_at(mails: list[StarterMail]) -> None:
    """The mails of this file are those of all flows, in all languages."""
    assert {mail.locale for mail in mails} == set(LOCALES)
    assert len(mails) == len({mail.name for mail in mails}) >= 16 * 9


def test_two_parsers_read_what_leaves(mails: list[StarterMail]) -> None:
    """The bytes of each mail are the same mail to the standard library's parser and to Rust's: subject, parts, RFC 8058."""
    for mail in mails:
        content = to_bytes(mail.mail, metadata_headers=True)
        ours, theirs = message_from_bytes(content, policy=default), parse_email(content)
        text, page = (part.get_content() for part in ours.iter_parts())
        assert [text.replace("\r\n", "\n"), page.replace("\r\n", "\n")] == [mail.mail.text, mail.mail.html], (
            mail.name
        )
        read = [each.replace("\r\n", "\n") for each in (*theirs.text_plain, *theirs.text_html)]
        assert read == [mail.mail.text, mail.mail.html], mail.name
        assert str(ours["Subject"]) == theirs.subject == mail.mail.subject
        assert list(theirs.headers) == ours.keys()
        if mail.mail.unsubscribe_url:
            assert (
                theirs.headers["List-Unsubscribe"]
                == [ours["List-Unsubscribe"]]
                == [f"<{mail.mail.unsubscribe_url}>"]
            )
            assert theirs.headers["List-Unsubscribe-Post"] == ["List-Unsubscribe=One-Click"]
