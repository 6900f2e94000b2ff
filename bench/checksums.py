"""What the checksums of the archive cost: the same loads with them and without, in turns.

    python -m bench.checksums                        100,000 orders, a re-send, a late file, and 300 small late files

Timed is everything from the landing to the tables, stage by stage in one process, so that raw bytes are read from the
archive. Two such times differ by more than checksums cost, above all on a busy machine. So checksums are timed by
themselves, too: how long a load waits for them by the clock, handing blocks to another thread included, and their
processor time in all threads. Exit status 1 where a load waits for more than 5% of its time.

Belongs here: the loads, and switching checksums off. Does not belong here: the server (`bench.server`).
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple
from unittest import mock

import pyarrow.parquet as pq

from bench.late import TENANT, write_year
from bench.process import compile_program
from bench.server import Server, run_server
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.kept import archive, checksums, object_reader, object_writer
from sync_pipelines.sample_data.bulk import write_bench_orders
from sync_pipelines.stages import export_stages

LIMIT: Final = 0.05
_CHECKS: Final = {
    object_reader: ("check_range", "checked_footer", "checksum_of", "footer_checksum"),
    object_writer: ("checksum_of", "footer_checksum", "parquet_checksums"),
}
"""What makes and compares checksums of kept records; where it is used."""
_SAME: Final = "0" * 32
_WAYS: Final = ("with", "without")
_waited = 0.0
"""Seconds by the clock that loads waited for checksums so far."""
_computed = 0.0
"""Seconds of processor time, of any thread, that went into checksums so far."""


class Times(NamedTuple):
    """What a load took, in seconds: by the clock and of the processor, in all and for checksums."""

    elapsed: float
    processor: float
    waited: float
    computed: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    compile_program()
    found: dict[tuple[str, str], list[Times]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="checksums-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        loads = _write_exports(folder, options.orders, options.days)
        with run_server(folder / "postgres") as server:
            for turn in range(options.reps):
                for way in _WAYS if turn % 2 else reversed(_WAYS):
                    with _switched_off() if way == "without" else _timed():
                        for load, seconds in _load(server, folder, loads, f"{way}_{turn}").items():
                            found[load, way].append(seconds)
                    print(f"turn {turn + 1}, {way}", file=sys.stderr, flush=True)
    print(f"{options.orders} orders, medians of {options.reps}\n")
    print("| load | with, s | without, s | ratio | waited for checksums, ms | of the load | of this process's CPU |")
    print("|---|---|---|---|---|---|---|")
    shares = [_printed(load, *(found[load, way] for way in _WAYS)) for load in loads]
    return int(max(shares) > LIMIT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.checksums", description="Loads with and without checksums of the archive.")
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the large files (100,000)")
    parser.add_argument("--days", type=int, default=300, help="small files of 20 orders, newest first (300)")
    parser.add_argument("--reps", type=int, default=5, help="turns (5)")
    return parser


def _printed(load: str, on: list[Times], off: list[Times]) -> float:
    """Prints a row, and gives the share of checksums."""
    seconds = [statistics.median(times.elapsed for times in way) for way in (on, off)]
    own = statistics.median(times.waited for times in on)
    computed = statistics.median(times.computed for times in on)
    elapsed = f"{seconds[0]:.2f} | {seconds[1]:.2f} | {seconds[0] / seconds[1]:.3f}"
    processor = computed / statistics.median(times.processor for times in on)
    print(f"| {load} | {elapsed} | {own * 1000:.1f} | {own / seconds[0]:.1%} | {processor:.1%} |")
    return own / seconds[0]


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


def _load(server: Server, folder: Path, loads: dict[str, list[Path]], place: str) -> dict[str, Times]:
    landing = folder / place / "landing" / "replenit" / TENANT / "orders"
    landing.mkdir(parents=True)
    settings = Settings(
        home=folder / place / "home",
        database_url=server.create_database(place),
        landing=str(folder / place / "landing"),
        sources=folder / "sources.yaml",
    )
    workspace = export_stages.open_workspace(settings)
    days = [date(2025, 6, 2), date(2025, 6, 3), date(2025, 6, 1)]
    spent: dict[str, Times] = {}
    for number, (load, files) in enumerate(loads.items()):
        elapsed = processor = waited = computed = 0.0
        for file in files:
            name = f"{days[number]}.ndjson" if number < len(days) else file.name
            _put(file, landing / name)
            (entry,) = export_stages.discover(workspace).pending
            begun = time.monotonic(), time.process_time(), _waited, _computed
            # Archived first, so that the raw bytes are read from the archive.
            export_stages.archive_export(workspace, entry.id)
            export_stages.normalize_export(workspace, entry.id)
            loaded = export_stages.load_export(workspace, entry.id)
            elapsed += time.monotonic() - begun[0]
            processor += time.process_time() - begun[1]
            waited += _waited - begun[2]
            computed += _computed - begun[3]
            if loaded.status != "loaded":
                raise SystemExit(f"{loaded.path}: {loaded.error}")
        spent[load] = Times(elapsed, processor, waited, computed)
    return spent


def _put(source: Path, target: Path) -> None:
    os.link(source, target)
    os.utime(target, (time.time() - 60, time.time() - 60))


@contextmanager
def _timed() -> Iterator[None]:
    """The time of every checksum is added up, but for those of Parquet's pages, which are within Arrow."""

    def waited_for(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            global _waited
            begun = time.monotonic()
            try:
                return function(*arguments)
            finally:
                _waited += time.monotonic() - begun

        return call

    def computed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            global _computed
            begun = time.thread_time()
            try:
                return function(*arguments)
            finally:
                _computed += time.thread_time() - begun

        return call

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        return waited_for(computed(function))

    class Timed(archive._Digest):
        def __init__(self) -> None:
            super().__init__()
            self._sha256 = mock.Mock(update=computed(self._sha256.update), hexdigest=self._sha256.hexdigest)

        update = _method(waited_for(archive._Digest.update))
        hexdigest = _method(waited_for(archive._Digest.hexdigest))
        close = _method(waited_for(archive._Digest.close))

    with _patched(
        *(
            mock.patch.object(module, name, timed(getattr(module, name)))
            for module, names in _CHECKS.items()
            for name in names
        ),
        mock.patch.object(archive, "_Digest", Timed),
    ):
        yield


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *arguments: function(self, *arguments)


@contextmanager
def _patched(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


@contextmanager
def _switched_off() -> Iterator[None]:
    """No checksum is made or compared, but for the SHA-256 that names raw bytes when they are archived."""

    def nothing(*_: Any) -> None:
        return None

    def unchecked_footer(read: Callable[[int, int], bytes], size: int, expected: Sequence[str]) -> Any:
        return pq.read_metadata(io.BytesIO(checksums.footer_bytes(read, size)))

    def no_checksums(file: BinaryIO, size: int) -> list[str]:
        metadata = unchecked_footer(lambda start, wanted: os.pread(file.fileno(), wanted, start), size, [])
        return [_SAME] * (metadata.num_row_groups + 1)

    def unchecked(name: str, option: str) -> Any:
        real = getattr(pq, name)
        return lambda *arguments, **options: real(*arguments, **{**options, option: False})

    class Plain(archive._Hashed):
        def read(self, size: int = -1, /) -> bytes:
            return self._plain.read(size)

    with _patched(
        mock.patch.object(object_reader, "check_range", nothing),
        mock.patch.object(object_reader, "checksum_of", lambda content: _SAME),
        mock.patch.object(object_reader, "checked_footer", unchecked_footer),
        mock.patch.object(object_reader, "footer_checksum", lambda content: _SAME),
        mock.patch.object(object_writer, "checksum_of", lambda content: _SAME),
        mock.patch.object(object_writer, "footer_checksum", lambda content: _SAME),
        mock.patch.object(object_writer, "parquet_checksums", no_checksums),
        mock.patch.object(archive, "_Hashed", Plain),
        mock.patch.object(archive.RawBytes, "verify", nothing),
        mock.patch.object(pq, "ParquetWriter", unchecked("ParquetWriter", "write_page_checksum")),
        mock.patch.object(pq, "ParquetFile", unchecked("ParquetFile", "page_checksum_verification")),
    ):
        yield


if __name__ == "__main__":
    raise SystemExit(main())
