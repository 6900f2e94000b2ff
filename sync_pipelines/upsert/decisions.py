"""Rejections that depend on a key's own state: decided, withdrawn and remembered (law 1; T3, T9, N8, P2).

Belongs here: rejects of records that fulfill their contract. Does not belong here: rejects of normalization (`load`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from psycopg.sql import SQL, Identifier

from sync_pipelines.normalize.keys import named_by
from sync_pipelines.normalize.values import displayable, to_json
from sync_pipelines.privacy.personal_data import masked_faults, masked_reason
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.fold import Rejection, alias_of
from sync_pipelines.upsert.history import Knowing, VersionedRecord

BLOCKED: Final = "delete_blocked"

_Place = tuple[int, str]


class _Known(NamedTuple):
    """An earlier decision about a record."""

    row_id: int
    code: str
    status: str
    faults: list[dict[str, Any]]


class Decisions:
    """Earlier and new decisions about the records of a chunk.

    Args:
        context: context of the load.
        knowing: returns the other loaded exports of its tenant's stream that know some keys.
    """

    def __init__(self, context: LoadContext, knowing: Knowing) -> None:
        self._load = context
        self._knowing = knowing
        self._known: dict[_Place, _Known] = {}
        self._rejected: list[tuple[VersionedRecord, Rejection, int | None]] = []
        self._resolved: list[int] = []
        self._reasons: list[tuple[str, str | None, str, str, int]] = []

    def look_up(self, records: Iterable[VersionedRecord]) -> None:
        """Reads the earlier decisions about these records."""
        files = sorted({record.entry.id for record in records})
        rows = self._load.connection.execute(
            "select export_file_id, position, id, code, status, faults from sync.rejected_records"
            " where export_file_id = any(%s) and depends_on_state",
            [files],
        )
        self._known = {(file_id, position): _Known(*known) for file_id, position, *known in rows}

    def is_blocked(self, record: VersionedRecord) -> bool:
        """Whether a delete was blocked when it was loaded, even if superseded; only a replay decides again (T9)."""
        known = self._known.get(_place(record))
        return known is not None and known.code == BLOCKED and known.status != "resolved"

    def decide(self, record: VersionedRecord, rejection: Rejection | None) -> None:
        """Records that a record is rejected, or no longer is."""
        known = self._known.get(_place(record))
        if rejection is None:
            if known is not None and known.status != "resolved":
                self._resolved.append(known.row_id)
        elif known is None:
            self._rejected.append((record, rejection, None))
        else:
            if known.status == "resolved":
                self._rejected.append((record, rejection, known.row_id))
            errors = self._faults(rejection)
            if known.faults != errors:
                reason = rejection.code, rejection.path, self._message(rejection), to_json(errors), known.row_id
                self._reasons.append(reason)

    def block(self, record: VersionedRecord, row_ids: Sequence[int]) -> bool:
        """Whether live rows refer to the rows that a record would delete. If so, rejects it (T9)."""
        blocked_by = self._load.stream.blocked_by
        assert blocked_by is not None
        statement = SQL("select count(*) from {t} where {c} = any(%s) and deleted_at is null").format(
            t=Identifier(SCHEMA, blocked_by.table), c=Identifier(blocked_by.column)
        )
        row = self._load.connection.execute(statement, [list(row_ids)]).fetchone()
        return self.block_by(record, row[0] if row else 0)

    def block_by(self, record: VersionedRecord, count: int) -> bool:
        """Rejects a delete if live rows refer to the row that it would delete. Returns whether it did."""
        blocked_by = self._load.stream.blocked_by
        assert blocked_by is not None
        if count:
            message = f"{count} live {blocked_by.table} refer to {record.change.key!r}, so it is not deleted"
            self.decide(record, Rejection(BLOCKED, None, message))
        return bool(count)

    def block_again(self, record: VersionedRecord) -> bool:
        """Whether a delete was blocked when it was first loaded. If so, rejects it for the same reason (T9)."""
        reason = (self._load.blocked or {}).get(record.change.position)
        if reason is not None:
            self.decide(record, Rejection(BLOCKED, None, reason))
        return reason is not None

    def write(self) -> None:
        """Writes the decisions."""
        statuses = self._statuses([record for record, _, _ in self._rejected])
        changed: dict[str, list[int]] = {"resolved": self._resolved, "open": [], "superseded": []}
        new = []
        for (record, rejection, row_id), status in zip(self._rejected, statuses, strict=True):
            if row_id is None:
                new.append([*self._reject(record, rejection), status])
            else:
                changed[status].append(row_id)
        for status, ids in changed.items():
            if ids:
                self._load.connection.execute(
                    "update sync.rejected_records set status = %s, updated_at = now() where id = any(%s)", [status, ids]
                )
        for reason in self._reasons:
            self._load.connection.execute(
                "update sync.rejected_records set code = %s, field_path = %s, message = %s, faults = %s,"
                " updated_at = now() where id = %s",
                reason,
            )
        if new:
            with self._load.connection.cursor().copy(
                "copy sync.rejected_records (export_file_id, position, external_id, code, field_path, message, record,"
                " faults, run_id, depends_on_state, status) from stdin"
            ) as copy:
                for reject in new:
                    copy.write_row(reject)
        self._rejected, self._resolved, self._reasons = [], [], []

    def _statuses(self, rejected: Sequence[VersionedRecord]) -> list[str]:
        """Returns `superseded` if a newer export has a record of the key, else `open` (F03)."""
        if not rejected:
            return []
        named = [named_by(record.change.key, record.change.record_id) for record in rejected]
        exports = self._knowing(np.array(sorted(set(named)), np.uint64))
        found = []
        for record, name in zip(rejected, named, strict=True):
            key = np.array([name], np.uint64)
            newer = (e for e in exports if e.entry.version > record.entry.version)
            found.append("superseded" if any(len(export.knows(key)) for export in newer) else "open")
        return found

    def _reject(self, record: VersionedRecord, rejection: Rejection) -> list[Any]:
        change = record.change
        key = change.key if change.key is not None else change.record_id
        return [
            record.entry.id, change.position, key, rejection.code, rejection.path, self._message(rejection),
            to_json(self._record(record)), to_json(self._faults(rejection)), self._load.run_id, True,
        ]  # fmt: skip

    def _message(self, rejection: Rejection) -> str:
        more = f" (and {len(rejection.more)} more in this record)" if rejection.more else ""
        return masked_reason(self._load.stream, rejection.path, rejection.message) + more

    def _faults(self, rejection: Rejection) -> list[dict[str, Any]]:
        return masked_faults(self._load.stream, rejection.faults)

    def _record(self, versioned: VersionedRecord) -> dict[str, Any]:
        """Returns the record in the partner's field names."""
        change = versioned.change
        record = {alias_of(self._load.stream, name): value for name, value in change.values.items()}
        record |= {alias_of(self._load.stream, table): sent.rows for table, sent in change.children.items()}
        shown: dict[str, Any] = displayable(
            {"operation": change.operation, "key": change.key, **record, **change.extra}
        )
        return shown


def _place(record: VersionedRecord) -> _Place:
    return record.entry.id, record.change.position
