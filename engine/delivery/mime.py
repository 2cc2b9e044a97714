"""A finished mail as the bytes that travel.

A `Mail` comes in, an RFC 5322 message with CRLF line ends goes out: text and HTML as alternatives, UTF-8, no line
over 998 bytes. Written by hand because the standard library folds a long List-Unsubscribe into encoded words, which
breaks one-click unsubscribing. It promises that no name, subject or other value from a customer can end its header
or begin another, even after a parser has decoded it: line breaks and controls become spaces before anything is
encoded, and whatever looks like an encoded word is encoded itself. What cannot be made safe raises `UnsafeMail`.
"""

from __future__ import annotations

import binascii
import codecs
import re
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b

from engine.delivery.addresses import UnsafeMail, addr_spec, ascii_domain
from engine.render.mail import Address, Mail

_CONTROLS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_ENCODED_WORD = re.compile(r"=\?(?=[^?]{0,80}\?[bBqQ]\?)")
_SURROGATES = re.compile("[\ud800-\udfff]")
_EXACT = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_MESSAGE_ID = re.compile(r"<[^<>\s@]+@[^<>\s@]+>")
_URL = re.compile(r"https?://[^\s<>\"]+")
_LIST_ID = re.compile(r"(?:([^<>]*)<)?([^<>\s]+?)>?")
_FOLD_AT = 76  # RFC 2047 wants lines with encoded words no longer
_LONGEST = 900  # well under the 998 of RFC 5322, with room for the header's name
_METADATA = ("flow", "version", "step", "message", "customer")


def to_bytes(mail: Mail, *, metadata_headers: bool) -> bytes:
    """Return the whole message; `metadata_headers` adds X-Homing-Flow, -Version, -Step, -Message and -Customer.

    The same mail gives the same bytes. Raises UnsafeMail.
    """
    lines = [
        f"From: {_sender(mail.sender)}",
        f"To: {_mailbox(mail.to, 4)}",
        f"Subject: {_text(mail.subject, 9)}",
    ]
    if mail.reply_to is not None:
        lines.append(f"Reply-To: {_mailbox(mail.reply_to, 10)}")
    lines += [f"{name}: {value}" for name, value in machine_headers(mail)]
    if metadata_headers:
        lines += [_metadata_line(key, mail.metadata[key]) for key in _METADATA if key in mail.metadata]
    lines.append("MIME-Version: 1.0")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n" + _body(mail)


def machine_headers(mail: Mail) -> list[tuple[str, str]]:
    """Return the headers that are written for machines, ASCII and never folded: identity, list, unsubscribing.

    Raises UnsafeMail for a value that does not fit on one line or could be taken for something else.
    """
    headers = [
        ("Date", format_datetime(mail.date)),
        ("Message-ID", _matching(_MESSAGE_ID, mail.message_id, "message id")),
    ]
    if mail.unsubscribe_url:
        url = _matching(_URL, mail.unsubscribe_url, "unsubscribe link")
        headers += [("List-Unsubscribe", f"<{url}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
    if mail.list_id:
        headers.append(("List-Id", _list_id(mail.list_id)))
    headers.append(("Feedback-ID", feedback_id(mail)))
    if mail.kind == "transactional":
        headers.append(("Auto-Submitted", "auto-generated"))
    return headers


def feedback_id(mail: Mail) -> str:
    """Return the four fields by which Gmail's postmaster tools group complaints: flow, step, kind and sender.

    The sender's field is 5 to 15 letters and digits of its domain, as Gmail asks; nothing in it is personal.
    """
    domain = mail.sender.email.rpartition("@")[2]
    return _feedback_id(mail.metadata.get("flow", ""), mail.metadata.get("step", ""), mail.kind, domain)


@lru_cache(maxsize=1_000)
def _feedback_id(flow: str, step: str, kind: str, domain: str) -> str:
    sender = re.sub(r"[^a-z0-9]", "", ascii_domain(domain).lower())[:15].ljust(5, "0")
    fields = (flow, step, kind)
    return ":".join([*(re.sub(r"[^\w.-]", "-", field, flags=re.ASCII)[:80] for field in fields), sender])


def clean(text: str) -> str:
    r"""Return the text as one line in which nobody finds an encoded word, however often it is decoded.

    Every run of spaces, line breaks and controls becomes one space, none at the ends; the beginning of an encoded word
    is broken, because programs that decode a subject and set it anew would decode what is in it (CVE-2024-6923).

    >>> clean("Hello\r\nBcc: x@example.test")
    'Hello Bcc: x@example.test'
    """
    if not text.isprintable() or "  " in text:
        text = _CONTROLS.sub(" ", text)
    text = text.strip(" ")
    if "=?" in text:
        text = _ENCODED_WORD.sub("= ?", text)
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _text(value: str, used: int) -> str:
    """Write unstructured text after a header's name that has `used` columns, folded at its spaces."""
    value = clean(value)
    if used + len(value) <= _FOLD_AT and value.isascii() and "=?" not in value:
        return value
    words = value.split(" ")
    if not value.isascii() or "=?" in value or max(map(len, words)) > _LONGEST:
        return _encoded_words(value, used)
    lines, line = [], words[0]
    for word in words[1:]:
        if used + len(line) + 1 + len(word) > _FOLD_AT:
            lines.append(line)
            line, used = word, 1
        else:
            line = f"{line} {word}"
    return "\r\n ".join([*lines, line])


def _encoded_words(value: str, used: int) -> str:
    """Write the text as base64 encoded words that never cut a character in two."""
    words: list[str] = []
    chunk, room = bytearray(), max(4, (_FOLD_AT - used - 12) // 4 * 3)
    for char in value:
        encoded = char.encode("utf-8")
        if len(chunk) + len(encoded) > room:
            words.append(_encoded_word(chunk))
            chunk, room = bytearray(), 45
        chunk += encoded
    words.append(_encoded_word(chunk))
    return "\r\n ".join(words)


def _encoded_word(chunk: bytes | bytearray) -> str:
    return f"=?utf-8?b?{binascii.b2a_base64(chunk, newline=False).decode('ascii')}?="


@lru_cache(maxsize=64)
def _sender(address: Address) -> str:
    return _mailbox(address, 6)


def _mailbox(address: Address, used: int) -> str:
    email = addr_spec(address.email)
    phrase = _phrase(address.name, used)
    if not phrase:
        return email
    fits = "\r\n" not in phrase and used + len(phrase) + len(email) + 3 <= _FOLD_AT
    return f"{phrase} <{email}>" if fits else f"{phrase}\r\n <{email}>"


def _phrase(name: str, used: int) -> str:
    name = clean(name)
    if not name:
        return ""
    if not name.isascii() or "=?" in name or len(name) > 200:
        return _encoded_words(name, used)
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _matching(pattern: re.Pattern[str], value: str, what: str) -> str:
    if not pattern.fullmatch(value) or not _EXACT.fullmatch(value) or len(value) > _LONGEST or "=?" in value:
        raise UnsafeMail(
            f"the {what} cannot stand in a header: one line of ASCII, at most {_LONGEST} characters"
        )
    return value


@lru_cache(maxsize=256)
def _list_id(value: str) -> str:
    match = _LIST_ID.fullmatch(clean(value))
    if match is None:
        raise UnsafeMail("the list id cannot stand in a header: it reads like offers.example.com")
    phrase = _phrase(match[1] or "", 9).replace("\r\n", "")
    return f"{phrase} <{ascii_domain(match[2])}>" if phrase else f"<{ascii_domain(match[2])}>"


def _metadata_line(key: str, value: str) -> str:
    name = f"X-Homing-{key.capitalize()}"
    return f"{name}: {_text(value, len(name) + 2)}"


def _body(mail: Mail) -> bytes:
    parts = [_part(subtype, text) for subtype, text in (("plain", mail.text), ("html", mail.html)) if text]
    if len(parts) < 2:
        return parts[0] if parts else _part("plain", "")
    # Base64 and quoted-printable cannot hold "=_", and plain parts that hold it are encoded: no body ends itself.
    boundary = b"=_" + blake2b(mail.key.encode("utf-8", "replace"), digest_size=15).hexdigest().encode(
        "ascii"
    )
    head = b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n\r\n'
    opening = b"--" + boundary + b"\r\n"
    return head + b"".join(opening + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def _part(subtype: str, text: str) -> bytes:
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    encoding, content = _encoded_body(text.replace("\0", "") if "\0" in text else text)
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode("ascii") + content


def _encoded_body(text: str) -> tuple[str, bytes]:
    """Choose what is shortest to write and still readable: as it is, quoted-printable, base64."""
    if text.isascii() and "=_" not in text and max(map(len, text.split("\n"))) <= 998:
        return "7bit", text.replace("\n", "\r\n").encode("ascii")
    content = text.encode("utf-8", "replace")
    more = len(content) - len(text)
    if more * 9 < len(content):  # a Chinese sign is two bytes more; base64 makes four of it, the other nine
        return "quoted-printable", _quoted(content)
    encoded = binascii.b2a_base64(content.replace(b"\n", b"\r\n"), newline=False)
    return "base64", b"\r\n".join([encoded[at : at + 76] for at in range(0, len(encoded), 76)])


def _quoted(content: bytes) -> bytes:
    """Return UTF-8 as quoted-printable, with CRLF at the ends of its lines: binascii's own takes five times as long."""
    quoted = content.replace(b"=", b"=3D").decode("ascii", _QUOTING).encode("ascii")
    if quoted.translate(None, _PRINTED):
        quoted = _CONTROL.sub(lambda match: b"=%02X" % match[0][0], quoted)
    lines = quoted.split(b"\n")
    return b"\r\n".join(
        [line if len(line) < _FOLD_AT and line[-1:] not in _BLANKS else _folded(line) for line in lines]
    )


def _folded(line: bytes) -> bytes:
    """Return one line in pieces of at most 76 signs that cut no encoded byte in two, with no blank at its end."""
    if line[-1:] in _BLANKS and line:
        line = line[:-1] + b"=%02X" % line[-1]
    return b"=\r\n".join(_PIECES.findall(line))


_PRINTED = bytes(range(32, 127)) + b"\t\n"
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_BLANKS = (b" ", b"\t")
_PIECES = re.compile(rb".{75}(?=.)(?<!=)(?<!=.)|.{74}(?=..)(?<!=)|.{73}(?=...)|.+")
_BEYOND = re.compile(rb"[\x80-\xff]+")
_QUOTING = "homing-quoted-printable"


def _quote(error: UnicodeError) -> tuple[str, int]:
    """Return the bytes of what is not ASCII as quoted-printable writes them."""
    assert isinstance(error, UnicodeDecodeError)
    beyond = _BEYOND.match(error.object, error.start)
    assert beyond is not None
    return f"={beyond[0].hex('=').upper()}", beyond.end()


codecs.register_error(_QUOTING, _quote)
