"""The text of lines that are read a column at a time: which may be plain, and whether the decoder took all of it.

Belongs here: looking at bytes. Does not belong here: what the decoder made of them (`plain`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sync_pipelines.exports.lines import WHITE

_ESCAPED_ASCII: Final = re.compile(rb"\\u00[0-7]")
"""A NUL, or a name or word that does not look like what it is."""

_WHITE: Final = WHITE.encode()
_QUOTE, _BACKSLASH, _CODE, _NEWLINE, _OPENING, _CLOSING = b'"\\u\n{}'

Letters = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


def whole(column: pa.ChunkedArray) -> Any:
    """A column in one piece."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def quotes_in(text: bytes) -> int:
    """The quotes that begin or end a name or a text."""
    letters = np.frombuffer(text, np.uint8)
    escaped = np.count_nonzero(_after_backslashes(letters) == _QUOTE)
    return int(np.count_nonzero(letters == _QUOTE) - escaped)


def _after_backslashes(letters: Letters) -> Letters:
    """The letter after each backslash; after two in a row a third one's is told wrongly."""
    after: Letters = letters[1:][letters[:-1] == _BACKSLASH]
    return after


def expected_quotes(table: pa.Table) -> int:
    """Two for each name and each text."""
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


def stripped(texts: Sequence[bytes]) -> Sequence[bytes]:
    """Lines without white space at their ends."""
    return texts if are_objects(b"\n".join(texts), len(texts)) else [text.strip(_WHITE) for text in texts]


def are_objects(joined: bytes, count: int) -> bool:
    """Whether each line of a text, and there are so many, begins and ends with a brace."""
    letters = np.frombuffer(joined, np.uint8)
    ends = np.flatnonzero(letters == _NEWLINE)
    if len(ends) != count - 1 or joined[:1] != b"{" or joined[-1:] != b"}":
        return False
    return bool((letters[ends - 1] == _CLOSING).all() and (letters[ends + 1] == _OPENING).all())


def candidates(texts: Sequence[bytes], joined: bytes) -> Rows:
    """The lines that may be plain; lines like most others are told all at once.

    Args:
        texts: the lines, without white space at their ends.
        joined: the same as one text, a newline between them.
    """
    if not are_objects(joined, len(texts)) or b"null" in joined:
        return np.flatnonzero(np.fromiter(map(_may_be_plain, texts), bool, len(texts)))
    escaped = _after_backslashes(np.frombuffer(joined, np.uint8))
    if not ((escaped == _BACKSLASH) | (escaped == _CODE)).any():
        return np.arange(len(texts))
    unfit = [row for row, text in enumerate(texts) if b"\\" in text and not _may_be_plain(text)]
    return np.delete(np.arange(len(texts)), unfit)


def _may_be_plain(text: bytes) -> bool:
    r"""Whether a line is one object without null, and without escapes that hide what it says."""
    if text[:1] != b"{" or text[-1:] != b"}" or b"null" in text:
        return False
    return b"\\" not in text or not (b"\\\\" in text or (b"\\u" in text and _ESCAPED_ASCII.search(text)))
