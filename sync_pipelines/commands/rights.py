"""The rights of the database user, tested in a transaction that is rolled back.

Belongs here: the test and what to grant. Does not belong here: how errors are printed (`check`).
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from sync_pipelines.database.postgres import Database
from sync_pipelines.errors import ConfigurationError

_SCHEMA: Final = "sync"
_TABLE: Final = "rights_of_sync_pipelines"
_POWERS: Final = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")
_IS_POWERFUL: Final = (
    "select r.rolsuper or exists (select from pg_roles p where p.rolname = any(%s)"
    " and pg_has_role(r.rolname, p.oid, 'member')) from pg_roles r where r.rolname = session_user"
)
_FOREIGN: Final = (
    "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s"
    " and c.relkind in ('r', 'p', 'v', 'm', 'S') and not pg_has_role(c.relowner, 'usage') order by 1"
)


def check_rights(database: Database) -> None:
    """Tries what migrations, loads and Dagster do in a database, and rolls it back.

    Raises:
        ConfigurationError: the server only reads, or rights are missing; the hint has the statements that grant them.
        DatabaseUnavailable: the server does not answer.
    """
    from sync_pipelines.orchestration.storage_schema import OWN_SCHEMA, SET_SCHEMA

    with database.connect() as connection:
        _check_writable(connection)
        trial = _Trial(connection)
        trial.own_schema(_SCHEMA)
        trial.temporary_table()
        connection.execute(SET_SCHEMA)
        found = _value(connection, "select current_schema()")
        trial.own_schema(str(found or OWN_SCHEMA))
        connection.rollback()
    if trial.errors:
        message = f"the user {trial.user} of SYNC_DATABASE_URL lacks rights: {'; '.join(trial.errors)}"
        hint = "let the owner of the database run: " + " ".join(f"{grant};" for grant in dict.fromkeys(trial.grants))
        raise ConfigurationError("database_right_missing", message, hint)


def is_powerful(connection: psycopg.Connection[Any]) -> bool:
    """Whether the user who connected may run programs or read files on the server."""
    return bool(_value(connection, _IS_POWERFUL, [list(_POWERS)]))


def _check_writable(connection: psycopg.Connection[Any]) -> None:
    if _value(connection, "select pg_is_in_recovery()"):
        message = "the server of SYNC_DATABASE_URL is a standby, which is read-only"
        raise ConfigurationError("database_read_only", message, "name its primary server")
    if _value(connection, "show transaction_read_only") == "on":
        message = "the server of SYNC_DATABASE_URL is read-only: default_transaction_read_only is on"
        hint = "turn it off for this user or database (alter role ... set, alter database ... set), or in its settings"
        raise ConfigurationError("database_read_only", message, hint)


class _Trial:
    """Tries statements in one transaction; each of them may fail.

    Args:
        connection: with the transaction.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.errors: list[str] = []
        self.grants: list[str] = []
        self._connection = connection
        self.user = _quoted(connection.info.user)

    def own_schema(self, name: str) -> None:
        """Creates the schema unless it exists, and a table in it; checks who owns its tables."""
        there = _value(self._connection, "select count(*) from pg_namespace where nspname = %s", [name])
        database = _quoted(self._connection.info.dbname)
        grant = f"grant create on database {database} to {self.user}"
        if not there and not self._may(f"create schema {name}", grant):
            return
        grant = f"grant usage, create on schema {name} to {self.user}"
        self._may(f"create table {name}.{_TABLE} (n int)", grant)
        foreign = self._connection.execute(_FOREIGN, [name]).fetchall() if name == _SCHEMA else []
        if foreign:
            self.errors.append(f"{_SCHEMA}.{foreign[0][0]} and {len(foreign) - 1} more belong to another user")
            self.grants.append(f"grant <their owner> to {self.user}")

    def temporary_table(self) -> None:
        """Creates a temporary table, as loads do."""
        grant = f"grant temporary on database {_quoted(self._connection.info.dbname)} to {self.user}"
        self._may(f"create temp table {_TABLE} (n int)", grant)

    def _may(self, statement: str, grant: str) -> bool:
        try:
            with self._connection.transaction():
                self._connection.execute(statement.encode())
        except psycopg.Error as error:
            self.errors.append(error.diag.message_primary or str(error))
            self.grants.append(grant)
            return False
        return True


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _value(connection: psycopg.Connection[Any], question: str, values: Any = None) -> Any:
    row = connection.execute(question.encode(), values).fetchone()
    return None if row is None else row[0]
