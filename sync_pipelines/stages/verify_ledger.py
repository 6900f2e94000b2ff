"""Compares the ledger with its copies in the archive, and repairs either by the other.

The archive is right about exports that are loaded, held or withdrawn. An entry without a copy was loaded by an earlier
version, or its copy was lost; then the ledger is right.

Belongs here: what differs, and the repair. Does not belong here: loading again (`rebuild`), the tables
(`verify_tables`), other files of the archive (`verify_archive`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger_copies import (
    COPIED,
    copies_of_erasures,
    copies_of_ledger,
    copy_of,
    differing,
    find_id,
    keep_copy,
    keep_erasures,
    restore,
    restore_erasure,
)
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.ledger_files import Copies, Damage, identity_of, read_copies
from sync_pipelines.kept.locations import identity_of as kept_identity
from sync_pipelines.partners import find_stream
from sync_pipelines.stages.rebuild import Rebuilt, rebuild
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.history import History
from sync_pipelines.upsert.locks import own_locks, take_locks
from sync_pipelines.upsert.stored_rejects import Rejects, withdraw_all

log = logging.getLogger(__name__)

MOST_LISTED: Final = 1_000
_COPIES_AT_ONCE: Final = 1_000


class LedgerDifference(NamedTuple):
    """One difference between the ledger and the archive.

    Attributes:
        column: of `sync.export_files`, or `outcomes`, `decisions`, `blocked_deletes` or `rejects`
            (their number); `status` if there is no entry.
        stored: the value in the ledger.
        archive: the value in the archive.
    """

    partner: str
    tenant: str
    stream: str
    path: str
    revision: int
    column: str
    stored: Any
    archive: Any


@dataclass
class VerifiedLedger:
    """The result of comparing.

    Attributes:
        entries: number of entries that were compared.
        exports: number of exports that differ.
        differences: the first thousand.
        copied: number of entries whose copies were missing; they are written, with or without a repair.
        repaired: number of exports that differed and no longer do.
        rebuilt: the exports that were loaded again.
        damages: lines of copies that are damaged.
    """

    entries: int = 0
    exports: int = 0
    differences: list[LedgerDifference] = field(default_factory=list)
    copied: int = 0
    repaired: int = 0
    rebuilt: Rebuilt = field(default_factory=Rebuilt)
    damages: list[Damage] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing differs any more, and every copy can be read."""
        return self.exports == self.repaired and not self.damages


def verify_ledger(
    workspace: Workspace,
    partner: str | None = None,
    stream: str | None = None,
    tenant: str | None = None,
    *,
    repair: bool = False,
) -> VerifiedLedger:
    """Compares the entries of a choice with their copies. Loads may run meanwhile.

    Args:
        workspace: the sync's workspace; its landing may be away.
        partner: only this one; None for all.
        stream: only this one; None for all.
        tenant: only this one; None for all.
        repair: whether to repair what differs, and to rebuild what the ledger lacks.
    """
    archive = workspace.settings.archive
    copies = read_copies(archive)
    found = VerifiedLedger(damages=copies.damages)
    with workspace.connection() as connection:
        if repair:
            _exchange_erasures(connection, archive, copies)
        entries = _Entries(copies)
        for file_id, stored in copies_of_ledger(connection, partner, stream, tenant):
            entries.take(file_id, stored)
        entries.find_missing(partner, stream, tenant)
        found.entries, found.copied = entries.count, len(entries.uncopied)
        _write_copies(connection, archive, list(entries.uncopied.values()))
        lost = []
        for owner, some in groupby(sorted(entries.suspects), key=lambda suspect: suspect.owner):
            lost += _settle(workspace, connection, owner, list(some), copies, found, repair=repair)
    if lost:
        found.rebuilt = rebuild(workspace, read_copies(archive), lost)
        found.repaired += found.rebuilt.exports
    return found


def known_tenants(workspace: Workspace, partner: str | None, stream: str | None) -> set[str]:
    """Returns the tenants of a choice's exports, by the archive or the ledger."""
    copies = read_copies(workspace.settings.archive)
    entries = [copy["entry"] for copy in map(copies.read, copies.places) if copy["kind"] == "export"]
    with workspace.connection() as connection:
        entries += [stored["entry"] for _, stored in copies_of_ledger(connection, partner, stream, None)]
    return {e["tenant"] for e in entries if partner in (None, e["partner"]) and stream in (None, e["stream"])}


class _Suspect(NamedTuple):
    """An entry that may differ from its copy.

    Attributes:
        owner: partner, stream and tenant.
        identity: of the copy.
        file_id: the entry; 0 if there is none.
    """

    owner: tuple[str, str, str]
    identity: bytes
    file_id: int


class _Entries:
    """One look at the ledger, compared with the copies.

    Attributes:
        count: number of entries that should have copies.
        suspects: what may differ.
        uncopied: kept records of the entries without a copy -> their ids.
    """

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._known: set[bytes] = set()
        self.count = 0
        self.suspects: list[_Suspect] = []
        self.uncopied: dict[str, int] = {}

    def take(self, file_id: int, stored: dict[str, Any]) -> None:
        """Compares one entry."""
        identity = identity_of(stored)
        entry = stored["entry"]
        is_copied = entry["status"] in COPIED
        self.count += is_copied
        if identity not in self._copies.places:
            if is_copied:
                self.uncopied[kept_identity(entry["kept"] or f"{file_id}")] = file_id
            return
        self._known.add(identity)
        copy = self._copies.read(identity)
        if (is_copied or copy["entry"]["status"] in COPIED) and (
            differing(stored, copy) or entry["kept"] != copy["entry"]["kept"]
        ):
            self.suspects.append(_Suspect(_owner_of(copy), identity, file_id))

    def find_missing(self, partner: str | None, stream: str | None, tenant: str | None) -> None:
        """Adds copies of a choice that have no entry. One whose records another entry has lost its name."""
        for identity in self._copies.places.keys() - self._known:
            copy = self._copies.read(identity)
            if copy["kind"] != "export" or copy["entry"]["status"] not in COPIED:
                continue
            owner = _owner_of(copy)
            if all(wanted in (None, name) for wanted, name in zip((partner, stream, tenant), owner, strict=True)):
                renamed = self.uncopied.pop(kept_identity(copy["entry"]["kept"] or ""), 0)
                self.suspects.append(_Suspect(owner, identity, renamed))


def _owner_of(copy: dict[str, Any]) -> tuple[str, str, str]:
    entry = copy["entry"]
    return entry["partner"], entry["stream"], entry["tenant"]


def _settle(
    workspace: Workspace,
    connection: psycopg.Connection[Any],
    owner: tuple[str, str, str],
    suspects: list[_Suspect],
    copies: Copies,
    found: VerifiedLedger,
    *,
    repair: bool,
) -> list[bytes]:
    """Compares entries once more, while nobody loads their stream. Returns those that must be loaded again."""
    partner, name, tenant = owner
    archive, stream = workspace.settings.archive, find_stream(partner, name)
    lost = []
    with connection.transaction():
        if stream is not None:
            take_locks(connection, own_locks(stream, tenant))
        copies = read_copies(archive, copies)
        for suspect in suspects:
            copy = copies.read(suspect.identity)
            file_id = suspect.file_id or find_id(connection, copy["identity"])
            stored = None if file_id is None else copy_of(connection, file_id)
            differences = _differences(workspace, stored, copy)
            if not differences:
                if file_id is not None:
                    keep_copy(connection, archive, file_id)
                continue
            found.exports += 1
            found.differences += differences[: MOST_LISTED - len(found.differences)]
            # A damaged line may be the newest copy: then this one is out of date.
            if not repair or (copies.damages and stored is not None):
                continue
            if stored is None or file_id is None or _was_not_loaded(stored, copy):
                lost.append(suspect.identity)
                continue
            restore(connection, file_id, copy)
            if stored["rejects"] != copy["rejects"] and stream is not None:
                _restore_rejects(workspace, connection, stream, file_id)
            found.repaired += not _differences(workspace, copy_of(connection, file_id), copy)
    return lost


def _restore_rejects(workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, file_id: int) -> None:
    """Makes the rejects of an export those of its kept records, if these can be read."""
    entry, archive = ledger.entry_of(connection, file_id), workspace.settings.archive
    try:
        with connection.transaction():
            history = History(connection, stream, entry.tenant, archive)
            rejects = Rejects(LoadContext(connection, stream, entry, entry.run_id), history.knowing)
            rejects.renew(KeptRecords(archive, entry.kept or "-").rejects())
    except ArchiveIncomplete as error:
        log.warning("%s: its rejects cannot be restored: %s", entry.path, error)
    if entry.status == "withdrawn":
        withdraw_all(connection, file_id)


def _was_not_loaded(stored: dict[str, Any], copy: dict[str, Any]) -> bool:
    return copy["entry"]["status"] == "loaded" and stored["entry"]["status"] not in COPIED


def _differences(workspace: Workspace, stored: dict[str, Any] | None, copy: dict[str, Any]) -> list[LedgerDifference]:
    if stored is None:
        return [_difference(copy, "status", None, copy["entry"]["status"])]
    if _is_decided_again(stored, copy):
        return []
    columns = differing(stored, copy)
    kept = stored["entry"]["kept"]
    if kept != copy["entry"]["kept"] and not columns and not _is_there(workspace, kept or "-"):
        columns = [("kept", kept, copy["entry"]["kept"])]
    return [_difference(copy, *column) for column in columns]


def _difference(copy: dict[str, Any], column: str, stored: Any, archive: Any) -> LedgerDifference:
    partner, tenant, stream, path, revision = copy["identity"]
    return LedgerDifference(partner, tenant, stream, path, revision, column, stored, archive)


def _is_decided_again(stored: dict[str, Any], copy: dict[str, Any]) -> bool:
    """Whether a held or withdrawn export waits to be loaded, by a decision or with other content."""
    before, now = copy["entry"], stored["entry"]
    if before["status"] not in ("held", "withdrawn") or now["status"] in COPIED:
        return False
    is_other = before["status"] == "held" and now["sha256"] != before["sha256"]
    return is_other or len(stored["decisions"]) > len(copy["decisions"])


def _is_there(workspace: Workspace, kept: str) -> bool:
    """Whether kept records are at a place that differs from that of the copy."""
    try:
        KeptRecords(workspace.settings.archive, kept).check_footers()
    except ArchiveIncomplete:
        return False
    return True


def _write_copies(connection: psycopg.Connection[Any], archive: Path, file_ids: Sequence[int]) -> None:
    for start in range(0, len(file_ids), _COPIES_AT_ONCE):
        some = file_ids[start : start + _COPIES_AT_ONCE]
        with connection.transaction():
            # Waits for transactions that change them and write copies of their own.
            connection.execute("select from sync.export_files where id = any(%s) order by id for update", [list(some)])
            keep_copy(connection, archive, *some)


def _exchange_erasures(connection: psycopg.Connection[Any], archive: Path, copies: Copies) -> None:
    """Makes the database and the archive know the same erasures."""
    known = {identity_of(copy): erasure_id for erasure_id, copy in copies_of_erasures(connection)}
    for identity in sorted(copies.places.keys() - known.keys(), key=copies.places.__getitem__):
        copy = copies.read(identity)
        if copy["kind"] == "erasure":
            restore_erasure(connection, copy["entry"])
    keep_erasures(connection, archive, *[found for identity, found in known.items() if identity not in copies.places])
