"""Generates raw records of any declared stream from its contract, and rows of its tables.

Belongs here: values that fields accept, records with them, the two ways of reading a record. Does not belong here: the
checks (`declarations`).
"""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import pytest
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sqlalchemy import ARRAY, BigInteger, Boolean, DateTime, Integer, Numeric
from sqlalchemy.dialects.postgresql import JSONB

from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.contracts.contract import FieldShape, Shape
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.normalize.plain import PlainReader
from sync_pipelines.stages.normalize_export import ExportText, normalize
from sync_pipelines.tables.schema import SCHEMA, metadata

POOL: Final = (
    "A", "b", "1", "x y", " padded", "", 1, 2, 2.5, -33, True, False, "USD", "DKK", "DK", "2024-05-06T10:11:12Z",
    "ana@x.cl", ["A"], ["A", "B"],
)  # fmt: skip
"""Values for fields; each field uses those that its type accepts."""
Row = dict[str, Any]
_EFFECTIVE_AT: Final = datetime(2024, 5, 6, tzinfo=UTC)


def records_of(stream: Stream) -> st.SearchStrategy[Row]:
    """Generates records as in an export; some have an unknown field."""
    unknown = st.dictionaries(st.just("unknown"), st.sampled_from(POOL), max_size=1)
    return st.tuples(_objects(stream.shape, {stream.key}), st.one_of(st.just({}), st.just({}), unknown)).map(
        lambda both: both[0] | both[1]
    )


def _objects(shape: Shape, keys: frozenset[str] | set[str] = frozenset()) -> st.SearchStrategy[Row]:
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in shape.fields:
        is_required = field.column in keys or shape.contract.model_fields[field.column].is_required()
        (required if is_required else optional)[field.alias] = _values(shape, field)
    return st.fixed_dictionaries(required, optional=optional)


def _values(shape: Shape, field: FieldShape) -> st.SearchStrategy[Any]:
    if field.children is not None:
        return st.lists(_objects(field.children), max_size=3)
    words = [word for marker in field.metadata for word in getattr(marker, "_json_schema", {}).get("enum", ())]
    annotated: Any = Annotated[field.annotation, *field.metadata]
    accepts: TypeAdapter[Any] = TypeAdapter(annotated)
    known = [value for value in (*words[:6], *POOL) if _is_accepted(accepts, value)]
    aliases = st.sampled_from([*shape.aliases, "id", "code", "a"])
    objects = st.dictionaries(aliases, st.sampled_from(("1", 2, True, "A")), max_size=3)
    if _is_accepted(accepts, {"a": 1}):
        return st.one_of(objects, *([st.sampled_from(known)] if known else []))
    assert known, f"no value of POOL is one of {field.alias}; add one"
    return st.sampled_from(known)


def _is_accepted(accepts: TypeAdapter[Any], value: Any) -> bool:
    try:
        accepts.validate_python(value, context=Reading())
    except Exception:
        return False
    return True


def rows_of(stream: Stream) -> st.SearchStrategy[tuple[Row, dict[str, list[Row]]]]:
    """Generates rows of the stream's table as in the fold, and their lists, without nulls."""
    columns = st.fixed_dictionaries({}, optional={c: _stored(stream.table, c) for c in stream.written})
    lists = {child.table: st.lists(_elements(stream.shape, child), min_size=1, max_size=2) for child in stream.children}
    return st.tuples(columns, st.fixed_dictionaries({}, optional=lists))


def _elements(shape: Shape, declared: Children) -> st.SearchStrategy[Row]:
    inner = next(field.children for field in shape.nested if field.column == declared.column)
    assert inner is not None
    names = (*(field.column for field in inner.scalars), *inner.contract.derived)
    return st.fixed_dictionaries({}, optional={name: _stored(declared.table, name) for name in names})


def _stored(table: str, column: str) -> st.SearchStrategy[Any]:
    match metadata.tables[f"{SCHEMA}.{table}"].c[column].type:
        case Numeric():
            return st.sampled_from([Decimal(1), Decimal("2.5"), Decimal(-3)])
        case BigInteger() | Integer():
            return st.sampled_from([1, 2, 3])
        case Boolean():
            return st.booleans()
        case DateTime():
            return st.sampled_from([_EFFECTIVE_AT, datetime(2024, 1, 1, tzinfo=UTC)])
        case ARRAY():
            return st.sampled_from([[], ["A"], ["A", "B"]])
        case JSONB():
            return st.sampled_from([{}, {"a": 1}])
        case _:
            return st.sampled_from(["A", "B", ""])


def kept_of(stream: Stream, records: list[Row], folder: Path, *, by_block: bool) -> Any:
    """Returns the kept records and rejects of an export, read in blocks or record by record, and its counts."""
    with pytest.MonkeyPatch.context() as patch:
        if not by_block:
            patch.setattr(PlainReader, "is_able", property(lambda reader: False))
        kept = keep(stream, records, folder)
    summary = kept.summary
    counted = (summary.read, summary.rejected, summary.leniencies, summary.unknown_fields)
    return [block.to_pylist() for block in kept.blocks()], list(kept.rejects()), counted


def keep(stream: Stream, records: list[Row], folder: Path) -> KeptRecords:
    """Returns the kept records of an export of JSON Lines, in a new folder."""
    tenant = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
    folder.mkdir()
    listed = {"partner": stream.partner, "tenant": tenant, "streams": {stream.name: {}}}
    (folder / "sources.yaml").write_text(json.dumps({"sources": [listed]}))
    text = "\n".join(map(json.dumps, records)) + "\n"
    export = ExportText(
        stream=stream,
        settings=load_sources(folder / "sources.yaml").for_stream(stream.partner, tenant, stream.name),
        tenant=tenant,
        name="x.ndjson",
        content=lambda: io.BytesIO(text.encode()),
        effective_at=_EFFECTIVE_AT,
        window=DateWindow(date(2010, 1, 1), date(2030, 1, 1)),
    )
    return KeptRecords(folder, normalize(export, folder))
