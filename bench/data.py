"""The files of the three scenarios, made once for each size.

Belongs here: what each scenario loads and what must come of it. Does not belong here: how orders are made up
(`sync_pipelines.sample_data.bulk`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sync_pipelines.sample_data.bulk import BulkTotals, write_bench_orders

ScenarioName = Literal["first", "resent", "changed"]
SCENARIOS: tuple[ScenarioName, ...] = ("first", "resent", "changed")
TITLES: dict[ScenarioName, str] = {
    "first": "first load",
    "resent": "re-sent, one changed",
    "changed": "10% changed, 5% new",
}


@dataclass(frozen=True)
class Scenario:
    """One file to load after the ones before it.

    Attributes:
        name: the scenario.
        stem: the files without their endings: `.ndjson` for the sync, `.orders.csv` and `.items.csv` for the floor.
        totals: what the tables hold afterwards.
        created: orders that are new to the tables.
        updated: orders that differ from the tables.
    """

    name: ScenarioName
    stem: Path
    totals: BulkTotals
    created: int
    updated: int

    @property
    def unchanged(self) -> int:
        """Orders that stand in the tables as they are told."""
        return self.totals.orders - self.created - self.updated


def make_scenarios(folder: Path, orders: int) -> tuple[Scenario, ...]:
    """Writes the files of all scenarios."""
    folder.mkdir(parents=True, exist_ok=True)
    first = Scenario("first", folder / "first", _write(folder / "first", orders), created=orders, updated=0)
    resent = _write(folder / "resent", orders, changed=1 / orders)
    changed = _write(folder / "changed", orders, changed=0.1, new=0.05)
    # The one order changed in "resent" is among the changed ones of "changed", and changed in the same way.
    return (
        first,
        Scenario("resent", folder / "resent", resent, created=0, updated=resent.changed),
        Scenario("changed", folder / "changed", changed, created=changed.new, updated=max(0, changed.changed - 1)),
    )


def _write(stem: Path, orders: int, changed: float = 0.0, new: float = 0.0) -> BulkTotals:
    return write_bench_orders(stem.with_suffix(".ndjson"), orders, changed=changed, new=new, flat=stem)
