"""A customer's story as plain sentences.

Comes in: what `engine.runtime.why` returns for one flow. Goes out: lines of text. Times stand on the shop's clock; each
decision is one sentence, with the clauses it rested on and the values found under it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from engine.calendar import local

_SENTENCES: Mapping[str, str] = {
    "entered": "entered the flow",
    "held_out": "belongs to the holdout: gets nothing, and is compared with the others",
    "turned_away": "came to the door, but the trigger's `where` did not hold",
    "refused": "was not let in, because {reason}",
    "due": "{step} fell due",
    "sent": "{step} was handed over and accepted",
    "skipped": "{step} was skipped, because {reason}",
    "dropped": "{step} was not sent, because {reason}",
    "deferred": "{step} was put off until {until}, because {reason}",
    "waiting": "waits until {until}",
    "standing": "waits for a mail that needs a code of {offer}, at the latest until {until}",
    "took": "took the arm {arm} of {step}",
    "heard": "what {step} waited for came",
    "not_heard": "what {step} waited for did not come in time",
    "set": "{step} changed the customer's record: {fields}",
    "exited": "left the flow, because {reason}",
    "completed": "reached the end of the flow",
    "failed": "{step} was refused for good: {reason}",
    "retry": "{step} was not handed over yet, and is tried again: {reason}",
    "unknown": "{step} may or may not have arrived: {reason}; `homing messages resolve` settles it",
}
_REASONS: Mapping[str, str] = {
    "capped": "a frequency cap had no room for it",
    "quiet_hours": "it is night on the customer's clock",
    "no_consent": "no consent for the topic is recorded",
    "suppressed": "the customer is suppressed, or has no address",
    "holdout": "the customer belongs to the holdout",
    "too_late": "it was later than max_lateness allows",
    "superseded": "a newer mail of the same flow fell due",
    "template_error": "the template failed; see `homing quarantine list`",
    "nothing_to_recommend": "there was nothing to recommend",
    "no_offer": "the offer had no code for the customer: it was used, is over, or none was left",
    "outranked": "another mail came first and took the cap's room",
    "paused": "the flow was paused",
    "frozen": "the flow was frozen",
    "quarantined": "it is set aside; see `homing quarantine list`",
    "sandboxed": "the sandbox lets it reach nobody",
}
_NO_OFFER: Mapping[str, str] = {
    "used": "the customer has used the code of the offer already",
    "over": "the customer's code of the offer is past its end",
    "empty": "no code of the offer was left",
    "gone": "there is no such offer any more",
}
_PREFIXES: Mapping[str, str] = {
    "condition_false": "this does not hold: {rest}",
    "exited": "this came true: {rest}",
    "re_entry": "its re_entry rule forbids it: {rest}",
}
_RESUME = "; not before `homing resume`, and then only what is not too late"
_WAITS: Mapping[str, str] = {
    "paused": f", but the flow is paused{_RESUME}",
    "frozen": f", but the flow is frozen{_RESUME}",
}
_AT_THE_DOOR = ("entered", "held_out", "refused")
_TELLING = ("turned_away", "entered", "held_out", "refused", "skipped", "exited", "took", "dropped")


def sentences(story: Mapping[str, Any], zone: str) -> Iterator[str]:
    """Yield the lines of one flow's story; `zone` is the shop's."""
    yield story["flow"]
    if story.get("held"):
        yield f"  waits: {story['held']}"
    if not story["decisions"]:
        yield "  never came to the door: nothing that this flow waits for has happened since it was applied"
    several = len(story.get("enrollments") or ()) > 1
    for decision in story["decisions"]:
        yield f"  {_when(decision['at'], zone)}  {sentence(decision, zone, several=several)}"
        if decision["decision"] in _TELLING:
            yield from (clause_words(clause) for clause in decision["clauses"] if _matters(clause, decision))
        if decision.get("last_entry"):
            yield f"      the last entry was {_when(decision['last_entry'], zone)}"
        yield from _gate(decision.get("gate"), decision["reason"], zone)
    yield from _fates(story.get("messages") or (), zone)
    yield from _now(story.get("now"))
    if story["next"]:
        yield f"  next: {next_words(story['next'], zone)}"
    elif not story.get("again", True):
        yield "  next: nothing; this flow lets nobody in twice (re_entry: never)"
    elif story["decisions"]:
        yield "  next: nothing; the next fact that the flow waits for begins a new story"


def _matters(clause: Mapping[str, Any], decision: Mapping[str, Any]) -> bool:
    """Return whether a clause had a say: one that would have ended the flow and did not hold kept nobody out."""
    return bool(clause["holds"]) or not clause.get("ends") or decision["decision"] == "exited"


def sentence(decision: Mapping[str, Any], zone: str, *, several: bool = False) -> str:
    """Return a decision as one sentence without its subject, which is the customer.

    What came to the door names what it is about, and so does everything where there are several enrollments.
    """
    words = {name: value for name, value in decision.items() if isinstance(value, str | int)}
    words["step"] = decision.get("step") or "a mail"
    words["reason"] = reason_words(decision.get("reason"), decision.get("cause"))
    words["until"] = _when(decision["until"], zone) if decision.get("until") else "the awaited fact"
    words["fields"] = ", ".join(decision.get("fields") or ()) or "nothing"
    words["arm"] = decision.get("arm") or "none"
    what = "standing" if decision.get("offer") else str(decision["decision"])
    about = decision.get("about") if several or what in _AT_THE_DOOR else None
    named = f" ({about_words(about)})" if about else ""
    return _SENTENCES.get(what, what).format_map(words) + named


def about_words(about: Mapping[str, Any]) -> str:
    """Return the product, order or cart that a decision is about.

    >>> about_words({"kind": "order", "id": "1001"}), about_words({"kind": "product", "id": "T1", "title": "Sencha"})
    ('order 1001', 'Sencha')
    """
    return str(about.get("title") or f"{about['kind']} {about['id']}")


def reason_words(reason: str | None, cause: str | None = None) -> str:
    """Return a reason of the journal as a part of a sentence; `cause` says which of several it was.

    >>> reason_words("condition_false: customer: {orders: {gte: 3}}")
    'this does not hold: customer: {orders: {gte: 3}}'
    >>> reason_words("no_offer", "empty")
    'no code of the offer was left'
    """
    if reason == "no_offer" and cause is not None and cause in _NO_OFFER:
        return _NO_OFFER[cause]
    if reason is None:
        return "of no recorded reason"
    head, _, rest = reason.partition(": ")
    if head in _PREFIXES and rest:
        return _PREFIXES[head].format(rest=_REASONS.get(rest, rest))
    return _REASONS.get(reason, reason)


def missed_words(reason: str) -> str:
    """Return a reason of the journal by its name, and then in words.

    >>> missed_words("exited: did: order_placed")
    'exited: this came true: did: order_placed'
    >>> missed_words("reached the end without a mail")
    'reached the end without a mail'
    """
    words = reason_words(reason)
    return words if words == reason else f"{reason.partition(': ')[0]}: {words}"


def clause_words(clause: Mapping[str, Any]) -> str:
    """Return a clause as one line: whether it held, its words, what was found."""
    parts = [_found(clause["found"])] if clause.get("found") not in (None, "", "not kept") else []
    parts += [f"wanted: {clause['wanted']}"] if clause.get("wanted") and not clause["holds"] else []
    found = f"  ({'; '.join(parts)})" if parts else ""
    return f"      {'yes' if clause['holds'] else 'no '}  {clause['clause']}{found}"


def _found(words: str) -> str:
    """Return what was found, which a count of facts says itself."""
    return words if words.startswith(("found ", "not found")) else f"found: {words}"


def _gate(gate: Mapping[str, Any] | None, reason: str | None, zone: str) -> Iterator[str]:
    """Yield how caps and hours stood, where they kept a mail back."""
    if gate is None or reason not in ("capped", "outranked", "quiet_hours"):
        return
    if reason == "quiet_hours":
        yield f"      {gate['local_time'][11:16]} on the customer's clock; quiet hours are {gate['quiet_hours']}"
        return
    full = [cap for cap in gate["caps"] if cap["room_at"]]
    then = gate.get("caps_of") == "then"
    if reason == "capped" and not full and not then:
        yield "      by the caps as they are set now there was room: they were others then"
    for cap in gate["caps"]:
        room = f", room again {_when(cap['room_at'], zone)}" if cap["room_at"] else ""
        yield f"      cap {cap['cap']}{'' if then else ' (as set now)'}: {cap['used']} handed over before{room}"


def _fates(sent: Iterable[Mapping[str, Any]], zone: str) -> Iterator[str]:
    """Yield what the provider told of each mail."""
    for message in sent:
        for event in message.get("events", ()):
            by = " by a machine" if event["machine"] else ""
            yield f"  {_when(event['at'], zone)}  {message['step']}: the provider says {event['event']}{by}"


def _now(now: Mapping[str, Any] | None) -> Iterator[str]:
    if now is None:
        return
    yield "  if it were asked at this moment:"
    yield f"      {'yes' if now['consent'] else 'no '}  consent for the topic"
    if now["suppressed"]:
        yield "      no   the customer may be mailed  (found: suppressed)"
    yield from (clause_words(clause) for clause in now["clauses"])
    yield from (f"      ?    {clause}  (nobody can know before it happens)" for clause in now.get("open", ()))


def next_words(following: Mapping[str, Any], zone: str) -> str:
    """Return what comes next, and when, as a part of a sentence."""
    when = f" at {_when(following['at'], zone)}" if following["at"] is not None else ""
    step = following["step"]
    waits = _WAITS.get(following.get("waits") or "", "")
    if following.get("came"):
        return f"may enter by what happened at {_when(following['came'], zone)}{waits}"
    if following["what"] == "entry":
        unsure = ", if nothing newer comes before" if following.get("moves") else ""
        unsure += f", if in the segment {following['segment']} by then" if following.get("segment") else ""
        if following.get("barred"):
            return f"its moment comes{when}{unsure}, but as things stand: {reason_words(following['barred'])}{waits}"
        return f"may enter{when}{unsure}{waits}"
    if following["what"] == "message":
        return f"{step} {mail_words(following.get('awaits'), when)}{waits}"
    return (f"{step}{when}" if step else f"the end of the flow{when}") + waits


def mail_words(awaits: str | None, when: str = "") -> str:
    """Return what becomes of a mail that waits, as a part of a sentence; `awaits` is the offer whose codes are used up.

    >>> mail_words("birthday", " at noon")
    'waits for a code of birthday, and is tried again at noon'
    """
    if awaits is not None:
        return f"waits for a code of {awaits}, and is tried again{when}"
    return f"is sent{when}, if the gate lets it"


def _when(moment: Any, zone: str) -> str:
    there = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{local(there, zone):%a %d %b %Y %H:%M}"
