"""How values are written: marks of numbers, orders of dates, words for nothing."""

from __future__ import annotations

import pytest

from sync_pipelines.inspection.values import Numbers, dates_in, looks_like_date, looks_like_number, numbers_in


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["1", "20"], Numbers()),
        (["1.5", "2.25"], Numbers(".")),
        (["1,5", "2,25"], Numbers(",")),
        (["1.250,50", "3.000"], Numbers(",", ".")),
        (["1,250.50", "3,000"], Numbers(".", ",")),
        (["1 250,50", "3 000"], Numbers(",", " ")),
        (["1'250.50"], Numbers(".", "'")),
        (["$ 1.234.567"], Numbers(None, ".")),
        (["12.000", "9.500"], Numbers(None, ".", ("12.000", "9.500"))),
        (["1,500"], Numbers(None, ",", ("1,500",))),
        (["0.125"], Numbers(".")),
        (["1,5", "2.5"], Numbers(mixed=True)),
        (["12.000", "9,50"], Numbers(",", ".")),
        (["1.234", "9.50"], Numbers(".")),
    ],
)
def test_marks_of_numbers(texts: list[str], found: Numbers) -> None:
    assert numbers_in(texts) == found


@pytest.mark.parametrize(
    ("texts", "language", "formats", "also"),
    [
        (["2024-01-05", "2024-01-05T10:00:00Z"], None, (), None),
        (["25/01/2024"], None, ("%d/%m/%Y",), None),
        (["01/25/2024 10:30"], None, ("%m/%d/%Y %H:%M",), None),
        (["25-01-2024 10:30:05"], None, ("%d-%m-%Y %H:%M:%S",), None),
        (["25.01.24"], None, ("%d.%m.%y",), None),
        (["Jan 5, 2024 10:00:00 AM"], None, ("%b %d, %Y %I:%M:%S %p",), None),
        (["1704067200"], None, ("epoch_s",), None),
        (["05/01/2024"], "es", ("%d/%m/%Y",), "%m/%d/%Y"),
    ],
)
def test_formats_of_dates(texts: list[str], language: str | None, formats: tuple[str, ...], also: str | None) -> None:
    found = dates_in(texts, language)
    assert (found.formats, found.also, found.unread) == (formats, also, ())
    assert found.example is not None


def test_months_in_words_tell_the_language() -> None:
    found = dates_in(["5 de enero de 2024 10:30 hs.", "6 de enero de 2024 09:05 hs."], "es")
    assert (found.formats, found.locale) == (("%d de %B de %Y %H:%M hs.",), "es")
    assert found.example is not None and found.example[1].hour == 10
    assert dates_in(["25/fev/2024"], None).locale == "pt"


def test_two_formats_in_one_file_and_what_no_format_reads() -> None:
    found = dates_in(["25/01/2024", "2024-01-26 10:00", "soon"], None)
    assert len(found.formats) == 2 and "%d/%m/%Y" in found.formats
    assert found.unread == ("soon",)


def test_seconds_and_milliseconds_in_one_file_are_not_guessed_at() -> None:
    found = dates_in(["1704067200000", "1704067200", "2024-01-05"], None)
    assert not {"epoch_s", "epoch_ms", "excel"} & set(found.formats)
    assert set(found.unread) == {"1704067200000", "1704067200"}


def test_what_looks_like_a_date_or_a_number() -> None:
    assert all(map(looks_like_date, ["2024-01-05", "5/1/24", "5 de enero de 2024 10:00 hs.", "Jan 5, 2024"]))
    assert not any(map(looks_like_date, ["12.50", "1250", "A-1", "2024"]))
    assert all(map(looks_like_number, ["1", "-1.5", "$ 1.234,50", "12 €", "7.5%", "(12.00)", "R$ 10,00"]))
    assert not any(map(looks_like_number, ["A1", "", "2024-01-05 10:00", "x"]))
