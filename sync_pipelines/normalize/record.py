"""Reads one raw record by a stream's contract, as a change or as a reject with a path.

Belongs here: applying the contract, naming its errors, derived defaults, links. Does not belong here: positions of
records in an export (`envelope`), grouping of lines (`flat`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES
from sync_pipelines.contracts.contract import Contract
from sync_pipelines.contracts.links import LONGEST_REFERENCE, is_too_long
from sync_pipelines.contracts.paths import Path
from sync_pipelines.contracts.reading import Reading, RecordRejected
from sync_pipelines.contracts.streams import Children, Identity, ListMode, Operation, Stream
from sync_pipelines.normalize.change import Change, Fault, Findings, Listed, Place, Reject, path_of, reject
from sync_pipelines.normalize.faults import REJECTIONS, code_of, faults_of, sentence_of
from sync_pipelines.normalize.field_names import Matched
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.normalize.record_source import RecordSource
from sync_pipelines.normalize.rejected_records import Rejects
from sync_pipelines.normalize.values import keepable

Totals = Mapping[str, Callable[[list[Any]], Any]]
"""Column -> computes its value from the first list of children."""


class RecordReader:
    """Reads the records of one source of one stream.

    Args:
        source: where they come from.
        constants: alias -> value for every record.
        findings: collects leniencies and unknown fields.
    """

    def __init__(self, source: RecordSource, constants: Mapping[str, Any], findings: Findings) -> None:
        self._stream = stream = source.stream
        self._tenant = source.tenant
        self._options = source.options
        self._reading = source.reading
        self._names = source.names
        self._constants = constants
        self._findings = findings
        self._rejects = Rejects(source)
        # Of the record that is read.
        self._noted: list[Fault] | None = None
        self._leniencies = Counter[str]()
        self._aliases = frozenset(f.alias for f in stream.shape.fields)
        self._validate = stream.contract.__pydantic_validator__.validate_python
        self._never_null = [self._alias_of(name) for name in _in_contract(stream)]
        self._json_columns = layout_of(stream).json

    def read(
        self,
        raw: Any,
        place: Place,
        totals: Totals | None = None,
        operation: Operation = "upsert",
        mode: ListMode | None = None,
    ) -> Change | Reject:
        """Returns the change in a raw record, or its reject.

        Args:
            raw: its content in the export.
            place: its position and time.
            totals: columns to compute if the record lacks them (O12).
            operation: the requested operation.
            mode: the mode for lists of children, if the call sets it.
        """
        if not isinstance(raw, dict):
            return self._rejects.reject(raw, place, [Fault("not_an_object", None, REJECT_CODES["not_an_object"])])

        def read() -> Change:
            change = self._read(raw, place, totals or {}, operation)
            return change if mode is None else _with_mode(change, mode)

        try:
            return read()
        except REJECTIONS as rejection:
            faults = [*faults_of(rejection, self._stream.key_alias), *self._all_faults(read)]
            return self._rejects.reject(raw, place, faults)

    def _read(self, raw: dict[str, Any], place: Place, totals: Totals, operation: Operation) -> Change:
        matched = self._matched(raw)
        if self._stream.delete_flag is not None and matched.fields.get(self._stream.delete_flag) is not None:
            reading = replace(self._reading, leniencies=Counter())
            if self._field(self._stream.delete_flag, matched, reading):
                return self._deleted(matched, place, reading)
        reading = replace(self._reading, leniencies=Counter())
        matched = self._prepared(matched, reading)
        self._check_nulls(matched.fields)
        record, self._leniencies = self._validated(matched.fields)
        self._leniencies.update(reading.leniencies)
        return self._change(record, matched, place, totals, operation)

    def _all_faults(self, read: Callable[[], Any]) -> list[Fault]:
        """Returns all errors of a rejected record. It is read again, past its first error (F20)."""
        self._noted = noted = []
        try:
            read()
        except REJECTIONS as rejection:
            noted += faults_of(rejection, self._stream.key_alias)
        finally:
            self._noted = None
        return noted

    def _deleted(self, matched: Matched, place: Place, reading: Reading) -> Change:
        """Returns a delete, which needs only the key (T9)."""
        key = self._field(self._stream.key, matched, reading)
        self._count(reading.leniencies, matched)
        return Change(place.position, place.effective_at, "delete", key, {}, {}, {}, {})

    def _field(self, column: str, matched: Matched, reading: Reading) -> Any:
        """Returns one field, read by its type."""
        alias = self._alias_of(column)
        try:
            return type_of(self._stream.contract, column).validate_python(matched.fields.get(alias), context=reading)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            code = code_of(first)
            code = "key_missing" if code == "required" and column == self._stream.key else code
            raise RecordRejected(code, alias, f"{alias}: {sentence_of(first, code)}") from None

    def _matched(self, raw: dict[str, Any]) -> Matched:
        matched = self._names.match(raw, self._noted)
        return replace(matched, fields={**matched.fields, **self._constants}) if self._constants else matched

    def _prepared(self, matched: Matched, reading: Reading) -> Matched:
        if self._stream.prepare is None:
            return matched
        try:
            prepared = self._stream.prepare(matched.fields, self._options, reading)
        except (RecordRejected, PydanticCustomError) as rejection:
            looked_at = (self._stream.prepared or frozenset()) & matched.fields.keys()
            if self._noted is None or not looked_at:
                raise
            self._noted += faults_of(rejection, self._stream.key_alias)
            others = {name: value for name, value in matched.fields.items() if name not in looked_at}
            return self._prepared(replace(matched, fields=others), reading)
        if prepared is matched.fields:
            return matched
        fields = {name: value for name, value in prepared.items() if name in self._aliases}
        unknown = {name: value for name, value in prepared.items() if name not in self._aliases}
        return replace(matched, fields=fields, extra={**matched.extra, **unknown})

    def _check_nulls(self, fields: Mapping[str, Any]) -> None:
        """Rejects null on update for a field that is required on create (X1)."""
        for alias in self._never_null:
            if alias in fields and fields[alias] is None:
                self._reject("required", alias, f"{alias}: {REJECT_CODES['required'].removesuffix('.')}, got null")

    def _validated(self, fields: dict[str, Any]) -> tuple[Contract, Counter[str]]:
        """Returns the record by the exact pass, or by the lenient one if that fails (see `contracts.fields`)."""
        if not self._reading.flat:
            exact = replace(self._reading, leniencies=Counter())
            try:
                return self._validate(fields, strict=True, context=exact), exact.leniencies
            except ValidationError:
                pass
        lenient = replace(self._reading, leniencies=Counter())
        return self._validate(fields, strict=False, context=lenient), lenient.leniencies

    def _change(self, record: Contract, matched: Matched, place: Place, totals: Totals, operation: Operation) -> Change:
        values = self._paired(_sent(record), record)
        key = values.pop(self._stream.key, None)
        record_id = values.pop(self._stream.record_id, None) if self._stream.record_id else None
        if key is None and record_id is None:
            self._reject("key_missing", self._stream.key_alias, REJECT_CODES["key_missing"])
        for column, total in totals.items():
            children = values.get(self._stream.children[0].column)
            if column not in values and children is not None:
                values[column] = self._checked_total(column, total(children))
        links = self._links(values)
        if self._stream.scope is not None and self._stream.scope not in links and operation != "update":
            path = self._stream.links[self._stream.scope](values, self._options, self._tenant).column
            message = f"the record does not name its {self._stream.scope_name}"
            self._reject("required", path and self._alias_of(path), message)
        modes = self._modes(values)
        children = {
            table: Listed(rows, *modes.get(table, (None, None)))
            for table, rows in self._children(values, key, matched).items()
        }
        values = {name: v for name, v in values.items() if name not in type(record).not_columns}
        for name in self._json_columns & values.keys():
            values[name] = self._kept(values[name], (self._alias_of(name),))
        extra = self._kept(matched.extra, ())
        for _ in range(matched.conflicts):
            self._forgive("line_conflict")
        for at in matched.mended_lists:
            self._forgive("list_from_object", at)
        self._count(self._leniencies, matched)
        if operation == "create" and self._reading.strict:
            operation = "insert"
        return Change(place.position, place.effective_at, operation, key, values, children, links, extra, record_id)

    def _modes(self, values: Mapping[str, Any]) -> Mapping[str, tuple[ListMode, str | None]]:
        """Returns the modes that the record sets for its lists (T6)."""
        try:
            return self._stream.listing(values) if self._stream.listing else {}
        except RecordRejected as rejection:
            if self._noted is None:
                raise
            self._noted += faults_of(rejection, self._stream.key_alias)
            return {}

    def _reject(self, code: str, path: str | None, message: str) -> None:
        reject(RecordRejected(code, path, message), self._noted)

    def _kept(self, value: Any, at: Path) -> Any:
        """Returns a value outside the contract in a form that JSONB can store."""
        if self._noted is not None and isinstance(value, dict):
            return {name: self._kept(below, (*at, name)) for name, below in value.items()}
        try:
            return keepable(value, at)
        except RecordRejected as rejected:
            reject(rejected, self._noted)

    def _paired(self, row: dict[str, Any], contract: Contract) -> dict[str, Any]:
        """Returns the row without incomplete pairs (X9)."""
        for pair in type(contract).pairs:
            named, sent = sum(name in row for name in pair), sum(row.get(name) is not None for name in pair)
            if named == 1 or sent == 1:
                self._forgive("incomplete_coordinates")
                gone = {*pair, *(name for name, (source, _) in type(contract).derived.items() if source in pair)}
                row = {name: value for name, value in row.items() if name not in gone}
        return row

    def _links(self, values: Mapping[str, Any]) -> dict[str, Identity | None]:
        links: dict[str, Identity | None] = {}
        for column, link in self._stream.links.items():
            result = link(values, self._options, self._tenant)
            if result.is_sent:
                links[column] = result.identity
            if result.leniency is not None:
                self._forgive(result.leniency)
            if result.identity is not None and is_too_long(result.identity):
                path = self._alias_of(result.column) if result.column else None
                self._reject("too_long", path, f"the reference is longer than {LONGEST_REFERENCE} bytes")
        return links

    def _forgive(self, code: str, path: Path = ()) -> None:
        """Counts a leniency that no field type found, or rejects the record if the source is strict (X8)."""
        if self._reading.strict:
            self._reject(code, path_of(path) or None, LENIENCY_CODES[code])
        self._leniencies[code] += 1

    def _checked_total(self, column: str, total: Any) -> Any:
        """Returns a computed total as the contract's field; a bad one is rejected like a sent one."""
        try:
            return type_of(self._stream.contract, column).validate_python(total, context=Reading())
        except ValidationError as error:
            code, alias = code_of(error.errors()[0]), self._alias_of(column)
            raise RecordRejected(code, alias, f"{alias}, computed from the lines: {REJECT_CODES[code]}") from None

    def _children(self, values: dict[str, Any], key: str | None, matched: Matched) -> dict[str, list[dict[str, Any]]]:
        rows = {}
        for children in self._stream.children:
            if children.column in values:
                at = (self._alias_of(children.column),)
                elements = values.pop(children.column) or []
                rows[children.table] = self._rows(children, elements, key, at, matched)
        return rows

    def _rows(
        self, children: Children, elements: list[Contract], key: str | None, at: Path, matched: Matched
    ) -> list[dict[str, Any]]:
        rows = []
        for index, element in enumerate(elements):
            row = self._child(element, key, children, (*at, index), matched)
            if row or not children.skips_empty:
                rows.append(row)
            else:
                self._forgive("empty_object_ignored")
        if children.primary is not None:
            primaries = Counter(tuple(r.get(c) for c in children.primary) for r in rows if r.get("is_primary"))
            for _ in range(sum(count > 1 for count in primaries.values())):
                self._forgive("several_primaries")
        return rows

    def _child(
        self, element: Contract, key: str | None, children: Children, at: Path, matched: Matched
    ) -> dict[str, Any]:
        row = self._paired(_sent(element), element)
        if children.parent_key is not None:
            named = row.get(children.parent_key)
            if named is not None and named != key:
                alias = type(element).model_fields[children.parent_key].alias or children.parent_key
                message = f"{named!r} is not the record's key {key!r}"
                self._reject("key_mismatch", path_of((*at, alias)), message)
        for nested in children.nested:
            if nested.column in row:
                alias = type(element).model_fields[nested.column].alias or nested.column
                elements = row.pop(nested.column) or []
                row[nested.table] = self._rows(nested, elements, key, (*at, alias), matched)
        row = {name: value for name, value in row.items() if name not in type(element).not_columns}
        extra = matched.nested_extra.get(at)
        if extra:
            row["extra"] = self._kept(extra, at)
        return row

    def _alias_of(self, column: str) -> str:
        return self._stream.contract.model_fields[column].alias or column

    def _count(self, leniencies: Counter[str], matched: Matched) -> None:
        if self._noted is not None:
            return
        if leniencies:
            self._findings.leniencies.update(leniencies)
        if matched.extra:
            self._findings.unknown_fields.update(matched.extra.keys())
        for at, extra in matched.nested_extra.items():
            place = re.sub(r"\[\d+\]", "[]", path_of(at))
            self._findings.unknown_fields.update(f"{place}.{name}" for name in extra)


def _in_contract(stream: Stream) -> list[str]:
    """Returns the attributes that a new row requires."""
    columns = {children.table: children.column for children in stream.children}
    return [columns.get(name, name) for name in stream.required_new]


@cache
def type_of(contract: type[Contract], column: str) -> TypeAdapter[Any]:
    """Returns the type of a contract's field, to read a single value by."""
    declared = contract.model_fields[column]
    annotation: Any = declared.annotation
    return TypeAdapter(Annotated[annotation, *declared.metadata] if declared.metadata else annotation)


def _sent(record: Contract) -> dict[str, Any]:
    """Returns the fields that were sent, and those derived from them."""
    sent = record.__pydantic_fields_set__
    values = record.__dict__
    if len(sent) != len(type(record).model_fields):
        values = {name: value for name, value in values.items() if name in sent}
    for column, (source, derive) in type(record).derived.items():
        if source in values:
            values[column] = derive(values[source])
    return values


def _with_mode(change: Change, mode: ListMode) -> Change:
    return change._replace(children={table: sent._replace(mode=mode) for table, sent in change.children.items()})
