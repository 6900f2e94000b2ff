"""A PostgreSQL of the user's: over TCP with a password, over TLS, through a pooler, with few rights, only reading."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

from sync_pipelines.database.postgres import Database, migrate
from sync_pipelines.database.reader_role import provide_reader
from sync_pipelines.database.server_programs import give_to_server, run_program, server_user
from sync_pipelines_tests.loading import TENANT, order, until

POOLER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
numbers = count()


@dataclass
class Given:
    """A server with a database for each test.

    Attributes:
        port: on 127.0.0.1.
    """

    port: int

    def url(self, user: str, database: str, port: int | None = None) -> str:
        return f"postgresql://{user}:s3cret@127.0.0.1:{port or self.port}/{database}"

    def administer(self, *statements: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url("postgres", database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def database(self, *statements: str) -> str:
        """A new database that users may do nothing in; statements of the superuser prepare it."""
        name = f"db{next(numbers)}"
        self.administer(f"create database {name}")
        self.administer(*(statement.replace("DATABASE", name) for statement in statements), database=name)
        return name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    folder = tmp_path_factory.mktemp("given")
    data = folder / "data"
    data.mkdir(mode=0o700)
    give_to_server(data)
    with tempfile.NamedTemporaryFile("w") as password:
        password.write("s3cret")
        password.flush()
        os.chmod(password.name, 0o644)
        run_program(data, "initdb", "--auth=scram-sha-256", "-U", "postgres", f"--pwfile={password.name}", "-E", "UTF8")
    port = free_port()
    options = f"-h 127.0.0.1 -p {port} -c fsync=off -c unix_socket_directories=''"
    run_program(data, "pg_ctl", "start", "-w", "-l", "{data}/log", "-o", options)
    server = Given(port)
    roles = [f"create role {name} login password 's3cret'" for name in ("sync", "other", "poor")]
    server.administer(*roles, "alter role other set search_path = elsewhere")
    yield server
    run_program(data, "pg_ctl", "stop", "-m", "immediate")


def make_certificate(folder: Path) -> None:
    names = ("-keyout", str(folder / "key"), "-out", str(folder / "certificate"))
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    alternative = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([*command, *alternative, *names], check=True, capture_output=True)


Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Runs a command with a database; one export is in the landing."""
    export = tmp_path / "landing" / "replenit" / TENANT / "orders" / "2024-01-01.json"
    export.parent.mkdir(parents=True)
    export.write_text(json.dumps([order("A")]))
    os.utime(export, (1_700_000_000, 1_700_000_000))

    def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        places = {"SYNC_HOME": str(tmp_path / "home"), "SYNC_LANDING": str(tmp_path / "landing")}
        environment = {"PATH": os.environ["PATH"], "SYNC_DATABASE_URL": url, **places}
        command = [sys.executable, "-m", "sync_pipelines", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180)

    return run


def check_and_sync(call: Call, url: str) -> None:
    checked = call(url, "check")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    done = call(url, "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert call(url, "sql", "select count(*) from sync.live_orders", "--format", "csv").stdout == "count\n1\n"
    # The second sync finds Dagster's tables again, and nothing to do.
    assert call(url, "sync", "--json").returncode == 0
    assert "s3cret" not in checked.stdout + done.stdout + done.stderr


@pytest.mark.parametrize("user", ["sync", "other"])
def test_a_user_who_may_only_make_schemas(given: Given, call: Call, user: str) -> None:
    name = given.database(f"grant create on database DATABASE to {user}")
    check_and_sync(call, given.url(user, name))


def test_a_wrong_password(given: Given, call: Call) -> None:
    done = call(given.url("sync", "postgres").replace("s3cret", "wr0ng"), "check")
    assert done.returncode == 1
    assert "check user and password" in done.stdout
    assert "wr0ng" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def pooler(given: Given) -> Iterator[tuple[int, Path]]:
    """The port of a pgbouncer in session mode, configured as its package does besides, and its certificate.

    It speaks TLS, which the PostgreSQL of the wheel is built without.
    """
    if POOLER is None:
        if os.environ.get("CI"):
            pytest.fail("pgbouncer is missing")
        pytest.skip("pgbouncer is missing")
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        make_certificate(folder)
        (folder / "users").write_text('"sync" "s3cret"\n')
        (folder / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={given.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = session\n"
            "unix_socket_dir =\nmax_client_conn = 200\ndefault_pool_size = 60\nclient_tls_sslmode = allow\n"
            f"client_tls_key_file = {folder}/key\nclient_tls_cert_file = {folder}/certificate\n"
        )
        for path in folder.iterdir():
            path.chmod(0o644)
        user = server_user(folder / "none")
        process = subprocess.Popen([POOLER, f"{folder}/ini"], user=user and user.pw_uid, stderr=subprocess.DEVNULL)
        assert until(lambda: is_open(port))
        yield port, folder / "certificate"
        process.terminate()
        process.wait()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_pooler_in_session_mode(given: Given, pooler: tuple[int, Path], call: Call) -> None:
    name = given.database("grant create on database DATABASE to sync")
    check_and_sync(call, given.url("sync", name, pooler[0]))


def test_tls(given: Given, pooler: tuple[int, Path], call: Call) -> None:
    name = given.database("grant create on database DATABASE to sync")
    url = given.url("sync", name, pooler[0]) + "?sslmode=verify-full&sslrootcert="
    check_and_sync(call, url + str(pooler[1]))
    done = call(url + "/etc/hostname", "check")
    assert done.returncode == 1
    assert "ertificate" in done.stdout


@pytest.mark.parametrize("statement", ["alter database DATABASE set {}", "alter role poor in database DATABASE set {}"])
def test_a_server_that_only_reads(given: Given, call: Call, statement: str) -> None:
    prepared = statement.format("default_transaction_read_only = on")
    name = given.database("grant create on database DATABASE to poor", prepared)
    done = call(given.url("poor", name), "check")
    assert done.returncode == 2
    assert "is read-only: default_transaction_read_only is on" in done.stdout
    assert "turn it off" in done.stdout
    for command in ("status", "sync"):
        done = call(given.url("poor", name), command)
        assert done.returncode == 2
        assert "error: the server of SYNC_DATABASE_URL is read-only" in done.stderr
        assert "trace" not in done.stderr


def test_what_check_says_of_missing_rights_is_enough(given: Given, call: Call) -> None:
    name = given.database("revoke temporary on database DATABASE from public")
    url = given.url("poor", name)
    done = call(url, "check")
    assert done.returncode == 2
    assert "permission denied for database" in done.stdout
    (hint,) = (line.partition("run: ")[2] for line in done.stdout.splitlines() if "run: " in line)
    assert "grant temporary" in hint
    assert call(url, "status").returncode == 2
    given.administer(hint, database=name)
    check_and_sync(call, url)


def test_check_leaves_nothing(given: Given, call: Call) -> None:
    name = given.database("grant create on database DATABASE to sync")
    assert call(given.url("sync", name), "check").returncode == 0
    with psycopg.connect(given.url("postgres", name)) as connection:
        found = connection.execute("select relname from pg_class where relname like 'rights_of%'").fetchall()
        assert (found, connection.execute("select to_regnamespace('dagster')").fetchone()) == ([], (None,))


def test_tables_of_another_user(given: Given, call: Call) -> None:
    name = given.database("grant create on database DATABASE to sync, poor")
    assert call(given.url("sync", name), "status").returncode == 0
    given.administer("grant all on schema sync to poor", database=name)
    done = call(given.url("poor", name), "check")
    assert done.returncode == 2
    assert "belong to another user" in done.stdout


def test_the_role_for_readers_is_made_or_check_says_how(given: Given, call: Call) -> None:
    name = given.database("grant create on database DATABASE to poor")
    done = call(given.url("poor", name), "check")
    assert done.returncode == 0
    (hint,) = (line.partition("run: ")[2] for line in done.stdout.splitlines() if "role sync_reader" in line)
    assert hint.startswith('create role "sync_reader"; ')
    given.administer(hint, "create role ana login password 's3cret' in role sync_reader", database=name)
    with psycopg.connect(given.url("ana", name)) as connection:
        assert connection.execute("select count(*) from sync.live_orders").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from sync.orders")
    with psycopg.connect(given.url("poor", name)) as connection:
        assert provide_reader(connection) == []
    given.administer("drop owned by sync_reader", database=name)
    given.administer("drop role sync_reader", "create role maker login createrole password 's3cret'")
    other = given.database("grant create on database DATABASE to maker")
    migrate(Database(given.url("maker", other)))
    with psycopg.connect(given.url("postgres", other)) as connection:
        answer = connection.execute("select has_table_privilege('sync_reader', 'sync.order_revenue', 'select')")
        assert answer.fetchone() == (True,)
