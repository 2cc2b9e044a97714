"""The text part reads as if a person wrote it."""

from __future__ import annotations

import pytest

from engine.render.library import TemplateLibrary
from engine.render.render import render
from engine.render.samples import personas, sample_context
from engine.render.text import text_of
from tests.unit.render.conftest import context, mail, rendered


def body(html: str) -> str:
    """Return the text of a body."""
    return text_of(f"<html><head><style>x</style><title>t</title></head><body>{html}</body></html>")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo\n"),
        ("<div>One</div><div>Two</div>", "One\nTwo\n"),
        ("One<br />Two<br>Three", "One\nTwo\nThree\n"),
        ("a\n   b\t c", "a b c\n"),
        ("a <b>bold</b> word", "a bold word\n"),
        ("<h1>Title</h1>words", "Title\n\nwords\n"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n- two\n"),
        ("<ol><li>one</li><li>two</li></ol>", "1. one\n2. two\n"),
        ('<a href="https://x.test/">Go</a>', "Go: https://x.test/\n"),
        ('<a href="https://x.test/">https://x.test/</a>', "https://x.test/\n"),
        ('<a href="mailto:a@x.test">a@x.test</a>', "a@x.test\n"),
        ('<a href="https://x.test/?a=1&amp;b=2">Go</a>', "Go: https://x.test/?a=1&b=2\n"),
        ('<p>Read <a href="https://x.test/">this</a>, please.</p>', "Read this <https://x.test/>, please.\n"),
        ('<a href="#top">Up</a>', "Up\n"),
        ('<a href="https://x.test/"><img alt="Tea" src="a"></a>', "Tea: https://x.test/\n"),
        ('<a href="https://x.test/"><img alt="Tea" src="a"></a><a href="https://x.test/">Tea</a>', "Tea: https://x.test/\n"),
        ('<p><a href="https://x.test/">Tea</a></p><p><a href="https://x.test/">Buy</a></p>', "Tea\n\nBuy: https://x.test/\n"),
        ('<img alt="decoration" src="a">words', "words\n"),
        ("<table><tr><td>Tea</td><td>€3</td></tr><tr><td>Cup</td><td>€9</td></tr></table>", "Tea | €3\nCup | €9\n"),
        ('<table><tr><td><img alt="" src="a"></td><td><a href="https://x.test/t">Tea</a></td><td>€3</td></tr></table>', "Tea | €3 | https://x.test/t\n"),
        ("<table><tr><td>Tea<br>sold out</td><td>€3</td></tr></table>", "Tea, sold out | €3\n"),
        ('<table role="presentation"><tr><td>One</td><td>Two</td></tr></table>', "One\n\nTwo\n"),
        ('<p>One</p><table role="presentation"><tr><td>&#160;</td></tr></table><p>Two</p>', "One\n\nTwo\n"),
        ('<div style="display:none">hidden</div>seen', "seen\n"),
        ('<div style="display: none;"><div>x</div>hidden</div>seen', "seen\n"),
        ('<div aria-hidden="true">hidden</div>seen', "seen\n"),
        ("<!-- no --><!--[if mso]><p>Outlook</p><![endif]-->seen", "seen\n"),
        ("<style>p{}</style><script>x</script>seen", "seen\n"),
        ("3&nbsp;€ &lt;b&gt; &amp;amp;", "3\u00a0€ <b> &amp;\n"),
        ("a&#8203;b\u00adc", "abc\n"),
        ('<p title="a > b">x</p>', "x\n"),
        ("", "\n"),
    ],
)  # fmt: skip
def test_structure_becomes_words(html: str, text: str) -> None:
    """Each structure of a mail has its form in plain text."""
    assert body(html) == text


def test_a_whole_mail(starter: TemplateLibrary) -> None:
    """A starter mail's text part has every line where a reader expects it."""
    mail = render(starter, "cart-reminder", sample_context(personas()[0]))
    assert mail.text == (
        "Kiyomi Tea: https://shop.test\n\n"
        "Where were we?\n\n"
        "Hello Grace,\n\n"
        "The kettle boiled, the doorbell rang; it happens. What you chose is still in your cart, except that one thing has sold"
        " out since.\n\n"
        "Sencha of the first harvest, 100\u00a0g × 2 | €29.00 | https://shop.test/p/t0\n"
        "Hōjicha, roasted, 80\u00a0g × 1, Now cheaper, was €9.80 each | €8.50 | https://shop.test/p/t1\n"
        "Cast-iron teapot “Arare”, 0.8\u00a0l × 2, Sold out for now | €128.00 | https://shop.test/p/t2\n"
        "Subtotal | €37.50\n\n"
        "Back to your cart: https://shop.test/checkout\n\n"
        "Not sure about something? Just reply. A real person will answer.\n\n"
        "You’re getting this email because you left items in your cart at Kiyomi Tea.\n\n"
        "Unsubscribe: https://shop.test/u/sample\nChoose your emails: https://shop.test/p/sample\n"
        "View in browser: https://shop.test/v/sample\n\n"
        "Kiyomi Tea\n1 Tea Street, 10115 Berlin\nhello@shop.test\n"
    )


def test_the_preheader_is_not_repeated() -> None:
    """What only a list view shows does not stand at the top of the text."""
    done = render(
        TemplateLibrary({"x.mjml": mail("words", head='preheader: "only for the list"\n')}), "x", context()
    )
    assert "only for the list" in done.html
    assert done.text == "words\n"


def test_hostile_values_stay_text() -> None:
    """A name that looks like markup is shown as typed."""
    assert rendered("{{ customer.first_name }}", customer={"first_name": "<b>&amp;\x02"}).text == "<b>&amp;\n"


def test_numbers_stand_before_their_words() -> None:
    """A cell with a number begins the line of what stands beside it; other cells of a layout stay paragraphs."""
    rows = "".join(
        f'<tr><td class="accent number" style="x">{n}</td>\n<td><b>{words}</b><br>More.</td></tr>'
        for n, words in ((1, "Cool."), (2, "Twice."))
    )
    page = f'<body><table role="presentation">{rows}</table><table role="presentation"><tr><td>7</td><td>days</td></tr></table></body>'
    assert text_of(page) == "1. Cool.\nMore.\n\n2. Twice.\nMore.\n\n7\n\ndays\n"


def test_links_side_by_side_stand_below_each_other() -> None:
    """Between two links a dot, a bar or a space is a line break, since addresses are long; between words it stays."""
    page = '<body><p>a · b <a href="https://x.test/1">one</a> · <a href="https://x.test/2">two</a> | <a href="https://x.test/3">three</a> · end</p></body>'
    assert (
        text_of(page) == "a · b one: https://x.test/1\ntwo: https://x.test/2\nthree: https://x.test/3 · end\n"
    )
    page = '<body><p>Rate it: <a href="https://x.test/1">1</a> <a href="https://x.test/2">2</a></p></body>'
    assert text_of(page) == "Rate it: 1: https://x.test/1\n2: https://x.test/2\n"


def test_a_link_is_called_as_it_is_read_out() -> None:
    """A star has a name for readers of screens; readers of the text get the same."""
    page = '<body><p><a href="https://x.test/2" aria-label="2 of 5 stars">★</a></p></body>'
    assert text_of(page) == "2 of 5 stars: https://x.test/2\n"
