"""A partner's declarations about its functions are true, and wrong ones are found.

`prepared`, `link_fields` and `listing_fields` declare what a function reads. Records that are read in blocks must equal
records that are read one by one. `computes` and `carries` declare what `compute` reads and writes. Records and rows are
generated from the contracts, so that a new stream is checked without any code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import strategies as st

from sync_pipelines.contracts.streams import Identity, LinkResult, Stream
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.testing import declarations
from sync_pipelines.testing.declarations import check_computing, check_reading, sent
from sync_pipelines.testing.declared_records import Row, records_of, rows_of
from sync_pipelines_tests.examples import examples

each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)
each_computing = pytest.mark.parametrize(
    "stream", [s for s in STREAMS if s.compute is not None], ids=lambda stream: stream.full_name
)


@pytest.fixture
def small_blocks() -> Iterator[None]:
    with declarations.small_blocks():
        yield


@each_stream
@examples(40)
@given(data=st.data())
def test_records_are_equal_in_blocks_and_one_by_one(
    small_blocks: None, tmp_path_factory: pytest.TempPathFactory, stream: Stream, data: st.DataObject
) -> None:
    records = data.draw(st.lists(records_of(stream), min_size=2, max_size=8))
    check_reading(stream, tmp_path_factory.mktemp("read"), count(), records)


@each_computing
@examples(100)
@given(data=st.data())
def test_compute_reads_only_what_is_declared(stream: Stream, data: st.DataObject) -> None:
    (row, lists), (later, _) = data.draw(rows_of(stream)), data.draw(rows_of(stream))
    check_computing(stream, row, lists, sent(stream, later))


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


COMPUTES = declared("nilo/stores").computes
READING, COMPUTING = "see prepared", "compute reads or writes more"
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
    "computes": (COMPUTING, declared("nilo/stores", computes=tuple(n for n in COMPUTES if n != "is_late_payer"))),
    "computes of a list": (COMPUTING, declared("nilo/stores", computes=tuple(n for n in COMPUTES if "." not in n))),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_declaration_is_found(small_blocks: None, tmp_path_factory: pytest.TempPathFactory, case: str) -> None:
    message, stream = WRONG[case]
    folder, numbers = tmp_path_factory.mktemp("wrong"), count()
    check: Callable[[st.DataObject], None]
    if stream.compute is None:

        def check(data: st.DataObject) -> None:
            check_reading(stream, folder, numbers, data.draw(st.lists(records_of(stream), min_size=2, max_size=8)))
    else:

        def check(data: st.DataObject) -> None:
            (row, lists), (later, _) = data.draw(rows_of(stream)), data.draw(rows_of(stream))
            check_computing(stream, row, lists, sent(stream, later))

    number = 100 if stream.compute is None else 600

    @examples(number, list(HealthCheck), at_least=number, database=None, phases=(Phase.generate,))
    @seed(1)
    @given(data=st.data())
    def search(data: st.DataObject) -> None:
        try:
            check(data)
        except AssertionError as error:
            if message in str(error):
                raise

    with pytest.raises(AssertionError, match=message):
        search()


def test_a_column_that_outlives_its_source_must_be_declared() -> None:
    owner, other = {"owner_name": "A"}, {"owner_name": "B"}
    check_computing(declared("nilo/stores"), owner, {}, other)
    with pytest.raises(AssertionError, match="see carries"):
        check_computing(declared("nilo/stores", carries=()), owner, {}, other)
