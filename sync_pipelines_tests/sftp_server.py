# paramiko has no types.
# mypy: ignore-errors
"""An SFTP server over a folder of this machine, with the user `ana` and the password `open`.

Belongs here: the server. Does not belong here: assertions.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko
from paramiko.sftp_attr import SFTPAttributes


class _Login(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        is_right = (username, password) == ("ana", "open")
        return paramiko.AUTH_SUCCESSFUL if is_right else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

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


@contextmanager
def sftp_server() -> Iterator[str]:
    """The beginning of URLs of this machine's folders: `sftp://ana:open@127.0.0.1:2022`."""
    key = paramiko.RSAKey.generate(2048)
    transports = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                transport = paramiko.Transport(connection)
                transport.add_server_key(key)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files)
                transport.start_server(server=_Login())
                transports.append(transport)

        threading.Thread(target=serve, daemon=True).start()
        yield f"sftp://ana:open@127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    for transport in transports:
        transport.close()
