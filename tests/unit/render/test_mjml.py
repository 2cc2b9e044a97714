"""The compiler's fence: what goes into an attribute comes out of it, and nothing that could do harm."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from engine.render import mjml
from engine.render.errors import RenderError, TooMuch

PAGE = "<mjml><mj-head><mj-title>{title}</mj-title></mj-head><mj-body><mj-section><mj-column>{body}</mj-column></mj-section></mj-body></mjml>"
PITFALLS = [
    "12,50\u00a0€", "ไทย ศิริพร", "हिन्दी", "👨‍👩‍👧", "a\u3000b", 'say "hi"', "it's", "back\\slash", "new\nline", "tab\tbed",
    "a & b < c > d", "é ü ñ 日本語", "\u200b\u202e", "{}", "&amp; &#10;", "💚",
]  # fmt: skip


class _Attributes(HTMLParser):
    """Collects what a reader of the HTML finds in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, str], str | None] = {}
        self.title = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, name): value for name, value in attrs}
        self._in_title = tag == "title"

    def handle_data(self, data: str) -> None:
        self.title += data if self._in_title else ""

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False


def compiled(body: str, title: str = "T") -> str:
    """Return a page with this body, compiled."""
    return mjml.compile(PAGE.format(title=title, body=body))


def attributes(html: str) -> dict[tuple[str, str], str | None]:
    """Return the attributes of a page by element and name."""
    parser = _Attributes()
    parser.feed(html)
    return parser.found


@pytest.mark.parametrize("text", PITFALLS)
def test_attributes_arrive_as_they_were_given(text: str) -> None:
    """An alt text, title and link mean after compiling what they meant before, whatever letters they hold."""
    value = escape(text)
    found = attributes(
        compiled(
            f'<mj-image src="https://x.test/a.png" href="https://x.test/{value}" alt="{value}" title="{value}" />'
        )
    )
    assert found["img", "alt"] == text
    assert found["img", "title"] == text
    assert found["a", "href"] == f"https://x.test/{text}"


@pytest.mark.parametrize("text", PITFALLS)
def test_attributes_inside_html_arrive_too(text: str) -> None:
    """The same holds for plain HTML inside a text."""
    value = escape(text)
    found = attributes(compiled(f'<mj-text><a href="https://x.test/" title="{value}">x</a></mj-text>'))
    assert found["a", "title"] == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=40))
def test_any_text_survives_an_attribute(text: str) -> None:
    """Whatever a customer is called, the attribute that holds the name still holds it."""
    found = attributes(compiled(f'<mj-image src="https://x.test/a.png" alt="{escape(text)}" />'))
    assert found["img", "alt"] == text


@pytest.mark.parametrize("text", PITFALLS)
def test_titles_keep_their_letters(text: str) -> None:
    """The title, which the compiler copies into an attribute, means the same in both places."""
    html = compiled("<mj-text>x</mj-text>", title=str(escape(text)))
    parser = _Attributes()
    parser.feed(html)
    assert parser.title == text
    assert parser.found["div", "aria-label"] == text


def test_single_quotes_around_double_ones() -> None:
    """A value in single quotes may hold double ones; it does not end early."""
    assert (
        attributes(compiled("""<mj-image src="https://x.test/a.png" alt='say "hi"' />"""))["img", "alt"]
        == 'say "hi"'
    )


def test_an_empty_alt_stays() -> None:
    """`alt=""` tells screen readers to pass over a picture, so it is kept."""
    assert attributes(compiled('<mj-image src="https://x.test/a.png" alt="" />'))["img", "alt"] == ""


def test_control_characters_are_taken_out() -> None:
    """Control characters and lone surrogates, which no reader can show, do not stop a mail."""
    assert "ab" in compiled("<mj-text>a\x00\x01\x1b\ud800b</mj-text>")


def test_no_font_is_fetched() -> None:
    """A mail asks no font server who is reading it."""
    assert "fonts.googleapis" not in compiled('<mj-text font-family="Roboto">x</mj-text>')


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<mj-text>a < b</mj-text>", "&lt;"),
        ("<mj-text><p>a</mj-text>", "not closed"),
        ("<mj-text>a", "not closed"),
        ("<mj-raw><![CDATA[a]]></mj-raw>", "MJML"),
    ],
)
def test_bad_mjml_is_a_plain_sentence(body: str, sentence: str) -> None:
    """What the compiler cannot read is told in words that help."""
    with pytest.raises(RenderError, match=sentence):
        compiled(body)


def test_files_are_never_included() -> None:
    """mj-include reads no file of the machine."""
    with pytest.raises(RenderError, match="include"):
        mjml.compile('<mjml><mj-body><mj-include path="/etc/passwd" /></mj-body></mjml>')


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "java\tscript:x",
        "\x01javascript:x", "vbscript:x", "data:text/html,<script>1</script>", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_no_active_addresses(address: str) -> None:
    """A link that runs something stops the mail instead of reaching a customer."""
    for body in (
        '<mj-button href="{}">x</mj-button>',
        '<mj-text><a href="{}">x</a></mj-text>',
        '<mj-image alt="" src="{}" />',
    ):
        with pytest.raises(RenderError, match="address"):
            compiled(body.format(escape(address)))


@pytest.mark.parametrize(
    "address", ["https://x.test/", "http://x.test", "mailto:a@x.test", "tel:+4930", "#top", "/relative"]
)
def test_ordinary_addresses_pass(address: str) -> None:
    """Links that mails have are left alone."""
    assert attributes(compiled(f'<mj-text><a href="{address}">x</a></mj-text>'))["a", "href"] == address


@pytest.mark.parametrize("body", ["<mj-text><script>x</script></mj-text>", '<mj-text><p onclick="x">y</p></mj-text>',
                                  "<mj-raw><iframe src='https://x.test'></iframe></mj-raw>"])  # fmt: skip
def test_no_scripts(body: str) -> None:
    """Scripts, frames and on… attributes do not leave the house."""
    with pytest.raises(RenderError, match="scripts"):
        compiled(body)


def test_words_that_look_like_scripts_are_words() -> None:
    """A text about `onclick=` or <script> is only text."""
    assert "onclick=" in compiled("<mj-text>write onclick=1 and &lt;script&gt;</mj-text>")


def test_depth_is_bounded() -> None:
    """Nesting that would overflow the compiler's stack, and end the process, is refused."""
    with pytest.raises(TooMuch, match="deep"):
        compiled("<mj-text>" + "<div>" * 20_000 + "</div>" * 20_000 + "</mj-text>")


def test_many_shallow_elements_are_fine() -> None:
    """A long table is no deep one."""
    assert compiled("<mj-table>" + "<tr><td>a<br>b</td></tr>" * 1_000 + "</mj-table>").count("<tr>") >= 1_000


def test_length_is_bounded() -> None:
    """A document of more than a million characters is refused before it is compiled."""
    with pytest.raises(TooMuch, match="longer"):
        compiled("<mj-text>" + "a" * 1_000_001 + "</mj-text>")


def test_outlooks_comments_arrive_too() -> None:
    """The tags in Outlook's conditional comments keep their attributes; other comments are left alone."""
    shape = '<!--[if mso]><v:rect href="https://shop.test/a\\b\u00a0c"></v:rect><![endif]-->'
    made = compiled(f"<mj-text>it's {shape}<!-- it's 5\\6 --> done</mj-text>")
    assert 'href="https://shop.test/a&#92;b&#160;c"' in made
