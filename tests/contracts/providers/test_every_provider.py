"""What holds for every provider, whatever is behind it."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest

from engine.delivery.outcome import Accepted, Failed, Retry
from engine.render.mail import Address
from tests.contracts.providers.rigs import Rig
from tests.contracts.providers.samples import DATE, sample_mail


def test_a_group_is_taken_once_each_and_answered_in_order(rig: Rig) -> None:
    """Every mail of a group arrives exactly once, and its outcome stands at its own place."""
    provider = rig.provider()
    outcomes = provider.hand_over([sample_mail(number) for number in range(10)])
    provider.close()
    assert all(isinstance(outcome, Accepted) and outcome.provider_id for outcome in outcomes)
    assert len(set(outcomes)) == 10
    assert sorted(mail.key for mail in rig.received()) == [f"e{number}.thanks.0" for number in range(10)]


def test_headers_arrive_whole(rig: Rig) -> None:
    """What machines read arrives as it was: identity, list, one-click unsubscribing, feedback."""
    mail = sample_mail(unsubscribe_url="https://mail.kiyomi.test/u/" + "x" * 600)
    rig.provider().hand_over([mail])
    (received,) = rig.received()
    headers = received.headers
    assert headers["message-id"] == "<e1.thanks.0@kiyomi.test>"
    assert headers["list-unsubscribe"] == f"<{mail.unsubscribe_url}>"
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    assert headers["list-id"] == '"Offers and news" <offers.kiyomi.test>'
    assert headers["feedback-id"] == "thank-you:thanks:marketing:kiyomitest"
    assert headers["reply-to"] == "Customer care <care@kiyomi.test>"
    assert headers["from"] == "Kiyomi Tea <hello@kiyomi.test>"
    assert parsedate_to_datetime(headers["date"]) == DATE
    assert (received.to, received.to_name) == ("ann1@customers.test", "Ann Example")


def test_a_transactional_mail_has_no_unsubscribing(rig: Rig) -> None:
    """A transactional mail says that a machine wrote it and offers nothing to unsubscribe from."""
    rig.provider().hand_over([sample_mail(kind="transactional", unsubscribe_url="", list_id="")])
    (received,) = rig.received()
    assert received.headers["auto-submitted"] == "auto-generated"
    assert received.headers.keys().isdisjoint({"list-unsubscribe", "list-unsubscribe-post", "list-id"})


def test_every_language_arrives(rig: Rig) -> None:
    """Names, subjects, bodies and domains beyond ASCII arrive as they were written."""
    mail = sample_mail(
        to=Address("ann@bücher.test", "清水 ひかり 🍵"),
        sender=Address("hello@kiyomi.test", "Kiyomi Tée"),
        subject="Grüße – ขอบคุณ – " + "とても長い件名です。" * 12,
        text="Grüße\n今日は\n" + "ö" * 2000 + "\n",
        html="<p>Grüße " + "今日は" * 900 + " 🍵</p>\n.\n..two dots\n",
    )
    rig.provider().hand_over([mail])
    (received,) = rig.received()
    assert received.to == "ann@xn--bcher-kva.test"
    assert received.to_name == "清水 ひかり 🍵"
    assert received.headers["subject"] == mail.subject
    assert received.headers["from"] == "Kiyomi Tée <hello@kiyomi.test>"
    assert received.text.rstrip("\n") == mail.text.rstrip("\n")
    assert received.html.rstrip("\n") == mail.html.rstrip("\n")


@pytest.mark.parametrize(
    "attack",
    [
        "Ann\r\nBcc: evil@example.test",
        "Ann\nX-Evil: 1\n\nbody",
        "Ann\0\x0b\x0c\x1e\x85\u2028Bcc: evil@example.test",
        "=?utf-8?q?Ann=0D=0ABcc:_evil@example.test?=",
        "=?utf-8?b?QW5uDQpCY2M6IGV2aWxAZXhhbXBsZS50ZXN0?=",
        '"Ann" <evil@example.test>, x',
        "Ann\ud800\udc00\ud83d",
    ],
)
def test_no_name_and_no_subject_makes_a_header(rig: Rig, attack: str) -> None:
    """A customer's name in To and in the subject adds no header and no recipient, even to a parser that decodes."""
    rig.provider().hand_over([sample_mail()])
    (outcome,) = rig.provider().hand_over(
        [sample_mail(2, to=Address("ann2@customers.test", attack), subject=f"Hi {attack}!")]
    )
    assert isinstance(outcome, Accepted)
    plain, attacked = rig.received()
    assert attacked.headers.keys() == plain.headers.keys()
    assert attacked.to == "ann2@customers.test"
    assert not set("\r\n\0") & set(attacked.headers["subject"] + attacked.to_name)


@pytest.mark.parametrize(
    "address", ["", "ann", "a@b\r\nBcc: x@y.test", "ann <x@y.test>", "a b@c.test", "ann@", "a@b..c", "a@-"]
)
def test_a_bad_address_fails_alone(rig: Rig, address: str) -> None:
    """An address that cannot be written fails for good, is not repeated in the reason, and holds nobody else up."""
    mails = [sample_mail(1), sample_mail(2, to=Address(address, "Ann")), sample_mail(3)]
    first, bad, last = rig.provider().hand_over(mails)
    assert isinstance(first, Accepted)
    assert isinstance(last, Accepted)
    assert isinstance(bad, Failed)
    assert bad.suppress
    assert not address or address not in bad.reason
    assert len(rig.received()) == 2


def test_nobody_there_is_a_retry(rig: Rig) -> None:
    """Where the other side cannot be reached every mail may be handed over again, and `check` says so."""
    provider = rig.unreachable()
    outcomes = provider.hand_over([sample_mail(1), sample_mail(2)])
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry]
    assert len(provider.check()) == 1


def test_a_second_hand_over_of_a_message_is_seen(rig: Rig) -> None:
    """A provider never hides that a message was handed over twice."""
    provider = rig.provider()
    first, second = provider.hand_over([sample_mail()]), provider.hand_over([sample_mail()])
    assert first != second
    assert [mail.key for mail in rig.received()] == ["e1.thanks.0", "e1.thanks.0"]


def test_check_finds_nothing_and_sends_nothing(rig: Rig) -> None:
    """`check` has nothing to say of a provider that works, and no mail leaves by it."""
    provider = rig.provider()
    assert provider.check() == []
    provider.hand_over([sample_mail()])
    assert len(rig.received()) == 1


def test_a_closed_provider_can_be_used_again(rig: Rig) -> None:
    """`close` lets go of connections, not of the provider, and an empty group is no hand-over."""
    provider = rig.provider()
    for number in (1, 2):
        assert isinstance(provider.hand_over([sample_mail(number)])[0], Accepted)
        provider.close()
    assert provider.hand_over([]) == []
    assert len(rig.received()) == 2


def test_threads_can_share_a_provider(rig: Rig) -> None:
    """Groups handed over by several threads at once arrive once each and answer their own callers."""
    provider = rig.provider()
    groups = [[sample_mail(10 * thread + number) for number in range(4)] for thread in range(4)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = [outcome for group in threads.map(provider.hand_over, groups) for outcome in group]
    assert len({outcome.provider_id for outcome in outcomes if isinstance(outcome, Accepted)}) == 16
    assert len({mail.key for mail in rig.received()}) == len(rig.received()) == 16


def test_logs_know_no_secret_and_no_address(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level neither a key nor a customer's address reaches the log or a repr."""
    provider = rig.provider()
    with caplog.at_level(logging.DEBUG):
        provider.check()
        provider.hand_over([sample_mail()])
    shown = caplog.text + repr(provider) + str(vars(provider))
    assert getattr(rig, "secret", "no secret") not in shown
    assert "customers.test" not in shown
