"""Fixtures every test may use: a clean environment, and a fresh database on a real PostgreSQL.

One embedded server serves all pytest processes of a session.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.embedded import use_server
from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.databases import Copy, Pool, empty_tables, make_database, make_template
from sync_pipelines_tests.examples import load_profile
from sync_pipelines_tests.loading import Site

load_profile()

_LONGEST = (
    "test_up", "test_browser", "test_browser_door", "test_browser_hostile", "test_outages", "test_personal_data",
    "test_sample_synced", "test_verify_tables", "test_bucket", "test_online_retail", "test_remote_landings",
    "test_given_database", "test_limits", "test_preview", "test_private_files", "test_kill", "test_compaction",
)  # fmt: skip
"""Modules with tests of many seconds, which start first: at the end, one process would wait for them."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many again as processors: tests of services and of the UI wait for a good part of their time."""
    return (os.cpu_count() or 1) * 3 // 2 or 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names cases of bytes by their place: compressed ones have a time in them, and processes must agree on names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("SYNC_") or name == "DAGSTER_HOME":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _not_durable() -> Iterator[None]:
    """Files of tests need not outlive the machine, as the rows of the server need not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """The program sets its process's umask; the folders that a test makes are those of a user who has not."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The server's own database, for making others; never write to it."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "server"
    home.mkdir(exist_ok=True)
    admin = Database(use_server(home).superuser_url, embedded=True)
    with (home / "template").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_template(admin)
    return admin


@pytest.fixture(scope="session")
def pool(server: Database) -> Iterator[Pool]:
    """The databases of this process's tests."""
    pool = Pool(server)
    yield pool
    pool.close()


@pytest.fixture
def database_copy(pool: Pool) -> Iterator[Copy]:
    """A migrated, empty database of this test's own, and connections to it."""
    with pool.copy() as copy:
        yield copy


@pytest.fixture
def database(database_copy: Copy) -> Database:
    """A migrated, empty database of this test's own."""
    return database_copy.database


@pytest.fixture
def bare_database(server: Database) -> Iterator[Database]:
    """A database without any schema."""
    yield from make_database(server, "template0")


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Settings with a state folder of this test's own and its `database`."""
    return Settings(home=tmp_path / "home", database_url=database.url, sources=tmp_path / "sources.yaml")


@pytest.fixture
def site(database_copy: Copy, tmp_path: Path) -> Site:
    """A landing and an archive of this test's own, with its `database`."""
    return Site(tmp_path, database_copy.database, connections=database_copy.connections)


@pytest.fixture
def fresh_site(site: Site) -> Callable[[], Site]:
    """Makes a site on emptied tables, as often as asked: one database serves all examples of a property."""
    numbers = count()

    def make() -> Site:
        empty_tables(site.database)
        folder = site.folder / f"site{next(numbers)}"
        folder.mkdir()
        return Site(folder, site.database, connections=site.connections)

    return make
