"""Moments in every format a source may name (X10)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from sync_pipelines.configuration.value_settings import reads_dates
from sync_pipelines.contracts.date_patterns import DatePattern
from sync_pipelines.contracts.dates import read_instant
from sync_pipelines.contracts.raw import Cell
from sync_pipelines.contracts.reading import Reading
from sync_pipelines_tests.examples import examples


def read(value: Any, *formats: str, locale: str | None = None, zone: str = "UTC", flat: bool = True) -> str:
    """The moment in ISO 8601, or code and sentence of its refusal."""
    reading = Reading(date_formats=formats, locale=locale, timezone=ZoneInfo(zone), flat=flat, leniencies=Counter())
    try:
        return read_instant(Cell(value) if flat and isinstance(value, str) else value, reading).isoformat()
    except PydanticCustomError as refused:
        return f"{refused.type}: {refused.message()}"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-05 10:00:00 -0300", "2024-01-05T13:00:00"),
        ("2024-01-05 10:00:00 UTC", "2024-01-05T10:00:00"),
        ("2024-01-05T10:00:00,5Z", "2024-01-05T10:00:00.500000"),
        ("2024-01-05t10:00:00z", "2024-01-05T10:00:00"),
        ("2024-01-05 10:00:00 -05:00", "2024-01-05T15:00:00"),
        ("2024-01-05T10", "2024-01-05T10:00:00"),
        ("20240105T101500", "2024-01-05T10:15:00"),
    ],
)
def test_iso_times(text: str, moment: str) -> None:
    assert read(text) == f"{moment}+00:00"


@pytest.mark.parametrize(
    ("value", "formats", "moment"),
    [
        ("1704448800", ("epoch_s",), "2024-01-05T10:00:00"),
        (1704448800, ("epoch_s",), "2024-01-05T10:00:00"),
        ("1704448800123", ("epoch_ms",), "2024-01-05T10:00:00.123000"),
        ("1704448800123", ("epoch_s", "epoch_ms"), "2024-01-05T10:00:00.123000"),
        ("45296", ("excel",), "2024-01-05T00:00:00"),
        (45296, ("excel",), "2024-01-05T00:00:00"),
        ("45296.4166666667", ("excel",), "2024-01-05T10:00:00"),
        ("61", ("excel",), "1900-03-01T00:00:00"),
        ("59", ("excel",), "1900-02-28T00:00:00"),
        ("05/01/2024", ("iso", "%d/%m/%Y"), "2024-01-05T00:00:00"),
        ("2024-01-05", ("%d/%m/%Y", "iso"), "2024-01-05T00:00:00"),
        ("Fri, 05 Jan 2024 10:00:00 GMT", ("%a, %d %b %Y %H:%M:%S %Z",), "2024-01-05T10:00:00"),
        ("2024-01-05 10:00:00 -0300", ("%Y-%m-%d %H:%M:%S %z",), "2024-01-05T13:00:00"),
        ("2024-01-05 10:00 EST", ("%Y-%m-%d %H:%M %Z",), "2024-01-05T15:00:00"),
        ("5/1/24 2:05pm", ("%d/%m/%y %I:%M%p",), "2024-01-05T14:05:00"),
    ],
)
def test_formats_of_a_source(value: Any, formats: tuple[str, ...], moment: str) -> None:
    assert read(value, *formats) == f"{moment}+00:00"


def test_what_a_zone_is_called_wins_over_the_sources_zone() -> None:
    assert read("2024-01-05 10:00 UTC", "%Y-%m-%d %H:%M %Z", zone="America/Santiago") == "2024-01-05T10:00:00+00:00"
    assert read("2024-07-05 10:00 CEST", "%Y-%m-%d %H:%M %Z", zone="Europe/Madrid") == "2024-07-05T08:00:00+00:00"
    assert read("2024-01-05 10:00 CST", "%Y-%m-%d %H:%M %Z", zone="Asia/Shanghai") == "2024-01-05T02:00:00+00:00"
    assert read("2024-01-05 10:00 XST", "%Y-%m-%d %H:%M %Z").startswith("not_a_date")


@pytest.mark.parametrize(
    ("text", "pattern", "locale"),
    [
        ("5-ene-2024", "%d-%b-%Y", "es"),
        ("5-ENE.-2024", "%d-%b-%Y", "es"),
        ("5 de enero de 2024", "%d de %B de %Y", "es"),
        ("viernes, 5 de enero de 2024", "%A, %d de %B de %Y", "es"),
        ("5 de janeiro de 2024", "%d de %B de %Y", "pt_BR"),
        ("5/jan./2024", "%d/%b/%Y", "pt"),
        ("5 Jan 2024", "%d %b %Y", None),
    ],
)
def test_names_of_months_in_the_language_of_the_source(text: str, pattern: str, locale: str | None) -> None:
    assert read(text, pattern, locale=locale) == "2024-01-05T00:00:00+00:00"


@pytest.mark.parametrize("half", ["p. m.", "p.m.", "PM", "p.\xa0m.", "p.\u202fm."])
def test_halves_of_a_day_in_spanish(half: str) -> None:
    assert read(f"05/01/2024 10:15 {half}", "%d/%m/%Y %I:%M %p", locale="es") == "2024-01-05T22:15:00+00:00"


@pytest.mark.parametrize("of_24", ["%H", "%I"])
def test_an_afternoon_is_never_read_as_a_morning(of_24: str) -> None:
    assert read("05/01/2024 02:30 PM", f"%d/%m/%Y {of_24}:%M %p") == "2024-01-05T14:30:00+00:00"


@pytest.mark.parametrize(
    ("value", "formats", "named"),
    [
        ("1704448800000", (), "date_format: epoch_ms"),
        (1704448800, (), "date_format: epoch_s"),
        ("45296.5", (), "date_format: excel"),
        ("05/01/2024", (), "date_format"),
        ("5-ene-2024", ("%d-%b-%Y",), "locale"),
        ("2024111", ("%Y%m%d",), "%Y%m%d"),
        ("31/02/2024", ("%d/%m/%Y",), "%d/%m/%Y"),
        ("2024-01-05T24:00:00", (), "ISO 8601"),
        (True, ("epoch_s",), "epoch_s"),
        ("45296,5", ("excel",), "decimal"),
    ],
)
def test_a_refusal_names_the_setting_that_would_read_it(value: Any, formats: tuple[str, ...], named: str) -> None:
    refusal = read(value, *formats)
    assert refusal.startswith("not_a_date") and named in refusal


@pytest.mark.parametrize(
    ("value", "formats"),
    [
        ("0001-01-01T00:00:00", ()),
        ("1899-12-30", ()),
        ("9999-12-31T23:59:59Z", ()),
        ("2201-01-01", ()),
        (datetime(1899, 12, 31), ()),
        ("01/01/0001", ("%d/%m/%Y",)),
        ("99999999999", ("epoch_s",)),
    ],
)
def test_a_year_that_stands_for_no_date_is_refused(value: Any, formats: tuple[str, ...]) -> None:
    assert read(value, *formats).startswith("out_of_range")


def test_a_time_that_its_zone_skips_is_read_as_before_and_one_it_has_twice_is_the_first() -> None:
    assert read("2024-09-08 00:30", zone="America/Santiago") == "2024-09-08T04:30:00+00:00"
    assert read("2024-04-06 23:30", zone="America/Santiago") == "2024-04-07T02:30:00+00:00"


@examples(300)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)),
    st.sampled_from(
        ["%d/%m/%Y %H:%M:%S", "%m-%d-%y %I:%M %p", "%Y%m%d%H%M%S", "%a %d %b %Y", "%A, %B %d, %Y", "%Y-%j",
         "%Y-%m-%d %H:%M:%S.%f %z"]
    ),
)  # fmt: skip
def test_a_pattern_reads_what_strptime_reads(moment: datetime, pattern: str) -> None:
    text = moment.replace(tzinfo=UTC).strftime(pattern)
    assert DatePattern(pattern).read(text, UTC) == datetime.strptime(text, pattern)


@pytest.mark.parametrize("pattern", ["%d/%m", "%d/%m/%Y %d", "%Y-%m", "%q %d %m %Y", "yyyy", "%d/%m/%Y%", "%c"])
def test_a_pattern_that_tells_no_day_is_refused(pattern: str) -> None:
    assert not reads_dates(pattern)
