"""Guesses the field of a column by its name in English, Spanish or Portuguese.

Belongs here: comparing names with `words.yaml`. Does not belong here: the values of columns (`values`), the stream of a
file (`proposal`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

import yaml

from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.streams import Stream

_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NUMBER: Final = frozenset({"no", "nro", "num", "numero", "number", "n", "nr", "nº", "n°", "#"})
_FILLER: Final = frozenset({"the", "of", "el", "la", "los", "las", "o", "a", "os", "as"})
OWN, EXACT, WITHIN, LOOSE = 4.0, 3.0, 2.0, 1.0
"""The certainty of a match: the field's own name; a word for it; such a word among others; one word of several."""


class Meaning(NamedTuple):
    """A field that a column may hold.

    Attributes:
        field: in the partner's spelling.
        score: its certainty.
    """

    field: str
    score: float


@cache
def words_of(stream: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Returns field -> likely column names of a stream, each as words, the likeliest first."""
    words_by_stream = yaml.safe_load((files(__package__) / "words.yaml").read_text("utf-8"))
    return {
        field: tuple(tuple(_words(name)) for name in names) for field, names in words_by_stream.get(stream, {}).items()
    }


def meanings(stream: Stream, columns: Iterable[str]) -> dict[str, list[Meaning]]:
    """Returns column -> possible fields, the likeliest first, without columns that match none."""
    found = {}
    for column in columns:
        possible = [
            Meaning(field, score) for field in stream.flat_fields if (score := _score(stream, field, column)) > 0
        ]
        if possible:
            found[column] = sorted(possible, key=lambda one: -one.score)
    return found


def assigned(stream: Stream, columns: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Returns field -> its most likely column and the certainty. Each column is used once."""
    places = [
        (possible.score, -place, possible.field, column)
        for place, (column, of_column) in enumerate(meanings(stream, columns).items())
        for possible in of_column
    ]
    chosen: dict[str, tuple[str, float]] = {}
    for score, _, field, column in sorted(places, reverse=True):
        if field not in chosen and column not in {one for one, _ in chosen.values()}:
            chosen[field] = (column, score)
    return chosen


def _score(stream: Stream, field: str, column: str) -> float:
    if folded(field) == folded(column):
        return OWN
    words = _words(column)
    best = 0.0
    for place, known in enumerate(words_of(stream.full_name).get(field, ())):
        lesser = place * 0.01
        if words == list(known):
            best = max(best, EXACT - lesser)
        elif len(known) > 1 and set(known) <= set(words):
            best = max(best, WITHIN - lesser)
        elif len(known) == 1 and known[0] in words and len(words) <= 3:
            best = max(best, LOOSE - lesser)
    return best


@cache
def _split(name: str) -> tuple[str, ...]:
    spaced = _CAMEL.sub(" ", name.replace("#", " # "))
    plain = "".join(c for c in unicodedata.normalize("NFKD", spaced) if not unicodedata.combining(c))
    words = re.findall(r"#|[^\W_]+", plain.lower())
    return tuple("number" if word in _NUMBER else word for word in words if word not in _FILLER)


def _words(name: str) -> list[str]:
    return list(_split(name))
