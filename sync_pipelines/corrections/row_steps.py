"""The records of one key, folded step by step: what each one changed, and the row after them (X5).

It is the ordinary fold of the key, stopped at a moment, with each step kept. It reads the archive and writes nothing.

Belongs here: the steps. Does not belong here: which stream is meant, rejects of normalization (`stages.explain`), the
write rules (`fold`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.database import ledger
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.change import Change
from sync_pipelines.normalize.keys import distinct, hashes_of_row
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines.upsert.decisions import BLOCKED
from sync_pipelines.upsert.fold import Applied, Rejection, Row, Rows, apply, outcome
from sync_pipelines.upsert.history import Hashes, History, KnownExport, VersionedRecord, connected, versioned_records
from sync_pipelines.upsert.key_index import KeyIndex
from sync_pipelines.upsert.locks import own_locks, take_locks
from sync_pipelines.upsert.name_pairs import NamePairs
from sync_pipelines.upsert.record_outcomes import decoded
from sync_pipelines.upsert.referred_names import RowName
from sync_pipelines.upsert.row_names import Names, each_name, given_names, stream_around, streams_within

NOT_APPLIED: Final = ("held", "withdrawn")
"""Statuses of exports whose records are shown and not applied."""

_STATE_REJECTS: Final = (
    "select export_file_id, position, code, message from sync.rejected_records"
    " where export_file_id = any(%s) and depends_on_state and status <> 'resolved'"
)
_OUTCOMES: Final = "select export_file_id, outcomes from sync.export_outcomes where export_file_id = any(%s)"
_ASIDE: Final = (
    "select id from sync.export_files where partner = %s and tenant = %s and stream = %s and status = any(%s)"
    " and kept is not null"
)


@dataclass(frozen=True)
class Step:
    """One record and its effect.

    Attributes:
        record: the record; links are numbers of `Steps.names`.
        outcome: of its load if it was stored, or else in version order; `held` or `withdrawn` if its export is.
        reason: why it is rejected or blocked.
        before, after: its row; both None if it is not applied.
        slot: the number of its row among the rows; None if it is not applied.
    """

    record: VersionedRecord
    outcome: str
    reason: Rejection | None = None
    before: Row | None = None
    after: Row | None = None
    slot: int | None = None


@dataclass(frozen=True)
class Steps:
    """The records of a key and the rows after them.

    Attributes:
        steps: in version order.
        rows: the rows with the key; with the names that they have from pairs.
        names: number of a referenced row -> its id and external id.
        later: the first record after the moment; None if there is none.
    """

    steps: list[Step]
    rows: list[Row]
    names: Mapping[int, Names] = field(default_factory=dict)
    later: VersionedRecord | None = None


@dataclass(frozen=True)
class RowHistory:
    """The history of the rows of one tenant's stream, until a moment.

    Attributes:
        connection: in a transaction.
        archive: the archive's folder.
        stream, tenant: of the rows.
        at: records of this time still count; None: all do.
    """

    connection: psycopg.Connection[Any]
    archive: Path
    stream: Stream
    tenant: str
    at: datetime | None = None

    def steps(self, key: str) -> Steps:
        """Returns every record of a key, or of the partner's own id, and the rows after them."""
        wanted = self._names_of(key)
        hashes = _hashes_of(wanted)
        loaded, aside = self._exports()
        layout = layout_of(self.stream)
        if self.stream.has_record_ids:
            hashes = connected(hashes, loaded.knowing, layout)
        exports = loaded.knowing(hashes)
        every = versioned_records(exports, hashes, layout)
        every = [r for r in every if self.stream.has_record_ids or r.change.key == key]
        others = [
            r for r in versioned_records(aside, hashes, layout) if r.change.key == key or r.change.record_id == key
        ]
        linked, names = self._linked(self._early([*every, *others]))
        steps, rows = self._fold(linked)
        late = [r for r in every if not self._is_early(r)]
        return Steps(steps, self._with_names(rows, key), names, min(late, key=lambda r: r.version, default=None))

    # -- records -----------------------------------------------------------------------------------------------

    def _exports(self) -> tuple[History, list[KnownExport]]:
        self.complete_index()
        names = self.stream.partner, self.tenant, self.stream.name
        history = History(self.connection, self.stream, self.tenant, self.archive)
        rows = self.connection.execute(_ASIDE, [*names, list(NOT_APPLIED)]).fetchall()
        aside = []
        for entry in ledger.of_ids(self.connection, [number for (number,) in rows]):
            kept = KeptRecords(self.archive, entry.kept or "-")
            if kept.summary.window is not None:
                aside.append(KnownExport(entry, kept))
        return history, aside

    def complete_index(self) -> None:
        """Adds the exports of earlier versions to the index, as a load does."""
        names = self.stream.partner, self.tenant, self.stream.name
        if not KeyIndex(self.connection, *names).is_complete():
            take_locks(self.connection, own_locks(self.stream, self.tenant))
            History(self.connection, self.stream, self.tenant, self.archive)

    def _is_early(self, record: VersionedRecord) -> bool:
        return self.at is None or record.version[0] <= self.at

    def _early(self, records: Iterable[VersionedRecord]) -> list[VersionedRecord]:
        return sorted(filter(self._is_early, records), key=lambda record: record.version)

    # -- folding -----------------------------------------------------------------------------------------------

    def _fold(self, records: Sequence[VersionedRecord]) -> tuple[list[Step], Rows]:
        files = list({record.entry.id for record in records if record.entry.status not in NOT_APPLIED})
        rejects = {(row[0], row[1]): row[2:] for row in self.connection.execute(_STATE_REJECTS, [files])}
        outcomes = {row[0]: decoded(row[1]) for row in self.connection.execute(_OUTCOMES, [files])}
        slots, steps = list[int](), list[Step]()
        rows: Rows = ()
        newest = records[-1] if records else None
        for record in records:
            if record.entry.status in NOT_APPLIED:
                steps.append(Step(record, record.entry.status))
                continue
            code, message = rejects.get((record.entry.id, record.change.position), (None, ""))
            if code == BLOCKED:
                steps.append(Step(record, "blocked", Rejection(code, None, message)))
                continue
            applied = apply(self.stream, rows, record.change)
            if applied.rejection is not None:
                steps.append(Step(record, "rejected", applied.rejection))
                continue
            slots, slot = _moved(rows, slots, applied, len(steps))
            rows = applied.rows
            known = outcomes.get(record.entry.id)
            in_order = outcome(applied.before, applied.after, record.change, is_older=record is not newest)
            found = _name(known, record.version[3]) or ("unchanged" if in_order == "stale" else in_order)
            steps.append(Step(record, found, None, applied.before, applied.after, slot))
        return steps, rows

    # -- names -------------------------------------------------------------------------------------------------

    def _names_of(self, key: str) -> set[RowName]:
        """Returns the names by which a key's row is known: of a business also those from pairs (F11)."""
        own = {RowName(False, key)} | ({RowName(True, key)} if self.stream.has_record_ids else set())
        if not streams_within(self.stream):
            return own
        rows = self.names_of_rows(own)
        return own | {name for names in rows for name in each_name(names) if own & set(each_name(names))}

    def names_of_rows(self, names: set[RowName]) -> list[Names]:
        """Returns the names of the rows that have some names, with those from pairs."""
        pairs = [
            known.pair
            for known in NamePairs(self.connection, self.stream.partner, self.tenant).connected(names)
            if self.at is None or known.version[0] <= self.at
        ]
        wanted = names | {name for pair in pairs for name in pair.names}
        hashes = _hashes_of(wanted)
        loaded, _ = self._exports()
        layout = layout_of(self.stream)
        hashes = connected(hashes, loaded.knowing, layout)
        rows: Rows = ()
        for record in self._early(versioned_records(loaded.knowing(hashes), hashes, layout)):
            rows = apply(self.stream, rows, record.change._replace(links={})).rows
        return given_names([(row.record_id, row.external_id) for row in rows], pairs)

    def _with_names(self, rows: Rows, key: str) -> list[Row]:
        """Returns the rows with the key, with names from pairs; all rows if the key is no name any more."""
        found = list(rows)
        if streams_within(self.stream):
            names = {RowName(False, key), RowName(True, key)} | {
                name for row in rows for name in each_name((row.record_id, row.external_id))
            }
            given = self.names_of_rows(names)
            found = [_renamed(row, given) for row in rows]
            known = {(row.record_id, row.external_id) for row in found}
            found += [
                Row(names[1], names[0], is_placeholder=True) for names in given if names not in known and key in names
            ]
        return [row for row in found if key in (row.external_id, row.record_id)] or found

    def _linked(self, records: list[VersionedRecord]) -> tuple[list[VersionedRecord], dict[int, Names]]:
        """Returns records whose links are numbers, equal for the same row, and the names of those rows."""
        names: dict[int, Names] = {}
        numbers: dict[str, dict[RowName, int]] = {}
        for reference in self.stream.references:
            told = {_name_of(link) for r in records if (link := r.change.links.get(reference.column)) is not None}
            outer = stream_around(self.stream) if reference.column == self.stream.scope else None
            rows = [] if outer is None else replace(self, stream=outer).names_of_rows(told)
            places = numbers[reference.column] = {}
            known = {name for row in rows for name in each_name(row)}
            alone = [(n.text, None) if n.is_record_id else (None, n.text) for n in sorted(told - known)]
            for row in (*rows, *alone):
                number = len(names) + 1
                names[number] = row
                places |= dict.fromkeys(each_name(row), number)
        return [_with_links(record, numbers) for record in records], names


def _moved(rows: Rows, slots: list[int], applied: Applied, new: int) -> tuple[list[int], int]:
    """Returns the numbers of the rows after a record, and that of its own row; a new row gets a new number."""
    of_row = {id(row): slot for row, slot in zip(rows, slots, strict=True)}
    own = new if applied.before is None else of_row[id(applied.before)]
    return [own if row is applied.after else of_row[id(row)] for row in applied.rows], own


def _name(codes: Any, row: int) -> str | None:
    return OUTCOMES[codes[row]] if codes is not None and row < len(codes) and codes[row] < len(OUTCOMES) else None


def _hashes_of(names: Iterable[RowName]) -> Hashes:
    found = [h for n in names for h in (hashes_of_row(None, n.text) if n.is_record_id else hashes_of_row(n.text, None))]
    return distinct(np.array(found, np.uint64))


def _name_of(link: Identity) -> RowName:
    """Returns the name that identifies a referenced row: the partner's own id takes precedence (P1)."""
    return RowName(True, link.record_id) if link.record_id is not None else RowName(False, link.external_id or "")


def _with_links(record: VersionedRecord, numbers: Mapping[str, Mapping[RowName, int]]) -> VersionedRecord:
    change: Change = record.change
    links = {column: None if link is None else numbers[column][_name_of(link)] for column, link in change.links.items()}
    return replace(record, change=change._replace(links=links))


def _renamed(row: Row, given: Sequence[Names]) -> Row:
    own = set(each_name((row.record_id, row.external_id)))
    names = next((names for names in given if own & set(each_name(names))), (row.record_id, row.external_id))
    return replace(row, record_id=names[0], external_id=names[1])
