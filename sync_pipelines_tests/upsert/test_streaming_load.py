"""Loads that stream end as loads of whole exports do, or leave no trace (laws 1, 2)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.database import ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import DatabaseUnavailable, ExportError
from sync_pipelines.partners import replenit
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines.stages import export_stages
from sync_pipelines.upsert import load as upsert_load
from sync_pipelines.upsert import new_rows, streaming_load
from sync_pipelines.upsert.locks import own_locks, take_locks
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, item, lines, order, until
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
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """By load, whether it streamed."""
    found: list[bool] = []
    load = upsert_load.load

    def noted(*given: Any, **options: Any) -> Any:
        found.append(len(given) > 5)
        return load(*given, **options)

    monkeypatch.setattr(export_stages, "load", noted)
    monkeypatch.setattr(streaming_load, "load", noted)
    return found


def loaded(site: Site) -> list[LedgerFile]:
    """Loads what is pending as a run does."""
    return site.sync(RUN)


def in_stages(site: Site) -> list[LedgerFile]:
    """Loads what is pending stage by stage, so that nothing streams."""
    workspace = site.workspace()
    for stage in (export_stages.archive_export, export_stages.normalize_export):
        for entry in site.discover().pending:
            stage(workspace, entry.id, RUN)
    return site.sync(RUN)


def everything(site: Site) -> Any:
    """Rows, counts and refused records, and what holds the tables together."""
    entries = [(e.path, e.status, e.counts, e.leniencies, e.run_id) for e in site.ledger()]
    orders = site.tables() if site.query("select from sync.orders limit 1") else {}
    return orders, contents(site), entries, site.rejects(), catalog(site)


def assert_as_in_stages(site: Site, fresh_site: Callable[[], Site], *puts: tuple[str, str]) -> None:
    found = everything(site)
    other = fresh_site()
    for path, content in puts:
        other.put_at(path, content)
        in_stages(other)
    assert found == everything(other)


@pytest.mark.parametrize("name", sorted(BULK))
def test_a_streaming_load_ends_like_any_other(
    site: Site, fresh_site: Callable[[], Site], streamed: list[bool], name: str
) -> None:
    path = f"{name.replace('/', '/acme/')}/{NAME}"
    content = lines(*(bulk_records(name, 60)))
    site.put_at(path, content)
    (entry,) = loaded(site)
    assert (entry.status, entry.counts["created"], streamed) == ("loaded", 60, [True])
    assert_as_in_stages(site, fresh_site, (path, content))


@pytest.mark.parametrize("form", ["null", "refused", "delete", "blank"])
def test_records_that_are_not_plain_go_the_same_way(
    site: Site, fresh_site: Callable[[], Site], streamed: list[bool], form: str
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
    assert streamed == [True]
    assert_as_in_stages(site, fresh_site, (PATH, content))


@examples(25)
@given(st.data())
def test_whatever_the_records_are(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    """Law 1: a first export of any records, streamed or not."""
    kinds = [*STREAMS[:-1], {f"replenit/{TENANT}/orders": st.sampled_from(ORDERS)}]
    ((folder, records),) = data.draw(st.sampled_from(kinds)).items()
    content = lines(*data.draw(st.lists(records, min_size=2, max_size=8)))
    site = fresh_site()
    site.put_at(f"{folder}/{NAME}", content, datetime(2024, 6, 1, tzinfo=UTC))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_rows, "MANY", 1)
        loaded(site)
    assert_as_in_stages(site, fresh_site, (f"{folder}/{NAME}", content))


@examples(20)
@given(st.data())
def test_whatever_was_loaded_before(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    """Law 1: exports of any records, in any order, streamed or not."""
    exports = data.draw(history(data.draw(st.sampled_from(STREAMS))))
    found = []
    for load in (loaded, in_stages):
        site = fresh_site()
        for path, records in exports:
            site.put_at(path, lines(*records), datetime(2024, 6, 1, tzinfo=UTC))
            load(site)
        found.append(everything(site))
    assert found[0] == found[1]


@pytest.mark.parametrize("place", [1, 59])
def test_a_key_with_several_records_waits_for_the_whole_export(
    site: Site, fresh_site: Callable[[], Site], streamed: list[bool], place: int
) -> None:
    content = lines(*ORDERS[:place], order("K0", TotalQuantity=7), *ORDERS[place:])
    site.put(NAME, content)
    loaded(site)
    assert streamed == [False]
    assert_as_in_stages(site, fresh_site, (PATH, content))


def test_few_records_are_loaded_when_they_are_read(site: Site, streamed: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS[:10]))
    (entry,) = loaded(site)
    assert (entry.counts["created"], streamed) == (10, [False])


def test_rows_of_another_tenant_are_in_nobodys_way(site: Site, streamed: list[bool]) -> None:
    site.load(NAME, lines(order("K0", Email="c1@x.cl")), tenant=OTHER_TENANT)
    site.put(NAME, lines(*ORDERS))
    (entry,) = loaded(site)
    assert (entry.counts["created"], streamed) == (60, [False, True])
    assert site.tables()["orders"].keys() >= {(OTHER_TENANT, "replenit", "K0"), (TENANT, "replenit", "K59")}
    assert len(site.customers()) == 8


def test_only_the_first_export_of_a_tenant_streams(
    site: Site, fresh_site: Callable[[], Site], streamed: list[bool]
) -> None:
    puts = [(PATH, lines(*ORDERS)), (PATH.replace("05-01", "05-02"), lines(order("K0"), *ORDERS[1:]))]
    for put in puts:
        site.put_at(*put)
    assert [entry.status for entry in loaded(site)] == ["loaded"] * 2
    assert streamed == [True, False]
    assert_as_in_stages(site, fresh_site, *puts)


def test_what_is_archived_already_streams_from_the_archive(site: Site, streamed: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    (entry,) = site.discover().pending
    export_stages.archive_export(site.workspace(), entry.id)
    assert [e.counts["created"] for e in loaded(site)] == [60]
    assert streamed == [True]


def test_what_is_kept_already_is_loaded_as_a_whole(site: Site, streamed: list[bool]) -> None:
    site.put(NAME, lines(*ORDERS))
    assert [e.counts["created"] for e in in_stages(site)] == [60]
    assert streamed == [False]


HELD: dict[str, Callable[[psycopg.Connection[Any]], object]] = {
    "a table": lambda other: other.execute("lock table sync.customers in access exclusive mode"),
    "the stream": lambda other: take_locks(other, own_locks(replenit.ORDERS, TENANT)),
    "customers": lambda other: take_locks(other, [f"customers/replenit/{TENANT}"]),
}


@pytest.mark.parametrize("what", HELD)
def test_what_somebody_else_holds_is_not_waited_for_while_the_export_is_read(
    site: Site, streamed: list[bool], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    site.put(NAME, lines(*ORDERS))
    with site.database.connect() as other:
        HELD[what](other)

        def has_given_up(load: streaming_load.StreamingLoad) -> bool:
            if load._is_over:
                other.rollback()
            return load._is_over

        with held_up(monkeypatch, has_given_up) as has_ended:
            (entry,) = loaded(site)
    assert has_ended.is_set()
    assert (entry.counts["created"], streamed) == (60, [False])


@contextmanager
def held_up(
    monkeypatch: pytest.MonkeyPatch, awaited: Callable[[streaming_load.StreamingLoad], bool]
) -> Iterator[threading.Event]:
    """Reading goes on once something is so of the load beside it; the event is set then."""
    real, is_so = export_stages.normalize_archived, threading.Event()

    def reading(workspace: Any, entry: Any, earlier: Any, beside: Any, *content: Any) -> str:
        def slow(records: Any) -> None:
            beside(records)
            if not is_so.is_set() and until(lambda: awaited(beside.__self__)):
                is_so.set()

        return real(workspace, entry, earlier, slow, *content)

    with monkeypatch.context() as patch:
        patch.setattr(export_stages, "normalize_archived", reading)
        yield is_so


def is_writing(site: Site) -> bool:
    """Whether somebody holds a table of orders to themselves."""
    return bool(
        site.query(
            "select from pg_locks join pg_class on pg_class.oid = relation"
            " where mode = 'AccessExclusiveLock' and relnamespace = 'sync'::regnamespace"
        )
    )


def test_rows_are_written_while_the_export_is_read(
    site: Site, streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(NAME, lines(*ORDERS))
    with held_up(monkeypatch, lambda _: is_writing(site)) as has_begun:
        (entry,) = loaded(site)
    assert has_begun.is_set()
    assert (entry.counts["created"], streamed, entry.run_id) == (60, [True], RUN)
    assert site.query("select distinct run_id from sync.orders") == [{"run_id": RUN}]


def test_a_file_that_breaks_off_leaves_nothing(
    site: Site, streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(_: object) -> bool:
        if is_writing(site):
            raise ExportError("file_truncated", "it breaks off", "send it again")
        return False

    before = catalog(site)
    site.put(NAME, lines(*ORDERS))
    with held_up(monkeypatch, breaks_off):
        (entry,) = loaded(site)
    assert str(entry.error).startswith("file_truncated")
    assert (entry.status, streamed, site.tables()["orders"], catalog(site)) == ("failed", [], {}, before)
    assert entry.sha256 and not entry.kept


def test_who_interrupts_a_sync_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> bool:
        if is_writing(site):
            raise KeyboardInterrupt
        return False

    before = catalog(site)
    site.put(NAME, lines(*ORDERS))
    with held_up(monkeypatch, interrupted), pytest.raises(KeyboardInterrupt):
        loaded(site)
    assert (site.tables()["orders"], catalog(site)) == ({}, before)
    assert [entry.status for entry in site.ledger()] == ["pending"]
    assert [entry.counts["created"] for entry in loaded(site)] == [60]


def test_a_fault_of_the_rows_is_told_by_the_load_of_the_whole_export(site: Site, streamed: list[bool]) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute("alter table sync.orders add constraint few check (external_id <> 'K59')")
    site.put(NAME, lines(*ORDERS))
    (failed,) = loaded(site)
    assert failed.status == "failed" and "few" in (failed.error or "")
    assert (failed.attempts, streamed, site.tables()["orders"]) == (1, [False], {})


def test_other_content_that_comes_meanwhile_is_not_mixed_in(
    site: Site, streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look beside the run finds the path rewritten once its records are kept."""
    site.put(NAME, lines(*ORDERS))
    mark_kept = ledger_changes.mark_kept

    def overtaken(*given: Any) -> None:
        mark_kept(*given)
        with monkeypatch.context() as patch:
            patch.setattr(ledger_changes, "mark_kept", mark_kept)
            site.put(NAME, lines(*ORDERS[:30]))
            site.discover()

    with monkeypatch.context() as patch:
        patch.setattr(ledger_changes, "mark_kept", overtaken)
        (waiting,) = loaded(site)
    assert (waiting.status, waiting.kept, streamed) == ("pending", None, [False])
    assert site.tables()["orders"] == {}
    assert [entry.counts["created"] for entry in loaded(site)] == [30]


def test_records_kept_anew_meanwhile_are_loaded_as_they_were_kept_last(
    site: Site, streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(NAME, lines(*ORDERS))
    mark_kept, again = ledger_changes.mark_kept, list[str]()

    def overtaken(connection: Any, entry: LedgerFile, kept: str) -> None:
        mark_kept(connection, entry, kept)
        again.append(export_stages.normalize_archived(site.workspace(), site.ledger()[0]))
        connection.execute("update sync.export_files set kept = %s", again)

    monkeypatch.setattr(ledger_changes, "mark_kept", overtaken)
    (entry,) = loaded(site)
    assert (entry.counts["created"], streamed, entry.kept) == (60, [False], again[0])


def test_a_server_that_goes_away_leaves_it_to_the_next_try(
    site: Site, streamed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(NAME, lines(*ORDERS))
    real = upsert_load.load

    def ended(connection: psycopg.Connection[Any], *given: Any, **options: Any) -> Any:
        site.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and state = 'idle in transaction'"
        )
        return real(connection, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(streaming_load, "load", ended)
        with pytest.raises(DatabaseUnavailable):
            loaded(site)
    assert [entry.status for entry in site.ledger()] == ["pending"]
    assert [entry.counts["created"] for entry in loaded(site)] == [60]
    assert streamed == [False], "its records are kept already"
