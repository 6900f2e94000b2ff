"""Fixtures every test may use: a clean environment, and a fresh database on a real PostgreSQL.

One embedded server serves all pytest processes of a session; a test's database is a copy of a migrated one.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.embedded import use_server
from sync_pipelines.database.postgres import Database, migrate
from sync_pipelines.tables.schema import metadata
from sync_pipelines_tests.examples import load_profile
from sync_pipelines_tests.loading import Site

TEMPLATE = "migrated"

load_profile()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SYNC_") or name == "DAGSTER_HOME":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """The program sets its process's umask; the folders that a test makes are those of a user who has not."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The server's own database, for making others; never write to it."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "server"
    home.mkdir(exist_ok=True)
    admin = Database(use_server(home).superuser_url, embedded=True)
    with (home / "template").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_template(admin)
    return admin


@pytest.fixture
def database(server: Database) -> Iterator[Database]:
    """A migrated, empty database of this test's own."""
    yield from make_database(server, TEMPLATE)


@pytest.fixture
def bare_database(server: Database) -> Iterator[Database]:
    """A database without any schema."""
    yield from make_database(server, "template0")


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Settings with a state folder of this test's own and its `database`."""
    return Settings(home=tmp_path / "home", database_url=database.url, sources=tmp_path / "sources.yaml")


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    """A landing and an archive of this test's own, with its `database`."""
    return Site(tmp_path, database)


@pytest.fixture
def fresh_site(database: Database, tmp_path: Path) -> Callable[[], Site]:
    """Makes a site on emptied tables, as often as asked: one database serves all examples of a property."""
    numbers = count()

    def make() -> Site:
        empty_tables(database)
        folder = tmp_path / f"site{next(numbers)}"
        folder.mkdir()
        return Site(folder, database)

    return make


def empty_tables(database: Database) -> None:
    """Removes every row, fast."""
    tables = ", ".join(table.fullname for table in metadata.sorted_tables)
    with database.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("truncate " + tables + " cascade"))


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
    name = sql.Identifier(f"test_{uuid.uuid4().hex[:12]}")
    with server.connect(autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy owner sync").format(
                name, sql.Identifier(template)
            )
        )
    database = named(server, name.as_string(None).strip('"'))
    yield database
    database.engine().dispose()
    with server.connect(autocommit=True) as connection:
        _drop(connection, name)


def _drop(connection: psycopg.Connection[tuple[object, ...]], name: sql.Identifier) -> None:
    connection.execute(sql.SQL("drop database {} with (force)").format(name))
