"""The schemas in the real yaml-language-server, which VS Code, Neovim, Emacs and others use: `make test-editor`.

Needs Node and npm; the server is installed into build/editor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.flows.schema import FILES as FILES_OF
from engine.flows.schema import NAMES, schema
from tests.editor.language_server import LanguageServer
from tests.unit.flows.everything import FILES

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "build/editor/node_modules/.bin/yaml-language-server"
CART = (ROOT / "flows/cart-recovery.yaml").read_text(encoding="utf-8")

pytestmark = pytest.mark.editor


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    """Give a server that knows our schemas, by the lines that `homing init` writes for editors."""
    root = tmp_path_factory.mktemp("project")
    (root / "schema").mkdir()
    for name in NAMES:
        (root / f"schema/{name}.json").write_text(json.dumps(schema(name)), encoding="utf-8")
    known = {(root / path).as_uri(): files for path, files in FILES_OF.items()}
    server = LanguageServer([str(SERVER), "--stdio"], root, known)
    yield server
    server.close()


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.yaml")), ids=lambda path: path.stem)
def test_starter_files_are_right(editor: LanguageServer, path: Path) -> None:
    """The editor underlines nothing in what `homing init` writes."""
    assert editor.diagnostics(f"flows/{path.name}", path.read_text(encoding="utf-8")) == []


def test_the_whole_language_is_right(editor: LanguageServer) -> None:
    """Every word of the language, in every form that the parser takes, is right in the editor too."""
    for file, text in FILES.items():
        if file.startswith("flows/"):
            assert editor.diagnostics(file, text) == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests/flows").glob("*.yaml")), ids=lambda path: path.stem)
def test_scenarios_are_right(editor: LanguageServer, path: Path) -> None:
    """The starter flows' scenarios too."""
    assert editor.diagnostics(f"tests/flows/{path.name}", path.read_text(encoding="utf-8")) == []


# what is changed in cart-recovery → where (the text at that place), and what the editor says about it
MISTAKES = [
    ("exit_when:", "exit_whn:", "exit_whn", "Property exit_whn is not allowed."),
    ("quiet_for: 4h", "quiet_for: 4 hours", "4 hours", "write a duration such as 30min, 4h, 30d, 2w, 6mo or 1y"),
    ("- wait: 20h", "- wait: 20 hours", "20 hours", "write a duration such as 30min, 4h, 30d, 2w, 6mo or 1y"),
    ("topic: reminders\n", "", "flow", 'Missing property "topic".'),
    ("send: cart-reminder", "snd: cart-reminder", "snd", "Property snd is not allowed."),
    ("priority: 80", "priority: high", "high", 'Incorrect type. Expected "integer".'),
    ("{per: cart, after: 7d}", "sometimes", "sometimes", 'Value is not accepted. Valid values: "never", "always".'),
    ("wait: 20h", 'wait: {until: "10:00", at_lest: 3h}', "at_lest", "Property at_lest is not allowed."),
    ("{gte: 80}", "{min: 80}", "min", "Property min is not allowed."),
    ("- cart: {lines", "- crt: {lines", "crt", "Property crt is not allowed."),
    ("summary:", "kind: Marketing\nsummary:", "Marketing", 'Value is not accepted. Valid values: "marketing", "transactional".'),
    ("goal:", "holdout: 10\ngoal:", "10\n", "write a share such as 10%"),
    ("goal: {did: order_placed, within: 5d}", "goal: order_placed", "order_placed", 'Incorrect type. Expected "object".'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "word", "said"), MISTAKES, ids=[each[1][:24] for each in MISTAKES])
def test_mistakes_are_underlined_where_they_are(
    editor: LanguageServer, old: str, new: str, word: str, said: str
) -> None:
    """The message is about the very word, and says what would be right rather than that no alternative matches."""
    text = CART.replace(old, new, 1)
    assert text != CART
    told = editor.diagnostics("flows/cart-recovery.yaml", text)
    places = [match.start() for match in re.finditer(re.escape(word), text)]
    at = [(text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)) for place in places]
    assert any((line, column) in at and message == said for line, column, message in told), told
    assert not [
        message
        for _, _, message in told
        if "oneOf" in message or "anyOf" in message or "schema" in message.lower()
    ]


NAMED = {
    "flow": "flows/a.yaml",
    "segments": "flows/segments.yaml",
    "offers": "flows/offers.yaml",
    "scenario": "tests/a.yaml",
}
HOVERS = [
    ("flow", "flow: a\ntri◊gger: {event: x}\n", "What lets a customer in"),
    ("flow", "flow: a\ntrigger:\n  event: x\n  quiet_◊for: 4h\n", "Only when nothing newer"),
    ("flow", 'flow: a\nsteps:\n  - wait:\n      un◊til: "09:00"\n', "A time of day"),
    (
        "flow",
        "flow: a\nenter_if:\n  - customer: {chur◊n_risk: {gt: 0.8}}\n",
        "how likely the customer has left",
    ),
    ("flow", "flow: a\nsteps:\n  - send: b\n    off◊er: c\n", "An offer of flows/offers.yaml"),
    ("flow", "flow: a\nexit_when:\n  - did: x\n    sam◊e: order_id\n", "This id must be the trigger's"),
    ("segments", "vip:\n  - custo◊mer: {orders: 5}\n", "Tests on the customer's fields"),
    ("offers", "ten:\n  per◊cent: 10\n", "Percent off"),
    ("scenario", "scenario: x\ntime◊line: []\n", "What happens, in order"),
]


@pytest.mark.parametrize(("kind", "marked", "words"), HOVERS)
def test_hovering_explains_a_key(editor: LanguageServer, kind: str, marked: str, words: str) -> None:
    """Each key says what it means, and nothing else says it beside it."""
    text = editor.hover(NAMED[kind], marked)
    assert words in text
    assert (
        len(
            [line for line in text.split("Example")[0].splitlines() if line and not line.startswith("Source")]
        )
        == 1
    )


OFFERED = [
    ("flow", "flow: a\n◊\n", {"trigger", "steps", "exit_when", "holdout", "re_entry"}),
    ("flow", "flow: a\nkind: ◊\n", {"marketing", "transactional"}),
    ("flow", "flow: a\nsteps:\n  - ◊\n", {"send", "wait", "branch", "experiment", "set", "webhook", "exit"}),
    (
        "flow",
        "flow: a\ntrigger:\n  ◊\n",
        {"event", "anniversary", "lapsed", "replenish", "schedule", "product"},
    ),
    ("flow", "flow: a\nenter_if:\n  - customer:\n      ◊\n", {"orders", "churn_risk", "country", "tier"}),
    ("flow", "flow: a\nexit_when:\n  - did: ◊\n", {"order_placed", "cart_emptied", "mail_clicked"}),
    ("segments", "vip:\n  - ◊\n", {"customer", "did", "segment"}),
    ("offers", "ten:\n  ◊\n", {"percent", "valid_for", "pattern"}),
    ("scenario", "scenario: a\nexpect:\n  - ◊\n", {"sends", "does_not_send", "exits", "nothing_more"}),
]


@pytest.mark.parametrize(("kind", "marked", "words"), OFFERED)
def test_keys_and_words_are_offered(editor: LanguageServer, kind: str, marked: str, words: set[str]) -> None:
    """What can stand in a place is offered there, with what it means."""
    found = editor.completions(NAMED[kind], marked)
    assert words <= set(found)
