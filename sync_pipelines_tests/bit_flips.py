"""An archive whose files are damaged one at a time, and what the next load or reading makes of it.

    python -m sync_pipelines_tests.bit_flips --flips 900

Every trial takes a fresh copy of one site, damages one file, and does what reads it. Either the tables end as if
nothing had been damaged, or the export fails, names the file, and the tables stay.

Belongs here: trials and their verdicts. Does not belong here: what is asserted of them (`test_archive_damage`).
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import click

from sync_pipelines.database.embedded import use_server
from sync_pipelines.database.postgres import Database
from sync_pipelines.kept import object_writer
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.stages import repair
from sync_pipelines.stages.export_stages import archive_export, discover, load_export, normalize_export
from sync_pipelines.stages.replay import read_again
from sync_pipelines_tests.databases import make_database, make_template
from sync_pipelines_tests.loading import TENANT, Site, item, lines, order

FOLDER: Final = f"replenit/{TENANT}/orders"
KINDS: Final = (
    "raw.zst", "raw.gz", "records", "repeated", "keys", "rows", "texts", "noted", "files", "places", "lines", "rejects",
    "footer",
)  # fmt: skip
PENDING: Final = f"{FOLDER}/2024-05-07.ndjson"


class Place(NamedTuple):
    """Where damage is done.

    Attributes:
        file: relative to the archive.
        start, end: the bytes of it.
    """

    file: Path
    start: int
    end: int


Damage = Callable[[Path, int, int], object]
"""Damages bytes of a file, from a place to another."""


def _orders(start: int, end: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        order(f"O{n}", Email=f"o{n}@x.cl", OrderItems=[item(Quantity=n + 1), item("P2")], **fields)
        for n in range(start, end)
    ]


LENIENT: Final = [order(f"L{n}", TotalRevenue=f"{n}.5") for n in range(5)]
REFUSED: Final = [{"Currency": "USD", "Email": f"r{n}@x.cl"} for n in range(5)]
SECOND: Final = _orders(0, 90, TotalRevenue=5)
THIRD: Final = SECOND[:60] + _orders(60, 100, TotalRevenue=6)


def build_site(folder: Path, database: Database) -> Site:
    """A site with four loaded exports that repeat, change and refuse records, and one that is normalized alone."""
    folder.mkdir()
    site = Site(folder, database)
    site.sources()
    site.load("2024-05-02.ndjson", lines(*SECOND, *LENIENT, *REFUSED))
    site.load("2024-05-03.ndjson", lines(*THIRD, *REFUSED))
    patches = [order(f"O{n}", TotalRevenue=n) for n in range(0, 80, 3)]
    site.load("2024-05-04.ndjson.gz", gzip.compress(lines(*patches, *LENIENT).encode(), mtime=0))
    site.load("2024-05-05.json", [order(f"O{n}", Email=None) for n in range(0, 80, 7)])
    site.put_at(PENDING, lines(*THIRD, *REFUSED, order("N", Email="n@x.cl")))
    (entry,) = discover(site.workspace()).pending
    archive_export(site.workspace(), entry.id)
    entry = normalize_export(site.workspace(), entry.id)
    assert entry.kept is not None and [e.status for e in site.ledger()] == ["loaded"] * 4 + ["pending"]
    return site


# -- what reads the archive ------------------------------------------------------------------------------------


def load_late(site: Site) -> list[str | None]:
    """An export older than all others, which speaks of every key."""
    return [_load(site, "2024-05-01.ndjson", lines(*_orders(0, 110, TotalQuantity=3), *LENIENT))]


def load_repeated(site: Site) -> list[str | None]:
    """An export that says again what another said."""
    return [_load(site, "2024-05-06.ndjson", lines(*THIRD, *LENIENT, order("M")))]


def load_pending(site: Site) -> list[str | None]:
    """An export that is normalized already."""
    (entry,) = (entry for entry in site.ledger() if entry.path == PENDING)
    return [load_export(site.workspace(), entry.id).error]


def reread(site: Site) -> list[str | None]:
    """Every loaded export read again."""
    workspace = site.workspace()
    loaded = [entry for entry in site.ledger() if entry.status == "loaded"]
    errors = [read_again(workspace, entry, whole=True).error for entry in loaded]
    return [None if error is None else str(error) for error in errors]


ACTIONS: Final[Mapping[str, Callable[[Site], list[str | None]]]] = {
    "late": load_late,
    "repeated": load_repeated,
    "pending": load_pending,
    "reread": reread,
}


def _load(site: Site, name: str, content: str) -> str | None:
    path = site.put(name, content)
    workspace = site.workspace()
    (entry,) = (entry for entry in discover(workspace).pending if entry.path.endswith(path.name))
    return load_export(workspace, entry.id).error


# -- trials ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of one trial.

    Attributes:
        verdict: `same`, `repaired` or `refused` where all is well, else what is wrong.
        errors: of the exports that failed.
    """

    verdict: str
    errors: list[str]

    @property
    def is_right(self) -> bool:
        """Whether the damage did no harm and, where it mattered, was named."""
        return self.verdict in ("same", "repaired", "refused")


class Trials:
    """Copies of a site, each damaged once.

    Args:
        server: makes databases.
        folder: for copies.
        packed: bytes of sections that are compressed as a whole at most; others are stored as they are.
    """

    def __init__(self, server: Database, folder: Path, packed: int = object_writer.PACKED) -> None:
        self._server = server
        self._folder = folder
        self._source = make_database(server, "migrated")
        database = next(self._source)
        with mock.patch.object(object_writer, "PACKED", packed):
            self._site = build_site(folder / "whole", database)
        self._entries = [(entry.kept or "-", entry.sha256 or "-") for entry in self._site.ledger()]
        database.engine().dispose()
        self._template = database
        self._before = contents(self._site)
        self._after = {action: self._undamaged(action) for action in ACTIONS}

    def close(self) -> None:
        """Drops the site's database."""
        for _ in self._source:
            pass

    def places(self, kind: str) -> list[Place]:
        """What there is of a kind, in the order of the exports: the pending one's last."""
        archive = self._site.settings.archive
        if kind.startswith("raw"):
            names = [f"{sha256}.zst" if kind == "raw.zst" else sha256 for _, sha256 in self._entries]
            stored = [archive / "raw" / name[:2] / name for name in names]
            return [Place(p.relative_to(archive), 0, p.stat().st_size) for p in stored if p.exists()]
        found = [place for kept, _ in self._entries for place in places_in(KeptRecords(archive, kept), kind)]
        return [place for place in found if place.end > place.start]

    def run(self, action: str, place: Place, damage: Damage, *, has_raw: bool = True) -> Outcome:
        """Damages a file of a fresh copy, does what reads it, and judges what came of it."""
        with self._copy() as site, _repairs() as repairs:
            if not has_raw:
                for raw in (site.settings.archive / "raw").glob("*/*"):
                    raw.unlink()
            damage(site.settings.archive / place.file, place.start, place.end)
            errors = [error for error in ACTIONS[action](site) if error is not None]
            found = contents(site)
        return Outcome(self._verdict(action, found, errors, str(place.file), len(repairs)), errors)

    def _verdict(self, action: str, found: Any, errors: Sequence[str], name: str, repaired: int) -> str:
        for error in errors:
            if not error.startswith(("archive_damaged: ", "archive_incomplete: ")):
                return "wrong code"
            if name not in error:
                return "path not named"
        if found != (self._before if errors and action != "reread" else self._after[action]):
            return "UNNOTICED" if not errors else "failed and changed the tables"
        return "refused" if errors else "repaired" if repaired else "same"

    def _undamaged(self, action: str) -> Any:
        with self._copy() as site:
            assert ACTIONS[action](site) == [None] * (4 if action == "reread" else 1)
            return contents(site)

    @contextmanager
    def _copy(self) -> Iterator[Site]:
        made = make_database(self._server, urlsplit(self._template.url).path.strip("/"))
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        shutil.copytree(self._site.folder, folder, dirs_exist_ok=True)
        site = Site(folder, next(made))
        try:
            yield site
        finally:
            for _ in made:
                pass
            shutil.rmtree(folder)


def contents(site: Site) -> Any:
    """Tables, rejects and counts, without what names times and runs."""
    loaded = [(entry.path, entry.counts, entry.leniencies) for entry in site.ledger() if entry.status == "loaded"]
    return site.tables(), site.rejects(), loaded


def places_in(kept: KeptRecords, kind: str) -> list[Place]:
    """The places of a section, or of the records of others that are repeated."""
    readers = [reader for reader in kept._readers if reader is not None]
    found = []
    for reader in readers[1:] if kind == "repeated" else readers[:1]:
        location = reader.location
        end = location.start + location.size
        if kind == "footer":
            found.append(Place(Path(location.path), end - location.footer, end))
        elif section := reader.footer.sections.get("records" if kind == "repeated" else kind):
            start = location.start + section.start
            found.append(Place(Path(location.path), start, start + section.size))
    return found


@contextmanager
def _repairs() -> Iterator[list[str]]:
    """What is logged as made anew meanwhile."""
    found: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "were rebuilt" in record.getMessage():
                found.append(record.getMessage())

    handler = Noting()
    before = repair.log.level, repair.log.propagate
    repair.log.addHandler(handler)
    repair.log.level, repair.log.propagate = logging.WARNING, False
    try:
        yield found
    finally:
        repair.log.removeHandler(handler)
        repair.log.level, repair.log.propagate = before


# -- damage ----------------------------------------------------------------------------------------------------


def flipped(bit: int) -> Damage:
    """Another value of one bit, counted round and round."""

    def flip(path: Path, start: int, end: int) -> None:
        content = bytearray(path.read_bytes())
        place = 8 * start + bit % (8 * (end - start))
        content[place // 8] ^= 1 << place % 8
        with path.open("r+b") as file:
            file.write(content)

    return flip


def overwritten(path: Path, start: int, end: int) -> None:
    """As many other bytes."""
    _write(path, start, random.Random(1).randbytes(end - start))


def zeroed(path: Path, start: int, end: int) -> None:
    """As many zeros, as a disk leaves them that lost a block."""
    _write(path, start, bytes(end - start))


def _write(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def cut(path: Path, start: int, end: int) -> None:
    """The file ends in the middle of them."""
    os.truncate(path, (start + end) // 2)


def emptied(path: Path, start: int, end: int) -> None:
    """Nothing is left of the file."""
    os.truncate(path, 0)


def removed(path: Path, start: int, end: int) -> None:
    """The file is gone."""
    path.unlink()


IN_PLACE: Final[Mapping[str, Damage]] = {"overwritten": overwritten, "zeroed": zeroed}
OF_FILES: Final[Mapping[str, Damage]] = {"cut": cut, "emptied": emptied, "removed": removed}


@dataclass(frozen=True)
class Flip:
    """One flipped bit, and the circumstances."""

    kind: str
    action: str
    has_raw: bool
    place: Place
    bit: int


def flips(trials: Trials, count: int, seed: int) -> Iterator[Flip]:
    """Random flips, every kind of file equally often."""
    chance = random.Random(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        action = chance.choice(list(ACTIONS))
        # Without raw bytes nothing can be made anew.
        has_raw = kind.startswith("raw") or action == "reread" or chance.random() < 0.6
        yield Flip(kind, action, has_raw, chance.choice(trials.places(kind)), chance.getrandbits(40))


@click.command()
@click.option("--flips", "count", default=900, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--packed", default=object_writer.PACKED, show_default=True)
def main(count: int, seed: int, packed: int) -> None:
    """Flips single bits and prints what came of them, by kind of file."""
    found: Counter[tuple[str, str]] = Counter()
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        server = Database(use_server(Path(folder) / "server").superuser_url, embedded=True)
        make_template(server)
        trials = Trials(server, Path(folder), packed)
        for flip in flips(trials, count, seed):
            outcome = trials.run(flip.action, flip.place, flipped(flip.bit), has_raw=flip.has_raw)
            found[flip.kind, outcome.verdict] += 1
            if not outcome.is_right:
                click.echo(f"{outcome.verdict}: {flip} {outcome.errors}")
        trials.close()
    verdicts = sorted({verdict for _, verdict in found})
    click.echo(f"{'':20}" + "".join(f"{verdict:>12}" for verdict in verdicts))
    for kind in KINDS:
        click.echo(f"{kind:20}" + "".join(f"{found[kind, verdict]:12}" for verdict in verdicts))
    click.echo(json.dumps({"flips": count, "seconds": (datetime.now(UTC) - started).seconds}))
    sys.exit(any(verdict not in ("same", "repaired", "refused") for verdict in verdicts))


if __name__ == "__main__":
    main()
