"""The sample through the sync: every outcome of law 3, no failed file, the same tables when late files come last."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from sync_pipelines.database import Database
from sync_pipelines.sample import SampleFile, SampleSummary, write_sample
from sync_pipelines.settings import Settings
from sync_pipelines.sync import Workspace, discover, load_all, open_workspace

OUTCOMES = ("created", "updated", "unchanged", "stale", "deleted", "not_found", "rejected")


def small_sample(folder: Path) -> SampleSummary:
    return write_sample(folder, days=8, orders=240)


def synced(workspace: Workspace) -> Counter[str]:
    """Loads what is pending and counts the outcomes; no file may fail."""
    counts: Counter[str] = Counter()
    for entry in load_all(workspace, discover(workspace).pending):
        assert (entry.status, entry.error) == ("loaded", None), entry.path
        counts.update({outcome: getattr(entry, outcome) for outcome in ("read", *OUTCOMES)})
    return counts


def put(files: list[SampleFile], source: Path, landing: Path) -> None:
    for file in files:
        (landing / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / file.path, landing / file.path)


def tables(database: Database) -> list[Any]:
    with database.connect() as connection:
        return [
            connection.execute(question).fetchall()
            for question in (
                "select tenant, external_id, email, customer_external_id, total_quantity, total_revenue, ordered_at,"
                " currency, is_cancelled, extra, deleted_at from sync.orders order by tenant, external_id",
                "select o.tenant, o.external_id, i.line_no, i.product_id, i.sku, i.quantity, i.price, i.size, i.extra"
                " from sync.order_items i join sync.orders o on o.id = i.order_id"
                " order by o.tenant, o.external_id, i.line_no",
                "select tenant, partner, external_id, is_placeholder from sync.customers"
                " order by tenant, partner, external_id",
            )
        ]


def test_one_sync_shows_every_outcome(settings: Settings, tmp_path: Path) -> None:
    sample = small_sample(settings.home / "landing")
    counts = synced(open_workspace(settings))
    assert all(counts[outcome] for outcome in OUTCOMES), counts
    assert counts["read"] == sum(counts[outcome] for outcome in OUTCOMES)
    assert counts["read"] >= sample.records
    assert counts["rejected"] < 0.05 * counts["read"]


def test_law_1_late_files_last_end_in_the_same_tables(
    settings: Settings, bare_database: Database, tmp_path: Path
) -> None:
    sample = small_sample(tmp_path / "sample")
    put(list(sample.files), sample.dest, settings.home / "landing")
    synced(open_workspace(settings))

    other = Settings(home=tmp_path / "other", database_url=bare_database.url, sources=settings.sources)
    workspace = open_workspace(other)
    put([file for file in sample.files if file.kind != "late"], sample.dest, other.home / "landing")
    before = synced(workspace)
    put([file for file in sample.files if file.kind == "late"], sample.dest, other.home / "landing")
    late = synced(workspace)
    assert before["read"] and late["stale"] and late["created"]
    assert tables(Database(bare_database.url)) == tables(Database(str(settings.database_url)))
