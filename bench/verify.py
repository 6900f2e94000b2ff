"""Compares 1,000,000 orders with the archive: records a second and memory.

    python -m bench.verify                      1,000,000 orders: make bench BENCH=verify
    python -m bench.verify --orders 100000

The orders are loaded by a process of their own; another one verifies them, so that its memory is its own.

Belongs here: that measurement. Does not belong here: loading (`run`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.figures import Figure, print_figures
from bench.server import run_server
from sync_pipelines.sample_data.bulk import write_bench_orders
from sync_pipelines_tests.loading import TENANT

RATE: Final = 200_000.0
MEMORY: Final = 400.0
_VERIFY: Final = """
import json, resource, time
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.verify_tables import verify_stream
from sync_pipelines.stages.workspace import open_workspace
workspace = open_workspace(load_settings())
begun, processor = time.monotonic(), time.process_time()
found = verify_stream(workspace, ORDERS, "{tenant}")
seconds = time.monotonic() - begun
print(json.dumps([found.keys, found.records, found.count, seconds, time.process_time() - processor,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def measure(orders: int = 1_000_000, repetitions: int = 3) -> list[Figure]:
    """Loads orders once, verifies them a few times, and gives the median's figures."""
    with tempfile.TemporaryDirectory() as name, run_server(Path(name) / "server") as server:
        folder = Path(name)
        environment = {**os.environ, **server.environment(folder, "verify")}
        _load(folder, environment, orders)
        turns = sorted((_verified(environment) for _ in range(repetitions)), key=lambda turn: turn[3])
        keys, records, count, seconds, processor, memory = turns[len(turns) // 2]
        print(f"{keys:,} keys in {seconds:.1f} s, {processor:.1f} s of the client's processor", file=sys.stderr)
        faults = tuple(
            fault
            for fault, is_wrong in {
                f"{count} differences": count != 0,
                f"{records} records": records != orders,
            }.items()
            if is_wrong
        )
        micros = seconds / max(records, 1) * 1e6
        return [
            Figure(f"verify {orders:,} orders", 1e6 / RATE, micros, "us a record", faults),
            Figure("peak memory", MEMORY, memory, "MB"),
        ]


def _load(folder: Path, environment: dict[str, str], orders: int) -> None:
    landing = folder / "landing" / "replenit" / TENANT / "orders"
    landing.mkdir(parents=True)
    write_bench_orders(landing / "2024-01-01.ndjson", orders)
    # An hour old: a file is left alone while it may still be written.
    old = time.time() - 3600
    os.utime(landing / "2024-01-01.ndjson", (old, old))
    subprocess.run([sys.executable, "-m", "sync_pipelines", "sync"], env=environment, check=True, stdout=2)


def _verified(environment: dict[str, str]) -> list[float]:
    program = [sys.executable, "-c", _VERIFY.format(tenant=TENANT)]
    done = subprocess.run(program, env=environment, check=True, stdout=subprocess.PIPE)
    found: list[float] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders to load and verify")
    parser.add_argument("--repetitions", type=int, default=3, help="how often they are verified")
    options = parser.parse_args(arguments)
    return print_figures(measure(options.orders, options.repetitions))


if __name__ == "__main__":
    raise SystemExit(main())
