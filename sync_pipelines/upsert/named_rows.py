"""Rows that records name: which of them the loaded exports still name after a withdrawal (X7).

A record names the row it refers to, and its row exists from then on, if only as a placeholder: also when a newer record
of the same key names another one. So a placeholder goes with a withdrawn export only if no other record names it.

Belongs here: searching kept records for names, and the placeholders that follow from it. Does not belong here: rows
that a stream's own records define (`folding`), rows with two names (`row_names`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Identity, Reference, Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords, Rows
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Copying
from sync_pipelines.upsert.empty_tables import DeferredIndexes
from sync_pipelines.upsert.history import History
from sync_pipelines.upsert.references import ReferenceIds
from sync_pipelines.upsert.referred_names import RowName, name_hashes
from sync_pipelines.upsert.stored_rows import unscoped
from sync_pipelines.upsert.write import remove_unused


class Named(NamedTuple):
    """The name of a row of some table: as in an `Identity`, one of its two parts."""

    partner: str
    tenant: str
    is_record_id: bool
    text: str

    @property
    def column(self) -> str:
        """The column that holds it."""
        return "partner_record_id" if self.is_record_id else "external_id"

    @property
    def identity(self) -> Identity:
        """The identity with only this name."""
        parts = (None, self.text) if self.is_record_id else (self.text, None)
        return Identity(self.partner, self.tenant, *parts)


class _Naming(NamedTuple):
    """The first export, in version order, with a record that names a row."""

    entry: LedgerFile
    stream: Stream
    reference: Reference


class _Stored(NamedTuple):
    id: int
    is_placeholder: bool
    is_disowned: bool


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


def names_referred(kept: KeptRecords, reference: Reference, rows: Rows | None = None) -> set[Named]:
    """Returns the names by which an export's records refer to other rows; with `rows`, only those records."""
    found, columns = set(), _link_columns(reference)
    every = kept.blocks(columns) if rows is None else (block for _, block in kept.chosen(rows, columns))
    for block in every:
        partners, tenants, externals, own = block.columns
        for way, named in ((True, own), (False, pc.if_else(own.is_valid(), None, externals))):
            table = pa.table([partners, tenants, named], names=["partner", "tenant", "name"])
            distinct = table.filter(table.column("name").is_valid()).group_by(table.column_names).aggregate([])
            found |= {Named(r["partner"], r["tenant"], way, r["name"]) for r in distinct.to_pylist()}
    return found


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
        naming = self._naming(unclear)
        self._remove([stored[name].id for name in unclear - naming.keys() if name in stored])
        for name, found in naming.items():
            if name not in stored:
                self._create(name, found)
            elif stored[name].is_disowned:
                self._own(stored[name].id, found)

    def _stored(self, names: Iterable[Named]) -> dict[Named, _Stored]:
        found: dict[Named, _Stored] = {}
        for (partner, tenant, is_record_id), texts in _by_owner(names).items():
            column = Named(partner, tenant, is_record_id, "").column
            reference = next(reference for _, reference in references_to(self.table))
            statement = SQL(
                "select t.{c}, t.id, t.is_placeholder, t.source_file = any(%s) from {t} t"
                " where t.partner = %s and t.tenant = %s and t.{c} = any(%s){unscoped}"
            ).format(
                c=Identifier(column), t=Identifier(SCHEMA, self.table), unscoped=unscoped(reference, Identifier("t"))
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
            for entry in self._exports(stream, reference, names):
                kept = KeptRecords(self.archive, entry.kept or "-")
                if not may_name(kept, reference, names):
                    continue
                for name in _named_in(kept, reference, names):
                    known = found.get(name)
                    if known is None or entry.version < known.entry.version:
                        found[name] = _Naming(entry, stream, reference)
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
            for export in History(connection, stream.partner, tenant, stream.name, self.archive).knowing(hashes)
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


def references_to(table: str) -> Iterator[tuple[Stream, Reference]]:
    """Yields every stream with a reference to a table, and the reference."""
    for stream in STREAMS:
        for reference in stream.references:
            if reference.table == table:
                yield stream, reference


def _link_columns(reference: Reference) -> list[str]:
    return [f"{reference.column}_{part}" for part in ("partner", "tenant", "external_id", "record_id")]


def _by_owner(names: Iterable[Named]) -> dict[tuple[str, str, bool], list[str]]:
    found: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for partner, tenant, is_record_id, text in names:
        found[partner, tenant, is_record_id].append(text)
    return found


def may_name(kept: KeptRecords, reference: Reference, names: set[Named]) -> bool:
    """Whether an export's records refer to rows of the owners of some names."""
    owners = {(partner, tenant) for column, partner, tenant in kept.summary.referred if column == reference.column}
    return any((name.partner, name.tenant) in owners for name in names)


def _named_in(kept: KeptRecords, reference: Reference, names: set[Named]) -> set[Named]:
    texts = pa.array({name.text for name in names}, pa.string())
    found = set[Named]()
    for block in kept.blocks(_link_columns(reference)):
        table = pa.table(block.columns, names=["partner", "tenant", "external_id", "record_id"])
        table = table.filter(
            pc.or_(pc.is_in(table.column("external_id"), texts), pc.is_in(table.column("record_id"), texts))
        )
        for row in table.group_by(table.column_names).aggregate([]).to_pylist():
            own = row["record_id"]
            named = Named(row["partner"], row["tenant"], own is not None, row["external_id"] if own is None else own)
            if named in names:
                found.add(named)
    return found


def rows_naming(kept: KeptRecords, reference: Reference, names: set[Named]) -> npt.NDArray[np.bool_]:
    """Returns, by row, whether the record refers to one of some rows by an external id."""
    found = [np.empty(0, bool)]
    owners = {(name.partner, name.tenant) for name in names}
    texts = {owner: pa.array({n.text for n in names if n[:2] == owner}, pa.string()) for owner in owners}
    for block in kept.blocks(_link_columns(reference)):
        partners, tenants, externals, own = block.columns
        here = np.zeros(len(block), bool)
        for (partner, tenant), wanted in texts.items():
            is_owner = pc.and_(pc.equal(partners, partner), pc.equal(tenants, tenant))
            is_named = pc.and_(is_owner, pc.and_(pc.is_in(externals, wanted), own.is_null()))
            here |= mask_of(pc.fill_null(is_named, False))
        found.append(here)
    return np.concatenate(found)
