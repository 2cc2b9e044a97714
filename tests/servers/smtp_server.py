"""A real SMTP server in a process of its own, which writes down every mail before it says 250.

    python -m tests.servers.smtp_server --folder DIR [--security none|starttls|tls] [--certificate F --key F]
                                        [--user NAME --password WORD] [--no-smtputf8]

Prints one JSON line {"port": N} when it listens. `DIR/ledger.jsonl` gets a line for each mail that it took,
`DIR/script.json` tells it what to do wrong (tests/servers/script.py): `phase` is banner, mail, rcpt, data, content
(after 354, before the content is read) or answer (the content is there); `do` is reply, drop, hang or garbage, and at
answer also slow {seconds}; there, `recorded` says whether the mail was taken all the same. A connection belongs to the run
that `DIR/run` names when it is let in.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import ssl
import sys
import time
import warnings
from itertools import count
from pathlib import Path
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers.script import Ledger, Runs, Script

_FOREVER = 3600.0


class ScriptedServer(SMTP):
    """An SMTP conversation that can be told to go wrong at every step."""

    def __init__(self, *args: Any, script: Script, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._script = script
        self._has_greeted = False

    async def push(self, status: AnyStr) -> None:
        """Send an answer; the first of a connection is the banner."""
        if not self._has_greeted:
            self._has_greeted = True
            if await self.misbehave("banner"):
                return
        await super().push(status)
        if str(status).startswith("354"):
            await self.misbehave("content")

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 (aiosmtpd finds commands by these names)
        """Answer MAIL."""
        if not await self.misbehave("mail"):
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """Answer RCPT."""
        if not await self.misbehave("rcpt"):
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """Answer DATA and take the content."""
        if not await self.misbehave("data"):
            await super().smtp_DATA(arg)

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        transport = self.transport
        return transport is not None and transport.get_extra_info("ssl_object") is not None

    async def misbehave(self, phase: str) -> bool:
        """Do what the script wants in this phase; return whether an answer was given."""
        wanted = self._script.take(phase)
        if wanted is None:
            return False
        await self.carry_out(wanted)
        return True

    async def carry_out(self, wanted: dict[str, Any]) -> None:
        """Reply, say nonsense, hang up or fall silent."""
        if wanted["do"] == "reply":
            await super().push(wanted["reply"])
            return
        if wanted["do"] == "garbage":
            await super().push("\x16\x03\x01 this is no SMTP")
            return
        if wanted["do"] == "drop" and isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        await asyncio.sleep(_FOREVER)


class Handler:
    """Writes mails down."""

    _numbers = count(1)

    def __init__(self, script: Script, ledger: Ledger, run: int) -> None:
        self._script = script
        self._ledger = ledger
        self._run = run

    async def handle_DATA(self, server: ScriptedServer, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the mail, or do with it what the script wants."""
        wanted = self._script.take("answer")
        if wanted is None or wanted.get("recorded", False):
            self._record(server, session, envelope)
        if wanted is None:
            return f"250 2.0.0 Ok: queued as T{next(self._numbers):08}"
        if wanted["do"] == "reply":
            return str(wanted["reply"])
        if wanted["do"] == "slow":
            await asyncio.sleep(wanted["seconds"])
            return f"250 2.0.0 Ok: queued late as T{next(self._numbers):08}"
        await server.carry_out(wanted)
        return "250 never said"

    def _record(self, server: ScriptedServer, session: Session, envelope: Envelope) -> None:
        content = envelope.original_content or b""
        login: object = session.auth_data
        self._ledger.append(
            {
                "at": time.time(),
                "sender": envelope.mail_from,
                "recipients": envelope.rcpt_tos,
                "content": base64.b64encode(content).decode("ascii"),
                "is_tls": server.is_secure,
                "user": login.login.decode() if isinstance(login, LoginPassword) else None,
                "peer": list(session.peer or ()),
                "run": self._run,
            }
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--security", choices=("none", "starttls", "tls"), default="none")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--no-smtputf8", action="store_true")
    return parser.parse_args()


def _session_options(arguments: argparse.Namespace, tls: ssl.SSLContext | None) -> dict[str, Any]:
    def authenticate(
        server: object, session: object, envelope: object, mechanism: str, login: object
    ) -> AuthResult:
        wanted = LoginPassword(arguments.user.encode(), arguments.password.encode())
        return AuthResult(success=login == wanted, handled=False, auth_data=login)

    options: dict[str, Any] = {
        "hostname": "localhost",
        "enable_SMTPUTF8": not arguments.no_smtputf8,
        "timeout": _FOREVER,
    }
    if arguments.security == "starttls":
        options |= {"tls_context": tls, "require_starttls": True}
    if arguments.user:
        starts_tls = arguments.security == "starttls"
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": starts_tls}
    return options


async def _serve(arguments: argparse.Namespace) -> None:
    tls = None
    if arguments.security != "none":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    script, ledger = Script(arguments.folder / "script.json"), Ledger(arguments.folder / "ledger.jsonl")
    runs = Runs(arguments.folder / "run")
    loop = asyncio.get_running_loop()
    options = _session_options(arguments, tls)
    server = await loop.create_server(
        lambda: ScriptedServer(Handler(script, ledger, runs.now()), script=script, loop=loop, **options),
        "127.0.0.1",
        0,
        ssl=tls if arguments.security == "tls" else None,
    )
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    # aiosmtpd warns of logins without TLS; that is what a test asked for.
    warnings.simplefilter("ignore")
    asyncio.run(_serve(_arguments()))
