"""Normalizes an archived export into kept records: reading, shapes, grouping of lines, contracts.

Belongs here: the order of the stages, and what is counted. Does not belong here: any stage itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.codes import LENIENCY_CODES
from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.exports.columns import SoughtColumns, column_missing, gone_since
from sync_pipelines.exports.compression import open_export
from sync_pipelines.exports.formats import is_flat, read_blocks, read_export
from sync_pipelines.exports.lines import LineBlock
from sync_pipelines.exports.parts import is_of_parts, separated
from sync_pipelines.kept.kept_records import KeptRecords, Summary
from sync_pipelines.kept.kept_writer import Beside, KeptWriter
from sync_pipelines.kept.repeated_lines import build_known_lines
from sync_pipelines.normalize.change import Change, Findings, Reject
from sync_pipelines.normalize.envelope import Call, DateWindow, Envelope
from sync_pipelines.normalize.erasure import MARKER, SUBJECT_ERASED, Eraser, build_eraser
from sync_pipelines.normalize.faults import located
from sync_pipelines.normalize.field_names import Names, sought_columns
from sync_pipelines.normalize.fill_down import FillDown
from sync_pipelines.normalize.flat import LineFold
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.normalize.null_words import with_nulls
from sync_pipelines.normalize.plain import PlainReader
from sync_pipelines.normalize.record import RecordReader, Totals
from sync_pipelines.normalize.record_source import RecordSource
from sync_pipelines.normalize.values import displayable
from sync_pipelines.privacy.erased_people import ErasedPeople, read_erased_people
from sync_pipelines.stages.flat_parts import FlatParts
from sync_pipelines.stages.given_settings import constants_by_alias, read_settings_of, reading_of
from sync_pipelines.stages.line_blocks import BlockReader, OneByOne


@dataclass(frozen=True)
class ExportText:
    """An export to normalize.

    Attributes:
        stream, settings: declaration and source.
        tenant: as stored.
        name: the file's name, whose extension is the format; or the path of an export of several parts.
        content: opens the archived bytes.
        verify: raises if those bytes are damaged; called after reading, successful or not.
        effective_at: the export's own time (X4).
        window: the dates that its records may have.
    """

    stream: Stream
    settings: StreamSettings
    tenant: str
    name: str
    content: Callable[[], AbstractContextManager[BinaryIO]]
    effective_at: datetime
    window: DateWindow
    verify: Callable[[], None] | None = None


def normalize(
    export: ExportText,
    archive: Path,
    earlier: Sequence[KeptRecords] = (),
    beside: Beside | None = None,
    *,
    erases: bool = True,
) -> str:
    """Reads an export and keeps its records. Returns their location, for the ledger.

    Args:
        export: the export.
        archive: the archive's folder.
        earlier: kept records of the stream's loaded exports whose lines it may repeat, the likeliest first.
        beside: receives the records that are not repeated, in file order, while the next ones are read.
        erases: whether erased people are removed.

    Raises:
        ExportError: the export cannot be read as a whole (X13); nothing is kept.
        ArchiveDamaged: its archived bytes are damaged, whatever the result of reading; nothing is kept.
    """
    stream = export.stream
    writer = KeptWriter(
        archive,
        layout_of(stream),
        export.effective_at,
        beside=beside,
        rejects=export.settings.limits.rejects,
    )
    try:
        with _few_collections():
            return _written(export, writer, earlier, read_erased_people(archive) if erases else None)
    except BaseException as error:
        writer.discard()
        if isinstance(error, Exception) and export.verify is not None:
            export.verify()
        raise
    finally:
        # Return free memory: the load that follows needs other sizes.
        pa.default_memory_pool().release_unused()


def outcomes_of(export: ExportText, findings: Findings) -> Iterator[Change | Reject]:
    """Yields the outcome of every record of an export, in file order, without keeping anything.

    Args:
        export: the export.
        findings: counts leniencies and unknown fields.

    Raises:
        ExportError: the export cannot be read as a whole (X13).
    """
    yield from _Pipeline(export, findings).outcomes()


def sought_in(export: ExportText) -> SoughtColumns:
    """Returns the columns that a flat export's header should have, by its source's settings."""
    return _Pipeline(export, Findings())._sought_columns()


@contextmanager
def _few_collections() -> Iterator[None]:
    """Pauses garbage collection: records hold no cycles, and searching for some takes a tenth of the reading time."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 100_000), 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _written(
    export: ExportText, writer: KeptWriter, earlier: Sequence[KeptRecords], people: ErasedPeople | None
) -> str:
    started = time.monotonic()
    findings = Findings()
    eraser = build_eraser(people, export.stream, export.tenant, export.settings)
    pipeline = _Pipeline(export, findings, eraser)
    pipeline.write(writer, earlier)
    if writer.rejected > writer.rejects_kept:
        findings.leniencies["rejects_not_kept"] = writer.rejected - writer.rejects_kept
    if pipeline.looks_renamed(earlier):
        findings.leniencies["column_renamed"] += 1
    if export.verify is not None:
        export.verify()
    for kept in earlier:
        kept.let_go()
    summary = Summary(
        read=writer.accepted + writer.rejected,
        rejected=writer.rejected,
        lines=pipeline.lines,
        leniencies=dict(findings.leniencies),
        unknown_fields=dict(findings.unknown_fields),
        fingerprint=export.settings.fingerprint,
        contract=export.stream.fingerprint,
        seconds=round(time.monotonic() - started, 3),
        columns=None if pipeline.columns is None else list(pipeline.columns),
        erasures=0 if people is None else people.changes,
    )
    return writer.finish(summary)


class _Pipeline:
    def __init__(self, export: ExportText, findings: Findings, eraser: Eraser | None = None) -> None:
        settings, stream = export.settings, export.stream
        self._eraser = eraser
        self._export = export
        self._findings = findings
        self._of_file = read_settings_of(stream, settings)
        self._flat = is_flat(_inner_name(export), self._of_file)
        self._reading = reading_of(settings, flat=self._flat)
        self._names = Names(stream.shape, settings.columns, flat=self._flat)
        self._source = RecordSource(
            stream, export.tenant, settings.options, self._reading, self._names, export.effective_at
        )
        self._columns: tuple[str, ...] | None = None
        self._sought: SoughtColumns | None = None
        self._item_columns: list[str] = []
        self._constants = constants_by_alias([stream.shape], settings.constants)
        self._fold: LineFold | None = None

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns of a flat file."""
        return self._columns

    def looks_renamed(self, earlier: Iterable[KeptRecords]) -> bool:
        """Whether a field's column disappeared since the previous flat export, and an unknown column is new.

        Raises:
            ExportError: `column_missing`: it does, and the source is strict (X8).
        """
        at = self._export.effective_at.isoformat()
        before = next((s.columns for s in (kept.summary for kept in earlier) if s.columns and s.at <= at), None)
        if not before or not self._columns or self._sought is None:
            return False
        gone = self._sought.known_among(gone_since(before, self._columns))
        new = gone_since(self._columns, before)
        unknown = [name for name in new if not self._sought.needs(name)]
        if gone and unknown and self._reading.strict:
            raise column_missing(gone[0], "the previous export had", self._columns, None)
        return bool(gone and unknown)

    @property
    def lines(self) -> int | None:
        """The lines read, if lines are grouped."""
        return self._fold.lines if self._fold else None

    def write(self, writer: KeptWriter, earlier: Iterable[KeptRecords]) -> None:
        """Keeps every record's change or reject, in file order."""
        plain = PlainReader(self._source)
        if self._flat or self._constants or self._own_times or not plain.is_able:
            for outcome in self.outcomes():
                writer.take(outcome)
        else:
            known = build_known_lines(earlier, self._read_under, writer.link)
            suspects = None if self._eraser is None else self._eraser.suspects
            BlockReader(plain, self._one_by_one(), self._findings, writer, known, suspects).read(
                cast(
                    Iterator[RawRecord | LineBlock],
                    read_blocks(self._export.content, self._export.name, self._of_file),
                )
            )

    @property
    def _read_under(self) -> tuple[str, str]:
        """The settings under which equal texts are equal records, see `Summary.reading`."""
        return self._export.settings.fingerprint, self._export.stream.fingerprint

    def outcomes(self) -> Iterator[Change | Reject]:
        """Yields every record's change or reject, in file order."""
        if not self._flat:
            records = read_export(self._export.content, self._export.name, self._of_file)
            yield from self._read(records, None)
            return
        self._sought = self._sought_columns()
        settings = read_settings_of(self._export.stream, self._export.settings, self._sought)
        table = FlatParts(read_blocks(self._export.content, self._export.name, settings), self._findings, self._reading)
        self._columns = table.columns
        lines = self._export.stream.line_field
        lists = {lines.alias} if lines is not None else set()
        self._item_columns = [name for name in table.columns if lists & self._names.supplied_by([name])]
        nulls = self._export.settings.null_values
        records = with_nulls(table.records(), nulls) if nulls else table.records()
        if lists and not self._item_columns:
            yield from self._folded(records)
        else:
            yield from self._read(self._filled(records, bool), None)
        yield from self._without_erased(table.rejects)

    def _sought_columns(self) -> SoughtColumns:
        settings, stream = self._export.settings, self._export.stream
        field = stream.line_field
        lines = [self._names.nested(field.alias)] if field is not None and field.children else []
        keys = [stream.contract.model_fields[name].alias or name for name in (stream.key, stream.record_id) if name]
        given = any(alias in self._constants for alias in keys)
        return sought_columns(
            [self._names, *lines], stream.full_name, () if given else keys, settings.optional, settings.columns
        )

    def _folded(self, lines: Iterable[RawRecord]) -> Iterator[Change | Reject]:
        settings, stream = self._export.settings, self._export.stream
        shapes = [stream.shape, *(f.children for f in stream.shape.nested if f.children)]
        constants = constants_by_alias(shapes, settings.constants)
        fold = self._fold = LineFold(stream, self._names, constants, self._own_times, settings.decimal)
        yield from self._read(fold.fold(self._filled(lines, fold.is_line)), fold)

    def _filled(self, rows: Iterable[RawRecord], is_filled: Callable[[dict[str, Any]], bool]) -> Iterator[RawRecord]:
        """Yields the rows with cells filled from those above."""
        fields = self._export.settings.fill_down
        if not fields:
            return iter(rows)
        nested = self._export.stream.shape.nested
        lines = [self._names.nested(f.alias) for f in nested if f.children is not None]
        filling = FillDown(fields, [self._names, *lines], is_filled)
        if self._columns and (lost := filling.missing_among(self._columns)):
            raise column_missing(lost[0], "`fill_down` fills", self._columns, None, "fill_down")
        return filling.fill(rows)

    @property
    def _own_times(self) -> frozenset[str]:
        """The folded names of the field with a record's own time, in the file and in the contract (X4)."""
        settings = self._export.settings
        name = settings.effective_at
        if not name:
            return frozenset()
        fold = self._names.fold
        mapped = (column for field, column in settings.columns.items() if fold(field) == fold(name))
        return frozenset(map(fold, (name, *self._names.aliases_of(name), *mapped)))

    def _read(self, records: Iterable[RawRecord], fold: LineFold | None) -> Iterator[Change | Reject]:
        read = self._one_by_one(fold)
        for raw in records:
            yield from read(raw)

    def _totals_of(self, row: Any) -> Totals | None:
        """Returns the totals to compute for a row without them: from items in cells, not from a list of its own."""
        flat = self._export.stream.flat
        if flat is None or not self._item_columns or not isinstance(row, dict):
            return None
        return flat.totals if any(not isinstance(row.get(name, []), list) for name in self._item_columns) else None

    def _one_by_one(self, fold: LineFold | None = None) -> OneByOne:
        """Returns the record-by-record path: a raw record -> its changes and rejects."""
        envelope = Envelope(self._source, self._own_times, self._export.window)
        reader = RecordReader(self._source, self._constants, self._findings)

        def read(raw: RawRecord) -> Iterator[Change | Reject]:
            if raw.value == MARKER:
                self._findings.leniencies[SUBJECT_ERASED] += 1
                return
            if raw.forgiven and self._reading.strict:
                code = raw.forgiven[0]
                yield Reject(raw.position, None, code, None, LENIENCY_CODES[code], displayable(raw.value))
                return
            self._findings.leniencies.update(raw.forgiven)
            totals = fold.totals if fold is not None else self._totals_of(raw.value)
            erased = self._findings.leniencies[SUBJECT_ERASED]
            for call in envelope.calls(raw):
                outcome = _outcome(call, reader, totals)
                if isinstance(call, Call) and isinstance(outcome, Change):
                    self._findings.unknown_fields.update(call.drift)
                yield from self._without_erased([outcome])
            # Raw bytes may name a person in a field that is not kept.
            if erased == self._findings.leniencies[SUBJECT_ERASED] and self._names_erased(raw):
                self._findings.leniencies[SUBJECT_ERASED] += 1

        return read

    def _names_erased(self, raw: RawRecord) -> bool:
        return self._eraser is not None and bool(self._eraser.raw(raw.value) != raw.value)

    def _without_erased(self, outcomes: Iterable[Change | Reject]) -> Iterator[Change | Reject]:
        """Yields outcomes without erased people; counts the records that change, which are not read otherwise."""
        for outcome in outcomes:
            if isinstance(outcome, Reject) and outcome.code == SUBJECT_ERASED:
                cleaned = None
            else:
                cleaned = outcome if self._eraser is None else self._eraser.outcome(outcome)
            if cleaned is not outcome:
                self._findings.leniencies[SUBJECT_ERASED] += 1
            if cleaned is not None:
                yield cleaned


def _outcome(call: Call | Reject, reader: RecordReader, totals: Totals | None) -> Change | Reject:
    if isinstance(call, Reject):
        return call
    if call.operation == "delete" and call.key is not None:
        return Change(call.place.position, call.place.effective_at, "delete", call.key, {}, {}, {}, {})
    outcome = reader.read(call.record, call.place, totals, call.operation, call.mode)
    return located(outcome, call.spelled, call.within) if isinstance(outcome, Reject) else outcome


def _inner_name(export: ExportText) -> str:
    """Returns the name that has the format: of a zip's member if its own name has none; of parts, the first."""
    if is_of_parts(export.name):
        with export.content() as content:
            return next(separated(content))[0]
    if not export.name.lower().endswith(".zip"):
        return export.name
    with export.content() as content:
        plain, inner = open_export(content, export.name, member=export.settings.member)
        plain.close()
    return inner
