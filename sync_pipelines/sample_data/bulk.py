"""One large file of orders for benchmarks: any number of orders of the same size, with all fields.

The same orders can be written with some changed and some new, and also as the rows of a database, so that a benchmark
can compare with the least possible work.

Belongs here: large, clean, streamed files. Does not belong here: realistic ones (`replenit_feed`), benchmarks
(`bench`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TextIO

from sync_pipelines.sample_data import words

CUSTOMERS = 200_000
PRODUCTS = 50_000
_START = datetime(2025, 1, 1)
_SIZES = ("XS", "S", "M", "L", "XL", "500 ml", "1.5 L", "Talla única")
_CURRENCIES = tuple(country.currency for country in words.COUNTRIES)


class Item(NamedTuple):
    """An item of an order; prices in hundredths."""

    product: int
    quantity: int
    price: int
    original_price: int
    size: str
    color: str
    brand: str
    is_gift: bool


class BulkOrder(NamedTuple):
    """An order; `second` counts from the start of 2025."""

    number: int
    customer: int
    second: int
    currency: str
    is_cancelled: bool
    items: tuple[Item, ...]


@dataclass
class BulkTotals:
    """The content of a database after loading a file, for checks.

    Attributes:
        orders: the number of orders.
        changed: how many of them differ from the unchanged file's.
        new: how many of them the unchanged file does not have.
        items: lines of all orders.
        value: the sum of quantity times price over all lines.
        cancelled: the number of cancelled orders.
        customers: the number of different customers.
    """

    orders: int = 0
    changed: int = 0
    new: int = 0
    items: int = 0
    value: Decimal = Decimal(0)
    cancelled: int = 0
    customers: int = 0
    _seen: bytearray = field(default_factory=lambda: bytearray(CUSTOMERS), repr=False)

    def add(self, order: BulkOrder) -> None:
        """Counts one order."""
        self.orders += 1
        self.items += len(order.items)
        self.cancelled += order.is_cancelled
        self.value += Decimal(_revenue(order)).scaleb(-2)
        self.customers += not self._seen[order.customer]
        self._seen[order.customer] = 1


def write_bench_orders(
    path: Path, n: int, seed: int = 0, *, items: int = 3, changed: float = 0.0, new: float = 0.0,
    flat: Path | None = None,
) -> BulkTotals:  # fmt: skip
    """Writes one order per line (NDJSON). Memory does not grow with `n`.

    Args:
        path: the file.
        n: orders of the unchanged file.
        seed: each seed gives other orders.
        items: items of each order; a changed order may have one less or one more.
        changed: the share of the orders that differ from the unchanged file's (`1 / n`: one of them), evenly spread.
        new: how many orders are added at the end, as a share of `n`.
        flat: a path whose name gets `.orders.csv` and `.items.csv`: the same orders as rows of two tables for COPY,
            without headers.

    Returns:
        The content of a database after loading the file.
    """
    totals = BulkTotals(changed=round(n * changed), new=round(n * new))
    with ExitStack() as files:
        lines = files.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        rows = _Rows(flat, files) if flat else None
        for order in _orders(n, totals.new, totals.changed, seed, items):
            lines.write(_line(order))
            if rows:
                rows.write(order)
            totals.add(order)
    return totals


def _orders(n: int, new: int, changed: int, seed: int, items: int) -> Iterator[BulkOrder]:
    rng = random.Random(f"{seed}/bulk")
    for number in range(n + new):
        order = _order(rng.getrandbits(64), rng, number, items)
        is_changed = number < n and number * changed // n != (number + 1) * changed // n
        yield _changed(order) if is_changed else order


def _order(bits: int, rng: random.Random, number: int, items: int) -> BulkOrder:
    lines = tuple(_item(rng.getrandbits(64)) for _ in range(items))
    return BulkOrder(number, bits % CUSTOMERS, (bits >> 20) % 30_000_000,
                     _CURRENCIES[(bits >> 46) % len(_CURRENCIES)], (bits >> 50) % 32 == 0, lines)  # fmt: skip


def _item(bits: int) -> Item:
    """An item from 64 random bits: drawing each field separately would take most of the time."""
    price = 500 + (bits >> 17) % 29_500
    return Item(
        product=bits % PRODUCTS,
        quantity=1 + (bits >> 33) % 4,
        price=price,
        original_price=price + (bits >> 36) % 3 * 500,
        size=_SIZES[(bits >> 40) % len(_SIZES)],
        color=words.COLORS[(bits >> 44) % len(words.COLORS)],
        brand=words.FASHION_BRANDS[(bits >> 50) % len(words.FASHION_BRANDS)],
        is_gift=(bits >> 54) % 16 == 0,
    )


def _changed(order: BulkOrder) -> BulkOrder:
    """Changes an order as partners do, in turn: cancel it, drop the last item, add one, change quantity and price."""
    first, *others = order.items
    match order.number * 7 // 10 % 5:
        case 0 | 1:
            return order._replace(is_cancelled=not order.is_cancelled)
        case 2 if others:
            return order._replace(items=order.items[:-1])
        case 3:
            return order._replace(items=(*order.items, first._replace(product=(first.product + 1) % PRODUCTS)))
        case _:
            dearer = first._replace(quantity=first.quantity + 1, price=first.price - 100)
            return order._replace(items=(dearer, *others))


def _revenue(order: BulkOrder) -> int:
    return sum(item.quantity * item.price for item in order.items)


def _placed_at(order: BulkOrder) -> str:
    return f"{_START + timedelta(seconds=order.second):%Y-%m-%dT%H:%M:%SZ}"


def _line(order: BulkOrder) -> str:
    """The order as one line of JSON; without a JSON library, because only the brand needs escaping."""
    items = ",".join(
        f'{{"ProductId":"P{item.product:06d}","Sku":"SKU-{item.product:06d}","Quantity":{item.quantity},'
        f'"Price":{item.price / 100},"Size":"{item.size}","Color":"{item.color}",'
        f'"Brand":"{_escaped(item.brand)}","IsGift":{_flag(item.is_gift)},"OriginalPrice":{item.original_price / 100}}}'
        for item in order.items
    )
    return (
        f'{{"OrderId":"{100_000_000 + order.number}","Email":"cliente{order.customer}@correo.example",'
        f'"CustomerId":"C{order.customer:07d}","TotalQuantity":{sum(item.quantity for item in order.items)},'
        f'"TotalRevenue":{_revenue(order) / 100},"OrderDate":"{_placed_at(order)}","Currency":"{order.currency}",'
        f'"UniqueQuantity":{len(order.items)},"IsOrderCancelled":{_flag(order.is_cancelled)},'
        f'"OrderItems":[{items}]}}\n'
    )


def _escaped(text: str) -> str:
    return text.replace('"', '\\"')


def _flag(value: bool) -> str:
    return "true" if value else "false"


class _Rows:
    """The same orders as CSV rows of two tables."""

    def __init__(self, stem: Path, files: ExitStack) -> None:
        self._orders = self._open(stem, "orders", files)
        self._items = self._open(stem, "items", files)

    def _open(self, stem: Path, what: str, files: ExitStack) -> TextIO:
        path = stem.with_name(f"{stem.name}.{what}.csv")
        return files.enter_context(path.open("w", encoding="utf-8", newline="\n"))

    def write(self, order: BulkOrder) -> None:
        key = f"t1,{100_000_000 + order.number}"
        quantity = sum(item.quantity for item in order.items)
        self._orders.write(
            f"{key},cliente{order.customer}@correo.example,C{order.customer:07d},{quantity},{_revenue(order) / 100},"
            f"{_placed_at(order)},{order.currency},{len(order.items)},{_flag(order.is_cancelled)}\n"
        )
        for number, item in enumerate(order.items, 1):
            self._items.write(
                f"{key},{number},P{item.product:06d},SKU-{item.product:06d},{item.quantity},{item.price / 100},"
                f"{item.size},{item.color},{_quoted(item.brand)},{_flag(item.is_gift)},{item.original_price / 100}\n"
            )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text else text
