"""The engine of Dagster's storage: connections are pooled and tested before use, and it waits for a server.

Belongs here: connections, and which tables there are. Does not belong here: what Dagster writes (`private_dagster`),
the schema (`storage_schema`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg2
import sqlalchemy as sa

_PATIENCE_SECONDS: Final = 10.0
"""For one connection. Dagster itself makes six attempts."""
_PAUSE_SECONDS: Final = 0.5
_COLUMNS: Final = sa.text(
    "select c.relname::text, array_agg(a.attname::text) from pg_class c join pg_attribute a on a.attrelid = c.oid"
    " where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 group by 1"
)
_STARTING: Final = "the database system is"
_POOL: Final[dict[str, Any]] = {"pool_size": 2, "max_overflow": 30, "pool_recycle": 600}
"""Writing a materialization takes two connections at once."""
_FRESH_SECONDS: Final = 0.05
"""After which a pooled connection is tested before it is used. Events are written in bursts."""


class Tables:
    """The tables of a schema, with their columns. Dagster looks before nearly every statement; it never drops one.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._columns: dict[str, list[str]] = {}

    def have(self, table: str, *columns: str) -> bool:
        """Returns whether a table exists with some columns. A positive answer is cached, a negative one is not."""
        if not self._known(table, columns):
            with self._engine.connect() as connection:
                self._columns = {name: found for name, found in connection.execute(_COLUMNS)}
        return self._known(table, columns)

    def _known(self, table: str, columns: Sequence[str]) -> bool:
        return table in self._columns and set(columns) <= {*self._columns[table]}


def build_storage_engine(url: str) -> sa.Engine:
    """Returns an engine that pools its connections and waits some seconds for a server that is down."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", **_POOL)
    sa.event.listen(engine, "do_connect", connect_patiently)
    _ping_after_pauses(engine)
    return engine


def connect_impatiently(engine: sa.Engine) -> None:
    """Stops an engine of `build_storage_engine` from waiting for a server that is down."""
    sa.event.remove(engine, "do_connect", connect_patiently)


def connect_patiently(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connects, and retries for some seconds while the server is down or starts; SQLAlchemy's `do_connect`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except psycopg2.OperationalError as error:
            is_final = "FATAL" in str(error) and _STARTING not in str(error)
            if is_final or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _ping_after_pauses(engine: sa.Engine) -> None:
    """Tests connections that were idle for a while before they are used."""

    def note(connection: Any, record: Any) -> None:
        record.info["kept_since"] = time.monotonic()

    def look(connection: Any, record: Any, proxy: Any) -> None:
        if time.monotonic() - record.info.get("kept_since", time.monotonic()) > _FRESH_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except psycopg2.Error as error:
                raise sa.exc.InvalidatePoolError from error

    sa.event.listen(engine, "checkin", note)
    sa.event.listen(engine, "checkout", look)
