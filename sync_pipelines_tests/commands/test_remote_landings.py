"""`sync-pipelines` as users run it, with landings behind a real SFTP server and a real S3 server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.orchestration.resources import Unobserved
from sync_pipelines.orchestration.runs import run_pending
from sync_pipelines.stages import export_stages as sync
from sync_pipelines_tests.exports_in import TENANT, order
from sync_pipelines_tests.s3_server import CREDENTIALS, S3Server, s3_server
from sync_pipelines_tests.sftp_server import SftpServer, sftp_server
from sync_pipelines_tests.slow_link import link_to

ORDERS = f"replenit/{TENANT}/orders"


class Remote(Protocol):
    """A landing on a server.

    Attributes:
        url: for `SYNC_LANDING`.
        environment: what a client needs beside it.
    """

    url: str
    environment: Mapping[str, str]

    def put(self, name: str, *keys: str, **fields: object) -> str:
        """Puts an export with these orders down; returns its path."""


def content_of(*keys: str, **fields: object) -> bytes:
    return json.dumps([order(key, **fields) for key in keys]).encode()


@dataclass
class Sftp:
    """A folder of this machine, behind an SFTP server."""

    url: str
    folder: Path
    environment: Mapping[str, str]

    def put(self, name: str, *keys: str, **fields: object) -> str:
        path = self.folder / ORDERS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(*keys, **fields))
        return f"{ORDERS}/{name}"


@dataclass
class S3:
    """A prefix of a bucket."""

    url: str
    server: S3Server
    environment: Mapping[str, str]

    def put(self, name: str, *keys: str, **fields: object) -> str:
        self.server.put(f"{self.url.removeprefix('s3://exports/')}/{ORDERS}/{name}", content_of(*keys, **fields))
        return f"{ORDERS}/{name}"


@pytest.fixture(scope="module")
def sftp() -> Iterator[SftpServer]:
    with sftp_server() as server:
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["sftp", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return S3(f"s3://exports/{tmp_path.name}", server, server.environment)
    folder = tmp_path / "landing"
    folder.mkdir()
    sftp: SftpServer = request.getfixturevalue("sftp")
    return Sftp(f"{sftp.url}{folder}", folder, {"SYNC_SFTP_KNOWN_HOSTS": str(sftp.known_hosts(tmp_path))})


@dataclass(frozen=True)
class Commands:
    """`sync-pipelines` in processes of its own."""

    settings: Settings
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.settings.home.parent),
            "SYNC_HOME": str(self.settings.home),
            "SYNC_DATABASE_URL": str(self.settings.database_url),
            "SYNC_SOURCES": str(self.settings.sources),
            **self.environment,
        }
        command = [sys.executable, "-m", "sync_pipelines", *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.settings.home.parent, capture_output=True, text=True, timeout=120
        )

    def sync(self, status: int) -> dict[str, Any]:
        """What `sync --json` says of each file, by path."""
        done = self.run("sync", "--json")
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return {file["path"]: file for file in json.loads(done.stdout)["files"]}


@pytest.fixture
def commands(settings: Settings, remote: Remote) -> Commands:
    return Commands(settings, {**remote.environment, "SYNC_LANDING": remote.url})


def orders(settings: Settings) -> dict[str, int]:
    """Key -> quantity."""
    with sync.open_workspace(settings).connection() as connection:
        return dict(connection.execute("select external_id, total_quantity from sync.live_orders").fetchall())


def test_exports_are_loaded_once_and_again_when_they_change(
    commands: Commands, remote: Remote, settings: Settings
) -> None:
    first = remote.put("2024-05-02.json", "A", "B", TotalQuantity=1)
    found = commands.sync(0)
    assert [(f["status"], f["created"]) for f in found.values()] == [("loaded", 2)] and list(found) == [first]
    time.sleep(2.1)  # a file that was changed less than two seconds ago is looked at again
    late, bad = remote.put("2024-05-01.json", "A", "C", TotalQuantity=7), remote.put("2024-05-03.json", "")
    found = commands.sync(5)
    assert found.keys() == {late, bad}
    assert (found[late]["created"], found[bad]["status"]) == (1, "held")
    assert orders(settings) == {"A": 1, "B": 1, "C": 7}
    remote.put("2024-05-02.json", "A", "B", "D", TotalQuantity=20)
    found = commands.sync(0)
    assert found.keys() == {first} and found[first]["updated"] == 2
    assert orders(settings) == {"A": 20, "B": 20, "C": 7, "D": 20}
    done = commands.run("sync")
    assert (done.returncode, done.stderr) == (0, "")
    nothing = "Nothing to do: 1 export is held, and every other export in the landing is loaded."
    assert done.stdout.startswith(nothing)


def test_a_file_that_is_no_export_fails_alone(commands: Commands, remote: Remote) -> None:
    good = remote.put("2024-05-02.json", "A")
    bad = remote.put("2024-05-01.csv.gz", "A")
    found = commands.sync(4)
    assert {path: f["status"] for path, f in found.items()} == {good: "loaded", bad: "failed"}
    assert found[bad]["error"].startswith("bad_compression: ")


def test_runs_within_a_process_that_lives_on(
    remote: Remote, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in remote.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SYNC_LANDING", remote.url)
    monkeypatch.setenv("SYNC_HOME", str(settings.home))
    monkeypatch.setenv("SYNC_DATABASE_URL", str(settings.database_url))
    workspace = sync.open_workspace(load_settings())
    for day in (1, 2):
        remote.put(f"2024-05-0{day}.json", "A", TotalQuantity=day)
        run_pending(workspace, sync.discover(workspace).pending, Unobserved())
        assert orders(settings) == {"A": day}


def test_a_server_that_freezes_ends_a_sync_in_time(settings: Settings, sftp: SftpServer, tmp_path: Path) -> None:
    folder = tmp_path / "landing"
    landing = Sftp(f"{sftp.url}{folder}", folder, {})
    for day in range(1, 6):
        landing.put(f"2024-05-0{day}.json", *(f"K{n}" for n in range(10_000)))
    with link_to(sftp.port) as link:
        environment = {
            "SYNC_LANDING": f"{sftp.url_at(link.port)}{folder}",
            "SYNC_LANDING_TIMEOUT": "1",
            "SYNC_SFTP_KNOWN_HOSTS": str(sftp.known_hosts(tmp_path, link.port)),
        }
        commands = Commands(settings, environment)
        link.freeze(500_000)
        done = commands.run("sync", "--json")
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "error: the landing cannot be read at sftp://ana:***@127.0.0.1" in done.stderr
        assert "Traceback" not in done.stderr and ":open@" not in done.stderr
        link.thaw()
        assert {f["status"] for f in commands.sync(0).values()} == {"loaded"}


def fault_of(commands: Commands, status: int = 2) -> str:
    """What `sync` and `check` say of a landing that cannot be used."""
    synced, checked = commands.run("sync", "--json"), commands.run("check")
    assert (synced.returncode, synced.stdout) == (status, ""), synced.stderr
    assert checked.returncode == status, checked.stdout
    assert "ERROR  landing: " in checked.stdout
    assert "Traceback" not in synced.stderr + checked.stderr
    sentence = synced.stderr.removeprefix("error: ").splitlines()[0]
    assert sentence.split(" (")[0] in checked.stdout
    return sentence


def test_a_landing_that_is_not_there(commands: Commands, remote: Remote) -> None:
    wrong = {"s3": "s3://no-such-bucket/landing", "sftp": f"{remote.url}/no-such-folder"}[remote.url.partition(":")[0]]
    commands = Commands(commands.settings, {**commands.environment, "SYNC_LANDING": wrong})
    assert "does not exist: " in fault_of(commands)


def test_a_local_landing_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mistypde").mkdir()
    commands = Commands(settings, {"SYNC_LANDING": str(tmp_path / "mistyped")})
    assert fault_of(commands) == f"the landing {tmp_path / 'mistyped'} does not exist"
    assert f"did you mean {tmp_path / 'mistypde'}?" in commands.run("check").stdout
    assert not (tmp_path / "mistyped").exists()
    (tmp_path / "mistyped").mkdir()
    assert commands.sync(0) == {}


def test_a_landing_that_is_empty(commands: Commands, remote: Remote) -> None:
    done = commands.run("sync")
    assert (done.returncode, done.stdout.startswith("Nothing to do: the landing ")) == (0, True), done.stderr
    assert done.stdout.rstrip().endswith("is empty.")
    checked = commands.run("check")
    assert checked.returncode == 0
    # A bucket has no folders: a prefix may be mistyped, or wait for its first export.
    says_so = "NOTE   landing: s3://exports/" in checked.stdout
    assert says_so == remote.url.startswith("s3:")


def test_parts_of_a_folder_are_one_export(commands: Commands, remote: Remote, settings: Settings) -> None:
    source = {"partner": "replenit", "tenant": TENANT, "streams": {"orders": {"parts": "folder"}}}
    settings.sources.write_text(json.dumps({"sources": [source]}))
    remote.put("2010-12-01/part-0.json", "A")
    remote.put("2010-12-01/part-1.json", "B")
    assert {path: file["read"] for path, file in commands.sync(0).items()} == {f"{ORDERS}/2010-12-01/": 2}
    remote.put("2010-12-01/part-2.json", "C")
    assert {path: file["read"] for path, file in commands.sync(0).items()} == {f"{ORDERS}/2010-12-01/": 3}
    assert orders(settings).keys() == {"A", "B", "C"}


def test_check_says_which_server_and_user_it_used(commands: Commands, remote: Remote) -> None:
    remote.put("2024-05-02.json", "A")
    done = commands.run("check")
    assert done.returncode == 0
    if remote.url.startswith("s3:"):
        assert f"at {commands.environment['AWS_ENDPOINT_URL']}, as access key ana... (env)" in done.stdout
    else:
        assert ", as ana" in done.stdout
    assert "opensesame" not in done.stdout and ":open@" not in done.stdout


@pytest.mark.parametrize("command", ["sync", "check"])
def test_a_bucket_of_many_tenants_is_not_asked_tenant_by_tenant(
    settings: Settings, s3: S3Server, tmp_path: Path, command: str
) -> None:
    prefix = f"{tmp_path.name}/replenit"
    for number in range(25):
        # Too old to be loaded, so that nothing is asked but what there is.
        s3.put(f"{prefix}/3f0c9a52-6b1e-4d7a-9c35-{number:012}/orders/1999-05-02.json", content_of("A"))
    commands = Commands(settings, {**s3.environment, "SYNC_LANDING": f"s3://exports/{tmp_path.name}"})
    before = len(s3.requests)
    done = commands.run(command)
    asked = s3.requests[before:]
    assert done.stdout.count("1999-05-02.json" if command == "sync" else "/orders: 1 export\n") == 25, done.stdout
    assert asked
    assert [request for request in asked if "/3f0c9a52" in request] == []


def test_a_bucket_without_credentials(settings: Settings, s3: S3Server, tmp_path: Path) -> None:
    environment = {"AWS_ENDPOINT_URL": s3.url, "AWS_EC2_METADATA_DISABLED": "true", "SYNC_LANDING": "s3://exports/x"}
    sentence = fault_of(Commands(settings, environment))
    assert "was denied: Unable to locate credentials" in sentence


@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_credentials_of_a_bucket_from_the_env_file(commands: Commands, remote: Remote) -> None:
    remote.put("2024-05-02.json", "A")
    folder = commands.settings.home.parent
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in commands.environment.items()))
    assert len(Commands(commands.settings, {}).sync(0)) == 1


def test_a_bucket_that_does_not_answer(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "SYNC_LANDING_TIMEOUT": "1"}
        begun = time.monotonic()
        sentence = fault_of(Commands(settings, {**environment, "SYNC_LANDING": "s3://exports/x"}), status=1)
        assert time.monotonic() - begun < 60
    assert sentence.startswith("the landing cannot be read at s3://exports/x")
