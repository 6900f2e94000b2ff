"""A year of daily exports, loaded newest first beside the order they were made in.

    python -m bench.late                             365 days of 300 orders, 5% of them orders of other days too

Every file but the first of the newest-first way is late (X5): each of its records has to find its place behind records
that are loaded. Exit status 1 when
the two ways end in different tables or the late one costs more than three times the other.

Belongs here: the exports, the two ways and their comparison. Does not belong here: the loop (`in_process`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from bench.in_process import load_in_order
from bench.process import compile_program
from bench.server import run_server

TENANT: Final = "3f0c9a52-6b1e-4d7a-9c35-8e2d41b7a6f0"
FIRST: Final = date(2024, 1, 1)
LIMIT: Final = 3.0

_QUESTION: Final = (
    "select o.external_id, o.email, o.total_revenue, i.line_no, i.price from sync.live_orders o"
    " join sync.order_items i on i.order_id = o.id order by 1, 4"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    compile_program()
    with tempfile.TemporaryDirectory(prefix="late-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        write_year(folder / "landing", options.days, options.orders, options.shared)
        with run_server(folder / "postgres") as server:
            forth = load_in_order(server, folder, "as they were made", list, _QUESTION)
            back = load_in_order(server, folder, "newest first", lambda entries: entries[::-1], _QUESTION)
    print(f"{options.days} files of {options.orders} orders, {options.shared:.0%} of them of other days too\n")
    print("| order | s | times |\n|---|---|---|")
    for way in (forth, back):
        print(f"| {way.name} | {way.seconds:.1f} | {way.seconds / forth.seconds:.1f} |")
    same = forth.held == back.held
    print("\nthe same tables" if same else "\nWRONG: the tables differ")
    return int(not same or back.seconds > LIMIT * forth.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.late", description="Daily exports newest first and in their order.")
    parser.add_argument("--days", type=int, default=365, help="files, one a day (365)")
    parser.add_argument("--orders", type=int, default=300, help="orders a file (300)")
    parser.add_argument("--shared", type=float, default=0.05, help="share of them that other files have too (0.05)")
    return parser


def write_year(landing: Path, days: int, orders: int, shared: float) -> None:
    """Writes one export a day; a share of each day's orders stands in the export of some other day too."""
    rng = random.Random("late")
    folder = landing / "replenit" / TENANT / "orders"
    folder.mkdir(parents=True)
    for day in range(days):
        others = (rng.choice([d for d in range(days) if d != day] or [day]) for _ in range(round(orders * shared)))
        keys = {f"{day}-{n}" for n in range(orders)} | {f"{other}-{rng.randrange(orders)}" for other in others}
        path = folder / f"{FIRST + timedelta(days=day)}.ndjson"
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(_order(rng, key)) + "\n" for key in sorted(keys))
        os.utime(path, (time.time() - 60, time.time() - 60))


def _order(rng: random.Random, key: str) -> dict[str, Any]:
    prices = [rng.randint(100, 9_999) for _ in range(3)]
    return {
        "OrderId": key,
        "Email": f"c{rng.randrange(5_000)}@example.com",
        "Currency": "CLP",
        "TotalQuantity": len(prices),
        "TotalRevenue": sum(prices) / 100,
        "OrderItems": [
            {"ProductId": f"p{n}", "Sku": f"s{n}", "Quantity": 1, "Price": price / 100}
            for n, price in enumerate(prices)
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main())
