r"""MJML to HTML behind one function, with the compiler's known faults fenced off.

The compiler is mrml (through mjml-python). Measured with mrml 6.0.1: inside attribute values and the title it writes
newline, tab, backslash, no-break space, many combining marks, joiners and wide spaces in Rust's debug form (`\u{a0}`);
it breaks on quotes inside single quotes, and some ten thousand nested elements overflow its stack and end the process.
So attribute values go in as character references, control characters are taken out, and depth is bounded. What comes
out holds no address but http, https, mailto, tel and cid.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache

from mjml import mjml2html

from engine.render.errors import RenderError, TooMuch

MAX_MJML = 1_000_000
MAX_DEPTH = 100
_FEW_TAGS = 1_500
TAG = re.compile(r"""<!--.*?-->|</?[A-Za-z][^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*>""", re.DOTALL)
_VALUE = re.compile(r'"[^"]*"|\'[^\']*\'')
_DAMAGED = re.compile(r"[^\x20-\x7e]|\\")
_DAMAGED_OR_QUOTE = re.compile(r"[^\x20-\x7e]|[\\\"]")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_TITLE = re.compile(r"(<mj-title>)(.*?)(</mj-title>)", re.DOTALL)
_ADDRESS = re.compile(
    r"""\s(?:href|src|action|formaction|background|background-url|poster|data|xlink:href)="([^"]*)\""""
)
_ACTIVE = re.compile(r"<(?:script|iframe|object|embed|form|base)\b|on[a-z]{3,24}\s*=")
_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):", re.IGNORECASE)
_SCHEMES = frozenset({"http", "https", "mailto", "tel", "cid"})
_PREVIEW = "display:none;font-size:1px;color:#ffffff;line-height:1px;max-height:0px;max-width:0px;opacity:0;overflow:hidden;"
# White on white in the smallest size is what spam does: SpamAssassin takes 0.8 points for it. Hidden is enough.
_HIDDEN = "display:none;max-height:0;max-width:0;opacity:0;overflow:hidden;mso-hide:all;"
_POSITION = re.compile(r"at position (\d+)")


def compile(mjml: str) -> str:  # noqa: A001 - what it does; always called as mjml.compile
    """Return the HTML of an MJML document; raise RenderError where it is none, or too large or too deep."""
    fenced = fence(mjml)
    try:
        compiled = mjml2html(fenced, fonts={})
    except ValueError as error:
        raise RenderError(_explained(fenced, str(error))) from error
    except BaseException as error:  # a Rust panic is a BaseException of its own
        if type(error).__name__ != "PanicException":
            raise
        raise RenderError("the MJML cannot be compiled") from error
    _refuse_unsafe(compiled)
    return compiled.replace(_PREVIEW, _HIDDEN, 1)


def fence(mjml: str) -> str:
    r"""Return the same document with everything encoded that the compiler would damage.

    >>> fence('<mj-image alt="3\u00a0€" />')
    '<mj-image alt="3&#160;&#8364;" />'
    """
    if len(mjml) > MAX_MJML:
        raise TooMuch(f"the MJML is longer than {MAX_MJML:,} characters")
    mjml = _FORBIDDEN.sub("", mjml.strip())
    if mjml.count("<") > _FEW_TAGS:
        _refuse_depth(mjml)
    return _TITLE.sub(_fenced_title, TAG.sub(_fenced_tag, mjml), count=1)


def attribute(value: str) -> str:
    """Return an escaped value as it stands in an attribute of the compiled HTML."""
    return _DAMAGED_OR_QUOTE.sub(_reference, value)


def _fenced_tag(match: re.Match[str]) -> str:
    tag = match[0]
    if _DAMAGED.search(tag) is None and "'" not in tag:
        return tag
    if tag.startswith("<!--"):  # the compiler reads the tags in Outlook's comments too, and no others
        return "<!--[if" + TAG.sub(_fenced_tag, tag[7:]) if tag.startswith("<!--[if") else tag
    return _VALUE.sub(_fenced_value, tag)


def _fenced_value(match: re.Match[str]) -> str:
    return f'"{attribute(match[0][1:-1])}"'


def _fenced_title(match: re.Match[str]) -> str:
    return match[1] + attribute(match[2]) + match[3]


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def _refuse_depth(mjml: str) -> None:
    depth = 0
    for match in TAG.finditer(mjml):
        tag = match[0]
        if tag.startswith("</"):
            depth -= 1
        elif not tag.endswith(("/>", "-->")):
            depth += 1
            if depth > MAX_DEPTH and not _is_void(tag):
                raise TooMuch(f"elements are nested more than {MAX_DEPTH} deep")
        if _is_void(tag) and not tag.endswith("/>"):
            depth -= 1


def _is_void(tag: str) -> bool:
    return re.match(r"<(?:br|hr|img|meta|link|input|col|wbr|area|source)\b", tag, re.IGNORECASE) is not None


def _refuse_unsafe(compiled: str) -> None:
    for address in set(_ADDRESS.findall(compiled)):
        if not _is_safe_address(address):
            raise RenderError(
                "a link or picture in this mail has an address that is neither http(s), mailto nor tel"
            )
    lower = compiled.lower()
    for match in _ACTIVE.finditer(lower, lower.find("<body")):
        start = match.start()
        if lower[start] == "<" or (lower[start - 1].isspace() and _in_tag(lower, start)):
            raise RenderError("a mail holds no scripts, frames, forms or on… attributes")


def _in_tag(text: str, position: int) -> bool:
    """Return whether a position stands inside a tag and outside of its quoted values."""
    start = text.rfind("<", 0, position)
    return start > text.rfind(">", 0, position) and text.count('"', start, position) % 2 == 0


@lru_cache(maxsize=4096)
def _is_safe_address(address: str) -> bool:
    plain = re.sub(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028\u2029\ufeff]", "", html.unescape(address))
    scheme = _SCHEME.match(plain)
    return scheme is None or scheme[1].lower() in _SCHEMES


def _explained(mjml: str, problem: str) -> str:
    """Return a plain sentence for the compiler's message, with what stands at its position."""
    position = _POSITION.search(problem)
    near = re.sub(r"\s+", " ", mjml[int(position[1]) :][:40]).strip() if position and mjml.isascii() else ""
    if "unexpected end" in problem or "unexpected element" in problem:
        return "an element of the MJML is not closed" + (f", near {near}" if near else "")
    if "parse next" in problem:
        return "the MJML has a bare < or a malformed tag; write &lt; for the sign"
    if "include" in problem:
        return "mj-include is not known here; use {% include %}"
    return "the MJML cannot be compiled" + (f", near {near}" if near else "")
