"""What one change makes of one row. The tables are this function folded over every record in version order (X5).

Pure: no SQL, no clock. The set-based way in `statements` must do the same to a row, and a property test holds the two
together. Belongs here: the write rules. Does not belong here: where rows and changes come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Default, Identity, Stream
from sync_pipelines.normalize.change import Change

Outcome = Literal["created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked"]


class Extra(dict[str, Any]):
    """Unknown fields, compared as JSONB compares them: `1` equals `1.0` and differs from `true`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and _comparable(self) == _comparable(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def _comparable(value: Any) -> Any:
    match value:
        case bool():
            return ("boolean", value)
        case int() | float() | Decimal():
            return Decimal(str(value))
        case dict():
            return {name: _comparable(part) for name, part in value.items()}
        case list():
            return [_comparable(part) for part in value]
        case _:
            return value


@dataclass(frozen=True)
class Row:
    """A row with its children as the tables hold it, surrogate ids and provenance aside.

    Attributes:
        values: column -> value; a column that is not there is null.
        children: child table -> rows in order.
        links: foreign key column -> the row meant.
        extra: unknown fields (X3).
        defaulted: fields that hold their default, in the page's spelling and the declared order (O3).
        is_placeholder: only referred to, not defined (X7).
        deleted_at: set on a tombstone, which has nothing else (X5).
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    children: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    links: Mapping[str, Identity | None] = field(default_factory=dict)
    extra: Extra = field(default_factory=Extra)
    defaulted: tuple[str, ...] = ()
    is_placeholder: bool = False
    deleted_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        """Whether the row counts."""
        return self.deleted_at is None


def apply(stream: Stream, row: Row | None, change: Change) -> Row:
    """The row after a change, told from the row before it."""
    if change.operation == "delete":
        return Row(deleted_at=change.effective_at)
    base = row if row is not None and row.is_live else None
    is_new = base is None or base.is_placeholder
    spoken = {*change.values, *change.children}
    defaults = _defaults(stream, is_new, spoken, change.effective_at)
    before = base or Row()
    return Row(
        values=_without_nulls({**before.values, **defaults, **change.values}),
        children=_without_empty({**before.children, **change.children}),
        links=_without_nulls({**before.links, **change.links}),
        extra=Extra({**before.extra, **change.extra}),
        defaulted=_defaulted(stream, before, is_new, spoken),
    )


def _defaults(stream: Stream, is_new: bool, spoken: set[str], effective_at: datetime) -> dict[str, Any]:
    """Values a new row gets where nothing was sent (O3)."""
    if not is_new:
        return {}
    return {
        default.column: effective_at if default.value is EFFECTIVE_TIME else default.value
        for default in stream.defaults
        if default.column not in spoken and not is_children(stream, default)
    }


def _defaulted(stream: Stream, before: Row, is_new: bool, spoken: set[str]) -> tuple[str, ...]:
    return tuple(
        alias
        for default, alias in named_defaults(stream)
        if spoken_name(stream, default) not in spoken and (is_new or alias in before.defaulted)
    )


def named_defaults(stream: Stream) -> list[tuple[Default, str]]:
    """The stream's defaults with their fields in the page's spelling."""
    fields = stream.contract.model_fields
    return [(default, fields[default.column].alias or default.column) for default in stream.defaults]


def spoken_name(stream: Stream, default: Default) -> str:
    """The name under which a change speaks of a default's field: its column, or its child table."""
    return next((c.table for c in stream.children if c.column == default.column), default.column)


def is_children(stream: Stream, default: Default) -> bool:
    """Whether a default is of a list of children: no rows, so nothing to write."""
    return any(children.column == default.column for children in stream.children)


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _without_empty(children: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {table: [_child_row(row) for row in rows] for table, rows in children.items() if rows}


def _child_row(row: dict[str, Any]) -> dict[str, Any]:
    plain = _without_nulls(row)
    if "extra" in plain:
        plain["extra"] = Extra(plain["extra"])
    return plain


def fold(stream: Stream, changes: Iterable[Change], row: Row | None = None) -> Row | None:
    """The row that changes in version order make, from an empty one or the given one."""
    for change in changes:
        row = apply(stream, row, change)
    return row


def outcome(before: Row | None, after: Row | None, change: Change, *, is_older: bool) -> Outcome:
    """What a record came to, told against the row as stored just before it (X11).

    Args:
        before: the row without the record, all other applied records folded in.
        after: the row with it.
        change: the record.
        is_older: a newer record of its key was applied already.
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
