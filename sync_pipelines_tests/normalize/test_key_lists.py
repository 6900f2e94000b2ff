"""Key lists by row, and the different ones of some values, as dictionaries and sets would tell them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.normalize.keys import KeyList, by_row, distinct

HASHES = st.lists(st.integers(1, 30), max_size=2).map(sorted)


@given(st.lists(st.integers(-5, 5)))
def test_distinct_values_are_a_sorted_set(values: list[int]) -> None:
    given_values = np.array(values, np.int64)
    assert distinct(given_values).tolist() == sorted(set(values))
    assert given_values.tolist() == values


@given(st.lists(HASHES, max_size=8))
def test_a_row_has_its_lowest_and_its_highest_hash(rows: list[list[int]]) -> None:
    pairs = sorted((known, row) for row, hashes in enumerate(rows) for known in hashes)
    keys = KeyList(np.array([p[0] for p in pairs], np.uint64), np.array([p[1] for p in pairs], np.uint32))
    first, second = by_row(keys)
    there = [hashes for hashes in rows if hashes]
    assert first.tolist() == [hashes[0] for hashes in there]
    assert second.tolist() == [hashes[-1] if hashes[-1] != hashes[0] else 0 for hashes in there]
