"""The archive of raw bytes: each export once, by the hash of its content.

    <root>/raw/<first two digits of the sha256>/<sha256>[.zst]

Belongs here: storing, opening and removing raw bytes. Does not belong here: kept records (`normalize`), which bytes
retention removes (`stages.file_cleanup`), the ledger.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from backports import zstd

from sync_pipelines.configuration.limits import Readable
from sync_pipelines.errors import ArchiveDamaged, ArchiveIncomplete, ExportError
from sync_pipelines.exports.compression import COMPRESSED_SUFFIXES, checked_reader
from sync_pipelines.exports.disk import COPY_SIZE, flush_to_disk, storage_error
from sync_pipelines.kept.seals import Removals, Seal, add_removal, is_sealed, read_removals
from sync_pipelines.privacy.untrusted_text import on_one_line

_STORED_AS_THEY_ARE = (*COMPRESSED_SUFFIXES, ".xlsx", ".parquet")
_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}
"""More threads would save half a second per gigabyte, and cost ten megabytes."""
_HINT = "put the export into the landing again, or restore SYNC_HOME/archive from a backup; then sync again"
_HASHED_BESIDE = 1 << 18
"""Smallest block that is hashed in another thread; for smaller ones the hand-over costs more than it saves."""
_MOST_WAITING = 8
"""Blocks in the queue: Python switches between threads only every few milliseconds."""
_ABANDONED_AFTER = 24 * 3600
"""Seconds after which an unfinished file belongs to a process that died."""


Removal = Literal["retention", "erased"]


@dataclass(frozen=True)
class ArchivedExport:
    """An export in the archive.

    Attributes:
        sha256: hash of the original bytes, in hexadecimal.
        size: number of the original bytes.
        stored: the file that holds them, compressed if its name ends in `.zst`.
    """

    sha256: str
    size: int
    stored: Path


class Archive:
    """Raw bytes below `root`, written atomically; safe for several processes."""

    def __init__(self, root: Path) -> None:
        self._raw = root / "raw"
        self._incoming = self._raw / "incoming"

    def store(self, stream: BinaryIO, name: str = "") -> ArchivedExport:
        """Stores the bytes of a stream, read once. They replace equal content.

        Args:
            stream: the original bytes.
            name: their file name: compressed formats (`.gz`, `.xlsx`, `.parquet`, ...) are stored as they are.

        Raises:
            ExportError: `storage_full` or `storage_unwritable` if writing fails, `file_unreadable` if reading fails.
                No file remains.
        """
        as_it_is = name.lower().endswith(_STORED_AS_THEY_ARE)
        try:
            written = self._new_file()
        except OSError as error:
            raise storage_error(error, self._raw) from error
        try:
            sha256, size = _copy(stream, written, as_it_is, self._raw)
            stored = self._publish(Path(written.name), sha256, as_it_is)
        finally:
            written.close()
            Path(written.name).unlink(missing_ok=True)
        return ArchivedExport(sha256, size, stored)

    def read(self, sha256: str) -> RawBytes:
        """Returns the original bytes. The reader must `verify` them before using the results.

        Raises:
            ArchiveIncomplete: `raw_export_gone` if they are missing.
        """
        stored = self._find(sha256)
        if stored is None:
            raise self._gone(sha256)
        return RawBytes(stored, sha256)

    def has(self, sha256: str) -> bool:
        """Whether the bytes of an export are here, damaged or not."""
        return self._find(sha256) is not None

    def remove(self, sha256: str, unless_since: float, why: Removal = "retention") -> int | None:
        """Removes the bytes of an export and records that this was intentional.

        Args:
            sha256: hash of the content.
            unless_since: seconds since the epoch; content that arrived, possibly again, since then stays.
            why: what removes them.

        Returns:
            The freed bytes, or None if nothing was removed.
        """
        stored = self._find(sha256)
        if stored is None or (found := stored.stat()).st_mtime >= unless_since:
            return None
        mark = "" if why == "retention" else f"-{why}"
        add_removal(self._removed, sha256, f"{datetime.now(UTC):%Y-%m-%d}{mark}")
        stored.unlink(missing_ok=True)
        return found.st_size

    @property
    def _removed(self) -> Path:
        return self._raw / "removed.txt"

    def removals(self) -> Removals:
        """Returns what `remove` has removed."""
        return read_removals(self._removed)

    def _gone(self, sha256: str) -> ArchiveIncomplete:
        """Returns the error for missing bytes: removed by retention, or lost."""
        day = self.removals().days.get(sha256)
        if day is not None:
            hint = (
                "the loaded rows stay; to read the export again, restore its bytes from a backup of the archive, or put"
                " the export into the landing under another name with the same date"
            )
            by = "retention (SYNC_KEEP_RAW_DAYS)"
            if day.endswith("-erased"):
                by, day = "the erasure of a person", day.removesuffix("-erased")
                hint = "what is loaded stays; to read the rest, put the export without the person into the landing"
            message = f"{by} removed the bytes of export {sha256} on {day}"
            return ArchiveIncomplete("raw_export_gone", message, hint)
        hint = "restore the archive from a backup, or put the export into the landing again"
        return ArchiveIncomplete("raw_export_gone", f"export {sha256} is missing from the archive", hint)

    def _find(self, sha256: str) -> Path | None:
        plain = self._raw / sha256[:2] / sha256
        return next((path for path in (plain, plain.with_suffix(".zst")) if path.exists()), None)

    def _new_file(self) -> BinaryIO:
        self._incoming.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(self._incoming)
        # Unbuffered: after a failed write, closing it must not write again.
        return cast(BinaryIO, tempfile.NamedTemporaryFile(dir=self._incoming, delete=False, buffering=0))

    def _publish(self, written: Path, sha256: str, as_it_is: bool) -> Path:
        stored = self._raw / sha256[:2] / (sha256 if as_it_is else f"{sha256}.zst")
        existing = self._find(sha256)
        try:
            stored.parent.mkdir(exist_ok=True)
            # The old file may be damaged by now. Retention counts from the day the content last arrived.
            written.replace(stored)
            if existing not in (None, stored):
                existing.unlink(missing_ok=True)
            flush_to_disk(stored.parent)
        except OSError as error:
            raise storage_error(error, self._raw) from error
        return stored


class RawBytes:
    """The archived bytes of one export, hashed while they are read.

    Args:
        stored: the file that holds them.
        sha256: hash of the original bytes.
    """

    def __init__(self, stored: Path, sha256: str) -> None:
        self._stored = stored
        self._sha256 = sha256
        self._found: str | None = None

    def open(self) -> BinaryIO:
        """Opens them.

        Raises:
            ArchiveDamaged: (when reading) the stored file cannot be decompressed.
        """
        plain: Any = zstd.ZstdFile(self._stored) if self._stored.suffix == ".zst" else self._stored.open("rb")
        return checked_reader(_Hashed(plain, self._note, self._damaged), self._damaged)

    def verify_stored(self) -> None:
        """Verifies every stored byte. Decompression ignores some that do not matter to it.

        Raises:
            ArchiveDamaged: they have changed.
        """
        self.verify()
        if self._stored.suffix == ".zst" and not is_sealed(self._stored):
            raise self._damaged(None)

    def verify(self) -> None:
        """Checks their hash. Reads them to the end if that was not done yet.

        Raises:
            ArchiveDamaged: they are not the bytes that were archived.
        """
        if self._found is None:
            with self.open() as content:
                while content.read(COPY_SIZE):
                    pass
        if self._found != self._sha256:
            raise self._damaged(None)

    def _note(self, sha256: str) -> None:
        self._found = sha256

    def _damaged(self, error: Exception | None) -> ArchiveDamaged:
        path = "/".join(self._stored.parts[-3:])
        return (
            ArchiveDamaged(path, _HINT) if error is None else ArchiveDamaged(path, _HINT, why=on_one_line(str(error)))
        )


class _Digest:
    """The SHA-256 of blocks in order. Large blocks are hashed while the next ones are read and used."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def update(self, data: bytes) -> None:
        """Adds a block. Waits while too many blocks wait."""
        if len(data) < _HASHED_BESIDE:
            self._wait(0)
            self._sha256.update(data)
            return
        self._wait(_MOST_WAITING - 1)
        self._thread = self._thread or ThreadPoolExecutor(1, "sha256")
        self._waiting.append(self._thread.submit(self._sha256.update, data))

    def hexdigest(self) -> str:
        """Returns the hash of all blocks."""
        self._wait(0)
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Stops the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def _wait(self, most: int) -> None:
        """Waits until at most this many blocks wait."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()


class _Hashed:
    """Plain bytes whose hash is reported at their end."""

    def __init__(
        self, plain: Readable, note: Callable[[str], None], to_error: Callable[[Exception], Exception]
    ) -> None:
        self._plain = plain
        self._note = note
        self._to_error = to_error
        self._digest = _Digest()

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._plain.read(size)
        except OSError as error:
            # A disk error has a number; an error without one comes from the decompressor.
            raise (error if error.errno is None else self._to_error(error)) from error
        self._digest.update(data)
        if not data:
            self._note(self._digest.hexdigest())
        return data

    def close(self) -> None:
        self._digest.close()
        self._plain.close()


def _copy(stream: BinaryIO, written: BinaryIO, as_it_is: bool, where: Path) -> tuple[str, int]:
    """Copies, hashes and counts in one pass, and flushes to disk."""
    sha256, size, seal = hashlib.sha256(), 0, Seal()
    compressor = None if as_it_is else zstd.ZstdCompressor(options=_OPTIONS)
    while data := _read(stream):
        sha256.update(data)
        size += len(data)
        _write(written, seal.add(compressor.compress(data)) if compressor else data, where)
    if compressor:
        _write(written, seal.add(compressor.flush()), where)
        _write(written, seal.to_bytes(), where)
    try:
        os.fsync(written.fileno())
    except OSError as error:
        raise storage_error(error, where) from error
    return sha256.hexdigest(), size


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(COPY_SIZE)
    except ExportError:
        raise
    except Exception as error:  # storage libraries raise exceptions of their own
        why = getattr(error, "strerror", None) or str(error)
        raise ExportError(
            "file_unreadable", f"reading the export failed: {why}", "the next sync tries again"
        ) from error


def _write(written: BinaryIO, data: bytes, where: Path) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[written.write(left) :]
    except OSError as error:
        raise storage_error(error, where) from error


def _remove_abandoned(folder: Path) -> None:
    limit = time.time() - _ABANDONED_AFTER
    for entry in os.scandir(folder):
        # Other processes publish their files meanwhile.
        with suppress(FileNotFoundError):
            if entry.stat().st_mtime < limit:
                Path(entry.path).unlink()
