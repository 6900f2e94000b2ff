"""Erased people in the database: the list that `archive/erasures.json` has, for queries, and old versions of rows.

Belongs here: that table, and rewriting tables. Does not belong here: the file, which decides
(`privacy.erased_people`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from sync_pipelines.database.ledger_copies import keep_erasures
from sync_pipelines.database.postgres import Database
from sync_pipelines.errors import SyncError
from sync_pipelines.privacy.erased_people import ErasedPeople
from sync_pipelines.privacy.untrusted_text import on_one_line

_LOCK: Final = 7_283_041_131
WAIT_SECONDS: Final = 30
"""How long rewriting a table waits for whoever reads or writes it."""


@contextmanager
def one_at_a_time(database: Database) -> Iterator[None]:
    """Keeps other erasures away, on every host: each reads the list of erased people and replaces it.

    Raises:
        SyncError: `busy`: another erasure is running.
    """
    with database.connect(autocommit=True) as connection:
        if connection.execute("select pg_try_advisory_lock(%s)", [_LOCK]).fetchone() != (True,):
            raise SyncError("busy", "another erasure is running", "erase again when it is done")
        yield


def rewrite_tables(database: Database) -> str | None:
    """Writes every table again, so that files of the server have no old versions of rows; returns why not, or None.

    Statistics go first: they have samples of the values. They are a table too.
    """
    with database.connect(autocommit=True) as connection:
        connection.execute(f"set lock_timeout = '{WAIT_SECONDS}s'".encode())
        try:
            connection.execute("analyze")
            connection.execute("vacuum (full)")
        except psycopg.Error as error:
            return on_one_line(str(error))
    return None


def mirror(connection: psycopg.Connection[Any], archive: Path, people: ErasedPeople) -> None:
    """Makes the table show what the file has.

    Args:
        connection: in autocommit.
        archive: the archive's folder, which gets copies of the rows.
        people: the content of the file.
    """
    with connection.transaction():
        connection.execute("delete from sync.erasures")
        for erasure in people.erasures:
            connection.execute(
                "insert into sync.erasures (partner, tenant, kind, subject, keeps_orders, reason, erased_by, erased_at,"
                " lifted_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    erasure.partner, erasure.tenant, erasure.kind, erasure.subject, erasure.keeps_orders,
                    erasure.reason, erasure.erased_by, erasure.erased_at, erasure.lifted_at,
                ],
            )  # fmt: skip
        ids = connection.execute("select id from sync.erasures").fetchall()
        keep_erasures(connection, archive, *(row_id for (row_id,) in ids))
