"""`apply --backfill` of a shop with a history, killed by SIGKILL at several moments: the next pass finishes it.

The work of each test is done by processes of its own. What stands at the end is compared with what one uninterrupted
apply makes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks import shop
from engine import settings as settings_module
from engine.deploy.apply import apply
from engine.runtime import setting_up
from engine.runtime.opening import open_engine
from engine.runtime.passes import run_pass
from engine.runtime.setting_up import set_up_part
from engine.runtime.work import ARMING
from engine.settings import Settings
from engine.store import meta
from engine.store.database import Database, connect
from engine.store.tables import enrollments, segment_members, timers
from tests.crash.fuse import Fuse, forked, in_child
from tests.integration.small_shop import SETTINGS, TEMPLATE

ROOT = Path(__file__).resolve().parents[2]
CUSTOMERS = 400  # of whom a fifth is German, and half of these gave consent
PART = 50
WHEN = shop.NOW + timedelta(minutes=1)
FLOWS = {
    "member": "trigger: {segment: german}\nre_entry: always\nsteps: [{wait: 1d}, {send: note}]\n",
    "bought": "trigger: {event: order_placed}\nre_entry: {per: order}\nmax_lateness: 7d\nsteps: [{wait: 500d}, {send: note}]\n",
    "gone": "trigger: {lapsed: {event: order_placed, after: 30d}}\nsteps: [{wait: 500d}, {send: note}]\n",
}


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Give the settings of a project whose database holds a shop with a history."""
    for folder in ("flows", "templates"):
        (tmp_path / folder).mkdir()
    more = f'[policy]\nquiet_hours = ""\ncaps = []\n[database]\nurl = "{database_url}"\n'
    (tmp_path / "homing.toml").write_text(SETTINGS + more, encoding="utf-8")
    (tmp_path / "templates" / "note.mjml").write_text(TEMPLATE, encoding="utf-8")
    (tmp_path / "flows" / "segments.yaml").write_text(
        "german: [{customer: {country: DE}}]\n", encoding="utf-8"
    )
    for name, text in FLOWS.items():
        whole = f"flow: {name}\ntopic: reminders\n{text}"
        (tmp_path / "flows" / f"{name}.yaml").write_text(whole, encoding="utf-8")
    return settings_module.load(tmp_path, {})


@pytest.fixture
def filled(database_url: str) -> Iterator[Database]:
    """Give the database with its shop."""
    opened = connect(database_url)
    shop.build(opened, CUSTOMERS)
    yield opened
    opened.close()


def entered(database: Database) -> list[Any]:
    """Return who is in which flow, by which occurrence and since when."""
    columns = (
        enrollments.c.flow,
        enrollments.c.customer_id,
        enrollments.c.occurrence,
        enrollments.c.entered_at,
    )
    with database.read() as connection:
        return sorted(map(tuple, connection.execute(select(*columns))))


def members(database: Database) -> list[int]:
    """Return who is known to be in the segment."""
    with database.read() as connection:
        return sorted(connection.scalars(select(segment_members.c.customer_id)))


def finish(database: Database, settings: Settings) -> list[Any]:
    """Let whatever runs next do the rest; return who entered."""
    run_pass(open_engine(settings, database), WHEN, sending=False)
    with database.read() as connection:
        assert meta.get(connection, ARMING, []) == []
    return entered(database)


def take_back(database: Database) -> None:
    """Make the shop as if nothing had been applied."""
    with database.write() as connection:
        for table in ("journal", "enrollments", "timers", "arrivals", "segment_members", "flows", "meta"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def applied(url: str, settings: Settings, fuse: Fuse) -> None:
    """Apply in this process, which the fuse ends."""
    setting_up.set_up_part = partial(set_up_part, most=PART)
    setting_up.PAUSE = 0.0
    database = connect(url)
    fuse.lay(database.engine)
    apply(database, settings, now=WHEN, who="test", backfill=True)


def test_killed_at_any_step_it_is_finished_by_the_next_pass(
    filled: Database, database_url: str, settings: Settings
) -> None:
    """Whatever step a SIGKILL meets, everybody stands in the end where one whole apply would have placed them."""
    apply(filled, settings, now=WHEN, who="test", backfill=True)
    expected = finish(filled, settings)
    german = [row for row in expected if row[0] == "member"]
    bought = [row for row in expected if row[0] == "bought"]
    assert len(german) == CUSTOMERS // 10
    assert len(bought) > CUSTOMERS
    known = members(filled)
    tried = 0
    for step in (60, 150, 300, 420, 600):
        take_back(filled)
        filled.engine.dispose()
        status = in_child(lambda at=step: applied(database_url, settings, Fuse(at)))  # type: ignore[misc]
        tried += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        with filled.read() as connection:
            begun = bool(meta.get(connection, ARMING, []))
        if not begun:  # it was killed before its first commit, or was done
            apply(filled, settings, now=WHEN, who="test", backfill=True)
        assert finish(filled, settings) == expected
        assert members(filled) == known
    assert tried >= 3


def killed_while_placing(command: Sequence[str], database: Database) -> bool:
    """Run a program and kill it while it places customers; return False where it was through before."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            with database.read() as connection:
                if meta.get(connection, ARMING, []):
                    running.kill()
            time.sleep(0.002)
    with database.read() as connection:
        left = bool(meta.get(connection, ARMING, []))
    return left and running.returncode == -signal.SIGKILL


def test_the_command_killed_while_it_places(filled: Database, settings: Settings) -> None:
    """`homing apply --backfill`, killed from outside while it places, is finished by `homing tick`."""
    homing = [sys.executable, "-m", "cli"]
    project = ["--project", str(settings.root)]
    # It places within a moment, which a busy machine may let pass before we look: then it is done once more.
    for _ in range(20):
        if killed_while_placing([*homing, "apply", "--yes", "--backfill", *project], filled):
            break
        take_back(filled)
    with filled.read() as connection:
        assert meta.get(connection, ARMING, [])
    done = subprocess.run(
        [*homing, "tick", *project], cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    flows = [row[0] for row in entered(filled)]
    assert flows.count("member") == CUSTOMERS // 10
    assert flows.count("bought") > 0
    with filled.read() as connection:
        assert meta.get(connection, ARMING, []) == []
        standing = select(timers.c.id).where(timers.c.flow == "member")
        assert list(connection.scalars(standing)) == []


def test_a_flow_that_is_removed_while_it_is_set_up(filled: Database, settings: Settings) -> None:
    """What was left to do for a flow that is gone is let go of, and a pass comes to its end."""
    child = forked(
        lambda: applied(str(filled.engine.url.render_as_string(hide_password=False)), settings, Fuse(200))
    )
    os.waitpid(child, 0)
    with filled.read() as connection:
        assert meta.get(connection, ARMING, [])
    for name in FLOWS:
        (settings.root / "flows" / f"{name}.yaml").unlink()
    apply(filled, settings_module.load(settings.root, {}), now=WHEN, who="test")
    assert finish(filled, settings) == []
