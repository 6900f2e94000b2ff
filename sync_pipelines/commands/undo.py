"""`sync-pipelines undo` and `redo`: take loaded exports back, and load them again.

Belongs here: finding the exports, layout and exit statuses. Does not belong here: what an undo changes
(`stages.withdrawal`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from sync_pipelines.command_line import typed
from sync_pipelines.commands.changed_rows import print_changes
from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.known_exports import acting_user, revision_of_path
from sync_pipelines.commands.screen import json_of, notify, print_table, say
from sync_pipelines.commands.sync import LOADED, WITH_FAILED, WITH_REJECTS
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.privacy.masking import masked
from sync_pipelines.stages.display_rows import Difference, shown_row
from sync_pipelines.stages.withdrawal import Decided, Undone, redo, undo
from sync_pipelines.stages.workspace import Workspace, open_workspace

_ROWS: Final = 20
"""Changed rows of each table that are printed as text; JSON has more."""


def run_undo(
    paths: Sequence[str], revision: int | None, reason: str, *, is_preview: bool, as_json: bool, unmasked: bool
) -> int:
    """Withdraws exports and prints what changed, or with `is_preview` what would change.

    Raises:
        click.UsageError: a path or revision is unknown, or the reason is empty.
        SyncError: an export is not loaded, or a load runs; nothing has changed.
    """
    decided = _decided(reason, "an undo", is_needed=not is_preview)
    workspace = open_workspace(load_settings())
    entries = _entries(workspace, paths, revision)
    done = undo(workspace, [entry.id for entry in entries], decided, is_preview=is_preview)
    if unmasked:
        log_unmasked(workspace.settings, "undo --preview" if is_preview else "undo", *(e.path for e in entries))
    if as_json:
        print(json_of(_as_json(done, is_preview=is_preview, unmasked=unmasked)))
        return 0
    _print(done, is_preview=is_preview, unmasked=unmasked)
    return 0


def run_redo(paths: Sequence[str], revision: int | None, reason: str, *, as_json: bool) -> int:
    """Loads withdrawn exports again and prints their outcomes; returns the exit status.

    Raises:
        click.UsageError: a path or revision is unknown.
        SyncError: an export is not withdrawn, or a load runs; nothing has changed.
    """
    workspace = open_workspace(load_settings())
    entries = redo(
        workspace, [e.id for e in _entries(workspace, paths, revision)], _decided(reason, "a redo", is_needed=False)
    )
    if as_json:
        print(json_of({"files": [_file(entry) for entry in entries]}))
    else:
        for entry in entries:
            counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in entry.counts.items() if n)
            say(f"{entry.status} {entry.path}: {entry.error or counts}")
    if any(entry.status != "loaded" for entry in entries):
        return WITH_FAILED
    return WITH_REJECTS if any(entry.rejected for entry in entries) else LOADED


def _decided(reason: str, what: str, *, is_needed: bool) -> Decided:
    if is_needed and not reason.strip():
        raise click.UsageError(f'{what} needs a reason: --reason "..."')
    return Decided(reason.strip(), acting_user(), f"{what.split()[-1]}-{uuid.uuid4()}")


def _entries(workspace: Workspace, paths: Sequence[str], revision: int | None) -> list[LedgerFile]:
    with workspace.connection() as connection:
        return [revision_of_path(connection, path, revision) for path in dict.fromkeys(paths)]


def _print(done: Undone, *, is_preview: bool, unmasked: bool) -> None:
    if done.tables:
        rows = [(t.table, t.removed, t.emptied, t.changed, t.created) for t in done.tables]
        print_table(("table", "removed", "to placeholders", "changed", "created"), rows)
    else:
        say("No row changes: newer exports set every value.")
    if is_preview and any(table.differences for table in done.tables):
        masking = "" if unmasked else "; personal values are masked"
        say("", f"Rows that would change (up to {_ROWS} of each table{masking}):")
        for table in done.tables:
            print_changes(table.table, table.differences[:_ROWS], unmasked=unmasked)
    if done.rejects or done.reopened:
        verb = "would be" if is_preview else "are"
        say(
            "",
            f"Rejected records of these exports that {verb} withdrawn: {done.rejects:,}."
            f" Of other exports, open again: {done.reopened:,}.",
        )
    if is_preview:
        say("", "Preview: nothing was changed.")
        return
    for entry in done.entries:
        say(f"withdrawn {entry.path}")
    notify(f"To take it back: {typed('redo PATH')}")


def _as_json(done: Undone, *, is_preview: bool, unmasked: bool) -> dict[str, Any]:
    return {
        "preview": is_preview,
        "files": [_file(entry) for entry in done.entries],
        "tables": {
            t.table: {"removed": t.removed, "to_placeholders": t.emptied, "changed": t.changed, "created": t.created}
            for t in done.tables
        },
        "rows": [
            {"table": t.table, **_row(one, dict(_both(stream, one, unmasked=unmasked)), unmasked=unmasked)}
            for t in done.tables
            for stream, one in t.differences
        ],
        "rejects_withdrawn": done.rejects,
        "rejects_reopened": done.reopened,
    }


def _both(stream: Any, one: Difference, *, unmasked: bool) -> Iterator[tuple[str, Any]]:
    """Yields the columns before and after; None for a row that is not there."""
    for name, row in (("before", one.before), ("after", one.after)):
        known = any(value is not None for value in row.values())
        yield name, (row if unmasked else shown_row(stream, row)) if known else None


def _row(one: Difference, both: dict[str, Any], *, unmasked: bool) -> dict[str, Any]:
    key = one.key if unmasked else masked(one.key, "plain")
    return {"tenant": one.tenant, "key": key, "change": one.change, **both, "last_word": one.path or None}


def _file(entry: LedgerFile) -> dict[str, Any]:
    names = ("partner", "tenant", "stream", "path", "revision", "status", "error")
    return {**{name: getattr(entry, name) for name in names}, **entry.counts}
