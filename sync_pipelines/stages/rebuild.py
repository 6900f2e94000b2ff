"""Rebuilds exports from the archive alone: their ledger entries, and the tables by the ordinary load.

Each export is loaded in version order. Then its counts and outcomes become those of its copy: they depend on the order
in which exports once arrived. A process may be killed at any moment: what is entered and not loaded is pending.

Belongs here: the order, and what is checked before anything is loaded. Does not belong here: finding what is missing
(`verify_ledger`), copies (`database.ledger_copies`).
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

import psycopg
from backports import zstd

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import enter, find_id, keep_copy, restore
from sync_pipelines.errors import ArchiveIncomplete, SyncError
from sync_pipelines.exports.naming import natural_order
from sync_pipelines.kept.kept_records import KeptRecords, remove_unnamed
from sync_pipelines.kept.ledger_files import Copies
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.archived import normalize_archived
from sync_pipelines.stages.raw_bytes import fetch_raw
from sync_pipelines.stages.repair import is_same
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.load import load
from sync_pipelines.upsert.stored_rejects import Rejects, withdraw_all

log = logging.getLogger(__name__)

_PENDING: Final = (
    "partner", "tenant", "stream", "path", "revision", "size", "modified_at", "etag", "sha256", "raw_sha256",
    "looked_at", "effective_at", "partition_date", "has_own_date", "kept", "seen_at",
)  # fmt: skip
"""Columns that an entry has before it is loaded."""
_EMPTY: Final = {"status": "pending", "error": None, "held": None, "attempts": 0, "attempted_at": None}


class Lost(NamedTuple):
    """An export that cannot be rebuilt.

    Attributes:
        path: its path in the landing.
        why: what is missing, with paths in the archive.
    """

    path: str
    why: str


@dataclass
class Rebuilt:
    """The result of a rebuild.

    Attributes:
        exports: number of exports that are in the ledger and the tables again.
        mended: paths of exports whose kept records were written again from raw bytes.
        lost: exports that cannot be rebuilt; nothing of their tenant's stream is loaded.
        waiting: number of exports that are not loaded for that reason.
    """

    exports: int = 0
    mended: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    waiting: int = 0


class _Wanted(NamedTuple):
    """An export that is rebuilt."""

    place: int
    tenant: str
    version: tuple[datetime, bytes, int]
    identity: bytes
    stream: Stream


def rebuild(workspace: Workspace, copies: Copies, identities: Iterable[bytes]) -> Rebuilt:
    """Rebuilds exports from their copies, which need no entry in the ledger.

    Args:
        workspace: the sync's workspace; its landing may be away.
        copies: of the archive.
        identities: which of them.
    """
    done = Rebuilt()
    wanted = sorted(_in_order(copies, identities, done))
    with workspace.keeping_connections() as keeping:
        for _, of_stream in groupby(wanted, key=lambda one: (one.place, one.tenant)):
            _rebuild_stream(keeping, copies, list(of_stream), done)
    return done


def _in_order(copies: Copies, identities: Iterable[bytes], done: Rebuilt) -> Iterator[_Wanted]:
    streams = {(stream.partner, stream.name): (place, stream) for place, stream in enumerate(STREAMS)}
    for identity in identities:
        entry = copies.read(identity)["entry"]
        place, stream = streams.get((entry["partner"], entry["stream"]), (-1, None))
        if stream is None:
            done.lost.append(Lost(entry["path"], f"no installed partner has {entry['partner']}/{entry['stream']}"))
            continue
        version = (datetime.fromisoformat(entry["effective_at"]), natural_order(entry["path"]), entry["revision"])
        yield _Wanted(place, entry["tenant"], version, identity, stream)


def _rebuild_stream(workspace: Workspace, copies: Copies, wanted: Sequence[_Wanted], done: Rebuilt) -> None:
    """Rebuilds exports of one tenant's stream: all of them, or none if some of their records are lost."""
    lost: dict[bytes, ArchiveIncomplete] = {}
    verified: set[str] = set()
    with workspace.connection() as connection:
        entered = {one.identity: _enter(connection, copies.read(one.identity)) for one in wanted}
        for one in wanted:
            copy = copies.read(one.identity)
            try:
                if copy["entry"]["status"] == "loaded":
                    _check(workspace, connection, copy, entered[one.identity], verified, done)
            except ArchiveIncomplete as error:
                lost[one.identity] = error
        for one in wanted:
            copy, file_id = copies.read(one.identity), entered[one.identity]
            if one.identity in lost:
                # As a loaded export without records, it keeps every load of its keys from going on without them.
                restore(connection, file_id, copy)
                done.lost.append(Lost(copy["entry"]["path"], str(lost[one.identity])))
            elif copy["entry"]["status"] != "loaded":
                _restore_unloaded(workspace, connection, one.stream, file_id, copy)
                done.exports += 1
            elif lost:
                ledger_changes.mark_failed(connection, file_id, next(iter(lost.values())), None)
                done.waiting += 1
            else:
                _load(workspace, connection, one.stream, file_id, copy)
                done.exports += 1


def _enter(connection: psycopg.Connection[Any], copy: dict[str, Any]) -> int:
    """Enters an export as pending, with its place in the archive."""
    entry = {name: copy["entry"][name] for name in _PENDING if name in copy["entry"]} | _EMPTY
    file_id = find_id(connection, copy["identity"])
    if file_id is not None:
        # The load writes them again.
        connection.execute("delete from sync.rejected_records where export_file_id = %s", [file_id])
    return enter(connection, entry, file_id)


def _check(
    workspace: Workspace,
    connection: psycopg.Connection[Any],
    copy: dict[str, Any],
    file_id: int,
    verified: set[str],
    done: Rebuilt,
) -> None:
    """Verifies an export's kept records, and writes damaged ones again from its raw bytes.

    Raises:
        ArchiveIncomplete: they are damaged or missing, and that is impossible.
    """
    archive, entry = workspace.settings.archive, ledger.entry_of(connection, file_id)
    try:
        KeptRecords(archive, entry.kept or "-").verify_all(verified)
    except ArchiveIncomplete as damage:
        fetch_raw(workspace, entry)
        try:
            kept = normalize_archived(workspace, entry)
        except SyncError as error:
            raise ArchiveIncomplete(damage.code, f"{damage.message}; {error.message}", damage.hint) from error
        if not _is_as_before(workspace, entry, kept, copy):
            remove_unnamed(archive, kept)
            message = f"{damage.message}; its raw bytes are read differently now, by other settings or another version"
            raise ArchiveIncomplete(damage.code, message, damage.hint) from damage
        ledger_changes.replace_kept(connection, entry, kept)
        done.mended.append(entry.path)
        log.warning("%s: its kept records were rebuilt from its raw bytes after %s", entry.path, damage)


def _is_as_before(workspace: Workspace, entry: LedgerFile, kept: str, copy: dict[str, Any]) -> bool:
    """Whether an export was read as it was when it was loaded, as far as the damage lets one see."""
    if is_same(workspace, replace(entry, status="loaded"), kept):
        return True
    mine, outcomes = KeptRecords(workspace.settings.archive, kept), copy["outcomes"]
    count = 0 if outcomes is None else len(zstd.decompress(b64decode(outcomes)))
    return count in (mine.count, mine.summary.read) and copy["rejects"] in (
        mine.summary.rejected,
        len([*mine.rejects()]),
    )


def _load(
    workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, file_id: int, copy: dict[str, Any]
) -> None:
    """Loads an export, and gives it the counts and outcomes of its first load, in one transaction."""
    archive, entry = workspace.settings.archive, copy["entry"]
    with connection.transaction():
        load(connection, stream, file_id, archive, entry["run_id"], keeps_copy=False, blocked=copy["blocked_deletes"])
        kept = ledger.entry_of(connection, file_id).kept
        restore(connection, file_id, {**copy, "entry": {**entry, "kept": kept}})
        if kept != entry["kept"]:
            keep_copy(connection, archive, file_id)


def _restore_unloaded(
    workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, file_id: int, copy: dict[str, Any]
) -> None:
    """Enters an export that is held or withdrawn."""
    with connection.transaction():
        restore(connection, file_id, copy)
        entry = ledger.entry_of(connection, file_id)
        if entry.status == "withdrawn" and copy["rejects"] and entry.kept is not None:
            context = LoadContext(connection, stream, entry, entry.run_id)
            Rejects(context, lambda hashes: []).keep(KeptRecords(workspace.settings.archive, entry.kept).rejects())
            withdraw_all(connection, file_id)
