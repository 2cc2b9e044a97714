"""`/images/NAME.png`: the pictures of the demo shop's products, and of the sample products in previews.

Comes in: a file name. Goes out: its picture, which browsers, and the mail programs' own stores, may keep for a week and ask
for again by its tag. Only the names that travel with the program are answered: no path leads anywhere else.
"""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.deploy.pictures import PATH, picture
from engine.web.links.gone import gone

_KEPT = "public, max-age=604800, stale-while-revalidate=86400"


def routes() -> list[Route]:
    """Return the route of the pictures."""
    return [Route(f"{PATH}/{{name}}", _show, methods=["GET"])]


async def _show(request: Request) -> Response:
    content = picture(request.path_params["name"])
    if content is None:
        return gone(request, "missing_title", "missing", 404)
    tag = f'"{hashlib.blake2b(content, digest_size=8).hexdigest()}"'
    # A mail is read on other sites' pages, which must be let to show it.
    headers = {"cache-control": _KEPT, "etag": tag, "cross-origin-resource-policy": "cross-origin"}
    asked = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if asked & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)
