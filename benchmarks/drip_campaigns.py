"""django-drip-campaigns beside us: six drips over as many users, one look at rest. Run by a Python that has the package.

    BIN/python benchmarks/drip_campaigns.py --users 100000

Comes in: how many users. Goes out: one line of JSON with the CPU seconds of a look in which nobody is due, and the package's
version. The drips ask for the day somebody joined or was last seen, which is what the package can ask by itself: no orders,
carts or own gaps, so that the comparison flatters it. This file imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

LOOKS = 3
DAYS = (("date_joined", 3), ("date_joined", 30), ("last_login", 1), ("last_login", 3), ("last_login", 90), ("last_login", 180))  # fmt: skip


def main() -> None:
    """Build the users, run the drips, print what a look cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _configure(Path(folder))
        _users(given.users)
        _drips()
        looks = [_look() for _ in range(LOOKS)]
    told = {
        "users": given.users,
        "seconds": statistics.median(looks),
        "version": version("django-drip-campaigns"),
    }
    print(json.dumps(told))


def _configure(folder: Path) -> None:
    import django  # type: ignore[import-not-found] # noqa: PLC0415 - only the other Python has it
    from django.conf import settings  # type: ignore[import-not-found] # noqa: PLC0415
    from django.core.management import call_command  # type: ignore[import-not-found] # noqa: PLC0415

    settings.configure(
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "drip"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "drip.db")}},
        EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DRIP_FROM_EMAIL="shop@example.test",
        SECRET_KEY="bench",  # noqa: S106 - it guards nothing
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)


def _users(count: int) -> None:
    from django.contrib.auth.models import User  # type: ignore[import-not-found] # noqa: PLC0415

    rng, now = random.Random(1), datetime.now(UTC)
    for start in range(0, count, 10_000):
        made: list[Any] = []
        for number in range(start, min(start + 10_000, count)):
            joined = now - timedelta(minutes=rng.randrange(60, 700 * 1440))
            seen = joined + (now - joined) * rng.random()
            made.append(
                User(
                    username=f"u{number}",
                    email=f"u{number}@example.test",
                    date_joined=joined,
                    last_login=seen,
                )
            )
        User.objects.bulk_create(made)


def _drips() -> None:
    """Make six drips for moments that nobody stands at: a minute of that day in which nothing happened."""
    from drip.models import Drip, QuerySetRule  # type: ignore[import-not-found] # noqa: PLC0415

    for number, (field, days) in enumerate(DAYS):
        drip = Drip.objects.create(
            name=f"d{number}", enabled=True, subject_template="Hello", body_html_template="Hello"
        )
        for lookup, value in (("lte", f"now-{days} days"), ("gte", f"now-{days} days")):
            QuerySetRule.objects.create(
                drip=drip, method_type="filter", field_name=field, lookup_type=lookup, field_value=value
            )


def _look() -> float:
    from drip.models import Drip  # noqa: PLC0415

    start = time.process_time()
    for drip in Drip.objects.filter(enabled=True):
        drip.drip.run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
