"""Paths into a record, as in headers of flat files and keys of `columns`: `addresses[0].city`, `metadata.zone`.

Belongs here: which position in a contract a path refers to. Does not belong here: putting values there
(`normalize.field_names`).
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple, get_origin

from sync_pipelines.contracts.contract import FieldShape, Shape, folded_header

Path = tuple[str | int, ...]
Holds = Literal["value", "list", "object"]
"""What a position holds."""

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,3})\]")
_INDEX: Final = re.compile(r"\d{1,3}", re.ASCII)


class Way(NamedTuple):
    """A position in a record.

    Attributes:
        path: fields by the contract's own names, elements of lists by their index from 0.
        holds: what it holds.
    """

    path: Path
    holds: Holds


def holds_of(field: FieldShape) -> Holds:
    """Returns what a field holds."""
    origin = get_origin(field.annotation)
    return "list" if origin is list else "object" if origin is dict else "value"


def way_to(shape: Shape, text: str) -> Way | None:
    """Returns the position of a path below a contract; None if it leads to no field.

    Names match as headers do; an index may be written `[0]` or `.0`, from 0. Below a field that holds any object, names
    are used unchanged.
    """
    steps = _steps(text)
    return _below(shape, steps) if len(steps) > 1 else None


def _below(shape: Shape, steps: list[str | int]) -> Way | None:
    field = _field(shape, steps[0])
    if field is None:
        return None
    holds, rest = holds_of(field), steps[1:]
    if not rest:
        return Way((field.alias,), holds)
    if holds == "object":
        return Way((field.alias, *rest), "value")
    place = _index(rest[0])
    if holds == "value" or place is None:
        return None
    if field.children is None:
        return Way((field.alias, place), "value") if len(rest) == 1 else None
    if len(rest) == 1:
        return Way((field.alias, place), "object")
    inner = _below(field.children, rest[1:])
    return inner and Way((field.alias, place, *inner.path), inner.holds)


def _field(shape: Shape, name: str | int) -> FieldShape | None:
    by_name = {folded_header(folded): field for folded, field in shape.by_folded.items()}
    return by_name.get(folded_header(str(name)))


def _index(step: str | int) -> int | None:
    if isinstance(step, int):
        return step
    return int(step) if _INDEX.fullmatch(step) else None


def _steps(text: str) -> list[str | int]:
    steps: list[str | int] = []
    end = 0
    for match in _STEP.finditer(text):
        if match.start() != end:
            return []
        end = match.end()
        steps.append(int(match[2]) if match[2] is not None else match[1].strip())
    return steps if end == len(text) and steps and isinstance(steps[0], str) else []


def example_paths(shape: Shape, before: str = "") -> list[str]:
    """Returns a path to every field of a list's elements, each list at its first element."""
    found: list[Any] = []
    for field in shape.fields:
        if field.children is not None:
            found += _inner(field.children, f"{before}{field.alias}[0].")
        elif holds_of(field) == "list":
            found.append(f"{before}{field.alias}[0]")
    return found


def _inner(shape: Shape, before: str) -> list[str]:
    plain = [f"{before}{field.alias}" for field in shape.fields if field.children is None]
    return plain + example_paths(shape, before)
