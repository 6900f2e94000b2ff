"""Records of repeated lines: names for other exports' objects, and what is read again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_pipelines.exports import lines as physical
from sync_pipelines.exports import text as decoding
from sync_pipelines.kept import kept_writer, repeated_lines
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.normalize import plain
from sync_pipelines.normalize.record import RecordReader
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines_tests.loading import order, posted
from sync_pipelines_tests.normalize.keeping_in import DAY, Keeping, everything, sections_of

A, B, C, D = (json.dumps(order(key, Email=f"{key}@x.cl")) for key in "ABCD")
LENIENT = json.dumps(order("L", TotalRevenue="7.5", Extra=1))
REFUSED = json.dumps({"Currency": "USD"})
LOGGED = json.dumps(posted("2024-05-03T10:00:00Z", order("P", Email="p@x.cl"), order("Q", Email="q@x.cl")))


@pytest.fixture
def orders(tmp_path: Path) -> Keeping:
    return Keeping(tmp_path / "orders")


def file_of(*texts: str) -> str:
    return "\n".join(texts) + "\n"


def kept_in(kept: KeptRecords) -> Counter[int]:
    """How many records each of the files has, by its number."""
    return Counter([0] * kept.count if kept.places is None else kept.places.files.tolist())


def named(kept: KeptRecords) -> list[str]:
    """The locations of other exports' records."""
    return [str(reader.location) for reader in kept._readers[1:] if reader is not None]


def assert_same(found: KeptRecords, written: KeptRecords) -> None:
    rows = range(found.count)
    assert everything(found, rows) == everything(written, rows)


def test_lines_that_were_told_before_are_not_written_again(orders: Keeping) -> None:
    first = orders.keep(file_of(A, B, LENIENT, REFUSED, LOGGED))
    repeated = file_of(B, C, LENIENT, "", B, LOGGED, REFUSED, A)
    second = orders.keep(repeated, [first], DAY + timedelta(days=1))
    assert kept_in(second) == {0: 4, 1: 3}, "C, what is counted and what a log says are written"
    assert_same(second, orders.keep(repeated, (), DAY + timedelta(days=1)))
    assert [record["position"] for b in second.blocks() for record in b.to_pylist()] == "1 2 3 5 6/1 6/2 8".split()


def test_what_is_forgiven_is_counted_again_with_every_repetition(orders: Keeping) -> None:
    kept = orders.keep(file_of(A, LENIENT))
    assert kept.summary.unknown_fields == {"Extra": 1}
    for _ in range(2):
        kept = orders.keep(file_of(A, LENIENT, LENIENT), [kept])
        assert (kept.summary.unknown_fields, kept_in(kept)[0]) == ({"Extra": 2}, 2)


def test_lines_are_told_by_their_text_alone_whatever_ends_them(orders: Keeping) -> None:
    first = orders.keep(f"{A}\n{B}\n")
    second = orders.keep(f"{A}\r\n \t{B}  \r\n", [first])
    assert kept_in(second) == {1: 2}
    third = orders.keep("\ufeff" + file_of(B, A.replace(" ", "")), [second])
    assert kept_in(third) == {0: 1, 1: 1}


def test_a_chain_names_the_file_that_has_the_record(orders: Keeping) -> None:
    first = orders.keep(file_of(A, B))
    second = orders.keep(file_of(A, B, C), [first])
    third = orders.keep(file_of(A, C, D, B), [second])
    assert kept_in(third) == {0: 1, 1: 2, 2: 1}
    assert [third.location(number) for number in (1, 2)] == [first.location(0), second.location(0)]
    assert_same(third, orders.keep(file_of(A, C, D, B)))


def test_a_record_that_two_exports_have_in_one_object_is_told_by_its_place(orders: Keeping) -> None:
    first = orders.keep(file_of(A, B))
    second = orders.keep(file_of(A, B, C), [first])
    third = orders.keep(file_of(A, C, D, B), [second])
    written = orders.keep(file_of(A, C, D, B))

    def shared(one: KeptRecords, other: KeptRecords) -> set[tuple[int, int]]:
        rows, theirs = (np.ravel(some) for some in np.indices((one.count, other.count)))
        are_shared = one.are_shared(rows, other, theirs)
        return {*zip(rows[are_shared].tolist(), theirs[are_shared].tolist(), strict=True)}

    assert shared(third, second) == {(0, 0), (1, 2), (3, 1)}
    assert shared(second, third) == {(0, 0), (2, 1), (1, 3)}
    assert shared(third, first) == {(0, 0), (3, 1)}
    assert shared(written, third) == shared(third, written) == shared(first, second) == set()


def test_an_object_that_two_exports_name_is_named_once(orders: Keeping) -> None:
    first = orders.keep(file_of(A, B))
    second, third = orders.keep(file_of(A, C), [first]), orders.keep(file_of(B, D), [first])
    fourth = orders.keep(file_of(A, B, C, D), [third, second, first])
    assert sorted(kept_in(fourth).values()) == [1, 1, 2]
    assert_same(fourth, orders.keep(file_of(A, B, C, D)))


def test_exports_that_no_line_repeats_are_not_named(orders: Keeping) -> None:
    first, second = orders.keep(file_of(A)), orders.keep(file_of(B))
    fresh, mixed = orders.keep(file_of(C, D), [first, second]), orders.keep(file_of(B, D), [first, second])
    whole = {"records", "keys", "rows", "texts", "rejects"}
    assert (sections_of(fresh), named(fresh)) == (whole, [])
    assert (sections_of(mixed), named(mixed)) == (whole | {"files", "places", "lines"}, [second.location(0)])


def test_under_other_settings_nothing_is_taken_over(orders: Keeping) -> None:
    first = orders.keep(file_of(A, B))
    for options in ({"strict": True}, {"timezone": "America/Santiago"}, {"currency_default": "EUR"}):
        kept = orders.keep(file_of(A, B), [first], **options)
        assert kept_in(kept) == {0: 2} and sections_of(kept) == sections_of(first)
        assert_same(kept, orders.keep(file_of(A, B), **options))


def many(orders: Keeping, number: int) -> tuple[list[KeptRecords], str]:
    """Exports of one record each, and one that repeats them all."""
    texts = [json.dumps(order(f"K{n}", Email="k@x.cl")) for n in range(number)]
    return [orders.keep(file_of(text)) for text in texts], file_of(A, *texts)


def test_lines_of_sixteen_exports_are_taken_over_and_those_of_others_written(orders: Keeping) -> None:
    found, repeated = many(orders, 19)
    kept = orders.keep(repeated, found)
    assert kept_in(kept) == {0: 4, **{number: 1 for number in range(1, 17)}}
    assert_same(kept, orders.keep(repeated))


def test_the_exports_of_most_records_are_taken_first(orders: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_lines, "_FILES", 1)
    small, large = orders.keep(file_of(A)), orders.keep(file_of(B, C))
    kept = orders.keep(file_of(A, B, C), [small, large])
    assert kept_in(kept) == {0: 1, 1: 2} and kept.location(1) == large.location(0)


def test_exports_beyond_what_a_byte_can_number_are_not_taken(orders: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_writer, "_FILES", 2)
    found, repeated = many(orders, 3)
    kept = orders.keep(repeated, found)
    assert kept_in(kept) == {0: 2, 1: 1, 2: 1}
    assert_same(kept, orders.keep(repeated))


def test_no_more_exports_are_looked_at_than_memory_allows(orders: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_lines, "_ENOUGH", 2)
    found = [orders.keep(file_of(*texts)) for texts in ((A, B), (C,))]
    assert kept_in(orders.keep(file_of(A, B, C), found)) == {0: 1, 1: 2}


def test_an_array_is_read_whole_and_its_records_cannot_be_repeated(orders: Keeping) -> None:
    array = orders.keep(f"[{A},{B}]", name="x.json")
    assert array.texts is None
    assert kept_in(orders.keep(file_of(A, B), [array])) == {0: 2}
    lines = orders.keep(file_of(A, B), [array])
    assert kept_in(orders.keep(f"[{A},{B}]", [lines], name="x.json")) == {0: 2}


def in_blocks_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 20)
    monkeypatch.setattr(physical, "BLOCK_LINES", 1)


@pytest.mark.parametrize("by_line", [True, False])
def test_a_block_of_which_nothing_is_accepted(orders: Keeping, monkeypatch: pytest.MonkeyPatch, by_line: bool) -> None:
    monkeypatch.setattr(plain, "_FEWEST", 1)
    if by_line:
        in_blocks_of_one_line(monkeypatch)
    for known in ([], [orders.keep(file_of(A, B))]):
        kept = orders.keep(file_of(A, REFUSED, B, REFUSED), known)
        assert (kept.count, kept.summary.rejected, kept.summary.window) == (2, 2, (DAY, DAY))


@pytest.mark.parametrize("stream", list(BULK))
def test_an_export_that_repeats_another_writes_hardly_any_records(tmp_path: Path, stream: str) -> None:
    place = Keeping(tmp_path / "bulk", stream)

    def text(**shares: float) -> str:
        return file_of(*(json.dumps(record) for record in bulk_records(stream, 2000, **shares)))

    first = place.keep(text())
    second = place.keep(text(changed=0.01), [first])
    assert kept_in(second) == {0: 20, 1: 1980}
    assert_same(second, place.keep(text(changed=0.01)))
    whole = place.keep(text(), [second, first])
    assert kept_in(whole) == {1: 2000}
    assert records_size(whole) < records_size(first) / 10
    assert own_bytes(whole) < own_bytes(first)


def own_bytes(kept: KeptRecords) -> int:
    """What an export adds to the disk."""
    return kept._own.location.size


def records_size(kept: KeptRecords) -> int:
    return kept._own.footer.sections["records"].size


def test_repeated_lines_are_not_read(orders: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    first = orders.keep(file_of(A, B))

    def refuse(self: Any, raw: Any, *others: Any) -> Any:
        raise AssertionError(f"read by itself: {raw}")

    monkeypatch.setattr(RecordReader, "read", refuse)
    monkeypatch.setattr(plain.PlainReader, "_decode", refuse)
    assert kept_in(orders.keep(file_of(B, A), [first])) == {1: 2}


def vanished(orders: Keeping, texts: Iterable[str]) -> KeptRecords:
    """Kept records that another process replaced after they were found in the ledger."""
    kept = orders.keep(file_of(*texts))
    open_store(orders.archive).remove(kept._own.location.name)
    return kept


def test_an_export_whose_records_are_replaced_meanwhile_is_not_repeated(orders: Keeping) -> None:
    second = orders.keep(file_of(A, B), [vanished(orders, [A])])
    assert kept_in(second) == {0: 2}
    third = orders.keep(file_of(A, B), [vanished(orders, [A]), second])
    assert_same(third, orders.keep(file_of(A, B)))
