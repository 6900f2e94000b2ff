# paramiko has no types.
# mypy: ignore-errors
"""An SFTP server over the folders of this machine, with the user `ana`, the password `open` or a key.

Belongs here: the server. Does not belong here: assertions.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko
from paramiko.sftp_attr import SFTPAttributes


class _Login(paramiko.ServerInterface):
    def __init__(self, user_key: paramiko.PKey) -> None:
        self._user_key = user_key

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        is_right = (username, key) == ("ana", self._user_key)
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        is_right = (username, password) == ("ana", "open")
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Files(paramiko.SFTPServerInterface):
    """Reads only; tells of links what they are, as OpenSSH's server does."""

    def list_folder(self, path: str) -> Any:
        try:
            return [
                SFTPAttributes.from_stat(entry.stat(follow_symlinks=False), entry.name) for entry in os.scandir(path)
            ]
        except OSError as fault:
            return paramiko.SFTPServer.convert_errno(fault.errno or 0)

    def stat(self, path: str) -> Any:
        return self._told(path, os.stat)

    def lstat(self, path: str) -> Any:
        return self._told(path, os.lstat)

    def canonicalize(self, path: str) -> str:
        return os.path.realpath(path)

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = os.fdopen(os.open(path, os.O_RDONLY), "rb")
        except OSError as fault:
            return paramiko.SFTPServer.convert_errno(fault.errno or 0)
        return handle

    def _told(self, path: str, look: Any) -> Any:
        try:
            return SFTPAttributes.from_stat(look(path))
        except OSError as fault:
            return paramiko.SFTPServer.convert_errno(fault.errno or 0)


class SftpServer:
    """A server that runs until it is closed.

    Attributes:
        port: where it listens.
        key: its own.
        user_key: lets `ana` in.
    """

    def __init__(self, port: int = 0, key: paramiko.PKey | None = None) -> None:
        self.key = key or paramiko.ECDSAKey.generate()
        self.user_key = paramiko.ECDSAKey.generate()
        self._transports: list[paramiko.Transport] = []
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """The beginning of URLs of this machine's folders: `sftp://ana:open@127.0.0.1:2022`."""
        return self.url_at(self.port)

    @staticmethod
    def url_at(port: int) -> str:
        """The same by way of another port."""
        return f"sftp://ana:open@127.0.0.1:{port}"

    def known_hosts(self, folder: Path, *ports: int) -> Path:
        """Writes a file that knows the server's key, at its own port and others."""
        lines = [f"[127.0.0.1]:{port} {self.key.get_name()} {self.key.get_base64()}\n" for port in (self.port, *ports)]
        file = folder / f"known_hosts_{self.port}"
        file.write_text("".join(lines))
        return file

    def end_sessions(self) -> None:
        """Ends every session; new ones are possible."""
        transports, self._transports = self._transports, []
        for transport in transports:
            transport.close()

    def close(self) -> None:
        """Ends the server."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.end_sessions()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files)
            self._transports.append(transport)
            # A client may be gone before the session begins.
            with suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=_Login(self.user_key))


@contextmanager
def sftp_server(port: int = 0, key: paramiko.PKey | None = None) -> Iterator[SftpServer]:
    """A server with a key of its own, or a given one."""
    server = SftpServer(port, key)
    try:
        yield server
    finally:
        server.close()
