"""Which loaded exports know a key, and their records of it (X5).

Belongs here: comparing key lists, reading kept records of some keys as changes. Does not belong here: folding them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.change import Change, Listed
from sync_pipelines.normalize.keys import (
    KeyList,
    are_among,
    by_row,
    distinct,
    hashes_of,
    key_hash,
    record_id_hash,
)
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert.jsonb import Jsonb
from sync_pipelines.upsert.key_index import KeyIndex
from sync_pipelines.upsert.referred_names import indexed_hashes, names_in

Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Version = tuple[datetime, bytes, int, int]
"""A record's version: time, path in natural order, revision of the path, row in the file (X4)."""


@dataclass(frozen=True)
class VersionedRecord:
    """One record, with its version and its export."""

    entry: LedgerFile
    version: Version
    change: Change


@dataclass(frozen=True)
class KnownExport:
    """A loaded export, or the one being loaded, with its kept records."""

    entry: LedgerFile
    kept: KeptRecords

    @classmethod
    def of(cls, entry: LedgerFile, archive: Path) -> KnownExport:
        """Returns the export of a ledger entry; `archive` is the archive's folder."""
        return cls(entry, KeptRecords(archive, entry.kept or "-"))

    @cached_property
    def window(self) -> tuple[datetime, datetime]:
        """The first and last time of its records; its own time if it has none."""
        return self.kept.summary.window or (self.entry.effective_at, self.entry.effective_at)

    @property
    def is_even(self) -> bool:
        """Whether all its records have one time."""
        return self.window[0] == self.window[1]

    @property
    def newest(self) -> tuple[datetime, bytes, int]:
        """The version of its newest record, without the row (X4)."""
        return self._order(self.window[1])

    def may_follow(self, other: KnownExport) -> bool:
        """Whether some record of this export may be newer than some record of the other."""
        return self.newest > other._order(other.window[0])

    def _order(self, moment: datetime) -> tuple[datetime, bytes, int]:
        return (moment, *self.entry.version[1:])

    def follows(self, other: KnownExport) -> bool:
        """Whether its records come after another export's of the same time."""
        return self.entry.version[1:] > other.entry.version[1:]

    def knows(self, hashes: Hashes) -> Hashes:
        """Returns those of the given key hashes for which this export has records."""
        return self.kept.keys.knows(hashes)

    def versioned(self, hashes: Hashes, layout: Layout) -> list[VersionedRecord]:
        """Returns the records with one of the given hashes, in file order."""
        rows = self.kept.keys.rows_of(hashes)
        if not len(rows):
            return []
        records = (record for _, block in self.kept.chosen(rows) for record in block.to_pylist())
        place, bits = self.entry.version[1:], self.kept.bits
        return [
            VersionedRecord(self.entry, (record["effective_at"], *place, row), to_change(record, layout, bits))
            for row, record in zip(rows.tolist(), records, strict=True)
        ]


Knowing = Callable[[Hashes], Sequence[KnownExport]]
"""Returns the exports that have, or had before a replay, records of some key hashes, in version order."""

_FEW: Final = 8
"""The share of keys that may be left before the index is asked: each time is a query."""


def those_knowing(
    exports: Sequence[KnownExport], open_keys: Callable[[], Hashes], knowing: Knowing, asked: int
) -> Iterator[KnownExport]:
    """Yields exports one after the other, until no key is left to look up.

    The neighbors of a full list know nearly all of its keys. Few others know the rest; the index finds them without
    opening any.

    Args:
        exports: in the order to search them.
        open_keys: returns the keys that are still wanted (sorted).
        knowing: asks the index.
        asked: for how many keys the exports are known to have one.
    """
    waiting = deque(exports)
    while waiting:
        keys = open_keys()
        if not len(keys):
            return
        if len(waiting) > 1 and len(keys) * _FEW <= asked:
            known = {export.entry.id for export in knowing(keys)}
            waiting = deque(export for export in waiting if export.entry.id in known)
            asked = len(keys)
        else:
            yield waiting.popleft()


class History:
    """The loaded exports of one tenant's stream, searched by keys.

    Args:
        connection: in a transaction with the stream's own lock.
        stream: the declaration.
        tenant: the tenant.
        archive: the archive's folder.
        without: id of an entry to exclude.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        stream: Stream,
        tenant: str,
        archive: Path,
        without: int | None = None,
    ) -> None:
        self._connection = connection
        self._archive = archive
        self._without = without
        self._index = KeyIndex(connection, stream.partner, tenant, stream.name)
        self._known: dict[int, KnownExport] = {}
        if not self._index.is_complete():
            self._index.build(archive, lambda kept: indexed_hashes(kept, names_in(kept, stream)))

    def knowing(self, hashes: Hashes) -> list[KnownExport]:
        """Returns the exports that have records of one of the given key hashes, in version order.

        Raises:
            ArchiveIncomplete: the kept records of one are missing.
        """
        ids = [number for number in self._index.knowing(distinct(hashes)).tolist() if number != self._without]
        missing = [number for number in ids if number not in self._known]
        for entry in ledger.of_ids(self._connection, missing) if missing else ():
            # The index keeps the keys of a withdrawn export; after a replay an export may have no records left.
            if entry.status == "loaded" and entry.effective_to is not None:
                self._known[entry.id] = KnownExport.of(entry, self._archive)
        found = [self._known[number] for number in ids if number in self._known]
        return sorted(found, key=lambda known: known.entry.version)

    def add(self, export_id: int, hashes: Hashes) -> None:
        """Adds the key hashes (sorted) of an export, for every later load."""
        self._index.add(export_id, hashes)


def newer_exports(export: KnownExport, others: Iterable[KnownExport]) -> list[KnownExport]:
    """Returns exports with some record that may be newer than some record of the given one, the oldest first."""
    return sorted((other for other in others if other.may_follow(export)), key=lambda known: known.newest)


def late_keys(
    export: KnownExport, knowing: Knowing, newer: Sequence[KnownExport], alone: Mask, layout: Layout
) -> Hashes:
    """Returns keys of an export that are also in an export that may be newer (sorted).

    If records connect keys (P2), all connected keys are late as soon as one is.

    Args:
        export: the export.
        knowing: returns the loaded exports of its tenant's stream that know some keys.
        newer: exports that know some of its keys and may be newer.
        alone: by row, see `alone_rows`.
        layout: layout of the kept records.
    """
    late = known_of(export, newer, knowing)
    if alone.all():
        return late
    keys = export.kept.keys
    entangled = connected(keys.of_rows(~alone), lambda hashes: [export, *knowing(hashes)], layout)
    late = late[are_among(late, keys.of_rows(alone))]
    if newer_exports(export, knowing(entangled)):
        return np.union1d(late, entangled)
    return late


def alone_rows(export: KnownExport, others: Sequence[KnownExport], stream: Stream) -> Mask:
    """Returns, by row, which records have an identity that all other records name completely or not at all.

    Only records with exactly the same names ever found their row, or will find it (P2).
    """
    keys = export.kept.keys
    answer = np.ones(export.kept.count, bool)
    if not stream.has_record_ids:
        return answer
    own = _identities(keys)
    for other in (export, *others):
        known, once, rows = looked_up(other.kept.keys, keys.hashes)
        fits = ~known | once
        compared = known & once
        fits[compared] = (_identities(other.kept.keys)[rows[compared]] == own[keys.rows[compared]]).all(axis=1)
        answer[keys.rows[~fits]] = False
    return answer


def looked_up(theirs: KeyList, keys: Hashes) -> tuple[Mask, Mask, npt.NDArray[np.int64]]:
    """Returns which keys (sorted) have records in a key list, which have just one, and its row there."""
    first = np.searchsorted(theirs.hashes, keys, side="left")
    count = np.searchsorted(theirs.hashes, keys, side="right") - first
    rows = np.zeros(len(keys), np.int64)
    known = count > 0
    rows[known] = theirs.rows[first[known]]
    return known, count == 1, rows


def _identities(keys: KeyList) -> npt.NDArray[np.uint64]:
    """Returns, by row, the hashes of its record."""
    return np.stack(by_row(keys), axis=1)


def decided_keys(connection: psycopg.Connection[Any], entry: LedgerFile) -> Hashes:
    """Returns keys of a stream's loaded records that were ever rejected by their key's state (sorted)."""
    rows = connection.execute(
        "select distinct r.external_id from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where r.depends_on_state and r.external_id is not null"
        " and f.partner = %s and f.stream = %s and f.tenant = %s and f.status = 'loaded'",
        [entry.partner, entry.stream, entry.tenant],
    ).fetchall()
    found = [named(key) for (key,) in rows for named in (key_hash, record_id_hash)]
    return distinct(np.array(found, np.uint64))


def known_of(export: KnownExport, others: Sequence[KnownExport], knowing: Knowing) -> Hashes:
    """Returns keys of an export that one of the others has too (sorted)."""
    mine = export.kept.keys.distinct
    found = np.zeros(len(mine), bool)
    for other in those_knowing(others, lambda: mine[~found], knowing, len(mine)):
        left = np.flatnonzero(~found)
        found[left] = are_among(mine[left], other.kept.keys.hashes)
    return mine[found]


def connected(hashes: Hashes, knowing: Knowing, layout: Layout) -> Hashes:
    """Returns the given keys and all keys that any kept record connects to them."""
    while True:
        records = versioned_records(knowing(hashes), hashes, layout)
        named = np.array([h for record in records for h in hashes_of(record.change)], np.uint64)
        grown = np.union1d(hashes, named)
        if len(grown) == len(hashes):
            return grown
        hashes = grown


def in_file_order(export: KnownExport, hashes: Hashes) -> Hashes:
    """Returns key hashes in the order of the export: neighbors here tend to be neighbors in other exports too."""
    keys = export.kept.keys
    places = np.minimum(np.searchsorted(keys.hashes, hashes), len(keys.hashes) - 1)
    return hashes[np.argsort(keys.rows[places], kind="stable")]


def versioned_records(exports: Iterable[KnownExport], hashes: Hashes, layout: Layout) -> list[VersionedRecord]:
    """Returns every record with one of the given hashes in the given exports, in version order."""
    records = [record for export in exports for record in export.versioned(hashes, layout)]
    return sorted(records, key=lambda record: record.version)


def to_change(record: Mapping[str, Any], layout: Layout, bits: Mapping[str, int]) -> Change:
    """Returns a kept record as a change; `bits` are the file's own presence bits."""
    present = record["present"]

    def is_set(name: str) -> bool:
        return name in bits and bool(present >> bits[name] & 1)

    modes = json.loads(record["modes"]) if record.get("modes") else {}
    return Change(
        position=record["position"],
        effective_at=record["effective_at"],
        operation=record["operation"],
        key=record["external_id"],
        record_id=record.get("record_id"),
        values={c: _value(record[c], c in layout.json) for c in layout.columns if is_set(c)},
        children={
            c.table: Listed([_child(c, row) for row in record[c.table] or ()], *modes.get(c.table, ()))
            for c in layout.children
            if is_set(c.table)
        },
        links={link: _identity(record, link) for link in layout.links if is_set(link)},
        extra=from_json(record["extra"]) if record["extra"] else {},
    )


def _value(value: Any, is_json: bool) -> Any:
    return Jsonb(from_json(value)) if is_json and value is not None else value


def _child(layout: ChildLayout, kept: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: kept[name] for name in layout.columns}
    row |= {n.table: [_child(n, inner) for inner in kept[n.table] or ()] for n in layout.nested}
    if layout.is_patched:
        row = {name: row[name] for bit, name in enumerate(layout.names) if kept["present"] >> bit & 1}
    return {**row, "extra": from_json(kept["extra"])} if kept.get("extra") else row


def _identity(record: Mapping[str, Any], link: str) -> Identity | None:
    parts: list[Any] = [record.get(f"{link}_{part}") for part in Identity._fields]
    return None if parts[0] is None else Identity(*parts)
