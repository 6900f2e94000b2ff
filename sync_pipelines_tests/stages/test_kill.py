"""Nothing lost, nothing doubled (law 2): a sync that is killed, cut off or run twice at once, then a sync to the end.

Syncs run in forked children of one helper process, so that a kill costs no start of Python.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.database.postgres import Database
from sync_pipelines.upsert.record_outcomes import stored_outcomes
from sync_pipelines_tests.databases import TEMPLATE, make_database
from sync_pipelines_tests.examples import rounds
from sync_pipelines_tests.loading import Site, deleted, item, lines, order, posted

KILLS = rounds(20, at_least=8)
CUTS = 5

FORKS = """
import os, sys
from pathlib import Path
from sync_pipelines.database.postgres import Database
from sync_pipelines.errors import DatabaseUnavailable
from sync_pipelines_tests.loading import Site

for line in sys.stdin:
    folder, url = line.split()
    child = os.fork()
    if child == 0:
        try:
            Site(Path(folder), Database(url)).sync()
        except DatabaseUnavailable:
            os._exit(3)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # until then a child that ended keeps its process id
    print(os.waitpid(child, 0)[1], flush=True)
"""


@dataclass
class Forks:
    """A process that forks a sync for every line it is given."""

    process: subprocess.Popen[str]

    def begin(self, site: Site) -> int:
        """Starts a sync; returns its process id."""
        self._say(f"{site.folder} {site.database.url}")
        return int(self._line())

    def end(self) -> int:
        """Waits for the sync; returns how it ended, as `os.waitpid` says."""
        self._say("wait")
        return int(self._line())

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture
def forks() -> Iterator[Forks]:
    yield from _forks()


def _forks() -> Iterator[Forks]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FORKS], **pipes) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()


def put_story(site: Site) -> None:
    """Files of every kind: plain, flat, a log with deletes, late ones, rejects, one that fails."""
    rng = random.Random(2)
    keys = [f"k{n}" for n in range(400)]
    site.put("2024-05-01.ndjson", lines(*(_order(rng, key) for key in keys)))
    site.put("2024-05-02.ndjson", lines(*(_event(rng, keys) for _ in range(300))))
    rows = (f"{rng.choice(keys)},USD,a{n % 9}@x.y,p{n},s,{n},1.5" for n in range(300))
    site.put("2024-05-03.csv", "\n".join(("OrderId,Currency,Email,ProductId,Sku,Quantity,Price", *rows)))
    site.put(
        "2024-05-04.json", [_order(rng, key) for key in keys[::3]] + [{"OrderId": "bad"}, 5, order("k1", Currency="?")]
    )
    site.put("2024-05-05.json", "[")
    site.put("2024-05-06.json", [_order(rng, key) for key in keys[::5]])


def _order(rng: random.Random, key: str) -> dict[str, Any]:
    return order(
        key,
        Email=f"c{rng.randint(1, 50)}@x.y",
        TotalQuantity=rng.randint(1, 3),
        Note=rng.randint(1, 3),
        OrderItems=[item(f"p{n}", Price=n) for n in range(rng.randint(0, 3))],
    )


def _event(rng: random.Random, keys: list[str]) -> dict[str, Any]:
    at, key = f"2024-05-{rng.randint(1, 6):02}T{rng.randint(0, 23):02}:00:00Z", rng.choice(keys)
    return deleted(at, key) if rng.random() < 0.2 else posted(at, _order(rng, key))


def outcome_of(site: Site) -> Any:
    ledger = [(e.path, e.revision, e.status, e.counts, e.leniencies, e.lines, e.sha256) for e in site.ledger()]
    rejects = [{name: value for name, value in reject.items() if name != "id"} for reject in site.rejects()]
    with site.database.connect() as connection:
        stored = [stored_outcomes(connection, e.id) for e in site.ledger()]
    return site.tables(), ledger, rejects, [None if codes is None else codes.tolist() for codes in stored]


def sites(server: Database, folder: Path, number: int) -> Iterator[Site]:
    """Fresh sites with the story put down, one after the other."""
    for n in range(number):
        for database in make_database(server, TEMPLATE):
            (folder / str(n)).mkdir(parents=True)
            site = Site(folder / str(n), database)
            put_story(site)
            yield site


@dataclass(frozen=True)
class Clean:
    """A load that nothing disturbed, and how long a forked one takes."""

    outcome: Any
    seconds: float


@pytest.fixture(scope="module")
def clean(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    folder = tmp_path_factory.mktemp("clean")
    (forks,), seconds, outcome = [_forks()], 0.0, None
    for running in forks:
        for site in sites(server, folder, 2):
            begun = time.monotonic()
            running.begin(site)
            assert running.end() == 0
            seconds = time.monotonic() - begun
            assert outcome in (None, outcome_of(site))
            outcome = outcome_of(site)
    return Clean(outcome, seconds)


def test_the_story_has_all_there_is(clean: Clean) -> None:
    tables, ledger, rejects, stored = clean.outcome
    totals = {name: sum(entry[3][name] for entry in ledger) for name in ledger[0][3]}
    assert all(
        totals[name] for name in ("created", "updated", "unchanged", "stale", "deleted", "not_found", "rejected")
    )
    assert {entry[2] for entry in ledger} == {"loaded", "failed"}
    assert len(rejects) == 3
    assert sum(len(codes) for codes in stored if codes) == totals["read"] - 3
    assert len(tables["customers"]) > 50


def test_law_2_killed_at_any_moment_the_next_sync_completes_it(
    server: Database, clean: Clean, forks: Forks, tmp_path: Path
) -> None:
    rng = random.Random(KILLS)
    moments = [(n + rng.random()) / KILLS for n in range(KILLS)]
    rng.shuffle(moments)
    seconds, unfinished = clean.seconds, []
    for site in sites(server, tmp_path, 3 * KILLS):
        child, begun = forks.begin(site), time.monotonic()
        time.sleep(seconds * moments[-1])
        os.kill(child, signal.SIGKILL)
        elapsed = time.monotonic() - begun
        if forks.end() == signal.SIGKILL:
            moments.pop()
        else:
            seconds = min(seconds, elapsed)
        unfinished.append(sum(entry.status != "loaded" for entry in site.ledger()))
        site.sync()
        assert outcome_of(site) == clean.outcome, f"killed after {elapsed:.3f} s"
        if not moments:
            break
    assert not moments
    assert len(set(unfinished)) > 2, "the kills should be spread over the files"


def test_law_2_cut_off_from_the_database_the_next_sync_completes_it(
    server: Database, clean: Clean, forks: Forks, tmp_path: Path
) -> None:
    rng = random.Random(CUTS)
    for n, site in enumerate(sites(server, tmp_path, CUTS)):
        forks.begin(site)
        time.sleep(clean.seconds * (n + rng.random()) / CUTS)
        name = site.database.url.split("?")[0].rsplit("/", 1)[-1]
        with server.connect(autocommit=True) as connection:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        assert forks.end() in (0, 3 << 8)
        site.sync()
        assert outcome_of(site) == clean.outcome


def test_law_2_two_workers_on_the_same_files(server: Database, clean: Clean, forks: Forks, tmp_path: Path) -> None:
    for other in _forks():
        for site in sites(server, tmp_path, 3):
            forks.begin(site)
            other.begin(site)
            assert (forks.end(), other.end()) == (0, 0)
            tables, ledger, *others = outcome_of(site)
            assert (tables, *others) == (clean.outcome[0], *clean.outcome[2:])
            assert ledger == clean.outcome[1]
