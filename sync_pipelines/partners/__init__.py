"""The partners' declarations, and the registry of their streams.

A partner is one module of declarations and pure functions, to be read beside the partner's own API page. The module is
in this folder, or in a package of its own (`installed`, `docs/add_a_partner.md`). Does not belong here: SQL, Dagster,
loops over rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.partners.installed import UnusablePartner, installed_partners

PARTNERS: Final = (
    "reten",
    "pocketflows",
    "nilo",
    "replenit",
    "traede",
)
"""The modules of this folder, in the order they are synced.

Orders precede customers that can be deleted: a delete depends on the orders that arrived with it (T9).
"""


def _streams_of(partner: str) -> Iterator[Stream]:
    """Returns the streams that a partner's module declares, in its order."""
    module = import_module(f"{__name__}.{partner}")
    return (value for value in vars(module).values() if isinstance(value, Stream) and value.partner == partner)


_OWN: Final = tuple(stream for partner in PARTNERS for stream in _streams_of(partner))
_INSTALLED, UNUSABLE = installed_partners(PARTNERS)

STREAMS: Final[tuple[Stream, ...]] = _OWN + _INSTALLED
"""Every stream that can be synced, in the order they are synced; those of installed packages come last."""


def find_stream(partner: str, name: str) -> Stream | None:
    """Returns the stream `<partner>/<name>`, or None."""
    return next((s for s in STREAMS if (s.partner, s.name) == (partner, name)), None)


def find_unusable(partner: str | None) -> UnusablePartner | None:
    """Returns why a partner of an installed package is left out; None if no package declares it, or it is used."""
    return next((one for one in UNUSABLE if one.name == partner), None)
