"""JSON Lines: one value a line, each on its own, so that a damaged line takes nothing with it.

Belongs here: cutting text into physical lines in bounded memory, and reading each as JSON. Does not belong here:
documents that span lines (`json_stream`), CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import AnyStr, Generic, NamedTuple

from sync_pipelines.contracts.raw import DAMAGE_TEXT, RawRecord, damaged
from sync_pipelines.exports.json_values import (
    MAX_NESTING,
    NestedTooDeep,
    control_character,
    decode_at,
    explain,
)

LINE_LIMIT = 64 << 20
"""Characters of the longest line that is read, or bytes where lines come as UTF-8."""
BLOCK_LINES = 4096
BLOCK_TEXT = 8 << 20
WHITE = " \t\r"
"""What JSON allows at the ends of a line."""


class Line(NamedTuple):
    """A physical line without its newline.

    Attributes:
        number: counted from 1.
        text: its characters; only the first `DAMAGE_TEXT` of a line that is too long.
        is_whole: False for a line longer than `LINE_LIMIT`.
        is_ended: whether a newline stood after it; False only for the last line.
    """

    number: int
    text: str
    is_whole: bool = True
    is_ended: bool = True


def numbered_lines(chunks: Iterable[str], newline: str = "\n") -> Iterator[Line]:
    """Cuts text at `newline` and nowhere else; memory is bounded by `LINE_LIMIT`."""
    begun = _BegunLine[str]("")
    number = 0
    for chunk in chunks:
        first, *others = chunk.split(newline)
        begun.add(first)
        if not others:
            continue
        number += 1
        yield Line(number, *begun.end())
        *whole, last = others
        for text in whole:
            number += 1
            yield Line(number, text)
        begun.add(last)
    if not begun.is_empty:
        yield Line(number + 1, *begun.end())._replace(is_ended=False)


@dataclass
class LineBlock:
    """Lines that follow one another, without an object for each.

    Attributes:
        first: the number of the first.
        texts: their characters in UTF-8.
        odd: index -> the line, where something is to be said of it.
    """

    first: int
    texts: list[bytes] = field(default_factory=list)
    odd: dict[int, Line] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The number of the line after the last."""
        return self.first + len(self.texts)

    def line(self, index: int) -> Line:
        """One of the lines."""
        return self.odd.get(index) or Line(self.first + index, _decoded(self.texts[index]))

    @property
    def lines(self) -> Iterator[Line]:
        """All of them."""
        return map(self.line, range(len(self.texts)))

    def add(self, text: bytes, is_whole: bool, *, is_ended: bool = True) -> None:
        """Takes the next line."""
        if not (is_ended and is_whole):
            # A line that is too long is cut anywhere.
            shown = _decoded(text) if is_whole else text.decode("utf-8", "ignore")
            self.odd[len(self.texts)] = Line(self.end, shown, is_whole, is_ended)
        self.texts.append(text if is_whole else b"")


def line_blocks(chunks: Iterable[bytes]) -> Iterator[LineBlock]:
    """Cuts UTF-8 at newlines into blocks of about `BLOCK_LINES` lines, or of about `BLOCK_TEXT` bytes."""
    begun = _BegunLine[bytes](b"")
    block, length = LineBlock(1), 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.add(first)
        length += len(chunk)
        if not others:
            continue
        block.add(*begun.end())
        *whole, last = others
        block.texts += whole
        begun.add(last)
        if len(block.texts) >= BLOCK_LINES or length >= BLOCK_TEXT:
            yield block
            block, length = LineBlock(block.end), 0
    if not begun.is_empty:
        block.add(*begun.end(), is_ended=False)
    if block.texts:
        yield block


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def read_lines(lines: Iterable[Line]) -> Iterator[RawRecord]:
    """One record for every line that is not blank, at its line number (X14).

    A line that is not JSON, nested too deeply or too long is a damaged record; its neighbours are read.
    """
    for line in lines:
        text = line.text.strip(WHITE)
        if not line.is_whole:
            yield damaged(str(line.number), "line_too_long", f"the line is longer than {LINE_LIMIT} characters", text)
        elif text:
            yield _record(line, text)


def _record(line: Line, text: str) -> RawRecord:
    position = str(line.number)
    try:
        value, end = decode_at(text, 0)
    except NestedTooDeep:
        return damaged(position, "nesting_too_deep", f"the line has more than {MAX_NESTING} levels of nesting", text)
    except JSONDecodeError as fault:
        return _not_json(line, text, fault)
    if end != len(text):
        message = f"something stands after the end of the JSON value, at column {end + 1}"
        return damaged(position, "not_json", message, text)
    return RawRecord(position, value)


def _not_json(line: Line, text: str, fault: JSONDecodeError) -> RawRecord:
    control = control_character(fault)
    if control == "NUL":
        message = f"a NUL character stands in a string, at column {fault.pos + 1}"
        return damaged(str(line.number), "nul_character", message, text)
    if not line.is_ended and not control:
        return damaged(str(line.number), "not_json", "the file ends in the middle of this line", text)
    return damaged(str(line.number), "not_json", f"not JSON: {explain(fault)} at column {fault.pos + 1}", text)


class _BegunLine(Generic[AnyStr]):
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
        """The line, or its beginning, and whether it is whole."""
        text, is_whole = self._nothing.join(self._pieces), self._length <= LINE_LIMIT
        self._pieces, self._length = [], 0
        return text, is_whole
