"""Records that are folded row by row.

Those are records of keys of which newer exports spoke, of keys that stand several times in their export, and of
streams whose write rules look at the whole row.

Belongs here: which records are folded over which, what each came to, which refusals changed. Does not belong here: the
write rules (`fold`), comparing with the stored rows (`differences`), SQL of rows (`write`).
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.normalize.kept import Layout, hashes_of, hashes_of_row
from sync_pipelines.upsert.current import Stored, current_rows
from sync_pipelines.upsert.decisions import Decisions
from sync_pipelines.upsert.differences import Differences, Provenance
from sync_pipelines.upsert.fold import Applied, Row, Rows, apply, outcome
from sync_pipelines.upsert.history import Hashes, KnownExport, Spoken, in_file_order, spoken_of
from sync_pipelines.upsert.write import Ids, refer, write

_KEYS_AT_ONCE: Final = 2_000


@dataclass(frozen=True)
class Family:
    """Records and stored rows of one key, or of keys that records connect (P2).

    Attributes:
        mine: records of the export being loaded, in version order.
        applied: records of loaded exports, in version order; empty where the stored rows are the base.
        stored: rows as the tables have them.
    """

    mine: list[Spoken]
    applied: list[Spoken]
    stored: list[Stored]


class Folding:
    """Folds records of one export into the tables, chunk by chunk, inside the load's transaction.

    Args:
        connection: inside the transaction.
        stream: the declaration.
        layout: of its kept records.
        entry: the export's ledger entry.
        run_id: named by the rows written.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        stream: Stream,
        layout: Layout,
        entry: LedgerFile,
        run_id: str | None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._layout = layout
        self._entry = entry
        self._run_id = run_id
        self._ids = Ids(connection)
        self._decisions = Decisions(connection, stream, entry, run_id)
        self.counts: Counter[str] = Counter()

    def fold_late(self, mine: KnownExport, others: Sequence[KnownExport], hashes: Hashes) -> None:
        """Keys of which newer exports spoke: folded from an empty row over all their records (X5)."""
        for chunk in _chunks(in_file_order(mine, hashes), at_once=self._stream.has_record_ids):
            known = [other for other in others if len(other.knows(chunk))]
            self._fold(spoken_of([mine], chunk, self._layout), spoken_of(known, chunk, self._layout))

    def fold_newest(self, mine: KnownExport, hashes: Hashes) -> None:
        """Keys on which the export is the newest word: applied one after the other to the stored row (X6)."""
        for chunk in _chunks(in_file_order(mine, hashes), at_once=self._stream.has_record_ids):
            self._fold(spoken_of([mine], chunk, self._layout), None)

    def _fold(self, mine: list[Spoken], applied: list[Spoken] | None) -> None:
        everything = [*mine, *(applied or ())]
        ids = self._refer(everything)
        stored = self._stored(everything)
        differences = Differences(self._stream, self._ids)
        self._decisions.look_up(everything)
        mine, known = _linked(mine, ids), _linked(applied or [], ids)
        for family in _families(mine, known, stored):
            rows = self._folded(family) if applied is not None else self._applied(family)
            self._take(differences, family, rows)
        write(self._connection, self._stream, self._entry.tenant, differences.writes)
        self._decisions.write()

    def _stored(self, records: Iterable[Spoken]) -> list[Stored]:
        changes = [spoken.change for spoken in records]
        keys = {change.key for change in changes if change.key is not None}
        record_ids = {change.record_id for change in changes if change.record_id is not None}
        return current_rows(self._connection, self._stream, self._entry.tenant, sorted(keys), sorted(record_ids))

    def _refer(self, records: Sequence[Spoken]) -> dict[str, dict[Identity, int]]:
        """The rows that records refer to; every accepted record creates its references, a stale one too (X7)."""
        provenance = (self._entry.effective_at, self._entry.path, self._run_id)
        return {
            reference.column: refer(
                self._connection,
                reference,
                (m for s in records if (m := s.change.links.get(reference.column)) is not None),
                provenance,
            )
            for reference in self._stream.references
        }

    # -- late: from an empty row -------------------------------------------------------------------------------

    def _folded(self, family: Family) -> Rows:
        """Each record inserted in its place, told by what the fold is with and without it (X11)."""
        records = [s for s in family.applied if not self._decisions.is_blocked(s)]
        for spoken in family.mine:
            without = self._trail(records)[0]
            insort(records, spoken, key=lambda s: s.version)
            rows, trail = self._trail(records)
            applied = trail[records.index(spoken)]
            is_older = records[-1] is not spoken
            before, after = _row_of(without, applied), _row_of(rows, applied)
            if applied.refusal is not None:
                self.counts["rejected"] += 1
            elif self._is_blocked(family, spoken, before, after):
                records.remove(spoken)
                self.counts["blocked"] += 1
            else:
                self.counts[outcome(before, after, spoken.change, is_older=is_older)] += 1
        rows, trail = self._trail(records)
        for spoken, applied in zip(records, trail, strict=True):
            self._decisions.decide(spoken, applied.refusal)
        return rows

    def _trail(self, records: Iterable[Spoken]) -> tuple[Rows, list[Applied]]:
        rows: Rows = ()
        trail = []
        for spoken in records:
            applied = apply(self._stream, rows, spoken.change)
            rows = applied.rows
            trail.append(applied)
        return rows, trail

    # -- newest: on the stored row -----------------------------------------------------------------------------

    def _applied(self, family: Family) -> Rows:
        rows = tuple(stored.row for stored in family.stored)
        for spoken in family.mine:
            applied = apply(self._stream, rows, spoken.change)
            self._decisions.decide(spoken, applied.refusal)
            if applied.refusal is not None:
                self.counts["rejected"] += 1
            elif self._is_blocked(family, spoken, applied.before, applied.after):
                self.counts["blocked"] += 1
            else:
                self.counts[outcome(applied.before, applied.after, spoken.change, is_older=False)] += 1
                rows = applied.rows
        return rows

    def _is_blocked(self, family: Family, spoken: Spoken, before: Row | None, after: Row | None) -> bool:
        """Whether live rows elsewhere keep a live row from being deleted (T9)."""
        if self._stream.blocked_by is None or before is None or not before.is_live or (after and after.is_live):
            return False
        stored_ids = [s.id for s in family.stored if s.row.external_id == spoken.change.key]
        return self._decisions.block(spoken, stored_ids)

    def _take(self, differences: Differences, family: Family, rows: Rows) -> None:
        last = family.mine[-1].change
        provenance = Provenance(last.effective_at, self._entry.path, last.position, self._run_id)
        free = list(family.stored)
        for row in rows:
            stored = next((s for s in free if row.is_same_record(s.row)), None)
            if stored is not None:
                free.remove(stored)
            differences.take(stored, row, provenance)
        for stored in free:
            # Every record that made this row is refused now; others may refer to it, so a placeholder stays.
            if not stored.row.is_placeholder:
                row = Row(stored.row.external_id, stored.row.record_id, links=stored.row.scope_of(self._stream))
                differences.take(stored, replace(row, is_placeholder=True), provenance)


def _linked(records: Iterable[Spoken], ids: Mapping[str, Mapping[Identity, int]]) -> list[Spoken]:
    """Records whose links are the ids of the rows meant."""
    return [
        replace(
            spoken,
            change=spoken.change._replace(
                links={
                    column: None if meant is None else ids[column][meant]
                    for column, meant in spoken.change.links.items()
                }
            ),
        )
        if spoken.change.links
        else spoken
        for spoken in records
    ]


def _families(mine: Iterable[Spoken], applied: Iterable[Spoken], stored: Iterable[Stored]) -> list[Family]:
    """Records and rows by key; keys that one record names together belong together (P2)."""
    groups = _Groups()
    for spoken in (*mine, *applied):
        groups.join(hashes_of(spoken.change))
    for row in stored:
        groups.join(hashes_of_row(row.row.external_id, row.row.record_id))
    families: dict[int, Family] = {}
    for spoken in mine:
        families.setdefault(groups.root(hashes_of(spoken.change)[0]), Family([], [], [])).mine.append(spoken)
    for spoken in applied:
        root = groups.root(hashes_of(spoken.change)[0])
        if root in families:
            families[root].applied.append(spoken)
    for row in stored:
        root = groups.root(hashes_of_row(row.row.external_id, row.row.record_id)[0])
        if root in families:
            families[root].stored.append(row)
    return list(families.values())


class _Groups:
    """Which hashes belong together: union-find."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def root(self, member: int) -> int:
        parent = self._parent.setdefault(member, member)
        while parent != self._parent[parent]:
            self._parent[parent] = self._parent[self._parent[parent]]
            parent = self._parent[parent]
        return parent

    def join(self, members: Sequence[int]) -> None:
        first = self.root(members[0])
        for member in members[1:]:
            self._parent[self.root(member)] = first


def _row_of(rows: Rows, applied: Applied) -> Row | None:
    """The row a record is told by, in other rows of the same family."""
    told = applied.after or applied.before
    return None if told is None else next((row for row in rows if row.is_same_record(told)), None)


def _chunks(hashes: Hashes, *, at_once: bool = False) -> Iterator[Hashes]:
    step = max(len(hashes), 1) if at_once else _KEYS_AT_ONCE
    for start in range(0, len(hashes), step):
        yield hashes[start : start + step]
