"""Commands that answer questions: why, messages."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import select, update

from engine.commands.session import Session, command
from engine.errors import UsageError
from engine.facts.customers import find_customer
from engine.journeys.round import Round
from engine.runtime.why import why
from engine.store.tables import attempts, messages


def register(group: click.Group) -> None:
    """Add these commands to `homing`."""

    @command(group, "why")
    @click.argument("customer")
    @click.argument("flow", required=False)
    def why_(session: Session, customer: str, flow: str | None) -> None:
        """Tell a customer's story in one flow or all: each decision, what it rested on, what comes next."""
        at = Round(session.now(writing=False), session.held_settings)
        with session.database.read() as connection:
            story = why(connection, find_customer(connection, customer), flow, at)
        if session.as_json:
            session.document(story)
        else:
            for each in story:
                _tell(each)

    @group.group("messages")
    def messages_() -> None:
        """The ledger of messages."""

    @command(messages_, "list")
    @click.option("--state", help="Only messages in this state.")
    @click.option("--flow", help="Only messages of this flow.")
    @click.option("--limit", default=100, show_default=True)
    def list_(session: Session, state: str | None, flow: str | None, limit: int) -> None:
        """List messages, newest first."""
        query = select(messages).order_by(messages.c.id.desc()).limit(limit)
        query = query.where(messages.c.state == state) if state else query
        query = query.where(messages.c.flow == flow) if flow else query
        with session.database.read() as connection:
            rows = [_message(row) for row in connection.execute(query).mappings()]
        if session.as_json:
            session.document(rows)
            return
        for row in rows:
            reason = f" ({row['reason']})" if row["reason"] else ""
            session.say(f"{row['id']:>7}  {row['state']:<12} {row['flow']} / {row['step']}  {row['due_at']}{reason}")

    @command(messages_, "show")
    @click.argument("message_id", type=int)
    def show(session: Session, message_id: int) -> None:
        """Show one message with its attempts."""
        with session.database.read() as connection:
            row = connection.execute(select(messages).where(messages.c.id == message_id)).mappings().first()
            if row is None:
                raise UsageError(f"there is no message {message_id}")
            query = select(attempts).where(attempts.c.message_id == message_id).order_by(attempts.c.id)
            tried = [dict(each) for each in connection.execute(query).mappings()]
        session.document({**_message(row), "key": row["key"], "content": row["content"], "attempts": tried})

    @command(messages_, "resolve")
    @click.argument("message_id", type=int)
    @click.argument("outcome", type=click.Choice(["accepted", "retry"]))
    def resolve(session: Session, message_id: int, outcome: str) -> None:
        """Settle an `unknown` message by hand: it was accepted, or try it again."""
        now = session.now(writing=True)
        values: dict[str, Any] = {"state": "accepted", "accepted_at": now, "settled_at": now}
        if outcome == "retry":
            values = {"state": "pending", "try_at": now, "counted_at": None, "settled_at": None}
        with session.database.write() as connection:
            statement = update(messages).where(messages.c.id == message_id, messages.c.state == "unknown")
            if connection.execute(statement.values(reason="settled by hand", **values)).rowcount != 1:
                raise UsageError(f"message {message_id} is not unknown; `homing messages list --state unknown` lists those")
        if session.as_json:
            session.document({"message": message_id, "outcome": outcome})
        session.say(f"message {message_id}: {outcome}")


def _message(row: Any) -> dict[str, Any]:
    names = (
        "id", "flow", "version", "step", "template", "channel", "customer_id", "kind", "topic", "state", "reason", "due_at",
        "counted_at", "accepted_at", "tries", "provider", "provider_id", "subject", "sandbox",
    )  # fmt: skip
    return {name: row[name] for name in names}


_SENTENCES = {
    "entered": "entered the flow",
    "held_out": "would have entered, but belongs to the holdout",
    "refused": "was not let in",
    "due": "became due",
    "sent": "was handed over and accepted",
    "skipped": "was skipped",
    "dropped": "was dropped",
    "deferred": "was put off",
    "waiting": "waits",
    "took": "took the arm",
    "heard": "the awaited fact came",
    "not_heard": "the awaited fact did not come",
    "set": "the customer's record was changed",
    "exited": "left the flow",
    "completed": "reached the end",
    "failed": "failed for good",
    "retry": "could not be handed over yet",
    "unknown": "may or may not have arrived",
}


def _tell(story: dict[str, Any]) -> None:
    """Print one flow's story in plain sentences."""
    click.echo(story["flow"])
    if not story["decisions"]:
        click.echo("  never triggered")
    for decision in story["decisions"]:
        step = f" {decision['step']}:" if decision["step"] else ""
        words = _SENTENCES.get(decision["decision"], decision["decision"])
        more = f" ({decision['reason']})" if decision["reason"] else ""
        more += f" until {decision['until']}" if decision.get("until") else ""
        more += f" {decision['arm']}" if decision.get("arm") else ""
        click.echo(f"  {decision['at']:%Y-%m-%d %H:%M}{step} {words}{more}")
        if decision["decision"] in ("refused", "skipped", "exited"):
            for clause in decision["clauses"]:
                click.echo(f"      {'yes' if clause['holds'] else 'no '}  {clause['clause']}")
    for clause in story.get("now", {}).get("clauses", []):
        click.echo(f"  now: {'yes' if clause['holds'] else 'no '}  {clause['clause']}: {clause['found']}")
    if story["next"]:
        following = story["next"]
        click.echo(f"  next: {following['what']} {following['step'] or ''} at {following['at']:%Y-%m-%d %H:%M}")
