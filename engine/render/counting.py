"""Links of ours in the place of a mail's links, so that clicks and opens can be counted; only where the shop wants it.

Comes in: the HTML of one finished mail. Goes out: the HTML with each link to somewhere else led over `/r/TOKEN`, and the
addresses, which the message keeps: a token holds a number, so nobody can make it lead anywhere else. The text part stays
as it is, with the plain addresses. What already leads to our own pages (unsubscribe, preferences, answers) is left alone.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from engine.render.links import ACTIONS, SignedLinks

# Links of people and, in Outlook's comments, of its shapes; never `<link>`, which loads fonts.
_LINK = re.compile(r"""(<(?:a|area|v:[a-z]+)\b[^>]*?\shref=)("([^"]*)"|'([^']*)')""", re.IGNORECASE)
_POINT = '<img src="{}" width="1" height="1" alt="" style="display:block;width:1px;height:1px;border:0">'


@dataclass(frozen=True, slots=True)
class Counted:
    """A mail whose looks are counted: its HTML, and where each of its links leads, by number."""

    html: str
    links: tuple[str, ...] = ()


def counted(markup: str, links: SignedLinks, *, clicks: bool, opens: bool) -> Counted:
    """Return the mail with links that count clicks, and a picture of one point that counts opens."""
    numbers: dict[str, int] = {}
    own = re.compile(rf"{re.escape(links.base_url.rstrip('/'))}/[{''.join(ACTIONS)}]/")

    def led(found: re.Match[str]) -> str:
        url = html.unescape(found[3] if found[3] is not None else found[4]).strip()
        if not url.lower().startswith(("https://", "http://")) or own.match(url):
            return found[0]
        return f'{found[1]}"{links.click(numbers.setdefault(url, len(numbers)))}"'

    if clicks:
        markup = _LINK.sub(led, markup)
    if opens:
        before, end, after = markup.rpartition("</body>")
        point = _POINT.format(links.open())
        markup = f"{before}{point}{end}{after}" if end else markup + point
    return Counted(markup, tuple(numbers))
