"""Hostile exports, made of good ones: every format, compressed or not, of each stream, damaged in every way we know.

The same seed gives the same file. Belongs here: good exports and damage. Does not belong here: what must become of
them (`fuzz`).
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd
from openpyxl.utils.exceptions import IllegalCharacterError

from sync_pipelines.sample_data import write_sample

FORMS = ("json", "ndjson", "csv", "parquet", "xlsx")
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda plain: plain,
    ".gz": lambda plain: gzip.compress(plain, 1, mtime=0),
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".zip": lambda plain: zipped({"export": plain}),
}
RECORDS = 6

NASTY_BYTES = (
    b"\x00", b"\\u0000", b"\\ud800", b"\\udfaa", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80",
    b"\x1a", b"\r", b"\n", b"\r\n", b'"', b"'", b",", b";", b"\t", b"{", b"}", b"[", b"]", b":", b"\\", b"<", b"&#0;",
    b"_x0000_", b"NaN", b"Infinity", b"null", b"true", b"-0", b"1e400", b"1e999999999", b"1E-999999999", b"9" * 400,
    b"9" * 5000, b"0." + b"1" * 20_000, b"[" * 250, b'{"a":' * 250, b"[" * 20_000, b"0000-01-01",
    b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59.999999-14:00", b"10000-01-01", b"-1", b"18446744073709551616",
    b"x" * 70_000, "\u202e\u200b\ufeff".encode(), "\U0001f600".encode(), b"=1+1", b"%00", b"../../x",
)  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**30, 10**4200, 1.5, 1e308, 5e-324, float("nan"), float("-inf"),
    "", " ", "\x00", "a\x00b", "\ud800", "x\udfffy", "\ufeff", "NaN", "1e400", "9" * 5000, "0." + "1" * 20_000,
    "x" * 70_000, "0000-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "10000-01-01",
    "2024-02-30", "1.234,56", "1,234.56", "٣", "¹", "−5", "true", [], {}, [None], [[]], [{}], {"": ""}, {"\x00": 1},
    {"\ud800": {}}, [1, "a", None, {}], {"a": {"b": [{"c": "\ud800"}]}},
)  # fmt: skip


@dataclass(frozen=True)
class HostileFile:
    """An export to put down.

    Attributes:
        path: below the landing.
        content: its bytes.
        seed: gives it again.
    """

    path: str
    content: bytes
    seed: int


@dataclass(frozen=True)
class Source:
    """A stream with records as its partner sends them.

    Attributes:
        folder: below the landing.
        records: plain ones.
        documents: small files of the sample as they are: bodies, request logs.
    """

    folder: str
    records: list[dict[str, Any]]
    documents: list[tuple[str, bytes]]


@cache
def sources() -> tuple[Source, ...]:
    """The six streams."""
    found: dict[str, Source] = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in write_sample(Path(folder), days=3, orders=60).files:
            stream = "/".join(file.path.split("/")[:3])
            content = (Path(folder) / file.path).read_bytes()
            source = found.setdefault(stream, Source(stream, [], []))
            form = file.path.rsplit(".", 1)[1]
            if form == "json":
                _add_document(source, json.loads(content))
            elif form == "ndjson":
                some = content.splitlines(keepends=True)[:RECORDS]
                source.documents.append((form, b"".join(some)))
                if file.kind != "log" and len(source.records) < RECORDS:
                    source.records.extend(map(json.loads, some))
    return tuple(source for source in found.values() if source.records)


def _add_document(source: Source, document: Any) -> None:
    lists = [document] if isinstance(document, list) else [v for v in document.values() if isinstance(v, list)]
    for records in lists:
        del records[RECORDS:]
        if len(source.records) < RECORDS:
            source.records.extend(json.loads(json.dumps(records)))
    source.documents.append(("json", json.dumps(document).encode()))


def good_file(number: int, name: str) -> HostileFile:
    """An export of a stream that loads."""
    source = sources()[number % len(sources())]
    return HostileFile(f"{source.folder}/{name}.ndjson", _ndjson(source.records), number)


def hostile_file(seed: int, name: str) -> HostileFile:
    """A damaged export."""
    random = Random(seed)
    source = random.choice(sources())
    form, plain = _plain(random, source)
    if random.random() < 0.6:
        plain = _damaged_within(random, form, plain)
    suffix = random.choice(list(COMPRESSIONS))
    content = zipped({f"export.{form}": plain}) if suffix == ".zip" else COMPRESSIONS[suffix](plain)
    if random.random() < (0.15 if suffix or form in ("parquet", "xlsx") else 0.5):
        content = _damaged(random, content)
    if random.random() < 0.03:
        content = random.randbytes(random.randrange(200))
    if random.random() < 0.06:
        form = random.choice(FORMS)
    if random.random() < 0.04:
        suffix = random.choice(list(COMPRESSIONS))
    return HostileFile(f"{source.folder}/{name}.{form}{suffix}", content, seed)


def _plain(random: Random, source: Source) -> tuple[str, bytes]:
    """A format and an export in it; values in it may be nasty."""
    if random.random() < 0.2:
        return random.choice(source.documents)
    form = random.choice(FORMS)
    records = json.loads(json.dumps(source.records[: random.randrange(1, RECORDS + 1)]))
    for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
        _spoil(random, random.choice(records))
    try:
        return form, _ENCODE[form](records, random)
    except (pa.ArrowException, IllegalCharacterError, OverflowError, ValueError):
        # Not every format has a way to write every value.
        return "ndjson", _ndjson(records)


def _spoil(random: Random, value: Any) -> None:
    """Puts a nasty value, or name, somewhere into a record."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            return
        place = random.choice(places)
        inner = value[place]
        if isinstance(inner, dict | list) and inner and random.random() < 0.7:
            value = inner
            continue
        if isinstance(value, dict) and random.random() < 0.1:
            value[random.choice(("", "\x00", "\ud800", str(place).upper(), "x" * 5_000, "a.b[0]"))] = value.pop(place)
        else:
            value[place] = deepcopy(random.choice(NASTY_VALUES))
        return


# -- formats ---------------------------------------------------------------------------------------------------


def _ndjson(records: list[dict[str, Any]], random: Random | None = None) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _json(records: list[dict[str, Any]], random: Random) -> bytes:
    return json.dumps(random.choice((records, {"data": records}, records[0]))).encode()


def _csv(records: list[dict[str, Any]], random: Random) -> bytes:
    text = io.StringIO(newline="")
    columns = _columns(records)
    writer = csv.writer(text, delimiter=random.choice(",;\t|"))
    writer.writerow(columns)
    writer.writerows([_text(record.get(column)) for column in columns] for record in records)
    return text.getvalue().encode("utf-8", "surrogatepass")


def _columns(records: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _xlsx(records: list[dict[str, Any]], random: Random) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    columns = _columns(records)
    rows: list[list[Any]] = [columns, *([record.get(column) for column in columns] for record in records)]
    for row in rows:
        sheet.append([v if isinstance(v, bool | int | float | None) else _text(v)[:30_000] for v in row])
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def _parquet(records: list[dict[str, Any]], random: Random) -> bytes:
    columns: dict[str, pa.Array] = {}
    for name in _columns(records):
        values = [record.get(name) for record in records]
        columns[name.encode("utf-8", "replace").decode()] = _array(values)
        if random.random() < 0.15:
            columns[name.encode("utf-8", "replace").decode()] = _nasty_array(random, len(records))
    target = io.BytesIO()
    compression = random.choice(("none", "snappy", "gzip", "zstd", "brotli", "lz4"))
    version = random.choice(("1.0", "2.0"))
    pq.write_table(pa.table(columns), target, compression=compression, data_page_version=version, store_schema=False)
    return target.getvalue()


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError):
        return pa.array([None if v is None else ascii(v)[:30_000] for v in values])


def _nasty_array(random: Random, count: int) -> pa.Array:
    """A column no calendar, text or number of Python's holds, or of a type nobody expects."""
    far = [2**62, -(2**62), 0, None, 1, -1][:count]
    bad_text = [b"\xff\xfe", b"ok", b"\xed\xa0\x80", None, b"\x00", b""][:count]
    text_bytes = pa.array(bad_text, pa.binary())
    text = pa.Array.from_buffers(pa.utf8(), count, text_bytes.buffers())
    return random.choice(
        (
            lambda: pa.array(far, pa.int64()).view(pa.timestamp(random.choice(("us", "ms", "ns")))),
            lambda: pa.array(far, pa.int64()).view(pa.timestamp("us", "UTC")),
            lambda: pa.array([2**31 - 1, -(2**31), 0, None, 1, -1][:count], pa.int32()).view(pa.date32()),
            lambda: pa.array(far, pa.int64()).view(pa.duration("us")),
            lambda: pa.array([86_399_999_999, 0, 1, None, 5, 6][:count], pa.int64()).view(pa.time64("us")),
            lambda: pa.array([2**62, -5, 1, None, 5, 6][:count], pa.int64()).view(pa.time64("us")),
            lambda: text,
            lambda: pa.StructArray.from_arrays([text], ["x"]),
            lambda: pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), text),
            lambda: text_bytes,
            lambda: pa.array([2**64 - 1] * count, pa.uint64()),
            lambda: pa.array([float("nan"), float("inf"), -0.0, None, 1e-45, 3e38][:count], pa.float32()),
            lambda: pa.nulls(count),
            lambda: pa.array([[("k", 1), ("k", 2)]] * count, pa.map_(pa.string(), pa.int32())),
            lambda: pa.array([[[[["a"]]]]] * count),
            lambda: pa.array([timedelta(days=1)] * count),
            lambda: pa.array([10**75] * count, pa.decimal256(76, 0)),
        )
    )()


_ENCODE: dict[str, Callable[[list[dict[str, Any]], Random], bytes]] = {
    "json": _json,
    "ndjson": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
    "xlsx": _xlsx,
}


def zipped(parts: dict[str, bytes]) -> bytes:
    """A zip of parts by name."""
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


# -- damage ----------------------------------------------------------------------------------------------------


def _damaged_within(random: Random, form: str, plain: bytes) -> bytes:
    """Damage to the text itself; of a workbook to one of its parts, so that its sums still hold."""
    if form != "xlsx" or not plain or random.random() < 0.3:
        return _damaged(random, plain)
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(parts))
    parts[name] = _damaged(random, parts[name])
    if random.random() < 0.1:
        del parts[name]
    return zipped(parts)


def _damaged(random: Random, content: bytes) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        content = random.choice(_DAMAGES)(random, content)
    return content


def _flipped(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 10)) if content else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _span(random: Random, content: bytes) -> tuple[int, int]:
    first = random.randrange(len(content) + 1)
    return first, min(len(content), first + random.choice((1, 2, 8, 64, 512)))


def _shortened(random: Random, content: bytes) -> bytes:
    first, end = _span(random, content)
    return content[:first] + content[end:]


def _repeated(random: Random, content: bytes) -> bytes:
    first, end = _span(random, content)
    return content[:end] + content[first:end] * random.choice((1, 1, 3, 50)) + content[end:]


def _spliced(random: Random, content: bytes) -> bytes:
    _, other = random.choice(random.choice(sources()).documents)
    first, end = _span(random, other)
    place, _ = _span(random, content)
    return content[:place] + other[first:end] + content[place:]


def _poisoned(random: Random, content: bytes) -> bytes:
    first, end = _span(random, content)
    return content[:first] + random.choice(NASTY_BYTES) + content[first if random.random() < 0.7 else end :]


def _overwritten(random: Random, content: bytes) -> bytes:
    first, end = _span(random, content)
    return content[:first] + random.choice((b"\x00", b"\xff", b"9", b" ")) * (end - first) + content[end:]


def _renumbered(random: Random, content: bytes) -> bytes:
    """Another digit sequence in place of one that is there."""
    places = [place for place, byte in enumerate(content[:20_000]) if 48 <= byte <= 57]
    if not places:
        return content
    place = random.choice(places)
    return content[:place] + random.choice((b"9" * 19, b"-1", b"1e9", b"0", b"9" * 400)) + content[place + 1 :]


_DAMAGES = (_flipped, _flipped, _cut, _shortened, _repeated, _spliced, _poisoned, _poisoned, _overwritten, _renumbered)
