"""A preview that follows the files: the page served on this machine only, made anew after each save.

Comes in: what makes the page for a version, and what calls back after each save. Goes out: a small server at 127.0.0.1 that
answers `/` with the page and `/version` with its version, until the watching ends. What keeps the page from being made
is shown in its place, and the next save tries again.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engine.errors import HomingError, OutsideError

_BROKEN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Cannot be shown</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.6 system-ui,sans-serif;max-width:46rem;margin:12vh auto;padding:0 1.5rem;color:#23262a;background:#f3f2ee}}
h1{{font:600 1.3rem/1.3 Georgia,serif}}pre{{white-space:pre-wrap;overflow-wrap:anywhere;background:#fff;border:1px solid #dcdad3;
border-radius:12px;padding:1rem 1.25rem}}@media(prefers-color-scheme:dark){{body{{background:#15171a;color:#eceae5}}pre{{background:#1e2124;border-color:#34383c}}}}</style>
<h1>The mails cannot be shown</h1><pre>{}</pre><p>Save the file again, and this page follows.</p>
<script>setInterval(async () => {{ try {{ if (await (await fetch("version")).text() !== "{}") location.reload(); }} catch {{}} }}, 500);</script>
"""


class LivePreview:
    """Serves the newest page; `renew` makes it. `make` gets the version and returns the page, or raises HomingError.

    `version` counts the pages made so far; `problem` says why the last one could not be made.
    """

    def __init__(self, make: Callable[[str], str], port: int = 0) -> None:
        self._make = make
        self.version = 0
        self._page = ""
        self.problem = ""
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except OSError as error:
            raise OutsideError(
                f"port {port} of this machine cannot be had: {error.strerror}; choose another by --port"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def renew(self) -> None:
        """Make the page of what lies in the files now; readers who have it open get it by themselves."""
        version = str(self.version + 1)
        try:
            page, problem = self._make(version), ""
        except HomingError as error:
            problem = str(error)
            page = _BROKEN.format(html.escape(problem), version)
        self._page, self.problem, self.version = page, problem, self.version + 1

    def __enter__(self) -> LivePreview:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, host: str) -> tuple[int, str, str]:
        """Return status, type and body for a request; only this machine's own names are answered."""
        if host.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
            return 403, "text/plain", "this page is for this machine only"
        if path == "/version":
            return 200, "text/plain", str(self.version)
        if path == "/":
            return 200, "text/html", self._page
        return 404, "text/plain", "there is nothing here"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0], self.headers.get("Host", ""))
                content = body.encode("utf-8")
                self.send_response(status)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing: the page asks twice a second."""

        return Handler
