"""Known layouts of exports: how well-known systems name the columns of theirs.

Each is a file of `sync_pipelines/layouts`, made after what its vendor tells of the export:

    name        what people call it
    told_by     columns all of which its header has
    streams     stream -> keys of `sources.yaml` that hold where a source's own block says nothing

`{Currency}` in the name of a column is the currency that the block names in `constants`.

Belongs here: reading those files, and a block of `sources.yaml` with its layout's keys. Does not belong here: what a
key means (`stream_settings`), faults of `sources.yaml` (`sources`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sync_pipelines.contracts.contract import folded

_PACKAGE = "sync_pipelines"
_FOLDER = "layouts"
_CURRENCY = "{Currency}"


@dataclass(frozen=True)
class Layout:
    """A known layout.

    Attributes:
        key: what `layout` names it by.
        name: what people call it.
        told_by: columns all of which its header has.
        streams: `partner/stream` -> its keys, as in `sources.yaml`.
    """

    key: str
    name: str
    told_by: tuple[str, ...]
    streams: Mapping[str, Mapping[str, Any]]

    def keys_of(self, stream: str) -> dict[str, Any]:
        """The keys that hold for a stream.

        Raises:
            KeyError: the layout is of other streams.
        """
        return {key: dict(value) if isinstance(value, dict) else value for key, value in self.streams[stream].items()}


@cache
def layouts() -> dict[str, Layout]:
    """Every known layout by its key."""
    folder = files(_PACKAGE) / _FOLDER
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    return {(layout := _read(entry.name, entry.read_text("utf-8"))).key: layout for entry in found}


def layout_told_by(columns: Iterable[str]) -> Layout | None:
    """The layout whose columns are among these, the one with the most; None where there is none."""
    given = {folded(column) for column in columns}
    told = [layout for layout in layouts().values() if {folded(column) for column in layout.told_by} <= given]
    return max(told, key=lambda layout: len(layout.told_by), default=None)


def with_layout(block: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """A source's block with the keys of its layout where it says nothing; of `columns` each field by itself.

    Raises:
        KeyError: a column's name needs the block's currency, and it names none.
    """
    found = {key: value for key, value in keys.items() if key != "columns"} | {
        key: value for key, value in block.items() if key != "columns"
    }
    own = dict(block.get("columns") or {})
    said = {folded(str(field)) for field in own}
    columns = {field: column for field, column in keys.get("columns", {}).items() if folded(field) not in said}
    return found | {"columns": own | {field: _named(column, block) for field, column in columns.items()}}


def _named(column: str, block: Mapping[str, Any]) -> str:
    if _CURRENCY not in column:
        return column
    constants = {folded(str(field)): value for field, value in (block.get("constants") or {}).items()}
    return column.replace(_CURRENCY, str(constants["currency"]))


def _read(name: str, text: str) -> Layout:
    said = yaml.safe_load(text)
    return Layout(name.removesuffix(".yaml"), said["name"], tuple(map(str, said["told_by"])), said["streams"])
