"""Databases of tests: copies of a migrated one on the session's server, used again while they are as they were.

Belongs here: making, emptying, comparing and dropping them. Does not belong here: fixtures, which are in `conftest`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from sync_pipelines.database.postgres import Database, migrate
from sync_pipelines.tables.schema import metadata

TEMPLATE: Final = "migrated"
USES: Final = 20
"""Tests that one database serves: tables that are truncated and indexes that are made again leave dead catalog rows."""
TABLES: Final = tuple(table.fullname for table in metadata.sorted_tables)

# Everything of a database but rows and file numbers: what a test may have altered. Statistics are counted, for the
# planner goes by them; indexes and constraints by their definitions, for a first load makes them anew.
STATE: Final = """
select md5(string_agg(line, e'\\n' order by line)) from (
    select concat_ws(' ', 'namespace', nspname, nspowner, nspacl) from pg_namespace where nspname !~ '^pg_(toast|temp)'
    union all
    select concat_ws(' ', 'class', c.oid::regclass, relkind, relowner, relacl, reloptions, relreplident, relpersistence)
    from pg_class c join pg_namespace n on n.oid = relnamespace where nspname !~ '^(pg_|information_schema)'
    union all
    select concat_ws(' ', 'column', attrelid::regclass, attnum, attname, atttypid, attnotnull, attisdropped,
        attidentity, attacl, attstattarget, pg_get_expr(adbin, adrelid))
    from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attrelid in (select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace
        where relkind in ('r', 'v', 'm', 'p', 'f') and nspname !~ '^(pg_|information_schema)')
    union all
    select concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisclustered, indisreplident, indisvalid)
    from pg_index where indrelid in (select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname !~ '^(pg_|information_schema)')
    union all
    select concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
    from pg_constraint where conrelid <> 0 and connamespace <> 'information_schema'::regnamespace
    union all
    select concat_ws(' ', 'view', ev_class::regclass, md5(ev_action)) from pg_rewrite where oid >= 16384
    union all
    select concat_ws(' ', 'function', oid::regprocedure, proowner, md5(prosrc)) from pg_proc where oid >= 16384
    union all
    select concat_ws(' ', 'trigger', tgrelid::regclass, tgname) from pg_trigger where not tgisinternal
    union all
    select concat_ws(' ', 'other', count(*)) from (
        select oid from pg_publication union all select oid from pg_extension union all select oid from pg_default_acl
        union all select oid from pg_type where oid >= 16384 union all select oid from pg_event_trigger) as objects
    union all
    select concat_ws(' ', 'comment', count(*)) from pg_description where objoid >= 16384
    union all
    select concat_ws(' ', 'statistics', count(*)) from pg_stats where schemaname = any('{sync,public}')
    union all
    select concat_ws(' ', 'setting', setrole, setconfig) from pg_db_role_setting
    where setdatabase = (select oid from pg_database where datname = current_database())
    union all
    select concat_ws(' ', 'database', datdba, datacl, datconnlimit) from pg_database where datname = current_database()
) as state(line)
"""


def named(server: Database, name: str) -> Database:
    """Another database on the same server, as its owner, who is no superuser."""
    return Database(server.url.replace("//postgres@/postgres?", f"//sync@/{quote(name)}?"))


def make_template(admin: Database) -> None:
    """Makes the migrated database that those of tests are copies of, unless it is there; turns durability off."""
    with admin.connect(autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", (TEMPLATE,)).fetchone():
            return
        for setting in ("fsync = off", "full_page_writes = off"):
            connection.execute(sql.SQL("alter system set " + setting))
        connection.execute("select pg_reload_conf()")
        connection.execute("create database unfinished owner sync")
        unfinished = named(admin, "unfinished")
        migrate(unfinished)
        unfinished.engine().dispose()
        connection.execute(sql.SQL("alter database unfinished rename to {}").format(sql.Identifier(TEMPLATE)))


def make_database(server: Database, template: str) -> Iterator[Database]:
    """A copy of `template`, dropped afterwards."""
    database = _copy(server, template)
    yield database
    _drop(server, database)


@dataclass
class Connections:
    """Connections to one database that wait for their next use: a new one costs as much as a small load.

    Attributes:
        of_syncs: as a sync leaves them from one file to the next.
        of_queries: in autocommit and in UTC.
    """

    of_syncs: list[psycopg.Connection[Any]] = field(default_factory=list)
    of_queries: list[psycopg.Connection[Any]] = field(default_factory=list)

    def pids(self) -> list[int]:
        """Processes of the server; raises `psycopg.OperationalError` if a connection is closed."""
        return [connection.info.backend_pid for connection in self.of_syncs + self.of_queries]

    def close(self) -> None:
        """Closes all."""
        for connection in self.of_syncs + self.of_queries:
            connection.close()


@dataclass
class Copy:
    """A copy of the migrated database, its state when it was made, and what one test leaves to the next."""

    database: Database
    watch: psycopg.Connection[Any]
    state: str
    connections: Connections = field(default_factory=Connections)
    uses: int = 0

    def is_as_it_was(self) -> bool:
        """Whether nothing but rows was altered, and nobody else is in it; removes the rows."""
        try:
            if _has_others(self.watch, self.connections.pids()) or _state(self.watch) != self.state:
                return False
            _empty_tables(self.watch)
            return True
        except psycopg.Error:
            return False

    def close(self) -> None:
        """Closes its connections."""
        self.watch.close()
        self.connections.close()


class Pool:
    """Migrated, empty databases, one at a time: a copy takes longer than emptying the last one's tables."""

    def __init__(self, server: Database) -> None:
        self.server = server
        self.spare: list[Copy] = []

    @contextmanager
    def copy(self) -> Iterator[Copy]:
        """A migrated, empty database, dropped afterwards if anything but its rows was altered or somebody is in it."""
        copy = self.spare.pop() if self.spare else self._new()
        copy.uses += 1
        yield copy
        copy.database.engine().dispose()
        if copy.uses < USES and copy.is_as_it_was():
            self.spare.append(copy)
        else:
            copy.close()
            _drop(self.server, copy.database)

    def _new(self) -> Copy:
        database = _copy(self.server, TEMPLATE)
        watch = database.connect(autocommit=True)
        return Copy(database, watch, _state(watch))

    def close(self) -> None:
        """Closes the connections of the databases that wait for their next use."""
        for copy in self.spare:
            copy.close()


def empty_tables(database: Database) -> None:
    """Removes every row, and numbers them from 1 again."""
    with database.connect(autocommit=True) as connection:
        _empty_tables(connection)


def _empty_tables(connection: psycopg.Connection[Any]) -> None:
    # By their size: a table without rows may have dead ones.
    found = connection.execute(
        "select t from unnest(%s::text[]) t where pg_relation_size(t::regclass) > 0", [list(TABLES)]
    )
    if filled := [name for (name,) in found]:
        connection.execute(sql.SQL("truncate " + ", ".join(filled) + " restart identity cascade"))


def _has_others(connection: psycopg.Connection[Any], known: list[int]) -> bool:
    query = "select from pg_stat_activity where datname = current_database() and pid <> all(%s) limit 1"
    return connection.execute(query, [[connection.info.backend_pid, *known]]).fetchone() is not None


def _state(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(sql.SQL(STATE)).fetchone()
    assert row
    return str(row[0])


def _copy(server: Database, template: str) -> Database:
    name = f"test_{uuid.uuid4().hex[:12]}"
    statement = "create database {} template {} strategy file_copy owner sync"
    with server.connect(autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))
    return named(server, name)


def _drop(server: Database, database: Database) -> None:
    database.engine().dispose()
    name = sql.Identifier(urlsplit(database.url).path.strip("/"))
    with server.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(name))
