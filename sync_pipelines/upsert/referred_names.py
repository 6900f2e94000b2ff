"""What records call the rows that they live within: a customer's business, by its id, its external id, or both (F11).

Belongs here: reading those names from kept records. Does not belong here: which row has which name (`row_names`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import hashes_of_bytes
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.key_pages import Hashes


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
        """Both."""
        return RowName(True, self.record_id), RowName(False, self.external_id)


@dataclass
class ReferredNames:
    """What the records of an export call the rows they live within.

    Attributes:
        names: by which rows are looked for: the id, or the external id of a record that names no id.
        pairs: both names of records that name both, with the time and the row of the first such record.
    """

    names: set[RowName] = field(default_factory=set)
    pairs: dict[Pair, tuple[datetime, int]] = field(default_factory=dict)

    @property
    def hashes(self) -> Hashes:
        """What the key index knows the names by."""
        return name_hashes(self.names)


def names_in(kept: KeptRecords, stream: Stream) -> ReferredNames:
    """The names in the records of an export; none where the stream's rows live within no others."""
    found = ReferredNames()
    start = 0
    for own, external, times in _links(kept, stream, "effective_at"):
        by_id = own.dictionary_encode()
        found.names |= {RowName(True, text) for text in by_id.dictionary.to_pylist()}
        only_external = external.filter(own.is_null()).drop_null().unique()
        found.names |= {RowName(False, text) for text in only_external.to_pylist()}
        both = np.flatnonzero(mask_of(own.is_valid()) & mask_of(external.is_valid()))
        if len(both):
            _add_pairs(found, own, external, times, both, start)
        start += len(own)
    return found


def indexed_hashes(kept: KeptRecords, referred: ReferredNames) -> Hashes:
    """What the key index knows an export by: its keys, and what it calls other rows (sorted)."""
    keys = kept.keys.distinct
    return np.union1d(keys, referred.hashes) if referred.names else keys


def rows_calling(kept: KeptRecords, stream: Stream, names: Collection[RowName]) -> Any:
    """By row, whether the record looks for its row by one of some names."""
    ids, externals = (
        pa.array([n.text for n in names if n.is_record_id is kind], pa.string()) for kind in (True, False)
    )
    found = [np.empty(0, bool)]
    for own, external, _ in _links(kept, stream):
        by_external = mask_of(own.is_null()) & mask_of(pc.is_in(external, externals))
        found.append(mask_of(pc.is_in(own, ids)) | by_external)
    return np.concatenate(found)


def name_hashes(names: Collection[RowName]) -> Hashes:
    """The hashes by which the key index knows names (sorted); no key has one, for a NUL is rejected in them."""
    texts = ((b"\x00\x00i" if name.is_record_id else b"\x00\x00e") + name.text.encode() for name in names)
    return np.sort(hashes_of_bytes(texts))


def has_pairs(records: pa.Table, stream: Stream) -> bool:
    """Whether a record names the row that it lives within by both names."""
    if stream.scope is None:
        return False
    own, external = (records.column(f"{stream.scope}_{part}").is_valid() for part in ("record_id", "external_id"))
    return bool(pc.any(pc.and_(own, external)).as_py())


def _links(kept: KeptRecords, stream: Stream, *also: str) -> Iterator[tuple[Any, Any, Any]]:
    """Block by block: the ids and the external ids that records name, and a further column."""
    if stream.scope is None or not kept.count:
        return
    columns = [f"{stream.scope}_record_id", f"{stream.scope}_external_id", *also]
    for block in kept.blocks(columns):
        yield block.column(columns[0]), block.column(columns[1]), block.column(columns[-1])


def _add_pairs(found: ReferredNames, own: Any, external: Any, times: Any, both: Any, start: int) -> None:
    """Adds the pairs of one block."""
    places = pa.array(both)
    codes = [column.take(places).dictionary_encode() for column in (own, external)]
    kinds = codes[0].indices.to_numpy().astype(np.int64) * len(codes[1].dictionary) + codes[1].indices.to_numpy()
    order = np.argsort(times.take(places).cast(pa.int64()).to_numpy(), kind="stable")
    first = both[order[np.unique(kinds[order], return_index=True)[1]]]
    chosen = pa.array(first)
    columns = [column.take(chosen).to_pylist() for column in (own, external, times)]
    for record_id, external_id, moment, row in zip(*columns, first.tolist(), strict=True):
        pair, said = Pair(record_id, external_id), (moment, start + row)
        found.pairs[pair] = min(found.pairs.get(pair, said), said)
