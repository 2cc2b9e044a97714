"""A project in a folder of its own, written file by file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.diagnostics import Finding
from engine.flows.load import Project, load_project
from engine.flows.model import Flow
from engine.settings import Sender, Settings, Shop


@dataclass
class Folder:
    """A project folder under test."""

    root: Path
    settings: Settings
    written: dict[str, str] = field(default_factory=dict)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, by their path relative to the project."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self.written[name] = text

    def flow(self, text: str, name: str = "one") -> Flow:
        """Write one flow, load the project and return the flow, which must have no errors."""
        self.write({f"flows/{name}.yaml": text})
        project = self.load()
        assert name in project.definitions.flows, [str(finding) for finding in project.findings]
        return project.definitions.flows[name]

    def load(self) -> Project:
        """Load the project."""
        return load_project(self.root, self.settings)

    def problems(self, text: str, name: str = "one") -> list[Finding]:
        """Write one flow and return what loading finds."""
        self.write({f"flows/{name}.yaml": text})
        return list(self.load().findings)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A project with two topics, a sender, a webhook and templates a, b, c."""
    settings = Settings(
        root=tmp_path,
        shop=Shop(postal_address="1 Tea Street"),
        sender=Sender(email="hello@kiyomi.test"),
        senders={"ceo": Sender(email="kiyomi@kiyomi.test")},
        webhooks={"sms": "https://sms.test/send"},
    )
    made = Folder(tmp_path, settings)
    made.write({f"templates/{name}.mjml": "<mjml></mjml>" for name in ("a", "b", "c")})
    return made


MINIMAL = "flow: one\ntopic: offers\ntrigger: {event: order_placed}\nsteps:\n  - send: a\n"


@pytest.fixture
def with_key(folder: Folder) -> Callable[[str], list[Finding]]:
    """Return what is found in a minimal flow with one more line, in a project with one offer."""
    folder.write({"flows/offers.yaml": "ten: {percent: 10}"})
    return lambda line: folder.problems(MINIMAL + line + "\n")
