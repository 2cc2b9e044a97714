"""Commands that show what Homing does: preview, demo."""

from __future__ import annotations

import contextlib
import os
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from engine.clock import SystemClock
from engine.commands.progress import progress
from engine.commands.session import Session, command, the_customer
from engine.commands.watching import on_each_save
from engine.deploy.demo import DemoSummary, clear, run_demo
from engine.deploy.preview import CLIPPED_AT, Shot, open_studio, preview_customer, preview_sample
from engine.deploy.preview_cast import Role, cast, role
from engine.deploy.preview_page import Seen, offline, page
from engine.deploy.preview_send import send_previews
from engine.deploy.preview_watch import LivePreview
from engine.errors import UsageError
from engine.flows.report import render_text
from engine.render.locales import is_locale

DEMO_START = datetime(2026, 3, 2, tzinfo=UTC)  # the same days for everybody: what is printed can be compared


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""
    _register_preview(group)
    _register_demo(group)


def _register_preview(group: click.Group) -> None:
    @command(group, "preview")
    @click.argument("target", metavar="TEMPLATE|FLOW[:STEP]")
    @click.option("--customer", help="As this customer would see it now (email or external id).")
    @click.option(
        "--sample", is_flag=True, help="As sample customers would see it; needs no database (the default)."
    )
    @click.option(
        "--as",
        "role_name",
        metavar="NAME",
        help=f"As one sample customer: {', '.join(each.name for each in cast())}.",
    )
    @click.option("--locale", help="In this language, such as ja or zh-TW.")
    @click.option(
        "--out", type=click.Path(path_type=Path, file_okay=False), help="Write the mails and index.html here."
    )
    @click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
    @click.option("--text", "as_text", is_flag=True, help="Print the plain text only.")
    @click.option(
        "--watch", "watched", is_flag=True, help="Serve the page on this machine, made anew after each save."
    )
    @click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=0,
        help="For --watch: this port (default: any free one).",
    )
    @click.option(
        "--send-to", metavar="ADDRESS", help="Send the mails there, through the provider in the settings."
    )
    def preview(
        session: Session, target: str, customer: str | None, sample: bool, role_name: str | None, locale: str | None,
        out: Path | None, show: bool, as_text: bool, watched: bool, port: int, send_to: str | None,
    ) -> int:  # fmt: skip
        """Show a mail as it would go out: HTML, text, headers, size, findings; for a flow all its mails, as one page."""
        if customer is not None and (sample or role_name is not None):
            raise UsageError("--customer and --sample exclude each other")
        if locale is not None and not is_locale(locale):
            raise UsageError(f'"{locale}" is no language; write one such as ja, zh-TW or pt-BR')
        asked = _Asked(target, customer, role(role_name) if role_name is not None else None, locale)
        if watched:
            if out is not None or send_to is not None or as_text or session.as_json:
                raise UsageError("--watch serves the page; leave --out, --send-to, --text and --json out")
            return _watch(session, asked, port, show=show)
        look = _look(session, asked, whole=out is not None or show)
        folder = out or (Path(tempfile.mkdtemp(prefix="homing-preview-")) if show else None)
        files = _write(folder, look, target) if folder else []
        sent = (
            send_previews(
                session.settings,
                [shot.mail for shot in look.shots if shot.mail],
                send_to,
                os.environ,
                SystemClock().now(),
            )
            if send_to
            else []
        )
        if session.as_json:
            session.document(
                {
                    "target": target,
                    "for": look.who,
                    "mails": _told(look.shots, files),
                    "others": [
                        {"for": seen.who, "errors": [shot.error for shot in seen.shots if shot.error]}
                        for seen in look.others
                    ],
                    "out": str(out) if out else None,
                    "sent": sent,
                }
            )
        else:
            _print(session, look.shots, folder, sent, as_text=as_text)
            _print_others(session, look)
        if show and folder is not None:
            webbrowser.open((folder / "index.html").resolve().as_uri())
        return 1 if look.failed else 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be looked at, and as whom: a customer, one sample customer, or all of them."""

    target: str
    customer: str | None
    role: Role | None
    locale: str | None


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to see: the mails for one person, and for the others who can be chosen on the page."""

    shop: str
    base: str
    who: str
    shots: Sequence[Shot]
    others: Sequence[Seen] = ()

    @property
    def failed(self) -> bool:
        """Whether a mail cannot be made, or has an error."""
        return any(shot.failed for seen in (Seen(self.who, self.shots), *self.others) for shot in seen.shots)

    def page(self, target: str, files: Sequence[str] = (), live: str = "") -> str:
        """Return the whole page."""
        return page(
            self.shots,
            title=target,
            shop=self.shop,
            who=self.who,
            files=files,
            others=self.others,
            live=live,
            base=self.base,
        )


def _look(session: Session, asked: _Asked, *, whole: bool) -> _Look:
    """Make the mails; `whole`: for every sample customer."""
    settings = session.settings
    studio, locale = open_studio(settings), asked.locale
    look = partial(_Look, settings.shop.name, settings.link_base)
    if asked.customer is not None:
        now = session.now(writing=False)
        with session.database.read() as connection:
            who = the_customer(connection, asked.customer)
            shots = preview_customer(connection, studio, asked.target, who, now, locale)
            return look(asked.customer, shots)
    if asked.role is not None:
        return look(asked.role.words, preview_sample(studio, asked.target, locale, asked.role))
    if locale is not None:
        words = f"a sample customer who speaks {locale}"
        return look(words, preview_sample(studio, asked.target, locale))
    first, *rest = cast()
    shots = preview_sample(studio, asked.target, None, first)
    others = [
        Seen(each.words, preview_sample(studio, asked.target, None, each, judged=False))
        for each in rest
        if whole
    ]
    return look(first.words if whole else "a sample customer", shots, others)


def _watch(session: Session, asked: _Asked, port: int, *, show: bool) -> int:
    def make(version: str) -> str:
        session.reload()
        return _look(session, asked, whole=True).page(asked.target, live=version)

    with LivePreview(make, port) as live:

        def look() -> None:
            first = not live.version
            live.renew()
            if first:
                session.say(f"open {live.address}; it follows your files until Ctrl-C")
            if live.problem:
                session.note(f"cannot be shown: {live.problem}")
            elif not first:
                session.note("shown anew")
            if first and show:
                webbrowser.open(live.address)

        with contextlib.suppress(KeyboardInterrupt):
            on_each_save(session.root, look)
    return 0


def _names(shots: Sequence[Shot]) -> list[str]:
    return [f"{shot.slot.number:02}-{shot.slot.step}" for shot in shots]


def _write(folder: Path, look: _Look, target: str) -> list[str]:
    """Write `NN-STEP.html`, `NN-STEP.txt` and `index.html`; return the names of the HTML files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, shot in zip(_names(look.shots), look.shots, strict=True):
        files.append(f"{name}.html" if shot.mail else "")
        if shot.mail is not None:
            (folder / f"{name}.html").write_text(offline(shot.mail.html, look.base), encoding="utf-8")
            (folder / f"{name}.txt").write_text(shot.mail.text, encoding="utf-8")
    (folder / "index.html").write_text(look.page(target, files), encoding="utf-8")
    return files


def _told(shots: Sequence[Shot], files: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "number": shot.slot.number, "step": shot.slot.step, "template": shot.slot.template,
            "flow": shot.slot.flow.name if shot.slot.flow else None, "before": shot.slot.before,
            "subject": shot.mail.subject if shot.mail else None, "preheader": shot.mail.preheader if shot.mail else None,
            "locale": shot.locale, "size": shot.size, "headers": dict(shot.headers), "error": shot.error or None,
            "note": shot.note or None, "file": files[place] if files else None,
            "findings": [{"code": each.code, "severity": each.severity, "place": str(each.span), "message": each.message} for each in shot.findings],
            "html": shot.mail.html if shot.mail else None, "text": shot.mail.text if shot.mail else None,
        }
        for place, shot in enumerate(shots)
    ]  # fmt: skip


def _print(
    session: Session,
    shots: Sequence[Shot],
    folder: Path | None,
    sent: Sequence[Mapping[str, str]],
    *,
    as_text: bool,
) -> None:
    for shot in shots:
        if shot.mail is not None and as_text:
            session.say(shot.mail.text)
            continue
        for words in shot.slot.before:
            session.say(f"     {words}")
        session.say(
            f"{shot.slot.number:>3}  {shot.slot.step}: {shot.mail.subject if shot.mail else 'cannot be made'}"
        )
        if shot.mail is not None and folder is None and len(shots) == 1:
            _print_whole(session, shot)
        elif shot.mail is not None:
            session.say(f"     {shot.mail.preheader}\n     {_size(shot)}")
        if shot.error:
            session.note(f"     error: {shot.error}")
        if shot.note:
            session.note(f"     note: {shot.note}")
    findings = [finding for shot in shots for finding in shot.findings]
    if findings:
        session.note(render_text(findings, root=session.settings.root))
    for each in sent:
        session.say(f"{each['subject']}: {each['outcome']}")
    if folder is not None:
        session.say(f"open {folder / 'index.html'}")


def _print_others(session: Session, look: _Look) -> None:
    failed: dict[tuple[str, str], list[str]] = {}
    for seen in look.others:
        for shot in seen.shots:
            if shot.error:
                failed.setdefault((shot.slot.step, str(shot.error)), []).append(seen.who)
    for (step, error), who in failed.items():
        session.note(f"     {'; '.join(who)}: {step} cannot be made: {error}")


def _print_whole(session: Session, shot: Shot) -> None:
    assert shot.mail is not None
    for name, value in shot.headers:
        session.say(f"     {name}: {value}")
    session.say(f"     {_size(shot)}\n\n{shot.mail.text}")


def _size(shot: Shot) -> str:
    return f"{shot.size / 1000:,.1f} KB of HTML (Gmail cuts off at {CLIPPED_AT / 1000:.0f} KB), {shot.locale}"


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _register_demo(group: click.Group) -> None:
    @command(group, "demo")
    @click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="demo")
    @click.option(
        "--days", type=click.IntRange(1, 365), default=60, show_default=True, help="Virtual days to play."
    )
    @click.option("--customers", type=click.IntRange(10, 100_000), default=2_000, show_default=True)
    @click.option("--again", is_flag=True, help="Start over where a demo was played before.")
    def demo(session: Session, folder: Path, days: int, customers: int, again: bool) -> None:
        """Play a shop with a year of history for sixty virtual days, and show what came of it."""
        start = _start(session)
        if again:
            clear(folder)
        with progress(session, "demo", steadily=False) as tell:
            found = run_demo(folder, start, days=days, customers=customers, progress=tell)
        if session.as_json:
            session.document(_as_data(found))
        else:
            _tell(session, found)


def _start(session: Session) -> datetime:
    if session.now_text is None:
        return DEMO_START
    try:
        told = datetime.fromisoformat(session.now_text)
    except ValueError as error:
        raise UsageError(f'"{session.now_text}" is not a time such as 2026-03-01T09:00+01:00') from error
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def _as_data(found: DemoSummary) -> dict[str, Any]:
    flows = [
        {"flow": flow.flow, "entered": flow.entered, "mails": flow.mails, "not_sent": flow.not_sent}
        for flow in found.flows
    ]
    return {
        "folder": str(found.folder), "start": found.start, "end": found.end, "customers": found.customers,
        "mails": found.mails, "flows": flows, "example": found.example,
    }  # fmt: skip


def _tell(session: Session, found: DemoSummary) -> None:
    span = f"{found.start:%d %b %Y} to {found.end:%d %b %Y}"
    session.say(
        f"{found.customers:,} customers, {span}: {found.mails:,} mails in {found.folder / 'mailbox'}\n"
    )
    for flow in found.flows:
        mails = sum(flow.mails.values())
        session.say(f"{flow.flow}: {flow.entered:,} entered, {mails:,} mails")
        for step, count in flow.mails.items():
            session.say(f"  {count:>7,}  {step}")
        if flow.not_sent:
            session.say("  not sent:")
        for reason, count in sorted(flow.not_sent.items(), key=lambda item: -item[1]):
            session.say(f"  {count:>7,}  {reason}")
    session.say("\nWhat to look at next:")
    session.say(f"  cd {found.folder}")
    session.say("  homing status")
    if found.example is not None:
        session.say(f"  homing why {found.example}")
        session.say(f"  homing preview cart-recovery --customer {found.example} --out mails")
    session.say("  homing preview win-back --sample --out mails     # then open mails/index.html")
    session.say(
        "  homing serve                                     # the links and pictures in the mails lead there"
    )
    session.say("  homing recommend rebuild")
