"""The column of an error: the same templates run once more, in an environment whose lines are characters.

Jinja keeps lines only, and mails that fail are few. The place of a failure by its line comes in, with how to run it again; the
column goes out, through layouts, blocks, loops and macros. Nothing of this runs for mails that are made.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from jinja2.lexer import TokenStream

from engine.render.environment import MailEnvironment
from engine.render.errors import RenderError
from engine.render.library import LibraryLoader, TemplateLibrary
from engine.render.positions import located_tokens


class ByCharacter(MailEnvironment):
    """Renders like the real one; the line of an error is the offset of its expression, from 1."""

    def __init__(self, library: TemplateLibrary, chain: tuple[str, ...]) -> None:
        super().__init__(LibraryLoader(library, chain))

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        tokens = [(offset + 1, kind, text) for _, offset, kind, text in located_tokens(self, source)]
        return TokenStream(self.lexer.wrap(iter(tokens), name, filename), name, filename)


def by_character(library: TemplateLibrary, chain: tuple[str, ...]) -> MailEnvironment:
    """Return the environment for a chain of folders; the library keeps it, as a mistake often concerns many customers."""
    found = library.searching.get(chain)
    if found is None:
        found = library.searching[chain] = ByCharacter(library, chain)
    return found


def pinpointed(error: RenderError, library: TemplateLibrary, again: Callable[[], object]) -> RenderError:
    """Return the error with its column where `again`, which runs the mail by character, fails in the same place."""
    path = error.template.removeprefix("templates/")
    if not error.line or error.column or path not in library.sources:
        return error
    try:
        again()
    except RenderError as told:
        if told.template != error.template or told.problem != error.problem:
            return error
        source = _source(library, path, error.line)
        at = told.line - 1
        if source[at : at + 1] == ".":
            at += 1
        if source.count("\n", 0, at) + 1 == error.line:
            at = _asked_at(source, at, error.problem)
            line, column = source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)
            return type(error)(error.problem, template=error.template, line=line, column=column)
    return error


_FIELD = re.compile(r'(?:.* has no field |links has no |there is no block )"(\w+)"|"(\w+)" is asked of')
_NAME = re.compile(r'"(\w+)" is no name')


def _asked_at(source: str, at: int, problem: str) -> int:
    """Return where the field or name that a problem is about is asked for in the expression at an offset, else that offset.

    Jinja gives the place of the last filter of a chain for what fails in its first part, and that of a statement for what
    fails anywhere in it.
    """
    field, name = _FIELD.match(problem), _NAME.match(problem)
    begin = max(source.rfind("{{", 0, at), source.rfind("{%", 0, at))
    ends = [end for end in (source.find("}}", at), source.find("%}", at)) if end >= 0]
    if (field is None and name is None) or begin < 0 or not ends:
        return at
    asked = rf"""(?<![.\w'"]){name[1]}(?![\w'"]|\s*=(?!=))""" if name is not None else ""
    if field is not None:
        word = field[1] or field[2]
        asked = rf"""(?<=\.){word}\b|\[(?=['"]{word}['"])"""
    places = [match.span() for match in re.compile(asked).finditer(source, begin, min(ends))]
    if any(at == end for _, end in places):  # there already, behind the name
        return at
    # Which of several fields by one name is meant, nobody knows; a name that is none is wrong wherever it stands.
    return places[0][0] if len(places) == 1 or (places and name is not None) else at


def _source(library: TemplateLibrary, path: str, line: int) -> str:
    """Return what Jinja was given of a file: its body, or the line of the front matter."""
    template = library.parse(path)
    for inline in (template.subject, template.preheader):
        if inline.source and inline.line == line:
            return LibraryLoader.placed(inline)
    return "\n" * (template.body_line - 1) + template.body
