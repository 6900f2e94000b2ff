"""What the exports of one tenant's stream have in common: who is told when, in which file, and once more when.

A day's file tells of newcomers, some known ones as they stand, and some changes. Every few days there is a log of
requests, some of which were queued for so long that newer exports have overtaken them, a file for a day long past,
and a file that had been sent before.

Belongs here: the rhythm of a stream whose records are told one by one. Does not belong here: what a record says (the
partners' modules), orders (`replenit_feed`), bytes (`encode`).
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
AT_FIRST = 0.55  # of the subjects are told on the first day
LOGS = (Layout(".ndjson"), Layout(".ndjson.gz"), Layout(".jsonl.zst"))


@dataclass(eq=False)
class Subject:
    """Somebody or something a partner tells of.

    Attributes:
        key: what finds it among all of its stream.
        first: the record as it was first told.
        record: the record as it stands.
        since: the day it was first told.
        told_on: the days on which it was told, cleanly, in time.
    """

    key: str
    first: Record
    record: Record
    since: date
    told_on: list[date] = field(default_factory=list)


class Feed:
    """The exports of one tenant's stream; each day knows the days before it.

    A partner's class says the path of a request that writes (`route`), how its files are written in turn (`layouts`),
    what goes wrong in them (`kinds`) and how often (`dirty`), and which shares of the known are told again and changed
    each day.

    Args:
        folder: partner, tenant and stream as in the landing.
        seed: of the sample.
        newcomers: the first records by key, in the order in which they are told.
        days: how many days there are.
    """

    route: str
    layouts: tuple[Layout, ...]
    kinds: tuple[Dirt, ...]
    creates_in_flat_files = True
    said_again = 0.03
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

    # -- what a partner's module says ---------------------------------------------------------------------------

    def change(self, subject: Subject) -> Record:
        """Changes a subject and returns what is told of it."""
        raise NotImplementedError

    def requests(self, day: date) -> Iterator[Record]:
        """The calls of a day's log."""
        raise NotImplementedError

    def queued(self, subject: Subject) -> Record | None:
        """A call that sends a subject as it was first told, on the day it was; None where no route does."""
        raise NotImplementedError

    def strange(self, day: date, index: int) -> Iterator[Record]:
        """Records of a day that are neither newcomers nor changes."""
        yield from ()

    def batch(self, day: date, index: int) -> tuple[Any, int] | None:
        """A body of several lists, and how many records it holds; on most days none."""
        return None

    def flat(self, record: Record) -> Record:
        """What of a record fits into cells."""
        return {name: value for name, value in record.items() if not isinstance(value, (dict, list))}

    # -- the rhythm ---------------------------------------------------------------------------------------------

    def day(self, day: date, index: int, left: int) -> Iterator[Export]:
        """What arrives on one day.

        Args:
            day: the day.
            index: how many days came before it.
            left: how many days come after it; on the last one a log comes whatever its turn.
        """
        layout = self.layouts[index % len(self.layouts)]
        yield from self._daily(day, index, layout, index % 7 == 0 and left >= LATE_BY)
        if (body := self.batch(day, index)) is not None:
            data = encode_document(body[0], ".json")
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
        told = [subject for subject in fresh if subject not in self._forgotten]
        records = [self._tell(subject, subject.record, day, layout) for subject in told]
        # Who was refused comes again the next day.
        self._waiting += [subject for subject in told if not subject.told_on]
        told = [subject for subject in told if subject.told_on]
        again = self.some(self.known, self.said_again)
        records += [self._tell(subject, subject.record, day, layout) for subject in again]
        changed = self.some([subject for subject in self.known if subject not in again], self.changed)
        records += [self._tell(subject, self.change(subject), day, layout) for subject in changed]
        records += [self.flat(record) if layout.is_flat else record for record in self.strange(day, index)]
        self.known += told
        if records:
            export = self._export("daily", day, "", encode(records, layout), len(records), layout.suffix)
            self._sent.append(export)
            yield export

    def _tell(self, subject: Subject, record: Record, day: date, layout: Layout) -> Record:
        soiled = self._soiler.take(record, layout)
        if not soiled.is_refused:
            subject.told_on.append(day)
        return self.flat(soiled.record) if layout.is_flat else soiled.record

    def _late(self, day: date, layout: Layout) -> Iterator[Export]:
        """A day long past once more: those told again since, and those its own file had forgotten."""
        past = day - timedelta(days=LATE_BY)
        overtaken = [subject for subject in self.known if subject.since == past and subject.told_on[-1:] > [past]]
        told = self.some(overtaken, 0.3) + self._forgotten
        records = [self.flat(subject.first) if layout.is_flat else subject.first for subject in told]
        self.known += self._forgotten
        self._forgotten = []
        if records:
            data = encode(records, layout)
            yield self._export("late", past, "_late", data, len(records), layout.suffix, arrived=day)

    def _log(self, day: date, layout: Layout) -> Export:
        """Requests of the day, and some of long ago that were written down only then."""
        overtaken = [subject for subject in self.known if subject.told_on[-1:] > [subject.since]]
        queued = filter(None, map(self.queued, overtaken[-4:] + self.gone[-1:]))
        calls = [*self.requests(day), *queued, *self._stray(day)]
        data = encode(calls, layout)
        return self._export("log", day, "requests", data, len(calls), layout.suffix)

    def _stray(self, day: date) -> Iterator[Record]:
        """A call that a log holds but nothing can be made of."""
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
        """One line of a request log."""
        at = datetime.combine(day, time(hour, self.rng.randrange(60), self.rng.randrange(60)))
        line = {"at": f"{at:%Y-%m-%dT%H:%M:%S}Z", "method": method, "path": path}
        return line if body is None else line | {"body": body}

    def some(self, subjects: Sequence[T], share: float) -> list[T]:
        """About that share of them, at least one where there are any, in their order."""
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
