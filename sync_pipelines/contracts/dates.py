"""Moments written as text or as numbers: ISO 8601, patterns of a source, seconds, days of Excel (X10).

Belongs here: formats of moments. Does not belong here: names of months (`date_patterns`), time zones of a source and
the limits of a field (`fields`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from sync_pipelines.contracts.date_patterns import DatePattern, date_pattern
from sync_pipelines.contracts.raw import Scientific
from sync_pipelines.contracts.reading import Reading

NAMED_FORMATS: Final = ("iso", "epoch_s", "epoch_ms", "excel")
"""Formats that are not patterns."""
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2200

_ISO: Final = re.compile(
    r"""(?P<date>\d{4}-\d\d-\d\d|\d{8})
    (?:[Tt ](?P<time>\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?)
    [ ]?(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?""",
    re.VERBOSE | re.ASCII,
)
_NUMBER: Final = re.compile(r"-?\d{1,15}(\.\d{1,12})?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ZERO: Final = datetime(1899, 12, 30)
"""Excel's day zero for days from the 61st on: Excel has a 29 February 1900, which never existed."""
_NO_DAY: Final = 60
_MOST_DAYS: Final = 2_958_466
"""31 December 9999."""


def moment_in(value: str | int | Decimal, reading: Reading) -> datetime | None:
    """Returns the moment in a text or number by the first of the source's formats that reads it.

    Without a zone, the moment has none. A format that gives a year before 1900 or after 2200 is skipped if another one
    is left.
    """
    found = None
    for name in reading.date_formats or ("iso",):
        moment = _moment_as(name, value, reading)
        if moment is not None and FIRST_YEAR <= moment.year <= LAST_YEAR:
            return moment
        found = found or moment
    return found


def _moment_as(name: str, value: str | int | Decimal, reading: Reading) -> datetime | None:
    if name in ("epoch_s", "epoch_ms", "excel"):
        number = _number(value, reading.decimal)
        return None if number is None else _counted(name, number)
    if not isinstance(value, str):
        return None
    try:
        if name == "iso":
            return _iso_moment(value)
        pattern: DatePattern = date_pattern(name, reading.locale)
        return pattern.read(value, reading.timezone)
    except ValueError:  # 31 February
        return None


def _iso_moment(text: str) -> datetime | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    time, zone = found["time"], found["zone"] or ""
    if time is None:
        return datetime.fromisoformat(found["date"])
    return datetime.fromisoformat(f"{found['date']}T{time}{'Z' if zone.isalpha() else zone}")


def _number(value: str | int | Decimal, decimal: str) -> Decimal | None:
    """Returns a number without an exponent, which would lose digits."""
    if isinstance(value, str):
        plain = value if decimal == "." else value.replace(".", "?").replace(",", ".")
        return Decimal(plain) if _NUMBER.fullmatch(plain) else None
    number = Decimal(value)
    return number if not isinstance(value, Scientific) and number.is_finite() else None


def _counted(name: str, number: Decimal) -> datetime | None:
    """Returns the moment that many seconds, milliseconds or days after the start of the count."""
    try:
        if name == "excel":
            return _excel_moment(number)
        seconds = number if name == "epoch_s" else number / 1000
        return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    except OverflowError:
        return None


def _excel_moment(days: Decimal) -> datetime | None:
    """Returns the moment of a day number with a fraction, rounded to milliseconds as in Excel."""
    if not 1 <= days < _MOST_DAYS or int(days) == _NO_DAY:
        return None
    milliseconds = int((days * 86_400_000).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    day_zero = _DAY_ZERO if days > _NO_DAY else _DAY_ZERO + timedelta(days=1)
    return day_zero + timedelta(milliseconds=milliseconds)
