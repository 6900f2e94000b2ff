"""The index of keys against a mapping from keys to exports, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync_pipelines.database.postgres import Database
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.upsert import key_index, key_pages
from sync_pipelines.upsert.key_index import KeyIndex
from sync_pipelines.upsert.key_pages import Hashes, Pairs, as_bigint, packed, unpacked
from sync_pipelines_tests.loading import TENANT, Site, order

Known = dict[int, set[int]]
"""Hash -> the exports that have it."""

EDGES = (0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1)
HASHES = st.one_of(st.sampled_from(EDGES), st.integers(0, 40), st.integers(0, 2**64 - 1))
EXPORTS = st.one_of(st.integers(1, 20), st.sampled_from([257, 300, 65_537, 70_000, 2**32 + 1, 2**62]))
LISTS = st.sets(HASHES, max_size=30)


@contextmanager
def small_pages(merged_at_once: int = 3) -> Iterator[None]:
    """Pages, questions and merges so small that few pairs cross all their edges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_pages, "PAIRS_A_PAGE", 3)
        patch.setattr(key_index, "MERGED_AT_ONCE", merged_at_once)
        patch.setattr(key_index, "_PAGES_AT_ONCE", 2)
        patch.setattr(key_index, "_PROBES_AT_ONCE", 4)
        patch.setattr(key_index, "_PAIRS_AT_ONCE", 7)
        patch.setattr(key_index, "_FIRST", 1)
        patch.setattr(key_index, "_EXPORTS_LISTED", 4)
        yield


@pytest.fixture
def _small() -> Iterator[None]:
    with small_pages():
        yield


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with database.connect() as connection:
        yield connection


def hashes_of(numbers: Any) -> Hashes:
    return np.array(sorted(numbers), np.uint64)


def index_on(connection: psycopg.Connection[Any], tenant: str = TENANT) -> KeyIndex:
    return KeyIndex(connection, "replenit", tenant, "orders")


def levels(connection: psycopg.Connection[Any]) -> list[tuple[int, int, int]]:
    return connection.execute("select level, pairs, pages from sync.key_runs order by id").fetchall()


def learn(known: Known, export_id: int, numbers: set[int]) -> None:
    for number in numbers:
        known.setdefault(number, set()).add(export_id)


def assert_knows(index: KeyIndex, known: Known, asked: set[int]) -> None:
    numbers = sorted(asked)
    for some in (numbers, *([number] for number in numbers[:: 1 + len(numbers) // 4])):
        expected = sorted({export for number in some for export in known.get(number, ())})
        assert index.knowing(hashes_of(some)).tolist() == expected


@given(st.sets(st.tuples(HASHES, EXPORTS), max_size=60))
def test_pages_hold_every_pair_and_no_hash_stands_in_two(given_pairs: set[tuple[int, int]]) -> None:
    ordered = sorted(given_pairs)
    pairs = Pairs(np.array([h for h, _ in ordered], np.uint64), np.array([e for _, e in ordered], np.int64))
    with small_pages():
        pages = list(packed(pairs))
    back = unpacked(pages).ordered()
    assert list(zip(back.hashes.tolist(), back.export_ids.tolist(), strict=True)) == ordered
    assert all(before.last_hash < after.first_hash for before, after in pairwise(pages))
    assert all(page.first_hash <= page.last_hash for page in pages)


@given(st.lists(HASHES, min_size=2, max_size=2, unique=True))
def test_signed_numbers_have_the_order_of_the_hashes(two: list[int]) -> None:
    low, high = as_bigint(hashes_of(two)).tolist()
    assert low < high


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), EXPORTS, LISTS),
        st.tuples(st.just("add and roll back"), EXPORTS, LISTS),
        st.tuples(st.just("ask"), st.just(0), LISTS),
    ),
    max_size=25,
)


def follow(connection: psycopg.Connection[Any], steps: list[tuple[str, int, set[int]]]) -> list[int]:
    """Adds and asks; returns the levels of the runs at the end."""
    known: Known = {}
    index = index_on(connection)
    for step, export_id, numbers in steps:
        if step == "ask":
            assert_knows(index, known, numbers)
            continue
        with connection.transaction(force_rollback=step != "add"):
            index.add(export_id, hashes_of(numbers))
        if step == "add":
            learn(known, export_id, numbers)
    assert_knows(index, known, {*known, *EDGES})
    found = [level for level, _, _ in levels(connection)]
    assert all(found.count(level) < key_index.MERGED_AT_ONCE for level in found)
    return found


def test_it_knows_what_a_mapping_knows(connection: psycopg.Connection[Any]) -> None:
    merged, many = list[int](), [("add", number, {7, number}) for number in range(1, 9)]

    @given(STEPS)
    @example(many)
    def holds(steps: list[tuple[str, int, set[int]]]) -> None:
        # Begins the transaction of a load; the blocks within are savepoints.
        connection.execute("select")
        try:
            merged.extend(follow(connection, steps))
        finally:
            connection.rollback()

    with small_pages(merged_at_once=2):
        holds()
    assert max(merged) > 1


@pytest.mark.usefixtures("_small")
def test_a_tenant_knows_nothing_of_another(connection: psycopg.Connection[Any]) -> None:
    for number, tenant in enumerate(("a", "b") * 5, 1):
        index_on(connection, tenant).add(number, hashes_of({7, number}))
    assert index_on(connection, "a").knowing(hashes_of({7})).tolist() == [1, 3, 5, 7, 9]
    assert KeyIndex(connection, "nilo", "a", "orders").knowing(hashes_of({7})).tolist() == []
    assert KeyIndex(connection, "replenit", "a", "customers").knowing(hashes_of({7})).tolist() == []


@pytest.mark.usefixtures("_small")
def test_pages_of_merged_runs_are_gone(connection: psycopg.Connection[Any]) -> None:
    index = index_on(connection)
    for number in range(1, 10):
        index.add(number, hashes_of(range(number, number + 10)))
    assert [level for level, *_ in levels(connection)] == [2]
    ((runs, pages),) = connection.execute("select count(distinct run_id), count(*) from sync.key_pages").fetchall()
    assert (runs, pages) == (1, levels(connection)[0][2])
    assert levels(connection)[0][1] == 90


@pytest.mark.usefixtures("_small")
def test_an_export_added_again_with_other_keys_is_known_by_all(connection: psycopg.Connection[Any]) -> None:
    index = index_on(connection)
    for numbers in ({1, 2}, {2, 3}, {2}, {4}):
        index.add(9, hashes_of(numbers))
    assert [index.knowing(hashes_of({number})).tolist() for number in range(6)] == [[], *[[9]] * 4, []]


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_run_is_read_until_each_of_its_exports_is_found(
    connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, is_listed: bool
) -> None:
    index, hashes = index_on(connection), hashes_of(range(20_000))
    for number in range(1, 12):
        index.add(number, hashes[number:])
    if not is_listed:
        # As an earlier version wrote them.
        connection.execute("update sync.key_runs set exports = null")
    read, pages = list[int](), KeyIndex._pages

    def counted(*given: Any) -> Any:
        found = pages(*given)
        read.append(len(found))
        return found

    monkeypatch.setattr(KeyIndex, "_pages", counted)
    assert index.knowing(hashes).tolist() == list(range(1, 12))
    total = sum(count for _, _, count in levels(connection))
    assert sum(read) == (64 if is_listed else total)
    assert index.knowing(hashes[:3]).tolist() == [1, 2]


@pytest.mark.usefixtures("_small")
def test_large_runs_are_not_merged(connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "LARGEST_RUN", 20)
    index = index_on(connection)
    for number in range(1, 8):
        index.add(number, hashes_of(range(10)))
    assert [level for level, *_ in levels(connection)] == [0] * 7
    assert index.knowing(hashes_of({5})).tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_many_keys_of_many_exports(connection: psycopg.Connection[Any]) -> None:
    index, rng = index_on(connection), np.random.default_rng(7)
    lists = [distinct(rng.integers(0, 2**64, 3_000, np.uint64)) for _ in range(25)]
    for number, hashes in enumerate(lists, 1):
        index.add(number, hashes)
    assert sorted(level for level, *_ in levels(connection)) == [0] * 5 + [1] * 2
    for asked in (distinct(lists[3][::100]), distinct(np.concatenate([lists[0][:9], lists[24][-9:]])), lists[11]):
        expected = [number for number, hashes in enumerate(lists, 1) if np.isin(asked, hashes).any()]
        assert index.knowing(asked).tolist() == expected
    assert sum(pairs for _, pairs, _ in levels(connection)) == sum(map(len, lists))


def test_it_is_built_from_the_kept_records_of_an_earlier_version(site: Site) -> None:
    for day in range(1, 4):
        site.load(f"2024-05-0{day}.json", [order("A"), order(f"day {day}")])
    site.load("2024-05-04.json", [])
    entries = site.ledger()
    with site.database.connect() as connection:
        connection.execute("truncate sync.key_runs, sync.key_pages")
        connection.execute("update sync.export_files set has_indexed_keys = false")
        index = index_on(connection)
        assert not index.is_complete()
        assert index_on(connection, "another").is_complete()
        assert index.build(site.settings.archive, lambda kept: kept.keys.distinct) == 3
        assert index.is_complete() and index.build(site.settings.archive, lambda kept: kept.keys.distinct) == 0
        for entry in entries[:3]:
            keys = distinct(np.asarray(KeptRecords(site.settings.archive, entry.kept or "-").keys.hashes))
            knowing = [index.knowing(keys[place : place + 1]).tolist() for place in range(2)]
            assert sorted(knowing, key=len) == [[entry.id], [known.id for known in entries[:3]]]
        connection.execute("update sync.export_files set has_indexed_keys = false where id = %s", [entries[1].id])
        assert not index.is_complete()


def test_a_pending_or_failed_export_need_not_be_indexed(site: Site) -> None:
    site.put("2024-05-01.json", "not an export")
    site.sync()
    site.put("2024-05-02.json", [order("A")])
    site.discover()
    with site.database.connect() as connection:
        assert index_on(connection).is_complete()
