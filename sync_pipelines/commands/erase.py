"""`sync-pipelines erase`: removes a person everywhere, and writes a receipt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """The person to erase."""

    partner: str
    tenant: str
    customer: str | None
    email: str | None
    keeps_orders: bool


def run(asked: Asked, reason: str, *, is_preview: bool, as_json: bool) -> int:
    """Erases a person."""
    raise NotImplementedError


def run_lift(asked: Asked, reason: str, *, as_json: bool) -> int:
    """Lifts an erasure."""
    raise NotImplementedError
