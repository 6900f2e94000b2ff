"""The workspace of a sync: settings, database, sources, landing and archive, opened once.

Belongs here: opening them. Does not belong here: using them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from sync_pipelines.configuration.settings import Settings, landing_variables
from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.database.postgres import Database, is_away, migrate, open_database, unavailable
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.landing import Landing
from sync_pipelines.exports.parts import PartsRule
from sync_pipelines.kept.archive import Archive
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.privacy.private_files import keep_files_private, private_folder


@dataclass(frozen=True)
class Workspace:
    """Everything a sync works with.

    Attributes:
        is_new: whether the schema was just created.
        idle: open connections for later use; None if connections are closed after each use.
    """

    settings: Settings
    database: Database
    sources: Sources
    landing: Landing
    archive: Archive
    is_new: bool = False
    idle: list[psycopg.Connection[Any]] | None = None

    def window(self) -> DateWindow:
        """Returns the dates that an export may have, as of now."""
        return DateWindow.at(self.settings.first_date, datetime.now(UTC))

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Yields a connection in autocommit. If the server goes away, `DatabaseUnavailable` is raised."""
        with self._opened() as connection:
            try:
                yield connection
            except psycopg.Error as error:
                if is_away(connection, error):
                    raise unavailable(self.database, error) from error
                raise

    @contextmanager
    def keeping_connections(self) -> Iterator[Workspace]:
        """Yields the workspace with connections kept open until the block ends: opening takes longer than a query."""
        keeping = replace(self, idle=[])
        try:
            yield keeping
        finally:
            while keeping.idle:
                keeping.idle.pop().close()

    @contextmanager
    def _opened(self) -> Iterator[psycopg.Connection[Any]]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._waiting() or self.database.connect(autocommit=True))
            yield connection
            # Nothing here must outlast a transaction.
            if self.idle is not None and connection.autocommit and _rests(connection):
                stack.pop_all()
                self.idle.append(connection)

    def _waiting(self) -> psycopg.Connection[Any] | None:
        """Returns an idle connection if it is still usable."""
        while self.idle:
            connection = self.idle.pop()
            with suppress(psycopg.Error):
                connection.execute("select")
                return connection
            connection.close()
        return None


def _rests(connection: psycopg.Connection[Any]) -> bool:
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def open_landing(settings: Settings, sources: Sources) -> Landing:
    """Returns the landing in the settings, without connecting."""
    password = settings.sftp_password
    access = Access(
        timeout=settings.landing_timeout,
        variables=landing_variables(settings.landing),
        sftp_password=None if password is None else password.get_secret_value(),
        sftp_key_file=settings.sftp_key_file,
        sftp_known_hosts=settings.sftp_known_hosts,
    )
    return Landing(
        settings.landing,
        sources.follows_links,
        access,
        partial(_parts_of, sources),
        creates_root=settings.is_landing_own,
    )


def _parts_of(sources: Sources, partner: str, tenant_folder: str, stream: str) -> PartsRule | None:
    settings = sources.of_folder(partner, tenant_folder, stream)
    return PartsRule(settings.path, settings.file_date) if settings is not None and settings.parts else None


def open_workspace(settings: Settings) -> Workspace:
    """Opens what the settings name and updates the schema.

    Raises:
        ConfigurationError: a setting or `sources.yaml` is wrong.
        DatabaseUnavailable: the database does not answer.
    """
    keep_files_private()
    for folder in filter(Path.is_dir, (settings.archive, settings.logs)):
        private_folder(folder)
    sources = load_sources(settings.sources)
    database = open_database(settings)
    is_new = migrate(database)
    landing = open_landing(settings, sources)
    return Workspace(settings, database, sources, landing, Archive(settings.archive), is_new)
