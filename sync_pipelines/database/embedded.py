"""The PostgreSQL that comes with the wheel: made, started, shared by the processes that need it, stopped by the last.

It listens on a Unix socket in a folder that only its users can enter. `server_access` says who gets in, and as whom.

Every process that uses the server holds a shared lock on a file beside it. The kernel drops the lock of a process
however it ends, so a killed one never keeps the server from stopping, and the last to leave is known for certain.

Belongs here: the life of that server. Does not belong here: connections to it (`postgres`), its tables (`tables`).
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
# Written at every start; your own settings belong at the end of postgresql.conf or in ALTER SYSTEM.
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
# A killed client's statement ends, and lets go of its locks, within this time.
client_connection_check_interval = 2s
"""
_CONF: Final = "sync_pipelines.conf"
_START_SECONDS: Final = 600.0
_RETRY_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 120.0
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET: Final = 103
"""Bytes of a socket's path; Linux takes 107, macOS 103."""
_SOCKETS: Final = "sync_pipelines-"

State = Literal["stopped", "ready", "busy"]


@dataclass(frozen=True)
class EmbeddedServer:
    """One PostgreSQL cluster in `<home>/postgres`, reached by a Unix socket and by its own users only.

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
        """How to connect to the running server as the owner of the database, who is no superuser."""
        return self._url(OWNER)

    @property
    def reader_url(self) -> str:
        """How to connect as a user who only reads."""
        return self._url(READER)

    @property
    def superuser_url(self) -> str:
        """How to connect for the server's own administration."""
        return self._url(SUPERUSER)

    def _url(self, role: str) -> str:
        # The server must be run by the owner of its folder: another user's socket is refused.
        port, owner = self._noted()[3], user_name(self.data.stat().st_uid)
        place = f"host={quote(str(self._sockets()), safe='/')}&port={port}"
        return f"postgresql://{role}@/postgres?{place}&requirepeer={quote(owner)}"

    def _noted(self) -> list[str]:
        """The lines that the server writes about itself."""
        return (self.data / "postmaster.pid").read_text().splitlines()

    def _sockets(self) -> Path:
        """The folder of the socket; a server that does not know its folder's path has it there."""
        noted = Path(self._noted()[4])
        return self.data if noted.is_relative_to("/proc") else noted

    def state(self) -> State:
        """Whether the server runs; `busy` while it starts or stops."""
        import psutil

        try:
            lines = self._noted()
            process = psutil.Process(int(lines[0]))
            ours = process.name().startswith("postgres") and Path(process.cwd()) == self.data.resolve()
        except (OSError, ValueError, IndexError, psutil.Error):
            return "stopped"
        if not ours or process.status() == psutil.STATUS_ZOMBIE:
            # After a restart of the host another process may have the number.
            return "stopped"
        return "ready" if len(lines) > 7 and lines[7].strip() == "ready" else "busy"

    def start(self) -> None:
        """Makes the cluster if there is none and starts the server unless it runs already.

        A cluster of an earlier version, where everybody who reached the socket was superuser, gets its roles first.

        Raises:
            DatabaseUnavailable: it does not start; the message has the server's own last words.
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
                    raise _failed(self, "it was not ready in time")
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
                # Gone in the meantime, or still busy with its last checkpoint, which it completes by itself.
                return
            _remove_sockets(sockets)

    def _make(self) -> None:
        """Makes the cluster beside its place and moves it there, so that a half-made one is never taken for whole."""
        for earlier in self.home.glob("postgres.unfinished-*"):
            shutil.rmtree(earlier, ignore_errors=True)
        try:
            if self.data.exists():
                self.data.rmdir()
            # A name of its own: the initdb of a killed process may still be writing to an earlier one.
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
        """Removes what a server left behind that was killed."""
        if (self.data / "postmaster.pid").exists() and self.state() == "stopped":
            with suppress(OSError, IndexError):
                _remove_sockets(self._sockets())
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        # Without an init process a killed server stays a zombie, which PostgreSQL takes for alive.
        (self.data / f"{_SOCKET}.lock").unlink(missing_ok=True)

    def _socket_folder(self) -> Path:
        """The cluster's own folder; where its path is too long, a new one that nobody else can enter or foresee."""
        if len(os.fsencode(self.data / _SOCKET)) <= _LONGEST_SOCKET:
            return self.data
        base = Path("/tmp") if server_user(self.data) else Path(tempfile.gettempdir())
        if len(os.fsencode(base / f"{_SOCKETS}12345678" / _SOCKET)) > _LONGEST_SOCKET:
            base = Path("/tmp")
        folder = Path(tempfile.mkdtemp(prefix=_SOCKETS, dir=base))
        found = self.data.stat()
        os.chown(folder, found.st_uid, found.st_gid)
        return folder

    def _explain(self, may_retry: bool, said: str) -> None:
        """Raises what the server's log says, unless what stands in its way passes by itself."""
        log = self.data / "log"
        words = _last_words((log.read_text(errors="replace") if log.exists() else "") + said)
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_roles(data: Path) -> None:
    """Gives a cluster whose server is down its roles."""
    run_program(data, "postgres", "--single", "-j", "postgres", given=ROLES)
    mark_roles(data)


def _remove_sockets(folder: Path) -> None:
    """Removes a folder that was made for a socket."""
    if folder.name.startswith(_SOCKETS):
        with suppress(OSError):
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


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
