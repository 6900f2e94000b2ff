"""Standard output for results, standard error for progress and errors.

Belongs here: the format of tables, numbers, times and JSON. Does not belong here: texts.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TextIO
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sync_pipelines.privacy.untrusted_text import on_one_line

_WIDTH_OF_NO_TERMINAL: Final = 10_000
"""Output that a program may read is not wrapped, so that each path stays in one piece."""


def out() -> Console:
    """Returns the current standard output."""
    return _console(sys.stdout)


def err() -> Console:
    """Returns the current standard error."""
    return _console(sys.stderr)


@lru_cache(maxsize=2)
def _console(file: TextIO) -> Console:
    return Console(file=file, width=None if file.isatty() else _WIDTH_OF_NO_TERMINAL, highlight=False)


def say(*lines: str) -> None:
    """Prints lines to standard output; characters that move a cursor or hide text are shown as escapes."""
    for line in lines:
        out().print(Text(on_one_line(line)), soft_wrap=True)


def notify(line: str, style: str = "") -> None:
    """Prints one line to standard error; characters that move a cursor or hide text are shown as escapes."""
    err().print(Text(on_one_line(line), style=style), soft_wrap=True)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Prints a table to standard output; numbers are right-aligned, no text is cut."""
    cells = [[on_one_line(shown(value)) for value in row] for row in rows]
    numeric = [all(_is_number(row[i]) for row in cells) and bool(cells) for i in range(len(headers))]
    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for header, right in zip(headers, numeric, strict=True):
        table.add_column(Text(on_one_line(header)), justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    out().print(table)


def shown(value: Any) -> str:
    """Returns a value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case datetime() if value.tzinfo is not None:
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        case dict() | list():
            return json_of(value)
        case _:
            return str(value)


def json_of(value: Any) -> str:
    """Returns JSON in which decimals keep their digits and times are ISO 8601 (dates, UTC times).

    Characters that move a cursor or hide text are escaped.
    """
    return "".join(_pieces(value))


def quoted(text: str) -> str:
    """Returns a JSON string; characters that move a cursor or hide text are escaped."""
    written = json.dumps(text, ensure_ascii=False)
    if written.isprintable():
        return written
    return "".join(c if on_one_line(c) == c else json.dumps(c)[1:-1] for c in written)


def _pieces(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield quoted(value)
        case None | bool() | int():
            yield json.dumps(value)
        case Decimal() | float():
            # NaN and infinities have no number in JSON.
            yield str(value) if math.isfinite(value) else json.dumps(str(value))
        case datetime() | date() | time():
            yield json.dumps(value.isoformat())
        case Mapping():
            yield "{"
            for index, (name, below) in enumerate(value.items()):
                yield f"{', ' if index else ''}{quoted(str(name))}: "
                yield from _pieces(below)
            yield "}"
        case list() | tuple():
            yield "["
            for index, below in enumerate(value):
                yield ", " if index else ""
                yield from _pieces(below)
            yield "]"
        case bytes() | memoryview():
            yield json.dumps("\\x" + bytes(value).hex())
        case UUID() | _:
            yield quoted(str(value))


def _is_number(text: str) -> bool:
    return not text.strip("0123456789,.-") and text not in ("", "-")
