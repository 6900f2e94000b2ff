"""The role `sync_reader`, which may read the tables and views and nothing else.

A login of an analyst or a dashboard becomes a member: `grant sync_reader to ana`.

Belongs here: making the role and granting what it needs. Does not belong here: the users of the embedded server
(`server_access`), where it exists already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from sync_pipelines.tables.schema import SCHEMA

READER: Final = "sync_reader"
_CREATE: Final = sql.SQL("create role {reader}")
_GRANTS: Final = (
    sql.SQL("grant usage on schema {schema} to {reader}"),
    sql.SQL("grant select on all tables in schema {schema} to {reader}"),
    sql.SQL("alter default privileges for role {owner} in schema {schema} grant select on tables to {reader}"),
)
_EXISTS: Final = "select exists (select from pg_roles where rolname = %s)"
_LACKS: Final = (
    "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %(schema)s"
    " and c.relkind in ('r', 'p', 'v') and pg_has_role(c.relowner, 'usage')"
    " and not (has_schema_privilege(%(role)s, n.oid, 'usage') and has_table_privilege(%(role)s, c.oid, 'select')))"
)

if TYPE_CHECKING:
    Connection = psycopg.Connection[Any]


def provide_reader(connection: Connection) -> list[str]:
    """Makes the role and grants it every table and view, as far as the user of the connection may.

    Returns:
        The statements that a user with more rights has to run; none if the role is complete.
    """
    if not _exists(connection):
        _try(connection, [_CREATE])
    if _exists(connection):
        if _lacks(connection):
            _try(connection, _GRANTS)
        if not _lacks(connection):
            return []
        return [_text(connection, grant) for grant in _GRANTS]
    return [_text(connection, statement) for statement in (_CREATE, *_GRANTS)]


def _try(connection: Connection, statements: tuple[sql.SQL, ...] | list[sql.SQL]) -> None:
    """Runs statements; if one fails, none of them has an effect."""
    try:
        with connection.transaction():
            for statement in statements:
                connection.execute(_filled(connection, statement))
    except psycopg.Error:
        # Too few rights, or another database's migration makes the role at this moment: roles belong to the server.
        return


def _exists(connection: Connection) -> bool:
    return connection.execute(_EXISTS, [READER]).fetchone() == (True,)


def _lacks(connection: Connection) -> bool:
    """Whether the role may not read one of the tables and views that are ours."""
    return connection.execute(_LACKS, {"schema": SCHEMA, "role": READER}).fetchone() == (True,)


def _filled(connection: Connection, statement: sql.SQL) -> sql.Composed:
    return statement.format(
        schema=sql.Identifier(SCHEMA), reader=sql.Identifier(READER), owner=sql.Identifier(connection.info.user)
    )


def _text(connection: Connection, statement: sql.SQL) -> str:
    return _filled(connection, statement).as_string(connection)
