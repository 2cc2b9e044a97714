"""What can be wrong with the writing of a definition: one function for each problem, which makes its finding.

Comes in: where it stands and what was found. Goes out: a `Finding`. The docstring of each function is the page that
`homing explain CODE` prints. Problems are errors: what they describe cannot run. Advice lives in `engine.flows.rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from engine.diagnostics import Finding, Span, did_you_mean, is_sure
from engine.flows.manual import page

_SHOWN = 60
_NEEDED = ("flow", "topic", "trigger", "event", "send", "steps")


def quoted(value: object) -> str:
    """Return a value as it is shown in a sentence: in quotes, cut to a readable length.

    >>> quoted("weekly")
    '"weekly"'
    """
    text = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else str(value)
    text = "nothing" if value is None else str(text)
    return text if value is None else '"' + (text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…") + '"'


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence lists them.

    >>> listed(["a", "b", "c"])
    'a, b or c'
    """
    known = list(words)
    return known[0] if len(known) == 1 else ", ".join(known[:-1]) + " or " + known[-1] if known else ""


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@page("F001", "not-yaml")
def syntax(span: Span, message: str, *, way_out: str = "") -> Finding:
    """The file is no YAML that Homing reads.

    Nothing in this file is looked at before it can be read. Homing reads YAML 1.2: `on`, `yes` and `10:30` are text,
    only `true` and `false` are truth values, and tags such as `!!str` are not used.

    Before:

        summary: Bring back: the cart

    After:

        summary: "Bring back: the cart"
    """
    return Finding(
        "F001",
        "error",
        message,
        span,
        help=way_out or "mend this line; text with signs in it stands in quotes",
    )


@page("F002", "duplicate-key")
def duplicate_key(span: Span, key: str, first: Span) -> Finding:
    """A key stands twice in the same table.

    Other readers silently let the last one win; the first would do nothing. Keep one of them.

    Before:

        exit_when: [{did: order_placed}]
        exit_when: [{did: cart_emptied}]

    After:

        exit_when: [{did: order_placed}, {did: cart_emptied}]
    """
    return Finding(
        "F002", "error", f'"{key}" stands here a second time', span, label="this one would win silently", second=first,
        second_label="the first one", help="keep one of the two",
    )  # fmt: skip


@page("F003", "too-much")
def too_much(span: Span, message: str) -> Finding:
    """A file is larger, deeper or more repetitive than any flow needs.

    The limits (a million bytes, 40 levels, 50,000 values with all aliases written out) keep one file from stopping
    everybody else's. Divide the file, or write out what the aliases repeat.

    Before:

        a: &a [x, x, x, x, x, x, x, x, x, x]
        b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
        c: [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]

    After:

        flow: one        # one flow in each file, its steps written out
        steps: [send: a]
    """
    return Finding("F003", "error", message, span, help="divide it into several files, or nest less")


@page("F004", "unreadable-file")
def unreadable_file(span: Span, message: str, way_out: str = "save the file as UTF-8 text") -> Finding:
    """A file cannot be opened, or is not UTF-8 text.

    Save it as UTF-8 in your editor, and make sure that it is a file and that Homing may read it.

    Before:

        summary: Gr��e            (saved as Latin-1)

    After:

        summary: Grüße            (saved as UTF-8)
    """
    return Finding("F004", "error", f"this file cannot be read: {message}", span, help=way_out)


@page("F005", "empty-file")
def empty_file(span: Span) -> Finding:
    """A file under `flows/` holds nothing.

    A flow needs at least `flow`, `trigger` and `steps`. Remove the file if the flow is gone.

    Before:

        # nothing but a comment

    After:

        flow: welcome
        topic: offers
        trigger: {event: customer_created}
        steps: [send: welcome]
    """
    what = "scenario" if span.file.startswith("tests/") else "flow"
    return Finding("F005", "error", "this file is empty", span, help=f"write the {what}, or remove the file")


@page("F006", "named-otherwise")
def named_otherwise(span: Span, name: str, file: str) -> Finding:
    """A file is not named as the flow in it.

    The flow's name is its identity; who looks for `cart-recovery` opens `flows/cart-recovery.yaml`. Rename the file:
    renaming the flow would make another flow, and whoever is inside the old one would finish there.

    Before:

        flow: cart-recovery        # in flows/cart.yaml

    After:

        flow: cart-recovery        # in flows/cart-recovery.yaml
    """
    return Finding(
        "F006",
        "error",
        f'the flow "{name}" stands in a file named {file}',
        span,
        help=f"name the file {name}.yaml",
    )


@page("F007", "file-not-read", "warning")
def not_read(span: Span, message: str, way_out: str, effect: str) -> Finding:
    """A file that looks like a flow or scenario and is never read.

    Flows are the files `flows/NAME.yaml`, not those of folders within, and not those that end in `.yml`; scenarios are
    the `.yaml` files under `tests/`. A file that is kept for later stands outside of `flows/`.

    Before:

        flow: welcome        # in flows/welcome.yml

    After:

        flow: welcome        # in flows/welcome.yaml
    """
    return Finding("F007", "warning", message, span, effect=effect, help=way_out)


# ── shape ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@page("F101", "unknown-key")
def unknown_key(
    span: Span, key: str, where: str, known: Sequence[str], *, taken: Sequence[str] = (), way_out: str = ""
) -> Finding:
    """A key that has no meaning in its place.

    Homing refuses keys that it does not know, since a misspelt `exit_when` would otherwise let mails go out that nobody
    wants. The finding names the likeliest key; `homing schema` brings all of them into your editor.

    Before:

        trigger: {event: cart_updated, quite_for: 4h}

    After:

        trigger: {event: cart_updated, quiet_for: 4h}
    """
    free = [name for name in known if name not in taken]
    hint = did_you_mean(key, free)
    if key == "<<":
        way_out = "merging tables (<<) is no YAML 1.2; write the keys out"
    elif not hint and not way_out:
        way_out = _instead(did_you_mean(key, known), taken)
    return Finding(
        "F101", "error", f'"{key}" is no key of {where}', span, fixable=is_sure(key, free) and not way_out,
        help=way_out or hint or f"known here: {', '.join(known)}",
    )  # fmt: skip


def _instead(hint: str, taken: Sequence[str]) -> str:
    """Return what to do where the word that a hint suggests stands in the same table already, else nothing."""
    meant = hint.removeprefix("did you mean ").removesuffix("?")
    return f"remove it: {meant} stands here already" if meant and meant.strip('"') in taken else ""


@page("F102", "missing-key")
def missing_key(span: Span, key: str, where: str, *, way_out: str = "") -> Finding:
    """A key that must be there is missing.

    Every flow needs `flow`, `trigger` and `steps`; a marketing flow needs the `topic` that customers can unsubscribe
    from. Other places say what they need.

    Before:

        flow: cart-recovery
        trigger: {event: cart_updated, quiet_for: 4h}
        steps: [send: cart-reminder]

    After:

        flow: cart-recovery
        topic: reminders
        trigger: {event: cart_updated, quiet_for: 4h}
        steps: [send: cart-reminder]
    """
    return Finding("F102", "error", f'{where} needs "{key}"', span, help=way_out or f"add `{key}:`")


@page("F103", "wrong-shape")
def wrong_shape(span: Span, key: str, wanted: str, found: str, *, way_out: str = "") -> Finding:
    """A value has another shape than its key needs: a list instead of text, text instead of a table, nothing at all.

    Before:

        exit_when: order_placed

    After:

        exit_when: [{did: order_placed}]
    """
    optional = f", or leave `{key}` out" if found == "nothing" and key not in _NEEDED else ""
    way_out = way_out or f"write {wanted}{optional}"
    return Finding("F103", "error", f"{key} is {wanted}, not {found}", span, help=way_out)


@page("F104", "not-one-of")
def not_one_of(span: Span, key: str, value: object, known: Sequence[str], *, way_out: str = "") -> Finding:
    """A value is none of the words that its key knows.

    Before:

        kind: Marketing

    After:

        kind: marketing
    """
    hint = did_you_mean(str(value).lower(), known)
    return Finding(
        "F104",
        "error",
        f"{key} is {listed(known)}, not {quoted(value)}",
        span,
        help=way_out or hint or f"write {listed(known)}",
        fixable=is_sure(str(value).lower(), known) and not way_out,
    )


@page("F105", "unreadable-value")
def unreadable(span: Span, key: str, sentence: str, *, way_out: str = "", fixable: bool = False) -> Finding:
    """A duration, time of day, date, share or number that cannot be read, or lies outside of what is possible.

    Durations are a number and a unit: `30min`, `4h`, `30d`, `2w`, `6mo`, `1y`. Times of day are `"09:00"`, dates are
    `2026-01-31`, shares are `10%`.

    Before:

        wait: 4 hours

    After:

        wait: 4h
    """
    way_out = way_out or "write it as `homing explain F105` shows"
    return Finding("F105", "error", f"{key}: {sentence}", span, help=way_out, fixable=fixable)


@page("F106", "bad-name")
def bad_name(span: Span, key: str, value: object) -> Finding:
    """A name holds something other than letters, digits and dashes.

    Names of flows, steps, templates, offers and arms travel in addresses, headers and reports, so they stay plain.

    Before:

        flow: Cart recovery!

    After:

        flow: cart-recovery
    """
    plain = plain_name(str(value))
    several = [plain_name(each) for each in str(value).split(",")] if key == "send" else []
    if len(several) > 1 and all(several):
        plain = f"[{', '.join(several)}], of which each customer gets the first that they were not sent yet"
    way_out = f"write {plain}" if plain else "use letters, digits and dashes (- and _)"
    return Finding("F106", "error", f"{key} {quoted(value)} is no name", span, help=way_out)


def plain_name(text: str) -> str:
    """Return the name that somebody may have meant, or an empty string.

    >>> plain_name("Cart recovery!"), plain_name("templates/cart-reminder.mjml"), plain_name("!!")
    ('cart-recovery', 'cart-reminder', '')
    """
    last = text.strip().rpartition("/")[2].removesuffix(".mjml").removesuffix(".yaml")
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_")[:100]
    return plain if last != text.strip() else plain.lower()


@page("F107", "does-not-go-with")
def does_not_go_with(span: Span, key: str, why: str, *, way_out: str = "") -> Finding:
    """A key that would do nothing beside the others, or contradicts them.

    Before:

        trigger: {product: back_in_stock, by: 5%}

    After:

        trigger: {product: price_drop, by: 5%}
    """
    return Finding(
        "F107", "error", f'"{key}" has no meaning here: {why}', span, help=way_out or f"leave `{key}` out"
    )


@page("F108", "which-one")
def which_one(span: Span, where: str, found: Sequence[str], known: Sequence[str]) -> Finding:
    """A trigger, step, offer or wait says nothing that can be done, or two things at once.

    Each trigger has exactly one kind (`event`, `anniversary`, `date` …), each step does exactly one thing
    (`send`, `wait`, `branch` …).

    Before:

        - send: cart-reminder
          wait: 2d

    After:

        - send: cart-reminder
        - wait: 2d
    """
    message = f"{where} is both {' and '.join(found)}" if found else f"{where} does not say what it is"
    way_out = f"say one of: {', '.join(known)}"
    if found and where == "this step":
        way_out = f"make it {len(found)} steps: put `- ` before `{found[-1]}:`"
    return Finding("F108", "error", message, span, help=way_out)


@page("F109", "same-step-twice")
def same_step_twice(span: Span, identity: str, first: Span, free: str) -> Finding:
    """Two steps of a flow have the same identity.

    A step is known by its `id`, else by its template's or experiment's name. Enrollments, reports and `apply --migrate`
    find steps by it, and each step mails a customer once. A template that is sent twice needs an `id`.

    Before:

        - send: reminder
        - wait: 2d
        - send: reminder

    After:

        - send: reminder
        - wait: 2d
        - {send: reminder, id: reminder-again}
    """
    return Finding(
        "F109", "error", f'a second step is named "{identity}"', span, label="the same name again", second=first,
        second_label="the first one", effect="nobody could tell which of the two a customer has had",
        help=f"give it an id of its own: `id: {free}`", fixable=True,
    )  # fmt: skip


@page("F110", "cannot-grant")
def cannot_grant(span: Span, value: object) -> Finding:
    """A flow tries to grant consent for a customer.

    Consent is given by the person, not by a flow: `set: {consent: …}` can withdraw, never grant (GDPR article 7).

    Before:

        - set: {consent: {offers: granted}}

    After:

        - set: {consent: {offers: withdrawn}}
    """
    return Finding(
        "F110", "error", f"consent can be withdrawn by a flow, not set to {quoted(value)}", span,
        effect="the customer would get mail that they never agreed to", help="`consent: {TOPIC: withdrawn}` is all that a flow can say",
    )  # fmt: skip


@page("F111", "order-of-arms")
def order_of_arms(span: Span, message: str, *, way_out: str = "") -> Finding:
    """The arms of a branch stand in an order that leaves some of them out.

    A branch takes the first arm whose `when` holds. `otherwise` is for everybody else, so it stands last, once.

    Before:

        - branch:
            - otherwise: [{send: a}]
            - when: [{customer: {country: JP}}]
              steps: [{send: b}]

    After:

        - branch:
            - when: [{customer: {country: JP}}]
              steps: [{send: b}]
            - otherwise: [{send: a}]
    """
    return Finding(
        "F111", "error", message, span, help=way_out or "put one `otherwise` last, or leave it out"
    )


# ── names that must exist ────────────────────────────────────────────────────────────────────────────────────────────


def _no_such(code: str, span: Span, name: str, known: Iterable[str], *, what: str, where: str) -> Finding:
    names = sorted(known)
    hint = did_you_mean(name, names)
    here = (
        f"known: {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        if names
        else f"none is declared yet in {where}"
    )
    return Finding(
        code, "error", f'there is no {what} "{name}"', span, help=hint or f"declare it in {where} ({here})"
    )


@page("F121", "unknown-topic")
def unknown_topic(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A flow names a topic that `homing.toml` does not declare.

    The topic is what a customer can unsubscribe from; it must exist under `[topics]` so that the preference page can
    show it.

    Before (with `reminders = "Reminders"` under `[topics]`):

        topic: reminder

    After:

        topic: reminders
    """
    return _no_such("F121", span, name, known, what="topic", where="[topics] of homing.toml")


@page("F122", "unknown-sender")
def unknown_sender(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A flow or step names a sender that `homing.toml` does not declare under `[senders.NAME]`.

    Before (with `[senders.founder]` in `homing.toml`):

        sender: fouder

    After:

        sender: founder
    """
    return _no_such("F122", span, name, known, what="sender", where="[senders.NAME] of homing.toml")


@page("F123", "unknown-offer")
def unknown_offer(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A flow names an offer that `flows/offers.yaml` does not hold.

    Before (with `cart-ten` in `flows/offers.yaml`):

        - {send: cart-offer, offer: ten}

    After:

        - {send: cart-offer, offer: cart-ten}
    """
    return _no_such("F123", span, name, known, what="offer", where="flows/offers.yaml")


@page("F124", "unknown-webhook")
def unknown_webhook(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A `webhook` step hands over to a name that `[webhooks]` in `homing.toml` does not hold.

    Before (with `sms = "https://…"` under `[webhooks]`):

        - webhook: {to: sns}

    After:

        - webhook: {to: sms}
    """
    return _no_such("F124", span, name, known, what="webhook", where="[webhooks] of homing.toml")


@page("F125", "unknown-template")
def unknown_template(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A step sends a template that does not exist.

    `send: cart-reminder` means `templates/cart-reminder.mjml`; copies in other languages stand beside it, as in
    `templates/ja/cart-reminder.mjml`, and do not replace it.

    Before:

        - send: cart-remindr

    After:

        - send: cart-reminder
    """
    hint = did_you_mean(name, known)
    return Finding(
        "F125", "error", f'there is no template "{name}"', span, effect="this mail could not be made",
        help=hint or f"write templates/{name}.mjml",
    )  # fmt: skip


@page("F126", "unknown-file")
def unknown_pool(span: Span, name: str) -> Finding:
    """An offer takes its codes from a file that does not exist in the project.

    Before (while the project holds `codes.txt`):

        spring: {percent: 10, pool: code.txt, valid_for: 7d}

    After:

        spring: {percent: 10, pool: codes.txt, valid_for: 7d}
    """
    return Finding(
        "F126",
        "error",
        f'there is no file "{name}" with codes',
        span,
        help="put it into the project, one code a line",
    )


@page("F127", "circle-of-offers")
def circle_of_offers(span: Span, names: Sequence[str]) -> Finding:
    """Offers replace each other in a circle when their codes run out.

    `when_empty: OFFER` takes the other offer's code. Where that one falls back on the first, no code would ever be found.

    Before:

        a: {percent: 10, pool: a.txt, when_empty: b}
        b: {percent: 5, pool: b.txt, when_empty: a}

    After:

        a: {percent: 10, pool: a.txt, when_empty: b}
        b: {percent: 5, pool: b.txt, when_empty: without}
    """
    return Finding("F127", "error", f"these offers replace each other in a circle: {' → '.join(names)}", span,
                   help="let one of them say `when_empty: without` or `wait`")  # fmt: skip


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@page("C101", "unknown-condition")
def unknown_condition(
    span: Span, key: str, known: Sequence[str], *, way_out: str = "", taken: Sequence[str] = ()
) -> Finding:
    """A condition asks something that conditions cannot ask.

    A condition is one of `did`, `did_not`, `customer`, `trigger`, `product`, `cart`, `order`, `answer`, `offer`,
    `segment`, `not_segment`, or `any`, `all` and `not` around others.

    Before:

        only_if: [{country: JP}]

    After:

        only_if: [{customer: {country: JP}}]
    """
    hint = did_you_mean(key, known)
    way_out = way_out or (
        "merging tables (<<) is no YAML 1.2; write the condition out"
        if key == "<<"
        else _instead(hint, taken)
    )
    return Finding("C101", "error", f'"{key}" is no condition', span, help=way_out or hint or f"known: {', '.join(known)}",
                   fixable=is_sure(key, known) and not way_out)  # fmt: skip


@page("C102", "unknown-field")
def unknown_field(
    span: Span, scope: str, path: str, known: Sequence[str], *, taken: Sequence[str] = ()
) -> Finding:
    """A condition asks for a field that customers, products, carts or orders do not have.

    What a shop tells beyond the known fields is kept under `properties.`. A name that looks like a misspelt field is an
    error; any other is taken as a property of that name, with this warning.

    Before:

        only_if: [{customer: {shoe_size: 42}}]

    After:

        only_if: [{customer: {properties.shoe_size: 42}}]
    """
    hint = did_you_mean(path, known)
    if hint:
        way_out = _instead(hint, taken)
        return Finding("C102", "error", f'{scope} has no field "{path}"', span, help=way_out or hint,
                       fixable=is_sure(path, known) and not way_out, effect="the test could never hold")  # fmt: skip
    return Finding("C102", "warning", f'{scope} has no field "{path}" of its own', span, fixable=True,
                   effect="it is asked as a property of that name", help=f"write `properties.{path}`")  # fmt: skip


def test_as_field(span: Span, scope: str, field: str, operator: str) -> Finding:
    """Tell a test that stands where its field should, as in `customer: {contains: vip}`, or behind it (C102)."""
    written, way_out = f"{field}.{operator}".lstrip("."), "write" if field else "name the field:"
    return Finding("C102", "error", f'{scope} has no field "{written}": `{operator}` is a way to test one', span,
                   effect="the test could never hold",
                   help=f"{way_out} `{scope}: {{{field or 'FIELD'}: {{{operator}: …}}}}`")  # fmt: skip


def scope_twice(span: Span, scope: str, field: str) -> Finding:
    """Tell a field that names its scope again, as in `customer: {customer.tags: …}` (C102)."""
    return Finding("C102", "error", f'{scope} has no field "{scope}.{field}"', span, effect="the test could never hold",
                   help=f'did you mean "{field}"?', fixable=True)  # fmt: skip


@page("C103", "unknown-operator")
def unknown_operator(span: Span, key: str, path: str, known: Sequence[str], *, way_out: str = "") -> Finding:
    """A test compares in a way that does not exist.

    A test is a value (equal), a list (one of), or `eq ne gt gte lt lte in not_in contains starts_with exists before
    after within older_than in_next`.

    Before:

        customer: {spent: {">=": 100}}

    After:

        customer: {spent: {gte: 100}}
    """
    hint = did_you_mean(key, known)
    return Finding(
        "C103", "error", f'"{key}" is no way to test {path}', span, help=way_out or hint or f"known: {' '.join(known)}",
        fixable=(is_sure(key, known) and not way_out) or (way_out.startswith("write ") and "`" not in way_out),
    )  # fmt: skip


@page("C104", "wrong-operand")
def wrong_operand(span: Span, operator: str, wanted: str, found: str, *, way_out: str = "") -> Finding:
    """An operator is given something that it cannot compare with.

    `gt gte lt lte` take a number (or text), `in` and `not_in` a list, `exists` true or false, `before` and `after` a
    date, `within`, `older_than` and `in_next` a duration.

    Before:

        customer: {last_order_at: {within: 2026-01-01}}

    After:

        customer: {last_order_at: {within: 30d}}
    """
    way_out = way_out or f"write {wanted}"
    return Finding("C104", "error", f"{operator} takes {wanted}, not {found}", span, help=way_out)


@page("C105", "bad-path")
def bad_path(span: Span, path: str) -> Finding:
    """The name of a field holds something that names cannot hold.

    A field is a name, or names joined by dots: letters, digits, `_` and `-`, at most five parts.

    Before:

        customer: {country!: DE}

    After:

        customer: {country: DE}
    """
    return Finding(
        "C105",
        "error",
        f"{quoted(path)} is no field",
        span,
        help="for example `spent` or `properties.shoe_size`",
    )


@page("C106", "unknown-segment")
def unknown_segment(span: Span, name: str, known: Iterable[str]) -> Finding:
    """A condition, trigger or setting names a segment that `flows/segments.yaml` does not hold.

    Before (`flows/segments.yaml` holds `vip`):

        only_if: [{segment: vips}]

    After:

        only_if: [{segment: vip}]
    """
    return _no_such("C106", span, name, known, what="segment", where="flows/segments.yaml")


@page("C107", "circle-of-segments")
def circle_of_segments(span: Span, names: Sequence[str]) -> Finding:
    """Segments are defined by each other in a circle.

    Whether a customer belongs could never be decided. Write the conditions out in one of them.

    Before (`flows/segments.yaml`):

        loyal: [{segment: regulars}]
        regulars: [{segment: loyal}]

    After:

        loyal: [{segment: regulars}]
        regulars: [{customer: {orders: {gte: 3}}}]
    """
    return Finding("C107", "error", f"these segments are defined by each other: {' → '.join(names)}", span,
                   help="write the conditions out in one of them")  # fmt: skip


@page("C108", "did-twice")
def did_twice(span: Span) -> Finding:
    """One condition holds both `did` and `did_not`.

    `within`, `where` and `times` would belong to neither or both. Write two conditions.

    Before:

        - {did: order_placed, did_not: order_returned, within: 30d}

    After:

        - {did: order_placed, within: 30d}
        - {did_not: order_returned, within: 30d}
    """
    return Finding(
        "C108", "error", "did and did_not stand in one condition", span, help="write them as two conditions"
    )
