"""What holds for every provider with a server at the other end, when that server or the way to it fails."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict

import pytest

from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.errors import UsageError
from tests.contracts.providers.rigs import NetworkRig, at_silence, one_at_silence
from tests.contracts.providers.samples import sample_mail


@pytest.mark.parametrize("how", ["silent", "reset", "garbage"])
def test_no_answer_after_sending_is_unknown(network_rig: NetworkRig, how: str) -> None:
    """A server that took the mail and then said nothing that can be understood leaves it unknown, sent once."""
    network_rig.misbehave(how)
    outcome = one_at_silence(lambda seconds: network_rig.provider(answer_seconds=seconds))
    assert isinstance(outcome, Unknown)
    network_rig.server.taken_in_the_end(1)
    assert len(network_rig.received()) == 1


def test_a_refusal_of_the_content_fails(network_rig: NetworkRig) -> None:
    """A mail refused for what it says fails for good, the address stays good, and the reason names no address."""
    network_rig.misbehave("permanent")
    (outcome,) = network_rig.provider().hand_over([sample_mail()])
    assert isinstance(outcome, Failed)
    assert not outcome.suppress
    assert "@" not in outcome.reason
    assert "<address>" in outcome.reason
    assert network_rig.received() == []


def test_a_refusal_of_the_address_suppresses(network_rig: NetworkRig) -> None:
    """An address of which the server says that it does not exist must not be mailed again."""
    network_rig.misbehave("bad-address")
    (outcome,) = network_rig.provider().hand_over([sample_mail()])
    assert isinstance(outcome, Failed)
    assert outcome.suppress
    assert "@" not in outcome.reason


def test_a_busy_server_is_a_retry(network_rig: NetworkRig) -> None:
    """A server that asks to come back later surely did not take the mail."""
    network_rig.misbehave("busy")
    (outcome,) = network_rig.provider().hand_over([sample_mail()])
    assert isinstance(outcome, Retry)
    assert not outcome.setup
    assert "@" not in outcome.reason
    assert network_rig.received() == []


@pytest.mark.parametrize("how", ["permanent", "bad-address", "busy"])
def test_the_group_goes_on_after_a_refusal(network_rig: NetworkRig, how: str) -> None:
    """One refused mail does not spoil the connection for the next ones."""
    network_rig.misbehave(how)
    provider = network_rig.provider()
    assert isinstance(provider.hand_over([sample_mail(1)])[0], (Failed, Retry))
    network_rig.server.behave()
    outcomes = provider.hand_over([sample_mail(2), sample_mail(3)])
    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]


def test_a_connection_that_died_at_rest_costs_nothing(network_rig: NetworkRig) -> None:
    """A server that hangs up between two groups makes no mail unknown: the next one takes a new connection."""
    provider = network_rig.provider()
    network_rig.misbehave("rests-badly")
    outcomes = [*provider.hand_over([sample_mail(1)])]
    network_rig.wait_for_goodbye()
    outcomes += provider.hand_over([sample_mail(2)])
    # Where the very first try met the hang-up nothing had been accepted; otherwise both were.
    assert isinstance(outcomes[1], Accepted)
    assert not any(isinstance(outcome, Unknown) for outcome in outcomes)


def test_one_connection_serves_many_mails(network_rig: NetworkRig) -> None:
    """Groups one after another share connections instead of opening one a mail."""
    provider = network_rig.provider(
        **({"connections": 2} if "sendgrid" in type(network_rig).__name__.lower() else {})
    )
    for start in (0, 10, 20):
        provider.hand_over([sample_mail(start + number) for number in range(5)])
    peers = {tuple(entry["peer"]) for entry in network_rig.server.taken()}
    assert len(network_rig.received()) == 15
    assert len(peers) <= 4


def test_a_group_ends_in_time(network_rig: NetworkRig) -> None:
    """A server that has fallen silent cannot hold a group longer than its limit; what was not begun is a retry."""
    network_rig.misbehave("silent")
    outcomes: list[Outcome] = []

    def hand_over(seconds: float) -> Outcome:
        provider = network_rig.provider(
            answer_seconds=seconds, connect_seconds=5 * seconds, group_seconds=4 * seconds
        )
        began = time.monotonic()
        outcomes[:] = provider.hand_over([sample_mail(number) for number in range(40)])
        assert time.monotonic() - began < 20 * seconds, "half of what forty silent answers would take"
        return outcomes[0]

    at_silence(hand_over)
    begun = sum(isinstance(outcome, Unknown) for outcome in outcomes)
    assert 1 <= begun < 40
    assert sum(isinstance(outcome, Retry) for outcome in outcomes) == 40 - begun
    assert len(network_rig.received()) <= begun


@pytest.mark.parametrize("wrong", ["SG.wrong-key-0815.abcdefgh", "wrong password 0815"])
def test_wrong_credentials_are_a_loud_retry(
    network_rig: NetworkRig, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused credentials lose no mail, say that the installation is at fault, and are not repeated anywhere."""
    provider = network_rig.with_secret(wrong)
    with caplog.at_level(logging.DEBUG):
        outcomes = provider.hand_over([sample_mail(1), sample_mail(2)])
        (problem,) = provider.check()
    assert all(isinstance(outcome, Retry) and outcome.setup for outcome in outcomes)
    shown = caplog.text + problem + str([asdict(outcome) for outcome in outcomes]) + repr(provider)
    assert "0815" not in shown
    assert "535" in problem or "401" in problem


@pytest.mark.parametrize("secret", [None, "with\nbreak", "ümlaut"])
def test_a_useless_secret_is_a_loud_retry(network_rig: NetworkRig, secret: str | None) -> None:
    """A secret that is not set or cannot be one is found without asking anybody, and not repeated."""
    provider = network_rig.with_secret(secret)
    (outcome,), (problem,) = provider.hand_over([sample_mail()]), provider.check()
    assert isinstance(outcome, Retry)
    assert outcome.setup
    assert secret is None or secret not in outcome.reason + problem
    assert network_rig.received() == []


def test_absurd_limits_are_refused(network_rig: NetworkRig) -> None:
    """A limit that cannot be meant is refused when the provider is made."""
    with pytest.raises(UsageError, match="answer_seconds must lie between"):
        network_rig.provider(answer_seconds=-1)
