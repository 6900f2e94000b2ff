"""JSON Lines: one value per line, so that a damaged line does not affect its neighbors; and common variations of it.

A line may hold several values, and an object may span several lines.

Belongs here: lines to records. Does not belong here: cutting text into lines (`lines`), documents (`json_stream`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from json import JSONDecodeError
from typing import Final, NamedTuple

from sync_pipelines.contracts.raw import RawRecord, damaged
from sync_pipelines.exports.json_faults import TRAILING_COMMA, decode_mended, end_of_broken
from sync_pipelines.exports.json_values import (
    MAX_NESTING,
    NestedTooDeep,
    control_character,
    decode_at,
    explain,
)
from sync_pipelines.exports.lines import LINE_LIMIT, LINES_OF_AN_OBJECT, WHITE, Line
from sync_pipelines.exports.text import damaged_bytes, has_bad_bytes

_MARK: Final = re.compile(r'\\.|["\[\]{}]')


class ReadLine(NamedTuple):
    """A record, and the lines it came from.

    Attributes:
        record: the record, at its line number; the second of several on line 7 is at `7/2` (X14).
        first: number of the line where it begins.
        is_line: whether it is alone on one line.
    """

    record: RawRecord
    first: int
    is_line: bool = True


def read_lines(lines: Iterable[Line]) -> Iterator[RawRecord]:
    """Yields a record for every non-blank line, at its line number (X14); see `read_each`."""
    for read in read_each(lines):
        yield read.record


def read_each(lines: Iterable[Line]) -> Iterator[ReadLine]:
    """Yields the records of consecutive lines, each with its origin.

    A line that is not JSON, not text, nested too deeply or too long is a damaged record; its neighbors are read. An
    object that is not complete at the end of its line continues on the next lines, up to one that begins a new object.
    """
    source = _Source(lines)
    for line in source:
        text = line.text.strip(WHITE)
        if not line.is_whole:
            message = f"the line is longer than {LINE_LIMIT} characters"
            yield ReadLine(damaged(str(line.number), "line_too_long", message, text), line.number)
        elif text:
            yield from _records(line, text, source)


class _Source(Iterator[Line]):
    """Lines, the last of which can be given back."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self._again: Line | None = None

    def __next__(self) -> Line:
        again, self._again = self._again, None
        return again or next(self._lines)

    def give_back(self, line: Line) -> None:
        self._again = line


def _records(line: Line, text: str, source: _Source) -> Iterator[ReadLine]:
    try:
        value, end = decode_at(text, 0)
    except NestedTooDeep:
        yield ReadLine(_too_deep(str(line.number), text), line.number)
    except JSONDecodeError as error:
        whole, is_closed = _gathered(line, text, error, source)
        if whole is not None and has_bad_bytes(whole):
            yield ReadLine(damaged_bytes(str(line.number), whole), line.number, is_line=False)
        elif whole is None:
            yield from _on_one_line(line, text, error)
        elif is_closed:
            read = _values(str(line.number), whole)
            yield from (ReadLine(record, line.number, is_line=False) for record in read)
        else:
            record = damaged(str(line.number), "not_json", "the object that begins here is never closed", whole)
            yield ReadLine(record, line.number, is_line=False)
    else:
        if end == len(text) and not has_bad_bytes(text):
            yield ReadLine(RawRecord(str(line.number), value), line.number)
        else:
            yield from _on_one_line(line, text, None)


def _on_one_line(line: Line, text: str, error: JSONDecodeError | None) -> Iterator[ReadLine]:
    """Yields the values of a line that is not a single value, or a damaged record."""
    if has_bad_bytes(text):
        yield ReadLine(damaged_bytes(str(line.number), text), line.number)
        return
    records = _values(str(line.number), text)
    if len(records) == 1 and records[0].damage is not None and error is not None:
        records = [_not_json(line, text, error)]
    yield from (ReadLine(record, line.number) for record in records)


def _gathered(line: Line, text: str, error: JSONDecodeError, source: _Source) -> tuple[str | None, bool]:
    """Returns the text of an object that spans lines, and whether it is complete; None for a single line.

    Its lines are not read separately: an object within it is not a record.
    """
    if not text.startswith("{") or error.pos < len(text) or not line.is_ended:
        return None, False
    indent, pieces, length, level = _indent(line), [line.text], len(text), _levels(line.text)
    while level > 0 and length <= LINE_LIMIT and len(pieces) <= LINES_OF_AN_OBJECT:
        following = next(source, None)
        if following is None:
            break
        if following.text[_indent(following) :].startswith("{") and _indent(following) <= indent:
            source.give_back(following)
            break
        pieces.append(following.text)
        length += len(following.text)
        level += _levels(following.text)
    if len(pieces) == 1 and level > 0:
        return None, False
    return "\n".join(pieces).strip(WHITE + "\n"), level <= 0


def _indent(line: Line) -> int:
    return len(line.text) - len(line.text.lstrip(WHITE))


def _levels(text: str) -> int:
    """Returns how many more brackets a line opens than it closes, ignoring strings."""
    level, in_string = 0, False
    for token in _MARK.findall(text):
        if token == '"':
            in_string = not in_string
        elif not in_string and token in "[{":
            level += 1
        elif not in_string and token in "]}":
            level -= 1
    return level


def _values(position: str, text: str) -> list[RawRecord]:
    """Returns the consecutive values in a text."""
    records, at = list[RawRecord](), 0
    while at < len(text):
        record, at = _value(position, text, at)
        records.append(record)
    if len(records) > 1:
        records = [record._replace(position=f"{position}/{n}") for n, record in enumerate(records, 1)]
    return records


def _value(position: str, text: str, begin: int) -> tuple[RawRecord, int]:
    """Returns the value that begins at a position, and where the next one does."""
    try:
        value, end = decode_at(text, begin)
        record = RawRecord(position, value)
    except NestedTooDeep:
        return _too_deep(position, text[begin:]), len(text)
    except JSONDecodeError as error:
        found = end_of_broken(text, begin, True)
        end = len(text) if found is None else found
        record = _mended(position, text[begin:end], error)
    after = _next_value(text, end)
    if after < len(text) and text[after] != "{":
        message = f"unexpected text after the JSON value, at column {after + 1}"
        return damaged(position, "not_json", message, text[begin:]), len(text)
    if "," in text[end:after] and record.damage is None:
        record = record._replace(forgiven=(*record.forgiven, TRAILING_COMMA))
    return record, after


def _next_value(text: str, end: int) -> int:
    """Returns the position after a value and its comma, if there is one."""
    blank = WHITE + "\n"
    rest = text[end:].lstrip(blank)
    rest = rest[1:].lstrip(blank) if rest.startswith(",") else rest
    return len(text) - len(rest)


def _mended(position: str, text: str, error: JSONDecodeError) -> RawRecord:
    with suppress(JSONDecodeError, NestedTooDeep):
        return RawRecord(position, decode_mended(text), forgiven=(TRAILING_COMMA,))
    if control_character(error) == "NUL":
        message = f"a string contains a NUL character, at column {error.pos + 1}"
        return damaged(position, "nul_character", message, text)
    return damaged(position, "not_json", f"not JSON: {explain(error)} at column {error.pos + 1}", text)


def _too_deep(position: str, text: str) -> RawRecord:
    return damaged(position, "nesting_too_deep", f"the line has more than {MAX_NESTING} levels of nesting", text)


def _not_json(line: Line, text: str, error: JSONDecodeError) -> RawRecord:
    if not line.is_ended and not control_character(error):
        return damaged(str(line.number), "not_json", "the file ends in the middle of this line", text)
    return _mended(str(line.number), text, error)
