"""Bytes to text in chunks, with the exact position of the first byte that is not the encoding.

Belongs here: decoding, the byte order mark, guessing what a wrong encoding may be. Does not belong here: lines,
formats.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from typing import AnyStr, BinaryIO

import pyarrow as pa

from sync_pipelines.errors import ExportError, Position

CHUNK = 1 << 20
"""Bytes read at a time."""

_BLANK = " \t\r\n"
_MAGIC = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst"),
    b"BZh": ("bzip2", ".bz2"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", ".zip or .xlsx"),
    b"PAR1": ("Parquet", ".parquet"),
}


def text_chunks(stream: BinaryIO, encoding: str | None = None) -> Iterator[str]:
    """Decodes a stream in chunks; a byte order mark at the beginning is skipped.

    Args:
        stream: the plain bytes.
        encoding: a codec's name; UTF-8 when None.

    Raises:
        ExportError: `empty_file` for zero bytes or nothing but white space, `bad_encoding` with the offset (from 0)
            of the first byte that does not belong.
    """
    yield from _with_content(_decoded(stream, _text_codec(encoding or "utf-8")), "\ufeff", _BLANK)


def utf8_chunks(stream: BinaryIO, encoding: str | None = None) -> Iterator[bytes]:
    """The same as UTF-8, in whole characters; UTF-8 is checked and passed on as it came.

    Raises:
        ExportError: as `text_chunks` does.
    """
    if _text_codec(encoding or "utf-8") == "utf-8":
        yield from _with_content(_checked(stream), codecs.BOM_UTF8, _BLANK.encode())
    else:
        yield from (text.encode("utf-8", "surrogatepass") for text in text_chunks(stream, encoding))


def _with_content(chunks: Iterator[AnyStr], mark: AnyStr, blank: AnyStr) -> Iterator[AnyStr]:
    """The same without a mark at the beginning; nothing but white space is refused."""
    for number, chunk in enumerate(chunks):
        text = chunk if number else chunk.removeprefix(mark)
        yield text
        if text.strip(blank):
            break
    else:
        raise ExportError("empty_file", "the file holds nothing but white space", "send an empty list for no records")
    yield from chunks


def _text_codec(encoding: str) -> str:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except LookupError:
        hint = "correct `encoding` in sources.yaml, for example utf-8, latin-1, cp1252 or utf-16"
        raise ExportError("bad_encoding", f"there is no text encoding {encoding!r}", hint) from None


def _decoded(stream: BinaryIO, codec: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)()
    offset, head = 0, b""
    while True:
        data = stream.read(CHUNK)
        if not offset:
            head = data[:4]
            _refuse_empty(data)
            _refuse_wide_characters(head, codec)
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as fault:
            raise _bad_encoding(fault, codec, offset - held, head) from fault
        offset += len(data)
        if text:
            yield text
        if not data:
            return


def _checked(stream: BinaryIO) -> Iterator[bytes]:
    offset, head, held = 0, b"", b""
    while True:
        data = stream.read(CHUNK)
        if not offset:
            head = data[:4]
            _refuse_empty(data)
            _refuse_wide_characters(head, "utf-8")
        text = held + data
        end = _end_of_characters(text) if data else len(text)
        try:
            _check(text[:end])
        except UnicodeError as fault:
            raise _bad_encoding(fault, "utf-8", offset - len(held), head) from fault
        offset += len(data)
        held = text[end:]
        if end:
            yield text[:end]
        if not data:
            return


def _end_of_characters(text: bytes) -> int:
    """Where the last whole character ends, if the text is cut within one."""
    for back in range(1, min(4, len(text)) + 1):
        if text[-back] >= 0xC0:
            return len(text) - back
        if text[-back] < 0x80:
            break
    return len(text)


def _check(text: bytes) -> None:
    """Raises UnicodeError where bytes are not UTF-8; decoding them would take eight times as long."""
    if text.isascii():
        return
    array = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("ii", 0, len(text))), pa.py_buffer(text))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        text.decode()


def _refuse_empty(data: bytes) -> None:
    if not data:
        raise ExportError("empty_file", "the file has no bytes", "send an empty list for no records")


def _refuse_wide_characters(head: bytes, codec: str) -> None:
    """UTF-16 without a mark is valid UTF-8 full of NULs; it is told by their places."""
    nuls = [place for place, byte in enumerate(head) if byte == 0]
    if codec in ("utf-8", "ascii", "iso8859-1", "cp1252") and nuls in ([1, 3], [0, 2], [0, 1, 2], [1, 2, 3]):
        wide = "utf-16" if len(nuls) == 2 else "utf-32"
        hint = f"it looks like {wide}: set `encoding: {wide}-{'be' if nuls[0] == 0 else 'le'}` for this stream"
        raise ExportError("bad_encoding", f"the bytes are not {codec}", hint, Position("byte", nuls[0]))


def _bad_encoding(fault: UnicodeError, codec: str, offset: int, head: bytes) -> ExportError:
    start = fault.start if isinstance(fault, UnicodeDecodeError) else 0
    byte = (
        f": 0x{fault.object[start]:02x}" if isinstance(fault, UnicodeDecodeError) and start < len(fault.object) else ""
    )
    hint = _encoding_hint(codec, head)
    return ExportError("bad_encoding", f"the bytes are not {codec}{byte}", hint, Position("byte", offset + start))


def _encoding_hint(codec: str, head: bytes) -> str:
    for magic, (what, suffix) in _MAGIC.items():
        if head.startswith(magic):
            return f"it looks like {what}: the name should end in {suffix}"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it looks like utf-16: set `encoding: utf-16` for this stream"
    if codec == "utf-8":
        return "it may be latin-1 or cp1252: set `encoding` for this stream, or export as UTF-8"
    return "set `encoding` for this stream"
