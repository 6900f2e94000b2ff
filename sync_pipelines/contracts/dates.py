"""Moments written as text or as numbers: ISO 8601, patterns of a source, seconds, days of Excel (X10).

Belongs here: reading moments. Does not belong here: names of months (`date_patterns`), the type of a field
(`fields`).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from sync_pipelines.contracts.characters import UNSEEN, WHITE_SPACE
from sync_pipelines.contracts.date_patterns import DatePattern, date_pattern
from sync_pipelines.contracts.raw import Cell, Scientific
from sync_pipelines.contracts.reading import Reading, reject, shown
from sync_pipelines.contracts.texts import unwrapped

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
_COUNTED: Final = {"epoch_ms": r"1\d{12}", "epoch_s": r"1\d{9}", "excel": r"[3-6]\d{4}([.,]\d+)?"}
"""Named formats -> the form of their numbers, today and some decades around."""


def read_instant(value: Any, reading: Reading) -> datetime:
    """Returns a moment in UTC from ISO 8601 or the source's `date_format`; without a zone, the source's (X10)."""
    if type(value) is str or isinstance(value, Cell):
        moment = _moment_from_text(value, reading)
    elif isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)
    else:
        moment = _moment_from_number(value, reading)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise reject("out_of_range", f"{shown(value)} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=reading.timezone)
    return moment.astimezone(UTC)


def _moment_from_text(text: str, reading: Reading) -> datetime:
    plain = text.strip(WHITE_SPACE)
    if plain != text:
        reading.forgive("trimmed_text")
    moment = _moment_in(unwrapped(plain, reading) if reading.flat else plain, reading)
    if moment is None:
        raise reject("not_a_date", f"{shown(text)!r} is not a time {_wanted(text, reading)}")
    return moment


def _moment_from_number(value: Any, reading: Reading) -> datetime:
    moment = None
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        moment = _moment_in(value, reading)
    if moment is None:
        raise reject("not_a_date", f"{shown(value)} is not a time {_wanted(str(value), reading)}")
    return moment


def _wanted(text: str, reading: Reading) -> str:
    """Returns the expected form of a time, and which setting would read this one."""
    wanted = f"in the format {' or '.join(reading.date_formats)}" if reading.date_formats else "in ISO 8601"
    if {*_COUNTED} & {*reading.date_formats} and re.fullmatch(r"\d+[.,]\d+", text.strip(UNSEEN), re.ASCII):
        return f'{wanted} with `decimal: "{reading.decimal}"`'
    for name, pattern in _COUNTED.items():
        if name not in reading.date_formats and re.fullmatch(pattern, text.strip(UNSEEN), re.ASCII):
            return f"{wanted}; if it is one, set `date_format: {name}`"
    if reading.locale is None and any(
        re.search("%[aAbBp]", name) for name in reading.date_formats if name not in NAMED_FORMATS
    ):
        return f"{wanted}; for month names in another language set `locale`, such as `es`"
    return wanted if reading.date_formats else f"{wanted}; for other formats set `date_format`"


def _moment_in(value: str | int | Decimal, reading: Reading) -> datetime | None:
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
