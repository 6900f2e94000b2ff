"""A stream that one thread reads, while another thread reads the same bytes from memory.

Belongs here: passing bytes on, in bounded memory. Does not belong here: what either thread does with them.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from typing import Any, BinaryIO, Final, cast

_AHEAD: Final = 2
"""Most pieces that may wait to be read; memory is a multiple of it."""


class Tee(io.RawIOBase):
    """A stream that passes its bytes on as they are read.

    Args:
        stream: the source. The caller closes it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pieces = deque[bytes]()
        self._change = threading.Condition()
        self._is_wanted = True
        self._is_stopped = False

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes. Waits while too many pieces wait for the other thread.

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
        """Ends the stream. If the end was not reached, the other thread gets `EOFError`."""
        with self._change:
            super().close()
            self._change.notify_all()

    def reader(self) -> BinaryIO:
        """Returns a stream of the same bytes for the other thread. After it is closed, nobody waits for it."""
        return cast(BinaryIO, io.BufferedReader(_Reader(self)))

    def next_piece(self) -> bytes:
        """Returns the next piece as it was read, empty at the end.

        Raises:
            EOFError: the stream was closed before its end.
        """
        with self._change:
            self._change.wait_for(lambda: self._pieces or self.closed)
            if not self._pieces:
                raise EOFError("the stream was closed before its end")
            self._change.notify_all()
            return self._pieces.popleft()

    def let_go(self) -> None:
        """Discards the rest for the other thread."""
        with self._change:
            self._is_wanted = False
            self._pieces.clear()
            self._change.notify_all()

    def stop(self) -> None:
        """Stops both threads."""
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
            self._piece = memoryview(self._passed.next_piece())
            self._is_over = not self._piece
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._passed.let_go()
        super().close()
