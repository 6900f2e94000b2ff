"""Verifies rows that no record of their own produces: each must be a placeholder that some record refers to (X7).

Belongs here: those rows. Does not belong here: what records say of them (`referrers`), rows that records
define (`verified_rows`), missing rows (`missing_rows`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.keys import distinct, hashes_of_row
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.audit import ROW, Audit, Difference, key_of
from sync_pipelines.upsert.column_changes import are_distinct, mask_of
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.upsert.locks import take_locks
from sync_pipelines.upsert.name_pairs import Lends, NamePairs
from sync_pipelines.upsert.references import EMAIL
from sync_pipelines.upsert.stored_rows import NOT_DERIVED, Source
from sync_pipelines.upsert.write import remove_unused
from sync_pipelines.verification.copy_out import MOMENT, columns_of, read_by_ids
from sync_pipelines.verification.referrers import Group, Referrers, mark, marked

_NAMES: Final = ("external_id", "partner_record_id")
_OF_PLACEHOLDERS: Final = {"id", "tenant", "partner", "is_placeholder", *_NAMES, *Source._fields}
"""Columns in which a placeholder has values; a few have an email address too."""
_PARTS_AT_ONCE: Final = 1
_CHILDREN: Final = "children"
_OF_GROUP: Final = {"id", "tenant", "partner", "has_children", *Source._fields}


Produced = Callable[[Hashes], Collection[int]]


class Placeholders:
    """Verifies the rows of a group that no record of their own produces.

    Args:
        connection: in autocommit.
        group: the rows.
        referrers: the records that refer to them.
        produced: returns the ids of the rows that records of their own with some names (sorted hashes) produce now.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], group: Group, referrers: Referrers, produced: Produced
    ) -> None:
        self._connection = connection
        self._produced = produced
        self._group = group
        self._referrers = referrers
        self._table = metadata.tables[f"{SCHEMA}.{group.table}"]
        self._children = [t for t in metadata.tables.values() if t.info.get("parent") == group.table]

    # -- by columns: rows that are surely what they should be ----------------------------------------------------

    def suspects(self, ids: Ids) -> Ids:
        """Returns those of some rows that `verify` has to look at."""
        self._referrers.refresh(self._connection)
        found, parts = [ids[:0]], self._named()
        while some := list(islice(parts, _PARTS_AT_ONCE)):
            rows = pa.concat_tables(some)
            found.append(self._doubtful(rows.filter(pa.array(np.isin(one(rows.column("id")).to_numpy(), ids)))))
        return np.concatenate(found)

    def _doubtful(self, rows: pa.Table) -> Ids:
        own, external = (one(rows.column(name)) for name in ("partner_record_id", "external_id"))
        is_sure = mask_of(rows.column("is_plain")) & (mask_of(own.is_valid()) != mask_of(external.is_valid()))
        named = pc.if_else(own.is_valid(), marked(own, "partner_record_id"), marked(external, "external_id"))
        referred = self._referrers.referred(rows.select(Source._fields).append_column("name", pc.fill_null(named, "")))
        is_sure &= referred.are_named & referred.are_sources
        if self._referrers.gives_emails:
            is_email = pc.fill_null(pc.match_substring_regex(external, EMAIL), False)
            is_sure &= ~are_distinct(one(rows.column("email")), pc.if_else(is_email, external, None))
        found: Ids = one(rows.column("id")).to_numpy()[~is_sure]
        return found

    def _named(self) -> Iterator[pa.Table]:
        plain = [c.name for c in self._table.columns if c.name not in {*NOT_DERIVED, *_OF_PLACEHOLDERS}]
        plain = [name for name in plain if name != "email" or not self._referrers.gives_emails]
        nothing = SQL(", ").join(Identifier("t", name) for name in plain)
        children = SQL(" and ").join([SQL("true"), *(SQL("not ({})").format(part) for part in self._have_children())])
        kinds = {"id": pa.int64(), "external_id": pa.string(), "partner_record_id": pa.string()}
        kinds |= {"effective_at": MOMENT, "source_file": pa.string(), "source_position": pa.string()}
        kinds |= {"email": pa.string()} if self._referrers.gives_emails else {}
        query = SQL(
            "select {columns}, t.is_placeholder and num_nonnulls({nothing}) = 0 and {children} as is_plain from {t} t"
            " where t.partner = {partner} and t.tenant = {tenant}"
        ).format(
            columns=columns_of(kinds),
            nothing=nothing,
            children=children,
            t=Identifier(SCHEMA, self._group.table),
            partner=self._group.partner,
            tenant=self._group.tenant,
        )
        table = Identifier(SCHEMA, self._group.table)
        return read_by_ids(self._connection, table, query, {**kinds, "is_plain": pa.bool_()})

    def _have_children(self) -> list[Composed]:
        return [
            SQL("exists (select from {c} c where c.{p} = t.id)").format(
                c=Identifier(SCHEMA, child.name), p=Identifier(child.info["parent_column"])
            )
            for child in self._children
        ]

    # -- by the definition ---------------------------------------------------------------------------------------

    def verify(self, ids: Sequence[int], audit: Audit, *, is_repair: bool) -> None:
        """Adds the differences of rows, and corrects them in a repair."""
        with self._connection.transaction(force_rollback=not is_repair):
            take_locks(self._connection, [self._group.lock])
            self._referrers.refresh(self._connection)
            rows = self._rows(ids)
            # A load may have defined some since they were chosen.
            names = [found for row in rows for found in hashes_of_row(*(row[name] for name in _NAMES))]
            produced = self._produced(distinct(np.array(names, np.uint64)))
            rows = [row for row in rows if row["id"] not in produced]
            referred = self._referred_names(rows)
            pairs = NamePairs(self._connection, self._group.partner, self._group.tenant)
            lends = pairs.lends([row["id"] for row in rows])
            for row in rows:
                self._verify(row, referred[row["id"]], lends.get(row["id"]), audit)

    def _rows(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Returns rows with everything that follows from the archive."""
        columns = [c.name for c in self._table.columns if c.name not in NOT_DERIVED]
        statement = SQL("select {columns}, {children} as has_children from {t} t where id = any(%s)").format(
            columns=SQL(", ").join(map(Identifier, columns)),
            children=SQL(" or ").join(self._have_children()) if self._children else SQL("false"),
            t=Identifier(SCHEMA, self._group.table),
        )
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, [list(ids)]).fetchall()

    def _referred_names(self, rows: Sequence[dict[str, Any]]) -> dict[int, dict[str, bool]]:
        """Returns id -> the names by which records refer to a row -> whether its source is one of these records."""
        pairs = [(row, name) for row in rows for name in _NAMES if row[name] is not None]
        table = pa.table(
            {
                "name": pa.array([mark(name) + row[name] for row, name in pairs], pa.string()),
                "effective_at": pa.array([row["effective_at"] for row, _ in pairs], MOMENT),
                "source_file": pa.array([row["source_file"] for row, _ in pairs], pa.string()),
                "source_position": pa.array([row["source_position"] for row, _ in pairs], pa.string()),
            }
        )
        found: dict[int, dict[str, bool]] = {row["id"]: {} for row in rows}
        for (row, name), is_named, is_source in zip(pairs, *self._referrers.referred(table), strict=True):
            if is_named:
                found[row["id"]][name] = bool(is_source)
        return found

    def _verify(self, row: dict[str, Any], referred: dict[str, bool], lends: Lends | None, audit: Audit) -> None:
        names, used = [name for name in _NAMES if row[name] is not None], list(referred)
        scope = self._table.info.get("scope")
        if not used or (scope is not None and row[scope] is not None):
            # References are to rows without a scope.
            audit.add([self._difference(row, ROW, "present", None)])
            self._delete_children(self._group.table, [row["id"]])
            remove_unused(self._connection, self._group.table, [row["id"]])
            return
        expected = self._expected(row, names if lends == "both" else used)
        found = [
            self._difference(row, column, row[column], expected.get(column))
            for column in row
            if column not in _OF_GROUP and row[column] != expected.get(column)
        ]
        if row["has_children"]:
            found.append(self._difference(row, _CHILDREN, "present", None))
        found += self._source(row, referred)
        if audit.add(found):
            self._correct(row["id"], {difference.column: difference.archived for difference in found})

    def _expected(self, row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        expected = {name: row[name] for name in names} | {"is_placeholder": True}
        key = expected.get("external_id")
        if key is not None and self._referrers.gives_emails and re.match(EMAIL, key):
            expected["email"] = key
        return expected

    def _source(self, row: dict[str, Any], referred: dict[str, bool]) -> list[Difference]:
        """Returns how a row's source differs: it must refer to the row, or have led to it otherwise (F11)."""
        source, names = Source(*(row[name] for name in Source._fields)), list(referred)
        if any(referred.values()) or (source.effective_at is not None and self._is_of_another(source)):
            return []
        archived = self._referrers.first_source(pa.array([mark(names[0]) + row[names[0]]]))
        return [
            self._difference(row, column, mine, theirs)
            for column, mine, theirs in zip(Source._fields, source, archived, strict=True)
            if mine != theirs
        ]

    def _is_of_another(self, source: Source) -> bool:
        """Whether a row names a record, or an export, that once defined it or led to its creation."""
        found = self._connection.execute(
            "select kept, effective_at from sync.export_files where path = %s and status in ('loaded', 'withdrawn')"
            " and kept is not null and (effective_at = %s or %s between effective_from and effective_to)",
            [source.source_file, source.effective_at, source.effective_at],
        ).fetchall()
        if source.source_position is None:
            return any(effective_at == source.effective_at for _, effective_at in found)
        return any(self._referrers.has_record(kept, source) for kept, _ in found)

    def _difference(self, row: dict[str, Any], column: str, stored: Any, archived: Any) -> Difference:
        key = key_of(row["external_id"], row["partner_record_id"])
        return Difference(*self._group, key, column, stored, archived)

    def _correct(self, row_id: int, values: dict[str, Any]) -> None:
        if _CHILDREN in values:
            self._delete_children(self._group.table, [row_id])
        columns = [name for name in values if name != _CHILDREN]
        if columns:
            sets = SQL(", ").join(SQL("{} = %s").format(Identifier(name)) for name in columns)
            statement = SQL("update {t} set {sets}, updated_at = now() where id = %s")
            self._connection.execute(
                statement.format(t=Identifier(SCHEMA, self._group.table), sets=sets),
                [*(values[name] for name in columns), row_id],
            )

    def _delete_children(self, parent: str, ids: Sequence[int]) -> None:
        for child in metadata.tables.values():
            if child.info.get("parent") == parent:
                statement = SQL("delete from {t} where {p} = any(%s) returning id").format(
                    t=Identifier(SCHEMA, child.name), p=Identifier(child.info["parent_column"])
                )
                gone = [row_id for (row_id,) in self._connection.execute(statement, [list(ids)]).fetchall()]
                self._delete_children(child.name, gone)


def owner_of(group: Group) -> Stream | None:
    """Returns the stream whose records define rows of a group; None if they are only referred to."""
    return next((s for s in STREAMS if (s.table, s.partner) == (group.table, group.partner)), None)
