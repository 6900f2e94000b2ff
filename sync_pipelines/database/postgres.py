"""The database: where it is, connections to it, its schema brought up to date.

Belongs here: addresses, connecting, what a server that is down is called. Does not belong here: the life of the
embedded server (`embedded`), tables (`tables`), statements.
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
"""Said by a statement to every connection: poolers refuse it as a parameter, and the user's own may be any."""
_SCHEME: Final = re.compile(r"postgres(ql)?(\+\w+)?://", re.IGNORECASE)


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database by its address.

    Attributes:
        url: libpq's spelling, `postgresql://...`, as psycopg takes it.
        embedded: whether it is the server that comes with the wheel.
        reader_url: the address for a user who only reads.
    """

    url: str = field(repr=False)
    embedded: bool = False
    reader_url: str | None = field(default=None, repr=False)

    @property
    def reader(self) -> Database:
        """The database as a user who only reads, if there is one."""
        return self if self.reader_url is None else Database(self.reader_url, self.embedded)

    @property
    def shown(self) -> str:
        """The address without the password."""
        return redacted(self.url)

    @property
    def place(self) -> str:
        """Host and port (or socket folder) and database, as messages name them."""
        given = _parsed(self.url)
        host, port = given.get("host", "the local socket"), given.get("port", "5432")
        return f"{host}:{port}, database {given.get('dbname') or given.get('user') or 'of the user'}"

    def sqlalchemy_url(self, driver: str) -> URL:
        """The address for SQLAlchemy with the driver named: its default driver depends on its version."""
        from sqlalchemy import URL

        given = _parsed(self.url)
        user, name = given.pop("user", None), given.pop("dbname", None)
        password = given.pop("password", None) if user else None
        return URL.create(f"postgresql+{driver}", username=user, password=password, database=name, query=given)

    @property
    def dagster_url(self) -> str:
        """The address for Dagster's storage, which works with psycopg2 only."""
        return self.sqlalchemy_url("psycopg2").render_as_string(hide_password=False)

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A new connection; options go to `psycopg.connect`.

        Raises:
            DatabaseUnavailable: the server does not answer or refuses us.
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
        """A SQLAlchemy engine; made once."""
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
    """The database of the settings: the given one as it is, or the embedded one, started if need be.

    Raises:
        ConfigurationError: the address is not one of a PostgreSQL.
        DatabaseUnavailable: the embedded server does not start.
    """
    if settings.database_url is None:
        from sync_pipelines.database.embedded import use_server

        server = use_server(settings.home)
        return Database(server.url, embedded=True, reader_url=server.reader_url)
    reader = settings.reader_url and normalized_url(settings.reader_url, "SYNC_READER_URL")
    return Database(normalized_url(settings.database_url), reader_url=reader)


def normalized_url(given: str, variable: str = "SYNC_DATABASE_URL") -> str:
    """The address in libpq's spelling, whichever driver it names (`postgres://`, `postgresql+psycopg2://`, `host=...`).

    Raises:
        ConfigurationError: it is not an address of a PostgreSQL.
    """
    url = _SCHEME.sub("postgresql://", given.strip(), count=1) if _SCHEME.match(given.strip()) else given.strip()
    if "://" in url and not url.startswith("postgresql://"):
        raise _bad_address(variable, f"{url.split('://')[0]}:// is not PostgreSQL")
    try:
        parts = _parsed(url)
    except ValueError as error:
        raise _bad_address(variable, str(error)) from None
    if not _is_escaped(url, parts):
        raise _bad_address(variable, "user and password hold characters that have to be escaped (%40 for @, %2F for /)")
    return url


def _is_escaped(url: str, given: Mapping[str, str]) -> bool:
    """Whether a URL splits as it was meant: else pieces of the password are taken for host, port or database."""
    if "://" not in url:
        return True
    ports = given.get("port", "").split(",")
    return "@" not in given.get("host", "") + given.get("dbname", "") and all(not p or p.isdecimal() for p in ports)


def _bad_address(variable: str, why: str) -> ConfigurationError:
    hint = "write postgresql://user:password@host:5432/database"
    return ConfigurationError("setting_invalid", f"{variable} is no address of a PostgreSQL: {why}", hint)


def _parsed(url: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError as error:
        # libpq quotes pieces of the address, perhaps of the password.
        raise ValueError(re.sub(r'"[^"]*"', '"..."', str(error)).strip()) from None


def unavailable(database: Database, error: BaseException) -> DatabaseUnavailable:
    """What a connection's failure means and what to do about it, without the password."""
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
        hint = "start the server, or correct SYNC_DATABASE_URL; nothing was lost, the next sync goes on from here"
    return DatabaseUnavailable("database_unavailable", f"PostgreSQL at {database.place}: {why}", hint)


def is_away(connection: psycopg.Connection[Any], error: psycopg.Error) -> bool:
    """Whether a statement failed because the server went away, not because of what it was asked.

    A server that ends says so first (class 57P), while the connection still looks sound.
    """
    return connection.broken or connection.closed or (error.sqlstate or "")[:3] in ("57P", "080")


def migrate(database: Database) -> bool:
    """Brings schema `sync` to the newest revision; returns at once where it is there already.

    Returns:
        Whether the schema was not there at all.

    Raises:
        ConfigurationError: the server is older than PostgreSQL 15, or the schema newer than this program.
        DatabaseUnavailable: the server does not answer.
    """
    with database.connect(autocommit=True) as connection:
        _check_version(connection)
        if _revision(connection) == (newest := _newest_revision()):
            return False
        connection.execute("select pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        found = _revision(connection)
        if found is not None and found > newest:
            message = f"the schema is at revision {found}, this program knows up to {newest}"
            raise ConfigurationError("schema_too_new", message, "upgrade sync_pipelines")
        if found != newest:
            _upgrade(database)
        return found is None


def _check_version(connection: psycopg.Connection[Any]) -> None:
    major = connection.info.server_version // 10_000
    if major < OLDEST_SERVER:
        message = f"SYNC_DATABASE_URL names a PostgreSQL {major}; {OLDEST_SERVER} or later is needed"
        raise ConfigurationError("database_too_old", message)


def _revision(connection: psycopg.Connection[Any]) -> str | None:
    if connection.execute("select to_regclass('sync.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("select version_num from sync.alembic_version").fetchone()
    return None if row is None else str(row[0])


def _newest_revision() -> str:
    """The revisions are numbered files, `0001_<what>.py`, so the newest is known without importing Alembic."""
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
"""Insufficient privilege, and a transaction that only reads."""


def unprivileged(error: BaseException) -> ConfigurationError:
    """What it means that the database's user may not do what has to be done, or that the server only reads."""
    why = next(iter(str(error).splitlines()), "")
    if "read-only" in why:
        message = f"the server of SYNC_DATABASE_URL only reads: {why}"
        hint = "name the primary server, not a standby, and a user without default_transaction_read_only"
        return ConfigurationError("database_read_only", message, hint)
    message = f"the user of SYNC_DATABASE_URL lacks a right: {why}"
    return ConfigurationError("database_right_missing", message, f"to see what to grant: {typed('check')}")
