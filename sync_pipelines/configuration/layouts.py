"""Known layouts: how well-known systems name the columns of their exports.

Each is a file in `sync_pipelines/layouts` that follows the vendor's documentation:

    name        its name for users
    recognized_by     columns that identify it if a header has all of them
    streams     stream -> keys of `sources.yaml` that apply unless a source's own block sets them

`{Currency}` in a column's name is replaced by the currency in the block's `constants`.

Belongs here: reading those files, and adding a layout's keys to a block of `sources.yaml`. Does not belong here: what a
key means (`stream_settings`), errors in `sources.yaml` (`sources`).
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
        key: its name in the setting `layout`.
        name: its name for users.
        recognized_by: columns that identify it if a header has all of them.
        streams: `partner/stream` -> its keys, as in `sources.yaml`.
    """

    key: str
    name: str
    recognized_by: tuple[str, ...]
    streams: Mapping[str, Mapping[str, Any]]

    def keys_of(self, stream: str) -> dict[str, Any]:
        """Returns its keys for a stream.

        Raises:
            KeyError: the layout is for other streams.
        """
        return {key: dict(value) if isinstance(value, dict) else value for key, value in self.streams[stream].items()}


@cache
def layouts() -> dict[str, Layout]:
    """Returns key -> layout, for every known layout."""
    folder = files(_PACKAGE) / _FOLDER
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    return {(layout := _read(entry.name, entry.read_text("utf-8"))).key: layout for entry in found}


def recognized_layout(columns: Iterable[str]) -> Layout | None:
    """Returns the layout whose identifying columns are all among these; of several, the one with the most."""
    given = {folded(column) for column in columns}
    found = [layout for layout in layouts().values() if {folded(column) for column in layout.recognized_by} <= given]
    return max(found, key=lambda layout: len(layout.recognized_by), default=None)


def with_layout(block: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a source's block with the keys of its layout that it does not set itself. `columns` are merged by field.

    Raises:
        KeyError: a column's name needs a currency, and the block sets none.
    """
    found = {key: value for key, value in keys.items() if key != "columns"} | {
        key: value for key, value in block.items() if key != "columns"
    }
    own = dict(block.get("columns") or {})
    own_fields = {folded(str(field)) for field in own}
    columns = {field: column for field, column in keys.get("columns", {}).items() if folded(field) not in own_fields}
    return found | {"columns": own | {field: _named(column, block) for field, column in columns.items()}}


def _named(column: str, block: Mapping[str, Any]) -> str:
    if _CURRENCY not in column:
        return column
    constants = {folded(str(field)): value for field, value in (block.get("constants") or {}).items()}
    return column.replace(_CURRENCY, str(constants["currency"]))


def _read(name: str, text: str) -> Layout:
    found = yaml.safe_load(text)
    return Layout(name.removesuffix(".yaml"), found["name"], tuple(map(str, found["recognized_by"])), found["streams"])
