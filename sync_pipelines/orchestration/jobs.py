"""One job for each stream: its three assets for some days.

Belongs here: what a job selects and how its runs are tagged. Does not belong here: when it runs (`schedules`,
`sensors`).
"""

from __future__ import annotations

from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.dagster_names import STAGES, asset_key, job_name, stream_name
from sync_pipelines.orchestration.descriptions import job_description

EXECUTOR: Final = dg.in_process_executor
"""A process for each step would cost seconds, and each file is one transaction anyway."""


def build_job(stream: Stream) -> Any:
    """Returns the job that syncs one stream."""
    return dg.define_asset_job(
        job_name(stream),
        selection=dg.AssetSelection.assets(*(asset_key(stage, stream) for stage in STAGES)),
        description=job_description(stream),
        tags={"sync/stream": stream.full_name},
        executor_def=EXECUTOR,
    )


def run_config(stream: Stream, **config: Any) -> dict[str, Any]:
    """Returns the run configuration with some options for a stream's assets."""
    return {"ops": {stream_name(stream): {"config": config}}}
