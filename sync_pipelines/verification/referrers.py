"""What the records of all streams and tenants say of the rows that they refer to (X7).

Whether some of them name a row, and whether the record that a placeholder names as its source is one of them, is read
from the archive, some rows and some records at a time.

Belongs here: reading that. Does not belong here: which rows must be placeholders (`placeholders`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Identity, Reference
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.history import KnownExport
from sync_pipelines.upsert.row_references import references_to
from sync_pipelines.upsert.stored_rows import Source
from sync_pipelines.verification.archived_exports import ArchivedExports
from sync_pipelines.verification.copy_out import MOMENT

_BLOCKS_AT_ONCE: Final = 8


class Group(NamedTuple):
    """The rows of one partner's tenant in a main table."""

    table: str
    partner: str
    tenant: str

    @property
    def lock(self) -> str:
        """The name of the lock of these rows."""
        return f"{self.table}/{self.partner}/{self.tenant}"


class Referred(NamedTuple):
    """What records say of rows, by row.

    Attributes:
        are_named: whether some record refers to it by the given name.
        are_sources: whether its source is such a record, or the export of one.
    """

    are_named: Mask
    are_sources: Mask


class Referrers:
    """The records that refer to rows of a group.

    Args:
        group: the rows.
        archive: the archive's folder.
    """

    def __init__(self, group: Group, archive: Path) -> None:
        self._group = group
        self._archive = archive
        self._exports: dict[tuple[str, str], ArchivedExports] = {}
        self.references = list(references_to(group.table))

    @property
    def gives_emails(self) -> bool:
        """Whether placeholders get their key as their email address if it is one."""
        return any(reference.emails_of == self._group.partner for _, reference in self.references)

    def refresh(self, connection: psycopg.Connection[Any]) -> None:
        """Reads which exports are loaded now."""
        for stream, _ in self.references:
            tenants = connection.execute(
                "select distinct tenant from sync.export_files"
                " where partner = %s and stream = %s and status = 'loaded' and effective_to is not null",
                [stream.partner, stream.name],
            ).fetchall()
            for (tenant,) in tenants:
                known = (stream.full_name, tenant)
                exports = self._exports.setdefault(known, ArchivedExports(stream, tenant, self._archive))
                exports.refresh(connection)

    def referred(self, rows: pa.Table) -> Referred:
        """Returns what records say of rows.

        Args:
            rows: a (marked) `name` of each row, and its source in the columns of `Source`.
        """
        names, files = one(rows.column("name")), one(rows.column("source_file"))
        found = Referred(np.zeros(len(rows), bool), np.zeros(len(rows), bool))
        for reference, export in self._referring():
            # Most rows are named by the record that is their source.
            mine = np.flatnonzero(mask_of(pc.fill_null(pc.equal(files, export.entry.path), False)))
            if len(mine):
                is_named, is_source = self._sources(reference, export, rows.take(pa.array(mine)))
                found.are_named[mine[is_named]] = True
                found.are_sources[mine[is_source]] = True
        if not found.are_named.all():
            others = np.flatnonzero(~found.are_named)
            wanted = names.take(pa.array(others))
            for reference, export in self._referring():
                for named, _, _ in self._links(reference, export, None):
                    found.are_named[others[mask_of(pc.is_in(wanted, named))]] = True
        return found

    def _sources(self, reference: Reference, export: KnownExport, rows: pa.Table) -> Referred:
        """Returns what the records of one export say of rows that have it as their source."""
        names, moments, positions = (one(rows.column(c)) for c in ("name", "effective_at", "source_position"))
        places = _places(names, moments, positions)
        # A placeholder may name only the export.
        of_export = mask_of(pc.fill_null(pc.equal(moments, pa.scalar(export.entry.effective_at, MOMENT)), False))
        of_export &= mask_of(positions.is_null())
        found = Referred(np.zeros(len(rows), bool), np.zeros(len(rows), bool))
        for named, times, places_of_records in self._links(reference, export, None):
            found.are_named[mask_of(pc.is_in(names, named))] = True
            found.are_sources[mask_of(pc.is_in(places, _places(named, times, places_of_records)))] = True
        found.are_sources[of_export & found.are_named] = True
        return found

    def first_source(self, name: pa.Array) -> Source:
        """Returns the first record that refers to a row by a (marked) name."""
        found = [
            ((moment, *export.entry.version[1:], number), Source(moment, export.entry.path, position))
            for reference, export in self._referring()
            for _, times, positions in self._links(reference, export, name)
            for number, (moment, position) in enumerate(zip(times.to_pylist(), positions.to_pylist(), strict=True))
        ]
        return min(found, key=lambda each: each[0])[1]

    def has_record(self, kept: str, source: Source) -> bool:
        """Whether kept records have one with a time and a position."""
        for block in KeptRecords(self._archive, kept).blocks(["effective_at", "position"]):
            same = pc.equal(block.column("effective_at"), pa.scalar(source.effective_at, MOMENT))
            if pc.any(pc.and_(same, pc.equal(block.column("position"), source.source_position))).as_py():
                return True
        return False

    def _referring(self) -> Iterator[tuple[Reference, KnownExport]]:
        for stream, reference in self.references:
            target = [reference.column, self._group.partner, self._group.tenant]
            for (name, _), exports in self._exports.items():
                if name == stream.full_name:
                    for export in exports.all:
                        if target in [list(each) for each in export.kept.summary.referred]:
                            yield reference, export

    def _links(
        self, reference: Reference, export: KnownExport, wanted: pa.Array | None
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Yields the marked names by which records refer to the group's rows, with time and position of each record."""
        columns = [f"{reference.column}_{part}" for part in Identity._fields]
        blocks = export.kept.blocks([*columns, "effective_at", "position"])
        while some := list(islice(blocks, _BLOCKS_AT_ONCE)):
            records = pa.Table.from_batches(some).combine_chunks()
            partner, tenant, external, own = (one(records.column(name)) for name in columns)
            named = pc.if_else(own.is_valid(), marked(own, "partner_record_id"), marked(external, "external_id"))
            chosen = mask_of(
                pc.fill_null(
                    pc.and_(pc.equal(partner, self._group.partner), pc.equal(tenant, self._group.tenant)), False
                )
            )
            if wanted is not None:
                chosen &= mask_of(pc.is_in(named, wanted))
            if chosen.any():
                mask = pa.array(chosen)
                yield (
                    named.filter(mask),
                    one(records.column("effective_at")).filter(mask),
                    one(records.column("position")).filter(mask),
                )


def mark(column: str) -> str:
    """Returns the mark of the names in a column, so that an id is never taken for an external id."""
    return "i" if column == "partner_record_id" else "e"


def marked(texts: Any, column: str) -> Any:
    """Returns names of a column with their mark."""
    return pc.binary_join_element_wise(mark(column), texts, "")


def _places(names: Any, times: Any, positions: Any) -> Any:
    """Returns names with their places within an export as texts."""
    moments = times.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.string())
    place = pc.fill_null(pc.binary_join_element_wise("p", positions, ""), "")
    return pc.binary_join_element_wise(names, pc.fill_null(moments, ""), place, "\x1f")
