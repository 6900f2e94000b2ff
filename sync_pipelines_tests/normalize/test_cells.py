"""What cells of flat files come to: errors of spreadsheets, words, blanks, codes."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sync_pipelines.contracts import fields
from sync_pipelines.contracts.raw import Cell, CellError
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.normalize.faults import code_of
from sync_pipelines_tests.normalize.keeping_in import Keeping


def read(kind: Any, value: Any, **conventions: Any) -> tuple[Any, dict[str, int]]:
    """A value as a field of that type reads it, or the code of its refusal; and what was forgiven."""
    reading = Reading(**{"flat": True, **conventions}, leniencies=Counter())
    try:
        return TypeAdapter(kind).validate_python(value, strict=False, context=reading), dict(reading.leniencies)
    except ValidationError as error:
        return code_of(error.errors()[0]), dict(reading.leniencies)


@pytest.mark.parametrize("kind", [fields.Key, fields.Text, fields.Money, fields.Count, fields.Flag, fields.Instant])
def test_an_error_of_a_spreadsheet_is_no_value(kind: Any) -> None:
    assert read(kind, CellError("#N/A"))[0] == "cell_error"


@pytest.mark.parametrize(
    ("cell", "text", "codes"),
    [
        ("P1   ", "P1", {"trimmed_text": 1}),
        ("22423.0", "22423", {"dropped_zero_decimals": 1}),
        ("22423.00", "22423", {"dropped_zero_decimals": 1}),
        ("1.50", "1.50", {}),
        ("v2.0", "v2.0", {}),
        ('="007501"', "007501", {"unwrapped_formula": 1}),
        ('="a""b"', 'a"b', {"unwrapped_formula": 1}),
        ("'0075", "0075", {"dropped_apostrophe": 1}),
        ("'+56912345678", "+56912345678", {"dropped_apostrophe": 1}),
        ("'s-Hertogenbosch", "'s-Hertogenbosch", {}),
        ("'47", "'47", {}),
        ("12E5", "12E5", {}),
        ("7.89E+12", "scientific_notation", {}),
        ("1E+05", "scientific_notation", {}),
        ("1e-07", "scientific_notation", {}),
        ("#N/A", "cell_error", {}),
        ("#¡REF!", "cell_error", {}),
        ("# 12", "# 12", {}),
    ],
)
def test_a_text_of_a_cell(cell: str, text: str, codes: dict[str, int]) -> None:
    assert read(fields.Text, Cell(cell)) == (text, codes)


@pytest.mark.parametrize(
    ("cell", "key", "codes"),
    [
        ("A-1\u200b", "A-1", {"stripped_invisible": 1}),
        ("\x1f00124", "00124", {"stripped_invisible": 1}),
        ("\t00123 ", "00123", {}),
        ("'A-1", "A-1", {"dropped_apostrophe": 1}),
        ("Pedido-n\u03031", "Pedido-\xf11", {"composed_letters": 1}),
        ("536365.0", "536365", {"dropped_zero_decimals": 1}),
        ("7.89E+12", "scientific_notation", {}),
        ("A\u200b1", "A\u200b1", {}),
        ("\u200b", "key_missing", {"stripped_invisible": 1}),
    ],
)
@pytest.mark.parametrize("kind", [fields.Key, fields.Code50])
def test_a_key_or_code_of_a_cell(kind: Any, cell: str, key: str, codes: dict[str, int]) -> None:
    wanted = "required" if kind is fields.Code50 and key == "key_missing" else key
    assert read(kind, Cell(cell)) == (wanted, codes)


def test_a_point_of_a_key_is_no_decimal_where_the_comma_is() -> None:
    assert read(fields.Key, Cell("1.000"), decimal=",") == ("1.000", {})
    assert read(fields.Key, Cell("22423,0"), decimal=",") == ("22423", {"dropped_zero_decimals": 1})


@pytest.mark.parametrize("strict", [False, True])
def test_keys_and_emails_of_json_lose_what_is_not_seen(strict: bool) -> None:
    """Both passes of a contract tell them from texts that stay as they are (see `contracts.fields`)."""
    for kind, text, wanted, code in (
        (fields.Key, "A-1\u200b", "A-1", "stripped_invisible"),
        (fields.Email, "\u200eAna@x.cl", "Ana@x.cl", "stripped_invisible"),
        (fields.Email, "jose\u0301@x.cl", "jos\xe9@x.cl", "composed_letters"),
    ):
        exact = TypeAdapter(kind)
        with pytest.raises(ValidationError):
            exact.validate_python(text, strict=True, context=Reading())
        told = read(kind, text, flat=False, strict=strict)
        assert told == ((code, {}) if strict else (wanted, {code: 1}))
    for kind, text in ((fields.Key, "漢字"), (fields.Email, " Ana@x.cl "), (fields.Email, ""), (fields.Key, "é")):
        assert read(kind, text, flat=False) == (text, {})
    assert read(fields.Email, "a\0", flat=False)[0] == "nul_character"


@pytest.mark.parametrize(
    ("cell", "flag"),
    [("VERDADERO", True), ("Y", True), ("N", False), ("S", True), ("t", True), ("f", False), ("FALSO", False),
     ("on", True), ("off", False), ("Sí", True), ("Si\u0301", True), ("sim", True), ("não", False), ("oui", True),
     ("X", "not_a_boolean")],
)  # fmt: skip
def test_words_for_yes_and_no(cell: str, flag: Any) -> None:
    assert read(fields.Flag, Cell(cell), words={"oui": True})[0] == flag


NULLS = "OrderId,ProductId,Sku,Quantity,Price,CustomerId,Email,Color\n"


def test_words_that_say_null(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path / "x")
    text = NULLS + "NULL,P,P,1,10,,,\nA-1,P,P,1,10,NULL,null,\\N\nA-2,P,P,1,10,77,None,nan\n"
    kept = keeping.keep(
        text, name="x.csv", constants={"Currency": "USD"}, customer_identifier="customer_id",
        null_values=[None, "\\N", float("nan")],
    )  # fmt: skip
    rows = [record for block in kept.blocks() for record in block.to_pylist()]
    assert [(r["external_id"], r["email"], r["order_items"][0]["color"]) for r in rows] == [
        ("A-1", None, None),
        ("A-2", "None", None),
    ]
    assert [reject["code"] for reject in kept.rejects()] == ["key_missing"]


def test_blanks_are_empty_cells_and_unknown_columns_are_trimmed(tmp_path: Path) -> None:
    header = "OrderId,Currency,ProductId,Sku,Quantity,Price,OriginalPrice,Color,Note\n"
    kept = Keeping(tmp_path / "x").keep(header + "A-1 ,USD,P,P1  ,    1, 10.50,   ,   ,  hi \n", name="x.csv")
    (record,) = [record for block in kept.blocks() for record in block.to_pylist()]
    (item,) = record["order_items"]
    assert (item["sku"], item["price"], item["original_price"], item["color"]) == ("P1", Decimal("10.5"), None, None)
    assert json.loads(item["extra"] or record["extra"]) == {"Note": "hi"}
