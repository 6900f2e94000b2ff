"""Lists of children: replaced, merged row by row, added to or removed from (O7, R6, R8, N7, T8).

Pure. Belongs here: which stored row an element matches, and the new list. Does not belong here: rows of main tables
(`fold`), surrogate ids (`differences`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sync_pipelines.contracts.streams import Children, Match
from sync_pipelines.normalize.change import Listed
from sync_pipelines.normalize.list_duplicates import folded_text
from sync_pipelines.upsert.jsonb import Jsonb

ChildRow = dict[str, Any]
"""Column -> value, without nulls; nested lists are under their table's name."""


def listed(declared: Children, stored: Sequence[ChildRow], sent: Listed) -> list[ChildRow]:
    """Returns the list after a record that sets it."""
    match sent.mode or declared.mode:
        case "replace":
            return [_patched(declared, {}, row) for row in sent.rows]
        case "remove":
            return [row for row in stored if find(declared, sent.rows, row, sent.match) is None]
        case mode:
            return _merged(declared, list(stored), sent, patches=mode == "merge")


def _merged(declared: Children, rows: list[ChildRow], sent: Listed, *, patches: bool) -> list[ChildRow]:
    for element in sent.rows:
        index = find(declared, rows, element, sent.match)
        if index is None:
            rows.append(_patched(declared, {}, element))
            index = len(rows) - 1
        elif patches:
            rows[index] = _patched(declared, rows[index], element)
        if declared.primary is not None and element.get("is_primary"):
            rows = [row if i == index else _demoted(declared, row, rows[index]) for i, row in enumerate(rows)]
    return rows


def _patched(declared: Children, stored: ChildRow, element: Mapping[str, Any]) -> ChildRow:
    nested = {c.table: c for c in declared.nested}
    row = {**stored, **{name: value for name, value in element.items() if name not in nested and name != "extra"}}
    if element.get("extra"):
        row["extra"] = Jsonb({**stored.get("extra", {}), **element["extra"]})
    for table, inner in nested.items():
        if table in element:
            row[table] = listed(inner, stored.get(table, []), Listed(element[table] or []))
            if not row[table]:
                del row[table]
    return without_nulls(row)


def _demoted(declared: Children, row: ChildRow, primary: ChildRow) -> ChildRow:
    """Returns a row that is no longer primary beside a new primary one (R7)."""
    same_group = all(row.get(column) == primary.get(column) for column in declared.primary or ())
    return {**row, "is_primary": False} if same_group and row.get("is_primary") else row


def find(
    declared: Children, rows: Sequence[Mapping[str, Any]], element: Mapping[str, Any], way: str | None
) -> int | None:
    """Returns the first row that matches an element, by the declared ways in order, or by the chosen one."""
    for match in declared.match:
        if way is None or match.name == way:
            for index, row in enumerate(rows):
                if _is_same(declared, match, row, element):
                    return index
    return None


def _is_same(declared: Children, match: Match, row: Mapping[str, Any], element: Mapping[str, Any]) -> bool:
    if match.whole:
        keyed = [c for other in declared.match if not other.whole for c in other.columns]
        if any(element.get(column) is not None for column in keyed):
            return False
        return all(row.get(column) == element.get(column) for column in match.columns)
    mine, theirs = _key(match, row), _key(match, element)
    return mine is not None and mine == theirs


def _key(match: Match, row: Mapping[str, Any]) -> tuple[Any, ...] | None:
    values = [row.get(column) for column in match.columns]
    if any(value is None for value in values):
        return None
    return tuple(folded_text(v) if match.folds else v for v in values)


def without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that are not null."""
    return {name: value for name, value in values.items() if value is not None}


def aligned(
    declared: Children, stored: Sequence[ChildRow], rows: Sequence[ChildRow], way: str | None = None
) -> Iterator[int | None]:
    """Returns the stored row of each row in a list: an equal one, else a match by the chosen way, each used once (T8).

    Args:
        declared: the list.
        stored: rows as stored.
        rows: rows as they should be.
        way: name of the way to match rows; None for the declared ways, in order.
    """
    if not declared.match:
        yield from (index if index < len(stored) else None for index in range(len(rows)))
        return
    free = dict(enumerate(stored))
    for row in rows:
        index = _first_free(declared, free, row, way)
        free.pop(index, None) if index is not None else None
        yield index


def _first_free(declared: Children, free: Mapping[int, ChildRow], row: ChildRow, way: str | None) -> int | None:
    indexes = list(free)
    equal = next((index for index in indexes if free[index] == row), None)
    if equal is not None:
        return equal
    found = find(declared, [free[index] for index in indexes], row, way)
    return None if found is None else indexes[found]
