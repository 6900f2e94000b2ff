"""Sample exports in the landing's layout: what the five partners of a few Latin-American companies would have dropped.

The exports speak of one world: orders of the customers that Traede's exports define, stores and businesses of the
companies that Reten's exports define.

The same arguments give the same files, byte for byte and with the same modification times: neither the clock nor the
machine shows in them. Another last day gives as many files, with as many records.

Belongs here: the sample's options and its summary. Does not belong here: what a partner's export says (one module a
partner), who the shops are (`world`, `words`), bytes (`encode`), large files for measuring (`bulk`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.sample_data import nilo_feed, pocketflows_feed, replenit_feed, reten_feed, traede_feed
from sync_pipelines.sample_data.sample_files import Export, Kind, SampleFile, write_export
from sync_pipelines.sample_data.world import build_shops

__all__ = ["LAST_DAY", "SampleFile", "SampleSummary", "sample_sources", "write_sample"]

FIRST_DATE = date(2010, 1, 1)
LAST_DAY = date(2026, 6, 30)
MASTER_DAYS = 10
"""Commerces, stores and customers are told on the last days alone: a day of a stream costs more than its files do."""


@dataclass(frozen=True)
class SampleSummary:
    """What was written.

    Attributes:
        dest: the landing the files are in.
        first_day: the earliest day told.
        last_day: the latest day told.
        files: every file, partner by partner in its order of arrival, paths relative to `dest`.
    """

    dest: Path
    first_day: date
    last_day: date
    files: tuple[SampleFile, ...]

    @property
    def records(self) -> int:
        """Records and logged calls in all files, dirt included."""
        return sum(file.records for file in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def kinds(self) -> dict[Kind, int]:
        """How many files there are of each kind."""
        return dict(Counter(file.kind for file in self.files))


def write_sample(
    dest: Path, days: int = 30, orders: int = 5000, seed: int = 0, last_day: date = LAST_DAY
) -> SampleSummary:
    """Writes sample exports; files of the same name are replaced, others are left alone.

    Args:
        dest: the landing's folder; made if it is not there.
        days: how many days are told, up to and with `last_day`.
        orders: how many orders the shops place in those days.
        seed: another seed, another sample.
        last_day: the last day told; no file's name is later.

    Raises:
        ConfigurationError: an option is out of its range (`sample_option`), or `dest` cannot be written
            (`sample_unwritable`).
    """
    first_day = _first_day(days, orders, last_day)
    try:
        files = tuple(write_export(dest, export) for export in _build_exports(seed, first_day, days, orders))
    except OSError as fault:
        hint = "name a folder you may write, with room for it"
        raise ConfigurationError("sample_unwritable", f"{dest}: {fault.strerror}", hint) from fault
    return SampleSummary(dest, first_day, last_day, files)


def sample_sources() -> str:
    """The `sources.yaml` with which orders of the fashion house are linked to Traede's customers (O5, T9)."""
    fashion = build_shops(0)[1].tenant
    return f"""\
# Sources of the sample exports: one shop's orders belong to the customers that Traede's exports define.
sources:
  - partner: replenit
    tenant: {fashion}
    streams:
      orders:
        customer_identifier: customer_id
        customers_of: {{partner: traede, tenant: {traede_feed.TENANT}}}
  - partner: replenit
    tenant: "*"   # every other tenant that has a folder in the landing
"""


def _build_exports(seed: int, first_day: date, days: int, orders: int) -> Iterator[Export]:
    """All partners' exports; the orders come first, because deletes of customers depend on who has ordered."""
    order_feeds = replenit_feed.build_feeds(seed)
    yield from replenit_feed.build_exports(order_feeds, seed, first_day, days, orders)
    span = min(days, MASTER_DAYS)
    feeds = (
        traede_feed.build_feed(seed, span, order_feeds[1].buyers),
        reten_feed.build_feed(seed, span),
        nilo_feed.build_feed(seed, span),
        *pocketflows_feed.build_feeds(seed, span),
    )
    for feed in feeds:
        for left in reversed(range(span)):
            yield from feed.day(first_day + timedelta(days=days - 1 - left), span - 1 - left, left)


def _first_day(days: int, orders: int, last_day: date) -> date:
    if orders < 0:
        raise ConfigurationError("sample_option", f"orders is {orders}", "take 0 or more")
    most = (last_day - FIRST_DATE).days + 1
    if not 1 <= days <= most:
        raise ConfigurationError("sample_option", f"days is {days}", f"take 1 to {most}: no export is before 2010")
    return last_day - timedelta(days=days - 1)
