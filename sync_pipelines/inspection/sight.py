"""Looks at a file: its format, encoding and columns with their values, as the readers find them.

Belongs here: what can be seen before the stream is known. Does not belong here: reading (`exports`), which field a
column is (`column_names`, `proposal`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.columns import Columns, SoughtColumns
from sync_pipelines.exports.compression import compression_of, open_export, plain_name
from sync_pipelines.exports.formats import FORMATS, ReadSettings, read_blocks
from sync_pipelines.exports.json_lines import read_lines
from sync_pipelines.exports.lines import LineBlock
from sync_pipelines.exports.tables import Forgiven, TableReading
from sync_pipelines.inspection.column_names import EXACT, meanings
from sync_pipelines.partners import STREAMS

LOOKED_AT: Final = 20_000
"""Records whose values are looked at; the trial reads all of them."""
_WORKBOOK: Final = "xlsx"
"""Value of `format` for workbooks of every kind."""
TEXT_FORMATS: Final = frozenset({"csv", "json", "ndjson"})
_HEAD: Final = 1 << 16
_RECORD: Final = re.compile(r"`record: ([\w.]+)`")
"""The setting that the error of a file of messages suggests."""
_ENVELOPES: Final = frozenset(
    folded(name)
    for stream in STREAMS
    for name in (*stream.envelopes, *(name for route in stream.routes for name in route.lists))
)
"""Lists that hold records rather than parts of a record."""
_MAGIC: Final = ((b"PAR1", "parquet"), (b"PK\x03\x04", "xlsx"), (b"\xd0\xcf\x11\xe0", "xlsx"))
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"PK\x03\x04")
"""Formats whose names do not need an extension of their own; reading detects them."""
_ONE_BYTE: Final = ("cp1252", "cp850", "mac_roman", "cp1250", "cp1251", "shift_jis", "gb18030", "euc_kr")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass
class SeenColumn:
    """A column, or a field of JSON records.

    Attributes:
        name: its name in the file.
        values: its non-empty values, as read.
        positions: the position of each value.
        within: the list in each record whose elements have it, or None.
    """

    name: str
    values: list[Any] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    within: str | None = None

    @property
    def texts(self) -> list[str]:
        """The values that are written as text."""
        return [value for value in self.values if isinstance(value, str)]

    def samples(self, number: int = 3) -> list[Any]:
        """Returns the first distinct values."""
        return list(islice({str(value): value for value in self.values[:1_000]}.values(), number))


@dataclass
class Seen:
    """The content of a file, as far as it was looked at.

    Attributes:
        name, size: name and size of the file.
        format: one of `json`, `ndjson`, `csv`, `parquet`, `xlsx`.
        is_named: whether the file's name has that format.
        compression: such as `.gz`, or None.
        encoding: of a text format; the value for `encoding`.
        delimiter: delimiter of a CSV.
        header: position of the header, such as `line 3`, or None if there is none.
        sheet: sheet of a workbook.
        record: path of the records in JSON messages; the value for `record`.
        columns: by name, in file order.
        records: number of records that were looked at.
        damaged: pieces that could not be read.
        is_log: whether it is a request log.
        error: why reading stopped, or None.
    """

    name: str
    size: int
    format: str
    is_named: bool
    compression: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    header: str | None = None
    sheet: str | None = None
    record: str | None = None
    columns: dict[str, SeenColumn] = field(default_factory=dict)
    records: int = 0
    damaged: int = 0
    is_log: bool = False
    error: ExportError | None = None

    @property
    def is_flat(self) -> bool:
        """Whether it is rows of cells."""
        return self.format in ("csv", "parquet", _WORKBOOK)


class _AnyStreams(SoughtColumns):
    """Recognizes columns that belong to any stream, by common words for them."""

    def is_header(self, names: Iterable[str]) -> bool:
        """Whether at least two of these names, or the only one, are words for fields of one stream."""
        given = [name for name in names if name]
        sure = max((_sure(stream, given) for stream in STREAMS), default=0)
        return len(given) > 0 and sure >= min(2, len(given))

    def needs(self, name: str) -> bool:
        """No column is needed yet."""
        return False

    def known_among(self, names: Iterable[str]) -> list[str]:
        """Returns the names that are words for fields of some stream."""
        given = list(names)
        return [name for name in given if any(_sure(stream, [name]) for stream in STREAMS)]

    def check(self, names: Iterable[str], position: Any) -> None:
        """No header is invalid yet."""


def _sure(stream: Any, names: list[str]) -> int:
    found = meanings(stream, names)
    return sum(possible[0].score > EXACT - 1 for possible in found.values())


def see(file: Path, table: TableSettings, format_: str | None = None, encoding: str | None = None) -> Seen:
    """Looks at a file. Stops at what cannot be read, and reports it.

    Args:
        file: a local file.
        table: known settings of header and rows.
        format_: the format, if known.
        encoding: the encoding, if known.

    Raises:
        ExportError: the bytes cannot be read at all (`file_unreadable`, `empty_file`, `bad_compression`).
    """
    name = file.name
    with opened(file) as source, _plain(source, name) as (plain, inner):
        head = plain.read(_HEAD)
        known = _format_named(inner) or _format_named(plain_name(name))
        seen = Seen(name, file.stat().st_size, found := format_ or _format_of(known, head), known == found)
        seen.compression = compression_of(name)
        if seen.format in TEXT_FORMATS and not head.startswith(_COMPRESSED):
            seen.encoding = encoding or _encoding_of(head, plain)
    _look(seen, file, table)
    return seen


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Opens a local file.

    Raises:
        ExportError: `file_unreadable`.
    """
    try:
        source = file.open("rb")
    except OSError as error:
        raise ExportError("file_unreadable", f"{file} cannot be read: {error.strerror}", "") from error
    with source:
        yield source


@contextmanager
def _plain(source: BinaryIO, name: str) -> Iterator[tuple[BinaryIO, str]]:
    plain, inner = open_export(source, name)
    if plain is source:
        yield plain, inner
        return
    with closing(plain):
        yield plain, inner


def _format_named(name: str) -> str | None:
    """Returns the format in a name, as the value of `format`."""
    kind = FORMATS.get(name.rsplit(".", 1)[-1].lower()) if "." in name else None
    return _WORKBOOK if kind == "workbook" else kind


def _format_of(known: str | None, head: bytes) -> str:
    """Returns the format: from the first bytes if they show it, else from the name."""
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if known is not None:
        return known
    return "json" if begin in (b"{", b"[") and begin else "csv"


def _encoding_of(head: bytes, rest: BinaryIO) -> str:
    """Returns the encoding: from a byte order mark, else UTF-8 if all bytes are valid, else a detector's guess."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    block, odd = head, b""
    while block:
        try:
            decoder.decode(block)
        except UnicodeDecodeError:
            odd += block
            decoder = codecs.getincrementaldecoder("utf-8")()
            if len(odd) > 4 * _HEAD:
                break
        block = rest.read(_HEAD)
    return _detected(odd) if odd else "utf-8"


def _detected(data: bytes) -> str:
    # Importing it takes a tenth of a second, and most files are UTF-8.
    from charset_normalizer import from_bytes

    if b"\0" in data[:64]:
        return "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    text = data.decode("cp1252", "replace")
    unusual = {c for c in text if c > "\x7f"}
    # Western European letters and keyboard signs: with only a few of them, no detector can do better.
    if unusual and all(
        (c.isalpha() and c < "\u0180" and c not in "\xaa\xba") or c in "°ºª€£¿¡–—’“”«»·´" for c in unusual
    ):
        return "cp1252"
    best = from_bytes(data, cp_isolation=list(_ONE_BYTE)).best()
    return best.encoding if best is not None else "cp1252"


def _look(seen: Seen, file: Path, table: TableSettings) -> None:
    try:
        try:
            _take(seen, _parts(seen, file, table, _AnyStreams("any stream")))
        except ExportError as error:
            wrapped = _RECORD.search(error.hint) if error.code == "wrong_envelope" else None
            if wrapped is None and (error.code != "bad_header" or not seen.is_flat):
                raise
            seen.columns, seen.records = {}, 0
            seen.record = wrapped[1] if wrapped else None
            # No row has known names: the first non-empty row is the header.
            _take(seen, _parts(seen, file, table, None))
    except ExportError as error:
        seen.error = error


def _parts(seen: Seen, file: Path, table: TableSettings, sought: SoughtColumns | None) -> Iterator[Any]:
    envelopes = frozenset(name for stream in STREAMS for name in stream.envelopes)
    settings = ReadSettings(
        format=seen.format,
        encoding=seen.encoding,
        table=TableReading("absent", table, sought),
        record=seen.record,
        envelopes=envelopes,
    )
    return read_blocks(lambda: opened(file), file.name, settings)


def _take(seen: Seen, parts: Iterator[Any]) -> None:
    for part in parts:
        if isinstance(part, Columns):
            seen.columns = {name: SeenColumn(name) for name in part.names}
            seen.delimiter, seen.sheet = part.delimiter, part.sheet
            seen.header = str(part.position) if part.position and seen.format != "parquet" else None
        elif isinstance(part, LineBlock):
            for record in read_lines(part.lines):
                _note(seen, record)
        elif not isinstance(part, Forgiven):
            _note(seen, part)
        if seen.records >= LOOKED_AT:
            return


def _note(seen: Seen, record: RawRecord) -> None:
    if record.within == "rest":
        return
    seen.records += 1
    if record.damage is not None or not isinstance(record.value, Mapping):
        seen.damaged += 1
        return
    value = record.value
    seen.is_log = seen.is_log or {"method", "path"} <= value.keys()
    for name, cell in value.items():
        if isinstance(cell, list) and cell and folded(str(name)) in _ENVELOPES:
            seen.records -= 1
            for element in cell:
                _note(seen, RawRecord(record.position, element))
        elif isinstance(cell, list) and cell and all(isinstance(element, Mapping) for element in cell):
            for element in cell:
                for inner, below in element.items():
                    _add(seen, inner, below, record.position, name)
        else:
            _add(seen, str(name), cell, record.position, None)


def _add(seen: Seen, name: str, value: Any, position: str, within: str | None) -> None:
    column = seen.columns.setdefault(name, SeenColumn(name, within=within))
    if value is not None and value != "":
        column.values.append(value)
        column.positions.append(position)
