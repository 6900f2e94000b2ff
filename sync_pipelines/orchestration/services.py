"""The child processes of `up`: Dagster's web server and daemon.

Belongs here: starting, watching, restarting and stopping them. Does not belong here: what they do (`definitions`),
messages to the user (`commands.up`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.errors import SyncError
from sync_pipelines.orchestration.environment import services_environment
from sync_pipelines.privacy.private_files import private_folder

_WORKSPACE: Final = ("--workspace", str(Path(__file__).with_name("workspace.yaml")))
_WEB_SERVER: Final = "sync_pipelines.orchestration.web_server"
_DAEMON: Final = "sync_pipelines.orchestration.daemon"
_LOG_LIMIT: Final = 10_000_000
_STEADY_SECONDS: Final = 60.0
_LONGEST_PAUSE: Final = 60.0
_STOP_SECONDS: Final = 20.0
_GONE_SECONDS: Final = 10.0


@dataclass
class Service:
    """A child process that is restarted when it ends, each time after a longer pause.

    Attributes:
        name: for messages and its log file.
        command: the program and its arguments.
        environment: the environment variables of the process.
        log: the file for its output.
        left: processes that it left running when it ended unexpectedly, such as runs that it had launched.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    pause: float = 1.0
    left: list[psutil.Process] = field(default_factory=list)
    _started: float = 0.0
    _due: float = field(default=0.0)

    def start(self) -> None:
        """Starts the process in its own session, so that Ctrl-C does not reach it directly."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started = time.monotonic()

    def watch(self, report: Callable[[str], None]) -> None:
        """Restarts the process if it ended and its pause is over; passes messages to `report`."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is None:
            if now - self._started > _STEADY_SECONDS:
                self.pause = 1.0
            return
        if self.process is not None:
            status = self.process.returncode
            report(f"the {self.name} ended ({status}); starting it again in {self.pause:.0f} s; see {self.log}")
            self.left = [process for process in [*self.left, *_group(self.process.pid)] if _is_alive(process)]
            self.process = None
            self._due = now + self.pause
            self.pause = min(self.pause * 2, _LONGEST_PAUSE)
        if now >= self._due:
            self.start()

    def terminate(self) -> None:
        """Sends SIGTERM to the process if it is running."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, deadline: float) -> None:
        """Waits for the process to end until a deadline, then kills it and its children.

        It waits until all have ended, because the last user of the embedded database stops the server.
        """
        everyone = list(self.left)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.0, deadline - time.monotonic()))
            everyone += _group(self.process.pid)
        for process in everyone:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process is not None:
            self.process.wait()
        gone_by = time.monotonic() + _GONE_SECONDS
        while any(map(_is_alive, everyone)) and time.monotonic() < gone_by:
            time.sleep(0.05)


def build_services(
    host: str, port: int, dagster_home: Path, settings: Settings, *, allow_remote: bool = False
) -> list[Service]:
    """Returns the web server behind its door, and the daemon, with the same Dagster home."""
    logs = private_folder(settings.logs)
    environment = {**services_environment(settings), "DAGSTER_HOME": str(dagster_home), "PYTHONUNBUFFERED": "1"}
    web = [sys.executable, "-m", _WEB_SERVER, "-h", host, "-p", str(port), *_WORKSPACE]
    web += ["--allow-remote"] if allow_remote else []
    daemon = [sys.executable, "-m", _DAEMON, "run", *_WORKSPACE]
    return [
        Service("web server", web, environment, logs / "webserver.log"),
        Service("daemon", daemon, environment, logs / "daemon.log"),
    ]


def stop_all(services: Iterable[Service]) -> None:
    """Stops all of them at the same time, including the runs that they launched."""
    chosen = list(services)
    for service in chosen:
        service.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for service in chosen:
        service.stop(deadline)


def is_answering(host: str, port: int) -> bool:
    """Returns whether the web server responds."""
    import httpx

    try:
        # The door accepts known hosts only, whatever address the server listens on.
        url, headers = f"http://{reachable(host)}:{port}/server_info", {"Host": "localhost"}
        return httpx.get(url, headers=headers, timeout=2.0).is_success
    except httpx.HTTPError:
        return False


def reachable(host: str) -> str:
    """Returns the address to connect to for a listening address, from this machine."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def check_port(host: str, port: int) -> None:
    """Checks that the port is free.

    Raises:
        SyncError: `port_in_use`, or `host_unknown`.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror as error:
        raise SyncError(
            "host_unknown", f"{host} is not an address of this machine: {error.strerror}", "drop --host"
        ) from None
    except OSError as error:
        hint = "stop the program that uses it, or choose another port with --port (make up PORT=...)"
        raise SyncError("port_in_use", f"port {port} on {host} cannot be used: {error.strerror}", hint) from None


def note_children(path: Path, services: Iterable[Service]) -> None:
    """Records the running processes, so that the next `up` can stop them if this one is killed."""
    noted: list[tuple[int, float]] = []
    for service in services:
        alive = [service.process.pid] if service.process is not None and service.process.poll() is None else []
        for pid in [*alive, *(process.pid for process in service.left)]:
            with contextlib.suppress(psutil.Error):
                noted.append((pid, psutil.Process(pid).create_time()))
    path.write_text(json.dumps(noted))


def end_leftovers(path: Path) -> int:
    """Stops the children of an earlier, killed `up`; returns how many.

    Two daemons would launch every run twice.
    """
    try:
        noted = json.loads(path.read_text())
    except (OSError, ValueError):
        return 0
    found = [process for pid, started in noted if (process := _same_process(pid, started))]
    everyone = [p for process in found for p in (process, *_children(process))]
    for process in everyone:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    # Children of a script's background job may ignore SIGTERM.
    deaf = psutil.wait_procs(everyone, timeout=_STOP_SECONDS)[1]
    for process in deaf:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(deaf, timeout=_GONE_SECONDS)
    path.unlink(missing_ok=True)
    return len(found)


def _same_process(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < 0.01 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def _group(number: int) -> list[psutil.Process]:
    """The running processes of the session of a child."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == number and _is_alive(process):
                found.append(process)
    return found


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
