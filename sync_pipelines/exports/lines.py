"""Text as physical lines, in blocks or one by one.

Belongs here: splitting text into lines in bounded memory. Does not belong here: what a line holds (`json_lines`,
`csv_cells`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import AnyStr, Generic, NamedTuple

from sync_pipelines.contracts.raw import DAMAGE_TEXT
from sync_pipelines.exports.text import has_bad_bytes, never_plain

LINE_LIMIT = 64 << 20
"""Characters of the longest line that is read, or bytes for lines in UTF-8."""
BLOCK_LINES = 4096
BLOCK_TEXT = 8 << 20
LINES_OF_AN_OBJECT = 100_000
"""Lines of the longest JSON object that spans lines."""
WHITE = " \t\r"
"""White space that JSON allows around a line."""
_WHITE = WHITE.encode()


class Line(NamedTuple):
    """A physical line without its newline.

    Attributes:
        number: counted from 1.
        text: its characters; only the first `DAMAGE_TEXT` of a line that is too long.
        is_whole: False for a line longer than `LINE_LIMIT`.
        is_ended: whether a newline follows it; False only for the last line.
    """

    number: int
    text: str
    is_whole: bool = True
    is_ended: bool = True


def numbered_lines(chunks: Iterable[str], newline: str = "\n") -> Iterator[Line]:
    """Splits text only at `newline`. Memory is bounded by `LINE_LIMIT`."""
    unfinished = _UnfinishedLine[str]("")
    number = 0
    for chunk in chunks:
        first, *others = chunk.split(newline)
        unfinished.add(first)
        if not others:
            continue
        number += 1
        yield Line(number, *unfinished.end())
        *whole, last = others
        for text in whole:
            number += 1
            yield Line(number, text)
        unfinished.add(last)
    if not unfinished.is_empty:
        yield Line(number + 1, *unfinished.end())._replace(is_ended=False)


@dataclass
class LineBlock:
    """Consecutive lines, without an object per line.

    Attributes:
        first: the number of the first line.
        texts: the lines in UTF-8; a line with invalid bytes has a text that no fast path reads.
        odd: index -> the line, if it is not a plain one.
    """

    first: int
    texts: list[bytes] = field(default_factory=list)
    odd: dict[int, Line] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The number of the line after the last."""
        return self.first + len(self.texts)

    def line(self, index: int) -> Line:
        """Returns one of the lines."""
        return self.odd.get(index) or Line(self.first + index, _decoded(self.texts[index]))

    @property
    def lines(self) -> Iterator[Line]:
        """Yields all lines."""
        return map(self.line, range(len(self.texts)))

    def cut_before_last_object(self) -> LineBlock:
        """Splits off the next block, which starts with the last object if following lines may belong to it.

        A block that is one such object becomes empty, unless the object is too long.
        """
        at = len(self.texts)
        if not (self.texts[-1].startswith(b"{") and self.texts[-1].rstrip().endswith((b"}", b"},"))):
            unfinished = list(objects_over_lines(self.texts))[-1:]
            at = unfinished[0].start if unfinished and unfinished[0].stop == at else at
        if not at and (len(self.texts) > LINES_OF_AN_OBJECT or sum(map(len, self.texts)) > LINE_LIMIT):
            at = len(self.texts)
        after = LineBlock(self.first + at, self.texts[at:], {i - at: line for i, line in self.odd.items() if i >= at})
        self.texts, self.odd = self.texts[:at], {i: line for i, line in self.odd.items() if i < at}
        return after

    def add(self, text: bytes, is_whole: bool, *, is_ended: bool = True) -> None:
        """Appends the next line."""
        is_text = is_whole and not has_bad_bytes(text)
        if not (is_ended and is_text):
            # A line that is too long is cut anywhere.
            shown = _decoded(text) if is_whole else text.decode("utf-8", "ignore")
            self.odd[len(self.texts)] = Line(self.end, shown, is_whole, is_ended)
        self.texts.append(text if is_text else never_plain(text) if is_whole else b"")


def objects_over_lines(texts: Sequence[bytes]) -> Iterator[range]:
    """Yields indexes of lines that may belong to one JSON object of several lines; these are not read one by one.

    Such an object is a line that begins an object and does not end with a brace, with all lines below it up to the next
    object that is not indented further.
    """
    begin, indent = -1, 0
    for index, text in enumerate(texts):
        bare = text.lstrip(_WHITE)
        if bare.startswith(b"{") and (begin < 0 or len(text) - len(bare) <= indent):
            if begin >= 0:
                yield range(begin, index)
            begin, indent = index, len(text) - len(bare)
            if bare.rstrip(_WHITE).endswith((b"}", b"},")):
                begin = -1
    if begin >= 0:
        yield range(begin, len(texts))


def line_blocks(chunks: Iterable[bytes]) -> Iterator[LineBlock]:
    """Splits UTF-8 at newlines into blocks of about `BLOCK_LINES` lines or `BLOCK_TEXT` bytes."""
    unfinished = _UnfinishedLine[bytes](b"")
    block, length = LineBlock(1), 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        unfinished.add(first)
        length += len(chunk)
        if not others:
            continue
        block.add(*unfinished.end())
        *whole, last = others
        if has_bad_bytes(chunk):
            for text in whole:
                block.add(text, is_whole=True)
        else:
            block.texts += whole
        unfinished.add(last)
        if len(block.texts) >= BLOCK_LINES or length >= BLOCK_TEXT:
            after = block.cut_before_last_object()
            if block.texts:
                yield block
                length = 0
            block = after
    if not unfinished.is_empty:
        block.add(*unfinished.end(), is_ended=False)
    if block.texts:
        yield block


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


class _UnfinishedLine(Generic[AnyStr]):
    """The pieces of a line whose newline has not come yet."""

    def __init__(self, nothing: AnyStr) -> None:
        self._nothing: AnyStr = nothing
        self._pieces: list[AnyStr] = []
        self._length = 0

    @property
    def is_empty(self) -> bool:
        return not self._length

    def add(self, piece: AnyStr) -> None:
        self._length += len(piece)
        if self._length <= LINE_LIMIT:
            self._pieces.append(piece)
        elif len(self._pieces) != 1 or len(self._pieces[0]) != DAMAGE_TEXT:
            self._pieces = [(self._nothing.join(self._pieces) + piece)[:DAMAGE_TEXT]]

    def end(self) -> tuple[AnyStr, bool]:
        """Returns the line, or its beginning, and whether it is complete."""
        text, is_whole = self._nothing.join(self._pieces), self._length <= LINE_LIMIT
        self._pieces, self._length = [], 0
        return text, is_whole
