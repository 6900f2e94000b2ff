"""The Dagster instance of the command line: the same one the UI shows.

Belongs here: where Dagster's home is and which files it gets. Does not belong here: Dagster's storage (`storage`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import dagster as dg

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.dagster_names import stream_name
from sync_pipelines.orchestration.private_dagster import NO_COMPUTE_LOGS, hurry, limit_pool, open_instance_of
from sync_pipelines.privacy.private_files import private_folder

CONFIGURATION: Final = Path(__file__).with_name("dagster.yaml")


def dagster_home(settings: Settings) -> Path:
    """Returns `DAGSTER_HOME` as the user set it, else `SYNC_HOME/dagster` with the project's `dagster.yaml` in it."""
    if given := os.environ.get("DAGSTER_HOME"):
        return Path(given)
    home = private_folder(settings.home / "dagster")
    wanted = CONFIGURATION.read_text()
    if not (there := home / "dagster.yaml").exists() or there.read_text() != wanted:
        unfinished = home / f"dagster.yaml.{os.getpid()}"
        unfinished.write_text(wanted)
        unfinished.replace(there)
    return home


def open_instance(settings: Settings, overrides: dict[str, Any] | None = None) -> dg.DagsterInstance:
    """Yields the instance, for a `with` block.

    Output of the command line goes to its terminal, not into Dagster's files. If the database does not answer, the
    error is raised immediately.
    """
    instance = open_instance_of(dagster_home(settings), NO_COMPUTE_LOGS | (overrides or {}))
    hurry(instance)
    return instance


def limit_pools(instance: dg.DagsterInstance, streams: Iterable[Stream]) -> None:
    """One run for each stream at a time. Dagster ignores a default limit the first time (dagster #31936)."""
    for stream in streams:
        limit_pool(instance, stream_name(stream), 1)
