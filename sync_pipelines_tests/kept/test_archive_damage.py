"""Damage in the archive: never in the tables, always with the path of the file, mended where raw bytes are whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from sync_pipelines.database.postgres import Database
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.stages.export_stages import archive_export, load_export
from sync_pipelines_tests.bit_flips import IN_PLACE, KINDS, OF_FILES, Outcome, Place, Trials, flipped, flips, places_in
from sync_pipelines_tests.examples import rounds, some_of
from sync_pipelines_tests.loading import Site, lines, order, outcomes

KEPT = [kind for kind in KINDS if not kind.startswith("raw")]
UNREAD = ("noted", "rejects", "texts")
"""Kinds of sections that a late export can be folded without."""


@pytest.fixture(scope="module", params=[1 << 20, 500], ids=["packed", "as it is"])
def trials(
    request: pytest.FixtureRequest, server: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trials]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SYNC_HOME", raising=False)
        made = Trials(server, tmp_path_factory.mktemp("trials"), request.param)
        yield made
        made.close()


def test_no_flipped_bit_goes_unnoticed(trials: Trials) -> None:
    found: Counter[str] = Counter()
    wrong: list[tuple[object, Outcome]] = []
    for flip in flips(trials, rounds(25, at_least=13), seed=2):
        outcome = trials.run(flip.action, flip.place, flipped(flip.bit), has_raw=flip.has_raw)
        found[outcome.verdict] += 1
        if not outcome.is_right:
            wrong.append((flip, outcome))
    assert not wrong
    assert found["repaired"] and found["refused"], "flips are where something reads them"


@pytest.mark.parametrize(("kind", "damage"), some_of(product(KEPT, IN_PLACE), at_least=11))
def test_a_damaged_section_has_its_code_and_path(kind: str, damage: str, trials: Trials) -> None:
    place = trials.places(kind)[0]
    outcome = trials.run("late", place, IN_PLACE[damage], has_raw=False)
    if kind in UNREAD:
        assert outcome == Outcome("same", [])
        return
    (error,) = outcome.errors
    section = "records" if kind == "repeated" else kind
    assert error.startswith(f"archive_damaged: the archive's {place.file} ({section}) is damaged: ")
    assert outcome.verdict == "refused"


@pytest.mark.parametrize("damage", list(OF_FILES))
def test_a_damaged_object_has_its_code_and_path(damage: str, trials: Trials) -> None:
    place = trials.places("records")[0]
    outcome = trials.run("late", place, OF_FILES[damage])
    code = "archive_incomplete" if damage == "removed" else "archive_damaged"
    (error,) = outcome.errors
    assert error.startswith(f"{code}: the archive's {place.file} ")
    assert outcome.verdict == "refused", "without its footer nothing tells how an export was read"


@pytest.mark.parametrize("kind", [kind for kind in KEPT if kind not in UNREAD])
def test_damaged_kept_records_are_made_anew_from_raw_bytes(kind: str, trials: Trials) -> None:
    assert trials.run("late", trials.places(kind)[0], flipped(4321)).verdict == "repaired"


@pytest.mark.parametrize("damage", list(OF_FILES))
def test_records_that_an_export_repeats_are_kept_anew_where_their_object_is_gone(damage: str, trials: Trials) -> None:
    place = trials.places("repeated")[-1]
    outcome = trials.run("pending", place, OF_FILES[damage])
    assert outcome.is_right and outcome.verdict != "same"


@pytest.mark.parametrize("kind", ["records", "keys", "rejects", "footer"])
def test_a_waiting_export_is_kept_anew(kind: str, trials: Trials) -> None:
    place = trials.places(kind)[-1]
    refused = trials.run("pending", place, flipped(3333), has_raw=False)
    assert refused.verdict == "refused" and str(place.file) in refused.errors[0]
    # A footer is read before the load, which then finds the records kept anew.
    assert trials.run("pending", place, flipped(3333)).verdict == ("same" if kind == "footer" else "repaired")


@pytest.mark.parametrize("kind", ["raw.zst", "raw.gz"])
def test_damaged_raw_bytes_are_not_read_again(kind: str, trials: Trials) -> None:
    for damage in (OF_FILES["cut"], OF_FILES["emptied"], IN_PLACE["overwritten"], flipped(12345)):
        outcome = trials.run("reread", trials.places(kind)[0], damage)
        assert outcome.is_right, outcome
        assert len(outcome.errors) == 1, "the export with these bytes"


def place_of(site: Site, path: str, kind: str) -> Place:
    (kept,) = (entry.kept for entry in site.ledger() if entry.path.endswith(path))
    assert kept is not None
    (place,) = places_in(KeptRecords(site.settings.archive, kept), kind)
    return place


def damage_keys(site: Site, path: str) -> Place:
    place = place_of(site, path, "keys")
    flipped(1111)(site.settings.archive / place.file, place.start, place.end)
    return place


def test_an_export_read_under_other_settings_is_not_made_anew(site: Site) -> None:
    site.sources()
    site.load("2024-05-02.ndjson", lines(order("A", TotalRevenue="7.5"), order("B")))
    place = damage_keys(site, "02.ndjson")
    site.sources({"strict": True})
    before = site.tables()
    late = site.load("2024-05-01.ndjson", lines(order("A"), order("B")))
    assert (late.status, site.tables()) == ("failed", before)
    assert f"{place.file} (keys) is damaged: its checksum is wrong" in (late.error or "")
    site.sources()
    (late,) = site.sync()
    assert late.status == "loaded"


def test_an_export_that_needs_no_damaged_file_loads(site: Site) -> None:
    site.sources()
    site.load("2024-05-02.ndjson", lines(order("A"), order("B")))
    damage_keys(site, "02.ndjson")
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
    flipped(100)(raw, 0, raw.stat().st_size)
    failed = load_export(workspace, entry.id)
    assert failed.error is not None
    assert failed.error.startswith(
        f"archive_damaged: the archive's {raw.relative_to(site.settings.archive)} is damaged"
    )
    (loaded,) = site.sync()
    assert (loaded.status, outcomes(loaded), loaded.sha256) == ("loaded", {"created": 1}, raw.stem)


def test_the_ledger_has_the_checksum_of_the_footer(site: Site) -> None:
    site.sources()
    site.load("2024-05-02.ndjson", lines(order("A")))
    place = place_of(site, "02.ndjson", "footer")
    path = site.settings.archive / place.file
    path.write_bytes(path.read_bytes().replace(b'"read":1', b'"read":2'))
    next((site.settings.archive / "raw").glob("*/*.zst")).unlink()
    late = site.load("2024-05-01.ndjson", lines(order("A", TotalRevenue=1)))
    assert (late.error or "").startswith(f"archive_damaged: the archive's {place.file} (footer) is damaged")
