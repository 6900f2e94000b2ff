"""Equal values in columns, and equal elements within many lists.

Belongs here: which rows are equal, which elements are by a way of matching, and what is computed once for equal values.
Does not belong here: the consequences (`plain`, `upsert.list_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Match

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]


def codes_of(match: Match, elements: Any) -> Codes:
    """Returns a number for each element, equal for equal elements; -1 if the way does not apply to it.

    Args:
        match: the way of matching.
        elements: a struct array.
    """
    columns = [elements.field(column) for column in match.columns]
    folded = [by_distinct(folded_text, column, column.type) for column in columns if match.folds]
    codes = row_codes(folded or columns, len(elements))
    for column in columns if not match.whole else ():
        codes[column.is_null().to_numpy(zero_copy_only=False)] = -1
    return codes


def row_codes(columns: Iterable[Any], count: int) -> Codes:
    """Returns a number from 0 for each row, equal for rows with equal values in some columns."""
    codes = np.zeros(count, np.int64)
    for column in columns:
        encoded = column.dictionary_encode()
        numbers = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
        # Renumbered each time, so that many columns do not overflow.
        codes = np.unique(codes * (len(encoded.dictionary) + 1) + numbers, return_inverse=True)[1].astype(np.int64)
    return codes


def by_distinct(function: Callable[[Any], Any], column: Any, kind: pa.DataType) -> Any:
    """Returns a function's result for each value, computed once for each distinct one; null for null."""
    encoded = column.dictionary_encode()
    return pa.array(map(function, encoded.dictionary.to_pylist()), kind).take(encoded.indices)


def has_duplicate(parents: Codes, codes: Codes) -> Mask:
    """Returns which elements are in a list with another of the same code, except code -1.

    Args:
        parents: the index of each element's list.
        codes: see `codes_of`.
    """
    duplicates = np.zeros(len(codes), bool)
    wanted = np.flatnonzero(codes >= 0)
    if len(wanted):
        order = np.lexsort((codes[wanted], parents[wanted]))
        ordered = np.stack([parents[wanted], codes[wanted]])[:, order]
        same = (ordered[:, 1:] == ordered[:, :-1]).all(axis=0)
        duplicates[wanted[order[1:][same]]] = True
        duplicates[wanted[order[:-1][same]]] = True
    return duplicates


def several_primaries(columns: tuple[str, ...], parents: Codes, elements: Any) -> Mask:
    """Returns which elements are primary together with another one that is equal in the given columns (R7)."""
    groups = codes_of(Match(columns, whole=True), elements)
    groups[~pc.fill_null(elements.field("is_primary"), False).to_numpy(zero_copy_only=False)] = -1
    return has_duplicate(parents, groups)


def folded_text(value: Any) -> Any:
    """Returns a value in the form that is compared by a folding way: trimmed text without case."""
    return value.strip().casefold() if isinstance(value, str) else value
