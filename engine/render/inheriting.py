"""Blocks of a mail that its layout has no place for: Jinja passes over them, and what stands in them appears nowhere.

A library and a template's path come in; a finding for each such block goes out, at its name. A layout that is chosen while
rendering is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import nodes

from engine.diagnostics import Finding
from engine.render import problems
from engine.render.library import TemplateLibrary
from engine.render.names import sources_of
from engine.render.positions import Source, offset, parse

_MOST = 20  # layouts above one another


def lost_blocks(library: TemplateLibrary, path: str, chain: tuple[str, ...]) -> Iterator[Finding]:
    """Yield a finding for each block of a mail that none of its layouts has."""
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
            yield problems.lost_block(
                source.find(block.name, offset(block)), block.name, layout, sorted(known)
            )


def _tree(library: TemplateLibrary, path: str) -> tuple[Source, nodes.Template | None]:
    *_, source = sources_of(library.parse(path))
    return source, parse(source, [])


def _parent(library: TemplateLibrary, tree: nodes.Template, chain: tuple[str, ...]) -> str | None:
    extends = tree.find(nodes.Extends)
    name = (
        extends.template.value if extends is not None and isinstance(extends.template, nodes.Const) else None
    )
    return library.find(name, chain) if isinstance(name, str) else None
