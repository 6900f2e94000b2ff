"""Cuts JSON objects of any content out of plain lines, so that the rest can be read a column at a time.

In the line, an object is replaced by `true`. The object itself is read as the record-by-record path reads it, and the
stream's `prepare` turns it into fields.

Belongs here: finding, reading and preparing those objects. Does not belong here: the rest of the line (`plain`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.reading import RecordRejected
from sync_pipelines.exports.json_values import NestedTooDeep, decode_at
from sync_pipelines.normalize.keys import Rows
from sync_pipelines.normalize.plain_text import Texts
from sync_pipelines.normalize.record_source import RecordSource
from sync_pipelines.normalize.values import keepable, to_json

ObjectValues = Mapping[str, Any]
"""Alias -> the value of a record's object: JSON as text, any other value as it is, None for null."""
_NOTHING: Final[ObjectValues] = {}
_JSON_WHITE: Final = b" \t"
_SHORT: Final = 200
"""Longest object that is cached, in bytes."""
_REMEMBERED: Final = 1_000
"""Most objects that are cached: the first ones, since a file with more hardly repeats one."""
_Unfit = (json.JSONDecodeError, NestedTooDeep, UnicodeDecodeError, PydanticCustomError, RecordRejected)


class Cut(NamedTuple):
    """Plain lines without their objects.

    Attributes:
        places: the index of each line among those given, ascending.
        texts: the lines.
        object_values: the values of each line's objects.
    """

    places: Rows
    texts: Texts
    object_values: Sequence[ObjectValues]


class ObjectCutter:
    """Cuts the objects of one stream out of lines.

    Args:
        source: where they come from.
        names: how the file names the fields that hold objects: name -> alias.
        kept: aliases of the fields that are stored as JSON.
    """

    def __init__(self, source: RecordSource, names: Mapping[str, str], kept: frozenset[str]) -> None:
        self._source = source
        self._names = {json.dumps(name, ensure_ascii=False).encode(): alias for name, alias in names.items()}
        self._kept = kept
        self._name = next(iter(self._names)) if len(self._names) == 1 else None
        # The values of a line with only one object, by the object's text.
        self._known: dict[bytes, ObjectValues] = {}

    def cut(self, texts: Texts) -> Cut:
        """Returns lines without objects, except lines whose objects are not plain."""
        places, lines, object_values = [], [], []
        for place, text in enumerate(texts.lines):
            with suppress(*_Unfit):
                line, what = self._known_one(text) or self._one(text)
                places.append(place)
                lines.append(line)
                object_values.append(what)
        return Cut(np.array(places, np.int64), Texts(lines), object_values)

    def _known_one(self, line: bytes) -> tuple[bytes, ObjectValues] | None:
        """Returns the result of `_one` for a line whose only object is cached, else None."""
        if self._name is None or (at := line.find(self._name)) < 0:
            return None
        begin = at + len(self._name) + 1
        end = line.find(b"}", begin) + 1
        while end and line.count(b"{", begin, end) > line.count(b"}", begin, end):
            end = line.find(b"}", end) + 1
        # Braces within texts may mislead, but cached text was a complete object and is one here too.
        object_values = self._known.get(line[begin:end])
        if object_values is None or line[begin - 1 : begin] != b":" or line.find(self._name, end) >= 0:
            return None
        return b"%btrue%b" % (line[:begin], line[end:]), object_values

    def _one(self, line: bytes) -> tuple[bytes, ObjectValues]:
        objects: dict[str, Any] = {}
        pieces: list[bytes] = []
        begin = done = 0
        # From left to right, so that a name within an object is cut with it.
        while places := [(at, name) for name in self._names if (at := line.find(name, done)) >= 0]:
            at, name = min(places)
            begin, alias = line.find(b"{", at), self._names[name]
            if begin < 0 or line[at + len(name) : begin].strip(_JSON_WHITE) != b":" or alias in objects:
                raise RecordRejected("not_an_object", None, "")
            text = line[begin:].decode()
            objects[alias], length = decode_at(text, 0)
            pieces += [line[done:begin], b"true"]
            done = begin + len(text[:length].encode())
        if not objects:
            return line, _NOTHING
        object_values = self._values_of(objects)
        # Partners have few payment terms, and many customers.
        if self._name is not None and done - begin <= _SHORT and len(self._known) < _REMEMBERED:
            self._known[line[begin:done]] = object_values
        return b"".join([*pieces, line[done:]]), object_values

    def _values_of(self, objects: dict[str, Any]) -> ObjectValues:
        if self._source.stream.prepare is not None:
            reading = replace(self._source.reading, leniencies=Counter())
            objects = self._source.stream.prepare(objects, self._source.options, reading)
            if reading.leniencies:
                raise RecordRejected("invalid", None, "")
        object_values = {alias: keepable(value, (alias,)) for alias, value in objects.items()}
        return {alias: to_json(value) if alias in self._kept else value for alias, value in object_values.items()}
