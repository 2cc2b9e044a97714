"""What a server's answers mean, by the phase in which they come.

A reply code and its text (already made plain) come in, an outcome goes out. The code alone is not enough: "550" after
RCPT may mean that nobody lives there or that we may not send at all, and only the first suppresses an address. The
enhanced status code (RFC 3463) decides where there is one.
"""

from __future__ import annotations

import re

from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown

_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_QUEUE_ID = re.compile(r"\b(?:queued as|id=|queued mail for delivery)\s*([A-Za-z0-9._-]{4,})", re.IGNORECASE)
_OUR_FAULT = re.compile(r"\brelay|authenticat|\bauth\b|not logged in|log ?in", re.IGNORECASE)
_POLICY = re.compile(
    r"block|spam|polic|reputation|denied|blacklist|blocklist|listed|spf|dkim|dmarc", re.IGNORECASE
)
# No such mailbox, no such domain, bad syntax, moved away, null MX, mailbox disabled (RFC 3463, RFC 7505).
_DEAD_ADDRESS = {"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"}
_TOO_BIG = {"2.3", "3.4"}


def _enhanced(text: str) -> str:
    match = _ENHANCED.search(text)
    return f"{int(match[2])}.{int(match[3])}" if match else ""


def greeting(code: int, text: str) -> Outcome:
    """Return what a refusal before any mail means: later perhaps, or something to mend here."""
    return Retry(f"the server refuses us ({code}): {text}", setup=not 400 <= code < 500)


def at_sender(code: int, text: str) -> Outcome:
    """Return what a refusal of MAIL means: the mail is too big, or the server does not let us send as this sender."""
    if code == 552 or (500 <= code < 600 and _enhanced(text) in _TOO_BIG):
        return Failed(f"the mail is too big ({code}): {text}")
    return Retry(f"the sender was refused ({code}): {text}", setup=500 <= code < 600)


def at_recipient(code: int, text: str) -> Outcome:
    """Return what a refusal of RCPT means; an address is suppressed only where the server says that it is dead."""
    if not 500 <= code < 600:
        return Retry(f"the recipient was put off ({code}): {text}")
    if code == 530 or _OUR_FAULT.search(text):
        return Retry(f"the server does not relay for us ({code}): {text}", setup=True)
    enhanced = _enhanced(text)
    dead = (
        enhanced in _DEAD_ADDRESS if enhanced else code in (550, 551, 553, 556) and not _POLICY.search(text)
    )
    return Failed(f"the recipient was refused ({code}): {text}", suppress=dead)


def at_data(code: int, text: str) -> Outcome:
    """Return what a refusal of DATA means: the content was never sent."""
    if 500 <= code < 600:
        return Failed(f"the mail was refused ({code}): {text}")
    return Retry(f"the mail was put off ({code}): {text}")


def after_content(code: int, text: str) -> Outcome:
    """Return what the answer to the last dot means: the only one that can accept a mail."""
    if 200 <= code < 300:
        match = _QUEUE_ID.search(text)
        return Accepted(match[1] if match else text[:120])
    if 400 <= code < 500:
        return Retry(f"the mail was put off ({code}): {text}")
    if 500 <= code < 600:
        return Failed(f"the mail was refused ({code}): {text}", suppress=_enhanced(text) in _DEAD_ADDRESS)
    return Unknown("the server's answer to the mail made no sense")
