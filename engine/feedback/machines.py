"""Who opens and clicks: people, or the programs that look at a mail before or instead of them.

Comes in: what a request says of itself. Goes out: whether a program made it. Known are link scanners, mail gateways and
scripts by name; Apple's Mail Privacy Protection, which loads every picture and calls itself `Mozilla/5.0` and nothing more;
and Gmail's fetching ahead, which claims to be an Edge of 2015. Gmail's image proxy alone is no such sign: it also fetches
when a person opens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PROGRAMS = re.compile(
    r"bot\b|crawler|spider|scanner|barracuda|mimecast|proofpoint|safelinks|urldefense|python-requests|python-httpx|aiohttp"
    r"|curl/|wget/|go-http-client|java/|headless|monitor|preview|facebookexternalhit|whatsapp|slackbot|okhttp|libwww",
    re.IGNORECASE,
)
_APPLE_PRIVACY = "Mozilla/5.0"
_GMAIL_AHEAD = "Edge/12.246 Mozilla/5.0"
_AHEAD = ("sec-purpose", "purpose", "x-purpose", "x-moz")


def is_program(agent: str) -> bool:
    """Return whether a User-Agent is that of a program without a person; none at all is one too.

    >>> is_program("Mozilla/5.0"), is_program("curl/8.0"), is_program("Mozilla/5.0 (iPhone) AppleWebKit/605 Safari/604")
    (True, True, False)
    """
    plain = agent.strip()
    return plain in ("", _APPLE_PRIVACY) or plain.endswith(_GMAIL_AHEAD) or bool(_PROGRAMS.search(plain))


def is_ahead(headers: Mapping[str, str]) -> bool:
    """Return whether a request says that it only fetches ahead, before anybody asked."""
    return any(word in headers.get(name, "").lower() for name in _AHEAD for word in ("prefetch", "preview"))
