"""One daily schedule for each stream: yesterday's partition and every pending day, so that a missing export is noticed.

If a source has `pull`, the stream also gets a run of today, which pulls. A failed pull does not stop the other days.

Belongs here: when a stream is synced without a new file. Does not belong here: arrivals (`sensors`).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.errors import ConfigurationError, LandingUnavailable
from sync_pipelines.orchestration.activity import busy_dates, is_busy, unfinished_runs
from sync_pipelines.orchestration.dagster_names import job_name, schedule_name
from sync_pipelines.orchestration.descriptions import schedule_description
from sync_pipelines.orchestration.due import is_due
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.partitions import Dates, contiguous
from sync_pipelines.orchestration.sensors import REQUESTS_PER_TICK
from sync_pipelines.stages import export_stages, pulls
from sync_pipelines.stages.first_day import first_day
from sync_pipelines.stages.workspace import Workspace


def build_schedule(stream: Stream, first: date) -> dg.ScheduleDefinition:
    """Returns the schedule of a stream: 02:00 UTC, on by default.

    Args:
        stream: what it syncs.
        first: the first partition of these definitions.
    """

    @dg.schedule(
        name=schedule_name(stream),
        job_name=job_name(stream),
        cron_schedule="0 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=schedule_description(stream),
    )
    def daily(
        context: dg.ScheduleEvaluationContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        workspace: Workspace = sync_pipelines_workspace
        now = datetime.now(UTC)
        is_pulled = bool(pulls.streams_to_pull(workspace.sources, stream.partner, stream.name))
        requests = [_pulling(stream, now.date())] if is_pulled else []
        try:
            pending = export_stages.discover(workspace, stream.partner, stream.name).pending
        except (LandingUnavailable, ConfigurationError) as error:
            return requests or dg.SkipReason(str(error))
        tick = context.scheduled_execution_time.astimezone(UTC)
        busy = busy_dates(unfinished_runs(context.instance), stream)
        days = {entry.partition_date for entry in pending if is_due(entry, now)} | {tick.date() - timedelta(days=1)}
        days -= {now.date()} if is_pulled else set()
        free = (day for day in days if day >= first_day(workspace.settings) and not is_busy(day, busy))
        ranges = contiguous(free, since=first)[-REQUESTS_PER_TICK:]
        requests += [
            dg.RunRequest(
                run_key=f"{stream.full_name}:{days}:{tick:%Y-%m-%d}",
                tags=days.tags,
                run_config=run_config(stream, only_due=True, pull=False),
            )
            for days in ranges
        ]
        return requests or dg.SkipReason("runs are busy with every pending day")

    return daily


def _pulling(stream: Stream, today: date) -> dg.RunRequest:
    """A run of today, which pulls. Another run of today may be in progress."""
    days = Dates(today, today)
    return dg.RunRequest(
        run_key=f"{stream.full_name}:pull:{days}",
        tags=days.tags,
        run_config=run_config(stream, only_due=True),
    )
