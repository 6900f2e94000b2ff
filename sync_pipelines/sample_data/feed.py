"""The schedule of exports of one tenant's stream: which record is in which file of which day.

A day's file has new records, some unchanged known ones, and some changed ones. Every few days there is a log of
requests, some of which are older than exports that were sent meanwhile, a late file for an earlier day, and a file that
was sent before.

Belongs here: the schedule of any stream except orders. Does not belong here: content of records (the partners'
modules), orders (`replenit_feed`), file formats (`encode`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar

from sync_pipelines.sample_data.dirt import Dirt, Soiler
from sync_pipelines.sample_data.encode import Layout, encode, encode_document
from sync_pipelines.sample_data.sample_files import Export, Kind, Record, arrival, resent
from sync_pipelines.sample_data.world import random_for

T = TypeVar("T")
LATE_BY = 6  # days
AT_FIRST = 0.55  # of the subjects are sent on the first day
LOGS = (Layout(".ndjson"), Layout(".ndjson.gz"), Layout(".jsonl.zst"))


@dataclass(eq=False)
class Subject:
    """A person or thing that a partner's records describe.

    Attributes:
        key: identifies it in its stream.
        first: the first record of it.
        record: the current record.
        since: the day of the first record.
        sent_on: the days on which an export had it, on time and without a reject.
    """

    key: str
    first: Record
    record: Record
    since: date
    sent_on: list[date] = field(default_factory=list)


class Feed:
    """The exports of one tenant's stream; each day knows the days before it.

    A partner's class sets the path of a request that writes (`route`), the layouts of its files (`layouts`), the kinds
    of dirt (`kinds`) and their share (`dirty`), and the shares of known records that are sent again (`repeated`) and
    changed (`changed`) each day.

    Args:
        folder: partner, tenant and stream as in the landing.
        seed: of the sample.
        newcomers: the first records by key, in the order in which they are sent.
        days: the number of days.
    """

    route: str
    layouts: tuple[Layout, ...]
    kinds: tuple[Dirt, ...]
    creates_in_flat_files = True
    repeated = 0.03
    changed = 0.05
    dirty = 0.015

    def __init__(self, folder: str, seed: int, newcomers: Sequence[tuple[str, Record]], days: int) -> None:
        self.rng = random_for(seed, folder, "feed")
        self.known: list[Subject] = []
        self.gone: list[Subject] = []
        self._folder = folder
        self._noun = folder.rpartition("/")[2]
        self._soiler = Soiler(self.rng, self.kinds, self.dirty)
        self._coming = _spread(newcomers, days)
        self._waiting: list[Subject] = []
        self._forgotten: list[Subject] = []
        self._sent: list[Export] = []

    # -- for a partner's module to define -----------------------------------------------------------------------

    def change(self, subject: Subject) -> Record:
        """Changes a subject and returns the record to send."""
        raise NotImplementedError

    def requests(self, day: date) -> Iterator[Record]:
        """The calls of a day's log."""
        raise NotImplementedError

    def queued(self, subject: Subject) -> Record | None:
        """Returns a call with the first record of a subject, dated on its first day; None if no route can send it."""
        raise NotImplementedError

    def strange(self, day: date, index: int) -> Iterator[Record]:
        """Records of a day that are neither newcomers nor changes."""
        yield from ()

    def batch(self, day: date, index: int) -> tuple[Any, int] | None:
        """Returns a body of several lists, and its number of records; None on most days."""
        return None

    def flat(self, record: Record) -> Record:
        """Returns the fields of a record that fit into cells."""
        return {name: value for name, value in record.items() if not isinstance(value, (dict, list))}

    # -- the schedule -------------------------------------------------------------------------------------------

    def day(self, day: date, index: int, left: int) -> Iterator[Export]:
        """Yields the exports of one day.

        Args:
            day: the day.
            index: the number of days before it.
            left: the number of days after it; the last day always has a log.
        """
        layout = self.layouts[index % len(self.layouts)]
        yield from self._daily(day, index, layout, index % 7 == 0 and left >= LATE_BY)
        if (body := self.batch(day, index)) is not None:
            data = encode_document(body[0])
            yield self._export("batch", day, "_batch", data, body[1], ".json")
        if index % 5 == 3 or not left:
            yield self._log(day, LOGS[index // 5 % len(LOGS)])
        if index % 7 == LATE_BY:
            is_fit = self.creates_in_flat_files or not layout.is_flat
            yield from self._late(day, layout if is_fit else self.layouts[0])
        if index % 10 == 5 or (not left and index < 5):
            yield from (resent(export, day) for export in self._sent[-3:][:1])

    def _daily(self, day: date, index: int, layout: Layout, is_forgetful: bool) -> Iterator[Export]:
        fresh = self._waiting + [Subject(key, record, record, day) for key, record in self._coming[index]]
        self._waiting = []
        if layout.is_flat and not self.creates_in_flat_files:
            fresh, self._waiting = [], fresh
        for subject in fresh:
            subject.since = day
        if is_forgetful:
            self._forgotten = self.some(fresh[1:], 0.05)
        sent = [subject for subject in fresh if subject not in self._forgotten]
        records = [self._write(subject, subject.record, day, layout) for subject in sent]
        # Rejected subjects are sent again the next day.
        self._waiting += [subject for subject in sent if not subject.sent_on]
        sent = [subject for subject in sent if subject.sent_on]
        again = self.some(self.known, self.repeated)
        records += [self._write(subject, subject.record, day, layout) for subject in again]
        changed = self.some([subject for subject in self.known if subject not in again], self.changed)
        records += [self._write(subject, self.change(subject), day, layout) for subject in changed]
        records += [self.flat(record) if layout.is_flat else record for record in self.strange(day, index)]
        self.known += sent
        if records:
            export = self._export("daily", day, "", encode(records, layout), len(records), layout.suffix)
            self._sent.append(export)
            yield export

    def _write(self, subject: Subject, record: Record, day: date, layout: Layout) -> Record:
        soiled = self._soiler.take(record, layout)
        if not soiled.is_rejected:
            subject.sent_on.append(day)
        return self.flat(soiled.record) if layout.is_flat else soiled.record

    def _late(self, day: date, layout: Layout) -> Iterator[Export]:
        """A late file for an earlier day: some records that were sent again since, and those its first file lacked."""
        past = day - timedelta(days=LATE_BY)
        overtaken = [subject for subject in self.known if subject.since == past and subject.sent_on[-1:] > [past]]
        sent = self.some(overtaken, 0.3) + self._forgotten
        records = [self.flat(subject.first) if layout.is_flat else subject.first for subject in sent]
        self.known += self._forgotten
        self._forgotten = []
        if records:
            data = encode(records, layout)
            yield self._export("late", past, "_late", data, len(records), layout.suffix, arrived=day)

    def _log(self, day: date, layout: Layout) -> Export:
        """Requests of the day, and some of earlier days that were logged late."""
        overtaken = [subject for subject in self.known if subject.sent_on[-1:] > [subject.since]]
        queued = filter(None, map(self.queued, overtaken[-4:] + self.gone[-1:]))
        calls = [*self.requests(day), *queued, *self._stray(day)]
        data = encode(calls, layout)
        return self._export("log", day, "requests", data, len(calls), layout.suffix)

    def _stray(self, day: date) -> Iterator[Record]:
        """A logged call that cannot be loaded."""
        lost = self.call(day, 19, "POST", self.route, {})
        stray = (
            lost | {"method": "GET"},
            lost | {"path": "/health"},
            {name: value for name, value in lost.items() if name != "at"},
            lost | {"at": "anteayer"},
            lost | {"at": f"1999-12-{day:%d}T10:00:00Z"},
        )
        yield stray[day.toordinal() // 5 % len(stray)]

    # -- for the partners' modules ------------------------------------------------------------------------------

    def call(self, day: date, hour: int, method: str, path: str, body: Any = None) -> Record:
        """Returns one line of a request log."""
        at = datetime.combine(day, time(hour, self.rng.randrange(60), self.rng.randrange(60)))
        line = {"at": f"{at:%Y-%m-%dT%H:%M:%S}Z", "method": method, "path": path}
        return line if body is None else line | {"body": body}

    def some(self, subjects: Sequence[T], share: float) -> list[T]:
        """Returns about that share of them, at least one if there are any, in their order."""
        count = min(len(subjects), max(1, round(len(subjects) * share)))
        return [subjects[number] for number in sorted(self.rng.sample(range(len(subjects)), count))]

    def _export(
        self, kind: Kind, day: date, what: str, data: bytes, records: int, suffix: str, arrived: date | None = None
    ) -> Export:
        stem = f"requests_{day}" if kind == "log" else f"{self._noun}_{day}{what}"
        path = f"{self._folder}/{day:%Y/%m}/{stem}{suffix}"
        return Export(path, kind, data, records, arrival(arrived or day, 3))


def _spread(newcomers: Sequence[tuple[str, Record]], days: int) -> list[list[tuple[str, Record]]]:
    """The newcomers of each day: most on the first, the others evenly on the days after it."""
    first = len(newcomers) if days == 1 else round(len(newcomers) * AT_FIRST)
    rest = len(newcomers) - first
    ends = [first + rest * day // max(1, days - 1) for day in range(days)]
    return [list(newcomers[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
