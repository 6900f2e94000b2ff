"""Rows written behind: in order, bounded, and a fault ends them and is told."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from sync_pipelines.upsert import write_behind
from sync_pipelines.upsert.write_behind import WriteBehind
from sync_pipelines_tests.loading import TENANT, Site, item, lines, order, outcomes

WAIT = 10.0


def test_tasks_are_done_in_order_by_another_thread() -> None:
    work, done = WriteBehind(), list[tuple[int, bool]]()
    main = threading.current_thread()

    def note(number: int) -> None:
        done.append((number, threading.current_thread() is main))

    for number in range(200):
        work.add(1, partial(note, number))
    work.drain()
    assert done == [(number, False) for number in range(200)]


def test_whoever_brings_many_rows_waits() -> None:
    work, may_go, third = WriteBehind(), threading.Event(), threading.Event()
    work.add(write_behind._ROWS - 1, lambda: may_go.wait(WAIT))
    work.add(1, lambda: None)

    def bring() -> None:
        work.add(1, lambda: None)
        third.set()

    threading.Thread(target=bring, daemon=True).start()
    assert not third.wait(0.2)
    may_go.set()
    assert third.wait(WAIT)
    work.drain()


def test_after_a_fault_nothing_more_is_done() -> None:
    work, may_go, done = WriteBehind(), threading.Event(), list[int]()

    def fail() -> None:
        may_go.wait(WAIT)
        raise ValueError("no")

    work.add(1, fail)
    work.add(1, lambda: done.append(1))
    may_go.set()
    work.wait()
    with pytest.raises(ValueError, match="no"):
        work.add(1, lambda: done.append(2))
    with pytest.raises(ValueError, match="no"):
        work.drain()
    assert done == []


def test_a_fault_frees_whoever_waits() -> None:
    work, may_go, told = WriteBehind(), threading.Event(), list[str]()

    def fail() -> None:
        may_go.wait(WAIT)
        raise ValueError("no")

    def bring() -> None:
        try:
            work.add(1, lambda: None)
        except ValueError as fault:
            told.append(str(fault))

    work.add(write_behind._ROWS, fail)
    waiting = threading.Thread(target=bring, daemon=True)
    waiting.start()
    may_go.set()
    waiting.join(WAIT)
    assert told == ["no"]


@pytest.mark.parametrize("made", ["increment by 3", "increment by -1", "cache 7"])
def test_numbers_that_do_not_follow_one_another(site: Site, made: str) -> None:
    """Others who draw numbers at the same time leave gaps, as a sequence of another step does."""
    with site.database.connect(autocommit=True) as connection:
        for table in ("orders", "customers"):
            connection.execute(f"alter sequence sync.{table}_id_seq {made} minvalue -9999999 restart with 100")
    orders = [order(f"K{n}", Email=f"c{n % 7}@x.cl", OrderItems=[item("p"), item("q")]) for n in range(60)]
    assert outcomes(site.load("2024-05-02.json", orders)) == {"created": 60}
    found = site.query(
        "select o.external_id, o.email, c.external_id as customer, count(i.id) as items from sync.orders o"
        " join sync.customers c on c.id = o.customer_id join sync.order_items i on i.order_id = o.id group by 1, 2, 3"
    )
    assert {row["external_id"] for row in found} == {f"K{n}" for n in range(60)}
    assert all(row["email"] == row["customer"] and row["items"] == 2 for row in found)
    assert len(site.query("select from sync.customers")) == 7


def test_a_row_that_is_refused_by_the_database_ends_the_load(site: Site) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute("alter table sync.order_items add constraint few check (quantity < 1000)")
    orders = [order(f"K{n}", OrderItems=[item("p")]) for n in range(50)]
    failed = site.load_at(
        f"replenit/{TENANT}/orders/2024-05-02.ndjson",
        lines(*orders, order("Z", OrderItems=[item("p") | {"Quantity": 1000}])),
    )
    assert failed.status == "failed" and "few" in (failed.error or "")
    assert site.tables()["orders"] == {} and site.customers() == []
