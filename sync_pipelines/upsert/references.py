"""Rows that many records refer to: found, or made as placeholders (X7).

Belongs here: a column of identities -> a column of ids. Does not belong here: rows that records make (`new_rows`), the
same for a few records (`write.refer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Identity, Reference
from sync_pipelines.normalize.keys import texts_of
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Copying, Ids, one
from sync_pipelines.upsert.empty_tables import DeferredIndexes
from sync_pipelines.upsert.id_cache import Digests, IdCache
from sync_pipelines.upsert.stored_rows import unscoped

Owner = tuple[str, str]
Provenance = Callable[[pa.Table], Mapping[str, Any]]
_WAYS = (("external_id", "external_id"), ("record_id", "partner_record_id"))
"""Part of an identity -> the column of the row it names."""
_TOLD: Final = ["effective_at", "position"]
"""Columns of records that placeholders name as their last write."""
_EMAIL: Final = r"^[^@\t\n\f\r ]+@[^@\t\n\f\r ]+$"
_REMEMBERED: Final = 600_000
"""Rows whose ids are not asked for again; memory is a multiple of it."""


class Referents(NamedTuple):
    """The rows that records refer to, by one part of their identities.

    Attributes:
        column: of the rows, that has this part.
        owner: partner and tenant of all of them, None where there are several.
        names: of the rows, once each; with several owners these are part of it.
        places: by record, the place of its row's name, null where it names none.
        first: the first record that names each.
        parts: by record, partner, tenant and key.
    """

    column: str
    owner: Owner | None
    names: list[bytes]
    places: Any
    first: Ids
    parts: dict[str, Any]

    @property
    def owners(self) -> set[Owner]:
        """Partner and tenant of the rows."""
        if self.owner is not None:
            return {self.owner} if self.names else set()
        first = pa.array(self.first)
        return set(zip(*(self.parts[name].take(first).to_pylist() for name in ("partner", "tenant")), strict=True))


class ReferenceIds:
    """Finds and makes the rows that records refer to.

    Args:
        copying: inside the load's transaction.
        provenance: records -> the columns that name them as the last write, for placeholders.
        unindexed: tables that were empty and can't be searched.
    """

    def __init__(self, copying: Copying, provenance: Provenance, unindexed: DeferredIndexes) -> None:
        self._copying = copying
        self._provenance = provenance
        self._unindexed = unindexed
        self._remembered: dict[tuple[str, str, Owner | None], IdCache] = {}
        copying.connection.execute(
            "create temp table if not exists meant (number bigint, partner text, tenant text, key text) on commit drop"
        )

    @staticmethod
    def searching(context: LoadContext) -> ReferenceIds:
        """One that searches tables, for the records of an export."""
        return ReferenceIds(Copying(context.connection), context.last_write, DeferredIndexes(context.connection))

    def ids_of(self, reference: Reference, identities: Iterable[Identity]) -> dict[Identity, int]:
        """The ids of the rows meant, by the partner's own id or else by external id."""
        meant = list(dict.fromkeys(identities))
        if not meant:
            return {}
        plain = [i if i.record_id is None else i._replace(external_id=None) for i in meant]
        parts = dict(zip(Identity._fields, zip(*plain, strict=True), strict=True))
        records = {f"{reference.column}_{part}": pa.array(values, pa.string()) for part, values in parts.items()}
        nothing = {name: pa.nulls(len(meant)) for name in _TOLD}
        return dict(zip(meant, self.ids(reference, pa.table(records | nothing)).to_pylist(), strict=True))

    def ids(self, reference: Reference, records: pa.Table, meant: Sequence[Referents] | None = None) -> pa.Array:
        """The id of the row each record refers to, null where it refers to none.

        Args:
            reference: which.
            records: that refer to rows.
            meant: what they say of it, where that is at hand.
        """
        parts = referents_of(reference, records) if meant is None else meant
        return pc.coalesce(*(self._found(reference, part, records) for part in parts))

    def _found(self, reference: Reference, meant: Referents, records: pa.Table) -> pa.Array:
        """The same by one part of the identities."""
        if not meant.names:
            return pa.nulls(records.num_rows, pa.int64())
        remembered = self._remembered.setdefault((reference.table, meant.column, meant.owner), IdCache())
        digests = texts_of(meant.names)
        ids = remembered.find(digests)
        new = np.flatnonzero(ids == 0)
        if len(new):
            rows = pa.array(meant.first[new])
            named = {name: values.take(rows) for name, values in meant.parts.items()}
            ids[new] = self._asked(reference, meant.column, named, records.select(_TOLD).take(rows))
            self._remember(reference.table, remembered, digests[new], ids[new])
        return pa.array(ids).take(meant.places)

    def _remember(self, table: str, remembered: IdCache, digests: Digests, ids: Ids) -> None:
        if sum(map(len, self._remembered.values())) + len(ids) > _REMEMBERED:
            # From here on rows that were made may have to be searched for.
            if table in self._unindexed.tables:
                self._copying.wait()
                self._unindexed.put_back(table)
            for known in self._remembered.values():
                known.clear()
        remembered.add(digests, ids)

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
            if reference.emails_of is not None and column == "external_id":
                made["email"] = _emails(reference.emails_of, named)
            placeholders = {
                "id": pa.array(ids[missing]),
                **{name: values.take(rows) for name, values in made.items()},
                "is_placeholder": pa.repeat(True, len(missing)),
                **self._provenance(records.take(rows)),
            }
            self._copying.insert(reference.table, self._unindexed.told(reference.table, placeholders))
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


def referents_of(reference: Reference, records: pa.Table) -> list[Referents]:
    """What records say of a reference, by each part of an identity that names a row."""
    parts = {part: one(records.column(f"{reference.column}_{part}")) for part in Identity._fields}
    if parts["record_id"].null_count < len(parts["record_id"]):
        # The partner's own id goes before an external id (P1).
        parts["external_id"] = pc.if_else(parts["record_id"].is_valid(), None, parts["external_id"])
    return [_meant(parts, part, column) for part, column in _WAYS]


def _meant(parts: Mapping[str, Any], part: str, column: str) -> Referents:
    owners = [parts[name].drop_null().unique() for name in ("partner", "tenant")]
    if all(len(owner) == 1 for owner in owners):
        named, owner = parts[part], (owners[0][0].as_py(), owners[1][0].as_py())
    else:
        named, owner = pc.binary_join_element_wise(parts["partner"], parts["tenant"], parts[part], "\x1f"), None
    encoded = named.dictionary_encode()
    spoken = np.flatnonzero(named.is_valid().to_numpy(zero_copy_only=False))
    first = spoken[np.unique(encoded.indices.drop_null().to_numpy(), return_index=True)[1]]
    known = {"partner": parts["partner"], "tenant": parts["tenant"], "key": parts[part]}
    return Referents(column, owner, encoded.dictionary.cast(pa.binary()).to_pylist(), encoded.indices, first, known)


def _emails(partner: str, named: Mapping[str, Any]) -> Any:
    """The keys of a partner's rows that are email addresses, null for other rows.

    It depends on the identity alone: whichever record names a row first makes the same placeholder (law 1).
    """
    is_email = pc.and_(pc.equal(named["partner"], partner), pc.match_substring_regex(named["key"], _EMAIL))
    return pc.if_else(is_email, named["key"], pa.scalar(None, pa.string()))


def _in_key_order(keys: Any) -> Ids:
    order: Ids = pc.sort_indices(keys).to_numpy().astype(np.int64)
    return order
