"""Loads that are begun before their run end as loads that are not, or leave no trace (laws 1, 2)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines import cli
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import DatabaseUnavailable
from sync_pipelines.partners import replenit
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines.stages import export_stages
from sync_pipelines.stages import head_start as starts
from sync_pipelines.stages.head_start import HeadStart, head_start
from sync_pipelines.upsert import load as upsert_load
from sync_pipelines.upsert import new_rows, prefetched_load
from sync_pipelines.upsert.locks import own_locks, take_locks
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, item, lines, order
from sync_pipelines_tests.upsert.test_empty_tables import catalog
from sync_pipelines_tests.upsert.test_fast_ways import STREAMS, contents, history

RUN = "run-1"
NAME = "2024-05-01.ndjson"
PATH = f"replenit/{TENANT}/orders/{NAME}"
ORDERS = [order(f"K{n}", Email=f"c{n % 7}@x.cl", OrderItems=[item("p"), item("q")]) for n in range(60)]


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_rows, "MANY", 20)
    monkeypatch.setattr(new_rows, "CHUNK", 16)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """By load, whether it was begun before."""
    found: list[bool] = []
    load = upsert_load.load

    def told(*given: Any) -> Any:
        found.append(len(given) > 5 and given[5] is not None)
        return load(*given)

    monkeypatch.setattr(export_stages, "load", told)
    monkeypatch.setattr(starts, "load", told)
    return found


@contextmanager
def started(
    site: Site, run_id: str | None = RUN
) -> Iterator[tuple[export_stages.Workspace, HeadStart, list[LedgerFile]]]:
    """What is pending, read and perhaps loaded already."""
    pending = site.discover().pending
    with head_start(site.workspace(), pending, run_id) as (ready, ahead):
        for _ in range(500):
            if ahead._load is not None or any(entry.kept for entry in site.ledger()):
                break
            threading.Event().wait(0.01)
        for entry in pending:
            ready.settled(entry.id)
        if ahead._load is not None:
            assert ahead._load[1].at_rest.wait(20)
        yield ready, ahead, pending


def loaded(site: Site, run_id: str = RUN) -> list[LedgerFile]:
    """Loads what is pending as a run does."""
    with started(site) as (ready, _, pending):
        return [export_stages.load_export(ready, entry.id, run_id) for entry in pending]


def everything(site: Site) -> Any:
    """Rows, counts and refused records, and what holds the tables together."""
    entries = [(e.path, e.status, e.counts, e.leniencies, e.run_id) for e in site.ledger()]
    orders = site.tables() if site.query("select from sync.orders limit 1") else {}
    return orders, contents(site), entries, site.rejects(), catalog(site)


def assert_as_if_never_begun(site: Site, fresh_site: Callable[[], Site], *puts: tuple[str, str]) -> None:
    found = everything(site)
    other = fresh_site()
    for path, content in puts:
        other.put_at(path, content)
        other.sync(RUN)
    assert found == everything(other)


@pytest.mark.parametrize("name", sorted(BULK))
def test_a_begun_load_ends_like_any_other(
    site: Site, fresh_site: Callable[[], Site], taken: list[bool], name: str
) -> None:
    path = f"{name.replace('/', '/acme/')}/{NAME}"
    content = lines(*(bulk_records(name, 60)))
    site.put_at(path, content)
    (entry,) = loaded(site)
    assert (entry.status, entry.counts["created"], taken) == ("loaded", 60, [True])
    assert_as_if_never_begun(site, fresh_site, (path, content))


@pytest.mark.parametrize("form", ["null", "refused", "delete", "blank"])
def test_records_that_are_not_plain_go_the_same_way(
    site: Site, fresh_site: Callable[[], Site], taken: list[bool], form: str
) -> None:
    odd = {
        "null": order("odd", Email=None),
        "refused": order("odd", TotalQuantity="many"),
        "delete": {**order("odd"), "Currency": "CLP", "unheard_of": 1},
        "blank": "",
    }[form]
    content = lines(*ORDERS[:30], odd, *ORDERS[30:])
    site.put(NAME, content)
    loaded(site)
    assert taken == [True]
    assert_as_if_never_begun(site, fresh_site, (PATH, content))


@examples(25)
@given(st.data())
def test_whatever_the_records_are(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    """Law 1: a first export of any records, begun or not."""
    kinds = [*STREAMS[:-1], {f"replenit/{TENANT}/orders": st.sampled_from(ORDERS)}]
    ((folder, records),) = data.draw(st.sampled_from(kinds)).items()
    content = lines(*data.draw(st.lists(records, min_size=2, max_size=8)))
    site = fresh_site()
    site.put_at(f"{folder}/{NAME}", content, datetime(2024, 6, 1, tzinfo=UTC))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_rows, "MANY", 1)
        loaded(site)
    assert_as_if_never_begun(site, fresh_site, (f"{folder}/{NAME}", content))


@examples(20)
@given(st.data())
def test_whatever_was_loaded_before(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    """Law 1: exports of any records, in any order, each begun or none."""
    exports = data.draw(history(data.draw(st.sampled_from(STREAMS))))
    found = []
    for load in (loaded, Site.sync):
        site = fresh_site()
        for path, records in exports:
            site.put_at(path, lines(*records), datetime(2024, 6, 1, tzinfo=UTC))
            load(site, RUN)
        found.append(everything(site))
    assert found[0] == found[1]


@pytest.mark.parametrize("place", [1, 59])
def test_a_key_with_several_records_waits_for_the_whole_export(
    site: Site, fresh_site: Callable[[], Site], taken: list[bool], place: int
) -> None:
    content = lines(*ORDERS[:place], order("K0", TotalQuantity=7), *ORDERS[place:])
    site.put(NAME, content)
    loaded(site)
    assert taken == [True]
    assert_as_if_never_begun(site, fresh_site, (PATH, content))


def test_few_records_are_written_when_they_are_read(site: Site, taken: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS[:10]))
    (entry,) = loaded(site)
    assert (entry.counts["created"], taken) == (10, [True])


def test_rows_of_another_tenant_are_in_nobodys_way(site: Site, taken: list[bool]) -> None:
    site.load(NAME, lines(order("K0", Email="c1@x.cl")), tenant=OTHER_TENANT)
    site.put(NAME, lines(*ORDERS))
    (entry,) = loaded(site)
    assert (entry.counts["created"], taken) == (60, [False, True])
    assert site.tables()["orders"].keys() >= {(OTHER_TENANT, "replenit", "K0"), (TENANT, "replenit", "K59")}
    assert len(site.customers()) == 8


def test_a_later_export_is_written_when_it_is_read(
    site: Site, fresh_site: Callable[[], Site], taken: list[bool]
) -> None:
    puts = [(f"replenit/{TENANT}/orders/2024-04-01.ndjson", lines(order("K0"))), (PATH, lines(*ORDERS))]
    site.put_at(*puts[0])
    site.sync(RUN)
    site.put_at(*puts[1])
    loaded(site)
    assert taken == [False, True]
    assert_as_if_never_begun(site, fresh_site, *puts)


HELD: dict[str, Callable[[psycopg.Connection[Any]], object]] = {
    "a table": lambda other: other.execute("lock table sync.customers in access exclusive mode"),
    "the stream": lambda other: take_locks(other, own_locks(replenit.ORDERS, TENANT)),
    "customers": lambda other: take_locks(other, [f"customers/replenit/{TENANT}"]),
}


@pytest.mark.parametrize("what", HELD)
def test_what_somebody_else_holds_is_not_waited_for(site: Site, taken: list[bool], what: str) -> None:
    site.put(NAME, lines(*ORDERS))
    with site.database.connect() as other:
        HELD[what](other)
        with started(site) as (ready, _, pending):
            other.rollback()
            entry = export_stages.load_export(ready, pending[0].id, RUN)
    assert (entry.counts["created"], taken) == (60, [False])


def test_a_file_that_breaks_off_leaves_nothing(site: Site, taken: list[bool]) -> None:
    before = catalog(site)
    site.put(NAME, lines(*ORDERS).encode() + b"\xff\xfe{}\n")
    with started(site) as (ready, _, pending):
        entry = export_stages.load_export(ready, pending[0].id, RUN)
        assert entry.status == "failed"
        assert site.tables()["orders"] == {}
        assert catalog(site) == before
    assert taken == []


def test_a_load_that_nobody_takes_over_leaves_nothing(site: Site, fresh_site: Callable[[], Site]) -> None:
    before = catalog(site)
    site.put(NAME, lines(*ORDERS))
    with started(site):
        pass
    assert site.tables()["orders"] == {}
    assert catalog(site) == before
    site.sync(RUN)
    assert_as_if_never_begun(site, fresh_site, (PATH, lines(*ORDERS)))


def test_nobody_waits_for_long_for_tables_of_a_load_that_is_not_taken_over(
    site: Site, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetched_load, "_UNWANTED", 0.1)
    site.put(NAME, lines(*ORDERS))
    with started(site) as (ready, _, pending):
        assert site.query("select count(*) as n from sync.orders") == [{"n": 0}]
        entry = export_stages.load_export(ready, pending[0].id, RUN)
    assert (entry.counts["created"], taken) == (60, [False])


def test_an_export_that_comes_before_ends_it(site: Site, fresh_site: Callable[[], Site], taken: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    with started(site) as (ready, _, pending):
        site.put("2024-04-01.ndjson", lines(order("K0"), order("K99")))
        (first,) = site.discover().pending[:1]
        assert first.path != pending[0].path
        for entry in (first, *pending):
            export_stages.load_export(ready, entry.id, RUN)
    assert taken == [False, False]
    found = everything(site)
    other = fresh_site()
    other.put("2024-04-01.ndjson", lines(order("K0"), order("K99")))
    other.put(NAME, lines(*ORDERS))
    other.sync(RUN)
    assert found == everything(other)


def test_rows_name_no_run_but_their_own(site: Site, taken: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    loaded(site, "another-run")
    assert taken == [False]
    assert site.query("select distinct run_id from sync.orders") == [{"run_id": "another-run"}]


def test_records_read_again_meanwhile_are_loaded_as_they_were_read_last(site: Site, taken: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    with started(site) as (ready, _, pending):
        again = export_stages.normalize_archived(ready, site.ledger()[0])
        with site.database.connect() as connection:
            connection.execute("update sync.export_files set kept = %s", [again])
        entry = export_stages.load_export(ready, pending[0].id, RUN)
    assert (entry.counts["created"], taken, entry.kept) == (60, [False], again)


def test_two_exports_of_a_run_are_left_to_it(site: Site, taken: list[bool]) -> None:
    """The tables would be out of reach while the second one is read."""
    for day in (1, 2):
        site.put(f"2024-05-0{day}.ndjson", lines(*ORDERS))
    loaded(site)
    assert taken == [False, False]


def test_only_the_first_run_is_begun(site: Site, taken: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    site.put_at(f"nilo/acme/stores/{NAME}", lines(*bulk_records("nilo/stores", 60)))
    with started(site) as (ready, ahead, pending):
        for _ in range(500):
            if all(entry.kept for entry in site.ledger()):
                break
            threading.Event().wait(0.01)
        assert ahead._load is not None
        assert ahead._load[0] == pending[0].id
        entries = [export_stages.load_export(ready, entry.id, RUN) for entry in pending]
    assert [entry.counts["created"] for entry in entries] == [60, 60]
    assert taken == [True, False]


def test_a_server_that_goes_away_leaves_it_to_the_next_try(site: Site, taken: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    with started(site) as (ready, _, pending):
        ended = site.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and state = 'idle in transaction'"
        )
        assert len(ended) == 1
        with pytest.raises(DatabaseUnavailable):
            export_stages.load_export(ready, pending[0].id, RUN)
        entry = export_stages.load_export(ready, pending[0].id, RUN)
    assert (entry.counts["created"], taken) == (60, [True, False])


def test_the_run_of_the_command_line_takes_it_over(
    site: Site, taken: list[bool], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = site.settings
    monkeypatch.setenv("SYNC_HOME", str(settings.home))
    monkeypatch.setenv("SYNC_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("SYNC_LANDING", settings.landing)
    monkeypatch.setenv("SYNC_SOURCES", str(settings.sources))
    monkeypatch.setattr("sys.argv", ["sync-pipelines", "sync", "--json"])
    site.put(NAME, lines(*ORDERS))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert (left.value.code, taken) == (0, []), "another process loaded it"
    assert json.loads(capfd.readouterr().out)["totals"]["created"] == 60
    (run,) = site.query("select run_id, status from runs")
    assert run["status"] == "SUCCESS"
    assert site.query("select distinct run_id from sync.orders") == [{"run_id": run["run_id"]}]


def test_it_ends_while_it_is_at_work(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side waits for the other for ever."""
    go_on = threading.Event()
    normalize = export_stages.normalize_archived

    def stopping(workspace: Any, entry: Any, earlier: Any, beside: Any) -> str:
        def slow(records: Any) -> None:
            beside(records)
            go_on.wait(10)

        return normalize(workspace, entry, earlier, slow)

    monkeypatch.setattr(export_stages, "normalize_archived", stopping)
    site.put(NAME, lines(*ORDERS))
    pending = site.discover().pending
    with head_start(site.workspace(), pending, RUN) as (_, ahead):
        threading.Timer(0.3, go_on.set).start()
        ahead.let_go()
    assert site.tables()["orders"] == {}
