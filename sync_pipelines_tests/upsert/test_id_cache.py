"""Ids found again by the names of their rows, as a dictionary would find them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipelines.normalize.keys import texts_of
from sync_pipelines.upsert import id_cache
from sync_pipelines.upsert.id_cache import IdCache

NAMES = st.lists(st.binary(max_size=3), max_size=12, unique=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, max_size=8), st.integers(0, 6))
def test_it_finds_what_a_dictionary_finds(asked: list[list[bytes]], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_cache, "_SMALL", few)
        known, expected = IdCache(), dict[bytes, int]()
        for names in asked:
            digests = texts_of(names)
            ids = known.find(digests)
            assert ids.tolist() == [expected.get(name, 0) for name in names]
            new = np.flatnonzero(ids == 0)
            drawn = np.arange(len(expected) + 1, len(expected) + 1 + len(new))
            known.add(digests[new], drawn)
            expected |= {names[row]: int(number) for row, number in zip(new.tolist(), drawn, strict=True)}
            assert len(known) == len(expected)
        known.clear()
        assert len(known) == 0
        assert not known.find(texts_of(list(expected))).any()
