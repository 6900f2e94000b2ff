"""`sync-pipelines up` as a child process, and its web server spoken to as the UI does.

Belongs here: starting, asking, watching, stopping. Does not belong here: what is measured (`backfill`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

LOCATION: Final = "sync_pipelines"
REPOSITORY: Final = "__repository__"

_LAUNCH: Final = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionSetNotFoundError { message }
    ... on UnauthorizedError { message }
  }
}"""
_BACKFILL: Final = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } runs(limit: 500) { runId status } }
  }
}"""
_RUNS: Final = """
query Runs { runsOrError(limit: 1000) { ... on Runs { results {
  runId status jobName tags { key value } startTime endTime } } } }"""
_EVENTS: Final = """
query Events($id: ID!) { logsForRun(runId: $id, limit: 1000) { ... on EventConnection { events {
  ... on MessageEvent { timestamp message } ... on ErrorEvent { error { message causes { message } } } } } } }"""
_STOP_SENSOR: Final = "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }"
_START_SENSOR: Final = """
mutation Start($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }"""
_SENSOR: Final = """
query Sensor($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor { id
  sensorState { status ticks(limit: 50) { status skipReason runIds timestamp endTimestamp error { message } } } } } }"""


@dataclass(frozen=True)
class Up:
    """A running `up`.

    Attributes:
        process: of the command itself.
        port: of its web server.
    """

    process: subprocess.Popen[bytes]
    port: int

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of one GraphQL answer.

        Raises:
            RuntimeError: the answer has errors.
            httpx.HTTPError: the web server does not answer.
        """
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"http://127.0.0.1:{self.port}/graphql", json=body, timeout=60.0).json()
        if answer.get("errors"):
            raise RuntimeError(str(answer["errors"])[:2000])
        return answer["data"]

    def ask_patiently(self, what: str, wanted: str, query: str, **variables: Any) -> Any:
        """An answer's part that has something wanted; asked for a minute while something is being started again."""
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = self.ask(query, **variables)[what]
                if wanted in answer:
                    return answer
                raise RuntimeError(str(answer)[:2000])
            except (httpx.HTTPError, RuntimeError, ValueError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def launch_backfill(self, assets: Iterable[Iterable[str]], days: Iterable[str]) -> str:
        """Launches a backfill of some assets and days, as the UI's dialog does; returns its id."""
        params = {
            "assetSelection": [{"path": list(path)} for path in assets],
            "partitionNames": list(days),
            "fromFailure": False,
            "tags": [],
        }
        launched = self.ask(_LAUNCH, params=params)["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise RuntimeError(str(launched))
        return str(launched["backfillId"])

    def backfill(self, backfill: str) -> dict[str, Any]:
        """Status and runs of a backfill."""
        return dict(self.ask_patiently("partitionBackfillOrError", "status", _BACKFILL, id=backfill))

    def runs(self) -> list[dict[str, Any]]:
        """The newest thousand runs, with their tags as a mapping."""
        found = self.ask_patiently("runsOrError", "results", _RUNS)["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def last_words(self, run_id: str, count: int = 12) -> list[str]:
        """The last messages of a run."""
        events = self.ask_patiently("logsForRun", "events", _EVENTS, id=run_id)["events"]
        return [f"{event['timestamp']} {event['message']} {event.get('error') or ''}" for event in events[-count:]]

    def sensor(self, name: str) -> dict[str, Any]:
        """Id, state and latest ticks of a sensor."""
        return dict(self.ask_patiently("sensorOrError", "id", _SENSOR, selector=_selector(name)))

    def stop_sensor(self, name: str) -> None:
        """Turns a sensor off."""
        self.ask(_STOP_SENSOR, id=self.sensor(name)["id"])

    def start_sensor(self, name: str) -> None:
        """Turns a sensor on."""
        self.ask(_START_SENSOR, selector=_selector(name))

    def processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """What `up` runs, each with what it is: web server, daemon, code server, run."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return
        for child in children:
            try:
                kind = _kind(child.cmdline())
            except psutil.Error:
                continue
            if kind:
                yield kind, child


@contextmanager
def run_up(environment: Mapping[str, str], log: Path, command: Iterable[str] = ()) -> Iterator[Up]:
    """Starts `up` on a free port and waits for its UI; it ends, with all it started, with the block."""
    port = _free_port()
    chosen = [*command] or [sys.executable, "-m", "sync_pipelines", "up", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            chosen, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    up = Up(process, port)
    try:
        wait_until(lambda: _answers(up), 120, "the UI answers")
        yield up
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(question: Callable[[], object], seconds: float, what: str, every: float = 0.5) -> None:
    """Asks until the answer is yes.

    Raises:
        TimeoutError: it was not, in time.
    """
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def _answers(up: Up) -> bool:
    if up.process.poll() is not None:
        raise RuntimeError(f"up ended with {up.process.returncode}")
    try:
        found = up.ask("query { repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
    except (httpx.HTTPError, RuntimeError, ValueError):
        return False
    return bool(found["repositoriesOrError"].get("nodes"))


def _selector(name: str) -> dict[str, str]:
    return {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION, "sensorName": name}


def _kind(command: list[str]) -> str | None:
    words = " ".join(command[:6])
    if "postgres" in words:
        return None
    for sign, kind in (
        ("orchestration.web_server", "web server"),
        ("orchestration.daemon", "daemon"),
        ("multiprocessing.spawn", "run"),
        ("api grpc", "code server"),
    ):
        if sign in words:
            return kind
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
