"""Column types with one meaning on SQLite and PostgreSQL.

`Instant` is an aware UTC datetime (timestamptz; integer microseconds on SQLite, so that comparing is exact and quick);
`Money` is a Decimal with four places (a scaled integer on both, never a float); `Document` is JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONEY_SCALE = 10_000
_MICROSECOND = timedelta(microseconds=1)
_CENT = Decimal("0.01")


def to_micros(moment: datetime) -> int:
    """Return whole microseconds since 1970 of an aware datetime."""
    return (moment - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


def money_units(amount: Decimal | int | float | str) -> int:
    """Return an amount as ten-thousandths, half-even rounded; raise `decimal.InvalidOperation` for what is no number."""
    value = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    return int((value * MONEY_SCALE).to_integral_value(ROUND_HALF_EVEN))


def money(units: int) -> Decimal:
    """Return the amount of so many ten-thousandths, without trailing zeros beyond two places.

    >>> money(125_000), money(12_345)
    (Decimal('12.50'), Decimal('1.2345'))
    """
    amount = Decimal(units) / MONEY_SCALE
    cents = amount.quantize(_CENT)
    return cents if cents == amount else amount


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Store timestamptz on PostgreSQL, integer microseconds on SQLite."""
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else DateTime(timezone=True))

    # The processors themselves, not process_bind_param and process_result_value: a pass reads tens of thousands of moments.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """Refuse naive datetimes: they would mean another moment on each machine."""
        return _micros_in if dialect.name == "sqlite" else _moment_in

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """Return the moment in UTC."""
        return _micros_out if dialect.name == "sqlite" else _moment_out


def aware(moment: datetime) -> datetime:
    """Return the moment, refusing a naive one with ValueError."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime reached the database")
    return moment


def _micros_in(value: datetime | None) -> int | None:
    return None if value is None else (aware(value) - EPOCH) // _MICROSECOND


def _moment_in(value: datetime | None) -> datetime | None:
    return None if value is None else aware(value)


def _micros_out(value: int | None) -> datetime | None:
    return None if value is None else EPOCH + timedelta(0, 0, value)


def _moment_out(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """A decimal amount with four places, stored as ten-thousandths."""

    impl = BigInteger
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], int | None]:
        """Scale to ten-thousandths."""
        return _units_in

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], Decimal | None]:
        """Return the Decimal, without trailing zeros beyond two places."""
        return _units_out


def _units_in(value: Any) -> int | None:
    return None if value is None else money_units(value)


def _units_out(value: int | None) -> Decimal | None:
    return None if value is None else money(value)


# SQLite gives 64-bit row ids only to INTEGER PRIMARY KEY.
Key = BigInteger().with_variant(Integer(), "sqlite")
Document = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
