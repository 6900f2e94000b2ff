"""Guards: limits above which a load is undone and its export is held, because it would do harm.

They look at a load's numbers when everything is written and nothing is committed. Their cost does not grow with the
table: live rows are counted only up to the number from which no limit can be exceeded.

Belongs here: when a guard trips. Does not belong here: counting what a load does (`row_effects`), the limits' values
(`configuration.guard_settings`), the ledger's entry of a held export (`database.ledger`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, Final

from psycopg.sql import SQL, Identifier

from sync_pipelines.configuration.guard_settings import GuardSettings, settings_of, shown_limit
from sync_pipelines.database import decisions, ledger, reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.privacy.personal_data import masked_reason
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext

FEWEST: Final = 50
"""Records of an export, or live rows, below which a share says nothing."""
_OF_ROWS: Final = ("deleted", "emptied", "changed")
_EXPORTS_COMPARED: Final = 10
_FEWEST_FULL: Final = 3
"""Full exports of a shape from which the next one is expected to be full, too."""
_LOOKED_AT: Final = 40


@dataclass(frozen=True)
class Tripped:
    """A guard whose limit a load exceeds.

    Attributes:
        name: the guard, a key of `guards`.
        limit: its limit, as in `sources.yaml`.
        found, of: the two numbers that it compares.
        blocked: how many of them are deletes that wait until nothing refers to the row (T9).
    """

    name: str
    limit: str
    found: int
    of: int
    blocked: int = 0

    @property
    def sentence(self) -> str:
        """What the load would do, and the limit."""
        what = {
            "rejected": f"{self.found:,} of {self.of:,} records would be rejected",
            "deleted": f"{self.found:,} of {self.of:,} rows would be deleted",
            "emptied": f"{self.found:,} of {self.of:,} rows would lose a value",
            "changed": f"{self.found:,} of {self.of:,} rows would change",
            "shrinks": f"it has {self.found:,} records; the last full exports had {self.of:,}",
        }
        if self.blocked:
            what["deleted"] += f", {self.blocked:,} of them once nothing refers to them"
        limit = "every record" if self.name == "rejected" and self.found == self.of else self.limit
        return f"{what[self.name]} (guard {self.name}, {limit})"


class ExportHeld(Exception):
    """A load was undone because guards tripped. Raised out of its transaction; not an error of the export.

    Attributes:
        entry: the export.
        tripped: the guards.
        held: the guards, the counts that it would have had, why records would be rejected, and the settings, as in the
            ledger.
    """

    def __init__(
        self,
        entry: LedgerFile,
        tripped: Sequence[Tripped],
        counts: Mapping[str, int],
        rejects: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
    ) -> None:
        self.entry = entry
        self.held: dict[str, Any] = {
            "guards": [vars(guard) for guard in tripped],
            "counts": dict(counts),
            "rejects": list(rejects),
            "settings": dict(settings),
        }
        super().__init__(f"held: {'; '.join(guard.sentence for guard in tripped)}")


class Guards:
    """Compares one load with the limits of its stream.

    Args:
        context: of the load.
        settings: the limits.
        archive: the archive's folder.
    """

    def __init__(self, context: LoadContext, settings: GuardSettings, archive: Path) -> None:
        self._load = context
        self._settings = settings
        self._limits = settings.limits()
        self._archive = archive

    def check(self, counts: Mapping[str, int], fingerprint: str) -> None:
        """Raises `ExportHeld` if a limit is exceeded, unless the export was released. Call it when all is written.

        Args:
            counts: what the ledger would have.
            fingerprint: fingerprint of the settings with which the export was read.
        """
        rejected = too_many_rejected(self._settings, counts["read"], counts["rejected"])
        found = [
            *([rejected] if rejected is not None else ()),
            *self._of_rows(counts["blocked"]),
            *self._shrinks(counts["read"]),
        ]
        if found and not decisions.is_released(self._load.connection, self._load.entry.id):
            settings = settings_of(fingerprint, self._settings)
            raise ExportHeld(self._load.entry, found, counts, self._rejects() if counts["rejected"] else (), settings)

    def _of_rows(self, blocked: int) -> Iterator[Tripped]:
        for name in _OF_ROWS:
            # A blocked delete is carried out as soon as nothing refers to its row, without anybody being asked.
            waiting = blocked if name == "deleted" else 0
            limit, rows = self._limits.get(name), getattr(self._load.effects, name) + waiting
            if limit is None or not _exceeds(rows, FEWEST, limit):
                continue
            of = self._live_before(int(rows * 100 / limit) + 1)
            if of >= FEWEST and _exceeds(rows, of, limit):
                yield Tripped(name, shown_limit(limit), rows, of, waiting)

    def _shrinks(self, read: int) -> Iterator[Tripped]:
        """Compares the export with the last ones of its shape, if they all were full.

        An export is full if it has at least half of the live rows. Incremental exports are not, as soon as there are
        three of them.
        """
        limit = self._limits.get("shrinks")
        if limit is None:
            return
        shape = _shape(self._load.entry.path)
        before = ledger.sizes_before(self._load.connection, self._load.entry, _LOOKED_AT)
        alike = [loaded for loaded in before if _shape(loaded.path) == shape][:_EXPORTS_COMPARED]
        if len(alike) < _FEWEST_FULL:
            return
        usual = int(median(loaded.read for loaded in alike))
        if not _exceeds(usual - read, usual, limit):
            return
        least = min(loaded.read for loaded in alike)
        of = self._live_before(2 * least + 1)
        if FEWEST <= of <= 2 * least and all(2 * self._keys(loaded.kept) >= of for loaded in alike):
            yield Tripped("shrinks", shown_limit(limit), read, usual)

    def _live_before(self, limit: int) -> int:
        """Returns the live rows of the tenant's stream before the load, or the limit or more if there are as many."""
        more = self._load.effects.created - self._load.effects.deleted
        return _live_rows(self._load, max(limit + more, 0)) - more

    def _keys(self, kept: str | None) -> int:
        try:
            return len(KeptRecords(self._archive, kept or "-").keys.distinct)
        except ArchiveIncomplete:
            return 0

    def _rejects(self) -> list[dict[str, Any]]:
        """Returns why records would be rejected: each code with one example, personal values masked."""
        found = reports.rejects_of_files(self._load.connection, [self._load.entry.id])
        return [
            {
                "code": reject.code,
                "records": reject.records,
                "position": reject.position,
                "field": reject.field_path,
                "message": masked_reason(self._load.stream, reject.field_path, reject.message or ""),
            }
            for reject in found
        ]


def too_many_rejected(settings: GuardSettings, read: int, rejected: int) -> Tripped | None:
    """Returns the guard `rejected` if it would hold an export of so many records, so many of them rejected."""
    limit = settings.rejected
    if limit is None or not rejected:
        return None
    if rejected == read or (read >= FEWEST and _exceeds(rejected, read, limit)):
        return Tripped("rejected", shown_limit(limit), rejected, read)
    return None


def _live_rows(context: LoadContext, limit: int) -> int:
    """Returns the number of live rows of the tenant's stream, no more than a limit."""
    connection, stream = context.connection, context.stream
    statement = SQL(
        "select count(*) from (select from {} where tenant = %s and partner = %s and deleted_at is null"
        " and not is_placeholder limit %s) live"
    ).format(Identifier(SCHEMA, stream.table))
    # The rows of one tenant may be the last of a large table, or millions: only a plain index scan stops early.
    with connection.transaction(force_rollback=True):
        connection.execute("set local enable_seqscan = off")
        connection.execute("set local enable_bitmapscan = off")
        row = connection.execute(statement, [context.entry.tenant, stream.partner, limit]).fetchone()
    return int(row[0]) if row else 0


def _exceeds(found: int, of: int, limit: Decimal) -> bool:
    return found * 100 > limit * of


def _shape(path: str) -> str:
    """Returns a path without its numbers: exports that differ only by their dates have one shape."""
    return re.sub(r"\d+", "#", path)
