"""Builds the Dagster definitions of the project from the parts in this package.

Belongs here: which definitions each stream of the registry gets. Does not belong here: the definitions, the module that
Dagster loads (`sync_pipelines.definitions`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import dagster as dg

from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.alerts import build_alert_sensor
from sync_pipelines.orchestration.assets import build_assets
from sync_pipelines.orchestration.check_alerts import build_check_alert_sensor
from sync_pipelines.orchestration.check_runs import (
    CHECK_JOB,
    build_check_job,
    build_check_schedule,
    build_check_sensor,
)
from sync_pipelines.orchestration.check_steps import build_checks, build_table_checks
from sync_pipelines.orchestration.explain_job import build_explain_job
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
from sync_pipelines.orchestration.table_assets import build_table_asset, tables_of
from sync_pipelines.orchestration.undo_job import build_undo_job
from sync_pipelines.orchestration.verify_job import VERIFY, build_verify_job, build_verify_schedule
from sync_pipelines.partners import STREAMS, UNUSABLE
from sync_pipelines.stages.first_day import first_day

_log: Final = logging.getLogger(__name__)


def build_definitions(
    settings: Settings | None = None,
    overrides: Mapping[str, Any] | None = None,
    streams: Iterable[Stream] = STREAMS,
) -> dg.Definitions:
    """Returns the definitions, with some resources replaced by `overrides`; tests do that.

    They have no executor and only names of their own, so that they merge with the definitions of another project
    (`docs/existing_dagster.md`). Jobs name their executor; `code_location` adds one for the project by itself.
    """
    for one in UNUSABLE:
        _log.error("%s", one)
    settings = settings or load_settings()
    first = first_day(settings)
    chosen = tuple(streams)
    check_job = build_check_job(chosen)
    of_streams = build_stream_definitions(settings, overrides, chosen)
    tables = tables_of(chosen)
    return dg.Definitions(
        assets=[
            *(of_streams.assets or ()),
            *(build_table_asset(table, writers, settings.owner_names) for table, writers in tables.items()),
        ],
        asset_checks=[
            *(of_streams.asset_checks or ()),
            *(
                build_table_checks(table, own)
                for table in tables
                if (own := [stream for stream in chosen if stream.table == table])
            ),
        ],
        jobs=[
            *(of_streams.jobs or ()),
            check_job,
            build_housekeeping_job(chosen),
            build_undo_job(chosen),
            build_explain_job(),
            build_verify_job(),
        ],
        schedules=[
            *(build_schedule(stream, first) for stream in chosen),
            build_check_schedule(),
            build_housekeeping_schedule(),
            build_verify_schedule(),
        ],
        sensors=[
            *(build_sensor(stream, first) for stream in chosen),
            build_check_sensor(chosen, check_job),
            build_alert_sensor(chosen, (CHECK_JOB, HOUSEKEEPING, VERIFY)),
            build_check_alert_sensor(chosen),
            build_misplaced_sensor(),
        ],
        resources=of_streams.resources,
    )


def build_stream_definitions(
    settings: Settings, overrides: Mapping[str, Any] | None, streams: Iterable[Stream]
) -> dg.Definitions:
    """Returns only the definitions that runs of some streams need. The command line builds them for each sync."""
    chosen = tuple(streams)
    partitions = daily_partitions(first_day(settings))
    return dg.Definitions(
        assets=[build_assets(stream, partitions, settings.owner_names) for stream in chosen],
        asset_checks=[build_checks(stream) for stream in chosen],
        jobs=[build_job(stream) for stream in chosen],
        resources=build_resources(overrides),
    )
