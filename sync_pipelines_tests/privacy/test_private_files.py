"""Modes of what is made under the state folder, and what stays as it was."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from sync_pipelines.privacy.private_files import private_folder, write_private


def open_to_others(folder: Path) -> list[str]:
    """What others than the owner may touch in a folder; sockets and links have no mode of their own."""
    found = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
    return [f"{path}: {mode & 0o777:o}" for path, mode in found.items() if mode & 0o077 and not stat.S_ISLNK(mode)]


def run(folder: Path, *arguments: str, umask: int = 0o022) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "SYNC_HOME": str(folder / "state" / "home"),
        "SYNC_SOURCES": "sources.yaml",
    }
    command = [sys.executable, "-m", "sync_pipelines", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, umask=umask
    )
    assert done.returncode in (0, 3, 4), done.stderr


def test_nothing_that_a_sync_makes_is_open_to_others(tmp_path: Path) -> None:
    above = tmp_path / "closed" / "open"
    above.mkdir(parents=True)
    above.parent.chmod(0o700)
    above.chmod(0o755)
    before = {path: path.stat().st_mode for path in (above, *above.parents)}
    run(above, "sample", "--days", "2", "--orders", "20", umask=0)
    run(above, "sync", umask=0)
    run(above, "housekeeping", umask=0)
    home = above / "state" / "home"
    assert {"archive", "dagster", "landing", "postgres"} <= {path.name for path in home.iterdir()}
    assert any((home / "archive").rglob("*.parquet")) or any((home / "archive").rglob("*"))
    assert open_to_others(above / "state") == []
    assert {path: path.stat().st_mode for path in before} == before


def test_a_folder_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "state" / "home"
    (home / "archive").mkdir(parents=True)
    (home / "archive").chmod(0o755)
    home.chmod(0o755)
    run(tmp_path, "sync")
    assert (home / "archive").stat().st_mode & 0o777 == 0o700
    assert home.stat().st_mode & 0o777 == 0o755, "the user made it"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o755)
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    private_folder(tmp_path / "ours")
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o755
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    write_private(tmp_path / "file", "new")
    assert (tmp_path / "victim").read_text() == "kept"
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").lstat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "ours", "theirs", "victim"]
