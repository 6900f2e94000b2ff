"""`sync-pipelines sync`: pulls and loads what is pending, and prints what happened; `--preview`: what would happen.

Belongs here: the answer and the exit status. Does not belong here: loading (`stages.export_stages`), runs
(`orchestration.runs`), previews (`stages.preview`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any, Final

import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.commands.held_files import print_held
from sync_pipelines.commands.misplaced import as_answer, print_misplaced
from sync_pipelines.commands.preview_details import StreamDetails, find_details, print_details
from sync_pipelines.commands.progress import FileProgress, working
from sync_pipelines.commands.screen import json_of, notify, print_table, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, reports
from sync_pipelines.database.ledger import COUNTS, LedgerFile
from sync_pipelines.orchestration.plurals import counted, is_or_are
from sync_pipelines.stages import export_stages, pulls
from sync_pipelines.stages.killed_runs import mark_killed
from sync_pipelines.stages.misplaced import Misplaced, find_misplaced
from sync_pipelines.stages.preview import preview
from sync_pipelines.stages.pulls import Pull

LOADED: Final = 0
WITH_REJECTS: Final = 3
WITH_FAILED: Final = 4
WITH_HELD: Final = 5
_WORST_FIRST: Final = (WITH_FAILED, WITH_HELD, WITH_REJECTS, LOADED)


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


def run(selection: Selection, *, as_json: bool, is_preview: bool = False) -> int:
    """Syncs or previews, prints the answer and returns the exit status."""
    wanted = (selection.partner, selection.stream, selection.tenant, selection.dates)
    with working("looking for exports ..."):
        workspace = export_stages.open_workspace(load_settings())
        mark_killed(workspace)
        found = export_stages.discover(workspace, *wanted)
        misplaced = find_misplaced(workspace.landing, workspace.sources, selection.partner)
    to_pull = pulls.streams_to_pull(workspace.sources, *wanted)
    if is_preview:
        return _preview(workspace, found, to_pull, selection, misplaced, as_json=as_json)
    handled, failed_pulls = [entry.id for entry in found.failed], list[Pull]()
    if found.pending or to_pull or found.gone:
        progress = _run(workspace, found, selection.tenant, to_pull)
        handled += dict.fromkeys([*(entry.id for entry in found.pending), *progress.handled])
        failed_pulls = progress.failed_pulls
    elif workspace.is_new:
        _make_dagsters_tables(workspace)
    with workspace.database.connect() as connection:
        after = ledger.of_ids(connection, handled)
        not_loaded = [] if after else _not_loaded(connection, selection)
    entries = [entry for entry in after if entry.status != "pending"]
    for entry in after:
        if entry.status == "pending":
            notify(f"pending {entry.path}: it changed while it was read; the next sync loads it")
    if not as_json and not entries and not failed_pulls and workspace.landing.reach().is_empty:
        say(f"Nothing to do: the landing {workspace.settings.landing_shown} is empty.")
        return LOADED
    if as_json:
        print(json_of(answer(entries, failed_pulls) | as_answer(misplaced)))
    else:
        _print(entries, failed_pulls, selection, not_loaded)
        print_misplaced(misplaced)
    return exit_status(entries, failed_pulls)


def _preview(
    workspace: export_stages.Workspace,
    found: export_stages.Discovery,
    to_pull: Sequence[Stream],
    selection: Selection,
    misplaced: Sequence[Misplaced],
    *,
    as_json: bool,
) -> int:
    """Loads into a transaction that is rolled back; prints the answer that a sync would print."""
    entries, details, not_loaded = list(found.failed), list[StreamDetails](), list[str]()
    if to_pull:
        notify(f"A preview does not pull: {', '.join(stream.full_name for stream in to_pull)}.")
    if found.pending:
        progress = FileProgress(len(found.pending), is_preview=True)
        with progress, preview(workspace, found.pending, progress.reached) as previewed:
            entries += previewed.entries
            details = [] if as_json else find_details(previewed)
    elif not entries:
        with workspace.connection() as connection:
            not_loaded = _not_loaded(connection, selection)
    if as_json:
        print(json_of(answer(entries) | as_answer(misplaced)))
    else:
        _print(entries, (), selection, not_loaded, is_preview=True)
        print_details(details)
        print_misplaced(misplaced)
        say("")
    (notify if as_json else say)("This was a preview: nothing was loaded.")
    return exit_status(entries)


def _make_dagsters_tables(workspace: export_stages.Workspace) -> None:
    """So that the first export does not wait for them."""
    from sync_pipelines.orchestration.instance import open_instance

    with working("making Dagster's tables ..."), open_instance(workspace.settings):
        pass


def _run(
    workspace: export_stages.Workspace, found: export_stages.Discovery, tenant: str | None, to_pull: Sequence[Stream]
) -> FileProgress:
    from sync_pipelines.orchestration.runs import run_pending

    with FileProgress(len(found.pending)) as progress, workspace.keeping_connections() as keeping:
        run_pending(keeping, found.pending, progress, tenant, to_pull, found.gone)
    return progress


def answer(entries: Sequence[LedgerFile], failed_pulls: Sequence[Pull] = ()) -> dict[str, Any]:
    """Returns what `--json` prints. A failed pull is listed as the file that it would have written."""
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
                **({"held": entry.held} if entry.status == "held" else {}),
            }
            for entry in entries
        ]
        + [
            {
                "partner": pull.partner,
                "tenant": pull.tenant,
                "stream": pull.stream,
                "path": pull.path,
                "status": "failed",
                "effective_at": pull.at.replace(microsecond=0),
                **dict.fromkeys(COUNTS, 0),
                "error": pull.error,
            }
            for pull in failed_pulls
        ],
        "totals": _totals(entries),
    }


def print_answer(entries: Sequence[LedgerFile], *, as_json: bool) -> None:
    """Prints the answer of a sync of some exports."""
    if as_json:
        print(json_of(answer(entries)))
    else:
        _print(entries, (), Selection())


def exit_status(entries: Sequence[LedgerFile], failed_pulls: Sequence[Pull] = ()) -> int:
    """0 all loaded, 3 loaded with rejects, 5 a guard holds a file, 4 a file or a pull failed."""
    if failed_pulls or any(entry.status == "failed" for entry in entries):
        return WITH_FAILED
    if any(entry.status == "held" for entry in entries):
        return WITH_HELD
    return WITH_REJECTS if any(entry.rejected for entry in entries) else LOADED


def worst(statuses: Iterable[int]) -> int:
    """Returns the exit status of several syncs."""
    return min(statuses, key=_WORST_FIRST.index, default=LOADED)


def _totals(entries: Sequence[LedgerFile]) -> dict[str, int]:
    return {name: sum(entry.counts[name] for entry in entries) for name in COUNTS}


def _not_loaded(connection: psycopg.Connection[Any], selection: Selection) -> list[str]:
    """Returns which of these exports a sync leaves alone, such as `2 exports are held`."""
    wanted = (selection.partner, selection.stream, selection.tenant, selection.dates)
    counts = reports.held_and_withdrawn(connection, *wanted)
    return [f"{counted(number, 'export')} {is_or_are(number)} {status}" for status, number in counts.items()]


def _print(
    entries: Sequence[LedgerFile],
    failed_pulls: Sequence[Pull],
    selection: Selection,
    not_loaded: Sequence[str] = (),
    *,
    is_preview: bool = False,
) -> None:
    if not entries and not failed_pulls:
        everything, of_these = "every export in the landing", "whatever the landing has of these"
        if not_loaded:
            everything, of_these = "every other export in the landing", "whatever else the landing has of these"
        loaded = f"{everything if selection == Selection() else of_these} is loaded"
        say(f"Nothing to do: {', '.join([*not_loaded, f'and {loaded}' if not_loaded else loaded])}.")
        return
    held = [entry for entry in entries if entry.status == "held"]
    rows = list(_rows(entries, failed_pulls, with_held=bool(held)))
    if len(rows) > 1:
        rows.append(("total", *_numbers(entries, failed_pulls, with_held=bool(held))))
    statuses = ("loaded", "failed", *(("held",) if held else ()))
    print_table(("stream", *statuses, *(name.replace("_", " ") for name in COUNTS)), rows)
    print_held(held, is_preview=is_preview)
    failed = [(entry.path, entry.error) for entry in entries if entry.status == "failed"]
    failed += [(pull.path, pull.error) for pull in failed_pulls]
    if failed:
        say("")
        print_table(("failed file", "why"), failed)
    if any(entry.rejected for entry in entries) and not is_preview:
        say("", f"Rejected records, with position and reason: {typed('rejects list')}")


def _rows(entries: Sequence[LedgerFile], failed_pulls: Sequence[Pull], *, with_held: bool) -> Iterator[tuple[Any, ...]]:
    """A line of numbers for each stream."""
    streams = [(e.partner, e.stream) for e in entries] + [(p.partner, p.stream) for p in failed_pulls]
    for partner, stream in dict.fromkeys(streams):
        yield (
            f"{partner}/{stream}",
            *_numbers(
                [entry for entry in entries if (entry.partner, entry.stream) == (partner, stream)],
                [pull for pull in failed_pulls if (pull.partner, pull.stream) == (partner, stream)],
                with_held=with_held,
            ),
        )


def _numbers(entries: Sequence[LedgerFile], failed_pulls: Sequence[Pull], *, with_held: bool) -> list[int]:
    loaded, held = (sum(entry.status == status for entry in entries) for status in ("loaded", "held"))
    failed = len(entries) - loaded - held + len(failed_pulls)
    return [loaded, failed, *([held] if with_held else ()), *_totals(entries).values()]
