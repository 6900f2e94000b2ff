"""Compressed exports give the bytes that were compressed, and formats are told below the compression."""

from __future__ import annotations

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.compression import open_export, plain_name
from sync_pipelines.exports.formats import read_export
from sync_pipelines_tests.exports.conftest import Read


def zipped(data: bytes, member: str = "folder/Orders.CSV") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr(member, data)
    return archive.getvalue()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".zip": zipped,
}


@pytest.mark.parametrize("suffix", COMPRESS)
@given(data=st.binary(max_size=200), copies=st.sampled_from([1, 20_000]))
def test_the_bytes_come_back(suffix: str, data: bytes, copies: int) -> None:
    stream = io.BytesIO(COMPRESS[suffix](data * copies))
    plain, _ = open_export(stream, "a.csv" + suffix)
    with plain:
        assert plain.read() == data * copies
    assert not stream.closed


@pytest.mark.parametrize("suffix", COMPRESS)
@given(data=st.data())
def test_x13_a_truncated_file_never_ends_well(suffix: str, data: st.DataObject) -> None:
    whole = COMPRESS[suffix](bytes(range(256)) * 4)
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(ExportError, match=r"^bad_compression"):
        list(read_export(io.BytesIO(cut), "a.ndjson" + suffix))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_formats_are_told_below_the_compression(suffix: str, read: Read) -> None:
    (record,) = read("ORDERS.csv" + suffix.upper(), COMPRESS[suffix](b"a,b\n1,2\n"))
    assert record.value == {"a": "1", "b": "2"}


def test_members_of_a_gzip_file_follow_each_other(read: Read) -> None:
    data = gzip.compress(b'{"a":1}\n') + gzip.compress(b'{"a":2}\n')
    assert [record.value["a"] for record in read("a.ndjson.gz", data)] == [1, 2]


def test_a_zip_is_named_by_its_member_or_else_by_itself(read: Read) -> None:
    assert open_export(io.BytesIO(zipped(b"")), "x.zip")[1] == "Orders.CSV"
    assert read("orders.csv.zip", zipped(b"a\n1\n", "data"))[0].value == {"a": "1"}
    assert read("x.zip", zipped(b"[1]", "data"), format="json")[0].value == 1


def zip_of(*members: str, data: bytes = b"a\n1\n") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for member in members:
            writer.writestr(member, data)
    return archive.getvalue()


@pytest.mark.parametrize(
    "ignored", ["out/", "out/.DS_Store", "__MACOSX/out/._orders.csv", "Thumbs.db", "out/desktop.ini", "~$x.csv"]
)
def test_what_systems_leave_in_a_zip_does_not_count(ignored: str, read: Read) -> None:
    assert len(read("x.zip", zip_of(ignored, "out/orders.csv"))) == 1


def test_a_zip_of_several_exports_names_them_until_one_is_chosen(read: Read) -> None:
    data = zip_of("out/orders.csv", "out/customers.csv", "leeme.txt")
    with pytest.raises(ExportError) as caught:
        read("x.zip", data)
    assert str(caught.value) == (
        "bad_compression: the .zip holds 3 exports: 'out/orders.csv', 'out/customers.csv', 'leeme.txt'"
        " (set `member` to the name or pattern of one of them)"
    )
    for member in ("orders*", "out/orders.csv", "orders.csv"):
        assert len(read("x.zip", data, member=member)) == 1
    with pytest.raises(ExportError, match=r"holds 2 exports that match: 'out/orders.csv', 'out/customers.csv' "):
        read("x.zip", data, member="*.csv")
    with pytest.raises(ExportError, match=r"no file in the .zip matches `member: pedidos\*`; found 'out/orders.csv'"):
        read("x.zip", data, member="pedidos*")


def test_a_zip_says_what_it_is_where_it_is_no_archive_of_exports(read: Read) -> None:
    with pytest.raises(ExportError, match=r"the \.zip does not contain an export"):
        read("x.zip", zip_of(".DS_Store"))
    with pytest.raises(ExportError, match=r"it looks like an Excel workbook: rename the file to \.xlsx"):
        read("x.zip", zip_of("[Content_Types].xml", "xl/workbook.xml"))
    protected = bytearray(zip_of("orders.csv"))
    protected[protected.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ExportError, match=r"'orders.csv' in the \.zip is password-protected"):
        read("x.zip", bytes(protected))


def test_an_uncompressed_export_is_itself() -> None:
    stream = io.BytesIO(b"x")
    assert open_export(stream, "a.json") == (stream, "a.json")


@pytest.mark.parametrize(("name", "expected"), [("a.csv.GZ", "a.csv"), ("a.csv", "a.csv"), ("a.gz.csv", "a.gz.csv")])
def test_plain_name(name: str, expected: str) -> None:
    assert plain_name(name) == expected


def test_a_reader_that_is_left_early_closes_what_it_opened() -> None:
    opened: list[io.BytesIO] = []

    def source() -> io.BytesIO:
        opened.append(io.BytesIO(gzip.compress(b'{"a":1}\n' * 9)))
        return opened[0]

    records = read_export(source, "a.ndjson.gz")
    next(records)
    records.close()  # type: ignore[attr-defined]
    assert opened[0].closed
