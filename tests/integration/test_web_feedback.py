"""Delivery events, from a signed request and from a Maildir, settle messages and protect addresses; on both databases."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from engine.facts.profile import consent_standing
from engine.feedback import brake
from engine.render.compose import message_id
from engine.store.database import Database
from engine.store.tables import (
    consents,
    delivery_events,
    enrollments,
    flow_versions,
    flows,
    journal,
    messages,
    raw_inbox,
    suppressions,
)
from tests.contracts.feedback.test_every_parser import MESSAGE_ID, report
from tests.contracts.feedback.test_signature import PUBLIC, signed
from tests.integration.web_server import KEY, NOW, Serving, serving, settings_at, small_shop

ROOT = Path(__file__).resolve().parents[2]
AT = int(NOW.timestamp())
_numbers = itertools.count(1)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Serving]:
    """Give a server that knows SendGrid's key, over a small shop."""
    settings = settings_at(tmp_path)
    small_shop(database, settings)
    with serving(settings, database, {"HOMING_SENDGRID_WEBHOOK_KEY": PUBLIC}) as served:
        yield served


def event(kind: str, seconds: int = 60, **more: Any) -> dict[str, Any]:
    """Return an event of the small shop's mail."""
    return {
        "event": kind, "email": "ann@example.test", "timestamp": AT + seconds, "sg_event_id": f"e{next(_numbers)}",
        "sg_message_id": "m1.x", "homing_message": KEY, "category": "hello", **more,
    }  # fmt: skip


def send(served: Serving, *events: dict[str, Any]) -> None:
    """Post events as SendGrid would."""
    body = json.dumps(list(events)).encode() + b"\r\n"
    signature, stamp = signed(body, datetime.now(UTC))
    names = ("X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp")
    answer = served.client.post(
        "/webhooks/sendgrid", content=body, headers=dict(zip(names, (signature, stamp), strict=True))
    )
    assert answer.status_code == 200


def state(served: Serving) -> str:
    """Return the state of the small shop's mail."""
    with served.site.database.read() as connection:
        return connection.scalar(select(messages.c.state).where(messages.c.key == KEY)) or ""


def set_state(served: Serving, word: str) -> None:
    """Put the mail into another state."""
    with served.site.database.write() as connection:
        connection.execute(update(messages).values(state=word, accepted_at=None))


def scopes(served: Serving) -> list[tuple[str, str]]:
    """Return the suppressions."""
    with served.site.database.read() as connection:
        return [
            (row.scope, row.reason)
            for row in connection.execute(select(suppressions).order_by(suppressions.c.id))
        ]


def standing(served: Serving) -> dict[str, str]:
    """Return how the customer stands to each topic."""
    with served.site.database.read() as connection:
        return consent_standing(connection, 1)


def test_only_sendgrid_is_believed(shop: Serving) -> None:
    """Without a signature that fits, nothing is taken."""
    body = json.dumps([event("bounce")]).encode()
    assert shop.client.post("/webhooks/sendgrid", content=body).status_code == 403
    signature, stamp = signed(b"other")
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }
    assert shop.client.post("/webhooks/sendgrid", content=body, headers=headers).status_code == 403
    assert state(shop) == "accepted"


@pytest.mark.parametrize("order", list(itertools.permutations(("processed", "delivered", "bounce"))))
def test_any_order_ends_alike(database: Database, tmp_path: Path, order: tuple[str, ...]) -> None:
    """Events arrive in any order, several times over: the message only moves forward."""
    settings = settings_at(tmp_path)
    small_shop(database, settings)
    with serving(settings, database, {"HOMING_SENDGRID_WEBHOOK_KEY": PUBLIC}) as served:
        told = {kind: event(kind, place) for place, kind in enumerate(("processed", "delivered", "bounce"))}
        for kind in (*order, *order):
            send(served, told[kind])
        assert state(served) == "bounced"
        with served.site.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(delivery_events)) == 3
        assert scopes(served) == [("all", "hard_bounce")]


@pytest.mark.parametrize(("kind", "after"), [("processed", "accepted"), ("deferred", "accepted"), ("delivered", "delivered"), ("open", "delivered"), ("bounce", "bounced"), ("dropped", "failed")])  # fmt: skip
def test_what_was_unknown_is_settled(shop: Serving, kind: str, after: str) -> None:
    """A message whose hand-over got no answer is settled by its events, with an entry in the journal, and its fact."""
    set_state(shop, "unknown")
    send(shop, event(kind))
    assert state(shop) == after
    with shop.site.database.read() as connection:
        decisions = connection.scalars(select(journal.c.decision)).all()
    assert len(decisions) >= 1
    assert len(shop.events("mail_sent")) == (after != "failed")


def test_a_complaint_ends_marketing(shop: Serving) -> None:
    """Whoever calls a mail spam gets no marketing any more: withdrawn, suppressed, enrollments ended."""
    with shop.site.database.write() as connection:
        connection.execute(update(enrollments).values(state="active", next_at=NOW))
    send(shop, event("spamreport"))
    assert standing(shop)["all"] == "withdrawn"
    assert scopes(shop) == [("marketing", "complaint")]
    with shop.site.database.read() as connection:
        assert connection.scalar(select(enrollments.c.state)) == "exited"


def test_unsubscribing_at_the_provider(shop: Serving) -> None:
    """It ends the mail's topic, once however often it is told; coming back grants it again."""
    told = event("group_unsubscribe", 60)
    send(shop, told, told)
    send(shop, told)
    assert standing(shop)["reminders"] == "withdrawn"
    with shop.site.database.read() as connection:
        assert (
            connection.scalar(
                select(func.count()).select_from(consents).where(consents.c.state == "withdrawn")
            )
            == 1
        )
    send(shop, event("group_resubscribe", 120))
    assert standing(shop)["reminders"] == "granted"


def test_a_soft_bounce_is_borne_seven_times(shop: Serving) -> None:
    """The eighth in a row suppresses; a mail that arrived between begins the count anew."""
    for number in range(7):
        send(shop, event("bounce", number, type="blocked"))
    assert scopes(shop) == []
    send(shop, event("delivered", 10))
    for number in range(7):
        send(shop, event("bounce", 20 + number, type="blocked"))
    assert scopes(shop) == []
    send(shop, event("bounce", 30, type="blocked"))
    assert scopes(shop) == [("all", "soft_bounces")]


def test_machines_decide_nothing(shop: Serving) -> None:
    """Opens of privacy proxies and clicks of scanners are kept and flagged; only people's become facts."""
    send(
        shop, event("delivered", 0), event("open", 1, sg_machine_open=True), event("click", 2, url="https://x.test"),
        event("click", 90, useragent="Barracuda Sentinel"), event("open", 95, useragent="Mozilla/5.0"),
    )  # fmt: skip
    assert not shop.events("mail_opened")
    assert not shop.events("mail_clicked")
    person = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"
    send(shop, event("open", 100, useragent=person), event("click", 110, useragent=person))
    assert len(shop.events("mail_opened")) == len(shop.events("mail_clicked")) == 1
    with shop.site.database.read() as connection:
        flagged = connection.scalar(select(func.count()).where(delivery_events.c.machine))
    assert flagged == 4


def test_mails_of_others_speak_for_the_address(shop: Serving) -> None:
    """An account may send other mail too: its events touch no message, and a bad address is bad for everyone."""
    send(shop, event("bounce", homing_message="not ours"), event("delivered", homing_message=None))
    assert state(shop) == "accepted"
    assert scopes(shop) == [("all", "hard_bounce")]


def test_oddities_are_taken_or_kept(shop: Serving) -> None:
    """Categories as text or list, no event id, unknown kinds: nothing is lost and nothing fails."""
    without_id = event("dropped", reason="Unsubscribed Address")
    del without_id["sg_event_id"]
    send(shop, without_id, event("delivered", category=["a", "b"]), event("account_status_change"), {"x": 1})
    assert standing(shop)["reminders"] == "withdrawn"
    with shop.site.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(raw_inbox)) == 2


def test_no_event_keeps_an_address(shop: Serving) -> None:
    """What is kept of an event names nobody."""
    send(shop, event("bounce", reason="550 <ann@example.test> unknown"))
    with shop.site.database.read() as connection:
        kept = [json.dumps(row.raw) for row in connection.execute(select(delivery_events))]
    assert kept
    assert not any("ann@" in text for text in kept)


def test_too_many_complaints_stop_marketing(shop: Serving) -> None:
    """Three of a thousand in a week freeze every marketing flow with the reason; transactional ones go on; two do not."""
    with shop.site.database.write() as connection:
        for name, kind in (("offers", "marketing"), ("shipped", "transactional")):
            version = {
                "hash": name,
                "flow": name,
                "behaviour_hash": name,
                "definition": {"kind": kind},
                "created_at": NOW,
            }
            connection.execute(insert(flow_versions), [version])
            connection.execute(
                insert(flows), [{"flow": name, "version": name, "applied_at": NOW, "version_at": NOW}]
            )
        number = connection.scalar(select(messages.c.id))
        told = [("delivered", place) for place in range(998)] + [("complained", place) for place in range(2)]
        rows = [
            {"key": f"{kind}{place}", "message_id": number, "kind": kind, "at": NOW} for kind, place in told
        ]
        connection.execute(insert(delivery_events), rows)
        assert not brake.look(connection, NOW + timedelta(hours=1)).stops
        connection.execute(
            insert(delivery_events), [{"key": "c3", "message_id": number, "kind": "complained", "at": NOW}]
        )
        found = brake.look(connection, NOW + timedelta(hours=1))
        frozen = dict(connection.execute(select(flows.c.flow, flows.c.frozen_reason)).all())
    assert found.stops
    assert frozen["shipped"] is None
    assert "0.30%" in (frozen["offers"] or "")


def test_reports_of_mail_servers(sqlite_url: str, tmp_path: Path) -> None:
    """`homing bounces` takes a Maildir: the mail is found by the Message-ID that came back; taken again nothing changes."""
    from engine.store.database import connect  # noqa: PLC0415

    settings = settings_at(tmp_path)
    database = connect(sqlite_url)
    small_shop(database, settings)
    own = message_id(KEY, settings.sender.email)
    content = report("failed", "5.1.1").replace(MESSAGE_ID.encode(), own.encode())
    (tmp_path / "bounced" / "new").mkdir(parents=True)
    (tmp_path / "bounced" / "new" / "1").write_bytes(content)
    (tmp_path / "bounced" / "new" / "2").write_bytes(b"Subject: hello\r\n\r\nI am on holiday.\r\n")
    command = [
        sys.executable,
        "-m",
        "cli",
        "bounces",
        "--project",
        str(tmp_path),
        "--database",
        sqlite_url,
        "--json",
    ]
    with database.write() as connection:
        # It was sent just now: a report is about a mail of these days.
        connection.execute(update(messages).values(counted_at=datetime.now(UTC)))
    done = subprocess.run(
        [*command, str(tmp_path / "bounced")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"mails": 2, "no_reports": 1, "bounced": 1}
    again = subprocess.run(
        [*command, "-"], cwd=ROOT, input=content.decode(), capture_output=True, text=True, check=False
    )
    assert json.loads(again.stdout) == {"mails": 1}
    with database.read() as connection:
        assert connection.scalar(select(messages.c.state)) == "bounced"
        assert connection.scalar(select(suppressions.c.reason)) == "hard_bounce"
    assert len(list((tmp_path / "bounced" / "cur").iterdir())) == 2
    database.close()
