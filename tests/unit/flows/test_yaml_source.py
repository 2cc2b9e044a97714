"""Reading YAML: values, places, limits."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnostics import Finding, Span
from engine.flows.nodes import Items, Table, exact, from_plain, plain
from engine.flows.yaml_source import MAX_BYTES, read_file, read_yaml
from tests.machine import usual_seconds


def read(text: str | bytes) -> object:
    """Return the plain value of a text without findings."""
    findings: list[Finding] = []
    node = read_yaml(text, "x.yaml", findings)
    assert node is not None
    assert not findings
    return exact(node)


def found(text: str | bytes) -> list[Finding]:
    """Return what is found in a text."""
    findings: list[Finding] = []
    read_yaml(text, "x.yaml", findings)
    return findings


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"), ("on", "on"), ("yes", "yes"), ("off", "off"), ("10:30", "10:30"), ("2026-01-01", "2026-01-01"),
        ("2026-03-02 10:00", "2026-03-02 10:00"), ("true", True), ("False", False), ("null", None), ("~", None), ("12", 12),
        ("0o14", 12), ("0x1F", 31), ("010", 10), ("1_000", "1_000"), ("20.50", Decimal("20.5")), ("2.0", 2),
        ("1e3", 1000), ("'12'", "12"), ('"true"', "true"), ("1.5x", "1.5x"), ("10%", "10%"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_values_are_those_of_yaml_1_2(written: str, value: object) -> None:
    """Plain words keep their meaning: no surprising truth values, no sixty-based numbers, no dates."""
    result = read(f"key: {written}")
    assert result == {"key": value}
    assert type(result["key"]) is type(value)


def test_keys_are_text() -> None:
    """A key is what is written, whatever it looks like."""
    assert read("{on: 1, 12: 2, true: 3}") == {"on": 1, "12": 2, "true": 3}


def test_places_point_at_keys_and_values() -> None:
    """Spans hold line, column and length of what is written, comments and quotes included or not as they stand."""
    node = read_yaml(
        "# note\na: 'x y'\nblock:\n  - one: 1   # why\n    two: 2\nflow: {k: [1,\n  2]}\n", "x.yaml", []
    )
    assert isinstance(node, Table)
    assert node.key_span("a") == Span("x.yaml", 2, 1, 1)
    assert node.get("a").span == Span("x.yaml", 2, 4, 5)  # type: ignore[union-attr]
    block = node.get("block")
    assert isinstance(block, Items)
    assert block.span == Span("x.yaml", 4, 3, 8)
    assert block.items[0].span == Span("x.yaml", 4, 5, 6)
    assert node.get("flow").span == Span("x.yaml", 6, 7, 7)  # type: ignore[union-attr]


def test_columns_count_characters() -> None:
    """A column is a character, not a byte: Japanese and emoji before a value do not move it."""
    node = read_yaml("{名前: 🍵, 値: x}", "x.yaml", [])
    assert isinstance(node, Table)
    assert node.get("値").span == Span("x.yaml", 1, 12, 1)  # type: ignore[union-attr]


def test_a_table_takes_in_others() -> None:
    """`<<` gives what the table has not itself, wherever it stands; the first of several counts; keys keep their places."""
    text = "- &a {x: 1, y: {z: 1}}\n- &b\n  <<: *a\n  x: 2\n- {y: 3, <<: [*b, *a]}\n- {'<<': 1}\n"
    node = read_yaml(text, "x.yaml", [])
    assert isinstance(node, Items)
    assert exact(node) == [
        {"x": 1, "y": {"z": 1}}, {"x": 2, "y": {"z": 1}}, {"y": 3, "x": 2}, {"<<": 1},
    ]  # fmt: skip
    second, third = node.items[1:3]
    assert isinstance(second, Table)
    assert isinstance(third, Table)
    assert [second.key_span("y"), third.key_span("x")] == [Span("x.yaml", 1, 13, 1), Span("x.yaml", 4, 3, 1)]
    (finding,) = found("a: &a 1\nb:\n  <<: *a\n")
    assert (finding.code, finding.span) == ("F001", Span("x.yaml", 3, 3, 2))
    assert [each.code for each in found("a: &a {x: 1}\nb: {<<: *a, <<: *a}\n")] == ["F002"]


def test_windows_files_read_alike() -> None:
    """A byte order mark and CRLF line ends change nothing."""
    assert read("\ufeffa: 1\r\nb: |\r\n  x\r\n  y\r\n".encode()) == {"a": 1, "b": "x\ny\n"}


def test_duplicate_keys_are_told_and_the_rest_is_read() -> None:
    """Both places of a key that stands twice are told."""
    problems = found("a: 1\nb: 2\na: 3\nb: 4\n")
    assert [(p.code, p.span.line, p.second and p.second.line) for p in problems] == [
        ("F002", 3, 1),
        ("F002", 4, 2),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: b: c", 1, 5),
        ("a: 1\n\tb: 2", 2, 1),
        ("a: [1, 2\nb: 3", 1, 4),
        ("a: 'x\n\n", 1, 4),
        ("a: !!python/object:os.system x", 1, 4),
        ("a: {{ name }}", 1, 5),
        ("a: *nobody", 1, 4),
        ("a: 1\n---\nb: 2", 2, 1),
        ("a: .inf", 1, 4),
        ("a: 1234567890123456.5", 1, 4),
        ('a: "x\\0y"', 1, 4),
        ("a: 1\n  b: 2", 2, 4),
        ("a: @x", 1, 4),
        ("a: x\x01y", 1, 5),
    ],
)
def test_syntax_errors_say_where(text: str, line: int, column: int) -> None:
    """What is no YAML gives one finding at the place, and nothing raises."""
    problems = found(text)
    assert [(p.code, p.span.line, p.span.column) for p in problems] == [("F001", line, column)]
    assert "invalid" not in problems[0].message


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('a: "x\nb: 1\nc: 2\n', 1, 4, "this quote is not closed"),
        ('a: "x\nb: "y"\nc: 1\n', 1, 4, "the quote that begins here ends on line 2 only"),
        ("a: 1\nb: {c: 1\nd: 2\n", 2, 4, "this { is not closed"),
        ("a: {b: [1}\n", 1, 8, "this [ is not closed"),
        ("a: 1\nexpect: [\n", 2, 9, "this [ is not closed"),
        ("a: 1\nwait: {\n", 2, 7, "this { is not closed"),
        ("expect: [\n  - {sends: a}\n  - nothing_more\n", 1, 9, "this [ is not closed"),
        ("a: [}\n", 1, 4, "this [ is not closed"),
        ("a: {b: [1, ]\nc: 1\n", 1, 4, "this { is not closed"),
        ("a: [, b]\n", 1, 5, "nothing stands before this comma"),
        ("a: 1\ntopic:offers\nb: 2\n", 2, 1, "no space stands behind this colon"),
        ("topic:offers\nb: 2\n", 1, 1, "no space stands behind this colon"),
        ('a: 1\nb "x"\nc: 2\n', 2, 1, "a key without a colon"),
        ('# that\nb "x"\nc: "y"\n', 2, 1, "a key without a colon"),
        ("a: 1\nsteps:\n  - send a\n    id: b\n", 3, 5, "a key without a colon"),
        ("a:\n  b c\n  d: 1\n", 2, 3, "a key without a colon"),
        ("a: some\n  more text\n  d: 1\n", 3, 4, "a colon stands where no key can be"),
        ("a: 1\nb\uff1a2\nc: 3\n", 2, 2, "a full-width colon stands here"),
        ("a: 1\nb:\xa0x\nc: 3\n", 2, 3, "a space of another kind stands here, which YAML takes for a letter"),
        ("a:\n\u3000b: 1\n", 2, 1, "a space of another kind stands here, which YAML takes for a letter"),
        ("a:\n  b: 1\n\tc: 1\n", 3, 1, "a tab stands here"),
    ],
)
def test_what_was_begun_wrongly_is_told_where_it_begins(text: str, line: int, column: int, said: str) -> None:
    """What nothing closes, and signs that only look right, are told in their place, not where the reader gave up."""
    (finding,) = found(text)
    assert (finding.span.line, finding.span.column, finding.message) == (line, column, said)
    assert finding.help


@pytest.mark.parametrize("text", [b"", b"# only a comment\n", b"---\n", b"null"])
def test_an_empty_file_is_told(text: bytes) -> None:
    """A file that holds nothing is told as such."""
    assert [p.code for p in found(text)] == ["F005"]


def test_other_encodings_are_told() -> None:
    """What is no UTF-8 is told with its place."""
    assert [(p.code, p.span.line, p.span.column) for p in found("a: 1\nb: grün".encode("latin-1"))] == [
        ("F004", 2, 6)
    ]
    (hidden,) = found("a: 1\u2028b: 2")
    assert (hidden.code, hidden.help) == ("F004", "remove it, or write an ordinary line break")


def test_what_is_no_file_is_told_as_that(tmp_path: Path) -> None:
    """A folder, or a link that leads nowhere, is not called a question of letters."""
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    findings: list[Finding] = []
    for name in ("folder.yaml", "loop.yaml"):
        assert read_file(tmp_path / name, name, findings) is None
    assert [finding.code for finding in findings] == ["F004", "F004"]
    assert [finding.help.split(",")[0] for finding in findings] == [
        "rename the folder",
        "put a file there that Homing may read",
    ]


BOMBS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)),
    "chain": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000)),
    "deep flow": "a: " + "[" * 100_000,
    "deep map": "{a: " * 50_000,
    "deep block": "".join(" " * n + "a:\n" for n in range(1000)),
    "deep list": "- " * 100_000,
    "wide": "[" + "a," * 400_000 + "]",
    "long": "a: " + "x" * MAX_BYTES,
    "many keys": "\n".join(f"k{n}: 1" for n in range(80_000)),
    "itself": "a: &a [*a]",
    "number": "a: " + "9" * 900_000,
    "exponent": "a: 1e999999999",
    "questions": "? " * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_at_most_a_second(name: str) -> None:
    """Files made to explode are refused, or read, within a second of the processor."""
    assert usual_seconds(lambda: found(BOMBS[name]), 1.0) < 1.0


@given(st.text(alphabet=st.sampled_from("ab:-?[]{},&*!|>'\"%@` \n\t#01.\\"), max_size=60))
def test_no_text_raises(text: str) -> None:
    """Whatever is written, there is a tree or a finding."""
    findings: list[Finding] = []
    node = read_yaml(text, "x.yaml", findings)
    assert node is not None or findings
    for finding in findings:
        assert 1 <= finding.span.line <= text.count("\n") + 1


@given(st.binary(max_size=40))
def test_no_bytes_raise(content: bytes) -> None:
    """Whatever bytes a file holds, there is a tree or a finding."""
    findings: list[Finding] = []
    assert read_yaml(content, "x.yaml", findings) is not None or findings


def test_plain_data_reads_back() -> None:
    """A tree becomes JSON data and the same tree again, numbers exact."""
    node = read_yaml("a: [1, 2.50, 'x', true, null]\nb: {c: 0.1}", "x.yaml", [])
    assert node is not None
    assert plain(node) == {"a": [1, 2.5, "x", True, None], "b": {"c": 0.1}}
    assert exact(from_plain(plain(node))) == exact(node)
