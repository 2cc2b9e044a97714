"""Bugs planted in what GUARANTEES.md promises under "Over the web"."""

from __future__ import annotations

import itertools
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from engine.facts import order_names
from engine.feedback import machines, settle
from engine.store import meta
from engine.web.house import door, uploads
from engine.web.intake import taking, trust, writer
from engine.web.links import looks, signup, unsubscribe
from tests.planted.planting import always, breaks, instead

LINKS = "tests/integration/test_web_links.py::"


@breaks("GET changes nothing", LINKS + "test_scanners_change_nothing")
def looking_at_a_link_unsubscribes() -> None:
    """Opening the link of a mail ends its topic."""
    instead(unsubscribe, "_show", lambda _: unsubscribe._stop)


@breaks("One click unsubscribes", LINKS + "test_every_post_to_a_good_link_unsubscribes")
def only_a_form_unsubscribes() -> None:
    """A press whose body is no form of ours ends nothing."""

    def strict(real: Any) -> Any:
        def withdraw(site: Any, reader: Any, topic: str, source: str, wording: str) -> None:
            if source == unsubscribe.ONE_CLICK:
                real(site, reader, topic, source, wording)

        return withdraw

    instead(unsubscribe, "_withdraw", strict)


@breaks("One click unsubscribes", LINKS + "test_old_links_outlive_their_secret")
def old_secret_is_forgotten() -> None:
    """A new secret for links ends those that were sent."""
    instead(meta, "link_secrets", lambda real: lambda connection: real(connection)[:1])


@breaks(
    "An answered call is durable, and told twice it is one",
    "tests/integration/test_web_operation.py::test_many_at_once",
)
def answered_call_is_lost() -> None:
    """Of the calls that are written together some are forgotten."""

    def some(real: Any) -> Any:
        def take(self: Any, bundles: Any) -> None:
            real(self, [each for number, each in enumerate(bundles) if number < 2])

        return take

    instead(writer.Writer, "_take", some)


@breaks(
    "An answered call is durable, and told twice it is one",
    "tests/integration/test_web_segment.py::test_the_same_call_twice_is_one",
)
def call_told_twice_is_two() -> None:
    """Nobody looks whether a call came before."""
    turns = itertools.count()

    def anew(_real: Any) -> Any:
        def known_calls(_connection: Any, calls: Any, _now: Any) -> Any:
            for call in calls:
                call.content["messageId"] = f"{call.content.get('messageId')}-{next(turns)}"
            return calls

        return known_calls

    instead(taking, "known_calls", anew)


@breaks(
    "An order that an export and webhooks tell counts once",
    "tests/integration/test_web_shops.py::test_one_order_counts_once",
    "tests/integration/test_web_shops.py::test_a_file_without_numbers_finds_what_another_file_told",
)
def orders_are_known_by_their_newest_name() -> None:
    """Whatever an order is called by another source is another order."""
    instead(order_names, "under_first_names", lambda _real: lambda _connection, told: told)


FEEDBACK = "tests/integration/test_web_feedback.py::"


@breaks("Delivery events may come in any order", FEEDBACK + "test_any_order_ends_alike")
def newest_event_decides() -> None:
    """A message is what was told of it last."""
    instead(settle, "_is_forward", always(True))


@breaks("Delivery events may come in any order", FEEDBACK + "test_what_was_unknown_is_settled")
def unknown_stays_unknown() -> None:
    """Events of a mail whose fate is unknown are kept, and settle nothing."""
    instead(
        settle, "_is_forward", lambda real: lambda before, after: before != "unknown" and real(before, after)
    )


@breaks("Machines decide nothing", FEEDBACK + "test_machines_decide_nothing")
def scanners_click_for_people() -> None:
    """A click right after the delivery is a person's."""
    instead(settle, "_by_machines", always(frozenset()))


@breaks(
    "A counted link leads where the mail said, and nowhere else",
    "tests/integration/test_web_looks.py::test_a_click_leads_to_the_stored_address_only",
)
def click_leads_where_the_request_says() -> None:
    """A link leads to the address that its query names."""

    def open_redirect(real: Any) -> Any:
        async def click(request: Request) -> Response:
            asked = request.query_params.get("url")
            answer: Response = RedirectResponse(asked, 302) if asked else await real(request)
            return answer

        return click

    instead(looks, "_click", open_redirect)


@breaks(
    "A counted link leads where the mail said, and nowhere else",
    "tests/integration/test_web_looks.py::test_machines_are_marked_and_decide_nothing",
)
def programs_look_like_people() -> None:
    """Whoever asks is a person."""
    instead(machines, "is_program", always(False))
    instead(machines, "is_ahead", always(False))


HOUSE = "Looking into the house changes nothing, and nobody looks without the password"


@breaks(HOUSE, "tests/integration/test_house_browser.py::test_nothing_is_seen_without_a_visit")
def house_stands_open() -> None:
    """Nobody is asked for the password."""
    instead(door, "_is_visit", always(True))


@breaks(HOUSE, "tests/integration/test_house.py::test_a_button_on_another_page_does_nothing")
def button_works_from_any_page() -> None:
    """A page elsewhere may press a button for who is logged in."""
    instead(door, "_is_ours", always(True))


@breaks(
    "A write key that stands in a page grants no consent",
    "tests/integration/test_web_segment.py::test_a_key_of_a_page_grants_no_consent",
)
def any_key_grants_consent() -> None:
    """Nobody asks what a write key may say."""
    instead(trust, "refusal", always(""))


@breaks(
    "A sign-up is for the topics that were ticked, with the words that were shown",
    LINKS + "test_a_sign_up_is_for_what_was_chosen_only",
)
def no_topic_is_every_topic() -> None:
    """Who ticks nothing has signed up for everything."""

    def everything(real: Any) -> Any:
        class Form(FormData):
            def getlist(self, key: Any) -> list[Any]:
                return super().getlist(key) or (["offers", "reminders"] if key == "topic" else [])

        async def take(request: Request) -> Response:
            form = await request.form(max_files=0, max_fields=50)
            request._form = Form(form.multi_items())
            answer: Response = await real(request)
            return answer

        return take

    instead(signup, "_take", everything)


@breaks(
    "An uploaded file becomes facts only by a second button, and survives from then on",
    "tests/integration/test_house_files.py::test_a_confirmed_file_outlives_the_program",
)
def confirmed_file_is_forgotten() -> None:
    """A file that a program did not finish is taken up by nobody."""
    instead(uploads.Uploads, "take_next", always(None))
