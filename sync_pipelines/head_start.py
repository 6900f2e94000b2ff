"""The first stages of pending exports, begun before the run that asks for them.

Importing Dagster keeps one processor busy for half a second; archiving and reading an export keep the other.

Belongs here: what is begun, and who waits for it. Does not belong here: the stages (`sync`), faults: what fails here is
left to the stage of the run, which tries again and tells.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sync_pipelines import ledger, sync
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.workspace import Workspace


class HeadStart:
    """Archives and normalizes exports, one after the other, in a thread of its own, until it is told to end.

    Args:
        workspace: what a sync works with.
        entries: pending exports.
    """

    def __init__(self, workspace: Workspace, entries: Sequence[LedgerFile]) -> None:
        self._workspace = workspace
        self._entries = entries
        self._at_work: int | None = None
        self._is_ended = False
        self._change = threading.Condition()
        # A process that is told to stop does not wait for it: the stages are safe against kill -9.
        threading.Thread(target=self._work, name="head-start", daemon=True).start()

    def end(self) -> None:
        """Begins nothing more; what is begun is completed."""
        with self._change:
            self._is_ended = True

    def settled(self, file_id: int) -> None:
        """Returns when the thread is not at work on an export."""
        with self._change:
            self._change.wait_for(lambda: self._at_work != file_id)

    def _work(self) -> None:
        for entry in self._entries:
            with self._change:
                if self._is_ended:
                    return
                self._at_work = entry.id
            try:
                with contextlib.suppress(Exception):
                    self._begin(entry)
            finally:
                with self._change:
                    self._at_work = None
                    self._change.notify_all()

    def _begin(self, entry: LedgerFile) -> None:
        with self._workspace.connection() as connection:
            sync.archive(self._workspace, connection, entry)
            sync.keep_records(self._workspace, connection, ledger.entry_of(connection, entry.id))


@contextlib.contextmanager
def head_start(workspace: Workspace, entries: Sequence[LedgerFile]) -> Iterator[tuple[Workspace, HeadStart]]:
    """Begins; gives a workspace whose stages wait for what is begun."""
    begun = HeadStart(workspace, entries)
    try:
        yield replace(workspace, settled=begun.settled), begun
    finally:
        begun.end()
