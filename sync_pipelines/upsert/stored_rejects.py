"""Rejects as stored in `rejected_records`.

Belongs here: writing and superseding rejects, and comparing those of normalization with those of another reading. Does
not belong here: which records the state of their key rejects (`decisions`).
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, islice, repeat
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import ExportVersion, LedgerFile, version_of
from sync_pipelines.normalize.keys import are_among, distinct, key_hash, named_by
from sync_pipelines.normalize.values import to_json
from sync_pipelines.privacy.personal_data import masked_faults, masked_reason
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.history import Hashes, Knowing, Mask

_INSERT: Final = (
    "copy sync.rejected_records (export_file_id, position, external_id, code, field_path, message, record,"
    " faults, status, run_id, depends_on_state) from stdin"
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


def insert_rejects(
    context: LoadContext, rejects: Iterable[tuple[int, KeptReject, str]], *, depends_on_state: bool = False
) -> None:
    """Writes new rejects, each with the id of its export and its status."""
    with context.connection.cursor().copy(_INSERT) as copy:
        for file_id, reject, status in rejects:
            content = _content(context.stream, reject)
            copy.write_row([file_id, reject["position"], *content, status, context.run_id, depends_on_state])


def are_superseded(knowing: Knowing, named: Sequence[int], versions: Sequence[ExportVersion]) -> Mask:
    """Returns which rejects are superseded: a newer export has a good record of their key (F03).

    Args:
        knowing: returns the loaded exports that know some keys.
        named: the hash by which each reject is found.
        versions: the version of each one's export.
    """
    hashes, found = np.array(named, np.uint64), np.zeros(len(named), bool)
    exports = knowing(distinct(hashes)) if len(hashes) else []
    known = [export.entry.version for export in exports]
    first_newer = np.array([bisect(known, version) for version in versions], np.int64)
    for number, export in enumerate(exports):
        places = np.flatnonzero((first_newer <= number) & ~found)
        if len(places):
            found[places] = are_among(hashes[places], export.kept.keys.hashes)
    return found


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
            insert_rejects(self._load, zip(repeat(self._load.entry.id), some, self._statuses(some)))

    def renew(self, kept_rejects: Iterable[KeptReject]) -> None:
        """Replaces the rejects by those of another reading. The others are resolved, unless already superseded."""
        known = self._by_position()
        added = []
        kept_rejects = list(kept_rejects)
        for reject, status in zip(kept_rejects, self._statuses(kept_rejects), strict=True):
            if places := known.get(reject["position"]):
                values = [*_content(self._load.stream, reject), status, self._load.run_id, places.popleft()]
                self._load.connection.execute(_RENEW, values)
            else:
                added.append(reject)
        self._load.connection.execute(
            _RESOLVE, [self._load.run_id, [row_id for places in known.values() for row_id in places]]
        )
        self.keep(added)

    def supersede_older(self, known: Hashes) -> None:
        """Supersedes open rejects of older exports if this one has a good record of their key."""
        entry = self._load.entry
        older = [reject for reject in _keyed(self._load.connection, entry, "open") if reject.version < entry.version]
        set_status(self._load.connection, "superseded", [reject.id for reject in _among(older, known)])

    def _statuses(self, kept_rejects: Sequence[KeptReject]) -> list[str]:
        keys = list({key for reject in kept_rejects if (key := reject["external_id"]) is not None})
        found = are_superseded(self._knowing, [key_hash(key) for key in keys], [self._load.entry.version] * len(keys))
        superseded = set(compress(keys, found))
        return ["superseded" if reject["external_id"] in superseded else "open" for reject in kept_rejects]

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
    rejects = _among(_keyed(connection, exports[0], "superseded"), hashes)
    still = are_superseded(knowing, [reject.named for reject in rejects], [reject.version for reject in rejects])
    reopened = [reject.id for reject, is_superseded in zip(rejects, still, strict=True) if not is_superseded]
    set_status(connection, "open", reopened)
    return WithdrawnRejects(withdrawn, len(reopened))


class _Keyed(NamedTuple):
    """A stored reject, with the hash by which it is found and the version of its export."""

    id: int
    named: int
    version: ExportVersion


def _keyed(connection: psycopg.Connection[Any], entry: LedgerFile, status: str) -> list[_Keyed]:
    """Returns the rejects of a stream's loaded exports that have a status and a key, or an id of their own (P2)."""
    rows = connection.execute(
        "select r.id, r.external_id, r.depends_on_state and r.record->>'key' is null, f.effective_at, f.path,"
        " f.revision from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where r.status = %s and r.external_id is not null and f.partner = %s and f.stream = %s"
        " and f.tenant = %s and f.status = 'loaded'",
        [status, entry.partner, entry.stream, entry.tenant],
    )
    return [
        _Keyed(row_id, named_by(None, name) if is_own else named_by(name, None), version_of(*version))
        for row_id, name, is_own, *version in rows
    ]


def _among(rejects: Sequence[_Keyed], hashes: Hashes) -> list[_Keyed]:
    """Returns the rejects of some keys (sorted)."""
    return list(compress(rejects, are_among(np.array([reject.named for reject in rejects], np.uint64), hashes)))


def set_status(connection: psycopg.Connection[Any], status: str, ids: Sequence[int]) -> None:
    """Changes the status of rejects."""
    if ids:
        connection.execute(
            "update sync.rejected_records set status = %s, updated_at = now() where id = any(%s)", [status, ids]
        )


def _content(stream: Stream, reject: KeptReject) -> list[Any]:
    """Returns key, code, path, message, record and all errors (F20). Messages are masked: they are shown by default."""
    first = {"code": reject["code"], "path": reject["field_path"], "message": reject["message"]}
    faults = masked_faults(stream, reject.get("faults") or [first])
    message = masked_reason(stream, first["path"], first["message"])
    return [reject["external_id"], first["code"], first["path"], message, to_json(reject["record"]), to_json(faults)]


def withdraw_all(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Withdraws the rejects of an export, as an undo of it does."""
    connection.execute(
        "update sync.rejected_records set status = 'withdrawn', updated_at = now()"
        " where export_file_id = %s and status in ('open', 'superseded')",
        [file_id],
    )
