"""A TCP link to a server of this machine: it delays what it carries, and can be cut or frozen at any moment.

Belongs here: the link. Does not belong here: servers, assertions.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_BLOCK: Final = 1 << 16


class Link:
    """Carries bytes between clients and a server.

    Args:
        port: of the server.
        round_trip: seconds that a question and its answer are on the way.
    """

    def __init__(self, port: int, round_trip: float = 0.0) -> None:
        self._server = port
        self._delay = round_trip / 2
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._moves = threading.Event()
        self._moves.set()
        self._freezes_after: int | None = None
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection; new ones are possible."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def freeze(self, after: int = 0) -> None:
        """Carries nothing more once the server has sent so many bytes; connections stay open and are accepted."""
        self._freezes_after = after
        if not after:
            self._moves.clear()

    def thaw(self) -> None:
        """Carries everything again."""
        self._freezes_after = None
        self._moves.set()

    def close(self) -> None:
        """Ends the link."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.thaw()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                return
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                carried: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                threading.Thread(target=self._receive, args=(source, carried, source is server), daemon=True).start()
                threading.Thread(target=self._send, args=(target, carried), daemon=True).start()

    def _receive(self, source: socket.socket, carried: queue.SimpleQueue[tuple[float, bytes]], counts: bool) -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(_BLOCK)
            except OSError:
                data = b""
            if counts and self._freezes_after is not None:
                self._freezes_after -= len(data)
                if self._freezes_after <= 0:
                    self._moves.clear()
            carried.put((time.monotonic() + self._delay, data))

    def _send(self, target: socket.socket, carried: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        while True:
            due, data = carried.get()
            time.sleep(max(0.0, due - time.monotonic()))
            self._moves.wait()
            with suppress(OSError):
                if data:
                    target.sendall(data)
                    continue
                target.shutdown(socket.SHUT_RDWR)
            return


@contextmanager
def link_to(port: int, round_trip: float = 0.0) -> Iterator[Link]:
    """A link to a server of this machine."""
    link = Link(port, round_trip)
    try:
        yield link
    finally:
        link.close()
