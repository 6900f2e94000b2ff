"""What was measured beside what was promised.

Belongs here: one figure, a table of them, whether each is held. Does not belong here: measuring, which figures there
are (`budgets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

TOLERANCE: Final = 1.1
"""A machine is never quite still: a budget is missed by more than a tenth."""


@dataclass(frozen=True)
class Figure:
    """One row of the budgets.

    Attributes:
        name: what was measured.
        budget: the most it may be.
        seen: what it was.
        unit: of both, such as "s" or "times the floor".
        faults: what was wrong with the result, whatever it cost.
    """

    name: str
    budget: float
    seen: float
    unit: str
    faults: tuple[str, ...] = ()

    @property
    def is_held(self) -> bool:
        """Whether the result is right and the budget is not missed by more than a tenth."""
        return not self.faults and self.seen <= self.budget * TOLERANCE


def build_budget_table(figures: Sequence[Figure]) -> str:
    """Markdown: budget, seen, and whether it is held."""
    lines = ["| | budget | seen | |", "|---|---|---|---|"]
    lines += [
        f"| {figure.name} | {_number(figure.budget)} | {_number(figure.seen)} {figure.unit} | {_verdict(figure)} |"
        for figure in figures
    ]
    return "\n".join(lines)


def print_figures(figures: Sequence[Figure]) -> int:
    """Prints the table; returns the exit status, 1 where a budget is missed or a result is wrong."""
    print("\n" + build_budget_table(figures), flush=True)
    return int(not all(figure.is_held for figure in figures))


def _verdict(figure: Figure) -> str:
    if figure.faults:
        return "WRONG: " + "; ".join(figure.faults)
    if figure.seen <= figure.budget:
        return "ok"
    return "ok, by a tenth" if figure.is_held else "MISSED"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
