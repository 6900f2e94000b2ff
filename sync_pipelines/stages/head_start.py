"""The first stages of pending exports, begun before the run that asks for them.

Importing Dagster keeps one processor busy for half a second; archiving, reading and loading an export keep the other.

Belongs here: what is begun, and who waits for it. Does not belong here: the stages (`export_stages`), faults: what
fails here is left to the stage of the run, which tries again and tells.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_writer import Beside
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.run_files import at_work, held
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.upsert.load import load
from sync_pipelines.upsert.prefetched_load import PrefetchedLoad


class HeadStart:
    """Archives and normalizes exports, one after the other, in a thread of its own, until it is told to end.

    Args:
        workspace: what a sync works with.
        entries: pending exports, as runs will load them.
        run_id: of the run that will load the first.
        own_id: names the file that says what it is at work on, as those of runs do.
    """

    def __init__(
        self,
        workspace: Workspace,
        entries: Sequence[LedgerFile],
        run_id: str | None = None,
        own_id: str | None = None,
    ) -> None:
        self._run_id = run_id
        self._own_id = own_id
        self._load: tuple[int, PrefetchedLoad] | None = None
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

    def complete(self, file_id: int, run_id: str | None) -> bool:
        """Completes the load of an export that was begun, once; one begun of another ends, for its tables can't be had.

        False where the load has to be done as a whole.
        """
        begun = self._taken(file_id)
        if begun is None:
            return False
        with self._workspace.connection() as connection:
            entry = ledger.entry_of(connection, file_id)
        with begun.taken_over(entry.kept or "-", run_id) as taken:
            if taken is None:
                return False
            archive = self._workspace.settings.archive
            load(taken.connection, export_stages.stream_of(entry), entry.id, archive, run_id, taken.begun)
            taken.connection.commit()
            return True

    @property
    def is_over(self) -> bool:
        """Whether nothing is begun any more, and nothing waits to be completed."""
        with self._change:
            return self._is_ended and self._at_work is None and self._load is None

    def let_go(self) -> None:
        """Ends a load that nobody took over."""
        self._taken(0)

    def _taken(self, file_id: int) -> PrefetchedLoad | None:
        with self._change:
            begun, self._load = self._load, None
        if begun is None:
            return None
        of_file, load = begun
        if of_file == file_id:
            return load
        load.discard()
        return None

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
        working = at_work(self._workspace.settings.home, self._own_id, entry)
        with working, self._workspace.connection() as connection, self._beside(entry) as beside:
            export_stages.archive_and_keep(self._workspace, connection, ledger.entry_of(connection, entry.id), beside)

    @contextlib.contextmanager
    def _beside(self, entry: LedgerFile) -> Iterator[Beside | None]:
        """Loads the records of the first export while they are kept, where it is the only one of its run."""
        stream = (entry.partner, entry.stream)
        of_run = [e.id for e in self._entries if (e.partner, e.stream) == stream]
        if self._run_id is None or self._entries[0].id != entry.id or of_run != [entry.id]:
            yield None
            return
        archive = self._workspace.settings.archive
        load = PrefetchedLoad(self._workspace.connection, archive, export_stages.stream_of(entry), entry, self._run_id)
        with self._change:
            self._load = entry.id, load
        kept = None
        try:
            yield load.take
            with self._workspace.connection() as connection:
                kept = ledger.entry_of(connection, entry.id).kept
        finally:
            load.end(kept)


@contextlib.contextmanager
def head_start(
    workspace: Workspace, entries: Sequence[LedgerFile], run_id: str | None = None
) -> Iterator[tuple[Workspace, HeadStart]]:
    """Begins; gives a workspace whose stages wait for what is begun."""
    own_id = str(uuid.uuid4())
    with held(workspace.settings.home, own_id):
        begun = HeadStart(workspace, entries, run_id, own_id)
        try:
            yield replace(workspace, settled=begun.settled, complete=begun.complete), begun
        finally:
            begun.end()
            begun.let_go()
