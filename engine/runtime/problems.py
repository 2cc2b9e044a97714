"""What can be wrong with an installation: one function for each problem, which makes its finding.

Comes in: what was found. Goes out: a `Finding`. The docstring of each function is the page that `homing explain CODE`
prints. Errors are what keeps mails from going out as promised; warnings are for somebody to look at. No address, no
secret and no customer stands in any of them.
"""

from __future__ import annotations

from engine.diagnostics import Finding, Severity
from engine.flows.manual import page

# ── setting up ───────────────────────────────────────────────────────────────────────────────────────────────────────


@page("D301", "live-without-sender")
def no_sender(section: str, reason: str) -> Finding:
    """A sender has no address that mails can come from.

    Every mail says who it is from; without an address nothing is sent. `[sender] email` is the default, others stand
    under `[senders.NAME]`.
    """
    return Finding("D301", "error", f"[{section}] email: {reason}", effect="nothing can be sent in this name",
                   help=f'write `email = "hello@your-shop"` in [{section}]')  # fmt: skip


@page("D302", "live-without-postal-address")
def no_postal_address(severity: Severity) -> Finding:
    """The shop's postal address is missing.

    The law of most countries wants it in every marketing mail (in the United States CAN-SPAM, in Germany the Impressum).
    """
    return Finding("D302", severity, "[shop] postal_address is empty", effect="marketing mails without it break the law",
                   help='write `postal_address = "1 Tea Street, 10115 Berlin"` in [shop]')  # fmt: skip


@page("D303", "provider-is-the-mailbox")
def provider_is_mailbox() -> Finding:
    """Going live needs a provider that delivers.

    The `mailbox` provider writes mails into a folder of this machine: customers get none of them.
    """
    return Finding("D303", "error", "the provider is the local mailbox", effect="customers get no mail",
                   help='choose `provider = "smtp"` or "sendgrid" in [delivery]')  # fmt: skip


@page("D304", "provider-not-ready")
def provider_not_ready(sentence: str) -> Finding:
    """The provider cannot be used as it is set up.

    Homing asked it (connection, encryption, login, rights of the key) without sending a mail. Secrets come from the
    environment (`HOMING_SMTP_PASSWORD`, `SENDGRID_API_KEY`) or from a file that `…_FILE` names.
    """
    return Finding(
        "D304", "error", sentence, effect="mails cannot leave", help="mend [delivery] or the environment"
    )


@page("D305", "links-without-https")
def links_without_https(section: str, severity: Severity) -> Finding:
    """The base of links in mails is no https address.

    One-click unsubscribing (RFC 8058) works over https only, and mail programs warn of other links.
    """
    return Finding("D305", severity, f"[{section}] url is no https address",
                   effect="one-click unsubscribing does not work", help=f'write `url = "https://…"` in [{section}]')  # fmt: skip


@page("D306", "not-asked-to-be-live")
def not_asked_to_be_live() -> Finding:
    """`homing live` wants the settings to say so too.

    Two places agree before customers get mail: `mode = "live"` in homing.toml, which is in Git, and `homing live`, which
    is about this one database.
    """
    return Finding(
        "D306",
        "error",
        'mode is "sandbox" in [delivery]',
        help='write `mode = "live"`, then call `homing live` again',
    )


@page("D307", "still-a-sandbox", "warning")
def still_sandbox(reason: str) -> Finding:
    """The settings say live, and this installation sends into the sandbox all the same.

    A new or copied database mails nobody outside `allow` until `homing live` is called for it: a copy made for a test must
    never write to customers.
    """
    return Finding("D307", "warning", f"this installation is a sandbox: {reason}", effect="customers get no mail",
                   help="call `homing live` where this is the place that should send")  # fmt: skip


@page("D309", "links-lead-nowhere")
def web_address_silent(reason: str) -> Finding:
    """The address that mails link to is not answered by this installation.

    Unsubscribing, preferences, answers and the mail in the browser live there, and the law and the mailbox providers want
    the first of them to work. Start `homing serve` behind that address (docs/web.md shows how), then call `homing live` again.
    """
    return Finding("D309", "error", f"the address of links in mails does not work: {reason}",
                   effect="customers cannot unsubscribe", help="run `homing serve` behind `[web] url`")  # fmt: skip


@page("D310", "links-are-reserved", "warning")
def web_address_reserved(host: str) -> Finding:
    """The address that mails link to lies in a domain that exists for tests only.

    `.test`, `.example`, `.invalid` and `.localhost` are reserved: no customer reaches them. That is right for a rehearsal
    with an SMTP server of one's own, and wrong for a shop.
    """
    return Finding("D310", "warning", f"links in mails lead to {host}, which is reserved for tests",
                   effect="customers cannot unsubscribe", help='write `url = "https://…"` in [web]')  # fmt: skip


# ── the machine and the database ─────────────────────────────────────────────────────────────────────────────────────


@page("D401", "database-behind")
def database_behind(sentence: str, advice: str) -> Finding:
    """The database's schema is not the one that this version of Homing needs.

    `run` and `serve` refuse it. Where it is behind, make a backup (`homing db backup`), then `homing db upgrade`. Where a newer
    version made it, that version is needed again; where another program did, a database of Homing's own.
    """
    return Finding("D401", "error", sentence, effect="nothing runs", help=advice)


@page("D402", "not-durable")
def not_durable(setting: str, value: str, wanted: str) -> Finding:
    """The database may forget what it said was written.

    An attempt is committed before the provider is called. If a power cut can undo that commit, the mail is sent a second
    time afterwards. SQLite needs WAL with `synchronous=FULL`, PostgreSQL `fsync`, `full_page_writes` and
    `synchronous_commit` on.
    """
    return Finding("D402", "error", f"{setting} is {value}, and {wanted} is needed",
                   effect="after a power cut a mail may be sent twice", help=f"set {setting} to {wanted} for this database")  # fmt: skip


@page("D403", "clocks-differ", "warning")
def clocks_differ(seconds: float, severity: Severity) -> Finding:
    """This machine's clock and the database's tell different times.

    Leases are of machine time: where the clocks of several machines differ by more than a lease, they take work from each
    other. Quiet hours and send times are off by as much.
    """
    return Finding("D403", severity, f"the clocks of this machine and of the database differ by {seconds:.1f} s",
                   effect="mails go at the wrong time", help="let both machines set their clocks by NTP")  # fmt: skip


@page("D404", "file-damaged")
def file_damaged(sentence: str) -> Finding:
    """SQLite's own check found damage in the database file.

    That is the disk's or a copying program's work (a database file must not be copied while it is written; use
    `homing db backup`).
    """
    return Finding("D404", "error", f"the database file is damaged: {sentence}", effect="facts may be lost",
                   help="stop everything and go back to the last backup")  # fmt: skip


@page("D405", "no-beat", "warning")
def no_beat(sentence: str, severity: Severity) -> Finding:
    """Nothing has looked at what is due for a while.

    A daemon (`homing run`) or cron (`homing tick`) must beat. A daemon that holds the lease and does not beat has a dead
    or hanging thread: restart it.
    """
    return Finding(
        "D405",
        severity,
        sentence,
        effect="nobody enters and nothing is sent",
        help="start or restart `homing run`",
    )


@page("D406", "database-away")
def database_away(sentence: str) -> Finding:
    """The database cannot be asked.

    The daemon keeps trying while a database is away; commands say so and end with exit code 3.
    """
    return Finding(
        "D406",
        "error",
        sentence,
        effect="nothing runs",
        help="look at [database] url, and whether the server runs",
    )


# ── what is stopped ──────────────────────────────────────────────────────────────────────────────────────────────────


@page("D501", "paused", "warning")
def paused(what: str) -> Finding:
    """Somebody paused a flow, or everything.

    Entries and sends wait, exits go on. What waits longer than `max_lateness` is not sent any more.
    """
    return Finding(
        "D501",
        "warning",
        f"{what} is paused",
        effect="nothing of it is sent",
        help="`homing resume` lets it go on",
    )


@page("D502", "frozen")
def frozen(flow: str, reason: str) -> Finding:
    """A flow was frozen by the brake or after failing three times.

    It would have mailed far more customers than usual, or an error of ours came up in it. It stays frozen until somebody
    has looked.
    """
    return Finding("D502", "error", f"{flow} is frozen: it {reason}", effect="nothing of it is sent",
                   help=f"look into it, then `homing resume {flow}`")  # fmt: skip


@page("D503", "quarantine", "warning")
def quarantined(kind: str, count: int) -> Finding:
    """Facts, templates or customers were set aside because they failed three times.

    The rest goes on without them.
    """
    return Finding(
        "D503",
        "warning",
        f"{count} in quarantine: {kind}",
        effect="they are left out",
        help="see `homing quarantine list`",
    )


@page("D504", "unknown-messages", "warning")
def unknown_messages(count: int) -> Finding:
    """Mails were handed over and nobody knows whether they were accepted.

    A crash or a lost answer came in between. They are never sent again on their own. The provider's events settle them, or
    you do, after a look at the provider's own log.
    """
    return Finding("D504", "warning", f"{count} messages are unknown: they may or may not have arrived",
                   effect="each customer got that mail once or not at all",
                   help="see `homing messages list --state unknown`, settle with `homing messages resolve`")  # fmt: skip


@page("D505", "expired-leases", "warning")
def expired_leases(count: int) -> Finding:
    """Messages are held by a worker whose lease has ended.

    The next dispatch of any worker takes them back: those that it had begun to hand over become `unknown`, the others wait
    again.
    """
    return Finding("D505", "warning", f"{count} messages are held by a worker that is gone", effect="they wait",
                   help="`homing run` or `homing tick` takes them back")  # fmt: skip


# ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────────


@page("D506", "pool-runs-low", "warning")
def pool_runs_low(offer: str, free: int) -> Finding:
    """The codes of an offer are nearly or wholly given away.

    Without a code a mail waits, goes without one, or carries another offer, as `when_empty` of the offer says. Add codes to
    its file and run `homing apply`; mails that wait find them within the hour.
    """
    left = "no code is left" if not free else f"{free:,} code{'s are' if free > 1 else ' is'} left"
    return Finding("D506", "warning", f"{left} for the offer {offer}", effect="mails follow its `when_empty`",
                   help="add codes to its file, then `homing apply`")  # fmt: skip


@page("D507", "exclusion-not-applied")
def exclusion_not_applied(flow: str, segments: str) -> Finding:
    """`[policy] exclude` names a segment that is not applied yet.

    Settings hold at once, flows and segments when they are applied. Until then nobody can say who is excluded, and no
    marketing flow that does not know the segment lets anybody in or sends; facts wait for it.
    """
    return Finding("D507", "error", f"{flow} waits: [policy] exclude names {segments}, which is not applied",
                   effect="nobody enters it and nothing of it is sent",
                   help="declare it in flows/segments.yaml and run `homing apply`, or take it out of [policy] exclude")  # fmt: skip


@page("D508", "time-zone-not-known", "warning")
def zone_not_known(zone: str, count: int) -> Finding:
    """Customers live in a time zone that this machine does not know.

    It was known where they were told, or the machine's list of zones is older. UTC is used for them meanwhile.
    """
    return Finding("D508", "warning", f"this machine does not know the time zone {zone} of {count:,} customers",
                   effect="waits, quiet hours and birthdays of theirs follow UTC",
                   help="update the package tzdata, or tell their zones anew")  # fmt: skip


@page("D509", "time-zone-not-told", "warning")
def zone_not_told(count: int, shop_zone: str) -> Finding:
    """Customers have no time zone, and no country that has only one.

    The shop's zone is used for them. A zone that is none (`Mars/Olympus`) counts as not told, and `homing ingest` says so.
    """
    return Finding("D509", "warning", f"no time zone is known of {count:,} customers",
                   effect=f"waits, quiet hours and birthdays of theirs follow the shop's {shop_zone}",
                   help="tell `timezone` or `country` with the customers")  # fmt: skip


@page("D601", "broken-invariant")
def broken(what: str, count: int) -> Finding:
    """Something in the data does not hold that always must.

    That is a bug of ours, or somebody wrote into the database by hand. Nothing is repaired on its own.
    """
    return Finding("D601", "error", f"{what}: {count:,}", effect="what Homing promises may not hold for these",
                   help="pause, make a backup, and report it with this text")  # fmt: skip
