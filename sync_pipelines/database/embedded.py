"""The bundled PostgreSQL: created, started, shared by the processes that use it, stopped by the last of them.

It listens on a Unix socket in a folder that only its users can enter. `server_access` defines who may connect.

Every process that uses the server holds a shared lock on a file beside it. The kernel releases the lock however the
process ends, so a killed process never keeps the server running, and the last one knows that it is the last.

Belongs here: starting and stopping the server. Does not belong here: connections (`postgres`), tables (`tables`).
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from sync_pipelines.database.server_access import (
    OWNER,
    READER,
    ROLES,
    SUPERUSER,
    has_roles,
    mark_roles,
    user_name,
    write_access,
)
from sync_pipelines.database.server_programs import DATA, give_to_server, run_program, server_user
from sync_pipelines.errors import DatabaseUnavailable
from sync_pipelines.privacy.private_files import write_private

_PARAMETERS: Final = """\
# Written at every start. Put your own settings at the end of postgresql.conf, or use ALTER SYSTEM.
shared_buffers = 256MB
work_mem = 32MB
maintenance_work_mem = 128MB
max_connections = 200
max_wal_size = 2GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
# The statement of a killed client ends, and releases its locks, within this time.
client_connection_check_interval = 2s
"""
_CONF: Final = "sync_pipelines.conf"
_START_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 120.0
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET: Final = 103
"""Longest path of a socket in bytes; Linux allows 107, macOS 103."""
_SOCKETS: Final = "sync_pipelines-"

State = Literal["stopped", "ready", "busy"]


@dataclass(frozen=True)
class EmbeddedServer:
    """A PostgreSQL cluster in `<home>/postgres`, reachable by a Unix socket and by its own users only.

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
        """The address of the running server for the owner of the database, who is not a superuser."""
        return self._url(OWNER)

    @property
    def reader_url(self) -> str:
        """The address for the read-only user."""
        return self._url(READER)

    @property
    def superuser_url(self) -> str:
        """The address for administration of the server."""
        return self._url(SUPERUSER)

    def _url(self, role: str) -> str:
        # The owner of the folder must run the server: another user's socket is rejected.
        port, owner = self._noted()[3], user_name(self.data.stat().st_uid)
        place = f"host={quote(str(self._sockets()), safe='/')}&port={port}"
        return f"postgresql://{role}@/postgres?{place}&requirepeer={quote(owner)}"

    def _noted(self) -> list[str]:
        """The lines of the server's pid file."""
        return (self.data / "postmaster.pid").read_text().splitlines()

    def _sockets(self) -> Path:
        """The folder of the socket; the cluster's folder if the server knows that by a descriptor only."""
        noted = Path(self._noted()[4])
        return self.data if noted.is_relative_to("/proc") else noted

    def state(self) -> State:
        """Returns whether the server runs; `busy` while it starts or stops."""
        import psutil

        try:
            lines = self._noted()
            process = psutil.Process(int(lines[0]))
            ours = process.name().startswith("postgres") and Path(process.cwd()) == self.data.resolve()
        except (OSError, ValueError, IndexError, psutil.Error):
            return "stopped"
        if not ours or process.status() == psutil.STATUS_ZOMBIE:
            # After a restart of the host another process may have this pid.
            return "stopped"
        return "ready" if len(lines) > 7 and lines[7].strip() == "ready" else "busy"

    def start(self) -> None:
        """Creates the cluster if there is none, and starts the server unless it runs.

        A cluster of an earlier version, in which every client was superuser, gets its roles first.

        Raises:
            DatabaseUnavailable: it does not start; the message ends with the last lines of the server's log.
        """
        with _locked(self.home / "postgres.start"):
            if not (self.data / "PG_VERSION").exists():
                self._make()
            if not has_roles(self.data):
                self.stop()
            began = time.monotonic()
            while (state := self.state()) != "ready":
                spent = time.monotonic() - began
                if spent > _START_SECONDS:
                    raise _failed(self, f"it was not ready within {_START_SECONDS:.0f} seconds")
                if state == "stopped":
                    self._launch(may_retry=spent < _RETRY_SECONDS)
                else:
                    time.sleep(0.1)

    def stop(self) -> None:
        """Stops the server; open transactions of others are rolled back."""
        if self.state() != "stopped":
            sockets = self._sockets()
            try:
                run_program(self.data, "pg_ctl", "stop", "-m", "fast", "-w", "-t", str(int(_STOP_SECONDS)))
            except (subprocess.SubprocessError, OSError):
                # Already stopped, or busy with its last checkpoint, which it completes on its own.
                return
            _remove_sockets(sockets)

    def _make(self) -> None:
        """Creates the cluster in a temporary folder and renames it, so that an unfinished one is never used."""
        for earlier in self.home.glob("postgres.unfinished-*"):
            shutil.rmtree(earlier, ignore_errors=True)
        try:
            if self.data.exists():
                self.data.rmdir()
            # A new name each time: the initdb of a killed process may still write to an earlier one.
            unfinished = Path(tempfile.mkdtemp(prefix="postgres.unfinished-", dir=self.home))
            give_to_server(unfinished)
            locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            run_program(unfinished, "initdb", "--auth=peer", "-U", SUPERUSER, "--encoding=UTF8", *locale)
            with (unfinished / "postgresql.conf").open("a") as conf:
                conf.write(f"\ninclude_if_exists = '{_CONF}'\n")
            _make_roles(unfinished)
            unfinished.rename(self.data)
        except subprocess.CalledProcessError as error:
            raise _failed(self, _last_words(error.stderr)) from None
        except OSError as error:
            raise _failed(self, str(error)) from None

    def _launch(self, may_retry: bool) -> None:
        try:
            self._clear_away()
            if not has_roles(self.data):
                _make_roles(self.data)
            write_access(self.data)
            found = self.data.stat()
            write_private(self.data / _CONF, _PARAMETERS, (found.st_uid, found.st_gid))
            sockets = self._socket_folder()
            options = f"-h '' -k '{DATA if sockets == self.data else sockets}'"
            log = f"{DATA}/log"
            run_program(self.data, "pg_ctl", "start", "-l", log, "-o", options, "-w", "-t", str(int(_START_SECONDS)))
        except subprocess.CalledProcessError as error:
            self._explain(may_retry, error.stderr)
        except OSError as error:
            raise _failed(self, str(error)) from None

    def _clear_away(self) -> None:
        """Removes files that a killed server left behind."""
        if (self.data / "postmaster.pid").exists() and self.state() == "stopped":
            with suppress(OSError, IndexError):
                _remove_sockets(self._sockets())
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        # Without an init process a killed server stays a zombie, which PostgreSQL considers alive.
        (self.data / f"{_SOCKET}.lock").unlink(missing_ok=True)

    def _socket_folder(self) -> Path:
        """Returns the cluster's folder; if its path is too long, a new private folder with a random name.

        A server that is started again gets the same name again, because processes keep its address.
        """
        if len(os.fsencode(self.data / _SOCKET)) <= _LONGEST_SOCKET:
            return self.data
        base = Path("/tmp") if server_user(self.data) else Path(tempfile.gettempdir())
        if len(os.fsencode(base / f"{_SOCKETS}12345678" / _SOCKET)) > _LONGEST_SOCKET:
            base = Path("/tmp")
        folder = self._named_folder(base)
        found = self.data.stat()
        os.chown(folder, found.st_uid, found.st_gid)
        return folder

    def _named_folder(self, base: Path) -> Path:
        """Makes a folder with the name of an earlier server's, or a new name if anybody has taken that one."""
        noted = self.home / "postgres.sockets"
        with suppress(OSError, ValueError):
            name = noted.read_text()
            if name.startswith(_SOCKETS) and "/" not in name:
                (folder := base / name).mkdir(mode=0o700)
                return folder
        folder = Path(tempfile.mkdtemp(prefix=_SOCKETS, dir=base))
        write_private(noted, folder.name)
        return folder

    def _explain(self, may_retry: bool, output: str) -> None:
        """Raises the error of the server's log, unless it is a temporary one that a retry may solve."""
        log = self.data / "log"
        words = _last_words((log.read_text(errors="replace") if log.exists() else "") + output)
        # Children of a killed server hold its memory for a moment; a server whose starter was killed may still start.
        passing = self.state() != "stopped" or any(sign in words for sign in ("still in use", "already exists"))
        if not (passing and may_retry):
            raise _failed(self, words)
        time.sleep(0.5)


_held: dict[Path, tuple[int, int]] = {}


def use_server(home: Path) -> EmbeddedServer:
    """Returns the running server of a state folder; this process is one of its users until it ends.

    Raises:
        DatabaseUnavailable: the folder is not writable or the server does not start.
    """
    server = EmbeddedServer(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _held.get(home, (0, 0))[0] != os.getpid():
            descriptor = os.open(home / "postgres.users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _held[home] = (os.getpid(), descriptor)
            atexit.register(leave_server, home)
    except OSError as error:
        raise _failed(server, str(error)) from None
    if server.state() != "ready" or not has_roles(server.data):
        server.start()
    return server


def leave_server(home: Path, patience: float = 0.0) -> None:
    """Ends this process's use of a state folder's server, and stops the server if no other process uses it.

    Args:
        home: the state folder.
        patience: seconds to wait for other processes.
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_roles(data: Path) -> None:
    """Creates the roles of a cluster whose server is not running."""
    run_program(data, "postgres", "--single", "-j", "postgres", given=ROLES)
    mark_roles(data)


def _remove_sockets(folder: Path) -> None:
    """Removes a folder that was created for a socket."""
    if folder.name.startswith(_SOCKETS):
        with suppress(OSError):
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def _last_words(log: str | None) -> str:
    lines = [line for line in (log or "").splitlines() if line.strip()]
    relevant = [line for line in lines[-20:] if any(word in line for word in ("FATAL", "PANIC", "error:", "HINT"))]
    return " ".join((relevant or lines[-2:])[-3:])


def _failed(server: EmbeddedServer, why: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "database_unavailable",
        f"the embedded PostgreSQL in {server.data} does not start: {why or 'its log is empty'}",
        f"see {server.data / 'log'}, or use another server: set SYNC_DATABASE_URL",
    )
