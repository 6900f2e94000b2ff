"""What each partner's exports mean, and the registry of their streams.

A partner is one module of declarations and pure functions, readable beside the partner's own API page, and one
line here. Does not belong here: SQL, Dagster, loops over rows.
"""

from __future__ import annotations

from typing import Final

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.partners import nilo, pocketflows, replenit, reten, traede

STREAMS: Final[tuple[Stream, ...]] = (
    reten.COMMERCES,
    pocketflows.BUSINESSES,
    pocketflows.CUSTOMERS,
    traede.CUSTOMERS,
    nilo.STORES,
    replenit.ORDERS,
)
"""Every stream that can be synced, in the order they are synced."""


def find_stream(partner: str, name: str) -> Stream | None:
    """The stream `<partner>/<name>`, or None."""
    return next((s for s in STREAMS if (s.partner, s.name) == (partner, name)), None)
