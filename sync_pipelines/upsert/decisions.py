"""Rejections that depend on a key's own state: decided, withdrawn and remembered (law 1; T3, T9, N8, P2).

Belongs here: rejects of records that fulfill their contract. Does not belong here: storing rejects (`stored_rejects`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from psycopg.sql import SQL, Identifier

from sync_pipelines.normalize.keys import named_by
from sync_pipelines.normalize.values import displayable, to_json
from sync_pipelines.privacy.personal_data import masked_faults, masked_reason
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.fold import Rejection, alias_of
from sync_pipelines.upsert.history import Knowing, VersionedRecord
from sync_pipelines.upsert.stored_rejects import KeptReject, are_superseded, insert_rejects, set_status

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
            errors = masked_faults(self._load.stream, rejection.faults)
            if known.faults != errors:
                message = masked_reason(self._load.stream, rejection.path, _message(rejection))
                self._reasons.append((rejection.code, rejection.path, message, to_json(errors), known.row_id))

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
        records = [record for record, _, _ in self._rejected]
        named = [named_by(record.change.key, record.change.record_id) for record in records]
        superseded = are_superseded(self._knowing, named, [record.entry.version for record in records])
        changed: dict[str, list[int]] = {"resolved": self._resolved, "open": [], "superseded": []}
        new = []
        for (record, rejection, row_id), is_superseded in zip(self._rejected, superseded, strict=True):
            status = "superseded" if is_superseded else "open"
            if row_id is None:
                new.append((record.entry.id, self._reject(record, rejection), status))
            else:
                changed[status].append(row_id)
        for status, ids in changed.items():
            set_status(self._load.connection, status, ids)
        for reason in self._reasons:
            self._load.connection.execute(
                "update sync.rejected_records set code = %s, field_path = %s, message = %s, faults = %s,"
                " updated_at = now() where id = %s",
                reason,
            )
        if new:
            insert_rejects(self._load, new, depends_on_state=True)
        self._rejected, self._resolved, self._reasons = [], [], []

    def _reject(self, record: VersionedRecord, rejection: Rejection) -> KeptReject:
        change = record.change
        return {
            "position": change.position,
            "external_id": change.record_id if change.key is None else change.key,
            "code": rejection.code,
            "field_path": rejection.path,
            "message": _message(rejection),
            "record": self._record(record),
            "faults": rejection.faults,
        }

    def _record(self, versioned: VersionedRecord) -> dict[str, Any]:
        """Returns the record in the partner's field names."""
        change = versioned.change
        record = {alias_of(self._load.stream, name): value for name, value in change.values.items()}
        record |= {alias_of(self._load.stream, table): sent.rows for table, sent in change.children.items()}
        shown: dict[str, Any] = displayable(
            {"operation": change.operation, "key": change.key, **record, **change.extra}
        )
        return shown


def _message(rejection: Rejection) -> str:
    return rejection.message + (f" (and {len(rejection.more)} more in this record)" if rejection.more else "")


def _place(record: VersionedRecord) -> _Place:
    return record.entry.id, record.change.position
