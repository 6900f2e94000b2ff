"""Bytes that one thread reads and another one after it."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.exports.tee import Tee

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=4)


def read_all(stream: io.RawIOBase | BinaryIO, sizes: list[int]) -> bytes:
    """Everything, in pieces of the given sizes over and over."""
    found: list[bytes] = []
    while piece := stream.read(sizes[len(found) % len(sizes)]):
        found.append(piece)
    return b"".join(found)


@given(st.binary(max_size=60), SIZES, SIZES)
def test_both_read_the_same(content: bytes, sizes: list[int], others: list[int]) -> None:
    passed = Tee(io.BytesIO(content))
    with ThreadPoolExecutor(1) as other, passed:
        again = other.submit(read_all, passed.reader(), others)
        assert read_all(passed, sizes) == content
        assert again.result() == content


def test_who_stops_reading_holds_nobody_up() -> None:
    passed = Tee(io.BytesIO(bytes(1000)))
    with passed.reader() as reader, ThreadPoolExecutor(1) as other:
        reading = other.submit(read_all, passed, [1])
        assert reader.read(1) == b"\0" and not reading.done()
        reader.close()
        assert len(reading.result(10)) == 1000
    assert not passed._pieces, "what nobody reads takes no memory"


def test_memory_is_bounded() -> None:
    passed, went_on = Tee(io.BytesIO(bytes(100))), threading.Event()

    def read() -> None:
        for _ in range(4):
            passed.read(1)
        went_on.set()

    threading.Thread(target=read, daemon=True).start()
    assert not went_on.wait(0.2)
    assert (passed.next_piece(), passed.next_piece()) == (b"\0", b"\0")
    assert went_on.wait(10)


def test_an_end_that_was_not_read_is_told() -> None:
    passed = Tee(io.BytesIO(b"abc"))
    passed.read(2)
    passed.close()
    reader = passed.reader()
    assert reader.read(2) == b"ab"
    with pytest.raises(EOFError, match="closed before its end"):
        reader.read(1)
