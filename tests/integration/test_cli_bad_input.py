"""Whatever is typed or lies in a file: a plain sentence and an exit code, never a traceback and never our own bug."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import main
from tests.integration.test_cli import Shop, made_shop

WHOLE = os.environ.get("HOMING_TEST_SHARE") == "full"
ROUNDS = 20 if WHOLE else 3
WORDS = (
    "", " ", "0", "-1", "1e9", "99999999999999999999", "cart-recovery", "cart-recovery:", ":", "c1", "ann@example.test", "all",
    "rebuild", "nowhere/at/all", "💥", "\udc80", "'; DROP TABLE customers; --", "%s%n{0}{{x}}", "x" * 5_000,
    "2026-03-01", "0001-01-01", "9999-12-31T23:59:59-23:59", "2026-02-30", "now", "=", "a=b=c", "-", "--", "json", "marketing",
    "sqlite:///:memory:", "sqlite:////nonexistent/x.db", "postgresql://nobody@127.0.0.1:1/none", "mysql://x", "not a url",
)  # fmt: skip
CONTENTS = (
    b"", b"\x00\xff\xfe\x80" * 50, b"{", b"[1, 2", b"a,b\n1\n", b'"unclosed\n', b"email\n" + b"x" * 70_000, b"{}\n[]\nnull\n3\n",
    b'{"kind": "orders", "order_id": null, "lines": "x"}\n', b"\xff\xfee\x00m\x00", b"order_id,sku,quantity\n1,,\n,,\n",
    b'{"event": "x", "customer": {"a": 1}, "at": [1]}\n', b"PAR1\x00\x00PAR1", b"\x1f\x8b\x08broken", b"email,email\na,b\n",
)  # fmt: skip
# Every word that could be taken for a path stays inside the shop's folder, wherever commands write.
SLOW = {"run", "demo", "serve", "worker"} | (set() if WHOLE else {"test"})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Give a shop with a few customers on a virtual clock, and the current folder inside it."""
    shop = made_shop(tmp_path_factory.mktemp("bad") / "shop")
    shop.run("ingest", shop.file("customers.csv"), "--now", "2026-03-01", ends=1)
    shop.run("apply", "--yes", "--now", "2026-03-01")
    before = Path.cwd()
    os.chdir(shop.folder)
    yield shop
    os.chdir(before)


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that one types for it."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        elif name not in SLOW:
            yield (*path, name), command


COMMANDS = list(leaves(main))


def typed(rng: random.Random, command: click.Command) -> list[str]:
    """Return arguments that somebody who is very tired might type."""
    words: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            words += [rng.choice(WORDS) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
        elif rng.random() < 0.25 and parameter.name != "show":
            words.append(parameter.opts[-1])
            if not getattr(parameter, "is_flag", False) and not getattr(parameter, "count", False):
                words.append(rng.choice(WORDS))
    return words


def ended_well(arguments: list[str]) -> None:
    """Type it; fail on anything but a plain ending."""
    result = CliRunner().invoke(main, arguments, input="")
    told = f"{arguments}\n{result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit), (
        f"{told}\n{result.exception!r}"
    )
    assert result.exit_code in (0, 1, 2, 3), told
    assert "Traceback" not in result.output, told
    assert "B001" not in result.output, told


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=["-".join(path) for path, _ in COMMANDS])
def test_random_options_end_plainly(path: tuple[str, ...], command: click.Command, shop: Shop) -> None:
    """No mixture of options and arguments brings a traceback or a bug of ours."""
    rng = random.Random("-".join(path))
    for _ in range(ROUNDS):
        ended_well([*path, *typed(rng, command)])


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_random_files_end_plainly(content: bytes, shop: Shop) -> None:
    """No file brings a traceback, whatever it is said to hold; what was set aside can be listed."""
    for name in ("orders.csv", "events.jsonl", "customers.csv.gz", "products.parquet", "noise"):
        path = shop.folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        ended_well(["ingest", str(path)])
        if WHOLE:
            ended_well(["ingest", str(path), "--as", "events", "--json"])
    ended_well(["quarantine", "list", "--json"])


@pytest.mark.parametrize("format_name", ["csv", "jsonl", "parquet", "shopify", "klaviyo", "segment"])
def test_every_format_meets_every_file(format_name: str, shop: Shop) -> None:
    """A file told to be of another format is told to be wrong."""
    for place, content in enumerate(CONTENTS if WHOLE else CONTENTS[::2]):
        path = shop.folder / f"file{place}"
        path.write_bytes(content)
        ended_well(["ingest", str(path), "--format", format_name, "--as", "orders"])


@pytest.mark.parametrize("content", CONTENTS if WHOLE else CONTENTS[1:4])
def test_a_broken_project_ends_plainly(content: bytes, tmp_path: Path) -> None:
    """Whatever stands in homing.toml, a flow, a template or the database file is told, by every kind of command."""
    shop = made_shop(tmp_path / "shop")
    for name in ("flows/cart-recovery.yaml", "flows/segments.yaml", "templates/cart-reminder.mjml", "templates/words.yaml",
                 "homing.db", "homing.toml"):  # fmt: skip
        path = shop.folder / name
        kept = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        looks = (["preview", "cart-recovery:cart-reminder"], ["status"])
        for words in (*looks, ["validate"], ["doctor"]) if WHOLE or name == "homing.toml" else looks:
            ended_well([*words, "--project", str(shop.folder)])
        path.unlink() if kept is None else path.write_bytes(kept)


def test_words_never_lead_out_of_the_folder() -> None:
    """Commands write where they are told: nothing that the tests type may be a path to elsewhere."""
    assert [word for word in WORDS if word.startswith(("/", "~")) or ".." in word] == []


def test_outside_any_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no homing.toml, a command says so and ends with 2."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 2
    assert "homing.toml" in result.output


MISTAKES = [
    (["nonsense"], "No such command 'nonsense'."),
    (["stauts"], "Did you mean 'status'?"),
    (["quarantine", "lsit"], "Did you mean 'list'?"),
    (["quarantine"], "--json stands behind the command"),
    ([], "--json stands behind the command: homing COMMAND --json"),
    (["--nope", "status"], "No such option '--nope'"),
    (["status", "--nope"], "No such option '--nope'"),
    (["quarantine", "list", "--nope"], "No such option '--nope'"),
    (["validate", "--format", "xml"], "'xml' is not one of"),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES)
def test_a_mistake_on_the_command_line_is_told_as_json(words: list[str], told: str) -> None:
    """Whoever asked for JSON gets one document for an unknown command or option, too; the code is 2 and stderr for people."""
    done = CliRunner().invoke(main, [*words, "--json"], prog_name="homing")
    assert done.exit_code == 2
    assert told in json.loads(done.stdout)["error"]
    assert told in " ".join(done.stderr.split())
    plain = CliRunner().invoke(main, words)
    assert "{" not in plain.stdout
