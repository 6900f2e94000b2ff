# paramiko has no types.
# mypy: disable-error-code="no-untyped-call,misc,import-untyped"
"""A landing's SFTP server: fsspec's file system with checked host keys, timeouts, and reads that do not wait.

Belongs here: one session with the server. Does not belong here: when it is opened again (`connection`), what its errors
mean for an export (`remote_storage`).
"""

from __future__ import annotations

import io
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Final, cast

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.sftp_client import Client, ReadAhead, Write

# paramiko also logs, with a traceback, the exceptions it raises.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_KEEPALIVE_SECONDS: Final = 30
_BUFFER: Final = 1 << 15


class SftpFileSystem(SFTPFileSystem):
    """A session with an SFTP server. Threads may share it; requests are made one at a time.

    Args:
        host, port, username, password: from the URL.
        access: timeouts and credentials.

    Raises:
        ConfigurationError: the server's key is unknown, or the server denies access.
    """

    cachable = False

    def __init__(
        self,
        host: str,
        access: Access,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        **options: Any,
    ) -> None:
        self._access = access
        self.port = port or paramiko.config.SSH_PORT
        super().__init__(
            host,
            host_key_policy=_OnlyKnown(access, host, self.port),
            **options,
            **_login(access, username, password),
        )

    @property
    def is_ended(self) -> bool:
        """Whether the session has ended, for any reason."""
        transport = self.client.get_transport()
        return transport is None or not transport.is_active() or self.ftp.get_channel().closed

    @property
    def username(self) -> str:
        """The user name that the server sees."""
        return str(self.client.get_transport().get_username())

    def close(self) -> None:
        """Ends the session."""
        with suppress(Exception):
            self.client.close()

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """See fsspec. Adds the `mode` of a link's target."""
        path = self._strip_protocol(path)
        status = self.ftp.stat(path)
        return {**self._decode_stat(status), "name": path, "mode": status.st_mode}

    def ls(self, path: str, detail: bool = False, **options: Any) -> list[Any]:
        """See fsspec."""
        (found,) = self.ls_each([self._strip_protocol(path)])
        if isinstance(found, OSError):
            raise found
        return found if detail else sorted(info["name"] for info in found)

    def ls_each(self, paths: Sequence[str]) -> list[list[dict[str, Any]] | OSError]:
        """Returns the entries of each folder, or its error. All folders are requested at once."""
        each = zip(paths, self.ftp.list_folders(paths), strict=True)
        return [
            found if isinstance(found, OSError) else [self._decode_stat(status, path) for status in found]
            for path, found in each
        ]

    def read(self, path: str, size: int) -> BinaryIO:
        """Opens a file of known size. Bytes beyond it are not read."""
        return cast(BinaryIO, io.BufferedReader(ReadAhead(self.ftp, self.ftp.open(path, "r"), size), _BUFFER))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        if mode == "rb":
            return self.read(path, self.info(path)["size"])
        return io.BufferedWriter(Write(self.ftp, super()._open(path, mode, **options)), _BUFFER)

    def _connect(self) -> None:
        limit = self._access.connect_timeout
        self.client = paramiko.SSHClient()
        for known_hosts in self._access.known_hosts:
            _load_keys(self.client, known_hosts)
        self.client.set_missing_host_key_policy(self.host_key_policy)
        limits = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), limit)
        try:
            self.client.connect(self.host, self.port, **limits, **self.ssh_kwargs)
            transport = self.client.get_transport()
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport.set_keepalive(_KEEPALIVE_SECONDS)
            channel = transport.open_session(timeout=limit)
            channel.settimeout(self._access.timeout)
            with _ended_after(limit, self.client):
                channel.invoke_subsystem("sftp")
            self.ftp = Client(channel)
        except BaseException as error:
            self.close()
            raise self._named(error) from error

    def _named(self, error: BaseException) -> BaseException:
        """Returns an error of the settings as a `ConfigurationError`, any other unchanged."""
        if isinstance(error, paramiko.BadHostKeyException):
            return _key_changed(error, self._access, self.host, self.port)
        # paramiko's messages if the server disconnects or does not answer during the login.
        is_unheard = "timeout" in str(error) or "shut down" in str(error)
        is_denied = isinstance(error, paramiko.AuthenticationException) and not is_unheard
        if is_denied or "No authentication methods" in str(error):
            hint = "correct the user in SYNC_LANDING, and SYNC_SFTP_PASSWORD or SYNC_SFTP_KEY_FILE"
            user = self.ssh_kwargs.get("username") or "this user"
            return ConfigurationError(
                "landing_refused", f"the SFTP server {self.host} denied access to {user}: {error}", hint
            )
        return error


def _login(access: Access, username: str | None, password: str | None) -> dict[str, Any]:
    """Returns paramiko's login options. If a credential is set, nothing else is tried."""
    login: dict[str, Any] = {"username": username, "password": password or access.sftp_password}
    if access.sftp_key_file is not None:
        try:
            access.sftp_key_file.open("rb").close()
        except OSError as error:
            message = f"SYNC_SFTP_KEY_FILE={access.sftp_key_file} cannot be read: {error.strerror}"
            raise ConfigurationError(
                "setting_invalid", message, "set it to a private key that this user can read"
            ) from None
        login["key_filename"] = str(access.sftp_key_file)
    if login["password"] or access.sftp_key_file:
        login |= {"allow_agent": False, "look_for_keys": False}
    return login


def _load_keys(client: paramiko.SSHClient, known_hosts: Any) -> None:
    try:
        client.load_system_host_keys(str(known_hosts))
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"the host keys in {known_hosts} cannot be read: {error.strerror}"
        raise ConfigurationError(
            "setting_invalid", message, "give this user read permission, or set SYNC_SFTP_KNOWN_HOSTS"
        ) from None


class _OnlyKnown(paramiko.MissingHostKeyPolicy):
    """Rejects a server whose key is unknown."""

    def __init__(self, access: Access, host: str, port: int) -> None:
        self._access, self._host, self._port = access, host, port

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        place = self._access.known_hosts[0]
        message = f"the SFTP server {self._host} is unknown: its key {_shown(key)} is not in {place}"
        scan = f"ssh-keyscan -p {self._port} {self._host} >> {place}"
        hint = f"ask the server's administrator whether this key is right, then add it: {scan}"
        raise ConfigurationError("host_key_unknown", message, hint)


def _key_changed(error: Any, access: Access, host: str, port: int) -> ConfigurationError:
    message = (
        f"the SFTP server {host} has the key {_shown(error.key)} instead of the known key"
        f" {_shown(error.expected_key)}: someone may be intercepting the connection"
    )
    name = host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}"
    place = access.known_hosts[0]
    hint = (
        f"ask the server's administrator; if the key was changed: ssh-keygen -R '{name}' -f {place}"
        f" && ssh-keyscan -p {port} {host} >> {place}"
    )
    return ConfigurationError("host_key_changed", message, hint)


def _shown(key: Any) -> str:
    return f"{key.get_name()} {key.fingerprint}"


@contextmanager
def _ended_after(seconds: float, client: paramiko.SSHClient) -> Iterator[None]:
    """Closes a session that takes longer: paramiko waits for some answers without a timeout."""
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        client.close()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if is_late.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
