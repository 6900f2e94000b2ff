"""What each way of a record buys: the load that it serves, with the way and without.

    python -m bench.ways                             20,000 orders, 10,000 stores, 300 exports of 10 orders

A load runs stage by stage in this process, each time in a copy of the same state, with and without in turns. Processor
time is the client's and the server's. Each figure is the least of its turns. Exit status 1 where the counts of a load
differ without a way.

Belongs here: the loads and the table. Does not belong here: switching a way off (`switches`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

from bench.history import TENANT, History
from bench.lists import FIRST, write_lists
from bench.process import compile_program
from bench.server import Server, run_server
from bench.switches import switched_off
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.sample_data.bulk import write_bench_orders
from sync_pipelines.sample_data.bulk_streams import bulk_records
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.export_stages import Workspace

_ROOT: Final = Path(export_stages.__file__).parents[1]
_PLAIN: Final = ("plain", "plain_text", "plain_columns", "objects", "link_columns", "list_modes")


class Way(NamedTuple):
    """A way of a record.

    Attributes:
        load: the load that it serves.
        modules: those that only it needs.
    """

    load: str
    modules: Sequence[str]


WAYS: Final[Mapping[str, Way]] = {
    "unchanged_rows": Way("re-sent", ["upsert/unchanged"]),
    "stale_rows": Way("late", ["upsert/stale"]),
    "LatePatchWriter": Way("patches", ["upsert/late_patches"]),
    "NewRowWriter": Way("first", ["upsert/new_rows"]),
    "ChangedRowWriter": Way("changed", ["upsert/changed_rows"]),
    "RepeatedKeyWriter": Way("log", ["upsert/repeated_keys", "upsert/collapse"]),
    "StreamingLoad": Way("first", ["upsert/streaming_load"]),
    "without_indexes": Way("first", ["upsert/empty_tables"]),
    "IdCache": Way("first", ["upsert/id_cache"]),
    "KnownLines": Way("re-sent", ["kept/repeated_lines"]),
    "PlainReader": Way("first", [f"normalize/{name}" for name in _PLAIN]),
    "KeyIndex": Way("small", ["upsert/key_index", "upsert/key_pages"]),
}


class Load(NamedTuple):
    """Some exports that are loaded after others.

    Attributes:
        title: what they are.
        timed: how many exports are timed.
        first: which is the first of them, in version order; None if they are the newest.
    """

    title: str
    timed: int = 1
    first: int | None = None


LOADS: Final[Mapping[str, Load]] = {
    "first": Load("first load"),
    "re-sent": Load("re-sent, one changed"),
    "changed": Load("10% changed, 5% new"),
    "log": Load("five records of each key"),
    "late": Load("full list that comes late", first=0),
    "patches": Load("a late field of each store", first=1),
    "small": Load("10 small exports", timed=10),
}


class Times(NamedTuple):
    """Seconds of a load: of the client's and the server's processor, and by the clock."""

    processor: float
    clock: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    compile_program()
    with tempfile.TemporaryDirectory(prefix="ways-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        write_exports(folder, options.orders, options.stores, options.days)
        with run_server(folder / "postgres") as server:
            return measure(server, folder, options.ways, options.reps)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.ways", description="Loads with each way of a record and without.")
    parser.add_argument("ways", nargs="*", default=list(WAYS), metavar="WAY", help="some of the ways only")
    parser.add_argument("--orders", type=int, default=20_000, help="orders of a large export (20,000)")
    parser.add_argument("--stores", type=int, default=10_000, help="stores of a full list (10,000)")
    parser.add_argument("--days", type=int, default=300, help="small exports that are loaded before (300)")
    parser.add_argument("--reps", type=int, default=3, help="turns (3)")
    return parser


def write_exports(folder: Path, orders: int, stores: int, days: int) -> None:
    """Writes a landing for each load, with its exports and those before them."""
    changed_and_new = {"first": [(0.0, 0.0)], "re-sent": [(0.0, 0.0), (1 / orders, 0.0)]}
    changed_and_new["changed"] = [(0.0, 0.0), (0.1, 0.05)]
    for load, exports in changed_and_new.items():
        landing = folder / load / "landing" / "replenit" / TENANT / "orders"
        landing.mkdir(parents=True)
        for day, (changed, new) in enumerate(exports, 1):
            path = landing / f"2024-01-{day:02}.ndjson"
            write_bench_orders(path, orders, changed=changed, new=new)
            os.utime(path, (time.time() - 60, time.time() - 60))
    _write_log(folder / "log" / "landing" / "replenit" / TENANT / "orders", orders // 5)
    _write_patches(folder / "patches" / "landing" / "nilo" / "acme" / "stores", stores)
    write_lists(folder / "late" / "landing", 3, stores, 0.01)
    History(folder / "small" / "landing", 10).write(FIRST, days + LOADS["small"].timed)


def _write_log(landing: Path, orders: int) -> None:
    """Writes an export with five records of each order, one after another in all orders."""
    landing.mkdir(parents=True)
    path = landing / "2024-01-01.ndjson"
    write_bench_orders(path, orders)
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as lines:
        for number in range(5):
            lines.writelines(json.dumps({**record, "TotalRevenue": number + 1}) + "\n" for record in records)
    os.utime(path, (time.time() - 60, time.time() - 60))


def _write_patches(landing: Path, stores: int) -> None:
    """Writes a full list of stores, and five exports with one field of half of them: the first has another one."""
    landing.mkdir(parents=True)
    records = list(bulk_records("nilo/stores", stores))
    for number in range(6):
        path = landing / f"{FIRST + timedelta(days=number)}.ndjson"
        field = {"creditLimit": number} if number > 1 else {"routeCode": "R7"}
        with path.open("w", encoding="utf-8") as lines:
            # Guards hold an export that changes more.
            for record in records[: len(records) // 2 if number else None]:
                some = {"internalCode": record["internalCode"], **field} if number else record
                lines.write(json.dumps(some) + "\n")
        os.utime(path, (time.time() - 60, time.time() - 60))


def measure(server: Server, folder: Path, ways: Sequence[str], reps: int) -> int:
    """Times the loads of some ways, prints the table and gives the exit status.

    Args:
        server: gets databases.
        folder: see `write_exports`.
        ways: some of `WAYS`.
        reps: turns.
    """
    print("| way | load | CPU, s | without | times | by the clock, s | without | times | lines |\n" + "|---" * 9 + "|")
    status = 0
    for load in LOADS:
        served = [way for way in ways if WAYS[way].load == load]
        if not served:
            continue
        state = _State(server, folder, load)
        times, counts = defaultdict[str, list[Times]](list), set[str]()
        for turn in range(reps):
            for way in ["", *served][:: 1 if turn % 2 else -1]:
                seconds, counted = state.load_without(way)
                times[way].append(seconds)
                counts.add(counted)
                print(f"{load}, turn {turn + 1}, without {way or 'nothing'}: {seconds}", file=sys.stderr, flush=True)
        for way in served:
            print(_row(way, LOADS[load], times[""], times[way]), flush=True)
        if len(counts) > 1:
            print(f"\nWRONG: the counts of {load} differ: {counts}\n")
            status = 1
    return status


def _row(way: str, load: Load, on: Sequence[Times], off: Sequence[Times]) -> str:
    figures = list[str]()
    for kind in Times._fields:
        least = [min(getattr(times, kind) for times in turns) for turns in (on, off)]
        figures += [f"{least[0]:.2f}", f"{least[1]:.2f}", f"{least[1] / least[0]:.2f}"]
    lines = sum(len((_ROOT / f"{module}.py").read_text().splitlines()) for module in WAYS[way].modules)
    return f"| {way} | {load.title} | {' | '.join(figures)} | {lines} |"


class _State:
    """A database and an archive in which the exports before those of a load are loaded."""

    def __init__(self, server: Server, folder: Path, load: str) -> None:
        self._server = server
        self._folder = folder / load
        self._name = load.replace("-", "_")
        server.create_database(self._name)
        # It stays empty if there is nothing to load before.
        (self._folder / "before").mkdir()
        workspace = self._open(self._name, "before")
        entries = sorted(export_stages.discover(workspace).pending, key=lambda entry: entry.version)
        timed, first = LOADS[load].timed, LOADS[load].first
        start = len(entries) - timed if first is None else first
        self._timed = [entry.id for entry in entries[start : start + timed]]
        for entry in entries:
            if entry.id not in self._timed:
                _load(workspace, entry.id)
        workspace.database.engine().dispose()

    def load_without(self, way: str) -> tuple[Times, str]:
        """Loads in a copy, without one way; "" for with all. Returns the time and what was counted."""
        shutil.copytree(self._folder / "before", self._folder / "copy")
        self._server.create_database("copied", template=self._name)
        workspace = self._open("copied", "copy")
        with switched_off(way) if way else nullcontext():
            processor, clock = self._processor(), time.monotonic()
            counts = [_load(workspace, number) for number in self._timed]
            clock = time.monotonic() - clock
            processor = self._processor() - processor
        workspace.database.engine().dispose()
        shutil.rmtree(self._folder / "copy")
        return Times(processor, clock), str(counts)

    def _processor(self) -> float:
        return time.process_time() + self._server.processor_seconds()

    def _open(self, database: str, home: str) -> Workspace:
        settings = Settings(
            home=self._folder / home,
            database_url=self._server.url_of(database),
            landing=str(self._folder / "landing"),
            sources=self._folder / "sources.yaml",
        )
        return export_stages.open_workspace(settings)


def _load(workspace: Workspace, number: int) -> dict[str, int]:
    loaded = export_stages.load_export(workspace, number)
    if loaded.status != "loaded":
        raise SystemExit(f"{loaded.path}: {loaded.error}")
    return loaded.counts


if __name__ == "__main__":
    raise SystemExit(main())
