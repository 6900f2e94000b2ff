"""An explanation as tables of text, for the terminal and the UI.

Belongs here: heads, order and shortening of cells. Does not belong here: the explanation (`explain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sync_pipelines.normalize.values import displayable, to_json
from sync_pipelines.stages.explain import Explained

_CELL: Final = 100


def record_table(found: Explained) -> tuple[list[str], list[list[str]]]:
    """Returns the heads and the rows of a table of the records."""
    of_column = ["said", "value", f"{found.column} after it", "overridden by"]
    heads = ["time", "export", "position", "operation", "outcome", *(of_column if found.column else ["changed"]), "why"]
    rows = []
    for record in found.records:
        path = record.path if record.revision == 1 else f"{record.path} (revision {record.revision})"
        what = [_cell(record.value)]
        if found.column:
            what = [record.said, _cell(record.value), _cell(record.row), record.overridden_by]
        moment = f"{record.effective_at:%Y-%m-%d %H:%M:%S}"
        rows.append([moment, path, record.position, record.operation, record.outcome, *what, record.reason])
    return heads, rows


def row_table(found: Explained, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the columns of a row that hold something, and the column that was asked for."""
    for name, value in row.items():
        if value not in (None, []) or name == found.column:
            yield name, _cell(value)


def _cell(value: Any) -> str:
    """Returns a value on one line, shortened."""
    if isinstance(value, dict):
        text = ", ".join(f"{name}: {_text(below)}" for name, below in value.items())
    else:
        text = _text(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "\u2026"


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case dict() | list():
            return to_json(displayable(value))
        case _:
            return str(value)
