"""A project of one flow, made for one sentence of the language, and its scenarios played by the real engine."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

from engine import settings as settings_module
from engine.deploy.playbill import verdict_text
from engine.deploy.scenarios import Verdict, play
from engine.deploy.stage import Theatre
from engine.diagnostics import Finding
from engine.flows.load import load_project
from engine.flows.scenario import load_scenarios
from engine.flows.scenario_clock import zone_of
from engine.flows.validate import validate
from engine.render.lint import lint_project

TOML = """
[shop]
name = "Kiyomi Tea"
url = "https://kiyomi.test"
timezone = "Europe/Berlin"
currency = "EUR"
postal_address = "1 Tea Street, 10115 Berlin"
[sender]
email = "hello@kiyomi.test"
[senders.founder]
email = "kiyomi@kiyomi.test"
name = "Kiyomi"
[topics]
reminders = "Reminders"
offers = "Offers and news"
[webhooks]
sms = "https://gateway.kiyomi.test/sms"
[policy]
quiet_hours = "21:00-08:00"
caps = ["1 per 16h", "4 per 7d"]
"""
LETTER = """---
subject: "{subject}"
---
<mjml><mj-body><mj-section><mj-column>
  <mj-text>{body}</mj-text>
  <mj-text><a href="{{{{ links.unsubscribe }}}}">Unsubscribe</a> {{{{ shop.postal_address }}}}</mj-text>
</mj-column></mj-section></mj-body></mjml>
"""
OFFERS = """
ten: {percent: 10, pattern: "TEN-########", valid_for: 7d, once_per: customer}
spring: {percent: 20, code: SPRING, valid_for: 30d, once_per: message}
"""
CONSENTING = "customer: {timezone: UTC, consent: all}"


class Plays:
    """Write a project, play scenarios in it, and hold what was expected against what happened."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("homing.toml", TOML)
        self.write("flows/offers.yaml", OFFERS)
        for name in ("letter", "other", "third", "guide-1", "guide-2"):
            self.template(name)

    def write(self, path: str, text: str) -> None:
        """Write one file of the project."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def template(self, name: str, subject: str | None = None, body: str = "Hello") -> None:
        """Write a mail; its subject is its name unless another is given."""
        self.write(f"templates/{name}.mjml", LETTER.format(subject=subject or name, body=body))

    def flow(self, text: str) -> None:
        """Write the flow `f` (topic `reminders`, unless the text says otherwise)."""
        text = dedent(text)
        known = {line.split(":", 1)[0] for line in text.splitlines() if line and not line[0].isspace()}
        head = "flow: f\n" + ("" if known & {"topic", "kind"} else "topic: reminders\n")
        self.write("flows/f.yaml", head + text)

    def play(self, *scenarios: str) -> list[Verdict]:
        """Play scenarios of the flow and return what came of each."""
        told = [_item(number, dedent(text).strip()) for number, text in enumerate(scenarios, 1)]
        self.write("tests/f.yaml", "".join(told))
        findings: list[Any] = []
        loaded = load_scenarios(self.root, findings)
        assert not findings, findings
        theatre = Theatre.of(self.root, settings_module.load(self.root, {}))
        wrong = [finding for finding in theatre.project.findings if finding.is_error]
        assert not wrong, wrong
        verdicts = [play(theatre, each) for each in loaded]
        theatre.close()
        return verdicts

    def steps(self) -> list[str]:
        """Return how the flow's steps are called, in order."""
        project = load_project(self.root, settings_module.load(self.root, {}))
        return [step.id for step in project.definitions.flows["f"].all_steps()]

    def errors(self) -> list[str]:
        """Return the codes of the project's errors."""
        project = load_project(self.root, settings_module.load(self.root, {}))
        return [finding.code for finding in project.findings if finding.is_error]

    def check_errors(self) -> list[str]:
        """Return the codes of all errors that `homing validate` tells, templates included."""
        return [finding.code for finding in self._findings() if finding.is_error]

    def advice(self) -> list[str]:
        """Return the codes of all warnings and remarks of `homing validate`."""
        return [finding.code for finding in self._findings() if not finding.is_error]

    def _findings(self) -> list[Finding]:
        return validate(self.root, settings_module.load(self.root, {}), lint=lint_project)

    def holds(self, flow: str, *scenarios: str) -> None:
        """Hold that everything happens as each scenario says."""
        self.flow(flow)
        for verdict in self.play(*scenarios):
            assert verdict.passed, "\n" + verdict_text(verdict, zone_of(verdict.scenario, "Europe/Berlin"))


def _item(number: int, text: str) -> str:
    """Return one scenario as an item of a list; a customer of its own is one in UTC who consents to all."""
    keys = {line.split(":", 1)[0] for line in text.splitlines()}
    lines = [f"scenario: {number}", *([] if "flow" in keys else ["flow: f"]), *text.splitlines()]
    lines += [] if "customer" in keys else [CONSENTING]
    return "- " + "\n  ".join(lines) + "\n"
