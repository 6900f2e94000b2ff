"""Any export as raw records: chooses the reader by name, settings and content.

Belongs here: which format a file is in. Does not belong here: the formats themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from json import JSONDecodeError
from typing import BinaryIO, cast

from sync_pipelines.configuration.limits import Limits, Meter, Metered
from sync_pipelines.contracts.near_names import near_name
from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.columns import Columns, gone_since
from sync_pipelines.exports.compression import open_export, plain_name
from sync_pipelines.exports.containers import TextOnly
from sync_pipelines.exports.csv_cells import read_csv
from sync_pipelines.exports.json_lines import read_each, read_lines
from sync_pipelines.exports.json_messages import check_is_no_message, unwrapped
from sync_pipelines.exports.json_stream import read_document
from sync_pipelines.exports.json_values import NestedTooDeep, decode_at
from sync_pipelines.exports.lines import LineBlock, line_blocks
from sync_pipelines.exports.parts import is_of_parts, separated
from sync_pipelines.exports.tables import AS_IT_STANDS, Part, TableReading
from sync_pipelines.exports.text import Chunks, text_chunks, utf8_chunks

FORMATS = {
    "json": "json",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "parquet": "parquet",
    "xlsx": "xlsx",
    "xlsm": "xlsx",
    "xlsb": "xlsx",
    "xls": "xlsx",
    "ods": "xlsx",
}
"""File extension -> format."""

_BLANK = b" \t\r\n"
_FLAT = {"csv", "parquet", "xlsx"}
_FIRST_LINE = 4 << 20
"""Bytes of a `.json` file that are searched for the end of its first line."""


@dataclass(frozen=True)
class ReadSettings:
    """How the exports of a stream are read.

    Attributes:
        format: one of `FORMATS`, whatever the name; None uses the name.
        encoding: codec of text formats; None is UTF-8.
        table: how rows of a flat file are read.
        member: glob of the export within a `.zip`. Default: its only file.
        record: path of the record within each JSON element, such as `record.data`; None if the element is the record.
        envelopes: folded names (lower case, no underscores) of top-level lists that are streamed.
        limits: limits of an export.
    """

    format: str | None = None
    encoding: str | None = None
    table: TableReading = AS_IT_STANDS
    member: str | None = None
    record: str | None = None
    envelopes: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)


def is_flat(name: str, settings: ReadSettings = ReadSettings()) -> bool:
    """Whether an export is rows of cells (CSV, Parquet, Excel) rather than JSON, by its name and settings.

    If the name of a `.zip` has no format, pass the name of its member, which `open_export` returns.
    """
    return _format_named(plain_name(name), settings) in _FLAT


def why_no_format(name: str) -> ExportError | None:
    """Returns why a name has no known format, or None. The format of a `.zip` may depend on its member."""
    return None if _format_named(plain_name(name), ReadSettings()) else _format_unknown(name, ReadSettings())


Source = BinaryIO | Callable[[], AbstractContextManager[BinaryIO]]
"""The bytes as received, or a function that opens them. The caller closes an open stream."""


def read_export(source: Source, name: str, settings: ReadSettings = ReadSettings()) -> Iterator[RawRecord]:
    """Reads an export of any format, compressed or not, record by record in bounded memory.

    Raises:
        ExportError: the file cannot be read as a whole (X13). Records may have been yielded before.
    """
    for part in read_blocks(source, name, settings):
        if isinstance(part, LineBlock):
            yield from read_lines(part.lines)
        elif isinstance(part, RawRecord):
            yield part


def read_blocks(source: Source, name: str, settings: ReadSettings = ReadSettings()) -> Iterator[Part | LineBlock]:
    """Reads an export of any format, compressed or not: JSON Lines in blocks of lines, others record by record.

    Flat files yield their columns first, and among their records the skipped rows that are counted.

    Args:
        source: what to read.
        name: its file name or path, which determines compression and format.
        settings: the source's settings.

    Raises:
        ExportError: the file cannot be read as a whole (X13). Records may have been yielded before.
    """
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(source()) if callable(source) else source
            if is_of_parts(name):
                yield from _read_parts(stream, settings)
                return
            meter = Meter(settings.limits)
            plain, inner = open_export(stream, name, meter, settings.member)
            if plain is not stream:
                stack.enter_context(closing(plain))
            kind = _format_named(inner, settings) or _format_named(plain_name(name), settings)
            yield from _read(plain, kind, inner, settings, meter)
    except OSError as error:
        # Reading writes only temporary copies, whose errors are handled separately.
        message = f"reading the export failed: {error.strerror or error}"
        raise ExportError("file_unreadable", message, "the next sync tries again") from error


def _read_parts(stream: BinaryIO, settings: ReadSettings) -> Iterator[Part]:
    """Yields the content of every part, at positions that name the part. Empty parts yield nothing."""
    columns: Columns | None = None
    is_first_flat: bool | None = None
    for name, content in separated(stream):
        kind = is_flat(name, settings)
        if is_first_flat not in (None, kind):
            raise _parts_differ(name, "are of different kinds: some hold cells, some JSON")
        is_first_flat = kind
        for part in _named(name, read_blocks(content, name, settings)):
            if isinstance(part, LineBlock):
                yield from (record._replace(position=f"{name}:{record.position}") for record in read_lines(part.lines))
            elif not isinstance(part, Columns):
                yield part._replace(position=f"{name}:{part.position}")
            elif columns is None:
                columns = part
                yield part
            elif gone := [*gone_since(columns.names, part.names), *gone_since(part.names, columns.names)]:
                raise _parts_differ(name, f"have different columns: {gone[0]!r} is not in all of them")
    if is_first_flat and columns is None:
        raise ExportError("empty_file", "all parts are empty", "send a header line if there are no records")


def _named(name: str, parts: Iterator[Part | LineBlock]) -> Iterator[Part | LineBlock]:
    """Yields what one part yields; its errors name the part."""
    try:
        yield from parts
    except ExportError as error:
        if error.code != "empty_file":
            raise ExportError(error.code, f"{name}: {error.message}", error.hint, error.position) from error


def _parts_differ(name: str, how: str) -> ExportError:
    hint = "put only parts of one export into the folder, or set `path`"
    return ExportError("parts_differ", f"{name} and the parts before it {how}", hint)


def _format_named(name: str, settings: ReadSettings) -> str | None:
    if settings.format:
        return FORMATS.get(settings.format.lower().lstrip("."))
    return FORMATS.get(name.rsplit(".", 1)[-1].lower()) if "." in name else None


def _read(
    plain: BinaryIO, kind: str | None, name: str, settings: ReadSettings, meter: Meter
) -> Iterator[Part] | Iterator[LineBlock]:
    if kind in ("parquet", "xlsx"):
        from sync_pipelines.exports.isolated import Kind, read_isolated

        return read_isolated(plain, cast(Kind, kind), settings.table, meter)
    if kind is None:
        raise _format_unknown(name, settings)
    text = cast(BinaryIO, TextOnly(cast(BinaryIO, Metered(plain, meter))))
    if kind == "csv":
        return read_csv(text_chunks(text, settings.encoding), settings.table, meter)
    return _read_json(utf8_chunks(text, settings.encoding), kind == "ndjson", settings)


def _format_unknown(name: str, settings: ReadSettings) -> ExportError:
    known = ", ".join(f".{extension}" for extension in FORMATS)
    near = near_name(plain_name(name).rsplit(".", 1)[-1], FORMATS) if "." in name else None
    suggestion = f"did you mean .{near}? " if near else ""
    what = f"format: {settings.format}" if settings.format else repr(name.rsplit("/", 1)[-1])
    return ExportError(
        "format_unknown", f"unknown format of {what}", f"{suggestion}known formats are {known}; or set `format`"
    )


def _read_json(chunks: Chunks[bytes], is_lines: bool, settings: ReadSettings) -> Iterator[Part] | Iterator[LineBlock]:
    """Reads JSON by its content: an array is an array whatever the name, and `.json` may hold JSON Lines."""
    head = _read_until(chunks, b"", lambda text: bool(text.strip(_BLANK)))
    opening = head.lstrip(_BLANK)[:1]
    if opening == b"{" or (is_lines and opening == b"["):
        head = _read_until(chunks, head, lambda text: bool(_first_line(text)[1]))
        # Without a line end, the text holds values one after another, not lines.
        is_endless = len(head) >= _FIRST_LINE and not _first_line(head)[1]
        reads_lines = (is_lines and opening == b"{" and not is_endless) or _begins_with_a_whole_line(head)
    else:
        reads_lines = is_lines and opening != b"<"
    text = chain([head], chunks)
    if not reads_lines:
        document = (piece.decode("utf-8", "surrogatepass") for piece in chunks.strict(text))
        return _of_messages(read_document(document, settings.envelopes), settings)
    if settings.record is not None:
        return _of_messages(read_lines(line for block in line_blocks(text) for line in block.lines), settings)
    return _blocks_of_records(line_blocks(text))


def _of_messages(records: Iterator[RawRecord], settings: ReadSettings) -> Iterator[RawRecord]:
    if settings.record is not None:
        yield from unwrapped(records, settings.record)
        return
    for number, record in enumerate(records):
        if not number:
            check_is_no_message(record.value, record.position, is_line=False)
        yield record


def _blocks_of_records(blocks: Iterator[LineBlock]) -> Iterator[LineBlock]:
    for number, block in enumerate(blocks):
        if not number and (first := next(read_each(block.lines), None)) is not None:
            check_is_no_message(first.record.value, str(first.first), is_line=True)
        yield block


def _read_until(chunks: Iterator[bytes], text: bytes, is_enough: Callable[[bytes], bool]) -> bytes:
    while not is_enough(text) and len(text) < _FIRST_LINE:
        piece = next(chunks, None)
        if piece is None:
            break
        text += piece
    return text


def _first_line(text: bytes) -> tuple[bytes, bytes]:
    """Returns the first non-blank line, and the rest."""
    first, _, below = text.lstrip(_BLANK).partition(b"\n")
    return first.rstrip(_BLANK), below.strip(_BLANK)


def _begins_with_a_whole_line(text: bytes) -> bool:
    """Whether the first line is a complete value and more follows."""
    first, below = _first_line(text)
    if not below or not first.endswith((b"}", b"]")):
        return False
    line = first.decode("utf-8", "surrogatepass")
    try:
        return decode_at(line, 0)[1] == len(line)
    except NestedTooDeep:
        return True
    except JSONDecodeError:
        return False
