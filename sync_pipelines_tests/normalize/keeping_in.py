"""Exports of one stream normalized into an archive of a test's own, and everything that is kept of them.

Belongs here: what tests of kept records need. Does not belong here: assertions, strategies.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.partners import find_stream
from sync_pipelines.stages.normalize_export import ExportText, normalize
from sync_pipelines_tests.loading import TENANT

DAY = datetime(2024, 5, 6, tzinfo=UTC)


class Keeping:
    """An archive that keeps exports of one stream.

    Args:
        folder: holds the archive.
        stream: such as "nilo/stores".
    """

    def __init__(self, folder: Path, stream: str = "replenit/orders") -> None:
        folder.mkdir()
        self.archive = folder / "archive"
        self._sources = folder / "sources.yaml"
        self._partner, _, self._name = stream.partition("/")
        declared = find_stream(self._partner, self._name)
        assert declared is not None
        self._stream = declared

    def keep(
        self, text: str, earlier: Sequence[KeptRecords] = (), at: datetime = DAY, name: str = "x.ndjson", **options: Any
    ) -> KeptRecords:
        """Normalizes a text under some settings."""
        return self.keep_bytes(text.encode("utf-8", "surrogatepass"), earlier, at, name, **options)

    def keep_bytes(
        self,
        content: bytes,
        earlier: Sequence[KeptRecords] = (),
        at: datetime = DAY,
        name: str = "x.ndjson",
        **options: Any,
    ) -> KeptRecords:
        """Normalizes bytes under some settings."""
        tenant = TENANT if self._partner == "replenit" else "acme"
        source = {"partner": self._partner, "tenant": tenant, "streams": {self._name: options}}
        self._sources.write_text(json.dumps({"sources": [source]}))
        export = ExportText(
            stream=self._stream,
            settings=load_sources(self._sources).for_stream(self._partner, tenant, self._name),
            tenant=tenant,
            name=name,
            content=lambda: io.BytesIO(content),
            effective_at=at,
            window=DateWindow(date(2010, 1, 1), date(2030, 1, 1)),
        )
        return KeptRecords(self.archive, normalize(export, self.archive, earlier))


def sections_of(kept: KeptRecords) -> set[str]:
    """The names of the sections of kept records."""
    return set(kept._own.footer.sections)


def everything(kept: KeptRecords, some: Sequence[int] = (), columns: Sequence[str] | None = None) -> dict[str, Any]:
    """All that kept records tell, some rows and columns asked for by themselves too."""
    summary = asdict(kept.summary)
    for name in ("seconds", "referred", "complete"):
        del summary[name]
    rows = np.array(sorted(some), np.int64)
    whole = [block for _, block in kept.chosen(rows)]
    chosen = list(kept.chosen(rows, columns))
    keys = kept.keys
    return {
        "summary": summary,
        "blocks": [record for block in kept.blocks() for record in block.to_pylist()],
        "of some columns": [record for block in kept.blocks(columns) for record in block.to_pylist()],
        "chosen": [record for _, block in chosen for record in block.to_pylist()],
        "chosen rows": [row for found, _ in chosen for row in found.tolist()],
        "rows": ([record for block in whole for record in block.to_pylist()], [b.schema for b in whole][:1], kept.bits),
        # The order of rows that one hash stands for is nobody's.
        "keys": sorted(zip(keys.hashes.tolist(), keys.rows.tolist(), strict=True)),
        "hashes": keys.hashes.tolist(),
        "texts": None if kept.texts is None else kept.texts.tolist(),
        "noted": np.flatnonzero(kept.noted).tolist() if kept.noted is not None else [],
        "rejects": list(kept.rejects()),
    }
