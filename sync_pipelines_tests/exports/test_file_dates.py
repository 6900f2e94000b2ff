"""Dates in paths (X4)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.exports.file_dates import effective_time_in

DAY = datetime(2024, 5, 6, tzinfo=UTC)
TIME = DAY.replace(hour=10, minute=30)
SECOND = TIME.replace(second=45)

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
        ("2024-05-06_1030.csv", TIME),
        ("2010-13-45_2024-05-06.csv", DAY),
        ("20101345T2024-05-06.csv", DAY),
        ("2023-02-29.csv", None),
        ("120240506.csv", None),
        ("202405061.csv", None),
        ("20240506103045.csv", SECOND),
        ("2024-5-6.csv", None),
        ("2024-0506.csv", None),
        ("0000-01-01.csv", None),
        ("orders.csv", None),
        ("date=2024-05-06/orders.csv", DAY),
        ("2023-01-01/20240506.csv", DAY),
        ("2024-05-06/2023-01-01/orders.csv", DAY),
        ("2023-02-30/2024-05-06/orders.csv", DAY),
        ("20240506/T1030.csv", DAY),
        ("2024/05/06/orders.csv", DAY),
    ],
)
def test_x4_first_real_date_of_the_name_then_of_the_folders(path: str, expected: datetime | None) -> None:
    assert effective_time_in(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("orders_20240506103045.csv", SECOND),
        ("orders_20240506_103045.csv", SECOND),
        ("orders_20240506-1030.csv", TIME),
        ("orders 20240506 1030.csv", TIME),
        ("orders_2024-05-06_10-30-45.csv", SECOND),
        ("orders_2024-05-06 10:30.csv", TIME),
        ("orders_2024-05-06T10:30:45Z.csv", SECOND),
        ("2024-05-06_10.30.45.csv", SECOND),
        ("2024-05-06_10_30_45.csv", SECOND),
        ("2024/05/06/10/orders.csv", DAY.replace(hour=10)),
        ("2024/5/6/orders.csv", DAY),
        ("exports/v2/2024/05/06/orders.csv", DAY),
        ("year=2024/month=05/day=06/part-0.csv", DAY),
        ("year=2024/month=5/day=6/hour=7/part-0.csv", DAY.replace(hour=7)),
        ("Year=2024/country=CL/Month=05/Day=06/part-0.csv", DAY),
        ("dt=2024-05-06/part-0.csv", DAY),
        ("date=20240506/hour=10/part-0.csv", DAY.replace(hour=10)),
        ("dt=2024-05-06 10%3A30%3A45/part-0.csv", SECOND),
        ("2024/05/06/orders_2023-01-02.csv", datetime(2023, 1, 2, tzinfo=UTC)),
    ],
)
def test_x4_shapes_of_dates_and_times(path: str, expected: datetime) -> None:
    assert effective_time_in(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("id_20241345678901.csv", None),
        ("id_10010112103045.csv", None),
        ("id_20240506256199.csv", None),
        ("20240506103045123.csv", None),
        ("202405061030.csv", None),
        ("2024-05-06_2024-06-07.csv", DAY),
        ("2024-05-06-2024-06-07.csv", DAY),
        ("20240506_20240607.csv", DAY),
        ("2024-05-06_10.csv", DAY),
        ("2024-05-06_10-20.csv", DAY),
        ("2024-05-06_103.csv", DAY),
        ("2024-05-06_10304.csv", DAY),
        ("2024-05-06_2460.csv", DAY),
        ("2024-05-06_10-30.45.csv", DAY),
        ("2024-05-06_103045123.csv", DAY),
        ("2024/13/06/orders.csv", None),
        ("2024/05/orders.csv", None),
        ("2024/05/06.csv", None),
        ("2024/05/06/25/orders.csv", DAY),
        ("12/05/06/orders.csv", None),
        ("1024/05/06/orders.csv", None),
        ("year=2024/month=05/part-0.csv", None),
        ("year=2024/month=13/day=06/part-0.csv", None),
        ("year=/month=/day=/part-0.csv", None),
        ("dt=2024-05/part-0.csv", None),
    ],
)
def test_x4_what_merely_looks_like_a_date_is_passed_over(path: str, expected: datetime | None) -> None:
    assert effective_time_in(path) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("ventas_%d-%m-%Y", "ventas_06-05-2024.csv", DAY),
        ("ventas_%d-%m-%Y", "sub/Ventas_6-5-2024_v2.csv.gz", DAY),
        ("ventas_%d-%m-%Y", "ventas_31-02-2024.csv", None),
        ("ventas_%d-%m-%Y", "ventas_2024-05-06.csv", None),
        ("ventas_%d-%m-%Y", "ventas_06-05-20245.csv", None),
        ("%d%m%Y", "06052024.csv", DAY),
        ("%d%m%Y", "6052024.csv", None),
        ("%d%m%y", "sales 060524.csv", DAY),
        ("%d.%m.%y %H.%M", "06.05.24 10.30.csv", TIME),
        ("%d%b%Y", "06May2024.csv", DAY),
        ("%Y/%m-%d/", "2024/05-06/orders.csv", DAY),
        ("%Y-%m-%dT%H%M%z", "2024-05-06T0730-0300.csv", TIME),
        ("100%%_%Y%m%d", "100%_20240506.csv", DAY),
        ("required", "orders_2024-05-06.csv", DAY),
    ],
)
def test_x4_a_source_says_how_its_names_carry_dates(pattern: str, path: str, expected: datetime | None) -> None:
    assert effective_time_in(path, pattern) == expected


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
