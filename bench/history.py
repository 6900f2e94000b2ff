"""Years of daily order exports, live ones beside them, and what the tables hold when all of them are loaded.

Each day has new orders and changed ones of the day before, so that the order of the days matters.

Belongs here: what is written and what is expected of it. Does not belong here: how it is loaded (`backfill`).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

TENANT: Final = "3f0c9a52-6b1e-4d7a-9c35-8e2d41b7a6f0"
_SETTLED: Final = 60.0


@dataclass(frozen=True)
class Held:
    """What the tables say of one order; columns that name the last write are no part of it."""

    revenue: int
    lines: int


@dataclass
class History:
    """A landing's orders.

    Attributes:
        landing: the folder.
        orders: new orders a day.
        expected: order id -> what the newest export said.
    """

    landing: Path
    orders: int
    expected: dict[str, Held] = field(default_factory=dict)
    _rng: random.Random = field(default_factory=lambda: random.Random("history"))

    def write(self, first: date, days: int) -> list[date]:
        """Writes one export a day; returns the days."""
        found = [first + timedelta(days=n) for n in range(days)]
        before: list[str] = []
        for day in found:
            keys = [f"{day:%Y%m%d}-{n}" for n in range(self.orders)]
            changed = before[:: max(1, len(before) // max(1, self.orders // 5))]
            self._put(f"{day}.ndjson", [*keys, *changed])
            before = keys
        return found

    def write_live(self, day: date, number: int, orders: int = 100) -> int:
        """Writes a newer export of orders of any day, dated after all the others; returns how many it has."""
        keys = self._rng.sample(sorted(self.expected), min(orders, len(self.expected)))
        name = f"live/{day}T{number // 60:02}{number % 60:02}.ndjson"
        self._put(name, [*keys, f"live-{number}"], settled=False)
        return len(keys) + 1

    def _put(self, name: str, keys: list[str], *, settled: bool = True) -> None:
        path = f"replenit/{TENANT}/orders/{name}"
        target = self.landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.part")
        with unfinished.open("w", encoding="utf-8") as lines:
            for record in self._records(keys):
                lines.write(json.dumps(record) + "\n")
        if settled:
            os.utime(unfinished, (time.time() - _SETTLED, time.time() - _SETTLED))
        unfinished.rename(target)

    def _records(self, keys: list[str]) -> Iterator[dict[str, Any]]:
        for key in keys:
            lines, price = self._rng.randint(1, 4), self._rng.randint(100, 9_999)
            items = [{"ProductId": f"p{n}", "Sku": f"s{n}", "Quantity": 1, "Price": price / 100} for n in range(lines)]
            self.expected[key] = Held(price * lines, lines)
            yield {
                "OrderId": key,
                "Email": f"c{hash_of(key) % 5000}@example.com",
                "Currency": "CLP",
                "TotalQuantity": lines,
                "TotalRevenue": price * lines / 100,
                "OrderItems": items,
            }


def hash_of(key: str) -> int:
    """A number that a key always has."""
    return sum(ord(letter) * (n + 1) for n, letter in enumerate(key))


def differences(held: dict[str, Held], expected: dict[str, Held]) -> tuple[int, int, int]:
    """How many orders are lost, how many are there that should not be, how many say something else."""
    wrong = sum(held[key] != expected[key] for key in held.keys() & expected.keys())
    return len(expected.keys() - held.keys()), len(held.keys() - expected.keys()), wrong
