"""Bugs planted in what GUARANTEES.md promises under "Over the web"."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.clock import machine_seconds
from engine.delivery import mailroom
from engine.facts import encodings, order_names
from engine.feedback import machines, settle
from engine.store import meta
from engine.store.tables import orders
from engine.web import guard, paper, patience
from engine.web.house import door, files, mails, sheet, uploads
from engine.web.intake import calls, effects, shops, taking, trust, writer
from engine.web.links import answers, gone, looks, signup, unsubscribe
from tests.planted.planting import always, breaks, instead

LINKS = "tests/integration/test_web_links.py::"


@breaks("GET changes nothing", LINKS + "test_scanners_change_nothing")
def looking_at_a_link_unsubscribes() -> None:
    """Opening the link of a mail ends its topic."""
    instead(unsubscribe, "_show", lambda _: unsubscribe._stop)


@breaks("GET changes nothing", LINKS + "test_scanners_change_nothing")
def looking_at_a_link_answers() -> None:
    """Opening the link of a score is the answer."""
    instead(answers, "_ask", lambda _real: answers._answer)


@breaks("GET changes nothing", LINKS + "test_scanners_change_nothing")
def looking_at_a_link_confirms() -> None:
    """Opening the link that a sign-up is mailed grants what was asked for."""
    instead(signup, "_ask", lambda _real: signup._confirm)


@breaks("One click unsubscribes", LINKS + "test_every_post_to_a_good_link_unsubscribes")
def only_a_form_unsubscribes() -> None:
    """A press whose body is no form of ours ends nothing."""

    def strict(real: Any) -> Any:
        def withdraw(site: Any, reader: Any, topic: str, source: str, wording: str) -> None:
            if source == unsubscribe.ONE_CLICK:
                real(site, reader, topic, source, wording)

        return withdraw

    instead(unsubscribe, "_withdraw", strict)


@breaks("One click unsubscribes", LINKS + "test_one_click_unsubscribes")
def one_click_ends_every_topic() -> None:
    """A mail program's press ends all marketing, and not the topic that its mail is of."""

    def of_all(real: Any) -> Any:
        return lambda site, reader, _topic, *rest: real(site, reader, "all", *rest)

    instead(unsubscribe, "_withdraw", of_all)


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
    "tests/integration/test_web_operation.py::test_no_call_is_answered_before_it_is_written",
)
def call_is_answered_before_it_is_written() -> None:
    """Who tells a call is answered as soon as it waits to be written."""

    def at_once(real: Any) -> Any:
        def submit(self: Any, bundle: Any) -> Any:
            real(self, bundle)
            done: Future[None] = Future()
            done.set_result(None)
            return done

        return submit

    instead(writer.Writer, "submit", at_once)


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
    "An answered call is durable, and told twice it is one",
    "tests/integration/test_web_shops.py::test_a_repeated_delivery_changes_nothing",
)
def delivery_is_known_by_its_webhook_alone() -> None:
    """The same event that another webhook of the shop tells is taken as another."""

    def by_webhook(real: Any) -> Any:
        def is_known(connection: Any, delivery: Any, now: Any) -> Any:
            own = tuple(each for each in delivery.ids if not each.startswith("event-id:"))
            return real(connection, replace(delivery, ids=own), now)

        return is_known

    instead(shops, "_is_known", by_webhook)


@breaks(
    "An order that an export and webhooks tell counts once",
    "tests/integration/test_web_shops.py::test_one_order_counts_once",
)
def orders_are_known_by_their_newest_name() -> None:
    """Whatever an order is called by another source is another order."""
    instead(order_names, "under_first_names", lambda _real: lambda _connection, told: told)


@breaks(
    "An order that an export and webhooks tell counts once",
    "tests/integration/test_web_shops.py::test_a_file_without_numbers_finds_what_another_file_told",
)
def other_name_of_an_order_is_forgotten() -> None:
    """What an order is called beside is known only as long as it is told with its number."""
    instead(order_names, "insert_rows", always(None), there_alone=True)


@breaks(
    "An order that an export and webhooks tell counts once",
    "tests/integration/test_web_shops.py::test_a_sum_of_a_file_gives_way_to_the_shops_refunds",
)
def sum_of_a_file_stays_beside_refunds() -> None:
    """What a file told as paid back is kept, and the shop's own refund is added to it."""

    def beside(real: Any) -> Any:
        def appended(connection: Any, effect: Any) -> Any:
            found = real(connection, effect)
            names = order_names.known_names(connection, [effect.order_id])
            wanted = select(orders.c[effect.field])
            known = connection.scalar(
                wanted.where(orders.c.order_id == names.get(effect.order_id, effect.order_id))
            )
            sums = [each for each in known or [] if each.get("id") is None]
            return {**found, effect.field: [*sums, *found[effect.field]]}

        return appended

    instead(effects, "_appended", beside)


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


@breaks(
    "A counted link leads where the mail said, and nowhere else",
    "tests/integration/test_web_looks.py::test_only_a_shop_that_wants_it_counts",
)
def every_shop_counts() -> None:
    """Links lead over our own wherever the shop has a site for them, whether it wants to count or not."""

    def unasked(real: Any) -> Any:
        def with_counting(made: Any, at: Any, secret: bytes) -> Any:
            settings = replace(at.settings, track_clicks=True, track_opens=True)
            return real(made, replace(at, settings=settings), secret)

        return with_counting

    instead(mailroom, "_with_counting", unasked)


HOUSE = "Looking into the house changes nothing, and nobody looks without the password"


@breaks(HOUSE, "tests/integration/test_house.py::test_looking_changes_nothing")
def house_notes_who_looks() -> None:
    """Each page of the house writes down when it was looked at last."""

    def noting(real: Any) -> Any:
        def looking(view: Any) -> Any:
            def noted(request: Request) -> Response:
                with request.app.state.site.database.write() as connection:
                    meta.put(connection, "looked_at", "now")
                answer: Response = view(request)
                return answer

            return real(noted)

        return looking

    instead(door, "looking", noting)


@breaks(HOUSE, "tests/integration/test_house_browser.py::test_no_page_writes_a_row")
def page_of_a_mail_is_kept() -> None:
    """What a mail looked like is written down when it is looked at for the first time."""

    def keeping(real: Any) -> Any:
        def message(request: Request) -> Response:
            answer: Response = real(request)
            with request.app.state.site.database.write() as connection:
                meta.put(connection, f"page of {request.path_params['message']}", "kept")
            return answer

        return message

    instead(mails, "_message", keeping)


@breaks(HOUSE, "tests/integration/test_house_browser.py::test_nothing_is_seen_without_a_visit")
def house_stands_open() -> None:
    """Nobody is asked for the password."""
    instead(door, "_is_visit", always(True))


@breaks(HOUSE, "tests/integration/test_house.py::test_a_button_on_another_page_does_nothing")
def button_works_from_any_page() -> None:
    """A page elsewhere may press a button for who is logged in."""
    instead(door, "_is_ours", always(True))


@breaks(HOUSE, "tests/integration/test_house.py::test_a_mark_of_another_visit_does_nothing")
def mark_is_everybodys() -> None:
    """The mark of a form is the same in every visit."""
    instead(door, "mark_of", lambda real: lambda _token: real(""))


@breaks(
    "A write key that stands in a page grants no consent",
    "tests/integration/test_web_segment.py::test_a_key_of_a_page_grants_no_consent",
)
def any_key_grants_consent() -> None:
    """Nobody asks what a write key may say."""
    instead(trust, "refusal", always(""))


@breaks(
    "A write key that stands in a page grants no consent",
    "tests/integration/test_web_segment.py::test_nobody_tells_what_homing_tells_itself",
)
def anybody_tells_what_homing_tells_itself() -> None:
    """A call may say that a mail was sent."""
    instead(trust, "ENGINE_EVENTS", lambda _real: frozenset())


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
    "A sign-up is for the topics that were ticked, with the words that were shown",
    LINKS + "test_the_words_of_a_shops_own_form_are_recorded",
)
def words_of_our_page_are_made_up() -> None:
    """Whatever form was filled in, the words of our own page are recorded."""

    def ours(_real: Any) -> Any:
        return lambda site, _form: {"wording": signup.consent_words(site, "en"), "source": signup.FORM}

    instead(signup, "_words_of", ours)


ANY_BYTES = "A file of any bytes can be looked at and let go"
FILES = "tests/integration/test_house_files.py::"


@breaks(ANY_BYTES, FILES + "test_a_file_of_any_bytes_can_be_looked_at_and_let_go")
def file_that_fits_no_encoding_has_no_page() -> None:
    """A file whose bytes are text in no encoding is not thought of."""

    def fitting(real: Any) -> Any:
        return lambda path: [guess for guess in real(path) if guess.encoding]

    instead(encodings, "foreign", fitting)


@breaks(ANY_BYTES, FILES + "test_a_file_of_any_bytes_can_be_looked_at_and_let_go")
def file_that_is_not_utf8_cannot_be_let_go() -> None:
    """As long as nobody has said how a file is to be read, its buttons do nothing."""

    def stuck(real: Any) -> Any:
        def act(request: Request, form: FormData) -> Response:
            upload = files._found(request)
            if upload.foreign and not form.get("encoding"):
                return RedirectResponse(door.house_path(request, f"files/{upload.name}"), 303)
            answer: Response = real(request, form)
            return answer

        return act

    instead(files, "_act", stuck)


@breaks(ANY_BYTES, FILES + "test_a_file_that_is_not_utf8_is_read_as_what_somebody_says_it_is")
def file_is_read_as_what_is_usual() -> None:
    """Whatever somebody says a file is, it is read as Windows-1252."""

    def usual(real: Any) -> Any:
        return lambda path, _encoding: real(path, "cp1252")

    instead(encodings, "rewrite", usual)


UPLOADED = "An uploaded file becomes facts only by a second button, and survives from then on"


@breaks(UPLOADED, FILES + "test_a_file_is_seen_mapped_and_then_taken_in")
def uploaded_file_is_taken_in_at_once() -> None:
    """A file whose kind is known needs no second button."""

    def at_once(real: Any) -> Any:
        def upload(request: Request, form: FormData) -> Response:
            answer: Response = real(request, form)
            kept = files._uploads(request)
            for each in kept.all():
                kept.keep(replace(each, state="confirmed"))
            request.app.state.taking.look()
            return answer

        return upload

    instead(files, "_upload", at_once)


@breaks(UPLOADED, FILES + "test_a_name_leads_nowhere_else")
def file_lies_where_its_name_leads() -> None:
    """A file is kept under the name that it comes with."""
    instead(uploads, "file_name", lambda _real: lambda told: told or "file.csv")


@breaks(UPLOADED, FILES + "test_a_confirmed_file_outlives_the_program")
def confirmed_file_is_forgotten() -> None:
    """A file that a program did not finish is taken up by nobody."""
    instead(uploads.Uploads, "take_next", always(None))


SLOWLY = "Nobody holds the server by asking slowly or too much"
OPERATION = "tests/integration/test_web_operation.py::"


@breaks(SLOWLY, OPERATION + "test_a_head_that_never_ends_is_given_up")
def later_heads_are_waited_for() -> None:
    """Only a connection's first request is timed."""

    def once(_real: Any) -> Any:
        def data_received(self: Any, data: bytes) -> None:
            H11Protocol.data_received(self, data)
            self._stop()

        return data_received

    instead(patience.PatientProtocol, "data_received", once)


@breaks(SLOWLY, OPERATION + "test_a_head_that_trickles_is_given_up")
def each_byte_of_a_head_begins_the_wait_anew() -> None:
    """Who sends a byte now and then is waited for."""

    def anew(real: Any) -> Any:
        def data_received(self: Any, data: bytes) -> None:
            self._stop()
            real(self, data)

        return data_received

    instead(patience.PatientProtocol, "data_received", anew)


@breaks(SLOWLY, OPERATION + "test_a_body_that_never_ends_is_given_up")
def bodies_are_not_timed() -> None:
    """A body may take as long as it likes."""

    def patient(real: Any) -> Any:
        def begin(self: Any, receive: Any, largest: int, seconds: float, scope: Any) -> None:
            real(self, receive, largest, seconds * 1_000_000, scope)

        return begin

    instead(guard._Limited, "__init__", patient)


@breaks(SLOWLY, OPERATION + "test_a_body_that_trickles_is_given_up")
def each_piece_of_a_body_begins_the_wait_anew() -> None:
    """A body is timed from its last piece, and not from its beginning."""

    def anew(real: Any) -> Any:
        async def receive(self: Any) -> Any:
            longest = seconds.setdefault(id(self), self.until - machine_seconds())
            self.until = machine_seconds() + longest
            return await real(self)

        return receive

    seconds: dict[int, float] = {}
    instead(guard._Limited, "__call__", anew)


@breaks(SLOWLY, LINKS + "test_who_sends_too_much_still_hears_so")
def too_much_is_refused_in_the_middle_of_it() -> None:
    """The connection is closed as soon as a body is too large, while its client still writes."""

    def at_once(_real: Any) -> Any:
        async def refuse(self: Any) -> None:
            self.too_much = self.whole = True
            raise HTTPException(413)

        return refuse

    instead(guard._Limited, "_refuse", at_once)


USED = "Every page can be used"
ACCESSIBLE = "tests/integration/test_web_accessible.py::"


def _written(place: Any, change: Any) -> None:
    """Change the text of every page that is answered there."""

    def changed(real: Any) -> Any:
        def answer(body: Any, *rest: Any) -> Any:
            return real(change(body.decode() if isinstance(body, bytes) else body), *rest)

        return answer

    instead(place, "HTMLResponse", changed, there_alone=True)


@breaks(USED, ACCESSIBLE + "test_choosing_and_unsubscribing_by_keyboard")
def keys_step_over_buttons() -> None:
    """The buttons of a page are left out where somebody goes through it by the Tab key."""
    _written(paper, lambda text: text.replace("<button", '<button tabindex="-1"'))


@breaks(USED, ACCESSIBLE + "test_pages_of_customers")
def quiet_words_are_pale() -> None:
    """What stands beside the matter on a page is written in the colour of its lines."""

    def pale(real: Any) -> Any:
        return lambda brand: real(brand).replace("--muted:", "--unused:").replace("--line:", "--muted:")

    instead(paper, "brand_style", pale)


@breaks(USED, ACCESSIBLE + "test_pages_of_the_house")
def fields_of_the_house_have_no_names() -> None:
    """What stands above a field is not its label."""
    _written(sheet, lambda text: text.replace("<label for=", "<span title=").replace("</label>", "</span>"))


DESCRIBED = "Every operation answers as it is described"
ALL_OPERATIONS = "tests/integration/test_web_described.py::test_every_operation_answers_as_described"


@breaks(DESCRIBED, ALL_OPERATIONS)
def broken_links_are_forbidden() -> None:
    """A link that is none of ours is answered by a status that nobody was told of."""

    def forbidden(real: Any) -> Any:
        def page(request: Any, heading: str = "gone_title", words: str = "gone", status: int = 403) -> Any:
            return real(request, heading, words, status)

        return page

    instead(gone, "gone", forbidden)


@breaks(DESCRIBED, ALL_OPERATIONS)
def body_that_is_no_object_fails() -> None:
    """Whatever is JSON is taken for a call."""

    def any_json(_real: Any) -> Any:
        return json.loads

    instead(calls, "parsed", any_json)


ONLY_TEXT = "What customers call themselves is only text there"


@breaks(ONLY_TEXT, "tests/integration/test_house.py::test_a_hostile_name_is_only_text")
def house_writes_names_as_they_are() -> None:
    """Pages of the house escape nothing."""

    def plain(real: Any) -> Any:
        def environment() -> Any:
            found = real()
            found.autoescape = False
            return found

        return environment

    instead(sheet, "_environment", plain)


@breaks(ONLY_TEXT, "tests/integration/test_house_browser.py::test_pages_fit_and_stay_with_our_host")
def house_asks_another_host_for_its_letters() -> None:
    """Pages of the house load a typeface from elsewhere."""
    elsewhere = '<link rel="stylesheet" href="https://fonts.example.test/all.css"></head>'
    _written(sheet, lambda text: text.replace("</head>", elsewhere))


@breaks(ONLY_TEXT, "tests/integration/test_house_browser.py::test_whatever_a_shop_is_told_is_only_text")
def story_is_written_as_it_is() -> None:
    """The page of a customer's story escapes nothing."""

    def one_plain(real: Any) -> Any:
        def environment() -> Any:
            found = real()
            found.autoescape = lambda name: name != "why.html"
            return found

        return environment

    instead(sheet, "_environment", one_plain)
