"""Reads Parquet files and workbooks in a separate process, so that a crash or lack of memory affects only that process.

The libraries that read them are large and trust their input: a damaged file can abort the process. A reader process
starts with the first such file and forks for each one, which takes milliseconds. A fork has a memory limit and no
secrets in its environment. It sends its records back in batches.

Belongs here: the processes and their protocol. Does not belong here: the formats (`columnar`, `sheets`).
"""

from __future__ import annotations

import atexit
import ctypes
import io
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, NamedTuple, cast

from sync_pipelines.configuration.limits import Limits, Meter, too_large
from sync_pipelines.errors import ExportError, Position, SyncError
from sync_pipelines.exports.disk import COPY_SIZE, on_disk
from sync_pipelines.exports.tables import Part, TableReading

Kind = Literal["parquet", "xlsx"]

_BATCH: Final = 500
_LENGTH: Final = struct.Struct("<Q")
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ")
# Memory pools that reserve ahead would use up the limit.
_ENVIRONMENT: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
_START: Final = "from sync_pipelines.exports.isolated import serve; serve()"
_PR_SET_PDEATHSIG: Final = 1
"""Linux only; other systems have no such call."""
_SOCKET: Final = 3
"""The file descriptor of the reader process's end of the socket."""


class _Request(NamedTuple):
    kind: Kind
    reading: TableReading
    limits: Limits


class _Fault(NamedTuple):
    """An `ExportError` in transit between processes."""

    code: str
    message: str
    hint: str
    position: Position | None

    def error(self) -> ExportError:
        """Returns the error. Its message already has the position."""
        error = ExportError(self.code, self.message, self.hint)
        error.position = self.position
        return error


def read_isolated(stream: BinaryIO, kind: Kind, reading: TableReading, meter: Meter) -> Iterator[Part]:
    """Yields the parts of a Parquet file or a workbook, as `read_parquet` and `read_sheet` do.

    Raises:
        ExportError: what those raise; `bad_sheet` if the file crashes the reader, `too_large` if it needs more memory
            or time than the limits allow.
    """
    with on_disk(stream) as plain, _in_a_file(plain) as file:
        ours, theirs = os.pipe()
        try:
            try:
                _READER.ask(_Request(kind, reading, meter.limits), (file.fileno(), theirs))
            finally:
                os.close(theirs)
            while (answer := _next(ours, meter)) is not None:
                if isinstance(answer, _Fault):
                    raise answer.error()
                yield from answer
        finally:
            os.close(ours)


@contextmanager
def _in_a_file(plain: BinaryIO) -> Iterator[BinaryIO]:
    """Yields the same bytes in a file with a descriptor; content in memory is copied."""
    if not isinstance(plain, io.BytesIO):
        yield plain
        return
    with tempfile.TemporaryFile() as copy:
        copy.write(plain.getbuffer())
        copy.flush()
        yield cast(BinaryIO, copy)


def _next(descriptor: int, meter: Meter) -> Any:
    """Returns a fork's next answer, or None at the end. Waits as long as the limits allow."""
    size = _LENGTH.unpack(_read(descriptor, _LENGTH.size, meter))[0]
    return pickle.loads(_read(descriptor, size, meter))


def _read(descriptor: int, size: int, meter: Meter) -> bytes:
    pieces = []
    while size:
        while not select.select([descriptor], [], [], 1.0)[0]:
            meter.check_time()
        piece = os.read(descriptor, min(size, COPY_SIZE))
        if not piece:
            meter.check_time()
            raise ExportError("bad_sheet", "the file crashed its reader", "send it again")
        size -= len(piece)
        pieces.append(piece)
    return b"".join(pieces)


class _Reader:
    """This process's reader process, started at the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._asked_by = 0

    def ask(self, request: _Request, descriptors: tuple[int, int]) -> None:
        """Has a fork read the first descriptor and answer to the second."""
        message = pickle.dumps(request)
        with self._lock:
            # After a fork, the reader still belongs to the parent.
            if self._socket is None or self._asked_by != os.getpid():
                self._start()
            assert self._socket is not None
            try:
                socket.send_fds(self._socket, [message], descriptors)
            except OSError:
                self._start()
                socket.send_fds(self._socket, [message], descriptors)

    def close(self) -> None:
        """Stops the reader process."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _start(self) -> None:
        self.close()
        self._socket, theirs = socket.socketpair()
        self._asked_by = os.getpid()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | _ENVIRONMENT
        with theirs:
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", _START],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET),
                    # Discard what libraries print when they abort.
                    *[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)],
                ],
            )


_READER: Final = _Reader()
atexit.register(_READER.close)


def serve() -> None:
    """Runs the reader process: forks for each request until the other end is closed."""
    # Ctrl-C is for the command, which then closes its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    reads = _readers()
    with socket.socket(fileno=_SOCKET) as asked:
        while True:
            message, descriptors, _, _ = socket.recv_fds(asked, COPY_SIZE, 2)
            if not message:
                return
            if os.fork() == 0:
                asked.close()
                _answer(reads, pickle.loads(message), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)


def _readers() -> dict[Kind, Callable[..., Iterator[Part]]]:
    # Otherwise each fork would import them; pyarrow imports pandas with its first array.
    import pandas  # noqa: F401
    import pyarrow.compute  # noqa: F401

    from sync_pipelines.exports.columnar import read_parquet
    from sync_pipelines.exports.sheets import read_sheet

    return {"parquet": read_parquet, "xlsx": read_sheet}


def _answer(reads: dict[Kind, Callable[..., Iterator[Part]]], request: _Request, source: int, target: int) -> None:
    """Does the work of a fork. Never returns."""
    with suppress(BaseException):
        _limit(request.limits)
        with os.fdopen(source, "rb") as file, os.fdopen(target, "wb") as answers:
            file.seek(0)
            records = reads[request.kind](file, request.reading, Meter(request.limits))
            try:
                while batch := list(islice(records, _BATCH)):
                    _send(answers, batch)
                _send(answers, None)
            except SyncError as error:
                _send(answers, _Fault(error.code, error.message, error.hint, getattr(error, "position", None)))
            except MemoryError:
                shown = request.limits.memory.human_readable(decimal=True)
                large = too_large(f"reading the file needs more than {shown} of memory", "memory")
                _send(answers, _Fault(large.code, large.message, large.hint, None))
    os._exit(0)


def _limit(limits: Limits) -> None:
    """Sets limits that the system enforces on any library."""
    signal.alarm(int(min(limits.seconds, 1 << 30)) + 2)
    _end_with_the_reader()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        most = limits.memory + _used_memory()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with_the_reader() -> None:
    """Has the system end this fork when its reader process ends."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _used_memory() -> int:
    """Returns the bytes of address space that this process uses; 0 if the system does not report it."""
    with suppress(OSError), open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
    return 0


def _send(answers: BinaryIO, answer: list[Part] | _Fault | None) -> None:
    message = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    answers.write(_LENGTH.pack(len(message)))
    answers.write(message)
    answers.flush()
