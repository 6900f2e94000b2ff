"""Law 6: readers take from an export only as much as they give."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator

import pytest

from sync_pipelines.exports.formats import ReadSettings, read_export

RECORD = b'{"OrderId":"O-1","Price":1.25,"Items":[{"Sku":"S"}]}'
AHEAD = 5 << 20


class Counted(io.RawIOBase):
    """Bytes made on the way, and how many were taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = next(self._pieces, b"")
        self.taken += len(piece)
        return piece


def endless(first: bytes, piece: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield piece * (100_000 // len(piece))


@pytest.mark.parametrize(
    ("name", "first", "piece"),
    [
        ("x.json", b"[" + RECORD, b"," + RECORD),
        ("x.json", b'{"code":200,"items":[' + RECORD, b"," + RECORD),
        ("x.json", RECORD + b"\n", RECORD + b"\n"),
        ("x.ndjson", RECORD, b"\n" + RECORD),
        ("x.csv", b"OrderId,Price\n", b'O-1,"1.25"\n'),
        ("x.csv", b"OrderId,Price\n", b"O-1,1,25\n"),
        ("x.csv.gz", gzip.compress(b"a,b\n"), gzip.compress(b"1,2\n" * 5_000)),
    ],
    ids=["array", "envelope", "lines in .json", "lines", "CSV", "damaged CSV", "compressed CSV"],
)
def test_law_6_no_reader_runs_ahead(name: str, first: bytes, piece: bytes) -> None:
    source = Counted(endless(first, piece))
    records = read_export(source, name, ReadSettings(envelopes=frozenset({"items"})))  # type: ignore[arg-type]
    for number, _ in zip(range(100_000), records, strict=False):
        assert source.taken < number * len(piece) + AHEAD
