"""The database: its address, connections to it, and migrations.

Belongs here: addresses, connecting, errors of a server that is down. Does not belong here: starting and stopping the
embedded server (`embedded`), tables (`tables`), queries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sync_pipelines.command_line import typed
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.errors import ConfigurationError, DatabaseUnavailable
from sync_pipelines.privacy.redaction import redacted, without_statements

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg
    from sqlalchemy import URL, Engine

OLDEST_SERVER: Final = 15
MIGRATIONS: Final = Path(__file__).parents[1] / "tables" / "migrations"
_MIGRATION_LOCK: Final = 7_283_041_120
SEARCH_PATH: Final = "sync, public"
"""Set by a statement on every connection: poolers reject it as a parameter, and users may have another one."""
_SCHEME: Final = re.compile(r"postgres(ql)?(\+\w+)?://", re.IGNORECASE)


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database, by its address.

    Attributes:
        url: for libpq and psycopg, `postgresql://...`.
        embedded: whether it is the bundled server.
        reader_url: the address for a read-only user.
    """

    url: str = field(repr=False)
    embedded: bool = False
    reader_url: str | None = field(default=None, repr=False)

    @property
    def reader(self) -> Database:
        """The database as its read-only user; the same database if there is none."""
        return self if self.reader_url is None else Database(self.reader_url, self.embedded)

    @property
    def shown(self) -> str:
        """The address without the password."""
        return redacted(self.url)

    @property
    def place(self) -> str:
        """Host and port (or socket folder) and database, for messages."""
        given = _parsed(self.url)
        host, port = given.get("host", "the local socket"), given.get("port", "5432")
        return f"{host}:{port}, database {given.get('dbname') or given.get('user') or 'of the user'}"

    def sqlalchemy_url(self, driver: str) -> URL:
        """Returns the address for SQLAlchemy. It names the driver: the default depends on SQLAlchemy's version."""
        from sqlalchemy import URL

        given = _parsed(self.url)
        user, name = given.pop("user", None), given.pop("dbname", None)
        password = given.pop("password", None) if user else None
        return URL.create(f"postgresql+{driver}", username=user, password=password, database=name, query=given)

    @property
    def dagster_url(self) -> str:
        """The address for Dagster's storage, which needs psycopg2."""
        return self.sqlalchemy_url("psycopg2").render_as_string(hide_password=False)

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Opens a connection; options are passed to `psycopg.connect`.

        Raises:
            DatabaseUnavailable: the server does not respond or rejects the user.
        """
        import psycopg

        defaults: dict[str, Any] = {"connect_timeout": 10, "application_name": "sync_pipelines"}
        given = _parsed(self.url)
        options = {k: v for k, v in defaults.items() if k not in given} | options
        autocommit = options.pop("autocommit", False)
        try:
            connection = psycopg.connect(self.url, autocommit=True, **options)
            connection.execute(f"set search_path to {SEARCH_PATH}")
            connection.autocommit = autocommit
            return connection
        except psycopg.OperationalError as error:
            raise unavailable(self, error) from None

    def engine(self) -> Engine:
        """Returns the SQLAlchemy engine, which is created once."""
        return self._engine

    @cached_property
    def _engine(self) -> Engine:
        return self._new_engine()

    def _new_engine(self, **options: Any) -> Engine:
        from sqlalchemy import create_engine, event

        engine = create_engine(self.sqlalchemy_url("psycopg"), hide_parameters=True, **options)
        event.listen(engine, "connect", _set_search_path)
        return without_statements(engine)


def open_database(settings: Settings) -> Database:
    """Returns the database of the settings; starts the embedded one if no other is given.

    Raises:
        ConfigurationError: the address is not valid for PostgreSQL.
        DatabaseUnavailable: the embedded server does not start.
    """
    if settings.database_url is None:
        from sync_pipelines.database.embedded import use_server

        server = use_server(settings.home)
        return Database(server.url, embedded=True, reader_url=server.reader_url)
    reader = settings.reader_url and normalized_url(settings.reader_url, "SYNC_READER_URL")
    return Database(normalized_url(settings.database_url), reader_url=reader)


def normalized_url(given: str, variable: str = "SYNC_DATABASE_URL") -> str:
    """Returns an address in libpq's form, from any form (`postgres://`, `postgresql+psycopg2://`, `host=...`).

    Raises:
        ConfigurationError: it is not a valid address of a PostgreSQL database.
    """
    url = _SCHEME.sub("postgresql://", given.strip(), count=1) if _SCHEME.match(given.strip()) else given.strip()
    if "://" in url and not url.startswith("postgresql://"):
        raise _bad_address(variable, f"{url.split('://')[0]}:// is not PostgreSQL")
    try:
        parts = _parsed(url)
    except ValueError as error:
        raise _bad_address(variable, str(error)) from None
    if not _is_escaped(url, parts):
        raise _bad_address(variable, "special characters in user and password must be escaped (%40 for @, %2F for /)")
    return url


def _is_escaped(url: str, given: Mapping[str, str]) -> bool:
    """Whether a URL splits as intended; if not, parts of the password are read as host, port or database."""
    if "://" not in url:
        return True
    ports = given.get("port", "").split(",")
    return "@" not in given.get("host", "") + given.get("dbname", "") and all(not p or p.isdecimal() for p in ports)


def _bad_address(variable: str, why: str) -> ConfigurationError:
    hint = "write postgresql://user:password@host:5432/database"
    return ConfigurationError("setting_invalid", f"{variable} is not a valid PostgreSQL address: {why}", hint)


def _parsed(url: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError as error:
        # libpq's message quotes parts of the address, perhaps of the password.
        raise ValueError(re.sub(r'"[^"]*"', '"..."', str(error)).strip()) from None


def unavailable(database: Database, error: BaseException) -> DatabaseUnavailable:
    """Returns the error for a failed connection, with what to do about it and without the password."""
    lines = [line.strip() for line in redacted(str(error)).splitlines() if line.strip()]
    why = next((line for line in reversed(lines) if "failed:" in line or "FATAL:" in line), lines[0] if lines else "")
    why = re.sub(r"^.*(FATAL:|failed:)\s*", "", why)
    if "authentication" in why or "pg_hba" in why or "no password" in why:
        hint = "check user and password in SYNC_DATABASE_URL"
    elif "does not exist" in why:
        hint = "create it, or correct SYNC_DATABASE_URL"
    elif database.embedded:
        hint = "the embedded server has stopped; run the command again"
    else:
        hint = "start the server, or correct SYNC_DATABASE_URL; nothing is lost, the next sync continues from here"
    return DatabaseUnavailable("database_unavailable", f"PostgreSQL at {database.place}: {why}", hint)


def is_away(connection: psycopg.Connection[Any], error: psycopg.Error) -> bool:
    """Whether a statement failed because the server is gone, not because of the statement.

    A server that shuts down sends an error of class 57P first, while the connection still looks open.
    """
    return connection.broken or connection.closed or (error.sqlstate or "")[:3] in ("57P", "080")


def migrate(database: Database) -> bool:
    """Migrates schema `sync` to the newest revision; does nothing if it is there already.

    Returns:
        Whether the schema is new.

    Raises:
        ConfigurationError: the server is older than PostgreSQL 15, or the schema is newer than this program.
        DatabaseUnavailable: the server does not respond.
    """
    with database.connect(autocommit=True) as connection:
        _check_version(connection)
        if _revision(connection) == (newest := _newest_revision()):
            return False
        connection.execute("select pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        found = _revision(connection)
        if found is not None and found > newest:
            message = f"the database schema is at revision {found}, but this version supports only up to {newest}"
            raise ConfigurationError("schema_too_new", message, "upgrade sync_pipelines")
        if found != newest:
            _upgrade(database)
        return found is None


def _check_version(connection: psycopg.Connection[Any]) -> None:
    major = connection.info.server_version // 10_000
    if major < OLDEST_SERVER:
        message = f"the server of SYNC_DATABASE_URL is PostgreSQL {major}; {OLDEST_SERVER} or later is required"
        raise ConfigurationError("database_too_old", message)


def _revision(connection: psycopg.Connection[Any]) -> str | None:
    if connection.execute("select to_regclass('sync.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("select version_num from sync.alembic_version").fetchone()
    return None if row is None else str(row[0])


def _newest_revision() -> str:
    """Returns the newest revision by its file name, `0001_<what>.py`, without importing Alembic."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _upgrade(database: Database) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import NullPool
    from sqlalchemy.exc import DBAPIError

    from sync_pipelines.database.comments import write_comments
    from sync_pipelines.database.reader_role import provide_reader

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with database._new_engine(poolclass=NullPool).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            driver: Any = connection.connection.driver_connection
            write_comments(driver)
            provide_reader(driver)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _UNPRIVILEGED:
            raise unprivileged(error.orig or error) from None
        raise


def _set_search_path(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"set search_path to {SEARCH_PATH}")
    connection.commit()


_UNPRIVILEGED: Final = ("42501", "25006")
"""SQLSTATEs: insufficient privilege, read-only transaction."""


def unprivileged(error: BaseException) -> ConfigurationError:
    """Returns the error for a user who lacks a right, or for a read-only server."""
    why = next(iter(str(error).splitlines()), "")
    if "read-only" in why:
        message = f"the server of SYNC_DATABASE_URL is read-only: {why}"
        hint = "use the primary server, not a standby, and a user without default_transaction_read_only"
        return ConfigurationError("database_read_only", message, hint)
    message = f"the user of SYNC_DATABASE_URL lacks a right: {why}"
    return ConfigurationError("database_right_missing", message, f"to see what to grant: {typed('check')}")
