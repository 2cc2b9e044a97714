"""The schema of `homing.toml`: what each section is for, and each key of it with a text, a shape and its default.

Goes out: plain data. The sections and keys are those of `engine.settings`; one that has no text here is a text by its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.flows import schema_parts as parts
from engine.flows.schema_parts import Schema
from engine.settings import OPTIONS, SECTIONS

_SECTION_TEXTS = {
    "shop": "Who sends: the shop as customers know it. Keys of your own are {{ shop.KEY }} in templates.",
    "brand": "Colours, logo, type: used by the layouts.",
    "sender": "Who mails come from.",
    "senders": "Further senders: [senders.NAME], named by `sender: NAME`.",
    "database": "Where everything is remembered.",
    "broker": "What carries hints of work between machines: `homing run --distributed`.",
    "delivery": "How mails leave.",
    "web": "The address of customers' links.",
    "topics": "What a customer can subscribe to: name = words for people, or a table of them by language.",
    "policy": "What protects customers from too much mail.",
    "webhooks": "Where `webhook: {to: NAME}` goes: name = https address.",
    "recommend": "What blocks of recommended products may show.",
}
_RULE: Schema = {"type": "object", "minProperties": 1}
_BOOST: Schema = {
    "type": "object",
    "minProperties": 2,
    "required": ["by"],
    "properties": {
        "by": {"description": "Below 1 they count less.", "type": "number", "minimum": 0.1, "maximum": 10}
    },
}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_OPTIONS: Mapping[str, Schema] = {
    "path": parts.text("The Maildir's folder.", default="mailbox"),
    "durable": {"description": "Wait until a mail is on the disk.", "type": "boolean", "default": True},
    "host": parts.text("The server's name.", examples=["smtp.kiyomi.test"]),
    "port": {"description": "The server's port.", "type": "integer", "minimum": 1, "maximum": 65535, "examples": [587]},
    "security": parts.word("How the connection is encrypted.", ("starttls", "tls", "none"), default="starttls"),
    "user": parts.text("Who logs in."),
    "envelope_sender": parts.text("Where bounces go, if not to the sender."),
    "hello_name": parts.text("The name that this machine gives itself."),
    "connect_seconds": {"description": "How long to wait for a connection.", **_NUMBER, "default": 10},
    "answer_seconds": {"description": "How long to wait for an answer.", **_NUMBER, "default": 20},
    "group_seconds": {"description": "How long a group of mails may take.", **_NUMBER, "default": 45},
    "ca_file": parts.text("A file with the certificates to trust instead of the system's."),
    "url": parts.text("The provider's address.", format="uri"),
    "connections": {"description": "How many requests at once.", "type": "integer", "minimum": 1, "maximum": 32, "default": 4},
    "click_tracking": {"description": "Let the provider count clicks.", "type": "boolean", "default": False},
    "open_tracking": {"description": "Let the provider count opens.", "type": "boolean", "default": False},
}  # fmt: skip


def _options(provider: str, description: str) -> Schema:
    return parts.table({name: _OPTIONS[name] for name in OPTIONS[provider]}, description)


_SETTINGS: Mapping[str, Schema] = {
    "shop.name": parts.text("As customers know it."),
    "shop.url": parts.text("The shop's address.", format="uri"),
    "shop.timezone": parts.text("For customers of whom neither zone nor country is known.", examples=["Europe/Berlin"], default="UTC"),
    "shop.locale": parts.text("The language of templates without a translation.", default="en"),
    "shop.currency": parts.text("ISO 4217.", pattern="^[A-Z]{3}$", default="EUR"),
    "shop.postal_address": parts.text("The law wants it in every marketing mail."),
    "sender.email": parts.text("The address that mails come from."),
    "sender.name": parts.text("The name beside it."),
    "sender.reply_to": parts.text("Where answers go."),
    "database.url": parts.text("sqlite:///FILE or postgresql://…", default="sqlite:///homing.db"),
    "delivery.mode": parts.word("In sandbox, mails go into the local mailbox only.", ("sandbox", "live"), default="sandbox"),
    "delivery.provider": parts.word("What takes the mails.", ("mailbox", "smtp", "sendgrid"), default="mailbox"),
    "delivery.allow": parts.listed({"type": "string"}, "Addresses or @domains that real mail may reach while in sandbox."),
    "delivery.rate": parts.text("At most so many a second, minute or hour.", default="20/s"),
    "delivery.domains": {"type": "object", "additionalProperties": {"type": "string"},
                         "description": "How fast mails may come in at some recipients' domains: \"docomo.ne.jp\" = \"5/s\"."},
    "delivery.smtp": _options("smtp", "The SMTP server; the password comes from HOMING_SMTP_PASSWORD in the environment."),
    "delivery.sendgrid": _options("sendgrid", "SendGrid; the key comes from SENDGRID_API_KEY in the environment."),
    "delivery.mailbox": _options("mailbox", "The local Maildir, which any mail program reads."),
    "web.url": parts.text("Base of the links in mails; https.", format="uri"),
    "policy.quiet_hours": parts.text('Hours on the customer\'s own clock in which nothing is sent; "" for none.', default="21:00-08:00"),
    "policy.caps": parts.listed({"type": "string", "pattern": r"^\s*\d+ per \S+\s*$"}, "Marketing mails to one customer; [] for none."),
    "policy.max_lateness": parts.text("A mail later than this is not sent any more.", pattern=parts.DURATION, default="24h"),
    "policy.global_holdout": parts.share("Share of all customers who get no marketing.", default="0%"),
    "policy.exclude": parts.listed({"type": "string"}, "Segments that get no marketing."),
    "recommend.per_category": {
        "description": "Products of one category that a block shows; 0 for any number.", "type": "integer", "minimum": 0,
        "maximum": 24, "default": 2,
    },
    "recommend.never": parts.listed(_RULE, "Products that no block shows: tests, all of which must hold, such as {tags: sale}."),
    "recommend.always": parts.listed(_RULE, "Products of which one takes the first slot of a block."),
    "recommend.boost": parts.listed(_BOOST, "Products whose score is multiplied `by` so much within their strategy."),
    "policy.soft_opt_in": parts.listed({"type": "string"}, "Topics for which a purchase is consent enough."),
}  # fmt: skip


def settings() -> Schema:
    """Return the schema of `homing.toml`: a table for each section, a text for each key."""
    sections: Schema = {}
    for section, keys in SECTIONS.items():
        properties = {
            key: _SETTINGS.get(f"{section}.{key}", parts.text(f"{key} of [{section}]")) for key in keys
        }
        open_ended = not keys or section == "shop"
        sections[section] = {
            "description": _SECTION_TEXTS.get(section, f"[{section}]"),
            "type": "object",
            "additionalProperties": open_ended,
            "properties": properties,
        }
    sender = sections["sender"]
    sections["senders"]["additionalProperties"] = {
        **sender,
        "description": "A sender that flows and steps can name.",
    }
    sections["webhooks"]["additionalProperties"] = {"type": "string"}
    named = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}
    sections["topics"]["additionalProperties"] = {"anyOf": [{"type": "string"}, named]}
    return {"description": "The settings of a project: homing.toml.", **parts.table(sections)}
