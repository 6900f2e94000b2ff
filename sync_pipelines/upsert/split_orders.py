"""Orders whose lines are in several exports of one time, each of which replaces the other's.

A writer that splits its exports produces such files; `parts: folder` makes one export of them.

Belongs here: counting them. Does not belong here: joining parts (`exports.parts`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import FlatLines, Stream
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.upsert.history import Hashes, KnownExport


def count_split(mine: KnownExport, others: Sequence[KnownExport], stream: Stream, layout: Layout) -> int:
    """Returns how many records another file of the same time has too, with entirely different lines.

    Args:
        mine: the export.
        others: those that know some of its keys.
        stream: the stream of both.
        layout: layout of their kept records.
    """
    if stream.flat is None or mine.kept.summary.lines is None:
        return 0
    split: set[str] = set()
    for other in others:
        if _is_beside(mine, other):
            shared = other.knows(mine.kept.keys.distinct)
            split |= _split(_Lines(mine, shared, stream.flat, layout), _Lines(other, shared, stream.flat, layout))
    return len(split)


def _is_beside(mine: KnownExport, other: KnownExport) -> bool:
    """Whether another export is another file of the same time; a revision of the path is not."""
    here, there = mine.entry, other.entry
    return there.lines is not None and there.effective_at == here.effective_at and there.path != here.path


class _Lines:
    """The lines of some of an export's records: their owners, and what distinguishes them."""

    def __init__(self, export: KnownExport, hashes: Hashes, flat: FlatLines, layout: Layout) -> None:
        records = export.kept.read_columns(export.kept.keys.rows_of(hashes), ["external_id", flat.children], layout)
        lists = records.column(flat.children).combine_chunks()
        lines = pc.list_flatten(lists)
        self.keys = records.column("external_id").combine_chunks().take(pc.list_parent_indices(lists))
        cells = [pc.struct_field(lines, name).cast(pa.string()) for name in flat.same_line]
        self.texts = pc.binary_join_element_wise(self.keys, *cells, "\0", null_handling="replace", null_replacement="")


def _split(mine: _Lines, theirs: _Lines) -> set[str]:
    """Returns keys of records with lines on both sides but no common line."""
    repeated = mine.keys.filter(pc.is_in(mine.texts, value_set=theirs.texts))
    both = set(mine.keys.unique().to_pylist()) & set(theirs.keys.unique().to_pylist())
    return both - set(repeated.to_pylist())
