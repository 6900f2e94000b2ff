"""Runs of checks alone: every night, and after a run whose checks Dagster skipped because its assets failed.

Belongs here: when checks run without a load. Does not belong here: the checks (`checks`).
"""

from collections.abc import Iterable
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.check_steps import check_keys
from sync_pipelines.orchestration.failed_runs import streams_of
from sync_pipelines.orchestration.jobs import EXECUTOR

CHECK_JOB: Final = "sync_check_tables"
SECONDS_BETWEEN_TICKS: Final = 15


def build_check_job(streams: Iterable[Stream]) -> Any:
    """Returns the job that runs every check of some streams, and no other check of the same deployment."""
    return dg.define_asset_job(
        CHECK_JOB,
        selection=dg.AssetSelection.checks(*check_keys(streams)),
        executor_def=EXECUTOR,
        description="Runs every check of every stream and table, on all rows. It loads nothing.",
    )


def build_check_schedule() -> dg.ScheduleDefinition:
    """Returns the schedule: every morning, when yesterday's exports are due, so that missing ones are noticed too."""
    return dg.ScheduleDefinition(
        name=f"{CHECK_JOB}_daily",
        job_name=CHECK_JOB,
        cron_schedule="30 6 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs every check on all rows at 06:30 UTC.",
    )


def build_check_sensor(streams: Iterable[Stream], job: Any) -> dg.SensorDefinition:
    """Asks for a stream's checks after a run in which its assets failed."""
    chosen = tuple(streams)

    @dg.run_failure_sensor(
        name="sync_checks_after_failure",
        monitor_all_code_locations=True,
        request_job=job,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the checks that Dagster skips when a run fails.",
    )
    def checks_after_failure(context: dg.RunFailureSensorContext) -> dg.RunRequest | dg.SkipReason:
        run = context.dagster_run
        keys = check_keys(streams_of(run, chosen))
        if not keys:
            return dg.SkipReason(f"Run {run.run_id} was not to load a table.")
        return dg.RunRequest(run_key=run.run_id, asset_check_keys=keys)

    return checks_after_failure
