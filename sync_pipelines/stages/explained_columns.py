"""The columns of an explained row: what a record said of one, and which record overrode it.

Belongs here: rows of the fold as columns, for display. Does not belong here: which records (`explain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.corrections.row_steps import Step, Steps
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.fold import Row
from sync_pipelines.upsert.row_names import Names


def row_values(stream: Stream, row: Row, names: Mapping[int, Names]) -> dict[str, Any]:
    """Returns a row as column -> value: references as the names of their rows, children as lists."""
    children = {c.table: row.children.get(c.table, []) for c in stream.children}
    return {
        "external_id": row.external_id,
        "partner_record_id": row.record_id,
        **{column: row.values.get(column) for column in stream.written},
        **{r.column: _name_of(names.get(row.links.get(r.column, 0))) for r in stream.references},
        **children,
        "extra": dict(row.extra) or None,
        **({"defaulted_fields": list(row.defaulted) if row.is_live else None} if stream.lists_defaults else {}),
        "is_placeholder": row.is_placeholder,
        "deleted_at": row.deleted_at,
    }


def said_of(stream: Stream, step: Step, column: str, names: Mapping[int, Names]) -> tuple[str, Any]:
    """Returns what a record said of a column, and the value."""
    change = step.record.change
    sent = {"external_id": change.key, "partner_record_id": change.record_id}
    if column in sent:
        return ("value", sent[column]) if sent[column] is not None else ("absent", None)
    sent = {**change.values, **{link: _name_of(names.get(n or 0)) for link, n in change.links.items()}}
    if column in sent:
        return ("null" if sent[column] is None else "value"), sent[column]
    if column in change.children:
        listed = change.children[column]
        mode = "" if listed.mode in (None, "replace") else f" to {listed.mode}"
        return f"value{mode}", listed.rows
    if column == "extra" and change.extra:
        return "value", dict(change.extra)
    return _unsaid(stream, step, column, names)


def _unsaid(stream: Stream, step: Step, column: str, names: Mapping[int, Names]) -> tuple[str, Any]:
    """Returns the effect of a record on a column that it did not send."""
    if step.after is None:
        return "absent", None
    after = row_values(stream, step.after, names)[column]
    if step.record.change.operation == "delete":
        return "deleted", after
    before = None if step.before is None else row_values(stream, step.before, names)[column]
    if after == before:
        return "absent", None
    if after in (None, []):
        return "cleared", None
    is_default = any(default.column == column for default in stream.defaults)
    return ("default" if is_default else "computed"), after


def overridden(stream: Stream, steps: Steps, number: int, column: str) -> str:
    """Returns the next record that set what a record set."""
    step = steps.steps[number]
    if step.slot is None or said_of(stream, step, column, steps.names)[0] == "absent":
        return ""
    for later in steps.steps[number + 1 :]:
        if later.slot == step.slot and said_of(stream, later, column, steps.names)[0] != "absent":
            return f"{later.record.entry.path} at {later.record.change.position}"
    return ""


def _name_of(names: Names | None) -> str | None:
    """Returns the name of a referenced row, as tables of keys have it."""
    if names is None:
        return None
    own, external = names
    return external if external is not None else f"id {own}"


def columns_of(table: str, stream: Stream | None) -> list[str]:
    """Returns the columns that an explanation of a row has."""
    if stream is not None:
        return list(row_values(stream, Row(None), {}))
    hidden = {"id", "tenant", "partner", "created_at", "updated_at", "run_id"}
    return [c.name for c in metadata.tables[f"{SCHEMA}.{table}"].columns if c.name not in hidden]
