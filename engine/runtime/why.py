"""Why: a customer's story in the flows, read from the journal; what was decided is never guessed afterwards.

For each flow: whether and when the customer entered, every decision with its clauses, and what comes next. The values
behind clauses are looked up again as of the decision, and labelled so (`engine.runtime.found`). Where the customer never
entered, the entry clauses are asked now, and labelled so too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.audience.memory import explain
from engine.audience.subjects import Ask, ClauseTruth, Subject
from engine.audience.wanted import wanted_words
from engine.diagnostics import did_you_mean
from engine.errors import UsageError
from engine.flows.conditions import needs_trigger
from engine.flows.model import EventTrigger, Flow, LapsedTrigger, ReplenishTrigger
from engine.journeys.enter import entry_clauses
from engine.journeys.journal import Decided, decisions
from engine.journeys.membership import slots_ahead
from engine.journeys.post import AWAITED
from engine.journeys.program import Program
from engine.journeys.round import Round
from engine.journeys.versions import LiveFlow, live_flows, programs
from engine.policy.consent import granted_topics, suppressed_kinds
from engine.runtime import rails
from engine.runtime.at_the_gate import Gate, fates
from engine.runtime.doorstep import turned_away
from engine.runtime.found import Looking
from engine.runtime.work import exclusion_sentence, held_back
from engine.store.dialect import among
from engine.store.tables import customers, enrollments, events, flows, journal, messages, products, timers

LIVE = ("active", "waiting")
_KINDS = {"sku": "product", "order_id": "order", "cart_id": "cart"}
_THINGS = {  # by `re_entry: {per: …}`: what tells apart the enrollments of a customer
    "cart": ("cart_id",), "order": ("order_id",), "product": ("sku",), "occurrence": ("sku", "order_id", "cart_id"),
}  # fmt: skip
Thing = tuple[str, str]  # the column that names it, its id


def why(connection: Connection, customer_id: int, flow: str | None, at: Round) -> list[dict[str, Any]]:
    """Return the customer's story in one flow or in all that are applied, as plain data."""
    if flow is not None:
        known_flow(connection, flow)
    live = live_flows(connection, paused_all=rails.paused_all(connection))
    names = [flow] if flow is not None else sorted(live)
    held = held_back(live, at.settings)
    return [
        _story(connection, customer_id, live[name], _answerable(at, held.get(name, ())))
        | _held(held.get(name))
        for name in names
    ]


def _answerable(at: Round, unknown: Sequence[str]) -> Round:
    """Return the round without the excluded segments that nobody can ask about until they are applied."""
    if not unknown:
        return at
    policy = at.settings.policy
    known = tuple(name for name in policy.exclude if name not in unknown)
    return replace(at, settings=replace(at.settings, policy=replace(policy, exclude=known)))


def _held(unknown: Sequence[str] | None) -> dict[str, Any]:
    return {"held": exclusion_sentence(unknown)} if unknown else {}


def known_flow(connection: Connection, flow: str) -> None:
    """Raise UsageError with the likely name where no flow of that name was ever applied."""
    known = sorted(connection.scalars(select(flows.c.flow)))
    if flow in known:
        return
    hint = did_you_mean(flow, known) or (
        "`homing apply` makes flows live" if not known else f"applied: {', '.join(known)}"
    )
    raise UsageError(f'no flow "{flow}" is applied; {hint}')


def _story(connection: Connection, customer_id: int, live: LiveFlow, at: Round) -> dict[str, Any]:
    name = live.flow.name
    query = select(enrollments).where(enrollments.c.customer_id == customer_id, enrollments.c.flow == name)
    inside = connection.execute(query.order_by(enrollments.c.entered_at, enrollments.c.id)).all()
    own = journal.c
    rows = connection.execute(
        select(journal).where(own.customer_id == customer_id, own.flow == name).order_by(own.id)
    ).all()
    looking = Looking(connection, live.flow, {row.id: row for row in inside}, at)
    told = list(decisions(rows))
    about = _about(connection, live.flow, inside, told)
    gate = Gate.of(connection, customer_id, at)
    story: dict[str, Any] = {
        "flow": name,
        "entered": any(row.state != "held_out" for row in inside),
        "enrollments": [_enrollment(row) | {"about": about.get(_thing(live.flow, row))} for row in inside],
        "decisions": _in_order(
            [
                *(
                    _decision(row, looking, gate, inside)
                    | {"about": about.get(_thing_of(live.flow, row, looking.enrollments))}
                    for row in told
                ),
                *turned_away(connection, customer_id, live, at),
            ]
        ),
        "messages": _messages(connection, customer_id, name),
        "next": _next(connection, customer_id, live, inside, at),
        "again": not (live.flow.re_entry.never and inside),
    }
    if not inside:
        story["now"] = _asked_now(connection, customer_id, live, at)
    return story


def _in_order(decisions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return decisions in the order of time; what became of a mail at the moment at which it fell due stands right behind that.

    The flow takes its next steps before the mail is handed over, and a mail whose offer has no code is dropped as it is made, so
    that the journal has it the other way round.
    """
    due = {
        (told["message"], told["at"]): number
        for number, told in enumerate(decisions)
        if told["decision"] == "due" and told.get("message") is not None
    }
    placed = [
        (told["at"], due.get((told.get("message"), told["at"]), number), told["decision"] != "due", number)
        for number, told in enumerate(decisions)
    ]
    return [decisions[number] for *_, number in sorted(placed)]


def _enrollment(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id, "version": row.version, "occurrence": row.occurrence, "entered_at": row.entered_at, "state": row.state,
        "step": row.position, "next_at": row.next_at, "left_at": row.left_at, "reason": row.left_reason,
        "goal_at": row.goal_at,
    }  # fmt: skip


def _thing(flow: Flow, row: Any) -> Thing | None:
    """Return what an enrollment is about, where a customer may be inside for several of them."""
    columns = _THINGS.get(flow.re_entry.per or "", ())
    return next(((column, value) for column in columns if (value := getattr(row, column)) is not None), None)


def _thing_of(flow: Flow, row: Decided, inside: Mapping[int, Row[Any]]) -> Thing | None:
    """Return what a decision is about: its enrollment's thing, or that of an entry which was refused."""
    own = inside.get(row.enrollment_id) if row.enrollment_id is not None else None
    if own is not None:
        return _thing(flow, own)
    asked = (row.detail or {}).get("asked_about") or {}
    return _thing(flow, SimpleNamespace(**{name: asked.get(name) for name in _KINDS}))


def _about(
    connection: Connection, flow: Flow, inside: Sequence[Row[Any]], told: Sequence[Decided]
) -> Mapping[Thing | None, dict[str, Any]]:
    """Return in words each product, order and cart that decisions are about: its kind, its id, a product's title."""
    known = {row.id: row for row in inside}
    things = {_thing(flow, row) for row in inside} | {_thing_of(flow, row, known) for row in told}
    skus = [thing[1] for thing in things if thing is not None and thing[0] == "sku"]
    query = select(products.c.sku, products.c.title).where(among(connection, products.c.sku, skus))
    titles = {row.sku: row.title for row in connection.execute(query)} if skus else {}
    return {
        thing: {"kind": _KINDS[thing[0]], "id": thing[1]}
        | ({"title": titles.get(thing[1])} if thing[0] == "sku" else {})
        for thing in things
        if thing is not None
    }


def _decision(row: Decided, looking: Looking, gate: Gate, inside: Sequence[Row[Any]]) -> dict[str, Any]:
    detail = {name: value for name, value in (row.detail or {}).items() if name != "clauses"}
    if row.decision == "refused" and (row.reason or "").startswith("re_entry"):
        earlier = [each.entered_at for each in inside if each.entered_at <= row.at]
        detail["last_entry"] = max(earlier, default=None)
    stood = gate.stood(looking.live, row.decision, row.at, detail.pop("caps", None))
    detail |= {"gate": stood} if stood is not None else {}
    return {
        "at": row.at, "step": row.step, "decision": row.decision, "reason": row.reason, "clauses": looking.clauses(row),
        "message": row.message_id, "enrollment": row.enrollment_id, **detail,
    }  # fmt: skip


def _messages(connection: Connection, customer_id: int, flow: str) -> list[dict[str, Any]]:
    own = messages.c
    query = select(messages).where(own.customer_id == customer_id, own.flow == flow).order_by(own.id)
    rows = connection.execute(query).all()
    fate = fates(connection, [row.id for row in rows])
    return [
        {
            "id": row.id, "step": row.step, "template": row.template, "state": row.state, "reason": row.reason,
            "due_at": row.due_at, "handed_over_at": row.counted_at, "accepted_at": row.accepted_at, "subject": row.subject,
            "provider": row.provider, "sandbox": row.sandbox, **fate[row.id],
        }
        for row in rows
    ]  # fmt: skip


def _next(
    connection: Connection, customer_id: int, live: LiveFlow, inside: Sequence[Row[Any]], at: Round
) -> dict[str, Any] | None:
    """Return what comes next and when; `waits` says what must happen first where the flow is paused or frozen."""
    following = _following(connection, customer_id, live, inside, at)
    if not live.stopped:
        return following
    if following is None:
        following = _at_the_door(connection, customer_id, live, at)
    return following and {**following, "waits": "paused" if live.paused else "frozen"}


def _at_the_door(
    connection: Connection, customer_id: int, live: LiveFlow, at: Round
) -> dict[str, Any] | None:
    """Return the newest fact that came while the flow stood still, and that it will look at when it goes on."""
    stood = connection.execute(
        select(flows.c.paused_at, flows.c.frozen_at).where(flows.c.flow == live.flow.name)
    ).one()
    since = min(
        (moment for moment in stood if moment is not None), default=rails.paused_all_since(connection)
    )
    names = sorted(
        {t.event for t in live.flow.triggers if isinstance(t, EventTrigger) and t.quiet_for is None}
    )
    if since is None or not names:
        return None
    table = events.c
    query = select(table.occurred_at).where(
        table.customer_id == customer_id, table.name.in_(names), table.arrived_at >= since,
        table.arrived_at <= at.now, table.backfill.is_(False),
    )  # fmt: skip
    came = connection.scalar(query.order_by(table.occurred_at.desc()).limit(1))
    return {"what": "entry", "step": None, "at": None, "came": came} if came is not None else None


def _following(
    connection: Connection, customer_id: int, live: LiveFlow, inside: Sequence[Row[Any]], at: Round
) -> dict[str, Any] | None:
    """Return a waiting message, the next step, or a timer or a slot of the calendar that will let the customer in.

    Of these two, `moves` says whether a newer fact sets it anew, and `barred` why nobody would be let in as things stand.
    """
    own = messages.c
    waiting = connection.execute(
        select(messages)
        .where(own.customer_id == customer_id, own.flow == live.flow.name, own.state == "pending")
        .order_by(own.try_at)
    ).first()
    if waiting is not None:
        awaits = (waiting.content or {}).get(AWAITED)
        return {"what": "message", "step": waiting.step, "at": waiting.try_at} | (
            {"awaits": awaits} if awaits else {}
        )
    current = next((row for row in reversed(inside) if row.state in LIVE), None)
    if current is not None:
        found: Program = programs(connection, [current.version])[current.version]
        step = found.nodes[current.position].step if current.position in found.nodes else None
        kind = type(step).__name__.lower() if step is not None else "end"
        return {"what": kind, "step": current.position, "at": current.next_at}
    timer = connection.execute(
        select(timers.c.due_at, timers.c.trigger_no)
        .where(timers.c.customer_id == customer_id, timers.c.flow == live.flow.name)
        .order_by(timers.c.due_at)
    ).first()
    slot = None if live.flow.re_entry.never and inside else _slot(connection, customer_id, live, at)
    entry: dict[str, Any]
    if slot is not None and (timer is None or slot["at"] < timer.due_at):
        entry = {**slot, "moves": False}
    elif timer is not None:
        trigger = live.flow.triggers[timer.trigger_no]
        moves = isinstance(trigger, EventTrigger | LapsedTrigger | ReplenishTrigger)
        entry = {"what": "entry", "step": None, "at": timer.due_at, "moves": moves}
    else:
        return None
    consent, suppressed = _may_be_mailed(connection, customer_id, live.flow, at)
    barred = None if consent and not suppressed else "suppressed" if suppressed else "no_consent"
    return {**entry, "barred": barred}


def _may_be_mailed(connection: Connection, customer_id: int, flow: Flow, at: Round) -> tuple[bool, bool]:
    """Return whether the customer's consent for a flow is recorded, and whether the customer is suppressed for it."""
    topics = granted_topics(
        connection, [customer_id], [flow.topic] if flow.topic else [], at.settings.soft_opt_in
    )
    suppressed = suppressed_kinds(connection, [customer_id]).get(customer_id, frozenset())
    consent = flow.kind == "transactional" or flow.topic in topics.get(customer_id, frozenset())
    return consent, flow.kind in suppressed


def _slot(connection: Connection, customer_id: int, live: LiveFlow, at: Round) -> dict[str, Any] | None:
    """Return the first slot of the flow's schedules that the customer's clock comes to, and the segment to be in then."""
    if not live.active:
        return None
    zone = connection.scalar(select(customers.c.zone).where(customers.c.id == customer_id)) or at.shop_zone
    first = min(slots_ahead(connection, live, zone, at), key=lambda slot: slot[0], default=None)
    return first and {"what": "entry", "step": None, "at": first[0], "segment": first[1]}


def _asked_now(connection: Connection, customer_id: int, live: LiveFlow, at: Round) -> dict[str, Any]:
    """Return what an entry would meet at this moment: consent, suppression and the clauses; labelled as asked now."""
    flow = live.flow
    clauses = entry_clauses(flow, 0, at)
    left_open = [clause for clause in clauses if needs_trigger(clause, flow.segments)]
    asks = [Ask(clause) for clause in clauses if clause not in left_open]
    subject = Subject(customer_id, at.now, at.now)
    found = explain(connection, asks, subject, now=at.now, segments=flow.segments, shop_zone=at.shop_zone)
    consent, suppressed = _may_be_mailed(connection, customer_id, flow, at)
    return {
        "asked_at": at.now,
        "consent": consent,
        "suppressed": suppressed,
        "clauses": [
            {**_truth(each), "wanted": wanted_words(ask.clause.condition)}
            for ask, each in zip(asks, found, strict=True)
        ],
        "open": [clause.text for clause in left_open],
    }


def _truth(truth: ClauseTruth) -> dict[str, Any]:
    plain: dict[str, Any] = {"clause": truth.clause, "holds": truth.holds, "found": truth.found}
    return plain | ({"parts": [_truth(part) for part in truth.parts]} if truth.parts else {})
