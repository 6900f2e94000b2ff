"""The project's web server and nginx before it, as production runs them, on free ports of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.postgres import Database
from sync_pipelines.orchestration.instance import dagster_home

ROOT: Final = Path(__file__).parents[1]
START_SECONDS: Final = 120
STOP_SECONDS: Final = 30
PROTOCOL: Final = Subprotocol("graphql-ws")
UI_HOST: Final = "dagster.example.com"
USER: Final = ("ada", "secret of ada")

LAUNCH: Final = (
    'mutation{launchRun(executionParams:{selector:{repositoryLocationName:"sync_pipelines",'
    'repositoryName:"__repository__",jobName:"sync_housekeeping"},mode:"default"}){__typename}}'
)
ASSET: Final = ("exports", "replenit", "orders")
WIPE: Final = f"mutation{{wipeAssets(assetPartitionRanges:[{{assetKey:{{path:{json.dumps(ASSET)}}}}}]){{__typename}}}}"
_SEEN: Final = f"""{{
  runsOrError {{ ... on Runs {{ results {{ runId }} }} }}
  assetOrError(assetKey: {{path: {json.dumps(ASSET)}}}) {{ ... on Asset {{ assetMaterializations {{ timestamp }} }} }}
}}"""


@dataclass(frozen=True)
class WebServer:
    """A running web server, alone with a database of its own: what is launched stays queued.

    Attributes:
        port: which it listens on, at 127.0.0.1.
    """

    port: int

    @property
    def url(self) -> str:
        """Where its UI is."""
        return f"http://127.0.0.1:{self.port}"

    def post(self, query: str) -> Any:
        """The data of a GraphQL answer, asked for as a program does."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query}, timeout=60).raise_for_status().json()
        assert "errors" not in answer, answer
        return answer["data"]

    def seen(self) -> tuple[int, int]:
        """The number of runs, and of materializations of `ASSET`."""
        data = self.post(_SEEN)
        return len(data["runsOrError"]["results"]), len(data["assetOrError"].get("assetMaterializations", ()))

    def materialize(self) -> None:
        """Gives `ASSET` a materialization that can be wiped."""
        body = {"partition": "2024-03-01"}
        path = f"report_asset_materialization/{'/'.join(ASSET)}"
        httpx.post(f"{self.url}/{path}", json=body, timeout=60).raise_for_status()


@contextmanager
def web_server(database: Database, folder: Path, ui_url: str | None = None) -> Iterator[WebServer]:
    """Runs the web server until the block ends."""
    settings = Settings(home=folder / "home", database_url=database.url)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SYNC_", "DAGSTER_"))} | {
        "SYNC_HOME": str(settings.home),
        "SYNC_DATABASE_URL": database.url,
        "DAGSTER_HOME": str(dagster_home(settings)),
    }
    if ui_url:
        environment["SYNC_UI_URL"] = ui_url
    server = WebServer(free_port())
    command = [sys.executable, "-m", "sync_pipelines.orchestration.web_server", "-p", str(server.port)]
    with running(command, folder / "web.log", environment, lambda: _answers(server.url)):
        yield server


@dataclass(frozen=True)
class Proxy:
    """nginx with the configuration of `deploy/`.

    Attributes:
        port: which it listens on, at 127.0.0.1.
        certificate: what it shows.
    """

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        """What users open."""
        return f"https://{UI_HOST}:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext:
        """Trusts its certificate alone."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def request(self, method: str, path: str, *, user: tuple[str, str] | None = USER, **given: Any) -> httpx.Response:
        """One answer, asked for by the name that users know."""
        headers = {"Host": f"{UI_HOST}:{self.port}"} | given.pop("headers", {})
        with httpx.Client(verify=self.trust, auth=user, timeout=60) as client:
            url, name = f"https://127.0.0.1:{self.port}{path}", {"sni_hostname": UI_HOST}
            return client.request(method, url, headers=headers, extensions=name, **given)

    def websocket(self, headers: Mapping[str, str]) -> ClientConnection:
        """A GraphQL WebSocket."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        url = self.url.replace("https://", "wss://") + "/graphql"
        return connect(url, sock=connection, ssl=self.trust, subprotocols=[PROTOCOL], additional_headers=dict(headers))


@contextmanager
def proxy(port: int, server: WebServer, folder: Path) -> Iterator[Proxy]:
    """Runs nginx before a web server until the block ends, with nothing of its configuration changed but places."""
    certificate, key = _certificate(folder)
    (users := folder / "htpasswd").write_text(f"{USER[0]}:{{PLAIN}}{USER[1]}\n")
    text = (ROOT / "deploy/nginx/sync_pipelines.conf").read_text()
    for found, put, times in (
        (r"listen 443 ", f"listen 127.0.0.1:{port} ", 2),
        # Not every machine has IPv6.
        (r" *listen \[::\]:443 .*\n", "", 2),
        (r"/etc/ssl/certs/dagster\.example\.com\.pem", str(certificate), 2),
        (r"/etc/ssl/private/dagster\.example\.com\.key", str(key), 2),
        (r"/etc/nginx/sync_pipelines\.htpasswd", str(users), 1),
        (r"127\.0\.0\.1:3000", f"127.0.0.1:{server.port}", 1),
    ):
        text, replaced = re.subn(found, put, text)
        assert replaced == times, found
    (folder / "site.conf").write_text(text)
    (folder / "nginx.conf").write_text(_around(folder))
    command = [_program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.err")]
    with running(command, folder / "nginx.log", dict(os.environ), lambda: _accepts(port)):
        yield Proxy(port, certificate)


def _around(folder: Path) -> str:
    """What a distribution's `nginx.conf` has around a site."""
    # The worker of root would be nobody, who may not read a test's folder.
    lines = ["user root;"] if os.geteuid() == 0 else []
    lines += ["daemon off;", f"pid {folder}/nginx.pid;", "events {}", "http {", f"access_log {folder}/access.log;"]
    lines += [f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    return "\n".join([*lines, f"include {folder}/site.conf;", "}"])


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "site.pem", folder / "site.key"
    names = f"subjectAltName=DNS:{UI_HOST}"
    command = [_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-addext", names]
    command += ["-subj", f"/CN={UI_HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _program(name: str) -> str:
    """A program of the machine; on a developer's machine a test can do without, in CI it cannot."""
    if found := shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin"):
        return found
    if os.environ.get("CI"):
        pytest.fail(f"no {name}: .ci/run installs it with apt-get")
    pytest.skip(f"no {name} here: install it (Debian: apt-get install {name}) to run this test")


@contextmanager
def running(command: list[str], log: Path, environment: Mapping[str, str], is_up: Any) -> Iterator[None]:
    """Runs a server until the block ends, and waits until it is up."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_up():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        print(log.read_text())


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
