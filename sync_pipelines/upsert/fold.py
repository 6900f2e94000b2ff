"""Applies one record to the rows of its key.

The tables are this, folded over every record in version order (X5).

Pure: no SQL, no clock. The columnar paths must give the same rows; property tests compare them.

Belongs here: the write rules. Does not belong here: lists of children (`lists`), where rows and records come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Default, Stream
from sync_pipelines.normalize.change import Change
from sync_pipelines.upsert.jsonb import Jsonb
from sync_pipelines.upsert.lists import ChildRow, listed, without_nulls

CREATE_OF_EXISTING: Final = "create_of_existing"
"""A leniency, or a reject under `strict` (N8, X8)."""

Outcome = Literal["created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected"]


@dataclass(frozen=True)
class Row:
    """A row with its children as in the tables, without surrogate ids and provenance.

    Attributes:
        external_id: the match key.
        record_id: the partner's own id (P2).
        values: column -> value; a missing column is null.
        children: child table -> rows in order.
        links: foreign key column -> id of the referenced row.
        extra: unknown fields (X3).
        defaulted: fields that hold their default, in the partner's spelling and the declared order (O3).
        is_placeholder: only referred to, not defined (X7).
        deleted_at: set on a tombstone, which has no other values (X5).
    """

    external_id: str | None
    record_id: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    children: Mapping[str, list[ChildRow]] = field(default_factory=dict)
    links: Mapping[str, int] = field(default_factory=dict)
    extra: Jsonb = field(default_factory=lambda: Jsonb({}))
    defaulted: tuple[str, ...] = ()
    is_placeholder: bool = False
    deleted_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        """Whether the row is live."""
        return self.deleted_at is None

    def is_same_record(self, other: Row, stream: Stream) -> bool:
        """Whether another row is the same record: by the partner's own id first (P2), in any scope (F04)."""
        if self.record_id is not None and other.record_id is not None:
            return self.record_id == other.record_id
        is_near = self.scope_of(stream) == other.scope_of(stream)
        return is_near and self.external_id is not None and self.external_id == other.external_id

    def scope_of(self, stream: Stream) -> dict[str, int]:
        """Returns the link within which the row's key is unique (P5)."""
        return {c: link for c, link in self.links.items() if c == stream.scope}


@dataclass(frozen=True)
class Rejection:
    """A record is rejected because of its own key's state. Decided again whenever the key is folded (law 1).

    Attributes:
        code, path, message: the first error.
        more: the others (F20).
    """

    code: str
    path: str | None
    message: str
    more: tuple[Rejection, ...] = ()

    @property
    def faults(self) -> list[dict[str, Any]]:
        """All errors (F20)."""
        return [{"code": each.code, "path": each.path, "message": each.message} for each in (self, *self.more)]


Rows = tuple[Row, ...]
"""The rows of one key, or of keys that records connect (P2)."""


@dataclass(frozen=True)
class Applied:
    """The effect of a record: the rows after it, and its own row."""

    rows: Rows
    before: Row | None
    after: Row | None
    rejection: Rejection | None = None


def apply(stream: Stream, rows: Rows, change: Change) -> Applied:
    """Returns the rows after a record; a rejected one changes nothing."""
    found = _found(stream, rows, change)
    if isinstance(found, Rejection):
        return Applied(rows, None, None, found)
    before = None if found is None else rows[found]
    after = _written(stream, before, change)
    if isinstance(after, Rejection):
        return Applied(rows, before, before, after)
    kept = (*rows, after) if found is None else (*rows[:found], after, *rows[found + 1 :])
    return Applied(tuple(row for row in kept if not _is_absorbed(stream, row, after)), before, after)


def _is_absorbed(stream: Stream, row: Row, after: Row) -> bool:
    """Whether a row is a placeholder for what another row turns out to be (X7, P2)."""
    if row is after or not row.is_placeholder:
        return False
    by_id = row.record_id is not None and row.record_id == after.record_id
    is_near = row.scope_of(stream) == after.scope_of(stream)
    return by_id or (is_near and row.external_id is not None and row.external_id == after.external_id)


def _found(stream: Stream, rows: Rows, change: Change) -> int | Rejection | None:
    """Returns the index of the record's row: by the partner's own id first, then by external id (P2).

    An own id is unique in its tenant, an external id in its scope (P5, F04): a row found by its own id moves to the
    record's scope, with its external id.
    """
    if stream.scope is not None and stream.scope not in change.links:
        found = _found_anywhere(rows, change)
        if isinstance(found, Rejection):
            return found
        # The row's scope is the one in which its key is unique.
        change = change._replace(links={**change.links, stream.scope: rows[found].links.get(stream.scope)})
    scope = change.links.get(stream.scope) if stream.scope else None
    inside = [(i, row) for i, row in enumerate(rows) if stream.scope is None or row.links.get(stream.scope) == scope]
    by_id = next(
        (i for i, row in enumerate(rows) if change.record_id is not None and row.record_id == change.record_id), None
    )
    key = rows[by_id].external_id if change.key is None and by_id is not None else change.key
    by_key = next((i for i, row in inside if key is not None and row.external_id == key), None)
    if change.record_id is None:
        return by_key
    if by_id is not None and by_key is not None and by_id != by_key:
        # A placeholder is not a record that could conflict with another.
        if rows[by_key].is_placeholder:
            by_key = None
        elif rows[by_id].is_placeholder:
            by_id = None
    if by_id is not None:
        if by_key is not None and by_key != by_id:
            return Rejection("external_id_conflict", None, f"external id {key!r} belongs to another record")
        return by_id
    if by_key is not None and rows[by_key].record_id is not None:
        other = rows[by_key].record_id
        return Rejection("id_conflict", None, f"external id {change.key!r} has id {other!r}, not {change.record_id!r}")
    return by_key


def _found_anywhere(rows: Rows, change: Change) -> int | Rejection:
    """Returns the tenant's only row with the partner's own id, for a record without a scope (P1)."""
    found = [i for i, row in enumerate(rows) if row.record_id == change.record_id]
    if len(found) != 1:
        what = "no record has" if not found else f"{len(found)} records have"
        return Rejection("record_unknown", None, f"{what} the id {change.record_id!r}")
    return found[0]


def _written(stream: Stream, row: Row | None, change: Change) -> Row | Rejection:
    known = row or Row(None)
    key = known.external_id if change.key is None else change.key
    record_id = known.record_id if change.record_id is None else change.record_id
    if change.operation == "delete":
        # A tombstone keeps the time when the row was last live (F13).
        is_dead = row is not None and not row.is_live
        return Row(key, record_id, deleted_at=known.deleted_at if is_dead else change.effective_at)
    base = row if row is not None and row.is_live else None
    if change.operation == "update" and base is None:
        message = f"{change.key!r} does not exist or was removed, so it cannot be updated"
        return Rejection(stream.unknown_code, None, message)
    if change.operation == "insert" and base is not None and not base.is_placeholder:
        return Rejection(CREATE_OF_EXISTING, None, f"{change.key!r} already exists, and the source is strict")
    after = replace(_patched(stream, base, change), external_id=key, record_id=record_id)
    is_new = base is None or (base.is_placeholder and stream.placeholder_is_new)
    missing = _missing(stream, {**after.values, **after.children})
    if change.operation in ("upsert", "create", "insert") and is_new and missing:
        paths = [alias_of(stream, name) for name in missing]
        first, *more = [Rejection("required", p, f"{p} is required, because {change.key!r} is new") for p in paths]
        return replace(first, more=tuple(more))
    may_wait = change.operation == "touch" or base is not None
    if may_wait and (base is None or base.is_placeholder) and missing:
        return replace(after, is_placeholder=True)
    return after


def _missing(stream: Stream, sent: Mapping[str, Any]) -> list[str]:
    return [name for name in stream.required_new if name not in sent]


def _patched(stream: Stream, base: Row | None, change: Change) -> Row:
    before = base or Row(None)
    is_new = base is None or base.is_placeholder
    sent = {*change.values, *change.children}
    stored = {} if stream.replaces else before.values
    defaults = _defaults(stream, sent, change.effective_at) if is_new else {}
    values = without_nulls({**stored, **defaults, **_merged(stream, before, change)})
    children = dict(before.children)
    for declared in stream.children:
        if declared.table in change.children:
            children[declared.table] = listed(
                declared, children.get(declared.table, []), change.children[declared.table]
            )
    children = {table: rows for table, rows in children.items() if rows}
    return Row(
        None,
        values=without_nulls(stream.compute(values, children)) if stream.compute else values,
        children=children,
        links=without_nulls({**before.links, **change.links}),
        extra=Jsonb({**({} if stream.replaces else before.extra), **change.extra}),
        defaulted=_defaulted(stream, before, is_new, sent),
    )


def _merged(stream: Stream, before: Row, change: Change) -> dict[str, Any]:
    """Returns the sent values. Mergeable objects are merged at their top level, where null is a value (R4)."""
    values = dict(change.values)
    for column in stream.merges:
        stored = before.values.get(column)
        if values.get(column) is not None and stored is not None:
            values[column] = Jsonb({**stored, **values[column]})
    return values


def _defaults(stream: Stream, sent: set[str], effective_at: datetime) -> dict[str, Any]:
    """Returns the defaults of a new row for fields that were not sent (O3)."""
    return {
        default.column: effective_at if default.value is EFFECTIVE_TIME else default.value
        for default in stream.defaults
        if default.column not in sent and not _is_children(stream, default)
    }


def _defaulted(stream: Stream, before: Row, is_new: bool, sent: set[str]) -> tuple[str, ...]:
    return tuple(
        alias
        for default, alias in named_defaults(stream)
        if sent_name(stream, default) not in sent and (is_new or alias in before.defaulted)
    )


def alias_of(stream: Stream, name: str) -> str:
    """Returns a column or child table of a stream in the partner's spelling."""
    column = next((c.column for c in stream.children if c.table == name), name)
    field_info = stream.contract.model_fields.get(column)
    return (field_info.alias if field_info else None) or column


def named_defaults(stream: Stream) -> list[tuple[Default, str]]:
    """Returns the stream's defaults with fields in the partner's spelling; none if the table does not list them."""
    if not stream.lists_defaults:
        return []
    return [(default, alias_of(stream, default.column)) for default in stream.defaults]


def sent_name(stream: Stream, default: Default) -> str:
    """Returns the name under which a change sets a default's field: its column, or its child table."""
    return next((c.table for c in stream.children if c.column == default.column), default.column)


def _is_children(stream: Stream, default: Default) -> bool:
    return any(children.column == default.column for children in stream.children)


def fold(stream: Stream, changes: Iterable[Change], rows: Rows = ()) -> tuple[Rows, list[Rejection | None]]:
    """Returns the rows after records in version order, and each record's rejection, if any."""
    rejections: list[Rejection | None] = []
    for change in changes:
        applied = apply(stream, rows, change)
        rows = applied.rows
        rejections.append(applied.rejection)
    return rows, rejections


def outcome(before: Row | None, after: Row | None, change: Change, *, is_older: bool) -> Outcome:
    """Returns the outcome of a record, compared with the row just before it (X11).

    Args:
        before: the row without the record, with all other applied records folded in.
        after: the row with it.
        change: the record.
        is_older: whether a newer record of its key was applied already.
    """
    was_live = before is not None and before.is_live
    live = after is not None and after.is_live
    if change.operation == "delete" and not was_live:
        return "not_found"
    if was_live and not live:
        return "deleted"
    if not was_live and live:
        return "created"
    if before == after or not live:
        return "stale" if is_older else "unchanged"
    return "updated"
