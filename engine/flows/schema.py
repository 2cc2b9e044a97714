"""JSON Schemas for editors: flow, segments, offers, scenario and settings, with a text for every key.

Comes in: the name of a schema. Goes out: a draft-07 schema as plain data, which yaml-language-server and taplo read.
Promises: what the parsers take is valid, and the words of the language come from the parsers themselves; shapes are one
object with dependent keys rather than alternatives, so that an editor can say which key is wrong. What is shared carries
no text, since editors show it beside that of the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.calendar import WEEKDAYS
from engine.errors import UsageError
from engine.flows import fields, parse, read_steps, read_triggers, scenario
from engine.flows.conditions import SCOPES
from engine.settings import OPTIONS, SECTIONS

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"
NAMES = ("flow", "segments", "offers", "scenario", "settings")
# Which files of a project each schema is for, as editors write it.
FILES = {
    "./schema/flow.json": ["flows/*.yaml", "!flows/segments.yaml", "!flows/offers.yaml", "!tests/**/*.yaml"],
    "./schema/segments.json": "flows/segments.yaml",
    "./schema/offers.json": "flows/offers.yaml",
    "./schema/scenario.json": "tests/**/*.yaml",
}
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_AS_DURATION = "write a duration such as 30min, 4h, 30d, 2w, 6mo or 1y"
_DURATION = r"^-?\s*\d{1,6}(\.\d{1,3})?\s*(s|sec|min|h|d|w|mo|y)$"


def schema(what: str = "flow") -> Schema:
    """Return the schema of one of `NAMES`; raise UsageError for any other."""
    makers = {
        "flow": _flow,
        "segments": _segments,
        "offers": _offers,
        "scenario": _scenario,
        "settings": _settings,
    }
    if what not in makers:
        raise UsageError(f"there is no schema {what}; known: {', '.join(NAMES)}")
    made = makers[what]()
    shared = {name: _silent(known) for name, known in _definitions().items()}
    used = made | ({} if what == "settings" else {"definitions": shared})
    return {"$schema": DRAFT, "$id": f"homing:{what}", **used}


def _silent(definition: Schema) -> Schema:
    """Return a definition without a text of its own: it would stand beside that of each key that refers to it."""
    return {key: value for key, value in definition.items() if key != "description"}


# ── building blocks ──────────────────────────────────────────────────────────────────────────────────────────────────


def _ref(name: str, description: str = "", **more: Any) -> Schema:
    """Return a reference with a text of its own (in draft-07 a bare $ref hides its neighbours)."""
    pointer = {"$ref": f"#/definitions/{name}"}
    return {"description": description, **more, "allOf": [pointer]} if description or more else pointer


def _object(properties: Mapping[str, Any], description: str = "", **more: Any) -> Schema:
    made: Schema = {"type": "object", "additionalProperties": False, **more, "properties": dict(properties)}
    return {"description": description, **made} if description else made


def _list(items: Schema, description: str = "", **more: Any) -> Schema:
    made = {"type": "array", "items": items, **more}
    return {"description": description, **made} if description else made


def _text(description: str, **more: Any) -> Schema:
    return {"description": description, "type": "string", **more}


def _word(description: str, known: Iterable[str], **more: Any) -> Schema:
    return {"description": description, "enum": list(known), **more}


def _name(description: str, **more: Any) -> Schema:
    return _text(description, pattern=_NAME, patternErrorMessage="use letters, digits and dashes", **more)


def _needs(keys: Iterable[str], *owners: str) -> Schema:
    """Return dependencies: each key has a meaning only beside one of the owners."""
    either = (
        {"required": [owners[0]]}
        if len(owners) == 1
        else {"anyOf": [{"required": [owner]} for owner in owners]}
    )
    return dict.fromkeys(keys, either)


def _share(description: str, **more: Any) -> Schema:
    wanted = "write a share such as 10%"
    return _text(
        description, pattern=r"^\d{1,3}(\.\d+)?\s*%$", patternErrorMessage=wanted, errorMessage=wanted, **more
    )


def _clock(description: str, **more: Any) -> Schema:
    wanted = 'write a time of day in quotes: "09:00"'
    return _text(
        description, pattern=r"^([01]?\d|2[0-3]):[0-5]\d$", patternErrorMessage=wanted, errorMessage=wanted,
        examples=["09:00"], **more,
    )  # fmt: skip


def _duration(description: str, *examples: str, **more: Any) -> Schema:
    return _ref("duration", description, examples=list(examples or ("4h", "30d")), **more)


_FIELD_TEXTS = {
    "orders": "How many orders the customer has placed (0, never missing; cancelled ones do not count).",
    "spent": "What the customer has spent in all.",
    "country": "ISO 3166 code of two capital letters.",
    "birthday": "YYYY-MM-DD or MM-DD.",
    "average_gap_days": "Mean number of days between orders.",
    "usual_gap_days": "Median number of days between orders, from three orders up.",
    "in_stock": "false only where the product is known to be unavailable or at stock 0.",
    "items": "How many lines there are.",
    "tags": "A list; `contains` asks for one of them.",
    "churn_risk": "0 to 1: how likely the customer has left.",
    "predicted_value": "What the customer will probably spend in the next year.",
    "spent_percentile": "0 to 100: the share of customers who spent less.",
}


_A_TEST = "A value (equal), a list (one of), or operators, all of which must hold."


def _tests(known: Mapping[str, fields.FieldType] | None, description: str, **more: Schema) -> Schema:
    """Return a table of fields with tests; every field of one's own is allowed, known ones are offered."""
    properties: Schema = {
        name: _ref("test", _FIELD_TEXTS.get(name, f"The {name.replace('_', ' ')} ({kind})."))
        for name, kind in (known or {}).items()
    }
    return _object(
        {**properties, **more}, description, additionalProperties=_ref("test", _A_TEST), minProperties=1
    )


# ── definitions that schemas share ───────────────────────────────────────────────────────────────────────────────────


def _definitions() -> Schema:
    line = _tests(fields.LINE, "Tests on a line: what was bought, with its product's fields.")
    return {
        "duration": {
            "type": "string", "pattern": _DURATION, "patternErrorMessage": _AS_DURATION, "errorMessage": _AS_DURATION,
        },
        "scalar": {"type": ["string", "number", "boolean"]},
        "test": _test(),
        "where": _tests(None, "Tests on the fields of the fact."),
        "line": line,
        "lines": _object(
            {"any": _ref("line", "At least one line passes."), "all": _ref("line", "Every line passes."),
             "none": _ref("line", "No line passes.")},
            "How many of the lines pass the tests.", minProperties=1,
        ),
        "condition": _condition(),
        "conditions": {"anyOf": [_list(_ref("condition")), _ref("condition")]},
        "steps": _list(_ref("step"), "What happens, in order."),
        "step": _step(),
        "trigger": _trigger(),
    }  # fmt: skip


def _test() -> Schema:
    number = {"type": ["number", "string"]}
    moment = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"}
    many = _list(_ref("scalar"), minItems=1)
    operators = {
        "eq": _ref("scalar", "Equal to this value."),
        "ne": _ref("scalar", "Anything else, also nothing."),
        "gt": {"description": "More than.", **number},
        "gte": {"description": "At least.", **number},
        "lt": {"description": "Less than.", **number},
        "lte": {"description": "At most.", **number},
        "in": {**many, "description": "One of these values."},
        "not_in": {**many, "description": "None of these values, also nothing."},
        "contains": _ref("scalar", "The list holds this value, or the text holds this text."),
        "starts_with": _text("The text begins like this (case-sensitively)."),
        "exists": {"description": "Whether there is a value at all.", "type": "boolean"},
        "before": {"description": "Earlier than this date or moment (UTC where none is said).", **moment},
        "after": {"description": "Later than this date or moment (UTC where none is said).", **moment},
        "within": _duration("At most this long ago."),
        "older_than": _duration("Longer ago than this."),
        "in_next": _duration("At most this far ahead."),
    }
    # Each keyword speaks about its own kind of value, so that messages stay exact.
    one = _object(operators, minProperties=1)
    return {
        **one,
        "type": ["string", "number", "boolean", "array", "object"],
        "items": _ref("scalar"),
        "minItems": 1,
    }


def _condition() -> Schema:
    did_keys = {
        "times": _ref("test", "How often: a number, or a test such as {gte: 2}.", examples=[{"gte": 2}]),
        "within": _duration("Looking back this far from now."),
        "since": _text("Since the entry, or since a date.", examples=["entry", "2026-01-01"]),
        "where": _ref("where", "Only facts whose fields pass these tests."),
        "sum": _ref(
            "where", "Tests on the sum of a field over the facts.", examples=[{"value": {"gte": 100}}]
        ),
        "same": _text("This id must be the trigger's.", examples=["cart_id", "order_id", "sku"]),
    }
    held = _object(
        {
            "held": {
                "description": "Whether the customer holds it: issued and not expired.",
                "type": "boolean",
            },
            "used": {"description": "Whether the customer has used it.", "type": "boolean"},
        },
        minProperties=1,
    )
    known = {
        "any": _list(_ref("condition"), "At least one of these holds."),
        "all": _list(_ref("condition"), "All of these hold."),
        "not": _ref("condition", "This does not hold."),
        "did": _event("The customer did this."),
        "did_not": _event("The customer did not do this."),
        **did_keys,
        "customer": _tests(fields.CUSTOMER, "Tests on the customer's fields; fields of your own as properties.NAME."),
        "trigger": _tests(None, "Tests on the triggering fact, as it was.", lines=_ref("lines", "Tests on its lines.")),
        "product": _tests(fields.PRODUCT, "Tests on the trigger's product, as it is now."),
        "cart": _tests(fields.CART, "Tests on the trigger's cart, as it is now.", lines=_ref("lines", "Tests on its lines.")),
        "order": _tests(fields.ORDER, "Tests on the trigger's order, as it is now.", lines=_ref("lines", "Tests on its lines.")),
        "answer": _tests(None, "Tests on the fact that ended a `wait … as`."),
        "offer": {"description": "Whether offers are held and used.", "type": "object", "additionalProperties": held, "minProperties": 1},
        "segment": _name("The customer matches this segment of flows/segments.yaml."),
        "not_segment": _name("The customer does not match this segment."),
    }  # fmt: skip
    assert set(SCOPES) <= set(known)
    return _object(
        known,
        "One question about the customer.",
        minProperties=1,
        dependencies=_needs(did_keys, "did", "did_not"),
    )


def _event(description: str) -> Schema:
    return {
        "description": description,
        "type": "string",
        "anyOf": [{"enum": list(fields.EVENTS)}, {"pattern": r"^[\w.:-]+$"}],
    }


def _trigger() -> Schema:
    offset = _duration("Before (negative) or after that date.", "-7d", "-30d")
    lapsed = _object(
        {
            "event": _event("Since the last such fact."),
            "after": _text("How long, or a multiple of the customer's own usual gap.", examples=["90d", "1.5x"]),
            "at_least": _duration("Never sooner than this (with a multiple)."),
            "at_most": _duration("Never later than this (with a multiple)."),
            "otherwise": _duration("For those whose usual gap is not known (with a multiple)."),
            "where": _ref("where", "Only facts whose fields pass these tests."),
        },
        "That long after the last such fact, once nothing newer came.", required=["event", "after"],
    )  # fmt: skip
    replenish = _object(
        {
            "lead": _duration("How long before it runs out.", "3d"),
            "where": _ref("line", "Only for such lines."),
        },
        "Before a bought product should run out.",
    )
    known: Schema = {
        "event": _event("Enters when this fact arrives."),
        "where": _ref("where", "Tests on the triggering fact, looked at once."),
        "quiet_for": _duration("Only when nothing newer with the same cart, order, product or customer came for that long.", "4h"),
        "gather": _duration("Further occurrences in this time join the first one: one mail instead of several.", "1d"),
        "anniversary": _text("Each year on this date, in the customer's own zone.", examples=["birthday"]),
        "date": _text("On the one date in this field.", examples=["points_expire_at"]),
        "offset": offset,
        "at": _clock("At this time of day on the customer's clock."),
        "lapsed": lapsed,
        "replenish": replenish,
        "segment": _name("Enters when the customer comes to match this segment; with `schedule`: who is meant."),
        "product": _word("The catalogue changes for a product that the customer cares about.", read_triggers.CHANGES),
        "interest": {
            "description": "How the customer showed interest (default: all of them).",
            "anyOf": [_list({"enum": list(read_triggers.INTERESTS)}, minItems=1), {"enum": list(read_triggers.INTERESTS)}],
        },
        "within": _duration("How long ago the interest may be.", "30d", default="30d"),
        "by": _share("The least drop of the price.", examples=["5%"]),
        "below": {"description": "Stock under this number is low.", "type": "integer", "minimum": 1},
        "schedule": _text("By the calendar: five fields as in cron, or one local moment.", examples=["0 9 1 * *", "2026-11-26 10:00"]),
        "clock": _word("Whose clock the schedule is on.", ("customer", "shop"), default="shop"),
    }  # fmt: skip
    assert set(known) == set(read_triggers.ALL_KEYS)
    kinds = [{"required": [kind]} for kind in read_triggers.KINDS]
    return _object(
        known, "What lets a customer in.", anyOf=kinds,
        dependencies={
            **_needs(("quiet_for",), "event"), **_needs(("offset", "at"), "anniversary", "date"),
            **_needs(("interest", "within", "by", "below"), "product"), **_needs(("clock",), "schedule"),
            **_needs(("where",), "event", "lapsed", "replenish", "product"),
        },
    )  # fmt: skip


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _step() -> Schema:
    known: Schema = {
        "send": {
            "description": "Send templates/NAME.mjml; of a list, the first that the customer was not sent yet.",
            "anyOf": [_name("A template."), _list(_name("A template."), minItems=1, uniqueItems=True)],
        },
        "wait": _wait(),
        "branch": _branch(),
        "experiment": _experiment(),
        "set": _set(),
        "webhook": _object(
            {
                "to": _name("A name of [webhooks] in homing.toml."),
                "with": {"description": "What to hand over; texts may hold {{ … }}.", "type": "object"},
            },
            "Hands over to SMS, WhatsApp, chat: same ledger, consent and caps as a mail.", required=["to"],
        ),
        "exit": _text("Leave the flow here, for this reason."),
        "id": _name("The step's own name: enrollments and reports find it by this. A template sent twice needs one."),
        "subject": _text("A subject instead of the template's."),
        "offer": _name("An offer of flows/offers.yaml that comes with this mail."),
        "topic": _name("A topic instead of the flow's."),
        "sender": _name("A sender of [senders.NAME] instead of the flow's."),
        "only_if": _ref("conditions", "For this mail alone: all of these, asked again before it goes."),
    }  # fmt: skip
    assert set(known) == set(read_steps.ALL_KEYS)
    return _object(
        known, "One step.", anyOf=[{"required": [kind]} for kind in read_steps.KINDS],
        dependencies={**_needs(("subject", "offer", "topic", "sender"), "send"), **_needs(("only_if",), "send", "webhook")},
    )  # fmt: skip


def _wait() -> Schema:
    days = {"anyOf": [{"enum": ["weekdays", *WEEKDAYS]}, _list({"enum": list(WEEKDAYS)}, minItems=1)]}
    until = {
        "description": 'A time of day ("09:00"), a date field (points_expire_at, offer.NAME.expires_at), or a condition.',
        "anyOf": [{"type": "string"}, _ref("condition")],
        "examples": ["09:00", "points_expire_at", {"did": "survey_answered"}],
    }
    known = {
        "until": until,
        "days": {"description": "On these days only: weekdays, or a list.", **days},
        "at_least": _duration("Wait at least this long first.", "20h"),
        "offset": _duration("Before (negative) or after the date in the field.", "-7d"),
        "up_to": _duration("With a condition: go on after this long in any case.", "14d"),
        "as": _name(
            "With a condition: the name of the fact, for `answer:` in later conditions.", examples=["answer"]
        ),
    }
    assert set(known) == set(read_steps.WAIT_KEYS)
    table = _object(known, required=["until"], dependencies={**_needs(("as",), "up_to")})
    return {
        "description": "Wait this long, or until something.",
        "anyOf": [_ref("duration"), table],
        "examples": ["2d"],
    }


def _branch() -> Schema:
    arm = _object(
        {
            "when": _ref("conditions", "All of these hold."),
            "steps": _ref("steps", "What happens then."),
            "otherwise": _ref("steps", "What happens for everybody else; stands last."),
        },
        "One way.", anyOf=[{"required": ["when", "steps"]}, {"required": ["otherwise"]}],
    )  # fmt: skip
    return _list(
        arm, "The first arm whose `when` holds, else `otherwise`; the ways join again below.", minItems=1
    )


def _experiment() -> Schema:
    arm = _object(
        {
            "weight": {
                "description": "This arm's share of the sum of weights.",
                "type": "integer",
                "minimum": 0,
            },
            "steps": _ref("steps", "What happens in this arm."),
        },
        required=["weight", "steps"],
    )
    arms = {
        "description": "The ways that are compared.",
        "type": "object",
        "additionalProperties": arm,
        "minProperties": 2,
    }
    return _object(
        {"name": _name("The experiment's name: the same customer always lands in the same arm."), "arms": arms},
        "Compares ways with each other.", required=["name", "arms"],
    )  # fmt: skip


def _set() -> Schema:
    words = {"anyOf": [{"type": "string"}, _list({"type": "string"})]}
    withdrawn = {"type": "object", "additionalProperties": {"enum": ["withdrawn"]}}
    tags = _object(
        {
            "add": {"description": "Tags to add.", **words},
            "remove": {"description": "Tags to remove.", **words},
        }
    )
    known = {
        "tags": {"description": "Add or remove tags.", **tags},
        "consent": {
            "description": "Withdraw consent: {TOPIC: withdrawn}. A flow can never grant it.",
            **withdrawn,
        },
    }
    anything = {"type": ["string", "number", "boolean", "array", "null"]}
    return _object(
        known,
        "Changes the customer: properties, tags, consent.",
        additionalProperties=anything,
        minProperties=1,
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _flow() -> Schema:
    known: Schema = {
        "flow": _name("The flow's identity; the file is named like it."),
        "summary": _text("One sentence for colleagues: what this flow is for."),
        "kind": _word("Marketing needs consent; transactional passes it and may hold no offer.", ("marketing", "transactional"), default="marketing"),
        "topic": _name("What a customer can unsubscribe from; declared in homing.toml. A marketing flow needs one."),
        "priority": {"description": "Higher goes first when a cap has room for one.", "type": "integer", "default": 50},
        "trigger": {"description": "What lets a customer in; of a list, any.", "anyOf": [_ref("trigger"), _list(_ref("trigger"), minItems=1)]},
        "re_entry": _re_entry(),
        "enter_if": _ref("conditions", "Looked at once, on entry: all of these."),
        "only_if": _ref("conditions", "Looked at on entry and again before every message: all of these."),
        "exit_when": _ref("conditions", "Any of these ends the flow, at once; counts facts after the entry."),
        "goal": _goal(),
        "holdout": _share("Share of those who enter that gets nothing and is compared with the rest.", examples=["10%"]),
        "steps": _ref("steps", "What happens, in order."),
        "sender": _name("A sender of [senders.NAME] in homing.toml."),
        "policy": _flow_policy(),
        "max_lateness": _duration("A message later than this is not sent any more.", "24h", "3d"),
    }  # fmt: skip
    assert set(known) == set(parse.FLOW_KEYS)
    marketing: Schema = {
        "if": {"properties": {"kind": {"const": "transactional"}}, "required": ["kind"]},
        "else": {"required": ["topic"]},
    }
    return {"description": "A flow.", **_object(known, required=["flow", "trigger", "steps"], **marketing)}


def _re_entry() -> Schema:
    table = _object(
        {
            "per": _word("Once for each of these.", parse.PER),
            "after": _duration("Not before this long after the last entry.", "7d"),
        },
        minProperties=1,
    )
    return {
        "description": "How often a customer may enter: never (once ever), always (the default), or limits.",
        "anyOf": [{"enum": ["never", "always"]}, table],
        "examples": [{"per": "cart", "after": "7d"}],
    }


def _goal() -> Schema:
    condition = _condition()
    within = _duration("Counted from the entry.", "5d")
    return {
        **condition,
        "description": "What counts as success; never ends the flow.",
        "properties": {**condition["properties"], "within": within},
        "dependencies": {key: needed for key, needed in condition["dependencies"].items() if key != "within"},
        "examples": [{"did": "order_placed", "within": "5d"}],
    }


def _flow_policy() -> Schema:
    known = {
        "quiet_hours": _text('Instead of the project\'s; "" switches them off.', examples=["21:00-08:00"]),
        "caps": _list(_text("At most so many in a stretch of time.", examples=["1 per 16h"]), "Instead of the project's; [] for none."),
        "max_lateness": _duration("As the flow's own key."),
        "when_capped": _word("Whether a capped mail is dropped, or waits up to max_lateness.", ("skip", "wait"), default="skip"),
    }  # fmt: skip
    assert set(known) == set(parse.POLICY_KEYS)
    return _object(known, "What this flow does instead of [policy] of homing.toml.")


def _segments() -> Schema:
    return {
        "description": "Names for groups of customers. Each has conditions, all of which must hold.",
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": _ref("conditions"),
    }


def _offers() -> Schema:
    known: Schema = {
        "percent": {"description": "Percent off.", "type": ["number", "string"], "examples": [10]},
        "amount": _text("An amount off, with its currency.", pattern=r"^\s*\d{1,9}(\.\d{1,4})?\s+[A-Z]{3}\s*$", examples=["5 EUR"]),
        "free_shipping": {"description": "Shipping is free.", "const": True},
        "buy_one_get_one": _text("The SKU of which one more is free."),
        "gift": _text("The SKU that comes as a gift."),
        "early_access": _name("The segment that may buy before others."),
        "code": _text("One code for everybody."),
        "pool": _text("A file of the project with codes, one a line."),
        "pattern": _text("Codes of their own; each # is a letter or digit.", pattern=r"^[A-Za-z0-9#_-]{4,40}$", examples=["TEA-########"]),
        "valid_for": _duration("How long a code is good after it was sent.", "7d"),
        "once_per": _word("Whether a customer keeps one code, or each message has one.", ("customer", "message"), default="customer"),
        "when_empty": _name("When no code is left: wait, send without, or another offer.", default="without", examples=["wait", "without"]),
    }  # fmt: skip
    assert set(known) == set(parse.OFFER_KEYS)
    offer = _object(known, "One offer.", anyOf=[{"required": [key]} for key in parse.GIVES])
    return {
        "description": "Offers by name.",
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": offer,
    }


def _scenario() -> Schema:
    moment = {
        "type": "string",
        "pattern": r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2})?)?",
        "examples": ["2026-03-02 10:00"],
    }
    at = {"description": "A moment; without an offset it is on the customer's clock.", **moment}
    happening = {
        "description": "One thing that happens: an event with the fields of its kind.",
        "type": "object",
        "required": ["event"],
        "properties": {
            "at": at,
            "after": _duration("Counted from the line before.", "5h"),
            "event": _event("What happens."),
        },
    }
    customer = {
        "description": "Who it happens to: fields as in FACTS, with `consent` as a list of topics or all.",
        "type": "object",
        "properties": {
            "timezone": _text("An IANA zone.", examples=["Asia/Tokyo"]),
            "country": _text("Two capital letters."),
            "locale": _text("Language and region.", examples=["ja-JP"]),
            "birthday": _text("YYYY-MM-DD or MM-DD."),
            "consent": {
                "description": "Topics that were agreed to.",
                "anyOf": [{"enum": ["all"]}, _list(_name("A topic."))],
            },
        },
    }
    arms = {
        "description": "Forces arms of experiments: {EXPERIMENT: ARM}.",
        "type": "object",
        "additionalProperties": _name("An arm."),
    }
    known: Schema = {
        "scenario": _text("What should come of it, in a sentence."),
        "flow": _name("The flow that is tested."),
        "customer": customer,
        "products": _list({"type": "object", "required": ["sku"]}, "The catalogue."),
        "timeline": _list(happening, "What happens, in order; the first line says when.", minItems=1),
        "expect": _list({"anyOf": [{"enum": ["nothing_more"]}, _expectation(at)]}, "What should come of it, in order."),
        "policy": {
            "description": "Caps, quiet hours and holdouts are off, unless `project` or a table of [policy] says otherwise.",
            "anyOf": [{"enum": ["project", "off"]}, _object({key: {} for key in scenario.POLICY_KEYS})],
        },
        "holdout": {"description": "Forces the customer into the flow's holdout.", "type": "boolean"},
        "arms": arms,
    }  # fmt: skip
    assert set(known) == set(scenario.KEYS)
    one = _object(known, required=["scenario", "flow", "timeline", "expect"])
    # A file holds one or a list; each keyword speaks about its own kind of value, so that messages stay exact.
    return {
        "description": "A scenario test, or a list of them.",
        **one,
        "type": ["object", "array"],
        "items": one,
    }


def _expectation(at: Schema) -> Schema:
    reason = {"anyOf": [{"type": "string"}, _ref("condition")]}
    known: Schema = {
        "sends": _name("This template or step goes out."),
        "does_not_send": _name("This template or step does not go out."),
        "exits": {"description": "The customer leaves for this reason.", **reason},
        "waits_until": {**at, "description": "The customer stands in a wait that ends then."},
        "takes": {
            "description": "Goes through this arm: {EXPERIMENT: ARM}.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
        },
        "at": at,
        "after": _duration("Counted from the trigger.", "4h"),
        "subject": _text("The subject contains this."),
        "offer": _name("This offer comes with it."),
        "because": {"description": "The reason begins like this.", **reason},
    }
    assert set(scenario.EXPECTATIONS) <= set(known)
    return _object(
        known, "One expectation.", anyOf=[{"required": [kind]} for kind in scenario.EXPECTATIONS],
        dependencies={**_needs(("at", "after"), "sends", "exits"), **_needs(("subject", "offer"), "sends"), **_needs(("because",), "does_not_send")},
    )  # fmt: skip


# ── homing.toml ──────────────────────────────────────────────────────────────────────────────────────────────────────

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
    "path": _text("The Maildir's folder.", default="mailbox"),
    "durable": {"description": "Wait until a mail is on the disk.", "type": "boolean", "default": True},
    "host": _text("The server's name.", examples=["smtp.kiyomi.test"]),
    "port": {"description": "The server's port.", "type": "integer", "minimum": 1, "maximum": 65535, "examples": [587]},
    "security": _word("How the connection is encrypted.", ("starttls", "tls", "none"), default="starttls"),
    "user": _text("Who logs in."),
    "envelope_sender": _text("Where bounces go, if not to the sender."),
    "hello_name": _text("The name that this machine gives itself."),
    "connect_seconds": {"description": "How long to wait for a connection.", **_NUMBER, "default": 10},
    "answer_seconds": {"description": "How long to wait for an answer.", **_NUMBER, "default": 20},
    "group_seconds": {"description": "How long a group of mails may take.", **_NUMBER, "default": 45},
    "ca_file": _text("A file with the certificates to trust instead of the system's."),
    "url": _text("The provider's address.", format="uri"),
    "connections": {"description": "How many requests at once.", "type": "integer", "minimum": 1, "maximum": 32, "default": 4},
    "click_tracking": {"description": "Let the provider count clicks.", "type": "boolean", "default": False},
    "open_tracking": {"description": "Let the provider count opens.", "type": "boolean", "default": False},
}  # fmt: skip


def _options(provider: str, description: str) -> Schema:
    return _object({name: _OPTIONS[name] for name in OPTIONS[provider]}, description)


_SETTINGS: Mapping[str, Schema] = {
    "shop.name": _text("As customers know it."),
    "shop.url": _text("The shop's address.", format="uri"),
    "shop.timezone": _text("For customers of whom neither zone nor country is known.", examples=["Europe/Berlin"], default="UTC"),
    "shop.locale": _text("The language of templates without a translation.", default="en"),
    "shop.currency": _text("ISO 4217.", pattern="^[A-Z]{3}$", default="EUR"),
    "shop.postal_address": _text("The law wants it in every marketing mail."),
    "sender.email": _text("The address that mails come from."),
    "sender.name": _text("The name beside it."),
    "sender.reply_to": _text("Where answers go."),
    "database.url": _text("sqlite:///FILE or postgresql://…", default="sqlite:///homing.db"),
    "delivery.mode": _word("In sandbox, mails go into the local mailbox only.", ("sandbox", "live"), default="sandbox"),
    "delivery.provider": _word("What takes the mails.", ("mailbox", "smtp", "sendgrid"), default="mailbox"),
    "delivery.allow": _list({"type": "string"}, "Addresses or @domains that real mail may reach while in sandbox."),
    "delivery.rate": _text("At most so many a second, minute or hour.", default="20/s"),
    "delivery.domains": {"type": "object", "additionalProperties": {"type": "string"},
                         "description": "How fast mails may come in at some recipients' domains: \"docomo.ne.jp\" = \"5/s\"."},
    "delivery.smtp": _options("smtp", "The SMTP server; the password comes from HOMING_SMTP_PASSWORD in the environment."),
    "delivery.sendgrid": _options("sendgrid", "SendGrid; the key comes from SENDGRID_API_KEY in the environment."),
    "delivery.mailbox": _options("mailbox", "The local Maildir, which any mail program reads."),
    "web.url": _text("Base of the links in mails; https.", format="uri"),
    "policy.quiet_hours": _text('Hours on the customer\'s own clock in which nothing is sent; "" for none.', default="21:00-08:00"),
    "policy.caps": _list({"type": "string", "pattern": r"^\s*\d+ per \S+\s*$"}, "Marketing mails to one customer; [] for none."),
    "policy.max_lateness": _text("A mail later than this is not sent any more.", pattern=_DURATION, default="24h"),
    "policy.global_holdout": _share("Share of all customers who get no marketing.", default="0%"),
    "policy.exclude": _list({"type": "string"}, "Segments that get no marketing."),
    "recommend.per_category": {
        "description": "Products of one category that a block shows; 0 for any number.", "type": "integer", "minimum": 0,
        "maximum": 24, "default": 2,
    },
    "recommend.never": _list(_RULE, "Products that no block shows: tests, all of which must hold, such as {tags: sale}."),
    "recommend.always": _list(_RULE, "Products of which one takes the first slot of a block."),
    "recommend.boost": _list(_BOOST, "Products whose score is multiplied `by` so much within their strategy."),
    "policy.soft_opt_in": _list({"type": "string"}, "Topics for which a purchase is consent enough."),
}  # fmt: skip


def _settings() -> Schema:
    sections: Schema = {}
    for section, keys in SECTIONS.items():
        properties = {key: _SETTINGS.get(f"{section}.{key}", _text(f"{key} of [{section}]")) for key in keys}
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
    return {"description": "The settings of a project: homing.toml.", **_object(sections)}
