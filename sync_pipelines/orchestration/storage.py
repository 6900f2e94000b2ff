"""Where Dagster keeps runs, events and logs: in the project's database, and under the project's state folder.

`dagster.yaml` names these classes instead of addresses, so that one file serves the embedded PostgreSQL and a given
one, and no password gets into what Dagster hands from process to process. Every process that opens the instance loads
them: `up`, the command line, runs, a production daemon.

Belongs here: which storage the settings ask for. Does not belong here: how it writes (`private_dagster`), its
connections (`storage_engine`), the tables of schema `sync`.
"""

from __future__ import annotations

import os
from typing import Any, Final

from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.postgres import open_database
from sync_pipelines.orchestration.private_dagster import (
    BATCH_SIZE_VARIABLE,
    BatchingStorage,
    DagsterPostgresStorage,
    LocalComputeLogManager,
    StorageData,
    plain_storage,
)
from sync_pipelines.privacy.private_files import keep_files_private

_BATCH_SIZE: Final = "500"


class SyncStorage(BatchingStorage):
    """Runs, events and schedules in the database of the settings."""

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    # Dagster uses whatever storage this returns, and says so in none of its annotations.
    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: StorageData | None, config_value: Any
    ) -> DagsterPostgresStorage:
        """Returns the storage of this process's settings.

        It writes events that belong together in one statement, unless `SYNC_PLAIN_DAGSTER_STORAGE` is set: then it is
        Dagster's own, unchanged.
        """
        keep_files_private()
        settings = load_settings()
        url = open_database(settings).dagster_url
        if settings.plain_dagster_storage:
            return plain_storage(url, inst_data)
        os.environ.setdefault(BATCH_SIZE_VARIABLE, _BATCH_SIZE)
        return cls(url, inst_data=inst_data)


class SyncComputeLogs(LocalComputeLogManager):
    """What runs print, under `SYNC_HOME`; without this, `dagster dev` keeps it in a folder it deletes on exit."""

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: StorageData | None, config_value: Any) -> SyncComputeLogs:
        """Returns the logs of this process's settings."""
        return cls(base_dir=str(load_settings().logs / "runs"), inst_data=inst_data)
