"""Which loaded exports know a key, and what each said of it (X5).

Belongs here: key lists compared, kept records of some keys read back as changes. Does not belong here: folding them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.normalize.change import Change, Listed
from sync_pipelines.normalize.kept import KeptRecords
from sync_pipelines.normalize.keys import distinct, hashes_of
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert.jsonb import Jsonb

Hashes = npt.NDArray[np.uint64]
Version = tuple[datetime, bytes, int, int]
"""A record's place in the total order: time, path, revision of the path, row in the file (X4)."""


@dataclass(frozen=True)
class Spoken:
    """One record, with its version and the export it stands in."""

    file_id: int
    version: Version
    change: Change

    @property
    def path(self) -> str:
        """The export's path."""
        return self.version[1].decode()


@dataclass(frozen=True)
class KnownExport:
    """A loaded export, or the one being loaded, with its kept records."""

    entry: LedgerFile
    kept: KeptRecords
    window: tuple[datetime, datetime]

    @property
    def newest(self) -> tuple[datetime, bytes, int]:
        """The place of its newest record in the total order, but for the row (X4)."""
        return self._order(self.window[1])

    def may_follow(self, other: KnownExport) -> bool:
        """Whether some record of this export may be newer than some record of the other."""
        return self.newest > other._order(other.window[0])

    def _order(self, moment: datetime) -> tuple[datetime, bytes, int]:
        return (moment, self.entry.path.encode(), self.entry.revision)

    def knows(self, hashes: Hashes) -> Hashes:
        """Those of the given key hashes that this export has records of."""
        return self.kept.keys.knows(hashes)

    def spoken(self, hashes: Hashes, layout: Layout) -> list[Spoken]:
        """The records known by one of the given hashes, in file order."""
        rows = self.kept.keys.rows_of(hashes)
        if not len(rows):
            return []
        table, bits = self.kept.rows(rows)
        path, revision = self.entry.path.encode(), self.entry.revision
        return [
            Spoken(self.entry.id, (record["effective_at"], path, revision, row), to_change(record, layout, bits))
            for row, record in zip(rows.tolist(), table.to_pylist(), strict=True)
        ]


def known_exports(root: Path, entries: Iterable[LedgerFile]) -> list[KnownExport]:
    """Loaded exports with their kept records.

    Raises:
        ArchiveIncomplete: the kept records of one are gone.
    """
    found = []
    for entry in entries:
        assert entry.effective_from is not None and entry.effective_to is not None
        kept = KeptRecords(root, entry.kept or "-")
        found.append(KnownExport(entry, kept, (entry.effective_from, entry.effective_to)))
    return found


def late_keys(export: KnownExport, others: Sequence[KnownExport], stream: Stream, layout: Layout) -> Hashes:
    """Keys of an export of which an export that may be newer speaks too (sorted).

    Where records connect keys (P2), all keys so connected are late as soon as one is.
    """
    later = [other for other in others if other.may_follow(export)]
    if not later:
        return np.empty(0, np.uint64)
    if not stream.has_record_ids:
        return known_of(export, later)
    mine = connected(distinct(export.kept.keys.hashes), [export, *others], layout)
    return mine if any(len(other.knows(mine)) for other in later) else np.empty(0, np.uint64)


def known_of(export: KnownExport, others: Sequence[KnownExport]) -> Hashes:
    """Keys of an export of which one of the others speaks (sorted)."""
    mine = distinct(export.kept.keys.hashes)
    return distinct(np.concatenate([mine[:0], *(other.knows(mine) for other in others)]))


def connected(hashes: Hashes, exports: Sequence[KnownExport], layout: Layout) -> Hashes:
    """The given keys and all that any kept record names together with one of them."""
    while True:
        records = spoken_of(exports, hashes, layout)
        named = np.array([h for spoken in records for h in hashes_of(spoken.change)], np.uint64)
        grown = np.union1d(hashes, named)
        if len(grown) == len(hashes):
            return grown
        hashes = grown


def in_file_order(export: KnownExport, hashes: Hashes) -> Hashes:
    """Key hashes by where an export first has them: neighbours there tend to be neighbours in other exports too."""
    keys = export.kept.keys
    places = np.minimum(np.searchsorted(keys.hashes, hashes), len(keys.hashes) - 1)
    return hashes[np.argsort(keys.rows[places], kind="stable")]


def spoken_of(exports: Iterable[KnownExport], hashes: Hashes, layout: Layout) -> list[Spoken]:
    """Every record known by one of the given hashes in the given exports, in version order."""
    records = [spoken for export in exports for spoken in export.spoken(hashes, layout)]
    return sorted(records, key=lambda spoken: spoken.version)


def to_change(record: Mapping[str, Any], layout: Layout, bits: Mapping[str, int]) -> Change:
    """A kept record as the change it was; presence by the file's own bits."""
    present = record["present"]

    def is_spoken(name: str) -> bool:
        return name in bits and bool(present >> bits[name] & 1)

    modes = json.loads(record["modes"]) if record.get("modes") else {}
    return Change(
        position=record["position"],
        effective_at=record["effective_at"],
        operation=record["operation"],
        key=record["external_id"],
        record_id=record.get("record_id"),
        values={c: _value(record[c], c in layout.json) for c in layout.columns if is_spoken(c)},
        children={
            c.table: Listed([_child(c, row) for row in record[c.table] or ()], *modes.get(c.table, ()))
            for c in layout.children
            if is_spoken(c.table)
        },
        links={link: _identity(record, link) for link in layout.links if is_spoken(link)},
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
