"""Limits: an export that would take all memory, disk or time fails at once, in bounded memory."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest
from backports import zstd

from sync_pipelines.configuration.limits import Limits
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.formats import ReadSettings, read_export
from sync_pipelines.exports.isolated import _Reader
from sync_pipelines_tests.hostile_files import zipped
from sync_pipelines_tests.loading import Site, order, until

MB = 1 << 20


def fault_of(name: str, content: bytes, **limits: Any) -> str:
    """What reading an export ends with."""
    with pytest.raises(ExportError) as caught:
        for _ in read_export(io.BytesIO(content), name, ReadSettings(limits=Limits.model_validate(limits))):
            pass
    return str(caught.value)


def workbook(*rows: Any) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    for row in rows:
        sheet.append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def with_part(book: bytes, name: str, content: bytes) -> bytes:
    """A workbook with another part in place of its own."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        return zipped({part: archive.read(part) for part in archive.namelist()} | {name: content})


SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress, bz2.compress, lambda b: zipped({"x.ndjson": b})])
def test_what_grows_a_thousandfold_is_too_large(compress: Callable[[bytes], bytes]) -> None:
    suffix = {gzip.compress: ".gz", zstd.compress: ".zst", bz2.compress: ".bz2"}.get(compress, ".zip")
    content = compress(b" " * (70 * MB))
    assert fault_of(f"x.ndjson{suffix}", content).startswith("too_large: the file grows more than 200-fold")


def test_what_grows_a_thousandfold_and_is_small_is_read() -> None:
    content = gzip.compress(b'{"OrderId": 1}\n' + b" " * (60 * MB) + b"\n")
    assert len(list(read_export(io.BytesIO(content), "x.ndjson.gz"))) == 1


@pytest.mark.parametrize("name", ["x.json", "x.ndjson", "x.csv", "x.csv.gz", "x.csv.zip"])
def test_more_plain_bytes_than_the_limit_are_too_large(name: str) -> None:
    plain = b'[{"a": 1}, ' + b'{"a": 1},' * 200_000
    content = gzip.compress(plain) if name.endswith(".gz") else zipped({"x.csv": plain}) if "zip" in name else plain
    assert fault_of(name, content, plain_bytes="1MB").startswith("too_large: the plain file is larger than 1.0MB")


def test_reading_ends_when_its_time_is_over() -> None:
    for name, content in (("x.csv", b"a\n1\n"), ("x.parquet", parquet({"a": [1]}))):
        assert fault_of(name, content, seconds=1e-9).startswith("too_large: reading took more than")


def test_a_hundred_thousand_columns_are_too_many_at_once() -> None:
    names = [f"c{number}" for number in range(100_000)]
    for name, content in (
        ("x.csv", ",".join(names).encode() + b"\n" + b"1," * 99_999 + b"1\n"),
        ("x.parquet", parquet({name: [1] for name in names[:20_000]})),
    ):
        started = time.monotonic()
        assert fault_of(name, content).startswith("too_large: the file has ")
        assert time.monotonic() - started < 5


def test_columns_are_read_in_linear_time() -> None:
    names = ",".join(f"c{number}" for number in range(100_000)).encode()
    started = time.monotonic()
    limits = Limits(columns=100_000)
    [record] = read_export(io.BytesIO(names + b"\n" + b"1," * 99_999 + b"1\n"), "x.csv", ReadSettings(limits=limits))
    assert len(record.value) == 100_000
    assert time.monotonic() - started < 5


def parquet(columns: dict[str, Any]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, compression="zstd")
    return target.getvalue()


def test_a_column_that_decodes_into_too_much_is_refused_before_it_is_read() -> None:
    content = parquet({"OrderId": ["x" * MB] * 3, "y": [1, 2, 3]})
    assert fault_of("x.parquet", content, column_bytes="1MB") == (
        "too_large: the column 'OrderId' exceeds 1.0MB in row group 1 (if that is expected, raise"
        " `limits: {column_bytes: ...}` of this stream in sources.yaml)"
    )


def test_a_row_beyond_those_of_excel_is_refused_at_once() -> None:
    rows = b'<row r="1"><c r="A1"><v>1</v></c></row><row r="99999999999"><c r="A99999999999"><v>1</v></c></row>'
    book = with_part(workbook(["a"]), "xl/worksheets/sheet1.xml", SHEET % rows)
    started = time.monotonic()
    assert fault_of("x.xlsx", book).startswith("bad_sheet: the sheet has more than 1,048,576 rows, the limit of Excel")
    assert time.monotonic() - started < 5


BOMBS: dict[str, Callable[[], bytes]] = {
    "styles": lambda: with_part(
        workbook(["a"]),
        "xl/styles.xml",
        b'<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><fonts>'
        + b"<font/>" * 7_800_000
        + b"</fonts></styleSheet>",
    ),
    "cells without a row": lambda: with_part(
        workbook(["a"]), "xl/worksheets/sheet1.xml", SHEET % (b"<c/>" * 15_000_000)
    ),
    "texts": lambda: with_part(workbook(["a"]), "xl/sharedStrings.xml", b"<sst>" + b"<si/>" * 40_000_000 + b"</sst>"),
    "text of the theme": lambda: with_part(workbook(["a"]), "xl/theme/theme1.xml", b"<a>" + b"x" * (300 * MB)),
    "cells of a row": lambda: with_part(
        workbook(["a"]), "xl/worksheets/sheet1.xml", SHEET % (b"<row>" + b"<c/>" * 15_000_000 + b"</row>")
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_workbook_never_takes_much_memory(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    path.write_bytes(BOMBS[bomb]())
    script = f"""
import resource
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.formats import read_export
import openpyxl
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(len(list(read_export(open({str(path)!r}, "rb"), "x.xlsx"))))
except ExportError as error:
    print(error.code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    code, grown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert code in ("bad_sheet", "too_large")
    assert int(grown) < 400


def test_rejects_above_the_limit_are_counted_and_not_kept(site: Site) -> None:
    site.sources({"limits": {"rejects": 100}})
    entry = site.load("2024-06-01.ndjson.gz", gzip.compress(b"x\n" * 5_000 + json.dumps(order("A")).encode()))
    assert (entry.status, entry.read, entry.created, entry.rejected) == ("loaded", 5_001, 1, 5_000)
    assert entry.leniencies["rejects_not_kept"] == 4_900
    assert [reject["position"] for reject in site.rejects()] == [str(number) for number in range(1, 101)]


def test_rejects_up_to_the_limit_are_all_kept(site: Site) -> None:
    site.sources({"limits": {"rejects": 100}})
    entry = site.load("2024-06-01.ndjson", "x\n" * 100)
    assert (entry.rejected, len(site.rejects()), entry.leniencies) == (100, 100, {})


def test_three_million_bad_lines_take_neither_disk_nor_memory(site: Site) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entry = site.load("2024-06-01.ndjson.gz", gzip.compress(b"x\n" * 300_000))
    assert (entry.rejected, len(site.rejects())) == (300_000, 10_000)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < 200


def read_from(path: Path, **limits: Any) -> int:
    with path.open("rb") as file:
        return len(list(read_export(file, path.name, ReadSettings(limits=Limits.model_validate(limits)))))


def test_a_file_that_aborts_its_reader_is_damaged_and_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "encrypted.parquet").write_bytes(encrypted())
    (tmp_path / "fine.parquet").write_bytes(parquet({"a": [1, 2]}))
    for _ in range(2):
        with pytest.raises(ExportError, match=r"^bad_sheet: the file crashed its reader"):
            read_from(tmp_path / "encrypted.parquet")
        assert read_from(tmp_path / "fine.parquet") == 2


def encrypted() -> bytes:
    """A file with a column that is encrypted: the library ends the process that reads it."""

    class Keys(encryption.KmsClient):  # type: ignore[misc]
        def __init__(self, _: object) -> None:
            super().__init__()

        def wrap_key(self, key: bytes, name: str) -> bytes:
            return base64.b64encode(key)

    factory = encryption.CryptoFactory(Keys)
    how = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["a"]}, plaintext_footer=True)
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), how)
    target = io.BytesIO()
    pq.write_table(pa.table({"a": ["x"]}), target, encryption_properties=properties)
    return target.getvalue()


def test_a_dictionary_that_decodes_into_all_memory_is_too_large(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), ["x" * (5 * MB)])
    (tmp_path / "bomb.parquet").write_bytes(parquet({"a": text}))
    assert (tmp_path / "bomb.parquet").stat().st_size < MB
    with pytest.raises(ExportError, match=r"^(too_large: reading the file needs more than|bad_sheet: )"):
        read_from(tmp_path / "bomb.parquet", memory="1GB")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_fork_at_work_ends_with_its_reader() -> None:
    program = """
import os, time
from sync_pipelines.configuration.limits import Limits
from sync_pipelines.exports.isolated import _limit
ready, told = os.pipe()
if (child := os.fork()) == 0:
    _limit(Limits())
    os.write(told, b".")
    time.sleep(600)
os.read(ready, 1)
print(child)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    child = Path(f"/proc/{ended.stdout.strip()}/stat")
    assert until(lambda: not child.exists() or child.read_text().split()[2] == "Z")


def test_a_reader_is_not_given_the_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    (tmp_path / "fine.parquet").write_bytes(parquet({"a": [1]}))
    own = _Reader()
    monkeypatch.setattr("sync_pipelines.exports.isolated._READER", own)
    before = set(psutil.Process().children())
    read_from(tmp_path / "fine.parquet")
    [reader] = set(psutil.Process().children()) - before
    assert "AWS_SECRET_ACCESS_KEY" not in reader.environ()
    own.close()
    assert reader.wait(10) is not None
