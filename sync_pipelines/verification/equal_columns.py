"""Compares columns of rows as they should be with stored ones, whatever their type.

Belongs here: equality of a column's values. Does not belong here: which rows are compared (`verified_columns`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert.column_changes import are_distinct, mask_of
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.jsonb import are_unequal
from sync_pipelines.upsert.stored_rows import is_jsonb

_PLAIN: Final = re.compile(r'[^\s{},"\\]+')


def differing(table: str, name: str, expected: Any | None, stored: Any) -> Mask:
    """Returns where a column differs from the stored one.

    Args:
        table: the table.
        name: the column.
        expected: the values; None if all are null.
        stored: as read by COPY: objects as JSON, arrays as PostgreSQL writes them.
    """
    column = one(stored)
    if expected is None:
        return mask_of(column.is_valid())
    mine = one(expected)
    if is_jsonb(table, name):
        return _differing_objects(mine, column)
    if _is_of_lists(mine):
        return _differing_lists(mine, column)
    if mine.null_count == len(mine):
        return mask_of(column.is_valid())
    return are_distinct(mine, column)


def _differing_objects(mine: Any, stored: Any) -> Mask:
    differs: Mask = mask_of(mine.is_null()) != mask_of(stored.is_null())
    both = np.flatnonzero(mask_of(mine.is_valid()) & mask_of(stored.is_valid()))
    known: dict[tuple[str, str], bool] = {}
    places = pa.array(both)
    pairs = list(zip(mine.take(places).to_pylist(), stored.take(places).to_pylist(), strict=True))
    for pair in set(pairs):
        known[pair] = are_unequal(*map(from_json, pair))
    differs[both] = [known[pair] for pair in pairs]
    return differs


def _is_of_lists(column: Any) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_list(kind))


def _differing_lists(mine: Any, stored: Any) -> Mask:
    """Compares lists of texts by their literals; few different ones occur."""
    if pa.types.is_dictionary(mine.type):
        literals = pa.array([_literal(texts) for texts in mine.dictionary.to_pylist()], pa.string())
        return are_distinct(literals.take(mine.indices), stored)
    return are_distinct(pa.array([_literal(texts) for texts in mine.to_pylist()], pa.string()), stored)


def _literal(texts: list[str | None] | None) -> str | None:
    """Returns texts as PostgreSQL writes an array."""
    return None if texts is None else "{" + ",".join(map(_element, texts)) + "}"


def _element(text: str | None) -> str:
    if text is None:
        return "NULL"
    if _PLAIN.fullmatch(text) and text.upper() != "NULL":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
