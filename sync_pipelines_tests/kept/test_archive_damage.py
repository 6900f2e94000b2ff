"""Damage in the archive: never in the tables, always with the path of the file, mended where raw bytes are whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipelines.database import ledger
from sync_pipelines.database.postgres import Database
from sync_pipelines.stages.export_stages import archive_export, load_export
from sync_pipelines_tests.bit_flips import DAMAGES, KINDS, Outcome, Trials, flipped, flips, removed
from sync_pipelines_tests.loading import Site, lines, order, outcomes

KEPT = [kind for kind in KINDS if not kind.startswith("raw")]
UNREAD = ("noted.npy", "rejects.ndjson")
"""Kinds of kept files that a late export can be folded without."""


@pytest.fixture(scope="module")
def trials(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SYNC_HOME", raising=False)
        made = Trials(server, tmp_path_factory.mktemp("trials"))
        yield made
        made.close()


def test_no_flipped_bit_goes_unnoticed(trials: Trials) -> None:
    found: Counter[str] = Counter()
    wrong: list[tuple[object, Outcome]] = []
    for flip in flips(trials, 65, seed=2):
        outcome = trials.run(flip.action, flip.file, flipped(flip.bit), has_raw=flip.has_raw)
        found[outcome.verdict] += 1
        if not outcome.is_right:
            wrong.append((flip, outcome))
    assert not wrong
    assert found["repaired"] > 5 and found["refused"] > 5, "flips are where something reads them"


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("kind", KEPT)
def test_a_damaged_file_has_its_code_and_path(kind: str, damage: str, trials: Trials) -> None:
    file = trials.files(kind)[0]
    outcome = trials.run("late", file, DAMAGES[damage], has_raw=False)
    if kind in UNREAD:
        assert outcome == Outcome("same", [])
        return
    assert outcome.verdict == "refused"
    code = "archive_incomplete" if damage == "removed" else "archive_damaged"
    (error,) = outcome.errors
    # Linked files have several names.
    assert error.startswith(f"{code}: the archive's {'records/' if kind == 'earlier.parquet' else file}")


@pytest.mark.parametrize("kind", [kind for kind in KEPT if kind not in UNREAD])
def test_damaged_kept_records_are_made_anew_from_raw_bytes(kind: str, trials: Trials) -> None:
    file = trials.files(kind)[0]
    for damage in (flipped(4321), removed):
        # Without its summary nothing tells how an export was read.
        expected = "refused" if (kind, damage) == ("summary.json", removed) else "repaired"
        assert trials.run("late", file, damage).verdict == expected


@pytest.mark.parametrize("kind", ["records.parquet", "keys.npy", "rejects.ndjson", "summary.json"])
def test_a_waiting_export_is_kept_anew(kind: str, trials: Trials) -> None:
    file = trials.files(kind)[-1]
    refused = trials.run("pending", file, flipped(3333), has_raw=False)
    assert refused.verdict == "refused" and str(file) in refused.errors[0]
    # A summary is read before the load, which then finds the records kept anew.
    assert trials.run("pending", file, flipped(3333)).verdict == ("same" if kind == "summary.json" else "repaired")


@pytest.mark.parametrize("kind", ["raw.zst", "raw.gz"])
def test_damaged_raw_bytes_are_not_read_again(kind: str, trials: Trials) -> None:
    for damage in (DAMAGES["cut"], DAMAGES["emptied"], DAMAGES["overwritten"], flipped(12345)):
        outcome = trials.run("reread", trials.files(kind)[0], damage)
        assert outcome.is_right, outcome
        assert len(outcome.errors) == 1, "the export with these bytes"


def kept_folder(site: Site, path: str) -> Path:
    (kept,) = (entry.kept for entry in site.ledger() if entry.path.endswith(path))
    assert kept is not None
    return site.settings.archive / kept


def damage_keys(folder: Path) -> None:
    flipped(1111)(folder / "keys.npy")


def test_an_export_read_under_other_settings_is_not_made_anew(site: Site) -> None:
    site.sources()
    site.load("2024-05-02.ndjson", lines(order("A", TotalRevenue="7.5"), order("B")))
    damage_keys(kept_folder(site, "02.ndjson"))
    site.sources({"strict": True})
    before = site.tables()
    late = site.load("2024-05-01.ndjson", lines(order("A"), order("B")))
    assert (late.status, site.tables()) == ("failed", before)
    assert "keys.npy is damaged: its checksum is wrong" in (late.error or "")
    site.sources()
    (late,) = site.sync()
    assert late.status == "loaded"


def test_an_export_that_needs_no_damaged_file_loads(site: Site) -> None:
    site.sources()
    site.load("2024-05-02.ndjson", lines(order("A"), order("B")))
    folder = kept_folder(site, "02.ndjson")
    damage_keys(folder)
    for raw in (site.settings.archive / "raw").glob("*/*"):
        raw.unlink()
    site.put("2024-05-01.ndjson", lines(order("A")))
    newer = site.put("2024-05-03.json", [order("C")])
    done = {Path(entry.path).name: entry for entry in site.sync()}
    assert done["2024-05-01.ndjson"].error is not None
    assert done["2024-05-01.ndjson"].error.startswith("archive_damaged: the archive's records/")
    assert done[newer.name].status == "loaded"


def test_raw_bytes_of_a_waiting_export_come_from_the_landing_again(site: Site) -> None:
    site.sources()
    site.put("2024-05-02.ndjson", lines(order("A")))
    site.discover()
    (entry,) = site.ledger()
    workspace = site.workspace()
    archive_export(workspace, entry.id)
    (raw,) = (site.settings.archive / "raw").glob("*/*.zst")
    flipped(500)(raw)
    failed = load_export(workspace, entry.id)
    assert failed.error is not None
    assert failed.error.startswith(
        f"archive_damaged: the archive's {raw.relative_to(site.settings.archive)} is damaged"
    )
    (loaded,) = site.sync()
    assert (loaded.status, outcomes(loaded), loaded.sha256) == ("loaded", {"created": 1}, raw.stem)


def test_the_ledger_names_the_summary(site: Site) -> None:
    site.sources()
    site.load("2024-05-02.ndjson", lines(order("A")))
    summary = kept_folder(site, "02.ndjson") / "summary.json"
    summary.write_text(summary.read_text().replace('"read": 1', '"read": 2'))
    removed(next((site.settings.archive / "raw").glob("*/*.zst")))
    late = site.load("2024-05-01.ndjson", lines(order("A", TotalRevenue=1)))
    assert (late.error or "").startswith(f"archive_damaged: the archive's records/{summary.parent.name}/summary.json")


def test_kept_records_of_an_earlier_version_are_read(site: Site) -> None:
    """They have no checksums, and a folder of another name."""
    site.sources()
    loaded = site.load("2024-05-02.ndjson", lines(order("A", TotalRevenue=3), order("B")))
    folder = kept_folder(site, "02.ndjson")
    old = folder.with_name("0123456789abcdef0123456789abcdef")
    folder.rename(old)
    summary = old / "summary.json"
    told = json.loads(summary.read_text())
    del told["checksums"], told["id"]
    summary.write_text(json.dumps(told))
    with site.database.connect(autocommit=True) as connection:
        assert ledger.replace_kept(connection, loaded, f"records/{old.name}")
    assert site.load("2024-05-01.ndjson", lines(order("A", TotalRevenue=1))).status == "loaded"
    found = site.order("A")
    assert found is not None and found["total_revenue"] == 3
    for name in ("keys.npy", "records.parquet"):
        whole = (old / name).read_bytes()
        (old / name).write_bytes(whole[: len(whole) // 2])
        late = site.load(f"2024-04-01_{name}.ndjson", lines(order("A")))
        assert (late.error or "").startswith(f"archive_damaged: the archive's records/{old.name}/{name}"), late.error
        (old / name).write_bytes(whole)
