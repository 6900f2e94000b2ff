"""Verifies rows that no record of their own produces: each must be a placeholder that some record refers to (X7).

Records of several streams and tenants may refer to the rows of one tenant. Which rows they name, and which records a
placeholder may name as its source, is read from the archive into arrays of hashes.

Belongs here: those rows. Does not belong here: rows that records define (`verification`), missing rows
(`missing_rows`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import Identity, Reference, Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import are_among, distinct, hashes_of_row, texts_of
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.archived_exports import ArchivedExports
from sync_pipelines.upsert.audit import ROW, Audit, Difference, key_of
from sync_pipelines.upsert.column_changes import are_distinct, mask_of
from sync_pipelines.upsert.copy_out import MOMENT, columns_of, read_by_ids
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import Hashes, KnownExport
from sync_pipelines.upsert.locks import take_locks
from sync_pipelines.upsert.name_pairs import Lends, NamePairs
from sync_pipelines.upsert.references import EMAIL
from sync_pipelines.upsert.stored_rows import NOT_DERIVED, Source
from sync_pipelines.upsert.write import remove_unused

_NAMES: Final = ("external_id", "partner_record_id")
_OF_PLACEHOLDERS: Final = {"id", "tenant", "partner", "is_placeholder", *_NAMES, *Source._fields}
"""Columns in which a placeholder has values; a few have an email address too."""
_CHILDREN: Final = "children"
_OF_GROUP: Final = {"id", "tenant", "partner", "has_children", *Source._fields}


Produced = Callable[[Hashes], Collection[int]]


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
    """What records refer to in a group, as sorted hashes.

    Attributes:
        names: of the names of rows.
        sources: of a name and a record that refers to it by this name.
    """

    names: Hashes
    sources: Hashes


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
        self.references = [(s, r) for s in STREAMS for r in s.references if r.table == group.table]

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

    def referred(self, wanted: pa.Array | None = None) -> Referred:
        """Returns what is referred to, or only what is referred to by the wanted (marked) names."""
        names, sources = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for reference, export in self._referring():
            path, moment = export.entry.path, pa.scalar(export.entry.effective_at, MOMENT)
            for named, times, positions in self._links(reference, export, wanted):
                each = named.unique()
                names.append(_hashes(each))
                # A placeholder may name only the export.
                of_export = pa.repeat(moment, len(each)), path, pa.nulls(len(each), pa.string())
                sources += [_sources(each, *of_export), _sources(named, times, path, positions)]
        return Referred(distinct(np.concatenate(names)), distinct(np.concatenate(sources)))

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
        for block in export.kept.blocks([*columns, "effective_at", "position"]):
            partner, tenant, external, own = (block.column(name) for name in columns)
            named = pc.if_else(own.is_valid(), _marked(own, "partner_record_id"), _marked(external, "external_id"))
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
                    block.column("effective_at").filter(mask),
                    block.column("position").filter(mask),
                )


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
        referred = self._referrers.referred()
        found = [ids[:0], *(self._doubtful(rows, ids, referred) for rows in self._named())]
        return np.concatenate(found)

    def _doubtful(self, rows: pa.Table, ids: Ids, referred: Referred) -> Ids:
        rows = rows.filter(pa.array(np.isin(one(rows.column("id")).to_numpy(), ids)))
        own, external = (one(rows.column(name)) for name in ("partner_record_id", "external_id"))
        is_sure = mask_of(rows.column("is_plain")) & (mask_of(own.is_valid()) != mask_of(external.is_valid()))
        named = pc.if_else(own.is_valid(), _marked(own, "partner_record_id"), _marked(external, "external_id"))
        named = pc.fill_null(named, "")
        is_sure &= are_among(_hashes(named), referred.names)
        is_sure &= are_among(_sources(named, *(one(rows.column(name)) for name in Source._fields)), referred.sources)
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
            referred = self._referrers.referred(_marked_names(rows))
            pairs = NamePairs(self._connection, self._group.partner, self._group.tenant)
            lends = pairs.lends([row["id"] for row in rows])
            for row in rows:
                self._verify(row, referred, lends.get(row["id"]), audit)

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

    def _verify(self, row: dict[str, Any], referred: Referred, lends: Lends | None, audit: Audit) -> None:
        names = [name for name in _NAMES if row[name] is not None]
        used = [n for n in names if are_among(_hashes(pa.array([_mark(n) + row[n]])), referred.names).all()]
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
        found += self._source(row, used, referred)
        if audit.add(found):
            self._correct(row["id"], {difference.column: difference.archived for difference in found})

    def _expected(self, row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        expected = {name: row[name] for name in names} | {"is_placeholder": True}
        key = expected.get("external_id")
        if key is not None and self._referrers.gives_emails and re.match(EMAIL, key):
            expected["email"] = key
        return expected

    def _source(self, row: dict[str, Any], names: Sequence[str], referred: Referred) -> list[Difference]:
        """Returns how a row's source differs: it must refer to the row, or have led to it otherwise (F11)."""
        source = Source(*(row[name] for name in Source._fields))
        if source.effective_at is not None:
            for name in names:
                moment = pa.array([source.effective_at], MOMENT)
                path, position = (pa.array([text], pa.string()) for text in source[1:])
                own = _sources(pa.array([_mark(name) + row[name]]), moment, path, position)
                if are_among(own, referred.sources).all():
                    return []
            if self._is_of_another(source):
                return []
        archived = self._referrers.first_source(pa.array([_mark(names[0]) + row[names[0]]]))
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


def _mark(column: str) -> str:
    return "i" if column == "partner_record_id" else "e"


def _marked(texts: Any, column: str) -> Any:
    return pc.binary_join_element_wise(_mark(column), texts, "")


def _marked_names(rows: Sequence[dict[str, Any]]) -> pa.Array:
    """Returns the names of rows as `Referrers.referred` takes them."""
    return pa.array([_mark(name) + row[name] for row in rows for name in _NAMES if row[name] is not None], pa.string())


def _hashes(names: Any) -> Hashes:
    return texts_of(one(names).cast(pa.binary()).to_pylist())[:, 0]


def _sources(names: Any, times: Any, paths: Any, positions: Any) -> Hashes:
    """Returns hashes of names with their sources."""
    moments = times.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.string())
    place = pc.fill_null(pc.binary_join_element_wise("p", positions, ""), "")
    paths = pc.fill_null(paths, "") if isinstance(paths, pa.Array) else paths
    return _hashes(pc.binary_join_element_wise(names, paths, pc.fill_null(moments, ""), place, "\x1f"))
