"""Mails that show an offer, sent by a step that gives none.

A library and a flow come in; a finding at each such step goes out, beside the block in the template. A block within an `if`
that asks for the offer is meant for both ways, and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from jinja2 import nodes

from engine.diagnostics import Finding, Span
from engine.flows.model import Flow, Send
from engine.render import problems
from engine.render.library import SUFFIX, TemplateLibrary, join_path
from engine.render.locales import DEFAULT
from engine.render.names import sources_of
from engine.render.positions import Source, offset, parse

_LIKELY = re.compile(r"\bblocks\.\w+\s*\([^)]*\boffer\b")


def offerless(library: TemplateLibrary, flow: Flow) -> Iterator[Finding]:
    """Yield a finding for each step without an offer whose mail shows one."""
    for step in flow.all_steps():
        if not isinstance(step, Send) or step.offer is not None:
            continue
        for name in step.templates:
            shown = _shown(library, name)
            if shown is not None:
                yield problems.offer_without_offer(step.span, name, shown)


def _shown(library: TemplateLibrary, name: str) -> Span | None:
    """Return where the default copy of a template shows an offer, whether there is one or not."""
    path = join_path(DEFAULT, name + SUFFIX)
    if not _LIKELY.search(library.sources.get(path, "")):
        return None
    *_, body = sources_of(library.parse(path))
    return _unguarded(body)


@lru_cache(maxsize=1024)
def _unguarded(body: Source) -> Span | None:
    tree = parse(body, [])
    first = None if tree is None else next(_calls(tree), None)
    return None if first is None else body.find("blocks", offset(first))


def _calls(node: nodes.Node) -> Iterator[nodes.Name]:
    """Yield the `blocks` of each call of one with the offer, but for calls that an `if` about the offer guards."""
    if isinstance(node, nodes.If | nodes.CondExpr) and _asks(node.test):
        return
    if isinstance(node, nodes.And) and _asks(node.left):
        return
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        blocks = node.node.node
        with_offer = any(isinstance(each, nodes.Name) and each.name == "offer" for each in node.args)
        if with_offer and isinstance(blocks, nodes.Name) and blocks.name == "blocks":
            yield blocks
    for child in node.iter_child_nodes():
        yield from _calls(child)


def _asks(test: nodes.Node) -> bool:
    names = [test] if isinstance(test, nodes.Name) else test.find_all(nodes.Name)
    return any(name.name == "offer" for name in names)
