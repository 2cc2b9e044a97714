"""Handing over to an SMTP server.

Mails go in, one after another over a connection that stays open; outcomes come out. The phase in which something goes
wrong decides: before the last dot is sent the mail is surely not accepted, after it only the server's answer counts,
and without an answer nobody knows. TLS is never given up where it was asked for, certificates are verified, and a
password never crosses a network in clear text.
"""

from __future__ import annotations

import io
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine.delivery.addresses import UnsafeMail, addr_spec
from engine.delivery.deadline import Deadline, TimedReader
from engine.delivery.keepalive import wording
from engine.delivery.mime import to_bytes
from engine.delivery.options import Options, Secret
from engine.delivery.outcome import Failed, Outcome, Retry, Unknown, plain
from engine.delivery.smtp_replies import after_content, at_data, at_recipient, at_sender, greeting
from engine.errors import UsageError
from engine.render.mail import Mail

SECURITY = ("starttls", "tls", "none")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Servers close connections after a number of mails; we are first, between two mails.
_MOST_MAILS = 100


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where the server is, how to speak to it, and how many seconds its answers may take.

    `answer_seconds` bounds each mail from MAIL to the answer after the last dot; a whole group ends within
    `group_seconds`. `envelope_sender` is where bounces go; empty means the mail's own sender. `hello_name` is how we
    introduce ourselves; empty means the machine's name.
    """

    host: str
    port: int
    security: str = "starttls"
    user: str = ""
    password: Secret = field(default_factory=Secret)
    envelope_sender: str = ""
    hello_name: str = ""
    connect_seconds: float = 10.0
    answer_seconds: float = 20.0
    group_seconds: float = 45.0
    ca_file: Path | None = None


class _Refused(Exception):
    """The server gave an answer that ends this mail; the outcome travels with it."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__()


class _Broken(Exception):
    """The connection is of no use any more."""

    def __init__(self, reason: str, *, setup: bool = False) -> None:
        self.setup = setup
        super().__init__(reason)


class _NoConnection(Exception):
    """No connection could be opened; every other mail of the group would meet the same."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__()


class SmtpProvider:
    """Hands mails over to one SMTP server; each thread that is in a hand-over has a connection of its own."""

    name = "smtp"

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._resting: list[_Line] = []

    def __repr__(self) -> str:
        return f"SmtpProvider({self._server.host!r}, {self._server.port}, {self._server.security!r})"

    @classmethod
    def from_options(cls, options: Options) -> SmtpProvider:
        """Read host, port, security, user, envelope_sender, hello_name, *_seconds, ca_file, HOMING_SMTP_PASSWORD."""
        security = options.choice("security", "starttls", SECURITY)
        user = options.text("user", "")
        server = SmtpServer(
            host=options.text("host", ""),
            port=int(options.number("port", _PORTS[security], least=1, most=65535)),
            security=security,
            user=user,
            password=options.secret("HOMING_SMTP_PASSWORD") if user else Secret(),
            envelope_sender=options.text("envelope_sender", ""),
            hello_name=options.text("hello_name", ""),
            connect_seconds=options.number("connect_seconds", 10, least=0.05, most=60),
            answer_seconds=options.number("answer_seconds", 20, least=0.05, most=600),
            group_seconds=options.number("group_seconds", 45, least=0.1, most=3600),
            ca_file=options.file("ca_file"),
        )
        options.done()
        _refuse_unfit(server)
        return cls(server)

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Send the mails one after another; `provider_id` is the server's queue id, or its answer to the last dot."""
        line = self._line()
        try:
            return line.hand_over(mails)
        finally:
            self._resting.append(line)

    def check(self) -> list[str]:
        """Connect, secure and log in as for a mail, and send none."""
        return _Line(self._server).check()

    def close(self) -> None:
        """Say goodbye and close the connections that rest."""
        while self._resting:
            self._resting.pop().drop()

    def _line(self) -> _Line:
        try:
            return self._resting.pop()
        except IndexError:
            return _Line(self._server)


class _Line:
    """One connection to the server, opened anew when it broke."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._session: _Session | None = None

    def hand_over(self, mails: Sequence[Mail]) -> list[Outcome]:
        """Send the mails one after another, within the time of a group."""
        group = Deadline(self._server.group_seconds)
        outcomes: list[Outcome] = []
        for mail in mails:
            if outcomes and group.left() < self._longest_mail():
                outcomes.append(Retry("the server was too slow for this group; this mail was not begun"))
                continue
            try:
                outcomes.append(self._hand_over_one(mail))
            except _NoConnection as failure:
                # One wait for a connection is enough: the rest of the group is not tried.
                return outcomes + [failure.outcome] * (len(mails) - len(outcomes))
        return outcomes

    def check(self) -> list[str]:
        """Open a connection and close it again; return what kept it from opening."""
        try:
            self._open()
        except _NoConnection as failure:
            return [getattr(failure.outcome, "reason", "the server cannot be used")]
        self.drop()
        return []

    def drop(self) -> None:
        """Say goodbye and close the connection."""
        if self._session is not None:
            self._session.leave()
            self._session = None

    def _longest_mail(self) -> float:
        return min(self._server.connect_seconds + self._server.answer_seconds, self._server.group_seconds / 2)

    def _hand_over_one(self, mail: Mail) -> Outcome:
        try:
            content = to_bytes(mail, metadata_headers=False)
            sender = addr_spec(self._server.envelope_sender or mail.sender.email)
            recipient = addr_spec(mail.to.email)
        except UnsafeMail as refusal:
            return Failed(str(refusal), suppress=refusal.address_is_bad)
        if self._session is not None and self._session.mails >= _MOST_MAILS:
            self.drop()
        try:
            session = self._ready(sender, recipient, len(content))
            return session.content(content)
        except _Refused as refused:
            return refused.outcome
        except _Broken as broken:
            return Retry(str(broken))
        finally:
            if self._session is not None and not self._session.is_clean():
                self.drop()

    def _ready(self, sender: str, recipient: str, size: int) -> _Session:
        """Return a session that waits for the content; a resting connection that proves dead is replaced once."""
        if self._session is not None:
            try:
                self._session.envelope(sender, recipient, size)
                return self._session
            except _Broken:
                self.drop()
        session = self._open()
        session.envelope(sender, recipient, size)
        return session

    def _open(self) -> _Session:
        if self._server.user and self._server.password.problem:
            raise _NoConnection(Retry(f"no password for SMTP: {self._server.password.problem}", setup=True))
        session = _Session(self._server)
        try:
            session.open()
        except _Broken as broken:
            session.leave()
            raise _NoConnection(Retry(str(broken), setup=broken.setup)) from None
        except _Refused as refused:
            session.leave()
            raise _NoConnection(refused.outcome) from None
        self._session = session
        return session


def _refuse_unfit(server: SmtpServer) -> None:
    if not server.host or not server.host.isascii() or not server.host.isprintable() or " " in server.host:
        raise UsageError("[delivery.smtp] host must name the mail server")
    if server.user and server.security == "none" and server.host not in _LOOPBACK:
        raise UsageError(
            '[delivery.smtp] a password would travel in clear text: set security = "starttls" or "tls"'
        )
    for name, value in (("user", server.user), ("hello_name", server.hello_name)):
        if not value.isascii() or not value.isprintable():
            raise UsageError(f"[delivery.smtp] {name} has characters that it cannot have")
    if server.envelope_sender:
        try:
            addr_spec(server.envelope_sender)
        except UnsafeMail as refusal:
            raise UsageError(f"[delivery.smtp] envelope_sender: {refusal}") from None


class _Session(smtplib.SMTP):
    """One connection and the phases of a mail on it; each raises `_Refused` or `_Broken`, and nothing else."""

    def __init__(self, server: SmtpServer) -> None:
        super().__init__(local_hostname=server.hello_name or _hello_name(), timeout=server.connect_seconds)
        self._server = server
        self._deadline = Deadline(server.connect_seconds)
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.security != "none" else None
        self._in_mail = False
        self.mails = 0

    def open(self) -> None:
        """Connect, secure and log in."""
        self._deadline = Deadline(self._server.connect_seconds)
        self._expect(self._phase(f"cannot connect to {self._server.host}", self._dial), (220,), greeting)
        self._greet()
        if self._server.security == "starttls":
            self._secure()
        if self._server.user:
            self._expect(self._phase("no answer to the login", self._log_in), (235, 503), greeting)

    def envelope(self, sender: str, recipient: str, size: int) -> None:
        """Say MAIL, RCPT and DATA; returns when the server waits for the content of `size` bytes."""
        self._deadline = Deadline(self._server.answer_seconds)
        self.mails += 1
        self._in_mail = True
        options = f" SIZE={size}" if self.has_extn("size") else ""
        if not f"{sender}{recipient}".isascii():
            if not self.has_extn("smtputf8"):
                raise _Refused(Failed("the server takes no address with letters beyond ASCII before the @"))
            options += " BODY=8BITMIME SMTPUTF8"
        self._expect(self._ask("MAIL", f" FROM:<{sender}>{options}"), (250,), at_sender)
        self._expect(self._ask("RCPT", f" TO:<{recipient}>"), (250, 251), at_recipient)
        self._expect(self._ask("DATA"), (354,), at_data)

    def content(self, content: bytes) -> Outcome:
        """Send the content and the last dot, and return what the server's answer means.

        Raises `_Broken` only while the dot has not left: until then no server can have the mail whole.
        """
        body, dot = _stuffed(content)
        self._phase("the connection broke while sending", lambda: self._write(body))
        try:
            code, text = self._phase("no answer after the mail was sent", lambda: self._write_and_read(dot))
        except _Broken as broken:
            return Unknown(str(broken))
        self._in_mail = False
        if code == 421:
            self.close()
        return after_content(code, self._plain(text))

    def is_clean(self) -> bool:
        """Return whether the connection can carry another mail, after leaving one that was begun."""
        if self.sock is not None and self._in_mail:
            try:
                code, _ = self._ask("RSET")
            except _Broken:
                return False
            self._in_mail = code != 250
        return self.sock is not None and not self._in_mail

    def leave(self) -> None:
        """Say QUIT where that makes sense, wait for no answer, and close."""
        if self.sock is not None and not self._in_mail:
            self._deadline = Deadline(1.0)
            with suppress(OSError):
                self._write(b"QUIT\r\n")
        self.close()

    def getreply(self) -> tuple[int, bytes]:
        """Read one answer against the deadline; code -1 (no SMTP at all) ends the connection."""
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(TimedReader(self.sock, lambda: self._deadline))
        code, text = super().getreply()
        if code == -1:
            self.close()
        return code, text

    def _dial(self) -> tuple[int, bytes]:
        server = self._server
        self.sock = socket.create_connection((server.host, server.port), server.connect_seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.security == "tls":
            self._wrap(self.sock)
        return self.getreply()

    def _wrap(self, sock: socket.socket) -> tuple[int, bytes]:
        self._deadline.arm(sock, self._server.connect_seconds)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(sock, server_hostname=self._server.host)
        return 220, b""

    def _greet(self) -> None:
        code, text = self._phase("no answer to EHLO", self.ehlo)
        if code != 250 and self._server.security == "none" and not self._server.user:
            code, text = self._phase("no answer to HELO", self.helo)
        self._expect((code, text), (250,), greeting)

    def _secure(self) -> None:
        if not self.has_extn("starttls"):
            raise _Refused(
                Retry("the server offers no TLS (STARTTLS), and mail must not go without", setup=True)
            )
        self._expect(self._ask("STARTTLS"), (220,), greeting)
        sock = self.sock
        if sock is None or self.file is None:
            raise _Broken("no answer to STARTTLS: the server closed the connection")
        # What was read ahead came in clear text, perhaps from somebody else: it is thrown away with the buffer.
        self.file.close()
        self.file = None
        self._phase("no TLS", lambda: self._wrap(sock))
        self.ehlo_resp = self.helo_resp = None
        self.esmtp_features = {}
        self._greet()

    def _log_in(self) -> tuple[int, bytes]:
        try:
            return self.login(self._server.user, self._server.password.value)
        except smtplib.SMTPAuthenticationError as error:
            said = error.smtp_error
            return error.smtp_code, said if isinstance(said, bytes) else said.encode()
        except (smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException):
            raise
        except smtplib.SMTPException:
            return 504, b"it offers no login that we know"

    def _ask(self, verb: str, rest: str = "") -> tuple[int, bytes]:
        return self._phase(f"no answer to {verb}", lambda: self._write_and_read(f"{verb}{rest}\r\n".encode()))

    def _write(self, content: bytes) -> tuple[int, bytes]:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected
        self._deadline.arm(self.sock, self._deadline.left())
        self.sock.sendall(content)
        return 0, b""

    def _write_and_read(self, content: bytes) -> tuple[int, bytes]:
        self._write(content)
        return self.getreply()

    def _phase(self, what: str, act: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
        """Do one step of the conversation; whatever ends the connection becomes `_Broken`."""
        try:
            return act()
        except smtplib.SMTPException as error:
            # smtplib hides the timeout or reset that it met behind a disconnect of its own.
            cause = error.__context__ if isinstance(error.__context__, OSError) else ConnectionError()
            failure = _Broken(f"{what}: {wording(cause)}")
        except (OSError, UnicodeError) as error:
            failure = _Broken(f"{what}: {wording(error)}", setup=isinstance(error, ssl.SSLError))
        self.close()
        raise failure

    def _expect(
        self, reply: tuple[int, bytes], wanted: Sequence[int], meaning: Callable[[int, str], Outcome]
    ) -> None:
        code, text = reply
        if code == 421:
            self.close()
            raise _Broken(f"the server is closing: {self._plain(text)}")
        if code not in wanted:
            raise _Refused(meaning(code, self._plain(text)))

    def _plain(self, text: bytes) -> str:
        return plain(text.decode("utf-8", "replace"), self._server.password.value)


def _hello_name() -> str:
    # Not getfqdn, which may wait for a name server; servers take an address in brackets from whom has no name.
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def _stuffed(content: bytes) -> tuple[bytes, bytes]:
    """Return the content with its leading dots doubled and a line end at its end, and the last dot."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return (stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n"), b".\r\n"
