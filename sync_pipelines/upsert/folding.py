"""Folds records row by row.

These are records of keys that newer exports know, of keys with several records in their export, and of streams whose
write rules need the whole row.

Belongs here: which records are folded over which, their outcomes, which rejections changed. Does not belong here: the
write rules (`fold`), comparing with the stored rows (`differences`), SQL of rows (`write`).
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.upsert.audit import Audit
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Copying
from sync_pipelines.upsert.decisions import Decisions
from sync_pipelines.upsert.differences import Differences
from sync_pipelines.upsert.empty_tables import DeferredIndexes
from sync_pipelines.upsert.families import Family, families_of
from sync_pipelines.upsert.fold import CREATE_OF_EXISTING, Applied, Outcome, Row, Rows, apply, outcome
from sync_pipelines.upsert.history import (
    Hashes,
    Knowing,
    KnownExport,
    VersionedRecord,
    connected,
    in_file_order,
    versioned_records,
)
from sync_pipelines.upsert.missing_rows import create_missing
from sync_pipelines.upsert.references import ReferenceIds
from sync_pipelines.upsert.stored_rows import Source, StoredRow, read_rows
from sync_pipelines.upsert.write import write

if TYPE_CHECKING:
    # `row_names` folds records again.
    from sync_pipelines.upsert.row_names import RowNames

_KEYS_AT_ONCE: Final = 2_000


class _Came(NamedTuple):
    """A record that was applied, and its row afterwards; None if there is none."""

    record: VersionedRecord
    row: Row | None


class Folding:
    """Folds records of one export into the tables, chunk by chunk, in the load's transaction.

    Args:
        context: context of the load.
        knowing: returns the loaded exports of the tenant's stream that know some keys.
        names: follows the names of the stream's rows, where records of other streams name them too.
        note_outcome: called with the row of each record in the export's kept records, and its outcome.
        audit: compares the rows cell by cell, if they are verified.
    """

    def __init__(
        self,
        context: LoadContext,
        knowing: Knowing,
        names: RowNames | None = None,
        note_outcome: Callable[[int, Outcome], None] = lambda row, outcome: None,
        audit: Audit | None = None,
    ) -> None:
        self._load = context
        self._audit = audit
        self._names = names
        self._taken: set[int] = set()
        self._note_outcome = note_outcome
        self._copying = Copying(context.connection)
        self._knowing = knowing
        self._decisions = Decisions(context, knowing)
        self._blocking: Mapping[str, int] | None = None
        self._earlier: Collection[int] = ()
        self.leniencies: Counter[str] = Counter()
        self.missing: set[Identity] = set()

    def fold_newest(self, mine: KnownExport, hashes: Hashes) -> None:
        """Applies the export's records to the stored rows, one after the other: no newer record exists (X6)."""
        for chunk in self._chunks(in_file_order(mine, hashes)):
            self._fold(versioned_records([mine], chunk, self._load.layout), None)

    def fold_late(self, mine: KnownExport, hashes: Hashes) -> None:
        """Folds keys that newer exports know from an empty row over all their records (X5)."""
        self._fold_all(in_file_order(mine, hashes), [mine], [])

    def fold_again(self, former: KnownExport, mine: KnownExport, hashes: Hashes) -> None:
        """Folds the keys of an export that is read again from an empty row, and decides its rejections again.

        Args:
            former: the export as it was read before, whose records no longer apply.
            mine: the export as it is read now.
            hashes: the keys.
        """
        self._fold_all(hashes, [mine], [former])

    def fold_known(self, hashes: Hashes, withdrawn: Sequence[KnownExport] = ()) -> None:
        """Folds keys from an empty row over the records of loaded exports, without those of withdrawn ones."""
        if self._load.stream.has_record_ids:
            hashes = connected(hashes, lambda some: [*withdrawn, *self._knowing(some)], self._load.layout)
        self._fold_all(hashes, [], withdrawn)

    def decide_again(
        self,
        records: list[VersionedRecord],
        hashes: Hashes,
        blocking: Mapping[str, int],
        earlier: Collection[int],
    ) -> None:
        """Folds keys from an empty row, and decides again whether live rows block some of their deletes (T9).

        Args:
            records: the deletes, all of the export that is being written.
            hashes: all hashes of their keys.
            blocking: key -> how many live rows referred to the row when the export was loaded.
            earlier: ids of the exports that were loaded before it.
        """
        self._blocking, self._earlier = blocking, earlier
        aside = {record.version for record in records}
        known = versioned_records(self._knowing(hashes), hashes, self._load.layout)
        self._fold(records, [record for record in known if record.version not in aside])

    def _fold_all(self, hashes: Hashes, mine: Sequence[KnownExport], former: Sequence[KnownExport]) -> None:
        """Folds keys from an empty row over all their records but former ones, which only say which rows they had."""
        for chunk in self._chunks(hashes):
            kinds = mine, self._knowing(chunk), former
            self._fold(*(versioned_records(exports, chunk, self._load.layout) for exports in kinds))

    def _chunks(self, hashes: Hashes) -> Iterator[Hashes]:
        step = max(len(hashes), 1) if self._load.stream.has_record_ids else _KEYS_AT_ONCE
        for start in range(0, len(hashes), step):
            yield hashes[start : start + step]

    def _fold(
        self, mine: list[VersionedRecord], applied: list[VersionedRecord] | None, former: Sequence[VersionedRecord] = ()
    ) -> None:
        everything = [*mine, *(applied or ())]
        ids = self._refer(everything)
        stored = self._stored([*everything, *former])
        if self._names is not None:
            stored = self._names.without_pairs(stored)
        self._taken = set()
        differences = Differences(self._load, self._copying.new_id, self._audit)
        self._decisions.look_up(everything)
        mine, known = _linked(mine, ids), _linked(applied or [], ids)
        for family in families_of(mine, known, former, stored):
            rows, came = self._folded(family) if applied is not None else self._applied(family)
            self._take(differences, family, rows, came)
        write(self._load.connection, self._load.stream, self._load.entry.tenant, differences.writes)
        written = differences.writes.written(self._load.stream.table)
        self._load.note_rows(self._load.stream.table, written)
        if self._names is not None:
            self._names.forget(written)
        self._decisions.write()

    def _stored(self, records: Iterable[VersionedRecord]) -> list[StoredRow]:
        changes = [record.change for record in records]
        keys = {change.key for change in changes if change.key is not None}
        record_ids = {change.record_id for change in changes if change.record_id is not None}
        while True:
            stored = read_rows(
                self._load.connection,
                self._load.stream,
                self._load.entry.tenant,
                sorted(keys),
                sorted(record_ids),
                is_verified=self._audit is not None,
            )
            # A row that moves may meet one with its external id (F04).
            further = {s.row.external_id for s in stored if s.row.external_id is not None} - keys
            if self._load.stream.scope is None or not further:
                return stored
            keys |= further
            record_ids |= {s.row.record_id for s in stored if s.row.record_id is not None}

    def _refer(self, records: Sequence[VersionedRecord]) -> dict[str, dict[Identity, int]]:
        """Returns the rows that records refer to. Every accepted record creates them, even a stale one (X7)."""
        if self._audit is not None:
            self.missing.update(create_missing(self._load, records, self._audit))
        referred = ReferenceIds(self._copying, self._load.last_write_of_export, DeferredIndexes(self._load.connection))
        return {
            reference.column: referred.ids_of(
                reference, [m for s in records if (m := s.change.links.get(reference.column)) is not None]
            )
            for reference in self._load.stream.references
        }

    # -- late: from an empty row -------------------------------------------------------------------------------

    def _folded(self, family: Family) -> tuple[Rows, list[_Came]]:
        """Inserts each record in its place. Its outcome compares the fold with and without it (X11)."""
        records = [s for s in family.applied if not self._decisions.is_blocked(s)]
        trail = self._trail(records)
        for record in family.mine:
            place = bisect(records, record.version, key=lambda s: s.version)
            placed = [*records[:place], record, *records[place:]]
            placed_trail = self._trail(placed, trail[:place])
            applied = placed_trail[place]
            if applied.rejection is not None:
                self._note_outcome(record.version[3], "rejected")
            elif self._is_blocked(family, record, applied):
                self._note_outcome(record.version[3], "blocked")
                continue
            else:
                before, after = (self._row_of(_rows_after(each), applied) for each in (trail, placed_trail))
                self._note_change(before, after, record, is_older=place < len(records))
            records, trail = placed, placed_trail
        for record, applied in zip(records, trail, strict=True):
            self._decisions.decide(record, applied.rejection)
        came = [_Came(record, applied.after) for record, applied in zip(records, trail, strict=True)]
        return _rows_after(trail), came

    def _row_of(self, rows: Rows, applied: Applied) -> Row | None:
        """Returns a record's row among other rows of the same family."""
        own_row = applied.after or applied.before
        return (
            None
            if own_row is None
            else next((row for row in rows if row.is_same_record(own_row, self._load.stream)), None)
        )

    def _trail(self, records: Sequence[VersionedRecord], known: Sequence[Applied] = ()) -> list[Applied]:
        """Returns the effect of each record from an empty row; those of the first ones may be known."""
        trail = [*known]
        for record in records[len(known) :]:
            trail.append(apply(self._load.stream, _rows_after(trail), record.change))
        return trail

    # -- newest: on the stored row -----------------------------------------------------------------------------

    def _applied(self, family: Family) -> tuple[Rows, list[_Came]]:
        rows, came = tuple(stored.row for stored in family.stored), list[_Came]()
        for record in family.mine:
            applied = apply(self._load.stream, rows, record.change)
            self._decisions.decide(record, applied.rejection)
            if applied.rejection is not None:
                self._note_outcome(record.version[3], "rejected")
            elif self._is_blocked(family, record, applied):
                self._note_outcome(record.version[3], "blocked")
            else:
                self._note_change(applied.before, applied.after, record, is_older=False)
                rows = applied.rows
                came.append(_Came(record, applied.after))
        return rows, came

    def _note_change(self, before: Row | None, after: Row | None, record: VersionedRecord, *, is_older: bool) -> None:
        self._note_outcome(record.version[3], outcome(before, after, record.change, is_older=is_older))
        if record.change.operation == "create" and before is not None and before.is_live and not before.is_placeholder:
            self.leniencies[CREATE_OF_EXISTING] += 1

    def _is_blocked(self, family: Family, record: VersionedRecord, applied: Applied) -> bool:
        """Whether live rows refer to a row that is to be deleted and is live just before it (T9)."""
        if self._load.blocked is not None:
            return self._decisions.block_again(record)
        before, after = applied.before, applied.after
        if self._load.stream.blocked_by is None or (after and after.is_live):
            return False
        # A row that other rows only referred to is in no record of its own.
        is_live = self._was_newest(family, record) if before is None else before.is_live
        if self._blocking is not None:
            return is_live and self._decisions.block_by(record, self._blocking.get(record.change.key or "", 0))
        stored_ids = [s.id for s in family.stored if s.row.external_id == record.change.key]
        return is_live and bool(stored_ids) and self._decisions.block(record, stored_ids)

    def _was_newest(self, family: Family, record: VersionedRecord) -> bool:
        """Whether no newer record was loaded before a delete. Then it found a row that other rows only referred to."""
        newer = [r for r in family.applied if r.version > record.version]
        return not newer or (self._blocking is not None and all(r.entry.id not in self._earlier for r in newer))

    def _take(self, differences: Differences, family: Family, rows: Rows, came: Sequence[_Came]) -> None:
        own = [stored for stored in family.stored if not stored.is_lent]
        written: list[tuple[Row, int]] = []
        for paired, row in zip(_paired(self._load.stream, rows, own), rows, strict=True):
            # Two names of one placeholder may become two rows (F11).
            stored = None if paired is None or paired.id in self._taken else paired
            if stored is None and row.is_placeholder and self._names is not None:
                continue
            former = None if stored is None else stored.source
            is_disowned = former is not None and former.source_file in (self._load.withdrawn or ())
            source, sources = self._source(family, row, came), self._sources(family, row)
            row_id = differences.take(stored, row, source, family.matches, sources, is_disowned=is_disowned)
            self._taken.add(row_id)
            written.append((row, row_id))
        if self._audit is not None:
            self._audit.produced += [row_id for _, row_id in written]
        for stored in own:
            if stored.id not in self._taken:
                self._taken.add(stored.id)
                self._retire(differences, stored, written)
        if self._names is not None:
            self._names.note(rows)
            self._free_names(differences, family, written)

    def _free_names(self, differences: Differences, family: Family, written: Sequence[tuple[Row, int]]) -> None:
        """Frees an external id that a row has only from a pair if another row's own record has it."""
        owners = {row.external_id: row_id for row, row_id in written if not row.is_placeholder}
        for stored in family.stored:
            if stored.row.external_id is None or not stored.row.is_placeholder:
                continue
            if owners.get(stored.row.external_id, stored.id) != stored.id:
                differences.writes.freed_keys.append(stored.id)

    def _source(self, family: Family, row: Row, came: Sequence[_Came]) -> Source:
        """Returns the last record of this export that produced the row, or else the last of all."""
        # After a withdrawal, the export that has the last word may be any.
        is_own = bool(family.mine) and self._load.withdrawn is None
        records = [c for c in came if c.record.entry.id == self._load.entry.id] if is_own else came
        matching = (
            c.record for c in reversed(records) if c.row is not None and row.is_same_record(c.row, self._load.stream)
        )
        last = next(matching, None) or (family.mine[-1] if is_own else family.newest)
        if last is None:
            return Source(self._load.entry.effective_at, self._load.entry.path, None)
        return Source(last.change.effective_at, last.entry.path, last.change.position)

    def _sources(self, family: Family, row: Row) -> set[Source]:
        """Returns the records that a verified row may name as its source; empty if other records may be too."""
        if self._audit is None or row.is_placeholder:
            return set()
        return {Source(r.change.effective_at, r.entry.path, r.change.position) for r in family.applied}

    def _retire(self, differences: Differences, stored: StoredRow, rows: Sequence[tuple[Row, int]]) -> None:
        """Retires a stored row that no record produces any more. A placeholder stays, except in a withdrawal."""
        scope = stored.row.scope_of(self._load.stream)
        near = [(row, row_id) for row, row_id in rows if row.scope_of(self._load.stream) == scope]
        key, own = stored.row.external_id, stored.row.record_id
        by_key = next((row_id for row, row_id in near if key is not None and row.external_id == key), None)
        by_id = next((row_id for row, row_id in rows if own is not None and row.record_id == own), None)
        if stored.row.is_placeholder and by_key is None and by_id is None and self._load.withdrawn is None:
            return
        heir = by_key if own is None else by_id
        identity = (None if by_key is not None else key, None if by_id is not None else own)
        differences.retire(stored, heir, identity)


def _rows_after(trail: Sequence[Applied]) -> Rows:
    return trail[-1].rows if trail else ()


def _paired(stream: Stream, rows: Rows, stored: Sequence[StoredRow]) -> list[StoredRow | None]:
    """Returns the stored row of each folded one: by own id, then by external id, then by its former place (P2)."""
    pairs: list[StoredRow | None] = [None] * len(rows)
    free = list(stored)
    ways: list[Callable[[Row], Any]] = [lambda row: row.record_id, lambda row: row.external_id]
    for identity in ways:
        for number, row in enumerate(rows):
            if pairs[number] is None and identity(row) is not None:
                found = (s for s in free if identity(s.row) == identity(row) and row.is_same_record(s.row, stream))
                pairs[number] = next(found, None)
                free = [s for s in free if s is not pairs[number]]
    return pairs


def _linked(records: Iterable[VersionedRecord], ids: Mapping[str, Mapping[Identity, int]]) -> list[VersionedRecord]:
    """Returns records whose links are ids of the referenced rows."""
    return [
        replace(
            record,
            change=record.change._replace(
                links={
                    column: None if target is None else ids[column][target]
                    for column, target in record.change.links.items()
                }
            ),
        )
        if record.change.links
        else record
        for record in records
    ]
