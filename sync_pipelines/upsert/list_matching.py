"""Matches elements of many lists to stored rows (T8, N7): `lists.find`, a column at a time.

Belongs here: matching, with no answer if in doubt. Does not belong here: changes of the rows (`list_columns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from sync_pipelines.contracts.streams import Children, Match
from sync_pipelines.normalize.list_duplicates import Codes, Mask, codes_of, has_duplicate
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.list_repeats import are_keyless

NEW: Final = -1
"""An element that matches no stored row, and no other element."""
DOUBTFUL: Final = -2


class ListTreatment(NamedTuple):
    """How lists are applied.

    Attributes:
        mode: see `ListMode`.
        ways: the ways in which elements match rows.
    """

    mode: str
    ways: Sequence[Match]


def matched_rows(
    declared: Children, treatment: ListTreatment, owners: Codes, elements: Any, parents: Codes, rows: pa.Table
) -> Codes:
    """Returns the stored row of each sent element, `NEW` or `DOUBTFUL`.

    Args:
        declared: the list.
        treatment: mode and ways of matching.
        owners: the index of each element's owner, ascending.
        elements: a struct array.
        parents: the index of each stored row's owner, ascending.
        rows: the stored rows, by owner and line.
    """
    replaces = treatment.mode == "replace"
    in_place = _in_place(owners, parents) if replaces and len(parents) else np.full(len(owners), NEW)
    if not declared.match:
        return in_place
    is_first = replaces & ~np.isin(owners, parents)
    if is_first.all():
        return np.full(len(owners), NEW)
    matched, has_match = _by_ways(declared, treatment.ways, elements, owners, rows, parents)
    if replaces:
        # A row keeps its id even if it moves, or if another row is equal to it.
        matched[((matched >= 0) & (matched != in_place)) | ((matched == NEW) & ~has_match)] = DOUBTFUL
    matched[is_first] = NEW
    return matched


def _in_place(owners: Codes, parents: Codes) -> Codes:
    """Returns the stored row in each sent element's line, `NEW` if there is none."""
    numbers = np.arange(len(owners)) - np.searchsorted(owners, owners)
    places = np.searchsorted(parents, owners) + numbers
    there = places < len(parents)
    there[there] = parents[places[there]] == owners[there]
    return np.where(there, places, NEW)


def _by_ways(
    declared: Children, ways: Sequence[Match], elements: Any, owners: Codes, rows: pa.Table, parents: Codes
) -> tuple[Codes, Mask]:
    """Matches by the first way that applies to any element of a list, if it applies to all. Also returns which apply.

    An element is new if no way finds an equal element or stored row.
    """
    count = int(owners.max(initial=-1)) + 1
    matched, is_alone, has_match = np.full(len(owners), NEW), np.ones(len(owners), bool), np.zeros(len(owners), bool)
    undecided = np.ones(count, bool)
    keyless = are_keyless(declared, elements)
    for match in ways:
        if match.whole and not keyless.any():
            continue
        both = {name: pa.concat_arrays([elements.field(name), one(rows.column(name))]) for name in match.columns}
        codes, known = np.split(codes_of(match, struct_of(both)), [len(owners)])
        applies = keyless if match.whole else codes >= 0
        alike = (
            applies & has_duplicate(np.concatenate([owners, parents]), np.concatenate([codes, known]))[: len(owners)]
        )
        found = np.full(len(owners), NEW) if match.whole else _matches(owners, codes, parents, known)
        chosen = (undecided & _all_of(count, owners, applies & ((found >= 0) | ~alike)))[owners] & (found >= 0)
        matched[chosen] = found[chosen]
        is_alone &= ~alike
        has_match |= applies
        undecided &= _all_of(count, owners, ~applies)
    is_certain = (matched >= 0) | is_alone
    if len(ways) > 1 and any(len(match.columns) > 1 and not match.whole for match in ways):
        # An element without all of these may still change one of them, and so the columns that identify its row.
        is_certain &= _all_of(count, owners, matched < 0)[owners]
    return np.where(is_certain, matched, DOUBTFUL), has_match


def _matches(owners: Codes, codes: Codes, parents: Codes, known: Codes) -> Codes:
    """Returns the only row of its owner with each element's code, `NEW` if there is none or several."""
    if not len(parents):
        return np.full(len(owners), NEW)
    base = max(codes.max(initial=-1), known.max(initial=-1)) + 1
    there = np.flatnonzero(known >= 0)
    stored = parents[there] * base + known[there]
    order = np.argsort(stored, kind="stable")
    wanted = owners * base + codes
    first = np.searchsorted(stored, wanted, "left", sorter=order)
    is_one = np.searchsorted(stored, wanted, "right", sorter=order) - first == 1
    found = np.full(len(owners), NEW)
    fits = is_one & (codes >= 0) & ~has_duplicate(owners, codes)
    found[fits] = there[order[first[fits]]]
    return found


def struct_of(columns: Mapping[str, Any]) -> Any:
    """Returns columns as one array of structs."""
    return pa.StructArray.from_arrays([one(column) for column in columns.values()], list(columns))


def _all_of(owners: int, parents: Codes, fits: Mask) -> Mask:
    """Returns the owners for which all elements fit."""
    answer = np.ones(owners, bool)
    answer[parents[~fits]] = False
    return answer
