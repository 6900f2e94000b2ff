"""Deletes that depend on live rows of another table, after a withdrawal (T9).

Whether a delete is blocked is decided when it is loaded, by what was loaded before it. A withdrawal decides it again
as if the withdrawn exports had never been loaded.

Belongs here: which deletes are decided again, and which rows blocked them. Does not belong here: the decision itself
(`decisions`), the fold (`folding`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import BlockedBy, Reference, Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import distinct, hashes_of, key_hash
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.fold import fold
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import Hashes, History, KnownExport, VersionedRecord, connected, versioned_records
from sync_pipelines.upsert.named_rows import Named, may_name, references_to, rows_naming

_AT_ONCE: Final = 2_000


class _Referring(NamedTuple):
    """A live row that blocks a delete, and the row it refers to."""

    id: int
    referred: int


class BlockedDeletes:
    """Deletes that a withdrawal decides again.

    Args:
        connection: in the withdrawal's transaction, before any row changed.
        archive: the archive's folder.
        exports: the withdrawn exports.
    """

    def __init__(self, connection: psycopg.Connection[Any], archive: Path, exports: Sequence[KnownExport]) -> None:
        self._connection = connection
        self._archive = archive
        self._exports = exports
        self._before = {stream.full_name: self._referring(stream.blocked_by) for stream in _blockable()}

    def decide_again(self, context: LoadContext) -> set[int]:
        """Decides deletes again, after the keys of the withdrawn exports were folded. Returns the deletes' exports."""
        decided = set[int]()
        for stream in _blockable():
            before, after = self._before[stream.full_name], self._referring(stream.blocked_by)
            moved = self._keys(stream, {row.referred for row in before ^ after})
            own = self._own_keys(stream)
            for tenant in sorted({*moved, *own}):
                keys = moved.get(tenant, set()) | own.get(tenant, set())
                decided |= set(self._decide(replace(context, stream=stream), tenant, keys))
        return decided

    def _referring(self, blocked_by: BlockedBy | None) -> set[_Referring]:
        """Returns the live rows of the withdrawn exports' keys that refer to a row."""
        assert blocked_by is not None
        found = set[_Referring]()
        statement = SQL(
            "select id, {c} from {t} where tenant = %s and partner = %s and external_id = any(%s)"
            " and deleted_at is null and {c} is not null"
        ).format(t=Identifier(SCHEMA, blocked_by.table), c=Identifier(blocked_by.column))
        for export in self._exports:
            entry = export.entry
            stream = find_stream(entry.partner, entry.stream)
            if stream is not None and stream.table == blocked_by.table:
                for keys in _keys_of(export):
                    rows = self._connection.execute(statement, [entry.tenant, entry.partner, keys])
                    found |= {_Referring(*row) for row in rows}
        return found

    def _keys(self, stream: Stream, ids: Iterable[int]) -> dict[str, set[str]]:
        """Returns tenant -> keys of some rows of a stream's table."""
        found: dict[str, set[str]] = defaultdict(set)
        statement = SQL(
            "select tenant, external_id from {t} where id = any(%s) and partner = %s and external_id is not null"
        ).format(t=Identifier(SCHEMA, stream.table))
        for tenant, key in self._connection.execute(statement, [list(ids), stream.partner]):
            found[tenant].add(key)
        return found

    def _own_keys(self, stream: Stream) -> Mapping[str, set[str]]:
        """Returns tenant -> keys of the withdrawn exports of a stream."""
        found: dict[str, set[str]] = defaultdict(set)
        for export in self._exports:
            if (export.entry.partner, export.entry.stream) == (stream.partner, stream.name):
                for keys in _keys_of(export):
                    found[export.entry.tenant].update(keys)
        return found

    def _decide(self, context: LoadContext, tenant: str, keys: set[str]) -> Iterator[int]:
        """Decides the deletes of some keys again; yields their exports."""
        stream = context.stream
        history = History(self._connection, stream.partner, tenant, stream.name, self._archive)
        hashes = distinct(np.array([key_hash(key) for key in keys], np.uint64))
        referring = _Referrers(self._connection, self._archive, stream, tenant, keys)
        for export in history.knowing(hashes):
            deletes = [r for r in versioned_records([export], hashes, context.layout) if r.change.operation == "delete"]
            if deletes:
                named = distinct(np.array([h for record in deletes for h in hashes_of(record.change)], np.uint64))
                if stream.has_record_ids:
                    named = connected(named, history.knowing, layout_of(stream))
                folding = Folding(replace(context, entry=export.entry), history.knowing)
                folding.decide_again(deletes, named, referring.counts(export.entry))
                yield export.entry.id


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
            if may_name(kept, reference, self._names):
                naming[entry.tenant].append(kept.keys.of_rows(rows_naming(kept, reference, self._names)))
        for tenant, hashes in naming.items():
            wanted = distinct(np.concatenate(hashes))
            exports = History(connection, stream.partner, tenant, stream.name, archive).knowing(wanted)
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


def _blockable() -> Iterator[Stream]:
    return (stream for stream in STREAMS if stream.blocked_by is not None)


def _keys_of(export: KnownExport) -> Iterator[list[str]]:
    """Yields the keys of an export's records, some at a time."""
    for block in export.kept.blocks(["external_id"]):
        keys = block.column(0).unique().drop_null().to_pylist()
        for start in range(0, len(keys), _AT_ONCE):
            yield keys[start : start + _AT_ONCE]
