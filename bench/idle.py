"""What a landing costs whose exports are all loaded: one `sync` with nothing to do, and a minute of `up`.

    python -m bench.idle                             100,000 files of one tenant
    python -m bench.idle --files 1000 --no-up

One export is really loaded. The others are copies of it, entered into the ledger as loaded by one statement.
Exit status 1 when a budget is not held.

Belongs here: the landing, the two measurements, the budgets. Does not belong here: the processes (`process`, `up`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import psutil
import psycopg

from bench.figures import Figure, print_figures
from bench.process import Ended, compile_program, run_process
from bench.server import run_server
from bench.up import Up, run_up

TENANT: Final = "3f0c9a52-6b1e-4d7a-9c35-8e2d41b7a6f0"
FIRST: Final = date(2023, 1, 1)
DAYS: Final = 365
MODIFIED: Final = datetime(2024, 1, 2, tzinfo=UTC)
SYNC_CPU, SYNC_MB, UP_CPU = 2.0, 200.0, 3.0
SYNC: Final = (sys.executable, "-m", "sync_pipelines", "sync")
STARTING_SECONDS: Final = 45.0
"""After its UI answers, `up` goes on importing; every sensor has ticked once by then."""
LOOK_SECONDS: Final = 1.0

_ENTER = """
insert into sync.export_files (partner, tenant, stream, path, size, modified_at, sha256, looked_at, effective_at,
    partition_date, status, read, created, attempts, attempted_at, run_id, kept, effective_from, effective_to,
    loaded_at)
select partner, tenant, stream, 'replenit/' || tenant || '/orders/' || day || '/' || number || '.json', size, %(at)s,
    sha256, looked_at, day::timestamptz, day, 'loaded', read, created, 1, attempted_at, run_id, kept,
    effective_from, effective_to, loaded_at
from sync.export_files, generate_series(1, %(files)s) number,
    lateral (select %(first)s::date + (number %% %(days)s)::int as day) dated
where status = 'loaded' and revision = 1
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    return print_figures(measure(options.files, options.reps, with_up=not options.no_up))


def measure(files: int = 100_000, reps: int = 3, *, with_up: bool = True) -> list[Figure]:
    """Measures a sync with nothing to do, and a minute of `up`.

    Args:
        files: that are loaded, in the landing.
        reps: syncs; the one with the least processor time counts.
        with_up: whether `up` is measured.
    """
    compile_program()
    with tempfile.TemporaryDirectory(prefix="idle-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        with run_server(folder / "postgres") as server:
            environment = server.environment(folder, "idle")
            _fill(environment, folder, files)
            synced = _best_sync(environment, folder, reps)
            up_cpu = _minute_of_up(environment, folder) if with_up else None
    what = f"nothing pending, {files:,} loaded files"
    figures = [
        Figure(f"{what}: sync", SYNC_CPU, synced.cpu, "s of CPU"),
        Figure(f"{what}: peak memory of sync", SYNC_MB, synced.peak_mb, "MB"),
    ]
    return figures if up_cpu is None else [*figures, Figure(f"{what}: up", UP_CPU, up_cpu, "s of CPU a minute")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.idle", description="A landing whose exports are all loaded.")
    parser.add_argument("--files", type=int, default=100_000, help="loaded files (100,000)")
    parser.add_argument("--reps", type=int, default=3, help="syncs, of which the one with the least CPU counts (3)")
    parser.add_argument("--no-up", action="store_true", help="leave the minute of `up` out")
    return parser


def _fill(environment: Mapping[str, str], folder: Path, files: int) -> None:
    """Loads one export, and makes as many copies of it that the ledger knows as loaded."""
    orders = folder / "landing" / "replenit" / TENANT / "orders"
    content = json.dumps([{"OrderId": "A", "Email": "a@example.com", "Currency": "CLP", "OrderItems": []}])
    _put(orders / f"{FIRST}.json", content)
    loaded = run_process(SYNC, environment, folder)
    if loaded.status:
        raise SystemExit(loaded.output + loaded.errors)
    for day in range(min(DAYS, files + 1)):
        (orders / str(FIRST + timedelta(days=day))).mkdir()
    for number in range(1, files + 1):
        _put(orders / str(FIRST + timedelta(days=number % DAYS)) / f"{number}.json", content)
    values = {"files": files, "first": FIRST, "days": DAYS, "at": MODIFIED}
    with psycopg.connect(environment["SYNC_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(_ENTER, values)
        connection.execute("vacuum analyze sync.export_files")


def _put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (MODIFIED.timestamp(), MODIFIED.timestamp()))


def _best_sync(environment: Mapping[str, str], folder: Path, reps: int) -> Ended:
    ended = [run_process(SYNC, environment, folder) for _ in range(reps)]
    for one in ended:
        if one.status or "Nothing to do" not in one.output:
            raise SystemExit(f"a sync had something to do: {one.output}{one.errors}")
    return min(ended, key=lambda one: one.cpu)


def _minute_of_up(environment: Mapping[str, str], folder: Path) -> float:
    """Processor seconds that everything `up` runs takes in a minute, PostgreSQL aside."""
    with run_up(environment, folder / "up.log") as up:
        time.sleep(STARTING_SECONDS)
        before, deadline = _cpu(up), time.monotonic() + 60
        taken: dict[str, float] = defaultdict(float)
        # A process may end and another begin meanwhile.
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            after = _cpu(up)
            for process, seconds in after.items():
                taken[process[0]] += seconds - before.get(process, 0.0)
            before = after
    for kind, seconds in taken.items():
        print(f"{kind}: {seconds:.2f} s of CPU in a minute", file=sys.stderr)
    return sum(taken.values())


def _cpu(up: Up) -> dict[tuple[str, int], float]:
    """Processor seconds so far of `up` and each of its processes, by kind and number."""
    found = {("up", up.process.pid): _seconds(psutil.Process(up.process.pid))}
    for kind, process in up.processes():
        with suppress(psutil.Error):
            found[kind, process.pid] = _seconds(process)
    return found


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    raise SystemExit(main())
