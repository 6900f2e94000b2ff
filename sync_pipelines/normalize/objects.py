"""JSON objects of any content cut out of plain lines, so that the rest can be read a column at a time.

An object in the line becomes `true`; the object itself is read as the record-by-record way reads it, and the stream's
`prepare` says what it becomes.

Belongs here: finding, reading and preparing those objects. Does not belong here: the rest of the line (`plain`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

import numpy as np
from pydantic_core import PydanticCustomError

from sync_pipelines.contracts.reading import Reading, RecordRefused
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.exports.json_values import NestedTooDeep, decode_at
from sync_pipelines.normalize.change import Refused
from sync_pipelines.normalize.plain_text import JoinedTexts, Rows, Texts
from sync_pipelines.normalize.values import keepable, to_json

Said = Mapping[str, Any]
"""Alias -> what the objects of one record come to: JSON as text, any other value as it is, None for null."""
_NOTHING: Final[Said] = {}
_AGAIN: Final = object()
_JSON_WHITE: Final = b" \t"
_SHORT: Final = 200
"""Bytes up to which an object, and what it says, is remembered."""
_REMEMBERED: Final = 1_000
"""Texts of objects that are remembered at once."""
_Unfit = (json.JSONDecodeError, NestedTooDeep, UnicodeDecodeError, PydanticCustomError, RecordRefused, Refused)


class Cut(NamedTuple):
    """Plain lines without their objects.

    Attributes:
        places: of each line among those given, ascending.
        texts: the lines.
        said: what the objects of each one say.
    """

    places: Rows
    texts: Texts
    said: Sequence[Said]


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
        self._name = next(iter(self._names)) if len(self._names) == 1 else None
        # What an object that was a line's only one says, by its text; none of these holds another.
        self._alone: dict[bytes, Said] = {}
        self._alone_in_text = re.compile(re.escape(self._name or b"") + rb":(\{[^{}]*\})")

    def cut(self, texts: Texts) -> Cut:
        """Lines without objects; those whose objects need care are left out."""
        return self._together(texts) or self._one_by_one(texts)

    def _together(self, texts: Texts) -> Cut | None:
        """The same of lines whose only object stood alone in a line before, each of them; None for any other."""
        if self._name is None or texts.joined.count(self._name) != len(texts):
            return None
        pieces = self._alone_in_text.split(texts.joined)
        rest, said = pieces[::2], list(map(self._alone.get, pieces[1::2]))
        if len(said) != len(texts) or None in said or not all(b"\n" in between for between in rest[1:-1]):
            return None
        joined = (self._name + b":true").join(rest)
        return Cut(np.arange(len(texts)), JoinedTexts(joined, len(texts)), cast(list[Said], said))

    def _one_by_one(self, texts: Texts) -> Cut:
        places, lines, said = [], [], []
        for place, text in enumerate(texts.lines):
            with suppress(*_Unfit):
                line, what = self._at_once(text) or self._one(text)
                places.append(place)
                lines.append(line)
                said.append(what)
        return Cut(np.array(places, np.int64), Texts(lines), said)

    def _at_once(self, line: bytes) -> tuple[bytes, Said] | None:
        """The same as `_one` of one such line; None for any other."""
        if self._name is None:
            return None
        if (at := line.find(self._name)) < 0:
            return line, _NOTHING
        begin, end = at + len(self._name) + 1, line.find(b"}", at) + 1
        said = self._alone.get(line[begin:end])
        if said is None or line[begin - 1 : begin] != b":" or line.find(self._name, end) >= 0:
            return None
        return b"%btrue%b" % (line[:begin], line[end:]), said

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
        if self._name is not None and len(objects) == 1:
            self._note_alone(line[done - len(texts[1]) : done], said)
        return b"".join([*pieces, line[done:]]), said

    def _note_alone(self, text: bytes, said: Said) -> None:
        """Remembers what a line's only object says."""
        if len(text) <= _SHORT and text.find(b"}") == len(text) - 1:
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
