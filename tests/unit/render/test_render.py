"""One mail from a template and a context."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import UsageError
from engine.render.compose import Envelope, compose, list_id, message_id
from engine.render.context import safe_url
from engine.render.errors import RenderError
from engine.render.library import TemplateLibrary
from engine.render.links import SignedLinks
from engine.render.mail import Address
from engine.render.render import render
from engine.render.samples import Persona, personas, sample_context
from tests.unit.render.conftest import context, mail, rendered

LINKS = SignedLinks("https://mail.kiyomi.test", b"k" * 32, "key-1", 7, "reminders")


@pytest.mark.parametrize("persona", personas(), ids=lambda persona: persona.name)
def test_every_starter_mail_is_made_for_everybody(starter: TemplateLibrary, persona: Persona) -> None:
    """Each starter mail has subject, preheader, both parts, a title and a language, below 60 KB, whoever gets it."""
    for name in starter.names():
        blocks = [block.name for block in starter.template(name, persona.fields.get("locale")).recommend]
        done = render(starter, name, sample_context(persona, recommend=blocks))
        assert done.subject
        assert done.preheader
        assert done.size < 60_000
        assert done.html.count("<title>") == 1
        assert (
            f'lang="{"en" if done.template_path == name + ".mjml" else done.template_path.split("/")[0]}"'
            in done.html
        )
        assert "None" not in done.subject + done.preheader + done.text
        assert "https://shop.test/u/sample" in done.html
        assert "https://shop.test/u/sample" in done.text
        assert "Tea Street" in done.html


def test_the_same_input_gives_the_same_bytes(starter: TemplateLibrary) -> None:
    """Rendering is a pure function."""
    persona = personas()[0]
    made = [render(starter, "cart-reminder", sample_context(persona)) for _ in range(2)]
    assert made[0] == made[1]


def test_subject_and_preheader_are_plain_lines() -> None:
    """They are not escaped for HTML, and nothing in a customer's name makes a second line or turns the direction."""
    name = "Zoë & Co\r\nBcc: everyone@example.test\u202egnp\u2028x"
    done = rendered("x", subject="{{ customer.first_name }}!", customer={"first_name": name})
    assert done.subject == "Zoë & Co Bcc: everyone@example.testgnp x!"


@pytest.mark.parametrize("field", ["first_name", "name", "properties.pet"])
def test_a_value_does_not_turn_the_words_behind_it(field: str) -> None:
    """A mark of direction in a customer's own text never reverses what the shop wrote."""
    told = {"first_name": "Ann\u202e", "last_name": "\u2067Lee", "properties": {"pet": "Rex\u2066"}}
    done = rendered("{{ customer.FIELD }}, hello".replace("FIELD", field), customer=told)
    assert not set(done.html + done.text) & set("\u202e\u2066\u2067")


@pytest.mark.parametrize(("days_ago", "says"), [(10, True), (None, False)])
def test_win_back_calls_new_only_what_is(starter: TemplateLibrary, days_ago: int | None, says: bool) -> None:
    """Products that were there at the last order, or of which that is not known, are no news, in any language."""
    new = ("new things since", "New since", "並んだもの", "新しい顔ぶれ", "多了這些", "有新東西")
    for locale in ("en", "ja", "zh-TW"):
        shown = sample_context(personas()[0], recommend=["picks"])
        ordered = shown.now - timedelta(days=90)
        seen = None if days_ago is None else shown.now - timedelta(days=days_ago)
        picks = {"picks": tuple({**pick, "first_seen_at": seen} for pick in shown.picks["picks"])}
        customer = {**shown.customer, "locale": locale, "last_order_at": ordered}
        done = render(starter, "win-back-new", replace(shown, picks=picks, customer=customer))
        assert any(word in done.subject for word in new) is says, done.subject
        assert any(word in done.text for word in new) is says, done.text


def test_the_title_is_the_subject() -> None:
    """A document without a title or language of its own gets them."""
    done = rendered("x", subject="Tea '&' cake")
    assert "<title>Tea &#39;&amp;&#39; cake</title>" in done.html
    assert '<html lang="en" dir="ltr"' in done.html


def test_a_step_may_bring_its_own_subject() -> None:
    """A step's subject takes the place of the template's and knows the same names."""
    library = TemplateLibrary({"x.mjml": mail("{{ subject }}")})
    done = render(library, "x", context(), subject="For {{ customer.first_name }}")
    assert done.subject == "For Grace"
    assert "For Grace" in done.html
    with pytest.raises(RenderError, match="first_name"):
        render(library, "x", context(), subject="For {{ customer.frist_name }}")
    with pytest.raises(RenderError):
        render(library, "x", context(), subject="For {{ customer.first_name")


def test_a_mail_needs_a_subject() -> None:
    """An empty subject is an error, not a mail without one."""
    with pytest.raises(RenderError, match="subject"):
        rendered("x", subject="{{ customer.tier if customer.orders < 0 }}")


def test_what_is_no_mjml_is_told() -> None:
    """A template that writes something else says so."""
    with pytest.raises(RenderError, match="begin with <mjml>"):
        render(TemplateLibrary({"x.mjml": "---\nsubject: s\n---\nhello"}), "x", context())


def test_an_unknown_template_is_wrong_usage(starter: TemplateLibrary) -> None:
    """It names the likely one."""
    with pytest.raises(UsageError, match="cart-reminder"):
        render(starter, "cart-remindr", context())


def test_recommend_blocks_are_always_names(starter: TemplateLibrary) -> None:
    """A mail whose products were left out has an empty block, not an unknown name."""
    done = render(starter, "cart-second-reminder", sample_context(personas()[0]))
    assert "Others added these" not in done.html


def test_transactional_mail_has_no_opt_out(starter: TemplateLibrary) -> None:
    """The footer of a transactional mail does not offer to stop it."""
    base = sample_context(personas()[0])
    done = render(starter, "thank-you-first", replace(base, flow={**base.flow, "kind": "transactional"}))
    assert "/u/sample" not in done.html


def test_addresses_from_outside_are_safe() -> None:
    """Only http(s) addresses of products and carts are shown, percent-encoded."""
    assert safe_url("https://x.test/茶 a?b=ü") == "https://x.test/%E8%8C%B6%20a?b=%C3%BC"
    assert safe_url("https://münchen.test/") == "https://xn--mnchen-3ya.test/"
    for bad in (
        "javascript:x",
        "//x.test",
        "data:x",
        "https://",
        "https://x.test/\u200b",
        "ftp://x.test",
        "",
        None,
        [1],
    ):
        assert safe_url(bad) is None


def test_a_mail_is_composed_once_for_all() -> None:
    """Headers' values follow from the message key, the topic and the shop."""
    done = rendered("x")
    envelope = Envelope(
        key="k1", to=Address("ann@example.test", "Ann\r\nBcc: x"), sender=Address("hello@kiyomi.test", "Kiyomi"),
        date=datetime(2026, 3, 1, tzinfo=UTC), topic="Reminders & tips", shop_url="https://kiyomi.test/shop",
        metadata={"flow": "a\nb"},
    )  # fmt: skip
    made = compose(done, envelope, LINKS)
    assert made.message_id == message_id("k1", "hello@kiyomi.test")
    assert made.list_id == "<reminders-tips.kiyomi.test>"
    assert made.unsubscribe_url == LINKS.unsubscribe()
    assert made.to.name == "Ann Bcc: x"
    assert made.metadata == {"flow": "a b"}
    assert compose(done, envelope, LINKS) == made
    transactional = compose(done, replace(envelope, kind="transactional"), LINKS)
    assert (transactional.unsubscribe_url, transactional.list_id) == ("", "")


@pytest.mark.parametrize(
    "email", ["", "a@b@c.test", "a b@c.test", "a@c.test\nBcc: x", "<a@c.test>", "a@c.test,b@c.test"]
)
def test_no_header_is_made_of_a_bad_address(email: str) -> None:
    """What could be more than one address makes no mail, and is not repeated in the error."""
    envelope = Envelope("k", Address(email), Address("hello@kiyomi.test"), datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(RenderError) as caught:
        compose(rendered("x"), envelope, LINKS)
    assert not email or email not in str(caught.value)


def test_lists_without_a_shop_are_named_by_the_sender() -> None:
    """List-Id always has a name."""
    assert list_id("offers", "", "hello@kiyomi.test") == "<offers.kiyomi.test>"
    assert list_id("", "https://kiyomi.test", "x@y.test") == "<mail.kiyomi.test>"
