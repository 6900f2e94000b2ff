"""Replenit's exports in the sample: a folder for each shop, with one or more files each day.

The grocer sends documents (JSON, line by line or as an array, nested Parquet), the fashion house flat files (CSV in
four dialects, Excel, Parquet). Every few days there are also changes of status only, a log of requests, a late file
for an earlier day, and a file that was sent before.

Belongs here: which file has which orders, and when. Does not belong here: changes of orders (`orders`), dirt (`dirt`),
file formats (`encode`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote

from sync_pipelines.sample_data.dirt import Soiler
from sync_pipelines.sample_data.encode import Layout, encode
from sync_pipelines.sample_data.orders import Order, OrderBook
from sync_pipelines.sample_data.replenit_dirt import KINDS
from sync_pipelines.sample_data.sample_files import Export, Kind, Record, arrival, resent
from sync_pipelines.sample_data.world import Shop, build_shops, random_for

DOCUMENTS = (
    Layout(".ndjson"),
    Layout(".json"),
    Layout(".ndjson.gz"),
    Layout(".parquet", nested=True),
    Layout(".ndjson.zst"),
    Layout(".json.gz"),
    Layout(".jsonl.bz2"),
    Layout(".json.zip"),
)
FLAT_FILES = (
    Layout(".csv", bom=True),
    Layout(".parquet"),
    Layout(".csv.gz", delimiter=";"),
    Layout(".xlsx"),
    Layout(".csv.zip", delimiter="\t"),
    Layout(".csv.bz2", delimiter="|"),
    Layout(".csv.zst"),
)
LOGS = (Layout(".ndjson"), Layout(".ndjson.gz"), Layout(".jsonl.zst"))
LATE_BY = 6  # days


def build_feeds(seed: int) -> tuple[OrderFeed, OrderFeed]:
    """The exports of the grocer and of the fashion house, from the first day on."""
    grocer, fashion = build_shops(seed)
    return OrderFeed(grocer, DOCUMENTS, seed, fashion.tenant), OrderFeed(fashion, FLAT_FILES, seed, grocer.tenant)


def build_exports(feeds: Sequence[OrderFeed], seed: int, first_day: date, days: int, orders: int) -> Iterator[Export]:
    """Yields all shops' exports, day by day in the order they arrive."""
    shares = _shares(seed, days * len(feeds), orders)
    for index in range(days):
        for feed in feeds:
            day = first_day + timedelta(days=index)
            yield from feed.day(day, index, days - 1 - index, next(shares))


def _shares(seed: int, parts: int, orders: int) -> Iterator[int]:
    """The number of orders of each day and shop: uneven, with the right total."""
    rng = random_for(seed, "replenit", "shares")
    weights = [rng.uniform(0.6, 1.4) for _ in range(parts)]
    whole, so_far, given = sum(weights), 0.0, 0
    for weight in weights:
        so_far += weight
        upto = round(orders * so_far / whole)
        yield upto - given
        given = upto


class OrderFeed:
    """The exports of one shop; each day knows the days before it."""

    def __init__(self, shop: Shop, layouts: tuple[Layout, ...], seed: int, other_tenant: str) -> None:
        self._rng = random_for(seed, "replenit", shop.code)
        self._tenant = shop.tenant
        self._other_tenant = other_tenant
        self._layouts = layouts
        self._book = OrderBook(shop, self._rng)
        self._soiler = Soiler(self._rng, KINDS, needs="OrderItems")
        self._recent: list[Order] = []
        self._deleted: list[Order] = []
        self._forgotten: list[Order] = []
        self._rejected: list[Order] = []
        self._sent: list[Export] = []
        self._accepted_buyers: set[str] = set()
        self._doubtful: set[str] = set()

    @property
    def buyers(self) -> set[str]:
        """Numbers of customers with an order that is loaded and remains theirs."""
        return self._accepted_buyers - self._doubtful

    def day(self, day: date, index: int, left: int, count: int) -> Iterator[Export]:
        """Yields the exports of one day.

        Args:
            day: the day.
            index: the number of days before it.
            left: the number of days after it; the last day always has a log.
            count: the number of new orders.
        """
        has_log = index % 4 == 3 or not left
        logged = min(count, 2) if has_log else 0
        has_late_file = index % 7 == 0 and left >= LATE_BY
        self._recent = [order for order in self._recent if order.placed_on >= day - timedelta(days=2 * LATE_BY)]
        daily = self._daily(day, index, count - logged, has_late_file)
        if daily:
            self._sent.append(daily)
            yield daily
        if index % 3 == 2:
            yield from self._status(day)
        if has_log:
            yield self._log(day, LOGS[index // 4 % len(LOGS)], logged)
        if index % 7 == LATE_BY:
            yield from self._late(day, index)
        if index % 10 == 4 or (not left and index < 4):
            yield from self._resent(day)

    def _daily(self, day: date, index: int, count: int, has_late_file: bool) -> Export | None:
        """The day's new orders, some of yesterday's again, and changes of older ones."""
        layout = self._layouts[index % len(self._layouts)]
        fresh = [self._book.place(day) for _ in range(count)]
        forgotten = self._some(fresh[1:], 0.05) if has_late_file else []
        yesterday = [order for order in self._recent if order.placed_on == day - timedelta(days=1)]
        sent = [order for order in fresh if order not in forgotten]
        sent += [order for order in self._some(yesterday, 0.12) if order not in self._rejected] + self._rejected
        self._rejected = []
        records = [self._write(order, day, layout) for order in sent]
        changed = self._some([order for order in self._recent if not layout.is_flat or order not in sent], 0.012)
        records += [self._write_change(order, day, layout) for order in changed]
        self._recent += fresh
        self._forgotten = forgotten or self._forgotten
        is_torn = layout.suffix == ".ndjson" and index > 0
        return self._export("daily", day, "", records, layout, torn=is_torn) if records else None

    def _write(self, order: Order, day: date, layout: Layout) -> Record:
        """The whole order, sometimes with dirt; most rejected orders are sent again the next day, corrected."""
        soiled = self._soiler.take(order.record, layout)
        if not soiled.is_rejected:
            order.sent_on.append(day)
            self._accepted_buyers.add(order.record["CustomerId"])
        elif self._rng.random() < 0.6:
            self._rejected.append(order)
        return soiled.record

    def _write_change(self, order: Order, day: date, layout: Layout) -> Record:
        """A changed order: in a document often only the changed fields, in a flat file the whole order."""
        patch = self._change(order)
        if layout.is_flat or self._rng.random() < 0.5:
            return self._write(order, day, layout)
        return self._key(order) | patch

    def _change(self, order: Order) -> Record:
        before = order.record["CustomerId"]
        patch = self._book.change(order)
        if "CustomerId" in patch:
            self._doubtful.add(before)
        return patch

    def _status(self, day: date) -> Iterator[Export]:
        """Cancelled orders, with a few fields only."""
        cancelled = self._some([order for order in self._recent if order.placed_on < day], 0.01)
        for order in cancelled:
            order.record = order.record | {"IsOrderCancelled": True}
        records = [self._key(order) | {"IsOrderCancelled": True} for order in cancelled]
        if records:
            yield self._export("status", day, "_status", records, Layout(".csv") if self._is_flat else Layout(".json"))

    def _late(self, day: date, index: int) -> Iterator[Export]:
        """A late file for an earlier day: orders that were sent again since, others, and some that no file has."""
        past = day - timedelta(days=LATE_BY)
        sent = [order for order in self._recent if order.sent_on[:1] == [past] == [order.placed_on]]
        overtaken = [order for order in sent if order.sent_on[-1] > past]
        others = self._some([order for order in sent if order not in overtaken], 0.2)
        forgotten = [order for order in self._forgotten if order.placed_on == past]
        records = [order.first for order in overtaken + others + forgotten]
        layout = self._layouts[(index + 3) % len(self._layouts)]
        if records:
            yield self._export("late", past, "_late", records, layout, arrived=day)

    def _resent(self, day: date) -> Iterator[Export]:
        """The file of two days ago, or else the latest, under another name."""
        if not self._sent:
            return
        yield resent(self._sent[-3:][0], day)

    def _log(self, day: date, layout: Layout, count: int) -> Export:
        """Requests of the day, and some that were logged days late."""
        calls = [*self._posts(day, count), *self._delayed(day), *self._deletes(day), *self._stray_calls(day)]
        return self._export("log", day, "_requests", calls, layout)

    def _posts(self, day: date, count: int) -> Iterator[Record]:
        orders = [self._book.place(day) for _ in range(count)]
        yield self._call(day, 13, "POST", "", [self._write(order, day, DOCUMENTS[0]) for order in orders])
        for order in self._some([order for order in self._recent if order.placed_on < day], 0.004):
            yield self._call(day, 15, "POST", "", [self._key(order) | self._change(order)])
        self._recent += orders

    def _delayed(self, day: date) -> Iterator[Record]:
        """First versions of orders that a later day had again: too old to change anything."""
        overtaken = [order for order in self._recent if order.sent_on and order.placed_on < order.sent_on[-1]]
        for order in overtaken[-3:] + self._deleted[-1:]:
            yield self._call(order.placed_on, 20, "POST", "", [order.first])

    def _deletes(self, day: date) -> Iterator[Record]:
        for order in self._deleted[-1:]:
            yield self._call(day, 16, "DELETE", order.order_id)
        for order in self._some([order for order in self._recent if order.placed_on < day], 0.003):
            yield self._call(day, 17, "DELETE", order.order_id)
            self._recent.remove(order)
            self._deleted.append(order)
            self._doubtful.add(order.record["CustomerId"])
        yield self._call(day, 18, "DELETE", f"0-{day:%m%d}")

    def _stray_calls(self, day: date) -> Iterator[Record]:
        """One logged call that cannot be loaded, another one each time."""
        lost = self._call(day, 19, "POST", "", [])
        del lost["at"]
        stray = (
            self._call(day, 19, "GET", "7400003"),
            self._call(day, 19, "POST", "") | {"path": f"/carts/{self._tenant}"},
            lost,
            self._call(day, 19, "DELETE", "7400003") | {"path": f"/orders/{self._other_tenant}/7400003"},
            self._call(day, 19, "DELETE", "") | {"path": f"/orders/{self._tenant}/"},
            self._call(day, 19, "POST", "") | {"at": "ayer"},
        )
        yield stray[day.toordinal() // 4 % len(stray)]

    def _call(self, day: date, hour: int, method: str, order_id: str, body: Any = None) -> Record:
        at = datetime.combine(day, time(hour, self._rng.randrange(60), self._rng.randrange(60)))
        path = f"/orders/{self._tenant}" + (f"/{quote(order_id, safe='')}" if order_id else "")
        call = {"at": f"{at:%Y-%m-%dT%H:%M:%S}Z", "method": method, "path": path}
        return call if body is None else call | {"body": body}

    def _export(
        self, kind: Kind, day: date, what: str, records: list[Record], layout: Layout,
        torn: bool = False, arrived: date | None = None,
    ) -> Export:  # fmt: skip
        stem = "requests" if kind == "log" else f"orders_{day}{what}"
        name = f"{stem}_{day}" if kind == "log" else stem
        path = f"replenit/{self._tenant}/orders/{day:%Y/%m}/{name}{layout.suffix}"
        data = encode(records, layout, torn=torn)
        return Export(path, kind, data, len(records) + torn, arrival(arrived or day, 3))

    @property
    def _is_flat(self) -> bool:
        return self._layouts is FLAT_FILES

    def _key(self, order: Order) -> Record:
        return {name: order.record[name] for name in ("OrderId", "Currency")}

    def _some(self, orders: list[Order], share: float) -> list[Order]:
        """About that share of them, at least one if there are any, in their order."""
        count = min(len(orders), max(1, round(len(orders) * share)))
        chosen = sorted(self._rng.sample(range(len(orders)), count))
        return [orders[number] for number in chosen]
