"""An empty copy of schema `sync`, which only one transaction sees.

The transaction renames the schema and creates another one with its name: every statement of a load and of a user works
in it unchanged. It is rolled back, so that nothing else notices.

Belongs here: that copy. Does not belong here: what is loaded into it (`stages.as_of`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors
from psycopg.sql import SQL, Identifier

from sync_pipelines.database.postgres import SEARCH_PATH
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.tables.views import VIEWS

STORED: Final = "sync_as_stored"
"""What the schema is called while the copy has its name."""

_VIEWS: Final = (
    "select c.relname, pg_get_viewdef(c.oid) from pg_class c where c.relnamespace = %s::regnamespace"
    " and c.relkind = 'v' and c.relname = any(%s) order by c.oid"
)
_FOREIGN_KEYS: Final = (
    "select t.relname, k.conname, pg_get_constraintdef(k.oid)"
    " from pg_constraint k join pg_class t on t.oid = k.conrelid"
    " where k.contype = 'f' and k.connamespace = %s::regnamespace and t.relname = any(%s)"
)


@contextmanager
def empty_copy(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Within the block, schema `sync` is an empty copy of itself; the stored tables are in schema `sync_as_stored`.

    No lock is taken that a load waits for. A second copy waits for the first.

    Args:
        connection: in autocommit; everything that is done in the block is rolled back.

    Raises:
        ConfigurationError: the user may not rename the schema and create another one.
    """
    with connection.transaction(force_rollback=True):
        try:
            _make(connection)
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
            raise _lacking(connection, error) from None
        yield


def _make(connection: psycopg.Connection[Any]) -> None:
    tables = [table.name for table in metadata.sorted_tables]
    # Definitions name the schema of a table only if it is not in the search path.
    connection.execute("set local search_path to pg_catalog")
    views = connection.execute(_VIEWS, [SCHEMA, [view.name for view in VIEWS]]).fetchall()
    keys = connection.execute(_FOREIGN_KEYS, [SCHEMA, tables]).fetchall()
    connection.execute(SQL("alter schema {} rename to {}").format(Identifier(SCHEMA), Identifier(STORED)))
    connection.execute(SQL("create schema {}").format(Identifier(SCHEMA)))
    for table in tables:
        statement = SQL("create unlogged table {} (like {} including all)")
        connection.execute(statement.format(Identifier(SCHEMA, table), Identifier(STORED, table)))
    for table, name, definition in keys:
        added = SQL("alter table {} add constraint {} ").format(Identifier(SCHEMA, table), Identifier(name))
        connection.execute(added + SQL(definition))
    for name, definition in views:
        connection.execute(SQL("create view {} as ").format(Identifier(SCHEMA, name)) + SQL(definition))
    connection.execute(SQL("set local search_path to ") + SQL(SEARCH_PATH))


def _lacking(connection: psycopg.Connection[Any], error: psycopg.Error) -> ConfigurationError:
    user, database = (Identifier(name).as_string(connection) for name in (connection.info.user, connection.info.dbname))
    why = error.diag.message_primary or "a right is missing"
    message = f"{user} cannot prepare the tables as of a date: {why}"
    hint = (
        f"name the owner of schema {SCHEMA} in SYNC_DATABASE_URL, and let the database's owner run:"
        f" grant create on database {database} to {user}"
    )
    return ConfigurationError("database_right_missing", message, hint)
