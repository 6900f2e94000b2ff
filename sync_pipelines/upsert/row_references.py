"""Records that refer to rows, by the names that they use, whether or not a record defines the row (X7).

No index has them, except for businesses (F11): exports are read, only the columns with references.

Belongs here: these names in kept records, and finding the records. Does not belong here: the rows they create
(`references`), rows that no record names any more (`named_rows`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Identity, Reference, Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords, Rows
from sync_pipelines.partners import STREAMS
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.history import Version


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


def references_to(table: str) -> Iterator[tuple[Stream, Reference]]:
    """Yields every stream with a reference to a table, and the reference."""
    for stream in STREAMS:
        for reference in stream.references:
            if reference.table == table:
                yield stream, reference


def names_referred(kept: KeptRecords, reference: Reference, rows: Rows | None = None) -> set[Named]:
    """Returns the names by which an export's records refer to other rows; with `rows`, only those records."""
    found, columns = set[Named](), _link_columns(reference)
    every = kept.blocks(columns) if rows is None else (block for _, block in kept.chosen(rows, columns))
    for block in every:
        # A query of Arrow's costs more than the few records of a small export.
        for partner, tenant, external, record_id in zip(*(c.to_pylist() for c in block.columns), strict=True):
            if record_id is not None:
                found.add(Named(partner, tenant, True, record_id))
            elif external is not None:
                found.add(Named(partner, tenant, False, external))
    return found


def by_owner(names: Iterable[Named]) -> dict[tuple[str, str, bool], list[str]]:
    """Returns partner, tenant and kind of names -> their texts."""
    found: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for partner, tenant, is_record_id, text in names:
        found[partner, tenant, is_record_id].append(text)
    return found


def rows_naming(kept: KeptRecords, reference: Reference, names: set[Named]) -> npt.NDArray[np.bool_]:
    """Returns, by row, whether the record refers to a row by one of these names: by its id, or else by external id."""
    if not _may_name(kept, reference, names):
        return np.zeros(kept.count, bool)
    found = [np.empty(0, bool)]
    texts = {owner: pa.array(each, pa.string()) for owner, each in by_owner(names).items()}
    for block in kept.blocks(_link_columns(reference)):
        partners, tenants, externals, own = block.columns
        here = np.zeros(len(block), bool)
        for (partner, tenant, is_record_id), wanted in texts.items():
            is_owner = pc.and_(pc.equal(partners, partner), pc.equal(tenants, tenant))
            is_named = pc.is_in(own, wanted) if is_record_id else pc.and_(pc.is_in(externals, wanted), own.is_null())
            here |= mask_of(pc.fill_null(pc.and_(is_owner, is_named), False))
        found.append(here)
    return np.concatenate(found)


class Referring(NamedTuple):
    """A record that refers to a row.

    Attributes:
        version: of the record.
        table, key: its own row.
        path, position: its place.
        is_by_id: whether it names the row by the partner's own id.
    """

    version: Version
    table: str
    key: str | None
    path: str
    position: str
    is_by_id: bool


def referring_records(
    connection: psycopg.Connection[Any], archive: Path, table: str, names: set[Named]
) -> list[Referring]:
    """Returns the first record of each export that refers to a row, in version order.

    Args:
        connection: for the ledger.
        archive: the archive's folder.
        table: of the row.
        names: by which records may refer to the row.

    Raises:
        ArchiveIncomplete: kept records are missing.
    """
    found = []
    for stream, reference in references_to(table):
        for entry in ledger.loaded_with_records(connection, stream.partner, stream.name):
            kept = KeptRecords(archive, entry.kept or "-")
            rows = np.flatnonzero(rows_naming(kept, reference, names))
            if len(rows):
                found.append(_first_of(entry, kept, rows, stream, reference))
    return sorted(found, key=lambda referring: referring.version)


def _first_of(entry: LedgerFile, kept: KeptRecords, rows: Rows, stream: Stream, reference: Reference) -> Referring:
    by_id = f"{reference.column}_record_id"
    columns = ["effective_at", "position", "external_id", "record_id", by_id]
    return min(
        Referring(
            (record["effective_at"], *entry.version[1:], row),
            stream.table,
            record["record_id"] if record["external_id"] is None else record["external_id"],
            entry.path,
            record["position"],
            record[by_id] is not None,
        )
        for here, block in kept.chosen(rows, columns)
        for row, record in zip(here.tolist(), block.to_pylist(), strict=True)
    )


def _link_columns(reference: Reference) -> list[str]:
    return [f"{reference.column}_{part}" for part in ("partner", "tenant", "external_id", "record_id")]


def _may_name(kept: KeptRecords, reference: Reference, names: set[Named]) -> bool:
    """Whether an export's records refer to rows of the owners of some names."""
    owners = {(partner, tenant) for column, partner, tenant in kept.summary.referred if column == reference.column}
    return any((name.partner, name.tenant) in owners for name in names)
