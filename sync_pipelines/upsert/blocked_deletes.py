"""Deletes that depend on live rows of another table, after a withdrawal (T9).

Whether a delete is blocked is decided once, when it is loaded; a withdrawal decides it again where it removed rows that
blocked the delete, or brought rows back that block it, or brought the row back that it deletes.

Belongs here: which deletes are decided again. Does not belong here: deciding (`decisions`), the fold (`folding`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import BlockedBy, Stream
from sync_pipelines.normalize.keys import distinct, hashes_of, key_hash
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.tables.schema import OUTCOMES, SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.decisions import BLOCKED
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import History, KnownExport, VersionedRecord, connected, versioned_records
from sync_pipelines.upsert.record_outcomes import stored_outcomes

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
            freed = self._keys(stream, {row.referred for row in before - after})
            bound = self._keys(stream, {row.referred for row in after - before})
            own = self._own_keys(stream)
            for tenant in sorted({*freed, *bound, *own}):
                wanted = _Wanted(freed.get(tenant, set()), bound.get(tenant, set()), own.get(tenant, set()))
                decided |= set(self._decide(replace(context, stream=stream), tenant, wanted))
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

    def _decide(self, context: LoadContext, tenant: str, wanted: _Wanted) -> Iterator[int]:
        stream = context.stream
        history = History(self._connection, stream.partner, tenant, stream.name, self._archive)
        hashes = distinct(np.array([key_hash(key) for key in wanted.keys], np.uint64))
        for export in history.knowing(hashes):
            chosen = [r for r in versioned_records([export], hashes, context.layout) if r.change.operation == "delete"]
            chosen = list(self._chosen(export, chosen, wanted))
            if chosen:
                own = replace(context, entry=export.entry)
                named = distinct(np.array([h for record in chosen for h in hashes_of(record.change)], np.uint64))
                if stream.has_record_ids:
                    named = connected(named, history.knowing, layout_of(stream))
                Folding(own, history.knowing).decide_again(chosen, named)
                yield export.entry.id

    def _chosen(
        self, export: KnownExport, deletes: Sequence[VersionedRecord], wanted: _Wanted
    ) -> Iterator[VersionedRecord]:
        """Yields the deletes of one export whose decision may differ now."""
        if not deletes:
            return
        blocked = self._blocked(export)
        outcomes = stored_outcomes(self._connection, export.entry.id)
        for record in deletes:
            key, is_blocked = record.change.key or "", record.change.position in blocked
            code = None if outcomes is None else int(outcomes[record.version[3]])
            found_none = code is not None and code < len(OUTCOMES) and OUTCOMES[code] == "not_found"
            if key in (wanted.freed if is_blocked else wanted.bound) or (found_none and key in wanted.own):
                yield record

    def _blocked(self, export: KnownExport) -> set[str]:
        """Returns the positions of an export's blocked deletes."""
        rows = self._connection.execute(
            "select position from sync.rejected_records where export_file_id = %s and depends_on_state"
            " and code = %s and status <> 'resolved'",
            [export.entry.id, BLOCKED],
        )
        return {position for (position,) in rows}


class _Wanted(NamedTuple):
    """Keys whose deletes may be decided differently.

    Attributes:
        freed: fewer live rows refer to them; a blocked delete may be possible.
        bound: more live rows refer to them; a delete may be blocked.
        own: keys of withdrawn exports of the stream; a delete that found no row may find one.
    """

    freed: set[str]
    bound: set[str]
    own: set[str]

    @property
    def keys(self) -> set[str]:
        """All of them."""
        return self.freed | self.bound | self.own


def _blockable() -> Iterator[Stream]:
    return (stream for stream in STREAMS if stream.blocked_by is not None)


def _keys_of(export: KnownExport) -> Iterator[list[str]]:
    """Yields the keys of an export's records, some at a time."""
    for block in export.kept.blocks(["external_id"]):
        keys = block.column(0).unique().drop_null().to_pylist()
        for start in range(0, len(keys), _AT_ONCE):
            yield keys[start : start + _AT_ONCE]
