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

_ESCAPED_ASCII: Final = re.compile(rb"\\u00[0-7]")
"""A NUL, or a name or word that does not look like what it is."""

Rows = npt.NDArray[np.int64]


def whole(column: pa.ChunkedArray) -> Any:
    """A column in one piece."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def quotes_in(text: bytes) -> int:
    """The quotes that begin or end a name or a text."""
    letters = np.frombuffer(text, np.uint8)
    quotes = letters == ord('"')
    escaped = np.count_nonzero(quotes[1:] & (letters[:-1] == ord("\\"))) if b"\\" in text else 0
    return int(np.count_nonzero(quotes) - escaped)


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


def candidates(texts: Sequence[bytes]) -> Rows:
    """The lines that may be plain; lines like most others are told all at once."""
    joined = b"\n".join(texts)
    between = joined.count(b"}\n{")
    if between == len(texts) - 1 and joined[:1] == b"{" and joined[-1:] == b"}" and b"null" not in joined:
        unfit = [row for row, text in enumerate(texts) if b"\\" in text and not _may_be_plain(text)]
        return np.delete(np.arange(len(texts)), unfit)
    return np.flatnonzero(np.fromiter(map(_may_be_plain, texts), bool, len(texts)))


def _may_be_plain(text: bytes) -> bool:
    r"""Whether a line is one object without null, and without escapes that hide what it says."""
    if text[:1] != b"{" or text[-1:] != b"}" or b"null" in text:
        return False
    return b"\\" not in text or not (b"\\\\" in text or (b"\\u" in text and _ESCAPED_ASCII.search(text)))
