"""The web side described for programs (OpenAPI 3.1), at `/openapi.json`: what shops, providers and operators may ask.

Nothing comes in; one document goes out, the same for everybody. The house is not in it: it is for people. A test holds that
every route outside the house is described, and another asks all of them what the description allows, and more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import engine

_Json = dict[str, Any]


def routes() -> list[Route]:
    """Return the route of the description."""
    return [Route("/openapi.json", _tell, methods=["GET"])]


async def _tell(request: Request) -> Response:
    return JSONResponse(description() | {"servers": [{"url": request.scope.get("root_path") or "/"}]})


def description() -> _Json:
    """Return the whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Homing", "version": engine.__version__,
            "description": "Facts from shops, events from mail providers, the pages that mails link to, and health.",
        },
        "paths": {**_calls(), **_webhooks(), **_pages(), **_operation()},
        "components": {
            "securitySchemes": {
                "writeKey": {"type": "http", "scheme": "basic", "description": "The write key as user name, no password."}
            },
            "schemas": {"Call": _CALL, "Batch": _BATCH, "Told": _TOLD},
        },
    }  # fmt: skip


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_ID = {"type": ["string", "null"], "maxLength": 256}
_CALL: _Json = {
    "type": "object",
    "description": "A call as Segment's libraries send it, at most 32 KB; userId or anonymousId is needed.",
    "properties": {
        "type": {"enum": ["identify", "track", "page", "screen", "group", "alias"]},
        "userId": _ID, "anonymousId": _ID, "previousId": _ID, "groupId": _ID,
        "messageId": {"type": "string", "maxLength": 100}, "event": {"type": "string"}, "name": {"type": ["string", "null"]},
        "properties": {"type": ["object", "null"]}, "traits": {"type": ["object", "null"]},
        "context": {"type": ["object", "null"]}, "timestamp": {"type": "string", "format": "date-time"},
        "originalTimestamp": {"type": "string", "format": "date-time"}, "sentAt": {"type": "string", "format": "date-time"},
        "writeKey": {"type": "string"},
    },
}  # fmt: skip
_BATCH: _Json = {
    "type": "object",
    "required": ["batch"],
    "properties": {
        "batch": {"type": "array", "maxItems": 2500, "items": {"$ref": "#/components/schemas/Call"}},
        "sentAt": {"type": "string", "format": "date-time"},
        "writeKey": {"type": "string"},
    },
}
_TOLD: _Json = {
    "type": "object",
    "required": ["success"],
    "properties": {"success": {"type": "boolean"}, "error": {"type": "string"}},
}
_REFUSALS = {
    "400": "The body cannot be read, or a limit of it is exceeded.", "401": "The key or the signature is missing or wrong.",
    "403": "The key may not be used from this page.", "404": "There is no such call.", "405": "Not by this method.",
    "408": "The body took too long.", "413": "The body is too large.", "429": "Too much at once; see Retry-After.",
}  # fmt: skip


def _answers(fine: str, *refusals: str) -> _Json:
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Told"}}}
    told = {code: {"description": _REFUSALS[code], "content": body} for code in refusals}
    return {"200": {"description": fine, "content": body}, **told}


def _calls() -> _Json:
    paths: _Json = {}
    for name in ("identify", "track", "page", "screen", "group", "alias", "batch"):
        schema = {"$ref": f"#/components/schemas/{'Batch' if name == 'batch' else 'Call'}"}
        paths[f"/v1/{name}"] = {
            "post": {
                "operationId": name, "summary": f"Take a call of Segment's API: {name}.", "tags": ["facts"],
                "security": [{"writeKey": []}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": _answers("Everything is durable.", "400", "401", "403", "404", "405", "408", "413", "429"),
            }
        }  # fmt: skip
    return paths


def _header(name: str, words: str) -> _Json:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": words,
        "schema": {"type": "string"},
    }


def _webhooks() -> _Json:
    headers = {
        "shopify": [_header("X-Shopify-Topic", "What it is about."), _header("X-Shopify-Hmac-Sha256", "The signature of the raw body.")],
        "woocommerce": [_header("X-WC-Webhook-Topic", "What it is about."), _header("X-WC-Webhook-Signature", "The signature of the raw body.")],
        "sendgrid": [_header("X-Twilio-Email-Event-Webhook-Signature", "The signature."), _header("X-Twilio-Email-Event-Webhook-Timestamp", "Seconds since 1970.")],
    }  # fmt: skip
    return {
        f"/webhooks/{name}": {
            "post": {
                "operationId": name, "summary": f"Take a signed webhook of {name}.", "tags": ["webhooks"], "parameters": told,
                "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": ["object", "array"]}}}},
                "responses": _answers("It is durable, or was taken before.", "401", "403", "405", "408", "413"),
            }
        }
        for name, told in headers.items()
    }  # fmt: skip


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}}
_TOKEN = {
    "name": "token",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{20,200}$"},
}
_OF_MAILS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "u": ("unsubscribe", ("all", "List-Unsubscribe")), "p": ("preferences", ("frequency", "pause", "language", "month", "day", "do")),
    "a": ("answer", ("score", "rating", "text")), "s": ("snooze", ()), "c": ("confirm", ("email",)), "d": ("data", ("do", "sure")),
    "v": ("view", ()), "r": ("click", ()), "o": ("open", ()),
}  # fmt: skip


def _pages() -> _Json:
    paths: _Json = {}
    for letter, (name, fields) in _OF_MAILS.items():
        shown = {
            "200": {"description": "The page.", **_PAGE},
            "404": {"description": "No link of ours.", **_PAGE},
        }
        if letter == "r":
            shown = {"302": {"description": "Where the mail's link leads."}, "404": shown["404"]}
        if letter == "o":
            shown = {"200": {"description": "A point.", "content": {"image/gif": {"schema": {}}}}}
        late = {"410": {"description": "It is too old.", **_PAGE}} if letter in "cd" else {}
        of_path = {"parameters": [_TOKEN], "get": _operation_of(f"show_{name}", shown | late)}
        if letter not in "vro":
            refused = {"400": {"description": "Something is missing.", **_PAGE}} | late
            of_path["post"] = _operation_of(f"do_{name}", shown | refused, fields)
        paths[f"/{letter}/{{token}}"] = of_path
    refused = {code: {"description": _REFUSALS[code], **_PAGE} for code in ("400", "429")}
    fields = ("email", "first_name", "topic", "consent", "website")
    fine = {"200": {"description": "The page.", **_PAGE}}
    paths["/signup"] = {
        "get": _operation_of("show_signup", fine), "post": _operation_of("sign_up", fine | refused, fields),
    }  # fmt: skip
    return paths


def _operation_of(name: str, answers: _Json, fields: tuple[str, ...] | None = None) -> _Json:
    told: _Json = {"operationId": name, "tags": ["pages"], "responses": answers}
    if fields is not None:
        form = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
        told["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return told


# ── operation ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _operation() -> _Json:
    told = {
        "/healthz": ("healthz", "This program answers.", "application/json"),
        "/readyz": ("readyz", "The database answers.", "application/json"),
        "/metrics": ("metrics", "Counts for Prometheus.", "text/plain"),
        "/openapi.json": ("openapi", "This description.", "application/json"),
    }
    paths: _Json = {}
    for path, (name, words, kind) in told.items():
        answers: _Json = {"200": {"description": words, "content": {kind: {"schema": {}}}}}
        if path == "/readyz":
            answers["503"] = {
                "description": "The database does not answer.",
                "content": {kind: {"schema": {}}},
            }
        paths[path] = {"get": {"operationId": name, "tags": ["operation"], "responses": answers}}
    return paths
