"""Withdraws loaded exports: the tables become as if they had never been loaded.

Their keys are folded again without them, in one transaction for all of them. What else depended on their records is
decided again: rejects of other exports, deletes that their rows blocked or made possible (T9), names of rows (F11), and
placeholders (X7).

Belongs here: the transaction and its steps. Does not belong here: the fold (`folding`), which placeholders are still
named (`named_rows`), deletes (`blocked_deletes`), who may withdraw and why (`stages`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from psycopg.types.json import set_json_loads

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.corrections.blocked_deletes import BlockedDeletes
from sync_pipelines.corrections.named_rows import NamedRows, names_of_own
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.normalize.values import from_json
from sync_pipelines.partners import find_stream
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import History, KnownExport
from sync_pipelines.upsert.locks import locks_of, take_locks
from sync_pipelines.upsert.referred_names import ReferredNames, names_in
from sync_pipelines.upsert.row_names import RowNames
from sync_pipelines.upsert.row_references import Named, names_referred
from sync_pipelines.upsert.stored_rejects import withdraw_rejects

_NO_NAMES: Final = ReferredNames(np.empty(0, np.uint64), {})


@dataclass
class Withdrawn:
    """The result of a withdrawal.

    Attributes:
        rows: main table -> ids of rows that were changed, removed or created.
        rejects: rejects of the exports, which are withdrawn too.
        reopened: rejects of other exports that no newer record supersedes any more.
        decided: other exports with deletes that were decided again (T9).
    """

    rows: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    rejects: int = 0
    reopened: int = 0
    decided: set[int] = field(default_factory=set)

    def note_rows(self, table: str, ids: Iterable[int]) -> None:
        """Notes rows."""
        self.rows[table].update(ids)


def locked(connection: psycopg.Connection[Any], file_ids: Sequence[int], archive: Path) -> list[LedgerFile]:
    """Acquires the locks of everything that withdrawing exports may write. Returns their entries as they are then."""
    names = set[str]()
    for entry in ledger.of_ids(connection, file_ids):
        if entry.kept is not None:
            names |= locks_of(_stream(entry), entry.tenant, [KeptRecords(archive, entry.kept)])
    take_locks(connection, names)
    return sorted((_found(connection, file_id) for file_id in sorted(file_ids)), key=lambda entry: entry.version)


def _found(connection: psycopg.Connection[Any], file_id: int) -> LedgerFile:
    entry = ledger.find(connection, file_id, lock=True)
    assert entry is not None
    return entry


def withdraw(
    connection: psycopg.Connection[Any], entries: Sequence[LedgerFile], archive: Path, run_id: str | None = None
) -> Withdrawn:
    """Withdraws exports. The counts of their loads, and the outcomes of their records, do not change.

    Args:
        connection: in a transaction, with the locks of all of them (`locked`).
        entries: ledger entries, all loaded.
        archive: the archive's folder.
        run_id: the run id for written rows.

    Raises:
        ArchiveIncomplete: kept records that a fold needs are missing.
    """
    set_json_loads(from_json, connection)
    return _Withdrawal(connection, entries, archive, run_id).run()


class _Withdrawal:
    def __init__(
        self, connection: psycopg.Connection[Any], entries: Sequence[LedgerFile], archive: Path, run_id: str | None
    ) -> None:
        self._connection = connection
        self._archive = archive
        self._run_id = run_id
        self._exports: dict[tuple[str, str, str], list[KnownExport]] = defaultdict(list)
        for entry in entries:
            self._exports[entry.partner, entry.stream, entry.tenant].append(KnownExport.of(entry, archive))
        self._paths = frozenset(entry.path for entry in entries)
        self._done = Withdrawn()

    def run(self) -> Withdrawn:
        """Runs it in the caller's transaction."""
        every = [export for exports in self._exports.values() for export in exports]
        ledger_changes.mark_withdrawn(self._connection, [export.entry.id for export in every])
        deletes = BlockedDeletes(self._connection, self._archive, every)
        for exports in self._exports.values():
            self._fold(exports)
        self._done.decided |= deletes.decide_again(self._context(every[0]))
        for table, names in _names(every).items():
            NamedRows(self._context(every[0]), table, self._archive).renew(names)
        for exports in self._exports.values():
            self._withdraw_rejects(exports)
        return self._done

    def _context(self, export: KnownExport) -> LoadContext:
        entry = export.entry
        return LoadContext(
            self._connection, _stream(entry), entry, self._run_id, self._paths, note_rows=self._done.note_rows
        )

    def _history(self, entry: LedgerFile) -> History:
        return History(self._connection, _stream(entry), entry.tenant, self._archive)

    def _fold(self, exports: Sequence[KnownExport]) -> None:
        """Folds the keys of withdrawn exports of one tenant's stream again."""
        context, history = self._context(exports[0]), self._history(exports[0].entry)
        names = RowNames(context, self._archive)
        for export in exports:
            names.replace(names_in(export.kept, context.stream), _NO_NAMES)
        hashes = distinct(np.concatenate([export.kept.keys.distinct for export in exports]))
        Folding(context, history.knowing, names.written).fold_known(hashes, exports)
        names.apply()

    def _withdraw_rejects(self, exports: Sequence[KnownExport]) -> None:
        """Withdraws the rejects of exports, and opens those of others that no newer record supersedes any more."""
        entry = exports[0].entry
        hashes = distinct(np.concatenate([export.kept.keys.distinct for export in exports]))
        done = withdraw_rejects(
            self._connection, [export.entry for export in exports], hashes, self._history(entry).knowing
        )
        self._done.rejects += done.withdrawn
        self._done.reopened += done.reopened


class Redoing:
    """A redo: withdrawn exports, and the deletes to decide again after they are loaded.

    Args:
        connection: in a transaction, with the locks of all of them (`locked`), before they are loaded.
        entries: ledger entries, all withdrawn.
        archive: the archive's folder.
    """

    def __init__(self, connection: psycopg.Connection[Any], entries: Sequence[LedgerFile], archive: Path) -> None:
        self._connection = connection
        self._exports = [KnownExport.of(entry, archive) for entry in entries]
        self._deletes = BlockedDeletes(connection, archive, self._exports)

    def decide_again(self, run_id: str | None) -> set[int]:
        """Decides deletes again, in a transaction with the locks, after the loads. Returns the deletes' exports."""
        set_json_loads(from_json, self._connection)
        entry = self._exports[0].entry
        return self._deletes.decide_again(LoadContext(self._connection, _stream(entry), entry, run_id, frozenset()))


def _names(exports: Iterable[KnownExport]) -> Mapping[str, set[Named]]:
    """Returns table -> names of the rows that the exports defined or referred to."""
    found: dict[str, set[Named]] = defaultdict(set)
    for export in exports:
        stream = _stream(export.entry)
        found[stream.table] |= names_of_own(export.kept, stream, export.entry.tenant)
        for reference in stream.references:
            found[reference.table] |= names_referred(export.kept, reference)
    return {table: names for table, names in found.items() if names}


def _stream(entry: LedgerFile) -> Stream:
    stream = find_stream(entry.partner, entry.stream)
    assert stream is not None
    return stream
