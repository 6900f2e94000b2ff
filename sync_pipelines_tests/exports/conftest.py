"""Reading an export in one line, from a case file or from bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.exports.formats import ReadSettings, read_export
from sync_pipelines.exports.tables import TableReading

CASES = Path(__file__).parents[1] / "cases" / "exports"

Read = Callable[..., list[RawRecord]]


@pytest.fixture
def read() -> Read:
    """Reads bytes under a name, or the case of that name; keywords are those of `ReadSettings` and `TableReading`."""

    def read_all(name: str, data: bytes | None = None, **settings: Any) -> list[RawRecord]:
        stream = io.BytesIO((CASES / name).read_bytes() if data is None else data)
        of_table = {key: settings.pop(key) for key in ("empty_is", "settings", "sought") if key in settings}
        return list(read_export(stream, name, ReadSettings(table=TableReading(**of_table), **settings)))

    return read_all
