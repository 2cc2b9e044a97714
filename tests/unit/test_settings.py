"""What is wrong in homing.toml is told where it stands."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.diagnostics import Finding
from engine.errors import FindingsError
from engine.flows.fixing import fix_text
from engine.settings import OPTIONS, SECTIONS, find_project, load
from engine.toml_places import places

ROOT = Path(__file__).resolve().parents[2]
WHOLE = re.sub(
    r"^# (?=\[|\w+ = )", "", (ROOT / "homing.toml").read_text(encoding="utf-8"), flags=re.MULTILINE
)


def found(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[Finding]:
    """Return what is found in settings of that text."""
    (tmp_path / "homing.toml").write_text(text, encoding="utf-8")
    try:
        return list(load(tmp_path, environ or {}, strict=False).findings)
    except FindingsError as error:
        return list(error.findings)


# code → wrong settings with ^ where the finding points (and a word of it), right settings
CASES = {
    "S101": ("name = ^Kiyomi Tea\n", "", "[shop]\nname = 'Kiyomi Tea'\n"),
    "S102": ("[policy]\ncaps = ^'1 per 16h'\n", "list", "[policy]\ncaps = ['1 per 16h']\n"),
    "S103": ("[policy]\ncaps = ['4 per 7d',\n  ^'often',  # too\n]\n", "often", "[policy]\ncaps = ['4 per 7d']\n"),
    "S104": ("[policy]\n  ^quite_hours = '21:00-08:00'\n", "quiet_hours", "[policy]\nquiet_hours = '21:00-08:00'\n"),
    "S105": ("[shop]\nname = 'x'\ntimezone   =   ^'Berlin' # here\n", "Berlin", "[shop]\ntimezone = 'Europe/Berlin'\n"),
    "S106": ("[delivery]\nmode = ^'production'\n", "production", "[delivery]\nmode = 'live'\n"),
}  # fmt: skip


@pytest.mark.parametrize("value", ["#2f5d5", "yellowish", "red;background:url(x)", "rgb(1, 2, 3)"])
def test_what_is_no_colour_is_told_where_it_stands(tmp_path: Path, value: str) -> None:
    """A mistyped colour of [brand] is an error at its value: its buttons would have no ground."""
    (finding,) = found(tmp_path, f'[brand]\naccent = "{value}"\nsoft = "#FFF"\nslogan = "Tea."\n')
    assert (finding.code, finding.severity, finding.span.line, finding.span.column) == (
        "S103",
        "error",
        2,
        10,
    )


def test_a_key_of_the_brand_that_is_nearly_a_known_one_is_told(tmp_path: Path) -> None:
    """`acent` hardly was meant as a key of the shop's own."""
    (finding,) = found(tmp_path, '[brand]\nacent = "#123456"\n')
    assert (finding.code, finding.severity, finding.span.line) == ("S104", "warning", 2)
    assert "accent" in str(finding.help)


@pytest.mark.parametrize("code", CASES)
def test_each_problem_of_settings_tells_wrong_from_right(tmp_path: Path, code: str) -> None:
    """Each code points at the very value or key, says one way out, and finds nothing in right settings."""
    marked, word, right = CASES[code]
    before = marked.partition("^")[0]
    (finding,) = found(tmp_path, marked.replace("^", ""))
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert (finding.code, finding.span.line, finding.span.column) == (code, *place)
    assert finding.help
    assert word in finding.message + finding.help
    assert found(tmp_path, right) == []


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ('[shop]\ncurrency = "EUR\nname = "x"\n', 12, "this quote is not closed"),
        ("[shop]\nname = 'Kiyomi  # our\n", 8, "this quote is not closed"),
        ("[shop]\nname = 'Kiyomi\nurl = 'x'\n", 8, "this quote is not closed"),
        ("[policy]\ncaps = ['a', \"b's]\n", 14, "this quote is not closed"),
        ("[shop]\nname 'x'\n", 6, "this file is no TOML: a = is wanted after the key"),
        ("[shop]\nname = 'x' 'y'\n", 12, "this file is no TOML: something stands behind the value"),
    ],
)
def test_broken_settings_are_told_where_they_break(tmp_path: Path, text: str, column: int, said: str) -> None:
    """A quote that nothing closes is told where it opens."""
    (finding,) = found(tmp_path, text)
    assert (finding.code, finding.message) == ("S101", said)
    assert (finding.span.line, finding.span.column) == (2, column)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[sendr]\nemail = 'x'\n", 'did you mean "sender"?'),
        ("[senders.ceo]\nemial = 'x@y.test'\n", 'did you mean "email"?'),
        ("[delivery.smtp]\nhots = 'x'\n", 'did you mean "host"?'),
        ("[shop]\ncurency = 'EUR'\n", 'did you mean "currency"?'),
        ("[web]\nurll = 'x'\n", 'did you mean "url"?'),
    ],
)
def test_misspelt_keys_name_the_likely_one(tmp_path: Path, text: str, word: str) -> None:
    """In each section, those of providers and named senders too."""
    (finding,) = found(tmp_path, text)
    assert (finding.code, finding.help, finding.fixable) == ("S104", word, True)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("[ sendr ]  # who\nemial = 'x@y.test' # that\n", "[ sender ]  # who\nemail = 'x@y.test' # that\n"),
        ("[delivery]\nmode = 'Live'\n", "[delivery]\nmode = 'live'\n"),
        ("[delivery.smtp]\n'hots' = 'x'\n", "[delivery.smtp]\n'host' = 'x'\n"),
    ],
)
def test_misspelt_settings_can_be_mended(tmp_path: Path, wrong: str, right: str) -> None:
    """Comments, quotes and layout stay; mending goes on until nothing is left to mend."""
    text = wrong
    for _ in range(3):
        text = fix_text(text, [finding for finding in found(tmp_path, text) if finding.fixable])
    assert text == right
    assert found(tmp_path, text) == []


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Each of them once, however often its section is looked at."""
    findings = found(
        tmp_path, "shop = 1\n[policy]\ncaps = 3\nquiet_hours = 'late'\n[delivery]\nrate = 'fast'\n"
    )
    assert sorted((finding.code, finding.span.line) for finding in findings) == [
        ("S102", 1), ("S102", 3), ("S103", 4), ("S103", 6),
    ]  # fmt: skip


def test_a_variable_that_overrides_is_named(tmp_path: Path) -> None:
    """What comes from the environment is not looked for in the file."""
    (finding,) = found(
        tmp_path, "[policy]\nquiet_hours = '21:00-08:00'\n", {"HOMING_POLICY_QUIET_HOURS": "late"}
    )
    assert "HOMING_POLICY_QUIET_HOURS" in finding.message
    assert finding.span.line == 1


def test_secret_values_are_not_repeated(tmp_path: Path) -> None:
    """A finding about a database URL of another shape shows none of it."""
    (finding,) = found(tmp_path, "[database]\nurl = ['postgresql://user:hunter2@db/x']\n")
    assert "hunter2" not in finding.message + finding.help + finding.effect


@given(st.integers(0, 2**32))
@hypothesis_settings(max_examples=120, deadline=None)
def test_a_planted_mistake_is_found_where_it_is(seed: int) -> None:
    """A misspelt key, or a value of another shape, anywhere in full settings is told at its line and column."""
    chance = random.Random(seed)
    known = places(WHOLE, "homing.toml")
    closed = [path for path in known if _is_closed(path)]
    path = chance.choice(closed)
    lines = WHOLE.split("\n")
    span = known[path].key if chance.random() < 0.5 else known[path].value
    planted = "qqq" if span == known[path].key else "{ q = 1 }"
    line = lines[span.line - 1]
    end = span.column - 1 + span.length
    lines[span.line - 1] = line[: span.column - 1] + planted + line[end:]
    lines[:0] = ["# 緑茶 🍵"] * chance.randint(0, 3)
    moved = len(lines) - WHOLE.count("\n") - 1
    text = "\n".join(lines)
    tomllib.loads(text)
    root = _folder()
    (root / "homing.toml").write_text(text, encoding="utf-8")
    findings = load(root, {}, strict=False).findings
    places_told = [(finding.span.line, finding.span.column) for finding in findings if finding.is_error]
    assert (span.line + moved, span.column) in places_told, (lines[span.line - 1 + moved], findings)


def _is_closed(path: tuple[str, ...]) -> bool:
    """Return whether a setting has a closed set of neighbours and a shape that is looked at."""
    return (
        len(path) == 2
        and path[0] in ("sender", "database", "delivery", "web", "policy")
        and path[1] not in (*OPTIONS, "domains")  # tables of their own
    )


_FOLDERS: list[Path] = []


def _folder() -> Path:
    return _FOLDERS[0]


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the property one folder to write in."""
    _FOLDERS[:] = [tmp_path_factory.mktemp("settings")]


def test_options_of_providers_are_those_that_they_read() -> None:
    """`OPTIONS` holds what the providers ask for, no more and no less."""
    for name, known in OPTIONS.items():
        source = (ROOT / f"engine/delivery/{name}.py").read_text(encoding="utf-8")
        asked = set(re.findall(r"options\.(?:text|number|choice|flag|file|path)\(\"(\w+)\"", source))
        assert asked == set(known), name
        assert name in SECTIONS["delivery"]


def test_topics_have_a_name_in_each_language(tmp_path: Path) -> None:
    """A topic is called by the reader's language, else by the shop's; a plain text serves everybody."""
    text = '[shop]\nlocale = "ja"\n[topics]\nnews = {en = "News", ja = "お知らせ", zh-Hant = "新訊"}\nplain = "Plain"\n'
    assert found(tmp_path, text) == []
    settings = load(tmp_path, {})
    assert settings.topics == {"news": "お知らせ", "plain": "Plain"}
    assert settings.topic_title("news", ("zh-TW", "zh-Hant", "zh", "")) == "新訊"
    assert settings.topic_title("news", ("fr", "")) == "お知らせ"
    assert [settings.topic_title(name, ("en", "")) for name in ("plain", "gone")] == ["Plain", "gone"]


@pytest.mark.parametrize("value", ["3", "{}", "{en = 3}", '{en = ""}', '["News"]'])
def test_topics_of_another_shape_are_found(tmp_path: Path, value: str) -> None:
    """A topic that is neither text nor a text for each language is told at its value."""
    (finding,) = found(tmp_path, f"[topics]\nnews = {value}\n")
    assert (finding.code, finding.span.line, finding.span.column) == ("S102", 2, 8)


@pytest.mark.parametrize("odd", ["x = " + "[" * 3000 + "]" * 3000, "x = " + "9" * 6000])
def test_what_python_cannot_read_is_a_finding(tmp_path: Path, odd: str) -> None:
    """A number or a nesting beyond all limits ends as a finding, and as no error of ours."""
    (tmp_path / "homing.toml").write_text(f"{odd}\n", encoding="utf-8")
    with pytest.raises(FindingsError) as told:
        load(tmp_path, {})
    assert [each.code for each in told.value.findings] == ["S101"]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Editors on Windows write one; places are those that the editor shows."""
    (tmp_path / "homing.toml").write_text("\ufeff[delivery]\nmoed = 1\n", encoding="utf-8")
    (finding, *_) = [each for each in load(tmp_path, {}, strict=False).findings if each.code == "S104"]
    assert (finding.span.line, finding.span.column) == (2, 1)


def test_a_folder_in_place_of_the_settings_is_told(tmp_path: Path) -> None:
    """A folder that is called homing.toml is found from below, and told as what it is."""
    (tmp_path / "homing.toml").mkdir()
    (tmp_path / "flows").mkdir()
    assert find_project(tmp_path / "flows") == tmp_path.resolve()
    with pytest.raises(FindingsError) as caught:
        load(tmp_path, {})
    assert [finding.message for finding in caught.value.findings] == [
        "this file cannot be read: it is a folder"
    ]
