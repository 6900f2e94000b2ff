"""A landing behind a real SFTP server: the same doors are closed as in a local folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.landing import Landing
from sync_pipelines.exports.storage_interface import ChangedWhileRead
from sync_pipelines_tests.sftp_server import SftpServer, sftp_server

STORES = "nilo/t/stores"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A landing with two tenants, beside a folder with another file."""
    for folder in ("landing/nilo/t/stores", "landing/nilo/other/stores", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.json").write_bytes(b"x" * 100)
    return tmp_path / "landing"


@pytest.fixture(scope="module")
def server() -> Iterator[SftpServer]:
    """An SFTP server."""
    with sftp_server() as running:
        yield running


Opens = Callable[..., Landing]


@pytest.fixture
def opened(server: SftpServer, root: Path, tmp_path: Path) -> Opens:
    """Opens the landing behind the server."""
    access = Access(sftp_known_hosts=server.known_hosts(tmp_path))
    return lambda follows=lambda *_: False: Landing(f"{server.url}{root}", follows, access)


def codes(landing: Landing) -> dict[str, str]:
    """Path -> code of its fault, or nothing."""
    return {file.path: file.error.code if file.error else "" for file in landing.list("nilo", "stores")}


def test_links_are_named_and_not_followed(opened: Opens, root: Path, tmp_path: Path) -> None:
    stores = root / STORES
    (stores / "environ.json").symlink_to("/proc/self/environ")
    (stores / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "nilo/u").symlink_to(root / "nilo/t")
    (root / "nilo/v").mkdir()
    (root / "nilo/v/stores").symlink_to(tmp_path / "elsewhere")
    landing = opened()
    found = codes(landing)
    assert found.pop(f"{STORES}/a.json") == found.pop("nilo/other/stores/a.json") == ""
    assert set(found.values()) == {"link_refused"}
    assert len(found) == 4 and {f"{STORES}/environ.json", f"{STORES}/linked"} < found.keys()
    for path in (f"{STORES}/environ.json", f"{STORES}/linked/a.json", "nilo/u/stores/a.json", "nilo/v/stores/a.json"):
        with pytest.raises(ExportError, match="link_refused"):
            landing.open(path)


def test_what_no_stream_takes_is_told_without_looking_through_links(opened: Opens, root: Path, tmp_path: Path) -> None:
    for number in range(40):
        (root / f"nilo/t{number}/Stores").mkdir(parents=True)
    (root / "nilo/v").symlink_to(tmp_path / "elsewhere")
    (root / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (root / "stray.csv").touch()
    found = list(opened().unclaimed({"nilo": ("stores",)}))
    assert found[0] == ("stray.csv", False)
    assert sorted(path for path, _ in found[1:]) == sorted(f"nilo/t{number}/Stores" for number in range(40))


def test_links_are_followed_within_the_landing_alone(opened: Opens, root: Path, tmp_path: Path) -> None:
    stores = root / STORES
    (stores / "linked").symlink_to(root / "nilo/other/stores")
    (stores / "out").symlink_to(tmp_path / "elsewhere")
    (stores / "circle").symlink_to(root / "nilo")
    landing = opened(lambda partner, tenant, stream: True)
    found = codes(landing)
    assert found[f"{STORES}/linked/a.json"] == ""
    assert found[f"{STORES}/out"] == "link_refused"
    with landing.open(f"{STORES}/linked/a.json") as content:
        assert content.read() == b"x" * 100
    assert len(found) < 50


def test_links_of_folders_to_each_other_end(opened: Opens, root: Path) -> None:
    for here in range(5):
        (root / STORES / f"d{here}").mkdir()
        for there in set(range(5)) - {here}:
            (root / STORES / f"d{here}/l{there}").symlink_to(root / STORES / f"d{there}")
    found = codes(opened(lambda partner, tenant, stream: True))
    assert 5 < len(found) < 600


def test_a_pipe_is_not_opened(opened: Opens, root: Path) -> None:
    os.mkfifo(root / STORES / "pipe.json")
    with pytest.raises(ExportError, match="not_a_regular_file"):
        opened().open(f"{STORES}/pipe.json")


def test_a_file_that_changes_while_it_is_read_is_said_to(opened: Opens, root: Path) -> None:
    file = root / STORES / "a.json"
    landing = opened()
    with landing.open(f"{STORES}/a.json") as content:
        assert content.read(10) == b"x" * 10
        file.write_bytes(b"y" * 200)
        with pytest.raises(ChangedWhileRead):
            while content.read(1_000):
                pass
    with landing.open(f"{STORES}/a.json") as content:
        assert content.read() == b"y" * 200
