"""The results of every reader of exports: raw records, with values that preserve what the file had.

Belongs here: types for differences that contracts need (a number and its text, a cell and a string, one value and two).
Does not belong here: reading, validating values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

DAMAGE_TEXT = 100_000
"""Characters of a damaged piece that are kept."""


class PartialRow(NamedTuple):
    """The readable cells of a damaged row.

    Attributes:
        names: the columns of the header.
        cells: as far as they can be read, possibly more or fewer than `names`.
        certain: how many of them, from the first, are certainly in their own columns.
    """

    names: tuple[str, ...]
    cells: tuple[Any, ...]
    certain: int


class Damage(NamedTuple):
    """A piece of an export that cannot be read as a record, although its neighbors can.

    Attributes:
        code: `not_json`, `nul_character`, `nesting_too_deep`, `line_too_long`, `too_many_cells`, `bad_quotes`,
            `truncated_line`, `bad_encoding`, `invalid_text` or `out_of_range`.
        message: one sentence for people.
        text: what could be read of it, at most `DAMAGE_TEXT` characters.
        row: its cells, if it is a row of a flat file.
        key: the key of its record, if it could be read.
    """

    code: str
    message: str
    text: str
    row: PartialRow | None = None
    key: str | None = None


class RawRecord(NamedTuple):
    """One value of an export and its position.

    Attributes:
        position: line, row or element, counted from 1 (X14); `0` for the members around streamed lists.
        value: built of str, int, Decimal, `Scientific`, `NotFinite`, bool, None, list and dict; cells of flat files
            are `Cell`, those of Excel and Parquet also date and datetime, those of Excel also `Percent` and
            `CellError`. None if there is `damage`.
        within: name of the top-level list that held a JSON element, as written; `""` for an object that is the whole
            document; `"rest"` for the other members beside streamed lists; None for everything else.
        damage: set if this piece could not be read.
        forgiven: codes of the leniencies that reading it needed.
    """

    position: str
    value: Any
    within: str | None = None
    damage: Damage | None = None
    forgiven: tuple[str, ...] = ()


class Cell(str):
    """Text from a flat file: it may represent any type, unlike a JSON string."""

    __slots__ = ()


class Binary(Cell):
    """Bytes of a Parquet file that may not be text: a field of a contract reads them as UTF-8.

    Bytes that are not UTF-8 become lone surrogates, which no field accepts.
    """

    __slots__ = ()

    @classmethod
    def of(cls, data: bytes) -> Binary:
        """Returns the text of some bytes."""
        return cls(data.decode("utf-8", "surrogateescape"))

    @property
    def hex(self) -> str:
        """Returns the bytes as hexadecimal digits."""
        return self.encode("utf-8", "surrogateescape").hex()


class Scientific(Decimal):
    """A number written with an exponent, or one that is too long to be right.

    `text` is the original text. If the exponent is too large for a Decimal, the numeric value is NaN.
    Never turn one into an int: `1e999999999` would fill the memory.
    """

    text: str

    def __new__(cls, text: str) -> Scientific:
        """Makes the number from its text."""
        try:
            number = super().__new__(cls, text)
        except InvalidOperation:
            number = super().__new__(cls, "NaN")
        number.text = text
        return number

    def __reduce__(self) -> tuple[type[Scientific], tuple[str]]:
        return Scientific, (self.text,)


@dataclass(frozen=True, slots=True)
class NotFinite:
    """`NaN`, `Infinity` or `-Infinity`, in `text`."""

    text: str


class Percent(Decimal):
    """A number that a workbook displays as a percentage; its value is the stored one, 0.075 for a displayed 7.5%."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class CellError:
    """A spreadsheet error in place of a value, such as `#N/A`, in `text`."""

    text: str

    def __str__(self) -> str:
        return self.text


class AmbiguousObject(dict[str, Any]):
    """A JSON object in which a name appears twice with different values; the dict holds the last ones.

    Attributes:
        names: the names that appear twice, in file order.
    """

    names: tuple[str, ...]

    def __init__(self, pairs: list[tuple[str, Any]], names: tuple[str, ...]) -> None:
        super().__init__(pairs)
        self.names = names


class NamedRecord(dict[str, Any]):
    """A record that already has the contract's names: the result of grouping lines of a flat file.

    Attributes:
        unknown: fields that are not in the contract, with the file's names.
        conflicts: how often lines disagreed on a field; the last non-empty value was used (O12).
        twice: path of a field that appears twice with different values in one line (X3), or None.
        incomplete: why lines of it may be missing, or None.
    """

    def __init__(self, fields: Mapping[str, Any] = {}, unknown: Mapping[str, Any] = {}) -> None:
        super().__init__(fields)
        self.unknown: dict[str, Any] = dict(unknown)
        self.conflicts = 0
        self.twice: str | None = None
        self.incomplete: str | None = None


def damaged(
    position: str, code: str, message: str, text: str, within: str | None = None, row: PartialRow | None = None
) -> RawRecord:
    """Returns a record for a damaged piece; `text` is cut to `DAMAGE_TEXT` characters."""
    return RawRecord(position, None, within, Damage(code, message, text[:DAMAGE_TEXT], row))


def number_from_float(number: float, text: str) -> int | Decimal | NotFinite:
    """Returns the decimal number of a binary float, from its shortest `text` (X9)."""
    if number != number:
        return NotFinite("NaN")
    if number in (float("inf"), float("-inf")):
        return NotFinite("Infinity" if number > 0 else "-Infinity")
    return Scientific(text) if "e" in text else Decimal(text)
