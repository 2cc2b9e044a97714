"""A provider that takes mails and answers after a minute, with the engine's own time-outs.

    python -m tests.crash.waiting --url URL --folder DIR --provider smtp|sendgrid [--seconds 60]

Two mails get their answer so late. With 60 seconds the provider's options are those that a project has that says nothing;
with fewer, `answer_seconds` is a third of it, as 20 is of 60, and a busy machine may be late by itself, with as many as a
group. Three runs: nobody disturbs; the worker is killed while it waits; other workers look for work all the while. In the
end the late answers have come, too. Prints one JSON line: for each run how long the worker waited, what became of the
messages, and what did not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.crash.fuse import forked, in_child
from tests.crash.sending import SKIP, settled
from tests.crash.shops import GROUP, LATE, OUTCOMES, Shop, hold, prepare
from tests.crash.stages import Stage, stage_at
from tests.servers.process import start_sendgrid, start_smtp

USUAL = 60.0
SLOW = 2  # mails; a group of SMTP ends within 45 seconds
HOW = ("undisturbed", "killed", "beside others")


def one_run(shop: Shop, stage: Stage, how: str, seconds: float) -> dict[str, Any]:
    """Send with answers that come so late, and go on until nothing is open."""
    stage.restore()
    slow = dict(OUTCOMES[shop.provider]["slow"]) | {"seconds": seconds}
    since = shop.begin("accepted", 0)
    shop.server.script(str(slow.pop("phase")), str(slow.pop("do")), times=SLOW, skip=SKIP, **slow)
    child = forked(shop.run)
    _wait_for(shop, since, SKIP + 1)
    begun = time.monotonic()
    if how == "killed":
        time.sleep(seconds / 6)
        os.kill(child, signal.SIGKILL)
    broken = _beside(shop, child, seconds / 12) if how == "beside others" else []
    if how != "beside others" and os.waitpid(child, 0)[1] != (signal.SIGKILL if how == "killed" else 0):
        broken.append("the worker ended otherwise")
    waited = time.monotonic() - begun
    if in_child(shop.finish) != 0:
        broken.append("the last worker failed")
    time.sleep(max(0.0, begun + SLOW * seconds + 1 - time.monotonic()))  # the last answer has come
    arrived = settled(shop, since)
    own = 0 if seconds >= USUAL else LATE
    # The second one may be of the next group.
    broken += hold(shop, arrived, GROUP if how == "killed" else 0, SLOW + own)
    states = dict(shop.states())
    shop.engine.database.close()
    return {
        "how": how,
        "waited": round(waited, 1),
        "arrived": arrived.total(),
        "states": states,
        "broken": broken,
    }


def _beside(shop: Shop, child: int, pause: float) -> list[str]:
    """Let one worker after the other look for work until the first one ends; return what went wrong."""
    broken: list[str] = []
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return broken + (["the worker failed"] if status else [])
        if in_child(shop.run) != 0:
            broken.append("a worker beside it failed")
        time.sleep(pause)


def _wait_for(shop: Shop, since: int, mails: int) -> None:
    """Return when the server has taken so many mails of this run."""
    until = time.monotonic() + USUAL
    while shop.arrived(since).total() < mails:
        assert time.monotonic() < until, "the server takes no mails"
        time.sleep(0.02)


def main() -> None:
    """Run as a program of its own, so that what is forked is small."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--provider", choices=tuple(OUTCOMES), required=True)
    parser.add_argument("--seconds", type=float, default=USUAL)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    times = "" if given.seconds == USUAL else f"answer_seconds = {given.seconds / 3}"
    start = start_smtp(given.folder) if given.provider == "smtp" else start_sendgrid(given.folder)
    with start as server:
        shop = prepare(given.folder / "shop", given.url, given.provider, server, times)
        shop.engine.database.close()
        if shop.engine.exits.real is not None:
            shop.engine.exits.real.close()
        stage = stage_at(given.url)
        stage.keep()
        runs = [one_run(shop, stage, how, given.seconds) for how in HOW]
        stage.close()
    sys.stdout.write(json.dumps({"runs": runs}) + "\n")


if __name__ == "__main__":
    main()
