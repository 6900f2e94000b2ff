"""The streams of a failed run.

Belongs here: reading a run. Does not belong here: reactions to it (`alerts`, `check_runs`).
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.dagster_names import STAGES, asset_key, job_name


def streams_of(run: dg.DagsterRun, streams: Iterable[Stream]) -> list[Stream]:
    """Returns the streams whose assets a run was to materialize; none for a run of checks alone."""
    if run.asset_selection:
        return [s for s in streams if any(asset_key(stage, s) in run.asset_selection for stage in STAGES)]
    return [s for s in streams if run.job_name == job_name(s)]
