"""What a file is by its first bytes, whatever its name.

Belongs here: detecting containers, and the remedy for a file whose content does not match its name. Does not belong
here: reading them.
"""

from __future__ import annotations

import mmap
import zipfile
from typing import BinaryIO, Final, Literal

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.text import CHUNK

WorkbookKind = Literal["xlsx", "xlsb", "xls", "ods"]

OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Containers of Microsoft's older programs, and of encrypted files of the newer ones."""
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_BARE_XLS: Final = (b"\x09\x00", b"\x09\x02", b"\x09\x04", b"\x09\x08")
_OTHERS: Final = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst"),
    b"BZh": ("bzip2", ".bz2"),
    b"PAR1": ("Parquet", ".parquet"),
}
_NO_TEXT: Final = {
    **_OTHERS,
    **dict.fromkeys(_ZIP, ("a zip archive or an Excel workbook", ".zip or .xlsx")),
    OLE: ("an Excel workbook", ".xls"),
}
_ENCRYPTED: Final = tuple(name for text in ("EncryptedPackage",) for name in (text.encode("utf-16-le"), text.encode()))
_HEAD: Final = 4096


def workbook_kind(file: BinaryIO) -> WorkbookKind:
    """Returns the format of a workbook.

    Args:
        file: a seekable file. Afterwards it is at its beginning.

    Raises:
        ExportError: `bad_sheet` if it is not a workbook or is password-protected.
    """
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    if not head:
        raise ExportError("empty_file", "the file has no bytes", "send a header line if there are no records")
    if head.startswith(_ZIP):
        kind = _zipped_kind(file)
        file.seek(0)
        return kind
    if head.startswith(OLE):
        if _holds(file, _ENCRYPTED):
            raise _protected()
        return "xls"
    if head.startswith(_BARE_XLS):
        return "xls"
    raise _no_workbook(head)


def _zipped_kind(file: BinaryIO) -> WorkbookKind:
    with zipfile.ZipFile(file) as parts:
        names = {name.replace("\\", "/").lstrip("/").lower() for name in parts.namelist()}
        if "xl/workbook.bin" in names:
            return "xlsb"
        if "content.xml" in names:
            if "meta-inf/manifest.xml" in names and b"encryption-data" in parts.read("META-INF/manifest.xml")[:CHUNK]:
                raise _protected()
            return "ods"
        if "[content_types].xml" in names or "xl/workbook.xml" in names:
            return "xlsx"
    raise ExportError("bad_sheet", "the file is a zip archive, not a workbook", "rename the file to .zip")


def _protected() -> ExportError:
    return ExportError("bad_sheet", "the workbook is password-protected", "save it again without a password")


def _no_workbook(head: bytes) -> ExportError:
    for magic, (what, suffix) in _OTHERS.items():
        if head.startswith(magic):
            return ExportError("bad_sheet", f"the file is {what}, not a workbook", f"rename the file to {suffix}")
    start = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if start.startswith((b"<?xml", b"mime-version")) and (b"office:spreadsheet" in start or b"mime" in start[:9]):
        hint = "open it in Excel and save it as .xlsx, or export it as CSV"
        return ExportError("bad_sheet", "the file is an Excel XML page, not a workbook", hint)
    if start.startswith(b"<"):
        hint = "open it in Excel and save it as .xlsx, or export it as CSV; check that it is not an error or login page"
        return ExportError("bad_sheet", "the file is HTML or XML, not a workbook", hint)
    if start.startswith((b"{", b"[")):
        return ExportError("bad_sheet", "the file looks like JSON, not like a workbook", "rename the file to .json")
    if b"\0" not in head.replace(b"\0\0", b"")[:2] and b"\n" in head.replace(b"\r", b"\n"):
        hint = "rename it to .csv, or set `format: csv` for this stream; if it should be a workbook, save it as .xlsx"
        return ExportError("bad_sheet", "the file looks like CSV, not like a workbook", hint)
    return ExportError("bad_sheet", "the file is not a workbook", "save it again as .xlsx")


def _holds(file: BinaryIO, names: tuple[bytes, ...]) -> bool:
    """Whether a file contains one of some texts."""
    try:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(name) >= 0 for name in names)
    except (OSError, ValueError):
        content_ = file.read()
        file.seek(0)
        return any(name in content_ for name in names)


class TextOnly:
    """A stream of text bytes. Reading raises if the bytes are clearly another format.

    Args:
        stream: the bytes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._is_checked = False

    def read(self, size: int = -1, /) -> bytes:
        """Returns the next bytes.

        Raises:
            ExportError: `bad_encoding`, with the likely format.
        """
        data = self._stream.read(size)
        if not self._is_checked:
            self._is_checked = True
            for magic, (what, suffix) in _NO_TEXT.items():
                if data.startswith(magic):
                    hint = f"it looks like {what}: rename the file to {suffix}"
                    raise ExportError("bad_encoding", "the file is not text", hint)
        return data

    def close(self) -> None:
        """Releases it."""
        self._stream.close()
