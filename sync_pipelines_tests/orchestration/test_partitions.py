"""Days become ranges, and ranges tags, without losing or adding one."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.orchestration.partitions import Dates, contiguous, dates_of

some_days = st.sets(st.dates(date(2010, 1, 1), date(2010, 6, 30)))


def all_of(days: Dates) -> list[date]:
    return [days.first + timedelta(days=n) for n in range((days.last - days.first).days + 1)]


@given(some_days, st.integers(1, 40))
def test_contiguous_days_are_the_days(days: set[date], limit: int) -> None:
    ranges = contiguous(days, limit)
    assert [day for each in ranges for day in all_of(each)] == sorted(days)
    assert all(len(all_of(each)) <= limit for each in ranges)


@given(some_days)
def test_only_a_gap_or_the_limit_parts_days(days: set[date]) -> None:
    ranges = contiguous(days)
    for before, after in pairwise(ranges):
        assert after.first - before.last > timedelta(days=1) or len(all_of(before)) == 92


@given(some_days, st.dates(date(2010, 1, 1), date(2010, 6, 30)))
def test_days_before_the_first_partition_are_by_themselves(days: set[date], first: date) -> None:
    ranges = contiguous(days, since=first)
    assert [day for each in ranges for day in all_of(each)] == sorted(days)
    assert all(each.first == each.last for each in ranges if each.first < first)
    assert contiguous({day for day in days if day >= first}) == [each for each in ranges if each.first >= first]


@given(st.dates(date(2010, 1, 1)), st.integers(0, 100))
def test_tags_name_the_days(first: date, more: int) -> None:
    days = Dates(first, min(date.max, first + timedelta(days=min(more, (date.max - first).days))))
    assert dates_of(days.tags) == days


def test_a_run_without_days() -> None:
    assert dates_of({}) is None
    assert dates_of({"dagster/partition": "nonsense"}) is None
