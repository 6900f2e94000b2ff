"""Assigns names to rows that records of other streams name too: a business has an id and an external id.

A business gets names from its own records. A customer that names it by both ids adds the missing one (F11), or creates
one placeholder with both. When a name moves from one row to another, every record that refers to its row by that name
is folded again, because its row may now belong to another business (X7, P5).

Belongs here: the names of rows after a load, and which records are folded again. Does not belong here: which pairs of
names are valid (`name_pairs`), the effect of the rows' own records (`fold`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Reference, Stream
from sync_pipelines.normalize.keys import distinct, hashes_of_row
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.audit import Audit
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.fold import Row
from sync_pipelines.upsert.folding import Folding
from sync_pipelines.upsert.history import Hashes, History
from sync_pipelines.upsert.name_pairs import KnownPair, Lends, Mark, NamePairs, valid_pairs
from sync_pipelines.upsert.referred_names import (
    Pair,
    ReferredNames,
    RowName,
    name_hashes,
    names_in,
)
from sync_pipelines.upsert.row_references import Named, rows_naming
from sync_pipelines.upsert.stored_rows import StoredRow
from sync_pipelines.upsert.write import remove_unused

Names = tuple[str | None, str | None]
"""The id and the external id of a row."""


def streams_within(stream: Stream) -> list[Stream]:
    """Returns the partner's streams whose keys are unique within one row of this stream's table."""
    return [inner for inner in STREAMS if _is_within(inner, stream)]


def stream_around(stream: Stream) -> Stream | None:
    """Returns the partner's stream within whose rows this stream's keys are unique; None if there is none."""
    return next((outer for outer in STREAMS if _is_within(stream, outer)), None)


def _is_within(inner: Stream, outer: Stream) -> bool:
    return inner.partner == outer.partner and any(r.table == outer.table for r in _scopes(inner))


def _scopes(stream: Stream) -> list[Reference]:
    """Returns the reference to the rows within which a stream's keys are unique; none if it is the tenant."""
    return [reference for reference in stream.references if reference.column == stream.scope]


class _Named(NamedTuple):
    """A row with its stored names, and the names from its own records."""

    id: int
    stored: Names
    own: Names
    is_placeholder: bool


@dataclass
class _Assigned:
    """Which row has which names.

    Attributes:
        rows: id of a row -> its names.
        new: pairs that need a new row.
        marks: pair -> the row that has a name from it, and which name.
    """

    rows: dict[int, Names] = field(default_factory=dict)
    new: list[Pair] = field(default_factory=list)
    marks: dict[Pair, Mark] = field(default_factory=dict)


class RowNames:
    """Updates the names of rows that other rows belong to, during a load of either stream.

    Args:
        context: context of the load.
        archive: the archive's folder.
        audit: collects names that rows should not have, if they are verified.
    """

    def __init__(self, context: LoadContext, archive: Path, audit: Audit | None = None) -> None:
        self._load = context
        self._audit = audit
        self._archive = archive
        outer = stream_around(context.stream)
        self._stream = outer or context.stream
        self._inner = streams_within(self._stream)
        self._pairs = NamePairs(context.connection, context.stream.partner, context.entry.tenant)
        self._before: dict[RowName, int] = {}
        self._touched: set[RowName] = set()

    @property
    def has_pairs(self) -> bool:
        """Whether any record of the tenant named a row by both names."""
        return bool(self._inner) and self._pairs.exist()

    # -- records that name rows ----------------------------------------------------------------------------------

    def add(self, referred: ReferredNames) -> None:
        """Gives rows the names from an export's records. Call it before those records look for their rows."""
        changed = self._pairs.add(self._load.entry, referred.pairs)
        self._touched |= {name for pair in changed for name in pair.names}
        self.apply()

    def replace(self, former: ReferredNames, mine: ReferredNames) -> None:
        """Replaces the names from an export by those of a new reading."""
        differ = {pair for pair, _ in former.pairs.items() ^ mine.pairs.items()}
        self._pairs.remove(differ)
        for inner in self._inner if differ else ():
            history = self._history(inner)
            for export in history.knowing(name_hashes([name for pair in differ for name in pair.names])):
                found = names_in(export.kept, inner).pairs
                self._pairs.add(export.entry, {pair: found[pair] for pair in differ & found.keys()})
        self._touched |= {name for pair in differ for name in pair.names}
        self.apply()

    def touch(self, names: Iterable[RowName]) -> None:
        """Notes names whose rows may have changed."""
        self._touched.update(names)

    # -- rows whose own records are folded -----------------------------------------------------------------------

    @property
    def written(self) -> RowNames | None:
        """This object if records of other streams name the rows that this load writes, else None."""
        return self if self._inner and self._stream is self._load.stream else None

    def lent_keys(self) -> Hashes:
        """Returns the hashes of all names of rows that have a name only from a pair (sorted)."""
        if self.written is None:
            return np.empty(0, np.uint64)
        hashes = [found for pair in self._pairs.lent() for found in hashes_of_row(pair.external_id, pair.record_id)]
        return distinct(np.array(hashes, np.uint64))

    def without_pairs(self, stored: Sequence[StoredRow]) -> list[StoredRow]:
        """Returns rows with only the names from their own records. A name from a pair becomes a placeholder."""
        for each in stored:
            for name in each_name((each.row.record_id, each.row.external_id)):
                self._before.setdefault(name, each.id)
        lends = self._pairs.lends([each.id for each in stored])
        return [part for each in stored for part in _parts(each, lends.get(each.id))]

    def note(self, rows: Iterable[Row]) -> None:
        """Notes rows that are about to be written."""
        self._touched.update(name for row in rows for name in each_name((row.record_id, row.external_id)))

    def forget(self, rows: Sequence[int]) -> None:
        """Notes rows that were written with only the names from their own records."""
        if rows:
            self._pairs.forget_marks(rows)

    # -- applying names ------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Writes the names that rows have now. Folds records again if the name of their row has moved."""
        names = {*self._before, *self._touched}
        if not names or not self._inner:
            return
        pairs = self._pairs.connected(names)
        names |= {name for known in pairs for name in known.pair.names}
        rows = self._rows(names, {known.mark.commerce_id: known.mark.lends for known in pairs if known.mark})
        for row in rows:
            for name in each_name(row.stored):
                self._before.setdefault(name, row.id)
        assigned = _assigned(rows, [known.pair for known in pairs])
        after = self._write(rows, pairs, assigned)
        paired = {name for known in pairs for name in known.pair.names}
        if self._load.withdrawn is not None:
            # A name that only a withdrawn export gave to a row has no row now; records may still refer by it.
            paired |= self._before.keys()
        moved = {n: old for n, old in self._before.items() if after.get(n) != old and (n in after or n in paired)}
        self._before, self._touched = {}, set()
        self._fold_again(moved)
        nameless = {row_id for row_id, given in assigned.rows.items() if given == (None, None)}
        unused = (nameless | set(moved.values())) - set(after.values())
        if unused:
            self._load.note_rows(self._stream.table, unused)
            remove_unused(self._load.connection, self._stream.table, sorted(unused))

    def _rows(self, names: Collection[RowName], lends: Mapping[int, Lends]) -> list[_Named]:
        statement = SQL(
            "select id, partner_record_id, external_id, is_placeholder from {t} where id in ("
            "select id from {t} where partner = %(partner)s and tenant = %(tenant)s"
            " and partner_record_id = any(%(ids)s::text[])"
            " union select id from {t} where partner = %(partner)s and tenant = %(tenant)s"
            " and external_id = any(%(externals)s::text[])) order by id"
        ).format(t=Identifier(SCHEMA, self._stream.table))
        values = {
            "partner": self._stream.partner,
            "tenant": self._load.entry.tenant,
            "ids": [name.text for name in names if name.is_record_id],
            "externals": [name.text for name in names if not name.is_record_id],
        }
        found = self._load.connection.execute(statement, values)
        return [_Named(row[0], row[1:3], _own(row[1:3], lends.get(row[0])), row[3]) for row in found]

    def _write(self, rows: Sequence[_Named], pairs: Sequence[KnownPair], assigned: _Assigned) -> dict[RowName, int]:
        """Writes names that differ. Returns name -> id of its row."""
        changed = {row.id: assigned.rows[row.id] for row in rows if row.stored != assigned.rows[row.id]}
        if changed:
            self._note_differences(changed)
            self._rename(changed)
        marks = {**assigned.marks}
        for pair, row_id in zip(assigned.new, self._create(assigned.new), strict=True):
            marks[pair] = Mark(row_id, "both")
            assigned.rows[row_id] = pair
        self._pairs.mark({k.pair: marks.get(k.pair) for k in pairs if k.mark != marks.get(k.pair)})
        return {name: row_id for row_id, given in assigned.rows.items() for name in each_name(given)}

    def _note_differences(self, changed: Mapping[int, Names]) -> None:
        """Notes names that a row should not have, or should have. A row that was just written waits for its names."""
        if self._audit is None:
            return
        stored: dict[int, set[RowName]] = {}
        for name, row_id in self._before.items():
            stored.setdefault(row_id, set()).add(name)
        for row_id, given in changed.items():
            before, after = stored.get(row_id, set()), set(each_name(given))
            if before != after:
                self._audit.add_names(self._stream.table, sorted(before), sorted(after))

    def _rename(self, names: Mapping[int, Names]) -> None:
        table, ids = Identifier(SCHEMA, self._stream.table), list(names)
        self._load.note_rows(self._stream.table, ids)
        # A name may move from one row to another: free it before it is used again.
        free = SQL("update {t} set external_id = null where id = any(%s) and external_id is not null")
        self._load.connection.execute(free.format(t=table), [ids])
        give = SQL(
            "update {t} t set partner_record_id = s.own, external_id = s.external, updated_at = now()"
            " from unnest(%s::bigint[], %s::text[], %s::text[]) s (id, own, external) where t.id = s.id"
        ).format(t=table)
        given = [own for own, _ in names.values()], [external for _, external in names.values()]
        self._load.connection.execute(give, [ids, *given])

    def _create(self, pairs: Sequence[Pair]) -> list[int]:
        """Creates placeholders. Returns their ids."""
        if not pairs:
            return []
        entry = self._load.entry
        statement = SQL(
            "insert into {t} (partner, tenant, partner_record_id, external_id, is_placeholder, effective_at,"
            " source_file, run_id) select %s, %s, s.own, s.external, true, %s, %s, %s"
            " from unnest(%s::text[], %s::text[]) with ordinality s (own, external, number) order by number"
            " returning partner_record_id, id"
        ).format(t=Identifier(SCHEMA, self._stream.table))
        written = [entry.effective_at, entry.path, self._load.run_id]
        names = [pair.record_id for pair in pairs], [pair.external_id for pair in pairs]
        values = [self._stream.partner, entry.tenant, *written, *names]
        created: dict[str, int] = dict(self._load.connection.execute(statement, values).fetchall())
        self._load.note_rows(self._stream.table, created.values())
        return [created[pair.record_id] for pair in pairs]

    def _fold_again(self, names: Collection[RowName]) -> None:
        """Folds the records that refer to a row by one of these names, and all other records of their keys."""
        named = {Named(self._stream.partner, self._load.entry.tenant, *name) for name in names}
        for inner in self._inner if names else ():
            history = self._history(inner)
            keys = [
                export.kept.keys.of_rows(rows_naming(export.kept, reference, named))
                for export in history.knowing(name_hashes(names))
                for reference in _scopes(inner)
            ]
            if keys:
                Folding(replace(self._load, stream=inner), history.knowing).fold_known(distinct(np.concatenate(keys)))

    def _history(self, inner: Stream) -> History:
        return History(self._load.connection, inner, self._load.entry.tenant, self._archive)


def _assigned(rows: Sequence[_Named], pairs: Iterable[Pair]) -> _Assigned:
    """Assigns names: first those from rows' own records, then those from pairs, then those of placeholders."""
    found = _Assigned({row.id: row.own for row in rows if not row.is_placeholder})
    owner = {name: row.id for row in rows if not row.is_placeholder for name in each_name(row.own)}
    placeholders = [row for row in rows if row.is_placeholder]
    by_name = {name: row.id for row in placeholders for name in each_name(row.stored)}
    for pair in valid_pairs(pairs, found.rows.copy().values()):
        by_id, by_external = pair.names
        row_id = owner.get(by_id, owner.get(by_external))
        lends: Lends = "both" if row_id is None else ("external_id" if by_id in owner else "record_id")
        if row_id is None:
            row_id = by_name.get(by_id, by_name.get(by_external))
        owner |= dict.fromkeys(pair.names, -1)
        if row_id is None:
            found.new.append(pair)
            continue
        found.rows[row_id] = pair
        found.marks[pair] = Mark(row_id, lends)
    for row in placeholders:
        if row.id not in found.rows:
            # One name is enough. If a record uses the other one, folding it again creates a placeholder.
            free = [name for name in each_name(row.stored) if name not in owner]
            found.rows[row.id] = _only(free[0]) if free else (None, None)
    return found


def _only(name: RowName) -> Names:
    return (name.text, None) if name.is_record_id else (None, name.text)


def each_name(names: Names) -> Iterator[RowName]:
    """Yields the names that a row has, its id first."""
    own, external = names
    if own is not None:
        yield RowName(True, own)
    if external is not None:
        yield RowName(False, external)


def _own(stored: Names, lends: Lends | None) -> Names:
    """Returns the names of a row without those from a pair."""
    own, external = stored
    return (None if lends == "record_id" else own, None if lends == "external_id" else external)


def _parts(stored: StoredRow, lends: Lends | None) -> Iterator[StoredRow]:
    """Yields a stored row with only the names from its own records, and placeholders for names from a pair."""
    row = stored.row
    if lends is None:
        yield stored
        return
    by_id = Row(None, row.record_id, is_placeholder=True)
    by_external = Row(row.external_id, is_placeholder=True)
    if lends == "both":
        yield replace(stored, row=by_id)
        yield replace(stored, row=by_external)
    elif lends == "record_id":
        yield replace(stored, row=replace(row, record_id=None))
        yield StoredRow(stored.id, by_id, {}, is_lent=True)
    else:
        yield replace(stored, row=replace(row, external_id=None))
        yield StoredRow(stored.id, by_external, {}, is_lent=True)


def given_names(own: Sequence[Names], pairs: Iterable[Pair]) -> list[Names]:
    """Returns the names of rows, with those from pairs, and then the names of placeholders that only pairs name.

    Args:
        own: the names of each row from its own records.
        pairs: in version order.
    """
    rows = [_Named(number, names, names, is_placeholder=False) for number, names in enumerate(own)]
    found = _assigned(rows, pairs)
    return [*(found.rows[row.id] for row in rows), *found.new]
