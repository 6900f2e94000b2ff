"""Records that refer to a row, whether or not a record defines it (X7).

No index has them, except for businesses (F11): the other exports are read, only the columns with references.

Belongs here: finding these records. Does not belong here: the rows they create (`references`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.partners import STREAMS
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.history import Version
from sync_pipelines.upsert.referred_names import RowName

_LOADED: Final = (
    "select id from sync.export_files where partner = %s and stream = %s and status = 'loaded'"
    " and effective_to is not null"
)


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
    connection: psycopg.Connection[Any], archive: Path, table: str, owner: tuple[str, str], names: Collection[RowName]
) -> list[Referring]:
    """Returns the first record of each export that refers to a row, in version order.

    Args:
        connection: for the ledger.
        archive: the archive's folder.
        table: of the row.
        owner: partner and tenant of the row.
        names: by which records may refer to the row.

    Raises:
        ArchiveIncomplete: kept records are missing.
    """
    found = []
    for stream in STREAMS:
        for column in (reference.column for reference in stream.references if reference.table == table):
            rows = connection.execute(_LOADED, [stream.partner, stream.name]).fetchall()
            for entry in ledger.of_ids(connection, [number for (number,) in rows]):
                kept = KeptRecords(archive, entry.kept or "-")
                if [column, *owner] in kept.summary.referred:
                    found += list(_in_export(entry, kept, stream, column, owner, names))
    return sorted(found, key=lambda referring: referring.version)


def references_to(table: str) -> Iterable[tuple[str, str]]:
    """Returns the tables and columns that refer to a table."""
    return dict.fromkeys((s.table, r.column) for s in STREAMS for r in s.references if r.table == table)


def _in_export(
    entry: LedgerFile,
    kept: KeptRecords,
    stream: Stream,
    column: str,
    owner: tuple[str, str],
    names: Collection[RowName],
) -> Iterator[Referring]:
    parts = [f"{column}_{part}" for part in Identity._fields]
    first: Referring | None = None
    start = 0
    for block in kept.blocks([*parts, "effective_at", "position", "external_id", "record_id"]):
        for row in np.flatnonzero(_mask(block, parts, owner, names)).tolist():
            record = {name: block.column(name)[row].as_py() for name in block.schema.names}
            version = (record["effective_at"], *entry.version[1:], start + row)
            own = record["external_id"] if record["external_id"] is not None else record["record_id"]
            referring = Referring(
                version, stream.table, own, entry.path, record["position"], record[f"{column}_record_id"] is not None
            )
            first = referring if first is None or referring.version < first.version else first
        start += len(block)
    if first is not None:
        yield first


def _mask(block: Any, parts: list[str], owner: tuple[str, str], names: Collection[RowName]) -> Any:
    partner, tenant, external, own = (block.column(part) for part in parts)
    ids, externals = (
        pa.array([n.text for n in names if n.is_record_id is kind], pa.string()) for kind in (True, False)
    )
    is_named = mask_of(pc.is_in(own, ids)) | (mask_of(own.is_null()) & mask_of(pc.is_in(external, externals)))
    is_owned = mask_of(pc.and_(pc.equal(partner, owner[0]), pc.equal(tenant, owner[1])).fill_null(False))
    return is_named & is_owned
