"""One way to drive every provider: make it, see what arrived, make the other side misbehave.

A contract test takes a rig and never asks which provider it stands for. `NetworkRig` adds what only a server on the
other side of a connection can do.
"""

from __future__ import annotations

import base64
import email
import email.policy
import mailbox
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

from engine.delivery.outcome import Outcome, Retry
from engine.delivery.provider import Provider, make_provider
from tests.contracts.providers.samples import sample_mail
from tests.servers.certificates import Certificates
from tests.servers.ports import deaf_port
from tests.servers.process import API_KEY, RunningServer

SMTP_LOGIN = ("mailer", "pass word-4711")
PATIENCE = (0.7, 4.0, 20.0)  # seconds, for an answer that never comes


@dataclass(frozen=True, slots=True)
class Received:
    """A mail as the other side has it; `headers` has names in lower case and decoded values."""

    key: str
    to: str
    to_name: str
    headers: Mapping[str, str]
    text: str
    html: str


class Rig(Protocol):
    """What the contract tests need of a provider under test."""

    def provider(self, **options: object) -> Provider:
        """Make the provider, with options over the rig's own."""
        ...

    def unreachable(self) -> Provider:
        """Make one whose other side is not there."""
        ...

    def received(self) -> list[Received]:
        """Return what arrived, oldest first."""
        ...

    def close(self) -> None:
        """Close every provider that was made."""
        ...


class NetworkRig(Rig, Protocol):
    """A provider at the other end of a connection."""

    server: RunningServer
    secret: str

    def misbehave(self, how: str) -> None:
        """Let the other side do one of: silent, reset, garbage, permanent, bad-address, busy, rests-badly."""
        ...

    def with_secret(self, secret: str | None) -> Provider:
        """Make one with that key or password, or with none."""
        ...

    def wait_for_goodbye(self) -> None:
        """Return when what the other side said with "rests-badly" has reached us."""
        ...


def at_silence(hand_over: Callable[[float], Outcome]) -> Outcome:
    """Return what becomes of a mail that nobody answers; `hand_over` is told how many seconds an answer may take.

    A machine so busy that this time ends before the mail has left gives a Retry, which says nothing about the silence:
    the same is then done with more patience.
    """
    for seconds in PATIENCE:
        outcome = hand_over(seconds)
        if not isinstance(outcome, Retry):
            break
    return outcome


def one_at_silence(make: Callable[[float], Provider]) -> Outcome:
    """The same for one mail and a provider that is made with that patience."""

    def hand_over(seconds: float) -> Outcome:
        provider = make(seconds)
        (outcome,) = provider.hand_over([sample_mail()])
        provider.close()
        return outcome

    return at_silence(hand_over)


def parse(content: bytes, key_header: str) -> Received:
    """Read a message as a mail program would."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    bodies = {
        part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()
    }
    to = message["To"].addresses[0]
    headers = {name.lower(): str(value) for name, value in message.items()}
    assert len(headers) == len(message.items())
    bodies = {kind: body.replace("\r\n", "\n") for kind, body in bodies.items()}
    return Received(
        headers[key_header], to.addr_spec, to.display_name, headers, bodies["text/plain"], bodies["text/html"]
    )


class _Maker:
    """Makes providers and closes them all in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Provider] = []
        self._held = ExitStack()

    def make(self, name: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> Provider:
        provider = make_provider(name, options, environ=environ, project=self._folder)
        self._made.append(provider)
        return provider

    def close(self) -> None:
        """Close every provider that was made."""
        for provider in self._made:
            provider.close()
        self._held.close()


class MailboxRig(_Maker):
    """The local mailbox, read as a Maildir."""

    def provider(self, **options: object) -> Provider:
        """Make the provider over a folder of its own."""
        return self.make("mailbox", options, {})

    def unreachable(self) -> Provider:
        """Make one over a folder that is a file."""
        (self._folder / "file").write_text("not a folder")
        return self.provider(path="file/mailbox")

    def received(self) -> list[Received]:
        """Return the mails in `new`, in the order of their keys."""
        maildir = mailbox.Maildir(self._folder / "mailbox", create=False)
        contents = [maildir.get_bytes(key) for key in sorted(maildir.keys())]
        return [parse(content, "x-homing-message") for content in contents]


class SmtpRig(_Maker):
    """A real SMTP server, reached with STARTTLS and a login."""

    def __init__(self, server: RunningServer, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.server = server
        self.secret = SMTP_LOGIN[1]
        self._options = {"host": "localhost", "port": server.port, "user": SMTP_LOGIN[0]}
        self._options |= {"ca_file": str(certificates.authority)}

    def provider(self, **options: object) -> Provider:
        """Make the provider with its password in the environment."""
        return self.make("smtp", {**self._options, **options}, {"HOMING_SMTP_PASSWORD": self.secret})

    def with_secret(self, secret: str | None) -> Provider:
        """Make one with that password, or with none."""
        return self.make("smtp", self._options, {"HOMING_SMTP_PASSWORD": secret} if secret else {})

    def unreachable(self) -> Provider:
        """Make one for a port that nobody listens at."""
        return self.provider(port=self._held.enter_context(deaf_port()))

    def received(self) -> list[Received]:
        """Return what stands in the server's ledger."""
        contents = [base64.b64decode(entry["content"]) for entry in self.server.taken()]
        return [self._keyed(parse(content, "message-id")) for content in contents]

    def _keyed(self, mail: Received) -> Received:
        key = mail.key.strip("<>").partition("@")[0]
        return Received(key, mail.to, mail.to_name, mail.headers, mail.text, mail.html)

    def misbehave(self, how: str) -> None:
        """Script the server."""
        script = self.server.script
        match how:
            case "silent":
                script("answer", "hang", recorded=True)
            case "reset":
                script("answer", "drop", recorded=True)
            case "garbage":
                script("answer", "garbage", recorded=True)
            case "permanent":
                script("answer", "reply", reply="554 5.7.1 content of <ann1@customers.test> rejected")
            case "bad-address":
                script("rcpt", "reply", reply="550 5.1.1 <ann1@customers.test>: no such mailbox")
            case "busy":
                script("rcpt", "reply", reply="451 4.3.2 try again later, ann1@customers.test")
            case "rests-badly":
                script("mail", "drop", times=1)

    def wait_for_goodbye(self) -> None:
        """Wait for nothing: the mail that met it could not but notice."""


class SendGridRig(_Maker):
    """The fake SendGrid."""

    def __init__(self, server: RunningServer, folder: Path) -> None:
        super().__init__(folder)
        self.server = server
        self.secret = API_KEY
        self._url = f"http://127.0.0.1:{server.port}"

    def provider(self, **options: object) -> Provider:
        """Make the provider with its key in the environment."""
        return self.make("sendgrid", {"url": self._url, **options}, {"SENDGRID_API_KEY": API_KEY})

    def with_secret(self, secret: str | None) -> Provider:
        """Make one with that key, or with none."""
        return self.make("sendgrid", {"url": self._url}, {"SENDGRID_API_KEY": secret} if secret else {})

    def unreachable(self) -> Provider:
        """Make one for a port that nobody listens at."""
        return self.provider(url=f"http://127.0.0.1:{self._held.enter_context(deaf_port())}")

    def received(self) -> list[Received]:
        """Return what stands in the ledger, as the mail that SendGrid would make of it."""
        return [self._received(entry["body"]) for entry in self.server.taken()]

    def _received(self, body: dict[str, Any]) -> Received:
        (personalization,) = body["personalizations"]
        (to,) = personalization["to"]
        headers = {name.lower(): value for name, value in personalization["headers"].items()}
        assert headers.keys().isdisjoint(headers.keys() & {"from", "to", "subject", "reply-to"})
        headers |= {"subject": body["subject"], "from": _mailbox(body["from"])}
        if "reply_to" in body:
            headers["reply-to"] = _mailbox(body["reply_to"])
        bodies = {part["type"]: part["value"] for part in body["content"]}
        key = personalization["custom_args"]["homing_message"]
        return Received(
            key, to["email"], to.get("name", ""), headers, bodies["text/plain"], bodies["text/html"]
        )

    def misbehave(self, how: str) -> None:
        """Script the server."""
        script = self.server.script
        to = "personalizations.0.to.0.email"
        match how:
            case "silent":
                script("after", "hang", recorded=True)
            case "reset":
                script("after", "reset", recorded=True)
            case "garbage":
                script("after", "garbage", recorded=True)
            case "permanent":
                body: object = {
                    "errors": [{"message": "content for ann1@customers.test is bad", "field": "content"}]
                }
                script("after", "reply", status=400, body=body)
            case "bad-address":
                body = {"errors": [{"message": "ann1@customers.test is not a valid address.", "field": to}]}
                script("after", "reply", status=400, body=body)
            case "busy":
                script("after", "reply", status=429, headers={"Retry-After": "7"})
            case "rests-badly":
                headers = {"X-Message-Id": "then-gone"}
                script("after", "reply", times=1, status=202, headers=headers, recorded=True, closes=True)

    def wait_for_goodbye(self) -> None:
        """Wait until the server has closed the connection."""
        self.server.wait_for_goodbye()


def _mailbox(address: Mapping[str, str]) -> str:
    return f"{address['name']} <{address['email']}>" if "name" in address else address["email"]
