"""The rows of a tenant by their names, as arrays.

Belongs here: reading ids and names. Does not belong here: what else is in a row (`stored_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Identifier

from sync_pipelines.normalize.keys import hashes_of_bytes, record_id_bytes, texts_of
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.verification.archived_exports import Span
from sync_pipelines.verification.copy_out import columns_of, read_by_ids
from sync_pipelines.verification.referrers import Group


class NamedRows(NamedTuple):
    """Rows of a main table, in the order of their ids.

    Attributes:
        ids: their ids.
        keys: hashes of their external ids; 0 if a row has none.
        record_ids: hashes of the partner's own ids; 0 if a row has none.
        are_scoped: which of them belong to another row, within which their key is unique (P5).
    """

    ids: Ids
    keys: Hashes
    record_ids: Hashes
    are_scoped: Mask

    def chosen(self, rows: Mask | Ids) -> NamedRows:
        """Returns the chosen rows, given a mask or their indexes."""
        return NamedRows(self.ids[rows], self.keys[rows], self.record_ids[rows], self.are_scoped[rows])

    def of(self, span: Span) -> NamedRows:
        """Returns the rows of a range: by the partner's own id, or else by the external id."""
        names = np.where(self.record_ids != 0, self.record_ids, self.keys)
        return self.chosen(span.has(names))


def named_rows(connection: psycopg.Connection[Any], group: Group, *, as_keys: bool = True) -> NamedRows:
    """Returns the rows of a group, see `named_parts`."""
    return joined(list(named_parts(connection, group, as_keys=as_keys)))


def joined(parts: Sequence[NamedRows]) -> NamedRows:
    """Returns parts of the rows as one."""
    if not parts:
        return NamedRows(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, bool))
    return NamedRows(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def named_parts(connection: psycopg.Connection[Any], group: Group, *, as_keys: bool = True) -> Iterator[NamedRows]:
    """Yields the rows of a group, some at a time.

    Args:
        connection: with the date style ISO.
        group: the rows.
        as_keys: whether names are hashed as in key lists, or in a faster way.
    """
    scope = metadata.tables[f"{SCHEMA}.{group.table}"].info.get("scope")
    kinds = {"id": pa.int64(), "external_id": pa.string(), "partner_record_id": pa.string()}
    query = SQL(
        "select {columns}, {scoped} as scoped from {t} t where t.partner = {partner} and t.tenant = {tenant}"
    ).format(
        columns=columns_of(kinds),
        scoped=SQL("t.{} is not null" if scope else "false").format(Identifier(scope or "")),
        t=Identifier(SCHEMA, group.table),
        partner=group.partner,
        tenant=group.tenant,
    )
    kinds |= {"scoped": pa.bool_()}
    for rows in read_by_ids(connection, Identifier(SCHEMA, group.table), query, kinds):
        yield _named(rows, as_keys=as_keys)


def hashes_of_names(names: Any, *, is_record_id: bool, as_keys: bool) -> Hashes:
    """Returns the hashes of a column of names, 0 for none."""
    found = np.zeros(len(names), np.uint64)
    is_there = mask_of(names.is_valid())
    if is_there.any():
        texts = one(names).drop_null().cast(pa.binary()).to_pylist()
        marked = map(record_id_bytes, texts) if is_record_id else texts
        found[is_there] = hashes_of_bytes(marked) if as_keys else texts_of(marked)[:, 0]
    return found


def _named(rows: pa.Table, *, as_keys: bool) -> NamedRows:
    return NamedRows(
        one(rows.column("id")).to_numpy(),
        hashes_of_names(one(rows.column("external_id")), is_record_id=False, as_keys=as_keys),
        hashes_of_names(one(rows.column("partner_record_id")), is_record_id=True, as_keys=as_keys),
        mask_of(rows.column("scoped")),
    )
