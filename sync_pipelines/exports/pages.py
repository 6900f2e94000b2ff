"""The records of one page of a listing, each with its original text.

Decoding and encoding them again would lose details: digits, duplicate names.

Belongs here: where a record begins and ends in a page. Does not belong here: requesting pages (`pull`), exports of any
size (`json_stream`).
"""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final, NamedTuple

from sync_pipelines.contracts.contract import folded

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)
"""Accepts what a load rejects record by record. Numbers stay text, so that a number and its text are one key (X2)."""


class Element(NamedTuple):
    """A record's text, and its value with numbers as text."""

    text: str
    value: Any

    def field(self, name: str) -> str | None:
        """Returns a field as trimmed text, by its folded name (X3); None if it is missing or not text."""
        if not isinstance(self.value, dict):
            return None
        held = next((value for key, value in self.value.items() if folded(key) == folded(name)), None)
        return held.strip() or None if isinstance(held, str) else None


def read_page(text: str, records: str) -> list[Element] | Element | None:
    """Returns a page's records.

    Args:
        text: the body.
        records: the field that holds them, unless the body is a list.

    Returns:
        The elements of the list, or the other value in its place; None if the body has neither.

    Raises:
        JSONDecodeError: the body is not JSON.
        RecursionError: it is nested too deeply.
    """
    begin = _skip(text, 0)
    found: list[Element] | Element | None = None
    if text[begin : begin + 1] == "[":
        found, end = _elements(text, begin)
    elif text[begin : begin + 1] == "{":
        found, end = _member(text, begin, records)
    else:
        end = _value(text, begin)[1]
    if _skip(text, end) != len(text):
        raise JSONDecodeError("Extra data", text, end)
    return found


def _member(text: str, begin: int, wanted: str) -> tuple[list[Element] | Element | None, int]:
    """Returns one member of an object, and where the object ends."""
    found: list[Element] | Element | None = None
    at = _skip(text, begin + 1)
    if text[at : at + 1] == "}":
        return None, at + 1
    while True:
        name, end = _value(text, at)
        colon = _skip(text, end)
        if text[at] != '"' or text[colon : colon + 1] != ":":
            raise JSONDecodeError("Expecting a property name and ':'", text, at)
        at = _skip(text, colon + 1)
        is_list = name == wanted and text[at : at + 1] == "["
        held, end = _elements(text, at) if is_list else _value(text, at)
        if name == wanted:
            found = held if is_list else Element(text[at:end], held)
        at, is_over = _goes_on(text, end, "}")
        if is_over:
            return found, at


def _elements(text: str, begin: int) -> tuple[list[Element], int]:
    """Returns the elements of a list, and where it ends."""
    elements: list[Element] = []
    at = _skip(text, begin + 1)
    if text[at : at + 1] == "]":
        return elements, at + 1
    while True:
        value, end = _value(text, at)
        elements.append(Element(text[at:end], value))
        at, is_over = _goes_on(text, end, "]")
        if is_over:
            return elements, at


def _value(text: str, begin: int) -> tuple[Any, int]:
    return _DECODER.raw_decode(text, begin)


def _goes_on(text: str, end: int, closing: str) -> tuple[int, bool]:
    """Returns where the next member begins, or where the object ends, and whether it has ended."""
    at = _skip(text, end)
    if text[at : at + 1] == closing:
        return at + 1, True
    if text[at : at + 1] != ",":
        raise JSONDecodeError(f"Expecting ',' or '{closing}'", text, at)
    return _skip(text, at + 1), False


def _skip(text: str, begin: int) -> int:
    blanks = _BLANKS.match(text, begin)
    return blanks.end() if blanks else begin
