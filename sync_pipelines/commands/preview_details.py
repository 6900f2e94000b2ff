"""What `sync --preview` prints below its counts: why records would be rejected, and which rows would change.

Personal values are masked, as in the UI.

Belongs here: layout. Does not belong here: one row (`changed_rows`), finding the rows (`stages.display_rows`) and
rejects (`database.reports`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sync_pipelines.commands.changed_rows import print_changes
from sync_pipelines.commands.screen import print_table, say
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import reports
from sync_pipelines.database.reports import RejectSummary
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.personal_data import masked_reason
from sync_pipelines.stages.display_rows import Difference
from sync_pipelines.stages.preview import Preview

_ROWS: Final = 10
"""Changed rows shown of each stream."""


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
    changed = [details for details in found if details.differences]
    if changed:
        say("", f"Rows that would change (up to {_ROWS} of each stream; personal values are masked):")
        for details in changed:
            print_changes(details.stream.full_name, [(details.stream, one) for one in details.differences])
            if (more := details.changed - len(details.differences)) > 0:
                say(f"{details.stream.full_name}: up to {more:,} more changes")


def _rejects(details: StreamDetails) -> Iterator[tuple[Any, ...]]:
    for reject in details.rejects:
        why = masked_reason(details.stream, reject.field_path, reject.message or "")
        example = f"{reject.path} at {reject.position or '?'}: {why}"
        yield details.stream.full_name, reject.code, reject.records, example
