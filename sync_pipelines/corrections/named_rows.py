"""Rows that records name: which of them the loaded exports still name after a withdrawal (X7).

A record names the row it refers to, and its row exists from then on, if only as a placeholder: also when a newer record
of the same key names another one. So a placeholder goes with a withdrawn export only if no other record names it.

Belongs here: the placeholders that follow from names. Does not belong here: searching kept records for them
(`row_references`), rows that a stream's own records define (`folding`), rows with two names (`row_names`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Reference, Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Copying
from sync_pipelines.upsert.empty_tables import DeferredIndexes
from sync_pipelines.upsert.history import History
from sync_pipelines.upsert.references import ReferenceIds
from sync_pipelines.upsert.referred_names import RowName, name_hashes
from sync_pipelines.upsert.row_references import Named, by_owner, names_referred, references_to, rows_naming
from sync_pipelines.upsert.stored_rows import unscoped
from sync_pipelines.upsert.write import remove_unused


class _Naming(NamedTuple):
    """The first export, in version order, with a record that names a row."""

    entry: LedgerFile
    stream: Stream
    reference: Reference


class _Stored(NamedTuple):
    id: int
    is_placeholder: bool
    is_disowned: bool
    external_id: str | None
    record_id: str | None


def names_of_own(kept: KeptRecords, stream: Stream, tenant: str) -> set[Named]:
    """Returns the names of the rows that an export's records are about; none if no reference can be to them."""
    if stream.scope is not None or not any(references_to(stream.table)):
        return set()
    return {
        Named(stream.partner, tenant, is_record_id, text)
        for block in kept.blocks(["external_id", *(["record_id"] if stream.has_record_ids else [])])
        for is_record_id in (False, *([True] if stream.has_record_ids else []))
        for text in block.column(int(is_record_id)).unique().drop_null().to_pylist()
    }


@dataclass(frozen=True)
class NamedRows:
    """The rows of one table that withdrawn exports named or defined.

    Attributes:
        context: context of the withdrawal.
        table: the table.
        archive: the archive's folder.
    """

    context: LoadContext
    table: str
    archive: Path

    def renew(self, names: set[Named]) -> None:
        """Removes placeholders that no record names any more, and creates those that one still names."""
        stored = self._stored(names)
        unclear = {name for name in names if (row := stored.get(name)) is None or row.is_placeholder}
        unclear -= self._referred({name: row for name, row in stored.items() if not row.is_disowned})
        # A record may name a row by its other name (F11).
        names_of = {name: _names_of(name, stored.get(name)) for name in unclear}
        known = self._naming({each for found in names_of.values() for each in found})
        naming = {
            name: min((known[each] for each in found & known.keys()), key=lambda one: one.entry.version)
            for name, found in names_of.items()
            if found & known.keys()
        }
        self._remove([stored[name].id for name in unclear - naming.keys() if name in stored])
        for name, found in naming.items():
            if name not in stored:
                self._create(name, found)
            elif stored[name].is_disowned:
                self._own(stored[name].id, found)

    def _stored(self, names: Iterable[Named]) -> dict[Named, _Stored]:
        found: dict[Named, _Stored] = {}
        for (partner, tenant, is_record_id), texts in by_owner(names).items():
            column = Named(partner, tenant, is_record_id, "").column
            statement = SQL(
                "select t.{c}, t.id, t.is_placeholder, t.source_file = any(%s), t.external_id, t.partner_record_id"
                " from {t} t where t.partner = %s and t.tenant = %s and t.{c} = any(%s){unscoped}"
            ).format(
                c=Identifier(column), t=Identifier(SCHEMA, self.table), unscoped=unscoped(self.table, Identifier("t"))
            )
            values = [list(self.context.withdrawn or ()), partner, tenant, texts]
            for text, *row in self.context.connection.execute(statement, values):
                found[Named(partner, tenant, is_record_id, text)] = _Stored(*row)
        return found

    def _referred(self, stored: Mapping[Named, _Stored]) -> set[Named]:
        """Returns those of the given rows that a row of another table refers to."""
        ids = [row.id for row in stored.values()]
        referring = set[int]()
        for table, column in {(stream.table, reference.column) for stream, reference in references_to(self.table)}:
            statement = SQL("select distinct {c} from {t} where {c} = any(%s)").format(
                c=Identifier(column), t=Identifier(SCHEMA, table)
            )
            referring |= {row_id for (row_id,) in self.context.connection.execute(statement, [ids])}
        return {name for name, row in stored.items() if row.id in referring}

    def _naming(self, names: set[Named]) -> dict[Named, _Naming]:
        """Returns name -> the first export with a record that names it."""
        found: dict[Named, _Naming] = {}
        for stream, reference in references_to(self.table) if names else ():
            wanted = set(names)
            for entry in sorted(self._exports(stream, reference, names), key=lambda one: one.version):
                if not wanted:
                    break
                kept = KeptRecords(self.archive, entry.kept or "-")
                rows = np.flatnonzero(rows_naming(kept, reference, wanted))
                for name in wanted & names_referred(kept, reference, rows) if len(rows) else ():
                    known = found.get(name)
                    if known is None or entry.version < known.entry.version:
                        found[name] = _Naming(entry, stream, reference)
                    wanted.remove(name)
        return found

    def _exports(self, stream: Stream, reference: Reference, names: set[Named]) -> list[LedgerFile]:
        connection = self.context.connection
        if reference.column != stream.scope:
            return ledger.loaded_with_records(connection, stream.partner, stream.name)
        # The index has the names by which records refer to the row they belong to.
        hashes = name_hashes({RowName(name.is_record_id, name.text) for name in names})
        return [
            export.entry
            for tenant in sorted({name.tenant for name in names})
            for export in History(connection, stream, tenant, self.archive).knowing(hashes)
        ]

    def _remove(self, ids: Sequence[int]) -> None:
        if ids:
            self.context.note_rows(self.table, ids)
            remove_unused(self.context.connection, self.table, sorted(ids))

    def _create(self, name: Named, naming: _Naming) -> None:
        context = replace(self.context, stream=naming.stream, entry=naming.entry)
        connection = context.connection
        referred = ReferenceIds(Copying(connection), context.last_write_of_export, DeferredIndexes(connection))
        self.context.note_rows(self.table, referred.ids_of(naming.reference, [name.identity]).values())

    def _own(self, row_id: int, naming: _Naming) -> None:
        """Makes the export that names a placeholder its last writer."""
        entry = naming.entry
        self.context.note_rows(self.table, [row_id])
        self.context.connection.execute(
            SQL(
                "update {t} set effective_at = %s, source_file = %s, source_position = null, run_id = %s,"
                " updated_at = now() where id = %s"
            ).format(t=Identifier(SCHEMA, self.table)),
            [entry.effective_at, entry.path, self.context.run_id, row_id],
        )


def _names_of(name: Named, row: _Stored | None) -> set[Named]:
    """Returns all names of a row."""
    if row is None:
        return {name}
    names = ((False, row.external_id), (True, row.record_id))
    return {name._replace(is_record_id=way, text=text) for way, text in names if text is not None}
