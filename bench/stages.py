"""Where the seconds of a sync go, as a table and a picture.

    python -m bench.stages --orders 100000 --picture docs/images/stages.svg

Runs the three scenarios, each in a process of its own that notes when it reaches what. Stages follow one another, so
the pieces add up to the process.

Belongs here: the table, the picture. Does not belong here: the marks (`noted`), the floor (`run`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.data import TITLES, make_scenarios
from bench.database import tidy
from bench.lanes import TENANT
from bench.noted import BORN, NOTES, STAGES
from bench.process import compile_program, run_process
from bench.server import run_server

_COLORS: Final = dict(zip(STAGES, ("#9aa5b1", "#c3cfd9", "#f0b429", "#2680c2", "#84c5f4"), strict=True))
_WIDTH, _LEFT, _BAR, _GAP = 900, 190, 34, 18


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    parser = argparse.ArgumentParser("bench.stages", description="Where the seconds of a sync go.")
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the first file (100000)")
    parser.add_argument("--picture", type=Path, help="write the picture (SVG) to this file too")
    options = parser.parse_args(arguments)
    compile_program()
    with tempfile.TemporaryDirectory(prefix="stages-", ignore_cleanup_errors=True) as scratch:
        told = _measure(Path(scratch), options.orders)
    print("| stage, s | " + " | ".join(told) + " |\n|---|" + "---|" * len(told))
    for stage in _COLORS:
        print(f"| {stage} | " + " | ".join(f"{laps[stage]:.2f}" for laps in told.values()) + " |")
    print("| together | " + " | ".join(f"{sum(laps.values()):.2f}" for laps in told.values()) + " |")
    if options.picture:
        options.picture.write_text(draw(told))
    return 0


def _measure(folder: Path, orders: int) -> dict[str, dict[str, float]]:
    exports = folder / "landing" / "replenit" / TENANT / "orders"
    exports.mkdir(parents=True)
    told: dict[str, dict[str, float]] = {}
    with run_server(folder / "postgres") as server:
        url = server.create_database("stages")
        environment = {
            "SYNC_HOME": str(folder / "home"),
            "SYNC_DATABASE_URL": url,
            "SYNC_LANDING": str(folder / "landing"),
            "SYNC_SOURCES": str(folder / "sources.yaml"),
            NOTES: str(folder / "notes.json"),
        }
        command = [sys.executable, "-c", "from bench.noted import note_stages; note_stages()", "sync", "--json"]
        run_process(command, environment | {BORN: str(time.time())}, folder)  # makes the tables
        for number, scenario in enumerate(make_scenarios(folder / "data", orders), 1):
            os.link(scenario.stem.with_suffix(".ndjson"), exports / f"orders_2026-01-{number:02d}.ndjson")
            ended = run_process(command, environment | {BORN: str(time.time())}, folder)
            if ended.status:
                raise SystemExit(ended.errors)
            told[TITLES[scenario.name]] = json.loads(Path(environment[NOTES]).read_text())
            tidy(url)
    return told


def draw(told: dict[str, dict[str, float]]) -> str:
    """The stages of each scenario as one bar of an SVG, on a scale of seconds."""
    longest = max(sum(laps.values()) for laps in told.values()) or 1.0
    scale = (_WIDTH - _LEFT - 70) / longest
    parts = []
    for row, (title, laps) in enumerate(told.items()):
        top, left = 10 + row * (_BAR + _GAP), float(_LEFT)
        parts.append(f'<text x="0" y="{top + 22}">{title}</text>')
        for stage, seconds in laps.items():
            width = seconds * scale
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{_COLORS[stage]}">'
                f"<title>{stage}: {seconds:.2f} s</title></rect>"
            )
            if width > 34:
                parts.append(f'<text x="{left + 4:.1f}" y="{top + 22}">{seconds:.1f}</text>')
            left += width
        parts.append(f'<text x="{left + 6:.1f}" y="{top + 22}">{sum(laps.values()):.1f} s</text>')
    below = 10 + len(told) * (_BAR + _GAP)
    for number, (stage, color) in enumerate(_COLORS.items()):
        x, y = number % 3 * 300, below + number // 3 * 24
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{color}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 12}">{stage}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {below + 54}" font-family="sans-serif"'
        f' font-size="14"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    raise SystemExit(main())
