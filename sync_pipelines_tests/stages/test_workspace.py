"""Connections that are kept from one question to the next."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from sync_pipelines.stages.workspace import Workspace
from sync_pipelines_tests.loading import Site, until


def backend(workspace: Workspace) -> int:
    """The server's process of a connection."""
    with workspace.connection() as connection:
        return connection.info.backend_pid


def left(site: Site, *backends: int) -> int:
    """How many of the server's processes are there."""
    return len(site.query("select from pg_stat_activity where pid = any(%s)", [list(backends)]))


def test_a_connection_is_used_again_until_the_block_ends(site: Site) -> None:
    with site.workspace().keeping_connections() as workspace:
        first = backend(workspace)
        with workspace.connection() as connection:
            assert connection.info.backend_pid == first
            second = backend(workspace)
        assert second != first and {backend(workspace), backend(workspace)} <= {first, second}
        assert left(site, first, second) == 2
    assert workspace.idle == []
    assert until(lambda: not left(site, first, second))


def test_otherwise_each_is_closed(site: Site) -> None:
    workspace = site.workspace()
    assert backend(workspace) != backend(workspace) and workspace.idle is None


def test_one_that_was_cut_meanwhile_is_opened_anew(site: Site) -> None:
    with site.workspace().keeping_connections() as workspace:
        first = backend(workspace)
        site.query("select pg_terminate_backend(%s)", [first])
        assert until(lambda: not left(site, first))
        assert backend(workspace) != first


def leave_in_transaction(connection: psycopg.Connection[Any]) -> None:
    connection.autocommit = False
    connection.execute("select")


def fail(connection: psycopg.Connection[Any]) -> None:
    connection.execute("select 1 / 0")


@pytest.mark.parametrize("leave", [leave_in_transaction, psycopg.Connection.close, fail])
def test_one_that_does_not_rest_is_not_kept(site: Site, leave: Any) -> None:
    with site.workspace().keeping_connections() as workspace:
        try:
            with workspace.connection() as connection:
                leave(connection)
        except psycopg.errors.DivisionByZero:
            assert leave is fail
        assert workspace.idle == [] and connection.closed
