"""Pytest fixtures over the test servers; load with `pytest_plugins = ["tests.servers.fixtures"]`.

Each server is started once a run, by the first test that needs it, and stands clean for every test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.certificates import Certificates, make_certificates
from tests.servers.process import RunningServer, start_sendgrid, start_smtp


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Give an authority and a certificate for localhost."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def smtp_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give the run's SMTP server as the last test left it."""
    with start_smtp(tmp_path_factory.mktemp("smtp")) as server:
        yield server


@pytest.fixture(scope="session")
def sendgrid_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give the run's fake SendGrid as the last test left it."""
    with start_sendgrid(tmp_path_factory.mktemp("sendgrid")) as server:
        yield server


@pytest.fixture
def smtp_server(smtp_process: RunningServer) -> Iterator[RunningServer]:
    """Give an SMTP server without TLS and login that has taken nothing and does nothing wrong."""
    smtp_process.reset()
    yield smtp_process
    smtp_process.reset()


@pytest.fixture
def sendgrid_server(sendgrid_process: RunningServer) -> Iterator[RunningServer]:
    """Give a fake SendGrid that has taken nothing and does nothing wrong."""
    sendgrid_process.reset()
    yield sendgrid_process
    sendgrid_process.reset()
