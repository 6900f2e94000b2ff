"""How rows of cells are arranged in a file: the settings of CSV, workbooks and partly Parquet.

Belongs here: those keys of a stream in `sources.yaml`, and errors in their values. Does not belong here: what the
cells mean (`value_settings`), reading them (`exports`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class SkipRule(BaseModel):
    """Rows that are not records: those whose cell in `column` matches a glob, such as `Total*`.

    Attributes:
        column: a column of the file, or the field that `columns` reads from it.
        matches: a glob for the trimmed cell; case does not matter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    matches: str


class TableSettings(BaseModel):
    """Where header and records are, and how cells are separated.

    Attributes:
        delimiter: the character between cells; detected by default.
        quote: the character around cells; `"` by default.
        escape: the escape character inside quotes; by default quotes are doubled.
        header_row: row number of the header, from 1; by default the first of the first 20 rows with the key column.
        skip_footer: number of rows at the end that are not records.
        sheet: name or number, from 1, of the sheet; by default the first visible one with the key column.
        skip: rows that are not records.
        optional: columns named in `columns` that may be missing.
        fill_down: fields or columns whose empty cells take the value of the row above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header_row: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    skip_footer: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 0
    sheet: Annotated[int, Field(strict=True, ge=1)] | str | None = None
    skip: tuple[SkipRule, ...] = ()
    optional: tuple[str, ...] = ()
    fill_down: tuple[str, ...] = ()

    @field_validator("delimiter", "quote", "escape", mode="before")
    @classmethod
    def _one_character(cls, value: Any) -> Any:
        if value == "\\t":
            return "\t"
        if value is not None and (not isinstance(value, str) or len(value) != 1 or value in "\r\n\0"):
            raise ValueError(f"{value!r} is not one character")
        return value

    @model_validator(mode="after")
    def _marks_differ(self) -> TableSettings:
        marks = [mark for mark in (self.delimiter, self.quote or '"', self.escape) if mark]
        if len(marks) != len(set(marks)):
            raise ValueError("delimiter, quote and escape must be different characters")
        return self
