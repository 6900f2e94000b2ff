"""A moving window over the text of a JSON document; it holds little more than the current value.

Belongs here: the buffer, telling an incomplete value from a wrong one, line and column of an error. Does not belong
here: the shape of documents (`json_stream`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any

from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.json_faults import end_of_broken
from sync_pipelines.exports.json_values import control_character, decode_at, explain

ELEMENT_LIMIT = 64 << 20
"""Characters of the longest element that is read."""

_BLANKS = re.compile(r"[ \t\r\n]*")
_LONGEST_TOKEN = 16
"""More than any literal or escape: for an error further from the end of the buffer, more text does not help."""


class TooLong(Exception):
    """A value is longer than the limit."""


class Window:
    """Text from `begin` on, refilled from chunks. Memory is bounded by the longest value."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._text = ""
        self._at = 0
        self._is_ended = False
        self._dropped = 0
        self._line = 1
        self._column = 0

    @property
    def characters(self) -> int:
        """Characters skipped since the beginning of the document."""
        return self._dropped + self._at

    def next_character(self) -> str:
        """Returns the next non-blank character without skipping it; empty at the end of the document."""
        while True:
            found = _BLANKS.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def advance(self, count: int) -> None:
        """Skips `count` characters of the buffer."""
        self._at += count

    def rest_of_buffer(self) -> str:
        r"""Returns the buffer, at least one character before the end. Never ends between `\\` and its character."""
        while (self._at >= len(self._text) or self._text.endswith("\\")) and self._read_more():
            pass
        return self._text[self._at :]

    def value(self, limit: int = ELEMENT_LIMIT) -> Any:
        """Returns the JSON value at this position and moves the window past it.

        Raises:
            ExportError: `not_json` with the line: the document ends within the value.
            JSONDecodeError: the value is broken; the window stays before it.
            NestedTooDeep, TooLong: the value cannot be read but can be skipped.
        """
        self.next_character()
        while True:
            try:
                value, end = decode_at(self._text, self._at)
            except JSONDecodeError as error:
                if not self._may_be_unfinished(error):
                    raise self._final(error) from error
            else:
                if isinstance(value, dict | list | str) or self._is_ended or end + _LONGEST_TOKEN < len(self._text):
                    self._at = end
                    return value
            self._read_more()
            if len(self._text) - self._at > limit:
                raise TooLong

    def broken_value(self, limit: int = ELEMENT_LIMIT) -> str:
        """Skips a broken value and returns its text, which ends where the next value can be read.

        Raises:
            ExportError: `not_json`: its end cannot be found.
            TooLong: it is longer than the limit.
        """
        self.next_character()
        while True:
            end = end_of_broken(self._text, self._at, self._is_ended)
            if end is not None:
                begin, self._at = self._at, end
                return self._text[begin:end]
            if not self._read_more() and self._is_ended and end_of_broken(self._text, self._at, True) is None:
                raise not_json(self, "a value is broken, and its end cannot be found")
            if len(self._text) - self._at > limit:
                raise TooLong

    def explained(self, error: JSONDecodeError) -> str:
        """Returns what is wrong with the value at this position, and where."""
        line, column = self.place(error.pos)
        return f"{explain(error)}, line {line}, column {column}"

    def place(self, at: int | None = None) -> tuple[int, int]:
        """Returns line and column, from 1, of a position in the buffer. Default: this position."""
        passed = self._text[: self._at if at is None else at]
        newlines = passed.count("\n")
        column = len(passed) - passed.rfind("\n") - 1 if newlines else self._column + len(passed)
        return self._line + newlines, column + 1

    def _may_be_unfinished(self, error: JSONDecodeError) -> bool:
        if self._is_ended:
            return False
        return error.msg.startswith("Unterminated string") or error.pos + _LONGEST_TOKEN >= len(self._text)

    def _final(self, error: JSONDecodeError) -> Exception:
        is_cut = self._is_ended and (error.pos >= len(self._text) or error.msg.startswith("Unterminated string"))
        if is_cut and not control_character(error):
            return not_json(self, "the file ends in the middle of a value", error.pos)
        return error

    def _read_more(self) -> bool:
        """Drops the skipped text and reads at least as much as is left, so that long values cost linear time."""
        if self._is_ended:
            return False
        self._line, column = self.place()
        self._column = column - 1
        self._dropped += self._at
        left = len(self._text) - self._at
        pieces, added = [self._text[self._at :]], 0
        while added <= left:
            piece = next(self._chunks, None)
            if piece is None:
                self._is_ended = True
                break
            pieces.append(piece)
            added += len(piece)
        self._text, self._at = "".join(pieces), 0
        return True


def not_json(window: Window, why: str, at: int | None = None) -> ExportError:
    """Returns the error of a document that is not JSON, at a position in the window's buffer."""
    line, column = window.place(at)
    return ExportError("not_json", f"the document is not JSON: {why}, column {column}", "", Position("line", line))
