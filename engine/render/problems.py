"""What can be wrong with a template: one function for each problem, which makes its finding.

Comes in: where it stands and what was found. Goes out: a `Finding`. The docstring of each function is the page that
`homing explain CODE` prints. Errors keep a template from being applied; warnings are advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engine.diagnostics import Finding, Span, did_you_mean
from engine.flows.manual import page
from engine.flows.problems import listed

_SHOWN = 80  # signs of an address that are worth showing

# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@page("T101", "template-too-long")
def too_long(span: Span, limit: int) -> Finding:
    """A template is longer than any mail needs.

    A mail that clients show whole has at most 102,000 bytes of HTML. Move what repeats into a block, and pictures out of
    the source into files of their own.

    Before:

        <img src="data:image/png;base64,iVBORw0KGgo…" />

    After:

        <mj-image src="https://shop.example/pot.png" alt="a pot" />
    """
    return Finding("T101", "error", f"this template is longer than {limit:,} characters", span)


@page("T102", "front-matter-open")
def open_front_matter(span: Span) -> Finding:
    """The front matter begins with `---` and has no line of `---` at its end.

    Before:

        ---
        subject: "Hello"
        {% extends "layouts/store.mjml" %}

    After:

        ---
        subject: "Hello"
        ---
        {% extends "layouts/store.mjml" %}
    """
    return Finding(
        "T102", "error", "the front matter has no closing ---", span, help="end it with a line of ---"
    )


@page("T107", "unreadable-template")
def unreadable(span: Span, message: str) -> Finding:
    """A file under templates/ cannot be taken in.

    Templates are UTF-8 text of at most 200,000 characters, in the folder itself: links that lead out of it are not
    followed.

    Before:

        templates/logo.mjml -> /home/me/logo.mjml        (a link)

    After:

        templates/logo.mjml        (a file, UTF-8)
    """
    way_out = "save the file as UTF-8 text" if "UTF-" in message else "put a file of its own there"
    return Finding("T107", "error", message, span, effect="no mail can be made", help=way_out)


@page("T103", "no-subject")
def no_subject(span: Span) -> Finding:
    """A template that a flow sends has no subject.

    Write it into the front matter: `subject: "Your cart is still here"`. Every file under templates/ is a mail, but those in
    `layouts/` and `blocks/` (and in these folders of a language): put there what other templates draw on.

    Before:

        ---
        preheader: "Three items are waiting"
        ---

    After:

        ---
        subject: "Your cart is still here"
        preheader: "Three items are waiting"
        ---
    """
    return Finding(
        "T103", "error", "this template has no subject", span, effect="the mail cannot be sent",
        help='write `subject: "…"` between two lines of --- at the top; a part of other templates belongs into '
        "templates/layouts or templates/blocks",
    )  # fmt: skip


@page("T104", "recommend-block")
def block_name(span: Span, name: str) -> Finding:
    """A recommend block cannot be read.

    A block has a name that the template uses, the strategies to fill it from, and numbers:
    `picks: {from: [bought_together, bestsellers], count: 4, at_least: 2, otherwise: omit}`.

    Before:

        recommend:
          picks: {from: [bestsellers], count: 2, at_least: 4}

    After:

        recommend:
          picks: {from: [bestsellers], count: 4, at_least: 2}
    """
    return Finding("T104", "error", f'"{name}" cannot name a block', span, help="use letters, digits and _")


def no_strategies(span: Span, name: str, known: Iterable[str]) -> Finding:
    """Return the finding for a block without `from`."""
    help = f"write `from: [bestsellers]`, or others of {listed(known)}"  # noqa: A001 - the finding's own word
    return Finding(
        "T104", "error", f'the block "{name}" does not say where its products come from', span, help=help
    )


def more_than_count(span: Span, at_least: int, count: int) -> Finding:
    """Return the finding for a block that can never be full enough."""
    message = f"this block shows {count} products at most, so it never has {at_least}"
    return Finding("T104", "error", message, span, help="lower at_least, or raise count")


@page("T105", "no-default-copy")
def no_default(span: Span, name: str) -> Finding:
    """A template exists only for some languages.

    Customers of all others would get no mail. Put a copy without a language folder into templates/.

    Before:

        templates/ja/welcome.mjml

    After:

        templates/welcome.mjml
        templates/ja/welcome.mjml
    """
    return Finding(
        "T105", "error", f"there is no templates/{name}.mjml, only copies for some languages", span,
        effect="customers with other languages get no mail", help=f"write templates/{name}.mjml as the default",
    )  # fmt: skip


@page("T106", "words-file")
def bad_words(span: Span, message: str) -> Finding:
    """A words.yaml cannot be read.

    It holds `key: text` lines, the short words of layouts and blocks in one language.

    Before:

        - see the shop        # templates/words.yaml

    After:

        view_shop: See the shop
    """
    return Finding("T106", "error", message, span)


# ── Jinja ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@page("T201", "template-syntax")
def syntax(span: Span, message: str) -> Finding:
    """A template is not Jinja that can be read.

    Each `{%` ends with `%}`, each `{{` with `}}`, and `if`, `for`, `block`, `macro`, `call` and `set` have their `end…`.

    Before:

        {% if offer %}{{ blocks.offer(offer) }}{% end %}

    After:

        {% if offer %}{{ blocks.offer(offer) }}{% endif %}
    """
    unclosed = message.startswith(("unexpected end", "unexpected 'end", "missing end"))
    named = "needs to be closed" in message  # it says itself what is open
    help_ = "end each {{ with }}, each {% with %}, each {# with #}" if unclosed and not named else ""
    return Finding("T201", "error", message, span, help=help_)


@page("T202", "unknown-name")
def unknown_name(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A template uses a name that it does not have.

    Templates know `customer`, `shop`, `sender`, `brand`, `trigger`, `order`, `cart`, `product`, `products`, `offer`,
    `answer`, `flow`, `now`, `links`, `blocks`, `words`, their recommend blocks, and what they `set` themselves.

    Before:

        {{ costumer.first_name }}

    After:

        {{ customer.first_name }}
    """
    return Finding(
        "T202", "error", f'"{name}" is no name that a template knows', span,
        effect="the mail cannot be made", help=did_you_mean(name, known) or "see docs: the names of a template",
    )  # fmt: skip


@page("T203", "unknown-field")
def unknown_field(span: Span, owner: str, name: str, known: Iterable[str]) -> Finding:
    """A template asks something for a field that it does not have.

    Free fields of customers stand under `customer.properties.NAME`.

    Before:

        {{ customer.shoe_size }}

    After:

        {{ customer.properties.shoe_size }}
    """
    known = list(known)
    hint = did_you_mean(name, known)
    if not hint and "properties" in known:
        hint = f"a field of your own is {owner}.properties.{name}"
    return Finding(
        "T203", "error", f'{owner} has no field "{name}"', span,
        effect="the mail cannot be made", help=hint or (f"its fields are {listed(known)}" if 0 < len(known) < 30 else ""),
    )  # fmt: skip


@page("T204", "unknown-filter")
def unknown_filter(span: Span, what: str, name: str, known: Iterable[str]) -> Finding:
    """A template uses a filter or test that does not exist here.

    Filters of Jinja that mark text as safe, draw lots or pad to any size are not known; `money`, `date`, `datetime`,
    `number`, `plural` and `lines` are added.

    Before:

        {{ order.total | currency }}

    After:

        {{ order.total | money }}
    """
    return Finding("T204", "error", f'there is no {what} "{name}"', span, help=did_you_mean(name, known))


@page("T205", "unknown-template")
def unknown_template(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A template extends, includes or imports a file that is not there, or whose name is worked out.

    Names are paths below templates/, in quotes: `{% extends "layouts/store.mjml" %}`.

    Before:

        {% extends "layout/store.mjml" %}

    After:

        {% extends "layouts/store.mjml" %}
    """
    message = f"there is no templates/{name}" if name else "the name of a template stands here in quotes"
    return Finding("T205", "error", message, span, help=did_you_mean(name, known) if name else "")


@page("T206", "unknown-block")
def unknown_block(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A template calls a block that does not exist.

    `blocks.cart(...)` is the macro `cart` in templates/blocks/cart.mjml.

    Before:

        {{ blocks.basket(cart) }}

    After:

        {{ blocks.cart(cart) }}
    """
    return Finding(
        "T206", "error", f'there is no block "{name}"', span,
        help=did_you_mean(name, known) or f"write it into templates/blocks/{name}.mjml",
    )  # fmt: skip


def empty_block(span: Span, name: str, found: Sequence[str]) -> Finding:
    """The file of a block (T206) has no macro of the block's name."""
    there = f"; it has {', '.join(found)}" if found else ""
    return Finding(
        "T206", "error", f'templates/blocks/{name}.mjml has no macro "{name}"{there}', span,
        effect="the mail cannot be made", help=f"write {{% macro {name}(…) %}} there: a block is the macro that its file is named after",
    )  # fmt: skip


@page("T207", "wrong-arguments")
def wrong_arguments(span: Span, name: str, message: str, signature: str) -> Finding:
    """A block or macro is called with arguments that it does not take.

    Before:

        {{ blocks.button("See it") }}

    After:

        {{ blocks.button("See it", shop.url) }}
    """
    return Finding("T207", "error", f"{name} {message}", span, help=f"it is {signature}")


@page("T208", "fails-with-sample")
def fails(span: Span, message: str, persona: str) -> Finding:
    """A template cannot be rendered for one of the sample customers.

    The samples are: loyal, new, without a name, Japanese, Taiwanese, Thai, with emoji, with a name of 60 characters.
    What the flow does not have (a birthday flow has no cart) is missing in the samples too. The offer is missing in two of
    them where its codes can run out: with a `pool` and `when_empty: without`.

    Before:

        {{ cart.url }}        (in a birthday flow)

    After:

        {% if cart %}{{ cart.url }}{% endif %}
    """
    guarded = "write {% if … %} around what may be missing, or say `or …` behind it"
    way_out = next((other for words, other in _OTHERWISE if words in message), guarded)
    return Finding(
        "T208", "error", message, span, label=f'with the sample customer "{persona}"',
        effect="such customers get no mail", help=way_out,
    )  # fmt: skip


_OTHERWISE = (
    ("this call leaves out", "give it, by its place or its name, as in `blocks.button(words, url=shop.url)`"),
    ("range()", "loop over what the mail has, such as `cart.lines`"),
    (
        "its loops run too often",
        "loop over what the mail has, such as `cart.lines`, and not inside of another loop",
    ),
    (
        "takes longer than",
        "loop over what the mail has, such as `cart.lines`, and not inside of another loop",
    ),
    ("grows beyond", "write less: a mail that people read is far below this bound"),
    ("the template writes more than", "write less: a mail that people read is far below this bound"),
    ("text with ~", 'write {{ one ~ " " ~ other }}'),
    ("division by zero", "ask beforehand: {% if … %} around it, for where the number is 0"),
    ("may not touch", "use the names that a template knows: customer, shop, cart, order and so on"),
    (
        "no MJML document",
        'begin with {% extends "layouts/store.mjml" %}, and write the mail into {% block body %}',
    ),
)


@page("T210", "endless-circle")
def endless(span: Span, way: Sequence[str]) -> Finding:
    """A file draws on itself, straight or through others, in every case: the mail would never end.

    Before (in templates/blocks/note.mjml):

        {% macro note(words) %}<p>{{ words }}</p>{{ blocks.note(words) }}{% endmacro %}

    After:

        {% macro note(words) %}<p>{{ words }}</p>{% endmacro %}
    """
    shown = " → ".join(way)
    return Finding(
        "T210", "error", "this draws on itself without end", span, label=shown, effect="the mail cannot be made",
        help="leave it out, or let an `if` end it",
    )  # fmt: skip


@page("T211", "lost-block")
def lost_block(span: Span, name: str, layout: str, known: Sequence[str]) -> Finding:
    """A mail writes a block that its layout has no place for.

    The layout says where blocks go; what stands in any other appears nowhere, and the mail goes out without it.

    Before (the layout has a block `body`):

        {% extends "layouts/store.mjml" %}
        {% block bdy %}{{ blocks.title("Hello") }}{% endblock %}

    After:

        {% extends "layouts/store.mjml" %}
        {% block body %}{{ blocks.title("Hello") }}{% endblock %}
    """
    hint = did_you_mean(name, known) or f"known: {', '.join(known) or 'none'}"
    return Finding(
        "T211",
        "error",
        f'templates/{layout} has no block "{name}"',
        span,
        effect="what stands in it does not appear",
        help=hint,
    )


@page("T213", "outside-of-blocks")
def outside_of_blocks(span: Span, block: str) -> Finding:
    """A mail that extends a layout writes something outside of all blocks.

    The layout says where blocks go; what stands beside them has no place in it, and the mail goes out without it.

    Before:

        {% extends "layouts/store.mjml" %}
        {% block body %}{{ blocks.title("Hello") }}{% endblock %}
        {{ blocks.cart(cart) }}

    After:

        {% extends "layouts/store.mjml" %}
        {% block body %}{{ blocks.title("Hello") }}
        {{ blocks.cart(cart) }}{% endblock %}
    """
    inside = (
        f"{{% block {block} %}} and its {{% endblock %}}" if block else "{% block body %} and {% endblock %}"
    )
    return Finding(
        "T213", "error", "this stands outside of all blocks, and the layout has no place for it", span,
        effect="it does not appear in the mail", help=f"put it between {inside}",
    )  # fmt: skip


# ── MJML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@page("T301", "unknown-tag")
def unknown_tag(span: Span, tag: str, known: Iterable[str]) -> Finding:
    """A tag is neither MJML nor HTML that mails can hold.

    The compiler leaves it out without a word.

    Before:

        <mj-img src="https://shop.example/pot.png" alt="a pot" />

    After:

        <mj-image src="https://shop.example/pot.png" alt="a pot" />
    """
    return Finding(
        "T301", "error", f"<{tag}> is no tag that a mail can hold", span,
        effect="what stands in it does not appear", help=did_you_mean(tag, known),
    )  # fmt: skip


@page("T302", "wrong-place")
def wrong_place(span: Span, what: str, parent: str, way_out: str) -> Finding:
    """Something stands where MJML does not allow it.

    A section holds columns, a column holds text, pictures, buttons; words stand in mj-text. What is elsewhere is left
    out, or breaks the layout.

    Before:

        <mj-section><mj-text>Hello</mj-text></mj-section>

    After:

        <mj-section><mj-column><mj-text>Hello</mj-text></mj-column></mj-section>
    """
    return Finding(
        "T302", "error", f"{what} does not belong into <{parent}>", span,
        effect="it does not appear, or breaks the layout", help=way_out,
    )  # fmt: skip


@page("T303", "bare-sign")
def bare_sign(span: Span, sign: str) -> Finding:
    """A `<` or `&` stands alone in the text.

    Write `&lt;` and `&amp;`. A `<` stops the compiler, also that of a CDATA section, which mails do not have; an `&` may become
    another sign (`&copy=1` shows ©).

    Before:

        <mj-text>Tea & teapots</mj-text>

    After:

        <mj-text>Tea &amp; teapots</mj-text>
    """
    entity = {"<": "&lt;", "&": "&amp;"}[sign]
    severity = "error" if sign == "<" else "warning"
    return Finding("T303", severity, f"a bare {sign} stands here", span, help=f"write {entity}")  # type: ignore[arg-type]


@page("T304", "not-closed")
def not_closed(span: Span, tag: str) -> Finding:
    """A tag has no end, or an end has no beginning.

    Before:

        <mj-text><b>Hello</mj-text>

    After:

        <mj-text><b>Hello</b></mj-text>
    """
    return Finding(
        "T304", "error", f"<{tag}> has no matching end", span, help=f"close it with </{tag.lstrip('/')}>"
    )


def open_tag(span: Span, tag: str) -> Finding:
    """A tag begins, and the next one comes before its `>` (a case of T304)."""
    span = replace(span, length=len(tag) + 1)
    return Finding("T304", "error", f"<{tag} has no > before the next tag", span, help=f"write <{tag}>")


@page("T305", "not-supported")
def not_supported(span: Span, what: str, way_out: str) -> Finding:
    """Something of MJML is silently ignored by the compiler that Homing uses.

    Before:

        <mj-include path="./footer.mjml" />

    After:

        {% include "layouts/footer.mjml" %}
    """
    return Finding("T305", "error", f"{what} has no effect here", span, help=way_out)


@page("T307", "unknown-attribute")
def unknown_attribute(span: Span, tag: str, name: str, meant: str, known: Iterable[str]) -> Finding:
    """A tag of MJML has an attribute that MJML does not know.

    The compiler leaves it out without a word, and the mail looks as if it were not there.

    Before:

        <mj-text colour="#8a3a2c">Hello</mj-text>

    After:

        <mj-text color="#8a3a2c">Hello</mj-text>
    """
    hint = f"did you mean {meant}?" if meant else did_you_mean(name, known)
    return Finding(
        "T307", "error", f'<{tag}> has no attribute "{name}"', span, effect="it changes nothing",
        help=hint or f"<{tag}> takes {listed(sorted(known))}",
    )  # fmt: skip


@page("T306", "odd-width")
def odd_width(span: Span, problem: str, way_out: str) -> Finding:
    """A width is none that MJML knows, or columns that stand side by side take more than the whole.

    The compiler takes any width without a word; then columns stand below each other, or pictures are as wide as they
    like. Columns and groups have `50%` or `280px`, pictures `280px`.

    Before:

        <mj-column width="half">

    After:

        <mj-column width="50%">
    """
    return Finding("T306", "error", problem, span, effect="the layout breaks in some clients", help=way_out)


# ── what customers get ───────────────────────────────────────────────────────────────────────────────────────────────


@page("T401", "picture-without-alt", "warning")
def no_alt(span: Span) -> Finding:
    """A picture has no alt text.

    Many clients show no pictures at first, and some people hear the mail. Say what it shows; where it only decorates,
    write `alt=""`.

    Before:

        <mj-image src="https://shop.example/pot.png" />

    After:

        <mj-image src="https://shop.example/pot.png" alt="a cast-iron pot" />
    """
    return Finding(
        "T401", "warning", "this picture has no alt text", span,
        effect="people with pictures off see an empty box", help='write alt="…", or alt="" where it only decorates',
    )  # fmt: skip


@page("T402", "unsafe-link", "warning")
def unsafe_link(span: Span, problem: str, way_out: str = "", *, address: str = "") -> Finding:
    """A link or picture goes to http instead of https, to a machine of your own, or nowhere, or its address is not encoded.

    A mail has no page that `/logo.png` or `www.shop.com` could belong to: addresses are whole ones. Clients warn before http
    links and do not load http pictures. A space in an address ends it in many clients: values in it go through `urlencode`
    (`?q={{ customer.first_name | urlencode }}`). Links to one machine of your own are told once for each file.

    Before:

        <mj-button href="http://localhost:8000/cart">Your cart</mj-button>

    After:

        <mj-button href="{{ cart.url }}">Your cart</mj-button>
    """
    label = address if len(address) <= _SHOWN else ""
    return Finding(
        "T402",
        "warning",
        problem,
        span,
        label=label,
        help=way_out or "use the https address that customers reach",
    )


@page("T403", "mail-too-large", "warning")
def too_large(span: Span, size: int, persona: str) -> Finding:
    """A mail is larger than 100,000 bytes.

    Gmail cuts mails at 102,000 bytes and hides the rest, the unsubscribe link too.

    Before:

        picks: {from: [bestsellers], count: 40}

    After:

        picks: {from: [bestsellers], count: 4}
    """
    return Finding(
        "T403", "warning", f"this mail has {size:,} bytes of HTML", span, label=f'with the sample customer "{persona}"',
        effect="Gmail hides what comes after 102,000 bytes", help="show fewer products, or shorten the styles",
    )  # fmt: skip


@page("T404", "no-unsubscribe")
def no_unsubscribe(span: Span) -> Finding:
    """A marketing mail has no unsubscribe link.

    The law of most countries asks for one. `blocks.footer` has it; else write `{{ links.unsubscribe }}` into a link.

    Before:

        {% block body %}<mj-section>…</mj-section>{% endblock %}        (without a layout)

    After:

        {% extends "layouts/store.mjml" %}
    """
    return Finding(
        "T404", "error", "this marketing mail has no unsubscribe link", span,
        effect="customers can only mark it as spam", help="add {{ blocks.footer() }} or a link to {{ links.unsubscribe }}",
    )  # fmt: skip


@page("T405", "long-subject", "warning")
def long_subject(span: Span, length: int, persona: str) -> Finding:
    """A subject is longer than 60 characters.

    Phones show 30 to 45 of them. Put what matters first, and shorten names with `| truncate(30)`.

    Before:

        subject: "Hello {{ customer.first_name }}, we have kept the things in your cart for you a little longer"

    After:

        subject: "{{ customer.first_name | truncate(20) }}, your cart is still here"
    """
    return Finding(
        "T405", "warning", f"the subject has {length} characters", span, label=f'with the sample customer "{persona}"',
        effect="phones cut it off", help="keep it within 60; `| truncate(30)` shortens a long name",
    )  # fmt: skip


@page("T406", "no-postal-address", "warning")
def no_postal_address(span: Span) -> Finding:
    """A marketing mail does not show the shop's postal address.

    CAN-SPAM and others ask for it. `blocks.footer` shows `[shop] postal_address`.

    Before:

        <a href="{{ links.unsubscribe }}">Unsubscribe</a>

    After:

        {{ blocks.footer() }}
    """
    return Finding(
        "T406", "warning", "this marketing mail does not show the shop's postal address", span,
        help="add {{ blocks.footer() }} or {{ shop.postal_address }}",
    )  # fmt: skip


@page("T407", "low-contrast", "warning")
def low_contrast(span: Span, found: float, wanted: float) -> Finding:
    """Words stand out too little from what is behind them.

    A contrast of 4.5 is what people with weak sight, and everybody in the sun, need (WCAG 2.2, 1.4.3); 3 for large type
    of 24 px, or bold of 19 px. Only colours that stand in attributes and inline styles are looked at.

    Before:

        <mj-text color="#999999">See you soon</mj-text>

    After:

        <mj-text color="#595959">See you soon</mj-text>
    """
    return Finding(
        "T407", "warning", f"the words here have a contrast of {found:.1f}, and need {wanted:g}", span,
        effect="many people cannot read them", help="make the words darker or what is behind them lighter, or the other way round",
    )  # fmt: skip


@page("T408", "small-text", "warning")
def small_text(span: Span, size: float) -> Finding:
    """Words are smaller than 12 px.

    On a phone they cannot be read without zooming; some clients enlarge them, and break the layout.

    Before:

        <mj-text font-size="10px">Terms apply</mj-text>

    After:

        <mj-text font-size="13px">Terms apply</mj-text>
    """
    return Finding(
        "T408", "warning", f"these words are {size:g} px small", span,
        effect="they cannot be read on a phone", help="use 13 px or more; 16 px for what matters",
    )  # fmt: skip


@page("T413", "light-at-night", "warning")
def light_at_night(span: Span) -> Finding:
    """Words turn light at night, and the light ground that they stand on does not.

    Where a mail's styles give words another colour for `prefers-color-scheme: dark`, every ground of its own needs one as
    well: a class that those styles turn dark. The starter layouts do that for `soft`.

    Before:

        <mj-column background-color="#f4efe6">

    After:

        <mj-column css-class="soft" background-color="{{ brand.soft }}">
    """
    return Finding(
        "T413", "warning", "these words turn light at night, and what is behind them stays light", span,
        effect="whoever reads mail in dark mode cannot read them",
        help="give what is behind them a class that the styles turn dark at night, such as `soft`",
    )  # fmt: skip


@page("T409", "merge-tag-of-another-mailer", "warning")
def merge_tag(span: Span, words: str) -> Finding:
    """A placeholder of another program was left in a mail, and would be read as it stands.

    Names stand in double braces here, as in `{{ customer.first_name }}`.

    Before:

        subject: "*|FNAME|*, your cart is waiting"

    After:

        subject: "{{ customer.first_name or 'Hello' }}, your cart is waiting"
    """
    return Finding(
        "T409", "warning", f'customers would read "{words}"', span,
        effect="the mail looks like a form that nobody filled in", help="write the name in double braces: {{ customer.first_name }}",
    )  # fmt: skip


@page("T410", "copy-lacks-a-part", "warning")
def copy_lacks(span: Span, what: str, default: str) -> Finding:
    """A copy in another language lacks a part that the default has.

    Customers of that language get less: no cart, no recommendations, no button. Where that is meant, say so in a comment
    that names the part.

    Before (`templates/ja/cart-reminder.mjml`, while the default calls `blocks.cart`):

        {% block body %}{{ blocks.text("…") }}{% endblock %}

    After:

        {% block body %}{{ blocks.text("…") }}{{ blocks.cart(cart) }}{% endblock %}
    """
    return Finding(
        "T410", "warning", f"this copy has no {what}, and {default} does", span,
        effect="customers with this language get less than others", help=f"add {what}, or name it in a comment that says why not",
    )  # fmt: skip


@page("T209", "name-may-be-missing", "warning")
def may_be_missing(span: Span, message: str, names: Iterable[str]) -> Finding:
    """A template needs a cart, an order or a product that the trigger may come without.

    An event of your own tells an order only where the shop sends its `order_id` along. Without it the mail cannot be
    made for that customer, and is set aside with `template_error`.

    Before (in a flow with `trigger: {event: survey_answered}`):

        Your order {{ order.order_id }} …

    After:

        {% if order %}Your order {{ order.order_id }} …{% endif %}
    """
    missing = listed(sorted(names))
    return Finding(
        "T209", "warning", f"{message}, where the trigger tells no {missing}", span,
        effect="such customers get no mail", help=f"write {{% if … %}} around it, or make sure that the fact tells its {missing}",
    )  # fmt: skip


@page("T212", "unlikely-field", "warning")
def unlikely_field(span: Span, owner: str, name: str, meant: str) -> Finding:
    """A template asks the answer or the trigger for a field that resembles one that facts have, but is another.

    Facts carry what the shop tells with them, so this may be right, where a property of the shop's own is meant. More
    often it is a slip, and nothing stands there in any mail.

    Before:

        {% if answer.choic == "unhappy" %}

    After:

        {% if answer.choice == "unhappy" %}
    """
    return Finding(
        "T212", "warning", f'{owner} has no field "{name}" of its own', span,
        effect="if nobody tells such a field, nothing stands here", help=f'did you mean "{meant}"?',
    )  # fmt: skip


@page("T411", "recommendation-in-transactional")
def recommends_in_transactional(span: Span, name: str) -> Finding:
    """A transactional flow sends a mail with a recommend block.

    Transactional mail goes out without consent because it belongs to a contract. Recommended products make it
    advertising, which the law forbids without consent.

    Before (sent by a flow with `kind: transactional`):

        recommend:
          picks: {from: [bestsellers], count: 4}

    After: the block is gone, or the flow is marketing.
    """
    return Finding(
        "T411", "error", f'the transactional flow "{name}" sends this mail, which may hold no recommendations', span,
        effect="customers who never agreed to advertising would get some", help="leave `recommend` out, or make the flow marketing",
    )  # fmt: skip


@page("T414", "offer-block-without-offer", "warning")
def offer_without_offer(span: Span, name: str, block: Span) -> Finding:
    """A step gives no offer, and its mail shows one.

    The block has nothing to show then: no code, no end, at most its button; and what the mail says around it promises
    something that is not there. Give the step an offer of `flows/offers.yaml`, or another template. Where a template is meant
    for both, it asks: `{% if offer %}{{ blocks.offer(offer) }}{% endif %}`.

    Before:

        - send: cart-offer            # its template has {{ blocks.offer(offer) }}

    After:

        - {send: cart-offer, offer: cart-ten}
    """
    return Finding(
        "T414", "warning", f'the mail "{name}" shows an offer, and this step gives none', span,
        effect="customers get a mail about an offer without the offer", second=block, second_label="it would stand here",
        help="add `offer: NAME` to the step, or write {% if offer %} around the block",
    )  # fmt: skip
