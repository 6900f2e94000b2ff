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
_AGAIN: Final = object()
_JSON_WHITE: Final = b" \t"
_SHORT: Final = 200
"""Bytes up to which an object, and what it says, is remembered."""
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
        self._names = {json.dumps(name, ensure_ascii=False).encode(): alias for name, alias in names.items()}
        self._kept = kept
        self._whole: set[bytes] = set()
        self._known: dict[tuple[str | bytes, ...], Said] = {}
        # By name, colon and object, where a line holds no other.
        self._alone: dict[bytes, Said] = {}

    def cut(self, texts: Sequence[bytes], rows: Sequence[int]) -> Cut:
        """The given lines without objects; lines whose objects need care are left out."""
        found = Cut()
        for row in rows:
            try:
                found.lines[row], found.said[row] = self._at_once(texts[row]) or self._one(texts[row])
            except _Unfit:
                continue
        return found

    def _at_once(self, line: bytes) -> tuple[bytes, Said] | None:
        """The same as `_one` of a line whose only object stood alone in a line before; None for any other."""
        if len(self._names) != 1:
            return None
        (name,) = self._names
        if (at := line.find(name)) < 0:
            return line, _NOTHING
        end = line.find(b"}", at) + 1
        said = self._alone.get(line[at:end])
        if said is None or line.find(name, end) >= 0:
            return None
        return b"%btrue%b" % (line[: at + len(name) + 1], line[end:]), said

    def _one(self, line: bytes) -> tuple[bytes, Said]:
        objects: dict[str, Any] = {}
        pieces: list[bytes] = []
        texts: list[str | bytes] = []
        done = 0
        # From left to right, so that a name within an object goes with it.
        while places := [(at, name) for name in self._names if (at := line.find(name, done)) >= 0]:
            at, name = min(places)
            begin, alias = line.find(b"{", at), self._names[name]
            if begin < 0 or line[at + len(name) : begin].strip(_JSON_WHITE) != b":" or alias in objects:
                raise Refused("not_an_object", None, "")
            end, objects[alias] = self._object(line, begin)
            pieces += [line[done:begin], b"true"]
            texts += [alias, line[begin:end]]
            done = end
        if not texts:
            return line, _NOTHING
        said = self._remembered(tuple(texts), objects)
        if len(self._names) == len(objects) == 1:
            self._note_alone(line, done - len(texts[1]), done, said)
        return b"".join([*pieces, line[done:]]), said

    def _note_alone(self, line: bytes, begin: int, end: int, said: Said) -> None:
        """Remembers what a line's only object says, where nothing but a colon stands between it and its name."""
        (name,) = self._names
        text = line[begin - len(name) - 1 : end]
        if end - begin <= _SHORT and text.startswith(name + b":{") and text.find(b"}") == len(text) - 1:
            if len(self._alone) >= _REMEMBERED:
                self._alone.clear()
            self._alone[text] = said

    def _object(self, line: bytes, begin: int) -> tuple[int, Any]:
        """Where the object that begins somewhere ends, and the object; `_AGAIN` for a text that was one before."""
        end = line.find(b"}", begin) + 1
        while end and line.count(b"{", begin, end) > line.count(b"}", begin, end):
            end = line.find(b"}", end) + 1
        # Braces within texts lead astray, but what has been a whole object is one here too.
        if line[begin:end] in self._whole:
            return end, _AGAIN
        text = line[begin:].decode()
        value, length = decode_at(text, 0)
        end = begin + len(text[:length].encode())
        if end - begin <= _SHORT:
            if len(self._whole) >= _REMEMBERED:
                self._whole.clear()
            self._whole.add(line[begin:end])
        return end, value

    def _remembered(self, texts: tuple[str | bytes, ...], objects: dict[str, Any]) -> Said:
        """What objects say, once for each text: partners have few payment terms, and many customers."""
        said = self._known.get(texts)
        if said is None:
            for alias, text in zip(texts[::2], texts[1::2], strict=True):
                assert isinstance(alias, str) and isinstance(text, bytes)
                if objects[alias] is _AGAIN:
                    objects[alias] = decode_at(text.decode(), 0)[0]
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
