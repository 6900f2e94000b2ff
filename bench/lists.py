"""Full lists of stores with a few changes from one to the next, loaded in time, newest first and at random.

    python -m bench.lists                            85 lists of 10,000 stores, 1% changed between them
    python -m bench.lists --days 365 --live          the newest list first, then all the others

In all but the first order nearly every record is late (X5). Exit status 1 when the orders end in different tables, or a
budget is missed.

Belongs here: the exports, the orders and their comparison. Does not belong here: the loop (`in_process`).
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
from typing import Final

from bench.figures import Figure, print_figures
from bench.in_process import Order, Way, load_in_order, peak_mb
from bench.process import compile_program
from bench.server import run_server
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.sample_data.bulk_streams import bulk_records

FIRST: Final = date(2024, 1, 1)
LIMIT: Final = 1.3
LIVE_LIMIT: Final = 1.5
RECORD_LIMIT: Final = 40.0
MEMORY_LIMIT: Final = 400.0
_IN_TIME: Final = "in time"


def _back(entries: list[LedgerFile]) -> list[LedgerFile]:
    return entries[::-1]


def _at_random(entries: list[LedgerFile]) -> list[LedgerFile]:
    random.Random("order").shuffle(entries)
    return entries


def _live_first(entries: list[LedgerFile]) -> list[LedgerFile]:
    return [entries[-1], *entries[:-1]]


ORDERS: Final[dict[str, Order]] = {_IN_TIME: list, "newest first": _back, "at random": _at_random}
LIVE_ORDERS: Final[dict[str, Order]] = {_IN_TIME: list, "live first": _live_first}
_QUESTION: Final = (
    "select s.external_id, s.credit_limit, s.payment_status, a.line_no, a.address from sync.live_stores s"
    " join sync.store_addresses a on a.store_id = s.id order by 1, 4"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    return print_figures(measure(options.days, options.stores, options.changed, is_live=options.live))


def measure(days: int = 85, stores: int = 10_000, changed: float = 0.01, *, is_live: bool = False) -> list[Figure]:
    """Loads the same lists in some orders, and prints what each took.

    Args:
        days: lists, one a day.
        stores: in each of them.
        changed: share of them that changes from one list to the next.
        is_live: whether to load the newest first and then its history, instead of newest first and at random.
    """
    compile_program()
    with tempfile.TemporaryDirectory(prefix="lists-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        records = write_lists(folder / "landing", days, stores, changed)
        with run_server(folder / "postgres") as server:
            orders = (LIVE_ORDERS if is_live else ORDERS).items()
            ways = [load_in_order(server, folder, name, order, _QUESTION) for name, order in orders]
    _print_ways(ways, records)
    faults = () if all(way.held == ways[0].held for way in ways) else ("the tables differ",)
    what = f"{days} lists of {stores:,} stores"
    if is_live:
        ratio = ways[1].seconds / ways[0].seconds
        return [Figure(f"{what}, the newest first", LIVE_LIMIT, ratio, "times in order", faults)]
    seconds = [way.seconds for way in ways]
    figures = [Figure(f"{what}, slowest order", LIMIT, max(seconds) / min(seconds), "times the fastest", faults)]
    figures += [
        Figure(f"{what}, {way.name}", RECORD_LIMIT, way.processor / records * 1e6, "us of CPU a record") for way in ways
    ]
    return [*figures, Figure(f"{what}, peak memory", MEMORY_LIMIT, peak_mb(), "MB")]


def _print_ways(ways: Sequence[Way], records: int) -> None:
    print("| order | s | CPU of the client, us a record | times the fastest |\n|---|---|---|---|")
    fastest = min(way.seconds for way in ways)
    for way in ways:
        each = way.processor / records * 1e6
        print(f"| {way.name} | {way.seconds:.1f} | {each:.0f} | {way.seconds / fastest:.2f} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.lists", description="Full lists in any order.")
    parser.add_argument("--days", type=int, default=85, help="lists, one a day (85)")
    parser.add_argument("--stores", type=int, default=10_000, help="stores in a list (10,000)")
    parser.add_argument("--changed", type=float, default=0.01, help="share of them changed each day (0.01)")
    parser.add_argument("--live", action="store_true", help="the newest list first, then its history")
    return parser


def write_lists(landing: Path, days: int, stores: int, changed: float) -> int:
    """Writes one list a day; each day some stores change, some go and as many come. Returns the records written."""
    rng = random.Random("lists")
    folder = landing / "nilo" / "acme" / "stores"
    folder.mkdir(parents=True)
    known = dict(enumerate(bulk_records("nilo/stores", stores)))
    spare = stores
    for day in range(days):
        for number in rng.sample(sorted(known), round(stores * changed)):
            known[number] = {**known[number], "creditLimit": rng.randrange(10**7) / 100}
        for number in rng.sample(sorted(known), round(stores * changed / 10)):
            store = known.pop(number)
            known[spare] = {**store, "internalCode": f"S{spare:07d}"}
            spare += 1
        path = folder / f"{FIRST + timedelta(days=day)}.ndjson"
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(store) + "\n" for store in known.values())
        os.utime(path, (time.time() - 60, time.time() - 60))
    return days * stores


if __name__ == "__main__":
    raise SystemExit(main())
