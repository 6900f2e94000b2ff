"""A load begun while its export is being read: the first export of a tenant's stream.

No row that is there is meant by any of its records, so rows are made block by block as records are kept, in a
transaction that the run's load takes over. Whatever is not as expected (rows or locks of others, a key with several
records, a fault of the export) ends it and leaves no trace: the run then loads as if nothing had been begun. No lock is
waited for, so that nobody waits in a circle.

Belongs here: the life of such a load. Does not belong here: making rows (`direct`), what else a load does (`load`).
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

from sync_pipelines import ledger
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.normalize.kept import KeptRecords
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.upsert import direct as ways
from sync_pipelines.upsert.direct import Direct, DirectWay
from sync_pipelines.upsert.locks import own_locks, referred_locks, try_locks
from sync_pipelines.upsert.referred import Meant

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


class _End(NamedTuple):
    """The end of an export: the folder of its kept records, None where it has none."""

    kept: str | None


class Taken(NamedTuple):
    """A load that was begun, to be completed.

    Attributes:
        connection: in its transaction.
        direct: what was written.
    """

    connection: psycopg.Connection[Any]
    direct: Direct


class BegunLoad:
    """Loads an export while it is read.

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
        self._locked: set[tuple[str, str, str]] = set()
        self._connection: psycopg.Connection[Any] | None = None
        self._stack = ExitStack()
        self._kept: str | None = None
        self._direct: Direct | None = None
        self._thread = threading.Thread(target=self._work, name="begun-load", daemon=True)
        self._thread.start()

    # -- the side of whoever reads the export ------------------------------------------------------------------

    def take(self, records: pa.Table) -> None:
        """Takes kept records, in file order; waits while enough are waiting."""
        self._put(records)

    def end(self, kept: str | None) -> None:
        """Every record was taken and is kept in a folder of the archive; or the export could not be read (None)."""
        self._put(_End(kept))

    def _put(self, part: pa.Table | _End) -> None:
        while not self._is_over.is_set():
            try:
                return self._parts.put(part, timeout=_PATIENCE)
            except Full:
                continue

    # -- the side of the run's load ----------------------------------------------------------------------------

    @contextmanager
    def taken_over(self, kept: str, run_id: str | None) -> Iterator[Taken | None]:
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
        connection, direct = self._connection, self._direct
        with self._stack:
            if connection is None or direct is None or connection.closed:
                yield None
            else:
                yield Taken(connection, direct)

    def discard(self) -> None:
        """Rolls back what was written."""
        self._is_over.set()
        self._is_wanted.set()
        while self._thread.is_alive():
            if (connection := self._connection) is not None and not connection.closed:
                connection.cancel()
            self._thread.join(_PATIENCE)
        self._stack.close()
        self._direct = None

    # -- the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with ExitStack() as stack:
            try:
                direct = self._written(stack)
                self.at_rest.set()
                if self._is_wanted.wait(_UNWANTED):
                    self._direct, self._stack = direct, stack.pop_all()
            except _GivenUp as reason:
                log.debug("%s is not loaded while it is read: %s", self._entry.path, reason)
            except Exception:
                log.debug("%s is not loaded while it is read", self._entry.path, exc_info=True)
            finally:
                self._is_over.set()
                self.at_rest.set()

    def _written(self, stack: ExitStack) -> Direct:
        records = self._many()
        connection = self._connection = stack.enter_context(self._connect())
        connection.autocommit = False
        stack.callback(_roll_back, connection)
        entry, stream = self._entry, self._stream
        if not try_locks(connection, own_locks(stream, entry.tenant)):
            raise _GivenUp("somebody else loads the stream")
        if ledger.newest_loaded(connection, entry.partner, entry.stream, entry.tenant, 1):
            raise _GivenUp("there are other exports")
        way = DirectWay(connection, stream, self._layout, entry, self._run_id)
        direct = way.write_first(records, partial(self._lock, way))
        if direct is None:
            raise _GivenUp("there are rows")
        return direct

    def _lock(self, way: DirectWay, records: pa.Table, meant: Mapping[str, list[Meant]]) -> None:
        """Locks the rows that records refer to; the records' keys have to be different."""
        if len(pc.unique(records.column("key_hash"))) < len(records):
            raise _GivenUp("a key has several records")
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
                raise _GivenUp("there are few records")
            first.append(records)

        def given() -> Iterator[pa.Table]:
            while first:
                yield first.popleft()
            yield from coming

        return given()

    def _coming(self) -> Iterator[pa.Table]:
        while not isinstance(part := self._next(), _End):
            yield part
        if part.kept is None:
            raise _GivenUp("it could not be read")
        if len(KeptRecords(self._archive, part.kept).keys.repeated()):
            raise _GivenUp("a key has several records")
        self._kept = part.kept

    def _next(self) -> pa.Table | _End:
        while not self._is_over.is_set():
            with suppress(Empty):
                return self._parts.get(timeout=_PATIENCE)
        raise _GivenUp("nobody wants it")


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):
        connection.rollback()
