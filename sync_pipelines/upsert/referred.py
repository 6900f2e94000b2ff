"""Rows that many records refer to: found, or made as placeholders (X7).

Belongs here: a column of identities -> a column of ids. Does not belong here: rows that records make (`direct`), the
same for a few records (`write.refer`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Identity, Reference
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.copying import Copying, Ids, one
from sync_pipelines.upsert.statements import unscoped
from sync_pipelines.upsert.unindexed import Unindexed

Provenance = Callable[[pa.Table], Mapping[str, Any]]
_WAYS = (("external_id", "external_id"), ("record_id", "partner_record_id"))
"""Part of an identity -> the column of the row it names."""
_REMEMBERED: Final = 250_000
"""Rows whose ids are not asked for again; memory is a multiple of it."""


class Referred:
    """Finds and makes the rows that records refer to.

    Args:
        copying: inside the load's transaction.
        provenance: records -> the columns that name them as the last write, for placeholders.
        unindexed: tables that were empty and can't be searched.
    """

    def __init__(self, copying: Copying, provenance: Provenance, unindexed: Unindexed) -> None:
        self._copying = copying
        self._provenance = provenance
        self._unindexed = unindexed
        self._remembered: dict[tuple[str, str, str, str], dict[str, int]] = {}
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
        named = _named(parts, part)
        encoded = named.dictionary_encode()
        if not len(encoded.dictionary):
            return pa.nulls(records.num_rows, pa.int64())
        places = np.flatnonzero(named.is_valid().to_numpy(zero_copy_only=False))
        codes = encoded.indices.drop_null().to_numpy()
        first = places[np.unique(codes, return_index=True)[1]]
        owner = (parts["partner"][first[0]].as_py(), parts["tenant"][first[0]].as_py())
        remembered = self._remembered.setdefault((reference.table, column, *owner), {})
        names = encoded.dictionary.to_pylist()
        ids = np.fromiter(map(remembered.get, names, repeat(0)), np.int64, len(names))
        new = np.flatnonzero(ids == 0)
        if len(new):
            rows = pa.array(first[new])
            meant = {name: parts[name].take(rows) for name in ("partner", "tenant")} | {"key": parts[part].take(rows)}
            ids[new] = self._asked(reference, column, meant, records.take(rows))
            self._remember(reference.table, remembered, [names[row] for row in new.tolist()], ids[new])
        return pa.array(ids).take(encoded.indices)

    def _remember(self, table: str, remembered: dict[str, int], names: Sequence[str], ids: Ids) -> None:
        if sum(map(len, self._remembered.values())) + len(names) > _REMEMBERED:
            # From here on rows that were made may have to be searched for.
            if table in self._unindexed.tables:
                self._unindexed.put_back(table)
            for known in self._remembered.values():
                known.clear()
        remembered.update(zip(names, ids.tolist(), strict=True))

    def _asked(self, reference: Reference, column: str, named: Mapping[str, Any], records: pa.Table) -> Ids:
        """Ids of rows named once each; rows that are not there are made, as records tell that name them first."""
        count = records.num_rows
        is_new = reference.table in self._unindexed.tables
        ids = np.zeros(count, np.int64) if is_new else self._known(reference, column, named, count)
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
                    **self._provenance(records.take(rows)),
                },
            )
        return ids

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
        known = self._copying.numbers(statement, "number", "id").reshape(-1, 2)
        ids[known[:, 0]] = known[:, 1]
        return ids


def _named(parts: Mapping[str, Any], part: str) -> Any:
    """Names of the rows meant: one part of their identities, with the owner where there are several."""
    if all(len(parts[name].drop_null().unique()) <= 1 for name in ("partner", "tenant")):
        return parts[part]
    return pc.binary_join_element_wise(parts["partner"], parts["tenant"], parts[part], "\x1f")


def _in_key_order(keys: Any) -> Ids:
    order: Ids = pc.sort_indices(keys).to_numpy().astype(np.int64)
    return order
