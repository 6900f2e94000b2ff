"""Three assets a stream, for the days of a run: exports -> normalized -> table.

A file that fails is written to the ledger and never stops the first two. The table's asset materializes the good
days with their own metadata and then fails, naming the others, so that they re-execute alone; what is known of those
is logged as an observation.

A preview archives and normalizes, which stays, and loads into a transaction that is rolled back: it observes the
table's days and materializes none.

Where today is among the days and a source says so, the exports' asset pulls first. A pull that fails fails that asset
once everything else is archived; whoever runs next takes that on.

Belongs here: what becomes of a run's days. Does not belong here: which files it takes (`days`), a file's way
(`stages.export_stages`), words of metadata (`metadata`, `descriptions`).
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import dagster as dg
import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration import descriptions, metadata
from sync_pipelines.orchestration.dagster_names import Stage, asset_key, stream_name
from sync_pipelines.orchestration.days import DaysRun, Move, Moved
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.partitions import PARTITIONS_PER_RUN
from sync_pipelines.orchestration.private_dagster import NOTHING
from sync_pipelines.orchestration.run_config import SyncConfig, config_of_run
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages import display_rows, export_stages, preview
from sync_pipelines.stages.pulls import Pull
from sync_pipelines.stages.replay import ReplayedExport, read_again

ROWS_SHOWN = 5
DIFFERENCES_SHOWN = 20

Told = dict[date, dict[str, Any]]


class ExportsFailed(dg.Failure):
    """Some days have files that failed; the others are materialized."""


class PullsFailed(ExportsFailed):
    """Today's listing could not be pulled; what the landing has is archived."""


def build_assets(stream: Stream, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The three assets of a stream."""
    return [
        _asset(stream, "exports", partitions, _pull_and_archive),
        _asset(stream, "normalized", partitions, _normalize),
        _asset(stream, "table", partitions, _load),
    ]


def _pull_and_archive(run: DaysRun) -> bool:
    today = datetime.now(UTC).date()
    pulled = run.pull(today)
    entries = run.to_archive(run.discover().pending, {p.path for p in pulled})
    moved = run.move("exports", entries, _step(run, export_stages.archive_export, normalizes=False))
    told = {
        day: metadata.arrived(entries, moved.seconds.get(day, 0.0)) for day, entries in _days_after(run, moved).items()
    }
    if pulled:
        told[today]["pulled"] = metadata.pulled(pulled)
    if failed := [p for p in pulled if p.error]:
        _materialize_good_days(run.context, {day: told[day] for day in told if day != today})
        raise _pull_failure(failed, pulled)
    return _materialize(run, told)


def _normalize(run: DaysRun) -> bool:
    # Files that may end the process go through the last two stages one by one, in the table's asset.
    entries = [] if run.config.killers == "only" else run.archived()
    moved = run.move("normalized", entries, _step(run, export_stages.normalize_export, normalizes=True))
    return _materialize(
        run,
        {
            day: metadata.normalized(entries, moved.seconds.get(day, 0.0))
            for day, entries in _days_after(run, moved).items()
        },
    )


def _step(run: DaysRun, step: Move, *, normalizes: bool) -> Move:
    """A stage that notes faults in the ledger; of a preview one that does not."""
    if not run.config.preview:
        return step
    return lambda workspace, file_id, _run_id: preview.prepare(workspace, file_id, normalizes=normalizes)


def _days_after(run: DaysRun, moved: Moved) -> dict[date, list[LedgerFile]]:
    return run.by_day(instead=moved.failed if run.config.preview else ())


def _load(run: DaysRun) -> bool:
    if run.config.preview:
        return _preview(run)
    loaded_before = run.loaded_before() if run.config.reread else []
    moved = run.move("table", run.archived(), export_stages.load_export)
    replayed = _read_again(run, loaded_before)
    # The server counts a large table for as long as the rest takes.
    with ThreadPoolExecutor(1) as beside, run.workspace.connection() as connection:
        rows = beside.submit(_live_rows, run)
        by_day = run.by_day(connection)
        told = _stories(run, connection, by_day, moved.seconds)
        told[run.days[-1]]["dagster/row_count"] = rows.result()
    for day, exports in replayed.items():
        told[day] |= metadata.read_again(exports)
    failed = {day: bad for day, entries in by_day.items() if (bad := run.failed(entries) + _faults(replayed, day))}
    if failed:
        _materialize_good_days(run.context, {day: told[day] for day in told if day not in failed})
        _observe(run.context, {day: told[day] for day in failed})
        raise _failure(failed, len(by_day))
    return _materialize(run, told)


def _live_rows(run: DaysRun) -> int:
    with run.workspace.connection() as connection:
        return reports.live_rows(connection, run.stream)


def _stories(
    run: DaysRun,
    connection: psycopg.Connection[Any],
    by_day: Mapping[date, Sequence[LedgerFile]],
    seconds: Mapping[date, float],
) -> Told:
    """What is told of each day, as a connection sees it."""
    rejects = reports.reject_summary(connection, run.stream.partner, run.stream.name, run.days)
    rows = partial(display_rows.last_written, run.workspace, connection, run.stream, limit=ROWS_SHOWN)
    return {
        day: metadata.loaded(run.stream, entries, rejects.get(day, []), seconds.get(day, 0.0), rows(entries))
        for day, entries in by_day.items()
    }


def _preview(run: DaysRun) -> bool:
    """Observes what loading would come to; the asset stays as it is materialized."""
    moved, clock = Moved(), _Clock()

    def reached(stage: str, entry: LedgerFile) -> None:
        spent = clock.lap()
        if stage == "table":
            run.observer.reached(stage, entry)
            moved.add(entry, spent)

    with preview.preview(run.workspace, run.to_preview(), reached) as previewed:
        told = _stories(
            run, previewed.connection, run.by_day(previewed.connection, instead=moved.failed), moved.seconds
        )
        days = {entry.path: entry.partition_date for entry in moved.entries}
        differences: dict[date, list[display_rows.Difference]] = {}
        for difference in previewed.differences(run.stream, DIFFERENCES_SHOWN):
            # A late file changes rows of which a file loaded before has the last word.
            day = days.get(difference.path, max(days.values(), default=run.days[-1]))
            differences.setdefault(day, []).append(difference)
    _observe(
        run.context,
        {
            day: metadata.previewed(run.stream, values, differences.get(day, [])[:DIFFERENCES_SHOWN])
            for day, values in told.items()
        },
    )
    run.context.log.info(
        f"Preview: nothing was loaded, and no day of {run.context.asset_key.to_user_string()} is materialized."
        f" {len(moved.entries) - len(moved.failed)} files would be loaded, {len(moved.failed)} would fail."
        " The observations of the days tell what would change."
    )
    return False


class _Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def lap(self) -> float:
        before, self._since = self._since, time.monotonic()
        return self._since - before


def _read_again(run: DaysRun, entries: Iterable[LedgerFile]) -> dict[date, list[ReplayedExport]]:
    found: dict[date, list[ReplayedExport]] = {}
    for entry in entries:
        export = read_again(run.workspace, entry, run.context.run.run_id, whole=True)
        found.setdefault(entry.partition_date, []).append(export)
    return found


def _faults(replayed: Mapping[date, Sequence[ReplayedExport]], day: date) -> list[LedgerFile]:
    """The files of a day that could not be read again; they stay as they were."""
    return [replace(export.entry, error=str(export.error)) for export in replayed.get(day, ()) if export.error]


def _materialize(run: DaysRun, told: Mapping[date, Mapping[str, Any]]) -> bool:
    for day, values in told.items():
        run.context.add_asset_metadata(values, partition_key=day.isoformat())
    return True


def _observe(context: dg.AssetExecutionContext, told: Mapping[date, Mapping[str, Any]]) -> None:
    for day, values in told.items():
        context.log_event(dg.AssetObservation(context.asset_key, partition=day.isoformat(), metadata=values))


def _materialize_good_days(context: dg.AssetExecutionContext, told: Mapping[date, Mapping[str, Any]]) -> None:
    """Marks days of a run that is about to fail; only events logged before the failure stay."""
    for day, values in told.items():
        context.log_event(dg.AssetMaterialization(context.asset_key, partition=day.isoformat(), metadata=values))


def _failure(failed: Mapping[date, Sequence[LedgerFile]], days: int) -> ExportsFailed:
    entries = [entry for day in sorted(failed) for entry in failed[day]]
    names = ", ".join(day.isoformat() for day in sorted(failed)[:10]) + (", ..." if len(failed) > 10 else "")
    first = on_one_line(f"{entries[0].path}: {entries[0].error}")
    return ExportsFailed(
        f"{len(failed)} of {days} days have exports that failed ({names}); the first: {first}",
        metadata={"failed_files": metadata.failed_files(entries)},
        allow_retries=False,
    )


def _pull_failure(failed: Sequence[Pull], pulled: Sequence[Pull]) -> PullsFailed:
    first = on_one_line(f"{failed[0].tenant}: {failed[0].error}")
    return PullsFailed(
        f"{len(failed)} of {len(pulled)} pulls failed; the first: {first}. "
        "Materialize this partition again today to pull again; what the landing has is loaded by the next run.",
        metadata={"pulled": metadata.pulled(pulled)},
        allow_retries=False,
    )


def _asset(
    stream: Stream, stage: Stage, partitions: dg.PartitionsDefinition[str], body: Callable[[DaysRun], bool]
) -> dg.AssetsDefinition:
    before: dict[Stage, list[dg.AssetKey]] = {
        "exports": [],
        "normalized": [asset_key("exports", stream)],
        "table": [asset_key("normalized", stream)],
    }

    def compute(
        context: dg.AssetExecutionContext,
        config: SyncConfig,
        workspace: dg.ResourceParam[Any],
        observer: dg.ResourceParam[Any],
    ) -> Iterator[dg.Output[None]]:
        def work() -> bool:
            effective = config_of_run(context, stream, config, workspace)
            return body(DaysRun(context, stream, effective, workspace, observer))

        if through_outages(context.instance, context.run, workspace.database, work):
            yield dg.Output(None)

    with warnings.catch_warnings():
        # Backfill policies and code references are called beta and warn at every import.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(
            key=asset_key(stage, stream),
            deps=before[stage],
            group_name=stream.partner,
            owners=descriptions.OWNERS,
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=PARTITIONS_PER_RUN),
            pool=stream_name(stream),
            description=descriptions.asset_description(stage, stream),
            metadata={
                "dagster/code_references": descriptions.code_references(stream),
                **(metadata.table_definition(stream) if stage == "table" else {}),
            },
            kinds=descriptions.KINDS[stage],
            dagster_type=NOTHING,
            # A preview of the table materializes nothing.
            output_required=stage != "table",
        )(compute)
