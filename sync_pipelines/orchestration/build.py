"""Puts the parts of this room together: everything Dagster knows of the project.

Belongs here: which parts there are for each stream of the registry. Does not belong here: any part itself, the module
that Dagster loads (`sync_pipelines.definitions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.alerts import build_alert_sensor
from sync_pipelines.orchestration.assets import build_assets
from sync_pipelines.orchestration.check_runs import (
    CHECK_JOB,
    build_check_job,
    build_check_schedule,
    build_check_sensor,
)
from sync_pipelines.orchestration.checks import build_checks
from sync_pipelines.orchestration.jobs import build_job
from sync_pipelines.orchestration.misplaced_alerts import build_misplaced_sensor
from sync_pipelines.orchestration.partitions import daily_partitions
from sync_pipelines.orchestration.resources import build_resources
from sync_pipelines.orchestration.schedules import build_schedule
from sync_pipelines.orchestration.sensors import build_sensor
from sync_pipelines.orchestration.storage_cleanup import (
    HOUSEKEEPING,
    build_housekeeping_job,
    build_housekeeping_schedule,
)
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.first_day import first_day


def build_definitions(
    settings: Settings | None = None,
    overrides: Mapping[str, Any] | None = None,
    streams: Iterable[Stream] = STREAMS,
) -> dg.Definitions:
    """The definitions, with some resources replaced by `overrides` (tests and the command line do that).

    They have no executor and only names of their own, so that they merge with the definitions of another project
    (`docs/existing_dagster.md`). Jobs name their executor; `code_location` adds one for the project by itself.
    """
    settings = settings or load_settings()
    first = first_day(settings)
    partitions = daily_partitions(first)
    chosen = tuple(streams)
    check_job = build_check_job(chosen)
    return dg.Definitions(
        assets=[build_assets(stream, partitions, settings.owner_names) for stream in chosen],
        asset_checks=[check for stream in chosen for check in build_checks(stream)],
        jobs=[*(build_job(stream) for stream in chosen), check_job, build_housekeeping_job(chosen)],
        schedules=[
            *(build_schedule(stream, first) for stream in chosen),
            build_check_schedule(),
            build_housekeeping_schedule(),
        ],
        sensors=[
            *(build_sensor(stream, first) for stream in chosen),
            build_check_sensor(chosen, check_job),
            build_alert_sensor(chosen, (CHECK_JOB, HOUSEKEEPING)),
            build_misplaced_sensor(),
        ],
        resources=build_resources(overrides),
    )
