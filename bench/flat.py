"""Records of any stream as the rows a database would hold, and the tables for them.

A record's own fields are the row of one table; each list of objects in it is a table of its own, whose rows have the
record's key and a number, and so on inwards. Objects are JSON, lists of texts are arrays.

Belongs here: that flattening. Does not belong here: how the rows are loaded (`floor_streams`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.floor_streams import TableShape

Record = Mapping[str, Any]
_TYPES: Final = {str: "text", bool: "boolean", int: "numeric(18, 6)", float: "numeric(18, 6)"}


def shapes_of(record: Record, table: str = "main", keys: int = 1) -> Iterator[TableShape]:
    """The tables of records that look like a given one, the outermost first.

    Args:
        record: in its first fields the key.
        table: name of the first table.
        keys: how many columns tell its rows.
    """
    columns = {name: _type_of(value) for name, value in record.items() if not _is_table(value)}
    names = [f"k{number}" for number in range(keys)]
    yield TableShape(table, names, {name: columns[name] for name in list(columns)[keys == 1 :]})
    for name, value in record.items():
        if _is_table(value):
            yield from shapes_of(value[0], f"{table}_{name}", keys + 1)


def write_rows(records: Iterable[Record], shapes: Iterable[TableShape], folder: Path) -> None:
    """Writes one CSV file a table, named after it, to be copied as it is."""
    with ExitStack() as files:
        writers = {
            shape.name: csv.writer(files.enter_context((folder / f"{shape.name}.csv").open("w", newline="")))
            for shape in shapes
        }
        for record in records:
            for table, row in _rows(record, "main", ()):
                writers[table].writerow(row)


def _rows(record: Record, table: str, parents: tuple[Any, ...]) -> Iterator[tuple[str, list[Any]]]:
    values = [_cell(value) for value in record.values() if not _is_table(value)]
    keys = parents or (values.pop(0),)
    yield table, [*keys, *values]
    for name, value in record.items():
        if _is_table(value):
            for number, element in enumerate(value, 1):
                yield from _rows(element, f"{table}_{name}", (*keys, number))


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _type_of(value: Any) -> str:
    if isinstance(value, dict):
        return "jsonb"
    return "text[]" if isinstance(value, list) else _TYPES[type(value)]


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return "{" + ",".join(f'"{text}"' for text in value) + "}"
    return str(value).lower() if isinstance(value, bool) else value
