"""Making providers: wrong options are found at once and in plain words; nothing is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.delivery.provider import PROVIDERS, make_provider
from engine.errors import UsageError

GOOD: dict[str, dict[str, object]] = {"mailbox": {}, "smtp": {"host": "mail.example.test"}, "sendgrid": {}}


def make(name: str, **options: object) -> object:
    """Make a provider with secrets in the environment."""
    environ = {"HOMING_SMTP_PASSWORD": "s3cret-pw", "SENDGRID_API_KEY": "SG.s3cret-key.0123456789"}
    return make_provider(name, {**GOOD.get(name, {}), **options}, environ=environ, project=Path())


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_made_without_connecting(name: str) -> None:
    """A provider knows its name and shows no secret; nobody is asked anything yet."""
    provider = make_provider(name, GOOD[name], environ={"SENDGRID_API_KEY": "SG.s3cret"}, project=Path())
    assert provider.name == name
    assert "s3cret" not in repr(provider) + str(vars(provider))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("sendgird", {}, 'did you mean "sendgrid"'),
        ("carrier-pigeon", {}, "known: mailbox, smtp, sendgrid"),
        ("smtp", {"prot": 25}, 'did you mean "port"'),
        ("smtp", {"host": ""}, "host must name the mail server"),
        ("smtp", {"host": "a b"}, "host must name the mail server"),
        ("smtp", {"host": 5}, "host must be text"),
        ("smtp", {"security": "ssl"}, "one of starttls, tls, none"),
        ("smtp", {"port": "many"}, "port must be a number"),
        ("smtp", {"port": 0}, "port must lie between"),
        ("smtp", {"port": True}, "port must be a number"),
        ("smtp", {"security": "none", "user": "mailer"}, "clear text"),
        ("smtp", {"user": "mäiler"}, "user has characters"),
        ("smtp", {"hello_name": "a\r\nb"}, "hello_name has characters"),
        ("smtp", {"envelope_sender": "bounces"}, "envelope_sender"),
        ("smtp", {"ca_file": "missing.pem"}, "does not exist"),
        ("sendgrid", {"url": "api.sendgrid.com"}, "not the web address"),
        ("sendgrid", {"url": "https://api.example.test:port"}, "not the web address"),
        ("sendgrid", {"click_tracking": "perhaps"}, "true or false"),
        ("mailbox", {"folder": "x"}, "has no option folder"),
    ],
)
def test_wrong_options_are_explained(name: str, options: dict[str, object], sentence: str) -> None:
    """Each wrong option is refused with what would be right."""
    with pytest.raises(UsageError) as refusal:
        make(name, **options)
    assert sentence in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("written", "problem"), [("", "is empty"), (None, "cannot be read"), ("k\ney", "characters")]
)
def test_a_secret_file_that_does_not_serve(tmp_path: Path, written: str | None, problem: str) -> None:
    """A file that should hold the key and does not is named by its variable, without asking SendGrid."""
    if written is not None:
        (tmp_path / "key").write_text(written)
    provider = make_provider("sendgrid", {}, environ={"SENDGRID_API_KEY_FILE": "key"}, project=tmp_path)
    (sentence,) = provider.check()
    assert "SENDGRID_API_KEY_FILE" in sentence
    assert problem in sentence
