"""The database: addresses, a server that is down, migrations, and the life of the embedded server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines.database.postgres import Database, migrate, normalized_url, open_database
from sync_pipelines.errors import ConfigurationError, DatabaseUnavailable

USE = """
import sys, time
from pathlib import Path
from sync_pipelines.database.postgres import open_database
from sync_pipelines.configuration.settings import Settings
with open_database(Settings(home=Path(sys.argv[1]))).connect() as connection:
    connection.execute("select pg_advisory_xact_lock(1)")
    connection.execute("create table if not exists kept (n int)")
    connection.execute("insert into kept values (1)")
    connection.commit()
    print(connection.execute("select count(*) from kept").fetchone()[0], flush=True)
time.sleep(float(sys.argv[2]))
"""


def use(home: Path, seconds: float = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USE, str(home), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def output(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=60)[0].strip()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://ana:s3cret@host:5433/db",
        "postgres://ana:s3cret@host:5433/db",
        "postgresql+psycopg2://ana:s3cret@host:5433/db",
        "postgresql+asyncpg://ana:s3cret@host:5433/db",
        "POSTGRESQL://ana:s3cret@host:5433/db",
        "host=host port=5433 dbname=db user=ana password=s3cret",
    ],
)
def test_any_spelling_of_an_address(given: str) -> None:
    database = Database(normalized_url(given))
    assert database.dagster_url == "postgresql+psycopg2://ana:s3cret@/db?host=host&port=5433"
    assert str(database.sqlalchemy_url("psycopg")) == "postgresql+psycopg://ana:***@/db?host=host&port=5433"
    assert database.place == "host:5433, database db"
    assert "s3cret" not in repr(database) + database.shown


@pytest.mark.parametrize(
    "given", ["mysql://ana:s3cret@host/db", "s3cret", "postgresql://ana:s3 cret@host:x/db", "/s3cret"]
)
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ConfigurationError, match="SYNC_DATABASE_URL") as caught:
        normalized_url(given)
    assert "cret" not in str(caught.value)


def test_both_drivers_reach_the_embedded_server(database: Database) -> None:
    for url in (database.dagster_url, database.sqlalchemy_url("psycopg")):
        engine = create_engine(url)
        with engine.connect() as connection:
            assert connection.execute(text("select current_database()")).scalar() == database.place.split()[-1]
        engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://ana:s3cret@127.0.0.1:1/db", "127.0.0.1:1, database db: Connection refused"),
        ("postgresql://ana:s3cret@nowhere.invalid/db", "failed to resolve host"),
        ("postgresql://ana:s3cret@/db?host=/nowhere", "No such file or directory"),
    ],
)
def test_a_server_that_is_down(url: str, says: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="start the server") as caught:
        migrate(Database(url))
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.exit_status == 1


def test_a_database_that_is_missing(server: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"does not exist.*create it"):
        Database(server.url.replace("/postgres?", "/missing?")).connect()


def test_migrations_make_the_tables_and_then_do_nothing(bare_database: Database) -> None:
    migrate(bare_database)
    with bare_database.connect() as connection:
        assert connection.execute("select count(*) from sync.live_orders").fetchone() == (0,)
        before = connection.execute("select pg_current_xact_id_if_assigned()").fetchone()
    migrate(bare_database)
    assert before == (None,)


def test_processes_that_migrate_at_once(bare_database: Database) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(migrate, [Database(bare_database.url) for _ in range(4)]))


def test_a_schema_newer_than_the_program(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("update sync.alembic_version set version_num = '9999'")
    with pytest.raises(ConfigurationError, match=r"revision 9999.*upgrade sync_pipelines"):
        migrate(database)


def test_an_archive_of_an_earlier_version_is_refused_and_nothing_is_changed(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("drop table sync.unnamed_objects, sync.commerce_pairs")
        connection.execute("alter table sync.rejected_records drop column faults")
        connection.execute("alter table sync.export_files drop column has_own_date")
        connection.execute("alter table sync.export_files drop column raw_sha256, drop column held")
        connection.execute("drop table sync.export_decisions, sync.erasures, sync.verified_slices")
        connection.execute("alter table sync.key_runs drop column exports")
        connection.execute("update sync.alembic_version set version_num = '0004'")
        connection.execute(
            "insert into sync.export_files"
            " (partner, tenant, stream, path, size, modified_at, effective_at, partition_date, kept)"
            " values ('nilo', 'acme', 'stores', 'a.json', 1, now(), now(), '2024-05-06', 'records/0123abcd')"
        )
    with pytest.raises(ConfigurationError, match=r"archive_format_old.*earlier version.*set SYNC_HOME"):
        migrate(database)
    with database.connect() as connection:
        assert connection.execute("select version_num from sync.alembic_version").fetchone() == ("0004",)
        connection.execute("update sync.export_files set kept = null")
    assert not migrate(database)


def test_the_embedded_server_stops_with_its_last_user(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    longer = use(tmp_path, 6)
    assert first_line(longer) == "1"
    assert output(use(tmp_path)) == "2"
    assert server.state() == "ready"
    output(longer)
    assert server.state() == "stopped"


def test_processes_that_start_the_server_at_once(tmp_path: Path) -> None:
    assert max(output(p) for p in [use(tmp_path) for _ in range(4)]) == "4"
    assert EmbeddedServer(tmp_path).state() == "stopped"


def test_a_killed_user_neither_stops_the_server_nor_keeps_it(tmp_path: Path) -> None:
    killed = use(tmp_path, 60)
    first_line(killed)
    kill(killed)
    assert EmbeddedServer(tmp_path).state() == "ready"
    assert output(use(tmp_path)) == "2"
    assert EmbeddedServer(tmp_path).state() == "stopped"


def test_a_user_killed_while_the_server_is_being_made(tmp_path: Path) -> None:
    for delay in (0.1, 0.3, 0.5, 0.7):
        process = use(tmp_path)
        time.sleep(delay)
        kill(process)
    assert output(use(tmp_path)).isdecimal()
    assert EmbeddedServer(tmp_path).state() == "stopped"


def test_a_killed_server_recovers(tmp_path: Path) -> None:
    user = use(tmp_path, 60)
    first_line(user)
    os.kill(postmaster(tmp_path).pid, signal.SIGKILL)
    assert output(use(tmp_path)) == "2"
    kill(user)
    output(use(tmp_path))
    assert EmbeddedServer(tmp_path).state() == "stopped"


def test_a_stale_pid_file_that_names_another_process(tmp_path: Path) -> None:
    assert output(use(tmp_path)) == "1"
    stale = [str(os.getpid()), str(tmp_path / "postgres"), "1", "5432", str(tmp_path), "", "1 1", "ready"]
    (tmp_path / "postgres" / "postmaster.pid").write_text("\n".join(stale) + "\n")
    assert output(use(tmp_path)) == "2"


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 60) / ("b" * 60)
    assert output(use(home)) == "1"


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="SYNC_DATABASE_URL"):
        open_database(Settings(home=tmp_path / "file" / "home"))


def test_a_broken_cluster_says_so(tmp_path: Path) -> None:
    assert output(use(tmp_path)) == "1"
    (tmp_path / "postgres" / "global" / "pg_control").unlink()
    assert "the embedded PostgreSQL in" in output(use(tmp_path))


def postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0]))


@pytest.mark.parametrize("password", ["s3cr@s3cr", "s3cr/s3cr", "s3cr:s3cr/s3cr@s3cr", "s3cr#s3cr@x", "s3cr?s3cr@x"])
def test_an_address_whose_password_is_not_escaped_is_refused_without_it(password: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        normalized_url(f"postgresql://ana:{password}@host/db")
    assert "s3cr" not in f"{caught.value}{caught.value.__cause__}"


def test_errors_of_statements_name_neither_statement_nor_parameters(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught, database.engine().connect() as connection:
        connection.execute(text("select 1 / :zero, 's3cr', :email"), {"zero": 0, "email": "ana@x.cl"})
    assert "division by zero" in str(caught.value)
    assert not any(part in f"{caught.value} {caught.value!r}" for part in ("select", "s3cr", "ana@x.cl"))
