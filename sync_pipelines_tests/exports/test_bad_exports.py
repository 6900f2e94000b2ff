"""Exports that cannot be read as a whole (X13), and damaged pieces whose neighbours are read (law 4)."""

from __future__ import annotations

import io
import zipfile

import pytest
from backports import zstd

from sync_pipelines.contracts.raw import DAMAGE_TEXT
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.columns import SoughtColumns
from sync_pipelines_tests.exports.conftest import CASES, Read

WHOLE_FILES = {
    "empty.json": ("empty_file", None),
    "white_space.json": ("empty_file", None),
    "utf16_without_mark.json": ("bad_encoding", "byte 1"),
    "latin1.json": ("bad_encoding", "byte 28"),
    "truncated.json": ("not_json", "line 2"),
    "error_page.json": ("not_json", "line 1"),
    "scalar.json": ("wrong_envelope", None),
    "truncated.json.gz": ("bad_compression", "byte 65"),
    "damaged.json.gz": ("bad_compression", None),
    "not_gzip.json.gz": ("bad_compression", None),
    "truncated.json.bz2": ("bad_compression", "byte 91"),
    "name_twice.csv": ("bad_header", "line 1"),
    "no_names.csv": ("bad_header", "line 2"),
    "broken_header.csv": ("bad_header", "line 1"),
    "damaged.xlsx": ("bad_sheet", "row 1"),
    "damaged.parquet": ("bad_sheet", "row 1"),
    "unknown.pdf": ("format_unknown", None),
}

PIECES = {
    "utf16.json": ["1"],
    "latin1.csv": ["2", "3 bad_encoding"],
    "half_a_line.ndjson": ["1", "2 not_json"],
    "damaged_line.ndjson": ["1", "2 not_json", "4 not_json", "5"],
    "nul_character.ndjson": ["1", "2 nul_character", "3"],
    "two_thousand_levels.ndjson": ["1", "2 nesting_too_deep", "3"],
    "two_thousand_levels.json": ["1", "2 nesting_too_deep", "3"],
    "control_character.json": ["1 not_json", "2 nul_character", "3"],
    "too_many_cells.csv": ["2", "3 too_many_cells", "4"],
    "half_a_line.csv": ["2", "3 truncated_line"],
    "unclosed_quote.csv": ["2 bad_quotes", "3", "4", "5"],
    "trailing_comma.json": ["1"],
    "two_documents.json": ["1", "2"],
    "unclosed_string.json": ["1 not_json", "2"],
    "empty_array.json": [],
    "header_only.csv": [],
    "bom.json": ["1"],
    "nan.json": ["1", "2"],
    "name_twice.json": ["1", "2", "3"],
    "lines_named.json": ["1", "2"],
    "array_named.ndjson": ["1", "2"],
    "too_few_cells.csv": ["2", "3"],
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_x13_a_file_that_cannot_be_read_says_why_and_where(case: str, read: Read) -> None:
    code, position = WHOLE_FILES[case]
    with pytest.raises(ExportError) as caught:
        read(case, sought=SoughtColumns("replenit/orders", key=("OrderId",)))
    assert (caught.value.code, str(caught.value.position or "") or None) == (code, position)


@pytest.mark.parametrize("case", PIECES)
def test_law_4_a_damaged_piece_takes_nothing_with_it(case: str, read: Read) -> None:
    records = read(case)
    assert [f"{r.position} {r.damage.code}" if r.damage else r.position for r in records] == PIECES[case]
    assert all((r.value is None) == (r.damage is not None) for r in records)


def test_every_case_is_tested() -> None:
    assert {path.name for path in CASES.iterdir()} == set(WHOLE_FILES) | set(PIECES)


@pytest.mark.parametrize("name", ["x.json", "x.ndjson", "x.csv", "x.csv.gz", "x.csv.zst", "x.csv.bz2", "x.csv.zip"])
def test_x13_zero_bytes(name: str, read: Read) -> None:
    with pytest.raises(ExportError, match=r"^empty_file"):
        read(name, b"")


def test_half_a_line_is_called_so(read: Read) -> None:
    *_, last = read("half_a_line.ndjson")
    assert last.damage
    assert "ends in the middle of this line" in last.damage.message
    assert last.damage.text == '{"OrderId":"O-1","Currency":"U'


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        ("x.json", "[]".encode("utf-16-le"), "utf-16-le"),
        ("x.json", '["ñ"]'.encode("latin-1"), "latin-1"),
        ("x.csv", "a,b\n".encode("utf-16-be"), "utf-16-be"),
        ("x.csv", zstd.compress(b"a,b\n" * 99), ".zst"),
        ("x.xlsx", b"OrderId,Price\n", ".xlsx"),
    ],
)
def test_a_wrong_promise_is_answered_with_a_hint(name: str, data: bytes, hint: str, read: Read) -> None:
    with pytest.raises(ExportError) as caught:
        read(name, data)
    assert hint in caught.value.hint


@pytest.mark.parametrize("at", [0, 1, (1 << 20) - 2, (1 << 20) - 1, 1 << 20, (1 << 21) + 7])
def test_the_first_bad_byte_is_found_exactly(at: int, read: Read) -> None:
    data = bytearray('["ñ'.encode() + b"x" * (1 << 22))
    data[4 + at : 4 + at] = b"\xc3("
    with pytest.raises(ExportError) as caught:
        read("x.json", bytes(data))
    assert str(caught.value.position) == f"byte {4 + at}"


def test_damaged_zip(read: Read) -> None:
    data = zipped("a.json")
    with pytest.raises(ExportError, match=r"^bad_compression"):
        read("x.zip", data[: len(data) // 2])


def test_unknown_encoding_names_the_setting(read: Read) -> None:
    for encoding in ("utf-99", "rot13", "base64"):
        with pytest.raises(ExportError, match="encoding"):
            read("bom.json", encoding=encoding)


def test_damaged_text_is_cut(read: Read) -> None:
    (record,) = read("x.ndjson", b'{"a":' + b"x" * 200_000)
    assert record.damage
    assert len(record.damage.text) == DAMAGE_TEXT


def zipped(*members: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("__MACOSX")
        archive.writestr("__MACOSX/._a.json", b"x")
        for member in members:
            archive.writestr(member, b"[1, 2]")
    return data.getvalue()
