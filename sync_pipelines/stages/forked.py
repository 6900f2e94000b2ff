"""The head start in a process of its own: Python runs one thread at a time, and importing Dagster keeps it busy.

A fork of this process, which has imported and opened what the stages need. It ends when this process does, however that
ends: what it had not committed is rolled back with its connections.

Belongs here: the two processes and what they tell each other. Does not belong here: what is begun (`head_start`).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.stages.head_start import HeadStart, head_start
from sync_pipelines.stages.run_files import held
from sync_pipelines.stages.workspace import Workspace

CAN_FORK: Final = sys.platform == "linux"
"""Libraries of other systems do not bear it."""
_PR_SET_PDEATHSIG: Final = 1
_GONE: Final = (EOFError, OSError)


class _Asked(NamedTuple):
    """A method of the other process's `HeadStart`, and what it is given."""

    method: str
    given: tuple[Any, ...]


class ForkedHeadStart:
    """A `HeadStart` in another process. Where that process is gone, nothing was begun.

    Args:
        workspace, entries, run_id, own_id: as `HeadStart` takes them.
    """

    def __init__(
        self,
        workspace: Workspace,
        entries: Sequence[LedgerFile],
        run_id: str | None = None,
        own_id: str | None = None,
    ) -> None:
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        self._is_asking = threading.Lock()
        given = (workspace, entries, run_id, own_id)
        self.process = fork.Process(target=_serve, args=(theirs, self._pipe, given), name="head-start", daemon=True)
        with warnings.catch_warnings():
            # Of threads at the moment of a fork: there is none of ours, and the fork waits for none.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def end(self) -> None:
        """Begins nothing more; what is begun is completed."""
        self._ask("end")

    def settled(self, file_id: int) -> None:
        """Returns when the other process is not at work on an export."""
        self._ask("settled", file_id)

    def complete(self, file_id: int, run_id: str | None) -> bool:
        """Completes the load of an export that was begun; False where it has to be loaded as a whole."""
        return self._ask("complete", file_id, run_id) is True

    def close(self) -> None:
        """Ends the other process, and whatever it has not committed."""
        self._pipe.close()
        self.process.kill()
        self.process.join()

    def _ask(self, method: str, *given: Any) -> Any:
        with self._is_asking, suppress(*_GONE):
            self._pipe.send(_Asked(method, given))
            return self._pipe.recv()
        return None


def _serve(pipe: Connection, theirs: Connection, given: tuple[Any, ...]) -> None:
    """The other process: answers until nobody can ask any more, or nothing is left to ask for."""
    theirs.close()
    # Whoever presses Ctrl-C means the command, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    begun = HeadStart(*given)
    with suppress(*_GONE):
        while not begun.is_over:
            asked: _Asked = pipe.recv()
            pipe.send(_answer(begun, asked))
    # Nothing that was open before the fork is ours to close.
    os._exit(0)


def _answer(begun: HeadStart, asked: _Asked) -> Any:
    # A load that fails is done again by whoever asks, and fails where it is told.
    with suppress(Exception):
        return getattr(begun, asked.method)(*asked.given)
    return None


def _forked(
    workspace: Workspace, entries: Sequence[LedgerFile], run_id: str | None, own_id: str
) -> ForkedHeadStart | None:
    with suppress(OSError):
        return ForkedHeadStart(workspace, entries, run_id, own_id) if CAN_FORK else None
    return None


@contextmanager
def forked_head_start(
    workspace: Workspace, entries: Sequence[LedgerFile], run_id: str | None = None
) -> Iterator[tuple[Workspace, ForkedHeadStart | HeadStart]]:
    """Begins; gives a workspace whose stages wait for what is begun. Where no process is to be had, threads serve.

    Nothing is begun of a landing that is not local: two processes cannot share its connection.
    """
    if not workspace.landing.is_local:
        entries = ()
    own_id = str(uuid.uuid4())
    # Its file is held here: what a fork that died alone was at work on, this process takes on.
    with held(workspace.settings.home, own_id):
        begun = _forked(workspace, entries, run_id, own_id) if entries else None
        if begun is not None:
            try:
                yield replace(workspace, settled=begun.settled, complete=begun.complete), begun
            finally:
                begun.close()
            return
    with head_start(workspace, entries, run_id) as in_threads:
        yield in_threads
