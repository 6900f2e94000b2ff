"""The streams beside orders, each beside its own floor: a first load, a re-send, and some records changed.

    python -m bench.streams                              100,000 records of each of the five
    python -m bench.streams --records 20000 --only nilo/stores --reps 3

Timed are whole processes, in turns, each after a CHECKPOINT: `sync-pipelines sync` and `bench.floor_streams` with the
same records as flat rows. Exit status 1 when the sync's own report is not what the files say, or a budget is missed.

Belongs here: the files, the two lanes, their table. Does not belong here: the floor's statements (`floor_streams`),
records (`sync_pipelines.sample_data.bulk_streams`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final

from bench import floor_streams
from bench.data import SCENARIOS, TITLES, ScenarioName
from bench.database import Watch, tidy
from bench.figures import Figure, print_figures
from bench.flat import shapes_of, write_rows
from bench.lanes import exit_faults, place, report_faults
from bench.process import Ended, compile_program, run_process
from bench.server import Server, run_server
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records

TENANT: Final = "acme"
LIMIT: Final = 2.5


@dataclass(frozen=True)
class Sent:
    """One file of a stream: the folder of its rows and `records.ndjson`, and what a sync must report of it."""

    scenario: ScenarioName
    folder: Path
    counts: dict[str, int]


@dataclass(frozen=True)
class Turn:
    """One scenario in both lanes; `start` is a sync of the same database with nothing pending."""

    stream: str
    scenario: ScenarioName
    floor: Ended
    sync: Ended
    start: Ended
    faults: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    return print_figures(measure(options.records, options.reps, options.only or tuple(BULK)))


def measure(records: int = 100_000, reps: int = 1, streams: Sequence[str] = tuple(BULK)) -> list[Figure]:
    """Measures some streams beside their floors, less the start; prints a table of all.

    Args:
        records: of each first file.
        reps: repetitions, of which medians count.
        streams: which.
    """
    compile_program()
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory(prefix="streams-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        with run_server(folder / "postgres") as server:
            for stream in streams:
                files = list(make_files(stream, records, folder / "data"))
                for _ in range(reps):
                    turns += run_turns(server, folder / "run", stream, files)
                shutil.rmtree(folder / "data")
    print(f"{records:,} records, medians of {reps}; processor seconds leave the server's out\n")
    print(build_table(turns), flush=True)
    return [
        Figure(
            f"{records:,} records of {stream}, less the start: {TITLES[scenario]}",
            LIMIT,
            _seconds(found)[1] / _seconds(found)[0],
            "times the floor",
            tuple(dict.fromkeys(fault for turn in found for fault in turn.faults)),
        )
        for (stream, scenario), found in _grouped(turns).items()
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.streams", description="Streams other than orders beside their floors.")
    parser.add_argument("--records", type=int, default=100_000, help="records of each first file (100000)")
    parser.add_argument("--reps", type=int, default=1, help="repetitions (1)")
    parser.add_argument("--only", choices=list(BULK), action="append", help="this stream; may be given again")
    return parser


def make_files(stream: str, records: int, folder: Path) -> Iterator[Sent]:
    """Writes the files of all scenarios of a stream, as lines and as rows."""
    changed = round(records * 0.1)
    shares: dict[ScenarioName, dict[str, float]] = {
        "first": {},
        "resent": {"changed": 1 / records},
        "changed": {"changed": 0.1, "new": 0.05},
    }
    new = round(records * 0.05)
    # The one record changed in "resent" is among the changed ones of "changed", and changed in the same way.
    counts: dict[ScenarioName, dict[str, int]] = {
        "first": {"created": records, "updated": 0, "unchanged": 0},
        "resent": {"created": 0, "updated": 1, "unchanged": records - 1},
        "changed": {"created": new, "updated": changed - 1, "unchanged": records - changed + 1},
    }
    shapes = list(shapes_of(next(islice(bulk_records(stream, 1), 1))))
    for scenario in SCENARIOS:
        target = folder / scenario
        target.mkdir(parents=True)
        with (target / "records.ndjson").open("w", encoding="utf-8") as lines:
            found = bulk_records(stream, records, **shares[scenario])
            lines.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in found)
        write_rows(bulk_records(stream, records, **shares[scenario]), shapes, target)
        (target / "shapes.json").write_text(json.dumps(shapes))
        yield Sent(scenario, target, counts[scenario])


def run_turns(server: Server, folder: Path, stream: str, files: Sequence[Sent]) -> Iterator[Turn]:
    """Every file through the floor and through the sync, each in a database of its own, empty at first."""
    shutil.rmtree(folder, ignore_errors=True)
    landing = folder / "landing" / stream.replace("/", f"/{TENANT}/")
    landing.mkdir(parents=True)
    floor_url, sync_url = server.create_database("floor"), server.create_database("sync")
    environment = {
        "SYNC_HOME": str(folder / "home"),
        "SYNC_DATABASE_URL": sync_url,
        "SYNC_LANDING": str(folder / "landing"),
        "SYNC_SOURCES": str(folder / "sources.yaml"),
    }
    run = partial(run_process, looks_at_memory=False)
    command = [str(Path(sys.executable).with_name("sync-pipelines")), "sync", "--json"]
    run(command, environment, folder)  # makes the tables
    for day, sent in enumerate(files, 1):
        start = run(command, environment, folder)
        place(sent.folder / "records.ndjson", landing / f"2026-01-{day:02}.ndjson")
        Watch(floor_url)
        floor = run([sys.executable, floor_streams.__file__, floor_url, str(sent.folder)], {}, folder)
        tidy(floor_url)
        Watch(sync_url)
        sync = run(command, environment, folder)
        tidy(sync_url)
        faults = exit_faults(floor, 0) + exit_faults(sync, 0) + report_faults(sync, files=1, counts=sent.counts)
        turn = Turn(stream, sent.scenario, floor, sync, start, faults)
        print(f"{stream:24}{sent.scenario:8} floor {floor.seconds:6.2f} s  sync {sync.seconds:6.2f} s"
              f"  {'; '.join(faults) or 'ok'}", file=sys.stderr, flush=True)  # fmt: skip
        yield turn


def build_table(turns: Sequence[Turn]) -> str:
    """Markdown: medians of seconds over the repetitions, and how often the floor fits into them."""
    head = "| | | floor, s | sync, s | times | less start, s | times | own cpu, s |\n|---|---|---|---|---|---|---|---|"
    rows = [head]
    for (stream, scenario), found in _grouped(turns).items():
        floor, less = _seconds(found)
        sync, cpu = median(turn.sync.seconds for turn in found), median(turn.sync.cpu for turn in found)
        rows.append(
            f"| {stream} | {TITLES[scenario]} | {floor:.2f} | {sync:.2f} | {sync / floor:.1f} | {less:.2f}"
            f" | {less / floor:.1f} | {cpu:.2f} |"
        )
    return "\n".join(rows)


def _grouped(turns: Sequence[Turn]) -> dict[tuple[str, ScenarioName], list[Turn]]:
    grouped = defaultdict[tuple[str, ScenarioName], list[Turn]](list)
    for turn in turns:
        grouped[turn.stream, turn.scenario].append(turn)
    return grouped


def _seconds(turns: Sequence[Turn]) -> tuple[float, float]:
    """Median seconds of the floor, and of the sync without its start."""
    start = median(turn.start.seconds for turn in turns)
    return median(turn.floor.seconds for turn in turns), median(turn.sync.seconds for turn in turns) - start


if __name__ == "__main__":
    raise SystemExit(main())
