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
from sync_pipelines.upsert.copying import one
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
            split |= _split(*(_lines(export, shared, stream.flat, layout) for export in (mine, other)))
    return len(split)


def _is_beside(mine: KnownExport, other: KnownExport) -> bool:
    """Whether another export is another file of the same time; a revision of the path is not."""
    here, there = mine.entry, other.entry
    return there.lines is not None and there.effective_at == here.effective_at and there.path != here.path


def _lines(export: KnownExport, hashes: Hashes, flat: FlatLines, layout: Layout) -> tuple[pa.Array, pa.Array]:
    """Returns the lines of some of an export's records: their owners, and what distinguishes them."""
    records = export.kept.read_columns(export.kept.keys.rows_of(hashes), ["external_id", flat.children], layout)
    lists = one(records.column(flat.children))
    keys = one(records.column("external_id")).take(pc.list_parent_indices(lists))
    cells = [lists.flatten().field(name).cast(pa.string()) for name in flat.same_line]
    return keys, pc.binary_join_element_wise(keys, *cells, "\0", null_handling="replace", null_replacement="")


def _split(mine: tuple[pa.Array, pa.Array], theirs: tuple[pa.Array, pa.Array]) -> set[str]:
    """Returns keys of records with lines on both sides but no common line."""
    (keys, texts), (other_keys, other_texts) = mine, theirs
    repeated = keys.filter(pc.is_in(texts, value_set=other_texts))
    return set(keys.to_pylist()) & set(other_keys.to_pylist()) - set(repeated.to_pylist())
