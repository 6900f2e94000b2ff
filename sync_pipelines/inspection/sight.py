"""What a file is: its format, encoding and columns with their values, as the readers find them.

Belongs here: what is seen before anybody says which stream it is of. Does not belong here: reading (`exports`), which
field a column is (`column_names`, `proposal`).
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
"""Records whose values are looked at; all of them are read to tell what would happen."""
_WORKBOOK: Final = "xlsx"
"""As `format`: workbooks of every kind."""
TEXT_FORMATS: Final = frozenset({"csv", "json", "ndjson"})
_HEAD: Final = 1 << 16
_RECORD: Final = re.compile(r"`record: ([\w.]+)`")
"""What the fault of a file of messages says to set."""
_ENVELOPES: Final = frozenset(
    folded(name)
    for stream in STREAMS
    for name in (*stream.envelopes, *(name for route in stream.routes for name in route.lists))
)
"""Lists that hold records, not parts of one."""
_MAGIC: Final = ((b"PAR1", "parquet"), (b"PK\x03\x04", "xlsx"), (b"\xd0\xcf\x11\xe0", "xlsx"))
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"PK\x03\x04")
"""Under a name that does not say so; reading says it."""
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
        name: as the file has it.
        values: those that are not empty, as read.
        positions: where each stands.
        within: the list of each record in whose elements it is, or None.
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
        """The first values that differ."""
        return list(islice({str(value): value for value in self.values[:1_000]}.values(), number))


@dataclass
class Seen:
    """What was seen of a file.

    Attributes:
        name, size: of the file.
        format: one of `json`, `ndjson`, `csv`, `parquet`, `xlsx`.
        is_named: whether the file's name tells that format.
        compression: such as `.gz`, or None.
        encoding: of a text format; as `encoding` would say it.
        delimiter: of a CSV.
        header: where the header stands, such as `line 3`, or None where there is none.
        sheet: of a workbook.
        record: where the records are in JSON messages, as `record` would say it.
        columns: by name, in the order of the file.
        records: how many were looked at.
        rows_above: rows above the header.
        damaged: pieces that could not be read.
        is_log: whether it is a request log.
        fault: why reading stopped, or None.
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
    rows_above: int = 0
    damaged: int = 0
    is_log: bool = False
    fault: ExportError | None = None

    @property
    def is_flat(self) -> bool:
        """Whether it is rows of cells."""
        return self.format in ("csv", "parquet", _WORKBOOK)


class _AnyStreams(SoughtColumns):
    """Looks for columns that mean something to any stream, by the words people have for them."""

    def is_header(self, names: Iterable[str]) -> bool:
        """Whether at least two of these names, or the only one, are words for fields of one stream."""
        given = [name for name in names if name]
        sure = max((_sure(stream, given) for stream in STREAMS), default=0)
        return len(given) > 0 and sure >= min(2, len(given))

    def needs(self, name: str) -> bool:
        """Nothing is asked of a column yet."""
        return False

    def known_among(self, names: Iterable[str]) -> list[str]:
        """The names that are words for fields of some stream."""
        given = list(names)
        return [name for name in given if any(_sure(stream, [name]) for stream in STREAMS)]

    def check(self, names: Iterable[str], position: Any) -> None:
        """Nothing is asked of a header yet."""


def _sure(stream: Any, names: list[str]) -> int:
    found = meanings(stream, names)
    return sum(meant[0].score > EXACT - 1 for meant in found.values())


def see(file: Path, table: TableSettings, format_: str | None = None, encoding: str | None = None) -> Seen:
    """Looks at a file; what cannot be read ends the look, and is told.

    Args:
        file: of this machine.
        table: what is said of header and rows already.
        format_: what is said of the format already.
        encoding: what is said of the encoding already.

    Raises:
        ExportError: the bytes cannot be had at all (`file_unreadable`, `empty_file`, `bad_compression`).
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
    """A file of this machine.

    Raises:
        ExportError: `file_unreadable`.
    """
    try:
        source = file.open("rb")
    except OSError as fault:
        raise ExportError("file_unreadable", f"{file} cannot be read: {fault.strerror}", "") from fault
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
    """The format that a name tells, as `format` would say it."""
    kind = FORMATS.get(name.rsplit(".", 1)[-1].lower()) if "." in name else None
    return _WORKBOOK if kind == "workbook" else kind


def _format_of(known: str | None, head: bytes) -> str:
    """The format: the content's own where that is told by its first bytes, else the name's."""
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if known is not None:
        return known
    return "json" if begin in (b"{", b"[") and begin else "csv"


def _encoding_of(head: bytes, rest: BinaryIO) -> str:
    """The encoding: a mark tells it, else UTF-8 if all bytes are that, else what a detector takes it for."""
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
    # A tenth of a second to import, and most files are UTF-8.
    from charset_normalizer import from_bytes

    if b"\0" in data[:64]:
        return "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    text = data.decode("cp1252", "replace")
    unusual = {c for c in text if c > "\x7f"}
    # The letters of Western Europe and the signs of its keyboards: what a few of them mean, no detector tells better.
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
        except ExportError as fault:
            wrapped = _RECORD.search(fault.hint) if fault.code == "wrong_envelope" else None
            if wrapped is None and (fault.code != "bad_header" or not seen.is_flat):
                raise
            seen.columns, seen.records = {}, 0
            seen.record = wrapped[1] if wrapped else None
            # No row has names that anybody knows: the first with content is the header.
            _take(seen, _parts(seen, file, table, None))
    except ExportError as fault:
        seen.fault = fault


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
        elif isinstance(part, Forgiven):
            seen.rows_above += part.code == "row_above_header"
        elif isinstance(part, LineBlock):
            for record in read_lines(part.lines):
                _note(seen, record)
        else:
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
