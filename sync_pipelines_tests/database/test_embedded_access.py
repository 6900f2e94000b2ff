"""Who gets into the embedded PostgreSQL: its own users, with the rights they need, and nobody else."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import psycopg
import pytest

from sync_pipelines.database import server_programs
from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines.database.postgres import Database, migrate
from sync_pipelines.database.server_access import ROLES
from sync_pipelines.database.server_programs import give_to_server, run_program, server_user
from sync_pipelines_tests.loading import until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
LONG = "a" * 60 + "/" + "b" * 60


@pytest.fixture(params=["home", LONG], ids=["short path", "long path"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    yield from started(tmp_path / request.param)


def started(home: Path) -> Iterator[EmbeddedServer]:
    home.mkdir(parents=True, mode=0o700)
    server = EmbeddedServer(home)
    server.start()
    yield server
    server.stop()


def sockets_of(server: EmbeddedServer) -> Path:
    return Path(psycopg.conninfo.conninfo_to_dict(server.url)["host"])  # type: ignore[arg-type]


def _ask_as_nobody(pipe: Connection, url: str) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        psycopg.connect(url).close()
        pipe.send("let in")
    except psycopg.OperationalError as error:
        pipe.send(str(error))


def answer_to_nobody(url: str) -> str:
    """What another user of the machine is told; one who knows the address."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_ask_as_nobody, args=(theirs, url))
    process.start()
    answer = str(ours.recv())
    process.join()
    return answer


@as_root
@pytest.mark.parametrize("role", ["postgres", "sync", "sync_reader"])
def test_another_user_cannot_reach_the_socket(server: EmbeddedServer, role: str) -> None:
    assert "ermission denied" in answer_to_nobody(server.url.replace("sync@", f"{role}@"))


@as_root
@pytest.mark.parametrize("role", ["postgres", "sync", "sync_reader"])
def test_another_user_who_reaches_the_socket_is_refused(server: EmbeddedServer, role: str) -> None:
    shown = Path(tempfile.mkdtemp())
    try:
        shown.chmod(0o755)
        os.link(sockets_of(server) / ".s.PGSQL.5432", shown / ".s.PGSQL.5432")
        (shown / ".s.PGSQL.5432").chmod(0o777)
        answer = answer_to_nobody(f"postgresql://{role}@/postgres?host={shown}")
    finally:
        shutil.rmtree(shown)
    assert "Peer authentication failed" in answer


def test_the_folder_of_the_socket_is_private(server: EmbeddedServer) -> None:
    found = sockets_of(server).stat()
    assert found.st_mode & 0o777 == 0o700
    assert found.st_uid == server.data.stat().st_uid
    assert (sockets_of(server) / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0


def test_a_folder_made_for_the_socket_goes_with_the_server(tmp_path: Path) -> None:
    server = next(started(tmp_path / LONG))
    first = sockets_of(server)
    assert first.name.startswith("sync_pipelines-")
    psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0])).kill()
    assert until(lambda: server.state() == "stopped")
    server.start()
    # Whoever knows the address finds the server again.
    assert sockets_of(server) == first
    server.stop()
    assert not first.exists()
    first.mkdir(mode=0o777)
    server.start()
    other = sockets_of(server)
    assert other != first, "somebody may have made it"
    server.stop()
    assert not other.exists()
    first.rmdir()


def test_the_owner_and_the_reader_are_no_superusers(server: EmbeddedServer) -> None:
    for url in (server.url, server.reader_url):
        with psycopg.connect(url) as connection:
            question = "select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = current_user"
            assert connection.execute(question).fetchone() == (False,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("copy (select 1) to program 'true'")
    with psycopg.connect(server.reader_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("set role sync")


def test_a_server_of_another_user_is_not_trusted(server: EmbeddedServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="requirepeer"):
        psycopg.connect(server.url.split("&requirepeer=")[0] + "&requirepeer=somebody")


def test_postgresql_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", "https://hooks.example.com/s3cret")
    monkeypatch.setenv("PGOPTIONS", "-c s3cret=1")
    running = started(tmp_path / "home")
    server = next(running)
    postmaster = psutil.Process(int((server.data / "postmaster.pid").read_text().split()[0]))
    given = postmaster.environ()
    assert {"PATH"} <= given.keys()
    assert "s3cret" not in str(given)
    # What PostgreSQL sets for itself begins with PG.
    assert {name for name in given if not name.startswith("PG")} <= {*server_programs._ENVIRONMENT, "PWD"}
    server.stop()


def test_a_cluster_where_everybody_was_superuser_gets_its_roles(tmp_path: Path) -> None:
    home = tmp_path / "home"
    data = home / "postgres"
    data.mkdir(parents=True)
    data.chmod(0o700)
    give_to_server(data)
    run_program(data, "initdb", "--auth=trust", "-U", "postgres", "--encoding=UTF8", "--locale=C")
    run_program(data, "pg_ctl", "start", "-o", "-h '' -k '{data}'", "-w", "-l", "{data}/log")
    earlier = Database(f"postgresql://postgres@/postgres?host={data}")
    migrate(earlier)
    with earlier.connect() as connection:
        connection.execute("create table public.runs (id bigint generated always as identity, n serial)")
        connection.execute("create type public.mood as enum ('a'); create domain public.small as int")
        connection.execute("create function public.one() returns int language sql as 'select 1'")
    # A server that a killed process left running, too.
    server = EmbeddedServer(home)
    server.start()
    database = Database(server.url)
    migrate(database)
    with database.connect() as connection:
        connection.execute("insert into public.runs default values; alter table public.runs add column more int")
        connection.execute("drop function public.one(); drop type public.mood; drop domain public.small")
        connection.execute("alter table sync.orders add column more int; drop view sync.live_orders")
        connection.execute("create schema another; create table public.another (n int)")
        foreign = connection.execute(
            "select relname from pg_class c join pg_namespace n on n.oid = relnamespace"
            " where nspname in ('sync', 'public') and relowner <> 'sync'::regrole"
        )
        assert foreign.fetchall() == []
    assert "trust" not in (data / "pg_hba.conf").read_text()
    server.stop()


def test_roles_are_made_once_more_without_harm(tmp_path: Path) -> None:
    server = next(started(tmp_path / "home"))
    server.stop()
    run_program(server.data, "postgres", "--single", "-j", "postgres", given=ROLES)
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("select current_user").fetchone() == ("sync",)
    server.stop()


def test_no_folder_above_is_changed(tmp_path: Path) -> None:
    home = tmp_path / "closed" / "home"
    home.parent.mkdir(mode=0o700)
    before = {path: path.stat().st_mode for path in home.parents}
    server = next(started(home))
    assert {path: path.stat().st_mode for path in home.parents} == before
    assert home.stat().st_mode & 0o777 == 0o700
    server.stop()
    for path in home.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_link_in_the_cluster_is_not_followed(tmp_path: Path) -> None:
    server = next(started(tmp_path / "home"))
    server.stop()
    (tmp_path / "victim").write_text("kept")
    for name in ("sync_pipelines.conf", "pg_hba.conf", "pg_ident.conf"):
        (server.data / name).unlink()
        (server.data / name).symlink_to(tmp_path / "victim")
    server.start()
    server.stop()
    assert (tmp_path / "victim").read_text() == "kept"


@as_root
def test_programs_that_the_server_cannot_reach_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = server_programs._wheel()
    version = wheel.TARGET_POSTGRES_VERSION
    package = Path(wheel.POSTGRES_VERSIONS[version]).parents[1]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in (package.name + "/" + wheel.POSTGRES_VERSIONS[version].parent.name, f"{package.name}.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, closed / part, symlinks=True)
    programs = closed / wheel.POSTGRES_VERSIONS[version].relative_to(package.parent)
    with tempfile.TemporaryDirectory() as copies:
        Path(copies).chmod(0o755)
        monkeypatch.setattr(server_programs, "_COPIES", Path(copies))
        monkeypatch.setitem(wheel.POSTGRES_VERSIONS, version, programs)
        user = server_user(tmp_path / "none")
        found = server_programs._programs.__wrapped__(user)
        assert found.is_relative_to(copies)
        assert found == server_programs._programs.__wrapped__(user)
        said = subprocess.run([found / "initdb", "--version"], user=pwd.getpwnam("pgserver").pw_uid, env={}, cwd="/")
        assert said.returncode == 0
    assert closed.stat().st_mode & 0o777 == 0o700
