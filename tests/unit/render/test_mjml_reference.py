"""Held against npm's mjml, the reference: what stands in attributes, titles and texts means the same in both."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from engine.render import mjml
from engine.render.library import TemplateLibrary
from engine.render.render import prepare
from engine.render.samples import personas, sample_context
from tests.unit.render.conftest import ROOT
from tests.unit.render.test_mjml import PAGE, PITFALLS

HOME = ROOT / "build" / "mjml"
VERSION = "4.18.0"
SCRIPT = """
const mjml = require("mjml"), documents = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(documents.map(document => mjml(document, {validationLevel: "skip", fonts: {}}).html)));
"""
BODY = (
    '<mj-image src="https://x.test/a.png" href="https://x.test/{0}" alt="{0}" title="{0}" />'
    '<mj-button href="https://x.test/?q={0}">{0}</mj-button>'
    '<mj-text><a href="https://x.test/{0}" title="{0}">{0}</a></mj-text>'
)
SPOKEN = frozenset(["alt", "title", "href", "src", "lang", "dir", "aria-label"])


class _Meaning(HTMLParser):
    """Collects what people meet: links, pictures, titles, languages, and words."""

    def __init__(self) -> None:
        super().__init__()
        self.met: Counter[tuple[str, str, str | None]] = Counter()
        self.words: list[str] = []
        self._outside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._outside += tag == "style"
        self.met.update((tag, name, value) for name, value in attrs if name in SPOKEN and tag != "link")

    def handle_endtag(self, tag: str) -> None:
        self._outside -= tag == "style"

    def handle_data(self, data: str) -> None:
        self.words += [] if self._outside else data.split()


def _meaning(html: str) -> tuple[Counter[tuple[str, str, str | None]], list[str]]:
    parser = _Meaning()
    parser.feed(html)
    return parser.met, parser.words


@pytest.fixture(scope="module")
def reference() -> list[str]:
    """Install npm's mjml under build/ once; give the command that runs a script with it."""
    npm, node = shutil.which("npm"), shutil.which("node")
    assert npm is not None, "the reference needs Node and npm (Debian: apt-get install nodejs npm)"
    assert node is not None
    if not (HOME / "node_modules" / "mjml").is_dir():
        HOME.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", f"mjml@{VERSION}"]
        subprocess.run(command, cwd=HOME, check=True)
    return [node, "-e", SCRIPT]


def _compiled_there(reference: list[str], documents: list[str]) -> list[str]:
    asked = json.dumps(documents)
    done = subprocess.run(reference, cwd=HOME, input=asked, capture_output=True, text=True, check=True)
    compiled: list[str] = json.loads(done.stdout)
    return compiled


@pytest.mark.slow
def test_values_mean_what_they_mean_in_the_reference(reference: list[str]) -> None:
    """Alt texts, titles, links and words of every script and sign are the reference's."""
    values = [str(escape(text)) for text in PITFALLS if text != "new\nline"]  # it writes the break as a space
    documents = [PAGE.format(title=value, body=BODY.format(value)) for value in values]
    for document, html in zip(documents, _compiled_there(reference, documents), strict=True):
        (met, words), (expected, expected_words) = _meaning(mjml.compile(document)), _meaning(html)
        assert (
            met.keys() == expected.keys()
        )  # a linked picture's title stands on picture and link there, here on one
        assert words == expected_words


@pytest.mark.slow
def test_starter_mails_mean_what_they_mean_in_the_reference(
    reference: list[str], starter: TemplateLibrary
) -> None:
    """Each starter mail says, shows and links the same when the reference compiles it."""
    documents = []
    for name in starter.names():
        for persona in personas():
            blocks = [block.name for block in starter.template(name, persona.fields.get("locale")).recommend]
            prepared = prepare(starter, name, sample_context(persona, recommend=blocks))
            prepared.values["subject"], prepared.values["preheader"] = (
                prepared.line("subject"),
                prepared.line("preheader"),
            )
            documents.append(prepared.mjml())
    for document, html in zip(documents, _compiled_there(reference, documents), strict=True):
        assert _meaning(mjml.compile(document)) == _meaning(html)
