"""Every answer and every failure of SendGrid, over a real connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.delivery.provider import Provider, make_provider
from tests.contracts.providers.rigs import SendGridRig, one_at_silence
from tests.contracts.providers.samples import sample_mail
from tests.servers.certificates import Certificates
from tests.servers.process import API_KEY, start_sendgrid


def _one(provider: Provider) -> Outcome:
    (outcome,) = provider.hand_over([sample_mail()])
    return outcome


@pytest.mark.parametrize(
    ("status", "expected", "is_setup"),
    [
        (200, Unknown, False),
        (202, Unknown, False),
        (301, Retry, True),
        (400, Failed, False),
        (401, Retry, True),
        (403, Retry, True),
        (404, Retry, True),
        (408, Retry, False),
        (413, Failed, False),
        (415, Failed, False),
        (429, Retry, False),
        (500, Unknown, False),
        (502, Unknown, False),
        (503, Unknown, False),
        (504, Unknown, False),
    ],
)
def test_a_status_means(
    sendgrid_rig: SendGridRig, status: int, expected: type[Outcome], is_setup: bool
) -> None:
    """Refusals are sure, late errors and answers without a message id are not; the set-up's faults lose no mail."""
    sendgrid_rig.server.script(
        "after", "reply", status=status, body={"errors": [{"message": "so it is", "field": None}]}
    )
    outcome = _one(sendgrid_rig.provider())
    assert isinstance(outcome, expected)
    assert getattr(outcome, "setup", False) == is_setup
    assert not getattr(outcome, "suppress", False)


@pytest.mark.parametrize("do", ["hang", "reset", "garbage", "truncated"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_no_answer_is_unknown(sendgrid_rig: SendGridRig, phase: str, do: str) -> None:
    """Once the whole request has left, nobody can say whether the server read it before it failed."""
    sendgrid_rig.server.script(phase, do)
    assert isinstance(one_at_silence(lambda seconds: sendgrid_rig.provider(answer_seconds=seconds)), Unknown)


def test_an_answer_that_drips_does_not_hold_a_mail(sendgrid_rig: SendGridRig) -> None:
    """A byte every now and then does not lengthen the limit for the whole answer, which comes far too late."""
    sendgrid_rig.server.script("after", "drip")
    assert isinstance(one_at_silence(lambda seconds: sendgrid_rig.provider(answer_seconds=seconds)), Unknown)


def test_a_slow_answer_is_waited_for(sendgrid_rig: SendGridRig) -> None:
    """An answer within the limit counts, however late."""
    sendgrid_rig.server.script("after", "slow", seconds=0.3)
    assert _one(sendgrid_rig.provider(answer_seconds=20)) == Accepted("slow")


def test_a_body_that_cannot_leave_whole_is_a_retry(sendgrid_rig: SendGridRig) -> None:
    """A connection that breaks while the body is still being sent has surely not carried it."""
    sendgrid_rig.server.script("before", "reset")
    mail = sample_mail(html="x" * 20_000_000)
    (outcome,) = sendgrid_rig.provider().hand_over([mail])
    assert isinstance(outcome, Retry)
    assert sendgrid_rig.server.taken() == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "soon"}, None),
        ({"X-RateLimit-Reset": "0"}, 0.0),
        ({}, None),
    ],
)
def test_429_says_how_long_to_wait(
    sendgrid_rig: SendGridRig, headers: dict[str, str], seconds: float | None
) -> None:
    """The wait that SendGrid asks for comes back with the outcome, within an hour."""
    sendgrid_rig.server.script("after", "reply", status=429, headers=headers)
    assert _one(sendgrid_rig.provider()) == Retry("SendGrid asks for a rest (429)", seconds)


def test_one_question_is_enough_where_the_key_is_wrong(sendgrid_rig: SendGridRig) -> None:
    """A refused key is not tried again for every mail of the group."""
    sendgrid_rig.server.script("after", "reply", times=1, status=401)
    outcomes = sendgrid_rig.provider().hand_over([sample_mail(1), sample_mail(2)])
    assert all(isinstance(outcome, Retry) and outcome.setup for outcome in outcomes)
    assert sendgrid_rig.server.taken() == []


def test_tracking_is_off_unless_asked(sendgrid_rig: SendGridRig) -> None:
    """SendGrid rewrites no link and counts no opening unless the settings say so."""
    sendgrid_rig.provider().hand_over([sample_mail(1)])
    sendgrid_rig.provider(click_tracking=True, open_tracking="true").hand_over([sample_mail(2)])
    silent, asked = (entry["body"]["tracking_settings"] for entry in sendgrid_rig.server.taken())
    assert not any(setting["enable"] for setting in silent.values())
    assert asked["click_tracking"]["enable"]
    assert asked["open_tracking"]["enable"]
    assert not asked["subscription_tracking"]["enable"]


def test_nothing_personal_in_categories_and_arguments(sendgrid_rig: SendGridRig) -> None:
    """Categories and custom arguments say which message of which flow, and nothing of the customer."""
    sendgrid_rig.provider().hand_over([sample_mail(1)])
    (entry,) = sendgrid_rig.server.taken()
    assert sorted(entry["body"]["categories"]) == ["thank-you", "thanks"]
    (personalization,) = entry["body"]["personalizations"]
    assert personalization["custom_args"] == {
        "homing_message": "e1.thanks.0",
        "homing_flow": "thank-you",
        "homing_version": "3f2a",
        "homing_step": "thanks",
    }


def test_check_asks_for_the_right_to_send(tmp_path: Path) -> None:
    """A key that may read statistics and not send mail is found by `check`."""
    with start_sendgrid(tmp_path, scopes="stats.read") as server:
        url = f"http://127.0.0.1:{server.port}"
        provider = make_provider(
            "sendgrid", {"url": url}, environ={"SENDGRID_API_KEY": API_KEY}, project=tmp_path
        )
        assert provider.check() == ["the SendGrid key lacks the right to send mail (mail.send)"]
        provider.close()


def test_its_certificate_is_verified(certificates: Certificates, tmp_path: Path) -> None:
    """Neither the key nor a mail goes to a server whose certificate is not trusted."""
    key_file = tmp_path / "key"
    key_file.write_text(f"{API_KEY}\n")
    environ = {"SENDGRID_API_KEY_FILE": "key"}
    with start_sendgrid(tmp_path, certificates=certificates) as server:
        options = {"url": f"https://localhost:{server.port}"}
        distrusting = make_provider("sendgrid", options, environ=environ, project=tmp_path)
        outcome = _one(distrusting)
        assert isinstance(outcome, Retry)
        assert outcome.setup
        assert "certificate" in outcome.reason
        trusting = {**options, "ca_file": str(certificates.authority)}
        provider = make_provider("sendgrid", trusting, environ=environ, project=tmp_path)
        outcomes = provider.hand_over([sample_mail(number) for number in range(4)])
        provider.close()
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
