"""Parquet: times of nanoseconds, values that Python cannot hold, bytes that are no text, damaged pages."""

from __future__ import annotations

import datetime as dt
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sync_pipelines.contracts.raw import AmbiguousObject, Binary
from sync_pipelines.errors import ExportError
from sync_pipelines.normalize.values import keepable
from sync_pipelines_tests.exports.conftest import Read

NS = 1_700_000_000_123_456_789
CUT = dt.datetime(2023, 11, 14, 22, 13, 20, 123_456)
TIME = pa.timestamp("ns")
NESTED: dict[str, tuple[Any, Any, Any]] = {
    "column": (TIME, NS, CUT),
    "zone": (pa.timestamp("ns", "UTC"), NS, CUT.replace(tzinfo=dt.UTC)),
    "list": (pa.list_(TIME), [NS], [CUT]),
    "large list": (pa.large_list(TIME), [NS], [CUT]),
    "list of one": (pa.list_(TIME, 1), [NS], [CUT]),
    "struct": (pa.struct([("a", pa.struct([("b", TIME)]))]), {"a": {"b": NS}}, {"a": {"b": CUT}}),
    "map": (pa.map_(pa.string(), TIME), [("k", NS)], {"k": CUT}),
    "clock": (pa.time64("ns"), 1_234_567_891, "00:00:01.234567"),
}


def parquet(table: pa.Table, **options: Any) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data, **options)
    return data.getvalue()


def one(kind: pa.DataType, value: Any) -> bytes:
    return parquet(pa.table({"x": pa.array([value], kind)}))


@pytest.mark.parametrize("place", NESTED)
def test_nanoseconds_are_cut_to_microseconds_wherever_they_stand(place: str, read: Read) -> None:
    kind, value, expected = NESTED[place]
    (record,) = read("x.parquet", one(kind, value))
    assert record.value == {"x": expected}
    assert "pandas" not in repr(type(record.value["x"]))


def test_nanoseconds_need_no_pandas(tmp_path: Path) -> None:
    columns = [pa.array([value], kind) for kind, value, _ in NESTED.values()]
    (tmp_path / "x.parquet").write_bytes(parquet(pa.table(columns, names=list(NESTED))))
    code = f"""
import sys
class NoPandas:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, NoPandas())
from sync_pipelines.exports.columnar import read_parquet
_, record = read_parquet(open({str(tmp_path / "x.parquet")!r}, "rb"))
print(*(str(value).count("123456") + str(value).count("234567") for value in record.value.values()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"] * len(NESTED)


def test_times_that_spark_writes_do_not_wrap(read: Read) -> None:
    far = [dt.datetime(9999, 12, 31), dt.datetime(1600, 1, 1)]
    table = pa.table({"x": pa.array(far, pa.timestamp("us"))})
    records = read("x.parquet", parquet(table, use_deprecated_int96_timestamps=True))
    assert [record.value["x"] for record in records] == far


@pytest.mark.parametrize("kind", [pa.struct([("a", pa.timestamp("us"))]), pa.list_(pa.timestamp("us"))])
def test_a_value_that_python_cannot_hold_refuses_its_record_alone(kind: pa.DataType, read: Read) -> None:
    year_10_000, fine = 253_402_300_800_000_000, 0
    values = [{"a": time} if pa.types.is_struct(kind) else [time] for time in (fine, year_10_000, fine)]
    records = read("x.parquet", parquet(pa.table({"x": pa.array(values, kind)})))
    assert [record.damage.code if record.damage else None for record in records] == [None, "out_of_range", None]


def test_a_struct_that_names_a_field_twice_refuses_its_record(read: Read) -> None:
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    (record,) = read("x.parquet", parquet(pa.table({"id": ["A"], "s": struct})))
    assert record.damage
    assert record.damage[:2] == ("field_conflict", "a struct in 's' has two members named 'a'")
    (record,) = read("x.parquet", one(pa.map_(pa.string(), pa.int64()), [("k", 1), ("k", 2)]))
    assert isinstance(record.value["x"], AmbiguousObject)


def test_bytes_are_text_for_a_field_and_hexadecimal_elsewhere(read: Read) -> None:
    table = pa.table({"x": pa.array([b"P-1", b"\x00\xff", b"", None]), "n": [[b"\xfe"]] * 4})
    first, second, *others = (record.value for record in read("x.parquet", parquet(table)))
    assert (first["x"], keepable(first["x"], ())) == ("P-1", "502d31")
    assert isinstance(second["x"], Binary)
    assert (keepable(second["x"], ()), keepable(second["n"], ())) == ("00ff", ["fe"])
    assert [other.keys() for other in others] == [{"n"}, {"n"}]


def test_no_column_and_no_row_is_an_export_without_records(read: Read) -> None:
    assert read("x.parquet", parquet(pa.table({}))) == []


def test_a_page_that_is_not_what_was_written_is_damage(read: Read) -> None:
    table = pa.table({"x": pa.array([7, 8, 9], pa.int64())})
    options: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    data = parquet(table, write_page_checksum=True, **options)
    changed = data.replace(b"\x08\0\0\0\0\0\0\0\x09", b"\x07\0\0\0\0\0\0\0\x09")
    assert changed != data
    assert [record.value["x"] for record in read("x.parquet", data)] == [7, 8, 9]
    with pytest.raises(ExportError, match=r"^bad_sheet: the Parquet file is damaged: .*CRC"):
        read("x.parquet", changed)
