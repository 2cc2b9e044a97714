"""SendGrid's Web API as a process of its own: it checks requests by the published rules and writes down what it took.

    python -m tests.servers.fake_sendgrid --folder DIR --api-key KEY [--scopes mail.send,…] [--certificate F --key F]

Prints one JSON line {"port": N} when it listens. `DIR/ledger.jsonl` gets a line for each mail before the answer goes
out; `DIR/script.json` tells it what to do wrong (tests/servers/script.py): `phase` is before (the body is not read) or
after (it is read); `do` is reply {status, headers, body}, hang, reset, garbage, truncated, drip or slow {seconds};
`recorded` says whether the mail was taken all the same, `closes` that the connection ends without a word after a reply.
`DIR/goodbyes` has a line for each connection that it has closed, with the client's port. A connection belongs to the run
that `DIR/run` names when it is let in.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import struct
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from tests.servers.script import Ledger, Runs, Script
from tests.servers.sendgrid_rules import problems

_FOREVER = 3600.0
_MOST_BYTES = 30 * 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    """One connection of a client; answers as SendGrid would, or as the script wants."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: ClassVar[Script]
    ledger: ClassVar[Ledger]
    api_key: ClassVar[str]
    scopes: ClassVar[list[str]]
    numbers: ClassVar[count[int]] = count(1)

    def do_GET(self) -> None:
        """Answer GET /v3/scopes."""
        if self.path != "/v3/scopes":
            self.answer(404, {"errors": [{"message": "not found", "field": None}]})
        elif self.is_authorized():
            self.answer(200, {"scopes": self.scopes})

    def do_POST(self) -> None:
        """Answer POST /v3/mail/send."""
        wanted = self.script.take("before")
        if wanted is not None:
            self.misbehave(wanted)
            return
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wanted = self.script.take("after")
        if wanted is not None:
            if wanted.get("recorded", False):
                self.record(json.loads(content))
            self.misbehave(wanted)
        elif self.path != "/v3/mail/send":
            self.answer(404, {"errors": [{"message": "not found", "field": None}]})
        elif self.is_authorized():
            self.take_mail(content)

    def take_mail(self, content: bytes) -> None:
        """Check the request and take it."""
        if self.headers.get("Content-Type") != "application/json":
            self.answer(
                415, {"errors": [{"message": "Content-Type should be application/json.", "field": None}]}
            )
            return
        if len(content) > _MOST_BYTES:
            self.answer(413, {"errors": [{"message": "Payload too large", "field": None}]})
            return
        try:
            body = json.loads(content)
        except ValueError:
            self.answer(400, {"errors": [{"message": "Bad Request", "field": None, "help": None}]})
            return
        if found := problems(body):
            self.answer(400, {"errors": found})
            return
        self.answer(202, None, {"X-Message-Id": self.record(body)})

    def record(self, body: dict[str, Any]) -> str:
        """Write the mail down and return its id."""
        message_id = f"fake-{next(self.numbers)}"
        who: Any = self.client_address  # with the run, by _Server
        self.ledger.append({"id": message_id, "body": body, "peer": list(who[:2]), "run": who[2]})
        return message_id

    def is_authorized(self) -> bool:
        """Return whether the key is right; answers where it is not."""
        given = self.headers.get("Authorization")
        if given == f"Bearer {self.api_key}":
            return True
        self.answer(
            401,
            {"errors": [{"message": f"The provided authorization grant is invalid: {given}", "field": None}]},
        )
        return False

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def misbehave(self, wanted: dict[str, Any]) -> None:
        """Do what the script wants."""
        match wanted["do"]:
            case "reply":
                self.answer(wanted["status"], wanted.get("body"), wanted.get("headers"))
            case "slow":
                time.sleep(wanted["seconds"])
                self.answer(202, None, {"X-Message-Id": "slow"})
            case "hang":
                time.sleep(_FOREVER)
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case "garbage":
                self.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            case "truncated":
                self.wfile.write(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: trunc")
            case "drip":
                self.drip()
        self.close_connection = wanted["do"] != "reply" or wanted.get("closes", False)

    def drip(self) -> None:
        """Answer so slowly that every byte comes in time and the whole far too late, after half a minute."""
        self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nX-Message-Id: ")
        for _ in range(600):
            self.wfile.write(b"a")
            time.sleep(0.05)
        self.wfile.write(b"\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    goodbyes: Path

    runs: Runs

    def get_request(self) -> tuple[socket.socket, Any]:
        """Let somebody in, whose address says in which run."""
        connection, address = super().get_request()
        return connection, (*address[:2], self.runs.now())

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end, and tell that it was closed: a client on this machine can see it by now."""
        super().process_request_thread(request, client_address)
        with self.goodbyes.open("ab") as file:
            file.write(f"{client_address[1]}\n".encode("ascii"))

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client hangs up: that is what some tests do."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--scopes", default="mail.send,stats.read")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    arguments = parser.parse_args()
    Handler.script = Script(arguments.folder / "script.json")
    Handler.ledger = Ledger(arguments.folder / "ledger.jsonl")
    Handler.api_key = arguments.api_key
    Handler.scopes = arguments.scopes.split(",")
    server = _Server(("127.0.0.1", 0), Handler)
    server.goodbyes, server.runs = arguments.folder / "goodbyes", Runs(arguments.folder / "run")
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(json.dumps({"port": server.server_address[1]}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
