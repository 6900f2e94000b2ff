"""Law 4 with any bytes: whatever lies beside it, a good export loads, and every file ends with a code of its own.

    python -m sync_pipelines_tests.fuzz --minutes 20

runs for long, prints the outcomes by count and keeps every file that broke the law in a folder.
Belongs here: what must hold, and the long run. Does not belong here: making hostile files (`hostile_files`).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from sync_pipelines.contracts.codes import FILE_CODES, LENIENCY_CODES, REJECT_CODES
from sync_pipelines.database.embedded import use_server
from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.databases import TEMPLATE, empty_tables, make_database, make_template
from sync_pipelines_tests.hostile_files import HostileFile, good_file, hostile_file, sources
from sync_pipelines_tests.loading import Site

OURS: Final = frozenset({"unforeseen", "storage_full", "storage_unwritable", "archive_incomplete", "raw_export_gone"})
"""Codes that bytes of an export must never end with."""
SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {}, {}, {}, {"strict": True}, {"empty_is": "null"}, {"decimal": ","}, {"date_format": "%d/%m/%Y"},
    {"encoding": "latin-1"}, {"encoding": "utf-16"}, {"timezone": "America/Santiago"},
)  # fmt: skip
BATCH: Final = 60


@dataclass
class Outcomes:
    """What became of hostile files.

    Attributes:
        counts: outcome, `failed not_json` or `loaded`, -> files.
        broken: the files that broke the law, with what was seen.
        slowest: seconds of the slowest batch, for each of its files.
    """

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[HostileFile, str]] = field(default_factory=list)
    slowest: float = 0.0


def sync_beside(site: Site, seeds: Sequence[int], settings: dict[str, Any], outcomes: Outcomes) -> None:
    """Syncs hostile files beside a good one of each stream, and notes what became of them."""
    hostile = [hostile_file(seed, f"2024-06-02_{number}") for number, seed in enumerate(seeds)]
    good = [good_file(number, f"2024-06-{day}") for number in range(len(sources())) for day in ("01", "03")]
    configure(site, settings)
    for file in (*hostile, *good):
        site.put_at(file.path, file.content)
    started = time.monotonic()
    entries = {entry.path: entry for entry in site.sync()}
    outcomes.slowest = max(outcomes.slowest, (time.monotonic() - started) / len(seeds))
    reads_utf8 = "encoding" not in settings
    for file in good:
        if reads_utf8 and entries[file.path].status != "loaded":
            outcomes.broken.append((file, f"a good file: {entries[file.path].error}"))
    for file in hostile:
        entry = entries.get(file.path)
        outcome = "not taken" if entry is None else " ".join((entry.status, (entry.error or "").split(":")[0])).strip()
        outcomes.counts[outcome] += 1
        code = outcome.removeprefix("failed ")
        if outcome != "loaded" and (code not in FILE_CODES or code in OURS):
            outcomes.broken.append((file, outcome if entry is None else f"{outcome}: {entry.error}"))
    for reject in site.rejects():
        # Where a source is strict, a leniency is a reject.
        if reject["code"] not in REJECT_CODES and not (settings.get("strict") and reject["code"] in LENIENCY_CODES):
            outcomes.broken.append((hostile[0], f"unknown code {reject['code']} in {reject['path']}"))


def configure(site: Site, settings: dict[str, Any]) -> None:
    """Lists every stream's tenant with the same settings."""
    streams: dict[tuple[str, str], dict[str, Any]] = {}
    for source in sources():
        partner, tenant, stream = source.folder.split("/")
        streams.setdefault((partner, tenant), {})[stream] = settings
    listed = [{"partner": partner, "tenant": tenant, "streams": found} for (partner, tenant), found in streams.items()]
    (site.folder / "sources.yaml").write_text(json.dumps({"sources": listed}))


def run_for(seconds: float, make_site: Callable[[], Site], seed: int, keep: Path) -> Outcomes:
    """Batch after batch of new seeds until the time is over."""
    outcomes, random, until = Outcomes(), Random(seed), time.monotonic() + seconds
    batches = 0
    while time.monotonic() < until:
        settings = SETTINGS[batches % len(SETTINGS)]
        seeds = [random.getrandbits(64) for _ in range(BATCH)]
        seen = len(outcomes.broken)
        try:
            sync_beside(make_site(), seeds, settings, outcomes)
        except Exception as fault:
            outcomes.broken.append((hostile_file(seeds[0], "whole_batch"), f"{type(fault).__name__}: {fault}"))
            print(f"batch {batches} of seeds {seeds} ended with {fault!r}", file=sys.stderr)
        for file, why in outcomes.broken[seen:]:
            _keep(keep, file, why, settings)
        batches += 1
    return outcomes


def _keep(folder: Path, file: HostileFile, why: str, settings: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{file.seed}_{file.path.replace('/', '_')}"
    (folder / name).write_bytes(file.content)
    (folder / f"{name}.why").write_text(f"{file.path}\n{json.dumps(settings)}\n{why}\n")
    print(f"{name}: {why}", file=sys.stderr, flush=True)


def _site_maker(folder: Path) -> Callable[[], Site]:
    server = Database(use_server(folder / "server").superuser_url, embedded=True)
    make_template(server)
    database = next(make_database(server, TEMPLATE))

    def make() -> Site:
        empty_tables(database)
        return Site(Path(tempfile.mkdtemp(dir=folder)), database)

    return make


def main() -> int:
    """The long run; 1 where something broke the law."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for files that broke the law")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        outcomes = run_for(given.minutes * 60, _site_maker(Path(folder)), given.seed, given.keep)
    for outcome, count in outcomes.counts.most_common():
        print(f"{count:8} {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{outcomes.counts.total():8} files, {len(outcomes.broken)} broke the law; peak memory {peak} MB")
    return 1 if outcomes.broken else 0


if __name__ == "__main__":
    sys.exit(main())
