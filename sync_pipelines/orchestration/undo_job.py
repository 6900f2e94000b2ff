"""The job `undo_export`: takes loaded exports back, or loads withdrawn ones again.

Its run observes the day of each export and reports the tables it changed. Bad input fails the run with one sentence;
it changes nothing and is not retried.

Belongs here: the job, its configuration and what the UI shows of it. Does not belong here: what an undo changes
(`stages.withdrawal`).
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

import dagster as dg
from pydantic import Field

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import SyncError
from sync_pipelines.orchestration import metadata
from sync_pipelines.orchestration.dagster_names import asset_key
from sync_pipelines.orchestration.jobs import EXECUTOR
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.table_assets import count_tables, report_tables, written_tables
from sync_pipelines.privacy.untrusted_text import on_one_line, storable
from sync_pipelines.stages.archived import stream_of
from sync_pipelines.stages.display_rows import TableChanges
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.withdrawal import Decided, Undone, redo, undo

UNDO: Final = "undo_export"
_ROWS_SHOWN: Final = 20
"""Changed rows of each table in an observation."""


class UndoConfig(dg.Config):
    """Which exports to take back."""

    paths: list[str] = Field(
        description="Paths of the exports in the landing, such as replenit/<tenant>/orders/2024-03-02.json. All of them"
        " are taken back together."
    )
    reason: str = Field(default="", description="Why. An undo needs a reason; the ledger keeps it.")
    preview: bool = Field(default=False, description="Change nothing, and show which rows would go or change.")
    redo: bool = Field(default=False, description="Load exports again that an undo took back.")


class UndoFailed(dg.Failure):
    """An undo or redo was not possible, or an export of a redo failed."""


def build_undo_job(streams: Iterable[Stream]) -> dg.JobDefinition:
    """Returns the job, which has one step."""
    known = {(stream.partner, stream.name) for stream in streams}

    @dg.op(name="sync_undo_or_redo", out=dg.Out(dg.Nothing))
    def undo_or_redo(
        context: dg.OpExecutionContext, config: UndoConfig, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> None:
        try:
            _Run(context, config, sync_pipelines_workspace, known).run()
        except SyncError as error:
            raise UndoFailed(on_one_line(str(error)), allow_retries=False) from None

    @dg.job(
        name=UNDO,
        executor_def=EXECUTOR,
        description="Takes loaded exports back, as if they had never been loaded; with `redo`, loads them again."
        " `preview` shows what would change.",
    )
    def undo_export() -> None:
        undo_or_redo()

    return undo_export


class _Run:
    """One run of the job."""

    def __init__(
        self, context: dg.OpExecutionContext, config: UndoConfig, workspace: Workspace, streams: set[tuple[str, str]]
    ) -> None:
        self._context = context
        self._config = config
        self._workspace = workspace
        self._streams = streams
        self._decided = Decided(config.reason.strip(), f"run {context.run_id}", context.run_id)

    def run(self) -> None:
        """Does what the configuration says.

        Raises:
            SyncError: it is not possible; nothing has changed.
        """
        self._check()
        ids = [self._found(path).id for path in dict.fromkeys(self._config.paths)]
        if self._config.redo:
            self._redo(ids)
            return
        done = undo(self._workspace, ids, self._decided, is_preview=self._config.preview)
        self._observe(done.entries, _undone(done))
        if self._config.preview:
            self._context.log.info("Preview: nothing was changed. The observation of each day shows what would change.")
            return
        self._report(done.entries, {table.table for table in done.tables})

    def _redo(self, ids: Sequence[int]) -> None:
        entries = redo(self._workspace, ids, self._decided)
        self._observe(entries, {})
        self._report(entries, set())
        failed = [entry for entry in entries if entry.status != "loaded"]
        if failed:
            first = on_one_line(f"{failed[0].path}: {failed[0].error}")
            raise UndoFailed(
                f"{len(failed)} of {len(entries)} exports were not loaded. The first: {first}",
                metadata={"failed_files": metadata.failed_files(failed)},
                allow_retries=False,
            )

    def _check(self) -> None:
        config = self._config
        if not config.paths:
            raise SyncError("setting_invalid", "name the exports: paths is empty")
        if config.redo and config.preview:
            raise SyncError("setting_invalid", "preview and redo contradict each other: set one of them to false")
        if not (config.preview or config.redo or config.reason.strip()):
            raise SyncError("setting_invalid", "an undo needs a reason")

    def _found(self, path: str) -> LedgerFile:
        """Returns the latest revision of a path."""
        with self._workspace.connection() as connection:
            revisions = ledger.revisions_of(connection, storable(path))
            if revisions:
                return revisions[-1]
            near = reports.nearest_paths(connection, storable(path))
        hint = f"did you mean {', '.join(near)}?" if near else "the page of a day lists the paths of its exports"
        raise SyncError("export_unknown", f"unknown export {path!r}", hint)

    def _observe(self, entries: Sequence[LedgerFile], changes: dict[str, Any]) -> None:
        """Observes the days of the exports, with the numbers of each day as they are now."""
        days = {(stream_of(entry).full_name, entry.partition_date): entry for entry in entries}
        for (_, day), entry in sorted(days.items(), key=lambda item: item[0]):
            stream = stream_of(entry)
            if (stream.partner, stream.name) not in self._streams:
                continue
            mine = [e for e in entries if (e.partner, e.stream, e.partition_date) == (stream.partner, stream.name, day)]
            values = {**self._day(stream, day), **changes}
            summary = f"{self._sentence(mine)} {'' if self._config.preview else values['summary'].value}".strip()
            values["summary"] = dg.MetadataValue.text(summary)
            self._context.log_event(
                dg.AssetObservation(asset_key("rows", stream), partition=day.isoformat(), metadata=values)
            )

    def _day(self, stream: Stream, day: date) -> dict[str, Any]:
        with self._workspace.connection() as connection:
            of_day = ledger.of_dates(connection, stream.partner, stream.name, [day])
            rejects = reports.reject_summary(connection, stream.partner, stream.name, [day])
        return metadata.loaded(stream, of_day, rejects.get(day, []), 0.0)

    def _sentence(self, entries: Sequence[LedgerFile]) -> str:
        """Returns what was done to exports, by whom and why, in a sentence."""
        paths = ", ".join(on_one_line(entry.path) for entry in entries)
        if self._config.preview:
            return f"Preview: nothing was changed. An undo would withdraw {paths}."
        verb = "Loaded again" if self._config.redo else "Withdrawn"
        reason = f": {on_one_line(self._decided.reason)}" if self._decided.reason else ""
        return f"{verb} by {self._decided.decided_by}{reason}. {paths}."

    def _report(self, entries: Sequence[LedgerFile], tables: set[str]) -> None:
        """Reports the tables' rows."""
        written = {table for entry in entries for table in written_tables(stream_of(entry))} | tables
        report_tables(self._context, count_tables(self._workspace, sorted(written)))


def _undone(done: Undone) -> dict[str, Any]:
    """Returns the metadata of an undo: rows by table, some differences, rejects."""
    rows = [
        {
            "table": table.table,
            "removed": table.removed,
            "to placeholders": table.emptied,
            "changed": table.changed,
            "created": table.created,
        }
        for table in done.tables
    ]
    return {
        "tables": table_of(rows),
        "differences": _differences(done.tables),
        "rejects_withdrawn": done.rejects,
        "rejects_reopened": done.reopened,
    }


def _differences(tables: Iterable[TableChanges]) -> dg.TableMetadataValue:
    return table_of(
        [
            {"table": table.table, **row}
            for table in tables
            for stream, one in table.differences[:_ROWS_SHOWN]
            for row in metadata.difference_rows(stream, one)
        ]
    )
