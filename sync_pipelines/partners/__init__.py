"""What each partner's exports mean, and the registry of their streams.

A partner is one module of declarations and pure functions, readable beside the partner's own API page, and one
line here (`docs/add_a_partner.md`). Does not belong here: SQL, Dagster, loops over rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from sync_pipelines.contracts.streams import Stream

PARTNERS: Final = (
    "reten",
    "pocketflows",
    "nilo",
    "replenit",
    "traede",
)
"""The modules of this folder, in the order they are synced.

Orders come before customers that can be deleted: a delete is weighed against the orders that came with it (T9).
"""


def _streams_of(partner: str) -> Iterator[Stream]:
    """The streams a partner's module declares, in its order."""
    module = import_module(f"{__name__}.{partner}")
    return (value for value in vars(module).values() if isinstance(value, Stream) and value.partner == partner)


STREAMS: Final[tuple[Stream, ...]] = tuple(stream for partner in PARTNERS for stream in _streams_of(partner))
"""Every stream that can be synced, in the order they are synced."""


def find_stream(partner: str, name: str) -> Stream | None:
    """The stream `<partner>/<name>`, or None."""
    return next((s for s in STREAMS if (s.partner, s.name) == (partner, name)), None)
