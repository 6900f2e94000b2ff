"""The orders of one shop: new orders, and later changes of them.

Belongs here: orders with the field names of Replenit's page. Does not belong here: which file has them
(`replenit_feed`), dirt (`dirt`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from sync_pipelines.sample_data import words
from sync_pipelines.sample_data.sample_files import Record
from sync_pipelines.sample_data.world import Person, Product, Shop, price_in


@dataclass(eq=False)
class Order:
    """An order as the shop knows it.

    Attributes:
        first: the record as it was when placed.
        record: the record as it is now.
        placed_on: the day it was placed.
        sent_on: the days on which an export had the whole order, without a reject.
    """

    first: Record
    record: Record
    placed_on: date
    sent_on: list[date] = field(default_factory=list)

    @property
    def order_id(self) -> str:
        """The order's key."""
        return str(self.record["OrderId"])


class OrderBook:
    """Places a shop's orders and changes them."""

    def __init__(self, shop: Shop, rng: random.Random) -> None:
        self._shop = shop
        self._rng = rng
        self._placed = 0

    def place(self, day: date) -> Order:
        """Places a new order on that day."""
        self._placed += 1
        person = self._rng.choice(self._shop.people)
        items = [self._item(person, product) for product in self._basket()]
        record = {
            "OrderId": self._number(day),
            **self._identity(person),
            "Currency": person.country.currency,
            "OrderDate": self._moment(day, person),
            **totals(items),
            "IsOrderCancelled": False,
            "OrderItems": items,
        }
        if self._rng.random() < 0.06:
            record["Channel"] = self._rng.choice(words.CHANNELS)
        return Order(record, record, day)

    def change(self, order: Order) -> Record:
        """Changes an older order; returns the changed fields."""
        patch = self._rng.choice((self._cancel, self._cancel, self._return, self._recount, self._write_to))(order)
        order.record = order.record | patch
        return patch

    def _number(self, day: date) -> str:
        if self._shop.code == "MA":
            return str(7_400_000 + self._placed * 3)
        if self._rng.random() < 0.1:
            return f"ML#{2_000_004_000 + self._placed}"
        return f"{self._shop.code}-{day.year}-{self._placed:06d}"

    def _identity(self, person: Person) -> Record:
        draw = self._rng.random()
        if draw < 0.03:
            return {"CustomerId": person.number}
        if draw < 0.04:
            return {"Email": None, "CustomerId": person.number}
        if draw < 0.12:
            return {"Email": person.email.title(), "CustomerId": person.number}
        return {"Email": person.email, "CustomerId": person.number}

    def _moment(self, day: date, person: Person) -> str:
        """A time of that day in UTC, written in the customer's time zone or in UTC, as shops do."""
        moment = datetime.combine(day, time(12 + self._rng.randrange(12), self._rng.randrange(60)))
        if self._rng.random() < 0.5:
            return f"{moment:%Y-%m-%dT%H:%M}:{self._rng.randrange(60):02d}Z"
        offset = person.country.utc_offset
        local = moment.replace(hour=moment.hour - int(offset[1:3]))
        return f"{local:%Y-%m-%dT%H:%M}:{self._rng.randrange(60):02d}{offset}"

    def _basket(self) -> list[Product]:
        lines = self._rng.choices((1, 2, 3, 4, 5, 8), weights=(30, 27, 20, 12, 8, 3))[0]
        return [self._rng.choice(self._shop.products) for _ in range(lines)]

    def _item(self, person: Person, product: Product) -> Record:
        price = price_in(person.country, product.dollars)
        item: dict[str, Any] = {
            "ProductId": product.product_id,
            "Sku": product.sku,
            "Quantity": self._rng.choices((1, 2, 3, 6), weights=(70, 18, 8, 4))[0],
            "Price": price,
            "Size": product.size,
            "Color": product.color,
            "Brand": product.brand,
            "IsGift": self._rng.random() < 0.04,
        }
        if self._rng.random() < 0.15:
            item["OriginalPrice"] = price_in(person.country, product.dollars * 1.25)
        return {name: value for name, value in item.items() if value is not None}

    def _cancel(self, order: Order) -> Record:
        return {"IsOrderCancelled": True}

    def _return(self, order: Order) -> Record:
        """The customer returns the last item; an order with one item is cancelled instead."""
        items = order.record["OrderItems"][:-1]
        return {**totals(items), "OrderItems": items} if items else self._cancel(order)

    def _recount(self, order: Order) -> Record:
        first, *others = order.record["OrderItems"]
        items = [first | {"Quantity": first["Quantity"] + 1}, *others]
        return {**totals(items), "OrderItems": items}

    def _write_to(self, order: Order) -> Record:
        person = self._rng.choice(self._shop.people)
        return {"Email": person.email, "CustomerId": person.number}


def totals(items: list[Record]) -> Record:
    """The order's totals, computed in hundredths so that they match its items to the cent."""
    hundredths = sum(round(item["Price"] * 100) * item["Quantity"] for item in items)
    is_whole = all(isinstance(item["Price"], int) for item in items)
    return {
        "TotalQuantity": sum(item["Quantity"] for item in items),
        "TotalRevenue": hundredths // 100 if is_whole else hundredths / 100,
        "UniqueQuantity": len({item["ProductId"] for item in items}),
    }
