"""Commands that answer questions: why, messages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click
from sqlalchemy import select

from engine.calendar import Duration, local, subtract
from engine.commands.session import Session, command, the_customer
from engine.errors import UsageError
from engine.journeys.round import Round
from engine.outbox.ledger import settle_by_hand
from engine.runtime.story import missed_words, sentences
from engine.runtime.why import known_flow, why
from engine.runtime.why_missing import missing as who_missed
from engine.store.tables import attempts, customers, messages

MISSING_DAYS = timedelta(days=30)
STATES = (
    "pending", "claimed", "handing_over", "accepted", "delivered", "bounced", "failed", "dropped", "unknown",
)  # fmt: skip


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @command(group, "why")
    @click.argument("customer", required=False)
    @click.argument("flow", required=False)
    @click.option(
        "--missing", metavar="FLOW", help="Instead: who had the trigger and got nothing, by reason."
    )
    @click.option(
        "--since", help="With --missing: from this time on, or for so long, such as 60d (default: 30d)."
    )
    def why_(
        session: Session, customer: str | None, flow: str | None, missing: str | None, since: str | None
    ) -> None:
        """Tell a customer's story in one flow or all: each decision, what it rested on, what comes next."""
        at = Round(session.now(writing=False), session.held_settings)
        if missing is not None:
            if customer is not None:
                raise UsageError(
                    f'--missing is about everybody; leave "{customer}" out, or leave --missing out'
                )
            _tell_missing(session, missing, _since(session, since, at.now), at)
            return
        if customer is None or since is not None:
            raise UsageError("homing why WHO [FLOW], or homing why --missing FLOW [--since TIME]")
        with session.database.read() as connection:
            who = the_customer(connection, customer)
            story = why(connection, who, flow, at)
            zone = connection.scalar(select(customers.c.zone).where(customers.c.id == who))
        if session.as_json:
            session.document(story)
        else:
            if story and zone and zone != at.shop_zone:
                session.say(
                    f"Times are those of {at.shop_zone}; the customer's own clock is that of {zone}.\n"
                )
            for place, each in enumerate(story):
                click.echo(
                    ("\n" if place else "") + "\n".join(sentences(each, session.settings.shop.timezone))
                )
            if not story:
                session.say("no flow is applied; `homing apply` makes flows live")

    @group.group("messages")
    def messages_() -> None:
        """The ledger of messages."""

    @command(messages_, "list")
    @click.option("--state", type=click.Choice(STATES), help="Only messages in this state.")
    @click.option("--flow", help="Only messages of this flow.")
    @click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True)
    def list_(session: Session, state: str | None, flow: str | None, limit: int) -> None:
        """List messages, newest first."""
        query = _MESSAGES.order_by(messages.c.id.desc()).limit(limit)
        query = query.where(messages.c.state == state) if state else query
        query = query.where(messages.c.flow == flow) if flow else query
        with session.database.read() as connection:
            if flow is not None:
                known_flow(connection, flow)
            rows = [_message(row) for row in connection.execute(query).mappings()]
        if session.as_json:
            session.document(rows)
            return
        for row in rows:
            reason = f" ({row['reason']})" if row["reason"] else ""
            session.say(
                f"{row['id']:>7}  {row['state']:<12} {row['flow']} / {row['step']}  {row['due_at']:%Y-%m-%d %H:%M} UTC{reason}"
            )

    @command(messages_, "show")
    @click.argument("message_id", type=click.IntRange(1, 2**62))
    def show(session: Session, message_id: int) -> None:
        """Show one message with its attempts."""
        with session.database.read() as connection:
            row = connection.execute(_MESSAGES.where(messages.c.id == message_id)).mappings().first()
            if row is None:
                raise UsageError(f"there is no message {message_id}")
            query = select(attempts).where(attempts.c.message_id == message_id).order_by(attempts.c.id)
            tried = [dict(each) for each in connection.execute(query).mappings()]
        session.document({**_message(row), "key": row["key"], "content": row["content"], "attempts": tried})

    @command(messages_, "resolve")
    @click.argument("message_id", type=click.IntRange(1, 2**62))
    @click.argument("outcome", type=click.Choice(["accepted", "retry"]))
    def resolve(session: Session, message_id: int, outcome: str) -> None:
        """Settle an `unknown` message by hand: it was accepted, or try it again."""
        now = session.now(writing=True)
        with session.database.write() as connection:
            if not settle_by_hand(connection, message_id, outcome, now):
                if connection.scalar(select(messages.c.id).where(messages.c.id == message_id)) is None:
                    raise UsageError(f"there is no message {message_id}")
                raise UsageError(
                    f"message {message_id} is not unknown; `homing messages list --state unknown` lists those"
                )
        if session.as_json:
            session.document({"message": message_id, "outcome": outcome})
        session.say(f"message {message_id}: {outcome}")


def _since(session: Session, told: str | None, now: datetime) -> datetime:
    """Read a time, or how long ago it is; nothing is 30 days ago."""
    if told is None:
        return now - MISSING_DAYS
    try:
        stretch = Duration.parse(told)
        if stretch.approximate_days > 0:
            return subtract(now, stretch, session.settings.shop.timezone)
    except (ValueError, OverflowError):
        pass  # a time, or neither
    since = session.moment(told)
    assert since is not None
    return since


def _tell_missing(session: Session, flow: str, since: datetime, at: Round) -> None:
    with session.database.read() as connection:
        found = who_missed(connection, flow, since, at)
    if session.as_json:
        session.document(found)
        return
    begun = local(since, session.settings.shop.timezone)
    session.say(
        f"{flow} since {begun:%a %d %b %Y %H:%M}: {found['had_the_trigger']:,} had the trigger, "
        f"{found['got_a_mail']:,} got a mail, {found['got_nothing']:,} got nothing"
    )
    for group in found["reasons"]:
        session.say(f"  {group['customers']:>8,}  {missed_words(group['reason'])}")
        session.say(f"            such as {', '.join(group['examples'])}")


# Each message with the id by which the shop knows the customer.
_MESSAGES = select(messages, customers.c.external_id.label("customer")).join(
    customers, customers.c.id == messages.c.customer_id
)


def _message(row: Any) -> dict[str, Any]:
    names = (
        "id", "flow", "version", "step", "template", "channel", "customer", "customer_id", "kind", "topic", "state", "reason", "due_at",
        "counted_at", "accepted_at", "tries", "provider", "provider_id", "subject", "sandbox",
    )  # fmt: skip
    return {name: row[name] for name in names}
