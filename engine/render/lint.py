"""What can be known about a template before any mail is made.

A library and a template's name come in; findings with file, line and column go out, for every copy of the template and
everything that it draws on: names without values first, then each copy rendered for sample customers, so that every
usual branch runs, and what comes out held against MJML, mail clients and the law. Nothing is raised for bad templates.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from jinja2.lexer import TokenStream
from markupsafe import escape

from engine.clock import machine_seconds
from engine.diagnostics import Finding, Span, has_errors
from engine.errors import FindingsError
from engine.flows.load import load_definitions
from engine.flows.model import (
    AnniversaryTrigger,
    DateTrigger,
    Definitions,
    EventTrigger,
    Flow,
    LapsedTrigger,
    Offer,
    ReplenishTrigger,
    ScheduleTrigger,
    SegmentTrigger,
    Send,
    WaitUntil,
)
from engine.processes import mapped
from engine.render import looks, mjml, problems, structure
from engine.render.attributes import offset_in
from engine.render.blanked import blanked
from engine.render.circles import circles
from engine.render.context import RenderContext
from engine.render.environment import MailEnvironment
from engine.render.errors import RenderError
from engine.render.inheriting import lost_blocks, lost_names, outside_of_blocks
from engine.render.library import (
    PARTS,
    WORDS,
    LibraryLoader,
    TemplateLibrary,
    Variant,
    join_path,
    read_folder,
    read_words,
    split_path,
)
from engine.render.locales import DEFAULT
from engine.render.names import check_line, check_names, sources_of
from engine.render.offerless import offerless
from engine.render.pinpoint import pinpointed
from engine.render.positions import Source, data_tokens, located_tokens
from engine.render.render import Prepared, prepare
from engine.render.samples import personas, sample_context
from engine.settings import Settings

MAX_SUBJECT = 60
MAX_SIZE = 100_000
_OWN = ("shop", "brand")
_Use = tuple[str, frozenset[str], frozenset[str], bool]
"""The flow's kind, what is missing, what may be missing, and whether nobody's mail can be without its offer."""
_LOOKED_AT = ("loyal", "no-name")  # everything there is to show, and next to nothing


def lint(
    library: TemplateLibrary,
    template_name: str,
    contexts: Mapping[str, RenderContext] | None = None,
    *,
    kind: str = "marketing",
    base: str = "",
) -> list[Finding]:
    """Return all findings of a template, sorted by place.

    `contexts` are sample customers by name (`sample_contexts`; those of `engine.render.samples` by default): what the
    flow does not have must be missing in them. `kind` is the flow's: marketing mail needs an unsubscribe link. `base` is
    where the settings let links lead, which is no template's doing.
    """
    contexts = contexts if contexts is not None else sample_contexts(library, template_name)
    findings: dict[tuple[str, Span, str], Finding] = {}
    paths = library.paths(template_name)
    for missing in _without_default(library, template_name):
        findings[missing.code, missing.span, missing.message] = missing
    for path in paths:
        for finding in (*_lint_copy(library, path, contexts, kind, base=base), *_lacking(library, path)):
            findings.setdefault((finding.code, finding.span, finding.message), finding)  # told for one sample
    return sorted(structure.told_once(findings.values()), key=lambda finding: (finding.span, finding.code))


@dataclass(frozen=True, slots=True)
class _Copy:
    """One copy of a template in one way in which flows send it."""

    name: str
    path: str
    use: _Use


@dataclass(slots=True)
class Memory:
    """What the last look at a project found in each copy, and the texts that it rests on.

    A copy whose texts, and whose project's own names, are as they were is not looked at again.
    """

    around: object = None
    known: dict[_Copy, tuple[Mapping[str, str], list[Finding]]] = field(default_factory=dict)
    waiting: int = 0  # copies that the last look had no time for

    def begin(self, around: object) -> None:
        """Forget everything where other files exist, or the shop calls itself otherwise."""
        if around != self.around:
            self.around, self.known = around, {}

    def of(self, copy: _Copy, sources: Mapping[str, str]) -> list[Finding] | None:
        """Return what is known of a copy, or None where it has to be looked at."""
        texts, findings = self.known.get(copy, ({"": ""}, []))
        return findings if all(sources.get(path) == text for path, text in texts.items()) else None


def lint_project(
    root: Path,
    settings: Settings,
    workers: int = 1,
    memory: Memory | None = None,
    within: float | None = None,
) -> list[Finding]:
    """Return all findings of a project's templates, each with what the flows that send it have.

    A template that no flow sends is held against everything that a template can have. Each finding stands once. Many
    templates are shared by up to `workers` processes; with a `memory`, only what has changed is looked at, the file that
    was saved last first. No further copy is begun after `within` seconds; how many are left stands in the memory.
    """
    try:
        library = TemplateLibrary(read_folder(root / "templates"))
    except FindingsError as error:
        return list(error.findings)
    definitions = load_definitions(root, settings)[0]
    flows = definitions.flows.values()
    own = {"shop": _shop(settings), "brand": settings.brand}
    told: list[Finding] = []
    for flow in flows:
        for step in flow.all_steps():
            if isinstance(step, Send) and step.subject:
                told += check_line(library, step.subject, step.subject_span, own)
    told += [each for flow in flows for each in (*_advertising(library, flow), *offerless(library, flow))]
    uses = sorted(_uses(library, definitions).items())
    told += [finding for name, _ in uses for finding in _without_default(library, name)]
    copies = [
        _Copy(name, path, use)
        for name, found in uses
        for path in library.paths(name)
        for use in sorted(found, key=str)
    ]
    memory = memory if memory is not None else Memory()
    memory.waiting = 0
    memory.begin((sorted(library.sources), own))
    waiting = [copy for copy in copies if memory.of(copy, library.sources) is None]
    if within is not None:
        waiting = _newest_first(root, waiting)
    until = None if within is None else machine_seconds() + within
    looked = mapped(partial(_look_at, library, own), waiting, workers if within is None else 1)
    for done, (copy, (drawn, findings)) in enumerate(zip(waiting, looked, strict=False), 1):
        memory.known[copy] = ({path: library.sources[path] for path in drawn}, findings)
        memory.waiting = len(waiting) - done
        if until is not None and machine_seconds() >= until:
            break
    told += [finding for copy in copies for finding in memory.of(copy, library.sources) or ()]
    once: dict[tuple[str, Span, str], Finding] = {}
    for finding in told:
        known = once.setdefault((finding.code, finding.span, finding.message), finding)
        if known is not finding:
            through = tuple(sorted({*known.through, *finding.through}))
            once[finding.code, finding.span, finding.message] = replace(known, through=through)
    return sorted(structure.told_once(once.values()), key=lambda finding: (finding.span, finding.code))


def _newest_first(root: Path, copies: Sequence[_Copy]) -> list[_Copy]:
    """Return copies with those first whose own file was saved last."""

    def saved(copy: _Copy) -> float:
        path = root / "templates" / copy.path
        return path.stat().st_mtime if path.exists() else 0.0

    return sorted(copies, key=saved, reverse=True)


def _look_at(
    library: TemplateLibrary, own: Mapping[str, Mapping[str, Any]], copy: _Copy
) -> tuple[set[str], list[Finding]]:
    """Return the files that a copy draws on, and what is found in it."""
    kind, without, maybe, offered = copy.use
    contexts = sample_contexts(
        library, copy.name, shop=own["shop"], brand=own["brand"], without=without, offered=offered
    )
    drawn = {*library.paths(copy.name), *(path for path in library.sources if path.endswith(WORDS))}
    findings = [*_lint_copy(library, copy.path, contexts, kind, drawn), *_lacking(library, copy.path)]
    findings += _unsure(library, copy, own, without, maybe)
    file = f"templates/{copy.path}"
    return drawn, [each if each.span.file == file else replace(each, through=(file,)) for each in findings]


def _advertising(library: TemplateLibrary, flow: Flow) -> Iterator[Finding]:
    """Yield each template with a recommend block that a transactional flow sends."""
    steps = (
        [step for step in flow.all_steps() if isinstance(step, Send)] if flow.kind == "transactional" else []
    )
    for name in dict.fromkeys(name for step in steps for name in step.templates):
        for path in library.paths(name):
            if library.parse(path).recommend:
                yield problems.recommends_in_transactional(_front(library, path, "recommend"), flow.name)


def _front(library: TemplateLibrary, path: str, key: str) -> Span:
    """Return where a key of the front matter stands."""
    lines = library.sources[path].split("\n")
    line = next((number for number, text in enumerate(lines, 1) if text.startswith(f"{key}:")), 1)
    return Span(f"templates/{path}", line, 1, len(key) if line > 1 else 1)


def _without_default(library: TemplateLibrary, name: str) -> Iterator[Finding]:
    if not any(split_path(path)[0] == DEFAULT for path in library.paths(name)):
        yield problems.no_default(Span(f"templates/{name}.mjml"), name)


def _unsure(
    library: TemplateLibrary,
    copy: _Copy,
    own: Mapping[str, Mapping[str, Any]],
    without: frozenset[str],
    maybe: frozenset[str],
) -> Iterator[Finding]:
    """Yield what cannot be made for somebody whose trigger told none of what it may tell."""
    if not maybe:
        return
    usual, blocks = personas()[0], _blocks_of(library, copy.name)
    folder = split_path(copy.path)[0]
    variant = Variant(library.parse(copy.path), folder, library.chain(folder) if folder else (DEFAULT,))
    usually, otherwise = (
        _error_of(library, variant, context, usual.name)
        for context in (
            sample_context(usual, shop=own["shop"], brand=own["brand"], recommend=blocks, without=missing)
            for missing in (without, without | maybe)
        )
    )
    if usually is None and otherwise is not None:
        yield problems.may_be_missing(otherwise.span, otherwise.message, maybe)


def _error_of(
    library: TemplateLibrary, variant: Variant, context: RenderContext, persona: str
) -> Finding | None:
    try:
        sample = _Sample(library, variant, context, persona, "transactional")
        sample.document(
            _MARKED.setdefault(library, {}).setdefault(
                variant.chain, MarkedEnvironment(library, variant.chain)
            )
        )
    except RenderError as error:
        return sample.failed(error)
    return None


def _blocks_of(library: TemplateLibrary, name: str) -> list[str]:
    return sorted({block.name for path in library.paths(name) for block in library.parse(path).recommend})


def _uses(library: TemplateLibrary, definitions: Definitions) -> dict[str, set[_Use]]:
    """Return for each template the ways in which flows send it."""
    uses: dict[str, set[_Use]] = {name: set() for name in library.names()}
    for flow in definitions.flows.values():
        for step in flow.all_steps():
            for name in step.templates if isinstance(step, Send) else ():
                if name in uses and isinstance(step, Send):
                    missing = missing_names(flow, step)
                    offered = never_without(step.offer, definitions.offers)
                    uses[name].add((flow.kind, missing, unsure_names(flow) - missing, offered))
    return {name: found or {("marketing", frozenset(), frozenset(), False)} for name, found in uses.items()}


def _shop(settings: Settings) -> dict[str, Any]:
    shop = settings.shop
    known = {each.name: getattr(shop, each.name) for each in fields(shop) if each.name != "extra"}
    return {**known, **shop.extra}


def sample_contexts(
    library: TemplateLibrary,
    template_name: str,
    *,
    shop: Mapping[str, Any] | None = None,
    brand: Mapping[str, Any] | None = None,
    flow: Mapping[str, Any] | None = None,
    without: frozenset[str] = frozenset(),
    offered: bool = False,
) -> dict[str, RenderContext]:
    """Return a context for each sample customer, with every recommend block of the template filled.

    `offered` gives the offer to all of them; else some have none, as those who come when its codes have run out.
    """
    blocks = _blocks_of(library, template_name)
    return {
        persona.name: sample_context(
            persona, shop=shop, brand=brand, flow=flow, recommend=blocks, without=without, offered=offered
        )
        for persona in personas()
    }


def missing_names(flow: Flow, send: Send) -> frozenset[str]:
    """Return the names that this flow's mails surely do not have: `cart`, `order`, `product`, `offer`, `answer`."""
    missing = {
        name for name in ("cart", "order", "product") if any(name not in _had(t) for t in flow.triggers)
    }
    if send.offer is None:
        missing.add("offer")
    if not any(isinstance(step, WaitUntil) and step.answer for step in flow.all_steps()):
        missing.add("answer")
    return frozenset(missing)


def never_without(name: str | None, offers: Mapping[str, Offer]) -> bool:
    """Return whether every mail that goes out with this offer holds one: its codes cannot run out, or mails wait for them.

    An offer of no pool always has a code to give, and one that names another leaves it to that one.
    """
    tried: set[str] = set()
    while name is not None and name in offers and name not in tried:
        offer = offers[name]
        if offer.pool is None or offer.when_empty == "wait":
            return True
        tried.add(name)
        name = offer.when_empty
    return name in tried  # in a circle no mail goes out (`no_offer`); "without" ends elsewhere


def unsure_names(flow: Flow) -> frozenset[str]:
    """Return the names that an entry by this flow's triggers may have and may lack, since its facts are the shop's own."""
    return frozenset().union(*(_may_lack(trigger) for trigger in flow.triggers))


def _may_lack(trigger: object) -> frozenset[str]:
    if not isinstance(trigger, EventTrigger | LapsedTrigger):
        return frozenset()
    sure = {"cart": {"cart"}, "order": {"order"}}.get(trigger.event.split("_")[0], set())
    if trigger.event in (
        "product_viewed",
        "wishlist_added",
        "wishlist_removed",
        "stock_alert_requested",
        "review_submitted",
    ):
        sure = {"product"}
    return _had(trigger) - sure


def _had(trigger: object) -> frozenset[str]:
    """Return which of cart, order and product an entry by this trigger may have."""
    if isinstance(trigger, AnniversaryTrigger | DateTrigger | ScheduleTrigger | SegmentTrigger):
        return frozenset()
    if isinstance(trigger, ReplenishTrigger):
        return frozenset({"order", "product"})
    if isinstance(trigger, EventTrigger | LapsedTrigger):
        prefix = trigger.event.split("_")[0]
        return {"cart": frozenset({"cart"}), "order": frozenset({"order"})}.get(
            prefix, frozenset({"cart", "order", "product"})
        )
    return frozenset({"product"})


# ── one copy ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lint_copy(
    library: TemplateLibrary,
    path: str,
    contexts: Mapping[str, RenderContext],
    kind: str,
    drawn: set[str] | None = None,
    base: str = "",
) -> Iterator[Finding]:
    """Yield what is wrong with one copy; `drawn` gets the files that it draws on."""
    yield from library.findings(path)
    template = library.parse(path)
    folder = split_path(path)[0]
    chain = library.chain(folder) if folder else (DEFAULT,)
    yield from _words(library, chain)
    if not template.subject.source and not _front_matter_fails(library.findings(path)):
        yield problems.no_subject(Span(f"templates/{path}", 1, 1))
    if not library.sources[path].strip():
        return
    names, paths = check_names(library, path, chain, _own_fields(contexts.values()))
    yield from names
    if drawn is not None:
        drawn.update(paths)
    bodies = [list(sources_of(library.parse(each)))[-1] for each in paths]
    bare = [finding for body in bodies for finding in _bare_signs(body)]
    yield from bare
    yield from lost_blocks(library, path, chain)
    yield from outside_of_blocks(library, path)
    endless = circles(library, path, chain)
    yield from endless
    if endless or has_errors(library.findings(path)):
        return  # rendering would only tell the same again
    if has_errors(names):
        yield from _beside(library, path, chain, contexts, names)
        return
    marked = _MARKED.setdefault(library, {}).setdefault(chain, MarkedEnvironment(library, chain))
    made: _Made = {}
    for persona, context in contexts.items():
        variant = Variant(template, folder, chain)
        sample = _Sample(library, variant, context, persona, kind, base)
        yield from _sample(sample, marked, made, is_broken=has_errors(bare))


_OF_TAGS = ("T301", "T302", "T304", "T305", "T307", "T401")
"""What is wrong with tags, whatever the values among them are: a width (T306) may be one."""


def _beside(
    library: TemplateLibrary,
    path: str,
    chain: tuple[str, ...],
    contexts: Mapping[str, RenderContext],
    names: Sequence[Finding],
) -> Iterator[Finding]:
    """Yield what is wrong with the tags of a copy whose names are wrong: it is rendered without these, where that can be."""
    rest = blanked(library, names)
    persona = next((each for each in _LOOKED_AT if each in contexts), None)
    if rest is None or persona is None:
        return
    folder = split_path(path)[0]
    sample = _Sample(
        rest, Variant(rest.parse(path), folder, chain), contexts[persona], persona, "transactional"
    )
    try:
        document = sample.document(MarkedEnvironment(rest, chain))
    except RenderError:
        return  # it fails for more than its names; they are told already
    for finding in structure.check(document, within=partial(_attribute, rest)):
        if finding.code in _OF_TAGS:
            yield _authored(sample, finding)


def _front_matter_fails(findings: Iterable[Finding]) -> bool:
    """Return whether the front matter cannot be read, or names the subject otherwise: what is missing is told so."""
    return any(each.code.startswith("F0") or 'mean "subject"' in each.help for each in findings)


# The shapes of a copy that MJML has taken, with the size of what it made of them.
_Made = dict[tuple[str, ...], int]


_PARTS: Mapping[str, re.Pattern[str]] = {
    "block {name}": re.compile(r"\{%[-+]?\s*block\s+(\w+)"),
    "blocks.{name}": re.compile(r"\bblocks\.(\w+)\s*\("),
    "links.{name}": re.compile(r"\blinks\.(\w+)"),
}


_COMMENT = re.compile(r"\{#.*?#\}|<!--.*?-->", re.DOTALL)


def _lacking(library: TemplateLibrary, path: str) -> Iterator[Finding]:
    """Yield each part of the default that a copy in a language neither has nor names."""
    folder, name = split_path(path)
    default = join_path(DEFAULT, name)
    if folder == DEFAULT or default not in library.sources:
        return
    ours, theirs = library.sources[path], library.sources[default]
    said = " ".join(_COMMENT.findall(ours))
    lost = lost_names(library, default, (DEFAULT,))  # told in the default; a copy needs none of them
    for words, pattern in _PARTS.items():
        here = set(pattern.findall(ours))
        for part in dict.fromkeys(pattern.findall(theirs)):
            if words.startswith("block ") and part in lost:
                continue
            known = words != "blocks.{name}" or f"{PARTS[1]}/{part}.mjml" in library.sources
            if known and part not in here and not re.search(rf"\b{re.escape(part)}\b", said):
                what = words.format(name=part)
                yield problems.copy_lacks(Span(f"templates/{path}", 1, 1), what, f"templates/{default}")


def _own_fields(contexts: Iterable[RenderContext]) -> dict[str, Collection[str]]:
    return {name: {key for context in contexts for key in getattr(context, name)} for name in _OWN}


def _words(library: TemplateLibrary, chain: tuple[str, ...]) -> Iterator[Finding]:
    for folder in chain:
        path = join_path(folder, WORDS)
        if path in library.sources:
            yield from read_words(library.sources[path], path)[1]


@lru_cache(maxsize=4096)
def _bare_signs(body: Source) -> tuple[Finding, ...]:
    return tuple(
        finding
        for offset, text in data_tokens(body)
        for finding in structure.check_text(text, partial(_place, body, offset))
    )


def _place(source: Source, offset: int, at: int) -> Span:
    return source.span(offset + at)


class _Sample:
    """One copy of a template for one sample customer."""

    def __init__(
        self,
        library: TemplateLibrary,
        variant: Variant,
        context: RenderContext,
        persona: str,
        kind: str,
        base: str = "",
    ) -> None:
        self.variant, self.persona, self.kind, self.base = variant, persona, kind, base
        name = variant.template.name
        self.prepared: Prepared = prepare(library, name, context, variant=variant)
        self.top = Span(f"templates/{variant.template.path}", 1, 1)

    def document(self, marked: MarkedEnvironment) -> str:
        """Return the MJML with marks; subject and preheader are worked out on the way."""
        self.prepared.values["subject"] = self.prepared.line("subject")
        self.prepared.values["preheader"] = self.prepared.line("preheader")
        self.prepared.use(marked)
        return self.prepared.mjml()

    def failed(self, error: RenderError) -> Finding:
        """Return the finding for an error while rendering."""
        span = self.top
        error = pinpointed(error, self.prepared.library, self.prepared.by_character)
        if error.template and error.line:
            lines = self.prepared.library.sources[error.template.removeprefix("templates/")].split("\n")
            jinja = re.search(r"\{[{%]", lines[error.line - 1])
            span = Span(error.template, error.line, error.column or (jinja.start() + 1 if jinja else 1))
        return problems.fails(span, error.problem, self.persona)


def _sample(
    sample: _Sample, marked: MarkedEnvironment, made: _Made, *, is_broken: bool = False
) -> Iterator[Finding]:
    """Yield what is wrong with a copy for one sample; why MJML does not take it is known where it `is_broken`."""
    try:
        document = sample.document(marked)
    except RenderError as error:
        yield sample.failed(error)
        return
    within = partial(_attribute, sample.prepared.library)
    found = [
        _authored(sample, finding) for finding in structure.check(document, base=sample.base, within=within)
    ]
    yield from found
    if sample.persona in _LOOKED_AT:
        yield from (_authored(sample, finding) for finding in looks.check(document))
    yield from _lines(sample)
    shape = structure.shape(document)
    if made.get(shape, MAX_SIZE) < MAX_SIZE / 2 and all(part in document for part in _by_law(sample)):
        return  # the same elements with other words, and what the law asks for among them
    try:
        compiled = mjml.compile(structure.unmarked(document))
    except RenderError as error:
        if not is_broken and not has_errors(found):
            yield sample.failed(error)
        return
    made[shape] = len(compiled.encode())
    yield from _result(sample, compiled)


def _authored(sample: _Sample, finding: Finding) -> Finding:
    """Return the finding at the words in the mail's own file, where it is about words that were handed to a block there."""
    quoted = re.search('"(.+)"', finding.message) if finding.code in ("T409", "T302") else None
    words = finding.label if finding.code == "T402" else quoted[1].rstrip("…") if quoted else ""
    if finding.code == "T409":
        finding = replace(finding, span=_words_at(sample.prepared.library, finding.span, words))
    if not words or finding.span.file == sample.top.file:
        return finding
    lines = sample.prepared.library.sources[sample.variant.template.path].replace("\r\n", "\n").split("\n")
    number = next((number for number, line in enumerate(lines, 1) if words in line), 0)
    if not number:
        return finding
    span = Span(sample.top.file, number, lines[number - 1].index(words) + 1, len(words))
    return replace(finding, span=span, label="" if finding.code == "T402" else finding.label)


def _words_at(library: TemplateLibrary, span: Span, words: str) -> Span:
    """Return where words stand in a file, at a place or behind it, else the place."""
    text = (
        library.sources.get(span.file.removeprefix("templates/"), "")
        .replace("\r\n", "\n")
        .replace("\r", "\n")
    )
    lines = text.split("\n")
    for number in range(span.line, len(lines) + 1):
        at = lines[number - 1].find(words, span.column - 1 if number == span.line else 0)
        if at >= 0:
            return Span(span.file, number, at + 1, len(words))
    return span


def _attribute(library: TemplateLibrary, tag: Span, name: str) -> Span:
    """Return the place of an attribute in the author's file, else that of its tag."""
    text = library.sources.get(tag.file.removeprefix("templates/"), "").replace("\r\n", "\n")
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    if not 0 < tag.line <= len(starts):
        return tag
    at = offset_in(text, starts[tag.line - 1] + tag.column - 1, name)
    if at is None:
        return tag  # it is written by Jinja
    line = bisect_right(starts, at)
    return Span(tag.file, line, at - starts[line - 1] + 1, len(name))


def _lines(sample: _Sample) -> Iterator[Finding]:
    """Yield what is wrong with the subject and the preheader."""
    subject: str = sample.prepared.values["subject"]
    line = sample.variant.template.subject
    span = Span(sample.top.file, line.line, line.column, max(len(line.source), 1))
    if not subject:
        yield problems.no_subject(span)
    elif len(subject) > MAX_SUBJECT and sample.persona != "sixty":
        yield problems.long_subject(span, len(subject), sample.persona)
    for name in ("subject", "preheader"):
        other = looks.left_over(sample.prepared.values[name])
        if other is not None:
            own = sample.variant.template.subject if name == "subject" else sample.variant.template.preheader
            place = Span(sample.top.file, own.line, own.column, max(len(own.source), 1))
            yield problems.merge_tag(_words_at(sample.prepared.library, place, other), other)


def _by_law(sample: _Sample) -> tuple[str, str]:
    """Return what a marketing mail must hold: the link to unsubscribe by, and the first line of the postal address."""
    if sample.kind == "transactional":
        return "", ""
    context = sample.prepared.context
    address = str(context.shop.get("postal_address") or "")
    return context.links.unsubscribe(), str(escape(address.splitlines()[0])) if address else ""


def _result(sample: _Sample, compiled: str) -> Iterator[Finding]:
    """Yield what is wrong with a finished mail."""
    size = len(compiled.encode())
    if size > MAX_SIZE:
        yield problems.too_large(sample.top, size, sample.persona)
    link, address = _by_law(sample)
    if link not in compiled:
        yield problems.no_unsubscribe(sample.top)
    if address not in compiled:
        yield problems.no_postal_address(sample.top)


# ── marks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Compiled(BytecodeCache):
    """Keeps what files were compiled to, for the next library that holds the same ones."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str | None, str], CodeType] = {}

    def get_bucket(self, environment: Environment, name: str, filename: str | None, source: str) -> Bucket:
        """Return the place of a source, with its code where it was compiled before."""
        bucket = Bucket(environment, f"{name}\0{filename}", source)
        bucket.code = self.known.get((name, filename, source))
        return bucket

    def set_bucket(self, bucket: Bucket) -> None:
        """Keep what a source was compiled to."""
        name, _, filename = bucket.key.partition("\0")
        if len(self.known) >= _KEPT:
            self.known.clear()
        if bucket.code is not None:
            self.known[name, None if filename == "None" else filename, bucket.checksum] = bucket.code


_KEPT = 4096
_COMPILED = _Compiled()


class MarkedEnvironment(MailEnvironment):
    """Renders like the real one, with every opening tag saying where it stands in its file."""

    def __init__(self, library: TemplateLibrary, chain: tuple[str, ...]) -> None:
        super().__init__(LibraryLoader(library, chain))
        self.bytecode_cache = _COMPILED

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        place = Source(filename or "", source)
        tokens = [
            (
                line,
                kind,
                structure.mark(text, partial(_place, place, offset)) if kind == "data" and filename else text,
            )
            for line, offset, kind, text in located_tokens(self, source)
        ]
        return TokenStream(self.lexer.wrap(iter(tokens), name, filename), name, filename)


_MARKED: WeakKeyDictionary[TemplateLibrary, dict[tuple[str, ...], MarkedEnvironment]] = WeakKeyDictionary()
