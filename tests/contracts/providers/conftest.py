"""The providers under contract: every test that takes `rig` runs over all, `network_rig` over those with a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.providers.rigs import SMTP_LOGIN, MailboxRig, NetworkRig, Rig, SendGridRig, SmtpRig
from tests.servers.certificates import Certificates
from tests.servers.fixtures import (  # noqa: F401 (fixtures are found by their names)
    certificates,
    sendgrid_process,
    sendgrid_server,
    smtp_process,
    smtp_server,
)
from tests.servers.process import RunningServer, start_smtp


@pytest.fixture(scope="session")
def secure_smtp_process(
    tmp_path_factory: pytest.TempPathFactory,
    certificates: Certificates,  # noqa: F811
) -> Iterator[RunningServer]:
    """Give the run's SMTP server with STARTTLS and a login."""
    folder = tmp_path_factory.mktemp("secure-smtp")
    with start_smtp(folder, security="starttls", certificates=certificates, login=SMTP_LOGIN) as server:
        yield server


@pytest.fixture
def smtp_rig(
    secure_smtp_process: RunningServer,
    tmp_path: Path,
    certificates: Certificates,  # noqa: F811
) -> Iterator[SmtpRig]:
    """Give the SMTP provider and its server."""
    secure_smtp_process.reset()
    rig = SmtpRig(secure_smtp_process, tmp_path, certificates)
    yield rig
    rig.close()
    secure_smtp_process.reset()


@pytest.fixture
def sendgrid_rig(sendgrid_server: RunningServer, tmp_path: Path) -> Iterator[SendGridRig]:  # noqa: F811
    """Give the SendGrid provider and its server."""
    rig = SendGridRig(sendgrid_server, tmp_path)
    yield rig
    rig.close()


@pytest.fixture(params=["smtp", "sendgrid"])
def network_rig(request: pytest.FixtureRequest) -> NetworkRig:
    """Give each provider that has a server."""
    rig: NetworkRig = request.getfixturevalue(f"{request.param}_rig")
    return rig


@pytest.fixture(params=["mailbox", "smtp", "sendgrid"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Give each provider."""
    if request.param == "mailbox":
        return MailboxRig(tmp_path)
    found: Rig = request.getfixturevalue(f"{request.param}_rig")
    return found
