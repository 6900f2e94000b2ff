"""Loads one export: rows, counts, rejects and ledger entry in one transaction (law 2).

Belongs here: the order of the steps and the result of a load. Does not belong here: the paths of records (`stale`,
`unchanged`, `new_rows`, `changed_rows`, `folding`), write rules (`fold`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.types.json import set_json_loads

from sync_pipelines.configuration.guard_settings import GuardSettings
from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger_copies import keep_copy
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert import late_patches, repeated_keys
from sync_pipelines.upsert.changed_rows import ChangedRowWriter
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.erased_records import with_erased_since
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.guards import Guards
from sync_pipelines.upsert.history import (
    Hashes,
    History,
    KnownExport,
    Mask,
    alone_rows,
    decided_keys,
    known_of,
    late_keys,
    newer_exports,
)
from sync_pipelines.upsert.locks import locks_of, take_locks
from sync_pipelines.upsert.new_rows import MANY, NewRowWriter, chunks_of
from sync_pipelines.upsert.record_outcomes import Outcomes
from sync_pipelines.upsert.references import ReferenceIds
from sync_pipelines.upsert.referred_names import indexed_hashes, names_in
from sync_pipelines.upsert.row_names import RowNames
from sync_pipelines.upsert.split_orders import count_split
from sync_pipelines.upsert.stale import stale_rows
from sync_pipelines.upsert.stored_rejects import Rejects
from sync_pipelines.upsert.unchanged import unchanged_rows


@dataclass(frozen=True)
class Loaded:
    """The result of a load."""

    counts: dict[str, int]
    is_new: bool


def load(
    connection: psycopg.Connection[Any],
    stream: Stream,
    file_id: int,
    archive: Path,
    run_id: str | None = None,
    written: Mask | None = None,
    *,
    keeps_copy: bool = True,
    guards: GuardSettings | None = None,
    blocked: Mapping[str, str] | None = None,
    is_private: bool = False,
) -> Loaded:
    """Loads an export. Does nothing if it is loaded or withdrawn, or if its records are not kept.

    Args:
        connection: in autocommit, so that the transaction here is the only one; a preview and a streaming load add
            one around it.
        stream: the declaration.
        file_id: the ledger entry.
        archive: the archive's folder.
        run_id: the run id for written rows.
        written: by row, which records a streaming load has already written in this transaction.
        keeps_copy: whether the archive gets a copy of the ledger entry; not if the transaction is rolled back.
        guards: limits above which the export is held; none by default, and none for an export that was released.
        blocked: see `LoadContext`.
        is_private: whether only this transaction sees the tables, so that no locks are needed.

    Raises:
        ArchiveIncomplete: kept records that a fold needs are missing.
        ExportHeld: guards tripped, and the transaction is undone.
    """
    with connection.transaction():
        entry = ledger.find(connection, file_id)
        assert entry is not None
        if entry.kept is None:
            return Loaded(entry.counts, is_new=False)
        if not is_private:
            take_locks(connection, locks_of(stream, entry.tenant, [KeptRecords(archive, entry.kept)]))
        entry = ledger.find(connection, file_id, lock=True)
        assert entry is not None and entry.kept is not None
        if entry.status in ("loaded", "withdrawn"):
            return Loaded(entry.counts, is_new=False)
        set_json_loads(from_json, connection)
        entry = with_erased_since(connection, stream, entry, archive, is_streamed=written is not None)
        context = LoadContext(connection, stream, entry, run_id, blocked=blocked)
        checks = None if guards is None else Guards(context, guards, archive)
        loaded = _Loading(context, archive, written, checks).run()
        if keeps_copy:
            keep_copy(connection, archive, file_id)
        return loaded


class _Loading:
    """The load of one export, in a transaction that holds its locks."""

    def __init__(self, context: LoadContext, archive: Path, written: Mask | None, guards: Guards | None) -> None:
        self._load = context
        self._archive = archive
        self._written = written
        self._guards = guards
        self._kept = KeptRecords(archive, context.entry.kept or "-")
        self._summary = self._kept.summary
        self._outcomes = Outcomes(self._kept.count)
        self._leniencies: Counter[str] = Counter(self._summary.leniencies)
        self._names = RowNames(context, archive)
        self._referred = names_in(self._kept, context.stream, is_whole=self._names.has_pairs)
        self._history = History(context.connection, context.stream, context.entry.tenant, archive)

    def run(self) -> Loaded:
        """Writes the rows, keeps rejects, and updates the ledger."""
        if self._summary.window is not None:
            mine = KnownExport(self._load.entry, self._kept)
            self._write(mine, self._history.knowing(self._kept.keys.distinct))
        rejects = Rejects(self._load, self._history.knowing)
        rejects.supersede_older(self._kept.keys.hashes)
        if self._summary.rejected:
            rejects.keep(self._kept.rejects())
        # From here on this export is one of those that know its keys.
        self._history.add(self._load.entry.id, indexed_hashes(self._kept, self._referred))
        return self._mark_loaded()

    # -- rows --------------------------------------------------------------------------------------------------

    def _write(self, mine: KnownExport, others: list[KnownExport]) -> None:
        self._names.add(self._referred)
        if split := count_split(mine, others, self._load.stream, self._load.layout):
            self._leniencies["split_across_files"] += split
        newer, alone = newer_exports(mine, others), alone_rows(mine, others, self._load.stream)
        late = late_keys(mine, self._history.knowing, newer, alone, self._load.layout)
        decided = decided_keys(self._load.connection, self._load.entry) if others else late[:0]
        undecided = mine.kept.rows_known_by(np.setdiff1d(late, decided)) & alone
        stale = self._overruled(mine, newer, undecided)
        folding = Folding(self._load, self._history.knowing, self._names.written, self._outcomes.note)
        patched = self._patch_late(mine, others, newer, undecided & ~stale)
        folding.fold_late(mine, np.setdiff1d(late, mine.kept.keys.of_rows(stale | patched), assume_unique=True))
        several = np.union1d(mine.kept.keys.repeated(), mine.kept.keys.knows(self._names.lent_keys()))
        several = np.setdiff1d(several, late, assume_unique=True)
        self._return_memory()
        left = self._write_plain(mine, others, np.union1d(late, several), alone, decided)
        self._return_memory()
        repeated = self._write_repeated(mine.kept.rows_known_by(several), alone)
        if left.any():
            left &= ~self._changed_rows.write(self._kept, left, self._outcomes)
        folding.fold_newest(mine, mine.kept.keys.of_rows(repeated | left))
        self._return_memory()
        self._names.apply()
        self._leniencies.update(folding.leniencies + self._changed_rows.leniencies)

    def _return_memory(self) -> None:
        """Returns free memory of a large load: each step needs other sizes."""
        if self._kept.count >= MANY:
            pa.default_memory_pool().release_unused()

    def _overruled(self, mine: KnownExport, newer: list[KnownExport], late: Mask) -> Mask:
        """Returns, by row, which late records newer ones supersede. Their references are still created (X7)."""
        stale = stale_rows(self._load.stream, self._load.layout, mine, newer, late, self._history.knowing)
        self._outcomes.note(stale, "stale")
        if stale.any() and self._load.stream.references:
            referred = ReferenceIds.searching(self._load)
            for reference in self._load.stream.references:
                names = [f"{reference.column}_{part}" for part in Identity._fields]
                for _, records in chunks_of(self._kept, np.flatnonzero(stale), ["effective_at", "position", *names]):
                    referred.ids(reference, records)
        return stale

    def _patch_late(self, mine: KnownExport, others: list[KnownExport], newer: list[KnownExport], late: Mask) -> Mask:
        """Applies what newer records leave of late ones. Returns, by row, which records are done."""
        keys = mine.kept.keys
        late = late & ~mine.kept.rows_known_by(np.union1d(keys.repeated(), keys.knows(self._names.lent_keys())))
        if self._load.stream.scope is not None or late.sum() < late_patches.FEW:
            return np.zeros(len(late), bool)
        way = late_patches.LatePatchWriter(self._load, self._changed_rows)
        return way.write(mine, others, newer, late, self._history.knowing, self._outcomes)

    def _write_plain(
        self, mine: KnownExport, others: list[KnownExport], folded: Hashes, alone: Mask, decided: Hashes
    ) -> Mask:
        """Skips records equal to the newest known ones and copies those of new keys. Returns, by row, which are left.

        Records of keys that are folded take another way.
        """
        left = ~mine.kept.rows_known_by(folded)
        if self._written is not None:
            self._note_created(self._written)
            return left & ~self._written
        stream, layout = self._load.stream, self._load.layout
        unchanged = unchanged_rows(stream, layout, mine, others, folded, alone, decided, self._history.knowing)
        for export in (mine, *others):
            export.kept.let_go()
        self._outcomes.note(unchanged, "unchanged")
        left &= ~unchanged
        new = left
        if stream.scope is not None:
            # A record may refer to a row of another scope (P2): only the fold sees all rows of a key.
            new = left & ~mine.kept.rows_known_by(known_of(mine, others, self._history.knowing))
        if new.any():
            created = self._new_rows.write(self._kept, ~new)
            self._note_created(created)
            left &= ~created
        return left

    def _note_created(self, rows: Mask) -> None:
        self._outcomes.note(rows, "created")
        self._load.effects.created += int(rows.sum())

    def _write_repeated(self, rows: Mask, alone: Mask) -> Mask:
        """Writes the rows of keys with several records. Returns, by row, which are left."""
        chosen = rows & alone & ~self._kept.rows_known_by(self._names.lent_keys())
        if self._load.stream.scope is not None or chosen.sum() < repeated_keys.FEW:
            return rows
        way = repeated_keys.RepeatedKeyWriter(self._load, self._new_rows, self._changed_rows)
        return rows & ~way.write(self._kept, chosen, self._outcomes)

    @cached_property
    def _new_rows(self) -> NewRowWriter:
        return NewRowWriter(self._load)

    @cached_property
    def _changed_rows(self) -> ChangedRowWriter:
        return ChangedRowWriter(self._load)

    def _mark_loaded(self) -> Loaded:
        counts = {"read": self._summary.read, **self._outcomes.counts}
        counts["rejected"] += self._summary.rejected
        if self._guards is not None:
            self._guards.check(counts, self._summary.fingerprint)
        self._outcomes.store(self._load.connection, self._load.entry.id)
        ledger_changes.mark_loaded(
            self._load.connection,
            self._load.entry.id,
            counts,
            lines=self._summary.lines,
            leniencies=dict(self._leniencies),
            unknown_fields=self._summary.unknown_fields,
            window=self._summary.window,
            run_id=self._load.run_id,
        )
        return Loaded(counts, is_new=True)
