"""One mail from a template and a context: the entry of this stage.

A library, a template's name and a frozen `RenderContext` come in; subject, preheader, HTML and text go out as a frozen
`Rendered`. The same input gives the same bytes; nothing is fetched, sent, or read from a clock (a rendering is only
cut off when it takes too long). Every failure is a `RenderError` with the author's file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from typing import Any

from markupsafe import escape

from engine.render import mjml, text
from engine.render.capture import hides_marks, transformed
from engine.render.codes import Codes
from engine.render.context import RenderContext
from engine.render.environment import BUDGET, FORMATS, Blocks, Flat, MailEnvironment, Names, guarded, run
from engine.render.errors import RenderError
from engine.render.laying import Written
from engine.render.library import TemplateLibrary, Variant
from engine.render.limits import Budget
from engine.render.locales import Formats, direction, formatting_locale
from engine.render.names import check_names
from engine.render.pieces import Finished, Unfit
from engine.render.pinpoint import by_character, pinpointed
from engine.render.structures import Tokens
from engine.render.template import Inline
from engine.render.values import Values

MAX_LINE = 998
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_ROOT = re.compile(r"<mjml\b([^>]*)>")
_HEAD = re.compile(r"<mj-head\s*>")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered mail without its addresses.

    `size` is that of the HTML (Gmail clips at 102,000); `locale` is the one that dates and money are written in;
    `template_path` is the copy that was taken, below templates/.
    """

    subject: str
    preheader: str
    html: str
    text: str
    locale: str
    template_path: str

    @property
    def size(self) -> int:
        """The HTML's length in bytes."""
        return len(self.html.encode())


@dataclass(slots=True)
class Prepared:
    """One rendering under way: the copy of the template that was chosen, and all values by name."""

    library: TemplateLibrary
    variant: Variant
    context: RenderContext
    values: dict[str, Any]
    locale: str
    name: str
    environment: MailEnvironment
    asked: str | None = None  # the locale that was asked for

    def renewed(self) -> Prepared:
        """Return the same rendering with nothing done but its lines, and a budget of its own."""
        again = prepare(self.library, self.name, self.context, locale=self.asked, variant=self.variant)
        again.values["subject"], again.values["preheader"] = self.values["subject"], self.values["preheader"]
        return again

    def tokenized(self) -> tuple[str, Tokens]:
        """Return the MJML document with numbered tokens for its values, and the tokens."""
        name = f"{self.name}.mjml"
        flat = self.environment.flat(name)
        tokens = self.values[BUDGET].tokens = Tokens()
        self.values["blocks"] = Blocks(self.environment, self.values)  # with the lines that are known now
        if flat is None or flat.codes is not None:
            document = self.run(name)
        else:
            document = guarded(lambda: flat.written(self.values), name, str)
        return _with_head(document, self.values, tokens.take), tokens

    def coded(self, flat: Flat, codes: Codes) -> tuple[Written, Sequence[str]]:
        """Return the word of the mail's structure, and its values; `flat` is the mail as one template, with its codes."""
        values = self.values[BUDGET].tokens = Values()
        word = guarded(lambda: flat.written(self.values), f"{self.name}.mjml", str)
        mark = f"{flat.mark}+" if self.values["preheader"] else flat.mark
        return Written(mark, word, codes, self._admit), values.taken

    def _admit(self, document: str) -> None:
        """Raise Unfit for a document that does not say its language, title and preview itself."""
        root = _ROOT.search(document)
        if root is None or not _is_whole(document, root, self.values):
            raise Unfit  # what is put in comes before what was taken earlier

    def by_character(self) -> None:
        """Run everything once more in an environment that tells the columns of errors."""
        again = prepare(self.library, self.name, self.context, locale=self.asked, variant=self.variant)
        again.use(by_character(self.library, self.variant.chain))
        for part in ("subject", "preheader"):
            again.values[part] = self.values[part] or again.line(part)
        again.mjml()

    def use(self, environment: MailEnvironment) -> None:
        """Render with another environment from here on."""
        self.environment = environment
        self.values["blocks"] = Blocks(environment, self.values)

    def line(self, part: str) -> str:
        """Return the subject or preheader as one line of plain text."""
        inline: Inline = getattr(self.variant.template, part)
        if "{" not in inline.source:
            return _fixed_line(inline.source)
        return one_line(self.run(f"{self.name}.mjml#{part}"))

    def mjml(self) -> str:
        """Return the MJML document with language, title and preview in its head."""
        self.values["blocks"] = Blocks(self.environment, self.values)  # with the lines that are known now
        return _with_head(self.run(f"{self.name}.mjml"), self.values, str)

    def run(self, name: str) -> str:
        """Return what one of the library's templates writes with these values."""
        chain = self.variant.chain

        def where(asked: str) -> str:
            found = self.library.find(asked.partition("#")[0], chain)
            return f"templates/{found}" if found else f"templates/{self.variant.template.path}"

        return run(self.environment, name, self.values, where)


def render(
    library: TemplateLibrary,
    template_name: str,
    context: RenderContext,
    *,
    locale: str | None = None,
    subject: str | None = None,
) -> Rendered:
    """Return the mail that this customer gets.

    `locale` is the customer's unless another is asked for (a preview); `subject` replaces the template's own (a step's
    `subject:`) and may use the same names. Raises UsageError for an unknown template, RenderError for all else.
    """
    mail = prepare(library, template_name, context, locale=locale)
    path = mail.variant.template.path
    try:
        mail.values["subject"] = _own_subject(mail, subject) if subject else mail.line("subject")
        if not mail.values["subject"]:
            raise RenderError("this mail has no subject")
        mail.values["preheader"] = mail.line("preheader")
        html, words = _made(mail)
    except RenderError as error:
        raise pinpointed(error.placed(f"templates/{path}"), library, mail.by_character) from error
    return Rendered(
        subject=mail.values["subject"],
        preheader=mail.values["preheader"],
        html=html,
        text=words,
        locale=mail.locale,
        template_path=path,
    )


def _made(mail: Prepared) -> tuple[str, str]:
    """Return HTML and text: from kept structures where the template allows it, else the plain way."""
    kept = mail.library.structures
    if not _is_structural(mail):
        kept.tally.plain += 1
        return plainly(mail)
    try:
        found = _from_structures(mail)
    except (Unfit, RenderError):  # told by the plain way, if it fails there too
        kept.tally.plain += 1
        return plainly(mail.renewed())
    if not kept.count(found):
        return found.html, found.text
    plain = plainly(mail.renewed())
    if plain != (found.html, found.text):
        kept.tally.differed += 1
        kept.judged[mail.variant.template.path, mail.variant.chain] = False
    return plain


def _from_structures(mail: Prepared) -> Finished:
    kept = mail.library.structures
    flat = mail.environment.flat(f"{mail.name}.mjml")
    if flat is None or flat.codes is None:
        document, tokens = mail.tokenized()
        return kept.finish(document, tokens.values)
    found, whole = kept.laying.finish(*mail.coded(flat, flat.codes))
    kept.tally.laid += whole
    return found


def plainly(mail: Prepared) -> tuple[str, str]:
    """Return HTML and text of a rendering as compiling the whole document gives them: what all else is held against."""
    compiled = mjml.compile(mail.mjml())
    return compiled, text.text_of(compiled)


def _is_structural(mail: Prepared) -> bool:
    """Return whether nothing in a template's files keeps values and structure from being told apart."""
    library, template, chain = mail.library, mail.variant.template, mail.variant.chain
    judged = library.structures.judged
    known = judged.get((template.path, chain))
    if known is None:
        try:
            drawn = [library.parse(path) for path in check_names(library, template.path, chain)[1]]
            known = not any(map(hides_marks, drawn)) and not transformed(drawn)
        except RecursionError:  # brackets without end: rendering says so
            known = False
        judged[template.path, chain] = known
    return known


def prepare(
    library: TemplateLibrary,
    template_name: str,
    context: RenderContext,
    *,
    locale: str | None = None,
    variant: Variant | None = None,
) -> Prepared:
    """Return a rendering with its template chosen (by the locale, else `variant`) and its values in place, not yet run."""
    wanted = locale or context.customer.get("locale")
    variant = variant or library.variant(template_name, wanted)
    environment = library.environment(variant.chain, context.shop, context.brand)
    shop_locale = str(context.shop.get("locale") or "en")
    spoken = variant.folder or shop_locale.replace("_", "-")
    written = formatting_locale(variant.folder, wanted, shop_locale)
    zone = context.now.tzinfo or UTC
    values = Names(environment.globals)
    values.update(context.values(environment.constants))
    for block in variant.template.recommend:
        if block.name not in values:
            values[block.name] = ()
    values["locale"], values["direction"] = spoken, direction(spoken)
    values["subject"] = values["preheader"] = ""
    values[BUDGET] = Budget()
    values[FORMATS] = Formats(written, zone, str(context.shop.get("currency") or "EUR"))
    values["blocks"] = Blocks(environment, values)
    return Prepared(library, variant, context, values, written, template_name, environment, locale)


def one_line(value: str) -> str:
    r"""Return text for a header or a list view: one line, no control or direction characters.

    >>> one_line(" Hello\r\nBcc: everyone ")
    'Hello Bcc: everyone'
    """
    if value.replace("\u00a0", "").isprintable() and "  " not in value:
        return value.strip()[:MAX_LINE]
    return " ".join(_CONTROL.sub(" ", value).split(" ")).strip()[:MAX_LINE]


@lru_cache(maxsize=1_000)
def _fixed_line(source: str) -> str:
    return one_line(source)


def _own_subject(prepared: Prepared, source: str) -> str:
    return one_line(guarded(lambda: prepared.environment.line(source).render(prepared.values), "", str))


def _is_whole(document: str, root: re.Match[str], values: dict[str, Any]) -> bool:
    """Return whether a document says its language, title and preview itself, as our layouts do."""
    said = " lang=" in root[1] and " dir=" in root[1] and "<mj-title" in document
    return said and ("<mj-preview" in document or not values["preheader"])


def _with_head(document: str, values: dict[str, Any], written: Callable[[str], str]) -> str:
    root = _ROOT.search(document)
    if root is None:
        raise RenderError("this is no MJML document; begin with <mjml>, or extend a layout")
    if _is_whole(document, root, values):
        return document
    head = ""
    if "<mj-title" not in document:
        head += f"<mj-title>{escape(written(values['subject']))}</mj-title>"
    if "<mj-preview" not in document and values["preheader"]:
        head += f"<mj-preview>{escape(written(values['preheader']))}</mj-preview>"
    if head:
        found = _HEAD.search(document, root.end())
        at = found.end() if found else root.end()
        document = document[:at] + (head if found else f"<mj-head>{head}</mj-head>") + document[at:]
    attributes = root[1]
    if " lang=" not in attributes:
        attributes += f' lang="{escape(values["locale"])}"'
    if " dir=" not in attributes:
        attributes += f' dir="{escape(values["direction"])}"'
    return f"{document[: root.start()]}<mjml{attributes}>{document[root.end() :]}"
