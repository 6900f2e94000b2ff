"""Reads a loaded export again: folds its keys at their original version, and decides its rejections again.

Belongs here: which keys are folded again, and the transaction. Does not belong here: reading the export
(`normalize`), the folding itself (`folding`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
from psycopg.types.json import set_json_loads

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger_copies import keep_copy
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import key_hash, record_id_hash
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import Hashes, History, KnownExport, connected
from sync_pipelines.upsert.locks import locks_of, take_locks
from sync_pipelines.upsert.record_outcomes import carry_over
from sync_pipelines.upsert.referred_names import indexed_hashes, names_in
from sync_pipelines.upsert.row_names import RowNames
from sync_pipelines.upsert.stored_rejects import Rejects


class Replayed(NamedTuple):
    """The result of a replay.

    Attributes:
        keys: keys that were folded again.
        resolved: rejects whose records are now accepted.
        open, superseded: the export's rejects that stay so.
    """

    keys: int
    resolved: int
    open: int
    superseded: int


def replay(
    connection: psycopg.Connection[Any],
    stream: Stream,
    file_id: int,
    kept: str,
    archive: Path,
    run_id: str | None = None,
) -> Replayed:
    """Applies a new reading of a loaded export, at its original version.

    The counts of its load, and the outcomes of its records, do not change (X11).

    Args:
        connection: in autocommit, so that the transaction here is the only one.
        stream: the declaration.
        file_id: the ledger entry, loaded.
        kept: location of the new reading's kept records (`kept.locations`).
        archive: the archive's folder.
        run_id: the run id for written rows.

    Raises:
        ArchiveIncomplete: kept records that a fold needs are missing.
    """
    set_json_loads(from_json, connection)
    mine = KeptRecords(archive, kept)
    with connection.transaction():
        entry = ledger.find(connection, file_id)
        assert entry is not None and entry.kept is not None
        take_locks(connection, locks_of(stream, entry.tenant, [KeptRecords(archive, entry.kept), mine]))
        entry = ledger.find(connection, file_id, lock=True)
        assert entry is not None and entry.kept is not None
        if kept != entry.kept:
            carry_over(connection, file_id, KeptRecords(archive, entry.kept), mine)
        ledger_changes.mark_replayed(connection, file_id, kept, mine.summary.window)
        replayed = _Replay(LoadContext(connection, stream, entry, run_id), mine, archive).run()
        keep_copy(connection, archive, file_id)
        return replayed


class _Replay:
    def __init__(self, context: LoadContext, kept: KeptRecords, archive: Path) -> None:
        self._load = context
        entry = context.entry
        self._archive = archive
        self._kept = kept
        self._history = History(context.connection, context.stream, entry.tenant, archive, without=entry.id)
        self._referred = names_in(kept, context.stream)
        self._history.add(entry.id, indexed_hashes(kept, self._referred))
        self._former = KnownExport.of(entry, archive)
        self._mine = KnownExport(entry, kept)

    def run(self) -> Replayed:
        """Runs the replay in the caller's transaction."""
        before = self._resolved()
        hashes = self._hashes()
        names = RowNames(self._load, self._archive)
        names.replace(names_in(self._former.kept, self._load.stream), self._referred)
        folding = Folding(self._load, self._history.knowing, names.written)
        folding.fold_again(self._former, self._mine, hashes)
        names.apply()
        rejects = Rejects(self._load, self._history.knowing)
        rejects.renew(self._kept.rejects())
        rejects.supersede_older(self._kept.keys.hashes)
        return Replayed(len(hashes), **{**self._statuses(), "resolved": len(self._resolved() - before)})

    def _hashes(self) -> Hashes:
        """Returns keys whose records differ in the new reading, and keys with rejections that depend on their state."""
        changed = _changed(self._former.kept, self._kept)
        rows = self._load.connection.execute(
            "select external_id from sync.rejected_records where export_file_id = %s and depends_on_state"
            " and external_id is not null",
            [self._load.entry.id],
        ).fetchall()
        decided = [named(key) for (key,) in rows for named in (key_hash, record_id_hash)]
        hashes = np.union1d(changed, np.array(decided, np.uint64))
        if self._load.stream.has_record_ids:
            own = [self._former, self._mine]
            return connected(hashes, lambda some: [*own, *self._history.knowing(some)], self._load.layout)
        return hashes

    def _statuses(self) -> dict[str, int]:
        rows = self._load.connection.execute(
            "select status, count(*) from sync.rejected_records where export_file_id = %s group by 1",
            [self._load.entry.id],
        ).fetchall()
        return {"open": 0, "superseded": 0, **dict(rows)}

    def _resolved(self) -> set[int]:
        rows = self._load.connection.execute(
            "select id from sync.rejected_records where export_file_id = %s and status = 'resolved'",
            [self._load.entry.id],
        )
        return {row_id for (row_id,) in rows}


def _changed(former: KeptRecords, mine: KeptRecords) -> Hashes:
    """Returns hashes of the keys whose records differ between two readings of an export."""
    before, after = _digests(former), _digests(mine)
    return np.union1d(
        former.keys.of_rows(~np.isin(before, after, kind="sort")),
        mine.keys.of_rows(~np.isin(after, before, kind="sort")),
    )


def _digests(kept: KeptRecords) -> Hashes:
    """Returns 64 bits of each record's content, in file order, including the meaning of its presence bits."""
    bits = sorted(kept.bits.items())
    records = (record for block in kept.blocks() for record in block.to_pylist())
    return np.array([key_hash(f"{bits}{record}") for record in records], np.uint64)
