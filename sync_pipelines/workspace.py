"""What a sync works with: settings, database, sources, landing and archive, opened once.

Belongs here: opening them. Does not belong here: anything done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from sync_pipelines.database import Database, is_away, migrate, open_database, unavailable
from sync_pipelines.exports.archive import Archive
from sync_pipelines.exports.landing import Landing
from sync_pipelines.lean_arrow import leave_pandas_out
from sync_pipelines.lean_memory import share_memory
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.settings import Settings
from sync_pipelines.sources import Sources, load_sources


@dataclass(frozen=True)
class Workspace:
    """Everything a sync works with.

    Attributes:
        is_new: whether the schema has just been made.
        settled: returns when no head start is at work on the ledger entry with an id.
        complete: completes the load of such an entry for a run, where a head start began it; False where none did, or
            where it came to nothing. Any other load that was begun ends.
    """

    settings: Settings
    database: Database
    sources: Sources
    landing: Landing
    archive: Archive
    is_new: bool = False
    settled: Callable[[int], None] = lambda file_id: None
    complete: Callable[[int, str | None], bool] = lambda file_id, run_id: False

    def window(self) -> DateWindow:
        """The dates an export may have, as of now."""
        return DateWindow.at(self.settings.first_date, datetime.now(UTC))

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit; a server that goes away is `DatabaseUnavailable`."""
        with self.database.connect(autocommit=True) as connection:
            try:
                yield connection
            except psycopg.Error as error:
                if is_away(connection, error):
                    raise unavailable(self.database, error) from error
                raise


def open_workspace(settings: Settings) -> Workspace:
    """Opens what the settings name and brings the schema up to date.

    Raises:
        ConfigurationError: a setting or `sources.yaml` is wrong.
        DatabaseUnavailable: the database does not answer.
    """
    share_memory()
    leave_pandas_out()
    sources = load_sources(settings.sources)
    database = open_database(settings)
    is_new = migrate(database)
    return Workspace(settings, database, sources, Landing(settings.landing), Archive(settings.archive), is_new)
