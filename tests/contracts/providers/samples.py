"""Mails for the tests of providers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine.render.mail import Address, Mail

DATE = datetime(2026, 3, 29, 7, 30, tzinfo=UTC)


def sample_mail(number: int = 1, **changes: Any) -> Mail:
    """Return an ordinary marketing mail; its number is in its key and its recipient."""
    key = f"e{number}.thanks.0"
    mail = Mail(
        key=key,
        message_id=f"<{key}@kiyomi.test>",
        sender=Address("hello@kiyomi.test", "Kiyomi Tea"),
        to=Address(f"ann{number}@customers.test", "Ann Example"),
        subject="Thank you for your first order",
        html="<!doctype html><title>Thanks</title><p>Hello Ann,</p>\n<p>thank you!</p>\n",
        text="Hello Ann,\n\nthank you!\n",
        date=DATE,
        reply_to=Address("care@kiyomi.test", "Customer care"),
        unsubscribe_url=f"https://mail.kiyomi.test/u/{number}-Zm9vYmFy",
        list_id="Offers and news <offers.kiyomi.test>",
        metadata={
            "flow": "thank-you",
            "version": "3f2a",
            "step": "thanks",
            "message": key,
            "customer": f"c{number}",
        },
    )
    return replace(mail, **changes)
