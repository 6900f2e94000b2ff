"""What a sync may cost: every budget, by the bench that measures it.

    python -m bench.budgets                          those that take a few minutes: make bench
    python -m bench.budgets all                      all of them, more than an hour: make bench BENCH=all
    python -m bench.budgets lists live               these: make bench BENCH="lists live"
    python -m bench.budgets all --less 100           all with a hundredth of the records, to see that they work

Each bench runs in a process of its own that imports no other, for a process is never told to need less memory than the
one that started it. Exit status 1 when a result is wrong, or a budget is missed by more than a tenth.

Belongs here: which benches there are, and their sizes. Does not belong here: budgets (each bench has its own),
measuring.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import Figure, print_figures

LINES: Final = 7_500.0
_COUNTED: Final = ("upsert", "normalize", "kept")


@dataclass(frozen=True)
class Bench:
    """A bench that is held to budgets.

    Attributes:
        measure: given by how much its sizes are divided.
        about: what it measures, in a few words.
        is_short: whether it is run when none is named.
    """

    measure: Callable[[int], list[Figure]]
    about: str
    is_short: bool = False


def _orders(less: int) -> list[Figure]:
    from bench import run

    return run.measure(100_000 // less, 5 if less == 1 else 1)


def _million(less: int) -> list[Figure]:
    from bench import run

    return run.measure_large(100_000 // less, 3 if less == 1 else 1)


def _streams(less: int) -> list[Figure]:
    from bench import streams

    return streams.measure(100_000 // less, 3 if less == 1 else 1)


def _daemon(less: int) -> list[Figure]:
    from bench import daemon

    return daemon.measure(100_000 // less, 3 if less == 1 else 1)


def _lists(less: int) -> list[Figure]:
    from bench import lists

    return lists.measure(stores=10_000 // less)


def _live(less: int) -> list[Figure]:
    from bench import lists

    return lists.measure(max(2, 365 // less), 10_000 // less, is_live=True)


def _flat(less: int) -> list[Figure]:
    from bench import flatness

    return flatness.measure([max(1, number // less) for number in flatness.LOADED])


def _idle(less: int) -> list[Figure]:
    from bench import idle

    return idle.measure(100_000 // less)


def _verify(less: int) -> list[Figure]:
    from bench import verify

    return verify.measure(1_000_000 // less, 3 if less == 1 else 1)


def _lines(less: int) -> list[Figure]:
    root = Path(__file__).parents[1] / "sync_pipelines"
    count = sum(len(path.read_text().splitlines()) for room in _COUNTED for path in (root / room).rglob("*.py"))
    return [Figure(f"lines of {', '.join(_COUNTED)}", LINES, count, "lines")]


BENCHES: Final = {
    "lines": Bench(_lines, "lines of the fold", is_short=True),
    "orders": Bench(_orders, "100,000 orders beside the floor", is_short=True),
    "idle": Bench(_idle, "nothing to do, with 100,000 loaded files", is_short=True),
    "lists": Bench(_lists, "85 full lists in three orders"),
    "live": Bench(_live, "the newest of 365 full lists first, then its history"),
    "daemon": Bench(_daemon, "a run of the daemon beside one of sync"),
    "flatness": Bench(_flat, "a small export with 10, 1,000 and 10,000 loaded"),
    "streams": Bench(_streams, "the other five streams beside their floors"),
    "verify": Bench(_verify, "1,000,000 orders compared with the archive"),
    "million": Bench(_million, "1,000,000 orders: times and memory"),
}
"""By name, the shortest first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs some benches, prints their budgets and gives the exit status."""
    options = _parser().parse_args(arguments)
    figures = list[Figure]()
    for name in _chosen(options.benches):
        print(f"\n== {name}: {BENCHES[name].about}", file=sys.stderr, flush=True)
        figures += _measured(name, options.less)
    return print_figures(figures)


def _parser() -> argparse.ArgumentParser:
    listed = "; ".join(f"{name}: {bench.about}" for name, bench in BENCHES.items())
    parser = argparse.ArgumentParser("bench.budgets", description="Measures what is promised.", epilog=listed)
    choices = ["all", *BENCHES]
    parser.add_argument("benches", nargs="*", choices=[*choices, []], metavar="BENCH", help="names, or all")
    parser.add_argument("--less", type=int, default=1, help="divide the sizes by this")
    return parser


def _chosen(names: Sequence[str]) -> list[str]:
    if "all" in names:
        return list(BENCHES)
    return [name for name, bench in BENCHES.items() if (name in names if names else bench.is_short)]


def _measured(name: str, less: int) -> list[Figure]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, name, less).result()


def _measure(name: str, less: int) -> list[Figure]:
    return BENCHES[name].measure(less)


if __name__ == "__main__":
    raise SystemExit(main())
