"""Three assets for each stream, for the days of a run: exports -> records -> rows.

One step materializes all three, or those selected, so that each export is archived, read and loaded in one pass.

A failed file is recorded in the ledger and never stops the others. The first two assets are materialized anyway. The
rows are materialized for the days without a failure, each with its own metadata. Then the step fails and names the
failed days, so that only those are re-executed. Their metadata is logged as an observation.

A preview archives and normalizes, and keeps that. It loads into a transaction that is rolled back, and observes the
table's days instead of materializing them.

If today is among the days and a source has `pull`, the step pulls first. A failed pull leaves today's exports
unmaterialized, and fails the step after everything else is loaded.

Belongs here: the results of a run's days. Does not belong here: which files it loads (`days`), the stages of a file
(`stages.export_stages`), texts of metadata (`metadata`, `descriptions`).
"""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import dagster as dg
import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.reports import RowCounts
from sync_pipelines.orchestration import descriptions, metadata
from sync_pipelines.orchestration.dagster_names import CODE_LOCATION, STAGES, Stage, asset_key, stream_name
from sync_pipelines.orchestration.days import DaysRun, Moved
from sync_pipelines.orchestration.explain_job import launchpad_path
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.partitions import PARTITIONS_PER_RUN
from sync_pipelines.orchestration.run_config import SyncConfig, config_of_run
from sync_pipelines.orchestration.table_assets import count_tables, report_tables, written_tables
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages import display_rows, preview
from sync_pipelines.stages.pulls import Pull
from sync_pipelines.stages.replay import ReplayedExport, read_again
from sync_pipelines.stages.workspace import Workspace

ROWS_SHOWN = 5
DIFFERENCES_SHOWN = 20

DayMetadata = dict[date, dict[str, Any]]


class ExportsFailed(dg.Failure):
    """Files of some days failed, or a pull of today's listing did; everything else is materialized."""


@dataclass
class _Days:
    """The results of an asset's days.

    Attributes:
        good: metadata of the days to materialize.
        observed: metadata of days to observe only.
        failure: why the asset fails, after its good days are materialized.
        tables: rows of the tables that the run wrote, by table and partner.
    """

    good: DayMetadata
    observed: DayMetadata = field(default_factory=dict)
    failure: ExportsFailed | None = None
    tables: Mapping[str, Mapping[str, RowCounts]] = field(default_factory=dict)


def build_assets(
    stream: Stream, partitions: dg.PartitionsDefinition[str], owners: Sequence[str] = ()
) -> dg.AssetsDefinition:
    """Returns the three assets of a stream."""

    def compute(
        context: dg.AssetExecutionContext,
        config: SyncConfig,
        sync_pipelines_workspace: dg.ResourceParam[Any],
        sync_pipelines_observer: dg.ResourceParam[Any],
    ) -> Iterator[dg.MaterializeResult[None]]:
        workspace: Workspace = sync_pipelines_workspace

        def work() -> dict[Stage, _Days]:
            effective = config_of_run(
                stream, config, workspace, [date.fromisoformat(key) for key in context.partition_keys]
            )
            return _sync(DaysRun(context, stream, effective, workspace, sync_pipelines_observer))

        yield from _materialized(
            context, stream, through_outages(context.instance, context.run, workspace.database, work)
        )

    with warnings.catch_warnings():
        # Backfill policies and code references are beta, so Dagster warns at every import.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.multi_asset(
            name=stream_name(stream),
            specs=[_spec(stage, stream, owners) for stage in STAGES],
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=PARTITIONS_PER_RUN),
            pool=stream_name(stream),
            can_subset=True,
        )(compute)


def _spec(stage: Stage, stream: Stream, owners: Sequence[str]) -> dg.AssetSpec:
    before: dict[Stage, list[dg.AssetKey]] = {
        "exports": [],
        "records": [asset_key("exports", stream)],
        "rows": [asset_key("records", stream)],
    }
    return dg.AssetSpec(
        asset_key(stage, stream),
        deps=before[stage],
        group_name=stream.partner,
        owners=owners,
        description=descriptions.asset_description(stage, stream),
        metadata={
            "dagster/code_references": descriptions.code_references(stream),
            **(metadata.table_definition(stream) if stage == "rows" else {}),
        },
        kinds=descriptions.KINDS[stage],
        code_version=descriptions.code_version(stream),
        # A preview of the table materializes nothing.
        skippable=True,
    )


def _materialized(
    context: dg.AssetExecutionContext, stream: Stream, days: Mapping[Stage, _Days]
) -> Iterator[dg.MaterializeResult[None]]:
    """Materializes good days and observes others, then fails where an asset does."""
    failures = []
    for stage, one in days.items():
        key = asset_key(stage, stream)
        for day, values in one.observed.items():
            context.log_event(dg.AssetObservation(key, partition=day.isoformat(), metadata=values))
        report_tables(context, one.tables)
        if one.failure is not None:
            # Dagster materializes all days of a run or none. Only events that were logged before the failure remain.
            for day, values in one.good.items():
                context.log_event(dg.AssetMaterialization(key, partition=day.isoformat(), metadata=values))
            failures.append(one.failure)
        elif one.good:
            for day, values in one.good.items():
                context.add_asset_metadata(values, asset_key=key, partition_key=day.isoformat())
            # By its code version alone, Dagster would take every materialization for the same data.
            yield dg.MaterializeResult(asset_key=key, data_version=dg.DataVersion(context.run.run_id))
    if failures:
        raise _all_of(failures)


def _sync(run: DaysRun) -> dict[Stage, _Days]:
    """Takes the files of a run's days through the stages that are selected."""
    today = datetime.now(UTC).date()
    pulled = run.pull(today)
    days: dict[Stage, _Days] = {}
    if "rows" not in run.stages:
        moved = run.move(run.pending(whole={p.path for p in pulled}))
    elif run.config.preview:
        moved, days["rows"] = _preview(run)
    else:
        loaded_before = run.loaded_before() if run.config.reread else []
        moved = run.move(run.pending(whole={p.path for p in pulled}))
        days["rows"] = _loaded(run, moved, _read_again(run, loaded_before))
    by_day = run.by_day(instead=_not_loaded(moved) if run.config.preview else ())
    if "exports" in run.stages:
        days["exports"] = _arrived(by_day, moved, pulled, today)
    if "records" in run.stages:
        days["records"] = _Days(
            {day: metadata.normalized(entries, moved.seconds.get(day, 0.0)) for day, entries in by_day.items()}
        )
    return {stage: days[stage] for stage in STAGES if stage in days}


def _arrived(by_day: Mapping[date, Sequence[LedgerFile]], moved: Moved, pulled: Sequence[Pull], today: date) -> _Days:
    details = {day: metadata.arrived(entries, moved.seconds.get(day, 0.0)) for day, entries in by_day.items()}
    if pulled:
        details[today]["pulled"] = metadata.pulled(pulled)
    if not (failed := [pull for pull in pulled if pull.error]):
        return _Days(details)
    return _Days(
        {day: values for day, values in details.items() if day != today}, failure=_pull_failure(failed, pulled)
    )


def _loaded(run: DaysRun, moved: Moved, replayed: Mapping[date, Sequence[ReplayedExport]]) -> _Days:
    # The server counts a large table for as long as the rest takes.
    with ThreadPoolExecutor(1) as beside, run.workspace.connection() as connection:
        counting = beside.submit(count_tables, run.workspace, _written(run, moved, replayed))
        by_day = run.by_day(connection)
        launchpad = launchpad_path(run.context.run, CODE_LOCATION)
        details = _load_metadata(run, connection, by_day, moved.seconds, launchpad)
        counts = counting.result()
        mine = counts[run.stream.table].get(run.stream.partner)
        details[run.days[-1]]["dagster/row_count"] = mine.live if mine else 0
    tables = counts if _is_written(moved, replayed) else {}
    for day, exports in replayed.items():
        details[day] |= metadata.read_again(exports)
    failed = {day: bad for day, entries in by_day.items() if (bad := run.failed(entries) + _unreadable(replayed, day))}
    if not failed:
        return _Days(details, tables=tables)
    good = {day: values for day, values in details.items() if day not in failed}
    return _Days(good, {day: details[day] for day in failed}, _failure(failed, len(by_day)), tables)


def _written(run: DaysRun, moved: Moved, replayed: Mapping[date, Sequence[ReplayedExport]]) -> list[str]:
    """The tables to count: the stream's own, and others where the run may have written them."""
    return written_tables(run.stream) if _is_written(moved, replayed) else [run.stream.table]


def _is_written(moved: Moved, replayed: Mapping[date, Sequence[ReplayedExport]]) -> bool:
    return bool(replayed) or any(entry.status == "loaded" for entry in moved.entries)


def _load_metadata(
    run: DaysRun,
    connection: psycopg.Connection[Any],
    by_day: Mapping[date, Sequence[LedgerFile]],
    seconds: Mapping[date, float],
    launchpad: str = "",
) -> DayMetadata:
    """Returns the metadata of each day, as a connection sees it."""
    rejects = reports.reject_summary(connection, run.stream.partner, run.stream.name, run.days)
    rows = partial(display_rows.last_written, run.workspace, connection, run.stream, limit=ROWS_SHOWN)
    return {
        day: metadata.loaded(run.stream, entries, rejects.get(day, []), seconds.get(day, 0.0), rows(entries), launchpad)
        for day, entries in by_day.items()
    }


def _preview(run: DaysRun) -> tuple[Moved, _Days]:
    """Observes what a load would do; the asset keeps its materializations."""
    moved, clock = Moved(), _Clock()

    def reached(stage: str, entry: LedgerFile) -> None:
        run.observer.reached(stage, entry)
        if stage == "rows":
            moved.add(entry, clock.lap())

    with preview.preview(run.workspace, run.to_preview(), reached) as previewed:
        details = _load_metadata(
            run, previewed.connection, run.by_day(previewed.connection, instead=_not_loaded(moved)), moved.seconds
        )
        days = {entry.path: entry.partition_date for entry in moved.entries}
        differences: dict[date, list[display_rows.Difference]] = {}
        for difference in previewed.differences(run.stream, DIFFERENCES_SHOWN):
            # A late file changes rows whose last writer was loaded before it.
            day = days.get(difference.path, max(days.values(), default=run.days[-1]))
            differences.setdefault(day, []).append(difference)
    run.context.log.info(
        f"Preview: nothing was loaded, and no day of {asset_key('rows', run.stream).to_user_string()} was materialized."
        f" Files that would load: {len(moved.entries) - len(_not_loaded(moved))}. Files that would fail:"
        f" {len(moved.failed)}. Files that a guard would hold: {len(moved.held)}."
        " The observations of each day show what would change."
    )
    observed = {
        day: metadata.previewed(run.stream, values, differences.get(day, [])[:DIFFERENCES_SHOWN])
        for day, values in details.items()
    }
    return moved, _Days({}, observed)


def _not_loaded(moved: Moved) -> list[LedgerFile]:
    """The files whose end in a preview is not in the ledger: those that would fail or be held."""
    return [*moved.failed, *moved.held]


class _Clock:
    """Measures the seconds between calls of `lap`."""

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


def _unreadable(replayed: Mapping[date, Sequence[ReplayedExport]], day: date) -> list[LedgerFile]:
    """The files of a day that could not be read again; they stay as they were."""
    return [replace(export.entry, error=str(export.error)) for export in replayed.get(day, ()) if export.error]


def _failure(failed: Mapping[date, Sequence[LedgerFile]], days: int) -> ExportsFailed:
    entries = [entry for day in sorted(failed) for entry in failed[day]]
    names = ", ".join(day.isoformat() for day in sorted(failed)[:10]) + (", ..." if len(failed) > 10 else "")
    first = on_one_line(f"{entries[0].path}: {entries[0].error}")
    return ExportsFailed(
        f"Exports failed on {len(failed)} of {days} days ({names}). The first: {first}",
        metadata={"failed_files": metadata.failed_files(entries)},
        allow_retries=False,
    )


def _pull_failure(failed: Sequence[Pull], pulled: Sequence[Pull]) -> ExportsFailed:
    first = on_one_line(f"{failed[0].tenant}: {failed[0].error}")
    return ExportsFailed(
        f"{len(failed)} of {len(pulled)} pulls failed. The first: {first}."
        " To pull again, materialize today's partition again. Files in the landing are loaded.",
        metadata={"pulled": metadata.pulled(pulled)},
        allow_retries=False,
    )


def _all_of(failures: Sequence[ExportsFailed]) -> ExportsFailed:
    """Returns one failure with the texts and metadata of several."""
    if len(failures) == 1:
        return failures[0]
    details = {name: value for failure in failures for name, value in failure.metadata.items()}
    text = " ".join(failure.description or "" for failure in failures)
    return ExportsFailed(text, metadata=details, allow_retries=False)
