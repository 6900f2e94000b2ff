"""Objects are whole or not there; their names tell their age; locations say where parts of them are."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.kept.locations import Location, objects_in, to_kept, to_location, with_moved
from sync_pipelines.kept.object_store import ObjectStore, StoredObject, new_name, open_store
from sync_pipelines_tests.normalize.keeping_in import Keeping

CHECKSUM = "0123456789abcdef" * 2
LOCATIONS = st.builds(
    Location,
    name=st.builds(new_name),
    start=st.integers(0, 1 << 50),
    size=st.integers(0, 1 << 50),
    footer=st.integers(0, 1 << 30),
    checksum=st.text("0123456789abcdef", min_size=32, max_size=32),
)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path)


def put(store: ObjectStore, content: bytes) -> str:
    file, name = store.new_file(), new_name()
    file.write_bytes(content)
    store.put(name, file)
    assert not file.exists()
    return name


def test_what_is_put_is_listed_read_by_range_and_removed(store: ObjectStore, tmp_path: Path) -> None:
    assert list(store.list()) == []
    first, second = put(store, b"0123456789"), put(store, b"")
    assert list(store.list()) == [StoredObject(first, 10), StoredObject(second, 0)]
    assert (store.read(first, 2, 3), store.read(first, 8, 5), store.read(second, 0, 9)) == (b"234", b"89", b"")
    assert store.mapped(first, 3, 4).tobytes() == b"3456"
    store.remove(first)
    store.remove(first)
    assert [item.name for item in store.list()] == [second]
    with pytest.raises(FileNotFoundError):
        store.read(first, 0, 1)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {second}


def test_a_name_tells_when_it_was_made() -> None:
    before = time.time()
    created_at = StoredObject(new_name(), 0).created_at
    assert before - 0.001 <= created_at <= time.time()
    assert StoredObject("0123abcd", 0).created_at == 0


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_fault_of_the_disk_leaves_no_object(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Keeping(tmp_path / "site")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, fail)
        with pytest.raises(OSError, match="No space"):
            place.keep('{"OrderId": "A", "Currency": "USD"}\n')
    assert not [path for path in place.archive.rglob("*") if path.is_file()]


@given(st.lists(LOCATIONS, min_size=1, max_size=4), st.booleans())
def test_locations_are_read_as_they_were_written(places: list[Location], has_gap: bool) -> None:
    texts = [str(place) for place in places]
    kept = to_kept(places[0], [*texts[1:], *(["-"] if has_gap else [])])
    assert [to_location(part) for part in kept.split()] == [*places, *([None] if has_gap else [])]
    assert objects_in(kept) == {place.name for place in places}
    moved = places[-1]._replace(name="other", start=8)
    assert with_moved(kept, {texts[-1]: str(moved)}).split()[: len(texts)] == [
        str(moved) if text == texts[-1] else text for text in texts
    ]


@pytest.mark.parametrize(
    "text",
    ["-", "", "records/x", f"records/../x:0:8:8:{CHECKSUM}", f"records/x:0:8:-8:{CHECKSUM}", "records/x:0:8:8:0123"],
)
def test_what_is_no_location(text: str) -> None:
    assert to_location(text) is None
