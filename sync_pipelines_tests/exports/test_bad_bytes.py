"""A byte that is no character refuses its line, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipelines.errors import ExportError, Position
from sync_pipelines_tests.exports.conftest import Read
from sync_pipelines_tests.normalize.keeping_in import Keeping

LINES = b'{"OrderId":"A","Currency":"USD"}\n{"OrderId":"Caf\xe9","Currency":"USD"}\n{"OrderId":"C","Currency":"USD"}\n'
ROWS = b"OrderId,Note\nA,x\nB,Caf\xe9\nC,y\n"


def codes(read: Read, name: str, data: bytes, **settings: str) -> list[str]:
    """What becomes of each record: its key, or position and code of its damage."""
    return [
        f"{raw.position} {raw.damage.code}" if raw.damage else str(raw.value["OrderId"])
        for raw in read(name, data, **settings)
    ]


def test_a_bad_byte_refuses_its_line(read: Read) -> None:
    assert codes(read, "x.csv", ROWS) == ["A", "3 bad_encoding", "C"]
    assert codes(read, "x.ndjson", LINES) == ["A", "2 bad_encoding", "C"]
    (damage,) = [raw.damage for raw in read("x.csv", ROWS) if raw.damage]
    assert damage.text == "B,Caf\\xe9" and "0xe9" in damage.message and "cp1252" in damage.message


def test_a_bad_byte_within_quotes_refuses_the_whole_row(read: Read) -> None:
    data = b'OrderId,Note\nA,"x\nCaf\xe9\ny"\nC,z\n'
    assert codes(read, "x.csv", data) == ["2 bad_encoding", "C"]


def test_a_file_that_ends_within_a_character_has_a_truncated_line(read: Read) -> None:
    assert codes(read, "x.csv", b"OrderId,Note\nA,x\nB,Caf\xc3") == ["A", "3 truncated_line"]
    assert codes(read, "x.ndjson", b'{"OrderId":"A"}\n{"OrderId":"Caf\xc3') == ["A", "2 truncated_line"]
    assert codes(read, "x.csv", b"OrderId,Note\nA,x\nB,Caf\xe2\x82\nC,y\n") == ["A", "3 bad_encoding", "C"]


def test_other_encodings_refuse_the_line_too(read: Read) -> None:
    assert codes(read, "x.csv", b"OrderId\nA\nB\x81\nC\n", encoding="cp1252") == ["A", "3 bad_encoding", "C"]
    cut = "OrderId\nA\nB".encode("utf-16") + b"\0"
    assert codes(read, "x.csv", cut) == ["A", "3 truncated_line"]


def test_a_document_of_json_fails_as_a_whole(read: Read) -> None:
    with pytest.raises(ExportError) as failed:
        read("x.json", b'[{"OrderId":"A"},\n{"OrderId":"Caf\xe9"}]')
    assert (failed.value.code, failed.value.position and failed.value.position.number) == ("bad_encoding", 33)


@pytest.mark.parametrize("name", ["x.csv", "x.ndjson"])
def test_bytes_of_another_format_fail_the_file(read: Read, name: str) -> None:
    with pytest.raises(ExportError, match="gzip"):
        read(name, b"\x1f\x8b\x08\0\xff\xfe\n\n")


def test_a_header_with_a_bad_byte_fails_the_file(read: Read) -> None:
    with pytest.raises(ExportError, match="0xf3"):
        read("x.csv", b"C\xf3digo,OrderId\nA,x\n")


def test_a_bad_line_among_plain_ones_is_one_reject(tmp_path: Path) -> None:
    """Plain lines are read by the block, as bytes; the bad one must not be among them, nor be known next time."""
    lines = b"".join(b'{"OrderId":"A%d","Currency":"USD"}\n' % number for number in range(200))
    keeping = Keeping(tmp_path / "x")
    first = keeping.keep_bytes(lines + LINES)
    assert ([r["code"] for r in first.rejects()], first.count) == (["bad_encoding"], 202)
    again = keeping.keep_bytes(LINES + lines, [first])
    assert ([(r["code"], r["position"]) for r in again.rejects()], again.count) == ([("bad_encoding", "2")], 202)


@pytest.mark.parametrize("name", ["x.csv", "x.ndjson", "x.json"])
def test_utf_16_without_a_byte_order_mark_fails_the_file(read: Read, name: str) -> None:
    data = '[{"OrderId":"A"}]'.encode("utf-16-le")
    with pytest.raises(ExportError, match="byte order mark: set `encoding: utf-16-le`") as failed:
        read(name, data, encoding="utf-16")
    assert failed.value.position == Position("byte", 0)
