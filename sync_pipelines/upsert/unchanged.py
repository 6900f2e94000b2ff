"""Finds records that repeat the newest record of their key, by their text alone.

Such a record changes nothing if the row ends with the equal record: patches, replaced rows and merged objects are
idempotent, and so are some lists (`list_repeats`). It needs neither a fold nor a look at the row (law 5). Records that
were rejected because of their key's state, and records whose row others may have changed under another identity (P2),
are folded.

Belongs here: comparing digests of texts. Does not belong here: creating those (`stages.line_blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.keys import are_among, distinct
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.upsert.history import Hashes, Knowing, KnownExport, looked_up, those_knowing
from sync_pipelines.upsert.list_repeats import are_steady, undecided

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[Any]
_LOOKED_AT: Final = 64
"""Most exports that are compared; more would cost more than they save."""
_AT_ONCE: Final = 65_536
"""Keys that are compared at once; memory is a multiple of it."""


def unchanged_rows(
    stream: Stream,
    layout: Layout,
    mine: KnownExport,
    others: Sequence[KnownExport],
    folded: Hashes,
    alone: Mask,
    decided: Hashes,
    knowing: Knowing,
) -> Mask:
    """Returns, by row, which records have the same text as the newest loaded record of their key.

    Args:
        stream: the declaration.
        layout: layout of its kept records.
        mine: the export being loaded.
        others: every loaded export of its tenant's stream.
        folded: keys that are folded whatever their text (sorted): the export does not have their newest record, or has
            several.
        alone: by row, see `alone_rows`.
        decided: see `decided_keys`.
        knowing: asks the index.
    """
    same = ~mine.kept.rows_known_by(folded)
    if not stream.is_repeatable or mine.kept.texts is None or not others:
        return np.zeros(len(same), bool)
    repeated = _repeated_words(mine, others, same[mine.kept.keys.rows], knowing)
    same[mine.kept.keys.rows[~repeated]] = False
    same &= alone
    if same.any():
        same &= ~mine.kept.rows_known_by(decided)
    # Lists must change nothing the second time.
    tables, start = undecided(stream), 0
    for block in mine.kept.blocks(["modes", *tables]) if tables and same.any() else ():
        rows = start + np.flatnonzero(same[start : start + block.num_rows])
        same[rows] = are_steady(stream, layout, pa.Table.from_batches([block]).take(pa.array(rows - start)))
        start += block.num_rows
    return same


def _repeated_words(mine: KnownExport, others: Sequence[KnownExport], wanted: Mask, knowing: Knowing) -> Mask:
    """Returns, by index in the key list, for which wanted keys the newest loaded record has the same text."""
    found = np.zeros(len(wanted), bool)
    # Records with times of their own may be newer than their export's version.
    uneven = [other for other in others if not other.is_even]
    if len(uneven) > _LOOKED_AT or not mine.is_even:
        return found
    even = [other for other in others if other.is_even]
    # A log's records have their own time, which may be later than that of exports after it.
    newest = sorted(even, key=lambda known: known.newest, reverse=True)[:_LOOKED_AT]
    for start in range(0, len(wanted), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        found[some] = _repeated_among(mine, some, wanted[some], uneven, newest, knowing)
        for known in (mine, *uneven, *newest):
            # The next keys are elsewhere in the lists, which are sorted.
            known.kept.let_go("keys")
    return found


def _repeated_among(
    mine: KnownExport,
    some: slice,
    wanted: Mask,
    uneven: Sequence[KnownExport],
    newest: Sequence[KnownExport],
    knowing: Knowing,
) -> Mask:
    """Does the same for a part of the key list, among exports with and without times of their own, newest first."""
    keys, rows = mine.kept.keys.hashes[some], mine.kept.keys.rows[some]
    found, open_keys = np.zeros(len(keys), bool), wanted.copy()

    def left() -> Hashes:
        return distinct(keys[open_keys])

    for other in those_knowing(uneven, left, knowing, len(keys)):
        open_keys[are_among(keys, other.kept.keys.hashes)] = False
    for other in those_knowing(newest, left, knowing, len(keys)):
        places = np.flatnonzero(open_keys)
        known, same = _compared(keys[places], rows[places], mine, other)
        found[places[same]] = True
        open_keys[places[known]] = False
    return found


def _compared(keys: Hashes, rows: Rows, mine: KnownExport, other: KnownExport) -> tuple[Mask, Mask]:
    """Returns masks: which of the keys (sorted) another export has, and for which it has one record with equal text."""
    known, once, theirs = looked_up(other.kept.keys, keys)
    texts, theirs_texts = mine.kept.texts, other.kept.texts
    if texts is None or theirs_texts is None or other.kept.summary.reading != mine.kept.summary.reading:
        return known, np.zeros(len(keys), bool)
    # One record is one text, which need not be compared.
    same: Mask = once & mine.kept.are_shared(rows, other.kept, theirs)
    others = np.flatnonzero(once & ~same)
    own_texts = texts[rows[others]]
    same[others] = (own_texts[:, 0] != 0) & (theirs_texts[theirs[others]] == own_texts).all(axis=1)
    return known, same
