"""Blocks, pages, chunks and caches of any size give the same tables, outcomes and rejects (laws 1, 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines_tests.loading import TENANT, Site, item, order
from sync_pipelines_tests.upsert.test_fast_ways import loaded

RECORDS: Final = 24
FILES: Final[tuple[dict[str, float], ...]] = ({}, {"changed": 0.3}, {"changed": 0.1, "new": 0.2}, {"new": 0.3})
LATE: Final = [1, 0, 3, 2]
"""The order of arrival: half of the files are late."""
SIZES: Final = (
    "exports.lines.BLOCK_LINES",
    "kept.kept_records.BLOCK",
    "kept.kept_writer.BLOCK",
    "kept.kept_writer._AT_ONCE",
    "kept.record_groups.BLOCK",
    "normalize.link_columns._REMEMBERED",
    "normalize.objects._REMEMBERED",
    "upsert.column_changes.REMEMBERED",
    "upsert.copying._BLOCK",
    "upsert.copying._DRAWN",
    "upsert.folding._KEYS_AT_ONCE",
    "upsert.id_cache._SMALL",
    "upsert.key_index._PAGES_AT_ONCE",
    "upsert.key_index._PAIRS_AT_ONCE",
    "upsert.key_index._PROBES_AT_ONCE",
    "upsert.key_pages.PAIRS_A_PAGE",
    "upsert.new_rows.CHUNK",
    "upsert.new_rows.MANY",
    "upsert.references._CACHED",
    "upsert.stored_rejects._AT_ONCE",
    "upsert.unchanged._AT_ONCE",
)


def records_of(stream: str, new: float = 0.0, changed: float = 0.0) -> list[dict[str, Any]]:
    """Clean records of a stream, shares of which are new or say something else."""
    if stream in BULK:
        return [*bulk_records(stream, RECORDS, new=new, changed=changed)]
    first, others = round(new * RECORDS), round(changed * RECORDS)
    return [
        order(
            f"k{number}",
            Email=f"{number % 7}@x.cl",
            TotalQuantity=2 if number < first + others else 1,
            OrderItems=[item(f"P{place}") for place in range(number % 3)],
        )
        for number in range(first, first + RECORDS)
    ]


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("stream", ["replenit/orders", *BULK])
def test_blocks_of_any_size_end_in_the_same_tables(
    fresh_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch, stream: str, size: int
) -> None:
    partner, name = stream.split("/")
    folder = f"{partner}/{TENANT if partner == 'replenit' else 'acme'}/{name}"
    exports: list[tuple[str, list[dict[str, Any]]]] = [
        (f"{folder}/2024-03-{day:02}.ndjson", records_of(stream, **shares)) for day, shares in enumerate(FILES, 1)
    ]
    plan = [[index] for index in LATE]
    expected = loaded(fresh_site(), exports, plan)

    monkeypatch.setattr("sync_pipelines.normalize.plain._FEWEST", 1)
    monkeypatch.setattr("sync_pipelines.upsert.key_index.MERGED_AT_ONCE", 2)
    monkeypatch.setattr("sync_pipelines.upsert.history._FEW", 2)
    for constant in SIZES:
        monkeypatch.setattr(f"sync_pipelines.{constant}", size)

    assert loaded(fresh_site(), exports, plan) == expected
