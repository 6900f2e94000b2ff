"""The daily partitions, by an export's date (UTC), from the oldest export seen (`stages.first_day`) to tomorrow.

The first day moves back when an older export arrives. Processes that loaded the definitions before do not know the new
first day. Dagster accepts a run of an unknown day, but not of a range of them.

Belongs here: the partitions, and how dates become ranges of them. Does not belong here: which date an export has
(`exports.file_dates`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Final

import dagster as dg

PARTITIONS_PER_RUN: Final = 92
RANGE_START: Final = "dagster/asset_partition_range_start"
RANGE_END: Final = "dagster/asset_partition_range_end"
PARTITION: Final = "dagster/partition"


@cache
def daily_partitions(first: date) -> dg.DailyPartitionsDefinition:
    """Returns the partitions; the same object for all assets, because Dagster splits runs if the objects differ."""
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone="UTC", end_offset=2)


@dataclass(frozen=True, order=True)
class Dates:
    """A range of days, both ends included."""

    first: date
    last: date

    @property
    def tags(self) -> dict[str, str]:
        """The run tags with which one run handles all of them."""
        if self.first == self.last:
            return {PARTITION: self.first.isoformat()}
        return {RANGE_START: self.first.isoformat(), RANGE_END: self.last.isoformat()}

    def __iter__(self) -> Iterator[date]:
        return (date.fromordinal(n) for n in range(self.first.toordinal(), self.last.toordinal() + 1))

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"


def dates_of(tags: dict[str, str]) -> Dates | None:
    """Returns the days that a run handles; None if its tags name none."""
    first, last = tags.get(RANGE_START) or tags.get(PARTITION), tags.get(RANGE_END) or tags.get(PARTITION)
    try:
        return Dates(date.fromisoformat(first), date.fromisoformat(last)) if first and last else None
    except ValueError:
        return None


def contiguous(days: Iterable[date], limit: int = PARTITIONS_PER_RUN, since: date = date.min) -> list[Dates]:
    """Returns ranges of contiguous days, at most `limit` long; each day before `since` is a range of its own."""
    ranges: list[Dates] = []
    for day in sorted(set(days)):
        is_next = bool(ranges) and day - ranges[-1].last == timedelta(days=1)
        if is_next and ranges[-1].first >= since and (day - ranges[-1].first).days < limit:
            ranges[-1] = Dates(ranges[-1].first, day)
        else:
            ranges.append(Dates(day, day))
    return ranges
