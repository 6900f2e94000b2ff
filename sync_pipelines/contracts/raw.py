"""What every reader of exports yields: raw records, and values that still say what the file said.

Belongs here: types that keep apart what contracts must tell apart (a number and its text, a cell and a string, one
value and two). Does not belong here: reading, and any judgement on a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

DAMAGE_TEXT = 100_000
"""Characters of a damaged piece that are kept."""


class PartialRow(NamedTuple):
    """What can be told of the cells of a damaged row.

    Attributes:
        names: the columns of the header.
        cells: as they can be read, maybe more or fewer than `names`.
        certain: how many of them, from the first, surely stand in their own columns.
    """

    names: tuple[str, ...]
    cells: tuple[Any, ...]
    certain: int


class Damage(NamedTuple):
    """A piece of an export that cannot be read as a record, while its neighbours can.

    Attributes:
        code: `not_json`, `nul_character`, `nesting_too_deep`, `line_too_long`, `too_many_cells`, `bad_quotes`,
            `truncated_line`, `bad_encoding`, `invalid_text` or `out_of_range`.
        message: one sentence for people.
        text: what could be read of it, at most `DAMAGE_TEXT` characters.
        row: its cells, where it is a row of a flat file.
        key: the key of its record, where that could be read.
    """

    code: str
    message: str
    text: str
    row: PartialRow | None = None
    key: str | None = None


class RawRecord(NamedTuple):
    """One value of an export and where it stood.

    Attributes:
        position: line, row or element, counted from 1 (X14); `0` for what surrounds the streamed lists.
        value: built of str, int, Decimal, `Scientific`, `NotFinite`, bool, None, list and dict; cells of flat files
            are `Cell`, those of Excel and Parquet also date and datetime, those of Excel also `Percent` and
            `CellError`. None where there is `damage`.
        within: name of the top-level list a JSON element stood in, as written; `""` for an object that is the whole
            document; `"rest"` for the other members beside streamed lists; None for everything else.
        damage: set when this piece could not be read.
        forgiven: codes of leniencies that reading it took.
    """

    position: str
    value: Any
    within: str | None = None
    damage: Damage | None = None
    forgiven: tuple[str, ...] = ()


class Cell(str):
    """Text from a flat file: it may stand for any type, unlike a JSON string."""

    __slots__ = ()


class Binary(Cell):
    """Bytes of a Parquet file that need not be text: a field of a contract reads them as UTF-8.

    Bytes that are not UTF-8 stand as lone surrogates, which no field accepts.
    """

    __slots__ = ()

    @classmethod
    def of(cls, data: bytes) -> Binary:
        """The text of some bytes."""
        return cls(data.decode("utf-8", "surrogateescape"))

    @property
    def hex(self) -> str:
        """The bytes as hexadecimal digits."""
        return self.encode("utf-8", "surrogateescape").hex()


class Scientific(Decimal):
    """A number written with an exponent, or one too long to be anything but a mistake.

    `text` is what was written. Where the exponent is beyond any Decimal the numeric value is NaN.
    Never turn one into an int: `1e999999999` would fill the memory.
    """

    text: str

    def __new__(cls, text: str) -> Scientific:
        """Makes the number from what was written."""
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
    """A number of a workbook that is shown as a percentage; its value is the stored one, 0.075 where 7.5% is shown."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class CellError:
    """An error of a spreadsheet where a value should be, such as `#N/A`, in `text`."""

    text: str

    def __str__(self) -> str:
        return self.text


class AmbiguousObject(dict[str, Any]):
    """A JSON object in which a name stands twice with different values; the dict holds the last ones.

    Attributes:
        names: the names that stand twice, in the order of the file.
    """

    names: tuple[str, ...]

    def __init__(self, pairs: list[tuple[str, Any]], names: tuple[str, ...]) -> None:
        super().__init__(pairs)
        self.names = names


class NamedRecord(dict[str, Any]):
    """A record whose names are the contract's own already: what lines of a flat file were folded into.

    Attributes:
        unknown: fields the contract does not know, under the file's names.
        conflicts: how often lines disagreed on a field; the last non-empty value won (O12).
        twice: path of a field that stands twice with different values in one line (X3), or None.
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
    """A record that stands for a damaged piece; `text` is cut to `DAMAGE_TEXT` characters."""
    return RawRecord(position, None, within, Damage(code, message, text[:DAMAGE_TEXT], row))


def number_from_float(number: float, text: str) -> int | Decimal | NotFinite:
    """The decimal number a binary float stands for, from its shortest `text` (X9)."""
    if number != number:
        return NotFinite("NaN")
    if number in (float("inf"), float("-inf")):
        return NotFinite("Infinity" if number > 0 else "-Infinity")
    return Scientific(text) if "e" in text else Decimal(text)
