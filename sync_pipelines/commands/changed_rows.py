"""Rows that would change, as text: a line for each row, and below it one for each column.

Belongs here: layout. Does not belong here: finding the rows (`stages.display_rows`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from sync_pipelines.commands.screen import say
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.stages.display_rows import Difference, masked_changes, whole_changes

_CELL: Final = 80
_ROW: Final = 240
"""Characters shown of a column, and of a whole row."""
_NOTHING: Final = "(nothing)"
_IN_OTHER_CELLS: Final = frozenset({"tenant", "partner", "external_id"})


def print_changes(of: str, rows: Iterable[tuple[Stream | None, Difference]], *, unmasked: bool = False) -> None:
    """Prints rows: what happens to each, the export that determines it, and its columns before and after.

    Args:
        of: the rows' table or stream.
        rows: each with the stream that fills its table for its partner; None if there is none.
        unmasked: whether to show personal values.
    """
    for stream, row in rows:
        key = row.key if unmasked else without_emails(row.key)
        say(f"{row.change} {of} {row.tenant} {key}" + (f", by {row.path}" if row.path else ""))
        for column, before, after in whole_changes(row) if unmasked else masked_changes(stream, row):
            old, new = (cell(value, whole=not column, unmasked=unmasked) for value in (before, after))
            if column:
                say(f"  {column}: {old or _NOTHING} -> {new or _NOTHING}")
            else:
                say(f"  {old if row.change == 'deleted' else new}")


def cell(value: Any, *, whole: bool, unmasked: bool = False) -> str:
    """Returns a value on one line, shortened; JSON without empty fields where it is an object or a list.

    Args:
        value: the value.
        whole: whether it is a whole row.
        unmasked: whether to keep email addresses.
    """
    if value is None:
        return ""
    if isinstance(value, dict) and whole:
        value = {name: below for name, below in value.items() if name not in _IN_OTHER_CELLS}
    is_nested = isinstance(value, dict | list)
    text = json.dumps(_filled(value), ensure_ascii=False, default=str) if is_nested else str(value)
    text, longest = text if unmasked else without_emails(text), _ROW if whole else _CELL
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _filled(value: Any) -> Any:
    """Returns JSON without null and empty fields."""
    if isinstance(value, list):
        return [_filled(element) for element in value]
    if isinstance(value, dict):
        return {name: _filled(below) for name, below in value.items() if below not in (None, [], {})}
    return value
