"""The archive: every content once, written atomically, and nothing left behind by a fault."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import ArchiveDamaged, ArchiveIncomplete, ExportError
from sync_pipelines.exports.formats import read_export
from sync_pipelines.kept.archive import _HASHED_BESIDE, Archive, _Digest


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@given(data=st.binary(max_size=100), copies=st.sampled_from([1, 30_000]), name=st.sampled_from(["a.json", "a.gz", ""]))
def test_the_bytes_come_back(data: bytes, copies: int, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    archive = Archive(tmp_path_factory.mktemp("archive"))
    stored = archive.store(io.BytesIO(data * copies), name)
    with archive.read(stored.sha256).open() as stream:
        assert stream.read() == data * copies
    assert stored.sha256 == hashlib.sha256(data * copies).hexdigest()
    assert stored.size == len(data) * copies


def test_text_is_compressed_and_what_is_compressed_is_not(archive: Archive) -> None:
    text = archive.store(io.BytesIO(b"x" * 100_000), "a.json").stored
    assert (text.suffix, text.stat().st_size < 1000) == (".zst", True)
    for name in ("a.json.GZ", "a.zst", "a.bz2", "a.zip", "a.xlsx", "a.parquet"):
        assert archive.store(io.BytesIO(name.encode()), name).stored.suffix == ""


def test_content_is_kept_once_under_any_name(archive: Archive, tmp_path: Path) -> None:
    first = archive.store(io.BytesIO(b"content"), "a.json")
    assert first.stored == tmp_path / "raw" / first.sha256[:2] / f"{first.sha256}.zst"
    assert archive.store(io.BytesIO(b"content"), "b.json") == first
    assert files(tmp_path) == [first.stored]
    again = archive.store(io.BytesIO(b"content"), "b.gz")
    assert (again.sha256, files(tmp_path)) == (first.sha256, [again.stored])


@pytest.mark.parametrize("name", ["a.json", "a.gz"])
def test_content_that_comes_again_mends_what_is_damaged(name: str, archive: Archive) -> None:
    stored = archive.store(io.BytesIO(b"content" * 100), name)
    stored.stored.write_bytes(b"garbage")
    with pytest.raises(ArchiveDamaged):
        archive.read(stored.sha256).verify()
    archive.store(io.BytesIO(b"content" * 100), name)
    archive.read(stored.sha256).verify()


def test_archived_parquet_is_read_where_it_is_and_from_compressed(archive: Archive) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"n": [1, 2]}), table)
    for name in ("a.parquet", "dump"):
        stored = archive.store(io.BytesIO(table.getvalue()), name)
        records = list(read_export(archive.read(stored.sha256).open, "a.parquet"))
        assert [record.value["n"] for record in records] == [1, 2]
        stored.stored.unlink()


def test_what_is_gone_or_damaged_says_so(archive: Archive) -> None:
    with pytest.raises(ArchiveIncomplete, match=r"^raw_export_gone"):
        archive.read("ab" * 32)
    stored = archive.store(io.BytesIO(os.urandom(5000)), "a.json")
    stored.stored.write_bytes(stored.stored.read_bytes()[:-100])
    raw = archive.read(stored.sha256)
    with raw.open() as stream, pytest.raises(ArchiveDamaged, match=rf"^archive_damaged: .*raw/../{stored.sha256}\.zst"):
        stream.read()


@pytest.mark.parametrize("read", [0, 1, 10_000])
@pytest.mark.parametrize("name", ["a.json", "a.gz"])
def test_no_bit_is_read_otherwise_than_it_was_archived(name: str, read: int, archive: Archive) -> None:
    stored = archive.store(io.BytesIO(b"".join(b"%d\n" % n for n in range(1000))), name)
    whole = stored.stored.read_bytes()
    for place in range(0, len(whole), 97):
        stored.stored.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        raw = archive.read(stored.sha256)
        with pytest.raises(ArchiveDamaged, match=r"^archive_damaged: the archive's raw/"):
            with raw.open() as stream:
                stream.read(read)
            raw.verify()
    stored.stored.write_bytes(whole)
    archive.read(stored.sha256).verify()


class Failing(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(10)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        return data


@given(
    sizes=st.lists(st.sampled_from([1, 1000, _HASHED_BESIDE - 1, _HASHED_BESIDE, _HASHED_BESIDE + 1, 1 << 20])),
    seed=st.integers(0, 255),
)
def test_blocks_of_any_size_are_hashed_in_their_order(sizes: list[int], seed: int) -> None:
    blocks = [bytes([(seed + n) % 256]) * size for n, size in enumerate(sizes)]
    digest = _Digest()
    for block in blocks:
        digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(b"".join(blocks)).hexdigest()
    digest.close()
    assert not hashing()


def hashing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("sha256")]


def test_large_exports_are_hashed_beside_their_reader_and_small_ones_by_it(archive: Archive) -> None:
    small, large = (archive.store(io.BytesIO(os.urandom(size))) for size in (10_000, 3 << 20))
    with archive.read(small.sha256).open() as content:
        content.read()
        assert not hashing()
    with archive.read(large.sha256).open() as content:
        content.read(1 << 20)
        assert len(hashing()) == 1
    assert not hashing(), "a reader that is closed early leaves no thread"


def test_a_fault_of_hashing_is_not_lost() -> None:
    digest: Any = _Digest()
    digest.update("x" * _HASHED_BESIDE)
    with pytest.raises(TypeError):
        digest.hexdigest()
    digest.close()


def test_a_fault_of_reading_is_the_exports(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^file_unreadable"):
        archive.store(Failing(b"x" * 100))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "storage_full"),
        (errno.EDQUOT, "storage_full"),
        (errno.EFBIG, "storage_full"),
        (errno.EROFS, "storage_unwritable"),
        (errno.EIO, "storage_unwritable"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_fault_of_writing_leaves_nothing_behind(
    number: int, code: str, call: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (tempfile, "NamedTemporaryFile")), fail)
    with pytest.raises(ExportError) as caught:
        archive.store(io.BytesIO(b"x"))
    assert caught.value.code == code
    assert files(tmp_path) == []


def test_a_full_disk_ends_in_a_code_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A file-size limit stands for the full disk; it would also bind this process, so another one has it."""
    program = (
        "import io, os, sys; from pathlib import Path; from sync_pipelines.kept.archive import Archive\n"
        "try: Archive(Path(sys.argv[1])).store(io.BytesIO(os.urandom(5_000_000)))\n"
        "except Exception as fault: print(fault.code)"
    )
    command = [sys.executable, "-c", f"{LIMIT}\n{program}", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("storage_full\n", "")
    assert files(tmp_path) == []


def test_files_of_processes_that_died_are_removed(archive: Archive, tmp_path: Path) -> None:
    old, new = tmp_path / "raw" / "incoming" / "old", tmp_path / "raw" / "incoming" / "new"
    old.parent.mkdir(parents=True)
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    stored = archive.store(io.BytesIO(b"x"))
    assert files(tmp_path) == sorted([new, stored.stored])


def test_files_that_others_publish_meanwhile_are_no_fault(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.store(io.BytesIO(b"first"))
    scan = os.scandir

    def scanned_late(folder: Path) -> list[os.DirEntry[str]]:
        (folder / "of another process").touch()
        found = list(scan(folder))
        (folder / "of another process").unlink()
        return found

    monkeypatch.setattr(os, "scandir", scanned_late)
    assert archive.store(io.BytesIO(b"second")).size == 6


def test_an_archive_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("in the way")
    with pytest.raises(ExportError, match=r"^storage_unwritable"):
        Archive(tmp_path).store(io.BytesIO(b"x"))


def test_memory_does_not_grow_with_the_export(archive: Archive) -> None:
    class Endless(io.RawIOBase):
        left = 200

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            assert size <= 1 << 20
            return os.urandom(1000) * (size // 1000) if self.left > 0 else b""

    stream: BinaryIO = Endless()  # type: ignore[assignment]
    assert archive.store(stream).size == 199 * ((1 << 20) // 1000 * 1000)
