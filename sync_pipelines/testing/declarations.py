"""What a partner's module declares of its functions is true of them.

`prepared`, `link_fields` and `listing_fields` promise what a function looks at: records that are read a block at a time
come out as the functions make them one by one. `settles` and `carries` promise the same of `settle`.

Belongs here: what must hold for any records and rows. Does not belong here: making those (`declared_records`), errors
that show in the declaration itself (`sync_pipelines.partners.declarations`).
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
    """Has even two records read a block at a time, inside the `with` block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "_FEWEST", 1)
        yield


def check_reading(stream: Stream, folder: Path, numbers: Any, records: list[Row]) -> None:
    """Records come out alike however they are read."""
    by_block, by_record = (kept_of(stream, records, folder / str(next(numbers)), by_block=way) for way in (True, False))
    assert _flat(by_block) == _flat(by_record), "see prepared, link_fields and listing_fields"


def _flat(kept: Any) -> Any:
    blocks, rejects, counted = kept
    return [record for block in blocks for record in block], rejects, counted


def check_settling(stream: Stream, row: Row, lists: Lists, later: Row) -> None:
    """`settle` looks at what is declared and writes nothing else, and forgets what it wrote where it says so."""
    assert stream.settle is not None
    own = {name for name in stream.settles if "." not in name}
    after = _settled(stream, row, lists)
    assert {n: v for n, v in after.items() if n not in own} == {n: v for n, v in row.items() if n not in own}
    shown = {
        table: [{n: v for n, v in element.items() if f"{table}.{n}" in stream.settles} for element in elements]
        for table, elements in lists.items()
    }
    alone = _settled(stream, {n: v for n, v in row.items() if n in own}, shown)
    assert alone == {n: v for n, v in after.items() if n in own}, "settle looks at more than settles"
    assert _settled(stream, after, lists) == after, "settle changes what it wrote"
    forgets = own - {*stream.carries}
    again, fresh = (_settled(stream, {**before, **later}, lists) for before in (after, row))
    assert {n: again.get(n) for n in forgets} == {n: fresh.get(n) for n in forgets}, "see carries"


def sent(stream: Stream, row: Row) -> Row:
    """What of a row a record may send: pairs as a whole (X9), and columns that are computed with what they are of."""
    contract = stream.contract
    halves = {n for pair in contract.pairs if not {*pair} <= row.keys() for n in pair}
    own = {n: v for n, v in row.items() if n not in {*stream.settled, *contract.derived, *halves}}
    return own | {n: compute(own[field]) for n, (field, compute) in contract.derived.items() if field in own}


def _settled(stream: Stream, row: Mapping[str, Any], lists: Lists) -> Row:
    assert stream.settle is not None
    return {name: value for name, value in stream.settle(dict(row), lists).items() if value is not None}
