"""What the checksums of the archive cost: the same loads with them and without, in turns.

    python -m bench.checksums                        100,000 orders, a re-send, a late file, and 300 small late files

Timed is everything from the landing to the tables, stage by stage in one process, so that raw bytes are read from the
archive. Beside it stands the processor time of this process, which varies less on a busy machine; the server's is the
same both ways. Exit status 1 where a load takes more than 5% longer with checksums.

Belongs here: the loads, and switching checksums off. Does not belong here: the server (`bench.server`).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pyarrow.parquet as pq

from bench.late import TENANT, write_year
from bench.process import compile_program
from bench.server import Server, run_server
from sync_pipelines import sync
from sync_pipelines.exports import archive
from sync_pipelines.normalize import keeping, kept
from sync_pipelines.normalize.checksums import GroupChecks
from sync_pipelines.sample.bulk import write_bench_orders
from sync_pipelines.settings import Settings

LIMIT: Final = 1.05
_WAYS: Final = ("with", "without")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    compile_program()
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="checksums-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        loads = _write_exports(folder, options.orders, options.days)
        with run_server(folder / "postgres") as server:
            for turn in range(options.reps):
                for way in _WAYS if turn % 2 else reversed(_WAYS):
                    with _switched_off() if way == "without" else ExitStack():
                        for load, seconds in _load(server, folder, loads, f"{way}_{turn}").items():
                            found[load, way].append(seconds)
                    print(f"turn {turn + 1}, {way}", file=sys.stderr, flush=True)
    print(f"{options.orders} orders, medians of {options.reps}\n")
    print("| load | with, s | without, s | ratio | processor, with | without | ratio |\n|---|---|---|---|---|---|---|")
    ratios = [_printed(load, *(found[load, way] for way in _WAYS)) for load in loads]
    return int(max(ratios) > LIMIT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.checksums", description="Loads with and without checksums of the archive.")
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the large files (100,000)")
    parser.add_argument("--days", type=int, default=300, help="small files of 20 orders, newest first (300)")
    parser.add_argument("--reps", type=int, default=5, help="turns (5)")
    return parser


def _printed(load: str, on: list[tuple[float, float]], off: list[tuple[float, float]]) -> float:
    """Prints a row, and gives the ratio of elapsed times."""
    cells, ratios = [], []
    for clock in range(2):
        two = [statistics.median(times[clock] for times in way) for way in (on, off)]
        ratios.append(two[0] / two[1])
        cells += [*(f"{seconds:.2f}" for seconds in two), f"{ratios[-1]:.3f}"]
    print(f"| {load} | {' | '.join(cells)} |")
    return ratios[0]


def _write_exports(folder: Path, orders: int, days: int) -> dict[str, list[Path]]:
    """What is put down in the landing, load by load."""
    write_bench_orders(folder / "first.ndjson", orders)
    text = (folder / "first.ndjson").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "late.ndjson").write_text("".join(random.Random(1).sample(text, len(text) // 20)), encoding="utf-8")
    write_year(folder / "small", days, 20, 0.2)
    small = sorted((folder / "small").rglob("*.ndjson"), reverse=True)
    return {
        "first, newly archived": [folder / "first.ndjson"],
        "sent again": [folder / "first.ndjson"],
        "late, a twentieth of the keys": [folder / "late.ndjson"],
        f"{days} small files, newest first": small,
    }


def _load(server: Server, folder: Path, loads: dict[str, list[Path]], place: str) -> dict[str, tuple[float, float]]:
    landing = folder / place / "landing" / "replenit" / TENANT / "orders"
    landing.mkdir(parents=True)
    settings = Settings(
        home=folder / place / "home",
        database_url=server.create_database(place),
        landing=str(folder / place / "landing"),
        sources=folder / "sources.yaml",
    )
    workspace = sync.open_workspace(settings)
    days = [date(2025, 6, 2), date(2025, 6, 3), date(2025, 6, 1)]
    spent: dict[str, tuple[float, float]] = {}
    for number, (load, files) in enumerate(loads.items()):
        elapsed = processor = 0.0
        for file in files:
            name = f"{days[number]}.ndjson" if number < len(days) else file.name
            _put(file, landing / name)
            (entry,) = sync.discover(workspace).pending
            begun = time.monotonic(), time.process_time()
            # Archived first, so that the raw bytes are read from the archive.
            sync.archive_export(workspace, entry.id)
            sync.normalize_export(workspace, entry.id)
            loaded = sync.load_export(workspace, entry.id)
            elapsed += time.monotonic() - begun[0]
            processor += time.process_time() - begun[1]
            if loaded.status != "loaded":
                raise SystemExit(f"{loaded.path}: {loaded.error}")
        spent[load] = elapsed, processor
    return spent


def _put(source: Path, target: Path) -> None:
    os.link(source, target)
    os.utime(target, (time.time() - 60, time.time() - 60))


@contextmanager
def _switched_off() -> Iterator[None]:
    """No checksum is made or compared, but for the SHA-256 that names raw bytes when they are archived."""

    def nothing(*_: Any) -> None:
        return None

    def no_checksums(path: Path) -> list[str]:
        return [""]

    def unchecked(name: str, option: str) -> Any:
        real = getattr(pq, name)
        return lambda *arguments, **options: real(*arguments, **{**options, option: False})

    class Plain(archive._Hashed):
        def read(self, size: int = -1, /) -> bytes:
            return self._plain.read(size)

    patches: list[AbstractContextManager[Any]] = [
        *(mock.patch.object(kept, name, nothing) for name in ("check_file", "check_footer", "check_summary")),
        mock.patch.object(GroupChecks, "check", nothing),
        mock.patch.object(keeping, "checksums_of", no_checksums),
        mock.patch.object(archive, "_Hashed", Plain),
        mock.patch.object(archive.RawBytes, "verify", nothing),
        mock.patch.object(pq, "ParquetWriter", unchecked("ParquetWriter", "write_page_checksum")),
        mock.patch.object(pq, "ParquetFile", unchecked("ParquetFile", "page_checksum_verification")),
    ]
    with ExitStack() as off:
        for patch in patches:
            off.enter_context(patch)
        yield


if __name__ == "__main__":
    raise SystemExit(main())
