"""Commands about one customer: customer (the rights of the person), recommend."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any, Literal

import click

from engine.commands.session import Session, command, the_customer
from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.facts import rights
from engine.facts.profile import customer_record, export
from engine.flows.recommend_rules import rules_of
from engine.insights.scores import rebuild_scores
from engine.recommend.explain import rebuilt_at, shown_to
from engine.recommend.rebuild import rebuild
from engine.recommend.strategies import STRATEGIES, Request

USUAL_CHAIN = ("for_you", "popular_in_category", "bestsellers")


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @group.group("customer")
    def customer() -> None:
        """One customer: what is known, and the rights of the person (an email or an external id says who)."""

    _register_reading(customer)
    _register_rights(customer)
    _register_recommend(group)


def _register_reading(group: click.Group) -> None:
    @command(group, "show")
    @click.argument("customer")
    def show(session: Session, customer: str) -> None:
        """Show what is known of a customer: fields, counts, events, consents."""
        session.now(writing=False)
        with session.database.read() as connection:
            record = customer_record(connection, the_customer(connection, customer))
        if session.as_json:
            session.document(record)
        else:
            _show(session, record)

    @command(group, "export")
    @click.argument("customer")
    def export_(session: Session, customer: str) -> None:
        """Print everything that is kept about a customer, as one JSON document."""
        session.now(writing=False)
        with session.database.read() as connection:
            session.document(export(connection, the_customer(connection, customer)))


def _register_rights(group: click.Group) -> None:
    @command(group, "erase")
    @click.argument("customer")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    def erase(session: Session, customer: str, yes: bool) -> None:
        """Forget a person; later files that name them change nothing and mail nobody."""
        with session.database.read() as connection:
            the_customer(connection, customer)
        _confirm(session, "Everything personal goes, for good. Erase?", yes=yes)
        now = session.now(writing=True)
        with session.database.write() as connection:
            rights.erase(connection, the_customer(connection, customer), now=now)
        _told(session, {"erased": True, "at": now}, "erased; orders stay as sales to nobody")

    @command(group, "suppress")
    @click.argument("customer")
    @click.option("--scope", type=click.Choice(["all", "marketing"]), default="all", show_default=True)
    @click.option("--reason", default="asked", show_default=True)
    def suppress(session: Session, customer: str, scope: Literal["all", "marketing"], reason: str) -> None:
        """Never mail a customer again: nothing at all, or no marketing."""
        now = session.now(writing=True)
        with session.database.write() as connection:
            who = the_customer(connection, customer)
            rights.suppress(connection, who, now=now, scope=scope, reason=reason)
        _told(session, {"suppressed": scope, "at": now}, f"suppressed: {scope}")

    @command(group, "consent")
    @click.argument("customer")
    @click.option("--topic", default="all", show_default=True, help="A topic of homing.toml, or all.")
    @click.option("--state", type=click.Choice(["granted", "withdrawn", "pending"]), help="Without it: show.")
    @click.option(
        "--basis", type=click.Choice(["opt_in", "soft_opt_in"]), default="opt_in", show_default=True
    )
    @click.option("--at", "at_text", help="When they said so (default: now).")
    @click.option("--source", default="homing customer consent", help="Where they said so.")
    @click.option("--wording", help="What they agreed to, word for word.")
    def consent(session: Session, customer: str, **told: Any) -> None:
        """Show what a customer agreed to, or (with --state) record what they say now."""
        if told["state"] is not None:
            _record(session, customer, told)
        elif told["at_text"] is not None or told["wording"] is not None:
            raise UsageError("--at and --wording belong to what is recorded: say what with --state")
        with session.database.read() as connection:
            record = customer_record(connection, the_customer(connection, customer))
        if session.as_json:
            session.document({name: record[name] for name in ("topics", "consents", "suppressed")})
            return
        for topic, standing in record["topics"].items():
            session.say(f"{topic}: {standing}")
        if not record["topics"]:
            session.say("no consent is recorded, so no marketing goes out")


def _record(session: Session, customer: str, told: dict[str, Any]) -> None:
    topics = session.settings.topics
    if told["topic"] != "all" and told["topic"] not in topics:
        hint = did_you_mean(told["topic"], topics) or f"known: {', '.join(topics)}"
        raise UsageError(f'there is no topic "{told["topic"]}" in [topics]; {hint}')
    now = session.now(writing=True)
    at: datetime | None = session.moment(told["at_text"])
    with session.database.write() as connection:
        who = the_customer(connection, customer)
        rights.record_consent(
            connection, who, told["topic"], told["state"], now=now, at=at, basis=told["basis"], source=told["source"],
            wording=told["wording"],
        )  # fmt: skip


def _register_recommend(group: click.Group) -> None:
    @command(group, "recommend")
    @click.argument("customer", metavar="EMAIL|rebuild")
    @click.option(
        "--strategy",
        "--from",
        "chain",
        multiple=True,
        type=click.Choice(STRATEGIES),
        help="Strategies, first choice first.",
    )
    @click.option("--count", type=click.IntRange(1, 24), default=4, show_default=True)
    @click.option(
        "--with", "skus", multiple=True, metavar="SKU", help="As if the mail were about these products."
    )
    def recommend(
        session: Session, customer: str, chain: tuple[str, ...], count: int, skus: tuple[str, ...]
    ) -> None:
        """Show what a customer would be shown and why; `rebuild` brings the tables up to date first."""
        if customer == "rebuild":
            _rebuild(session)
            return
        chain = chain or USUAL_CHAIN
        now, rules = session.now(writing=False), rules_of(session.settings)
        with session.database.read() as connection:
            who = the_customer(connection, customer)
            picks = shown_to(connection, Request(who, skus, chain, count), now, rules)
            built = rebuilt_at(connection)
        if session.as_json:
            session.document({"chain": list(chain), "picks": picks, "rebuilt_at": built})
            return
        for pick in picks:
            session.say(f"{pick['sku']:<12} {pick['title'] or ''}")
            session.say(f"             {pick['strategy']}: {pick['why']}")
        if built is None:
            session.note(
                "the tables were never built; `homing run` does it every night, or: homing recommend rebuild"
            )
        if not picks:
            session.say(
                "nothing to recommend: nothing that the strategies know is in stock, has an image and is new to them"
            )


def _rebuild(session: Session) -> None:
    now = session.now(writing=True)
    report, scores = rebuild(session.database, now, force=True), rebuild_scores(session.database, now)
    if session.as_json:
        told = {"rows": report.rows, "learned": report.learned, "written": report.written}
        session.document({**told, "scored": scores.customers, "notes": list(scores.notes)})
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items()) or "nothing sold yet"
    session.say(f"rebuilt: {rows}; days of supply learned for {report.learned:,} products")
    session.say(f"scored: {scores.customers:,} customers with an order")
    for note in scores.notes:
        session.say(f"  {note}")


# ── printing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _confirm(session: Session, question: str, *, yes: bool) -> None:
    if yes:
        return
    if session.as_json or not sys.stdin.isatty():
        raise UsageError("this cannot be undone; say --yes")
    click.confirm(question, abort=True)


def _told(session: Session, document: dict[str, Any], words: str) -> None:
    if session.as_json:
        session.document(document)
    session.say(words)


def _show(session: Session, record: dict[str, Any]) -> None:
    for name, value in record.items():
        if name not in ("events", "consents", "properties") and value not in (None, [], {}, ""):
            words = ", ".join(map(str, value)) if isinstance(value, list) else value
            words = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else words
            session.say(f"{name}: {words}")
    for name, value in (record["properties"] or {}).items():
        session.say(f"properties.{name}: {value}")
    session.say(f"{len(record['events']):,} events, the last of them:")
    for event in record["events"][-10:]:
        session.say(f"  {event['at']}  {event['event']}")
