"""Where Dagster's tables are: on whatever database, with whatever rights and search path its user has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.postgres import Database, migrate
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.orchestration.storage import SyncStorage
from sync_pipelines.stages.export_stages import open_workspace

Prepare = Callable[..., Database]


@pytest.fixture
def prepared(server: Database, bare_database: Database, settings: Settings) -> Iterator[Prepare]:
    """Runs statements as superuser in a bare database and gives the database as its user `sync` sees it."""

    def prepare(*statements: str) -> Database:
        name = bare_database.place.split()[-1]
        admin = Database(server.url.replace("/postgres?", f"/{name}?"))
        with admin.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("alter database {} owner to postgres").format(sql.Identifier(name)))
            connection.execute(sql.SQL("grant create on database {} to sync").format(sql.Identifier(name)))
            for statement in statements:
                connection.execute(statement.replace("DATABASE", f'"{name}"'))
        return bare_database

    yield prepare
    with server.connect(autocommit=True) as connection:
        connection.execute("alter role sync reset all")


def schema_of(database: Database) -> str:
    """The schema that has Dagster's tables after its storage is opened twice, once as the web server does."""
    for _ in range(2):
        migrate(database)
        storage = SyncStorage(database.dagster_url)
        storage.event_log_storage.optimize_for_webserver(1_000, 60, 1)
        assert not storage.event_log_storage.all_asset_keys()
        assert storage.run_storage.get_runs_count() == 0
        assert not list(storage.schedule_storage.all_instigator_state())
        storage.event_log_storage.dispose()
        storage.run_storage.dispose()
    with database.connect() as connection:
        found = connection.execute("select schemaname from pg_tables where tablename = 'event_logs'").fetchall()
        assert connection.execute("select count(*) from sync.live_orders").fetchone() == (0,)
    ((schema,),) = found
    return str(schema)


def test_a_user_called_sync(prepared: Prepare) -> None:
    assert schema_of(prepared("grant create on schema public to sync")) == "public"


def test_a_user_who_may_only_make_schemas(prepared: Prepare) -> None:
    assert schema_of(prepared()) == "dagster"


def test_a_user_who_may_make_no_schema_has_them_made(prepared: Prepare) -> None:
    made = ("create schema sync authorization sync", "create schema dagster authorization sync")
    assert schema_of(prepared("revoke create on database DATABASE from sync", *made)) == "dagster"


def test_no_schema_public(prepared: Prepare) -> None:
    assert schema_of(prepared("drop schema public")) == "dagster"


def test_a_search_path_that_leads_elsewhere(prepared: Prepare) -> None:
    database = prepared(
        "create schema other authorization sync",
        "create table other.event_logs (n int)",
        "drop table other.event_logs",
        "alter role sync set search_path = other",
        "grant create on schema public to sync",
    )
    assert schema_of(database) == "public"


def test_revisions_of_another_program_stay(prepared: Prepare) -> None:
    database = prepared(
        "grant create on schema public to sync",
        "create table public.alembic_version (version_num text)",
        "insert into public.alembic_version values ('theirs')",
        "grant all on public.alembic_version to sync",
    )
    assert schema_of(database) == "dagster"
    with database.connect() as connection:
        assert connection.execute("table public.alembic_version").fetchall() == [("theirs",)]


def test_tables_of_an_earlier_version_stay_where_they_are(prepared: Prepare) -> None:
    database = prepared("grant create on schema public to sync")
    schema_of(database)
    with database.connect(autocommit=True) as connection:
        connection.execute("create schema dagster")
    assert schema_of(database) == "public"


def test_a_user_who_may_make_nothing_is_told(prepared: Prepare) -> None:
    database = prepared("revoke create on database DATABASE from sync", "create schema sync authorization sync")
    migrate(database)
    with pytest.raises(ConfigurationError, match="permission denied for database"):
        SyncStorage(database.dagster_url)


def test_a_user_who_may_not_make_our_schema_is_told(prepared: Prepare, settings: Settings) -> None:
    database = prepared("revoke create on database DATABASE from sync")
    with pytest.raises(ConfigurationError, match="lacks a right: permission denied for database"):
        open_workspace(settings.model_copy(update={"database_url": database.url}))
