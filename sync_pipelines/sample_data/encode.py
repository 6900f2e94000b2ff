"""Records as the bytes of a file, in every format that an export may have. The bytes are reproducible.

Formats that store the time of writing (gzip, zip, Excel) get a fixed time.

Belongs here: formats, compression, flattening of orders to one line for each item. Does not belong here: content of
records.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sync_pipelines.sample_data.sample_files import Record

ORDER_COLUMNS = (
    "OrderId", "Email", "CustomerId", "Currency", "OrderDate", "TotalQuantity", "TotalRevenue", "UniqueQuantity",
    "IsOrderCancelled",
)  # fmt: skip
ITEM_COLUMNS = (
    "ProductId", "Sku", "Quantity", "Price", "Size", "Color", "Brand", "IsGift", "OriginalPrice",
)  # fmt: skip
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can store


@dataclass(frozen=True)
class Layout:
    """How a file is written. Its suffix determines format and compression.

    Attributes:
        suffix: such as ".csv.gz".
        delimiter: of a CSV.
        bom: whether a CSV starts with a byte order mark.
        nested: whether a Parquet file has its items as a list in one column.
        envelope: the field of a JSON document with the records; without one the document is an array.
    """

    suffix: str
    delimiter: str = ","
    bom: bool = False
    nested: bool = False
    envelope: str = ""

    @property
    def form(self) -> str:
        """The format alone, such as "csv"."""
        return self.suffix.split(".")[1]

    @property
    def is_flat(self) -> bool:
        """Whether it has one line for each item."""
        return self.form in ("csv", "xlsx") or (self.form == "parquet" and not self.nested)


def encode(records: list[Record], layout: Layout, torn: bool = False) -> bytes:
    """Returns the bytes of a file with these records.

    Args:
        records: orders with the partner's field names; a flat layout has one line for each item, or for each order if
            no record has items.
        layout: how they are written.
        torn: whether the last line of a line format is repeated and cut off.
    """
    plain = _FORMS[layout.form](records, layout)
    if torn and records:
        line = _json(records[0]).encode()
        plain += line[: len(line) // 2]
    return _compressed(plain, layout.suffix)


def encode_document(value: Any) -> bytes:
    """Returns the bytes of a JSON file with one value, such as the body of a request."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def flatten(records: list[Record]) -> Iterator[Record]:
    """One line for each item, each with the order's fields; an order without items is one line."""
    for record in records:
        order = {name: value for name, value in record.items() if name != "OrderItems"}
        for item in record.get("OrderItems") or [{}]:
            yield order | item


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _ndjson(records: list[Record], layout: Layout) -> bytes:
    return "".join(_json(record) + "\n" for record in records).encode()


def _json_array(records: list[Record], layout: Layout) -> bytes:
    answered = {"code": 200} if layout.envelope == "data" else {}
    value = {**answered, layout.envelope: records} if layout.envelope else records
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"


def _csv(records: list[Record], layout: Layout) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=layout.delimiter, lineterminator="\r\n")
    columns = _columns(records)
    writer.writerow(columns)
    writer.writerows([_cell_text(row.get(column)) for column in columns] for row in flatten(records))
    return text.getvalue().encode("utf-8-sig" if layout.bom else "utf-8")


def _columns(records: list[Record]) -> list[str]:
    """The columns of a flat file: all columns of an order, or only those in use if no record has items."""
    if any("OrderItems" in record for record in records):
        known = [*ORDER_COLUMNS, *ITEM_COLUMNS]
    else:
        known = [name for name in ORDER_COLUMNS if any(name in record for record in records)]
    return list(dict.fromkeys([*known, *(name for row in flatten(records) for name in row)]))


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.2f}" if round(value, 2) == value else str(value)
    return str(value)


def _xlsx(records: list[Record], layout: Layout) -> bytes:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet("export")
    columns = _columns(records)
    sheet.append(columns)
    for row in flatten(records):
        sheet.append([_cell_value(column, row.get(column)) for column in columns])
    stamped = io.BytesIO()
    book.save(stamped)
    return _unstamped(stamped)


def _cell_value(column: str, value: Any) -> Any:
    if column == "OrderDate":
        return _moment(value).replace(tzinfo=None)
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _unstamped(stamped: io.BytesIO) -> bytes:
    """The same zip archive without the times of writing. An Excel file has its own in docProps/core.xml."""
    plain = io.BytesIO()
    with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "docProps/core.xml":
                data = data[: data.index(b"<dcterms:created")] + data[data.rindex(b"</dcterms:modified>") + 19 :]
            target.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return plain.getvalue()


def _parquet(records: list[Record], layout: Layout) -> bytes:
    from pyarrow import parquet

    is_of_orders = any("OrderId" in record for record in records)
    sink = io.BytesIO()
    parquet.write_table(
        _order_table(records, layout) if is_of_orders else _plain_table(records), sink, compression="zstd"
    )
    return sink.getvalue()


def _plain_table(records: list[Record]) -> Any:
    """Records of plain values; a column of several types is text."""
    import pyarrow as pa

    columns = {name: [record.get(name) for record in records] for name in _columns(records)}
    for name, values in columns.items():
        if len({type(value) for value in values if value is not None}) > 1:
            columns[name] = [None if value is None else _cell_text(value) for value in values]
    return pa.table(columns)


def _order_table(records: list[Record], layout: Layout) -> Any:
    import pyarrow as pa

    text, whole, flag = pa.string(), pa.int64(), pa.bool_()
    money = pa.decimal128(18, 2) if layout.nested else pa.float64()
    types = {
        **dict.fromkeys((*ORDER_COLUMNS, *ITEM_COLUMNS), text),
        **dict.fromkeys(("TotalQuantity", "UniqueQuantity", "Quantity"), whole),
        **dict.fromkeys(("TotalRevenue", "Price", "OriginalPrice"), money),
        **dict.fromkeys(("IsOrderCancelled", "IsGift"), flag),
        "OrderDate": pa.timestamp("us", "UTC"),
    }
    items = [pa.field(name, types[name]) for name in ITEM_COLUMNS]
    orders = [pa.field(name, types[name]) for name in ORDER_COLUMNS]
    nested = pa.field("OrderItems", pa.list_(pa.struct(items)))
    rows = [_typed(row, layout.nested) for row in (records if layout.nested else flatten(records))]
    return pa.Table.from_pylist(rows, pa.schema([*orders, nested] if layout.nested else [*orders, *items]))


def _typed(row: Record, exact: bool) -> Record:
    """The row with its texts and numbers as the types of a Parquet file."""
    typed = dict(row)
    if "OrderDate" in row:
        typed["OrderDate"] = _moment(row["OrderDate"])
    if exact:
        typed["OrderItems"] = [_typed(item, exact) for item in row.get("OrderItems") or []]
        typed.update((name, Decimal(str(value))) for name, value in row.items() if isinstance(value, float))
    return typed


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _compressed(plain: bytes, suffix: str) -> bytes:
    match suffix.rsplit(".", 1)[1]:
        case "gz":
            return gzip.compress(plain, mtime=0)
        case "bz2":
            return bz2.compress(plain)
        case "zst":
            from backports import zstd

            return zstd.compress(plain)
        case "zip":
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as target:
                member = "export" + suffix.removesuffix(".zip")
                target.writestr(zipfile.ZipInfo(member, _EPOCH), plain, zipfile.ZIP_DEFLATED)
            return archive.getvalue()
        case _:
            return plain


_FORMS: dict[str, Callable[[list[Record], Layout], bytes]] = {
    "ndjson": _ndjson,
    "jsonl": _ndjson,
    "json": _json_array,
    "csv": _csv,
    "xlsx": _xlsx,
    "parquet": _parquet,
}
