"""Sample exports in the landing's layout, as the five partners of a few Latin-American companies would send them.

The exports are consistent: orders belong to customers of Traede's exports, stores and businesses belong to companies of
Reten's exports.

The same arguments give the same files, byte for byte and with the same modification times, on any machine at any time.
Another last day gives the same number of files and records.

Belongs here: the sample's options and its summary. Does not belong here: content of exports (one module for each
partner), shops and products (`world`, `words`), file formats (`encode`), large files for benchmarks (`bulk`).
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
"""Commerces, stores and customers have exports on the last days only: loading a day takes longer than its files."""


@dataclass(frozen=True)
class SampleSummary:
    """The files of a sample.

    Attributes:
        dest: the landing the files are in.
        first_day: the earliest day with exports.
        last_day: the latest day with exports.
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
        """The number of files of each kind."""
        return dict(Counter(file.kind for file in self.files))


def write_sample(
    dest: Path, days: int = 30, orders: int = 5000, seed: int = 0, last_day: date = LAST_DAY
) -> SampleSummary:
    """Writes sample exports; files of the same name are replaced, others are left alone.

    Args:
        dest: the landing's folder; created if it does not exist.
        days: the number of days with exports, `last_day` included.
        orders: the number of orders that the shops place in those days.
        seed: each seed gives another sample.
        last_day: the last day with exports; no file name has a later date.

    Raises:
        ConfigurationError: an option is out of its range (`sample_option`), or `dest` cannot be written
            (`sample_unwritable`).
    """
    first_day = _first_day(days, orders, last_day)
    try:
        files = tuple(write_export(dest, export) for export in _build_exports(seed, first_day, days, orders))
    except OSError as error:
        hint = "name a folder you may write, with room for it"
        raise ConfigurationError("sample_unwritable", f"{dest}: {error.strerror}", hint) from error
    return SampleSummary(dest, first_day, last_day, files)


def sample_sources() -> str:
    """Returns the `sources.yaml` that links orders of the fashion house to Traede's customers (O5, T9)."""
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
    """Yields all partners' exports. Orders are first, because deletes of customers depend on who has orders."""
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
