"""Masks personal values in Dagster's events, messages and logs that were stored before contracts declared them.

Events are rewritten as stored JSON, so those of earlier versions of Dagster are covered too.

Belongs here: finding and rewriting stored values. Does not belong here: what is masked (`privacy.personal_data`,
`privacy.masking`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.values import to_json
from sync_pipelines.orchestration.dagster_names import STAGES, asset_key, former_asset_keys
from sync_pipelines.orchestration.private_dagster import (
    STORED_DOCUMENTS,
    STORED_TEXTS,
    has_sql_storage,
    storage_connection,
)
from sync_pipelines.partners import find_stream
from sync_pipelines.privacy.masking import masked, without_emails
from sync_pipelines.privacy.personal_data import masked_example, masked_faults, masked_reason, masked_row
from sync_pipelines.stages.export_stages import Workspace

_LABELS: Final = ("sample_rows", "differences", "rejected_by_code", "examples")
_EXAMPLE: Final = re.compile(r"(?P<where>.* at .*?: )(?P<path>\S*) (?P<message>.*)", re.DOTALL)
_AT_ONCE: Final = 500

Streams = Mapping[tuple[str, ...], Stream]


def mask_stored(workspace: Workspace, instance: dg.DagsterInstance, streams: Iterable[Stream]) -> dict[str, int]:
    """Masks personal values in Dagster's storage, reject messages and log files. It is idempotent.

    Returns:
        Stable name -> how many rows or files were rewritten.
    """
    keys = streams_by_path(streams)
    return {
        "masked_events": _mask_dagster(instance, keys),
        "masked_messages": _mask_messages(workspace),
        "masked_logs": _mask_logs(workspace),
    }


def streams_by_path(streams: Iterable[Stream]) -> Streams:
    """Returns the path of every asset key of a stream, those of earlier versions included -> the stream."""
    return {
        tuple(key.path): stream
        for stream in streams
        for key in (*(asset_key(stage, stream) for stage in STAGES), *former_asset_keys(stream))
    }


def masked_document(text: str, streams: Streams) -> str:
    """Returns a stored event with personal values masked; the same text if it has none."""
    try:
        document = json.loads(text)
    except ValueError:
        return without_emails(text)
    shown = _masked(document, _stream_in(document, streams), "")
    return text if shown == document else json.dumps(shown)


def _mask_dagster(instance: dg.DagsterInstance, streams: Streams) -> int:
    if not has_sql_storage(instance):
        return 0
    changed = 0
    with storage_connection(instance) as connection:
        there = set(sa.inspect(connection).get_table_names())
        for table, column in {**STORED_DOCUMENTS, **STORED_TEXTS}.items():
            if table in there:
                mask = without_emails if table in STORED_TEXTS else (lambda text: masked_document(text, streams))
                changed += _rewrite(connection, sa.table(table, sa.column("id"), sa.column(column)), column, mask)
    return changed


def _rewrite(connection: sa.Connection, table: sa.TableClause, column: str, mask: Callable[[str], str]) -> int:
    number, text = table.c.id, table.c[column]
    wanted = sa.or_(text.contains("@"), *(text.contains(label, autoescape=True) for label in _LABELS))
    last = changed = 0
    while rows := connection.execute(
        sa.select(number, text).where(number > last, wanted).order_by(number).limit(_AT_ONCE)
    ).fetchall():
        last = rows[-1][0]
        for row_id, before in rows:
            if (after := mask(before)) != before:
                connection.execute(sa.update(table).where(number == row_id).values({column: after}))
                changed += 1
    return changed


def _stream_in(node: Any, streams: Streams) -> Stream | None:
    """The stream of the first asset that a document names."""
    if isinstance(node, dict):
        path = node.get("path")
        if isinstance(path, list) and (found := streams.get(tuple(map(str, path)))):
            return found
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for inner in below if (found := _stream_in(inner, streams))), None)


def _masked(node: Any, stream: Stream | None, label: str) -> Any:
    if isinstance(node, str):
        return without_emails(node)
    if isinstance(node, list):
        return [_masked(inner, stream, label) for inner in node]
    if not isinstance(node, dict):
        return node
    label = str(node["label"]) if isinstance(node.get("label"), str) else label
    if node.get("__class__") == "TableRecord" and isinstance(node.get("data"), dict) and stream is not None:
        node = node | {"data": _masked_cells(stream, label, node["data"])}
    return {name: _masked(inner, stream, name if name in _LABELS else label) for name, inner in node.items()}


def _masked_cells(stream: Stream, label: str, cells: dict[str, Any]) -> dict[str, Any]:
    match label:
        case "sample_rows":
            return masked_row(stream, cells)
        case "differences":
            column = str(cells.get("column") or "")
            sides = {
                side: _masked_side(stream, column, cells[side]) for side in ("stored", "would be") if side in cells
            }
            return cells | sides
        case "rejected_by_code":
            return {
                name: _masked_example(stream, cell) if name == "for example" else cell for name, cell in cells.items()
            }
        case "examples":
            return masked_example(stream, cells)
        case _:
            return cells


def _masked_side(stream: Stream, column: str, cell: Any) -> Any:
    """Masks a stored or a new value: of a column, or a whole row or list as JSON, possibly cut off."""
    if not isinstance(cell, str) or not cell:
        return cell
    try:
        value = json.loads(cell) if cell[0] in "[{" else cell
    except ValueError:
        return masked(cell, "text")
    row = value if not column and isinstance(value, dict) else {column: value}
    shown = masked_row(stream, row)
    result = shown if row is value else shown[column]
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _masked_example(stream: Stream, cell: Any) -> Any:
    found = _EXAMPLE.fullmatch(cell) if isinstance(cell, str) else None
    if found is None:
        return cell
    return f"{found['where']}{found['path']} {masked_reason(stream, found['path'] or None, found['message'])}"


def _mask_messages(workspace: Workspace) -> int:
    changed = 0
    with workspace.connection() as connection:
        rows = connection.execute(
            "select r.id, f.partner, f.stream, r.field_path, r.message, r.faults from sync.rejected_records r"
            " join sync.export_files f on f.id = r.export_file_id where r.message is not null"
        )
        for row_id, partner, name, path, message, faults in rows.fetchall():
            stream = find_stream(partner, name)
            shown = without_emails(message) if stream is None else masked_reason(stream, path, message)
            shown_errors = [] if stream is None else masked_faults(stream, faults)
            if (shown, shown_errors) != (message, faults):
                connection.execute(
                    "update sync.rejected_records set message = %s, faults = %s where id = %s",
                    [shown, to_json(shown_errors), row_id],
                )
                changed += 1
    return changed


def _mask_logs(workspace: Workspace) -> int:
    changed = 0
    for path in workspace.settings.logs.rglob("*"):
        if path.is_file() and not path.is_symlink():
            before = path.read_bytes().decode(errors="surrogateescape")
            if (after := without_emails(before)) != before:
                path.write_bytes(after.encode(errors="surrogateescape"))
                changed += 1
    return changed
