"""Which loaded exports a load looks into: those that may know the keys it asks for, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.normalize.keys import KeyList
from sync_pipelines.upsert.history import Hashes, KnownExport, known_of, those_knowing
from sync_pipelines_tests.examples import examples


class _Export:
    """An export with keys, and whether anybody looked at them."""

    def __init__(self, number: int, keys: set[int]) -> None:
        self.entry = type("Entry", (), {"id": number})
        self.known = keys
        self.is_opened = False

    @property
    def kept(self) -> Any:
        self.is_opened = True
        hashes = np.array(sorted(self.known), np.uint64)
        return type("Kept", (), {"keys": KeyList(hashes, np.arange(len(hashes), dtype=np.uint32))})


def knowing_of(exports: list[Any]) -> Any:
    def knowing(hashes: Hashes) -> list[Any]:
        return [export for export in exports if export.known & set(hashes.tolist())]

    return knowing


@examples(50)
@given(
    st.sets(st.integers(0, 40), min_size=1),
    st.lists(st.sets(st.integers(0, 40)), max_size=12),
)
def test_the_keys_that_others_know_are_found_in_whatever_order_they_are_opened(
    mine: set[int], others: list[set[int]]
) -> None:
    export: Any = _Export(0, mine)
    exports: list[Any] = [_Export(number, keys) for number, keys in enumerate(others, start=1)]

    found = known_of(export, exports, knowing_of(exports))

    assert set(found.tolist()) == mine & set().union(*others)


def test_what_a_neighbor_leaves_open_is_looked_for_only_where_it_is_known() -> None:
    exports: list[Any] = [_Export(number, set(range(100))) for number in range(1, 50)]
    exports[30].known = set(range(99)) | {100}
    mine: Any = _Export(0, set(range(101)))

    found = known_of(mine, exports, knowing_of(exports))

    assert found.tolist() == list(range(101))
    assert [export.entry.id for export in exports if export.is_opened] == [1, 31]


def test_no_export_is_opened_where_nothing_is_looked_for() -> None:
    exports: list[Any] = [_Export(1, {1})]
    nothing: Hashes = np.empty(0, np.uint64)
    found: list[KnownExport] = list(those_knowing(exports, lambda: nothing, knowing_of(exports), 0))
    assert found == []
