"""All templates of a project as one value: what was applied, not what lies in the folder.

A mapping of paths below templates/ to sources comes in (`read_folder` makes one, the database keeps one); parsed
templates, their findings and ready environments go out. A customer's locale decides which copy is taken, for layouts,
blocks and words too, so that one mail never mixes languages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from jinja2 import BaseLoader, Environment, TemplateNotFound

from engine.diagnostics import Finding, Span, did_you_mean, no_utf8
from engine.errors import FindingsError, OutsideError, UsageError
from engine.flows.nodes import Scalar, Table
from engine.flows.yaml_source import read_yaml
from engine.render import problems
from engine.render.context import Record, constants
from engine.render.environment import MailEnvironment
from engine.render.locales import DEFAULT, is_locale_folder, locale_chain
from engine.render.structures import Structures
from engine.render.template import MAX_SOURCE, Inline, Template, parse_template

SUFFIX = ".mjml"
WORDS = "words.yaml"
PARTS = ("layouts", "blocks")
MAX_FILES = 2_000
MAX_TOTAL = 10_000_000
MAX_ENVIRONMENTS = 24
MAX_VARIANTS = 4_096
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Variant:
    """One copy of a template: `folder` is its locale's folder (empty: the default), `chain` what it may draw on."""

    template: Template
    folder: str
    chain: tuple[str, ...]


class TemplateLibrary:
    """The templates of a project. Never changes; environments and parsed templates are kept once made."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources: Mapping[str, str] = MappingProxyType(dict(sources))
        self.folders = frozenset({DEFAULT} | {folder for path in sources if (folder := split_path(path)[0])})
        self._parsed: dict[str, tuple[Template, tuple[Finding, ...]]] = {}
        self._environments: dict[tuple[Any, ...], MailEnvironment] = {}
        # By chain: those in which the places of errors are found.
        self.searching: dict[tuple[str, ...], MailEnvironment] = {}
        self._words: dict[tuple[str, ...], Mapping[str, str]] = {}
        self._variants: dict[tuple[str, str | None], Variant] = {}
        self.structures = Structures()

    def names(self) -> tuple[str, ...]:
        """Return the names that a flow can send, sorted; layouts and blocks are none."""
        found = {name for path in self.sources if (name := mail_name(path))}
        return tuple(sorted(found))

    def paths(self, name: str) -> tuple[str, ...]:
        """Return the paths of all copies of a template, the default first."""
        wanted = [path for path in self.sources if mail_name(path) == name]
        return tuple(sorted(wanted, key=lambda path: (split_path(path)[0] != DEFAULT, path)))

    def variant(self, name: str, locale: str | None = None) -> Variant:
        """Return the copy of a template for a customer's locale; raise UsageError where there is none at all."""
        known = self._variants.get((name, locale))
        if known is not None:
            return known
        chain = self.chain(locale)
        for position, folder in enumerate(chain):
            path = join_path(folder, name + SUFFIX)
            if path in self.sources and mail_name(path):
                if len(self._variants) >= MAX_VARIANTS:
                    self._variants.clear()
                found = self._variants[name, locale] = Variant(self.parse(path), folder, chain[position:])
                return found
        raise UsageError(_no_template(name, self.names()))

    def template(self, name: str, locale: str | None = None) -> Template:
        """Return the parsed template for a customer's locale: its recommend blocks are what a batch has to fetch."""
        return self.variant(name, locale).template

    def chain(self, locale: str | None) -> tuple[str, ...]:
        """Return the folders for a locale that this library has, most fitting first, ending with the default."""
        return tuple(folder for folder in locale_chain(locale) if folder in self.folders)

    def parse(self, path: str) -> Template:
        """Return the template at a path; what is wrong with it is in `findings`."""
        return self._parse(path)[0]

    def findings(self, path: str) -> tuple[Finding, ...]:
        """Return what is wrong with the front matter of a template."""
        return self._parse(path)[1]

    def _parse(self, path: str) -> tuple[Template, tuple[Finding, ...]]:
        if path not in self._parsed:
            self._parsed[path] = parse_template(mail_name(path) or "", path, self.sources[path])
        return self._parsed[path]

    def find(self, name: str, chain: tuple[str, ...]) -> str | None:
        """Return the path of a file for a chain of folders; the suffix may be left out."""
        wanted = name if name.endswith(SUFFIX) else name + SUFFIX
        return next((path for folder in chain if (path := join_path(folder, wanted)) in self.sources), None)

    def environment(
        self, chain: tuple[str, ...], shop: Mapping[str, Any] = _NOTHING, brand: Mapping[str, Any] = _NOTHING
    ) -> MailEnvironment:
        """Return the environment whose templates come from these folders; compiled templates stay in it.

        What `shop` and `brand` say is the same in every mail, and so it is put in once.
        """
        key = (chain, _frozen(shop), _frozen(brand))
        found = self._environments.get(key)
        if found is None:
            if len(self._environments) >= MAX_ENVIRONMENTS:
                self._environments.clear()
            known = {**constants(shop, brand), "words": Record("words", self.words(chain))}
            found = self._environments[key] = MailEnvironment(LibraryLoader(self, chain), known)
        return found

    def words(self, chain: tuple[str, ...]) -> Mapping[str, str]:
        """Return the words of words.yaml for a chain: a word that a language lacks comes from the next one."""
        if chain not in self._words:
            merged: dict[str, str] = {}
            for folder in reversed(chain):
                merged.update(
                    read_words(self.sources.get(join_path(folder, WORDS), ""), join_path(folder, WORDS))[0]
                )
            self._words[chain] = MappingProxyType(merged)
        return self._words[chain]


class LibraryLoader(BaseLoader):
    """Finds templates for Jinja: `NAME`, or `NAME#subject` and `NAME#preheader` for the lines of the front matter.

    Sources are moved down to the lines on which they stand in the author's file, so that every error names it.
    """

    def __init__(self, library: TemplateLibrary, chain: tuple[str, ...]) -> None:
        self._library, self._chain = library, chain

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return source, file and freshness, as Jinja asks for them."""
        name, _, part = template.partition("#")
        path = self._library.find(name, self._chain)
        if path is None:
            raise TemplateNotFound(name)
        parsed = self._library.parse(path)
        source = self.placed(getattr(parsed, part)) if part else "\n" * (parsed.body_line - 1) + parsed.body
        return source, f"templates/{path}", lambda: True

    @staticmethod
    def placed(inline: Inline) -> str:
        """Return a line's source behind as many line breaks and spaces as stand before it in the file."""
        return "\n" * (inline.line - 1) + " " * (inline.column - 1) + inline.source


def _frozen(values: Mapping[str, Any]) -> Hashable:
    """Return a key for values: equal only where they write the same (1 is not True)."""
    frozen = (tuple(values.items()), tuple(map(type, values.values())))
    try:
        hash(frozen)
    except TypeError:
        return repr(frozen)
    return frozen


def split_path(path: str) -> tuple[str, str]:
    """Return the locale's folder and the rest: `ja/cart.mjml` → (`ja`, `cart.mjml`), `cart.mjml` → ("", …)."""
    first, slash, rest = path.partition("/")
    return (first, rest) if slash and is_locale_folder(first) else (DEFAULT, path)


def join_path(folder: str, name: str) -> str:
    """Return the path of a name in a locale's folder."""
    return f"{folder}/{name}" if folder else name


def mail_name(path: str) -> str | None:
    """Return the name by which a flow sends the template at a path; None for layouts, blocks and words."""
    rest = split_path(path)[1]
    if not rest.endswith(SUFFIX) or rest.split("/")[0] in PARTS:
        return None
    return rest.removesuffix(SUFFIX)


def read_words(source: str, path: str) -> tuple[dict[str, str], list[Finding]]:
    """Return the words in a words.yaml (`key: text` lines) and what is wrong with it."""
    file = f"templates/{path}"
    findings: list[Finding] = []
    node = read_yaml(source, file, findings) if source.strip() else Table(())
    if not isinstance(node, Table):
        return {}, findings or [problems.bad_words(Span(file, 1, 1), "this file holds `key: text` lines")]
    words: dict[str, str] = {}
    for entry in node:
        if isinstance(entry.value, Scalar):
            words[entry.key] = "" if entry.value.value is None else str(entry.value.value)
        else:
            findings.append(problems.bad_words(entry.key_span, f'"{entry.key}" is one line of text'))
    return words, findings


def read_folder(folder: Path) -> dict[str, str]:
    """Return the sources below templates/ by path: *.mjml and words.yaml, UTF-8.

    Hidden files are passed over; a link that leads out of the folder, a file beyond 200,000 characters, or more than
    2,000 files or 10 MB raise FindingsError. A folder that is not there gives an empty mapping.
    """
    root = folder.resolve()
    sources: dict[str, str] = {}
    findings: list[Finding] = []
    for path in sorted(_files(root)):
        name = PurePosixPath(path.relative_to(root)).as_posix()
        try:
            sources[name] = _read(path, root)
        except UnicodeDecodeError as error:
            findings.append(problems.unreadable(*no_utf8(f"templates/{name}", error)))
        except ValueError as error:
            findings.append(problems.unreadable(Span(f"templates/{name}", 1, 1), str(error)))
    if len(sources) > MAX_FILES or sum(map(len, sources.values())) > MAX_TOTAL:
        findings.append(problems.unreadable(Span("templates"), "the templates are too many or too long"))
    if findings:
        raise FindingsError(findings)
    return sources


def _files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.is_file() and (path.suffix == SUFFIX or path.name == WORDS):
            yield path


def _read(path: Path, root: Path) -> str:
    if not path.resolve().is_relative_to(root):
        raise ValueError("this is a link to a file outside of templates/")
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_SOURCE * 4 else b"x" * (MAX_SOURCE + 1)
        source = raw.decode("utf-8-sig")
    except OSError as error:
        raise OutsideError(f"templates/{path.name} cannot be read: {error.strerror}") from error
    if len(source) > MAX_SOURCE:
        raise ValueError(f"this template is longer than {MAX_SOURCE:,} characters")
    return source


def _no_template(name: str, known: tuple[str, ...]) -> str:
    hint = did_you_mean(name, known)
    return f'there is no template "{name}"' + (f"; {hint}" if hint else "")
