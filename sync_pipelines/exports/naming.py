"""What the path of an export says: whether it is one yet, and which date it carries (X4).

Belongs here: pure functions over paths below `<stream>/`. Does not belong here: listing, partitions, time ranges.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DATE = re.compile(r"(?<![0-9])(?:([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{4})([0-9]{2})([0-9]{2}))(?![0-9])")
_TIME = re.compile(r"T([0-9]{2})([0-9]{2})([0-9]{2})?(?![0-9])")
_UNFINISHED = (".part", ".tmp", ".partial")


def is_export_name(name: str) -> bool:
    """Whether a path below `<stream>/` is an export already.

    Names that start with `.` or `_`, of the file or of a folder, and names that end in `.part`, `.tmp` or `.partial`
    (any case) are not.
    """
    is_hidden = name.startswith((".", "_")) or "/." in name or "/_" in name
    return not is_hidden and not name.lower().endswith(_UNFINISHED)


def effective_time_in(path_below_stream: str) -> datetime | None:
    """The first real date, with its time if it has a real one, in a path below `<stream>/`; in UTC (X4).

    The file name is searched first, then its folders from left to right. A date is `YYYY-MM-DD` or `YYYYMMDD` that
    touches no other digit, a time is `THHMM` or `THHMMSS` right after it. Dates that do not exist are passed over;
    a time that does not exist leaves the date alone.
    """
    *folders, name = path_below_stream.split("/")
    for part in (name, *folders):
        found = _first_time(part)
        if found is not None:
            return found
    return None


def _first_time(text: str) -> datetime | None:
    for date in _DATE.finditer(text):
        year, month, day = (int(part) for part in date.groups() if part is not None)
        try:
            midnight = datetime(year, month, day, tzinfo=UTC)
        except ValueError:
            continue
        return _with_time(midnight, _TIME.match(text, date.end()))
    return None


def _with_time(midnight: datetime, time: re.Match[str] | None) -> datetime:
    if time is None:
        return midnight
    hour, minute, second = (int(part or 0) for part in time.groups())
    try:
        return midnight.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        return midnight
