"""A process that syncs a site whenever it is told to, with random pauses between stages and between statements.

Run as `python -m sync_pipelines_tests.workers`: each line on stdin is a job (JSON), each line on stdout its answer.
Belongs here: the worker, and the handle tests hold it by. Does not belong here: assertions, landings.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from sync_pipelines.database import ledger_changes
from sync_pipelines.database.postgres import Database
from sync_pipelines.stages.export_stages import archive_export, discover, load_export, normalize_export
from sync_pipelines_tests.loading import Site

LONGEST_PAUSE = 0.004
STATEMENTS_PAUSED = 0.1


@dataclass(frozen=True)
class Job:
    """A sync to run.

    Attributes:
        folder, url: of the site.
        seed: of the pauses and of the order of files.
        stream: `partner/stream`, or None for all.
        shuffles: whether files are loaded in any order rather than in version order.
    """

    folder: str
    url: str
    seed: int
    stream: str | None = None
    shuffles: bool = False


@dataclass
class Worker:
    """The process as a test holds it."""

    process: subprocess.Popen[str]

    def begin(self, site: Site, seed: int, stream: str | None = None, *, shuffles: bool = False) -> None:
        """Starts a sync of a site."""
        job = Job(str(site.folder), site.database.url, seed, stream, shuffles)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(job)) + "\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Waits for the sync; empty, or what went wrong."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        return str(json.loads(answer)) if answer else "the worker is gone"


@contextmanager
def worker() -> Iterator[Worker]:
    """A worker, until the block ends."""
    command = [sys.executable, "-m", "sync_pipelines_tests.workers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Worker(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def sync(job: Job, rng: random.Random) -> None:
    """Looks at the landing and takes each export through its stages, pausing here and there."""
    site = Site(Path(job.folder), Database(job.url))
    partner, _, name = (job.stream or "").partition("/")
    workspace = site.workspace()
    _pause(rng)
    found = discover(workspace, partner or None, name or None)
    entries = found.pending
    if job.shuffles:
        rng.shuffle(entries)
    with workspace.connection() as connection:
        for entry in entries:
            ledger_changes.mark_pending(connection, entry.id)
    for entry in entries:
        # As the command line does, stage by stage, or as a load that takes the earlier stages up by itself.
        for stage in rng.choice([(archive_export, normalize_export, load_export), (load_export,), (load_export,)]):
            _pause(rng)
            stage(workspace, entry.id)


def _pause(rng: random.Random) -> None:
    time.sleep(rng.random() * LONGEST_PAUSE)


def _pausing(rng: random.Random) -> None:
    """Makes some statements of this process wait before they run, those in the middle of a transaction too."""
    execute = psycopg.Connection.execute

    def execute_late(connection: Any, *arguments: Any, **named: Any) -> Any:
        if rng.random() < STATEMENTS_PAUSED:
            _pause(rng)
        return execute(connection, *arguments, **named)

    psycopg.Connection.execute = execute_late  # type: ignore[method-assign,assignment]


def main() -> None:
    """Answers jobs until stdin ends."""
    rng = random.Random()
    _pausing(rng)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        rng.seed(job.seed)
        fault = ""
        try:
            sync(job, rng)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        print(json.dumps(fault), flush=True)


if __name__ == "__main__":
    main()
