"""The attributes of MJML, by tag: what the compiler writes, and what it leaves out without a word.

Comes in: a tag of MJML and the names of its attributes. Goes out: what is wrong with each. The lists are MJML's own
(4.15), tried one by one with the compiler (mrml): what is in `IGNORED` is MJML, and changes nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PAD = "padding padding-top padding-right padding-bottom padding-left"
_BORDER = "border border-top border-right border-bottom border-left"
_INNER_BORDER = "inner-border inner-border-top inner-border-right inner-border-bottom inner-border-left"
_FONT = "font-family font-size font-style font-weight"
_GROUND = "background-url background-repeat background-size background-position background-position-x background-position-y"
_ICON = (
    "icon-align icon-height icon-position icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt "
    "icon-wrapped-url"
)
_WRITTEN = {
    "mjml": "lang dir owa",
    "mj-body": "background-color width",
    "mj-font": "name href",
    "mj-breakpoint": "width",
    "mj-raw": "position",
    "mj-head": "", "mj-attributes": "", "mj-title": "", "mj-preview": "", "mj-style": "inline",
    "mj-text": f"{_PAD} {_FONT} align color container-background-color height letter-spacing line-height text-decoration "
               "text-transform vertical-align",
    "mj-image": f"{_PAD} align alt border border-left border-radius border-right container-background-color "
                "fluid-on-mobile font-size height href max-height name rel src srcset target title usemap width",
    "mj-button": f"{_PAD} {_BORDER} {_FONT} align background-color border-radius color container-background-color height "
                 "href inner-padding letter-spacing line-height name rel target text-align text-decoration text-transform "
                 "vertical-align width",
    "mj-divider": f"{_PAD} align border-color border-style border-width container-background-color width",
    "mj-spacer": f"{_PAD} container-background-color height",
    "mj-table": f"{_PAD} align border cellpadding cellspacing color container-background-color font-family font-size "
                "line-height table-layout vertical-align width",
    "mj-column": f"{_PAD} {_BORDER} {_INNER_BORDER} background-color border-radius direction inner-background-color "
                 "inner-border-radius vertical-align width",
    "mj-group": "background-color direction vertical-align width",
    "mj-section": f"{_PAD} {_BORDER} {_GROUND} background-color border-radius direction full-width text-align",
    "mj-wrapper": f"{_PAD} {_BORDER} {_GROUND} background-color border-radius direction full-width text-align",
    "mj-hero": f"{_PAD} inner-padding inner-padding-top inner-padding-right inner-padding-bottom inner-padding-left "
               "background-color background-height background-position background-url background-width height "
               "inner-background-color mode vertical-align",
    "mj-social": f"{_PAD} {_FONT} align border-radius color container-background-color icon-height icon-padding icon-size "
                 "inner-padding line-height mode text-decoration text-padding vertical-align",
    "mj-social-element": f"{_PAD} {_FONT} align alt background-color border-radius color href icon-height icon-padding "
                         "icon-size line-height name rel src target text-decoration text-padding title vertical-align",
    "mj-navbar": f"{_PAD} align base-url hamburger ico-align ico-close ico-color ico-font-family ico-font-size "
                 "ico-line-height ico-open ico-padding ico-padding-bottom ico-padding-left ico-padding-right "
                 "ico-padding-top ico-text-decoration ico-text-transform",
    "mj-navbar-link": f"{_PAD} {_FONT} color href letter-spacing line-height name rel target text-decoration text-transform",
    "mj-accordion": f"{_PAD} {_ICON} border container-background-color font-family",
    "mj-accordion-element": f"{_ICON} background-color border font-family",
    "mj-accordion-title": f"{_PAD} background-color color font-family font-size",
    "mj-accordion-text": f"{_PAD} background-color color font-family font-size font-weight letter-spacing line-height",
    "mj-carousel": f"{_PAD} align border-radius container-background-color icon-width left-icon right-icon tb-border "
                   "tb-border-radius tb-hover-border-color tb-selected-border-color tb-width thumbnails",
    "mj-carousel-image": "alt border-radius href rel src target tb-border tb-border-radius thumbnails-src title",
}  # fmt: skip
_EVERYWHERE = frozenset(["css-class", "mj-class"])
_BARE = frozenset(
    [
        "mjml",
        "mj-head",
        "mj-attributes",
        "mj-title",
        "mj-preview",
        "mj-style",
        "mj-font",
        "mj-breakpoint",
        "mj-raw",
    ]
)
WRITTEN: Mapping[str, frozenset[str]] = {
    tag: frozenset(names.split()) | (frozenset() if tag in _BARE else _EVERYWHERE)
    for tag, names in _WRITTEN.items()
}
"""The attributes that have an effect, by tag."""

IGNORED: Mapping[str, Mapping[str, str]] = {
    "mj-text": {"background-color": "write container-background-color"},
    "mj-image": {
        "border-top": "write border", "border-bottom": "write border", "sizes": "give the picture a width in px",
    },
    "mj-button": {"title": "say it in the button's words"},
    "mj-spacer": dict.fromkeys(_BORDER.split(), "use <mj-divider>"),
    "mj-table": {"font-weight": "write style=… on the cells", "role": "leave it out; tables are marked as layout"},
    "mj-section": {"text-padding": "write padding"},
    "mj-wrapper": {"gap": "give the sections a padding", "text-padding": "write padding"},
    "mj-hero": {"border-radius": "leave it out", "container-background-color": "write background-color"},
    "mj-social": {"table-layout": "leave it out"},
    "mj-social-element": {
        "icon-position": "leave it out", "sizes": "write icon-size", "srcset": "write src",
    },
    "mj-accordion-title": {"font-weight": "write <b> around the words"},
}  # fmt: skip
"""The attributes of MJML that change nothing here, by tag, with what to do instead."""

OFTEN_MEANT: Mapping[str, str] = {
    "class": "css-class", "bgcolor": "background-color", "background": "background-color", "font": "font-family",
    "margin": "padding", "size": "font-size", "link": "href", "url": "href", "weight": "font-weight",
    "text-color": "color", "image": "src",
}  # fmt: skip
"""What other languages call it."""

_ANY = frozenset().union(*WRITTEN.values())


def written(tag: str) -> frozenset[str] | None:
    """Return the attributes that have an effect on a tag; None for a tag that is not known.

    `mj-all` and `mj-class` set defaults, so that they have those of all tags.
    """
    if tag == "mj-all":
        return _ANY
    return _ANY | {"name"} if tag == "mj-class" else WRITTEN.get(tag)


_INSIDE = re.compile(
    r"""\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|"(?:\{[{%#].*?[}%#]\}|[^"])*"|'(?:\{[{%#].*?[}%#]\}|[^'])*'|>""",
    re.DOTALL,
)


def offset_in(source: str, start: int, name: str) -> int | None:
    """Return where an attribute of the tag that begins at `start` stands in a template's source, through its Jinja.

    >>> offset_in('<mj-text {% if x > 1 %}align="left"{% endif %} colour="red">', 0, "colour")
    47
    """
    end = next((match.start() for match in _INSIDE.finditer(source, start) if match[0] == ">"), len(source))
    for match in re.compile(rf"(?<![\w:-]){re.escape(name)}(?=\s*=)").finditer(source, start, end):
        if not any(
            quoted.start() < match.start() < quoted.end() and quoted[0][0] in "\"'"
            for quoted in _INSIDE.finditer(source, start, end)
        ):
            return match.start()
    return None
