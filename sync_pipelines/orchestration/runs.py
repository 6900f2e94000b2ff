"""Runs of the command line: the stream's job, in this process, recorded where the UI looks.

Belongs here: turning pending exports and pulls into such runs. Does not belong here: what is pending
(`stages.export_stages.discover`), what a run does (`assets`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.activity import bury_orphans, installation_tags
from sync_pipelines.orchestration.assets import ExportsFailed, PullsFailed
from sync_pipelines.orchestration.build import build_definitions
from sync_pipelines.orchestration.dagster_names import STAGES, Stage, asset_key, job_name
from sync_pipelines.orchestration.instance import open_instance
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.partitions import PARTITION, Dates, contiguous
from sync_pipelines.orchestration.private_dagster import make_new_run_id
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
    first_run: str | None = None,
) -> None:
    """Syncs the days of the given exports, contiguous days of a stream in one run, streams in registry order.

    Streams to pull are pulled in a run of today. A file that fails is in the ledger, a pull that fails is told to the
    observer; neither stops anything. Any other fault is raised. The first run may be given its id. Exports that killed
    an earlier run come last, each day in a run of its own: they may end this process.
    """
    run_ids = chain([first_run] if first_run else [], iter(make_new_run_id, None))
    killers = sorted((e for e in pending if e.has_killed_a_run), key=lambda e: e.attempts)
    killed_days = dict.fromkeys((e.partner, e.stream, e.partition_date) for e in killers)
    entries = [e for e in pending if not e.has_killed_a_run]
    concerned = [stream for stream in STREAMS if stream in to_pull or _days(pending, stream)]
    definitions = build_definitions(workspace.settings, {WORKSPACE: workspace, OBSERVER: observer}, concerned)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with open_instance(workspace.settings) as instance:
        bury_orphans(instance, workspace)
        for stream in concerned:
            pulled = {datetime.now(UTC).date()} if stream in to_pull else set()
            for days in contiguous(_days(entries, stream) | pulled):
                one = _Run(definitions, instance, workspace, stream, days, [tenant] if tenant else [])
                is_pulled = one.execute(next(run_ids), STAGES, pull=any(day in days for day in pulled))
                if not is_pulled and _archived(workspace, one):
                    one.execute(next(run_ids), ("normalized", "table"), pull=False)
        for partner, name, day in killed_days:
            (stream,) = (s for s in concerned if (s.partner, s.name) == (partner, name))
            one = _Run(definitions, instance, workspace, stream, Dates(day, day), [tenant] if tenant else [])
            one.execute(next(run_ids), STAGES, pull=False, killers="only")


def _archived(workspace: Workspace, run: _Run) -> bool:
    """Whether something of the run's days is archived and waits to be loaded."""
    with workspace.connection() as connection:
        waiting = ledger.to_load(connection, run.stream.partner, run.stream.name, list(run.days))
    return any(entry.status == "pending" and entry.sha256 for entry in waiting)


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

    def execute(self, run_id: str, stages: Sequence[Stage], *, pull: bool, killers: str = "without") -> bool:
        """Runs the assets of some stages; False if a pull failed and kept the later stages from running."""
        given = {"tenants": list(self.tenants), "pull": pull, "killers": killers}
        config: dict[str, Any] = run_config(self.stream, stages, **given)
        home = self.workspace.settings.home
        tags = {**self.days.tags, **installation_tags(home, run_id)}
        key = tags.pop(PARTITION, None)
        job = self.definitions.resolve_job_def(job_name(self.stream))
        try:
            with held(home, run_id):
                job.execute_in_process(
                    run_config=config | {"loggers": _SILENT},
                    instance=self.instance,
                    partition_key=key,
                    tags=tags,
                    run_id=run_id,
                    asset_selection=None if stages == STAGES else [asset_key(stage, self.stream) for stage in stages],
                )
        except PullsFailed:
            return False
        except ExportsFailed:
            # The ledger names the files; the command line reports from there.
            pass
        return True
