"""What a mail writes and its layout has no place for: Jinja passes over it, and it appears nowhere.

A library and a template's path come in. A finding goes out for each block that no layout has, at its name, and for the first
thing that stands outside of all blocks. A layout that is chosen while rendering is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2 import nodes

from engine.diagnostics import Finding, Span
from engine.render import problems
from engine.render.library import TemplateLibrary
from engine.render.names import sources_of
from engine.render.positions import Source, offset, parse

_MOST = 20  # layouts above one another


def lost_blocks(library: TemplateLibrary, path: str, chain: tuple[str, ...]) -> Iterator[Finding]:
    """Yield a finding for each block of a mail that none of its layouts has."""
    return (
        problems.lost_block(span, name, layout, known)
        for name, span, layout, known in _lost(library, path, chain)
    )


def lost_names(library: TemplateLibrary, path: str, chain: tuple[str, ...]) -> set[str]:
    """Return the names of the blocks of a mail that none of its layouts has."""
    return {name for name, *_ in _lost(library, path, chain)}


def _lost(
    library: TemplateLibrary, path: str, chain: tuple[str, ...]
) -> Iterator[tuple[str, Span, str, list[str]]]:
    source, tree = _tree(library, path)
    parent = None if tree is None else _parent(library, tree, chain)
    if tree is None or parent is None:
        return
    known, layout = set[str](), parent
    for _ in range(_MOST):
        _, above = _tree(library, parent)
        if above is None:
            return
        known |= {block.name for block in above.find_all(nodes.Block)}
        following = _parent(library, above, chain)
        if following is None:
            if above.find(nodes.Extends) is None:
                break
            return  # a layout that only rendering knows
        parent = following
    for block in tree.body:
        if isinstance(block, nodes.Block) and block.name not in known:
            yield block.name, source.find(block.name, offset(block)), layout, sorted(known)


def outside_of_blocks(library: TemplateLibrary, path: str) -> Iterator[Finding]:
    """Yield a finding for the first thing behind the `extends` of a mail that would be shown and stands in no block."""
    source, tree = _tree(library, path)
    body = [] if tree is None else tree.body
    begun = next((number for number, node in enumerate(body) if isinstance(node, nodes.Extends)), len(body))
    name = next((node.name for node in body[begun:] if isinstance(node, nodes.Block)), "")
    for node in body[begun + 1 :]:
        for at in _shown(node, source):
            end = source.text.find("\n", at)
            text = source.text[at : end if end >= 0 else len(source.text)].rstrip()
            yield problems.outside_of_blocks(source.span(at, len(text)), name)
            return


def _shown(node: nodes.Node, source: Source) -> Iterator[int]:
    """Yield the offsets of what a node would write, but for blocks, and what only keeps something for later."""
    if isinstance(node, nodes.TemplateData):
        bare = _COMMENT.sub(lambda found: " " * len(found[0]), node.data)
        if bare.strip():
            yield source.text.find(node.data, offset(node)) + len(bare) - len(bare.lstrip())
    elif isinstance(node, nodes.Output):
        for each in node.nodes:
            if isinstance(each, nodes.TemplateData):
                yield from _shown(each, source)
            else:
                yield max(source.text.rfind("{{", 0, offset(each) + 1), 0)
    elif isinstance(node, nodes.Include | nodes.CallBlock):
        yield max(source.text.rfind("{%", 0, offset(node) + 1), 0)
    elif isinstance(node, nodes.If | nodes.For | nodes.With | nodes.FilterBlock | nodes.Scope):
        for inner in node.iter_child_nodes():
            yield from _shown(inner, source)


_COMMENT = re.compile("<!--.*?-->", re.DOTALL)


def _tree(library: TemplateLibrary, path: str) -> tuple[Source, nodes.Template | None]:
    *_, source = sources_of(library.parse(path))
    return source, parse(source, [])


def _parent(library: TemplateLibrary, tree: nodes.Template, chain: tuple[str, ...]) -> str | None:
    extends = tree.find(nodes.Extends)
    name = (
        extends.template.value if extends is not None and isinstance(extends.template, nodes.Const) else None
    )
    return library.find(name, chain) if isinstance(name, str) else None
