"""The connection to a remote landing, opened at the first request and reopened after it was lost.

Belongs here: opening, sharing and dropping connections. Does not belong here: requests (`remote_storage`), the session
of one protocol (`sftp`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem
from fsspec.utils import infer_storage_options

from sync_pipelines.errors import ConfigurationError, SyncError
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.storage_interface import unavailable
from sync_pipelines.privacy.redaction import redacted

T = TypeVar("T")

_INSTALL: Final = "correct SYNC_LANDING, or install the extra for it: s3, gcs, azure or sftp"
_S3_ATTEMPTS: Final = 3
_S3_BLOCK: Final = 1 << 23
"""Bytes to read ahead; the default of s3fs is fifty million."""
_OF_A_PATH: Final = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)


class Connection:
    """A connection that threads may share.

    Args:
        url: URL of the landing.
        access: timeouts and credentials.
    """

    def __init__(self, url: str, access: Access) -> None:
        self.url = url
        self.access = access
        self.shown = redacted(url)
        self._opened: tuple[AbstractFileSystem, str] | None = None
        self._lock = threading.RLock()

    @property
    def filesystem(self) -> AbstractFileSystem:
        """The fsspec file system.

        Raises:
            ConfigurationError: the URL or the credentials are wrong.
            LandingUnavailable: the server does not answer.
        """
        return self._connected()[0]

    @property
    def root(self) -> str:
        """The landing's path without a trailing slash."""
        return self._connected()[1]

    @property
    def is_ended(self) -> bool:
        """Whether there is no open session; for storages without sessions, whether no request was made yet."""
        opened = self._opened
        return opened is None or bool(getattr(opened[0], "is_ended", False))

    def ask(self, question: Callable[[AbstractFileSystem], T]) -> T:
        """Makes a request, and repeats it once if the session was lost. Only for requests that change nothing."""
        was_open = self._opened is not None
        filesystem = self.filesystem
        try:
            return question(filesystem)
        except (*_OF_A_PATH, SyncError):
            raise
        except Exception as error:
            if not self.drop_if_ended(filesystem, error) or not was_open:
                raise
        return question(self.filesystem)

    def drop_if_ended(self, filesystem: AbstractFileSystem, error: BaseException) -> bool:
        """Returns whether an error ended the session it came from. The next request then opens a new one."""
        # HTTP has no session, and its libraries retry by themselves.
        if isinstance(filesystem, AsyncFileSystem) or not _is_of_session(filesystem, error):
            return False
        with self._lock:
            if self._opened is not None and self._opened[0] is filesystem:
                self._opened = None
        if (close := getattr(filesystem, "close", None)) is not None:
            close()
        return True

    def _connected(self) -> tuple[AbstractFileSystem, str]:
        with self._lock:
            if self._opened is None:
                self._opened = self._connect()
            return self._opened

    def _connect(self) -> tuple[AbstractFileSystem, str]:
        try:
            filesystem, root = self._open()
        except SyncError:
            raise
        except (ImportError, ValueError) as error:
            message = f"{self.shown} cannot be used: {error}"
            raise ConfigurationError("landing_invalid", message, _INSTALL) from error
        except Exception as error:
            raise unavailable(self.shown, error) from error
        return filesystem, root.rstrip("/")

    def _open(self) -> tuple[AbstractFileSystem, str]:
        if not _is_sftp(self.url):
            return self._open_by_library()
        from sync_pipelines.exports.sftp import SftpFileSystem

        options: dict[str, Any] = infer_storage_options(self.url)
        options.pop("protocol")
        root = options.pop("path")
        if not options.get("host"):
            raise ValueError("the URL has no host")
        return SftpFileSystem(access=self.access, **options), root

    def _open_by_library(self) -> tuple[AbstractFileSystem, str]:
        for name, value in self.access.variables:
            os.environ.setdefault(name, value)
        protocol = self.url.partition("://")[0]
        if protocol not in ("s3", "s3a"):
            filesystem, root = fsspec.core.url_to_fs(self.url)
            return filesystem, str(root)
        filesystem, root = fsspec.core.url_to_fs(self.url, **_s3_options(self.access))
        filesystem.retries = _S3_ATTEMPTS
        return filesystem, str(root)


def _s3_options(access: Access) -> dict[str, Any]:
    """Returns timeouts for S3. s3fs retries by itself, so botocore must not."""
    limits = {"connect_timeout": access.connect_timeout, "read_timeout": access.timeout}
    return {"config_kwargs": {**limits, "retries": {"total_max_attempts": 1}}, "default_block_size": _S3_BLOCK}


def _is_of_session(filesystem: AbstractFileSystem, error: BaseException) -> bool:
    """Whether an error is about the session, not about the requested path."""
    is_ended = getattr(filesystem, "is_ended", True)
    # After a timeout or a broken packet, the next answer might belong to an earlier request.
    return is_ended or isinstance(error, TimeoutError | ConnectionError) or not isinstance(error, OSError)


def _is_sftp(url: str) -> bool:
    return url.partition("://")[0] in ("sftp", "ssh")


_shared: dict[tuple[int, str, Access], Connection] = {}


def connection_to(url: str, access: Access) -> Connection:
    """Returns this process's connection to a landing. A fork opens its own: processes cannot share a session."""
    if not _is_sftp(url):
        # fsspec shares these connections by itself.
        return Connection(url, access)
    return _shared.setdefault((os.getpid(), url, access), Connection(url, access))
