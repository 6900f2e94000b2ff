"""Dagster's own storage: in the project's database, schema `public`, and under the project's state folder.

`dagster.yaml` names these classes instead of addresses, so that one file serves the embedded PostgreSQL and a given
one, and no password gets into what Dagster hands from process to process.

Belongs here: where Dagster keeps things. Does not belong here: the tables of schema `sync`.
"""

from __future__ import annotations

from typing import Any

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from sync_pipelines.database import open_database
from sync_pipelines.settings import load_settings


class SyncStorage(DagsterPostgresStorage):
    """Runs, events and schedules in the database of the settings."""

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SyncStorage:
        """The storage of this process's settings."""
        return cls(open_database(load_settings()).dagster_url, inst_data=inst_data)


class SyncComputeLogs(LocalComputeLogManager):
    """What runs print, under `SYNC_HOME`; without this, `dagster dev` keeps it in a folder it deletes on exit."""

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SyncComputeLogs:
        """The logs of this process's settings."""
        return cls(base_dir=str(load_settings().logs / "runs"), inst_data=inst_data)
