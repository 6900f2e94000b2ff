"""Runs of the command line: the stream's job, in this process, recorded where the UI looks.

Belongs here: turning pending exports and pulls into such runs. Does not belong here: what is pending
(`stages.export_stages.discover`), what a run does (`assets`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.activity import bury_orphans, installation_tags, start_partitions
from sync_pipelines.orchestration.assets import ExportsFailed
from sync_pipelines.orchestration.build import build_stream_definitions
from sync_pipelines.orchestration.dagster_names import CODE_LOCATION, DEFINITIONS, job_name, sensor_name
from sync_pipelines.orchestration.instance import open_instance
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.partitions import PARTITION, Dates, contiguous
from sync_pipelines.orchestration.private_dagster import MAX_RETRIES_TAG, make_new_run_id, record_runs_in
from sync_pipelines.orchestration.resources import OBSERVER, WORKSPACE, Observer
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.run_files import held

_SILENT: Final = {"console": {"config": {"log_level": "CRITICAL"}}}


def run_pending(
    workspace: Workspace,
    pending: Collection[LedgerFile],
    observer: Observer,
    tenant: str | None = None,
    to_pull: Collection[Stream] = (),
    gone: Collection[LedgerFile] = (),
    *,
    only_due: bool = False,
) -> None:
    """Syncs the days of the given exports, contiguous days of a stream in one run, streams in registry order.

    Streams to pull are pulled in a run of today. A failed file is recorded in the ledger, a failed pull goes to the
    observer; neither stops the others. Any other error is raised. Exports that killed an earlier run are loaded last,
    each day in a run of its own, because they may kill this process.

    Args:
        workspace: what the runs work with.
        pending: the exports; each run takes all that are pending on its days.
        observer: is called for each file and pull.
        tenant: only exports of this tenant.
        to_pull: streams whose listings are pulled first.
        gone: failed exports that were removed from the landing: their days run, so that they are no longer red.
        only_due: whether exports that are being written, or failed a moment ago, are left out.
    """
    killers = sorted((e for e in pending if e.has_killed_a_run), key=lambda e: e.attempts)
    killed_days = dict.fromkeys((e.partner, e.stream, e.partition_date) for e in killers)
    entries = [e for e in pending if not e.has_killed_a_run]
    concerned = [stream for stream in STREAMS if stream in to_pull or _days([*pending, *gone], stream)]
    with _opened(workspace, observer, concerned) as (definitions, instance):
        for stream in concerned:
            pulled = {datetime.now(UTC).date()} if stream in to_pull else set()
            for days in contiguous(_days([*entries, *gone], stream) | pulled):
                one = _Run(definitions, instance, workspace, stream, days, [tenant] if tenant else [], only_due)
                one.execute(pull=any(day in days for day in pulled))
        for partner, name, day in killed_days:
            (stream,) = (s for s in concerned if (s.partner, s.name) == (partner, name))
            one = _Run(definitions, instance, workspace, stream, Dates(day, day), [tenant] if tenant else [], only_due)
            one.execute(pull=False, killers="only")


def run_released(workspace: Workspace, entries: Collection[LedgerFile], observer: Observer) -> None:
    """Loads exports that were released, in runs of their days that take nothing else.

    Args:
        workspace: what the runs work with.
        entries: the exports.
        observer: is called for each file.
    """
    concerned = [stream for stream in STREAMS if _days(entries, stream)]
    with _opened(workspace, observer, concerned) as (definitions, instance):
        for stream in concerned:
            for days in contiguous(_days(entries, stream)):
                mine = [e for e in entries if (e.partner, e.stream) == (stream.partner, stream.name)]
                paths = [entry.path for entry in mine if entry.partition_date in days]
                one = _Run(definitions, instance, workspace, stream, days, [])
                one.execute(pull=False, killers="with", release=paths)


@contextmanager
def _opened(
    workspace: Workspace, observer: Observer, streams: Sequence[Stream]
) -> Iterator[tuple[dg.Definitions, dg.DagsterInstance]]:
    """Yields definitions of some streams, and the instance that records their runs."""
    resources = {WORKSPACE: workspace, OBSERVER: observer}
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with open_instance(workspace.settings) as instance:
        bury_orphans(instance, workspace)
        start_partitions(instance, workspace)
        definitions = build_stream_definitions(workspace.settings, resources, streams)
        record_runs_in(instance, DEFINITIONS, CODE_LOCATION, [sensor_name(stream) for stream in STREAMS])
        yield definitions, instance


def _days(entries: Iterable[LedgerFile], stream: Stream) -> set[date]:
    return {e.partition_date for e in entries if (e.partner, e.stream) == (stream.partner, stream.name)}


@dataclass(frozen=True)
class _Run:
    """A run of some days of a stream, for some tenants or all."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    workspace: Workspace
    stream: Stream
    days: Dates
    tenants: Sequence[str]
    only_due: bool = False

    def execute(self, *, pull: bool, killers: str = "without", release: Sequence[str] = ()) -> None:
        """Runs the stream's job."""
        run_id, home = make_new_run_id(), self.workspace.settings.home
        config = run_config(self.stream, tenants=list(self.tenants), pull=pull, killers=killers, only_due=self.only_due)
        if release:
            config = run_config(self.stream, pull=pull, killers=killers, release=list(release))
        # The next sync or tick retries its files. A daemon's retry might do so while the command line is running.
        tags = {**self.days.tags, **installation_tags(home, run_id), MAX_RETRIES_TAG: "0"}
        key = tags.pop(PARTITION, None)
        job = self.definitions.resolve_job_def(job_name(self.stream))
        # The command line reports failed files from the ledger, and failed pulls from the observer.
        with held(home, run_id), suppress(ExportsFailed):
            job.execute_in_process(
                run_config=config | {"loggers": _SILENT},
                instance=self.instance,
                partition_key=key,
                tags=tags,
                run_id=run_id,
            )
