"""The whole crash suite: `make test-crash`, or `python -m tests.crash [--kills 10000] [--folder build/crash] [--databases …]`.

Kills are shared among the databases and providers; each run is written down in the folder, so that an interrupted suite
goes on where it was. Beside them for each database 100 zombies, 50 full disks, 400 kills while taking facts in and 800
while changing much at once, and 1,000 of workers that share their work through a broker. Prints what was done; ends with
1 where something did not hold.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from engine.store.database import connect
from engine.store.migrate import upgrade
from tests.crash.changing import WORKS
from tests.servers.postgres import Postgres, postgres_server

PROVIDERS = ("smtp", "sendgrid")
PART = 100  # kills after which what was done is told


def main() -> None:
    """Run what is left."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--zombies", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("build/crash"))
    parser.add_argument(
        "--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"]
    )
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    share = given.kills // (len(PROVIDERS) * len(given.databases))
    broken = 0
    with postgres_server() as server:
        for kind in given.databases:
            for provider in PROVIDERS:
                log = given.folder / f"{kind}-{provider}.jsonl"
                for kills in [*range(PART, share, PART), share]:
                    how = ("--provider", provider, "--kills", str(kills), "--log", str(log.resolve()))
                    broken += _run(kind, server, given.folder, "sending", *how)
                if kind == "postgresql":
                    broken += _run(
                        kind, server, given.folder, "sharing", "--provider", provider, "--kills", "500"
                    )
                zombies = ("--provider", provider, "--zombies", str(given.zombies))
                broken += _run(kind, server, given.folder, "sending", *zombies)
            broken += _run(kind, server, given.folder, "taking_in", "--kills", "400")
            for work in sorted(WORKS):
                broken += _run(kind, server, given.folder, "changing", "--work", work, "--kills", "200")
        if "sqlite" in given.databases:
            broken += _run("sqlite", server, given.folder, "sending", "--provider", "smtp", "--full", "50")
    sys.exit(1 if broken else 0)


def _run(kind: str, server: Postgres, folder: Path, program: str, *arguments: str) -> int:
    """Run one program of the suite on a fresh database, tell what it found, and return how much did not hold."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    name = server.create_database() if kind == "postgresql" else ""
    url = server.url(name) if name else f"sqlite:///{work.resolve()}/run.db"
    migrated = connect(url)
    upgrade(migrated)
    migrated.close()
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.crash.{program}", "--url", url, "--folder", str(work), *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        if name:
            server.drop_database(name)
    what = " ".join(each for each in arguments if not each.endswith(".jsonl"))
    if done.returncode:
        sys.stdout.write(f"{kind} {program} {what}: did not run to its end\n{done.stderr[-2000:]}\n")
        sys.stdout.flush()
        return 1
    found = json.loads(done.stdout.splitlines()[-1])
    told = f"{kind} {program} {what}: {found['runs']} runs, {found['kills']} kills, {len(found['broken'])} broken"
    sys.stdout.write("\n  ".join([told, *found["broken"]]) + "\n")
    sys.stdout.flush()
    return len(found["broken"])


if __name__ == "__main__":
    main()
