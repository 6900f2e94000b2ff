"""The text of lines that are read a column at a time: which may be plain, and whether all of it was decoded.

Belongs here: looking at bytes. Does not belong here: the decoded values (`plain`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sync_pipelines.exports.lines import WHITE
from sync_pipelines.normalize.keys import Rows

_ESCAPED_ASCII: Final = re.compile(rb"\\u00[0-7]")
"""Matches a NUL, or an escape or null that makes a line not plain."""

_WHITE: Final = WHITE.encode()
_QUOTE, _BACKSLASH, _CODE, _OPENING, _CLOSING = b'"\\u{}'
_NULL: Final = int.from_bytes(b"null", "little")

Letters = npt.NDArray[np.uint8]


def whole(column: pa.ChunkedArray) -> Any:
    """Returns a column in one piece."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def quotes_in(text: bytes) -> int:
    """Counts the quotes that begin or end a name or a text."""
    letters = np.frombuffer(text, np.uint8)
    escaped = np.count_nonzero(_after_backslashes(letters) == _QUOTE)
    return int(np.count_nonzero(letters == _QUOTE) - escaped)


def _after_backslashes(letters: Letters) -> Letters:
    """Returns the letter after each backslash. After two in a row, the letter after a third is wrong."""
    after: Letters = letters[1:][letters[:-1] == _BACKSLASH]
    return after


def expected_quotes(table: pa.Table) -> int:
    """Returns two for each name and each text."""
    return 2 * sum(_names_and_texts(whole(column)) for column in table.columns)


def _names_and_texts(values: Any) -> int:
    count: int = len(values) - values.null_count
    if pa.types.is_string(values.type):
        return 2 * count
    if pa.types.is_list(values.type):
        elements = values.flatten()
        if pa.types.is_string(elements.type):
            return count + len(elements)
        return count + sum(_names_and_texts(elements.field(i)) for i in range(elements.type.num_fields))
    return count


class Texts:
    """Lines in UTF-8, without surrounding white space.

    Args:
        lines: the lines.
    """

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def joined(self) -> bytes:
        """The lines as one text, separated by newlines."""
        return b"\n".join(self.lines)

    @cached_property
    def are_objects(self) -> bool:
        """Whether each line begins and ends with a brace."""
        lengths = np.fromiter(map(len, self.lines), np.int64, len(self))
        if lengths.min(initial=2) < 2:
            return False
        letters, ends = np.frombuffer(self.joined, np.uint8), np.cumsum(lengths + 1) - 1
        return bool((letters[ends - lengths] == _OPENING).all() and (letters[ends - 1] == _CLOSING).all())

    @cached_property
    def hold_null(self) -> bool:
        """Whether a line contains the word null; a plain substring search would take four times as long."""
        text = self.joined
        starts = range(min(4, len(text) - 3))
        return any((np.frombuffer(text, "<u4", (len(text) - start) // 4, start) == _NULL).any() for start in starts)

    def some(self, indexes: Rows) -> Texts:
        """Returns some of the lines."""
        return self if len(indexes) == len(self) else Texts([self.lines[index] for index in indexes.tolist()])


def stripped(lines: Sequence[bytes]) -> Texts:
    """Returns lines without surrounding white space."""
    texts = Texts(lines)
    return texts if texts.are_objects else Texts([line.strip(_WHITE) for line in lines])


def candidates(texts: Texts) -> Rows:
    """Returns the lines that may be plain. Common cases are decided for all lines at once."""
    if not texts.are_objects or texts.hold_null:
        return np.flatnonzero(np.fromiter(map(_may_be_plain, texts.lines), bool, len(texts)))
    escaped = _after_backslashes(np.frombuffer(texts.joined, np.uint8))
    if not ((escaped == _BACKSLASH) | (escaped == _CODE)).any():
        return np.arange(len(texts))
    unfit = [row for row, text in enumerate(texts.lines) if b"\\" in text and not _may_be_plain(text)]
    return np.delete(np.arange(len(texts)), unfit)


def _may_be_plain(text: bytes) -> bool:
    r"""Whether a line is one object without null, and without escapes that could hide one."""
    if text[:1] != b"{" or text[-1:] != b"}" or b"null" in text:
        return False
    return b"\\" not in text or not (b"\\\\" in text or (b"\\u" in text and _ESCAPED_ASCII.search(text)))
