"""What `sync --preview` prints below its counts: why records would be rejected, and which rows would change.

Personal values are masked, as in the UI.

Belongs here: layout. Does not belong here: finding the rows (`stages.display_rows`) and rejects (`database.reports`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sync_pipelines.commands.screen import print_table, say
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import reports
from sync_pipelines.database.reports import RejectSummary
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.personal_data import masked_reason
from sync_pipelines.stages.display_rows import Difference, masked_changes
from sync_pipelines.stages.preview import Preview

_ROWS: Final = 10
"""Changed rows shown of each stream."""
_CELL: Final = 80
_ROW: Final = 240
"""Characters shown of a column, and of a whole row."""
_IN_OTHER_CELLS: Final = frozenset({"tenant", "partner", "external_id"})


@dataclass(frozen=True)
class StreamDetails:
    """What a preview found of one stream.

    Attributes:
        stream: which one.
        rejects: by code, the most frequent first.
        differences: some of the rows that would change.
        changed: how many rows would change in all.
    """

    stream: Stream
    rejects: Sequence[RejectSummary]
    differences: Sequence[Difference]
    changed: int


def find_details(previewed: Preview) -> list[StreamDetails]:
    """Returns the details of every stream that has some; call it while the preview's transaction is open."""
    found = []
    for stream in STREAMS:
        of_stream = [e for e in previewed.entries if (e.partner, e.stream) == (stream.partner, stream.name)]
        ids = [entry.id for entry in of_stream if entry.rejected]
        rejects = reports.rejects_of_files(previewed.connection, ids) if ids else []
        changed = sum(entry.created + entry.updated + entry.deleted for entry in of_stream)
        differences = previewed.differences(stream, _ROWS)[:_ROWS] if changed else []
        if rejects or differences:
            found.append(StreamDetails(stream, rejects, differences, changed))
    return found


def print_details(found: Sequence[StreamDetails]) -> None:
    """Prints a table of rejects and one of rows; nothing if there are none."""
    rejects = [row for details in found for row in _rejects(details)]
    if rejects:
        say("", "Records that would be rejected:")
        print_table(("stream", "code", "records", "for example"), rejects)
    changes = [row for details in found for row in _changes(details)]
    if changes:
        say("", f"Rows that would change (up to {_ROWS} of each stream; personal values are masked):")
        print_table(("stream", "tenant", "key", "change", "column", "stored", "would be"), changes)
        for details in found:
            if (more := details.changed - len(details.differences)) > 0 and details.differences:
                say(f"{details.stream.full_name}: up to {more:,} more changes")


def _rejects(details: StreamDetails) -> Iterator[tuple[Any, ...]]:
    for reject in details.rejects:
        why = masked_reason(details.stream, reject.field_path, reject.message or "")
        example = f"{reject.path} at {reject.position or '?'}: {why}"
        yield details.stream.full_name, reject.code, reject.records, example


def _changes(details: StreamDetails) -> Iterator[tuple[Any, ...]]:
    for one in details.differences:
        key = without_emails(one.key)
        for column, before, after in masked_changes(details.stream, one):
            stored = "" if one.change == "created" else cell(before, whole=not column)
            would_be = "" if one.change == "deleted" else cell(after, whole=not column)
            yield details.stream.full_name, one.tenant, key, one.change, column, stored, would_be


def cell(value: Any, *, whole: bool, unmasked: bool = False) -> str:
    """Returns a value on one line, shortened; JSON without empty fields where it is an object or a list.

    Args:
        value: the value.
        whole: whether it is a whole row.
        unmasked: whether to keep email addresses.
    """
    if value is None:
        return ""
    if isinstance(value, dict) and whole:
        value = {name: below for name, below in value.items() if name not in _IN_OTHER_CELLS}
    is_nested = isinstance(value, dict | list)
    text = json.dumps(_filled(value), ensure_ascii=False, default=str) if is_nested else str(value)
    text, longest = text if unmasked else without_emails(text), _ROW if whole else _CELL
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _filled(value: Any) -> Any:
    """Returns JSON without null and empty fields."""
    if isinstance(value, list):
        return [_filled(element) for element in value]
    if isinstance(value, dict):
        return {name: _filled(below) for name, below in value.items() if below not in (None, [], {})}
    return value
