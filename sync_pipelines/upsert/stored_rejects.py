"""The rejects of an export's normalization, as stored in `rejected_records`.

Belongs here: writing and superseding these rejects, and comparing them with those of another reading. Does not belong
here: rejections that depend on the state of a key (`decisions`).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg

from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile, version_of
from sync_pipelines.normalize.keys import key_hash, named_by
from sync_pipelines.normalize.values import to_json
from sync_pipelines.privacy.personal_data import masked_faults, masked_reason
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.history import Hashes, Knowing

_INSERT: Final = (
    "copy sync.rejected_records (export_file_id, position, external_id, code, field_path, message, record,"
    " faults, status, run_id) from stdin"
)
_RENEW: Final = (
    "update sync.rejected_records set external_id = %s, code = %s, field_path = %s, message = %s, record = %s,"
    " faults = %s, status = case when status = 'resolved' then %s else status end, run_id = %s,"
    " updated_at = now() where id = %s"
)
_RESOLVE: Final = (
    "update sync.rejected_records set status = 'resolved', run_id = %s, updated_at = now()"
    " where id = any(%s) and status = 'open'"
)

_AT_ONCE: Final = 1_000
"""Rejects whose keys are looked up together."""

KeptReject = Mapping[str, Any]
"""A reject in the kept records: the fields of a `Reject`, with `faults` only if there are several."""


class Rejects:
    """The rejects of one export.

    Args:
        context: of the load.
        knowing: returns the other loaded exports of its tenant's stream: newer good records supersede rejects.
    """

    def __init__(self, context: LoadContext, knowing: Knowing) -> None:
        self._load = context
        self._knowing = knowing

    def keep(self, kept_rejects: Iterable[KeptReject]) -> None:
        """Writes rejects. Those whose key a newer export knows are superseded already."""
        rejects = iter(kept_rejects)
        while some := list(islice(rejects, _AT_ONCE)):
            superseded = self._superseded(some)
            with self._load.connection.cursor().copy(_INSERT) as copy:
                for reject in some:
                    key = reject["external_id"]
                    status = "superseded" if key in superseded else "open"
                    copy.write_row(
                        [
                            self._load.entry.id, reject["position"], key, reject["code"], reject["field_path"],
                            self._message(reject), to_json(reject["record"]), self._faults(reject), status,
                            self._load.run_id,
                        ]
                    )  # fmt: skip

    def renew(self, kept_rejects: Iterable[KeptReject]) -> None:
        """Replaces the rejects by those of another reading. The others are resolved, unless already superseded."""
        known = self._by_position()
        added = []
        kept_rejects = list(kept_rejects)
        superseded = self._superseded(kept_rejects)
        for reject in kept_rejects:
            places = known.get(reject["position"])
            if not places:
                added.append(reject)
                continue
            key = reject["external_id"]
            values = [
                key, reject["code"], reject["field_path"], self._message(reject), to_json(reject["record"]),
                self._faults(reject),
            ]  # fmt: skip
            status = "superseded" if key in superseded else "open"
            self._load.connection.execute(_RENEW, [*values, status, self._load.run_id, places.popleft()])
        self._load.connection.execute(
            _RESOLVE, [self._load.run_id, [row_id for places in known.values() for row_id in places]]
        )
        self.keep(added)

    def supersede_older(self, known: Hashes) -> None:
        """Supersedes open rejects of older exports if this one has a good record of their key."""
        entry, connection = self._load.entry, self._load.connection
        rows = connection.execute(
            "select r.id, r.external_id, r.depends_on_state and r.record->>'key' is null, f.effective_at, f.path,"
            " f.revision from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
            " where r.status = 'open' and r.external_id is not null and f.partner = %s and f.stream = %s"
            " and f.tenant = %s and f.effective_at <= %s",
            [entry.partner, entry.stream, entry.tenant, entry.effective_at],
        ).fetchall()
        older = [row for row in rows if version_of(*row[3:]) < entry.version]
        if not older:
            return
        named = [_hash_of(name, is_own=is_own) for _, name, is_own, *_ in older]
        ids = [row[0] for row, found in zip(older, np.isin(np.array(named, np.uint64), known), strict=True) if found]
        self._load.connection.execute(
            "update sync.rejected_records set status = 'superseded', updated_at = now() where id = any(%s)", [ids]
        )

    def _message(self, reject: KeptReject) -> str:
        """Returns the message; unlike the record, it is masked, because it is displayed by default."""
        return masked_reason(self._load.stream, reject["field_path"], reject["message"])

    def _faults(self, reject: KeptReject) -> str:
        """Returns all errors (F20)."""
        only = {"code": reject["code"], "path": reject["field_path"], "message": reject["message"]}
        return to_json(masked_faults(self._load.stream, reject.get("faults") or [only]))

    def _superseded(self, kept_rejects: Sequence[KeptReject]) -> set[str]:
        """Returns the keys of rejects for which newer exports have good records."""
        keys = {key_hash(key): key for reject in kept_rejects if (key := reject["external_id"]) is not None}
        hashes = np.array(sorted(keys), np.uint64)
        newer = [known for known in self._knowing(hashes) if known.entry.version > self._load.entry.version]
        return {keys[found] for known in newer for found in known.knows(hashes).tolist()}

    def _by_position(self) -> dict[str | None, deque[int]]:
        rows = self._load.connection.execute(
            "select id, position from sync.rejected_records where export_file_id = %s and not depends_on_state"
            " order by id",
            [self._load.entry.id],
        )
        found: dict[str | None, deque[int]] = defaultdict(deque)
        for row_id, position in rows:
            found[position].append(row_id)
        return found


class WithdrawnRejects(NamedTuple):
    """Rejects that a withdrawal changed: those of the exports, and reopened ones of others."""

    withdrawn: int
    reopened: int


def withdraw_rejects(
    connection: psycopg.Connection[Any], exports: Sequence[LedgerFile], hashes: Hashes, knowing: Knowing
) -> WithdrawnRejects:
    """Withdraws the rejects of exports, and opens those of others that only their records superseded.

    Args:
        connection: in the withdrawal's transaction.
        exports: withdrawn exports of one tenant's stream.
        hashes: their keys (sorted).
        knowing: returns the exports that are still loaded.
    """
    withdrawn = connection.execute(
        "update sync.rejected_records set status = 'withdrawn', updated_at = now() where export_file_id = any(%s)",
        [[entry.id for entry in exports]],
    ).rowcount
    entry = exports[0]
    superseded = connection.execute(
        "select r.id, r.export_file_id, r.external_id, r.depends_on_state and r.record->>'key' is null"
        " from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where r.status = 'superseded' and r.external_id is not null and f.partner = %s and f.stream = %s"
        " and f.tenant = %s and f.status = 'loaded'",
        [entry.partner, entry.stream, entry.tenant],
    ).fetchall()
    named = np.array([_hash_of(name, is_own=is_own) for _, _, name, is_own in superseded], np.uint64)
    concerned = np.flatnonzero(np.isin(named, hashes)).tolist()
    if not concerned:
        return WithdrawnRejects(withdrawn, 0)
    known = knowing(np.unique(named[concerned]))
    versions = {e.id: e.version for e in ledger.of_ids(connection, {superseded[place][1] for place in concerned})}
    reopened = [
        superseded[place][0]
        for place in concerned
        if not any(
            export.entry.version > versions[superseded[place][1]] and len(export.knows(named[place : place + 1]))
            for export in known
        )
    ]
    connection.execute(
        "update sync.rejected_records set status = 'open', updated_at = now() where id = any(%s)", [reopened]
    )
    return WithdrawnRejects(withdrawn, len(reopened))


def _hash_of(name: str, *, is_own: bool) -> int:
    """Returns the hash by which a reject is found; that of a record without a key has its own id (P2)."""
    return named_by(None, name) if is_own else named_by(name, None)


def withdraw_all(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Withdraws the rejects of an export, as an undo of it does."""
    connection.execute(
        "update sync.rejected_records set status = 'withdrawn', updated_at = now()"
        " where export_file_id = %s and status in ('open', 'superseded')",
        [file_id],
    )
