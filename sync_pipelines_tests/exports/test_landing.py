"""Landings on this machine and behind fsspec list the same, and say what is wrong when they cannot."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from sync_pipelines.errors import ConfigurationError, ExportError, LandingUnavailable
from sync_pipelines.exports.landing import Landing
from sync_pipelines.exports.remote_storage import RemoteStorage, _as_utc
from sync_pipelines.exports.storage_interface import Found

TREE = {
    "replenit/t1/orders/b.json": b"[]",
    "replenit/t1/orders/2024/05/a.json": b"[1]",
    "replenit/t1/orders/a.json.part": b"",
    "replenit/t1/orders/_SUCCESS": b"",
    "replenit/t1/orders/.hidden/a.json": b"",
    "replenit/t1/orders/2024/_temporary/a.json": b"",
    "replenit/t2/orders/c é.json": b"[1, 2]",
    "replenit/t2/stores/d.json": b"",
    "replenit/_old/orders/e.json": b"",
    "nilo/t1/stores/f.json": b"",
    "nilo/.git/stores/g.json": b"",
    "nilo/README.md": b"",
    "stray.json": b"",
}


class Walked(LocalFileSystem):  # type: ignore[misc]
    """A folder behind fsspec's plain interface, as SFTP and FTP are: listed folder by folder."""

    protocol = "walked"


@pytest.fixture(params=["local", "file", "memory", "walked"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A landing of each kind that holds `TREE`."""
    name = uuid.uuid4().hex
    if request.param == "memory":
        fsspec.filesystem("memory").pipe({f"/{name}/landing/{path}": data for path, data in TREE.items()})
        yield f"memory://{name}/landing"
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)
        return
    for path, data in TREE.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    if request.param == "walked":
        monkeypatch.setattr("fsspec.core.url_to_fs", lambda _: (Walked(), str(tmp_path)))
        yield "walked://"
    else:
        yield str(tmp_path) if request.param == "local" else f"file://{tmp_path}"


def test_streams_are_the_folders_of_the_third_level(url: str) -> None:
    assert list(Landing(url).streams()) == [
        ("nilo", "t1", "stores"),
        ("replenit", "t1", "orders"),
        ("replenit", "t2", "orders"),
        ("replenit", "t2", "stores"),
    ]


def test_what_lies_in_no_streams_folder_is_told_once(url: str) -> None:
    streams = {"replenit": ("orders",), "traede": ("customers",)}
    found = Landing(url).unclaimed(streams)
    assert sorted(found) == [
        ("nilo", True),
        ("replenit/t2/stores", True),
        ("stray.json", False),
    ]
    nilo = Landing(url).unclaimed({"nilo": ("stores",), **streams}, "nilo")
    assert sorted(nilo) == [("nilo/README.md", False)]


def test_what_a_listing_saw_serves_the_look_for_what_no_stream_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object stores are asked for a partner's objects once, not again."""
    name = uuid.uuid4().hex
    fsspec.filesystem("memory").pipe({f"/{name}/{path}": data for path, data in TREE.items()})
    landing = Landing(f"memory://{name}")
    list(landing.list("replenit", "orders"))
    asked: list[str] = []
    listed = RemoteStorage.files

    def files(self: RemoteStorage, path: str, *, follow_links: bool = False) -> Iterator[Found]:
        asked.append(path)
        return listed(self, path, follow_links=follow_links)

    monkeypatch.setattr(RemoteStorage, "files", files)
    known = {"replenit": ("orders",), "nilo": ("stores",)}
    assert ("replenit/t2/stores", True) in list(landing.unclaimed(known))
    assert asked == (["nilo"] if landing._storage.lists_by_prefix else [])


def test_exports_are_listed_with_what_tells_a_change(url: str) -> None:
    started = datetime.now(UTC)
    found = list(Landing(url).list("replenit", "orders"))
    assert {(f.path, f.tenant_folder, f.below, f.size) for f in found} == {
        ("replenit/t1/orders/b.json", "t1", "b.json", 2),
        ("replenit/t1/orders/2024/05/a.json", "t1", "2024/05/a.json", 3),
        ("replenit/t2/orders/c é.json", "t2", "c é.json", 6),
    }
    assert all((f.partner, f.stream, f.modified_at.tzinfo) == ("replenit", "orders", UTC) for f in found)
    assert all(abs((started - f.modified_at).total_seconds()) < 60 for f in found)


def test_a_partner_without_a_folder_has_no_exports(url: str) -> None:
    assert list(Landing(url).list("reten", "commerces")) == []


def test_what_is_listed_can_be_opened(url: str) -> None:
    landing = Landing(url)
    for found in landing.list("replenit", "orders"):
        with landing.open(found.path) as stream:
            assert stream.read() == TREE[found.path]


def test_what_is_gone_is_a_fault_of_that_file(url: str) -> None:
    with pytest.raises(ExportError, match=r"^file_vanished"):
        Landing(url).open("replenit/t1/orders/gone.json")


def test_new_files_are_seen_by_the_same_landing(tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    for landing, folder in ((Landing(str(tmp_path)), f"file://{tmp_path}"), (Landing(url), url)):
        assert list(landing.list("nilo", "stores")) == []
        with fsspec.open(f"{folder}/nilo/t/stores/a.json", "wb", auto_mkdir=True) as file:
            file.write(b"x")
        assert [f.below for f in landing.list("nilo", "stores")] == ["a.json"]


def test_a_missing_local_landing_is_an_empty_one(tmp_path: Path) -> None:
    assert list(Landing(str(tmp_path / "a" / "landing")).streams()) == []
    assert (tmp_path / "a" / "landing").is_dir()
    assert list(Landing(str(tmp_path / "b" / "landing")).list("replenit", "orders")) == []
    assert (tmp_path / "b" / "landing").is_dir()


def test_modification_times_are_exact_to_the_microsecond(tmp_path: Path) -> None:
    file = tmp_path / "nilo" / "t" / "stores" / "a.json"
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, ns=(0, 1_714_991_400_123_456_999))
    (found,) = Landing(str(tmp_path)).list("nilo", "stores")
    assert found.modified_at == datetime(2024, 5, 6, 10, 30, 0, 123456, tzinfo=UTC)


def test_a_name_that_is_no_utf8_can_be_printed_and_opened(tmp_path: Path) -> None:
    stores = tmp_path / "nilo" / "t" / "stores"
    stores.mkdir(parents=True)
    (stores / os.fsdecode(b"pe\xf1a.json")).write_bytes(b"x")
    landing = Landing(str(tmp_path))
    (found,) = landing.list("nilo", "stores")
    assert found.below == "pe\\xf1a.json"
    with landing.open(found.path) as stream:
        assert stream.read() == b"x"


def test_a_landing_that_cannot_be_listed_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    landing = Landing(url)
    list(landing.streams())
    with monkeypatch.context() as locked, pytest.raises(LandingUnavailable, match="Permission denied") as caught:
        locked.setattr(os, "scandir", refuse)
        locked.setattr(fsspec.filesystem("memory").__class__, "find", refuse)
        locked.setattr(fsspec.filesystem("memory").__class__, "ls", refuse)
        list(landing.list("replenit", "orders"))
    assert "SYNC_LANDING" in caught.value.hint


def test_a_prefix_that_may_not_be_listed_is_a_fault_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, name = fsspec.filesystem("memory"), uuid.uuid4().hex
    memory.pipe({f"/{name}/{path}/a.json": b"[]" for path in ("nilo/t/stores", "traede/t/customers")})
    find = type(memory).find

    def refuse(self: object, path: str, **options: object) -> object:
        if path.endswith("/nilo"):
            raise PermissionError(13, "Access denied")
        return find(self, path, **options)

    monkeypatch.setattr(type(memory), "find", refuse)
    landing = Landing(f"memory://{name}")
    (fault,) = landing.list("nilo", "stores")
    assert (fault.path, fault.tenant_folder, fault.is_folder) == ("nilo", "*", True)
    assert fault.error is not None and fault.error.code == "folder_unreadable"
    assert [file.path for file in landing.list("traede", "customers")] == ["traede/t/customers/a.json"]


def test_links_behind_fsspec_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = tmp_path / "nilo/t/stores"
    (stores / "2026").mkdir(parents=True)
    (stores / "2026/a.json").write_bytes(b"[]")
    (stores / "b.json").symlink_to(stores / "2026/a.json")
    (stores / "folder").symlink_to(stores / "2026")
    os.mkfifo(stores / "pipe.json")
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda _: (Walked(), str(tmp_path)))
    for follows in (False, True):
        landing = Landing("walked://", lambda *_, follows=follows: follows)
        assert {f.below: f.error and f.error.code for f in landing.list("nilo", "stores")} == {
            "2026/a.json": None,
            "b.json": "link_refused",
            "folder": "link_refused",
            "pipe.json": "not_a_regular_file",
        }


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match=r"^not_a_regular_file: folder is a folder"):
        Landing(str(tmp_path)).open("folder")


def test_a_file_in_the_place_of_the_landing(tmp_path: Path) -> None:
    (tmp_path / "landing").write_text("no folder")
    with pytest.raises(LandingUnavailable, match="landing"):
        list(Landing(str(tmp_path / "landing")).streams())
    with pytest.raises(LandingUnavailable, match="landing"):
        list(Landing(str(tmp_path / "landing")).list("replenit", "orders"))


@pytest.mark.parametrize("url", ["nothing-like-it://bucket", "sftp://user:secret@127.0.0.1:1/landing"])
def test_a_landing_that_cannot_be_reached_says_so_without_secrets(url: str) -> None:
    landing = Landing(url)
    with pytest.raises((ConfigurationError, LandingUnavailable)) as caught:
        list(landing.streams())
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "told",
    [
        1_714_991_400,
        1_714_991_400.0,
        "2024-05-06T10:30:00Z",
        "2024-05-06T12:30:00+02:00",
        "20240506103000.000",
        datetime(2024, 5, 6, 10, 30),
        datetime(2024, 5, 6, 10, 30, tzinfo=UTC),
    ],
)
def test_storages_tell_times_in_many_forms(told: object) -> None:
    assert _as_utc(told) == datetime(2024, 5, 6, 10, 30, tzinfo=UTC)


def test_a_storage_without_times_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = RemoteStorage("memory://x")
    with pytest.raises(ConfigurationError, match="does not report when"):
        storage._modified_at({"name": "a.json", "updated": "yesterday"})


def test_twenty_thousand_files_are_listed_at_once(tmp_path: Path) -> None:
    for folder in range(20):
        stores = tmp_path / "nilo" / "t" / "stores" / str(folder)
        stores.mkdir(parents=True)
        for number in range(1000):
            (stores / f"{number}.json").touch()
    started = time.perf_counter()
    assert sum(1 for _ in Landing(str(tmp_path)).list("nilo", "stores")) == 20_000
    assert time.perf_counter() - started < 3, "it takes 0.2 s on an idle machine"
