"""SendGrid's published rules for POST /v3/mail/send, as far as Homing can break them.

The parsed body of a request comes in; a list of {"message", "field"} goes out, worded like the real answers, empty
when the real service would take the mail.
Sources: twilio.com/docs/sendgrid/api-reference/mail-send (limitations, errors) and the request's schema there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

RESERVED_HEADERS = {
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding",
    "to", "from", "subject", "reply-to", "cc", "bcc",
}  # fmt: skip
_EMAIL = re.compile(r"[^@\s<>\",;:]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|\"[^\"\s]+\"@[A-Za-z0-9.-]+")
_KNOWN = {
    "personalizations", "from", "subject", "content", "reply_to", "categories", "tracking_settings", "headers",
    "custom_args", "attachments", "template_id", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings",
    "reply_to_list", "sections",
}  # fmt: skip
Problem = dict[str, str]


def problems(body: object) -> list[Problem]:
    """Return everything about the request that SendGrid would refuse."""
    if not isinstance(body, dict):
        return [_problem("Bad Request", "")]
    return [
        *(_problem("Additional property is not allowed", name) for name in body if name not in _KNOWN),
        *_personalizations(body.get("personalizations"), body),
        *_address(body.get("from"), "from"),
        *(_address(body["reply_to"], "reply_to") if "reply_to" in body else ()),
        *_contents(body.get("content")),
        *_categories(body.get("categories", [])),
        *_headers(body.get("headers", {}), "headers"),
        *_tracking(body.get("tracking_settings", {})),
    ]


def _problem(message: str, field: str) -> Problem:
    return {"message": message, "field": field}


def _personalizations(value: object, body: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(value, list) or not value:
        yield _problem(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
        return
    if len(value) > 1000:
        yield _problem(
            "The personalization block is limited to 1000 personalizations per API request.",
            "personalizations",
        )
    for at, one in enumerate(value):
        field = f"personalizations.{at}"
        yield from _recipients(one, field)
        yield from _headers(one.get("headers", {}), f"{field}.headers")
        yield from _custom_args(
            {**body.get("custom_args", {}), **one.get("custom_args", {})}, f"{field}.custom_args"
        )
        subject = one.get("subject", body.get("subject"))
        if not isinstance(subject, str) or not subject:
            yield _problem(
                "The subject is required. You can get around this requirement if you use a template.",
                "subject",
            )


def _recipients(one: Mapping[str, Any], field: str) -> Iterator[Problem]:
    recipients = one.get("to")
    if not isinstance(recipients, list) or not recipients:
        yield _problem("The to array is required for all personalization objects.", f"{field}.to")
        return
    for at, recipient in enumerate(recipients):
        yield from _address(recipient, f"{field}.to.{at}")
        if re.search("[,;]", recipient.get("name", "")):
            yield _problem("The name cannot include either the ; or , characters.", f"{field}.to.{at}.name")
    addresses = [str(recipient.get("email")).lower() for recipient in recipients]
    if len(set(addresses)) != len(addresses):
        yield _problem("Each email address in the personalization block should be unique.", f"{field}.to")


def _address(value: object, field: str) -> Iterator[Problem]:
    if not isinstance(value, dict) or not isinstance(email := value.get("email"), str):
        yield _problem(f"The {field} object must be provided for every email send.", field)
        return
    if not email.isascii() or not _EMAIL.fullmatch(email):
        yield _problem("Does not contain a valid address.", f"{field}.email")
    name = value.get("name", "x")
    if not isinstance(name, str) or re.search(r"[\r\n]", name):
        yield _problem("Invalid name", f"{field}.name")


def _contents(value: object) -> Iterator[Problem]:
    if not isinstance(value, list) or not value:
        yield _problem(
            "Unless a valid template_id is provided, the content parameter is required.", "content"
        )
        return
    types = [part.get("type") for part in value]
    if "text/html" in types and "text/plain" in types and types.index("text/plain") > 0:
        yield _problem("If present, text/plain must be first, followed by text/html.", "content")
    for at, part in enumerate(value):
        if not isinstance(part.get("value"), str) or not part["value"]:
            yield _problem(
                "The content value must be a string at least one character in length.", f"content.{at}.value"
            )


def _categories(value: object) -> Iterator[Problem]:
    if not isinstance(value, list) or not all(isinstance(category, str) for category in value):
        yield _problem("The categories parameter must be an array of strings.", "categories")
        return
    if len(value) > 10:
        yield _problem("There cannot be more than 10 categories per request.", "categories")
    if len(set(value)) != len(value):
        yield _problem("Categories must be unique.", "categories")
    if any(len(category) > 255 for category in value):
        yield _problem("Each category may not exceed 255 characters.", "categories")


def _headers(value: object, field: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield _problem("The headers parameter must be an object.", field)
        return
    for name, content in value.items():
        if name.lower() in RESERVED_HEADERS:
            yield _problem(f"The header {name} is reserved and cannot be used.", f"{field}.{name}")
        if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]+", name):
            yield _problem("Header names must be ASCII without spaces.", f"{field}.{name}")
        if not isinstance(content, str) or not content.isascii() or re.search(r"[\r\n\0]", content):
            yield _problem("Header values must be one line of ASCII text.", f"{field}.{name}")


def _custom_args(value: Mapping[str, object], field: str) -> Iterator[Problem]:
    if not all(isinstance(content, str) for content in value.values()):
        yield _problem("Each custom argument must be a string.", field)
    elif sum(len(f"{name}{content}".encode()) for name, content in value.items()) >= 10_000:
        yield _problem("The custom_args cannot exceed 10000 bytes.", field)


def _tracking(value: Mapping[str, Mapping[str, object]]) -> Iterator[Problem]:
    for setting, content in value.items():
        if setting not in ("click_tracking", "open_tracking", "subscription_tracking", "ganalytics"):
            yield _problem("Additional property is not allowed", f"tracking_settings.{setting}")
        if not isinstance(content.get("enable"), bool):
            yield _problem("The enable parameter must be a boolean.", f"tracking_settings.{setting}.enable")
