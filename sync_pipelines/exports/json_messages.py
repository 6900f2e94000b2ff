"""JSON records in envelopes: unwraps them if the source sets `record`, else identifies the tool that wrote them.

Database replication tools (Singer taps, Airbyte) send one message per line; a record is one kind of message.

Belongs here: the path from an element to its record. Does not belong here: bodies and request logs of a partner
(`normalize.envelope`).
"""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any, Final

from sync_pipelines.contracts.raw import RawRecord, damaged
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.json_values import NestedTooDeep, decode_at
from sync_pipelines.privacy.untrusted_text import on_one_line

_AIRBYTE: Final = "_airbyte_data"
_NO_RECORDS: Final = frozenset(
    "SCHEMA STATE ACTIVATE_VERSION BATCH LOG SPEC CATALOG CONNECTION_STATUS TRACE CONTROL".split()
)
"""Types of messages that are not records."""


def check_is_no_message(value: Any, position: str, *, is_line: bool) -> None:
    """Raises if a file begins with a tool's message instead of a record.

    Raises:
        ExportError: `wrong_envelope`, with the setting that reads such files.
    """
    tool, setting = _tool_of(value)
    if tool:
        message = f"the file holds {tool} messages, not records"
        hint = f"set `record: {setting}` for this stream in sources.yaml"
        raise ExportError("wrong_envelope", message, hint, Position("line" if is_line else "element", int(position)))


def _tool_of(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict):
        return "", ""
    if _AIRBYTE in value:
        return "Airbyte", _AIRBYTE
    kind, record = value.get("type"), value.get("record")
    if kind == "RECORD" and isinstance(record, dict):
        is_airbyte = isinstance(record.get("data"), dict) and "stream" in record
        return ("Airbyte", "record.data") if is_airbyte else ("Singer", "record")
    if kind in ("SCHEMA", "ACTIVATE_VERSION") and "stream" in value:
        return "Singer", "record"
    if kind == "STATE" and ("value" in value or "state" in value):
        return ("Singer", "record") if "value" in value else ("Airbyte", "record.data")
    if kind in _NO_RECORDS and isinstance(kind, str) and isinstance(value.get(_member_of(kind)), dict):
        return "Airbyte", "record.data"
    return "", ""


def _member_of(kind: str) -> str:
    """Returns the member that holds an Airbyte message's content."""
    return "connectionStatus" if kind == "CONNECTION_STATUS" else kind.lower()


def unwrapped(records: Iterator[RawRecord], way: str) -> Iterator[RawRecord]:
    """Yields the records within elements; skips messages without records.

    An element without a record is damaged, and so is a message of another stream than the first.

    Args:
        records: the elements.
        way: names joined with dots, such as `record.data`.
    """
    names, first_stream = way.split("."), None
    for raw in records:
        if raw.damage is not None or raw.within == "rest":
            yield raw
            continue
        if _is_no_record(raw.value):
            continue
        stream = _stream_of(raw.value)
        first_stream = first_stream or stream
        if stream != first_stream:
            message = f"the message belongs to stream {_shown(stream)}, but earlier ones to {_shown(first_stream)}"
            yield damaged(raw.position, "not_an_object", message, str(raw.value))
        else:
            yield _within(raw, names, way)


def _within(raw: RawRecord, names: list[str], way: str) -> RawRecord:
    value = raw.value
    for name in names:
        value = _parsed(value.get(name)) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return raw._replace(value=value, within=None)
    return damaged(raw.position, "not_an_object", f"there is no object at `record: {way}`", str(raw.value))


def _is_no_record(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in _NO_RECORDS and "record" not in value


def _stream_of(value: Any) -> str | None:
    if not isinstance(value, dict) or value.get("type") != "RECORD":
        return None
    record = value.get("record")
    stream = value.get("stream") or (record.get("stream") if isinstance(record, dict) else None)
    return stream if isinstance(stream, str) else None


def _parsed(value: Any) -> Any:
    """Decodes text that is JSON: some destinations write the record as text."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            found, end = decode_at(value.strip(), 0)
        except (JSONDecodeError, NestedTooDeep):
            return value
        return found if end == len(value.strip()) else value
    return value


def _shown(name: str | None) -> str:
    return repr(on_one_line(name or "")[:100])
