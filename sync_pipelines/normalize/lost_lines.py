"""Records of a flat file that lack a line, or may lack one.

Belongs here: which records those are, in a database that spills to disk. Does not belong here: which lines are lost,
messages (`flat`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import count

_TABLES = """
create table loss (key text primary key, why text not null) without rowid;
create table doubt (number integer primary key, why text not null, is_one integer not null);
create table doubted (number integer not null, key text not null, is_candidate integer not null);
"""
_DECIDE = """
insert or ignore into loss select c.key, d.why from doubted c join doubt d using (number)
where (c.is_candidate and c.key in (select key from key)) or (not c.is_candidate and not (d.is_one and exists (
    select from_candidate.key from doubted from_candidate
    where from_candidate.number = d.number and from_candidate.is_candidate
        and from_candidate.key in (select key from key))))
order by c.number
"""


class Losses:
    """The lost lines of a file's records.

    Args:
        spill: has a table `key` of the keys that were read, each with the number of its first line.
    """

    def __init__(self, spill: sqlite3.Connection) -> None:
        for statement in _TABLES.split(";"):
            spill.execute(statement)
        self._spill = spill
        self._numbers = count()
        self._above: str | None = None
        self._waiting: list[int] = []

    def passed(self, key: str) -> None:
        """Notes that a line with a key was read."""
        if self._waiting:
            self._spill.executemany("insert into doubted values (?, ?, 0)", [(n, key) for n in self._waiting])
            self._waiting = []
        self._above = key

    def of_key(self, key: str, why: str) -> None:
        """Notes that a line of a record is lost. Lines below it without a key belong to the same record."""
        self.passed(key)
        self.of_above(why)

    def of_above(self, why: str) -> None:
        """Notes that a line of the record above is lost."""
        if self._above is not None:
            self._spill.execute("insert or ignore into loss values (?, ?)", (self._above, why))

    def of_any(self, candidates: Iterable[str], why: str, *, is_one: bool) -> None:
        """Notes that a line is lost that belongs to a candidate, the record above or the record below.

        Args:
            candidates: keys of possible records.
            why: for people.
            is_one: whether it belongs to a candidate if one of them exists.
        """
        number = next(self._numbers)
        self._spill.execute("insert into doubt values (?, ?, ?)", (number, why, is_one))
        rows = [(number, key, 1) for key in dict.fromkeys(candidates)]
        rows += [(number, self._above, 0)] if self._above is not None else []
        self._spill.executemany("insert into doubted values (?, ?, ?)", rows)
        self._waiting.append(number)

    def by_first_line(self) -> Iterator[tuple[int, str]]:
        """Yields the first line's number of each incomplete record, ascending, and the reason."""
        self._spill.execute(_DECIDE)
        return self._spill.execute("select first, why from loss join key using (key) order by first")
