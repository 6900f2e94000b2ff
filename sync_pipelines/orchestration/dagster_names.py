"""Names of assets, jobs, schedules, sensors and pools. Users type them, so a test keeps them stable.

Belongs here: names. Does not belong here: the definitions with these names.
"""

from __future__ import annotations

from typing import Final, Literal

import dagster as dg

from sync_pipelines.contracts.streams import Stream

Stage = Literal["exports", "records", "rows"]
STAGES: tuple[Stage, ...] = ("exports", "records", "rows")
TABLES: Final = "tables"
"""Group of the assets of whole tables, and the first part of their keys."""


def asset_key(stage: Stage, stream: Stream) -> dg.AssetKey:
    """`<partner>/<stream>_exports`, `<partner>/<stream>_records` or, of the loaded rows, `<partner>/<stream>`.

    Graphs and titles show only the last part, so that part identifies the asset.
    """
    return dg.AssetKey([stream.partner, stream.name if stage == "rows" else f"{stream.name}_{stage}"])


def table_key(table: str) -> dg.AssetKey:
    """Returns `tables/<table>`, the key of a whole table that any stream may write."""
    return dg.AssetKey([TABLES, table])


def former_asset_keys(stream: Stream) -> tuple[dg.AssetKey, ...]:
    """Returns the keys of the three assets in earlier versions; an instance may still have their events."""
    return (
        dg.AssetKey(["exports", stream.partner, stream.name]),
        dg.AssetKey(["normalized", stream.partner, stream.name]),
        dg.AssetKey([stream.table, stream.partner]),
    )


def stream_name(stream: Stream) -> str:
    """`<partner>_<stream>`, also the name of the step of its three assets, and of its pool."""
    return f"{stream.partner}_{stream.name}"


def job_name(stream: Stream) -> str:
    """`sync_<partner>_<stream>`."""
    return f"sync_{stream_name(stream)}"


def schedule_name(stream: Stream) -> str:
    """`sync_<partner>_<stream>_daily`."""
    return f"{job_name(stream)}_daily"


def sensor_name(stream: Stream) -> str:
    """`<partner>_<stream>_arrivals`."""
    return f"{stream_name(stream)}_arrivals"


DEFINITIONS: Final = "sync_pipelines.orchestration.code_location"
"""The module that Dagster loads, as `workspace.yaml` names it."""

CODE_LOCATION: Final = "sync_pipelines"
"""What `workspace.yaml` calls the code location."""
