"""`sync-pipelines sync`: load what is pending and say what happened.

Belongs here: the answer and the exit status. Does not belong here: loading (`sync`), runs (`orchestration.runs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any, Final

from sync_pipelines import ledger, sync
from sync_pipelines.commands.progress import FileProgress, working
from sync_pipelines.commands.screen import json_of, print_table, say
from sync_pipelines.ledger import COUNTS, LedgerFile
from sync_pipelines.settings import load_settings

LOADED: Final = 0
WITH_REJECTS: Final = 3
WITH_FAILED: Final = 4


@dataclass(frozen=True)
class Selection:
    """What to sync; None means everything."""

    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None
    first: date | None = None
    last: date | None = None

    @property
    def dates(self) -> tuple[date, date] | None:
        """The days asked for, or None for all."""
        return None if self.first is None and self.last is None else (self.first or date.min, self.last or date.max)


def run(selection: Selection, *, as_json: bool) -> int:
    """Syncs, prints the answer and returns the exit status."""
    with working("looking for exports ..."):
        workspace = sync.open_workspace(load_settings())
        found = sync.discover(workspace, selection.partner, selection.stream, selection.tenant, selection.dates)
    handled = [entry.id for entry in found.failed]
    if found.pending:
        handled += _run(workspace, found.pending, selection.tenant)
    with workspace.database.connect() as connection:
        entries = [e for e in ledger.of_ids(connection, handled) if e.status != "pending"]
    print(json_of(answer(entries))) if as_json else _print(entries, selection)
    return exit_status(entries)


def _run(workspace: sync.Workspace, pending: Sequence[LedgerFile], tenant: str | None) -> list[int]:
    with FileProgress(len(pending)) as progress:
        from sync_pipelines.orchestration.runs import run_pending

        run_pending(workspace, pending, progress, tenant)
    return list(dict.fromkeys([*(entry.id for entry in pending), *progress.handled]))


def answer(entries: Sequence[LedgerFile]) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "files": [
            {
                "partner": entry.partner,
                "tenant": entry.tenant,
                "stream": entry.stream,
                "path": entry.path,
                "status": entry.status,
                "effective_at": entry.effective_at.astimezone(UTC),
                **entry.counts,
                "error": entry.error,
            }
            for entry in entries
        ],
        "totals": _totals(entries),
    }


def exit_status(entries: Sequence[LedgerFile]) -> int:
    """0 all loaded, 3 loaded with rejects, 4 a file failed."""
    if any(entry.status == "failed" for entry in entries):
        return WITH_FAILED
    return WITH_REJECTS if any(entry.rejected for entry in entries) else LOADED


def _totals(entries: Sequence[LedgerFile]) -> dict[str, int]:
    return {name: sum(entry.counts[name] for entry in entries) for name in COUNTS}


def _print(entries: Sequence[LedgerFile], selection: Selection) -> None:
    if not entries:
        what = "every export in the landing" if selection == Selection() else "whatever the landing has of these"
        say(f"Nothing to do: {what} is loaded.")
        return
    streams = dict.fromkeys((entry.partner, entry.stream) for entry in entries)
    rows = [
        (f"{partner}/{stream}", *_numbers([e for e in entries if (e.partner, e.stream) == (partner, stream)]))
        for partner, stream in streams
    ]
    if len(rows) > 1:
        rows.append(("total", *_numbers(entries)))
    print_table(("stream", "loaded", "failed", *(name.replace("_", " ") for name in COUNTS)), rows)
    failed = [entry for entry in entries if entry.status == "failed"]
    if failed:
        say("")
        print_table(("failed file", "why"), [(entry.path, entry.error) for entry in failed])
    if any(entry.rejected for entry in entries):
        say("\nRefused records, with position and reason: sync-pipelines rejects list")


def _numbers(entries: Sequence[LedgerFile]) -> list[int]:
    loaded = sum(entry.status == "loaded" for entry in entries)
    return [loaded, len(entries) - loaded, *_totals(entries).values()]
