"""Raw bytes of exports, written again without erased people.

JSON, JSON Lines and CSV are rewritten, compressed or not. A record that is dropped leaves a marker or empty lines, so
the positions of the others stay (X14). The new bytes replace the old ones only if reading them gives the same records
as reading the old ones without the people. Bytes in another format are dropped.

Belongs here: bytes. Does not belong here: kept records (`upsert.erased_records`), which exports (`stages.erase`).
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, Final, cast

import msgspec
import psycopg
from backports import zstd

from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import COPIED, keep_copy
from sync_pipelines.errors import ArchiveIncomplete, SyncError
from sync_pipelines.exports.compression import compression_of, open_export, plain_name
from sync_pipelines.exports.parts import is_of_parts
from sync_pipelines.kept.kept_records import KeptRecords, remove_unnamed
from sync_pipelines.normalize.erasure import MARKER, Eraser
from sync_pipelines.normalize.values import to_json
from sync_pipelines.stages.archived import export_text, stream_of
from sync_pipelines.stages.normalize_export import normalize
from sync_pipelines.stages.workspace import Workspace

LARGEST: Final = 256 << 20
"""Bytes of the largest plain export that is rewritten; memory holds it a few times."""
_JSON: Final = (".json", ".jsonl", ".ndjson")
_CSV: Final = (".csv", ".tsv", ".txt")
_DELIMITERS: Final = ",;\t|"
_PACK: Final[dict[str, Callable[[bytes], bytes]]] = {
    ".gz": lambda plain: gzip.compress(plain, mtime=0),
    ".bz2": bz2.compress,
    ".zst": zstd.compress,
}
_SPACE: Final = re.compile(r"[\s,]*")

_SET_RAW: Final = (
    "update sync.export_files set raw_sha256 = %s where coalesce(raw_sha256, sha256) = %s"
    " and (partner, tenant, stream) = (%s, %s, %s) returning id, status"
)


class CannotRewrite(Exception):
    """Bytes cannot be rewritten; the message says why."""


def rewrite_bytes(workspace: Workspace, entry: LedgerFile, eraser: Eraser) -> str | None:
    """Stores an export's bytes again without erased people. Returns their hash, or None if nothing changes.

    Raises:
        CannotRewrite: the format does not allow it, or the result would be read differently.
        SyncError: the bytes are missing or damaged.
    """
    stream = stream_of(entry)
    settings = workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream)
    if is_of_parts(entry.path):
        raise CannotRewrite("an export of several parts")
    plain, name = _plain_bytes(workspace, entry, settings)
    suffix = compression_of(entry.path)
    if suffix is not None and suffix not in _PACK:
        raise CannotRewrite(f"a {suffix} file")
    form = f".{settings.format}" if settings.format else name[name.rfind(".") :].lower()
    if form in _JSON:
        rewritten = _json_without(plain, eraser)
    elif form in _CSV:
        rewritten = _csv_without(plain, eraser, settings, folds=stream.flat is not None)
    else:
        raise CannotRewrite(f"a {form} file")
    if rewritten == plain:
        return None
    packed = _PACK[suffix](rewritten) if suffix is not None else rewritten
    if not _reads_the_same(workspace, entry, packed):
        raise CannotRewrite("the rewritten export would be read differently")
    return workspace.archive.store(io.BytesIO(packed), entry.path).sha256


def rewrite_raw(
    workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, eraser: Eraser
) -> str | None:
    """Rewrites or drops an export's raw bytes; returns why they were dropped, or None.

    Other exports of the tenant's stream with the same bytes share the result. Bytes that another tenant has too stay.
    """
    assert entry.sha256 is not None
    why, rewritten = None, None
    try:
        rewritten = rewrite_bytes(workspace, entry, eraser)
        why = "what names the person is not in a record" if rewritten is None else None
    except CannotRewrite as error:
        why = str(error)
    except ArchiveIncomplete:
        return "the bytes were gone already"
    except SyncError as error:
        why = error.code
    former = entry.raw_sha256 or entry.sha256
    if rewritten is not None:
        rows = connection.execute(_SET_RAW, [rewritten, former, entry.partner, entry.tenant, entry.stream]).fetchall()
        keep_copy(connection, workspace.settings.archive, *(number for number, status in rows if status in COPIED))
    others = connection.execute(
        "select count(*) from sync.export_files where coalesce(raw_sha256, sha256) = %s"
        " and (partner, tenant, stream) <> (%s, %s, %s)",
        [former, entry.partner, entry.tenant, entry.stream],
    ).fetchone()
    if rewritten != former and others == (0,):
        workspace.archive.remove(former, unless_since=time.time() + 1, why="erased")
    return why


def _plain_bytes(workspace: Workspace, entry: LedgerFile, settings: StreamSettings) -> tuple[bytes, str]:
    archived = workspace.archive.read(entry.raw_sha256 or entry.sha256 or "")
    with archived.open() as content:
        opened, name = open_export(content, entry.path.rsplit("/", 1)[-1], member=settings.member)
        plain = opened.read(LARGEST + 1)
    if len(plain) > LARGEST:
        raise CannotRewrite(f"more than {LARGEST >> 20} MB")
    return plain, plain_name(name) if compression_of(name) else name


# -- JSON ------------------------------------------------------------------------------------------------------


def _json_without(plain: bytes, eraser: Eraser) -> bytes:
    """Rewrites the values of a document, or of an array; all other bytes stay."""
    text = _decoded(plain, "utf-8-sig")
    decoder = json.JSONDecoder(parse_float=_Exact, parse_int=_Exact)
    start = _SPACE.match(text)
    at = start.end() if start is not None else 0
    is_array = text[at : at + 1] == "["
    at += is_array
    pieces = [text[:at]]
    while at < len(text):
        gap = cast(re.Match[str], _SPACE.match(text, at)).end()
        pieces.append(text[at:gap])
        at = gap
        if at >= len(text):
            break
        if text[at] == "]":
            pieces.append(text[at:])
            break
        value, end = _value_at(decoder, text, at)
        pieces.append(_value_without(text[at:end], value, eraser))
        at = end
    return "".join(pieces).encode()


def _value_at(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:
    """Returns a value and its end; damaged JSON is the text up to the end of its line."""
    try:
        return decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        return text[at:end], end


def _value_without(text: str, value: Any, eraser: Eraser) -> str:
    cleaned = eraser.raw(value)
    if cleaned == value:
        if eraser.raw(text) == MARKER:
            raise CannotRewrite("a name appears twice in an object")
        return text
    return to_json(_numbers(cleaned)) + "\n" * text.count("\n")


class _Exact(str):
    """A number as its text."""


def _numbers(node: Any) -> Any:
    if isinstance(node, _Exact):
        return msgspec.Raw(node.encode())
    if isinstance(node, dict):
        return {name: _numbers(value) for name, value in node.items()}
    return [_numbers(value) for value in node] if isinstance(node, list) else node


# -- CSV -------------------------------------------------------------------------------------------------------


def _csv_without(plain: bytes, eraser: Eraser, settings: StreamSettings, *, folds: bool) -> bytes:
    """Empties the lines of dropped rows, and cells that name a person in others."""
    if settings.fill_down or settings.escape or (settings.quote or '"') != '"':
        raise CannotRewrite("a CSV with fill_down, escape or quote")
    encoding = settings.encoding or "utf-8-sig"
    text = _decoded(plain, encoding)
    lines = text.splitlines(keepends=True)
    delimiter = settings.delimiter or max(_DELIMITERS, key=(lines[0] if lines else "").count)
    rows = list(_rows(lines, delimiter))
    header_at = next((n for n, (_, _, cells) in enumerate(rows) if any(map(eraser.is_key, cells))), None)
    if header_at is None:
        raise CannotRewrite("a CSV without a header that names the key")
    header = rows[header_at][2]
    named = [[n for n, cell in enumerate(cells[: len(header)]) if eraser.cell(header[n], cell)] for _, _, cells in rows]
    owners = [n for n, name in enumerate(header) if eraser.owns(name)]
    keys = [n for n, name in enumerate(header) if eraser.is_key(name)]
    is_kept: dict[Any, bool] = {}
    for number in range(header_at + 1, len(rows)):
        cells, key = rows[number][2], _key_of(rows[number][2], keys) if folds else number
        owning = keys if eraser.deletes(dict(zip(header, cells, strict=False))) else owners
        for n in set(named[number]) & set(owning):
            is_kept[key] = is_kept.get(key, True) and eraser.keeps_orders(cells[n])
    for number in range(header_at + 1, len(rows)):
        first, last, cells = rows[number]
        keeps = is_kept.get(_key_of(cells, keys) if folds else number)
        if keeps is not None or named[number]:
            ends = ["\n" if line.endswith("\n") else "" for line in lines[first:last]]
            emptied = {*named[number], *(owners if keeps else ())}
            kept = "" if keeps is False else _row_without(cells, emptied, delimiter)
            lines[first:last] = [kept + ends[0], *ends[1:]]
    bom = "utf-8-sig" if plain.startswith(b"\xef\xbb\xbf") else encoding.replace("utf-8-sig", "utf-8")
    return "".join(lines).encode(bom)


def _rows(lines: list[str], delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yields first line, line after the last, and cells of each row."""
    reader, before = csv.reader(lines, delimiter=delimiter), 0
    try:
        for cells in reader:
            yield before, reader.line_num, cells
            before = reader.line_num
    except csv.Error as error:
        raise CannotRewrite("a CSV with wrong quotes") from error


def _key_of(cells: list[str], keys: list[int]) -> tuple[str, ...]:
    return tuple(cells[n].strip() for n in keys if n < len(cells))


def _row_without(cells: list[str], emptied: set[int], delimiter: str) -> str:
    written = io.StringIO()
    kept = ["" if number in emptied else cell for number, cell in enumerate(cells)]
    csv.writer(written, delimiter=delimiter, lineterminator="").writerow(kept)
    return written.getvalue()


def _decoded(plain: bytes, encoding: str) -> str:
    try:
        return plain.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise CannotRewrite(f"not {encoding}") from error


# -- proof -----------------------------------------------------------------------------------------------------


def _reads_the_same(workspace: Workspace, entry: LedgerFile, packed: bytes) -> bool:
    """Whether the new bytes by themselves give the records that the old ones give without the people."""
    archive = workspace.settings.archive
    written: list[str] = []
    try:
        before = export_text(workspace, entry)
        written.append(normalize(before, archive))
        after = replace(before, content=_opens(packed), verify=None)
        written.append(normalize(after, archive, erases=False))
        return _content(KeptRecords(archive, written[0])) == _content(KeptRecords(archive, written[1]))
    except SyncError:
        return False
    finally:
        for kept in written:
            remove_unnamed(archive, kept)


def _content(kept: KeptRecords) -> list[Any]:
    bits = sorted(kept.bits.items())
    # Messages of rejects that named the person are without their values.
    rejects = [(r["position"], r["code"], r["field_path"], to_json(r["record"])) for r in kept.rejects()]
    return [bits, *(block.to_pylist() for block in kept.blocks()), rejects]


def _opens(content: bytes) -> Callable[[], Any]:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield io.BytesIO(content)

    return opened
