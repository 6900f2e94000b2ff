"""A load in a run of the daemon, beside the same load in a run of `sync`.

    python -m bench.daemon                           100,000 orders, three repetitions

Both are runs of Dagster; compared is each from its start to its end, as Dagster notes them, in turns on one server.
How long a file waits for a sensor, and a run for its process, is not part of it.

Belongs here: the two lanes and their comparison. Does not belong here: files (`data`), processes (`lanes`, `up`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import psycopg

from bench.data import SCENARIOS, TITLES, Scenario, ScenarioName, make_scenarios
from bench.database import tidy
from bench.figures import Figure, print_figures
from bench.lanes import SyncLane
from bench.process import compile_program
from bench.server import Server, run_server
from bench.up import run_up, wait_until

LIMIT: Final = 1.15
_LONGEST: Final = 600.0
_RUNS: Final = """
select end_time - start_time from public.runs
where pipeline_name not like '%check%' and status = 'SUCCESS' and end_time is not null order by id
"""

Seconds = dict[ScenarioName, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    parser = argparse.ArgumentParser("bench.daemon", description="A run of the daemon beside one of sync.")
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the first file (100000)")
    parser.add_argument("--reps", type=int, default=3, help="repetitions (3)")
    options = parser.parse_args(arguments)
    return print_figures(measure(options.orders, options.reps))


def measure(orders: int = 100_000, reps: int = 3) -> list[Figure]:
    """Measures both kinds of runs, and prints what each took.

    Args:
        orders: of the first file.
        reps: repetitions, of which medians count.
    """
    compile_program()
    daemon, sync = defaultdict[ScenarioName, list[float]](list), defaultdict[ScenarioName, list[float]](list)
    with tempfile.TemporaryDirectory(prefix="daemon-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        scenarios = make_scenarios(folder / "data", orders)
        os.sync()
        with run_server(folder / "postgres") as server:
            for _ in range(reps):
                for found, seconds in ((sync, _syncs(server, folder, scenarios)),
                                       (daemon, _daemons(server, folder, scenarios))):  # fmt: skip
                    for name, taken in seconds.items():
                        found[name].append(taken)
    print("| | run of sync, s | run of the daemon, s |\n|---|---|---|")
    for name in SCENARIOS:
        print(f"| {TITLES[name]} | {median(sync[name]):.2f} | {median(daemon[name]):.2f} |", flush=True)
    return [
        Figure(f"{orders:,} orders in a run of the daemon: {TITLES[name]}", LIMIT,
               median(daemon[name]) / median(sync[name]), "times a run of sync")
        for name in SCENARIOS
    ]  # fmt: skip


def _syncs(server: Server, folder: Path, scenarios: Sequence[Scenario]) -> Seconds:
    lane, taken = SyncLane(server, folder / "sync"), Seconds()
    for scenario in scenarios:
        faults = lane.load(scenario).faults
        if faults:
            raise SystemExit(f"sync, {scenario.name}: {'; '.join(faults)}")
        taken[scenario.name] = _runs(lane.url)[-1]
        _say(f"sync    {scenario.name:8} {taken[scenario.name]:6.2f} s")
    return taken


def _daemons(server: Server, folder: Path, scenarios: Sequence[Scenario]) -> Seconds:
    lane, taken = SyncLane(server, folder / "daemon"), Seconds()
    with _running(lane, folder / "up.log"):
        for number, scenario in enumerate(scenarios, 1):
            lane.put(scenario)
            wait_until(lambda: len(_runs(lane.url)) >= number, _LONGEST, f"a run of {scenario.name}", every=1)  # noqa: B023
            taken[scenario.name] = _runs(lane.url)[-1]
            tidy(lane.url)
            _say(f"daemon  {scenario.name:8} {taken[scenario.name]:6.2f} s")
    return taken


@contextmanager
def _running(lane: SyncLane, log: Path) -> Iterator[None]:
    with run_up({**lane.environment, "DAGSTER_HOME": ""}, log):
        yield


def _runs(url: str) -> list[float]:
    """Seconds of each run that ended well, the checks' own aside, the oldest first."""
    with psycopg.connect(url) as connection:
        return [float(seconds) for (seconds,) in connection.execute(_RUNS)]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
