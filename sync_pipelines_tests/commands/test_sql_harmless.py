"""`sync-pipelines sql` asks and does nothing else, whatever it is asked."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sync_pipelines.database.embedded import leave_server, use_server
from sync_pipelines.database.postgres import Database


class Done(NamedTuple):
    status: int
    out: str
    err: str


def ask(home: Path, query: str, *options: str, **variables: str) -> Done:
    environment = {"PATH": os.environ["PATH"], "SYNC_HOME": str(home), **variables}
    command = [sys.executable, "-W", "error", "-m", "sync_pipelines", "sql", query, *options]
    done = subprocess.run(command, env=environment, cwd=home.parent, capture_output=True, timeout=120)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


HOSTILE = [
    ("copy (select 1) to program 'touch {file}'", "permission denied"),
    ("copy (select 1) to '{file}'", "permission denied"),
    ("copy (select 1) to stdout", ""),
    ("do $$ begin execute 'copy (select 1) to program ''touch {file}'''; end $$", "permission denied"),
    ("select pg_read_file('/etc/passwd')", "permission denied"),
    ("select pg_ls_dir('/')", "permission denied"),
    ("select lo_export(1, '{file}')", "permission denied"),
    ("set transaction read write", "read-write"),
    ("do $$ begin set transaction read write; create table t (n int); end $$", "read-write"),
    ("select set_config('transaction_read_only', 'off', true)", "read-write"),
    ("set role sync", "permission denied"),
    ("set session authorization postgres", "permission denied"),
    ("reset role", "returns no rows"),
    ("commit; create table public.t (n int)", "multiple commands"),
    ("select 1; select 2", "multiple commands"),
    ("delete from sync.orders", "read-only"),
    ("create temp table t (n int)", "read-only"),
    ("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()", "permission denied"),
    ("select pg_sleep(30)", "took longer than 1 s"),
    ("", "returns no rows"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder with a server that does not stop with each command."""
    home = tmp_path_factory.mktemp("asked") / "home"
    use_server(home)
    yield home
    leave_server(home)


@pytest.mark.parametrize(("query", "says"), HOSTILE)
def test_the_embedded_server_does_nothing_but_answer(home: Path, tmp_path: Path, query: str, says: str) -> None:
    tmp_path.chmod(0o777)
    file = tmp_path / "made"
    done = ask(home, query.format(file=file), "--timeout", "1")
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err
    assert not file.exists()


def test_the_embedded_server_answers_about_all_tables(home: Path) -> None:
    assert ask(home, "select count(*) from sync.orders", "--format", "csv").out == "count\n0\n"
    found = ask(home, "select current_user, current_setting('transaction_read_only')", "--format", "csv")
    assert found.out.splitlines()[1] == "sync_reader,on"


def test_a_superuser_is_refused_until_a_reader_is_named(server: Database, database: Database, tmp_path: Path) -> None:
    given = {"SYNC_DATABASE_URL": database.url.replace("//sync@", "//postgres@")}
    done = ask(tmp_path / "home", "copy (select 1) to program 'true'", **given)
    assert (done.status, done.out) == (2, "")
    assert "SYNC_READER_URL" in done.err
    reader = {"SYNC_READER_URL": database.url.replace("//sync@", "//sync_reader@")}
    assert "sync_reader" in ask(tmp_path / "home", "select current_user", **given, **reader).out
    done = ask(tmp_path / "home", "copy (select 1) to program 'true'", **given, **reader)
    assert done.status == 2


def test_an_owner_reads_only(database: Database, tmp_path: Path) -> None:
    for query in ("delete from sync.orders", "do $$ begin delete from sync.orders; end $$"):
        done = ask(tmp_path / "home", query, SYNC_DATABASE_URL=database.url)
        assert (done.status, "read-only" in done.err) == (2, True)


def test_csv_for_a_spreadsheet(home: Path) -> None:
    values = ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "plain", "1-1"]
    query = "select * from unnest(array[" + ", ".join(f"e{v!r}" for v in values) + ']) as "=text", (select -1 as n) t'
    rows = list(csv.reader(io.StringIO(ask(home, query, "--format", "csv", "--spreadsheet-safe").out, newline="")))
    assert rows[0] == ["'=text", "n"]
    assert [row[0] for row in rows[1:]] == [*(f"'{value}" for value in values[:7]), "plain", "1-1"]
    assert {row[1] for row in rows[1:]} == {"-1"}
    as_is = list(csv.reader(io.StringIO(ask(home, query, "--format", "csv").out, newline="")))
    assert as_is[1][0] == "=1+1"


def test_an_option_for_csv_alone(home: Path) -> None:
    done = ask(home, "select 1", "--spreadsheet-safe")
    assert (done.status, "--format csv" in done.err) == (2, True)
