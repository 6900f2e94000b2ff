# paramiko has no types.
# mypy: disable-error-code="no-untyped-call,misc,import-untyped"
"""Pipelined requests to an SFTP server, so that a slow link costs little.

It uses `_async_request`, `_read_response`, `_request` and `_convert_status` of paramiko's client: paramiko's own
prefetch needs a thread, and its own listing reads answers that other threads wait for.

Belongs here: which requests are made at once. Does not belong here: the session (`sftp`).
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import paramiko
from paramiko.sftp import CMD_CLOSE, CMD_OPENDIR, CMD_READ, CMD_READDIR, int64
from paramiko.sftp_attr import SFTPAttributes

_REQUEST: Final = 1 << 15
"""Bytes per read that every server supports."""
_FIRST_REQUESTS: Final = 8
_MOST_REQUESTS: Final = 96
"""Outstanding requests for one file. They set the memory of a read, 3 MB, and its speed over a slow link."""
_MOST_PAGES: Final = 32
"""Pages of a folder that are requested at once; a page has about a hundred names."""


class Client(paramiko.SFTPClient):
    """A client that threads may share."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.lock = threading.RLock()
        super().__init__(channel)

    def _request(self, kind: int, *arguments: Any) -> Any:
        with self.lock:
            return super()._request(kind, *arguments)

    def list_folders(self, paths: Sequence[str]) -> list[list[SFTPAttributes] | OSError]:
        """Returns the entries of each folder, or its error."""
        with self.lock:
            answers = _Answers(self)
            folders = [_Folder(answers, path) for path in paths]
            for folder in folders:
                folder.open()
            while reading := [folder for folder in folders if folder.is_open]:
                for folder in reading:
                    folder.ask()
                for folder in reading:
                    folder.take()
            return [folder.error or folder.found for folder in folders]


class _Answers:
    """Answers by the number of their request; early ones are kept."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._early: dict[int, tuple[int, Any]] = {}

    def ask(self, kind: int, *arguments: Any) -> int:
        return int(self._client._async_request(self, kind, *arguments))

    def forget(self, kind: int, *arguments: Any) -> None:
        """Sends a request whose answer is ignored."""
        self._client._async_request(type(None), kind, *arguments)

    def take(self, number: int) -> Any:
        """Returns the answer to a request. Raises what paramiko raises, `EOFError` at the end of a file or folder."""
        if number not in self._early:
            return self._client._read_response(number)[1]
        kind, message = self._early.pop(number)
        if kind == paramiko.sftp.CMD_STATUS:
            self._client._convert_status(message)
        return message

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        self._early[number] = kind, message


class _Folder:
    """A folder that is being listed."""

    def __init__(self, answers: _Answers, path: str) -> None:
        self._answers = answers
        self._asked = deque([answers.ask(CMD_OPENDIR, path)])
        self._handle: bytes | None = None
        self._pages = 2
        self.found: list[SFTPAttributes] = []
        self.error: OSError | None = None

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    def open(self) -> None:
        try:
            self._handle = self._answers.take(self._asked.popleft()).get_binary()
        except TimeoutError:
            raise
        except OSError as error:
            self.error = error

    def ask(self) -> None:
        self._asked.extend(self._answers.ask(CMD_READDIR, self._handle) for _ in range(self._pages))
        self._pages = min(2 * self._pages, _MOST_PAGES)

    def take(self) -> None:
        """Reads every requested page. Closes the folder after the last one."""
        is_over = False
        while self._asked:
            try:
                message = self._answers.take(self._asked.popleft())
            except EOFError:
                is_over = True
                continue
            except TimeoutError:
                raise
            except OSError as error:
                self.error, is_over = error, True
                continue
            for _ in range(message.get_int()):
                name, long_name = message.get_text(), message.get_text()
                entry = SFTPAttributes._from_msg(message, name, long_name)
                if name not in (".", ".."):
                    self.found.append(entry)
        if is_over:
            self._answers.forget(CMD_CLOSE, self._handle)
            self._handle = None


class ReadAhead(io.RawIOBase):
    """A file with prefetched blocks. The number of blocks grows, so that a small file needs few.

    Args:
        client: the client of the file.
        file: the open file.
        size: most bytes to read.
    """

    def __init__(self, client: Client, file: paramiko.SFTPFile, size: int) -> None:
        self._client = client
        self._file = file
        self._size = size
        self._answers = _Answers(client)
        self._asked: deque[tuple[int, int, int]] = deque()
        self._most = _FIRST_REQUESTS
        self._next = 0
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """See `io`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io`."""
        if not self._block:
            with self._client.lock:
                self._block = memoryview(self._take())
        count = min(len(buffer), len(self._block))
        buffer[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def close(self) -> None:
        """See `io`. Does not wait for an answer: there may be none."""
        if not self.closed:
            with suppress(Exception):
                self._file._close(async_=True)
        super().close()

    def _take(self) -> bytes:
        """Returns the next block. A file that has become shorter just ends."""
        while len(self._asked) < self._most and self._next < self._size:
            length = min(_REQUEST, self._size - self._next)
            self._ask(self._next, length)
            self._next += length
        if not self._asked:
            return b""
        number, at, length = self._asked.popleft()
        try:
            block = bytes(self._answers.take(number).get_binary())
        except EOFError:
            self._asked.clear()
            self._size = 0
            return b""
        self._most = min(self._most + 1, _MOST_REQUESTS)
        if 0 < len(block) < length:
            # A server may return less than requested.
            self._ask(at + len(block), length - len(block), is_next=True)
        return block

    def _ask(self, at: int, length: int, *, is_next: bool = False) -> None:
        asked = self._answers.ask(CMD_READ, self._file.handle, int64(at), length), at, length
        self._asked.appendleft(asked) if is_next else self._asked.append(asked)


class Write(io.RawIOBase):
    """A file for writing."""

    def __init__(self, client: Client, file: paramiko.SFTPFile) -> None:
        self._client = client
        self._file = file

    def writable(self) -> bool:
        """See `io`."""
        return True

    def write(self, data: Any, /) -> int:
        """See `io`."""
        with self._client.lock:
            self._file.write(bytes(data))
        return len(data)

    def close(self) -> None:
        """See `io`."""
        if not self.closed:
            with self._client.lock:
                self._file.close()
        super().close()
