"""Which loaded exports know a key, and what each said of it (X5).

Belongs here: key lists compared, kept records of some keys read back as changes. Does not belong here: folding them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sync_pipelines.contracts.streams import Identity
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.normalize.change import Change
from sync_pipelines.normalize.kept import KeptRecords, Layout

Hashes = npt.NDArray[np.uint64]
Version = tuple[datetime, bytes, int, int]
"""A record's place in the total order: time, path, revision of the path, row in the file (X4)."""


@dataclass(frozen=True)
class Spoken:
    """One record of a key, with its version."""

    version: Version
    change: Change


@dataclass(frozen=True)
class KnownExport:
    """A loaded export, or the one being loaded, with its kept records."""

    entry: LedgerFile
    kept: KeptRecords
    window: tuple[datetime, datetime]

    def may_follow(self, other: KnownExport) -> bool:
        """Whether some record of this export may be newer than some record of the other."""
        return self._order(self.window[1]) > other._order(other.window[0])

    def _order(self, moment: datetime) -> tuple[datetime, bytes, int]:
        return (moment, self.entry.path.encode(), self.entry.revision)

    def knows(self, hashes: Hashes) -> Hashes:
        """Those of the given (sorted) key hashes that this export has records of."""
        return np.intersect1d(self.kept.keys["hash"], hashes)

    def spoken(self, hashes: Hashes, layout: Layout) -> list[tuple[str, Spoken]]:
        """(key, record) for the given key hashes."""
        keys = self.kept.keys
        rows = np.sort(keys["row"][np.isin(keys["hash"], hashes)]).astype(np.int64)
        if not len(rows):
            return []
        table, bits = self.kept.rows(rows)
        path = self.entry.path.encode()
        return [
            (
                record["external_id"],
                Spoken((record["effective_at"], path, self.entry.revision, row), to_change(record, layout, bits)),
            )
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


def late_keys(export: KnownExport, others: Sequence[KnownExport]) -> Hashes:
    """Keys of an export of which an export that may be newer speaks too (sorted)."""
    mine = np.unique(export.kept.keys["hash"])
    late = [other.knows(mine) for other in others if other.may_follow(export)]
    return np.unique(np.concatenate(late)) if late else np.empty(0, np.uint64)


def repeated_keys(export: KnownExport) -> Hashes:
    """Keys that stand more than once in an export (sorted)."""
    hashes = export.kept.keys["hash"]
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def in_file_order(export: KnownExport, hashes: Hashes) -> Hashes:
    """Key hashes by where an export first has them: neighbours there tend to be neighbours in other exports too."""
    keys = export.kept.keys
    firsts = keys["row"][np.searchsorted(keys["hash"], hashes)]
    return hashes[np.argsort(firsts)]


def spoken_by_key(exports: Iterable[KnownExport], hashes: Hashes, layout: Layout) -> dict[str, list[Spoken]]:
    """Every record of the given keys in the given exports, by key, in version order."""
    by_key: dict[str, list[Spoken]] = {}
    for export in exports:
        for key, spoken in export.spoken(hashes, layout):
            by_key.setdefault(key, []).append(spoken)
    for records in by_key.values():
        records.sort(key=lambda spoken: spoken.version)
    return by_key


def to_change(record: Mapping[str, Any], layout: Layout, bits: Mapping[str, int]) -> Change:
    """A kept record as the change it was; presence by the file's own bits."""
    present = record["present"]

    def is_spoken(name: str) -> bool:
        return name in bits and bool(present >> bits[name] & 1)

    return Change(
        position=record["position"],
        effective_at=record["effective_at"],
        operation=record["operation"],
        key=record["external_id"],
        values={column: record[column] for column in layout.columns if is_spoken(column)},
        children={
            c.table: [_child(row) for row in record[c.table] or ()] for c in layout.children if is_spoken(c.table)
        },
        links={link: _identity(record, link) for link in layout.links if is_spoken(link)},
        extra=_loaded(record["extra"]) if record["extra"] else {},
    )


def _child(row: dict[str, Any]) -> dict[str, Any]:
    return (
        {**row, "extra": _loaded(row["extra"])} if row.get("extra") else {k: v for k, v in row.items() if k != "extra"}
    )


def _identity(record: Mapping[str, Any], link: str) -> Identity | None:
    parts = [record[f"{link}_{part}"] for part in Identity._fields]
    return None if parts[-1] is None else Identity(*parts)


def _loaded(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)
