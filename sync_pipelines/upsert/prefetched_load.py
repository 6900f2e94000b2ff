"""A load begun before the run that asks for it, in a transaction that the run takes over.

Of a tenant's first export of a stream no row is there, so rows are made block by block while it is being read. Where
that can't be (other exports, few records, a key with several), its rows are written when it is read. Whatever else is
not as expected (locks of others, a fault) ends it and leaves no trace: the run then loads as if nothing had been begun.
No lock is waited for, so that nobody waits in a circle.

Belongs here: the life of such a load. Does not belong here: making rows (`new_rows`), what else a load does (`load`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, Final, NamedTuple

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.upsert import new_rows as ways
from sync_pipelines.upsert.load import Loading
from sync_pipelines.upsert.locks import locks_of, own_locks, referred_locks, try_locks
from sync_pipelines.upsert.new_rows import NewRowsResult, NewRowWriter
from sync_pipelines.upsert.references import Referents

log = logging.getLogger(__name__)

Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]
_WAITING: Final = 2
"""Blocks that wait to be loaded at most; memory is a multiple of it."""
_PATIENCE: Final = 0.2
"""Seconds after which whoever waits for the other thread looks whether it is still there."""
_UNWANTED: Final = 30.0
"""Seconds after which a load that nobody takes over is rolled back: nobody can read the tables meanwhile."""


class _GivenUp(Exception):
    """The load is left to the run."""


class _NotByBlocks(Exception):
    """Rows can't be made before the whole export is read."""


class _End(NamedTuple):
    """The end of an export: the folder of its kept records, None where it has none."""

    kept: str | None


class AdoptedLoad(NamedTuple):
    """A load that was begun, to be completed.

    Attributes:
        connection: in its transaction.
        begun: what was written, as `load` takes it.
    """

    connection: psycopg.Connection[Any]
    begun: NewRowsResult | Loading


class PrefetchedLoad:
    """Loads an export while it is read, or at once afterwards.

    Args:
        connect: a connection of its own.
        archive: the archive's folder.
        stream: the declaration.
        entry: the export.
        run_id: of the run that will take over.

    Attributes:
        at_rest: set when everything is written, or when it is given up.
    """

    def __init__(self, connect: Connect, archive: Path, stream: Stream, entry: LedgerFile, run_id: str) -> None:
        self._connect = connect
        self._archive = archive
        self._stream = stream
        self._layout = layout_of(stream)
        self._entry = entry
        self._run_id = run_id
        self._parts: Queue[pa.Table | _End] = Queue(_WAITING)
        self.at_rest = threading.Event()
        self._is_over, self._is_wanted = threading.Event(), threading.Event()
        self._takes_records = True
        self._locked: set[tuple[str, str, str]] = set()
        self._connection: psycopg.Connection[Any] | None = None
        self._stack = ExitStack()
        self._kept: str | None = None
        self._begun: NewRowsResult | Loading | None = None
        self._thread = threading.Thread(target=self._work, name="begun-load", daemon=True)
        self._thread.start()

    # -- the side of whoever reads the export ------------------------------------------------------------------

    def take(self, records: pa.Table) -> None:
        """Takes kept records, in file order; waits while enough are waiting."""
        self._put(records, lambda: self._takes_records)

    def end(self, kept: str | None) -> None:
        """Every record was taken and is kept in a folder of the archive; or the export could not be read (None)."""
        self._put(_End(kept))

    def _put(self, part: pa.Table | _End, is_wanted: Callable[[], bool] = lambda: True) -> None:
        while is_wanted() and not self._is_over.is_set():
            try:
                return self._parts.put(part, timeout=_PATIENCE)
            except Full:
                continue

    # -- the side of the run's load ----------------------------------------------------------------------------

    @contextmanager
    def taken_over(self, kept: str, run_id: str | None) -> Iterator[AdoptedLoad | None]:
        """What was written, and the connection in whose transaction; None where the load has to be done as a whole.

        What is not committed within the block is rolled back.

        Args:
            kept: the folder of the kept records that are to be loaded.
            run_id: to be named by the rows.
        """
        if run_id == self._run_id:
            self._is_wanted.set()
            self._thread.join()
        if (run_id, kept) != (self._run_id, self._kept):
            self.discard()
        connection, begun = self._connection, self._begun
        with self._stack:
            if connection is None or begun is None or connection.closed:
                yield None
            else:
                yield AdoptedLoad(connection, begun)

    def discard(self) -> None:
        """Rolls back what was written."""
        self._is_over.set()
        self._is_wanted.set()
        while self._thread.is_alive():
            if (connection := self._connection) is not None and not connection.closed:
                connection.cancel()
            self._thread.join(_PATIENCE)
        self._stack.close()
        self._begun = None

    # -- the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with ExitStack() as stack:
            try:
                begun = self._written(stack)
                self.at_rest.set()
                if self._is_wanted.wait(_UNWANTED):
                    self._begun, self._stack = begun, stack.pop_all()
            except _GivenUp as reason:
                log.debug("%s is not loaded before its run: %s", self._entry.path, reason)
            except Exception:
                log.debug("%s is not loaded before its run", self._entry.path, exc_info=True)
            finally:
                self._is_over.set()
                self.at_rest.set()

    def _written(self, stack: ExitStack) -> NewRowsResult | Loading:
        try:
            with ExitStack() as by_blocks:
                direct = self._written_by_blocks(by_blocks)
                stack.push(by_blocks.pop_all())
                return direct
        except _NotByBlocks as reason:
            log.debug("%s is not loaded while it is read: %s", self._entry.path, reason)
        self._takes_records = False
        if self._kept is None:
            deque(self._coming(), maxlen=0)
        return self._written_whole(stack)

    def _written_by_blocks(self, stack: ExitStack) -> NewRowsResult:
        records = self._many()
        connection = self._begin(stack)
        entry, stream = self._entry, self._stream
        self._take(own_locks(stream, entry.tenant))
        if ledger.nearest_loaded(connection, entry, 1):
            raise _NotByBlocks("there are other exports")
        way = NewRowWriter(connection, stream, self._layout, entry, self._run_id)
        direct = way.write_first(records, partial(self._lock, way))
        if direct is None:
            raise _NotByBlocks("there are rows")
        return direct

    def _written_whole(self, stack: ExitStack) -> Loading:
        connection = self._begin(stack)
        self._take(locks_of(self._stream, self._entry.tenant, [self._records]))
        entry = ledger.entry_of(connection, self._entry.id)
        if (entry.status, entry.kept) != ("pending", self._kept):
            raise _GivenUp("it is loaded, or has other content")
        loading = Loading(connection, self._stream, entry, self._archive, self._run_id)
        loading.write()
        return loading

    @property
    def _records(self) -> KeptRecords:
        assert self._kept is not None
        return KeptRecords(self._archive, self._kept)

    def _begin(self, stack: ExitStack) -> psycopg.Connection[Any]:
        connection = self._connection = stack.enter_context(self._connect())
        connection.autocommit = False
        stack.callback(_roll_back, connection)
        return connection

    def _take(self, locks: set[str]) -> None:
        assert self._connection is not None
        if not try_locks(self._connection, locks):
            raise _GivenUp("somebody else loads the stream")

    def _lock(self, way: NewRowWriter, records: pa.Table, meant: Mapping[str, list[Referents]]) -> None:
        """Locks the rows that records refer to; the records' keys have to be different."""
        if len(pc.unique(records.column("key_hash"))) < len(records):
            raise _NotByBlocks("a key has several records")
        referred = {(link, *owner) for link, parts in meant.items() for part in parts for owner in part.owners}
        if more := referred - self._locked:
            if not try_locks(way.connection, referred_locks(self._stream, more)):
                raise _GivenUp("somebody else makes rows that are referred to")
            self._locked |= more

    def _many(self) -> Iterator[pa.Table]:
        """The records, once there are enough of them."""
        coming = self._coming()
        first = deque[pa.Table]()
        while sum(map(len, first)) < ways.MANY:
            if (records := next(coming, None)) is None:
                raise _NotByBlocks("there are few records")
            first.append(records)

        def given() -> Iterator[pa.Table]:
            while first:
                yield first.popleft()
            yield from coming
            if len(self._records.keys.repeated()):
                raise _NotByBlocks("a key has several records")

        return given()

    def _coming(self) -> Iterator[pa.Table]:
        while not isinstance(part := self._next(), _End):
            yield part
        if part.kept is None:
            raise _GivenUp("it could not be read")
        self._kept = part.kept

    def _next(self) -> pa.Table | _End:
        while not self._is_over.is_set():
            with suppress(Empty):
                part = self._parts.get(timeout=_PATIENCE)
                if isinstance(part, _End):
                    # A thread that made records ready may still wait beside us.
                    self._parts.put_nowait(part)
                return part
        raise _GivenUp("nobody wants it")


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):
        connection.rollback()
