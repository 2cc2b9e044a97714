"""Bugs planted in what GUARANTEES.md promises under "One meaning"."""

from __future__ import annotations

import re
from typing import Any

from jinja2.sandbox import SandboxedEnvironment
from sqlalchemy import literal, literal_column

from engine.audience import memory, sqlvalues
from engine.delivery import addresses, mime
from engine.facts import json_texts
from engine.render import context, environment, limits, mjml, pieces
from tests.planted.planting import always, breaks, instead


@breaks(
    "A condition means the same for a whole audience and for one customer",
    "tests/contracts/conditions/test_one_meaning.py::test_every_value_meets_every_test",
)
def at_least_is_more_than_for_one_customer() -> None:
    """Asked for one customer, "at least" leaves out the number itself."""
    instead(memory, "_COMPARE", lambda real: {**real, "gte": real["gt"]})


@breaks(
    "What a user wrote is never part of a statement",
    "tests/contracts/conditions/test_statements.py::test_what_a_user_wrote_is_never_statement_text",
)
def texts_are_written_into_statements() -> None:
    """What a condition compares with stands in the statement itself."""

    def written(value: Any, *_: Any) -> Any:
        quoted = str(value).replace("'", "''").replace(":", "\\:")
        return literal_column(f"'{quoted}'") if isinstance(value, str) else literal(value, *_)

    instead(sqlvalues, "literal", lambda _real: written, there_alone=True)


HEADERS = "No text of a customer becomes a header, a tag or a template"


@breaks(HEADERS, "tests/attacks/test_headers.py::test_texts_stay_in_their_headers")
def line_break_ends_a_header() -> None:
    """A subject and a name stand in their headers as they came."""
    instead(mime, "clean", lambda _: lambda text: mime._SURROGATES.sub("\ufffd", text))


@breaks(HEADERS, "tests/attacks/test_headers.py::test_texts_stay_in_their_headers")
def encoded_words_are_let_be() -> None:
    """Line breaks go, but what looks like an encoded word is left for others to decode."""
    instead(mime, "_ENCODED_WORD", lambda _: re.compile("(?!)"))


@breaks(HEADERS, "tests/attacks/test_headers.py::test_an_address_is_one_address_or_none")
def address_is_taken_as_it_came() -> None:
    """What has an @ is an address."""

    def lenient(real: Any) -> Any:
        def addr_spec(address: str) -> str:
            if "@" not in address:
                return str(real(address))
            return address

        return addr_spec

    instead(addresses, "addr_spec", lenient)


@breaks(HEADERS, "tests/attacks/test_markup.py::test_a_hostile_text_changes_no_tag")
def quotes_are_not_escaped() -> None:
    """A value may end the attribute that it stands in."""
    instead(pieces, "in_text", lambda real: lambda value: str(real(value)).replace("&#34;", '"'))


@breaks(HEADERS, "tests/attacks/test_markup.py::test_a_hostile_address_leads_nowhere")
def any_address_is_a_link() -> None:
    """Whatever a field says may be an address."""
    instead(mjml, "_is_safe_address", always(True))
    instead(context, "_safe_url", lambda _: str)


EXHAUSTS = "No file and no template exhausts the machine"
TEMPLATES = "tests/unit/render/test_environment.py::"


@breaks(EXHAUSTS, TEMPLATES + "test_nothing_leads_out_of_the_sandbox")
def sandbox_shows_every_attribute() -> None:
    """A template may see whatever a value has."""
    for owner in (environment.MailEnvironment, SandboxedEnvironment):
        instead(owner, "is_safe_attribute", always(True))


@breaks(EXHAUSTS, TEMPLATES + "test_bombs_end_early")
def range_has_no_end() -> None:
    """A template may ask for as many numbers as it likes."""
    instead(limits, "bounded_range", lambda _: range)


@breaks(
    "No file and no template exhausts the machine",
    "tests/attacks/test_files.py::test_bombs_need_little_memory",
)
def rows_have_no_largest_size() -> None:
    """A row of a file may be as long as it likes."""
    instead(json_texts, "LARGEST_ROW", lambda _real: 1 << 40)
