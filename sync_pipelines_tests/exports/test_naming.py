"""Dates in paths, and names that are no exports yet (X4)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.exports.naming import effective_time_in, is_export_name

DAY = datetime(2024, 5, 6, tzinfo=UTC)

WORDS = st.text("abcTXZ-_. é", max_size=8)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(lambda t: t.replace(microsecond=0))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("orders_2024-05-06.json", DAY),
        ("orders_20240506.json.gz", DAY),
        ("2024-05-06T1030.csv", DAY.replace(hour=10, minute=30)),
        ("20240506T103045Z.csv", DAY.replace(hour=10, minute=30, second=45)),
        ("2024-05-06T1030-part2.csv", DAY.replace(hour=10, minute=30)),
        ("2024-05-06T2560.csv", DAY),
        ("2024-05-06T103.csv", DAY),
        ("2024-05-06T10304.csv", DAY),
        ("2024-05-06t1030.csv", DAY),
        ("2024-05-06_1030.csv", DAY),
        ("2010-13-45_2024-05-06.csv", DAY),
        ("20101345T2024-05-06.csv", DAY),
        ("2023-02-29.csv", None),
        ("120240506.csv", None),
        ("202405061.csv", None),
        ("20240506103045.csv", None),
        ("2024-5-6.csv", None),
        ("2024-0506.csv", None),
        ("0000-01-01.csv", None),
        ("orders.csv", None),
        ("date=2024-05-06/orders.csv", DAY),
        ("2023-01-01/20240506.csv", DAY),
        ("2024-05-06/2023-01-01/orders.csv", DAY),
        ("2023-02-30/2024-05-06/orders.csv", DAY),
        ("20240506/T1030.csv", DAY),
        ("2024/05/06/orders.csv", None),
    ],
)
def test_x4_first_real_date_of_the_name_then_of_the_folders(path: str, expected: datetime | None) -> None:
    assert effective_time_in(path) == expected


@given(MOMENTS, st.sampled_from(["%Y-%m-%d", "%Y%m%d"]), st.sampled_from(["", "T%H%M", "T%H%M%S"]), WORDS, WORDS)
def test_x4_a_date_is_found_in_any_surroundings(
    moment: datetime, date: str, time: str, before: str, after: str
) -> None:
    text = moment.strftime(date + time).rjust(len(moment.strftime(time)) + (10 if "-" in date else 8), "0")
    found = effective_time_in(f"folder/{before}{text}{after}.json")
    kept = moment.replace(tzinfo=UTC)
    if "S" not in time:
        kept = kept.replace(second=0)
    assert found == (kept if time else kept.replace(hour=0, minute=0))


@given(MOMENTS, st.sampled_from("0123456789"), st.booleans())
def test_x4_a_date_that_touches_a_digit_is_none(moment: datetime, digit: str, is_before: bool) -> None:
    text = f"{moment.year:04}{moment.month:02}{moment.day:02}"
    assert effective_time_in(digit + text if is_before else text + digit) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.json", True),
        ("2024/a.json", True),
        ("a.part.json", True),
        (".a.json", False),
        ("_SUCCESS", False),
        ("a.json.part", False),
        ("a.json.tmp", False),
        ("a.json.PARTIAL", False),
        (".sync/a.json", False),
        ("x/_temporary/a.json", False),
        ("x.tmp/a.json", True),
    ],
)
def test_names_that_are_no_exports_yet(path: str, expected: bool) -> None:
    assert is_export_name(path) is expected
