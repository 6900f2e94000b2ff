"""Why a row has its values: every record of its key, what each one said, and the row as it is or was.

It is the fold of the key with each step shown (`upsert.row_steps`), so its last state is the stored row.

Belongs here: finding the row's stream, what a record said of a column, rejects, placeholders. Does not belong here:
layout (`commands`, `orchestration`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from sync_pipelines.command_line import typed
from sync_pipelines.contracts.near_names import near_name, suggestion
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.corrections.row_steps import RowHistory, Step, Steps
from sync_pipelines.database.ledger import entry_of
from sync_pipelines.exports.naming import natural_order
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.masking import masked, without_emails
from sync_pipelines.privacy.personal_data import masked_reason, masked_row
from sync_pipelines.privacy.untrusted_text import storable
from sync_pipelines.stages.explained_columns import columns_of, overridden, row_values, said_of
from sync_pipelines.tables.lineage import lineage_of
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata
from sync_pipelines.tables.views import find_view
from sync_pipelines.upsert.fold import alias_of
from sync_pipelines.upsert.referred_names import RowName
from sync_pipelines.upsert.row_names import Names, streams_within
from sync_pipelines.upsert.row_references import Named, Referring, references_to, referring_records

_NEAR_KEYS: Final = 2_000
_REFERRING: Final = 3
_TENANTS: Final = "select distinct tenant from sync.export_files where partner = any(%s)"
_REJECTS: Final = """
select f.id as file_id, r.position, r.external_id, r.code, r.field_path, r.message, r.status
from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id
where f.partner = %(partner)s and f.tenant = %(tenant)s and f.stream = %(stream)s and r.external_id = any(%(keys)s)
    and not r.depends_on_state and r.status <> 'resolved' and (%(at)s::timestamptz is null or f.effective_at <= %(at)s)
"""


class NothingToExplain(Exception):
    """The row cannot be explained; the message is one sentence for the user."""


@dataclass(frozen=True)
class Asked:
    """The row, and what of it, to explain.

    Attributes:
        table: a main table, one of its child tables, or a view of either.
        tenant, key: as in the table; the key may be the partner's own id.
        column: a column, a child table, or a column of the child table that `table` names; None for all.
        partner: needed if several have the key.
        at: records of this time still count; None: all do.
    """

    table: str
    tenant: str
    key: str
    column: str | None = None
    partner: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Said:
    """One record, for display.

    Attributes:
        effective_at, path, revision, position: its place; the revision of its path.
        operation: what it requested; empty if it was rejected when it was read.
        outcome: its outcome, or `held` or `withdrawn` like its export.
        reason: why it was not applied; empty if it was.
        said: of the column: `value`, `null`, `absent`, `default`, `computed`, `cleared`, `deleted`; empty if it was not
            applied.
        value: the value that it said; without a column, the columns that it changed, with their new values.
        row: the column after it.
        overridden_by: the next record that set the column.
    """

    effective_at: datetime
    path: str
    revision: int
    position: str
    operation: str
    outcome: str
    reason: str
    said: str
    value: Any
    row: Any
    overridden_by: str


@dataclass(frozen=True)
class Explained:
    """The explanation of a row.

    Attributes:
        stream: the stream of its records; None if only other streams refer to it.
        partner, tenant, table: of the row.
        column: as it is called in the row; None for all.
        records: in version order.
        rows: the rows with the key, column -> value. There are several if they are in different scopes.
        referred_by: for a placeholder, records that refer to it, or the one that created it.
    """

    stream: Stream | None
    partner: str
    tenant: str
    table: str
    column: str | None
    records: Sequence[Said]
    rows: Sequence[Mapping[str, Any]]
    referred_by: Sequence[str]


def explain(connection: psycopg.Connection[Any], archive: Path, asked: Asked, *, unmasked: bool = False) -> Explained:
    """Returns the records of a row in version order, and the row after them.

    Args:
        connection: in autocommit.
        archive: the archive's folder.
        asked: the row.
        unmasked: whether personal values are shown.

    Raises:
        NothingToExplain: a name is unknown, or the date is too early.
        ArchiveIncomplete: kept records are missing or damaged.
    """
    asked = replace(asked, tenant=storable(asked.tenant), key=storable(asked.key))
    with connection.transaction():
        return _Explaining(connection, archive, asked, unmasked).run()


class _Explaining:
    def __init__(self, connection: psycopg.Connection[Any], archive: Path, asked: Asked, unmasked: bool) -> None:
        self._connection = connection
        self._archive = archive
        self._unmasked = unmasked
        self._table, self._child = _main_table(asked.table)
        self._asked = asked

    def run(self) -> Explained:
        tenant = self._tenant()
        found = [
            (stream, steps)
            for stream in STREAMS
            if stream.table == self._table and self._asked.partner in (None, stream.partner)
            for steps in [self._history(stream, tenant).steps(self._asked.key)]
            if steps.steps or steps.later or self._rejects(stream, tenant, [self._asked.key])
        ]
        stored = self._stored(tenant)
        rows = [row for row in stored if row["is_placeholder"]]
        partners = {stream.partner for stream, _ in found} | {row["partner"] for row in rows}
        if len(partners) > 1:
            names = " or ".join(f"--partner {name}" for name in sorted(partners))
            raise NothingToExplain(f"several partners have {self._shown_key} in {self._table}: add {names}")
        if found:
            return self._explained(*found[0], tenant)
        if rows:
            return self._only_referred(rows, tenant)
        if stored:
            what = f"{self._table} has a row with the key {self._shown_key}, but no record in the archive has it"
            raise NothingToExplain(f"{what}; see `{typed('verify')}`")
        raise NothingToExplain(self._unknown_key(tenant))

    @property
    def _shown_key(self) -> str:
        return repr(self._asked.key if self._unmasked else without_emails(self._asked.key))

    def _history(self, stream: Stream, tenant: str) -> RowHistory:
        return RowHistory(self._connection, self._archive, stream, tenant, self._asked.at)

    # -- names that users type ---------------------------------------------------------------------------------

    def _writers(self) -> list[Stream]:
        """Returns the streams that write the table, by records or by references."""
        writers = [s for s in STREAMS if s.table == self._table or any(r.table == self._table for r in s.references)]
        found = [stream for stream in writers if self._asked.partner in (None, stream.partner)]
        if not found:
            names = sorted({stream.partner for stream in writers})
            near = suggestion(self._asked.partner or "", names)
            raise NothingToExplain(f"{self._asked.partner!r} is no partner with {self._table}; {near}")
        return found

    def _tenant(self) -> str:
        writers = self._writers()
        partners = sorted({stream.partner for stream in writers})
        known = [name for (name,) in self._connection.execute(_TENANTS, [partners])]
        asked = self._asked.tenant
        spelled = [asked, *(name for stream in writers if (name := stream.normalize_tenant(asked)))]
        found = next((name for name in spelled if name in known), None)
        if found is None:
            near = near_name(asked, known)
            hint = f"; did you mean {near}?" if near else ""
            raise NothingToExplain(f"no tenant {asked!r} has exports for {self._table}{hint}")
        return found

    def _unknown_key(self, tenant: str) -> str:
        statement = SQL(
            "select distinct coalesce(external_id, partner_record_id) from {} where tenant = %s"
            " and (%s::text is null or partner = %s) and left(coalesce(external_id, partner_record_id), 1) in (%s, %s)"
            " limit %s"
        ).format(Identifier(SCHEMA, self._table))
        key, partner = self._asked.key, self._asked.partner
        first = key[:1].lower(), key[:1].upper()
        rows = self._connection.execute(statement, [tenant, partner, partner, *first, _NEAR_KEYS])
        near = near_name(key, [name for (name,) in rows])
        shown = near if near is None or self._unmasked else without_emails(near)
        return f"no record and no row of {self._table} has the key {self._shown_key}" + (
            f"; did you mean {shown}?" if near else ""
        )

    def _column(self, stream: Stream | None) -> str | None:
        """Returns the column as it is called in the row."""
        asked = self._asked.column
        if self._child is not None:
            columns = metadata.tables[f"{SCHEMA}.{self._child}"].columns.keys()
            if asked is not None and asked not in columns:
                raise NothingToExplain(f"unknown column {asked!r} of {self._child}; {suggestion(asked, columns)}")
            return self._child
        if asked is None:
            return None
        known = {name: name for name in columns_of(self._table, stream)}
        if stream is not None:
            known = {alias_of(stream, name): name for name in known} | known
        if asked not in known:
            near = near_name(asked, known)
            hint = f"did you mean {known[near]}?" if near else f"one of {', '.join(dict.fromkeys(known.values()))}"
            raise NothingToExplain(f"unknown column {asked!r} of {self._table}; {hint}")
        return known[asked]

    # -- a row with records ------------------------------------------------------------------------------------

    def _explained(self, stream: Stream, steps: Steps, tenant: str) -> Explained:
        column = self._column(stream)
        keys = {self._asked.key}
        keys |= {n for s in steps.steps for n in (s.record.change.key, s.record.change.record_id) if n is not None}
        records = [self._said(stream, steps, number, column) for number in range(len(steps.steps))]
        records += [self._rejected(stream, row) for row in self._rejects(stream, tenant, sorted(keys))]
        records.sort(key=lambda r: (r.effective_at, natural_order(r.path), r.revision, natural_order(r.position)))
        rows, referred_by = [row_values(stream, row, steps.names) for row in steps.rows], list[str]()
        if not any(step.slot is not None for step in steps.steps):
            stored = [row for row in self._stored(tenant) if row["partner"] == stream.partner]
            placeholder = self._placeholder(stream.partner, tenant, stored, self._history(stream, tenant))
            rows, referred_by = ([placeholder[0]], placeholder[1]) if placeholder else (rows, [])
        if not records and not rows and steps.later is not None:
            raise self._too_early(steps.later.version[0], steps.later.entry.path)
        shown = [self._projected(stream, row, column) for row in rows]
        return Explained(stream, stream.partner, tenant, self._table, column, records, shown, referred_by)

    def _projected(self, stream: Stream | None, row: Mapping[str, Any], column: str | None) -> dict[str, Any]:
        """Returns a row, or only the names and the column, with personal values masked."""
        names = ("external_id", "partner_record_id")
        chosen = {c: v for c, v in row.items() if column is None or c == column or (c in names and v is not None)}
        return {name: self._value(stream, name, value) for name, value in chosen.items()}

    def _value(self, stream: Stream | None, column: str, value: Any) -> Any:
        if column == self._child and self._asked.column is not None and isinstance(value, list):
            value = [{self._asked.column: row.get(self._asked.column)} for row in value]
        if self._unmasked:
            return value
        return masked(value, "plain") if stream is None else masked_row(stream, {column: value})[column]

    def _said(self, stream: Stream, steps: Steps, number: int, column: str | None) -> Said:
        step = steps.steps[number]
        reason = ""
        if step.reason is not None:
            message = masked_reason(stream, step.reason.path, step.reason.message)
            reason = f"{step.reason.code}: {step.reason.message if self._unmasked else message}"
        if column is None:
            said, value, row, by = "", self._changed(stream, step, steps.names), None, ""
        else:
            said, told = said_of(stream, step, column, steps.names)
            value = self._value(stream, column, told)
            after = None if step.after is None else row_values(stream, step.after, steps.names)[column]
            row = self._value(stream, column, after)
            by = overridden(stream, steps, number, column)
        change, entry = step.record.change, step.record.entry
        return Said(
            change.effective_at, entry.path, entry.revision, change.position, change.operation, step.outcome,
            reason, said, value, row, by,
        )  # fmt: skip

    def _changed(self, stream: Stream, step: Step, names: Mapping[int, Names]) -> dict[str, Any]:
        if step.after is None:
            return {}
        after = row_values(stream, step.after, names)
        before = {} if step.before is None else row_values(stream, step.before, names)
        return {name: self._value(stream, name, value) for name, value in after.items() if value != before.get(name)}

    # -- rejects -----------------------------------------------------------------------------------------------

    def _rejects(self, stream: Stream, tenant: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        names = {"partner": stream.partner, "tenant": tenant, "stream": stream.name}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_REJECTS, {**names, "keys": list(keys), "at": self._asked.at}).fetchall()

    def _rejected(self, stream: Stream, reject: Mapping[str, Any]) -> Said:
        entry = entry_of(self._connection, reject["file_id"])
        path, message = reject["field_path"], reject["message"] or ""
        where = "" if not path or message.startswith(path) else f" ({path})"
        reason = f"{reject['code']}{where}: {message if self._unmasked else masked_reason(stream, path, message)}"
        position, outcome = reject["position"] or "", "withdrawn" if reject["status"] == "withdrawn" else "rejected"
        return Said(entry.effective_at, entry.path, entry.revision, position, "", outcome, reason, "", None, None, "")

    # -- placeholders ------------------------------------------------------------------------------------------

    def _stored(self, tenant: str) -> list[dict[str, Any]]:
        statement = SQL(
            "select * from {} where tenant = %s and (external_id = %s or partner_record_id = %s)"
            " and (%s::text is null or partner = %s)"
        ).format(Identifier(SCHEMA, self._table))
        key, partner = self._asked.key, self._asked.partner
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, [tenant, key, key, partner, partner]).fetchall()

    def _only_referred(self, stored: Sequence[Mapping[str, Any]], tenant: str) -> Explained:
        """Returns the explanation of a row that no stream of its partner defines."""
        partner = stored[0]["partner"]
        column = self._column(None)
        stream = next((s for s in STREAMS if (s.table, s.partner) == (self._table, partner)), None)
        history = None if stream is None else self._history(stream, tenant)
        found = self._placeholder(partner, tenant, stored, history)
        if found is None:
            names = self._names_then(None if history is None else replace(history, at=None))
            references = self._references(partner, tenant, *names)
            if not references:
                raise NothingToExplain(self._unknown_key(tenant))
            raise self._too_early(references[0].version[0], references[0].path)
        row = self._projected(None, found[0], column)
        return Explained(None, partner, tenant, self._table, column, [], [row], found[1])

    def _placeholder(
        self, partner: str, tenant: str, stored: Sequence[Mapping[str, Any]], history: RowHistory | None
    ) -> tuple[dict[str, Any], list[str]] | None:
        """Returns the row that records only refer to, and such records; None if there is none."""
        at = self._asked.at
        stored = [row for row in stored if row["is_placeholder"]]
        columns = columns_of(self._table, None)
        if at is None:
            return ({name: stored[0][name] for name in columns}, self._referring(stored[0])) if stored else None
        own, external = self._names_then(history)
        early = [r for r in self._references(partner, tenant, own, external) if r.version[0] <= at]
        if not early:
            return None
        row = {name: stored[0][name] if stored else None for name in columns}
        is_id = any(r.is_by_id for r in early)
        names = {"external_id": min(external, default=None), "partner_record_id": min(own, default=None)}
        if external == own:
            names = {name: self._asked.key if (name == "partner_record_id") is is_id else None for name in names}
        lines = [f"{r.table} {self._named(r.key)} refers to it, by {r.path} at {r.position}" for r in early]
        return row | names | {"is_placeholder": True, "deleted_at": None}, lines[:_REFERRING]

    def _names_then(self, history: RowHistory | None) -> tuple[set[str], set[str]]:
        """Returns the ids and the external ids by which records may have referred to the row."""
        key = self._asked.key
        names = {RowName(False, key), RowName(True, key)}
        if history is not None and streams_within(history.stream):
            for own, external in history.names_of_rows(names):
                if key in (own, external):
                    return {own} - {None}, {external} - {None}  # type: ignore[return-value]
        return {key}, {key}

    def _references(self, partner: str, tenant: str, own: set[str], external: set[str]) -> list[Referring]:
        names = {Named(partner, tenant, True, name) for name in own}
        names |= {Named(partner, tenant, False, name) for name in external}
        return referring_records(self._connection, self._archive, self._table, names)

    def _too_early(self, first: datetime, path: str) -> NothingToExplain:
        return NothingToExplain(
            f"there is no record of {self._shown_key} until {self._asked.at:%Y-%m-%d %H:%M:%S};"
            f" the first is of {first:%Y-%m-%d %H:%M:%S} (UTC), in {path}"
        )

    def _named(self, key: str | None) -> str:
        return (key or "?") if self._unmasked else without_emails(key or "?")

    def _referring(self, row: Mapping[str, Any]) -> list[str]:
        found = []
        for table, column in dict.fromkeys((s.table, r.column) for s, r in references_to(self._table)):
            statement = SQL(
                "select coalesce(external_id, partner_record_id), source_file, source_position from {}"
                " where {} = %s order by id limit %s"
            ).format(Identifier(SCHEMA, table), Identifier(column))
            for key, path, position in self._connection.execute(statement, [row["id"], _REFERRING]):
                found.append(f"{table} {self._named(key)} refers to it, by {path} at {position or '?'}")
        return found


def _main_table(name: str) -> tuple[str, str | None]:
    """Returns the main table that a name means, and the child table if it means one."""
    plain = name.removeprefix(f"{SCHEMA}.")
    view = find_view(plain)
    tables = lineage_of(view.table if view else plain)
    if not tables:
        raise NothingToExplain(f"unknown table {name!r}; {suggestion(plain, [main.name for main in MAIN_TABLES])}")
    return tables[-1].name, tables[-2].name if len(tables) > 1 else None
