"""Verifies every byte of the archive against its checksums, and mends what it can.

    raw/        raw bytes: by the hash in their name, and the checksum at their end
    records/    objects of kept records: every part that the ledger names, by its footer
    ledger/     copies of ledger entries: each line by its checksum
    raw/removed.txt    notes of removed raw bytes: each line by its checksum

Raw bytes are mended from the landing if it still has them, kept records from raw bytes, copies from the database. A
file that no ledger entry names is not needed; housekeeping removes it.

Belongs here: which files there are, and mending them. Does not belong here: what a checksum is (`kept`), comparing the
ledger with its copies (`verify_ledger`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from xxhash import xxh3_64_intdigest

from sync_pipelines.database import kept_objects, ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import COPIED, copies_of_ledger, differing, keep_copy
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.ledger_files import FOLDER, identity_of, read_copies, rewrite_damaged
from sync_pipelines.kept.locations import Location, to_location
from sync_pipelines.kept.object_reader import ObjectReader
from sync_pipelines.kept.object_store import StoredObject, open_store
from sync_pipelines.kept.seals import Removals, write_removals
from sync_pipelines.stages.raw_bytes import fetch_raw
from sync_pipelines.stages.repair import repair_kept
from sync_pipelines.stages.workspace import Workspace

_RAW_NAME: Final = re.compile(r"([0-9a-f]{64})(\.zst)?")
_CLOCKS_DIFFER: Final = 3_600
"""Seconds by which the clocks of a host and of the database may differ."""


@dataclass(frozen=True)
class Damage:
    """Damage to one file.

    Attributes:
        path: of the file, relative to the archive.
        why: what is wrong, with the section or the line.
        exports: paths of the exports that need it.
        is_mended: whether it is as it was, or no longer needed.
    """

    path: str
    why: str
    exports: tuple[str, ...] = ()
    is_mended: bool = False


@dataclass
class VerifiedArchive:
    """The result of verifying.

    Attributes:
        files: number of files that were read.
        bytes: their bytes.
        damages: what is damaged or missing.
    """

    files: int = 0
    bytes: int = 0
    damages: list[Damage] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing is damaged any more."""
        return all(damage.is_mended for damage in self.damages)


def verify_archive(workspace: Workspace, part: tuple[int, int] = (0, 1), *, repair: bool = False) -> VerifiedArchive:
    """Reads files of the archive and compares them with their checksums. Loads may run meanwhile.

    Args:
        workspace: the sync's workspace; its landing may be away.
        part: which of how many equal parts of the files, by their names: `(0, 30)` is the first of thirty.
        repair: whether damage is mended.
    """
    found = VerifiedArchive()
    with workspace.connection() as connection:
        look = _Look(workspace, connection, part, found, repair=repair)
        look.removals()
        look.raw()
        look.objects()
        look.copies()
    return found


class _Look:
    """One look at a part of the archive."""

    def __init__(
        self,
        workspace: Workspace,
        connection: psycopg.Connection[Any],
        part: tuple[int, int],
        found: VerifiedArchive,
        *,
        repair: bool,
    ) -> None:
        self._workspace = workspace
        self._connection = connection
        self._number, self._count = part
        self._found = found
        self._repairs = repair
        self._archive = workspace.settings.archive

    def _is_mine(self, name: str) -> bool:
        return xxh3_64_intdigest(name.encode()) % self._count == self._number

    def _damaged(self, path: str, why: str, exports: Iterator[str] | tuple[str, ...] = (), *, mended: bool) -> None:
        self._found.damages.append(Damage(path, why, tuple(exports), mended))

    def _read(self, size: int) -> None:
        self._found.files += 1
        self._found.bytes += size

    # -- raw bytes ---------------------------------------------------------------------------------------------

    def raw(self) -> None:
        """Verifies raw bytes, and that those of every archived export are there unless retention removed them."""
        for path in sorted((self._archive / "raw").glob("*/*")):
            name = _RAW_NAME.fullmatch(path.name)
            if name is None or path.parent.name != name[1][:2] or not self._is_mine(name[1]):
                continue
            try:
                self._read(path.stat().st_size)
                self._workspace.archive.read(name[1]).verify_stored()
            except FileNotFoundError:
                continue  # removed meanwhile
            except ArchiveIncomplete as error:
                if error.code == "archive_damaged":
                    self._mend_raw(path.relative_to(self._archive).as_posix(), name[1], error)
        removals = self._workspace.archive.removals()
        missing = self._missing_raw(removals)
        # Damaged notes may be about them.
        for sha256 in missing if len(missing) > len(removals.damaged) else ():
            if self._is_mine(sha256):
                why = ArchiveIncomplete("raw_export_gone", "it is missing")
                self._mend_raw(f"raw/{sha256[:2]}/{sha256}", sha256, why)

    def _missing_raw(self, removals: Removals) -> list[str]:
        """Returns hashes of archived exports whose bytes are missing without a note."""
        rows = self._connection.execute(
            "select distinct coalesce(raw_sha256, sha256) from sync.export_files"
            " where sha256 is not null and status = any(%s)",
            [list(COPIED)],
        )
        archive = self._workspace.archive
        return [name for (name,) in rows if name not in removals.days and not archive.has(name)]

    def _mend_raw(self, path: str, sha256: str, error: ArchiveIncomplete) -> None:
        entries = ledger.of_content(self._connection, sha256)
        mended = self._repairs and any(fetch_raw(self._workspace, entry) for entry in entries)
        self._damaged(path, error.message, tuple(entry.path for entry in entries), mended=mended)

    # -- kept records ------------------------------------------------------------------------------------------

    def objects(self) -> None:
        """Verifies every part of every object that the ledger names."""
        store = open_store(self._archive)
        # Objects are listed first: what is named afterwards is there.
        stored = {item.name: item for item in store.list()}
        for name, parts in sorted(self._named_parts().items()):
            if not self._is_mine(name):
                continue
            self._read(stored.get(name, StoredObject(name, 0)).size)
            for location, ids in parts.items():
                try:
                    ObjectReader(store, location, str(location)).verify()
                except ArchiveIncomplete as error:
                    self._mend_kept(location, sorted(ids), error)

    def _named_parts(self) -> dict[str, dict[Location, set[int]]]:
        """Returns the name of each object -> its parts -> ids of the entries whose records are there."""
        found: dict[str, dict[Location, set[int]]] = defaultdict(lambda: defaultdict(set))
        for entry in kept_objects.all_kept(self._connection):
            for place in map(to_location, (entry.kept or "").split()):
                if place is not None and self._is_mine(place.name):
                    found[place.name][place].add(entry.id)
        return found

    def _mend_kept(self, location: Location, ids: list[int], error: ArchiveIncomplete) -> None:
        entries = ledger.of_ids(self._connection, ids)
        entries = [entry for entry in entries if str(location) in (entry.kept or "").split()]
        if not entries:
            return  # moved or replaced meanwhile
        mended = [self._repairs and self._mend_entry(entry) for entry in entries]
        self._damaged(location.path, error.message, tuple(entry.path for entry in entries), mended=all(mended))

    def _mend_entry(self, entry: LedgerFile) -> bool:
        """Writes an export's kept records again if any are damaged; returns whether all are whole."""
        try:
            KeptRecords(self._archive, entry.kept or "-").verify_all(set())
            return True
        except ArchiveIncomplete as error:
            fetch_raw(self._workspace, entry)
            return repair_kept(self._workspace, error) is not None

    # -- copies of the ledger ----------------------------------------------------------------------------------

    def copies(self) -> None:
        """Verifies the copies of ledger entries. All of them, in every part: each is needed to know the newest."""
        store = open_store(self._archive, FOLDER)
        mine = [item for item in store.list() if self._is_mine(item.name)]
        for item in mine:
            self._read(item.size)
        copies = read_copies(self._archive)
        damages = [damage for damage in copies.damages if self._is_mine(damage.path.rpartition("/")[2])]
        if damages and self._repairs:
            self._mend_copies(max(StoredObject(damage.path.rpartition("/")[2], 0).created_at for damage in damages))
            rewrite_damaged(self._archive, {damage.path.rpartition("/")[2] for damage in damages})
        for damage in damages:
            self._damaged(damage.path, f"line {damage.line} is damaged", mended=self._repairs)

    def _mend_copies(self, damaged_at: float) -> None:
        """Writes copies of the entries whose newest copy may have been in a damaged object."""
        copies = read_copies(self._archive)
        before = (damaged_at + _CLOCKS_DIFFER) * 1_000_000
        for file_id, stored in list(copies_of_ledger(self._connection, None, None, None)):
            place = copies.places.get(identity_of(stored))
            if stored["entry"]["status"] not in COPIED or (place is not None and place.copied_at > before):
                continue
            if place is None or differing(stored, copies.read(identity_of(stored))):
                keep_copy(self._connection, self._archive, file_id)

    # -- notes of removed raw bytes ----------------------------------------------------------------------------

    def removals(self) -> None:
        """Verifies the notes of what retention removed, and gives old ones checksums."""
        file = self._archive / "raw" / "removed.txt"
        if not file.exists() or not self._is_mine(file.name):
            return
        self._read(file.stat().st_size)
        found = self._workspace.archive.removals()
        if self._repairs and (found.damaged or found.unsealed):
            missing = self._missing_raw(found)
            noted = missing if len(missing) <= len(found.damaged) else []
            write_removals(file, found.days | dict.fromkeys(noted, f"{datetime.now(UTC):%Y-%m-%d}"))
        for line in found.damaged:
            self._damaged("raw/removed.txt", f"line {line} is damaged", mended=self._repairs)
