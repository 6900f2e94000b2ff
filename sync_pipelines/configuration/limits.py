"""The limits of an export: bytes, columns, decoded pages, seconds, stored rejects.

A file above a limit fails with `too_large` before it exhausts memory or disk. `limits` of a stream in
`sources.yaml` changes them.

Belongs here: the limits, and counting against them. Does not belong here: limits of a format itself, such as the rows
of a sheet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from pydantic import BaseModel, ByteSize, ConfigDict, Field

from sync_pipelines.errors import ExportError

RATIO_FROM: Final = 64 << 20
"""Plain bytes below which no ratio of compression is too high: ordinary repetitive CSV shrinks a hundredfold."""


class Readable(Protocol):
    """The part of a stream's interface that reading needs."""

    def read(self, size: int = -1, /) -> bytes:
        """Returns at most `size` bytes; none at the end."""

    def close(self) -> None:
        """Closes it."""


class Limits(BaseModel):
    """The limits of one tenant's exports of one stream.

    Attributes:
        plain_bytes: bytes of a decompressed export; a number or a text such as `20GB`.
        compression_ratio: plain bytes for each compressed one, in exports of more than 64 MB.
        columns: columns of a flat file.
        column_bytes: decoded bytes of one column in one row group of a Parquet file.
        memory: bytes of memory for reading a Parquet file or a workbook.
        rejects: rejected records stored for an export; further ones are only counted.
        seconds: seconds for reading an export.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plain_bytes: ByteSize = Field(ByteSize(20 * 1000**3), gt=0)
    compression_ratio: int = Field(200, ge=1)
    columns: int = Field(16_384, ge=1)
    column_bytes: ByteSize = Field(ByteSize(1000**3), gt=0)
    memory: ByteSize = Field(ByteSize(2 * 1000**3), gt=0)
    rejects: int = Field(10_000, ge=0)
    seconds: float = Field(4 * 3600, gt=0)


def too_large(message: str, setting: str) -> ExportError:
    """Returns the error of an export above a limit."""
    hint = f"if that is expected, raise `limits: {{{setting}: ...}}` of this stream in sources.yaml"
    return ExportError("too_large", message, hint)


class Meter:
    """Counts what reading one export uses.

    Args:
        limits: the limits; the clock starts now.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._until = time.monotonic() + limits.seconds

    def check_time(self) -> None:
        """Raises `too_large` once reading takes too long."""
        if time.monotonic() > self._until:
            raise too_large(f"reading took more than {self.limits.seconds:,.0f} seconds", "seconds")

    def check_columns(self, count: int) -> None:
        """Raises `too_large` for a header of too many columns."""
        if count > self.limits.columns:
            raise too_large(f"the file has {count:,} columns, more than {self.limits.columns:,}", "columns")

    def check_bytes(self, plain: int, compressed: int | None = None) -> None:
        """Raises `too_large` for too many plain bytes, or too many for the compressed ones they came from."""
        if plain > self.limits.plain_bytes:
            shown = self.limits.plain_bytes.human_readable(decimal=True)
            raise too_large(f"the plain file is larger than {shown}", "plain_bytes")
        ratio = self.limits.compression_ratio
        if compressed is not None and plain > RATIO_FROM and plain > ratio * compressed:
            raise too_large(f"the file grows more than {ratio}-fold when it is decompressed", "compression_ratio")


class Metered:
    """Counts bytes as they are read.

    Args:
        plain: the bytes; closed with this object.
        meter: counts them.
        compressed: returns the number of compressed bytes read so far; None if nothing is compressed.
    """

    def __init__(self, plain: Readable, meter: Meter, compressed: Callable[[], int] | None = None) -> None:
        self._plain = plain
        self._meter = meter
        self._compressed = compressed
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        """Returns at most `size` bytes; none at the end.

        Raises:
            ExportError: `too_large`.
        """
        data = self._plain.read(size)
        self._count += len(data)
        self._meter.check_time()
        self._meter.check_bytes(self._count, None if self._compressed is None else self._compressed())
        return data

    def close(self) -> None:
        """Closes the bytes."""
        self._plain.close()
