"""Records that say what the newest record of their key said already, told by their text alone.

Applied to a row that ends with an equal record, such a record changes nothing: patches and replaced lists are
idempotent. So it needs neither staging nor a look at the row (law 5).

Belongs here: comparing digests. Does not belong here: making them (`normalize.blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sync_pipelines.upsert.history import Hashes, KnownExport

Mask = npt.NDArray[np.bool_]
_LOOKED_AT: Final = 64
"""Exports that are compared at most; more would cost more than they spare."""
_NONE: Final = np.empty(0, np.uint64)


def unchanged_keys(mine: KnownExport, others: Sequence[KnownExport], folded: Hashes) -> Hashes:
    """Keys of which an export says, in the same words, what the newest loaded record says (sorted).

    Args:
        mine: the export being loaded.
        others: every loaded export of its tenant's stream.
        folded: keys that are folded whatever their text: the export is not the newest word on them, or has them more
            than once.
    """
    digests = mine.kept.digests
    if digests is None or not others:
        return _NONE
    keys, rows = np.asarray(mine.kept.keys.hashes), np.asarray(mine.kept.keys.rows)
    open_keys = ~np.isin(keys, folded)
    # Records with times of their own may be newer than their export's place in the order says.
    uneven = [other for other in others if other.window[0] != other.window[1]]
    if len(uneven) > _LOOKED_AT or mine.window[0] != mine.window[1]:
        return _NONE
    for other in uneven:
        open_keys &= ~np.isin(keys, other.knows(keys))
    found = []
    even = [other for other in others if other.window[0] == other.window[1]]
    for other in sorted(even, key=lambda known: known.entry.version, reverse=True)[:_LOOKED_AT]:
        wanted = np.flatnonzero(open_keys)
        if not len(wanted):
            break
        known, same = _compared(keys[wanted], np.asarray(digests)[rows[wanted]], mine, other)
        found.append(keys[wanted[same]])
        open_keys[wanted[known]] = False
    return np.sort(np.concatenate([_NONE, *found]))


def _compared(keys: Hashes, digests: Hashes, mine: KnownExport, other: KnownExport) -> tuple[Mask, Mask]:
    """Masks: which of the keys (sorted) another export knows, and of which it says the same, once."""
    theirs, rows, told = other.kept.keys.hashes, other.kept.keys.rows, other.kept.digests
    if not len(theirs):
        return np.zeros(len(keys), bool), np.zeros(len(keys), bool)
    first = np.searchsorted(theirs, keys, side="left")
    count = np.searchsorted(theirs, keys, side="right") - first
    known = count > 0
    if told is None or other.kept.summary.reading != mine.kept.summary.reading:
        return known, np.zeros(len(keys), bool)
    place = np.minimum(first, len(theirs) - 1)
    same: Mask = (count == 1) & (digests != 0) & (np.asarray(told)[rows[place]] == digests)
    return known, same
