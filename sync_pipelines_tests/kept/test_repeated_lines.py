"""Lines that earlier exports had are kept by reference, and nobody can tell from what is read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import ExportError
from sync_pipelines.exports import lines as physical
from sync_pipelines.exports import text as decoding
from sync_pipelines.kept import kept_records as reading
from sync_pipelines.kept import object_reader, object_writer, record_groups
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize import plain
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.normalize.keeping_in import DAY, Keeping, everything
from sync_pipelines_tests.normalize.test_anything import almost_calls, almost_orders
from sync_pipelines_tests.normalize.test_plain import ORDER, RECORDS, SETTINGS, SOUND
from sync_pipelines_tests.normalize.test_plain import lines as order_lines
from sync_pipelines_tests.test_laws_identity import customer_call, store_call

FIRST: dict[str, Any] = {"replenit/orders": ORDER, **SOUND}
FORGIVEN: dict[str, Any] = {
    "replenit/orders": {**ORDER, "OrderId": "F", "TotalRevenue": "12.5", "Currency": "usd"},
    "reten/commerces": {"external_id": " f ", "name": "x", "tax_id": 7},
    "nilo/stores": {"internalCode": "f ", "name": "x", "enabled": "yes", "creditLimit": "2"},
    "traede/customers": {"customer_number": " f", "active": "yes"},
    "pocketflows/businesses": {"id": "f ", "name": "x"},
    "pocketflows/customers": {"id": "f ", "external_id": "f", "business_id": " 7"},
}
LINES: dict[str, st.SearchStrategy[str]] = {
    "replenit/orders": st.one_of(order_lines(), order_lines(), almost_orders(), almost_calls()),
    "nilo/stores": st.one_of(RECORDS["nilo/stores"], store_call().map(json.dumps)),
    "pocketflows/customers": st.one_of(RECORDS["pocketflows/customers"], customer_call().map(json.dumps)),
}
ODD = st.sampled_from(["", "  ", "\t", "{", "[]", "7", "null", "{}", '{"x":', "\ufeff{}", "x" * 300])


@pytest.fixture
def keeping(tmp_path: Path) -> Callable[[str], Keeping]:
    """Makes archives, one an example."""
    numbers = count()
    return lambda stream: Keeping(tmp_path / str(next(numbers)), stream)


@contextmanager
def in_small_pieces(is_so: bool) -> Iterator[None]:
    """As if exports were large: many blocks of lines, many row groups, several answers, mapped sections."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "_FEWEST", 1)
        if is_so:
            patch.setattr(decoding, "CHUNK", 150)
            patch.setattr(physical, "BLOCK_LINES", 2)
            patch.setattr(reading, "BLOCK", 3)
            patch.setattr(record_groups, "BLOCK", 3)
            patch.setattr(object_writer, "PACKED", 0)
            patch.setattr(object_reader, "AT_ONCE", 64)
        yield


@st.composite
def texts(draw: st.DrawFn, stream: str) -> list[str]:
    """Three to five exports of which the later ones repeat lines of earlier ones and of themselves."""
    sound = {**FIRST[stream], "Unknown": 1}
    lines = st.one_of(LINES.get(stream, RECORDS.get(stream, st.nothing())), ODD)
    pool = [json.dumps(FORGIVEN[stream]), json.dumps(sound), *draw(st.lists(lines, min_size=2, max_size=7))]
    found = []
    for _ in range(draw(st.integers(3, 5))):
        chosen = draw(st.lists(st.one_of(*[st.sampled_from(pool)] * 4, lines), max_size=8))
        pool += [line for line in chosen if line not in pool]
        newline = draw(st.sampled_from(["\n", "\n", "\r\n", " \n", "\n\n"]))
        # The first line is sound, so that the file is taken for lines.
        found.append(newline.join([json.dumps(FIRST[stream]), *chosen]) + draw(st.sampled_from(["", newline])))
    return found


def kept_or_why(keep: Callable[..., KeptRecords], *given: Any, **options: Any) -> Any:
    """What is kept, or why the file can't be read."""
    try:
        return keep(*given, **options)
    except ExportError as fault:
        return fault.code, fault.message, fault.position


@pytest.mark.parametrize("stream", list(FIRST))
@examples(12)
@given(data=st.data())
def test_what_is_kept_by_reference_reads_as_if_it_were_written(
    keeping: Callable[[str], Keeping], stream: str, data: st.DataObject
) -> None:
    keep, known = keeping(stream).keep, list[KeptRecords]()
    under = st.sampled_from(SETTINGS if stream == "replenit/orders" else [{}, {}, {"strict": True}])
    options = data.draw(under)
    columns = data.draw(st.sampled_from([None, ["position"], ["present", "effective_at"], ["key_hash"]]))
    some = data.draw(st.sets(st.integers(0, 12)))
    with in_small_pieces(data.draw(st.booleans())):
        for number, text in enumerate(data.draw(texts(stream))):
            at = DAY + timedelta(days=number)
            mine = data.draw(st.one_of(st.just(options), st.just(options), under))
            written = kept_or_why(keep, text, at=at, **mine)
            found = kept_or_why(keep, text, data.draw(st.permutations(known)), at, **mine)
            if not isinstance(found, KeptRecords):
                assert found == written
                continue
            wanted = [row for row in sorted(some) if row < written.count]
            assert everything(found, wanted, columns) == everything(written, wanted, columns)
            assert_locks(found, written)
            known.append(found)


def assert_locks(found: KeptRecords, written: KeptRecords) -> None:
    """At least the rows that the records refer to are known to be written."""
    mine, needed = ({tuple(target) for target in kept.summary.referred} for kept in (found, written))
    assert needed <= mine
