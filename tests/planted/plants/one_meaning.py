"""Bugs planted in what GUARANTEES.md promises under "One meaning"."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import Any

from jinja2.sandbox import SandboxedEnvironment
from sqlalchemy import literal, literal_column

from engine.audience import memory, sqlvalues
from engine.delivery import addresses, mime, sendgrid
from engine.facts import csv_tables, json_texts
from engine.render import (
    attributes,
    context,
    environment,
    flatten,
    limits,
    mjml,
    pieces,
    pinpoint,
)
from tests.planted.planting import always, breaks, instead

ONE_MEANING = "A condition means the same for a whole audience and for one customer"
CONDITIONS = "tests/contracts/conditions/test_one_meaning.py::"


@breaks(ONE_MEANING, CONDITIONS + "test_every_value_meets_every_test")
def at_least_is_more_than_for_one_customer() -> None:
    """Asked for one customer, "at least" leaves out the number itself."""
    instead(memory, "_COMPARE", lambda real: {**real, "gte": real["gt"]})


@breaks(ONE_MEANING, CONDITIONS + "test_every_text_meets_every_text")
def beginning_may_be_in_another_case_for_one_customer() -> None:
    """Asked for one customer, "starts_with" takes small letters for capital ones."""

    def lenient(real: Any) -> Any:
        def passes(value: Any, test: Any, present: Any) -> bool:
            if test.op == "starts_with" and isinstance(value, str) and isinstance(test.operand, str):
                return bool(real(value.lower(), replace(test, operand=test.operand.lower()), present))
            return bool(real(value, test, present))

        return passes

    instead(memory, "passes", lenient)


@breaks(ONE_MEANING, CONDITIONS + "test_a_batch_and_one_customer_agree")
def used_codes_are_overlooked_for_one_customer() -> None:
    """Asked for one customer, whether the code of an offer was used is not looked at."""

    def overlooked(real: Any) -> Any:
        return lambda self, condition, words: real(self, replace(condition, used=None), words)

    instead(memory._Judge, "_offer", overlooked)


@breaks(ONE_MEANING, CONDITIONS + "test_a_crowded_shop_agrees")
def first_clause_of_a_segment_is_enough_for_one_customer() -> None:
    """Asked for one customer, a segment holds whoever fits one of its clauses."""

    def one_is_enough(real: Any) -> Any:
        def segment(self: Any, condition: Any, words: str) -> Any:
            told = real(self, condition, words)
            return replace(told, holds=any(part.holds for part in told.parts) or not told.parts)

        return segment

    instead(memory._Judge, "_segment", one_is_enough)


@breaks(ONE_MEANING, CONDITIONS + "test_a_crowded_shop_agrees")
def moment_of_entering_counts_for_one_customer() -> None:
    """Asked for one customer, what happened at the very moment of entering is since the entry, too."""

    def at_once(real: Any) -> Any:
        def counts(self: Any, row: Any, condition: Any, after_entry: bool) -> bool:
            if condition.since == "entry" and row["occurred_at"] == self.subject.entered_at:
                condition = replace(condition, since=None, within=None)
                return bool(real(self, row, condition, False))
            return bool(real(self, row, condition, after_entry))

        return counts

    instead(memory._Judge, "_counts", at_once)


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


@breaks(
    HEADERS, "tests/contracts/providers/test_every_provider.py::test_no_name_and_no_subject_makes_a_header"
)
def sendgrid_gets_texts_as_they_came() -> None:
    """Who hands mails over by an interface of the web leaves line breaks to the other side."""
    instead(sendgrid, "clean", lambda _: str, there_alone=True)


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


@breaks(EXHAUSTS, "tests/attacks/test_files.py::test_a_bomb_costs_little_time")
def lines_have_no_largest_size() -> None:
    """A line of a table may be as long as it likes."""
    instead(csv_tables, "LARGEST_ROW", lambda _: 1 << 40)
    csv.field_size_limit(1 << 40)


QUICKLY = "A mail made quickly is the mail"
STRUCTURES = "tests/unit/render/test_structures.py::"


@breaks(QUICKLY, STRUCTURES + "test_different_mails_are_the_same_bytes")
def rows_of_data_are_read_as_words() -> None:
    """What stands in a table of data is put into the text as if it stood outside of one."""

    def outside(real: Any) -> Any:
        def note(self: Any, number: int) -> None:
            real(self, number)
            self.leaves[number] = False

        return note

    instead(pieces.SlotReader, "_note", outside)


@breaks(QUICKLY, STRUCTURES + "test_odd_values_in_odd_places")
def attributes_are_written_as_words_are() -> None:
    """What is filled into an attribute is not written as the compiler would have written it there."""
    instead(pieces, "WRITERS", lambda real: {**real, "attribute": pieces.in_text})


@breaks(QUICKLY, "tests/unit/render/test_flatten.py")
def other_choices_are_lost_in_a_block() -> None:
    """A block that is put in its place chooses between its first `if` and its `else` alone."""

    def first_alone(real: Any) -> Any:
        def visit_if(self: Any, node: Any, *rest: Any, **named: Any) -> Any:
            node.elif_ = []
            return real(self, node, *rest, **named)

        return visit_if

    instead(flatten._Simplified, "visit_If", first_alone)


AT_ITS_CHARACTER = "A template's mistake is told at its character"


@breaks(AT_ITS_CHARACTER, TEMPLATES + "test_errors_name_file_line_and_column")
def front_matter_is_not_counted() -> None:
    """The column is looked for in a template's body as if nothing stood above it."""
    instead(pinpoint, "_source", lambda _: lambda library, path, _line: library.parse(path).body)


@breaks(AT_ITS_CHARACTER, TEMPLATES + "test_errors_name_file_line_and_column")
def field_is_told_at_the_last_filter() -> None:
    """What is asked of somebody in the first part of a chain is told where the chain ends."""
    instead(pinpoint, "_asked_at", lambda _: lambda _source, at, _problem: at)


@breaks(AT_ITS_CHARACTER, "tests/unit/render/test_lint.py::test_every_known_attribute_has_an_effect")
def attribute_that_does_nothing_passes() -> None:
    """An attribute that MJML has and the compiler leaves out counts as one that is written."""
    known = {**attributes.WRITTEN, "mj-image": attributes.WRITTEN["mj-image"] | {"sizes"}}
    instead(attributes, "WRITTEN", lambda _: known)


ONE_MAIL = "What leaves is one mail to every reader"
MIME = "tests/unit/delivery/test_mime.py"


@breaks(ONE_MAIL, MIME)
def encoded_words_cut_letters_in_two() -> None:
    """A long subject is cut every so many bytes, in the middle of a letter where it comes to that."""

    def by_bytes(value: str, used: int) -> str:
        content = value.encode("utf-8")
        room = max(4, (mime._FOLD_AT - used - 12) // 4 * 3)
        rest = [content[at : at + 45] for at in range(room, len(content), 45)]
        return "\r\n ".join(map(mime._encoded_word, [content[:room], *rest]))

    instead(mime, "_encoded_words", lambda _: by_bytes)


@breaks(ONE_MAIL, MIME)
def blank_at_the_end_of_a_line_is_left_bare() -> None:
    """Quoted-printable leaves a blank at the end of a line as it is, which readers take away."""
    instead(mime, "_BLANKS", lambda _: ())


@breaks(ONE_MAIL, "tests/mails/test_starter_mails.py::test_two_parsers_read_what_leaves")
def quoted_lines_are_cut_anywhere() -> None:
    """A quoted line goes on in the next after 75 signs, also between the two digits of a byte."""
    instead(mime, "_PIECES", lambda _: re.compile(rb".{1,75}"))
