"""Talks to a language server over stdio as an editor does: requests, notifications, and what the server asks back.

Comes in: the command that starts the server, and a folder with schemas. Goes out: diagnostics, hovers and completions of
documents that are opened in it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds
QUIET = 2.0


class LanguageServer:
    """One running server; `schemas` maps the URI of a schema to the globs of the files that it is for."""

    def __init__(self, command: Sequence[str], root: Path, schemas: Mapping[str, Any]) -> None:
        self.root, self.schemas = root, dict(schemas)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
        self._arrived: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._number = self._version = 0
        self._told: dict[str, list[dict[str, Any]]] = {}
        self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": root.as_uri(),
                "capabilities": {
                    "workspace": {"configuration": True},
                    "textDocument": {
                        "hover": {"contentFormat": ["plaintext"]},
                        "completion": {
                            "completionItem": {"snippetSupport": False, "documentationFormat": ["plaintext"]}
                        },
                        "publishDiagnostics": {},
                    },
                },
            },
        )
        self.notify("initialized", {})
        self.notify("workspace/didChangeConfiguration", {"settings": {"yaml": self._settings(), "http": {}}})

    def _settings(self) -> dict[str, Any]:
        return {
            "schemas": self.schemas,
            "validate": True,
            "hover": True,
            "completion": True,
            "schemaStore": {"enable": False},
            "disableAdditionalProperties": False,
        }

    def close(self) -> None:
        """Ask the server to end, and wait for it."""
        self.request("shutdown", None)
        self.notify("exit", None)
        self._process.wait(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._reader.join()

    # ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, name: str, text: str) -> str:
        """Open a document and return its URI."""
        uri = (self.root / name).as_uri()
        self._told.pop(uri, None)
        self._version += 1  # the server keeps what it read by URI and version
        document = {"uri": uri, "languageId": "yaml", "version": self._version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})
        return uri

    def shut(self, uri: str) -> None:
        """Close a document."""
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        self._told.pop(uri, None)

    def diagnostics(self, name: str, text: str) -> list[tuple[int, int, str]]:
        """Return (line, column, message), 1-based, of what the server says about a document.

        A server first clears what it said before; so one that says nothing is given some time to say more.
        """
        uri = self.open(name, text)
        while not self._told.get(uri):
            try:
                self._take(self._arrived.get(timeout=QUIET if uri in self._told else PATIENCE))
            except queue.Empty:
                break
        told = self._told.get(uri, [])
        self.shut(uri)
        return [
            (each["range"]["start"]["line"] + 1, each["range"]["start"]["character"] + 1, each["message"])
            for each in told
        ]

    def hover(self, name: str, marked: str) -> str:
        """Return the hover text at the ◊ in a document."""
        uri, place = self._marked(name, marked)
        result = self.request("textDocument/hover", {"textDocument": {"uri": uri}, "position": place})
        self.shut(uri)
        contents = (result or {}).get("contents", "")
        return str(contents.get("value", "") if isinstance(contents, dict) else contents)

    def completions(self, name: str, marked: str) -> dict[str, str]:
        """Return what the server offers at the ◊ in a document, with its documentation."""
        uri, place = self._marked(name, marked)
        result = self.request("textDocument/completion", {"textDocument": {"uri": uri}, "position": place})
        self.shut(uri)
        found: dict[str, str] = {}
        for item in (result or {}).get("items", []):
            text = item.get("documentation", "")
            found[item["label"]] = str(text.get("value", "") if isinstance(text, dict) else text)
        return found

    def _marked(self, name: str, marked: str) -> tuple[str, dict[str, int]]:
        before = marked[: marked.index("◊")]
        place = {"line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}
        return self.open(name, marked.replace("◊", "")), place

    # ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, method: str, params: Any) -> Any:
        """Send a request and return its result."""
        self._number += 1
        number = self._number
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message.get("result")
            self._take(message)

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        return self._arrived.get(timeout=PATIENCE)

    def _take(self, message: dict[str, Any]) -> None:
        """Keep diagnostics, and answer what the server asks of an editor."""
        if message.get("method") == "textDocument/publishDiagnostics":
            self._told[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "id" in message and message.get("method") == "workspace/configuration":
            asked = [item.get("section") for item in message["params"]["items"]]
            self._send(
                {
                    "id": message["id"],
                    "result": [self._settings() if name == "yaml" else {} for name in asked],
                }
            )
        elif "id" in message and "method" in message:
            self._send({"id": message["id"], "result": None})

    def _read(self) -> None:
        out = self._process.stdout
        assert out is not None
        while True:
            length = 0
            while (line := out.readline()) not in (b"", b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if not length:
                return
            self._arrived.put(json.loads(out.read(length)))
