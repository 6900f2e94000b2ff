"""The rows of a tenant by their names, as arrays.

Belongs here: reading ids and names. Does not belong here: what else is in a row (`stored_rows`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Identifier

from sync_pipelines.normalize.keys import hashes_of_bytes, record_id_bytes
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.archived_exports import Span
from sync_pipelines.upsert.copy_out import columns_of, read_copy
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.upsert.placeholders import Group


class NamedRows(NamedTuple):
    """Rows of a main table.

    Attributes:
        ids: their ids.
        keys: hashes of their external ids; 0 if a row has none.
        record_ids: hashes of the partner's own ids; 0 if a row has none.
    """

    ids: Ids
    keys: Hashes
    record_ids: Hashes

    def chosen(self, mask: Mask) -> NamedRows:
        """Returns the chosen rows."""
        return NamedRows(self.ids[mask], self.keys[mask], self.record_ids[mask])

    def of(self, span: Span) -> NamedRows:
        """Returns the rows of a range: by the partner's own id, or else by the external id."""
        names = np.where(self.record_ids != 0, self.record_ids, self.keys)
        return self.chosen((names >= np.uint64(span.first)) & (names <= np.uint64(span.last)))


def named_rows(connection: psycopg.Connection[Any], group: Group) -> NamedRows:
    """Returns the rows of a group."""
    kinds = {"id": pa.int64(), "external_id": pa.string(), "partner_record_id": pa.string()}
    query = SQL("select {columns} from {t} t where t.partner = {partner} and t.tenant = {tenant}").format(
        columns=columns_of(kinds),
        t=Identifier(SCHEMA, group.table),
        partner=group.partner,
        tenant=group.tenant,
    )
    rows = read_copy(connection, query, kinds)
    keys, record_ids = (one(rows.column(name)).cast(pa.binary()).to_pylist() for name in [*kinds][1:])
    return NamedRows(
        one(rows.column("id")).to_numpy(),
        _hashes(keys),
        _hashes([None if own is None else record_id_bytes(own) for own in record_ids]),
    )


def _hashes(names: list[bytes | None]) -> Hashes:
    """Returns hashes of names, 0 for none."""
    found = np.zeros(len(names), np.uint64)
    places = [place for place, name in enumerate(names) if name is not None]
    found[places] = hashes_of_bytes(name for name in names if name is not None)
    return found
