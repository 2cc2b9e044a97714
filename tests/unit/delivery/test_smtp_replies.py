"""What SMTP replies of real servers mean."""

from __future__ import annotations

import pytest

from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.delivery.smtp_replies import after_content, at_data, at_recipient, at_sender, greeting

DEAD, REFUSED, LATER, OURS = Failed("", suppress=True), Failed(""), Retry(""), Retry("", setup=True)


def _kind(outcome: Outcome) -> tuple[type[Outcome], bool, bool]:
    return type(outcome), getattr(outcome, "suppress", False), getattr(outcome, "setup", False)


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        (550, "5.1.1 The email account that you tried to reach does not exist", DEAD),
        (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", DEAD),
        (550, "No such user here", DEAD),
        (550, "5.2.1 The email account is inactive", DEAD),
        (556, "5.1.10 Domain does not accept mail (nullMX)", DEAD),
        (553, "5.1.3 bad address syntax", DEAD),
        (552, "5.2.2 mailbox full", REFUSED),
        (550, "5.7.1 Message rejected due to local policy", REFUSED),
        (550, "5.7.515 Access denied, sending domain does not meet the required authentication level", OURS),
        (550, "Blocked by our spam filter", REFUSED),
        (554, "no thanks", REFUSED),
        (554, "5.7.1 <address>: Relay access denied", OURS),
        (530, "5.7.0 Authentication required", OURS),
        (550, "relay not permitted", OURS),
        (450, "4.2.1 mailbox busy", LATER),
        (452, "4.2.2 over quota", LATER),
        (-1, "", LATER),
    ],
)
def test_at_recipient(code: int, text: str, meaning: Outcome) -> None:
    """Only an address that is dead is suppressed; what every customer would meet is the set-up's fault."""
    assert _kind(at_recipient(code, text)) == _kind(meaning)


@pytest.mark.parametrize(
    ("outcome", "meaning"),
    [
        (greeting(554, "no"), OURS),
        (greeting(450, "greylisted"), LATER),
        (at_sender(553, "5.7.1 not your sender"), OURS),
        (at_sender(552, "too big"), REFUSED),
        (at_sender(550, "5.3.4 too big"), REFUSED),
        (at_sender(451, "later"), LATER),
        (at_data(554, "no"), REFUSED),
        (at_data(451, "later"), LATER),
        (after_content(451, "4.7.1 greylisted"), LATER),
        (after_content(554, "5.7.1 spam"), REFUSED),
        (after_content(550, "5.1.1 no such mailbox"), DEAD),
        (after_content(-1, ""), Unknown("")),
        (after_content(354, "go on"), Unknown("")),
        (after_content(250, "2.0.0 Ok: queued as 4ZkX1"), Accepted("")),
    ],
)
def test_other_phases(outcome: Outcome, meaning: Outcome) -> None:
    """Each phase reads its own refusals; after the content only a proper answer is one."""
    assert _kind(outcome) == _kind(meaning)


@pytest.mark.parametrize(
    ("text", "provider_id"),
    [
        ("2.0.0 Ok: queued as 4ZkX1", "4ZkX1"),
        ("OK id=1uABCD-0001-XY", "1uABCD-0001-XY"),
        ("Ok 0102018f-aaaa", "Ok 0102018f-aaaa"),
    ],
)
def test_the_queue_id_is_found(text: str, provider_id: str) -> None:
    """The server's own name for the mail is what support people ask for."""
    assert after_content(250, text) == Accepted(provider_id)
