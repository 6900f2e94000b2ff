"""The shapes an export may have (X12): plain records, a documented body, a request log.

Belongs here: which records an export writes, and at which times. Does not belong here: the content of a record
(`record`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES
from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.dates import read_instant
from sync_pipelines.contracts.raw import NamedRecord, RawRecord
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import ListMode, Operation, Route, Stream
from sync_pipelines.errors import ExportError
from sync_pipelines.normalize.change import Fault, Place, Reject
from sync_pipelines.normalize.erasure import MARKER, SUBJECT_ERASED
from sync_pipelines.normalize.faults import code_of, located
from sync_pipelines.normalize.record import type_of
from sync_pipelines.normalize.record_source import RecordSource
from sync_pipelines.normalize.values import displayable

_LOG_FIELDS: Final = frozenset({"method", "path"})


class Call(NamedTuple):
    """One record that an export asks to write.

    Attributes:
        place: its position and time.
        operation: the requested operation.
        record: the raw record; None if only the key is sent.
        key: the key in the path, if only the key is sent.
        mode: the mode for lists of children, if the call sets it.
        spelled: fields of the record -> their names in this call (F07).
        within: the record's position in the body, such as `upsert[0]`, if paths include it.
        drift: fields of the body that the call does not use (F01).
    """

    place: Place
    operation: Operation
    record: Any
    key: str | None = None
    mode: ListMode | None = None
    spelled: Mapping[str, str] = {}
    within: str = ""
    drift: tuple[str, ...] = ()


class DateWindow(NamedTuple):
    """The dates that an export or a record may have: from the first partition to tomorrow (UTC), inclusive."""

    first: date
    last: date

    def holds(self, moment: datetime) -> bool:
        """Whether a moment is in the window."""
        return self.first <= moment.date() <= self.last

    @classmethod
    def at(cls, first: date, now: datetime) -> DateWindow:
        """Returns the window as of `now` (UTC)."""
        return cls(first, now.date() + timedelta(days=1))


class _Element(NamedTuple):
    """One record of a body: its list, if any, the operation, and its position in the body.

    A list that is missing or not a list is an element with an error (F09).
    """

    list_name: str
    operation: Operation
    value: Any
    within: str = ""
    error: Fault | None = None


class Envelope:
    """Extracts the calls of one export from its raw records.

    Args:
        source: where they come from; a request log of another tenant is rejected.
        own_times: folded names of the field with the record's time; none if there is no such field.
        window: the allowed dates.
    """

    def __init__(self, source: RecordSource, own_times: frozenset[str], window: DateWindow) -> None:
        self._stream = stream = source.stream
        self._tenant = source.tenant
        self._effective_at = source.effective_at
        self._own_times = own_times
        self._reading = source.reading
        self._log_reading = replace(source.reading, date_formats=())
        self._names = source.names
        self._window = window
        self._listed_so_far = 0
        self._key_type = type_of(stream.contract, stream.key)
        own = stream.contract.model_fields
        ids = [own[name].alias or name for name in (stream.key, stream.record_id) if name]
        self._key_aliases = frozenset(ids)
        self._patterns = [(route, _compiled(route.path)) for route in stream.routes]

    def calls(self, raw: RawRecord) -> Iterator[Call | Reject]:
        """Yields the calls in one raw record: itself, or those of a request log's line.

        Raises:
            ExportError: `wrong_envelope`, if the whole document is an object of another kind.
        """
        if raw.damage is not None:
            damage = raw.damage
            yield Reject(raw.position, damage.key, damage.code, None, damage.message, displayable(damage.text))
        elif isinstance(raw.value, dict) and raw.value.keys() >= _LOG_FIELDS and not self._is_record(raw.value):
            yield from self._log_line(raw.position, raw.value)
        elif raw.within == "rest":
            # A record with an unknown field of the list's name is still a record (R1).
            if isinstance(raw.value, dict) and self._stream.key_alias in self._names.supplied_by(raw.value):
                yield self._plain(RawRecord(str(self._listed_so_far + 1), raw.value))
        elif raw.within == "" and not self._is_record(raw.value):
            yield from self._document(raw)
        else:
            self._listed_so_far += 1
            yield self._plain(raw)

    def _document(self, raw: RawRecord) -> Iterator[Call | Reject]:
        """Yields the calls of a documented body or a read response (X12).

        A list that a route names is usually streamed by the reader; here, it is not a list (R1, T1).
        """
        names = {folded(name): name for name in raw.value} if isinstance(raw.value, dict) else {}
        for route in self._stream.routes:
            lists = {folded(name) for name in route.lists} - self._stream.envelopes
            if lists & names.keys() and "{" not in route.path.replace("{tenant}", ""):
                if any(element.error for element in self._elements(raw.value, route)):
                    break
                yield from self._listed("", raw.value, self._effective_at, route, {})
                return
        listed = {folded(name) for route in self._stream.routes for name in route.lists}
        for envelope in (self._stream.envelopes - listed) & names.keys():
            inner = raw.value[names[envelope]]
            if self._is_record(inner):
                yield self._plain(RawRecord("1", inner))
                return
        raise _wrong_envelope(self._stream, raw.value)

    def _is_record(self, value: Any) -> bool:
        return isinstance(value, dict) and bool(self._key_aliases & self._names.supplied_by(value))

    def _plain(self, raw: RawRecord) -> Call | Reject:
        name, own = self._own_time(raw.value)
        if own is None:
            return Call(Place(raw.position, self._effective_at), "upsert", raw.value)
        moment = _moment(own, self._reading)
        if isinstance(moment, str):
            return Reject(raw.position, None, "not_a_date", name, moment, displayable(raw.value))
        if not self._window.holds(moment):
            return self._out_of_range(raw.position, raw.value, name, moment)
        return Call(Place(raw.position, moment), "upsert", raw.value)

    def _own_time(self, value: Any) -> tuple[str, Any]:
        """Returns name and value of the field with a record's time; the value is None if it has none (X4)."""
        if self._own_times and isinstance(value, dict):
            unknown = value.unknown if isinstance(value, NamedRecord) else {}
            for name, own in (*value.items(), *unknown.items()):
                if self._names.fold(name) in self._own_times and own is not None:
                    return name, own
        return "", None

    def _log_line(self, line: str, entry: dict[str, Any]) -> Iterator[Call | Reject]:
        moment = _moment(entry.get("at"), self._log_reading)
        if isinstance(moment, str):
            yield self._rejected(line, entry, "log_time_invalid", "at", moment)
            return
        if not self._window.holds(moment):
            yield self._out_of_range(line, entry, "at", moment)
            return
        found = self._route(entry)
        if isinstance(found, str):
            yield self._rejected(line, entry, "route_unknown", "path", found)
            return
        route, named = found
        if self._stream.normalize_tenant(named.get("tenant", self._tenant)) != self._tenant:
            yield self._rejected(line, entry, "tenant_mismatch", "path", REJECT_CODES["tenant_mismatch"])
            return
        if route.body:
            yield from self._listed(f"{line}/", entry.get("body"), moment, route, named)
        else:
            yield self._keyed_call(line, entry, moment, route, named.get("key", ""))

    def _route(self, entry: dict[str, Any]) -> tuple[Route, dict[str, str]] | str:
        method, path = entry["method"], entry["path"]
        if not isinstance(method, str) or not isinstance(path, str):
            return "method and path must be text"
        bare = path.partition("?")[0]
        for route, pattern in self._patterns:
            match = pattern.fullmatch(bare)
            if match is not None and method.upper() == route.method:
                return route, {name: unquote(text) for name, text in match.groupdict().items()}
        known = ", ".join(f"{route.method} {route.path}" for route in self._stream.routes)
        return f"{method[:20]} {path[:200]} does not write to this stream; known endpoints are {known}"

    def _listed(
        self, before: str, body: Any, moment: datetime, route: Route, named: dict[str, str]
    ) -> Iterator[Call | Reject]:
        """Yields the records in a body: in its named lists, its elements, or itself."""
        elements = list(self._elements(body, route))
        twice = self._keys_in_two_lists(elements) if route.is_exclusive else frozenset()
        for number, found in enumerate(elements, start=1):
            place, element = Place(f"{before}{number}", moment), found.value
            if found.error is not None:
                yield Reject(place.position, None, *found.error, displayable(body))
            elif self._key_of(element) in twice:
                code = "store_in_two_lists"
                yield Reject(
                    place.position, self._key_of(element), code, None, REJECT_CODES[code], displayable(element)
                )
            else:
                spelled = self._spelled(route)
                if found.operation == "delete" and not isinstance(element, dict):
                    element = {self._stream.key_alias: element}
                    spelled = {self._stream.key_alias: ""} if found.within else spelled
                call = self._record_call(place, element, found.operation, route, named)
                if isinstance(call, Call):
                    yield call._replace(spelled=spelled, within=found.within)
                else:
                    yield located(call, spelled, found.within)

    def _elements(self, body: Any, route: Route) -> Iterator[_Element]:
        """Yields the elements of a body, with lists in the route's order (N8)."""
        if isinstance(body, list):
            yield from (_Element("", route.operation, element) for element in body)
            return
        names = {folded(name): name for name in body} if isinstance(body, dict) else {}
        found = [(name, operation) for name, operation in route.lists.items() if folded(name) in names]
        if not found and not (route.may_be_empty and not body):
            is_missing = len(route.lists) == 1 and not self._is_one(body, route)
            error = _list_error("required", next(iter(route.lists))) if is_missing else None
            yield _Element("", route.operation, body, error=error)
        for name, operation in found:
            elements = body[names[folded(name)]]
            if isinstance(elements, list):
                at = name if route.names_lists else ""
                yield from (
                    _Element(name, operation, element, at and f"{at}[{index}]")
                    for index, element in enumerate(elements)
                )
            elif elements is not None:
                yield _Element(name, operation, None, error=_list_error("not_a_list", name))
            elif not route.may_be_empty:
                yield _Element(name, operation, None, error=_list_error("required", name))

    def _is_one(self, body: Any, route: Route) -> bool:
        """Whether a body without the route's list is one record, or empty (F09)."""
        if isinstance(body, dict):
            return bool(self._names.supplied_by(body)) or (route.may_be_one and not body)
        return body is not None

    def _spelled(self, route: Route) -> dict[str, str]:
        """Returns record field -> the route's name for it (F07)."""
        return {alias: name for name in route.takes or () for alias in self._names.aliases_of(name) if alias != name}

    def _record_call(
        self, place: Place, element: Any, operation: Operation, route: Route, named: dict[str, str]
    ) -> Call | Reject:
        if element == MARKER:
            return Reject(place.position, None, SUBJECT_ERASED, None, LENIENCY_CODES[SUBJECT_ERASED], None)
        if element is None and route.sets:
            element = {}
        if not isinstance(element, dict):
            return Call(place, operation, element)
        in_path = {
            self._stream.key_alias if name == "key" else name: v for name, v in named.items() if name != "tenant"
        }
        for alias, value in in_path.items():
            own = self._names.value_of(alias, element)
            if own is not None and str(own).strip() != value.strip():
                message = f"the body has {str(own)[:80]!r}, but the path {value[:80]!r}"
                return Reject(place.position, value[:200], "key_mismatch", alias, message, displayable(element))
        element, drift = self._used_fields(element, route)
        for need in route.needs:
            if not self._has(element, need):
                message = f"{need}: {REJECT_CODES['required']}"
                key = in_path.get(self._stream.key_alias)
                return Reject(place.position, key, "required", need, message, displayable(element))
        known = {n: v for n, v in element.items() if not set(self._names.aliases_of(n)) & in_path.keys()}
        return Call(place, operation, {**known, **in_path, **route.sets}, mode=route.mode, drift=drift)

    def _used_fields(self, element: dict[str, Any], route: Route) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Returns the fields that a call uses, and the contract's fields that it ignores (F01). The key is used."""
        if route.takes is None:
            return element, ()
        takes = {folded(name) for name in route.takes}
        drift = tuple(
            name
            for name in element
            if folded(name) not in takes and {*self._names.aliases_of(name)} - {self._stream.key_alias}
        )
        return {name: value for name, value in element.items() if name not in drift}, drift

    def _has(self, element: dict[str, Any], field: str) -> bool:
        wanted = set(self._names.aliases_of(field))
        return any(v is not None and wanted & set(self._names.aliases_of(n)) for n, v in element.items())

    def _key_of(self, element: Any) -> str | None:
        if isinstance(element, dict):
            element = self._names.value_of(self._stream.key_alias, element)
        return str(element).strip() if isinstance(element, (str, int)) else None

    def _keys_in_two_lists(self, elements: list[_Element]) -> frozenset[str | None]:
        lists: dict[str | None, set[str]] = {}
        for element in elements:
            lists.setdefault(self._key_of(element.value), set()).add(element.list_name)
        return frozenset(key for key, found in lists.items() if key is not None and len(found) > 1)

    def _keyed_call(self, line: str, entry: Any, moment: datetime, route: Route, named: Any) -> Call | Reject:
        place = Place(f"{line}/1", moment)
        try:
            key = self._key_type.validate_python(named, strict=False, context=Reading())
        except ValidationError as error:
            code = code_of(error.errors()[0])
            if code == "key_missing" and route.missing_key:
                return self._rejected(place.position, entry, code, "path", route.missing_key)
            return self._rejected(place.position, entry, code, "path", REJECT_CODES[code])
        return Call(place, route.operation, None, key)

    def _out_of_range(self, position: str, record: Any, path: str | None, moment: datetime) -> Reject:
        message = f"{moment.isoformat()} is not between {self._window.first} and {self._window.last}"
        return self._rejected(position, record, "date_out_of_range", path, message)

    @staticmethod
    def _rejected(position: str, record: Any, code: str, path: str | None, message: str) -> Reject:
        return Reject(position, None, code, path, message, displayable(record))


def _moment(value: Any, reading: Reading) -> datetime | str:
    """Returns a moment, or a sentence that says why the value is not one."""
    if value is None:
        return "the time is missing"
    try:
        return read_instant(value, reading)
    except PydanticCustomError as error:
        return error.message()


def _list_error(code: str, name: str) -> Fault:
    return Fault(code, name, f"{name}: {REJECT_CODES[code]}")


def _compiled(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]*)", re.escape(path)))


def _wrong_envelope(stream: Stream, value: Any) -> ExportError:
    wanted = " or ".join(f'{{"{name}": [...]}}' for name in sorted(stream.envelopes)) or "an array of records"
    found = f"an object with {', '.join(list(value)[:5])}" if isinstance(value, dict) else type(value).__name__
    return ExportError("wrong_envelope", f"expected {wanted}, a record or a request log, found {found}")
