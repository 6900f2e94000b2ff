"""Which days of a stream a run is busy with, runs whose process was killed, and what waits until no run is busy.

Belongs here: reading Dagster's runs. Does not belong here: deciding what to run (`sensors`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.dagster_names import STAGES, asset_key, job_name
from sync_pipelines.orchestration.partitions import Dates, dates_of
from sync_pipelines.orchestration.private_dagster import NOT_FINISHED_STATUSES, fail_run, has_backfills, has_event
from sync_pipelines.stages.first_day import has_first_day, start_first_day
from sync_pipelines.stages.killed_runs import mark_killed
from sync_pipelines.stages.run_files import installation_id, is_held, known_installation_id
from sync_pipelines.stages.workspace import Workspace

INSTALLATION_TAG: Final = ".dagster/sync_installation"
"""Dagster's prefix of tags that its UI does not show."""


def installation_tags(home: Path, run_id: str) -> dict[str, str]:
    """Returns the tag with the state folder of a run. It includes the run's id, because a retry copies the tag.

    Raises:
        ExportError: `storage_unwritable` or `storage_full`.
    """
    return {INSTALLATION_TAG: f"{installation_id(home)}/{run_id}"}


def unfinished_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Returns the runs that are created, queued, starting or running."""
    filters = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)
    return [record.dagster_run for record in instance.get_run_records(filters)]


def busy_dates(runs: Iterable[dg.DagsterRun], stream: Stream) -> list[Dates]:
    """Returns the days of a stream that the given runs handle, whoever launched them."""
    return [days for run in runs if _handles(run, stream) and (days := dates_of(dict(run.tags)))]


def is_busy(day: date, busy: Iterable[Dates]) -> bool:
    """Returns whether one of the ranges includes the day."""
    return any(day in days for days in busy)


def bury_orphans(instance: dg.DagsterInstance, workspace: Workspace) -> int:
    """Fails runs of this state folder whose process was killed, and the exports that they were loading.

    This frees their pools; Dagster would wait hours. It does not matter whether the command line or a daemon launched
    the runs. Runs of other state folders are left alone. Returns the number of runs.
    """
    mark_killed(workspace)
    home = workspace.settings.home
    orphans = [
        run for run in unfinished_runs(instance) if _is_orphan(run, home) and not _has_step_workers(instance, run)
    ]
    for run in orphans:
        fail_run(instance, run, "The process of this run was killed; the next sync completes its work.")
    return len(orphans)


def start_partitions(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    """Lets partitions start with the oldest export, as soon as there is one and no run or backfill is in progress.

    Before, they start with `SYNC_FIRST_DATE`, and a day before that export may have been launched.
    """
    if has_first_day(workspace.settings) or unfinished_runs(instance) or has_backfills(instance):
        return
    with workspace.connection() as connection:
        start_first_day(workspace.settings, connection)


def is_of_command_line(run: dg.DagsterRun) -> bool:
    """Returns whether a run is executed by the process that created it."""
    return run.tags.get(INSTALLATION_TAG, "").endswith(f"/{run.run_id}")


def _handles(run: dg.DagsterRun, stream: Stream) -> bool:
    if run.asset_selection:
        return any(asset_key(stage, stream) in run.asset_selection for stage in STAGES)
    return run.job_name == job_name(stream)


def _is_orphan(run: dg.DagsterRun, home: Path) -> bool:
    installation = known_installation_id(home)
    is_ours = installation and run.tags.get(INSTALLATION_TAG) == f"{installation}/{run.run_id}"
    return bool(is_ours) and not is_held(home, run.run_id)


def _has_step_workers(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether each step of a run is a process. Between steps nothing holds the run's file, but Dagster monitors it."""
    return has_event(instance, run.run_id, dg.DagsterEventType.STEP_WORKER_STARTING)
