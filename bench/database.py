"""What a database holds, how much log it wrote, and how many dead rows were left in it.

Belongs here: questions to the server around a measured run. Does not belong here: the runs (`lanes`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

import psycopg

from sync_pipelines.sample_data.bulk import BulkTotals

# The statistics of a process that ended reach the server's views a moment later.
SETTLING_SECONDS = 0.3


@dataclass(frozen=True)
class Holdings:
    """What the tables say of the orders loaded."""

    orders: int
    cancelled: int
    items: int
    value: Decimal
    customers: int | None


@dataclass(frozen=True)
class Traces:
    """What a run left: bytes of write-ahead log, and dead rows by table."""

    wal_bytes: int
    dead: dict[str, int]


class Watch:
    """Stands around one run in one database: made before it, asked after it."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("checkpoint")
            self._before = _log_position(connection)

    def traces(self, tables: tuple[str, ...]) -> Traces:
        """What the run left, asked before anything tidies up."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            wal_bytes = _log_position(connection) - self._before
            time.sleep(SETTLING_SECONDS)
            rows = connection.execute(
                "select relname, n_dead_tup from pg_stat_user_tables where relname = any(%s)", [list(tables)]
            ).fetchall()
        return Traces(wal_bytes, {name: int(dead) for name, dead in rows})


def tidy(url: str) -> None:
    """Vacuums and analyzes, so that the next run finds the tables as housekeeping would leave them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def ask_holdings(url: str, orders: LiteralString, items: LiteralString, customers: LiteralString | None) -> Holdings:
    """Counts and sums over the tables named."""
    with psycopg.connect(url) as connection:
        count, cancelled = _row(connection, f"select count(*), count(*) filter (where is_cancelled) from {orders}")
        lines, value = _row(connection, f"select count(*), coalesce(sum(quantity * price), 0) from {items}")
        known = _row(connection, f"select count(*) from {customers}")[0] if customers else None
    return Holdings(count, cancelled, lines, value, known)


def differences(holdings: Holdings, expected: BulkTotals) -> list[str]:
    """What is not as it must be; an empty list when all is."""
    pairs = [
        ("orders", holdings.orders, expected.orders),
        ("cancelled", holdings.cancelled, expected.cancelled),
        ("items", holdings.items, expected.items),
        ("sum of quantity x price", holdings.value, expected.value),
    ]
    if holdings.customers is not None:
        pairs.append(("customers", holdings.customers, expected.customers))
    return [f"{what} is {found}, not {wanted}" for what, found, wanted in pairs if found != wanted]


def _log_position(connection: psycopg.Connection) -> int:
    return int(_row(connection, "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0])


def _row(connection: psycopg.Connection, question: LiteralString) -> tuple[Any, ...]:
    row = connection.execute(question).fetchone()
    assert row is not None
    return row
