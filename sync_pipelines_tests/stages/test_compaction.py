"""Small objects are merged, and nobody can tell but by their number: killed, damaged, named by others, in use.

The compaction that is killed runs in forked children of one helper process, beside loads of this one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sync_pipelines.database import kept_objects
from sync_pipelines.kept import merging
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.locations import Location, objects_in, to_location
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.stages import compaction
from sync_pipelines.stages.compaction import Compacted, compact
from sync_pipelines.stages.file_cleanup import clear_files
from sync_pipelines.stages.replay import read_again
from sync_pipelines_tests.examples import rounds
from sync_pipelines_tests.loading import Site, item, lines, order
from sync_pipelines_tests.normalize.keeping_in import everything

KILLS = rounds(20, at_least=8)
DAY = 24 * 3600.0

FORKS = """
import os, sys
from pathlib import Path
from sync_pipelines.database.postgres import Database
from sync_pipelines.stages import compaction
from sync_pipelines_tests.loading import Site

folder, url = sys.argv[1:]
compaction.MERGED_AT_ONCE = 1
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        workspace = Site(Path(folder), Database(url)).workspace()
        while True:
            compaction.compact(workspace)
    print(child, flush=True)
    if not sys.stdin.readline():
        os.kill(child, 9)
    os.waitpid(child, 0)
"""


def export(day: int) -> list[dict[str, Any]]:
    """Ten orders, of which one is of this day alone, one changes every day, and the others change now and then."""
    changing = [
        order(f"O{n}", Email=f"o{n}@x.cl", TotalRevenue=day // (n + 1), OrderItems=[item(Quantity=n + 1)])
        for n in range(9)
    ]
    return [*changing, order(f"D{day}", Email=f"d{day}@x.cl", TotalQuantity=day)]


def name_of(day: int) -> str:
    return f"2024-05-{day:02}.ndjson"


LATE = [order(f"O{n}", TotalQuantity=n, TotalRevenue=1000) for n in range(12)]


def objects(site: Site) -> list[str]:
    return [stored.name for stored in open_store(site.settings.archive).list()]


def named(site: Site) -> set[str]:
    return set().union(*(objects_in(entry.kept or "-") for entry in site.ledger()))


def kept_in(site: Site) -> dict[str, Any]:
    archive = site.settings.archive
    return {
        entry.path: everything(KeptRecords(archive, entry.kept or "-"), [0, 3], ["external_id"])
        for entry in site.ledger()
    }


def own(site: Site, number: int) -> Location:
    place = to_location((site.ledger()[number].kept or "-").split()[0])
    assert place is not None
    return place


@pytest.fixture
def loaded(site: Site) -> Site:
    """A site with twelve small exports, each of which repeats lines of others."""
    site.sources()
    for day in range(1, 13):
        site.load(name_of(day), lines(*export(day)))
    return site


def test_small_objects_become_one_and_say_the_same(loaded: Site) -> None:
    before = kept_in(loaded)
    assert len(objects(loaded)) == len(named(loaded)) == 12
    done = compact(loaded.workspace())
    assert (done.merged, done.into) == (12, 1)
    assert len(named(loaded)) == 1
    assert kept_in(loaded) == before
    assert compact(loaded.workspace()) == Compacted()


def loaded_after_late(site: Site) -> Site:
    """A site whose late export came first, and then the twelve that `loaded` has."""
    site.sources()
    site.load("2024-04-01.ndjson", lines(*LATE))
    for day in range(1, 13):
        site.load(name_of(day), lines(*export(day)))
    return site


def test_what_was_merged_goes_a_day_later_and_nothing_misses_it(loaded: Site, fresh_site: Callable[[], Site]) -> None:
    before, merged = loaded.tables(), objects(loaded)
    compact(loaded.workspace())
    rounds = [clear_files(loaded.workspace(), time.time() + days * DAY).objects.entries for days in (0, 0.9, 1.1)]
    assert rounds == [0, 0, 12]
    assert set(objects(loaded)) == named(loaded) and not named(loaded) & set(merged)
    for entry in loaded.ledger():
        assert read_again(loaded.workspace(), entry, whole=True).error is None
    assert loaded.tables() == before
    loaded.load("2024-04-01.ndjson", lines(*LATE))
    found = loaded.tables()

    clean = loaded_after_late(fresh_site())
    assert found == clean.tables()


def test_fewer_than_ten_of_a_size_are_left(site: Site) -> None:
    site.sources()
    for day in range(1, 10):
        site.load(name_of(day), lines(*export(day)))
    assert compact(site.workspace()) == Compacted()


def test_streams_are_merged_apart_and_waiting_exports_not_at_all(loaded: Site) -> None:
    for day in range(1, 13):
        loaded.load_at(f"traede/acme/customers/2024-05-{day:02}.json", [{"customer_number": "1", "name": f"N{day}"}])
    loaded.load("2024-06-01.ndjson", "[")
    waiting = loaded.ledger()[0].kept
    with loaded.database.connect(autocommit=True) as connection:
        connection.execute("update sync.export_files set status = 'failed' where kept = %s", [waiting])
    done = compact(loaded.workspace())
    assert (done.merged, done.into) == (23, 2)
    assert waiting in {entry.kept for entry in loaded.ledger()}


def test_large_exports_stay_as_they_are(loaded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LARGEST_PART", 1 + sorted(own(loaded, n).size for n in range(12))[-2])
    assert compact(loaded.workspace()).merged == 11


def test_a_damaged_part_stays_and_the_others_are_merged(loaded: Site) -> None:
    place = own(loaded, 3)
    path = loaded.settings.archive / place.path
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    before = loaded.ledger()[3].kept
    assert compact(loaded.workspace()).merged == 12
    assert (loaded.ledger()[3].kept or "").split()[0] == (before or "").split()[0]
    assert len({own(loaded, n).name for n in range(12) if n != 3}) == 1
    # Its raw bytes are whole.
    assert loaded.load("2024-04-01.ndjson", lines(*LATE)).status == "loaded"


def test_an_object_that_is_gone_stays_named(loaded: Site) -> None:
    open_store(loaded.settings.archive).remove(own(loaded, 3).name)
    before = loaded.ledger()[3].kept
    assert compact(loaded.workspace()).merged == 11
    assert (loaded.ledger()[3].kept or "").split()[0] == (before or "").split()[0]


def test_an_entry_that_somebody_is_at_work_on_stays(loaded: Site) -> None:
    entry = loaded.ledger()[0]
    with loaded.database.connect() as connection:
        connection.execute("select from sync.export_files where id = %s for update", [entry.id])
        assert compact(loaded.workspace()).into == 1
    assert loaded.ledger()[0].kept == entry.kept
    assert len(named(loaded)) == 2
    clear_files(loaded.workspace(), time.time() + DAY), clear_files(loaded.workspace(), time.time() + 3 * DAY)
    assert set(objects(loaded)) == named(loaded)


def test_an_entry_that_was_kept_anew_meanwhile_stays(loaded: Site) -> None:
    entry, other = loaded.ledger()[:2]
    kept, others = entry.kept or "-", other.kept or "-"
    with loaded.database.connect(autocommit=True) as connection:
        done = kept_objects.repoint(connection, {entry.id: ("records/other", "new"), other.id: (others, kept)})
    assert done == {other.id}
    assert [e.kept for e in loaded.ledger()[:2]] == [kept, kept]


def test_merged_objects_are_merged_again_with_those_of_their_size(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_SMALLEST", 4_000)
    monkeypatch.setattr(compaction, "MERGED_AT_ONCE", 3)
    site.sources()
    rounds = []
    for day in range(1, 28):
        site.load(name_of(day), lines(*export(day)))
        rounds.append(compact(site.workspace()).into)
    assert sum(rounds) > 9 and len(named(site)) < 9
    assert site.load("2024-04-01.ndjson", lines(*LATE)).status == "loaded"


def test_no_record_is_lost_when_it_is_killed_at_any_moment(loaded: Site, fresh_site: Callable[[], Site]) -> None:
    chance = random.Random(7)
    seen = set[str]()
    with forks(loaded) as process:
        for day in range(13, 13 + KILLS):
            child = ask(process)
            time.sleep(0.05)
            entry = loaded.load(f"2024-06-{day - 12:02}.ndjson", lines(*export(day)))
            assert entry.status == "loaded", entry.error
            time.sleep(chance.random() / 5)
            os.kill(child, signal.SIGKILL)
            seen |= {own(loaded, 0).name}
            ask(process, "wait")
    assert len(seen) > KILLS / 2, "something was merged beside the loads"
    for days in (0, 2, 4):
        clear_files(loaded.workspace(), time.time() + days * DAY)
    assert set(objects(loaded)) == named(loaded)
    assert not any((loaded.settings.archive / "tmp").iterdir())
    before = loaded.tables()
    for entry in loaded.ledger():
        KeptRecords(loaded.settings.archive, entry.kept or "-").verify_all(set())
        assert read_again(loaded.workspace(), entry, whole=True).error is None
    assert loaded.tables() == before
    assert loaded.load("2024-04-01.ndjson", lines(*LATE)).status == "loaded"
    found = loaded.tables()

    clean = loaded_after_late(fresh_site())
    for day in range(13, 13 + KILLS):
        clean.load(f"2024-06-{day - 12:02}.ndjson", lines(*export(day)))
    assert found == clean.tables()


def ask(process: subprocess.Popen[str], line: str = "begin") -> int:
    """Begins a compaction without end and returns its process id, or waits until it was killed."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return int(process.stdout.readline()) if line == "begin" else 0


@contextmanager
def forks(site: Site) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", FORKS, str(site.folder), site.database.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()
        assert process.wait() == 0
