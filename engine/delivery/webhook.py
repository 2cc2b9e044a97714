"""Webhook calls: the body of a `webhook` step, handed over as JSON to an address of `[webhooks]`.

The same promises as for a mail: the attempt is committed first; what may have arrived is `unknown` and not repeated.
The message key travels as `Idempotency-Key`, so that a receiver can tell a repetition. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from engine.delivery.keepalive import wording
from engine.delivery.made import WebhookCall
from engine.delivery.outcome import Accepted, Failed, Outcome, Retry, Unknown
from engine.store.database import to_json

TIMEOUT_SECONDS = 10.0
FOLDER = "webhooks"


def to_folder(mailbox: Path) -> Callable[[WebhookCall], Outcome]:
    """Return what takes webhook calls in the sandbox: a JSON file each, beside the local mailbox."""

    def take(call: WebhookCall) -> Outcome:
        folder = mailbox / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        name = "".join(sign if sign.isalnum() else "-" for sign in call.key) + ".json"
        partial = folder / f".{name}"
        partial.write_text(to_json({"to": call.to, **call.body}), encoding="utf-8")
        partial.replace(folder / name)
        return Accepted(name)

    return take


def to_address(addresses: Mapping[str, str]) -> Callable[[WebhookCall], Outcome]:
    """Return what hands webhook calls over to the addresses of `[webhooks]`."""

    def take(call: WebhookCall) -> Outcome:
        url = addresses.get(call.to)
        return Failed(f'[webhooks] names no "{call.to}"') if url is None else _post(url, call)

    return take


def _post(url: str, call: WebhookCall) -> Outcome:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return Failed("the address of this webhook is no http(s) URL")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    body = to_json(call.body).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": call.key, "User-Agent": "homing"}
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        return Retry(f"no connection: {wording(error)}")
    try:
        connection.request(
            "POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers
        )
        response = connection.getresponse()
        response.read(65_536)
        return _outcome(response.status, response.getheader("Retry-After"))
    except (OSError, http.client.HTTPException) as error:
        return Unknown(f"no answer: {wording(error)}")
    finally:
        connection.close()


def _outcome(status: int, retry_after: str | None) -> Outcome:
    if 200 <= status < 300:
        return Accepted(str(status))
    if status == 429:
        return Retry("asked to wait", float(retry_after) if retry_after and retry_after.isdigit() else None)
    return Unknown(f"answered {status}") if status >= 500 else Failed(f"answered {status}")
