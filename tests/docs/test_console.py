"""The machine that runs documents: it would notice a command that fails, and output that differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.console import Command, Reader, commands

DOCUMENT = """# Title

```console
$ mkdir shop && cd shop
$ pwd
…/shop
$ printf 'one\\ntwo\\nthree\\n'
one
…
three
$ false  # exit 1
```

<!-- shown only: needs the network -->
```console
$ git clone https://example.test
```

```console
$ echo a \\
    b
a b
```
"""


def test_commands_are_read_with_their_lines_and_endings() -> None:
    """Blocks that are shown only are left out; continued lines are one command."""
    found = list(commands(DOCUMENT))
    assert [(command.line, command.exit_code) for command in found] == [
        (4, 0),
        (5, 0),
        (7, 0),
        (11, 1),
        (20, 0),
    ]
    assert found[2].printed == ("one", "…", "three")
    assert found[4].text == "echo a \\\n    b"


def test_files_that_the_reader_is_to_write_are_written(tmp_path: Path) -> None:
    """A file's block is written where the reader is by then, with every sign as it stands there."""
    text = "flow: spring  # $HOME `x` \\n 'y'\n"
    page = (
        f"```console\n$ mkdir shop && cd shop\n```\n\n<!-- file: flows/spring.yaml -->\n```yaml\n{text}```\n"
    )
    reader = Reader(tmp_path)
    for command in commands(page):
        reader.run(command)
    assert (tmp_path / "shop" / "flows" / "spring.yaml").read_text(encoding="utf-8") == text


def test_a_document_is_run_in_one_folder(tmp_path: Path) -> None:
    """A `cd` holds for the commands after it, in later blocks too."""
    reader = Reader(tmp_path)
    for command in commands(DOCUMENT):
        reader.run(command)
    assert (tmp_path / "shop").is_dir()


@pytest.mark.parametrize(
    "wrong",
    [Command(1, "false", (), 0), Command(1, "true", (), 1), Command(1, "echo one", ("two",), 0)],
    ids=["fails", "succeeds", "prints"],
)
def test_a_document_that_is_not_true_is_noticed(wrong: Command, tmp_path: Path) -> None:
    """Another exit code or another output than the document's is an error that shows the line."""
    with pytest.raises(AssertionError, match="line 1"):
        Reader(tmp_path).run(wrong)
