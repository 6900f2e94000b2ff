"""Compressed exports: `.gz`, `.zst`, `.bz2`, and `.zip` that holds one export.

Belongs here: decompressing, and errors of damaged files. Does not belong here: formats.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, BinaryIO, cast

from backports import zstd

from sync_pipelines.configuration.limits import Limits, Meter, Metered, Readable
from sync_pipelines.contracts.characters import matches
from sync_pipelines.errors import ExportError, Position, SyncError
from sync_pipelines.exports.disk import COPY_SIZE, on_disk
from sync_pipelines.exports.naming import is_export_name
from sync_pipelines.privacy.untrusted_text import on_one_line

COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".zip")

_IS_ENCRYPTED = 0x1
_SHOWN_MEMBERS = 10
_SHOWN_NAME = 100

_OPEN: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".zst": zstd.ZstdFile,
    ".bz2": bz2.BZ2File,
}


def is_of_data(error: Exception) -> bool:
    """Whether damaged data caused this exception: anything but our own errors, `MemoryError` and disk errors.

    Wrong offsets in damaged data make a library seek to an invalid position (EINVAL).
    """
    if isinstance(error, OSError):
        return error.errno in (None, errno.EINVAL)
    return not isinstance(error, SyncError | MemoryError)


def compression_of(name: str) -> str | None:
    """Returns the compression suffix of a name, such as `.gz`; None for a plain file."""
    return next((suffix for suffix in COMPRESSED_SUFFIXES if name.lower().endswith(suffix)), None)


def plain_name(name: str) -> str:
    """Returns the name without its compression suffix."""
    return name[: len(name) - len(compression_of(name) or "")]


def open_export(
    stream: BinaryIO, name: str, meter: Meter | None = None, member: str | None = None
) -> tuple[BinaryIO, str]:
    """Opens the plain bytes of an export.

    Args:
        stream: the bytes as received. The caller closes it.
        name: the file name or path.
        meter: counts the bytes. Default: one with the default limits.
        member: glob of the export within a `.zip`. Default: its only file.

    Returns:
        The plain bytes, to be closed by the caller, and the name without its compression (for a `.zip`, the member's
        name). An uncompressed export is returned as it is. Damage further on raises when that part is read.

    Raises:
        ExportError: `bad_compression`, at the byte where a truncated file ends; `empty_file`; `too_large`.
    """
    suffix = compression_of(name)
    if suffix is None:
        return stream, name
    meter = meter or Meter(Limits())
    source = _Counted(stream)
    if suffix == ".zip":
        return _open_zip(source, meter, member)
    plain = Metered(_OPEN[suffix](io.BufferedReader(source, COPY_SIZE)), meter, lambda: source.count)
    return checked_reader(plain, lambda error: _bad_compression(error, suffix, source)), plain_name(name)


def checked_reader(plain: Readable, to_error: Callable[[Exception], Exception], *owned: Any) -> BinaryIO:
    """Returns a reader that turns errors of damaged compressed data into the error that `to_error` returns."""
    return cast(BinaryIO, io.BufferedReader(_Checked(plain, to_error, owned), COPY_SIZE))


def _open_zip(source: _Counted, meter: Meter, pattern: str | None) -> tuple[BinaryIO, str]:
    with ExitStack() as owned:
        file = owned.enter_context(on_disk(cast(BinaryIO, io.BufferedReader(source, COPY_SIZE))))
        try:
            archive = owned.enter_context(zipfile.ZipFile(file))
            member = _member(archive, pattern)
            # zipfile makes sure that a member has no more bytes than its header declares.
            meter.check_bytes(member.file_size, member.compress_size)
            plain = Metered(cast(Readable, archive.open(member)), meter)
        except Exception as error:
            if not is_of_data(error):
                raise
            raise _bad_compression(error, ".zip", source) from error
        reader = checked_reader(plain, lambda error: _bad_compression(error, ".zip", None), owned.pop_all())
        return reader, member.filename.rsplit("/", 1)[-1]


def _member(archive: zipfile.ZipFile, pattern: str | None) -> zipfile.ZipInfo:
    """Returns the only member that is an export, or the one whose path or name matches the pattern."""
    exports = [part for part in archive.infolist() if not part.is_dir() and is_export_name(part.filename)]
    chosen = [part for part in exports if pattern is None or _is_named(part.filename, pattern)]
    if len(chosen) != 1:
        raise _not_one_member(exports, chosen, pattern)
    if chosen[0].flag_bits & _IS_ENCRYPTED:
        message = f"{_shown(chosen[0].filename)} in the .zip is password-protected"
        raise ExportError("bad_compression", message, "send it without a password")
    return chosen[0]


def _is_named(name: str, pattern: str) -> bool:
    return matches(name, pattern) or matches(name.rsplit("/", 1)[-1], pattern)


def _not_one_member(exports: list[zipfile.ZipInfo], chosen: list[zipfile.ZipInfo], pattern: str | None) -> ExportError:
    names = [part.filename for part in chosen or exports]
    if "[Content_Types].xml" in names:
        hint = "it looks like an Excel workbook: rename the file to .xlsx"
        return ExportError("bad_compression", "the .zip does not contain an export", hint)
    if not names:
        return ExportError("bad_compression", "the .zip does not contain an export", "a .zip must hold one export")
    shown = ", ".join(map(_shown, names[:_SHOWN_MEMBERS])) + (", ..." if len(names) > _SHOWN_MEMBERS else "")
    if pattern is not None and not chosen:
        message = f"no file in the .zip matches `member: {on_one_line(pattern)}`; found {shown}"
        return ExportError("bad_compression", message, "correct `member` in sources.yaml")
    message = f"the .zip holds {len(names)} exports{' that match' if pattern else ''}: {shown}"
    return ExportError("bad_compression", message, "set `member` to the name or pattern of one of them")


def _shown(name: str) -> str:
    return repr(on_one_line(name)[:_SHOWN_NAME])


def _bad_compression(error: Exception, suffix: str, source: _Counted | None) -> ExportError:
    if source and not source.count:
        return ExportError("empty_file", "the file has no bytes", "send an empty list if there are no records")
    if isinstance(error, EOFError) and source:
        message = f"the {suffix} file is truncated"
        return ExportError("bad_compression", message, "send it again", Position("byte", source.count))
    hint = f"send it again, or remove {suffix} from its name if it is not compressed"
    return ExportError("bad_compression", f"the {suffix} file is damaged: {error}", hint)


class _Counted(io.RawIOBase):
    """Counts the bytes that are read. Does not close the stream."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _Checked(io.RawIOBase):
    """Reads plain bytes from a decompressor and closes what it owns."""

    def __init__(self, plain: Readable, to_error: Callable[[Exception], Exception], owned: tuple[Any, ...]) -> None:
        self._plain = plain
        self._to_error = to_error
        self._owned = owned

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._plain.read(len(buffer))
        except Exception as error:
            if not is_of_data(error):
                raise
            raise self._to_error(error) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._plain.close()
            for owned in self._owned:
                owned.close()
        super().close()
