"""The shapes an export may have (X12): plain records, a documented body, a request log.

Belongs here: which records an export asks to write, and when each holds. Does not belong here: what a record may
hold (`record`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.fields import read_instant
from sync_pipelines.contracts.raw import NamedRecord, RawRecord
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Operation, Route, Stream
from sync_pipelines.errors import ExportError
from sync_pipelines.normalize.change import Reject
from sync_pipelines.normalize.names import Names
from sync_pipelines.normalize.record import Place, code_of
from sync_pipelines.normalize.values import displayable

_LOG_FIELDS: Final = frozenset({"method", "path"})


class Call(NamedTuple):
    """One record an export asks to write.

    Attributes:
        place: where it stands and when it holds.
        operation: what is asked for.
        record: the raw record, None where the key is all there is.
        key: the key named in a path, if it is.
    """

    place: Place
    operation: Operation
    record: Any
    key: str | None = None


class DateWindow(NamedTuple):
    """The dates an export or a record may have: from the first partition to tomorrow (UTC), both included."""

    first: date
    last: date

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in the window."""
        return self.first <= moment.date() <= self.last

    @classmethod
    def at(cls, first: date, now: datetime) -> DateWindow:
        """The window as of `now` (UTC)."""
        return cls(first, now.date() + timedelta(days=1))


class _Pattern(NamedTuple):
    route: Route
    path: re.Pattern[str]


class Envelope:
    """Tells the calls of one export from its raw records.

    Args:
        stream: the declaration.
        tenant: as stored; a log that names another is refused.
        effective_at: the export's own time, for records without one (X4).
        own_times: folded names of the record field that carries its time; none where no field does.
        reading: conventions for times.
        names: how the file names fields.
        window: the dates allowed.
    """

    def __init__(
        self,
        stream: Stream,
        tenant: str,
        effective_at: datetime,
        own_times: frozenset[str],
        reading: Reading,
        names: Names,
        window: DateWindow,
    ) -> None:
        self._stream = stream
        self._tenant = tenant
        self._effective_at = effective_at
        self._own_times = own_times
        self._reading = reading
        self._log_reading = replace(reading, date_format=None)
        self._names = names
        self._window = window
        key_field = stream.contract.model_fields[stream.key]
        annotation: Any = Annotated[key_field.annotation, *key_field.metadata]
        self._key_type: TypeAdapter[str] = TypeAdapter(annotation)
        self._patterns = [_Pattern(route, _compiled(route.path)) for route in stream.routes]

    def calls(self, raw: RawRecord) -> Iterator[Call | Reject]:
        """The calls one raw record holds: itself, or those of a request log's line.

        Raises:
            ExportError: `wrong_envelope`, where the whole document is an object that is none of this stream's.
        """
        if raw.damage is not None:
            yield Reject(raw.position, None, raw.damage.code, None, raw.damage.message, displayable(raw.damage.text))
        elif isinstance(raw.value, dict) and raw.value.keys() >= _LOG_FIELDS and not self._is_record(raw.value):
            yield from self._log_line(raw.position, raw.value)
        elif raw.within == "rest":
            return
        else:
            if raw.within == "" and not self._is_record(raw.value):
                raise _wrong_envelope(self._stream, raw.value)
            yield self._plain(raw)

    def _is_record(self, value: Any) -> bool:
        return isinstance(value, dict) and self._stream.key_alias in self._names.supplied_by(value)

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
        """Name and value of the field that carries a record's own time; None where it has none (X4)."""
        if self._own_times and isinstance(value, dict):
            unknown = value.unknown if isinstance(value, NamedRecord) else {}
            for name, own in (*value.items(), *unknown.items()):
                if folded(name) in self._own_times and own is not None:
                    return name, own
        return "", None

    def _log_line(self, line: str, entry: dict[str, Any]) -> Iterator[Call | Reject]:
        moment = _moment(entry.get("at"), self._log_reading)
        if isinstance(moment, str):
            yield self._refused(line, entry, "log_time_invalid", "at", moment)
            return
        if not self._window.holds(moment):
            yield self._out_of_range(line, entry, "at", moment)
            return
        found = self._route(entry)
        if isinstance(found, str):
            yield self._refused(line, entry, "route_unknown", "path", found)
            return
        route, named = found
        if self._stream.normalize_tenant(named.get("tenant", self._tenant)) != self._tenant:
            yield self._refused(line, entry, "tenant_mismatch", "path", REJECT_CODES["tenant_mismatch"])
            return
        yield from self._call_of(line, entry, moment, route, named)

    def _route(self, entry: dict[str, Any]) -> tuple[Route, dict[str, str]] | str:
        method, path = entry["method"], entry["path"]
        if not isinstance(method, str) or not isinstance(path, str):
            return "method and path must be text"
        bare = path.partition("?")[0]
        for pattern in self._patterns:
            match = pattern.path.fullmatch(bare)
            if match is not None and method.upper() == pattern.route.method:
                return pattern.route, {name: unquote(text) for name, text in match.groupdict().items()}
        known = ", ".join(f"{route.method} {route.path}" for route in self._stream.routes)
        return f"{method[:20]} {path[:200]} does not write here; known are {known}"

    def _call_of(
        self, line: str, entry: dict[str, Any], moment: datetime, route: Route, named: dict[str, str]
    ) -> Iterator[Call | Reject]:
        if not route.body:
            yield self._keyed_call(line, entry, moment, route, named.get("key", ""))
            return
        body = entry.get("body")
        elements = body if isinstance(body, list) else [body]
        for number, element in enumerate(elements, start=1):
            yield Call(Place(f"{line}/{number}", moment), route.operation, element)

    def _keyed_call(
        self, line: str, entry: dict[str, Any], moment: datetime, route: Route, named: str
    ) -> Call | Reject:
        place = Place(f"{line}/1", moment)
        try:
            key = self._key_type.validate_python(named, strict=False, context=Reading())
        except ValidationError as error:
            code = code_of(error.errors()[0])
            if code == "key_missing" and route.missing_key:
                return self._refused(place.position, entry, code, "path", route.missing_key)
            return self._refused(place.position, entry, code, "path", REJECT_CODES[code])
        return Call(place, route.operation, None, key)

    def _out_of_range(self, position: str, record: Any, path: str | None, moment: datetime) -> Reject:
        message = f"{moment.isoformat()} is not between {self._window.first} and {self._window.last}"
        return self._refused(position, record, "date_out_of_range", path, message)

    @staticmethod
    def _refused(position: str, record: Any, code: str, path: str | None, message: str) -> Reject:
        return Reject(position, None, code, path, message, displayable(record))


def _moment(value: Any, reading: Reading) -> datetime | str:
    """A moment, or the sentence that says why it is none."""
    if value is None:
        return "the time is missing"
    try:
        return read_instant(value, reading)
    except PydanticCustomError as error:
        return error.message()


def _compiled(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]*)", re.escape(path)))


def _wrong_envelope(stream: Stream, value: Any) -> ExportError:
    wanted = " or ".join(f'{{"{name}": [...]}}' for name in sorted(stream.envelopes)) or "an array of records"
    found = f"an object with {', '.join(list(value)[:5])}" if isinstance(value, dict) else type(value).__name__
    return ExportError("wrong_envelope", f"expected {wanted}, a record or a request log, found {found}")
