"""How many track events a second `homing serve` takes: four clients, batches of 100, SQLite with synchronous=FULL.

    .venv/bin/python -m benchmarks.intake [EVENTS]

Comes in: how many events are sent (100,000). Goes out: events a second by the wall and by the server's own CPU, its memory at
the beginning, in between and at the end, and whether every acknowledged event is in the database.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from engine.store.database import Database, connect
from engine.store.migrate import upgrade
from engine.store.tables import events
from engine.web import keys

CLIENTS, EACH = 4, 100
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print the figures."""
    measure_intake(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)


def measure_intake(count: int) -> None:
    """Send so many events to a server of its own, and print how it did."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "homing.toml").write_text(
            '[shop]\nname = "Bench"\n[sender]\nemail = "a@bench.test"\n', encoding="utf-8"
        )
        database = connect("sqlite:///homing.db", root)
        upgrade(database)
        with database.write() as connection:
            key = keys.create(connection, "bench", scopes=["write"], origins=[], now=datetime.now(UTC))
        command = [sys.executable, "-m", "cli", "serve", "--port", "8799", "--project", str(root), "-q"]
        with subprocess.Popen(command, cwd=ROOT) as server:  # noqa: S603 - our own program
            try:
                _wait()
                _measure(server.pid, key, max(count // CLIENTS // EACH, 1), database)
            finally:
                server.terminate()
        database.close()


def _wait() -> None:
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 8799, timeout=5)
            connection.request("GET", "/readyz")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _measure(pid: int, key: str, batches: int, database: Database) -> None:
    before, memory, began = _cpu(pid), [_memory(pid)], time.perf_counter()
    threads = [threading.Thread(target=_send, args=(client, batches, key)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        memory.append(_memory(pid))
    wall, cpu, count = time.perf_counter() - began, _cpu(pid) - before, CLIENTS * batches * EACH
    with database.read() as connection:
        there = connection.scalar(select(func.count()).select_from(events)) or 0
    print(
        f"{count:,} events: {count / wall:,.0f}/s by the wall, {count / cpu:,.0f} a second of the server's CPU"
    )
    print(
        f"memory {memory[0]} MB → {memory[len(memory) // 2]} MB → {memory[-1]} MB, {max(memory)} MB at most; "
        f"in the database: {there:,}"
    )


def _send(client: int, batches: int, key: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", 8799, timeout=60)
    headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
    for number in range(batches):
        connection.request("POST", "/v1/batch", _batch(client, number), headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status


def _batch(client: int, number: int) -> bytes:
    chance = random.Random(client * 1_000_000 + number)
    at = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    calls = [
        {
            "type": "track", "event": "Product Viewed", "userId": f"u-{chance.randrange(5_000)}",
            "messageId": f"m-{client}-{number}-{place}", "timestamp": at,
            "properties": {"product_id": f"S-{chance.randrange(300)}", "name": "Sencha Superior", "price": 12.5, "category": "tea"},
            "context": {"library": {"name": "bench", "version": "1"}, "userAgent": "Mozilla/5.0 (X11; Linux x86_64)"},
        }
        for place in range(EACH)
    ]  # fmt: skip
    return json.dumps({"batch": calls, "sentAt": at}).encode()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    """Return the program's own memory in MB, without the pages of the database file that it maps."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))) // 1024


if __name__ == "__main__":
    main()
