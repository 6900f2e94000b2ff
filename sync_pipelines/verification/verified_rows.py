"""Verifies rows of some keys against the fold of their kept records, by the definition, in short transactions.

It is the fold itself, from an empty row over all records of a key, with an audit that compares its result with the
stored rows. A verification rolls back what the fold writes; a repair commits it.

Belongs here: transactions and locks of a verification. Does not belong here: comparing (`audit`), which keys are
verified (`stages.verify_tables`), rows without records of their own (`placeholders`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import set_json_loads

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.normalize.values import from_json
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.audit import Audit
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.differences import main_columns
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import Hashes, connected
from sync_pipelines.upsert.locks import take_locks
from sync_pipelines.upsert.referred_names import RowName
from sync_pipelines.upsert.row_names import RowNames
from sync_pipelines.verification.archived_exports import ArchivedExports

KEYS_AT_ONCE: Final = 2_000
"""Keys that are verified in one transaction; loads of the stream wait for it."""


class Verification:
    """Verifies one tenant's stream.

    Args:
        connection: in autocommit.
        stream: the declaration.
        tenant: the tenant.
        archive: the archive's folder.
        is_repair: whether differences are written.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], stream: Stream, tenant: str, archive: Path, *, is_repair: bool
    ) -> None:
        set_json_loads(from_json, connection)
        self._connection = connection
        self._stream = stream
        self._archive = archive
        self._is_repair = is_repair
        self.exports = ArchivedExports(stream, tenant, archive)
        self.audit = Audit(stream, tenant)
        self._done = np.empty(0, np.uint64)

    def verify(self, hashes: Hashes) -> None:
        """Verifies the rows of some keys (sorted hashes). If it raises, it has no effect."""
        if self._stream.has_record_ids:
            hashes = np.setdiff1d(hashes, self._done, assume_unique=True)
            hashes = connected(hashes, self.exports.knowing, layout_of(self._stream))
        if not len(hashes):
            return
        before = self.audit.mark()
        try:
            self._verify(hashes)
        except BaseException:
            self.audit.reset(before)
            raise
        if self._stream.has_record_ids:
            self._done = np.union1d(self._done, hashes)

    def produced(self, names: Hashes) -> set[int]:
        """Returns the ids of the rows that records with some names (sorted hashes) produce now.

        In a transaction with the locks of these rows; it leaves no trace.
        """
        self.exports.refresh(self._connection)
        known = [names[:0], *(export.knows(names) for export in self.exports.all)]
        hashes, audit = distinct(np.concatenate(known)), Audit(self._stream, self.audit.tenant)
        if len(hashes):
            with self._connection.transaction(force_rollback=True):
                context = LoadContext(self._connection, self._stream, self.exports.all[-1].entry, None)
                written = RowNames(context, self._archive, audit).written
                Folding(context, self.exports.knowing, written, audit=audit).fold_known(hashes)
        return set(audit.produced)

    def _verify(self, hashes: Hashes) -> None:
        with self._connection.transaction(force_rollback=not self._is_repair):
            for context in self.locked():
                names = RowNames(context, self._archive, self.audit)
                folding = Folding(context, self.exports.knowing, names.written, audit=self.audit)
                folding.fold_known(hashes)
                names.touch(_names(folding))
                names.apply()
                self._clear_strays()

    def locked(self) -> Iterator[LoadContext]:
        """Yields the context of the transaction, with the locks of loads; nothing if no export is loaded."""
        self.exports.refresh(self._connection)
        take_locks(self._connection, self.exports.locks)
        # A load may have committed while this waited.
        self.exports.refresh(self._connection)
        if known := self.exports.all:
            yield LoadContext(self._connection, self._stream, known[-1].entry, None)

    def _clear_strays(self) -> None:
        """Clears columns that the fold does not write."""
        written = main_columns(self._stream)
        for column, ids in self.audit.strays.items():
            if column not in written:
                statement = SQL("update {t} set {c} = null, updated_at = now() where id = any(%s)").format(
                    t=Identifier(SCHEMA, self._stream.table), c=Identifier(column)
                )
                self._connection.execute(statement, [ids])
        self.audit.strays.clear()


def _names(folding: Folding) -> Iterator[RowName]:
    for identity in folding.missing:
        if identity.record_id is not None:
            yield RowName(True, identity.record_id)
        if identity.external_id is not None:
            yield RowName(False, identity.external_id)
