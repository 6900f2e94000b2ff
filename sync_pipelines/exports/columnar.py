"""Parquet files, a batch of rows at a time.

Belongs here: Arrow types to raw values. Does not belong here: writing Parquet (`normalize`).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines.configuration.limits import Limits, Meter, too_large
from sync_pipelines.contracts.raw import Binary, RawRecord, damaged, number_from_float
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.compression import is_of_data
from sync_pipelines.exports.disk import on_disk
from sync_pipelines.exports.json_values import build_object
from sync_pipelines.exports.tables import AS_IT_STANDS, Part, Row, TableReading, read_table

_BATCH = 2_000
_BUFFER = 1 << 20

_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)

Convert = Callable[[Any], Any]
"""Converts a non-null pyarrow value to a raw value."""


def read_parquet(stream: BinaryIO, reading: TableReading = AS_IT_STANDS, meter: Meter | None = None) -> Iterator[Part]:
    """Yields the columns, then a record for every non-empty row, at its number from 1 (X14).

    Nulls are empty cells, in structs too. Binary floats become the decimal of their shortest text (X9). Top-level texts
    become `Cell`s, bytes `Binary`, lists and structs lists and dicts. Nanoseconds are truncated to microseconds. A
    file without columns and rows has no records.

    Raises:
        ExportError: `bad_sheet`, with the row where reading stopped; `bad_header`, `column_missing`; `too_large`.
    """
    # The schema is the header. A Parquet file has no footer rows.
    settings = reading.settings.model_copy(update={"header_row": 0, "skip_footer": 0})
    meter = meter or Meter(Limits())
    with on_disk(stream) as file:
        rows = _rows(file, reading.empty_is == "null", meter)
        header = next(rows, None)
        if header is not None:
            yield from read_table(chain([header], rows), None, replace(reading, settings=settings), meter)


def _rows(file: BinaryIO, keeps_nulls: bool, meter: Meter) -> Iterator[Row | RawRecord]:
    number = 0
    for batch in _batches(file, keeps_nulls, meter):
        if isinstance(batch, list):
            yield number, batch
            continue
        rows, rejected = batch
        for index, row in enumerate(rows):
            number += 1
            if index in rejected:
                yield damaged(str(number), rejected[index].code, rejected[index].message, repr(row))
            else:
                yield number, row


class _Unreadable(Exception):
    """A value that Python cannot represent. Its row is rejected.

    Attributes:
        code: a reject code.
        message: what is wrong with which column.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


_RejectedRows = dict[int, _Unreadable]
"""Row of a batch -> why it is rejected."""
_Batch = tuple[Iterator[tuple[Any, ...]], _RejectedRows]


def _batches(file: BinaryIO, keeps_nulls: bool, meter: Meter) -> Iterator[list[str] | _Batch]:
    """Yields the column names, then the rows."""
    read = 0
    try:
        # As nanoseconds, the times that Spark writes (INT96) would wrap before 1677 and after 2262.
        with pq.ParquetFile(
            file,
            buffer_size=_BUFFER,
            pre_buffer=False,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit="us",
        ) as parquet:
            _check_sizes(parquet.metadata, meter)
            schema = parquet.schema_arrow
            if not len(schema) and not parquet.metadata.num_rows:
                return
            meter.check_columns(len(schema))
            yield list(schema.names)
            converts = [_converter(field.type, keeps_nulls) for field in schema]
            for batch in parquet.iter_batches(_BATCH):
                meter.check_time()
                rejected: _RejectedRows = {}
                columns = [
                    _values(name, column, convert, rejected)
                    for name, column, convert in zip(schema.names, batch.columns, converts, strict=True)
                ]
                read += batch.num_rows
                yield zip(*columns, strict=True), rejected
    except Exception as error:
        # Damaged files make Arrow raise all kinds of exceptions.
        if not is_of_data(error):
            raise
        message = f"the Parquet file is damaged: {error}"
        raise ExportError("bad_sheet", message, "send it again", Position("row", read + 1)) from error


def _check_sizes(footer: pq.FileMetaData, meter: Meter) -> None:
    """Raises for column chunks that would decode to too many bytes, before reading any."""
    limit, total = meter.limits.column_bytes, 0
    for group in range(footer.num_row_groups):
        row_group = footer.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            total += column.total_uncompressed_size
            if column.total_uncompressed_size > limit:
                shown = limit.human_readable(decimal=True)
                message = f"the column {column.path_in_schema!r} exceeds {shown} in row group {group + 1}"
                raise too_large(message, "column_bytes")
    meter.check_bytes(total)


def _values(name: str, column: pa.Array, convert: Convert, rejected: _RejectedRows) -> list[Any]:
    if (kind := _in_microseconds(column.type)) != column.type:
        column = column.cast(kind, safe=False)
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):  # a time outside Python's calendar, or invalid text
        values = [_value_or_reject(name, index, scalar, rejected) for index, scalar in enumerate(column)]
    return [None if value is None else convert(value) for value in values]


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """Replaces nanoseconds by microseconds, which is Python's precision, and removes dictionary encoding."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_dictionary(kind):
        values = _in_microseconds(kind.value_type)
        return kind if values == kind.value_type else values
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_microseconds(field.type)) for field in kind])
    if pa.types.is_map(kind):
        items = kind.item_field.with_type(_in_microseconds(kind.item_type))
        return pa.map_(kind.key_field.with_type(_in_microseconds(kind.key_type)), items, kind.keys_sorted)
    for is_list, list_of in _LISTS:
        if is_list(kind):
            return list_of(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_in_microseconds(kind.value_type)), kind.list_size)
    return kind


def _value_or_reject(name: str, index: int, scalar: pa.Scalar, rejected: _RejectedRows) -> Any:
    try:
        return scalar.as_py()
    except UnicodeError:
        rejected[index] = _Unreadable("invalid_text", f"the text in {name!r} is not UTF-8")
    except (ValueError, OverflowError):
        doubled = _doubled_name(scalar.type)
        if doubled is None:
            rejected[index] = _Unreadable("out_of_range", f"the time in {name!r} is not in the years 1 to 9999")
        else:
            rejected[index] = _Unreadable("field_conflict", f"a struct in {name!r} has two members named {doubled!r}")
    return None


def _doubled_name(kind: pa.DataType) -> str | None:
    """Returns a member name that appears twice in a struct of the type, or None."""
    inner = [kind.field(index) for index in range(kind.num_fields)]
    if pa.types.is_struct(kind):
        for name, count in Counter(field.name for field in inner).items():
            if count > 1:
                return str(name)
    return next((name for field in inner if (name := _doubled_name(field.type)) is not None), None)


def _converter(kind: pa.DataType, keeps_nulls: bool) -> Convert:
    """Returns the function that converts values of an Arrow type to raw values."""
    if pa.types.is_dictionary(kind):
        return _converter(kind.value_type, keeps_nulls)
    if pa.types.is_struct(kind):
        return _struct({field.name: _converter(field.type, keeps_nulls) for field in kind}, keeps_nulls)
    if pa.types.is_map(kind):
        return _map(_converter(kind.item_type, keeps_nulls), keeps_nulls)
    if pa.types.is_fixed_size_list(kind) or any(is_list(kind) for is_list, _ in _LISTS):
        return _list(_converter(kind.value_type, keeps_nulls))
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return lambda value: number_from_float(value, _short_text(value, kind))
    return _scalar


def _struct(members: dict[str, Convert], keeps_nulls: bool) -> Convert:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        named = ((name, value[name]) for name in members if keeps_nulls or value[name] is not None)
        return {name: None if item is None else members[name](item) for name, item in named}

    return convert


def _map(item: Convert, keeps_nulls: bool) -> Convert:
    def convert(value: list[tuple[Any, Any]]) -> dict[str, Any]:
        named = ((str(_scalar(key)), entry) for key, entry in value if keeps_nulls or entry is not None)
        return build_object([(key, None if entry is None else item(entry)) for key, entry in named])

    return convert


def _list(item: Convert) -> Convert:
    return lambda value: [None if entry is None else item(entry) for entry in value]


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return number_from_float(value, repr(value))
    if isinstance(value, bytes):
        return Binary.of(value)
    if isinstance(value, dt.time):
        return value.isoformat()
    return value if isinstance(value, str | bool | int | Decimal | dt.date) else str(value)


def _short_text(value: float, kind: pa.DataType) -> str:
    """Returns the shortest text that gives the same single-precision number, as `repr` does for doubles."""
    text = str(pa.scalar(value, kind).cast(pa.string()).as_py())
    return f"{text}.0" if text.lstrip("-").isdigit() else text
