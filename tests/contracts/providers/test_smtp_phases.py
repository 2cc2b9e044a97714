"""Every step of an SMTP conversation, broken in every way: before the last dot nothing is unknown, after it only an answer counts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.delivery.provider import Provider, make_provider
from engine.render.mail import Address
from tests.contracts.providers.rigs import SMTP_LOGIN, one_at_silence
from tests.contracts.providers.samples import sample_mail
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.process import RunningServer, start_smtp

PASSWORD = {"HOMING_SMTP_PASSWORD": SMTP_LOGIN[1]}


@pytest.fixture
def provider(smtp_server: RunningServer, tmp_path: Path) -> Provider:
    """Give a provider for the plain server, with limits that a busy machine keeps."""
    return _provider(smtp_server, tmp_path)


@pytest.fixture
def hasty_provider(smtp_server: RunningServer, tmp_path: Path) -> Provider:
    """Give one whose limits are short, to meet silence."""
    return _provider(smtp_server, tmp_path, connect_seconds=0.7, answer_seconds=0.7)


def _provider(server: RunningServer, folder: Path, **options: object) -> Provider:
    settings = {"host": "127.0.0.1", "port": server.port, "security": "none"}
    settings |= options
    return make_provider("smtp", settings, environ=PASSWORD, project=folder)


def _one(provider: Provider) -> Outcome:
    (outcome,) = provider.hand_over([sample_mail()])
    provider.close()
    return outcome


@pytest.mark.parametrize("phase", ["banner", "mail", "rcpt", "data", "content"])
@pytest.mark.parametrize("do", ["drop", "hang"])
def test_a_break_before_the_last_dot_is_a_retry(
    hasty_provider: Provider, smtp_server: RunningServer, tmp_path: Path, phase: str, do: str
) -> None:
    """A connection that breaks or falls silent before the mail is whole has surely not carried it."""
    smtp_server.script(phase, do)
    if (phase, do) == ("content", "hang"):
        # All of the content fits into the network's buffers: the dot left, and nobody answered it.
        outcome = one_at_silence(lambda seconds: _provider(smtp_server, tmp_path, answer_seconds=seconds))
        assert isinstance(outcome, Unknown)
    else:
        outcome = _one(hasty_provider)
        assert isinstance(outcome, (Retry, Unknown) if (phase, do) == ("content", "drop") else Retry)
    assert smtp_server.taken() == []


@pytest.mark.parametrize("do", ["drop", "hang", "garbage"])
@pytest.mark.parametrize("recorded", [True, False])
def test_no_answer_after_the_last_dot_is_unknown(
    smtp_server: RunningServer, tmp_path: Path, do: str, recorded: bool
) -> None:
    """Whether the server kept the mail or lost it, we cannot know, and say so."""
    smtp_server.script("answer", do, recorded=recorded)
    outcome = one_at_silence(lambda seconds: _provider(smtp_server, tmp_path, answer_seconds=seconds))
    assert isinstance(outcome, Unknown)
    assert len(smtp_server.taken_in_the_end(int(recorded))) == recorded


@pytest.mark.parametrize("phase", ["banner", "mail", "rcpt", "data", "answer"])
def test_a_4xx_is_a_retry_everywhere(provider: Provider, smtp_server: RunningServer, phase: str) -> None:
    """A temporary refusal is an answer: the mail was not accepted."""
    smtp_server.script(phase, "reply", reply="451 4.3.0 not now")
    assert isinstance(_one(provider), Retry)
    smtp_server.script(phase, "reply", reply="421 4.3.2 closing")
    assert isinstance(_one(provider), Retry)


@pytest.mark.parametrize(
    ("phase", "reply", "expected"),
    [
        ("banner", "554 5.7.1 you are not welcome", Retry),
        ("mail", "553 5.7.1 not your sender", Retry),
        ("mail", "552 5.3.4 too big", Failed),
        ("rcpt", "550 5.1.1 no such mailbox", Failed),
        ("rcpt", "554 5.7.1 relay access denied", Retry),
        ("data", "554 5.5.1 no valid recipients", Failed),
        ("answer", "554 5.6.0 content refused", Failed),
    ],
)
def test_a_5xx_means_what_its_phase_says(
    provider: Provider, smtp_server: RunningServer, phase: str, reply: str, expected: type[Outcome]
) -> None:
    """A refusal of this mail is final; one that every other mail would meet says that the set-up is at fault."""
    smtp_server.script(phase, "reply", reply=reply)
    outcome = _one(provider)
    assert isinstance(outcome, expected)
    assert outcome.setup if isinstance(outcome, Retry) else True
    assert smtp_server.taken() == []


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("reply", ["", "421 idle for too long"])
def test_a_dead_connection_is_replaced_before_the_content(
    provider: Provider, smtp_server: RunningServer, phase: str, reply: str
) -> None:
    """A connection that proves dead while the mail is still here is replaced, and nobody notices."""
    assert isinstance(provider.hand_over([sample_mail(1)])[0], Accepted)
    smtp_server.script(phase, "reply" if reply else "drop", times=1, reply=reply)
    assert isinstance(provider.hand_over([sample_mail(2)])[0], Accepted)
    provider.close()
    assert len({tuple(entry["peer"]) for entry in smtp_server.taken()}) == 2


def test_dots_and_the_envelope_travel_right(smtp_server: RunningServer, tmp_path: Path) -> None:
    """Leading dots survive, bounces go where the settings say, and the queue's name for the mail comes back."""
    provider = _provider(smtp_server, tmp_path, envelope_sender="bounces@mail.kiyomi.test")
    mail = sample_mail(text=".\n..\n.dot\nlast", html="<p>x</p>")
    (outcome,) = provider.hand_over([mail])
    provider.close()
    (entry,) = smtp_server.taken()
    assert isinstance(outcome, Accepted)
    assert outcome.provider_id.startswith("T0")
    assert entry["sender"] == "bounces@mail.kiyomi.test"
    assert entry["recipients"] == ["ann1@customers.test"]
    assert b"\r\n\r\n.\r\n..\r\n.dot\r\nlast\r\n" in base64.b64decode(entry["content"])


def test_a_local_part_beyond_ascii_needs_smtputf8(smtp_server: RunningServer, tmp_path: Path) -> None:
    """An address such as 用户@… goes out where the server can take it, and fails in plain words where it cannot."""
    mail = sample_mail(to=Address("用户@例子.test", "用户"))
    provider = _provider(smtp_server, tmp_path)
    assert isinstance(provider.hand_over([mail, sample_mail(2)])[0], Accepted)
    provider.close()
    assert smtp_server.taken()[0]["recipients"] == ["用户@xn--fsqu00a.test"]
    with start_smtp(tmp_path, smtputf8=False) as old_server:
        provider = _provider(old_server, tmp_path)
        refused, accepted = provider.hand_over([mail, sample_mail(2)])
        provider.close()
    assert isinstance(refused, Failed)
    assert not refused.suppress
    assert isinstance(accepted, Accepted)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_tls_is_used_and_its_certificate_verified(
    security: str, certificates: Certificates, tmp_path: Path
) -> None:
    """Mail goes encrypted to a server with a trusted certificate, and not at all to one without."""
    with start_smtp(tmp_path, security=security, certificates=certificates, login=SMTP_LOGIN) as server:
        trusting = {"security": security, "ca_file": str(certificates.authority), "user": SMTP_LOGIN[0]}
        provider = _provider(server, tmp_path, host="localhost", **trusting)
        assert isinstance(_one(provider), Accepted)
        (entry,) = server.taken()
        assert (entry["is_tls"], entry["user"]) == (True, SMTP_LOGIN[0])
        other = tmp_path / "other"
        other.mkdir()
        for wrong in ({}, {"ca_file": str(make_certificates(other).authority)}):
            distrusting = {"security": security, "user": SMTP_LOGIN[0], **wrong}
            provider = _provider(server, tmp_path, host="localhost", **distrusting)
            outcome = _one(provider)
            assert isinstance(outcome, Retry)
            assert outcome.setup
            assert "certificate" in outcome.reason
        assert len(server.taken()) == 1


@pytest.mark.parametrize("user", ["", "mailer"])
def test_tls_is_never_given_up(smtp_server: RunningServer, tmp_path: Path, user: str) -> None:
    """A server, or somebody in between, that offers no STARTTLS gets neither the password nor the mail."""
    outcome = _one(_provider(smtp_server, tmp_path, security="starttls", user=user))
    assert isinstance(outcome, Retry)
    assert "STARTTLS" in outcome.reason
    assert outcome.setup
    assert smtp_server.taken() == []


def test_a_group_without_a_connection_waits_once(
    hasty_provider: Provider, smtp_server: RunningServer
) -> None:
    """A server that does not greet costs a group one wait, not one a mail."""
    smtp_server.script("banner", "hang", times=1)
    outcomes = hasty_provider.hand_over([sample_mail(number) for number in range(5)])
    assert [type(outcome) for outcome in outcomes] == [Retry] * 5
    assert smtp_server.taken() == []
