"""Handing over to SendGrid (Web API v3, POST /v3/mail/send).

Mails go in, one request each, several at a time; outcomes come out. The official package builds the request; our own
connections carry it, because the package's client opens one a request, knows no deadline and writes the key into its
debug log. SendGrid has no idempotency key: an answer that never came, or a late 5xx, is `Unknown`, and settled by its
events through the custom argument `homing_message` (our message key). Nothing personal is sent as a category or a
custom argument.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import (
    Category,
    ClickTracking,
    Content,
    CustomArg,
    Email,
    From,
    Ganalytics,
    Header,
    OpenTracking,
    Personalization,
    ReplyTo,
    Subject,
    SubscriptionTracking,
    To,
    TrackingSettings,
)
from sendgrid.helpers.mail import Mail as Request

from engine.delivery.addresses import UnsafeMail, addr_spec, is_ascii_address
from engine.delivery.deadline import Deadline
from engine.delivery.keepalive import Answer, KeepAlive, Limits, NoAnswer, NotSent
from engine.delivery.mime import clean, machine_headers
from engine.delivery.options import Options, Secret
from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown, plain
from engine.render.mail import Address, Mail

_URL = "https://api.sendgrid.com"
_LONGEST_WAIT = 3600.0
_MOST_CUSTOM_ARGS = 10_000  # bytes, names and values together
_LONGEST_CATEGORY = 255
_TO_ADDRESS = re.compile(r"\bto\.\d+\.email$")
_SETUP_STATUSES = {
    401: "the key was refused",
    403: "the key lacks the right to send mail, or the account is blocked",
    404: "there is no such web address: look at the option url",
    405: "the web address does not take mail: look at the option url",
    451: "this region must not be used for the account: look at the option url",
}


@dataclass(frozen=True, slots=True)
class Tracking:
    """What SendGrid may change in a mail to watch its reader; nothing unless asked."""

    clicks: bool = False
    opens: bool = False


class SendGridProvider:
    """Hands mails over to SendGrid with `key`; a group of mails ends within `group_seconds`."""

    name = "sendgrid"

    def __init__(
        self,
        key: Secret,
        *,
        url: str = _URL,
        limits: Limits | None = None,
        group_seconds: float = 45.0,
        tracking: Tracking | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._key = key
        self._url = url
        self._limits = limits or Limits()
        self._group_seconds = group_seconds
        self._tracking = tracking or Tracking()
        self._http = KeepAlive(url, self._limits, ca_file)
        self._api = SendGridAPIClient(api_key=key.value or "-", host=url)
        self._api.client = _Posts(self._http, self._api.client.request_headers)

    def __repr__(self) -> str:
        return f"SendGridProvider(url={self._url!r})"

    @classmethod
    def from_options(cls, options: Options) -> SendGridProvider:
        """Read url, connect_seconds, answer_seconds, group_seconds, connections, *_tracking, ca_file, and the key."""
        provider = cls(
            options.secret("SENDGRID_API_KEY"),
            url=options.text("url", _URL).rstrip("/"),
            limits=Limits(
                options.number("connect_seconds", 10, least=0.05, most=60),
                options.number("answer_seconds", 20, least=0.05, most=120),
                int(options.number("connections", 4, least=1, most=32)),
            ),
            group_seconds=options.number("group_seconds", 45, least=0.1, most=600),
            tracking=Tracking(
                options.flag("click_tracking", default=False), options.flag("open_tracking", default=False)
            ),
            ca_file=options.file("ca_file"),
        )
        options.done()
        return provider

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Send each mail in a request of its own; `provider_id` is the X-Message-Id."""
        if self._key.problem:
            return [Retry(f"no key for SendGrid: {self._key.problem}", setup=True) for _ in mails]
        group = Deadline(self._group_seconds - self._limits.connect - self._limits.answer)
        first = [self._hand_over_one(mail) for mail in mails[:1]]
        if len(mails) < 2 or (isinstance(first[0], Retry) and first[0].setup):
            # What is wrong with the installation is wrong for every mail: one question is enough.
            return first * len(mails)
        with ThreadPoolExecutor(self._limits.connections, "sendgrid") as threads:
            return first + list(threads.map(self._hand_over_in_time, mails[1:], repeat(group)))

    def check(self) -> list[str]:
        """Ask SendGrid whether the key may send mail; sends none."""
        if self._key.problem:
            return [f"no key for SendGrid: {self._key.problem}"]
        try:
            answer = self._http.request("GET", "/v3/scopes", self._api.client.headers)
        except (NotSent, NoAnswer) as error:
            return [f"SendGrid cannot be reached: {plain(str(error), self._key.value)}"]
        if answer.status in _SETUP_STATUSES:
            return [f"SendGrid answers {answer.status}: {_SETUP_STATUSES[answer.status]}"]
        if answer.status != 200 or not isinstance(scopes := _json(answer.body).get("scopes"), list):
            return [f"SendGrid answers {answer.status} to a question about its key: it may be down"]
        return [] if "mail.send" in scopes else ["the SendGrid key lacks the right to send mail (mail.send)"]

    def close(self) -> None:
        """Close the connections that rest."""
        self._http.close()

    def _hand_over_in_time(self, mail: Mail, group: Deadline) -> Outcome:
        if not group.left():
            return Retry("SendGrid was too slow for this group; this mail was not begun")
        return self._hand_over_one(mail)

    def _hand_over_one(self, mail: Mail) -> Outcome:
        try:
            request = build_request(mail, self._tracking)
        except UnsafeMail as refusal:
            return Failed(str(refusal), suppress=refusal.address_is_bad)
        try:
            return read_answer(self._api.send(request), self._key.value)
        except NotSent as error:
            return Retry(plain(str(error), self._key.value), setup=error.setup)
        except NoAnswer as error:
            return Unknown(plain(str(error), self._key.value))


class _Posts:
    """Stands where the package keeps its own client: `client.mail.send.post(request_body=…)`."""

    def __init__(self, http: KeepAlive, headers: Mapping[str, str]) -> None:
        self._http = http
        self.headers = dict(headers)

    @property
    def mail(self) -> _Posts:
        return self

    @property
    def send(self) -> _Posts:
        return self

    def post(self, request_body: Mapping[str, Any]) -> Answer:
        body = json.dumps(request_body, separators=(",", ":")).encode("ascii")
        return self._http.request(
            "POST", "/v3/mail/send", {**self.headers, "Content-Type": "application/json"}, body
        )


def build_request(mail: Mail, tracking: Tracking) -> Request:
    """Return the request for one mail; raises UnsafeMail where SendGrid's rules leave no way to send it."""
    request = Request()
    request.from_email = _email(From(), mail.sender)
    # SendGrid encodes what is beyond ASCII and passes the rest on as it is: it must be clean already.
    request.subject = Subject(clean(mail.subject))
    for mime_type, text in (("text/plain", mail.text), ("text/html", mail.html)):
        if text:
            request.add_content(Content(mime_type, text.encode("utf-8", "replace").decode("utf-8")))
    if mail.reply_to is not None:
        request.reply_to = _email(ReplyTo(), mail.reply_to)
    request.add_personalization(_personalization(mail))
    for category in _categories(mail):
        request.add_category(Category(category))
    request.tracking_settings = TrackingSettings(
        ClickTracking(tracking.clicks, tracking.clicks),
        OpenTracking(tracking.opens),
        SubscriptionTracking(False),
        Ganalytics(False),
    )
    return request


def _personalization(mail: Mail) -> Personalization:
    personalization = Personalization()
    # SendGrid refuses these two in a recipient's name, quoted or not.
    name = mail.to.name.replace(",", " ").replace(";", " ")
    personalization.add_to(_email(To(), Address(mail.to.email, name)))
    for header, value in machine_headers(mail):
        personalization.add_header(Header(header, value))
    arguments = {"homing_message": mail.key}
    arguments |= {
        f"homing_{key}": mail.metadata[key] for key in ("flow", "version", "step") if key in mail.metadata
    }
    if sum(len(key.encode()) + len(value.encode()) for key, value in arguments.items()) >= _MOST_CUSTOM_ARGS:
        raise UnsafeMail("the message key and the flow's name are too long for SendGrid")
    for key, value in arguments.items():
        personalization.add_custom_arg(CustomArg(key, value))
    return personalization


def _email(email: Email, address: Address) -> Email:
    # Not through the constructor: without a name it parses the address anew, and misreads some.
    if not is_ascii_address(address.email):
        raise UnsafeMail("SendGrid takes no address with letters beyond ASCII before the @")
    email.email = addr_spec(address.email)
    name = clean(address.name)
    if name:
        email.name = name
    return email


def _categories(mail: Mail) -> list[str]:
    named = (mail.metadata.get("flow", ""), mail.metadata.get("step", ""))
    return list(dict.fromkeys(clean(name)[:_LONGEST_CATEGORY] for name in named if clean(name)))


def read_answer(answer: Answer, key: str) -> Outcome:
    """Return what SendGrid's answer to one mail means."""
    status = answer.status
    if 200 <= status < 300:
        message_id = answer.headers.get("x-message-id", "").strip()
        if status == 202 and message_id:
            return Accepted(message_id)
        return Unknown(f"SendGrid answered {status} without its message id")
    if status == 429:
        return Retry("SendGrid asks for a rest (429)", retry_after(answer.headers))
    if status >= 500:
        return Unknown(f"SendGrid answered {status} after it had the mail")
    errors = _errors(answer.body)
    said = "; ".join(str(error.get("message")) for error in errors) or "it did not say why"
    if status in _SETUP_STATUSES:
        return Retry(plain(f"SendGrid answers {status}, {_SETUP_STATUSES[status]}: {said}", key), setup=True)
    if status < 400 or status == 408:
        return Retry(f"SendGrid did not take the mail ({status})", setup=status < 400)
    bad_address = any(_TO_ADDRESS.search(str(error.get("field"))) for error in errors)
    return Failed(plain(f"SendGrid refused the mail ({status}): {said}", key), suppress=bad_address)


def _errors(body: bytes) -> list[dict[str, Any]]:
    errors = _json(body).get("errors")
    return [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the server asks to wait, 0 to 3600; None where it does not say.

    Reads Retry-After (seconds or a date), else X-RateLimit-Reset (epoch seconds); both moments are compared with the
    server's own Date, so that no clock of ours is needed.
    """
    wanted = headers.get("retry-after", "").strip()
    if wanted.isdecimal():
        return min(float(wanted), _LONGEST_WAIT)
    reset = headers.get("x-ratelimit-reset", "").strip()
    until = _moment(wanted) or (float(reset) if reset.isdecimal() else None)
    server_now = _moment(headers.get("date", ""))
    if server_now is None or until is None:
        return None
    return max(0.0, min(until - server_now, _LONGEST_WAIT))


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
