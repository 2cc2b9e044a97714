"""Buy till you die: who is still a customer, how often they will buy, and for how much.

Comes in: how often, how lately and since when customers bought (weeks). Goes out: the BG/NBD model of Fader, Hardie and
Lee (2005, Marketing Science 24:275) and the Gamma-Gamma model of spend (Fader and Hardie, 2013, brucehardie.com/notes/025),
fitted by maximum likelihood in plain Python. Promises the published figures on CDNOW, and `None` with a reason in plain
words, instead of a number, where there are too few customers or the numbers say nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, log1p, nan
from typing import NamedTuple

from engine.insights.minimise import Point, minimise

BUYERS_FROM = 100  # customers with an order, below which nothing is predicted
REPEATERS_FROM = 30  # customers with a repeat purchase, likewise
WEEKS_FROM = 12.0  # of history of the oldest customer
MOST_ROWS = 20_000  # different histories in a fit; beyond it times are rounded more coarsely
MOST_VALUES = 5_000  # customers in a fit of spend; beyond it an even sample
LEAST_GAIN = 3.0  # log-likelihood by which dropping out must explain the purchases better than staying (95 %, 2 parameters)
LEAST_DROPOUT = 0.005  # mean chance to leave after a purchase, below which no leaving can be seen
MONTHS = 12
WEEKS_A_MONTH = 4.345
DISCOUNT = 0.01  # a month
_FARTHEST = 12.0  # bounds the logarithms of parameters
_HUGE = 1e200  # far enough from the largest float for one more term
_FAR_APART = 35.0  # beyond it log(1 + e^d) is d


class History(NamedTuple):
    """Repeat purchases `x`, weeks from the first purchase to the last `t_x` and to now `age`, and customers alike."""

    x: int
    t_x: float
    age: float
    customers: int = 1


class Spend(NamedTuple):
    """A customer's repeat purchases and their mean value."""

    x: int
    mean: float


@dataclass(frozen=True, slots=True)
class BgNbd:
    """Customers buy at rates of Gamma(r, alpha) and leave after a purchase with chances of Beta(a, b); time in weeks."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float

    @property
    def dropout(self) -> float:
        """The mean chance to leave after a purchase."""
        return self.a / (self.a + self.b)

    def alive(self, x: int, t_x: float, age: float) -> float:
        """Return the chance that the customer has not left; always 1 without a repeat purchase, which says nothing."""
        return 1.0 / (1.0 + self._odds_gone(x, t_x, age))

    def expected(self, weeks: float, x: int, t_x: float, age: float) -> float:
        """Return the purchases to expect of a customer in the next `weeks`."""
        return self._purchases(weeks, x, age) * self.alive(x, t_x, age)

    def discounted(self, x: int, age: float) -> float | None:
        """Return the purchases of 12 months to expect of a customer who has not left, discounted by 1 % a month.

        None where the parameters are so extreme that the series gives no number which can be: less than nothing, or
        more than somebody buys who stays for ever.
        """
        so_far, total = 0.0, 0.0
        for month in range(1, MONTHS + 1):
            until = self._purchases(month * WEEKS_A_MONTH, x, age)
            total += (until - so_far) / (1.0 + DISCOUNT) ** month
            so_far = until
        most = MONTHS * WEEKS_A_MONTH * (self.r + x) / (self.alpha + age)
        return max(total, 0.0) if -1e-6 * most <= total <= most * (1.0 + 1e-6) else None

    def _odds_gone(self, x: int, t_x: float, age: float) -> float:
        if x == 0:
            return 0.0
        power = (self.r + x) * log((self.alpha + age) / (self.alpha + t_x)) + log(self.a / (self.b + x - 1))
        return exp(min(power, 700.0))

    def _purchases(self, weeks: float, x: int, age: float) -> float:
        """Return equation (10) of the paper without its denominator.

        Two series give the same; Euler's transformation stays small for many purchases, the plain one where nearly
        everybody leaves with the same chance (large a and b). Either way only the product stays between 0 and 1.
        """
        a = self.a if abs(self.a - 1.0) > 1e-6 else 1.0 + 1e-6
        z = weeks / (self.alpha + age + weeks)
        c = a + self.b + x - 1.0
        c = c if abs(c) > 1e-9 else 1e-9
        if a - 1.0 < self.r + x:
            power, (series, scale) = a - 1.0, hyp2f1(c - self.r - x, a - 1.0, c, z)
        else:
            power, (series, scale) = self.r + x, hyp2f1(self.r + x, self.b + x, c, z)
        staying = series * exp(min(power * log1p(-z) + scale, 700.0))
        return c / (a - 1.0) * (1.0 - staying)


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """Purchases of a customer are worth Gamma(p, ν), with ν of Gamma(q, v) across customers."""

    p: float
    q: float
    v: float
    log_likelihood: float

    @property
    def mean(self) -> float:
        """What a purchase is worth on average over all customers; needs q > 1."""
        return self.p * self.v / (self.q - 1.0)

    def expected(self, x: int, mean: float) -> float:
        """Return what a purchase of this customer is worth: the own mean, shrunk toward everybody's."""
        weight = self.p * x / (self.p * x + self.q - 1.0)
        return (1.0 - weight) * self.mean + weight * mean


@dataclass(frozen=True, slots=True)
class Unknown:
    """No model: the reason, in plain words."""

    reason: str


def hyp2f1(a: float, b: float, c: float, z: float) -> tuple[float, float]:
    """Return Gauss's hypergeometric function by its series, as a number and the logarithm of what it is a multiple of.

    0 ≤ z < 1, c no integer below 1. Large parameters give values beyond the largest float. NaN where the series takes
    too long.

    >>> round(hyp2f1(1, 1, 2, 0.5)[0], 12) == round(2 * log(2), 12)
    True
    """
    term, total, scale = 1.0, 1.0, 0.0
    for n in range(100_000):
        term *= (a + n) * (b + n) / ((c + n) * (n + 1)) * z
        total += term
        if abs(term) <= 1e-13 * abs(total):
            return total, scale
        if abs(term) > _HUGE:
            term, total, scale = term / _HUGE, total / _HUGE, scale + log(_HUGE)
    return nan, scale


def fit_bg_nbd(histories: Iterable[History]) -> BgNbd | Unknown:
    """Fit the model to histories in weeks, or say why it would mean nothing."""
    rows = _condensed(histories)
    buyers, repeaters = sum(rows.values()), sum(many for (x, _, _), many in rows.items() if x > 0)
    if buyers < BUYERS_FROM or repeaters < REPEATERS_FROM:
        return Unknown(f"{buyers} customers with {repeaters} who came back are too few to predict from")
    if max(age for _, _, age in rows) < WEEKS_FROM:
        return Unknown(f"the orders go back less than {WEEKS_FROM:.0f} weeks")
    likelihood = _BgNbdLikelihood(rows)
    scale = log(sum(age * many for (_, _, age), many in rows.items()) / buyers / 4)
    found = minimise(lambda at: -likelihood.with_dropout(at), (log(0.5), scale, 0.0, log(2.0)))
    staying = minimise(lambda at: -likelihood.without_dropout(at), (log(0.5), scale))
    r, alpha, a, b = (exp(value) for value in found.point)
    model = BgNbd(r, alpha, a, b, -found.value)
    if staying.value - found.value < LEAST_GAIN or model.dropout < LEAST_DROPOUT:
        return Unknown("nobody can be seen to leave: the orders fit customers who stay for ever just as well")
    if not found.settled or max(abs(value) for value in found.point) >= _FARTHEST:
        return Unknown("the purchases do not settle on one answer")
    return model


def fit_gamma_gamma(spends: Sequence[Spend]) -> GammaGamma | Unknown:
    """Fit the model to customers with repeat purchases worth something, or say why it would mean nothing."""
    usable = [spend for spend in spends if spend.x > 0 and spend.mean > 0]
    if len(usable) < REPEATERS_FROM:
        return Unknown(f"{len(usable)} customers with repeat purchases are too few to know their worth")
    usable = usable[:: -(-len(usable) // MOST_VALUES)]
    likelihood = _GammaGammaLikelihood(usable)
    middle = log(sum(spend.mean for spend in usable) / len(usable))
    found = minimise(lambda at: -likelihood.at(at), (log(2.0), log(3.0), middle))
    p, q, v = (exp(value) for value in found.point)
    if not found.settled or max(abs(found.point[0]), abs(found.point[1])) >= _FARTHEST:
        return Unknown("the values of purchases do not settle on one answer")
    if q <= 1.05:
        return Unknown("a few purchases are so large that a mean value says nothing")
    return GammaGamma(p, q, v, -found.value)


# ── likelihoods ──────────────────────────────────────────────────────────────────────────────────────────────────────

_Rows = Mapping[tuple[int, float, float], int]


def _condensed(histories: Iterable[History]) -> _Rows:
    """Return how many customers share a history; times are rounded to 1, 2, 4, … weeks until few enough differ."""
    rows: Counter[tuple[int, float, float]] = Counter()
    for x, t_x, age, many in histories:
        rows[x, t_x, age] += many
    unit = 1.0
    while len(rows) > MOST_ROWS:
        coarser: Counter[tuple[int, float, float]] = Counter()
        for (x, t_x, age), many in rows.items():
            coarser[x, round(t_x / unit) * unit, round(age / unit) * unit] += many
        rows, unit = coarser, unit * 2
    return rows


class _BgNbdLikelihood:
    """The log-likelihood of condensed histories; what depends on fewer numbers than customers is computed once each."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = [(x, t_x, age, many) for (x, t_x, age), many in rows.items()]
        self._by_count: Counter[int] = Counter()
        for x, _, _, many in self._rows:
            self._by_count[x] += many
        self._times = {time for _, t_x, age, _ in self._rows for time in (t_x, age)}
        self._buyers = sum(self._by_count.values())

    def with_dropout(self, at: Point) -> float:
        """Return the log-likelihood of BG/NBD at the logarithms of r, alpha, a, b; equation (6) of the paper."""
        if max(map(abs, at)) > _FARTHEST:
            return -inf
        r, alpha, a, b = map(exp, at)
        logs = {time: log(alpha + time) for time in self._times}
        total = self._buyers * r * log(alpha)
        gone: dict[int, float] = {}
        for x, many in self._by_count.items():
            total += many * (
                lgamma(r + x) - lgamma(r) + lgamma(a + b) - lgamma(a + b + x) + lgamma(b + x) - lgamma(b)
            )
            gone[x] = log(a / (b + x - 1)) if x else -inf
        for x, t_x, age, many in self._rows:
            stayed = -(r + x) * logs[age]
            if x:
                apart = gone[x] + (r + x) * (logs[age] - logs[t_x])
                stayed += apart if apart > _FAR_APART else log1p(exp(apart))
            total += many * stayed
        return total

    def without_dropout(self, at: Point) -> float:
        """Return the log-likelihood of NBD, in which nobody leaves, at the logarithms of r and alpha."""
        if max(map(abs, at)) > _FARTHEST:
            return -inf
        r, alpha = map(exp, at)
        total = self._buyers * r * log(alpha)
        total += sum(many * (lgamma(r + x) - lgamma(r)) for x, many in self._by_count.items())
        return total - sum(many * (r + x) * log(alpha + age) for x, _, age, many in self._rows)


class _GammaGammaLikelihood:
    def __init__(self, spends: Sequence[Spend]) -> None:
        self._spends = [(x, x * mean) for x, mean in spends]
        self._by_count = Counter(x for x, _ in spends)
        self._log_worth = sum(x * log(x * mean) for x, mean in spends)
        self._log_mean = sum(log(mean) for _, mean in spends)

    def at(self, point: Point) -> float:
        """Return the log-likelihood at the logarithms of p, q, v; equation (1a) of note 025."""
        if max(abs(point[0]), abs(point[1])) > _FARTHEST:
            return -inf
        p, q, v = map(exp, point)
        total = sum(many * (lgamma(p * x + q) - lgamma(p * x)) for x, many in self._by_count.items())
        total += len(self._spends) * (q * log(v) - lgamma(q)) + p * self._log_worth - self._log_mean
        return total - sum((p * x + q) * log(worth + v) for x, worth in self._spends)
