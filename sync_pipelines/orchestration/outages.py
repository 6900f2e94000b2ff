"""Steps of a run while the database or the landing is down.

A step finds its remaining work in the ledger, so it can be restarted. It waits for the database and restarts. If the
database does not come back in time, or the landing is down, Dagster launches the run again. A run of the command line
does neither: its user sees the error at once.

Belongs here: waiting and restarting. Does not belong here: what a step does (`assets`, `checks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import dagster as dg
import sqlalchemy.exc

from sync_pipelines.database.postgres import Database
from sync_pipelines.errors import DatabaseUnavailable, LandingUnavailable
from sync_pipelines.orchestration.activity import is_of_command_line
from sync_pipelines.orchestration.private_dagster import (
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    DagsterPostgresException,
    add_run_tags,
)

ATTEMPTS: Final = 5
BACK_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 1.0
_AWAY: Final = (
    DatabaseUnavailable,
    DagsterPostgresException,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
)

T = TypeVar("T")


def through_outages(instance: dg.DagsterInstance, run: dg.DagsterRun, database: Database, work: Callable[[], T]) -> T:
    """Does a step's work, and restarts it each time the connection to the database is lost.

    Args:
        instance: Dagster's, whose events are in the same database.
        run: the step's run.
        database: to wait for.
        work: finds its remaining work itself, so it can be called again.
    """
    attempt = 1
    while True:
        try:
            return work()
        except Exception as error:
            if is_of_command_line(run):
                raise
            if is_database_away(error) and attempt < ATTEMPTS and _is_back(database):
                attempt += 1
                continue
            if isinstance(error, LandingUnavailable) or is_database_away(error):
                _ask_for_retry(instance, run)
            raise


def is_database_away(error: BaseException) -> bool:
    """Returns whether the error is that the database does not answer, to the project or to Dagster."""
    return any(isinstance(one, _AWAY) for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def patiently(opens: Callable[[], T]) -> T:
    """Calls `opens` until the database answers, and returns its result.

    Raises:
        DatabaseUnavailable: the database does not answer in time.
    """
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        try:
            return opens()
        except DatabaseUnavailable:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _is_back(database: Database) -> bool:
    time.sleep(_PAUSE_SECONDS)
    try:
        patiently(database.connect).close()
    except DatabaseUnavailable:
        return False
    return True


def _ask_for_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    try:
        add_run_tags(instance, run.run_id, {RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "true"})
    except Exception:
        # Then the run cannot record its failure either, and counts as crashed.
        return
