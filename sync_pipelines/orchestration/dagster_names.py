"""What things are called in Dagster; users type these names, so a test holds them fast.

Belongs here: names. Does not belong here: the things.
"""

from __future__ import annotations

from typing import Literal

import dagster as dg

from sync_pipelines.contracts.streams import Stream

Stage = Literal["exports", "normalized", "table"]
STAGES: tuple[Stage, ...] = ("exports", "normalized", "table")


def asset_key(stage: Stage, stream: Stream) -> dg.AssetKey:
    """`exports/<partner>/<stream>`, `normalized/<partner>/<stream>` or `<table>/<partner>`."""
    if stage == "table":
        return dg.AssetKey([stream.table, stream.partner])
    return dg.AssetKey([stage, stream.partner, stream.name])


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
