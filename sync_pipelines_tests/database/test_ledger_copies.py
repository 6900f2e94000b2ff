"""The archive's copies of ledger entries: written with each load, newest first, merged, and damage found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sync_pipelines.kept.ledger_files import FOLDER, MERGED_AT_ONCE, merge_copies, read_copies, write_copies
from sync_pipelines.stages.discovery import discover
from sync_pipelines.stages.preview import preview
from sync_pipelines.stages.replay import read_again
from sync_pipelines_tests.loading import Site, order


def copies(site: Site) -> list[dict[str, Any]]:
    """The newest copy of every entry, by path."""
    found = read_copies(site.settings.archive)
    assert not found.damages
    return sorted(map(found.read, found.places), key=lambda copy: copy["entry"]["path"])


def files(archive: Path) -> list[Path]:
    return sorted((archive / FOLDER).iterdir())


def test_a_load_and_a_replay_write_a_copy_of_their_entry(site: Site) -> None:
    entry = site.load("2024-05-01.json", [order("A"), order("B"), {"Currency": "USD"}])
    (copy,) = copies(site)
    assert copy["entry"]["status"] == "loaded" and copy["entry"]["kept"] == entry.kept
    assert {name: copy["entry"][name] for name in entry.counts} == entry.counts
    assert copy["decisions"] == [] and copy["outcomes"] and copy["blocked_deletes"] == {}
    assert read_again(site.workspace(), entry, whole=True).error is None
    (again,) = copies(site)
    assert again["entry"]["kept"] == site.ledger()[0].kept != entry.kept and len(files(site.settings.archive)) == 2


def test_a_preview_and_a_second_load_write_no_copy(site: Site) -> None:
    site.put("2024-05-01.json", [order("A")])
    workspace = site.workspace()
    pending = discover(workspace).pending
    with preview(workspace, pending) as shown:
        assert shown.entries[0].status == "loaded"
    assert not (site.settings.archive / FOLDER).exists()
    site.sync()
    site.sync()
    assert len(files(site.settings.archive)) == 1


def test_small_objects_are_merged_without_superseded_copies(tmp_path: Path) -> None:
    for number in range(MERGED_AT_ONCE + 1):
        copy = f'{{"kind": "export", "identity": ["{number % 3}"], "copied_at": {number}, "entry": {{}}}}'
        write_copies(tmp_path, [copy])
    before = read_copies(tmp_path)
    damaged = files(tmp_path)[4]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert merge_copies(tmp_path) == (MERGED_AT_ONCE, 1)
    after = read_copies(tmp_path)
    assert len(files(tmp_path)) == 2 and [damage.path for damage in after.damages] == [f"{FOLDER}/{damaged.name}"]
    assert {after.read(name)["copied_at"] for name in after.places} == {8, 9, 10}
    assert set(after.places) == set(before.places)
    assert merge_copies(tmp_path) == (0, 0)


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    copy = '{"kind": "export", "identity": ["a", 1], "copied_at": 5, "entry": {"path": "x"}}'
    write_copies(tmp_path, [copy, copy])
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert read_copies(tmp_path).damages, bit
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        assert read_copies(tmp_path).damages, end
