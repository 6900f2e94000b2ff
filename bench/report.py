"""The tables that a bench prints.

Belongs here: medians, ratios, layout. Does not belong here: measuring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.data import TITLES, ScenarioName
from bench.lanes import Measure

HEAD = ("", "floor s", "sync s", "x floor", "less start", "x floor", "peak MB", "WAL MB", "(floor)", "dead", "(floor)")


def build_table(measures: Sequence[Measure], scenarios: Iterable[ScenarioName]) -> str:
    """One line a scenario, medians over the repetitions; `less start` is the sync without its bare start."""
    start = _middle(_runs(measures, "sync", "start"), "seconds")
    rows = [HEAD, ("start, nothing pending", "", f"{start:.2f}", *[""] * 8)]
    rows += [_row(measures, name, start) for name in scenarios]
    return _aligned(rows)


def build_spread(measures: Sequence[Measure]) -> str:
    """The seconds of every single run, to judge how steady the machine was."""
    lanes = sorted({(measure.scenario, measure.lane) for measure in measures})
    return "\n".join(
        f"  {scenario:8} {lane:6}" + "".join(f"{run.seconds:8.2f}" for run in _runs(measures, lane, scenario))
        for scenario, lane in lanes
    )


def middle(measures: Sequence[Measure], lane: str, scenario: str, field: str) -> float:
    """The median of a field over the runs of a lane and scenario."""
    return _middle(_runs(measures, lane, scenario), field)


def _row(measures: Sequence[Measure], name: ScenarioName, start: float) -> tuple[str, ...]:
    floor, sync = _runs(measures, "floor", name), _runs(measures, "sync", name)
    least, taken = _middle(floor, "seconds"), _middle(sync, "seconds")
    return (
        TITLES[name],
        f"{least:.2f}",
        f"{taken:.2f}",
        f"{taken / least:.2f}",
        f"{taken - start:.2f}",
        f"{(taken - start) / least:.2f}",
        f"{_middle(sync, 'peak_mb'):.0f}",
        f"{_middle(sync, 'wal_bytes') / 1e6:.1f}",
        f"{_middle(floor, 'wal_bytes') / 1e6:.1f}",
        f"{_dead(sync):.0f}",
        f"{_dead(floor):.0f}",
    )


def _runs(measures: Sequence[Measure], lane: str, scenario: str) -> list[Measure]:
    return [measure for measure in measures if measure.lane == lane and measure.scenario == scenario]


def _middle(runs: Sequence[Measure], field: str) -> float:
    return float(median(getattr(run, field) for run in runs))


def _dead(runs: Sequence[Measure]) -> float:
    return float(median(sum(run.dead.values()) for run in runs))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
