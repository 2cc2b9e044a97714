"""Email addresses as they may stand in a header or an SMTP command.

An address as somebody typed it comes in; the same address goes out with its domain in ASCII and its local part quoted
where the grammar wants it. Whatever could end a header, begin another or be decoded into one raises `UnsafeMail`.
"""

from __future__ import annotations

import encodings.idna
import re
import unicodedata
from functools import lru_cache

from engine.errors import HomingError

_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
# IDNA 2003 (the standard library) maps these away, IDNA 2008 keeps them: straße.de and strasse.de have two owners.
_KEPT_BY_2008 = re.compile("([ßς\u200c\u200d])")


class UnsafeMail(HomingError):
    """A mail cannot be written safely; `address_is_bad` says that the recipient's address is the reason."""

    def __init__(self, sentence: str, *, address_is_bad: bool = False) -> None:
        self.address_is_bad = address_is_bad
        super().__init__(sentence)


def addr_spec(email: str) -> str:
    """Return the address for headers and the SMTP envelope; non-ASCII survives in the local part only.

    Raises UnsafeMail (which does not repeat the address) where it is no address that one mail can be sent to.

    >>> addr_spec("ann@bücher.test"), addr_spec("a..b@docomo.test")
    ('ann@xn--bcher-kva.test', '"a..b"@docomo.test')
    """
    local, at, domain = email.rpartition("@")
    if not at or not local or len(email) > 320:
        raise UnsafeMail("the address is not of the form name@domain", address_is_bad=True)
    return f"{_local_part(local)}@{ascii_domain(domain)}"


def is_ascii_address(email: str) -> bool:
    """Return whether the address can be used with a server that does not know SMTPUTF8."""
    return email.rpartition("@")[0].isascii()


def _local_part(local: str) -> str:
    # "=?" begins an encoded word: a careless parser would decode it, line breaks and all (CVE-2024-6923).
    if "=?" in local or len(local.encode("utf-8", "replace")) > 64:
        raise UnsafeMail("the address has a part before the @ that no server takes", address_is_bad=True)
    ascii_only = "".join(char for char in local if char.isascii())
    if (ascii_only and not _ATOM.fullmatch(ascii_only)) or not all(map(_is_visible, local)):
        raise UnsafeMail("the address has characters that an address cannot have", address_is_bad=True)
    # Japanese mobile carriers gave out addresses with dots in a row and before the @: real, but only when quoted.
    return f'"{local}"' if ".." in local or local[0] == "." or local[-1] == "." else local


def _is_visible(char: str) -> bool:
    return char.isprintable() and not char.isspace()


@lru_cache(maxsize=4096)
def ascii_domain(domain: str) -> str:
    """Return the domain in ASCII (IDN labels as `xn--`); raises UnsafeMail where it is no domain.

    >>> ascii_domain("straße.test")
    'xn--strae-oqa.test'
    """
    try:
        labels = [_ascii_label(label) for label in _DOTS.split(domain)]
    except UnicodeError:
        labels = []
    if not labels or not all(_LABEL.fullmatch(label) for label in labels) or len(domain) > 253:
        raise UnsafeMail("the address has a domain that cannot exist", address_is_bad=True)
    return ".".join(labels)


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if not _KEPT_BY_2008.search(label):
        return encodings.idna.ToASCII(label).decode("ascii")
    pieces = _KEPT_BY_2008.split(label)
    kept = [piece if _KEPT_BY_2008.fullmatch(piece) else encodings.idna.nameprep(piece) for piece in pieces]
    return "xn--" + unicodedata.normalize("NFC", "".join(kept)).encode("punycode").decode("ascii")
