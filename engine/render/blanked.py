"""A library with blanks for what is written by wrong names, so that a mail can be looked at for what else is wrong with it.

Comes in: a library and the findings about its names. Goes out: the same templates, line by line and column by column, but for
the expressions that hold a wrong name; None where a wrong name decides something (`{% if %}`), as nobody knows what.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.diagnostics import Finding
from engine.render.library import TemplateLibrary

_WRITTEN = re.compile(r"\{\{.*?\}\}", re.DOTALL)


def blanked(library: TemplateLibrary, names: Sequence[Finding]) -> TemplateLibrary | None:
    """Return the library with blanks for the expressions in which errors among `names` stand; None where they decide."""
    sources = dict(library.sources)
    for finding in names:
        path = finding.span.file.removeprefix("templates/")
        if not finding.is_error or path not in sources:
            continue
        text = sources[path]
        lines = text.split("\n")
        at = sum(len(line) + 1 for line in lines[: finding.span.line - 1]) + finding.span.column - 1
        written = next((each for each in _WRITTEN.finditer(text) if each.start() <= at < each.end()), None)
        if written is not None:
            blank = re.sub(r"[^\r\n]", " ", written[0])
            sources[path] = text[: written.start()] + blank + text[written.end() :]
        elif text[at : at + 1].strip():  # not one that is blank already
            return None
    return TemplateLibrary(sources)
