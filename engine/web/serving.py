"""Running the application: uvicorn, behind a proxy or not, in one process or several.

Comes in: a site and where to listen. Goes out: a server that ends on SIGTERM when every request that began is answered,
within `STOP_SECONDS`. Forwarded headers are believed from `[web] trusted_proxies` only.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from engine import settings as settings_module
from engine.errors import OutsideError
from engine.runtime.log_lines import LOGGER, start_logging
from engine.store.database import connect
from engine.web.app import create_app
from engine.web.guard import Guard
from engine.web.patience import PatientProtocol
from engine.web.site import Site, open_site

STOP_SECONDS = 20
WORKER_SECONDS = 60  # within which a process of several has to be ready, on a busy machine too
KEEP_ALIVE_SECONDS = 20
MOST_AT_ONCE = 1_000
_PLACE = "HOMING_SERVE_PLACE"  # tells the processes of `--workers` which project and database they serve, and how to log


@dataclass(frozen=True, slots=True)
class Logs:
    """How the lines of the log are written: for machines or people, and how many of them."""

    as_json: bool
    verbosity: int


def begin_logs(logs: Logs) -> None:
    """Write this process's log to stderr, the server's own lines like ours."""
    start_logging(sys.stderr, as_json=logs.as_json, verbosity=logs.verbosity)
    ours, servers = logging.getLogger(LOGGER), logging.getLogger("uvicorn")
    servers.handlers[:] = ours.handlers
    servers.propagate = False
    servers.setLevel(max(ours.level, logging.INFO))
    logging.getLogger("uvicorn.error").propagate = True


def config(site: Site, host: str, port: int, *, app: Any = None, **more: Any) -> uvicorn.Config:
    """Return how to serve a site."""
    return uvicorn.Config(
        app or create_app(site),
        host=host,
        port=port,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(site.settings.trusted_proxies),
        forwarded_allow_ips=list(site.settings.trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        limit_concurrency=MOST_AT_ONCE,
        lifespan="on",
        ws="none",
        **more,
    )


def serve_all(
    site: Site, host: str, port: int, *, workers: int = 1, root_path: str = "", logs: Logs | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, in `workers` processes that share one socket; they log as `logs` says.

    Raise OutsideError where the address cannot be had.
    """
    _try_address(host, port)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server ends in order and then raises the signal again, which would be taken for a failure.
        signal.signal(number, lambda *_: None)
    if workers == 1:
        uvicorn.Server(config(site, host, port, root_path=root_path)).run()
        return
    told = None if logs is None else [logs.as_json, logs.verbosity]
    os.environ[_PLACE] = json.dumps([str(site.settings.root), site.settings.database_url, told])
    many = config(
        site,
        host,
        port,
        app="engine.web.serving:app_of_place",
        factory=True,
        workers=workers,
        root_path=root_path,
        timeout_worker_healthcheck=WORKER_SECONDS,
    )
    shared = many.bind_socket()
    Multiprocess(many, sockets=[shared]).run()


def _try_address(host: str, port: int) -> None:
    """Listen for a moment: the server would tell a port that is taken in its library's words, in the middle of its log."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except socket.gaierror as error:
        raise OutsideError(f"{host} is no address of this machine: {error.strerror}") from error
    except OSError as error:
        raise OutsideError(
            f"{host}:{port} cannot be had: {error.strerror}; choose others by --host and --port"
        ) from error


def app_of_place() -> Guard:
    """Return the application in a process of `--workers`."""
    root, url, logs = json.loads(os.environ[_PLACE])
    if logs is not None:
        begin_logs(Logs(*logs))
    settings = settings_module.load(Path(root))
    return create_app(open_site(settings, connect(url, Path(root))))
