"""Texts, codes and keys of a record; in flat files, undoes what spreadsheets and other programs did to them (X2).

Belongs here: reading text, with leniencies. Does not belong here: types of fields (`fields`), numbers and dates written
as text (`numbers`, `dates`), the list of invisible characters (`characters`).
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from sync_pipelines.contracts.characters import UNSEEN, WHITE_SPACE, composed
from sync_pipelines.contracts.raw import CellError, NotFinite, Scientific
from sync_pipelines.contracts.reading import Reading, reject

_PLAIN: Final = re.compile(r"[A-Za-z](?:[ -~]*[!-~])?|\d+", re.ASCII)
"""Matches most texts, which need no change."""
_FORMULA: Final = re.compile(r'="((?:[^"]|"")*)"', re.DOTALL)
_PROTECTED: Final = re.compile(r"'(?:[=+@-].*|0\d*|[\d.,/ -]{5,})", re.DOTALL)
"""A text that an apostrophe protects from being read as a formula or a number."""
_SCIENTIFIC: Final = re.compile(
    r"[+-]?(?:\d+(?:[.,]\d*)?[eE]\+\d{1,3}|\d[.,]\d+[eE]-?\d{1,3}|\d[eE]-\d{2,3})", re.ASCII
)
"""Long numbers as spreadsheets and libraries write them; `12E5` and `7E-1` may be codes."""
_ERRORS: Final = frozenset(
    "#N/A #N/D #REF! #¡REF! #VALUE! #VALOR! #¡VALOR! #DIV/0! #¡DIV/0! #NAME? #NOME? #¿NOMBRE? #NUM! #NÚM! #¡NUM! "
    "#NULL! #NULO! #¡NULO! #SPILL! #CALC! #FIELD! #BLOCKED! #CONNECT! #UNKNOWN! #GETTING_DATA".split()
)
_MARKS: Final = frozenset("='#")
"""Characters at the start of cells that are not part of their text."""


def read_text(value: Any, reading: Reading) -> Any:
    """Returns text unchanged, in flat files trimmed. A number becomes its digits, a date ISO 8601, counted (X2)."""
    match value:
        case str():
            return _cell_text(value, reading) if reading.flat else str(value)
        case bool():
            if not reading.flat:
                raise reject("not_text")
            reading.forgive("coerced_boolean_to_text")
            return str(value).lower()
        case int() | Decimal():
            return _text_of_number(value, reading)
        case datetime() | date():
            reading.forgive("coerced_date_to_text")
            return value.isoformat()
        case NotFinite():
            raise reject("not_finite", f"{value.text} is not text")
        case CellError():
            raise reject("cell_error", f"{value.text} is a spreadsheet error")
        case None:
            return None
        case _:
            raise reject("not_text")


def check_storable(text: str) -> None:
    """Rejects text that no database can store: with a NUL character, or half of a surrogate pair."""
    if "\x00" in text:
        raise reject("nul_character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise reject("invalid_text") from None


def read_code(value: Any, reading: Reading) -> Any:
    """Returns text that names something, such as a SKU: in flat files it is read like a key, but may be empty."""
    return _key_text(value, reading) if isinstance(value, str) and reading.flat else read_text(value, reading)


def read_key(value: Any, reading: Reading) -> Any:
    """Returns a key or reference: text in NFC, trimmed; in a cell without zero decimals and text marks (X2)."""
    text = _key_text(value, reading) if isinstance(value, str) else read_text(value, reading)
    if text is None:
        return None
    if not text:
        raise reject("key_missing")
    return text


def read_email(value: Any, reading: Reading) -> Any:
    """Returns an email: text in NFC, without the invisible characters that surround copied addresses."""
    text = read_text(value, reading)
    if text is None:
        return None
    if _PLAIN.fullmatch(text):
        return text
    bare = text.strip(UNSEEN)
    if len(bare) != len(text.strip(WHITE_SPACE)):
        reading.forgive("stripped_invisible")
        text = bare
    return _composed(text, reading)


def unwrapped(text: str, reading: Reading) -> str:
    """Returns a cell's text without `="..."` or the apostrophe that marks it as text.

    Raises:
        PydanticCustomError: `cell_error`: it is a spreadsheet error, such as `#N/A`.
    """
    if text[:1] not in _MARKS:
        return text
    if text in _ERRORS:
        raise reject("cell_error", f"{text} is a spreadsheet error")
    if (formula := _FORMULA.fullmatch(text)) is not None:
        reading.forgive("unwrapped_formula")
        return formula[1].replace('""', '"').strip(WHITE_SPACE)
    if _PROTECTED.fullmatch(text):
        reading.forgive("dropped_apostrophe")
        return text[1:].lstrip(WHITE_SPACE)
    return text


def _cell_text(cell: str, reading: Reading) -> str:
    if _PLAIN.fullmatch(cell):
        return str(cell)
    text = cell.strip(WHITE_SPACE)
    if len(text) != len(cell):
        reading.forgive("trimmed_text")
    return _code_text(unwrapped(text, reading), reading)


def _key_text(value: str, reading: Reading) -> str:
    if _PLAIN.fullmatch(value):
        return str(value)
    text = value.strip(UNSEEN)
    if len(text) != len(value) and len(text) != len(value.strip(WHITE_SPACE)):
        reading.forgive("stripped_invisible")
    if reading.flat:
        text = unwrapped(text, reading)
        if text[:1] == "'" and len(text) > 1:
            reading.forgive("dropped_apostrophe")
            text = text[1:].strip(UNSEEN)
        text = _code_text(text, reading)
    return _composed(text, reading)


def _code_text(text: str, reading: Reading) -> str:
    """Returns a cell's text without zero decimals; a text whose digits are lost is rejected."""
    last = text[-1:]
    if not "0" <= last <= "9":
        return str(text)
    if _SCIENTIFIC.fullmatch(text):
        raise _digits_lost(text)
    return _without_zero_decimals(text, reading.decimal, reading) if last == "0" else str(text)


def _composed(text: str, reading: Reading) -> str:
    found = composed(text)
    if found != text:
        reading.forgive("composed_letters")
    return str(found)


def _text_of_number(value: int | Decimal, reading: Reading) -> str:
    if isinstance(value, Scientific):
        raise _digits_lost(value.text)
    reading.forgive("coerced_number_to_text")
    text = str(value) if isinstance(value, int) else format(value, "f")
    return _without_zero_decimals(text, ".", reading)


def _without_zero_decimals(text: str, mark: str, reading: Reading) -> str:
    whole, point, decimals = text.partition(mark)
    if point and decimals and not decimals.strip("0") and whole.lstrip("-").isdecimal():
        reading.forgive("dropped_zero_decimals")
        return whole
    return str(text)


def _digits_lost(text: str) -> Exception:
    shown = text if len(text) <= 40 else text[:40] + "…"
    return reject("scientific_notation", f"{shown} has an exponent, so digits are lost")
