"""Rows for display: a few that a file wrote last, and the differences that a preview would make.

Belongs here: statements that only read rows of the main tables, with their children. Does not belong here: the ledger
and the rejects (`database.reports`), layout (`commands`, `orchestration`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal
from psycopg.types.json import set_json_loads

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.values import from_json
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.masking import masked
from sync_pipelines.privacy.personal_data import masked_row
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.stored_rows import is_jsonb

_KEYS_TRIED: Final = 200
_FILES_TRIED: Final = 5
_LAST_WRITE: Final = frozenset(
    {"id", "effective_at", "source_file", "source_position", "run_id", "created_at", "updated_at"}
)
_PLAIN: Final = frozenset({"tenant", "partner", "is_placeholder", "deleted_at", "commerce_id", "source_file"})


@dataclass(frozen=True)
class Difference:
    """One row as it is and as it would be.

    Attributes:
        path: the file that determines the row; empty for a row that goes.
        tenant, key: the row's tenant and key; the partner's own id if it has no external one.
        change: `created`, `updated` or `deleted`.
        before, after: the columns that differ, children under their table's name. `source_file`, if every value stays
            and only the export with the last word changes.
    """

    path: str
    tenant: str
    key: str
    change: str
    before: dict[str, Any]
    after: dict[str, Any]


def differences(
    inside: psycopg.Connection[Any], stored: psycopg.Connection[Any], stream: Stream, run_id: str, limit: int
) -> list[Difference]:
    """Returns the rows of a stream that a run wrote, compared with their state outside its transaction.

    Args:
        inside: a connection in the run's transaction.
        stored: a connection outside of it.
        stream: the stream of the table.
        run_id: the run id in the rows.
        limit: most rows of each file.
    """
    statement = SQL(
        "with m as (select * from (select *, row_number() over (partition by source_file order by id) as place"
        " from {table} where run_id = %s and partner = %s) ranked where place <= {limit})"
        " select {row} as row from m order by m.source_file, m.id"
    ).format(table=Identifier(SCHEMA, stream.table), limit=Literal(limit), row=_row_as_json(stream))
    after = _fetch(inside, statement, [run_id, stream.partner])
    statement = SQL("select {row} as row from {table} m where m.id = any(%s)").format(
        table=Identifier(SCHEMA, stream.table), row=_row_as_json(stream)
    )
    before = {row["id"]: row for row in _fetch(stored, statement, [[row["id"] for row in after]])}
    return [_difference(before.get(row["id"]), row) for row in after]


@dataclass(frozen=True)
class TableChanges:
    """What a transaction changes in one main table.

    Attributes:
        table: the table.
        removed: rows that go.
        emptied: rows that become placeholders: other rows still refer to them.
        changed: other rows that change, with those that come back.
        created: rows that are new.
        differences: some of the rows, with the stream that fills the table for their partner (None: no stream does).
    """

    table: str
    removed: int
    emptied: int
    changed: int
    created: int
    differences: list[tuple[Stream | None, Difference]]


def changes_of_rows(
    inside: psycopg.Connection[Any],
    stored: psycopg.Connection[Any],
    rows: Mapping[str, Collection[int]],
    limit: int,
) -> list[TableChanges]:
    """Returns what a transaction changes in some rows.

    Args:
        inside: a connection in the transaction.
        stored: a connection outside of it.
        rows: main table -> ids of rows that it may have written.
        limit: most rows of each table that are compared.
    """
    found = []
    for table, ids in sorted(rows.items()):
        before, after = _marks(stored, table, ids), _marks(inside, table, ids)
        emptied = [i for i in before.keys() & after.keys() if after[i] and not before[i]]
        details = _details(inside, stored, table, sorted(before.keys() | after.keys())[:limit])
        changes = TableChanges(
            table,
            removed=len(before.keys() - after.keys()),
            emptied=len(emptied),
            changed=len(before.keys() & after.keys()) - len(emptied),
            created=len(after.keys() - before.keys()),
            differences=details,
        )
        if before or after:
            found.append(changes)
    return found


def _marks(connection: psycopg.Connection[Any], table: str, ids: Collection[int]) -> dict[int, bool]:
    """Returns id of a row -> whether it is a placeholder."""
    statement = SQL("select id, is_placeholder from {} where id = any(%s)").format(Identifier(SCHEMA, table))
    return dict(connection.execute(statement, [list(ids)]).fetchall())


def _details(
    inside: psycopg.Connection[Any], stored: psycopg.Connection[Any], table: str, ids: Sequence[int]
) -> list[tuple[Stream | None, Difference]]:
    found = []
    streams = {stream.partner: stream for stream in STREAMS if stream.table == table}
    anyone = next(iter(streams.values()))
    for partner in [*streams, None]:
        stream = streams.get(partner or "")
        statement = SQL("select {row} as row from {table} m where m.id = any(%s) and {of} order by m.id").format(
            table=Identifier(SCHEMA, table),
            row=_row_as_json(stream or anyone),
            of=SQL("m.partner <> all(%s)") if partner is None else SQL("m.partner = any(%s)"),
        )
        values = [ids, list(streams) if partner is None else [partner]]
        before = {row["id"]: row for row in _fetch(stored, statement, values)}
        after = {row["id"]: row for row in _fetch(inside, statement, values)}
        for row_id in sorted(before.keys() | after.keys()):
            difference = _difference(before.get(row_id), after.get(row_id))
            found.append((stream, difference))
    return found


def masked_changes(stream: Stream | None, difference: Difference) -> list[tuple[str, Any, Any]]:
    """Returns (column, stored value, value as it would be) for each column that differs, personal values masked.

    A row that would be created or deleted is one entry, with no column and the whole row.
    """
    masked_rows = (shown_row(stream, row) for row in (difference.before, difference.after))
    before, after = masked_rows
    return whole_changes(replace(difference, before=before, after=after))


def whole_changes(difference: Difference) -> list[tuple[str, Any, Any]]:
    """Returns the same with personal values as they are."""
    before, after = difference.before, difference.after
    if difference.change != "updated":
        return [("", before, after)]
    return [(name, before[name], after[name]) for name in after]


def shown_row(stream: Stream | None, row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns columns of a row with personal values masked; without a stream, all values may be personal."""
    if stream is not None:
        return masked_row(stream, row)
    return {name: value if name in _PLAIN else masked(value, "contact") for name, value in row.items()}


def _fetch(connection: psycopg.Connection[Any], statement: Composed, values: Sequence[Any]) -> list[dict[str, Any]]:
    set_json_loads(from_json, connection)
    return [row for (row,) in connection.execute(statement, values)]


def _difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Difference:
    was, will = _is_live(before), _is_live(after)
    change = "updated" if was == will else "created" if will else "deleted"
    row = after or before or {}
    names = [name for name in row if name not in _LAST_WRITE and name != "place"]
    old, new = ({name: (values or {}).get(name) for name in names} for values in (before, after))
    differing = [name for name in names if _plain(old[name]) != _plain(new[name])]
    if not differing and change == "updated":
        differing = ["source_file"]
        old, new = ({"source_file": (values or {}).get("source_file")} for values in (before, after))
    key = row["external_id"] or f"id {row['partner_record_id']}"
    return Difference(
        (after or {}).get("source_file") or "",
        row["tenant"],
        str(key),
        change,
        {name: old[name] for name in differing},
        {name: new[name] for name in differing},
    )


def _is_live(row: Mapping[str, Any] | None) -> bool:
    return row is not None and row["deleted_at"] is None


def _plain(value: Any) -> Any:
    """Removes ids: a rewritten child has its old content but a new id."""
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {name: _plain(below) for name, below in value.items() if name != "id"}
    return None if value == [] else value


def _row_as_json(stream: Stream) -> Composed:
    """Returns SQL for a main row as JSON: references as keys, children as lists."""
    parts: list[Composable] = [SQL("to_jsonb(m)")]
    for reference in stream.references:
        found = SQL(
            "jsonb_build_object({name}, (select coalesce(r.external_id, 'id ' || r.partner_record_id)"
            " from {table} r where r.id = m.{column}))"
        ).format(
            name=Literal(reference.column),
            table=Identifier(SCHEMA, reference.table),
            column=Identifier(reference.column),
        )
        parts.append(found)
    parts += _children_as_json(stream.children, Identifier("m"))
    return SQL(" || ").join(parts)


def _children_as_json(children: Iterable[Children], parent: Identifier) -> Iterator[Composed]:
    for declared in children:
        alias = Identifier(f"c_{declared.table}")
        row = SQL("to_jsonb({alias}) - array['id', 'line_no', {parent}]").format(
            alias=alias, parent=Literal(declared.parent)
        )
        row = SQL(" || ").join([row, *_children_as_json(declared.nested, alias)])
        yield SQL(
            "jsonb_build_object({name}, (select coalesce(jsonb_agg({row} order by {alias}.line_no), '[]')"
            " from {table} {alias} where {alias}.{column} = {parent}.id))"
        ).format(
            name=Literal(declared.table),
            row=row,
            alias=alias,
            table=Identifier(SCHEMA, declared.table),
            column=Identifier(declared.parent),
            parent=parent,
        )


def last_written(
    workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, entries: Iterable[LedgerFile], limit: int
) -> list[dict[str, Any]]:
    """Returns a few live rows that the given files wrote last."""
    ids = ids_written(workspace, connection, stream, entries, _KEYS_TRIED)[:limit]
    if not ids:
        return []
    columns = ["tenant", "external_id", *(["partner_record_id"] if stream.has_record_ids else [])]
    # A partner's JSON object may hold anything, including secrets.
    columns += [name for name in stream.written if not is_jsonb(stream.table, name)]
    statement = SQL("select {} from {} where id = any(%s) order by array_position(%s, id)").format(
        SQL(", ").join(map(Identifier, columns)), Identifier(SCHEMA, stream.table)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(statement, [ids, ids]))


def ids_written(
    workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, entries: Iterable[LedgerFile], limit: int
) -> list[int]:
    """Returns ids of live rows that the given files wrote last, found by the keys of their first records.

    Reads only the newest files and uses the key's index: the cost does not depend on the table's size.

    Args:
        workspace: the workspace with the archive.
        connection: the view of the rows.
        stream: the stream of the files.
        entries: the files; files that are not loaded wrote nothing.
        limit: most keys to look up.
    """
    found: list[int] = []
    loaded = [entry for entry in entries if entry.status == "loaded" and entry.kept is not None]
    for entry in sorted(loaded, key=lambda entry: entry.version, reverse=True)[:_FILES_TRIED]:
        if limit <= 0:
            break
        external, own = _first_keys(workspace, entry, limit)
        limit -= max(len(external), len(own))
        found += _ids_by_keys(connection, stream, entry, external, own)
    return found


def _first_keys(workspace: Workspace, entry: LedgerFile, limit: int) -> tuple[list[str], list[str]]:
    external: dict[str, None] = {}
    own: dict[str, None] = {}
    try:
        kept = KeptRecords(workspace.settings.archive, entry.kept or "-")
        if not len(kept.keys.rows):
            return [], []
        for block in kept.blocks(("external_id", "record_id")):
            names = [block.column(name).slice(0, limit).to_pylist() for name in ("external_id", "record_id")]
            # The partner's own id finds a row without its scope.
            own.update((record_id, None) for record_id in names[1] if record_id)
            external.update((key, None) for key, record_id in zip(*names, strict=True) if key and not record_id)
            if max(len(external), len(own)) >= limit:
                break
    except (ArchiveIncomplete, OSError):
        return [], []
    return [*external][:limit], [*own][:limit]


def _ids_by_keys(
    connection: psycopg.Connection[Any], stream: Stream, entry: LedgerFile, keys: list[str], own: list[str]
) -> list[int]:
    ways = [("external_id", keys), *([("partner_record_id", own)] if stream.has_record_ids else [])]
    found: set[int] = set()
    for column, values in ways:
        if not values:
            continue
        # A key that is unique in its scope is found through the scope.
        scope = (
            SQL(" and t.{} in (select id from {} where tenant = %(tenant)s and partner = %(partner)s)").format(
                Identifier(stream.scope), Identifier(SCHEMA, _scope_table(stream))
            )
            if stream.scope and column == "external_id"
            else SQL("").format()
        )
        statement = SQL(
            "select t.id from {table} t where t.tenant = %(tenant)s and t.partner = %(partner)s"
            " and t.{column} = any(%(keys)s) and t.source_file = %(path)s and t.deleted_at is null{scope}"
        ).format(table=Identifier(SCHEMA, stream.table), column=Identifier(column), scope=scope)
        names = {"tenant": entry.tenant, "partner": entry.partner, "keys": values, "path": entry.path}
        found |= {number for (number,) in connection.execute(statement, names)}
    return sorted(found)


def _scope_table(stream: Stream) -> str:
    return next(r.table for r in stream.references if r.column == stream.scope)
