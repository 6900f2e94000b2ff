"""Kept records in a bucket: what a store offers is enough for loads, folds, merging and cleaning up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pytest
import s3fs  # type: ignore[import-untyped]

from sync_pipelines.kept import object_store, object_writer
from sync_pipelines.kept.object_store import ObjectStore, StoredObject
from sync_pipelines.stages.compaction import compact
from sync_pipelines.stages.file_cleanup import clear_files
from sync_pipelines.stages.replay import read_again
from sync_pipelines_tests.loading import Site, Tables, item, lines, order
from sync_pipelines_tests.s3_server import CREDENTIALS, s3_server

DAY = 24 * 3600.0


class BucketStore(ObjectStore):
    """Objects in a bucket, each put by one request."""

    def __init__(self, files: s3fs.S3FileSystem, folder: str, unfinished: Path) -> None:
        self._files = files
        self._folder = folder
        self._unfinished = unfinished

    def new_file(self) -> Path:
        self._unfinished.mkdir(parents=True, exist_ok=True)
        path = self._unfinished / uuid4().hex
        path.touch()
        return path

    def put(self, name: str, file: Path, *, is_durable: bool = True) -> None:
        self._files.pipe_file(f"{self._folder}/{name}", file.read_bytes())
        file.unlink()

    def read(self, name: str, start: int, size: int) -> bytes:
        content: bytes = self._files.cat_file(f"{self._folder}/{name}", start=start, end=start + size) if size else b""
        return content

    def mapped(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.read(name, start, size), np.uint8)

    def source(self, name: str) -> Any:
        return self._files.open(f"{self._folder}/{name}")

    def list(self) -> Iterator[StoredObject]:
        if not self._files.exists(self._folder):
            return
        for found in self._files.ls(self._folder, detail=True, refresh=True):
            yield StoredObject(found["name"].rsplit("/", 1)[-1], found["size"])

    def remove(self, name: str) -> None:
        self._files.rm_file(f"{self._folder}/{name}")


@pytest.fixture(scope="module")
def files() -> Iterator[s3fs.S3FileSystem]:
    with s3_server() as server:
        yield s3fs.S3FileSystem(
            key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=server.url,
            skip_instance_cache=True,
        )


def export(day: int) -> str:
    repeated = [order(f"O{n}", Email=f"o{n}@x.cl", OrderItems=[item(Quantity=n + 1)]) for n in range(8)]
    refused = {"Currency": "USD"}
    return lines(*repeated, order("O0", TotalRevenue=day), order(f"D{day}", Email="d@x.cl"), refused)


def work(site: Site) -> Tables:
    """Loads twelve exports, merges and cleans up what is kept of them, reads them again and loads a late one."""
    site.sources()
    for day in range(2, 14):
        assert site.load(f"2024-05-{day:02}.ndjson", export(day)).error is None
    assert compact(site.workspace()).merged == 12
    rounds = [clear_files(site.workspace(), time.time() + days * DAY).objects.entries for days in (0, 2)]
    assert rounds == [0, 12]
    for entry in site.ledger():
        assert read_again(site.workspace(), entry, whole=True).error is None
    late = [order(f"O{n}", TotalRevenue=7, TotalQuantity=n) for n in range(10)]
    assert site.load("2024-05-01.ndjson", lines(*late)).error is None
    return site.tables()


def test_kept_records_in_a_bucket_are_as_good_as_on_the_disk(
    files: s3fs.S3FileSystem, fresh_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = work(fresh_site())
    site = fresh_site()

    def open_bucket(root: Path, folder: str) -> ObjectStore:
        return BucketStore(files, f"exports/{site.folder.name}/{folder}", root / "tmp")

    monkeypatch.setattr(object_store, "ObjectStore", open_bucket)
    assert work(site) == expected
    assert not any((site.settings.archive / folder).exists() for folder in ("records", "ledger"))
    assert not list((site.settings.archive / "tmp").iterdir())


def test_sections_that_are_read_by_range_are_read_from_a_bucket(
    files: s3fs.S3FileSystem, fresh_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_writer, "PACKED", 0)
    expected = loaded(fresh_site())
    site = fresh_site()

    def open_bucket(root: Path, folder: str) -> ObjectStore:
        return BucketStore(files, f"exports/ranges/{folder}", root / "tmp")

    monkeypatch.setattr(object_store, "ObjectStore", open_bucket)
    assert loaded(site) == expected


def loaded(site: Site) -> Tables:
    site.sources()
    for day in (3, 2, 4, 1):
        assert site.load(f"2024-05-0{day}.ndjson", export(day)).error is None
    return site.tables()
