"""The nightly housekeeping: old runs and ticks of Dagster, and files that are no longer needed.

Dagster has no retention for events. Materializations, and other events with the status of a partition or a check, are
kept for ever, and so are their runs; only the step events of such runs are deleted. All other old runs are deleted.

Belongs here: Dagster's storage, the job and its schedule. Does not belong here: the project's own files
(`sync_pipelines.stages.file_cleanup`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from shutil import rmtree
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.activity import INSTALLATION_TAG
from sync_pipelines.orchestration.check_runs import CHECK_JOB
from sync_pipelines.orchestration.check_steps import check_keys
from sync_pipelines.orchestration.failed_runs import streams_of
from sync_pipelines.orchestration.jobs import EXECUTOR
from sync_pipelines.orchestration.private_dagster import (
    EVENTS,
    FINISHED_STATUSES,
    KEPT_EVENTS,
    TELLING_EVENTS,
    has_sql_storage,
    latest_check_runs,
    purge_ticks,
    storage_connection,
)
from sync_pipelines.orchestration.verify_job import VERIFY
from sync_pipelines.stages.compaction import compact
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.file_cleanup import Removed, changed_at, clear_files

HOUSEKEEPING: Final = "sync_housekeeping"
_RUNS_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Tidied:
    """What a run of the housekeeping removed.

    Attributes:
        counts: stable name -> how many.
        bytes: stable name -> bytes freed in files.
    """

    counts: dict[str, int]
    bytes: dict[str, int]


def tidy(
    workspace: Workspace, instance: dg.DagsterInstance, streams: Iterable[Stream], now: datetime | None = None
) -> Tidied:
    """Runs the whole housekeeping once; returns what it removed."""
    moment = now or datetime.now(UTC)
    settings = workspace.settings
    before = moment - timedelta(days=settings.keep_runs_days)
    chosen = tuple(streams)
    runs, events = _clear_runs(instance, before, chosen, _latest_checks(instance, chosen))
    compacted = compact(workspace)
    files = asdict(clear_files(workspace, moment.timestamp()))
    files["run_logs"] = asdict(_clear_run_logs(settings, instance, before))
    return Tidied(
        counts={
            "runs": runs,
            "events": events,
            "ticks": purge_ticks(instance, moment),
            "merged": compacted.merged,
            **{name: removed["entries"] for name, removed in files.items()},
        },
        bytes={"merged_bytes": compacted.bytes}
        | {f"{name}_bytes": removed["bytes"] for name, removed in files.items()},
    )


def build_housekeeping_job(streams: Iterable[Stream]) -> dg.JobDefinition:
    """Returns the job, which has one step."""
    chosen = tuple(streams)

    @dg.op(name="sync_remove_what_is_old", out=dg.Out(dg.Nothing))
    def tidy_up(context: dg.OpExecutionContext, sync_pipelines_workspace: dg.ResourceParam[Any]) -> None:
        done = tidy(sync_pipelines_workspace, context.instance, chosen)
        context.add_output_metadata({**done.counts, **done.bytes})

    @dg.job(
        name=HOUSEKEEPING,
        executor_def=EXECUTOR,
        description="Removes old runs, ticks, logs and leftover files, but nothing that a later load needs.",
    )
    def housekeeping() -> None:
        tidy_up()

    return housekeeping


def build_housekeeping_schedule() -> dg.ScheduleDefinition:
    """Returns the schedule, on by default: every night, after the nightly syncs."""
    return dg.ScheduleDefinition(
        name=f"{HOUSEKEEPING}_daily",
        job_name=HOUSEKEEPING,
        cron_schedule="30 4 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes old runs, ticks, logs and leftover files at 04:30 UTC.",
    )


def _clear_runs(
    instance: dg.DagsterInstance, before: datetime, streams: Sequence[Stream], spared: frozenset[str]
) -> tuple[int, int]:
    """Deletes old runs of the project without events of assets, and the step events of its other old runs.

    Runs of other projects in the same deployment are left alone.

    Returns:
        How many runs were deleted, and how many events of the other runs.
    """
    runs = events = 0
    if not has_sql_storage(instance):
        return runs, events
    for ids in _old_runs(instance, before, streams):
        kept = _with_asset_events(instance, ids) | (spared & set(ids))
        for run_id in ids:
            if run_id not in kept:
                instance.delete_run(run_id)
                runs += 1
        events += _clear_events(instance, sorted(kept))
    return runs, events


def _old_runs(instance: dg.DagsterInstance, before: datetime, streams: Sequence[Stream]) -> Iterator[list[str]]:
    filters = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=before)
    runs = (record.dagster_run for record in instance.get_run_records(filters))
    found = [run.run_id for run in runs if _is_ours(run, streams)]
    return (found[n : n + _RUNS_AT_ONCE] for n in range(0, len(found), _RUNS_AT_ONCE))


def _is_ours(run: dg.DagsterRun, streams: Sequence[Stream]) -> bool:
    """Whether a run belongs to the project, as every run does that opened the workspace, whatever its job."""
    return (
        INSTALLATION_TAG in run.tags
        or run.job_name in (CHECK_JOB, HOUSEKEEPING, VERIFY)
        or bool(streams_of(run, streams))
    )


def _with_asset_events(instance: dg.DagsterInstance, ids: Sequence[str]) -> set[str]:
    """The runs with an event that an asset's page shows."""
    wanted = EVENTS.c.run_id.in_(ids) & EVENTS.c.dagster_event_type.in_(sorted(TELLING_EVENTS))
    with storage_connection(instance) as connection:
        return {run_id for (run_id,) in connection.execute(sa.select(EVENTS.c.run_id).where(wanted).distinct())}


def _clear_events(instance: dg.DagsterInstance, ids: Sequence[str]) -> int:
    """Deletes the events that only the page of a run shows."""
    needless = EVENTS.c.dagster_event_type.is_(None) | EVENTS.c.dagster_event_type.not_in(sorted(KEPT_EVENTS))
    with storage_connection(instance) as connection:
        return int(connection.execute(EVENTS.delete().where(EVENTS.c.run_id.in_(ids) & needless)).rowcount)


def _latest_checks(instance: dg.DagsterInstance, streams: Iterable[Stream]) -> frozenset[str]:
    """The runs with the latest result of a check."""
    keys = check_keys(streams)
    return latest_check_runs(instance, keys)


def _clear_run_logs(settings: Settings, instance: dg.DagsterInstance, before: datetime) -> Removed:
    """Deletes the output of old runs; each folder has the name of its run."""
    removed = Removed()
    folder = settings.logs / "runs" / "storage"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        run = instance.get_run_by_id(path.name)
        if (run is None or run.is_finished) and changed_at(path) < before.timestamp():
            removed.add(sum(p.stat().st_size for p in path.rglob("*") if p.is_file()))
            rmtree(path, ignore_errors=True)
    return removed
