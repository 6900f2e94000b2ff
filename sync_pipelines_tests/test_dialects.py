"""Orders written in any dialect come back as they were, or are refused with what to set; never as other orders.

A dialect is how a program writes a table: container, delimiter, quotes, marks of numbers, encoding, dates, words, rows
above the header. The source is told all of it, or leaves some of it out.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from babel.dates import format_datetime
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import ExportError
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.normalize.keeping_in import Keeping

COLUMNS: Final = ("OrderId", "ProductId", "Sku", "Quantity", "Price", "Email", "OrderDate", "IsOrderCancelled", "Color")
ZONE: Final = "America/Santiago"
SETTING: Final = re.compile(
    "`?(decimal|thousands|date_format|locale|encoding|delimiter|quote|escape|header_row|true_values|sheet|columns)"
)
TOLD: Counter[str] = Counter()
"""What became of the dialects so far: read, refused, silently different."""


@dataclass(frozen=True)
class Order:
    """An order of one line."""

    key: str
    sku: str
    quantity: int
    price: Decimal
    email: str
    ordered_at: datetime
    is_cancelled: bool
    color: str | None


@dataclass(frozen=True)
class Dialect:
    """How the orders are written; `told` are the settings that the source names."""

    container: str
    delimiter: str
    quoting: str
    decimal: str
    thousands: str | None
    encoding: str
    dates: str
    words: tuple[str, str]
    above: int
    untold: frozenset[str] = field(default_factory=frozenset)

    @property
    def settings(self) -> dict[str, Any]:
        """The block of `sources.yaml`, without what the source leaves out."""
        every: dict[str, Any] = {"decimal": self.decimal, "constants": {"Currency": "USD"}, "timezone": ZONE}
        every |= {"thousands": self.thousands} if self.thousands else {}
        every |= {"encoding": self.encoding} if self.encoding == "cp1252" else {}
        every |= {"escape": "\\"} if self.quoting == "backslash" else {}
        if self.dates == "es":
            every |= {"date_format": "%d-%b-%Y %I:%M:%S %p", "locale": "es"}
        elif self.dates not in ("iso", "shopify", "native"):
            every |= {"date_format": self.dates}
        return {name: value for name, value in every.items() if name not in self.untold}


KEYS = st.sampled_from(["A-1", "00123", "Pedido ñ7", "7E3", "Ä;b", "x,y", "2024", "a\tb", "9007199254740993", "N°5"])
ORDERS = st.lists(
    st.builds(
        Order,
        key=KEYS,
        sku=st.sampled_from(["0075", "SKU-1", "12E5", "47'x", "a|b"]),
        quantity=st.sampled_from([1, 7, 1000, 12000, 1234567]),
        price=st.decimals(Decimal("-9999999.99"), Decimal("9999999.99"), places=2).map(lambda n: n or Decimal("0.01")),
        email=st.sampled_from(["ana@x.cl", "josé@x.cl"]),
        ordered_at=st.datetimes(datetime(1995, 1, 1), datetime(2060, 1, 1)).map(
            lambda moment: moment.replace(microsecond=0, hour=12, fold=0)
        ),
        is_cancelled=st.booleans(),
        color=st.sampled_from([None, "azul", 'de "lana"', "rojo\nvivo", "verde; claro"]),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda order: order.key,
)
DIALECTS = st.builds(
    Dialect,
    container=st.sampled_from(["csv", "csv", "csv", "xlsx", "parquet"]),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from(["minimal", "all", "backslash"]),
    decimal=st.sampled_from([".", ","]),
    thousands=st.sampled_from([None, ".", ",", " ", "'"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    dates=st.sampled_from(
        ["iso", "shopify", "%d/%m/%Y %H:%M:%S", "%m/%d/%y %I:%M:%S %p", "es", "epoch_s", "epoch_ms", "excel", "native"]
    ),
    words=st.sampled_from([("true", "false"), ("VERDADERO", "FALSO"), ("Sí", "No"), ("1", "0"), ("y", "n")]),
    above=st.integers(0, 3),
    untold=st.one_of(
        st.just(frozenset[str]()),
        st.frozensets(st.sampled_from(["decimal", "thousands", "encoding", "escape", "date_format", "locale"])),
    ),
).filter(lambda dialect: dialect.decimal != dialect.thousands)


def number_text(number: Decimal | int, dialect: Dialect) -> str:
    """A number with the dialect's marks."""
    text = f"{number:,}" if dialect.thousands else str(number)
    return text.translate({ord(","): dialect.thousands or "", ord("."): dialect.decimal})


def date_text(moment: datetime, dates: str) -> str:
    """A local time of `ZONE`, or as its dialect has it."""
    aware = moment.replace(tzinfo=ZoneInfo(ZONE))
    match dates:
        case "iso" | "native":
            return moment.isoformat(" ")
        case "shopify":
            return aware.strftime("%Y-%m-%d %H:%M:%S %z")
        case "es":
            # A narrow blank stands in `p. m.`, which cp1252 has not.
            return format_datetime(moment, "dd-MMM-y hh:mm:ss a", locale="es").replace("\u202f", "\xa0")
        case "epoch_s":
            return str(int(aware.timestamp()))
        case "epoch_ms":
            return str(int(aware.timestamp()) * 1000)
        case "excel":
            return str((moment - datetime(1899, 12, 30)) / timedelta(days=1))
    return moment.strftime(dates)


def texts_of(order: Order, dialect: Dialect) -> list[str]:
    """The cells of an order as text."""
    date = date_text(order.ordered_at, dialect.dates)
    if dialect.dates == "excel":
        date = date.replace(".", dialect.decimal)
    return [
        order.key, "P", order.sku, number_text(order.quantity, dialect), number_text(order.price, dialect),
        order.email, date, dialect.words[not order.is_cancelled], order.color or "",
    ]  # fmt: skip


def written(orders: Sequence[Order], dialect: Dialect) -> bytes:
    """The table as a file."""
    match dialect.container:
        case "csv":
            return _csv(orders, dialect)
        case "xlsx":
            return _workbook(orders, dialect)
    return _parquet(orders, dialect)


def _csv(orders: Sequence[Order], dialect: Dialect) -> bytes:
    out = io.StringIO()
    is_escaped = dialect.quoting == "backslash"
    writer = csv.writer(
        out,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoting == "minimal" else csv.QUOTE_ALL,
        doublequote=not is_escaped,
        escapechar="\\" if is_escaped else None,
    )
    writer.writerows([*([f"Ventas {number}"] for number in range(dialect.above)), COLUMNS])
    writer.writerows(texts_of(order, dialect) for order in orders)
    return out.getvalue().encode(dialect.encoding)


def _workbook(orders: Sequence[Order], dialect: Dialect) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for number in range(dialect.above):
        sheet.append([f"Ventas {number}"])
    sheet.append(list(COLUMNS))
    for order in orders:
        cells: list[Any] = list(texts_of(order, dialect))
        if dialect.thousands is None:
            cells[3:5] = [order.quantity, float(order.price)]
        if dialect.dates == "native":
            cells[6] = order.ordered_at
        elif dialect.dates == "excel":
            cells[6] = (order.ordered_at - datetime(1899, 12, 30)) / timedelta(days=1)
        if dialect.words[0] == "VERDADERO":
            cells[7] = order.is_cancelled
        sheet.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _parquet(orders: Sequence[Order], dialect: Dialect) -> bytes:
    rows = [texts_of(order, dialect) for order in orders]
    columns: dict[str, Any] = {name: [row[at] or None for row in rows] for at, name in enumerate(COLUMNS)}
    if dialect.thousands is None:
        kind = pa.decimal128(18, 2) if dialect.decimal == "," else pa.float64()
        prices = [order.price if dialect.decimal == "," else float(order.price) for order in orders]
        columns["Price"] = pa.array(prices, kind)
        columns["Quantity"] = pa.array([order.quantity for order in orders], pa.int32())
    if dialect.dates == "native":
        columns["OrderDate"] = pa.array([order.ordered_at for order in orders], pa.timestamp("ns"))
    if dialect.words[0] == "true":
        columns["IsOrderCancelled"] = [order.is_cancelled for order in orders]
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def read_back(content: bytes, dialect: Dialect) -> tuple[dict[str, Order], list[str]]:
    """The orders that came of a file, and what was said of the others."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            kept = Keeping(Path(folder) / "x").keep_bytes(content, name=f"x.{dialect.container}", **dialect.settings)
        except ExportError as fault:
            return {}, [str(fault)]
        found = {}
        for row in (row for block in kept.blocks() for row in block.to_pylist()):
            (item,) = row["order_items"]
            found[row["external_id"]] = Order(
                row["external_id"], item["sku"], item["quantity"], item["price"], row["email"],
                row["ordered_at"].astimezone(UTC), row["is_cancelled"], item["color"],
            )  # fmt: skip
        return found, [str(reject["message"]) for reject in kept.rejects()]


def in_utc(order: Order) -> Order:
    """The order as it is kept."""
    return replace(order, ordered_at=order.ordered_at.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC))


@examples(100)
@given(ORDERS, DIALECTS)
def test_orders_come_back_or_are_refused_with_what_to_set(orders: list[Order], dialect: Dialect) -> None:
    found, said = read_back(written(orders, dialect), dialect)
    expected = {order.key: in_utc(order) for order in orders}
    different = {key: order for key, order in found.items() if expected.get(key) != order}
    TOLD["silently different"] += bool(different)
    assert not different, (dialect, different, expected)
    TOLD["read" if found == expected else "refused"] += 1
    if found != expected:
        assert said and all(SETTING.search(message) for message in said), (dialect, said)
    if not dialect.untold:
        assert found == expected, (dialect, said)


def test_how_many_dialects_were_read() -> None:
    """Run with `-s` to see it; the orders above are written anew in each."""
    print(f"\ndialects: {dict(TOLD)}")
    assert not TOLD["silently different"]
