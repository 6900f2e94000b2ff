"""Law 1 where exports repeat one another: records kept by reference outlive what is done to the export they came from.

Exports are read again (`replay`), come late, name one another's files in chains; the tables end as a clean load in
version order leaves them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.stages.file_cleanup import clear_files
from sync_pipelines.stages.replay import read_again
from sync_pipelines_tests import test_laws_identity as identity
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, item, lines, order, outcomes
from sync_pipelines_tests.test_laws import comparable, log_line, record
from sync_pipelines_tests.test_laws_partners import commerce, customer

DAYS = [datetime(2024, 3, day, tzinfo=UTC) for day in range(1, 6)]
STREAMS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    f"replenit/{TENANT}/orders": st.one_of(record, record, log_line()),
    "reten/acme/commerces": commerce,
    "nilo/acme/stores": st.one_of(identity.whole_store, identity.part_store, identity.store_call()),
    "traede/acme/customers": customer,
    "pocketflows/acme/businesses": identity.business,
    "pocketflows/acme/customers": st.one_of(identity.customer, identity.customer_call()),
}

TABLES = {
    "nilo/acme/stores": ("stores",),
    "pocketflows/acme/businesses": ("commerces",),
    "pocketflows/acme/customers": ("commerces", "customers"),
}


def kept_of(site: Site, entry: LedgerFile) -> KeptRecords:
    return KeptRecords(site.settings.archive, entry.kept or "-")


def from_elsewhere(kept: KeptRecords) -> int:
    """How many records are in other exports' objects."""
    return 0 if kept.places is None else int(np.count_nonzero(kept.places.files))


def entry_at(site: Site, path: str) -> LedgerFile:
    return next(entry for entry in site.ledger() if entry.path == path)


def clear_unnamed(site: Site) -> int:
    """How many objects housekeeping removes within some days."""
    days = (time.time() + 24 * 3600 * number for number in range(4))
    return sum(clear_files(site.workspace(), now).objects.entries for now in days)


def read_whole(site: Site, path: str) -> None:
    export = read_again(site.workspace(), entry_at(site, path), whole=True)
    assert export.error is None


def load(site: Site, exports: Sequence[identity.Export]) -> None:
    for export in exports:
        entry = site.load_at(export.path, lines(*export.entries))
        assert entry.status == "loaded", entry.error
        assert entry.read == sum(count for name, count in entry.counts.items() if name != "read")


def in_version_order(exports: Sequence[identity.Export]) -> list[identity.Export]:
    return sorted(exports, key=lambda export: (export.day, export.path))


@st.composite
def history(draw: st.DrawFn, folder: str) -> list[identity.Export]:
    """Exports in the order they come in, most of what they say said before."""
    said = draw(st.lists(STREAMS[folder], min_size=2, max_size=4))
    exports = []
    for number in range(draw(st.integers(3, 5))):
        day = draw(st.sampled_from(DAYS))
        new = draw(st.lists(STREAMS[folder], max_size=1))
        entries = draw(st.permutations([*draw(st.lists(st.sampled_from(said), min_size=1, max_size=4)), *new]))
        said += new
        exports.append(identity.Export(f"{folder}/{day.date()}_{number}.ndjson", day, tuple(entries)))
    return exports


@pytest.mark.parametrize("folder", list(STREAMS))
@examples(4)
@given(data=st.data())
def test_law_1_of_exports_that_repeat_one_another(
    fresh_site: Callable[[], Site], folder: str, data: st.DataObject
) -> None:
    exports = data.draw(history(folder))
    clean = fresh_site()
    load(clean, in_version_order(exports))
    expected = contents(clean, folder)
    site = fresh_site()
    late = data.draw(st.integers(1, len(exports) - 1))
    load(site, exports[:late])
    for export in data.draw(st.lists(st.sampled_from(exports[:late]), max_size=2)):
        read_whole(site, export.path)
    load(site, exports[late:])
    assert contents(site, folder) == expected


def contents(site: Site, folder: str) -> Any:
    """Rows without ids and last write, and the refusals that stand."""
    if folder in TABLES:
        return identity.comparable(site, *TABLES[folder])
    tables, refused = comparable(site)
    return tables, [reject[:-1] for reject in refused if reject[-1] != "resolved"]


A = [order(f"K{n}", Email=f"c{n}@x.cl", TotalQuantity=n, OrderItems=[item("p")]) for n in range(1, 9)]
B = [*A[:3], order("K4", Email="c4@x.cl", TotalQuantity=40), *A[4:], order("K9", Email="c9@x.cl")]
LATE = [order(f"K{n}", Email=f"c{n}@x.cl", UniqueQuantity=7, OrderItems=[item("q")]) for n in (1, 4, 9)]
FOLDER = f"replenit/{TENANT}/orders"


def chain(site: Site) -> None:
    """B repeats A but for one record, C repeats B but for another."""
    site.load("2024-05-02.ndjson", lines(*A))
    site.load("2024-05-03.ndjson", lines(*B))
    site.load("2024-05-04.ndjson", lines(order("K2", Email="c2@x.cl", TotalQuantity=20), *B[2:]))
    assert [from_elsewhere(kept_of(site, entry)) for entry in site.ledger()][-3:] == [0, 7, 7]


def test_what_was_repeated_is_read_when_the_first_export_is_kept_anew(
    fresh_site: Callable[[], Site],
) -> None:
    clean = fresh_site()
    clean.load("2024-05-01.ndjson", lines(*LATE))
    chain(clean)
    expected = clean.tables()

    site = fresh_site()
    chain(site)
    first = entry_at(site, f"{FOLDER}/2024-05-02.ndjson")
    read_whole(site, first.path)
    assert entry_at(site, first.path).kept != first.kept
    assert not clear_unnamed(site), "the object that has the records is named by others"
    assert outcomes(site.load("2024-05-01.ndjson", lines(*LATE))) == {"updated": 3}
    assert site.tables() == expected


def test_a_repeat_under_other_settings_is_read_as_they_say(fresh_site: Callable[[], Site]) -> None:
    lenient = [*A[:2], order("K3", Email="c3@x.cl", TotalQuantity="3")]
    site = fresh_site()
    site.load("2024-05-02.ndjson", lines(*lenient))
    site.sources({"strict": True})
    entry = site.load("2024-05-03.ndjson", lines(*lenient))
    assert (outcomes(entry), from_elsewhere(kept_of(site, entry))) == ({"unchanged": 2, "rejected": 1}, 0)
    for path in (f"{FOLDER}/2024-05-02.ndjson", entry.path):
        read_whole(site, path)
    assert outcomes(site.load("2024-05-01.ndjson", lines(*LATE)))["created"] == 2

    clean = fresh_site()
    clean.sources({"strict": True})
    clean.load("2024-05-01.ndjson", lines(*LATE))
    for day in (2, 3):
        clean.load(f"2024-05-0{day}.ndjson", lines(*lenient))
    assert site.tables() == clean.tables()


def test_the_raw_bytes_may_go(site: Site) -> None:
    chain(site)
    before = site.tables()
    last = entry_at(site, f"{FOLDER}/2024-05-04.ndjson")
    records = [r for b in kept_of(site, last).blocks() for r in b.to_pylist()]
    shutil.rmtree(site.settings.archive / "raw")
    assert [r for b in kept_of(site, last).blocks() for r in b.to_pylist()] == records
    assert {r["effective_at"] for r in records} == {datetime(2024, 5, 4, tzinfo=UTC)}
    assert [r["position"] for r in records] == [f"{n}" for n in range(1, 9)]
    assert site.tables() == before
