"""The dialect of a CSV, from the settings or detected from its first lines.

Belongs here: the delimiter, quotes and blanks. Does not belong here: rows (`csv_cells`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.exports.columns import SoughtColumns, cleaned

DELIMITERS: Final = ",;|\t"
_MOST_CELLS: Final = 20_000
"""Most cells of a row that is considered as a header; a row with more was probably split by the wrong delimiter."""
_SEPARATOR_LINE: Final = re.compile(r'\ufeff?"?sep=(.)"?', re.IGNORECASE)


class Dialect(NamedTuple):
    """What separates cells.

    Attributes:
        delimiter: separates cells.
        quote: encloses cells.
        escape: escapes the next character; None if quotes are escaped by doubling.
        passes_blanks: whether blanks after a delimiter are ignored, so that a quote after them opens a cell.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    passes_blanks: bool = False

    def split(self, text: str) -> list[list[str]]:
        """Splits text into rows, with valid quotes or not."""
        reader = csv.reader(
            text.replace("\r", " ").split("\n"),
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            skipinitialspace=self.passes_blanks,
        )
        rows = []
        while True:
            try:
                rows.append(next(reader))
            except StopIteration:
                return [row for row in rows if any(row)]
            except csv.Error:
                continue


def separator_named(line: str) -> str | None:
    """Returns the delimiter in Excel's `sep=;` line; None for any other line."""
    match = _SEPARATOR_LINE.fullmatch(line.strip("\r"))
    return match[1] if match else None


def dialect_of(text: str, settings: TableSettings, sought: SoughtColumns | None, named: str | None = None) -> Dialect:
    """Returns the dialect of a file from its first lines.

    Args:
        text: its first lines.
        settings: the source's settings.
        sought: the columns that identify the header; None takes the first row.
        named: the delimiter that the file declares.
    """
    given = settings.delimiter or named
    dialect = Dialect(given or ",", settings.quote or '"', settings.escape)
    if given is None:
        candidates = [dialect._replace(delimiter=delimiter) for delimiter in DELIMITERS]
        dialect = max(candidates, key=lambda candidate: _fit(candidate, text, sought))
    return dialect._replace(passes_blanks=_has_blanks(dialect, text))


def _fit(dialect: Dialect, text: str, sought: SoughtColumns | None) -> tuple[bool, int, float, int]:
    """Returns a score for how well a dialect fits some lines; higher is better.

    The key column and other expected columns count first, then how many of the next rows have as many cells as the
    header, then the number of cells.
    """
    rows = dialect._replace(passes_blanks=True).split(text)
    place, known = _header_in(rows, sought)
    if place is None:
        return False, 0, _agreement(rows), len(rows[0]) if rows else 0
    return True, known, _agreement(rows[place:]), len(rows[place])


def _header_in(rows: Sequence[Sequence[str]], sought: SoughtColumns | None) -> tuple[int | None, int]:
    if sought is None:
        return (0, 0) if rows else (None, 0)
    for place, row in enumerate(rows):
        if len(row) > _MOST_CELLS:
            continue
        names = sought.as_mapped([cleaned(cell) for cell in row])
        if sought.is_header(names):
            return place, len(sought.known_among(names))
    return None, 0


def _agreement(rows: Sequence[Sequence[str]]) -> float:
    """Returns the share of rows that have as many cells as the first; 0 if there is only one cell per row."""
    if not rows or len(rows[0]) == 1:
        return 0.0
    below = rows[1:]
    return sum(len(row) == len(rows[0]) for row in below) / len(below) if below else 1.0


def _has_blanks(dialect: Dialect, text: str) -> bool:
    """Whether blanks follow delimiters: all of them in the first row with several cells, or one before a quote."""
    if dialect.delimiter == " ":
        return False
    if f"{dialect.delimiter} {dialect.quote}" in text:
        return True
    rows = [row for row in dialect.split(text) if len(row) > 1]
    return bool(rows) and all(cell.startswith(" ") for cell in rows[0][1:])
