"""What can be recovered from a damaged CSV row.

Belongs here: cells from a row's text, and how many of them are certain. Does not belong here: what damages a row
(`csv_cells`), how the cells are used (`normalize`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from sync_pipelines.contracts.raw import Cell, PartialRow, RawRecord
from sync_pipelines.exports.csv_dialect import Dialect


def under_header(record: RawRecord, names: Sequence[str]) -> RawRecord:
    """Returns a damaged row with its readable cells under the header's names."""
    damage = record.damage
    if damage is None or damage.row is None or damage.row.names:
        return record
    return record._replace(damage=damage._replace(row=under(names, damage.row.cells, damage.row.certain)))


def under(names: Sequence[str], cells: Sequence[str], certain: int) -> PartialRow:
    """Puts cells under a header. If there are too many, one was split, and all after the first may be shifted."""
    if len(cells) > len(names):
        certain = min(certain, 1)
    return PartialRow(tuple(names), tuple(map(Cell, cells)), certain)


def cells_of(text: str, dialect: Dialect) -> PartialRow:
    """Returns the cells of a row's text, without names.

    Cells before the damage are read by the rules and certain. The others are split at delimiters.
    """
    quote, delimiter = dialect.quote or '"', dialect.delimiter
    cells: list[str] = []
    position = 0
    while (match := _cell(delimiter, quote).match(text, position)) is not None:
        quoted, plain, end = match.groups()
        cells.append(plain if quoted is None else quoted.replace(quote * 2, quote))
        position = match.end()
        if not end:
            return PartialRow((), tuple(cells), len(cells))
    certain = len(cells)
    cells += [cell.strip(f"{quote} ") for cell in text[position:].split(delimiter)]
    return PartialRow((), tuple(cells), certain)


@cache
def _cell(delimiter: str, quote: str) -> re.Pattern[str]:
    mark, end = re.escape(quote), re.escape(delimiter)
    return re.compile(f"(?:{mark}((?:[^{mark}]|{mark}{mark})*){mark}|([^{mark}{end}]*))({end}|\\r?\\Z)")
