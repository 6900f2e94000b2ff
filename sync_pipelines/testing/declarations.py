"""Checks that a partner's declarations about its functions are true.

`prepared`, `link_fields` and `listing_fields` declare what a function reads. Records that are read in blocks must equal
records that are read one by one. `computes` and `carries` declare what `compute` reads and writes.

Belongs here: checks for any records and rows. Does not belong here: generating those (`declared_records`), errors in
the declaration itself (`sync_pipelines.partners.declarations`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize import plain
from sync_pipelines.testing.declared_records import Row, kept_of

Lists = dict[str, list[Row]]


@contextmanager
def small_blocks() -> Iterator[None]:
    """Within the `with` block, even two records are read as a block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "_FEWEST", 1)
        yield


def check_reading(stream: Stream, folder: Path, numbers: Any, records: list[Row]) -> None:
    """Checks that records are equal whether they are read in blocks or one by one."""
    by_block, by_record = (kept_of(stream, records, folder / str(next(numbers)), by_block=way) for way in (True, False))
    assert _flat(by_block) == _flat(by_record), "see prepared, link_fields and listing_fields"


def _flat(kept: Any) -> Any:
    blocks, rejects, counted = kept
    return [record for block in blocks for record in block], rejects, counted


def check_computing(stream: Stream, row: Row, lists: Lists, later: Row) -> None:
    """Checks that `compute` reads, writes and keeps only the declared columns, and is idempotent."""
    assert stream.compute is not None
    own = {name for name in stream.computes if "." not in name}
    after = _computed(stream, row, lists)
    assert {n: v for n, v in after.items() if n not in own} == {n: v for n, v in row.items() if n not in own}
    shown = {
        table: [{n: v for n, v in element.items() if f"{table}.{n}" in stream.computes} for element in elements]
        for table, elements in lists.items()
    }
    alone = _computed(stream, {n: v for n, v in row.items() if n in own}, shown)
    assert alone == {n: v for n, v in after.items() if n in own}, "compute reads or writes more than computes declares"
    assert _computed(stream, after, lists) == after, "compute is not idempotent"
    forgets = own - {*stream.carries}
    again, fresh = (_computed(stream, {**before, **later}, lists) for before in (after, row))
    assert {n: again.get(n) for n in forgets} == {n: fresh.get(n) for n in forgets}, "see carries"


def sent(stream: Stream, row: Row) -> Row:
    """Returns the values of a row that a record may send: whole pairs (X9), and derived columns with their fields."""
    contract = stream.contract
    halves = {n for pair in contract.pairs if not {*pair} <= row.keys() for n in pair}
    own = {n: v for n, v in row.items() if n not in {*stream.computed, *contract.derived, *halves}}
    return own | {n: compute(own[field]) for n, (field, compute) in contract.derived.items() if field in own}


def _computed(stream: Stream, row: Mapping[str, Any], lists: Lists) -> Row:
    assert stream.compute is not None
    return {name: value for name, value in stream.compute(dict(row), lists).items() if value is not None}
