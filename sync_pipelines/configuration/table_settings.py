"""How rows of cells stand in a file: the settings of CSV, workbooks and, where they apply, Parquet.

Belongs here: those keys of a stream in `sources.yaml`, and what is wrong with a value. Does not belong here: what the
cells mean (`value_settings`), reading them (`exports`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class SkipRule(BaseModel):
    """Rows that are no records: those whose cell in `column` matches a glob, such as `Total*`.

    Attributes:
        column: a column of the file, or the field that `columns` reads from it.
        matches: a glob over the trimmed cell, whatever its case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    matches: str


class TableSettings(BaseModel):
    """Where header and records stand, and how cells are told apart.

    Attributes:
        delimiter: one character between cells; by default the one with which header and next lines agree.
        quote: the character around cells; `"` unless said.
        escape: the character that takes the next one's meaning away within quotes; a doubled quote unless said.
        header_row: number of the header's row, from 1; by default the first of the first 20 with the key's column.
        skip_footer: rows at the end of the table that are no records.
        sheet: name or number, from 1, of a workbook's sheet; by default the first visible one with the key's column.
        skip: rows that are no records.
        optional: columns named in `columns` that may be missing.
        fill_down: fields or columns whose empty cells repeat the row above.
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
