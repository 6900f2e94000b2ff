"""What a partner's module says of its functions, so that many records are done at once, is true of them.

`prepared`, `link_fields` and `listing_fields` promise what a function looks at: records that are read a block at a time
come out as the functions make them one by one. `settles` and `carries` promise the same of `settle`. Records and rows
are made of the contracts, so that a new stream is checked without a line of code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import strategies as st

from sync_pipelines.contracts.streams import Identity, LinkResult, Stream
from sync_pipelines.normalize import plain
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.partners.declared_records import Row, kept_of, records_of, rows_of

Lists = dict[str, list[Row]]
each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)
each_settling = pytest.mark.parametrize(
    "stream", [s for s in STREAMS if s.settle is not None], ids=lambda stream: stream.full_name
)


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


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_FEWEST", 1)


@each_stream
@examples(40)
@given(data=st.data())
def test_records_are_read_as_the_functions_read_them(
    small_blocks: None, tmp_path_factory: pytest.TempPathFactory, stream: Stream, data: st.DataObject
) -> None:
    records = data.draw(st.lists(records_of(stream), min_size=2, max_size=8))
    check_reading(stream, tmp_path_factory.mktemp("read"), count(), records)


@each_settling
@examples(100)
@given(data=st.data())
def test_settle_looks_at_what_is_declared(stream: Stream, data: st.DataObject) -> None:
    (row, lists), (later, _) = data.draw(rows_of(stream)), data.draw(rows_of(stream))
    check_settling(stream, row, lists, sent(stream, later))


def declared(name: str, **otherwise: Any) -> Stream:
    stream = find_stream(*name.split("/"))
    assert stream is not None
    return replace(stream, **otherwise)


def upper_name(record: Row, options: Any, reading: Any) -> Row:
    return {**record, "name": str(record.get("name", "")).upper()}


def by_email_or_currency(values: Mapping[str, Any], options: Any, tenant: str) -> LinkResult:
    return LinkResult(True, Identity("replenit", tenant, values.get("email") or values.get("currency")))


def by_currency(values: Mapping[str, Any]) -> Any:
    return {"customer_addresses": ("merge" if values.get("currency") == "USD" else "replace", "address_title")}


SETTLES = declared("nilo/stores").settles
READING, LOOKING = "see prepared", "settle looks at more"
WRONG: dict[str, tuple[str, Stream]] = {
    "prepared": (READING, declared("traede/customers", prepare=upper_name, prepared=frozenset())),
    "link_fields": (
        READING,
        declared(
            "replenit/orders", links={"customer_id": by_email_or_currency}, link_fields={"customer_id": ("email",)}
        ),
    ),
    "listing_fields": (
        READING, declared("traede/customers", listing=by_currency, listing_fields=("addresses_sync_mode",)),
    ),
    "settles": (LOOKING, declared("nilo/stores", settles=tuple(n for n in SETTLES if n != "is_late_payer"))),
    "settles of a list": (LOOKING, declared("nilo/stores", settles=tuple(n for n in SETTLES if "." not in n))),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_declaration_is_found(small_blocks: None, tmp_path_factory: pytest.TempPathFactory, case: str) -> None:
    message, stream = WRONG[case]
    folder, numbers = tmp_path_factory.mktemp("wrong"), count()
    check: Callable[[st.DataObject], None]
    found: list[str] = []
    if stream.settle is None:

        def check(data: st.DataObject) -> None:
            check_reading(stream, folder, numbers, data.draw(st.lists(records_of(stream), min_size=2, max_size=8)))
    else:

        def check(data: st.DataObject) -> None:
            (row, lists), (later, _) = data.draw(rows_of(stream)), data.draw(rows_of(stream))
            check_settling(stream, row, lists, sent(stream, later))

    number = 100 if stream.settle is None else 600

    @examples(number, list(HealthCheck), at_least=number, database=None, phases=(Phase.generate,))
    @seed(1)
    @given(data=st.data())
    def search(data: st.DataObject) -> None:
        try:
            check(data)
        except AssertionError as error:
            found.append(str(error))

    search()
    assert any(message in text for text in found)


def test_a_column_that_outlives_its_source_must_be_declared() -> None:
    owner, other = {"owner_name": "A"}, {"owner_name": "B"}
    check_settling(declared("nilo/stores"), owner, {}, other)
    with pytest.raises(AssertionError, match="see carries"):
        check_settling(declared("nilo/stores", carries=()), owner, {}, other)
