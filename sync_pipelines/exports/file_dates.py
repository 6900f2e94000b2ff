"""The date in the path of an export (X4).

Belongs here: pure functions over paths below `<stream>/`. Does not belong here: listing, partitions, time ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final

from sync_pipelines.contracts.characters import composed

REQUIRED: Final = "required"
"""Value of `file_date`: an export without a date in its path is rejected."""

SHAPES: Final = "2024-03-01, 20240301, 20240301_153000, 2024/03/01/ or year=2024/month=03/day=01/"
"""Date formats that paths may have, for messages."""

_YEAR: Final = r"(?:19|20|21)[0-9]{2}"
# Fourteen digits are often an id, so only years of these centuries count.
_COMPACT: Final = rf"(?P<compact>{_YEAR}[0-9]{{10}})"
_DATE: Final = re.compile(
    rf"(?<![0-9])(?:{_COMPACT}|(?P<date>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|[0-9]{{8}}))(?![0-9])", re.ASCII
)
_TIME: Final = re.compile(
    r"[T_\- ]([0-9]{2})(?:([0-9]{2})([0-9]{2})?|([-_.:])([0-9]{2})\4([0-9]{2})|:([0-9]{2}))"
    # If another date follows, this is the start of a date range.
    r"(?![0-9]|-[0-9]{2}-[0-9]{2}(?![0-9]))",
    re.ASCII,
)
_NAMED: Final = re.compile(r"(year|month|day|hour|date|dt)=(.*)", re.IGNORECASE | re.DOTALL)
_ESCAPES: Final = {"%3a": ":", "%20": " ", "%2d": "-"}
_ESCAPE: Final = re.compile("|".join(_ESCAPES), re.IGNORECASE)
"""Hive's escapes for characters that folder names cannot have."""

_DIGITS: Final = {"Y": "[0-9]{4}", "f": "[0-9]{1,6}", "j": "[0-9]{1,3}"} | dict.fromkeys("dmyHIMS", "[0-9]{1,2}")
_EXACT: Final = {"j": "[0-9]{3}"} | dict.fromkeys("dmyHIMS", "[0-9]{2}")
_WORDS: Final = {"b": r"[^\W\d_]+\.?", "B": r"[^\W\d_]+", "a": r"[^\W\d_]+\.?", "A": r"[^\W\d_]+", "p": "[AaPp][Mm]"}


def effective_time_in(path_below_stream: str, file_date: str | None = None) -> datetime | None:
    """Returns the first real date, with its time if that is real, in a path below `<stream>/`, in UTC (X4).

    The file name is searched first, then the folders from left to right. In a name, a date is `YYYY-MM-DD` or
    `YYYYMMDD` with no adjacent digit. A time is `HHMM` or `HHMMSS`, directly after the date and a `T`, `_`, `-` or
    blank, with or without separators. `YYYYMMDDHHMMSS` is both. Folders may be `YYYY/MM/DD[/HH]`,
    `year=/month=/day=[/hour=]`, or `date=` or `dt=` with `[/hour=]`. Invalid dates are skipped; an invalid time is
    ignored.

    Args:
        path_below_stream: the path, with `/` between the names.
        file_date: the source's pattern; if set, no other date counts.
    """
    if file_date is not None and file_date != REQUIRED:
        return _time_by_pattern(composed(path_below_stream), composed(file_date))
    *folders, name = path_below_stream.split("/")
    found = _first_time(name)
    if found is not None or not folders:
        return found
    return next(_folder_times(folders), None)


def _folder_times(folders: Sequence[str]) -> Iterator[datetime]:
    for index, folder in enumerate(folders):
        named = _NAMED.fullmatch(folder)
        text = _ESCAPE.sub(lambda mark: _ESCAPES[mark[0].lower()], folder) if named else folder
        found = _first_time(text)
        if found is not None:
            is_whole_day = found == found.replace(hour=0, minute=0, second=0)
            yield _with_hour(found, _hour_named(folders)) if named and is_whole_day else found
        elif named is None:
            found = _time_of_numbers(folders[index : index + 4])
            if found is not None:
                yield found
        elif named[1].lower() == "year":
            found = _time_of_named(folders)
            if found is not None:
                yield found


def _first_time(text: str) -> datetime | None:
    for match in _DATE.finditer(text):
        try:
            if match["compact"]:
                return datetime.strptime(match["compact"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
            digits = match["date"].replace("-", "")
            midnight = datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:]), tzinfo=UTC)
        except ValueError:
            continue
        return _with_time(midnight, _TIME.match(text, match.end()))
    return None


def _with_time(midnight: datetime, time: re.Match[str] | None) -> datetime:
    if time is None:
        return midnight
    hour, minute, second, _, marked_minute, marked_second, minute_alone = time.groups()
    minute, second = minute or marked_minute or minute_alone, second or marked_second or "0"
    try:
        return midnight.replace(hour=int(hour), minute=int(minute), second=int(second))
    except ValueError:
        return midnight


def _time_of_numbers(folders: Sequence[str]) -> datetime | None:
    """Reads `YYYY/MM/DD` or `YYYY/MM/DD/HH`, starting at the first folder."""
    if len(folders) < 3 or not re.fullmatch(_YEAR, folders[0], re.ASCII):
        return None
    if not all(re.fullmatch("[0-9]{1,2}", part, re.ASCII) for part in folders[1:3]):
        return None
    hour = folders[3] if len(folders) == 4 and re.fullmatch("[0-9]{2}", folders[3], re.ASCII) else None
    return _day(folders[:3], hour)


def _time_of_named(folders: Sequence[str]) -> datetime | None:
    """Reads `year=/month=/day=`, with or without `hour=`."""
    named = {m[1].lower(): m[2] for folder in folders if (m := _NAMED.fullmatch(folder)) is not None}
    parts = [named.get(name, "") for name in ("year", "month", "day")]
    if not all(re.fullmatch("[0-9]{1,4}", part, re.ASCII) for part in parts):
        return None
    return _day(parts, named.get("hour"))


def _hour_named(folders: Sequence[str]) -> str | None:
    named = (_NAMED.fullmatch(folder) for folder in folders)
    return next((m[2] for m in named if m is not None and m[1].lower() == "hour"), None)


def _day(parts: Sequence[str], hour: str | None) -> datetime | None:
    year, month, day = map(int, parts)
    try:
        return _with_hour(datetime(year, month, day, tzinfo=UTC), hour)
    except ValueError:
        return None


def _with_hour(midnight: datetime, hour: str | None) -> datetime:
    if hour is None or not re.fullmatch("[0-9]{1,2}", hour, re.ASCII) or int(hour) > 23:
        return midnight
    return midnight.replace(hour=int(hour))


def _time_by_pattern(path: str, pattern: str) -> datetime | None:
    text = path if "/" in pattern else path.rpartition("/")[2]
    for match in _regex_of(pattern).finditer(text):
        try:
            found = datetime.strptime(match[0], pattern)
        except ValueError:
            continue
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return None


@cache
def _regex_of(pattern: str) -> re.Pattern[str]:
    """Returns a regex for a `strptime` pattern in a path. Adjacent numbers must have all their digits."""
    parts: list[str] = []
    pieces = re.findall(r"%.|[^%]+", pattern, re.DOTALL)
    for index, piece in enumerate(pieces):
        directive = piece[1:] if piece.startswith("%") else ""
        touches = any(_is_number(near) for near in (*pieces[max(index - 1, 0) : index], *pieces[index + 1 : index + 2]))
        if directive in _EXACT and touches:
            parts.append(_EXACT[directive])
        elif directive in _DIGITS:
            parts.append(_DIGITS[directive])
        elif directive == "z":
            parts.append(r"(?:Z|[+-][0-9]{2}:?[0-9]{2})")
        else:
            parts.append(_WORDS.get(directive) or re.escape("%" if piece == "%%" else piece))
    before = "(?<![0-9])" if _is_number(pieces[0]) else ""
    after = "(?![0-9])" if _is_number(pieces[-1]) else ""
    return re.compile(before + "".join(parts) + after, re.IGNORECASE)


def _is_number(piece: str) -> bool:
    return piece.startswith("%") and piece[1:] in _DIGITS
