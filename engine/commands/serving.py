"""Commands of the web side: serve, and keys."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path

import click

from engine.clock import SystemClock
from engine.commands.session import Session, command
from engine.commands.watching import stamps
from engine.errors import UsageError
from engine.feedback.dsn import events_of
from engine.feedback.reports import reports
from engine.feedback.settle import settle
from engine.journeys.versions import live_flows
from engine.runtime.work import listened_names
from engine.store import meta
from engine.web import keys


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""
    _register_serve(group)
    _register_bounces(group)

    @group.group("keys")
    def keys_() -> None:
        """Keys that shops send facts with, and the secret of the links in mails."""

    _register_keys(keys_)


def _register_serve(group: click.Group) -> None:
    @command(group, "serve")
    @click.option("--host", default="127.0.0.1", show_default=True)
    @click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
    @click.option("--workers", type=click.IntRange(1, 32), default=1, show_default=True, help="Processes.")
    @click.option("--root-path", default="", help="The path that a proxy serves this under and takes away.")
    @click.option("--dev", is_flag=True, help="Mails of the house are the folder's, and follow each save.")
    def serve_(session: Session, host: str, port: int, workers: int, root_path: str, dev: bool) -> None:
        """Answer the links in mails, shops' facts and providers' events, until SIGTERM."""
        if session.now_text is not None:
            raise UsageError(
                "this command lives on real time, or where a virtual clock stands, and takes no --now"
            )
        if dev and workers > 1:
            raise UsageError("--dev serves in one process; leave --workers out")
        # Imported here: the server takes 0.3 s to load, and no other command needs it.
        from engine.web.serving import Logs, begin_logs, serve_all  # noqa: PLC0415
        from engine.web.site import open_site  # noqa: PLC0415

        logs = Logs(session.as_json, session.verbosity)
        begin_logs(logs)
        watched = partial(stamps, session.settings.root) if dev else None
        site = session.patiently(lambda: open_site(session.settings, session.database, watched=watched))
        serve_all(site, host, port, workers=workers, root_path=root_path, logs=logs)


def _register_bounces(group: click.Group) -> None:
    @command(group, "bounces")
    @click.argument("place", type=click.Path(path_type=Path, exists=True, allow_dash=True))
    def bounces(session: Session, place: Path) -> None:
        """Take in delivery reports: a Maildir, an mbox, one mail as a file, or `-` for one on stdin."""
        now = session.now(writing=True)
        counts: Counter[str] = Counter()
        with reports(place, sys.stdin.buffer) as mails:
            for mail in mails:
                counts["mails"] += 1
                found = events_of(mail, now)
                counts["no_reports"] += not found
                with session.database.write() as connection:
                    meta.secret(connection)
                    senders = [
                        each.email for each in (session.settings.sender, *session.settings.senders.values())
                    ]
                    heard = listened_names(live_flows(connection).values())
                    counts += settle(connection, found, now, heard, [each for each in senders if each])
        if session.as_json:
            session.document(dict(counts))
        told = ", ".join(
            f"{count:,} {what.replace('_', ' ')}" for what, count in sorted(counts.items()) if count
        )
        session.say(told or "no mails there")


def _register_keys(group: click.Group) -> None:
    @command(group, "create")
    @click.argument("name")
    @click.option(
        "--scope",
        "scopes",
        multiple=True,
        type=click.Choice(keys.SCOPES),
        help="What it may do (default: write).",
    )
    @click.option(
        "--origin", "origins", multiple=True, help="A page's origin that may use it; without one any may."
    )
    def create(session: Session, name: str, scopes: tuple[str, ...], origins: tuple[str, ...]) -> None:
        """Make a write key and show it, this once: it is kept as a hash."""
        with session.database.write() as connection:
            key = keys.create(
                connection, name, scopes=scopes or ("write",), origins=origins, now=SystemClock().now()
            )
        if session.as_json:
            session.document(
                {"name": name, "key": key, "scopes": list(scopes or ("write",)), "origins": list(origins)}
            )
        elif session.verbosity < 0:
            click.echo(key)
        else:
            session.say(f"{key}\nthis is shown once; `homing keys revoke {name}` ends it")

    @command(group, "list")
    def list_(session: Session) -> None:
        """Show the keys: names, scopes, origins, since when, until when; never the keys."""
        with session.database.read() as connection:
            found = keys.listed(connection)
        if session.as_json:
            session.document(found)
        for key in found:
            ended = f", revoked {key['revoked_at']:%Y-%m-%d}" if key["revoked_at"] else ""
            origins = f" from {', '.join(key['origins'])}" if key["origins"] else ""
            session.say(
                f"{key['name']}: {', '.join(key['scopes'])}{origins}, since {key['created_at']:%Y-%m-%d}{ended}"
            )
        if not found:
            session.say("there are no keys; `homing keys create NAME` makes one")

    @command(group, "revoke")
    @click.argument("name")
    def revoke(session: Session, name: str) -> None:
        """End a key, within two seconds everywhere."""
        with session.database.write() as connection:
            keys.revoke(connection, name, SystemClock().now())
        if session.as_json:
            session.document({"revoked": name})
        session.say(f"revoked {name}")

    @command(group, "rotate")
    def rotate(session: Session) -> None:
        """Sign the links in mails with a new secret from now on; those already sent stay good."""
        with session.database.write() as connection:
            meta.rotate_link_secret(connection)
            count = len(meta.link_secrets(connection))
        if session.as_json:
            session.document({"rotated": True, "secrets": count})
        session.say(f"links are signed with a new secret; {count - 1} older ones still open theirs")
