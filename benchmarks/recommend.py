"""The tables of docs/recommendations.md, measured here: `make bench-recommend`.

For each shop a database knows everything up to a moment, the nightly rebuild runs, and the engine serves every customer
who bought afterwards; what it showed is held against what they bought. Nothing of the time measured is known before: not
to the tables, nor to the choice of constants, which was made on the month or quarter before it (`--calibrate` shows that).
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from benchmarks.recommend_measures import Mean, Quality, mean, quality
from benchmarks.recommend_sales import (
    BUILD,
    ONLINE_RETAIL,
    ROOT,
    Bought,
    Sales,
    add,
    complete_journey,
    fill,
    online_retail,
)
from engine.recommend.rebuild import rebuild
from engine.recommend.serve import recommend
from engine.recommend.strategies import Request
from engine.recommend.supply import Line, run_out_days
from engine.store.database import Database, connect
from engine.store.migrate import upgrade

PAGE = ROOT / "docs" / "recommendations.md"
BATCH = 500  # mails of one dispatch
CHAIN = ("for_you", "popular_in_category", "bestsellers")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Trial:
    """A shop, the moment up to which everything is known, and the end of what is held out."""

    sales: Sales
    cut: datetime
    end: datetime

    @property
    def until(self) -> str:
        return f"{self.cut:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Cost:
    """What the rebuild of a trial cost: processor seconds and the most memory of its own program."""

    seconds: float
    megabytes: float
    lines: int
    products: int


def trials(*, calibrate: bool) -> list[Trial]:
    """Return the held-out month and quarter, or the ones before them, on which constants were chosen."""
    found = []
    if ONLINE_RETAIL.is_file():
        cut = datetime(2011, 10, 9, tzinfo=UTC) if calibrate else datetime(2011, 11, 9, tzinfo=UTC)
        found.append(Trial(online_retail(), cut, cut + timedelta(days=31)))
    else:
        print("Online Retail is not here; HOMING_ONLINE_RETAIL names the file", file=sys.stderr)
    quarters = [
        datetime(2017, 7, 1, tzinfo=UTC),
        datetime(2017, 10, 1, tzinfo=UTC),
        datetime(2018, 1, 2, tzinfo=UTC),
    ]
    start = 0 if calibrate else 1
    found.append(Trial(complete_journey(), quarters[start], quarters[start + 1]))
    return found


# ── preparing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def prepared(trial: Trial) -> tuple[Database, Cost]:
    """Return a database that knows everything up to the cut, rebuilt by a program of its own, and what that cost."""
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{trial.sales.name.split()[0].lower()}-{trial.until}.db"
    for old in (path, path.with_suffix(".db-wal"), path.with_suffix(".db-shm")):
        old.unlink(missing_ok=True)
    database = connect(f"sqlite:///{path}")
    upgrade(database)
    fill(database, trial.sales, trial.cut)
    command = [sys.executable, "-m", "benchmarks.recommend", "--rebuild", str(path), trial.cut.isoformat()]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT, text=True).stdout)  # noqa: S603 - our own words
    known = trial.sales.until(trial.cut)
    return database, Cost(told["seconds"], told["megabytes"], len(known), len({line.sku for line in known}))


def rebuild_here(path: str, moment: str) -> None:
    """Rebuild one database and print what it cost: for the program that `prepared` starts."""
    database = connect(f"sqlite:///{path}")
    before = time.process_time()
    rebuild(database, datetime.fromisoformat(moment), force=True)
    print(json.dumps({"seconds": time.process_time() - before, "megabytes": _own_peak()}))
    database.close()


def _own_peak() -> float:
    """Return the most megabytes that this program held; `getrusage` would count its parent's before it began."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
        if found is not None:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def served(
    database: Database, customers: Sequence[int], chain: tuple[str, ...], count: int, now: datetime
) -> tuple[dict[int, list[str]], Counter[str], float]:
    """Return what the engine shows each customer, how many slots each strategy filled, and seconds of processor."""
    shown: dict[int, list[str]] = {}
    strategies: Counter[str] = Counter()
    before = time.process_time()
    for start in range(0, len(customers), BATCH):
        requests = [Request(customer, (), chain, count) for customer in customers[start : start + BATCH]]
        with database.read() as connection:
            for request, picks in zip(requests, recommend(connection, requests, now), strict=True):
                shown[request.customer_id] = [pick.sku for pick in picks]
                strategies.update(pick.strategy for pick in picks)
    return shown, strategies, time.process_time() - before


# ── what is next ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Known:
    """The history of a trial as the plain rivals see it: orders by customer and product, and by product."""

    own: Mapping[int, Counter[str]]
    popular: Sequence[str]
    lately: Sequence[str]


def known_of(trial: Trial) -> Known:
    own: defaultdict[int, Counter[str]] = defaultdict(Counter)
    popular: Counter[str] = Counter()
    lately: Counter[str] = Counter()
    for order, sku, customer, at in {
        (x.order, x.sku, x.customer, x.at) for x in trial.sales.until(trial.cut)
    }:
        popular[sku] += 1
        lately[sku] += at > trial.cut - timedelta(days=90)
        if customer is not None:
            own[customer][sku] += 1
        del order
    return Known(own, _ranked(popular), _ranked(lately))


def _ranked(counted: Counter[str]) -> list[str]:
    return [sku for sku, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def bought_by(lines: Sequence[Bought]) -> dict[int, set[str]]:
    found: defaultdict[int, set[str]] = defaultdict(set)
    for line in lines:
        if line.customer is not None:
            found[line.customer].add(line.sku)
    return found


def next_purchases(trial: Trial, database: Database, known: Known) -> tuple[list[str], Mapping[str, float]]:
    """Return rows on four slots, for what is new to the customer and for anything; and the shares of the strategies."""
    later = bought_by(trial.sales.between(trial.cut, trial.end))
    later = {customer: skus for customer, skus in later.items() if customer in known.own}
    catalogue = set(known.popular)
    new = {who: (skus & catalogue) - known.own[who].keys() for who, skus in later.items()}
    anything = {who: skus & catalogue for who, skus in later.items()}
    who = sorted(later)
    rows: list[str] = []
    lists: list[tuple[str, str, Mapping[int, set[str]], Mapping[int, Sequence[str]]]] = [
        ("new to them", "bestsellers", new, served(database, who, ("bestsellers",), 4, trial.cut)[0]),
        ("new to them", "`for_you` alone", new, served(database, who, ("for_you",), 4, trial.cut)[0]),
    ]
    shown, shares, seconds = served(database, who, CHAIN, 4, trial.cut)
    lists.append(("new to them", "the chain `for_you, popular_in_category, bestsellers`", new, shown))
    lists.append(("anything", "bestsellers, bought ones too", anything, dict.fromkeys(who, known.lately[:4])))
    frequent = {customer: _ranked(known.own[customer])[:4] for customer in who}
    lists.append(("anything", "personal frequency", anything, frequent))
    again, _, _ = served(database, who, ("reorder", *CHAIN), 4, trial.cut)
    lists.append(("anything", "the chain `reorder, for_you, …`", anything, again))
    for task, name, truth, chosen in lists:
        found = quality(chosen, truth, 4, len(catalogue))
        rows.append(f"| {trial.sales.name} | {task} | {name} | {_columns(found)} |")
    total = sum(shares.values())
    print(f"{trial.sales.name}: {1000 * seconds / len(who):.2f} ms of processor a mail", file=sys.stderr)
    return rows, {name: count / total for name, count in shares.most_common()}


def _columns(found: Quality) -> str:
    return f"{found.customers:,} | {found.recall} | {found.ndcg} | {found.coverage:.1%}"


# ── buying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def buying_again(trial: Trial, database: Database, known: Known) -> list[str]:
    """Return rows on ten slots for what a customer had bought before and buys again."""
    later = bought_by(trial.sales.between(trial.cut, trial.end))
    truth = {who: skus & known.own[who].keys() for who, skus in later.items() if who in known.own}
    who = sorted(customer for customer, skus in truth.items() if skus)
    frequent = {customer: _ranked(known.own[customer])[:10] for customer in who}
    again, _, _ = served(database, who, ("reorder",), 10, trial.cut)
    lists: list[tuple[str, Mapping[int, Sequence[str]]]] = [
        ("popularity", dict.fromkeys(who, known.popular[:10])),
        ("personal frequency", frequent),
        ("`reorder`", again),
    ]
    rows = []
    for name, shown in lists:
        found = quality(shown, truth, 10, len(known.popular))
        rows.append(f"| {trial.sales.name} | {name} | {_columns(found)} |")
    return rows


# ── running out ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Repeat:
    """A purchase that was followed by another of the same product: the gaps before it, and the days that it took."""

    line: Line
    gaps: tuple[float, ...]
    took: float


def running_out(trial: Trial, database: Database) -> list[str]:
    """Return rows on how many days run-out dates are off, for products bought on at least four days."""
    days: defaultdict[tuple[int, str], dict[datetime, float]] = defaultdict(dict)
    for line in trial.sales.lines:
        if line.customer is not None and line.at < trial.end:
            day = line.at.replace(hour=0, minute=0, second=0, microsecond=0)
            own = days[line.customer, line.sku]
            own[day] = own.get(day, 0.0) + line.pieces
    typical: defaultdict[str, list[float]] = defaultdict(list)
    ahead, every = [], []
    for (customer, sku), own in days.items():
        moments = sorted(own)
        gaps = [(later - day) / _DAY for day, later in pairwise(moments)]
        typical[sku] += [gap for gap, later in zip(gaps, moments[1:], strict=True) if later < trial.cut]
        for place, gap in enumerate(gaps):
            if place < 3 or moments[place + 1] < trial.cut:
                continue
            at = moments[place] + _DAY - timedelta(seconds=1)
            repeat = Repeat(Line(customer, sku, own[moments[place]], at), tuple(gaps[:place]), gap)
            every.append(repeat)
            if moments[place] < trial.cut <= moments[place] + median(repeat.gaps) * _DAY:
                ahead.append(repeat)
    middle = {sku: median(gaps) for sku, gaps in typical.items() if gaps}
    rows = _off(trial, "still ahead at the cut", ahead, database, middle)
    add(database, trial.sales.between(trial.cut, trial.end))
    return rows + _off(trial, "every repeat of the quarter", every, database, middle)


def _off(
    trial: Trial, which: str, repeats: Sequence[Repeat], database: Database, middle: Mapping[str, float]
) -> list[str]:
    ordered = sorted(repeats, key=lambda repeat: repeat.line.customer_id)
    ours: list[float] = []
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        with database.read() as connection:
            found = run_out_days(connection, [repeat.line for repeat in batch])
        # Where the engine has no date the customer's own middle stands in, so that all rows tell of the same purchases.
        ours += [
            abs(repeat.took - (median(repeat.gaps) if days is None else days))
            for repeat, days in zip(batch, found, strict=True)
        ]
    own = [abs(repeat.took - median(repeat.gaps)) for repeat in ordered]
    theirs = [abs(repeat.took - middle.get(repeat.line.sku, median(repeat.gaps))) for repeat in ordered]
    head = f"| {trial.sales.name} | {which} | {len(ordered):,}"
    return [
        f"{head} | the product type's median gap | {_in_days(theirs)} |",
        f"{head} | the customer's own median gap | {_in_days(own)} |",
        f"{head} | days of supply | {_in_days(ours)} |",
    ]


def _in_days(errors: Sequence[float]) -> str:
    found: Mean = mean(errors) if len(errors) < 30_000 else _large(errors)
    return f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f}) | {median(errors):.1f}"


def _large(errors: Sequence[float]) -> Mean:
    """Return the mean with the interval of the normal law, which is the same for so many."""
    middle = fmean(errors)
    half = 1.96 * (fmean((error - middle) ** 2 for error in errors) / len(errors)) ** 0.5
    return Mean(middle, middle - half, middle + half)


# ── writing down ─────────────────────────────────────────────────────────────────────────────────────────────────────


def measure(*, calibrate: bool) -> str:
    """Return the tables as Markdown."""
    nexts, agains, runs, costs, shares = [], [], [], [], []
    for trial in trials(calibrate=calibrate):
        database, cost = prepared(trial)
        known = known_of(trial)
        costs.append(
            f"| {trial.sales.name} | {cost.lines:,} | {cost.products:,} | {cost.seconds:.0f} s | {cost.megabytes:.0f} MB |"
        )
        rows, filled = next_purchases(trial, database, known)
        nexts += rows
        shares += [f"| {trial.sales.name} | {name} | {share:.1%} |" for name, share in filled.items()]
        agains += buying_again(trial, database, known)
        if trial.sales.name == "Complete Journey":
            runs += running_out(trial, database)
        database.close()
    head = "recall@{0} | nDCG@{0} | catalogue shown |\n"
    return "\n".join(
        [
            "### Four slots\n",
            "| shop | what counts | who chooses | customers | "
            + head.format(4)
            + "| --- | --- | --- | --: | --- | --- | --: |",
            *nexts,
            "\nWho filled the slots of the chain:\n",
            "| shop | strategy | slots |\n| --- | --- | --: |",
            *shares,
            "\n### Buying again: ten slots\n",
            "| shop | who chooses | customers | " + head.format(10) + "| --- | --- | --: | --- | --- | --: |",
            *agains,
            "\n### Running out: days between the date and the purchase\n",
            "| shop | purchases | how many | by | mean | median |\n| --- | --- | --: | --- | --- | --: |",
            *runs,
            "\n### The nightly rebuild, all of it\n",
            "| shop | order lines | products | processor | memory |\n| --- | --: | --: | --: | --: |",
            *costs,
        ]
    )


def write_down(tables: str, page: Path = PAGE) -> None:
    """Put the tables between the marks of the page."""
    marks = re.compile(r"(<!-- measured -->\n).*(\n<!-- end -->)", re.DOTALL)
    text = page.read_text(encoding="utf-8")
    page.write_text(marks.sub(lambda found: f"{found[1]}{tables}{found[2]}", text), encoding="utf-8")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recommend", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="measure the month and quarter before; write nothing"
    )
    parser.add_argument("--rebuild", nargs=2, metavar=("FILE", "MOMENT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rebuild:
        rebuild_here(*options.rebuild)
        return
    tables = measure(calibrate=options.calibrate)
    print(tables)
    if not options.calibrate:
        write_down(tables)


if __name__ == "__main__":
    main()
