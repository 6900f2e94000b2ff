"""JSON Lines: one value a line, each on its own, so that a damaged line takes nothing with it.

Belongs here: cutting text into physical lines in bounded memory, and reading each as JSON. Does not belong here:
documents that span lines (`json_stream`), CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from json import JSONDecodeError
from typing import NamedTuple

from sync_pipelines.contracts.raw import DAMAGE_TEXT, RawRecord, damaged
from sync_pipelines.exports.json_values import (
    MAX_NESTING,
    NestedTooDeep,
    control_character,
    decode_at,
    explain,
)

LINE_LIMIT = 64 << 20
"""Characters of the longest line that is read."""
BLOCK_LINES = 4096
BLOCK_TEXT = 8 << 20
WHITE = " \t\r"
"""What JSON allows at the ends of a line."""


class Line(NamedTuple):
    """A physical line without its newline.

    Attributes:
        number: counted from 1.
        text: its characters; only the first `DAMAGE_TEXT` of a line that is too long.
        is_ended: whether a newline stood after it; False only for the last line.
        is_whole: False for a line longer than `LINE_LIMIT`.
    """

    number: int
    text: str
    is_ended: bool = True
    is_whole: bool = True


def numbered_lines(chunks: Iterable[str], newline: str = "\n") -> Iterator[Line]:
    """Cuts text at `newline` and nowhere else; memory is bounded by `LINE_LIMIT`."""
    begun = _BegunLine()
    number = 0
    for chunk in chunks:
        first, *others = chunk.split(newline)
        begun.add(first)
        if not others:
            continue
        number += 1
        yield begun.end(number)
        *whole, last = others
        for text in whole:
            number += 1
            yield Line(number, text)
        begun.add(last)
    if not begun.is_empty:
        yield begun.end(number + 1)._replace(is_ended=False)


@dataclass
class LineBlock:
    """Lines that follow one another, without an object for each.

    Attributes:
        first: the number of the first.
        texts: their characters.
        odd: index -> the line, where something is to be said of it.
    """

    first: int
    texts: list[str] = field(default_factory=list)
    odd: dict[int, Line] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The number of the line after the last."""
        return self.first + len(self.texts)

    def line(self, index: int) -> Line:
        """One of the lines."""
        return self.odd.get(index) or Line(self.first + index, self.texts[index])

    def add(self, line: Line) -> None:
        """Takes the next line."""
        if not (line.is_ended and line.is_whole):
            self.odd[len(self.texts)] = line
        self.texts.append(line.text)


def line_blocks(chunks: Iterable[str]) -> Iterator[LineBlock]:
    """Cuts text at newlines into blocks of about `BLOCK_LINES` lines, or of about `BLOCK_TEXT` characters."""
    begun = _BegunLine()
    block, length = LineBlock(1), 0
    for chunk in chunks:
        first, *others = chunk.split("\n")
        begun.add(first)
        length += len(chunk)
        if not others:
            continue
        block.add(begun.end(block.end))
        *whole, last = others
        block.texts += whole
        begun.add(last)
        if len(block.texts) >= BLOCK_LINES or length >= BLOCK_TEXT:
            yield block
            block, length = LineBlock(block.end), 0
    if not begun.is_empty:
        block.add(begun.end(block.end)._replace(is_ended=False))
    if block.texts:
        yield block


def read_lines(chunks: Iterable[str]) -> Iterator[RawRecord]:
    """One record for every line of a text that is not blank, at its line number (X14).

    A line that is not JSON, nested too deeply or too long is a damaged record; its neighbours are read.
    """
    return read_numbered(numbered_lines(chunks))


def read_numbered(lines: Iterable[Line]) -> Iterator[RawRecord]:
    """The same of lines that are cut already."""
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


class _BegunLine:
    """The pieces of a line whose newline has not come yet."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    @property
    def is_empty(self) -> bool:
        return not self._length

    def add(self, piece: str) -> None:
        self._length += len(piece)
        if self._length <= LINE_LIMIT:
            self._pieces.append(piece)
        elif len(self._pieces) != 1 or len(self._pieces[0]) != DAMAGE_TEXT:
            self._pieces = [("".join(self._pieces) + piece)[:DAMAGE_TEXT]]

    def end(self, number: int) -> Line:
        line = Line(number, "".join(self._pieces), is_whole=self._length <= LINE_LIMIT)
        self._pieces, self._length = [], 0
        return line
