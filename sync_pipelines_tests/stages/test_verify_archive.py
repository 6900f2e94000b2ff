"""Every byte of the archive is verified: each flipped bit is found, mended where possible, and none is loaded."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from sync_pipelines.kept import object_writer
from sync_pipelines.kept.ledger_files import FOLDER
from sync_pipelines.stages.compaction import compact
from sync_pipelines.stages.verify_archive import Damage, verify_archive
from sync_pipelines.stages.verify_ledger import verify_ledger
from sync_pipelines_tests.bit_flips import contents
from sync_pipelines_tests.loading import Site, item, lines, order

FLIPS = 200


def damages(site: Site, *, repair: bool = False) -> list[Damage]:
    return verify_archive(site.workspace(), repair=repair).damages


def filled(site: Site) -> None:
    """Loads exports that repeat lines, reject records, and are merged; one has lost its raw bytes to retention."""
    site.sources()
    known = [order(f"O{n}", Email=f"o{n}@x.cl", OrderItems=[item(Quantity=n + 1)]) for n in range(8)]
    for day in range(1, 13):
        site.load(f"2024-05-{day:02}.ndjson", lines(*known, order(f"D{day}", TotalRevenue=day), {"Currency": "USD"}))
    compact(site.workspace())
    site.load("2024-05-13.json", [order("E")])
    workspace = site.workspace()
    sha256 = site.ledger()[0].sha256
    assert sha256 is not None and workspace.archive.remove(sha256, unless_since=float("inf")) is not None


def files(site: Site) -> list[Path]:
    """Every file of the archive that the ledger names, relative to it."""
    archive = site.settings.archive
    named = {entry.kept.split(":")[0] for entry in site.ledger() if entry.kept}
    found = [path.relative_to(archive) for path in archive.rglob("*") if path.is_file()]
    return sorted(path for path in found if path.parts[0] != "records" or path.as_posix() in named)


@pytest.mark.parametrize("packed", [object_writer.PACKED, 0], ids=["compressed", "mapped"])
def test_every_flipped_bit_is_found(site: Site, monkeypatch: pytest.MonkeyPatch, packed: int) -> None:
    monkeypatch.setattr(object_writer, "PACKED", packed)
    filled(site)
    archive = site.settings.archive
    assert damages(site) == []
    flips, chance = Counter[str](), random.Random(packed)
    while flips.total() < FLIPS // 2:
        whole = {path: (archive / path).read_bytes() for path in files(site)}
        for path, before in whole.items():
            bit = chance.randrange(8 * len(before))
            content = bytearray(before)
            content[bit // 8] ^= 1 << bit % 8
            (archive / path).write_bytes(content)
            flips[path.parts[0] if path.name != "removed.txt" else path.name] += 1
        assert {damage.path for damage in damages(site)} == {path.as_posix() for path in whole}
        if not flips["parts"]:
            parts = [verify_archive(site.workspace(), (number, 3)).damages for number in range(3)]
            assert sorted(damage.path for some in parts for damage in some) == sorted(
                damage.path for damage in damages(site)
            )
            flips["parts"] = 1
        for path, before in whole.items():
            (archive / path).write_bytes(before)
    assert set(flips) == {"parts", "raw", "records", FOLDER, "removed.txt"}


def test_damage_is_mended_and_nothing_damaged_is_left(site: Site) -> None:
    filled(site)
    archive, before = site.settings.archive, contents(site)
    for path in files(site):
        content = bytearray((archive / path).read_bytes())
        content[len(content) // 2] ^= 1
        (archive / path).write_bytes(content)
    with site.database.connect(autocommit=True) as connection:
        connection.execute("update sync.export_files set lines = 5 where id = 1")
    # No row is corrected by a copy that may be out of date.
    unsure = verify_ledger(site.workspace(), repair=True)
    assert unsure.damages and not unsure.repaired and site.ledger()[0].lines == 5
    with site.database.connect(autocommit=True) as connection:
        connection.execute("update sync.export_files set lines = null where id = 1")
    found = damages(site, repair=True)
    # Only the export without raw bytes cannot be read again: its records are in a merged object with those of others.
    first = site.ledger()[0].path
    assert {damage.exports for damage in found if not damage.is_mended} <= {(first,)}
    assert [damage for damage in damages(site) if damage.exports != (first,)] == []
    assert verify_ledger(site.workspace()).is_right and contents(site) == before
    late = site.load("2024-05-14.ndjson", lines(order("O1", TotalRevenue=3), order("O2")))
    assert late.error is None
