"""The head start in a process of its own: it ends with the one that asked for it, and leaves nothing behind (law 2)."""

from __future__ import annotations

import os
import signal
import sys
from subprocess import PIPE, Popen

import pytest

from sync_pipelines.stages import export_stages
from sync_pipelines.stages.forked import CAN_FORK, ForkedHeadStart, forked_head_start
from sync_pipelines.stages.head_start import HeadStart
from sync_pipelines.upsert import new_rows
from sync_pipelines_tests.loading import Site, item, lines, order, outcomes, until

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="this system's libraries do not bear a fork")
RUN = "run-1"
NAME = "2024-05-01.ndjson"
ORDERS = [order(f"K{n}", Email=f"c{n % 7}@x.cl", OrderItems=[item("p"), item("q")]) for n in range(60)]


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_rows, "MANY", 20)
    monkeypatch.setattr(new_rows, "CHUNK", 16)


def is_begun(site: Site) -> bool:
    """Whether somebody holds a table of orders to themselves."""
    return bool(
        site.query(
            "select from pg_locks join pg_class on pg_class.oid = relation"
            " where mode = 'AccessExclusiveLock' and relnamespace = 'sync'::regnamespace"
        )
    )


def test_it_archives_reads_and_loads(site: Site) -> None:
    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    with forked_head_start(site.workspace(), pending, RUN) as (ready, begun):
        ready.settled(pending[0].id)
        assert site.ledger()[0].kept
        assert isinstance(begun, ForkedHeadStart) and begun.process.pid != os.getpid()
        loaded = export_stages.load_export(ready, pending[0].id, RUN)
    assert (loaded.status, outcomes(loaded), loaded.run_id) == ("loaded", {"created": 60}, RUN)
    assert not begun.process.is_alive()


def test_where_no_process_is_to_be_had_threads_serve(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    monkeypatch.setattr(os, "fork", refuse)
    with forked_head_start(site.workspace(), pending, RUN) as (ready, begun):
        assert isinstance(begun, HeadStart)
        assert outcomes(export_stages.load_export(ready, pending[0].id, RUN)) == {"created": 60}


def test_it_ends_when_nothing_is_left_to_ask_for(site: Site) -> None:
    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    with forked_head_start(site.workspace(), pending, RUN) as (ready, begun):
        assert isinstance(begun, ForkedHeadStart)
        ready.settled(pending[0].id)
        assert ready.complete(pending[0].id, RUN)
        assert begun.process.is_alive(), "it may have to begin another"
        begun.end()
        assert until(lambda: not begun.process.is_alive())
        ready.settled(pending[0].id)
        assert not ready.complete(pending[0].id, RUN)


def test_a_load_of_another_run_is_done_as_a_whole(site: Site) -> None:
    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    with forked_head_start(site.workspace(), pending, RUN) as (ready, _):
        assert not ready.complete(pending[0].id, "run-2")
        assert outcomes(export_stages.load_export(ready, pending[0].id, "run-2")) == {"created": 60}


def test_a_process_that_is_gone_began_nothing(site: Site) -> None:
    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    with forked_head_start(site.workspace(), pending, RUN) as (ready, begun):
        assert until(lambda: is_begun(site))
        assert isinstance(begun, ForkedHeadStart)
        begun.process.kill()
        ready.settled(pending[0].id)
        assert not ready.complete(pending[0].id, RUN)
        assert until(lambda: not is_begun(site))
        assert outcomes(export_stages.load_export(ready, pending[0].id, RUN)) == {"created": 60}


def test_a_fault_is_told_by_whoever_asks(site: Site) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute("alter table sync.orders add constraint few check (external_id <> 'K59')")
    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    with forked_head_start(site.workspace(), pending, RUN) as (ready, _):
        failed = export_stages.load_export(ready, pending[0].id, RUN)
    assert failed.status == "failed" and "few" in (failed.error or "")
    assert site.tables()["orders"] == {}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_process_that_asked(site: Site, sent: signal.Signals) -> None:
    site.put(NAME, lines(*ORDERS))
    settings = site.settings
    program = (
        "import signal, time\n"
        # Whoever runs the tests may have them ignored.
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sync_pipelines.stages import export_stages as sync\n"
        "from sync_pipelines.stages.forked import forked_head_start\n"
        "from sync_pipelines.configuration.settings import load_settings\n"
        "from sync_pipelines.upsert import new_rows as direct\n"
        "direct.MANY = 20\n"
        "workspace = sync.open_workspace(load_settings())\n"
        "with forked_head_start(workspace, sync.discover(workspace).pending, 'run-1') as (_, begun):\n"
        "    print(begun.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    own = {
        "SYNC_HOME": str(settings.home),
        "SYNC_DATABASE_URL": str(settings.database_url),
        "SYNC_LANDING": settings.landing,
        "SYNC_SOURCES": str(settings.sources),
    }
    with Popen([sys.executable, "-c", program], stdout=PIPE, stderr=PIPE, text=True, env=os.environ | own) as asking:
        assert asking.stdout is not None
        other = int(asking.stdout.readline())
        assert until(lambda: is_begun(site))
        asking.send_signal(sent)
        asking.communicate(timeout=20)
    assert until(lambda: not os.path.exists(f"/proc/{other}"))
    assert until(lambda: not is_begun(site))
    assert site.query("select from sync.orders") == []
    assert [outcomes(entry) for entry in site.sync()] == [{"created": 60}]
