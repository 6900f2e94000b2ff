"""`sync-pipelines up`: runs database, web server and daemon until it is stopped.

Belongs here: the order of starting and stopping, and the messages. Does not belong here: the processes
(`orchestration.services`).
"""

from __future__ import annotations

import fcntl
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from sync_pipelines.commands.progress import working
from sync_pipelines.commands.screen import notify, say
from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.database.embedded import EmbeddedServer, leave_server
from sync_pipelines.errors import ConfigurationError, DatabaseUnavailable, SyncError
from sync_pipelines.privacy.private_files import private_folder

if TYPE_CHECKING:
    from sync_pipelines.orchestration.services import Service

_LOOK_EVERY: Final = 0.5
_FIRST_ANSWER_SECONDS: Final = 120.0
_LAST_SECONDS: Final = 20.0


class _Stop:
    """Set by SIGINT and SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def run(host: str, port: int, *, allow_remote: bool = False) -> int:
    """Runs until SIGINT or SIGTERM; returns the exit status."""
    from sync_pipelines.orchestration import services
    from sync_pipelines.orchestration.listening import check_listening

    settings = load_settings()
    check_listening(host, allow_remote=allow_remote)
    _make_home(settings)
    stop = _Stop()
    with _alone(settings.home / "up.lock"):
        children_file = settings.home / "up.children"
        if services.end_leftovers(children_file):
            notify("stopped processes of an earlier up that was killed")
        services.check_port(host, port)
        with working("starting database, web server and daemon ..."):
            home = _prepare(settings)
            children = services.build_services(host, port, home, settings, allow_remote=allow_remote)
            for child in children:
                child.start()
            services.note_children(children_file, children)
            _wait_for_answer(stop, children, lambda: services.is_answering(host, port))
        try:
            if not stop.asked:
                say(f"The UI is at {_ui_url(settings, host, port)} - Ctrl-C stops it.")
                say(f"Exports in {settings.landing_shown} are loaded automatically.")
            _keep_running(settings, stop, children, lambda: services.note_children(children_file, children))
        finally:
            notify("stopping ...")
            services.stop_all(children)
            children_file.unlink(missing_ok=True)
            # A killed child does not stop the server, so this process leaves last.
            leave_server(settings.home, _LAST_SECONDS)
    return 0


def _ui_url(settings: Settings, host: str, port: int) -> str:
    """Returns the URL of the UI. Other machines can open it under `SYNC_UI_URL` only."""
    from sync_pipelines.orchestration.listening import is_loopback
    from sync_pipelines.orchestration.services import reachable

    if is_loopback(host):
        return f"http://{reachable(host)}:{port}"
    notify(f"--allow-remote: Dagster's UI has no login; whoever reaches port {port} can launch runs and read the data")
    if settings.ui_url is None:
        notify(
            "browsers on other machines need SYNC_UI_URL: set it to the URL they open the UI with, and start up again"
        )
    return settings.ui_url or f"http://localhost:{port}"


def _make_home(settings: Settings) -> None:
    try:
        private_folder(settings.logs)
    except OSError as error:
        message = f"SYNC_HOME={settings.home} cannot be used: {error.strerror}"
        raise ConfigurationError("setting_invalid", message, "name a folder that this user may write") from None


def _prepare(settings: Settings) -> Path:
    from sync_pipelines.orchestration.instance import dagster_home
    from sync_pipelines.orchestration.prepare import prepare

    prepare(settings)
    return dagster_home(settings)


def _wait_for_answer(stop: _Stop, children: list[Service], answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _FIRST_ANSWER_SECONDS
    while not stop.asked and not answers():
        for child in children:
            child.watch(notify)
        if time.monotonic() > deadline:
            notify(f"the web server does not answer yet; see {children[0].log}")
            return
        time.sleep(_LOOK_EVERY)


def _keep_running(settings: Settings, stop: _Stop, children: list[Service], note: Callable[[], None]) -> None:
    server = EmbeddedServer(settings.home) if settings.database_url is None else None
    running = [child.process for child in children]
    while not stop.asked:
        if server is not None and server.state() == "stopped":
            _restart(server)
        for child in children:
            child.watch(notify)
        if running != (running := [child.process for child in children]):
            note()
        time.sleep(_LOOK_EVERY)


def _restart(server: EmbeddedServer) -> None:
    notify("the embedded PostgreSQL ended; starting it again")
    try:
        server.start()
    except DatabaseUnavailable as error:
        notify(f"error: {error.message}")
        time.sleep(5)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two daemons on one database would launch everything twice."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "open its UI, or stop it first"
            raise SyncError("already_up", f"sync-pipelines up is running already with {path.parent}", hint) from None
        yield
