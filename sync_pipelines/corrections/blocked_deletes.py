"""Deletes that depend on live rows of another table, after a withdrawal (T9).

Whether a delete is blocked is decided when it is loaded, by what was loaded before it. A withdrawal decides it again
as if the withdrawn exports had never been loaded.

Belongs here: which deletes are decided again, and which rows blocked them. Does not belong here: the decision itself
(`decisions`), the fold (`folding`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import BlockedBy, Reference, Stream
from sync_pipelines.corrections.named_rows import NamedRows
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import distinct, hashes_of, key_hash
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.partners import STREAMS
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.fold import fold
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import Hashes, History, KnownExport, VersionedRecord, connected
from sync_pipelines.upsert.row_references import Named, names_referred, references_to, rows_naming


class BlockedDeletes:
    """Deletes that a withdrawal decides again.

    Args:
        connection: in the withdrawal's transaction.
        archive: the archive's folder.
        exports: the withdrawn exports.
    """

    def __init__(self, connection: psycopg.Connection[Any], archive: Path, exports: Sequence[KnownExport]) -> None:
        self._connection = connection
        self._archive = archive
        self._exports = exports

    def decide_again(self, context: LoadContext) -> set[int]:
        """Decides deletes again, after the keys of the withdrawn exports were folded. Returns the deletes' exports."""
        decided = set[int]()
        for stream in STREAMS:
            if stream.blocked_by is not None:
                for tenant, keys in sorted(self._keys(stream, stream.blocked_by).items()):
                    own = replace(context, stream=stream)
                    decided |= set(self._decide(own, tenant, keys))
                    # A row that is not deleted any more may be a placeholder that only a stale record names (X7).
                    names = {Named(stream.partner, tenant, False, key) for key in keys}
                    NamedRows(own, stream.table, self._archive).renew(names)
        return decided

    def _keys(self, stream: Stream, blocked_by: BlockedBy) -> dict[str, set[str]]:
        """Returns tenant -> keys whose deletes may be decided differently without the withdrawn exports.

        These are their own keys, and what the orders in them ever referred to, by any export.
        """
        found: dict[str, set[str]] = defaultdict(set)
        for export in self._exports:
            entry = export.entry
            if (entry.partner, entry.stream) == (stream.partner, stream.name):
                for block in export.kept.blocks(["external_id"]):
                    found[entry.tenant].update(block.column(0).unique().drop_null().to_pylist())
            for other, reference in references_to(stream.table):
                is_blocking = BlockedBy(other.table, reference.column) == blocked_by
                if is_blocking and (entry.partner, entry.stream) == (other.partner, other.name):
                    for name in self._referred(export, other, reference):
                        if name.partner == stream.partner and not name.is_record_id:
                            found[name.tenant].add(name.text)
        return found

    def _referred(self, export: KnownExport, stream: Stream, reference: Reference) -> set[Named]:
        """Returns what the keys of an export ever referred to."""
        hashes = export.kept.keys.distinct
        history = History(self._connection, stream, export.entry.tenant, self._archive)
        found = names_referred(export.kept, reference)
        for other in history.knowing(hashes):
            found |= names_referred(other.kept, reference, other.kept.keys.rows_of(hashes))
        return found

    def _decide(self, context: LoadContext, tenant: str, keys: set[str]) -> Iterator[int]:
        """Decides the deletes of some keys again; yields their exports."""
        stream = context.stream
        history = History(self._connection, stream, tenant, self._archive)
        hashes = distinct(np.array([key_hash(key) for key in keys], np.uint64))
        found = [
            (export, [r for r in export.versioned(named, context.layout) if r.change.operation == "delete"])
            for export in history.knowing(hashes)
            if len(named := _deleted(export, hashes))
        ]
        wanted = {record.change.key or "" for _, deletes in found for record in deletes} & keys
        referrers = _Referrers(self._connection, self._archive, stream, tenant, wanted)
        for export, deletes in found:
            chosen = [record for record in deletes if record.change.key in wanted]
            named = distinct(np.array([h for record in chosen for h in hashes_of(record.change)], np.uint64))
            if stream.has_record_ids:
                named = connected(named, history.knowing, layout_of(stream))
            folding = Folding(replace(context, entry=export.entry), history.knowing)
            earlier = {
                other.entry.id
                for other in history.knowing(named)
                if _loading_order(other.entry) < _loading_order(export.entry)
            }
            folding.decide_again(chosen, named, referrers.counts(export.entry), earlier)
            yield export.entry.id


def _deleted(export: KnownExport, hashes: Hashes) -> Hashes:
    """Returns those of some keys that an export deletes."""
    deletes = np.zeros(export.kept.count, bool)
    for rows, block in export.kept.chosen(export.kept.keys.rows_of(hashes), ["operation"]):
        deletes[rows] = mask_of(pc.equal(block.column(0), "delete"))
    return export.knows(export.kept.keys.of_rows(deletes))


class _Referrers:
    """The live rows that referred to some rows when an export was loaded, folded from what was loaded by then.

    Args:
        connection: in the withdrawal's transaction.
        archive: the archive's folder.
        stream: the stream whose deletes they block.
        tenant, keys: the rows.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], archive: Path, stream: Stream, tenant: str, keys: set[str]
    ) -> None:
        assert stream.blocked_by is not None
        self._names = {Named(stream.partner, tenant, False, key) for key in keys}
        self._records: list[tuple[LedgerFile, Stream, list[VersionedRecord]]] = []
        self._column = stream.blocked_by.column
        for other, reference in references_to(stream.table):
            if BlockedBy(other.table, reference.column) == stream.blocked_by:
                self._read(connection, archive, other, reference)

    def _read(self, connection: psycopg.Connection[Any], archive: Path, stream: Stream, reference: Reference) -> None:
        """Reads all records of the keys whose records ever referred to one of the rows."""
        naming: dict[str, list[Hashes]] = defaultdict(list)
        for entry in ledger.loaded_with_records(connection, stream.partner, stream.name):
            kept = KeptRecords(archive, entry.kept or "-")
            naming[entry.tenant].append(kept.keys.of_rows(rows_naming(kept, reference, self._names)))
        for tenant, hashes in naming.items():
            wanted = distinct(np.concatenate(hashes))
            exports = History(connection, stream, tenant, archive).knowing(wanted)
            for export in exports:
                self._records.append((export.entry, stream, export.versioned(wanted, layout_of(stream))))

    def counts(self, entry: LedgerFile) -> dict[str, int]:
        """Returns key of a row -> how many live rows referred to it when an export was loaded."""
        by_key: dict[tuple[str, str, str | None], list[VersionedRecord]] = defaultdict(list)
        streams: dict[tuple[str, str, str | None], Stream] = {}
        for other, stream, records in self._records:
            if _loading_order(other) < _loading_order(entry):
                for record in records:
                    place = (stream.full_name, other.tenant, record.change.key)
                    by_key[place].append(record)
                    streams[place] = stream
        found: Counter[str] = Counter()
        for place, records in by_key.items():
            changes = [record.change for record in sorted(records, key=lambda record: record.version)]
            for row in fold(streams[place], changes)[0]:
                # The links of kept records are identities.
                target: Any = row.links.get(self._column) if row.is_live else None
                if (
                    target is not None
                    and Named(target.partner, target.tenant, False, target.external_id) in self._names
                ):
                    found[target.external_id] += 1
        return dict(found)


def _loading_order(entry: LedgerFile) -> tuple[datetime, int]:
    return (entry.loaded_at or entry.effective_at, entry.id)
