"""Reads JSON documents element by element: an array, or an object whose known lists are streamed.

Belongs here: walking one document, in memory bounded by its largest element. Does not belong here: JSON Lines, what a
value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from contextlib import suppress
from json import JSONDecodeError
from typing import Any, NamedTuple, NoReturn

from sync_pipelines.contracts.raw import DAMAGE_TEXT, Damage, RawRecord, damaged
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.json_faults import MISSING_COMMA, TRAILING_COMMA, decode_mended
from sync_pipelines.exports.json_values import MAX_NESTING, NestedTooDeep, build_object, control_character, explain
from sync_pipelines.exports.json_window import ELEMENT_LIMIT, TooLong, Window, not_json

_REST_LIMIT = 16 << 20
"""Most characters of an object without its streamed lists; a larger one cannot be one record."""

_TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def read_document(chunks: Iterator[str], envelopes: Set[str] = frozenset()) -> Iterator[RawRecord]:
    """Yields the elements of a top-level array, or of the known lists of a top-level object.

    Several documents may follow one another: their elements are numbered consecutively, and each object without a known
    list is one record. A broken element is a damaged record; its neighbors are read.

    Args:
        chunks: the document's text.
        envelopes: folded names (lower case, no underscores) of top-level lists to stream; `within` has the name as
            written. The other members, if any, follow as one record within `"rest"` at position 0. An object without
            such a list is one record within `""` at position 1.

    Raises:
        ExportError: `not_json` with the line; `wrong_envelope` for a bare string or number, and for an object with
            a huge member that is not a known list.
    """
    window = Window(chunks)
    count, is_record = 0, False
    while opening := window.next_character():
        if opening == "[":
            documents = _elements(window, None, count)
        elif opening == "{" and is_record:
            documents = iter([_streamed(window, str(count + 1), None).record])
        elif opening == "{":
            documents = _members(window, envelopes, count)
        elif count:
            raise not_json(window, "unexpected text after the end of the document")
        else:
            _raise_for_scalar(window)
        for record in documents:
            count += record.within != "rest"
            is_record = is_record or record.within == ""
            yield record


def _raise_for_scalar(window: Window) -> NoReturn:
    if window.next_character() == "<":
        raise not_json(window, "it looks like HTML or XML")
    try:
        window.value()
    except JSONDecodeError as error:
        raise not_json(window, explain(error), error.pos) from error
    except (NestedTooDeep, TooLong):
        pass
    raise ExportError("wrong_envelope", "the document is a single value, not a list or an object")


def _elements(window: Window, within: str | None, count: int) -> Iterator[RawRecord]:
    if _is_empty(window, "]"):
        return
    goes_on, missing = True, False
    while goes_on:
        count += 1
        record, is_broken = _streamed(window, str(count), within)
        forgiven = (*record.forgiven, MISSING_COMMA) if missing else record.forgiven
        goes_on, missing, is_trailing = _separated(window, "]")
        if missing and not is_broken and window.next_character() not in "{[":
            message = "not JSON: expecting ',' or ']' after the element"
            record = damaged(str(count), "not_json", message, str(record.value), within)
            missing = False
        missing = missing and not is_broken
        if is_trailing:
            forgiven += (TRAILING_COMMA,)
        yield record if forgiven is record.forgiven else record._replace(forgiven=forgiven)


def _is_empty(window: Window, closing: str) -> bool:
    """Skips the opening bracket, and the closing one if it follows directly."""
    window.advance(1)
    if window.next_character() != closing:
        return False
    window.advance(1)
    return True


class _Separation(NamedTuple):
    """Whether another element or member follows, and which comma is missing or extra."""

    goes_on: bool
    is_missing: bool = False
    is_trailing: bool = False


def _separated(window: Window, closing: str) -> _Separation:
    character = window.next_character()
    if not character:
        raise not_json(window, "the file ends in the middle of the document")
    if character == closing:
        window.advance(1)
        return _Separation(False)
    if character != ",":
        if closing == "}":
            raise not_json(window, f"expecting ',' or '{closing}'")
        return _Separation(True, is_missing=True)
    window.advance(1)
    if window.next_character() != closing:
        return _Separation(True)
    window.advance(1)
    return _Separation(False, is_trailing=True)


class _Element(NamedTuple):
    """A record, and whether its end was a guess."""

    record: RawRecord
    is_broken: bool = False


def _streamed(window: Window, position: str, within: str | None) -> _Element:
    try:
        return _element(window, position, within)
    except TooLong:
        message = f"the element is longer than {ELEMENT_LIMIT} characters"
        return _Element(damaged(position, "line_too_long", message, _skip_value(window), within))


def _element(window: Window, position: str, within: str | None, limit: int = ELEMENT_LIMIT) -> _Element:
    try:
        return _Element(RawRecord(position, window.value(limit), within))
    except NestedTooDeep:
        code, message = "nesting_too_deep", f"the element has more than {MAX_NESTING} levels of nesting"
        return _Element(damaged(position, code, message, _skip_value(window), within))
    except JSONDecodeError as error:
        control = control_character(error)
        code, message = "not_json", f"not JSON: {window.explained(error)}"
        if control:
            message = "a string contains an unescaped control character"
        if control == "NUL":
            code, message = "nul_character", "a string contains a NUL character"
    text = window.broken_value(limit)
    with suppress(JSONDecodeError, NestedTooDeep):
        return _Element(RawRecord(position, decode_mended(text), within, forgiven=(TRAILING_COMMA,)))
    return _Element(damaged(position, code, message, text.rstrip(), within), is_broken=True)


def _members(window: Window, envelopes: Set[str], count: int) -> Iterator[RawRecord]:
    rest, first = _Rest(), str(count + 1)
    has_lists = False
    goes_on = not _is_empty(window, "}")
    while goes_on:
        name = _member_name(window)
        if window.next_character() == "[" and name.replace("_", "").lower() in envelopes:
            has_lists = True
            for record in _elements(window, name, count):
                count += 1
                yield record
        else:
            rest.add(name, window)
        goes_on, _, is_trailing = _separated(window, "}")
        if is_trailing:
            rest.forgiven += (TRAILING_COMMA,)
    if not has_lists:
        yield rest.record(first, "")
    elif rest.pairs or rest.damage or rest.forgiven:
        yield rest.record("0", "rest")


def _member_name(window: Window) -> str:
    if window.next_character() != '"':
        raise not_json(window, "expecting a property name in double quotes")
    name = _streamed(window, "0", None).record
    if name.damage:
        raise not_json(window, f"a property name cannot be read: {name.damage.message}")
    if window.next_character() != ":":
        raise not_json(window, "expecting ':'")
    window.advance(1)
    return str(name.value)


class _Rest:
    """The members of a top-level object that are not streamed."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, Any]] = []
        self.damage: Damage | None = None
        self.forgiven: tuple[str, ...] = ()
        self._length = 0

    def add(self, name: str, window: Window) -> None:
        begin = window.characters
        line, _ = window.place()
        try:
            record = _element(window, "0", None, _REST_LIMIT).record
        except TooLong:
            raise self._too_long(name) from None
        if record.damage and record.damage.code == "not_json" and record.damage.message.startswith("not JSON"):
            message = f"the value of {name!r} is {record.damage.message}"
            raise ExportError("not_json", message, "", Position("line", line))
        if record.damage:
            self.damage = self.damage or record.damage
        else:
            self.pairs.append((name, record.value))
        self.forgiven += record.forgiven
        self._length += window.characters - begin
        if self._length > _REST_LIMIT:
            raise self._too_long(name)

    def _too_long(self, name: str) -> ExportError:
        message = f"the document is one huge object whose {name!r} is not a known list of this stream"
        return ExportError("wrong_envelope", message)

    def record(self, position: str, within: str) -> RawRecord:
        value = None if self.damage else build_object(self.pairs)
        return RawRecord(position, value, within, self.damage, self.forgiven)


def _skip_value(window: Window) -> str:
    """Skips an array, object or string by its brackets and quotes. Returns its first character."""
    window.next_character()
    beginning, scan = "", _Scan()
    while not scan.is_over:
        text = window.rest_of_buffer()
        if not text:
            raise not_json(window, "the file ends in the middle of a value")
        used = scan.find_end(text)
        window.advance(used)
        if len(beginning) < DAMAGE_TEXT:
            beginning += text[: min(used, DAMAGE_TEXT)]
    return beginning


class _Scan:
    """Finds the end of a value over several pieces of text."""

    def __init__(self) -> None:
        self.is_over = False
        self._level = 0
        self._in_string = False

    def find_end(self, text: str) -> int:
        """Returns how much of the text belongs to the value."""
        for token in _TOKEN.finditer(text):
            self._pass(token[0])
            if self.is_over:
                return token.end()
        return len(text)

    def _pass(self, token: str) -> None:
        if token == '"':
            self._in_string = not self._in_string
        elif not self._in_string and token in "[{":
            self._level += 1
        elif not self._in_string and token in "]}":
            self._level -= 1
        else:
            return
        self.is_over = self._level == 0 and not self._in_string
