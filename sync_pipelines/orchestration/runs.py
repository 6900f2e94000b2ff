"""Runs of the command line: the stream's job, in this process, recorded where the UI looks.

Belongs here: turning pending exports into such runs. Does not belong here: what is pending (`sync.discover`), what a
run does (`assets`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.orchestration.activity import PROCESS_TAG, bury_orphans, this_process
from sync_pipelines.orchestration.assets import ExportsFailed
from sync_pipelines.orchestration.instance import open_instance
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.orchestration.names import job_name
from sync_pipelines.orchestration.partitions import PARTITION, Dates, contiguous
from sync_pipelines.orchestration.resources import OBSERVER, WORKSPACE, Observer
from sync_pipelines.partners import STREAMS
from sync_pipelines.sync import Workspace

_SILENT: Final = {"console": {"config": {"log_level": "CRITICAL"}}}


def run_pending(
    workspace: Workspace, pending: Iterable[LedgerFile], observer: Observer, tenant: str | None = None
) -> None:
    """Syncs the days of the given exports, contiguous days of a stream in one run, streams in registry order.

    A file that fails is in the ledger and stops nothing; any other fault is raised.
    """
    from sync_pipelines.definitions import build_definitions

    entries = list(pending)
    overrides = {WORKSPACE: workspace, OBSERVER: observer}
    definitions = build_definitions(workspace.settings, overrides)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with open_instance(workspace.settings) as instance:
        bury_orphans(instance)
        for stream in STREAMS:
            for days in contiguous(_days(entries, stream)):
                _run(definitions, instance, stream, days, [tenant] if tenant else [])


def _days(entries: Iterable[LedgerFile], stream: Stream) -> set[Any]:
    return {e.partition_date for e in entries if (e.partner, e.stream) == (stream.partner, stream.name)}


def _run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, stream: Stream, days: Dates, tenants: Sequence[str]
) -> None:
    config: dict[str, Any] = run_config(stream, tenants=list(tenants)) | {"loggers": _SILENT}
    tags = {**days.tags, PROCESS_TAG: this_process()}
    key = tags.pop(PARTITION, None)
    job = definitions.resolve_job_def(job_name(stream))
    try:
        job.execute_in_process(run_config=config, instance=instance, partition_key=key, tags=tags)
    except ExportsFailed:
        # The ledger names the files; the command line reports from there.
        return
