"""The sample through the sync: every outcome of law 3, no failed file, and law 1 on all partners together."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.database.reports import RejectFilter
from sync_pipelines.partners import STREAMS
from sync_pipelines.sample_data import SampleFile, SampleSummary, sample_sources, write_sample
from sync_pipelines.stages.release import release
from sync_pipelines.stages.replay import replay_rejects
from sync_pipelines_tests.loading import Site, call, lines
from sync_pipelines_tests.test_laws_partners import contents

OUTCOMES = ("created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected")
TAKEN_BACK = {"replenit/orders", "nilo/stores", "traede/customers"}
Counts = dict[str, Counter[str]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return write_sample(tmp_path_factory.mktemp("sample"), days=6, orders=90)


def synced(site: Site) -> Counts:
    """Loads what is pending and counts the outcomes of each stream; no file may fail."""
    counts: Counts = {}
    for entry in site.sync():
        assert (entry.status, entry.error) == ("loaded", None), entry.path
        of_stream = counts.setdefault(f"{entry.partner}/{entry.stream}", Counter())
        of_stream.update({outcome: getattr(entry, outcome) for outcome in ("read", *OUTCOMES)})
    return counts


def put(site: Site, sample: SampleSummary, files: Iterable[SampleFile]) -> None:
    for file in files:
        (site.landing / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(sample.dest / file.path, site.landing / file.path)


def sample_site(site: Site) -> Site:
    (site.folder / "sources.yaml").write_text(sample_sources())
    return site


def decided_again(site: Site) -> None:
    """Replays every reject: blocked deletes are weighed against all orders, the others stay what they are."""
    before = told(site, blocked(site))
    replayed = list(replay_rejects(site.workspace(), RejectFilter(status=None)))
    assert replayed and all(export.error is None for export in replayed)
    assert told(site, blocked(site)) == before


def told(site: Site, aside: frozenset[str]) -> Any:
    """The tables, contacts and open refusals without the customers whose deletes were blocked."""
    tables, contacts, _ = contents(site)
    tables["customers"] = {key: row for key, row in tables["customers"].items() if key[2] not in aside}
    refused = [
        (reject["path"], reject["position"], reject["code"])
        for reject in site.rejects()
        if reject["status"] != "resolved" and reject["external_id"] not in aside
    ]
    return tables, contacts, refused


def blocked(site: Site) -> frozenset[str]:
    return frozenset(reject["external_id"] for reject in site.rejects() if reject["code"] == "delete_blocked")


def test_one_sync_shows_every_outcome(site: Site, sample: SampleSummary) -> None:
    site.has_guards = True
    put(sample_site(site), sample, sample.files)
    counts = synced(site)

    total = sum(counts.values(), Counter())
    assert all(total[outcome] for outcome in OUTCOMES), total
    assert total["read"] == sum(total[outcome] for outcome in OUTCOMES)
    assert total["read"] >= sample.records
    assert total["rejected"] < 0.06 * total["read"]
    assert set(counts) == {stream.full_name for stream in STREAMS}
    for stream, found in counts.items():
        assert all(found[outcome] for outcome in ("created", "updated", "unchanged", "stale", "rejected")), stream
        assert (found["deleted"] > 0) is (found["not_found"] > 0) is (stream in TAKEN_BACK), stream
        assert (found["blocked"] > 0) is (stream == "traede/customers")
    assert blocked(site)
    check_links(site)


def test_exports_that_would_delete_or_reject_nearly_everything_are_held(site: Site, tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "sample", days=2, orders=500)
    chosen = [file for file in sample.files if file.path.startswith(("replenit", "traede"))]
    site.has_guards = True
    put(sample_site(site), sample, chosen)
    synced(site)
    (orders,) = site.query("select tenant, array_agg(external_id) as keys from sync.live_orders group by 1 limit 1")
    (customers,) = site.query("select array_agg(external_id) as keys from sync.live_customers where partner = 'traede'")
    folder, log = f"replenit/{orders['tenant']}/orders", "/orders/" + orders["tenant"]
    gone = [key for key in orders["keys"] if key is not None][: int(0.9 * len(orders["keys"]))]
    at = "2026-07-01T10:00:00Z"
    harmful: dict[str, tuple[Any, str]] = {
        f"{folder}/requests_2026-07-01.ndjson": (
            lines(*(call(at, "DELETE", f"{log}/{key}") for key in gone)),
            "deleted",
        ),
        "traede/casa-telar/customers/customers_2026-07-01.json": (
            {"customers": [{"customer_number": key, "delete": True} for key in customers["keys"]]},
            "deleted",
        ),
        f"{folder}/orders_2026-07-01.json": (
            [{"OrderId": f"N{n}", "Currency": "USD" if n < 51 else "??"} for n in range(1000)],
            "rejected",
        ),
    }
    before = contents(site)
    for path, (content, guard) in harmful.items():
        held = site.load_at(path, content)
        assert held.held is not None and [found["name"] for found in held.held["guards"]] == [guard], held
    assert contents(site) == before
    site.load_at(f"{folder}/orders_2026-07-02.json", [{"OrderId": gone[0], "Currency": "EUR"}])
    entries = [entry for entry in site.ledger() if entry.status == "held"]
    release(site.workspace(), entries, "a test", "a test")
    loaded = {entry.path: entry for entry in site.sync()}
    assert {entry.status for entry in loaded.values()} == {"loaded"}
    assert [loaded[path].rejected for path in harmful] == [0, 0, 949]
    (alive,) = site.query("select count(*) as n from sync.live_orders where external_id = any(%s)", [gone])
    assert alive["n"] == 1


def check_links(site: Site) -> None:
    """Orders are of defined customers, customers of defined businesses, but for a few."""
    (linked,) = site.query(
        "select count(*) filter (where not c.is_placeholder) as defined,"
        " count(*) filter (where c.is_placeholder) as open"
        " from sync.live_orders o join sync.customers c on c.id = o.customer_id where c.partner = 'traede'"
    )
    (owned,) = site.query(
        "select count(*) filter (where not b.is_placeholder) as defined,"
        " count(*) filter (where b.is_placeholder) as open"
        " from sync.live_customers c join sync.commerces b on b.id = c.commerce_id"
    )
    assert linked["defined"] > linked["open"] > 0
    assert owned["defined"] > 5 * owned["open"] > 0


def test_without_its_sources_file_nothing_is_blocked(site: Site, sample: SampleSummary) -> None:
    put(site, sample, sample.files)
    counts = synced(site)
    assert not any(found["blocked"] for found in counts.values())
    assert all(found["created"] for found in counts.values())


def test_law_1_shuffled_in_batches_and_late_files_last(fresh_site: Callable[[], Site], sample: SampleSummary) -> None:
    clean = sample_site(fresh_site())
    put(clean, sample, sample.files)
    synced(clean)
    decided_again(clean)
    aside = blocked(clean)
    expected = told(clean, aside)
    assert aside

    shuffled = sample_site(fresh_site())
    files = list(sample.files)
    random.Random(1).shuffle(files)
    for start in range(0, len(files), 40):
        put(shuffled, sample, files[start : start + 50])
        synced(shuffled)
    decided_again(shuffled)
    assert told(shuffled, aside) == expected

    late_last = sample_site(fresh_site())
    put(late_last, sample, [file for file in sample.files if file.kind != "late"])
    synced(late_last)
    put(late_last, sample, [file for file in sample.files if file.kind == "late"])
    late = synced(late_last)
    # A business that customers named before is defined, not created.
    assert all(found["stale"] and found["created"] + found["updated"] for found in late.values())
    decided_again(late_last)
    assert told(late_last, aside) == expected


def test_another_landing_takes_the_sample_as_well(site: Site, tmp_path: Path) -> None:
    """Neither days nor orders need be many."""
    small = write_sample(tmp_path / "small", days=1, orders=3, seed=5)
    put(sample_site(site), small, small.files)
    assert set(synced(site)) == {stream.full_name for stream in STREAMS}
