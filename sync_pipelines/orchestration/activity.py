"""Which days of a stream a run is busy with, and runs whose process is gone.

Belongs here: reading Dagster's runs. Does not belong here: deciding what to run (`sensors`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import date
from functools import cache
from typing import Final

import dagster as dg
import psutil
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.names import STAGES, asset_key, job_name
from sync_pipelines.orchestration.partitions import Dates, dates_of

PROCESS_TAG: Final = "sync/process"


@cache
def this_process() -> str:
    """Host, number and start of this process: what tells it from every other, a later one of its number included."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def process_tags(run_id: str) -> dict[str, str]:
    """The tag that says in which process a run is at work; the run's id tells it from a copy in the run's retry."""
    return {PROCESS_TAG: f"{this_process()}/{run_id}"}


def unfinished_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Runs that are made, queued, starting or at work."""
    filters = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)
    return [record.dagster_run for record in instance.get_run_records(filters)]


def busy_dates(runs: Iterable[dg.DagsterRun], stream: Stream) -> list[Dates]:
    """The days of a stream that the given runs handle, whoever launched them."""
    return [days for run in runs if _handles(run, stream) and (days := dates_of(dict(run.tags)))]


def is_busy(day: date, busy: Iterable[Dates]) -> bool:
    """Whether one of the ranges has the day."""
    return any(day in days for days in busy)


def bury_orphans(instance: dg.DagsterInstance) -> int:
    """Fails runs whose process on this host is gone; Dagster itself would wait hours for them. Returns how many.

    Their pools are free with that. Runs that a command line or a daemon made are treated alike.
    """
    orphans = [run for run in unfinished_runs(instance) if _is_orphan(run)]
    for run in orphans:
        instance.report_run_failed(run, "The process of this run is gone; the next sync completes its work.")
    return len(orphans)


def is_of_command_line(run: dg.DagsterRun) -> bool:
    """Whether a run, as it was made, is at work in the very process that made it."""
    return run.tags.get(PROCESS_TAG) == process_tags(run.run_id)[PROCESS_TAG]


def _handles(run: dg.DagsterRun, stream: Stream) -> bool:
    if run.asset_selection:
        return any(asset_key(stage, stream) in run.asset_selection for stage in STAGES)
    return run.job_name == job_name(stream)


def _is_orphan(run: dg.DagsterRun) -> bool:
    host, number, started, run_id = (run.tags.get(PROCESS_TAG, "").rsplit("/", 3) + [""] * 3)[:4]
    if host != socket.gethostname() or run_id != run.run_id or not number.isdigit():
        return False
    try:
        found = psutil.Process(int(number))
        return f"{found.create_time():.2f}" != started or found.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True
