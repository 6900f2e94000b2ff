"""Where Dagster stores runs, events and logs: in the project's database, and in the project's state folder.

`dagster.yaml` names these classes instead of addresses, so that one file serves the embedded PostgreSQL and a given
one, and Dagster passes no password from process to process. Every process that opens the instance loads them: `up`, the
command line, runs, a production daemon.

Belongs here: which storage the settings select. Does not belong here: how it writes (`private_dagster`), its
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

    # Dagster uses any storage that this returns; only its annotations do not allow that.
    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: StorageData | None, config_value: Any
    ) -> DagsterPostgresStorage:
        """Returns the storage of this process's settings.

        It writes related events in one statement. With `SYNC_PLAIN_DAGSTER_STORAGE` it is Dagster's own storage,
        unchanged.
        """
        keep_files_private()
        settings = load_settings()
        url = open_database(settings).dagster_url
        if settings.plain_dagster_storage:
            return plain_storage(url, inst_data)
        os.environ.setdefault(BATCH_SIZE_VARIABLE, _BATCH_SIZE)
        return cls(url, inst_data=inst_data)


class SyncComputeLogs(LocalComputeLogManager):
    """Output of runs, under `SYNC_HOME`. By default `dagster dev` deletes it on exit."""

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: StorageData | None, config_value: Any) -> SyncComputeLogs:
        """Returns the logs of this process's settings."""
        return cls(base_dir=str(load_settings().logs / "runs"), inst_data=inst_data)
