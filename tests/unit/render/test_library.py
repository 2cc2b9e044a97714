"""The library: which copy a customer gets, and what is read from a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import FindingsError, UsageError
from engine.render.library import TemplateLibrary, read_folder
from engine.render.render import render
from tests.unit.render.conftest import context, mail

SOURCES = {
    "hello.mjml": mail("default"),
    "ja/hello.mjml": mail("japanese"),
    "zh-Hant/hello.mjml": mail("traditional"),
    "layouts/store.mjml": "<mjml></mjml>",
    "blocks/cart.mjml": "{% macro cart() %}{% endmacro %}",
    "words.yaml": "yes: Yes\nno: No",
    "ja/words.yaml": "yes: はい",
    "ja/blocks/cart.mjml": "x",
}


@pytest.mark.parametrize(
    ("locale", "path"),
    [
        ("ja-JP", "ja/hello.mjml"), ("ja_JP", "ja/hello.mjml"), ("JA", "ja/hello.mjml"), ("zh-TW", "zh-Hant/hello.mjml"),
        ("zh_HK", "zh-Hant/hello.mjml"), ("zh-CN", "hello.mjml"), ("zh", "hello.mjml"), ("de-DE", "hello.mjml"),
        (None, "hello.mjml"), ("", "hello.mjml"), ("nonsense!", "hello.mjml"), ("../../etc/passwd", "hello.mjml"),
    ],
)  # fmt: skip
def test_the_most_fitting_copy_is_taken(locale: str | None, path: str) -> None:
    """A customer reads the nearest language that there is, else the default."""
    assert TemplateLibrary(SOURCES).template("hello", locale).path == path


def test_layouts_blocks_and_words_follow_the_mail() -> None:
    """A mail in one language takes its layout, blocks and words in that language, and a default mail takes none of them."""
    sources = {
        "a.mjml": '---\nsubject: s\n---\n{% extends "layouts/l.mjml" %}{% block body %}a{% endblock %}',
        "ja/b.mjml": '---\nsubject: s\n---\n{% extends "layouts/l.mjml" %}{% block body %}b{% endblock %}',
        "layouts/l.mjml": "<mjml><mj-body><mj-section><mj-column><mj-text>[{% block body %}{% endblock %} {{ words.yes }} {{ words.no }} {{ blocks.x() }}]"
        "</mj-text></mj-column></mj-section></mj-body></mjml>",
        "blocks/x.mjml": "{% macro x() %}x{% endmacro %}",
        "ja/blocks/x.mjml": "{% macro x() %}エ{% endmacro %}",
        "words.yaml": "yes: Yes\nno: No",
        "ja/words.yaml": "yes: はい",
    }
    library = TemplateLibrary(sources)
    assert "[a Yes No x]" in render(library, "a", context(), locale="ja-JP").html
    assert "[b はい No エ]" in render(library, "b", context(), locale="ja-JP").html


def test_names_are_those_that_a_flow_can_send() -> None:
    """Layouts, blocks and words are no mails; copies are no templates of their own."""
    library = TemplateLibrary(SOURCES)
    assert library.names() == ("hello",)
    assert library.paths("hello") == ("hello.mjml", "ja/hello.mjml", "zh-Hant/hello.mjml")


def test_an_unknown_template_names_the_likely_one() -> None:
    """A misspelt template is wrong usage, with a hint."""
    with pytest.raises(UsageError, match='did you mean "hello"'):
        TemplateLibrary(SOURCES).template("helo")


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    """Templates and words are read, by path; other and hidden files are not."""
    for name, text in {
        "a.mjml": "a",
        "ja/a.mjml": "あ",
        "words.yaml": "x: y",
        "notes.txt": "n",
        ".git/a.mjml": "g",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_folder(tmp_path) == {"a.mjml": "a", "ja/a.mjml": "あ", "words.yaml": "x: y"}


def test_no_folder_is_no_templates(tmp_path: Path) -> None:
    """A project without templates/ has none."""
    assert read_folder(tmp_path / "templates") == {}


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    """A link from templates/ to a file elsewhere is refused, whatever it is called."""
    secret = tmp_path / "secret.txt"
    secret.write_text("the password")
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "a.mjml").symlink_to(secret)
    with pytest.raises(FindingsError) as caught:
        read_folder(folder)
    assert "outside" in caught.value.findings[0].message


@pytest.mark.parametrize("content", [b"\xff\x00a", b"x" * 200_001])
def test_unreadable_files_are_findings(tmp_path: Path, content: bytes) -> None:
    """What is no text, or too long, is told with its file."""
    (tmp_path / "a.mjml").write_bytes(content)
    with pytest.raises(FindingsError) as caught:
        read_folder(tmp_path)
    assert str(caught.value.findings[0].span) == "templates/a.mjml:1:1"
