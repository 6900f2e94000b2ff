"""Rows that many records refer to: found, or made as placeholders (X7).

Belongs here: a column of identities -> a column of ids. Does not belong here: rows that records make (`direct`), the
same for a few records (`write.refer`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Identity, Reference
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.copying import Copying, Ids, one
from sync_pipelines.upsert.statements import unscoped

Provenance = Callable[[pa.Table], Mapping[str, Any]]
_WAYS = (("external_id", "external_id"), ("record_id", "partner_record_id"))
"""Part of an identity -> the column of the row it names."""


class Referred:
    """Finds and makes the rows that records refer to.

    Args:
        copying: inside the load's transaction.
        provenance: records -> the columns that name them as the last write, for placeholders.
    """

    def __init__(self, copying: Copying, provenance: Provenance) -> None:
        self._copying = copying
        self._provenance = provenance
        copying.connection.execute(
            "create temp table meant (number bigint, partner text, tenant text, key text) on commit drop"
        )

    def ids(self, reference: Reference, records: pa.Table) -> pa.Array:
        """The id of the row each record refers to, null where it refers to none."""
        parts = {part: one(records.column(f"{reference.column}_{part}")) for part in Identity._fields}
        found = [self._found(reference, parts, part, column, records) for part, column in _WAYS]
        return pc.coalesce(*found)

    def _found(
        self, reference: Reference, parts: Mapping[str, Any], part: str, column: str, records: pa.Table
    ) -> pa.Array:
        """The same by one part of the identities."""
        joined = pc.binary_join_element_wise(parts["partner"], parts["tenant"], parts[part], "\x1f")
        encoded = joined.dictionary_encode()
        count = len(encoded.dictionary)
        if not count:
            return pa.nulls(records.num_rows, pa.int64())
        places = np.flatnonzero(joined.is_valid().to_numpy(zero_copy_only=False))
        codes = encoded.indices.drop_null().to_numpy()
        first = pa.array(places[np.unique(codes, return_index=True)[1]])
        named = {name: parts[name].take(first) for name in ("partner", "tenant")} | {"key": parts[part].take(first)}
        ids = self._known(reference, column, named, count)
        ordered = _in_key_order(named["key"])
        missing = ordered[ids[ordered] == 0]
        if len(missing):
            ids[missing] = self._copying.new_ids(reference.table, len(missing))
            rows = pa.array(missing)
            made = {"partner": named["partner"], "tenant": named["tenant"], column: named["key"]}
            self._copying.insert(
                reference.table,
                {
                    "id": pa.array(ids[missing]),
                    **{name: values.take(rows) for name, values in made.items()},
                    "is_placeholder": pa.repeat(True, len(missing)),
                    **self._provenance(records.take(first.take(rows))),
                },
            )
        return pa.array(ids).take(encoded.indices)

    def _known(self, reference: Reference, column: str, named: Mapping[str, Any], count: int) -> Ids:
        """Ids of the rows that are there, 0 for the others."""
        # Neighbours find the pages of the index that the one before them needed.
        ordered = pa.array(_in_key_order(named["key"]))
        self._copying.fill("meant", {"number": ordered, **{part: keys.take(ordered) for part, keys in named.items()}})
        statement = SQL(
            "select m.number, found.id from meant m cross join lateral (select t.id from {t} t"
            " where t.tenant = m.tenant and t.partner = m.partner and t.{column} = m.key{unscoped} offset 0) found"
        ).format(
            t=Identifier(SCHEMA, reference.table),
            column=Identifier(column),
            unscoped=unscoped(reference, Identifier("t")),
        )
        ids = np.zeros(count, np.int64)
        known = self._copying.numbers(statement).reshape(-1, 2)
        ids[known[:, 0]] = known[:, 1]
        return ids


def _in_key_order(keys: Any) -> Ids:
    order: Ids = pc.sort_indices(keys).to_numpy().astype(np.int64)
    return order
