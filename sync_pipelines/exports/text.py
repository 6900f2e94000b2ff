"""Decodes bytes in chunks and marks invalid ones, so that only their lines are rejected.

Belongs here: decoding, the byte order mark, guessing the right encoding. Does not belong here: lines, formats.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import AnyStr, BinaryIO

import pyarrow as pa

from sync_pipelines.contracts.raw import PartialRow, RawRecord, damaged
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


_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; of those with a common start, the longer ones first."""
_LONGEST_MARK = 4
_READ_AS = {"iso8859-1": "cp1252"}
"""latin-1 differs only in control characters, which no export intends."""


class Chunks(Iterator[AnyStr]):
    """Text in pieces of complete characters, with marks for invalid bytes (see `has_bad_bytes`)."""

    def __init__(self, chunks: Iterator[AnyStr], errors: list[ExportError]) -> None:
        self._chunks: Iterator[AnyStr] = chunks
        self._errors = errors

    def __next__(self) -> AnyStr:
        return next(self._chunks)

    @property
    def error(self) -> ExportError | None:
        """The first invalid byte so far, as an error of the whole file."""
        return self._errors[0] if self._errors else None

    def strict(self, pieces: Iterable[AnyStr] | None = None) -> Iterator[AnyStr]:
        """Yields the pieces, or pieces made from them, up to the first error.

        Raises:
            ExportError: `bad_encoding` with the offset (from 0) of the first invalid byte.
        """
        for piece in self if pieces is None else pieces:
            if self.error is not None:
                raise self.error
            yield piece


def text_chunks(stream: BinaryIO, encoding: str | None = None) -> Chunks[str]:
    """Decodes a stream in chunks. A byte order mark is skipped and takes precedence over `encoding`.

    Args:
        stream: the plain bytes.
        encoding: a codec's name; None is UTF-8.

    Raises:
        ExportError: while it is read: `empty_file` if there is nothing but white space; `bad_encoding` for an unknown
            codec, bytes of another format, and UTF-8 with a single-byte encoding.
    """
    errors: list[ExportError] = []
    return Chunks(_text(stream, encoding, errors), errors)


def utf8_chunks(stream: BinaryIO, encoding: str | None = None) -> Chunks[bytes]:
    """Does the same, recoded to UTF-8 with surrogates as marks. UTF-8 input is checked and passed through.

    Raises:
        ExportError: as `text_chunks` does.
    """
    errors: list[ExportError] = []
    return Chunks(_utf8(stream, encoding, errors), errors)


def _text(stream: BinaryIO, encoding: str | None, errors: list[ExportError]) -> Iterator[str]:
    yield from _with_content(_decoded(_codec_of(stream, encoding), errors), "\ufeff", _BLANK)


def _utf8(stream: BinaryIO, encoding: str | None, errors: list[ExportError]) -> Iterator[bytes]:
    codec = _codec_of(stream, encoding)
    if codec.name == "utf-8":
        yield from _with_content(_checked(codec, errors), codecs.BOM_UTF8, _BLANK.encode())
    else:
        decoded = _with_content(_decoded(codec, errors), "\ufeff", _BLANK)
        yield from (text.encode("utf-8", "surrogatepass") for text in decoded)


def _with_content(chunks: Iterator[AnyStr], mark: AnyStr, blank: AnyStr) -> Iterator[AnyStr]:
    """Yields the same without a byte order mark. Raises if there is nothing but white space."""
    for number, chunk in enumerate(chunks):
        text = chunk if number else chunk.removeprefix(mark)
        yield text
        if text.strip(blank):
            break
    else:
        raise ExportError("empty_file", "the file has only white space", "send an empty list if there are no records")
    yield from chunks


@dataclass(frozen=True)
class _Codec:
    """The encoding of a file.

    Attributes:
        name: the codec's name.
        head: the first bytes.
        pieces: all bytes.
    """

    name: str
    head: bytes
    pieces: Iterator[bytes]


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes. The first piece is long enough for a byte order mark, if there are so many bytes."""
    first = b""
    while len(first) < _LONGEST_MARK and (data := stream.read(CHUNK)):
        first += data
    if first:
        yield first
    while data := stream.read(CHUNK):
        yield data


def _codec_of(stream: BinaryIO, encoding: str | None) -> _Codec:
    name = _text_codec(encoding or "utf-8")
    others = _pieces(stream)
    first = next(others, b"")
    if not first:
        raise ExportError("empty_file", "the file has no bytes", "send an empty list if there are no records")
    marked = next((codec for mark, codec in _MARKS.items() if first.startswith(mark)), None)
    codec = _Codec(marked or _READ_AS.get(name, name), first[:_LONGEST_MARK], chain([first], others))
    if marked is None:
        _check_wide_characters(codec)
    return codec


def _text_codec(encoding: str) -> str:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except LookupError:
        hint = "correct `encoding` in sources.yaml, for example to utf-8, latin-1, cp1252 or utf-16"
        raise ExportError("bad_encoding", f"unknown encoding {encoding!r}", hint) from None


def _decoded(codec: _Codec, errors: list[ExportError]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec.name)()
    is_utf8 = _IsUtf8() if _has_single_bytes(codec.name) else None
    offset = 0
    for data in chain(codec.pieces, [b""]):
        state = decoder.getstate()
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as error:
            errors.append(_bad_encoding(error, codec, offset - len(state[0])))
            decoder = codecs.getincrementaldecoder(codec.name)(_MARKING)
            decoder.setstate(state)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeError:
                # Invalid as a whole, such as UTF-16 that does not say which of its bytes comes first.
                raise errors[-1] from None
        offset += len(data)
        if is_utf8 is not None:
            is_utf8.add(data)
        if text:
            yield text
    if is_utf8 is not None and is_utf8.is_certain:
        hint = "remove `encoding`, or set `encoding: utf-8`"
        raise ExportError("bad_encoding", f"the file is UTF-8, but `encoding` is {codec.name}", hint)


def _checked(codec: _Codec, errors: list[ExportError]) -> Iterator[bytes]:
    offset, held = 0, b""
    for data in chain(codec.pieces, [b""]):
        text = held + data
        end = _end_of_characters(text) if data else len(text)
        whole = text[:end]
        try:
            _check(whole)
        except UnicodeError as error:
            errors.append(_bad_encoding(error, codec, offset - len(held)))
            # Within the file, an incomplete character means that the next byte is invalid.
            marked = whole.decode("utf-8", _MARKING if not data else _MARKING_WITHIN)
            whole = marked.encode("utf-8", "surrogatepass")
        offset += len(data)
        held = text[end:]
        if whole:
            yield whole


# -- invalid bytes -------------------------------------------------------------------------------------------------

_BAD, _CUT = 0xDC00, 0xDD00
"""Marks are lone surrogates, which no encoding yields: one for an invalid byte, one for a truncated character."""
_MARK = re.compile("[\udc00-\uddff]")
_MARK_IN_UTF8 = re.compile(rb"\xed[\xb0-\xb7][\x80-\xbf]")
_MARKING, _MARKING_WITHIN = "sync_pipelines.marking", "sync_pipelines.marking_within"


def _marked(error: UnicodeError, *, is_end: bool) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    is_cut = is_end and re.search("end of data|truncated|incomplete", error.reason)
    mark = _CUT if is_cut else _BAD
    return "".join(chr(mark + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MARKING, partial(_marked, is_end=True))
codecs.register_error(_MARKING_WITHIN, partial(_marked, is_end=False))


def has_bad_bytes(text: AnyStr) -> bool:
    """Whether a text of `text_chunks` or `utf8_chunks` has marks."""
    if isinstance(text, bytes):
        return b"\xed" in text and _MARK_IN_UTF8.search(text) is not None
    return not text.isascii() and _MARK.search(text) is not None


def never_plain(text: bytes) -> bytes:
    """Replaces the marks by escapes, so that lines can be compared but no fast path reads them."""
    return _MARK_IN_UTF8.sub(rb"\\\\", text)


def damaged_bytes(position: str, text: str, row: PartialRow | None = None) -> RawRecord:
    r"""Returns the damaged record of a line with marks. Its text shows them as `\xe9`; its cells keep them."""
    first = _MARK.search(text)
    assert first is not None
    if ord(first[0]) >= _CUT:
        code, message = "truncated_line", "the file ends in the middle of a character"
    else:
        code = "bad_encoding"
        message = (
            f"the byte 0x{ord(first[0]) - _BAD:02x} is invalid in the file's encoding; "
            "export as UTF-8, or set `encoding`, often cp1252"
        )
    return damaged(position, code, message, _MARK.sub(lambda mark: f"\\x{ord(mark[0]) & 0xFF:02x}", text), row=row)


class _IsUtf8:
    """Detects UTF-8 with multi-byte characters, as opposed to a single-byte encoding."""

    def __init__(self) -> None:
        self._held = b""
        self._is_possible = True
        self._has_letters = False

    @property
    def is_certain(self) -> bool:
        """Whether everything so far is UTF-8 and some of it is not ASCII."""
        return self._is_possible and self._has_letters and not self._held

    def add(self, data: bytes) -> None:
        """Adds the next bytes."""
        if not self._is_possible or (not self._held and data.isascii()):
            return
        text = self._held + data
        end = _end_of_characters(text)
        try:
            _check(text[:end])
        except UnicodeError:
            self._is_possible = False
        self._has_letters, self._held = True, text[end:]


def _has_single_bytes(codec: str) -> bool:
    """Whether every byte is a character."""
    return codec != "utf-8" and len(bytes(range(256)).decode(codec, "replace")) == 256


def _end_of_characters(text: bytes) -> int:
    """Returns where the last complete character ends, if the text ends within one."""
    for back in range(1, min(4, len(text)) + 1):
        if text[-back] >= 0xC0:
            return len(text) - back
        if text[-back] < 0x80:
            break
    return len(text)


def _check(text: bytes) -> None:
    """Raises UnicodeError if bytes are not UTF-8; decoding them would take eight times as long."""
    if text.isascii():
        return
    array = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("ii", 0, len(text))), pa.py_buffer(text))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        text.decode()


def _check_wide_characters(codec: _Codec) -> None:
    """Raises for UTF-16 without a byte order mark, which is valid UTF-8 full of NULs, detected by their positions."""
    nuls = [place for place, byte in enumerate(codec.head) if byte == 0]
    if codec.name in ("utf-8", "ascii", "cp1252") and nuls in ([1, 3], [0, 2], [0, 1, 2], [1, 2, 3]):
        wide = "utf-16" if len(nuls) == 2 else "utf-32"
        hint = f"it looks like {wide}: set `encoding: {wide}-{'be' if nuls[0] == 0 else 'le'}` for this stream"
        raise ExportError("bad_encoding", f"the bytes are not {codec.name}", hint, Position("byte", nuls[0]))


def _bad_encoding(error: UnicodeError, codec: _Codec, offset: int) -> ExportError:
    """Returns the error of the whole file.

    Raises:
        ExportError: the same error, if the bytes are not text at all.
    """
    start = error.start if isinstance(error, UnicodeDecodeError) else 0
    byte = (
        f": 0x{error.object[start]:02x}" if isinstance(error, UnicodeDecodeError) and start < len(error.object) else ""
    )
    position = Position("byte", offset + start)
    for magic, (what, suffix) in _MAGIC.items():
        if codec.head.startswith(magic):
            hint = f"it looks like {what}: rename the file to {suffix}"
            raise ExportError("bad_encoding", f"the bytes are not {codec.name}{byte}", hint, position)
    hint = "set `encoding` for this stream"
    if codec.name == "utf-16" and not isinstance(error, UnicodeDecodeError):
        hint = "it has no byte order mark: set `encoding: utf-16-le` or `utf-16-be` for this stream"
    if codec.name == "utf-8":
        hint = "it may be latin-1 or cp1252: set `encoding` for this stream, or export as UTF-8"
    return ExportError("bad_encoding", f"the bytes are not {codec.name}{byte}", hint, position)
