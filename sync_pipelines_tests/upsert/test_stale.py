"""Late records that are told to be stale by presence masks alone change nothing of what the fold comes to (X5, X11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import hashes_of
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.partners import find_stream
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records
from sync_pipelines.upsert.fold import Rows, apply
from sync_pipelines.upsert.history import (
    Hashes,
    KnownExport,
    Mask,
    VersionedRecord,
    alone_rows,
    late_keys,
    newer_exports,
    versioned_records,
)
from sync_pipelines.upsert.stale import stale_rows as found_rows
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import call, lines
from sync_pipelines_tests.normalize.keeping_in import Keeping
from sync_pipelines_tests.test_laws import log_line
from sync_pipelines_tests.test_laws import record as order
from sync_pipelines_tests.test_laws_identity import (
    business,
    customer_call,
    merged,
    part_store,
    store_call,
    users,
    whole_store,
)
from sync_pipelines_tests.test_laws_identity import customer as member
from sync_pipelines_tests.test_laws_partners import commerce, customer

DAYS = [datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
peopled_store = st.builds(merged, whole_store, users)
STREAMS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "replenit/orders": st.one_of(order, order, log_line()),
    "reten/commerces": commerce,
    "nilo/stores": st.one_of(whole_store, whole_store, peopled_store, part_store, store_call()),
    "traede/customers": customer,
    "pocketflows/businesses": business,
    "pocketflows/customers": st.one_of(member, member, customer_call()),
}


def known(number: int, kept: KeptRecords, at: datetime) -> list[KnownExport]:
    """A loaded export with kept records, if it has any."""
    if kept.summary.window is None:
        return []
    empty = dict.fromkeys([field.name for field in fields(LedgerFile)])
    entry = LedgerFile(**{**empty, "id": number, "path": f"{number}.ndjson", "revision": 1, "effective_at": at})  # type: ignore[arg-type]
    return [KnownExport(entry, kept)]


def trail(stream: Stream, records: Sequence[VersionedRecord]) -> tuple[Rows, list[str | None]]:
    """The rows that records make, and what each is refused for."""
    rows: Rows = ()
    refusals: list[str | None] = []
    for record in sorted(records, key=lambda record: record.version):
        applied = apply(stream, rows, record.change)
        rows = applied.rows
        refusals.append(applied.rejection.code if applied.rejection else None)
    return rows, refusals


def are_same(rows: Rows, others: Rows) -> bool:
    """Whether rows are the same in any order."""
    return len(rows) == len(others) and all(row in others for row in rows)


def stale_rows(stream: Stream, mine: KnownExport, others: list[KnownExport]) -> Mask:
    """Which records of an export are told to be stale, asked as a load asks."""
    layout = layout_of(stream)
    applied = versioned_records(others, np.unique(np.concatenate([o.kept.keys.hashes for o in others])), layout)
    _, refusals = trail(stream, applied)
    refused = [s for s, code in zip(sorted(applied, key=lambda s: s.version), refusals, strict=True) if code]
    decided = np.array(sorted({h for s in refused for h in hashes_of(s.change)}), np.uint64)
    newer, alone = newer_exports(mine, others), alone_rows(mine, others, stream)

    def knowing(hashes: Hashes) -> list[KnownExport]:
        return [other for other in others if len(other.knows(hashes))]

    late = np.setdiff1d(late_keys(mine, knowing, newer, alone, layout), decided)
    return found_rows(stream, layout, mine, newer, mine.kept.rows_known_by(late) & alone, knowing)


def declared(name: str) -> Stream:
    found = find_stream(*name.split("/"))
    assert found is not None
    return found


@pytest.mark.parametrize("name", STREAMS)
@examples(60)
@given(data=st.data())
def test_stale_records_change_nothing(name: str, data: st.DataObject) -> None:
    stream, layout = declared(name), layout_of(declared(name))
    with TemporaryDirectory() as folder:
        keeping = Keeping(Path(folder) / "k", name)
        said: list[dict[str, Any]] = []
        exports: list[KnownExport] = []
        for number in range(data.draw(st.integers(2, 5))):
            records = st.one_of(STREAMS[name], st.sampled_from(said)) if said else STREAMS[name]
            entries = data.draw(st.lists(records, min_size=1, max_size=3))
            said += entries
            at = data.draw(st.sampled_from(DAYS))
            earlier = [export.kept for export in exports] if data.draw(st.booleans()) else []
            exports += known(number, keeping.keep(lines(*entries), earlier, at=at), at)
        if len(exports) < 2:
            return
        mine, others = exports[-1], exports[:-1]
        stale = stale_rows(stream, mine, others)
        applied = versioned_records(others, np.unique(np.concatenate([o.kept.keys.hashes for o in others])), layout)
        for record in versioned_records([mine], np.unique(mine.kept.keys.hashes), layout):
            without, refused = trail(stream, applied)
            applied.append(record)
            if not stale[record.version[3]]:
                continue
            rows, after = trail(stream, applied)
            assert are_same(rows, without), record
            assert Counter(after) == Counter([*refused, None])
            assert max(applied, key=lambda one: one.version) is not record


@pytest.mark.parametrize("name", BULK)
def test_a_late_list_with_a_few_changes_is_stale(tmp_path: Path, name: str) -> None:
    keeping = Keeping(tmp_path / "k", name)
    lists = [lines(*bulk_records(name, 200, changed=share)) for share in (0.0, 0.1, 0.2)]
    mine, *newer = [e for n, text in enumerate(lists) for e in known(n, keeping.keep(text, at=DAYS[n]), DAYS[n])]
    stale = stale_rows(declared(name), mine, newer)
    # Lists that are merged are overruled by equal ones alone.
    assert stale.sum() >= (200 if name != "reten/commerces" else 160)


@pytest.mark.parametrize("name", ["nilo/stores", "traede/customers"])
def test_lines_shared_with_newer_lists_are_compared_like_others(tmp_path: Path, name: str) -> None:
    keeping = Keeping(tmp_path / "k", name)
    oldest, *texts = [lines(*bulk_records(name, 200, changed=share)) for share in (0.0, 0.1, 0.2)]
    newer = [e for n, text in enumerate(texts, 1) for e in known(n, keeping.keep(text, at=DAYS[n]), DAYS[n])]
    apart = known(0, keeping.keep(oldest, at=DAYS[0]), DAYS[0])[0]
    shared = known(0, keeping.keep(oldest, [e.kept for e in newer], at=DAYS[0]), DAYS[0])[0]
    assert apart.kept.places is None
    assert shared.kept.places is not None
    for some in ([newer[0]], [newer[1]], newer):
        found = [stale_rows(declared(name), mine, some) for mine in (apart, shared)]
        assert (found[0] == found[1]).all()
        assert found[0].any()


def test_lines_that_the_next_list_repeats_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Keeping(tmp_path / "k", "nilo/stores")
    text = lines(*bulk_records("nilo/stores", 50))
    newer = known(1, keeping.keep(text, at=DAYS[1]), DAYS[1])
    mine = known(0, keeping.keep(text, [newer[0].kept], at=DAYS[0]), DAYS[0])[0]
    assert mine.kept.are_complete(np.arange(50), ["name", "store_addresses"]).all()
    assert not mine.kept.are_complete(np.arange(50), ["name", "store_users"]).any()
    monkeypatch.setattr(KeptRecords, "read_columns", None)
    assert stale_rows(declared("nilo/stores"), mine, newer).all()


def test_an_export_with_a_part_of_a_row_has_no_complete_records(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path / "k", "nilo/stores")
    store, *others = bulk_records("nilo/stores", 3)
    del store["addresses"]
    kept = keeping.keep(lines(store, *others))
    assert kept.count == 3
    assert kept.are_complete(np.arange(3), ["name"]).all()
    assert not kept.are_complete(np.arange(3), ["name", "store_addresses"]).any()
    logged = keeping.keep(lines(call(DAYS[0].isoformat(), "POST", "/store", others[0])), at=DAYS[0])
    assert logged.count == 1
    assert not logged.are_complete(np.arange(1), []).any()


def test_every_stream_is_tried() -> None:
    assert set(STREAMS) == set(BULK) | {"replenit/orders"}
