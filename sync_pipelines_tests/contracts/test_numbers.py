"""Numbers written as text: one meaning for each mark, what is forgiven around them, what a refusal names (X9)."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.fields import read_integer, read_percentage
from sync_pipelines.contracts.numbers import number_from_text
from sync_pipelines.contracts.raw import Cell, Percent
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.partners.nilo import read_nilo_coordinate
from sync_pipelines_tests.examples import examples


def read(text: str, decimal: Any = ".", thousands: str | None = None, **more: Any) -> tuple[Decimal | str, list[str]]:
    """The number of a cell, or why it is none; and what was forgiven."""
    reading = Reading(decimal=decimal, thousands=thousands, flat=True, leniencies=Counter())
    try:
        return number_from_text(Cell(text), reading, **more), sorted(reading.leniencies)
    except PydanticCustomError as refused:
        return f"{refused.type}: {refused.message()}", []


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "number"),
    [
        ("1.500", ".", None, "1.500"),
        ("1,5", ",", None, "1.5"),
        ("1.500.000", ",", ".", "1500000"),
        ("1.500.000,50", ",", ".", "1500000.50"),
        ("500.000", ",", ".", "500000"),
        ("1500,5", ",", ".", "1500.5"),
        ("1,250.00", ".", ",", "1250.00"),
        ("-1,250", ".", ",", "-1250"),
        ("1 250.00", ".", " ", "1250.00"),
        ("1\xa0250.00", ".", " ", "1250.00"),
        ("1\u202f250\u2009000", ".", " ", "1250000"),
        ("1'250.00", ".", "'", "1250.00"),
        ("1\u2019250", ".", "'", "1250"),
        ("1e3", ",", None, "1000"),
    ],
)
def test_a_number_is_read_in_the_notation_of_its_source(text: str, decimal: str, thousands: str, number: str) -> None:
    assert read(text, decimal, thousands) == (Decimal(number), [])


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "named"),
    [
        ("1.500.000", ",", None, 'thousands: "."'),
        ("500.000", ",", None, 'thousands: "."'),
        ("1.290", ",", None, 'thousands: "."'),
        ("1.5", ",", None, 'decimal: "."'),
        ("1,250.00", ".", None, 'thousands: ","'),
        ("1,250", ".", None, 'thousands: ","'),
        ("1 250.00", ".", None, 'thousands: " "'),
        ("1\xa0250.00", ".", None, 'thousands: " "'),
        ("1'250.00", ".", None, 'thousands: "\'"'),
        ("12,5", ".", None, 'decimal: ","'),
        ("1.234,5", ".", None, 'decimal: "," and thousands: "."'),
        ("$ 1.500", ",", None, 'thousands: "."'),
        ("0.500", ",", ".", 'decimal: "."'),
        ("1.50", ",", ".", 'decimal: "."'),
        ("1.5000", ",", ".", 'decimal: "."'),
    ],
)
def test_another_notation_is_refused_with_the_setting_that_would_read_it(
    text: str, decimal: str, thousands: str | None, named: str
) -> None:
    refusal, _ = read(text, decimal, thousands)
    assert str(refusal).startswith("not_a_number") and named in str(refusal)


@pytest.mark.parametrize(
    ("text", "number", "codes"),
    [
        ("$ 12.50", "12.50", ["currency_sign"]),
        ("S/ 25.00", "25.00", ["currency_sign"]),
        ("S/.25.00", "25.00", ["currency_sign"]),
        ("R$12.50", "12.50", ["currency_sign"]),
        ("US$ 12.50", "12.50", ["currency_sign"]),
        ("12.50 €", "12.50", ["currency_sign"]),
        ("CLP 1500", "1500", ["currency_sign"]),
        ("12.50 usd", "12.50", ["currency_sign"]),
        ("$12.50 USD", "12.50", ["currency_sign"]),
        ("$.50", ".50", ["currency_sign"]),
        ("-$12.50", "-12.50", ["currency_sign"]),
        ("$-12.50", "-12.50", ["currency_sign"]),
        ("($12.50)", "-12.50", ["currency_sign", "negative_brackets"]),
        ("(12.50)", "-12.50", ["negative_brackets"]),
        ("12.50-", "-12.50", ["trailing_minus"]),
        ("12.50 -", "-12.50", ["trailing_minus"]),
        ("\u221212.50", "-12.50", ["unicode_minus"]),
        ("\xa012.50\u2009", "12.50", ["trimmed_text"]),
        ("'-5.00", "-5.00", ["dropped_apostrophe"]),
        ('="12.50"', "12.50", ["unwrapped_formula"]),
    ],
)
def test_what_stands_around_a_number_is_forgiven_and_counted(text: str, number: str, codes: list[str]) -> None:
    assert read(text) == (Decimal(number), codes)


@pytest.mark.parametrize(
    "text",
    ["", "-", "$", "(12.50", "12.50)", "-(12.50)", "--12", "-12-", "12.-", "S/.50", "12.50 ABC", "12 kg", "1.2.3",
     "7.5%", "1 2", "1,2,3", "١٢", "0x10", "12 50", "1,25", "$$5", "5 5", "1_000"],
)  # fmt: skip
def test_anything_else_is_no_number(text: str) -> None:
    assert str(read(text)[0]).startswith("not_a_number")


@pytest.mark.parametrize("value", ["7.5%", "7.5 %", Percent("0.075")])
def test_a_percentage_is_what_is_shown(value: Any) -> None:
    reading = Reading(leniencies=Counter())
    assert read_percentage(value, reading) == Decimal("7.5")
    assert reading.leniencies["percent_sign"] == 1


def test_a_quantity_in_groups_is_refused_rather_than_read_as_one() -> None:
    with pytest.raises(PydanticCustomError, match=r'thousands: "\."'):
        read_integer(Cell("1.000"), Reading(decimal=",", flat=True))


@pytest.mark.parametrize(
    ("decimal", "thousands", "text"), [(",", None, "-33.45"), (".", ",", "-33,450"), (",", ".", "33.450 S")]
)
def test_a_coordinate_gives_no_mark_a_second_meaning(decimal: Any, thousands: str, text: str) -> None:
    with pytest.raises(PydanticCustomError, match="decimal"):
        read_nilo_coordinate(text, Reading(decimal=decimal, thousands=thousands), 90)


@examples(300)
@given(
    st.decimals(-(10**9), 10**9, places=2),
    st.sampled_from([(".", None), (",", None), (".", ","), (",", "."), (",", " "), (".", "'")]),
    st.sampled_from([(".", None), (",", None), (".", ","), (",", "."), (",", " "), (".", "'")]),
    st.sampled_from(["{}", "$ {}", "{} EUR", "\xa0{}"]),
)
def test_no_number_is_read_as_another_one(
    number: Decimal, written: tuple[Any, Any], told: tuple[Any, Any], around: str
) -> None:
    text = f"{number:,.2f}" if written[1] else f"{number:.2f}"
    text = text.translate({ord(","): written[1], ord("."): written[0]})
    found, _ = read(around.format(text), *told)
    assert found == number or (written != told and str(found).startswith("not_a_number"))
