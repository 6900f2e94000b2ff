"""JSON objects of any content cut out of plain lines, so that the rest can be read a column at a time.

An object in the line becomes `true`; the object itself is read as the record-by-record way reads it, and the stream's
`prepare` says what it becomes.

Belongs here: finding, reading and preparing those objects. Does not belong here: the rest of the line (`plain`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.reading import Reading, RecordRefused
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.exports.json_values import NestedTooDeep, decode_at
from sync_pipelines.normalize.change import Refused
from sync_pipelines.normalize.values import keepable, to_json

Said = Mapping[str, Any]
"""Alias -> what the objects of one record come to: JSON as text, any other value as it is, None for null."""
_NOTHING: Final[Said] = {}
_JSON_WHITE: Final = " \t"
_SHORT: Final = 200
"""Characters up to which what an object says is remembered."""
_REMEMBERED: Final = 1_000
"""Texts of objects that are remembered at once; threads may add a few more."""
_Unfit = (json.JSONDecodeError, NestedTooDeep, UnicodeDecodeError, PydanticCustomError, RecordRefused, Refused)


@dataclass
class Cut:
    """Lines without their objects.

    Attributes:
        lines: index -> the line; those that are not plain are left out.
        said: index -> what its objects say.
    """

    lines: dict[int, bytes] = field(default_factory=dict)
    said: dict[int, Said] = field(default_factory=dict)


class ObjectCutter:
    """Cuts the objects of one stream out of lines.

    Args:
        stream: the declaration.
        options: the partner's settings.
        reading: the source's conventions.
        names: how the file names the fields that hold objects: name -> alias.
        kept: aliases of the fields that are kept as JSON.
    """

    def __init__(
        self, stream: Stream, options: Any, reading: Reading, names: Mapping[str, str], kept: frozenset[str]
    ) -> None:
        self._prepare = stream.prepare
        self._options = options
        self._reading = reading
        self._names = {json.dumps(name, ensure_ascii=False): alias for name, alias in names.items()}
        self._bytes = [name.encode() for name in self._names]
        self._kept = kept
        self._known: dict[tuple[str, ...], Said] = {}

    def cut(self, texts: Sequence[bytes], rows: Sequence[int]) -> Cut:
        """The given lines without objects; lines whose objects need care are left out."""
        found = Cut()
        for row in rows:
            line = texts[row]
            if any(name in line for name in self._bytes):
                try:
                    found.lines[row], found.said[row] = self._one(line.decode())
                except _Unfit:
                    continue
            else:
                found.lines[row], found.said[row] = line, _NOTHING
        return found

    def _one(self, text: str) -> tuple[bytes, Said]:
        objects: dict[str, Any] = {}
        pieces, done = [], 0
        cut: list[str] = []
        # From left to right, so that a name within an object goes with it.
        while places := [(at, name) for name in self._names if (at := text.find(name, done)) >= 0]:
            at, name = min(places)
            begin = text.find("{", at)
            if begin < 0 or text[at + len(name) : begin].strip(_JSON_WHITE) != ":" or self._names[name] in objects:
                raise Refused("not_an_object", None, "")
            objects[self._names[name]], end = decode_at(text, begin)
            pieces += [text[done:begin], "true"]
            cut += [self._names[name], text[begin:end]]
            done = end
        return "".join([*pieces, text[done:]]).encode(), self._remembered(tuple(cut), objects)

    def _remembered(self, texts: tuple[str, ...], objects: dict[str, Any]) -> Said:
        """What objects say, once for each text: partners have few payment terms, and many customers."""
        said = self._known.get(texts)
        if said is None:
            said = self._said(objects)
            if sum(map(len, texts)) <= _SHORT:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[texts] = said
        return said

    def _said(self, objects: dict[str, Any]) -> Said:
        if self._prepare is not None:
            reading = replace(self._reading, leniencies=Counter())
            objects = self._prepare(objects, self._options, reading)
            if reading.leniencies:
                raise Refused("invalid", None, "")
        said = {alias: keepable(value, (alias,)) for alias, value in objects.items()}
        return {alias: to_json(value) if alias in self._kept else value for alias, value in said.items()}
