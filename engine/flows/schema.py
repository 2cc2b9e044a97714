"""JSON Schemas for editors: flow, segments, offers, scenario and settings, with a text for every key.

Comes in: the name of a schema. Goes out: a draft-07 schema as plain data, which yaml-language-server and taplo read.
Promises: what the parsers take is valid, and the words of the language come from the parsers themselves; shapes are one
object with dependent keys rather than alternatives, so that an editor can say which key is wrong. What is shared carries
no text, since editors show it beside that of the key.
"""

from __future__ import annotations

from engine.calendar import WEEKDAYS
from engine.errors import UsageError
from engine.flows import fields, parse, read_steps, read_triggers, scenario
from engine.flows import schema_parts as parts
from engine.flows.conditions import SCOPES
from engine.flows.schema_parts import Schema
from engine.flows.schema_settings import settings

DRAFT = "http://json-schema.org/draft-07/schema#"
NAMES = ("flow", "segments", "offers", "scenario", "settings")
# Which files of a project each schema is for, as editors write it.
FILES = {
    "./schema/flow.json": ["flows/*.yaml", "!flows/segments.yaml", "!flows/offers.yaml", "!tests/**/*.yaml"],
    "./schema/segments.json": "flows/segments.yaml",
    "./schema/offers.json": "flows/offers.yaml",
    "./schema/scenario.json": "tests/**/*.yaml",
}


def schema(what: str = "flow") -> Schema:
    """Return the schema of one of `NAMES`; raise UsageError for any other."""
    makers = {
        "flow": _flow,
        "segments": _segments,
        "offers": _offers,
        "scenario": _scenario,
        "settings": settings,
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


# ── definitions that schemas share ───────────────────────────────────────────────────────────────────────────────────


def _definitions() -> Schema:
    line = parts.tests(fields.LINE, "Tests on a line: what was bought, with its product's fields.")
    return {
        "duration": {
            "type": "string", "pattern": parts.DURATION, "patternErrorMessage": parts.AS_DURATION, "errorMessage": parts.AS_DURATION,
        },
        "scalar": {"type": ["string", "number", "boolean"]},
        "test": _test(),
        "where": parts.tests(None, "Tests on the fields of the fact."),
        "line": line,
        "lines": parts.table(
            {"any": parts.ref("line", "At least one line passes."), "all": parts.ref("line", "Every line passes."),
             "none": parts.ref("line", "No line passes.")},
            "How many of the lines pass the tests.", minProperties=1,
        ),
        "condition": _condition(),
        "conditions": {"anyOf": [parts.listed(parts.ref("condition")), parts.ref("condition")]},
        "steps": parts.listed(parts.ref("step"), "What happens, in order."),
        "step": _step(),
        "trigger": _trigger(),
    }  # fmt: skip


def _test() -> Schema:
    number = {"type": ["number", "string"]}
    moment = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"}
    many = parts.listed(parts.ref("scalar"), minItems=1)
    operators = {
        "eq": parts.ref("scalar", "Equal to this value."),
        "ne": parts.ref("scalar", "Anything else, also nothing."),
        "gt": {"description": "More than.", **number},
        "gte": {"description": "At least.", **number},
        "lt": {"description": "Less than.", **number},
        "lte": {"description": "At most.", **number},
        "in": {**many, "description": "One of these values."},
        "not_in": {**many, "description": "None of these values, also nothing."},
        "contains": parts.ref("scalar", "The list holds this value, or the text holds this text."),
        "starts_with": parts.text("The text begins like this (case-sensitively)."),
        "exists": {"description": "Whether there is a value at all.", "type": "boolean"},
        "before": {"description": "Earlier than this date or moment (UTC where none is said).", **moment},
        "after": {"description": "Later than this date or moment (UTC where none is said).", **moment},
        "within": parts.duration("At most this long ago."),
        "older_than": parts.duration("Longer ago than this."),
        "in_next": parts.duration("At most this far ahead."),
    }
    # Each keyword speaks about its own kind of value, so that messages stay exact.
    one = parts.table(operators, minProperties=1)
    return {
        **one,
        "type": ["string", "number", "boolean", "array", "object"],
        "items": parts.ref("scalar"),
        "minItems": 1,
    }


def _condition() -> Schema:
    did_keys = {
        "times": parts.ref("test", "How often: a number, or a test such as {gte: 2}.", examples=[{"gte": 2}]),
        "within": parts.duration("Looking back this far from now."),
        "since": parts.text("Since the entry, or since a date.", examples=["entry", "2026-01-01"]),
        "where": parts.ref("where", "Only facts whose fields pass these tests."),
        "sum": parts.ref(
            "where", "Tests on the sum of a field over the facts.", examples=[{"value": {"gte": 100}}]
        ),
        "same": parts.text("This id must be the trigger's.", examples=["cart_id", "order_id", "sku"]),
    }
    held = parts.table(
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
        "any": parts.listed(parts.ref("condition"), "At least one of these holds."),
        "all": parts.listed(parts.ref("condition"), "All of these hold."),
        "not": parts.ref("condition", "This does not hold."),
        "did": _event("The customer did this."),
        "did_not": _event("The customer did not do this."),
        **did_keys,
        "customer": parts.tests(fields.CUSTOMER, "Tests on the customer's fields; fields of your own as properties.NAME."),
        "trigger": parts.tests(None, "Tests on the triggering fact, as it was.", lines=parts.ref("lines", "Tests on its lines.")),
        "product": parts.tests(fields.PRODUCT, "Tests on the trigger's product, as it is now."),
        "cart": parts.tests(fields.CART, "Tests on the trigger's cart, as it is now.", lines=parts.ref("lines", "Tests on its lines.")),
        "order": parts.tests(fields.ORDER, "Tests on the trigger's order, as it is now.", lines=parts.ref("lines", "Tests on its lines.")),
        "answer": parts.tests(None, "Tests on the fact that ended a `wait … as`."),
        "offer": {"description": "Whether offers are held and used.", "type": "object", "additionalProperties": held, "minProperties": 1},
        "segment": parts.name("The customer matches this segment of flows/segments.yaml."),
        "not_segment": parts.name("The customer does not match this segment."),
    }  # fmt: skip
    assert set(SCOPES) <= set(known)
    return parts.table(
        known,
        "One question about the customer.",
        minProperties=1,
        dependencies=parts.needs(did_keys, "did", "did_not"),
    )


def _event(description: str) -> Schema:
    return {
        "description": description,
        "type": "string",
        "anyOf": [{"enum": list(fields.EVENTS)}, {"pattern": r"^[\w.:-]+$"}],
    }


def _trigger() -> Schema:
    offset = parts.duration("Before (negative) or after that date.", "-7d", "-30d")
    lapsed = parts.table(
        {
            "event": _event("Since the last such fact."),
            "after": parts.text("How long, or a multiple of the customer's own usual gap.", examples=["90d", "1.5x"]),
            "at_least": parts.duration("Never sooner than this (with a multiple)."),
            "at_most": parts.duration("Never later than this (with a multiple)."),
            "otherwise": parts.duration("For those whose usual gap is not known (with a multiple)."),
            "where": parts.ref("where", "Only facts whose fields pass these tests."),
        },
        "That long after the last such fact, once nothing newer came.", required=["event", "after"],
    )  # fmt: skip
    replenish = parts.table(
        {
            "lead": parts.duration("How long before it runs out.", "3d"),
            "where": parts.ref("line", "Only for such lines."),
        },
        "Before a bought product should run out.",
    )
    known: Schema = {
        "event": _event("Enters when this fact arrives."),
        "where": parts.ref("where", "Tests on the triggering fact, looked at once."),
        "quiet_for": parts.duration("Only when nothing newer with the same cart, order, product or customer came for that long.", "4h"),
        "gather": parts.duration("Further occurrences in this time join the first one: one mail instead of several.", "1d"),
        "anniversary": parts.text("Each year on this date, in the customer's own zone.", examples=["birthday"]),
        "date": parts.text("On the one date in this field.", examples=["points_expire_at"]),
        "offset": offset,
        "at": parts.clock("At this time of day on the customer's clock."),
        "lapsed": lapsed,
        "replenish": replenish,
        "segment": parts.name("Enters when the customer comes to match this segment; with `schedule`: who is meant."),
        "product": parts.word("The catalogue changes for a product that the customer cares about.", read_triggers.CHANGES),
        "interest": {
            "description": "How the customer showed interest (default: all of them).",
            "anyOf": [parts.listed({"enum": list(read_triggers.INTERESTS)}, minItems=1), {"enum": list(read_triggers.INTERESTS)}],
        },
        "within": parts.duration("How long ago the interest may be.", "30d", default="30d"),
        "by": parts.share("The least drop of the price.", examples=["5%"]),
        "below": {"description": "Stock under this number is low.", "type": "integer", "minimum": 1},
        "schedule": parts.text("By the calendar: five fields as in cron, or one local moment, on the customer's clock unless `clock` says `shop`.", examples=["0 9 1 * *", "2026-11-26 10:00"]),
        "clock": parts.word(
            "Whose clock the schedule is on: each customer's own, or the shop's, so that all are meant at the same moment.",
            ("customer", "shop"), default="customer",
        ),
    }  # fmt: skip
    assert set(known) == set(read_triggers.ALL_KEYS)
    kinds = [{"required": [kind]} for kind in read_triggers.KINDS]
    return parts.table(
        known, "What lets a customer in.", anyOf=kinds,
        dependencies={
            **parts.needs(("quiet_for",), "event"), **parts.needs(("offset", "at"), "anniversary", "date"),
            **parts.needs(("interest", "within", "by", "below"), "product"), **parts.needs(("clock",), "schedule"),
            **parts.needs(("where",), "event", "lapsed", "replenish", "product"),
        },
    )  # fmt: skip


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _step() -> Schema:
    known: Schema = {
        "send": {
            "description": "Send templates/NAME.mjml; of a list, the first that the customer was not sent yet.",
            "anyOf": [parts.name("A template."), parts.listed(parts.name("A template."), minItems=1, uniqueItems=True)],
        },
        "wait": _wait(),
        "branch": _branch(),
        "experiment": _experiment(),
        "set": _set(),
        "webhook": parts.table(
            {
                "to": parts.name("A name of [webhooks] in homing.toml."),
                "with": {"description": "What to hand over; texts may hold {{ … }}.", "type": "object"},
            },
            "Hands over to SMS, WhatsApp, chat: same ledger, consent and caps as a mail.", required=["to"],
        ),
        "exit": parts.text("Leave the flow here, for this reason."),
        "id": parts.name("The step's own name: enrollments and reports find it by this. A template sent twice needs one."),
        "subject": parts.text("A subject instead of the template's."),
        "offer": parts.name("An offer of flows/offers.yaml that comes with this mail."),
        "topic": parts.name("A topic instead of the flow's."),
        "sender": parts.name("A sender of [senders.NAME] instead of the flow's."),
        "only_if": parts.ref("conditions", "For this mail alone: all of these, asked again before it goes."),
    }  # fmt: skip
    assert set(known) == set(read_steps.ALL_KEYS)
    return parts.table(
        known, "One step.", anyOf=[{"required": [kind]} for kind in read_steps.KINDS],
        dependencies={**parts.needs(("subject", "offer", "topic", "sender"), "send"), **parts.needs(("only_if",), "send", "webhook")},
    )  # fmt: skip


def _wait() -> Schema:
    days = {"anyOf": [{"enum": ["weekdays", *WEEKDAYS]}, parts.listed({"enum": list(WEEKDAYS)}, minItems=1)]}
    until = {
        "description": 'A time of day ("09:00"), a date field (points_expire_at, offer.NAME.expires_at), or a condition.',
        "anyOf": [{"type": "string"}, parts.ref("condition")],
        "examples": ["09:00", "points_expire_at", {"did": "survey_answered"}],
    }
    known = {
        "until": until,
        "days": {"description": "On these days only: weekdays, or a list.", **days},
        "at_least": parts.duration("Wait at least this long first.", "20h"),
        "offset": parts.duration("Before (negative) or after the date in the field.", "-7d"),
        "up_to": parts.duration("With a condition: go on after this long in any case.", "14d"),
        "as": parts.name(
            "With a condition: the name of the fact, for `answer:` in later conditions.", examples=["answer"]
        ),
    }
    assert set(known) == set(read_steps.WAIT_KEYS)
    table = parts.table(known, required=["until"], dependencies={**parts.needs(("as",), "up_to")})
    return {
        "description": "Wait this long, or until something.",
        "anyOf": [parts.ref("duration"), table],
        "examples": ["2d"],
    }


def _branch() -> Schema:
    arm = parts.table(
        {
            "when": parts.ref("conditions", "All of these hold."),
            "steps": parts.ref("steps", "What happens then."),
            "otherwise": parts.ref("steps", "What happens for everybody else; stands last."),
        },
        "One way.", anyOf=[{"required": ["when", "steps"]}, {"required": ["otherwise"]}],
    )  # fmt: skip
    return parts.listed(
        arm, "The first arm whose `when` holds, else `otherwise`; the ways join again below.", minItems=1
    )


def _experiment() -> Schema:
    arm = parts.table(
        {
            "weight": {
                "description": "This arm's share of the sum of weights.",
                "type": "integer",
                "minimum": 0,
            },
            "steps": parts.ref("steps", "What happens in this arm."),
        },
        required=["weight", "steps"],
    )
    arms = {
        "description": "The ways that are compared.",
        "type": "object",
        "additionalProperties": arm,
        "minProperties": 2,
    }
    return parts.table(
        {"name": parts.name("The experiment's name: the same customer always lands in the same arm."), "arms": arms},
        "Compares ways with each other.", required=["name", "arms"],
    )  # fmt: skip


def _set() -> Schema:
    words = {"anyOf": [{"type": "string"}, parts.listed({"type": "string"})]}
    withdrawn = {"type": "object", "additionalProperties": {"enum": ["withdrawn"]}}
    tags = parts.table(
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
    return parts.table(
        known,
        "Changes the customer: properties, tags, consent.",
        additionalProperties=anything,
        minProperties=1,
    )


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _flow() -> Schema:
    known: Schema = {
        "flow": parts.name("The flow's identity; the file is named like it."),
        "summary": parts.text("One sentence for colleagues: what this flow is for."),
        "kind": parts.word("Marketing needs consent; transactional passes it and may hold no offer.", ("marketing", "transactional"), default="marketing"),
        "topic": parts.name("What a customer can unsubscribe from; declared in homing.toml. A marketing flow needs one."),
        "priority": {"description": "Higher goes first when a cap has room for one.", "type": "integer", "default": 50},
        "trigger": {"description": "What lets a customer in; of a list, any.", "anyOf": [parts.ref("trigger"), parts.listed(parts.ref("trigger"), minItems=1)]},
        "re_entry": _re_entry(),
        "enter_if": parts.ref("conditions", "Looked at once, on entry: all of these."),
        "only_if": parts.ref("conditions", "Looked at on entry and again before every message: all of these."),
        "exit_when": parts.ref("conditions", "Any of these ends the flow, at once; counts facts after the entry."),
        "goal": _goal(),
        "holdout": parts.share("Share of those who enter that gets nothing and is compared with the rest.", examples=["10%"]),
        "steps": parts.ref("steps", "What happens, in order."),
        "sender": parts.name("A sender of [senders.NAME] in homing.toml."),
        "policy": _flow_policy(),
        "max_lateness": parts.duration("A message later than this is not sent any more.", "24h", "3d"),
    }  # fmt: skip
    assert set(known) == set(parse.FLOW_KEYS)
    marketing: Schema = {
        "if": {"properties": {"kind": {"const": "transactional"}}, "required": ["kind"]},
        "else": {"required": ["topic"]},
    }
    return {
        "description": "A flow.",
        **parts.table(known, required=["flow", "trigger", "steps"], **marketing),
    }


def _re_entry() -> Schema:
    table = parts.table(
        {
            "per": parts.word("Once for each of these.", parse.PER),
            "after": parts.duration("Not before this long after the last entry.", "7d"),
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
    within = parts.duration("Counted from the entry.", "5d")
    return {
        **condition,
        "description": "What counts as success; never ends the flow.",
        "properties": {**condition["properties"], "within": within},
        "dependencies": {key: needed for key, needed in condition["dependencies"].items() if key != "within"},
        "examples": [{"did": "order_placed", "within": "5d"}],
    }


def _flow_policy() -> Schema:
    known = {
        "quiet_hours": parts.text('Instead of the project\'s; "" switches them off.', examples=["21:00-08:00"]),
        "caps": parts.listed(parts.text("At most so many in a stretch of time.", examples=["1 per 16h"]), "Instead of the project's; [] for none."),
        "max_lateness": parts.duration("As the flow's own key."),
        "when_capped": parts.word("Whether a capped mail is dropped, or waits up to max_lateness.", ("skip", "wait"), default="skip"),
    }  # fmt: skip
    assert set(known) == set(parse.POLICY_KEYS)
    return parts.table(known, "What this flow does instead of [policy] of homing.toml.")


def _segments() -> Schema:
    return {
        "description": "Names for groups of customers. Each has conditions, all of which must hold.",
        "type": "object",
        "propertyNames": {"pattern": parts.NAME},
        "additionalProperties": parts.ref("conditions"),
    }


def _offers() -> Schema:
    known: Schema = {
        "percent": {"description": "Percent off.", "type": ["number", "string"], "examples": [10]},
        "amount": parts.text("An amount off, with its currency.", pattern=r"^\s*\d{1,9}(\.\d{1,4})?\s+[A-Z]{3}\s*$", examples=["5 EUR"]),
        "free_shipping": {"description": "Shipping is free.", "const": True},
        "buy_one_get_one": parts.text("The SKU of which one more is free."),
        "gift": parts.text("The SKU that comes as a gift."),
        "early_access": parts.name("The segment that may buy before others."),
        "code": parts.text("One code for everybody."),
        "pool": parts.text("A file of the project with codes, one a line."),
        "pattern": parts.text("Codes of their own; each # is a letter or digit.", pattern=r"^[A-Za-z0-9#_-]{4,40}$", examples=["TEA-########"]),
        "valid_for": parts.duration("How long a code is good after it was sent.", "7d"),
        "once_per": parts.word("Whether a customer keeps one code, or each message has one.", ("customer", "message"), default="customer"),
        "when_empty": parts.name("When no code is left: wait, send without, or another offer.", default="without", examples=["wait", "without"]),
    }  # fmt: skip
    assert set(known) == set(parse.OFFER_KEYS)
    offer = parts.table(known, "One offer.", anyOf=[{"required": [key]} for key in parse.GIVES])
    return {
        "description": "Offers by name.",
        "type": "object",
        "propertyNames": {"pattern": parts.NAME},
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
            "after": parts.duration("Counted from the line before.", "5h"),
            "event": _event("What happens."),
        },
    }
    customer = {
        "description": "Who it happens to: fields as in FACTS, with `consent` as a list of topics or all.",
        "type": "object",
        "properties": {
            "timezone": parts.text("An IANA zone.", examples=["Asia/Tokyo"]),
            "country": parts.text("Two capital letters."),
            "locale": parts.text("Language and region.", examples=["ja-JP"]),
            "birthday": parts.text("YYYY-MM-DD or MM-DD."),
            "consent": {
                "description": "Topics that were agreed to.",
                "anyOf": [{"enum": ["all"]}, parts.listed(parts.name("A topic."))],
            },
        },
    }
    arms = {
        "description": "Forces arms of experiments: {EXPERIMENT: ARM}.",
        "type": "object",
        "additionalProperties": parts.name("An arm."),
    }
    known: Schema = {
        "scenario": parts.text("What should come of it, in a sentence."),
        "flow": parts.name("The flow that is tested."),
        "customer": customer,
        "products": parts.listed({"type": "object", "required": ["sku"]}, "The catalogue."),
        "timeline": parts.listed(happening, "What happens, in order; the first line says when.", minItems=1),
        "expect": parts.listed({"anyOf": [{"enum": ["nothing_more"]}, _expectation(at)]}, "What should come of it, in order."),
        "policy": {
            "description": "Caps, quiet hours and holdouts are off, unless `project` or a table of [policy] says otherwise.",
            "anyOf": [{"enum": ["project", "off"]}, parts.table({key: {} for key in scenario.POLICY_KEYS})],
        },
        "holdout": {"description": "Forces the customer into the flow's holdout.", "type": "boolean"},
        "arms": arms,
    }  # fmt: skip
    assert set(known) == set(scenario.KEYS)
    one = parts.table(known, required=["scenario", "flow", "timeline", "expect"])
    # A file holds one or a list; each keyword speaks about its own kind of value, so that messages stay exact.
    return {
        "description": "A scenario test, or a list of them.",
        **one,
        "type": ["object", "array"],
        "items": one,
    }


def _expectation(at: Schema) -> Schema:
    reason = {"anyOf": [{"type": "string"}, parts.ref("condition")]}
    known: Schema = {
        "sends": parts.name("This template or step goes out."),
        "does_not_send": parts.name("This template or step does not go out."),
        "exits": {"description": "The customer leaves for this reason.", **reason},
        "waits_until": {**at, "description": "The customer stands in a wait that ends then."},
        "takes": {
            "description": "Goes through this arm of an experiment or a branch: {STEP: ARM}.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
        },
        "at": at,
        "after": parts.duration("Counted from the trigger.", "4h"),
        "subject": parts.text("The subject contains this."),
        "offer": parts.name("This offer comes with it."),
        "because": {"description": "The reason begins like this.", **reason},
    }
    assert set(scenario.EXPECTATIONS) <= set(known)
    return parts.table(
        known, "One expectation.", anyOf=[{"required": [kind]} for kind in scenario.EXPECTATIONS],
        dependencies={**parts.needs(("at", "after"), "sends", "exits"), **parts.needs(("subject", "offer"), "sends"), **parts.needs(("because",), "does_not_send")},
    )  # fmt: skip
