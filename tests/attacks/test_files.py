"""Files made to exhaust a machine are told about, quickly and in little memory, and what is good in them is taken."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import HomingError
from engine.facts.ingest import IngestReport, ingest_file
from engine.settings import Settings
from engine.store.database import Database
from tests.machine import usual_seconds

ROOT = Path(__file__).parents[2]
GOOD = '{"id": "e1", "event": "Seen", "customer": "a@x.test", "occurred_at": "2026-01-01T00:00:00Z"}\n'
DEEP = "[" * 200_000
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

SECONDS = 1.0
"""CPU seconds that a bomb may take."""
HARMLESS = {"one name a hundred thousand times", "names that share their hash"}
"""What is a row like any other once it is read."""

BOMBS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "deep brackets": lambda: ("events.jsonl", (GOOD + f'{{"event": {DEEP}\n' + GOOD).encode()),
    "deep objects": lambda: ("events.jsonl", (GOOD + '{"a":' * 200_000 + "\n").encode()),
    "a deep array": lambda: ("events.json", DEEP.encode()),
    "an array of one huge text": lambda: ("events.json", f'[{GOOD}, "{"a" * 9_000_000}"]'.encode()),
    "an array without end": lambda: ("events.json.gz", zipped(b"[" + b'{"id":1},' * 1_000, b"[1," * 4_000_000)),
    "a line without end": lambda: ("events.jsonl.gz", zipped(GOOD.encode(), b"a" * 60_000_000)),
    "a number of many digits": lambda: ("events.jsonl", (GOOD + f'{{"event": "x", "value": {"9" * 500_000}}}\n').encode()),
    "a number of a huge power": lambda: ("events.jsonl", (GOOD + '{"event": "x", "value": 1e999999999}\n').encode()),
    "one name a hundred thousand times": lambda: ("events.jsonl", (GOOD + "{" + '"a":1,' * 100_000 + '"b":2}\n').encode()),
    "names that share their hash": lambda: ("events.jsonl", (GOOD + json.dumps({str(n * (2**61 - 1)): n for n in range(9_000)}) + "\n").encode()),
    "a table of blanks": lambda: ("customers.csv.gz", zipped(b"external_id,email\n", b" " * 60_000_000)),
    "a header without end": lambda: ("customers.csv.gz", zipped(b"external_id,", b"a" * 60_000_000)),
    "a million columns": lambda: ("customers.csv", ("external_id," + ",".join(f"a{n}" for n in range(300_000)) + "\n").encode()),
    "a quote that is never closed": lambda: ("customers.csv", ("external_id,email\nc1,a@x.test\nc2,\"" + ("x" * 1_000 + "\n") * 9_000).encode()),
    "a cell of many megabytes": lambda: ("customers.csv", f"external_id,email\nc1,a@x.test\nc2,{'x' * 20_000_000}\nc3,c@x.test\n".encode()),
    "zeros": lambda: ("customers.csv.gz", zipped(b"", b"\0" * 60_000_000)),
}  # fmt: skip


def zipped(start: bytes, filling: bytes) -> bytes:
    """Return a gzip file of far more bytes than it has itself."""
    return gzip.compress(start + filling, compresslevel=1)


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_costs_little_time(name: str, sqlite_database: Database, tmp_path: Path) -> None:
    """Taking it in takes at most a second of the processor; it is told of, and what stands before it is taken."""
    file, content = BOMBS[name]()
    path = tmp_path / file
    path.write_bytes(content)
    tried: list[Told] = []
    assert usual_seconds(lambda: tried.append(take(sqlite_database, path)), SECONDS) < SECONDS
    told = tried[0]
    assert told.report is None or told.report.quarantined or name in HARMLESS
    assert len(told.sentence) < 300
    if content.startswith(GOOD.encode()):
        assert told.report is not None
        assert told.report.new


@dataclass(frozen=True, slots=True)
class Told:
    """What a user is told of a file: what became of its rows, or a sentence."""

    report: IngestReport | None
    sentence: str = ""


def take(database: Database, path: Path) -> Told:
    """Take a file as `homing ingest` does."""
    try:
        return Told(ingest_file(database, path, settings=Settings(path.parent), now=NOW))
    except HomingError as error:
        return Told(None, str(error))


def test_bombs_need_little_memory(tmp_path: Path) -> None:
    """All of them, one after the other in one program, stay below 200 MB."""
    for number, make in enumerate(BOMBS.values()):
        file, content = make()
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / file).write_bytes(content)
    program = (
        "import re, resource, sys\n"
        "from pathlib import Path\n"
        "from engine.store.database import connect\n"
        "from engine.store.migrate import upgrade\n"
        "from tests.attacks.test_files import take\n"
        "database = connect('sqlite://')\n"
        "upgrade(database)\n"
        "for path in sorted(Path(sys.argv[1]).glob('*/*')): take(database, path)\n"
        "own = open('/proc/self/status').read() if sys.platform == 'linux' else ''\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+)', own)\n"
        "print(peak[1] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(re.sub(r"\s", "", done.stdout)) < 200 * 1024
