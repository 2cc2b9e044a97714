"""One mail from a template and a context: the entry of this stage.

A library, a template's name and a frozen `RenderContext` come in; subject, preheader, HTML and text go out as a frozen
`Rendered`. The same input gives the same bytes; nothing is fetched, sent, or read from a clock (a rendering is only
cut off when it takes too long). Every failure is a `RenderError` with the author's file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from markupsafe import escape

from engine.render import mjml, text
from engine.render.context import Record, RenderContext
from engine.render.environment import BUDGET, FORMATS, Blocks, MailEnvironment, guarded, run
from engine.render.errors import RenderError
from engine.render.library import TemplateLibrary, Variant
from engine.render.limits import Budget
from engine.render.locales import Formats, direction, formatting_locale
from engine.render.template import Inline

MAX_LINE = 998
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_ROOT = re.compile(r"<mjml\b([^>]*)>")
_HEAD = re.compile(r"<mj-head\s*>")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered mail without its addresses.

    `size` is the HTML's length in bytes (Gmail clips at 102,000); `locale` is the one that dates and money are written
    in; `template_path` is the copy that was taken, below templates/.
    """

    subject: str
    preheader: str
    html: str
    text: str
    size: int
    locale: str
    template_path: str


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

    def use(self, environment: MailEnvironment) -> None:
        """Render with another environment from here on."""
        self.environment = environment
        self.values["blocks"] = Blocks(environment, self.values)

    def line(self, part: str) -> str:
        """Return the subject or preheader as one line of plain text."""
        inline: Inline = getattr(self.variant.template, part)
        if not inline.source:
            return ""
        return one_line(self.run(f"{self.name}.mjml#{part}"))

    def mjml(self) -> str:
        """Return the MJML document with language, title and preview in its head."""
        return _with_head(self.run(f"{self.name}.mjml"), self.values)

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
    prepared = prepare(library, template_name, context, locale=locale)
    path = prepared.variant.template.path
    try:
        prepared.values["subject"] = _own_subject(prepared, subject) if subject else prepared.line("subject")
        if not prepared.values["subject"]:
            raise RenderError("this mail has no subject")
        prepared.values["preheader"] = prepared.line("preheader")
        compiled = mjml.compile(prepared.mjml())
    except RenderError as error:
        raise error.placed(f"templates/{path}") from error
    return Rendered(
        subject=prepared.values["subject"],
        preheader=prepared.values["preheader"],
        html=compiled,
        text=text.text_of(compiled),
        size=len(compiled.encode()),
        locale=prepared.locale,
        template_path=path,
    )


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
    environment = library.environment(variant.chain)
    shop_locale = str(context.shop.get("locale") or "en")
    spoken = variant.folder or shop_locale.replace("_", "-")
    written = formatting_locale(variant.folder, wanted, shop_locale)
    zone = context.now.tzinfo or UTC
    values = context.values()
    values.update({block.name: () for block in variant.template.recommend if block.name not in values})
    values["words"] = Record("words", library.words(variant.chain))
    values["locale"], values["direction"] = spoken, direction(spoken)
    values["subject"] = values["preheader"] = ""
    values[BUDGET] = Budget()
    values[FORMATS] = Formats(written, zone, str(context.shop.get("currency") or "EUR"))
    values["blocks"] = Blocks(environment, values)
    return Prepared(library, variant, context, values, written, template_name, environment)


def one_line(value: str) -> str:
    r"""Return text for a header or a list view: one line, no control or direction characters.

    >>> one_line(" Hello\r\nBcc: everyone ")
    'Hello Bcc: everyone'
    """
    return " ".join(_CONTROL.sub(" ", value).split(" ")).strip()[:MAX_LINE]


def _own_subject(prepared: Prepared, source: str) -> str:
    return one_line(guarded(lambda: prepared.environment.line(source).render(prepared.values), "", str))


def _with_head(document: str, values: dict[str, Any]) -> str:
    root = _ROOT.search(document)
    if root is None:
        raise RenderError("this is no MJML document; begin with <mjml>, or extend a layout")
    head = ""
    if "<mj-title" not in document:
        head += f"<mj-title>{escape(values['subject'])}</mj-title>"
    if "<mj-preview" not in document and values["preheader"]:
        head += f"<mj-preview>{escape(values['preheader'])}</mj-preview>"
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
