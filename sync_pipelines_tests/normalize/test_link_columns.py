"""What blocks of records say of a reference is what each record says by itself, however many were read before."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipelines.normalize import link_columns
from sync_pipelines.normalize.link_columns import LinkColumns, LinkReader
from sync_pipelines.partners import STREAMS

(CUSTOMERS,) = (stream for stream in STREAMS if stream.full_name == "pocketflows/customers")
((NAME, LINK),) = CUSTOMERS.links.items()
NAMES = CUSTOMERS.link_fields[NAME]
WORD = st.sampled_from([None, "1", "2", " 1", ""])
BLOCK = st.lists(st.tuples(*[WORD] * len(NAMES)), max_size=6)


def new_reader() -> LinkReader:
    return LinkReader(LINK, CUSTOMERS.options(), "acme")


def told(found: LinkColumns, row: int) -> tuple[object, ...]:
    parts = [part[row].as_py() for part in found.identity]
    return bool(found.is_set[row]), parts, {code for code, mask in found.lenient.items() if mask[row]}


def read(reader: LinkReader, rows: list[tuple[str | None, ...]]) -> LinkColumns:
    columns = {name: pa.array([row[n] for row in rows], pa.string()) for n, name in enumerate(NAMES)}
    return reader.read(columns, len(rows))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BLOCK, max_size=6), st.integers(0, 4))
def test_blocks_are_told_as_each_record_by_itself(blocks: list[list[tuple[str | None, ...]]], few: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link_columns, "_REMEMBERED", few)
        reader = new_reader()
        for rows in blocks:
            found = read(reader, rows)
            assert len(found.is_set) == len(rows)
            assert [told(found, n) for n in range(len(rows))] == [told(read(new_reader(), [row]), 0) for row in rows]
