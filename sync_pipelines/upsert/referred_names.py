"""The names by which records refer to the row they belong to: a customer's business, by id, external id or both (F11).

Belongs here: reading those names from kept records. Does not belong here: which row has which name (`row_names`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import hashes_of_bytes
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.key_pages import Hashes

_BY_ID: Final = b"\x00\x00i"
_BY_EXTERNAL_ID: Final = b"\x00\x00e"
"""Precedes a name when it is hashed. No key can be equal, since a NUL in a key is rejected."""


class RowName(NamedTuple):
    """A name of a row: the partner's own id, or an external id."""

    is_record_id: bool
    text: str


class Pair(NamedTuple):
    """Two names that a record gives to one row."""

    record_id: str
    external_id: str

    @property
    def names(self) -> tuple[RowName, RowName]:
        """Both names."""
        return RowName(True, self.record_id), RowName(False, self.external_id)


@dataclass(frozen=True)
class ReferredNames:
    """The names by which the records of an export refer to the rows they belong to.

    Attributes:
        hashes: hashes of the names that identify rows: the id, or the external id if a record has no id.
        pairs: the names of records that have both -> time and row of the first such record.
    """

    hashes: Hashes
    pairs: Mapping[Pair, tuple[datetime, int]]


def names_in(kept: KeptRecords, stream: Stream, *, is_whole: bool = True) -> ReferredNames:
    """Returns the names in the records of an export; none if the stream's rows belong to no other rows.

    Args:
        kept: the export's records.
        stream: the declaration.
        is_whole: whether to include records in other exports' objects. They add nothing if no record of the tenant
            ever named a row by both names.
    """
    ids, externals, has_pairs = list[pa.Array](), list[pa.Array](), False
    for own, external in _links(kept, stream, is_whole=is_whole):
        ids.append(own.unique().drop_null())
        if own.null_count:
            externals.append(external.filter(own.is_null()).unique().drop_null())
        has_pairs = has_pairs or bool(pc.any(pc.and_(own.is_valid(), external.is_valid())).as_py())
    hashes = [
        hashes_of_bytes(mark + text.encode() for text in pa.chunked_array(texts, pa.string()).unique().to_pylist())
        for mark, texts in ((_BY_ID, ids), (_BY_EXTERNAL_ID, externals))
    ]
    return ReferredNames(np.sort(np.concatenate(hashes)), _pairs_in(kept, stream) if has_pairs else {})


def indexed_hashes(kept: KeptRecords, referred: ReferredNames) -> Hashes:
    """Returns the hashes for the key index: of an export's keys, and of the names in its records (sorted)."""
    keys = kept.keys.distinct
    return np.union1d(keys, referred.hashes) if len(referred.hashes) else keys


def name_hashes(names: Collection[RowName]) -> Hashes:
    """Returns the hashes of names in the key index (sorted)."""
    marked = ((_BY_ID if name.is_record_id else _BY_EXTERNAL_ID) + name.text.encode() for name in names)
    return np.sort(hashes_of_bytes(marked))


def has_pairs(records: pa.Table, stream: Stream) -> bool:
    """Whether any of the records names its row by both names."""
    if stream.scope is None:
        return False
    own, external = (records.column(f"{stream.scope}_{part}").is_valid() for part in ("record_id", "external_id"))
    return bool(pc.any(pc.and_(own, external)).as_py())


def _links(kept: KeptRecords, stream: Stream, *, is_whole: bool) -> Iterator[tuple[Any, Any]]:
    """Yields the ids and the external ids in the records, block by block."""
    if stream.scope is not None and kept.count:
        columns = [f"{stream.scope}_{part}" for part in ("record_id", "external_id")]
        for block in kept.blocks(columns) if is_whole else kept.own_blocks(columns):
            yield block.column(columns[0]), block.column(columns[1])


def _pairs_in(kept: KeptRecords, stream: Stream) -> dict[Pair, tuple[datetime, int]]:
    """Returns the pairs in all records, with time and row of the first record of each in version order."""
    found: dict[Pair, tuple[datetime, int]] = {}
    columns = [f"{stream.scope}_record_id", f"{stream.scope}_external_id", "effective_at"]
    start = 0
    for block in kept.blocks(columns):
        own, external, times = (block.column(name) for name in columns)
        both = np.flatnonzero(mask_of(pc.and_(own.is_valid(), external.is_valid())))
        first = both[_first_of_kinds(*(column.take(pa.array(both)) for column in (own, external, times)))]
        values = [column.take(pa.array(first)).to_pylist() for column in (own, external, times)]
        for row, record_id, external_id, moment in zip(first.tolist(), *values, strict=True):
            pair, place = Pair(record_id, external_id), (moment, start + row)
            found[pair] = min(found.get(pair, place), place)
        start += len(block)
    return found


def _first_of_kinds(own: Any, external: Any, times: Any) -> Any:
    """Returns the index of each pair's first record in version order."""
    ids, externals = own.dictionary_encode(), external.dictionary_encode()
    kinds = ids.indices.to_numpy().astype(np.int64) * len(externals.dictionary) + externals.indices.to_numpy()
    order = np.argsort(times.cast(pa.int64()).to_numpy(), kind="stable")
    return order[np.unique(kinds[order], return_index=True)[1]]
