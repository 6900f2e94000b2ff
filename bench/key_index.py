"""What the index of keys costs a load: adding an export's keys, and finding the exports that speak of some keys.

    python -m bench.key_index                        10,000 exports of 10 keys, and 300 of 10,000

Small exports have keys of their own; large ones are full lists of the same keys. Figures are medians in the last tenth
of the exports, with merges in the mean beside them, and the log and the tables at the end.

Belongs here: the keys and the figures. Does not belong here: the server (`bench.server`).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from bench.server import Server, run_server
from sync_pipelines.database.postgres import Database, migrate
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.upsert.key_index import KeyIndex
from sync_pipelines.upsert.key_pages import Hashes

CASES: Final = (("own keys", 10_000, 10), ("full lists", 300, 10_000), ("own keys", 100, 100_000))
LOOK_UPS: Final = (10, 1_000, 10_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    print("| exports | append, ms | mean, with merges | log, KB each | tables, MB | runs |", end="")
    print("".join(f" {count:,} keys, ms |" for count in LOOK_UPS) + "\n|---|---|---|---|---|---|---|---|---|")
    with _scratch() as folder, run_server(folder / "postgres") as server:
        for kind, exports, keys in CASES:
            _measure(server, kind, max(1, exports // options.less), keys)
    return 0


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="key-index-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.key_index", description="The index of keys: adding and looking up.")
    parser.add_argument("--less", type=int, default=1, help="make as many times fewer exports (1)")
    return parser


def _measure(server: Server, kind: str, exports: int, keys: int) -> None:
    database = Database(server.create_database("key_index"))
    migrate(database)
    database.engine().dispose()
    lists = _lists(kind, exports, keys)
    with database.connect(autocommit=True) as connection:
        index = KeyIndex(connection, "replenit", "a", "orders")
        before, seconds, known = _log_position(connection), list[float](), list[Hashes]()
        for number, hashes in enumerate(lists, 1):
            known.append(hashes[:: max(1, keys // 100)])
            begun = time.perf_counter()
            with connection.transaction():
                index.add(number, hashes)
            seconds.append(time.perf_counter() - begun)
        log = (_log_position(connection) - before) / exports / 1e3
        connection.execute("vacuum analyze sync.key_pages")
        size = _row(connection, "select pg_total_relation_size('sync.key_pages')")[0] / 1e6
        runs = _row(connection, "select count(*) from sync.key_runs")[0]
        pool = distinct(np.concatenate(known))
        looked = [_look_up(index, pool, count) for count in LOOK_UPS]
    median, mean = statistics.median(seconds[-max(1, exports // 10) :]), statistics.mean(seconds)
    print(f"| {exports:,} x {keys:,}, {kind} | {median * 1e3:.1f} | {mean * 1e3:.1f} | {log:,.1f} | {size:.1f}", end="")
    print(f" | {runs} |" + "".join(f" {ms:.1f} |" for ms in looked), flush=True)


def _lists(kind: str, exports: int, keys: int) -> Iterator[Hashes]:
    rng = np.random.default_rng(14)
    same = rng.integers(0, 2**64, keys, np.uint64)
    for _ in range(exports):
        if kind == "full lists":
            same[rng.integers(0, keys, keys // 100)] = rng.integers(0, 2**64, keys // 100, np.uint64)
            yield distinct(same)
        else:
            yield distinct(rng.integers(0, 2**64, keys, np.uint64))


def _look_up(index: KeyIndex, pool: Hashes, count: int) -> float:
    """Milliseconds of a look-up, the median of five; half of its keys are unknown."""
    rng, seconds = np.random.default_rng(41), list[float]()
    for _ in range(5):
        known = rng.choice(pool, min(count // 2, len(pool)), replace=False)
        asked = distinct(np.concatenate([known, rng.integers(0, 2**64, count // 2, np.uint64)]))
        begun = time.perf_counter()
        index.knowing(asked)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds) * 1e3


def _log_position(connection: psycopg.Connection[Any]) -> int:
    return int(_row(connection, "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0])


def _row(connection: psycopg.Connection[Any], question: Any) -> tuple[Any, ...]:
    row = connection.execute(question).fetchone()
    assert row is not None
    return tuple(row)


if __name__ == "__main__":
    raise SystemExit(main())
