"""What a link shows that is none of ours, or whose subject is gone: a plain page, the same for every reason."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from engine.web.paper import page, words_for


def gone(request: Request, heading: str = "gone_title", words: str = "gone", status: int = 404) -> Response:
    """Return the page for a link that leads nowhere."""
    t = words_for(request, None)
    return page(request, "told", {"heading": t[heading], "words": t[words], "link": ""}, status=status)
