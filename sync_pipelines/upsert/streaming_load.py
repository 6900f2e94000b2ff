"""A streaming load: writes the rows of a tenant's first export of a stream while the export is read.

The tenant has no rows yet, so rows are created block by block, in the load's own transaction and in another thread. A
streaming load never waits for a lock: that would delay the reader of the landing. If it cannot continue (few records,
earlier exports, a key with several records, a lock that another load holds, any error), it rolls back, and the export
is loaded as a whole after it was read.

Belongs here: the thread and the transaction. Does not belong here: creating rows (`new_rows`), the rest of a load
(`load`), reading (`stages`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Final, Self

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.configuration.guard_settings import GuardSettings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert import new_rows
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.load import load
from sync_pipelines.upsert.locks import own_locks, referred_locks, try_locks
from sync_pipelines.upsert.new_rows import NewRowWriter
from sync_pipelines.upsert.references import Referents
from sync_pipelines.upsert.referred_names import has_pairs

log = logging.getLogger(__name__)

Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]
_WAITING: Final = 2
"""Most blocks that wait to be written; memory is a multiple of it."""


class _GivenUp(Exception):
    """The export must be loaded as a whole."""


class StreamingLoad:
    """Writes an export while it is read. What is not completed when the block ends is rolled back.

    Args:
        connect: opens a connection of its own.
        archive: the archive's folder.
        stream: the declaration.
        entry: the export.
        run_id: the run id for written rows.
        guards: limits above which the export is held.
    """

    def __init__(
        self,
        connect: Connect,
        archive: Path,
        stream: Stream,
        entry: LedgerFile,
        run_id: str | None,
        guards: GuardSettings | None = None,
    ) -> None:
        self._connect = connect
        self._archive = archive
        self._stream = stream
        self._entry = entry
        self._run_id = run_id
        self._guards = guards
        self._first = deque[pa.Table]()
        self._blocks: Queue[pa.Table | None] = Queue(_WAITING)
        self._is_over = self._is_unwanted = False
        self._thread: threading.Thread | None = None
        self._locked: set[tuple[str, str, str]] = set()
        self._transaction = ExitStack()
        self._written: tuple[psycopg.Connection[Any], Mask] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_unwanted = True
        self._end()
        # The connection must see the exception, to know whether the server went away.
        self._transaction.__exit__(kind, error, trace)

    # -- the thread that reads the export ----------------------------------------------------------------------

    def take(self, records: pa.Table) -> None:
        """Receives kept records, in file order. Waits while too many are waiting."""
        if self._thread is not None:
            self._put(records)
            return
        self._first.append(records)
        # Few records are written as fast afterwards, without another connection.
        if sum(map(len, self._first)) >= new_rows.MANY:
            self._thread = threading.Thread(target=self._work, name="streaming-load", daemon=True)
            self._thread.start()

    def complete(self, kept: str) -> bool:
        """Completes the load of an export whose records were all received and kept in the archive.

        Returns:
            False if the export must be loaded as a whole; then nothing of this load is left.

        Raises:
            ExportHeld: guards tripped.
        """
        self._end()
        if self._written is None:
            return False
        connection, written = self._written
        records = KeptRecords(self._archive, kept)
        # Locked until the commit, so that discovery does not renew it meanwhile.
        entry = ledger.find(connection, self._entry.id, lock=True)
        is_whole = len(written) == records.count and not len(records.keys.repeated())
        if is_whole and entry is not None and (entry.status, entry.kept) == ("pending", kept):
            load(connection, self._stream, entry.id, self._archive, self._run_id, written, guards=self._guards)
            connection.commit()
            return True
        self._transaction.close()
        return False

    def _put(self, records: pa.Table | None) -> None:
        # The writing thread empties the queue when it ends, so that nobody waits here forever.
        if not self._is_over:
            self._blocks.put(records)

    def _end(self) -> None:
        """Waits until the thread has ended."""
        if self._thread is not None:
            self._put(None)
            self._thread.join()

    # -- the thread that writes --------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._written = self._write()
        except _GivenUp as reason:
            log.debug("%s is not loaded while it is read: %s", self._entry.path, reason)
        except Exception:
            # Loading the whole export meets and reports it again.
            log.debug("%s is not loaded while it is read", self._entry.path, exc_info=True)
        if self._written is None:
            self._transaction.close()
        self._is_over = True
        with suppress(Empty):
            while True:
                self._blocks.get_nowait()
        # A thread that prepares records may still wait for the next ones.
        self._blocks.put(None)

    def _write(self) -> tuple[psycopg.Connection[Any], Mask]:
        connection = self._transaction.enter_context(self._connect())
        connection.autocommit = False
        self._transaction.callback(_roll_back, connection)
        stream, entry = self._stream, self._entry
        if not try_locks(connection, own_locks(stream, entry.tenant)):
            raise _GivenUp("another transaction loads the stream")
        if ledger.nearest_loaded(connection, entry, 1):
            raise _GivenUp("there are other exports")
        writer = NewRowWriter(LoadContext(connection, stream, entry, self._run_id))
        written = writer.write_first(self._coming(), partial(self._lock, writer))
        if written is None:
            raise _GivenUp("there are rows")
        return connection, written

    def _coming(self) -> Iterator[pa.Table]:
        while self._first:
            yield self._first.popleft()
        while (records := self._blocks.get()) is not None:
            yield records
        if self._is_unwanted:
            raise _GivenUp("it could not be read")

    def _lock(self, writer: NewRowWriter, records: pa.Table, referents: Mapping[str, list[Referents]]) -> None:
        """Locks the rows that records refer to. The records' keys must be different."""
        if len(pc.unique(records.column("key_hash"))) < len(records):
            raise _GivenUp("a key has several records")
        if has_pairs(records, self._stream):
            raise _GivenUp("records name rows by two names")
        referred = {(link, *owner) for link, parts in referents.items() for part in parts for owner in part.owners}
        if more := referred - self._locked:
            if not try_locks(writer.connection, referred_locks(self._stream, more)):
                raise _GivenUp("another transaction creates rows that are referred to")
            self._locked |= more


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):
        connection.rollback()
