"""Finds the rows that records refer to, and creates placeholders for missing ones (X7).

Belongs here: a column of identities -> a column of ids. Does not belong here: rows that records define (`new_rows`).
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
from sync_pipelines.upsert.copying import Copying, Ids, one, values
from sync_pipelines.upsert.empty_tables import DeferredIndexes
from sync_pipelines.upsert.id_cache import Digests, IdCache
from sync_pipelines.upsert.stored_rows import unscoped

Owner = tuple[str, str]
Provenance = Callable[[pa.Table], Mapping[str, Any]]
_WAYS = (("external_id", "external_id"), ("record_id", "partner_record_id"))
"""Part of an identity -> the column that holds it."""
_VERSION: Final = ["effective_at", "position"]
"""Columns of the record that a placeholder names as its last writer."""
EMAIL: Final = r"^[^@\t\n\f\r ]+@[^@\t\n\f\r ]+$"
_CACHED: Final = 600_000
"""Rows whose ids are cached; memory is a multiple of it."""


class Referents(NamedTuple):
    """The rows that records refer to, by one part of their identities.

    Attributes:
        column: the column that holds this part.
        owner: partner and tenant of all rows; None if there are several.
        names: the distinct names of the rows; if there are several owners, each name includes its owner.
        places: by record, the index of its row's name; null if it names none.
        first: the first record that uses each name.
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
    """Finds and creates the rows that records refer to.

    Args:
        copying: in the load's transaction.
        provenance: records -> the columns that name them as the last writer, for placeholders.
        unindexed: tables that were empty and cannot be searched.
    """

    def __init__(self, copying: Copying, provenance: Provenance, unindexed: DeferredIndexes) -> None:
        self._copying = copying
        self._provenance = provenance
        self._unindexed = unindexed
        self._caches: dict[tuple[str, str, Owner | None], IdCache] = {}

    @staticmethod
    def searching(context: LoadContext) -> ReferenceIds:
        """Returns one that searches the tables, for the records of an export."""
        return ReferenceIds(Copying(context.connection), context.last_write, DeferredIndexes(context.connection))

    def ids_of(self, reference: Reference, identities: Iterable[Identity]) -> dict[Identity, int]:
        """Returns the ids of rows, found by the partner's own id, or else by external id."""
        distinct = list(dict.fromkeys(identities))
        if not distinct:
            return {}
        plain = [i if i.record_id is None else i._replace(external_id=None) for i in distinct]
        parts = dict(zip(Identity._fields, zip(*plain, strict=True), strict=True))
        records = {f"{reference.column}_{part}": pa.array(values, pa.string()) for part, values in parts.items()}
        nothing = {name: pa.nulls(len(distinct)) for name in _VERSION}
        return dict(zip(distinct, self.ids(reference, pa.table(records | nothing)).to_pylist(), strict=True))

    def missing(self, reference: Reference, identities: Iterable[Identity]) -> list[Identity]:
        """Returns those of some identities that have no row."""
        distinct = list(dict.fromkeys(identities))
        found = []
        for part, column in _WAYS:
            some = [i for i in distinct if (i.record_id is None) == (part == "external_id")]
            texts = {"partner": [i.partner for i in some], "tenant": [i.tenant for i in some]}
            texts["key"] = [getattr(i, part) for i in some]
            named = {name: pa.array(values, pa.string()) for name, values in texts.items()}
            ids = self._known(reference, column, named, len(some)) if some else np.empty(0, np.int64)
            found += [some[place] for place in np.flatnonzero(ids == 0).tolist()]
        return found

    def ids(self, reference: Reference, records: pa.Table, referents: Sequence[Referents] | None = None) -> pa.Array:
        """Returns the id of the row that each record refers to; null if it refers to none.

        Args:
            reference: the reference.
            records: the records.
            referents: their referents, if these are already known.
        """
        parts = referents_of(reference, records) if referents is None else referents
        return pc.coalesce(*(self._found(reference, part, records) for part in parts))

    def _found(self, reference: Reference, referents: Referents, records: pa.Table) -> pa.Array:
        """Returns the ids of rows named by one part of their identities."""
        if not referents.names:
            return pa.nulls(records.num_rows, pa.int64())
        cache = self._caches.setdefault((reference.table, referents.column, referents.owner), IdCache())
        digests = texts_of(referents.names)
        ids = cache.find(digests)
        new = np.flatnonzero(ids == 0)
        if len(new):
            rows = pa.array(referents.first[new])
            named = {name: values.take(rows) for name, values in referents.parts.items()}
            ids[new] = self._looked_up(reference, referents.column, named, records.select(_VERSION).take(rows))
            self._add_to_cache(reference.table, cache, digests[new], ids[new])
        return pa.array(ids).take(referents.places)

    def _add_to_cache(self, table: str, cache: IdCache, digests: Digests, ids: Ids) -> None:
        if sum(map(len, self._caches.values())) + len(ids) > _CACHED:
            # From here on, created rows may have to be searched for.
            if table in self._unindexed.tables:
                self._unindexed.put_back(table)
            for other in self._caches.values():
                other.clear()
        cache.add(digests, ids)

    def _looked_up(self, reference: Reference, column: str, named: Mapping[str, Any], records: pa.Table) -> Ids:
        """Returns the ids of rows with different names. Creates missing ones for the first record that names each."""
        count = records.num_rows
        is_new = reference.table in self._unindexed.tables
        ids = np.zeros(count, np.int64) if is_new else self._known(reference, column, named, count)
        ordered = _in_key_order(named["key"])
        missing = ordered[ids[ordered] == 0]
        if len(missing):
            ids[missing] = self._copying.new_ids(reference.table, len(missing))
            rows = pa.array(missing)
            columns = {"partner": named["partner"], "tenant": named["tenant"], column: named["key"]}
            if reference.emails_of is not None and column == "external_id":
                columns["email"] = _emails(reference.emails_of, named)
            placeholders = {
                "id": pa.array(ids[missing]),
                **{name: values.take(rows) for name, values in columns.items()},
                "is_placeholder": pa.repeat(True, len(missing)),
                **self._provenance(records.take(rows)),
            }
            self._copying.insert(reference.table, self._unindexed.without_defaults(reference.table, placeholders))
        return ids

    def _known(self, reference: Reference, column: str, named: Mapping[str, Any], count: int) -> Ids:
        """Returns the ids of existing rows, 0 for missing ones."""
        # In key order, neighbors need the same pages of the index.
        ordered = pa.array(_in_key_order(named["key"]))
        parts = {part: keys.take(ordered) for part, keys in named.items()}
        statement = SQL(
            "select r.number, found.id from {referred} cross join lateral (select t.id from {t} t"
            " where t.tenant = r.tenant and t.partner = r.partner and t.{column} = r.key{unscoped} offset 0) found"
        ).format(
            referred=values("r", {"number": ordered, **parts}),
            t=Identifier(SCHEMA, reference.table),
            column=Identifier(column),
            unscoped=unscoped(reference.table, Identifier("t")),
        )
        ids = np.zeros(count, np.int64)
        known = self._copying.numbers(statement, "number", "id").reshape(-1, 2)
        ids[known[:, 0]] = known[:, 1]
        return ids


def referents_of(reference: Reference, records: pa.Table) -> list[Referents]:
    """Returns the rows that records refer to, by each part of an identity that can name a row."""
    parts = {part: one(records.column(f"{reference.column}_{part}")) for part in Identity._fields}
    if parts["record_id"].null_count < len(parts["record_id"]):
        # The partner's own id takes precedence over an external id (P1).
        parts["external_id"] = pc.if_else(parts["record_id"].is_valid(), None, parts["external_id"])
    return [_referents(parts, part, column) for part, column in _WAYS]


def _referents(parts: Mapping[str, Any], part: str, column: str) -> Referents:
    owners = [parts[name].drop_null().unique() for name in ("partner", "tenant")]
    if all(len(owner) == 1 for owner in owners):
        named, owner = parts[part], (owners[0][0].as_py(), owners[1][0].as_py())
    else:
        named, owner = pc.binary_join_element_wise(parts["partner"], parts["tenant"], parts[part], "\x1f"), None
    encoded = named.dictionary_encode()
    valid = np.flatnonzero(named.is_valid().to_numpy(zero_copy_only=False))
    first = valid[np.unique(encoded.indices.drop_null().to_numpy(), return_index=True)[1]]
    known = {"partner": parts["partner"], "tenant": parts["tenant"], "key": parts[part]}
    return Referents(column, owner, encoded.dictionary.cast(pa.binary()).to_pylist(), encoded.indices, first, known)


def _emails(partner: str, named: Mapping[str, Any]) -> Any:
    """Returns the keys of a partner's rows that are email addresses; null for other rows.

    They depend on the identity alone: whichever record names a row first, the placeholder is the same (law 1).
    """
    is_email = pc.and_(pc.equal(named["partner"], partner), pc.match_substring_regex(named["key"], EMAIL))
    return pc.if_else(is_email, named["key"], pa.scalar(None, pa.string()))


def _in_key_order(keys: Any) -> Ids:
    order: Ids = pc.sort_indices(keys).to_numpy().astype(np.int64)
    return order
