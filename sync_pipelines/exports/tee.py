"""Bytes that one thread reads from where they come, and another thread from memory just after.

Belongs here: handing them over, in bounded memory. Does not belong here: what either does with them.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from typing import Any, BinaryIO, Final, cast

_AHEAD: Final = 2
"""Pieces that wait to be read at most; memory is a multiple of it."""


class Tee(io.RawIOBase):
    """A stream whose bytes are passed on as they are read.

    Args:
        stream: stays the caller's to close.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pieces = deque[bytes]()
        self._change = threading.Condition()
        self._is_wanted = True
        self._is_stopped = False

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; waits while enough wait for the other thread.

        Raises:
            InterruptedError: reading was stopped.
        """
        if self._is_stopped:
            raise InterruptedError("reading was stopped")
        data = self._stream.read(size)
        with self._change:
            self._change.wait_for(lambda: len(self._pieces) < _AHEAD or not self._is_wanted)
            if self._is_wanted:
                self._pieces.append(data)
            self._change.notify_all()
        return data

    def close(self) -> None:
        """Nothing more comes: where the end was not read, the other thread is told so."""
        with self._change:
            super().close()
            self._change.notify_all()

    def reader(self) -> BinaryIO:
        """The same bytes for the other thread; once it closes them, nobody waits for it."""
        return cast(BinaryIO, io.BufferedReader(_Reader(self)))

    def taken(self) -> bytes:
        """The next piece, as it was read; none at the end.

        Raises:
            EOFError: there is no next piece, and it was not the end.
        """
        with self._change:
            self._change.wait_for(lambda: self._pieces or self.closed)
            if not self._pieces:
                raise EOFError("the bytes were not read to their end")
            self._change.notify_all()
            return self._pieces.popleft()

    def let_go(self) -> None:
        """Nobody wants the rest."""
        with self._change:
            self._is_wanted = False
            self._pieces.clear()
            self._change.notify_all()

    def stop(self) -> None:
        """Nobody wants the rest, not even the thread that reads it."""
        self._is_stopped = True
        self.let_go()


class _Reader(io.RawIOBase):
    """The bytes of the pieces."""

    def __init__(self, passed: Tee) -> None:
        self._passed = passed
        self._piece = memoryview(b"")
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._piece and not self._is_over:
            self._piece = memoryview(self._passed.taken())
            self._is_over = not self._piece
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._passed.let_go()
        super().close()
