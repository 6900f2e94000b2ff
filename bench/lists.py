"""Full lists of stores with a few changes from one to the next, loaded in time, newest first and at random.

    python -m bench.lists                            85 lists of 10,000 stores, 1% changed between them
    python -m bench.lists --days 365 --live          the newest list first, then all the others

In all but the first way nearly every record is late (X5). Timed is everything from the landing to the tables, file by
file in one process. Exit status 1 when the ways end in different tables, or one costs more than 1.3 times another.

Belongs here: the exports, the ways and their comparison. Does not belong here: the server (`bench.server`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from bench.process import compile_program
from bench.server import Server, run_server
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.sample_data.bulk_streams import bulk_records
from sync_pipelines.stages import export_stages

FIRST: Final = date(2024, 1, 1)
LIMIT: Final = 1.3
LIVE_LIMIT: Final = 1.5
_IN_TIME, _BACK, _RANDOM, _LIVE = "in time", "newest first", "at random", "live first"


@dataclass(frozen=True)
class _Way:
    name: str
    seconds: float
    processor: float
    held: list[tuple[Any, ...]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    compile_program()
    names = (_IN_TIME, _LIVE) if options.live else tuple(options.ways)
    with tempfile.TemporaryDirectory(prefix="lists-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        records = write_lists(folder / "landing", options.days, options.stores, options.changed)
        with run_server(folder / "postgres") as server:
            ways = [_load(server, folder, name) for name in names]
    print(f"{options.days} lists of {options.stores:,} stores, {options.changed:.0%} changed between them\n")
    print("| order | s | CPU of the client, us a record | times the fastest |\n|---|---|---|---|")
    fastest = min(way.seconds for way in ways)
    for way in ways:
        each = way.processor / records * 1e6
        print(f"| {way.name} | {way.seconds:.1f} | {each:.0f} | {way.seconds / fastest:.2f} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    same = all(way.held == ways[0].held for way in ways)
    print("the same tables" if same else "WRONG: the tables differ")
    limit = LIVE_LIMIT if options.live else LIMIT
    return int(not same or max(way.seconds for way in ways) > limit * fastest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.lists", description="Full lists in any order.")
    parser.add_argument("--days", type=int, default=85, help="lists, one a day (85)")
    parser.add_argument("--stores", type=int, default=10_000, help="stores in a list (10,000)")
    parser.add_argument("--changed", type=float, default=0.01, help="share of them changed each day (0.01)")
    parser.add_argument("--live", action="store_true", help="the newest list first, then its history")
    parser.add_argument("--ways", nargs="+", default=[_IN_TIME, _BACK, _RANDOM], help="orders to load in")
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


def _load(server: Server, folder: Path, name: str) -> _Way:
    place = name.replace(" ", "_")
    settings = Settings(
        home=folder / place,
        database_url=server.create_database(place),
        landing=str(folder / "landing"),
        sources=folder / "sources.yaml",
    )
    workspace = export_stages.open_workspace(settings)
    entries = sorted(export_stages.discover(workspace).pending, key=lambda entry: entry.version)
    match name:
        case "newest first":
            entries.reverse()
        case "at random":
            random.Random("order").shuffle(entries)
        case "live first":
            entries = [entries[-1], *entries[:-1]]
    begun, processor = time.monotonic(), time.process_time()
    for entry in entries:
        loaded = export_stages.load_export(workspace, entry.id)
        if loaded.status != "loaded":
            raise SystemExit(f"{loaded.path}: {loaded.error}")
    way = _Way(name, time.monotonic() - begun, time.process_time() - processor, _held(workspace))
    print(f"{name}: {way.seconds:.1f} s", file=sys.stderr, flush=True)
    return way


def _held(workspace: Any) -> list[tuple[Any, ...]]:
    with workspace.connection() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(
            "select s.external_id, s.credit_limit, s.payment_status, a.line_no, a.address from sync.live_stores s"
            " join sync.store_addresses a on a.store_id = s.id order by 1, 4"
        ).fetchall()
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
