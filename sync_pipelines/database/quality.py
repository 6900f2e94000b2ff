"""Queries of the asset checks on one stream: are its rows consistent, complete and on time?

Each is a few set-based, read-only statements. `docs/operations.md` has their times.

Belongs here: queries, and which rows they cover. Does not belong here: severity (`orchestration.checks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import SCHEMA, metadata

EXAMPLES: Final = 20
SMALL: Final = 1 << 23
"""Size of a stream's tables in bytes up to which every row is checked after each run: about 10,000 orders."""
DUE: Final = timedelta(hours=6)
"""How long after the end of a day its export is late."""
OLD: Final = timedelta(days=1)
"""The age at which a placeholder should have been defined."""
_TOLERANCE: Final = "0.01"
_RHYTHM: Final = 10

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Extent:
    """Which rows a query covers.

    Attributes:
        ids: of main rows; None is every row.
    """

    ids: tuple[int, ...] | None = None

    @property
    def words(self) -> str:
        """For the end of a sentence; nothing if every row was checked."""
        return "" if self.ids is None else f", of {len(self.ids):,} rows that this run wrote"

    def condition(self, alias: str) -> sql.Composable:
        """Returns the condition on a main table; it has the placeholder `ids`."""
        if self.ids is None:
            return sql.SQL("true")
        # `= any` may scan the list once for every row.
        return sql.SQL("{}.id in (select unnest(%(ids)s::bigint[]))").format(sql.Identifier(alias))

    @property
    def values(self) -> dict[str, Any]:
        """The values of the condition's placeholders."""
        return {} if self.ids is None else {"ids": list(self.ids)}


EVERYTHING: Final = Extent()


@dataclass(frozen=True)
class Totals:
    """Orders whose total was compared with the sum of their items (O10).

    Attributes:
        orders: how many were compared.
        differing: how many differ by more than 0.01.
        examples: the largest differences.
    """

    orders: int
    differing: int
    examples: Sequence[Row]


@dataclass(frozen=True)
class Arrivals:
    """When a tenant's exports arrived.

    Attributes:
        tenant: the tenant.
        latest: date of the newest loaded export.
        gap: the longest gap in days between its last ten export days; 1 if it sent fewer than three.
        late: days by which the newest is older than the export that is due; 0 if it is on time.
        waiting: later exports that are not loaded.
    """

    tenant: str
    latest: date | None
    gap: int
    late: int
    waiting: int


@dataclass(frozen=True)
class Violation:
    """A rule that rows violate.

    Attributes:
        rule: its stable name.
        rows: how many violate it.
        examples: some of them.
    """

    rule: str
    rows: int
    examples: Sequence[Row]


@dataclass(frozen=True)
class OpenRejects:
    """The open rejects of one code."""

    code: str
    records: int
    files: int
    path: str


def is_small(connection: psycopg.Connection[Any], stream: Stream) -> bool:
    """Whether the stream's tables are small enough to check every row after each run."""
    names = [f"{SCHEMA}.{name}" for name in (stream.table, *_tables(stream.children))]
    row = connection.execute(
        "select sum(pg_table_size(name::regclass)) from unnest(%s::text[]) name", [names]
    ).fetchone()
    return row is None or row[0] <= SMALL


def totals(connection: psycopg.Connection[Any], stream: Stream, about: Extent = EVERYTHING) -> Totals:
    """Compares TotalRevenue with the sum of Price x Quantity (O10).

    Skipped: orders without items (O7), defaulted totals (O3), null totals and cancelled orders (O9). Totals that are
    computed from flat lines (O12) always agree.
    """
    # All items are summed in one pass over their primary key; those of some orders are looked up there.
    items = (
        "select order_id, sum(price * quantity) as items_total from sync.order_items group by 1"
        if about.ids is None
        else "select order_id, sum(price * quantity) as items_total from sync.order_items"
        " where order_id in (select unnest(%(ids)s::bigint[])) group by 1"
    )
    compared = sql.SQL(
        "from sync.orders o join ({items}) i on i.order_id = o.id and i.items_total is not null"
        " where o.partner = %(partner)s and o.deleted_at is null and o.is_cancelled is not true"
        " and o.total_revenue is not null and (%(total)s = any(o.defaulted_fields)) is not true"
    ).format(items=sql.SQL(items))
    differs = sql.SQL("abs(i.items_total - o.total_revenue) > {}").format(sql.SQL(_TOLERANCE))
    values = {"partner": stream.partner, "total": "TotalRevenue", **about.values}
    counting = sql.SQL("select count(*) as orders, count(*) filter (where {}) as differing {}").format(
        differs, compared
    )
    (counted,) = _rows(connection, counting, values)
    if not counted["differing"]:
        return Totals(counted["orders"], 0, ())
    examples = sql.SQL(
        "select o.tenant, o.external_id, o.total_revenue::text, i.items_total::text, o.source_file {} and {}"
        " order by abs(i.items_total - o.total_revenue) desc, o.tenant, o.external_id limit {}"
    ).format(compared, differs, sql.Literal(EXAMPLES))
    return Totals(counted["orders"], counted["differing"], _rows(connection, examples, values))


def arrivals(
    connection: psycopg.Connection[Any], stream: Stream, known: Iterable[str] | None, now: datetime
) -> list[Arrivals]:
    """Returns when each tenant sent its exports, the latest tenants first.

    What counts is an export's own date: loading old days does not make a tenant punctual.

    Args:
        connection: to read from.
        stream: whose exports.
        known: the tenants that should send exports; None for all that have sent some.
        now: decides which day is due.
    """
    expected = (now - DUE).date() - timedelta(days=1)
    rows = connection.execute(
        "select tenant, (array_agg(distinct partition_date order by partition_date desc)"
        " filter (where status = 'loaded'))[1:%s], array_agg(partition_date)"
        " filter (where status not in ('loaded', 'withdrawn') and coalesce(error, '') not like 'file_vanished:%%')"
        " from sync.export_files where partner = %s and stream = %s and partition_date <= %s group by 1",
        [_RHYTHM, stream.partner, stream.name, now.date() + timedelta(days=1)],
    ).fetchall()
    chosen = None if known is None else set(known)
    found = [
        _arrivals(tenant, loaded or [], waiting or [], expected)
        for tenant, loaded, waiting in rows
        if chosen is None or tenant in chosen
    ]
    return sorted(found, key=lambda a: (-a.late, a.tenant))


def _arrivals(tenant: str, loaded: Sequence[date], waiting: Sequence[date], expected: date) -> Arrivals:
    gaps = [(newer - older).days for newer, older in pairwise(loaded)]
    latest = loaded[0] if loaded else None
    since = latest or min(waiting, default=expected) - timedelta(days=1)
    late = max(0, (expected - since).days)
    return Arrivals(tenant, latest, max(gaps) if len(gaps) > 1 else 1, late, sum(day > since for day in waiting))


def open_rejects(connection: psycopg.Connection[Any], stream: Stream) -> list[OpenRejects]:
    """Returns the open rejects of a stream by code, the most frequent first, each with one file."""
    rows = connection.execute(
        "select r.code, count(*), count(distinct f.id), max(f.path) from sync.rejected_records r"
        " join sync.export_files f on f.id = r.export_file_id"
        " where f.partner = %s and f.stream = %s and r.status = 'open' group by 1 order by 2 desc, 1",
        [stream.partner, stream.name],
    ).fetchall()
    return [OpenRejects(*row) for row in rows]


def may_be_placeholders(stream: Stream, streams: Iterable[Stream]) -> bool:
    """Whether the stream's table can hold rows that its own exports have not defined yet (X7, N10)."""
    touches = any("touch" in (route.operation, *route.lists.values()) for route in stream.routes)
    return touches or any(r.table == stream.table for s in streams for r in s.references)


def old_placeholders(connection: psycopg.Connection[Any], stream: Stream, now: datetime) -> tuple[int, Sequence[Row]]:
    """Returns how many placeholders of the stream's partner are older than a day, and the oldest of them."""
    condition = sql.SQL(
        "from sync.{} where partner = %(partner)s and is_placeholder and deleted_at is null and created_at < %(before)s"
    ).format(sql.Identifier(stream.table))
    values = {"partner": stream.partner, "before": now - OLD}
    (counted,) = _rows(connection, sql.SQL("select count(*) as n ") + condition, values)
    if not counted["n"]:
        return 0, ()
    columns = sql.SQL(
        "select tenant, external_id, partner_record_id, created_at::date::text as since, source_file as named_by "
    )
    last = sql.SQL(" order by created_at, id limit {}").format(sql.Literal(EXAMPLES))
    return counted["n"], _rows(connection, columns + condition + last, values)


def unsound(connection: psycopg.Connection[Any], stream: Stream, about: Extent = EVERYTHING) -> list[Violation]:
    """Returns the violated rules of keys, references and children (decision 0006).

    With an extent, only keys and references of those rows are checked. Children without a parent are found only when
    every row is checked.
    """
    questions = [*_of_keys(stream, about), *_of_references(stream, about)]
    if about.ids is None:
        questions += _of_children(stream.children, stream.table)
    values = {"partner": stream.partner, **about.values}
    violations = [_violation(connection, rule, question, values) for rule, question in questions]
    violations.append(_constraints_gone(connection, stream))
    return [violation for violation in violations if violation.rows]


_SHOWN: Final = "t.id, t.tenant, t.external_id, t.source_file"


def _of_keys(stream: Stream, about: Extent) -> Iterator[tuple[str, sql.Composable]]:
    table, scope = sql.Identifier(stream.table), [stream.scope] if stream.scope else []
    rows = sql.SQL("from sync.{} t where t.partner = %(partner)s and {}").format(table, about.condition("t"))
    unnamed = "nullif(t.external_id, '') is null" + (
        " and nullif(t.partner_record_id, '') is null" if stream.has_record_ids else ""
    )
    yield "key_missing", sql.SQL("select {} {} and " + unnamed).format(sql.SQL(_SHOWN), rows)
    for rule, column in (("key_twice", "external_id"), ("record_id_twice", "partner_record_id")):
        if column == "external_id" or stream.has_record_ids:
            # The partner's own id identifies one row in its tenant (F04).
            within = scope if column == "external_id" else []
            names = sql.SQL(", ").join(sql.Identifier(c) for c in ("tenant", *within, column))
            if about.ids is None:
                yield (
                    rule,
                    sql.SQL(
                        "select {0}, count(*) as rows {1} and {2} is not null group by {0} having count(*) > 1"
                    ).format(names, rows, sql.Identifier(column)),
                )
            else:
                other = sql.SQL(
                    "exists (select from sync.{0} o where o.tenant = t.tenant and o.partner = t.partner"
                    " and o.{1} = t.{1} and o.id <> t.id{2})"
                ).format(table, sql.Identifier(column), _same_scope(stream) if column == "external_id" else sql.SQL(""))
                yield rule, sql.SQL("select {} {} and {}").format(sql.SQL(_SHOWN), rows, other)


def _same_scope(stream: Stream) -> sql.Composed:
    """If keys are unique in a scope: the condition that two rows have the same one, so that an index is used."""
    scope = metadata.tables[f"{SCHEMA}.{stream.table}"].info.get("scope")
    if scope is None:
        return sql.SQL("").format()
    same = sql.SQL(" and o.{0} = t.{0}") if stream.scope else sql.SQL(" and o.{0} is null and t.{0} is null")
    return same.format(sql.Identifier(scope))


def _of_references(stream: Stream, about: Extent) -> Iterator[tuple[str, sql.Composable]]:
    for reference in stream.references:
        # A row's scope belongs to the same partner and tenant (P5).
        owner = (
            sql.SQL(" and o.partner = t.partner and o.tenant = t.tenant")
            if reference.column == stream.scope
            else sql.SQL("")
        )
        yield (
            "reference_wrong",
            sql.SQL(
                "select {shown}, t.{column} from sync.{table} t where t.partner = %(partner)s and {about}"
                " and t.{column} is not null and not exists"
                " (select from sync.{target} o where o.id = t.{column}{owner})"
            ).format(
                shown=sql.SQL(_SHOWN),
                column=sql.Identifier(reference.column),
                table=sql.Identifier(stream.table),
                about=about.condition("t"),
                target=sql.Identifier(reference.table),
                owner=owner,
            ),
        )


def _of_children(children: Iterable[Children], parent: str) -> Iterator[tuple[str, sql.Composable]]:
    for child in children:
        names = {
            "child": sql.Identifier(child.table),
            "column": sql.Identifier(child.parent),
            "parent": sql.Identifier(parent),
            "name": sql.Literal(child.table),
        }
        yield (
            "child_without_parent",
            sql.SQL(
                "select {name} as table, c.id, c.{column} as parent_id from sync.{child} c"
                " where not exists (select from sync.{parent} t where t.id = c.{column})"
            ).format(**names),
        )
        if "deleted_at" in metadata.tables[f"{SCHEMA}.{parent}"].c:
            yield (
                "child_of_tombstone",
                sql.SQL(
                    "select {name} as table, c.id, t.tenant, t.external_id from sync.{parent} t"
                    " join sync.{child} c on c.{column} = t.id"
                    " where t.partner = %(partner)s and t.deleted_at is not null"
                ).format(**names),
            )
        yield from _of_children(child.nested, child.table)


def _violation(
    connection: psycopg.Connection[Any], rule: str, question: sql.Composable, values: Mapping[str, Any]
) -> Violation:
    (row,) = _rows(
        connection,
        sql.SQL(
            "with broken as ({}) select count(*) as n, coalesce((select jsonb_agg(e) from (select * from broken"
            " limit {}) e), '[]') as examples from broken"
        ).format(question, sql.Literal(EXAMPLES)),
        values,
    )
    return Violation(rule, row["n"], row["examples"])


def _constraints_gone(connection: psycopg.Connection[Any], stream: Stream) -> Violation:
    """Keys and foreign keys that the schema declares and the database no longer has."""
    tables = [metadata.tables[f"{SCHEMA}.{name}"] for name in (stream.table, *_tables(stream.children))]
    expected = {str(c.name) for table in tables for c in table.constraints if c.name and _is_key(c)}
    expected |= {str(index.name) for table in tables for index in table.indexes if index.unique}
    held = connection.execute(
        "select conname from pg_constraint where connamespace = %(schema)s::regnamespace and convalidated"
        " union select relname from pg_index join pg_class on pg_class.oid = indexrelid"
        " where relnamespace = %(schema)s::regnamespace and indisunique and indisvalid",
        {"schema": SCHEMA},
    ).fetchall()
    gone = sorted(expected - {name for (name,) in held})
    return Violation("constraint_gone", len(gone), [{"constraint": name} for name in gone])


def _is_key(constraint: Any) -> bool:
    return constraint.__visit_name__ in ("primary_key_constraint", "unique_constraint", "foreign_key_constraint")


def _tables(children: Iterable[Children]) -> Iterator[str]:
    for child in children:
        yield child.table
        yield from _tables(child.nested)


def _rows(connection: psycopg.Connection[Any], statement: sql.Composable, values: Mapping[str, Any]) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(sql.Composed([statement]), dict(values)).fetchall())
