"""Law 4 against hostile bytes: no export keeps the ones beside it from loading, and each ends with a code."""

from __future__ import annotations

import errno
import io
import json
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from sync_pipelines.cli import cli
from sync_pipelines.database import ledger_changes
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.formats import read_export
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.export_stages import load_export
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.fuzz import SETTINGS, Outcomes, sync_beside
from sync_pipelines_tests.hostile_files import FORMS, HostileFile, hostile_file, sources, zipped
from sync_pipelines_tests.loading import TENANT, Site, order

FILES_AT_ONCE = 40
UNSTORABLE = {
    f"replenit/{TENANT}/orders/2024-06-01.json": rb'{"\uDFAA":0}',
    f"replenit/{TENANT}/orders/2024-06-02.json": rb'{"a\u0000b":0}',
    f"replenit/{TENANT}/orders/2024-06-03.csv": b"a\x00b,a\x00b\n1,2\n",
    "traede/acme/customers/2024-06-01.json": rb'{"\ud800":[{"customer_number":"1"}]}',
}


def test_law_4_names_that_no_database_can_store_fail_their_own_files(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in site.settings.model_dump(exclude_none=True).items():
        if name in ("home", "database_url", "landing"):
            monkeypatch.setenv(f"SYNC_{name.upper()}", str(value))
    for path, content in UNSTORABLE.items():
        site.put_at(path, content)
    site.put("2024-06-01_neighbour.json", [order("A")])
    site.put("2024-06-09.json", [order("B")])
    site.put_at("traede/acme/customers/2024-06-02.json", [{"customer_number": "1", "name": "A", "currency": "USD"}])
    status = cli(["sync", "--json"], standalone_mode=False)
    files = {file["path"]: file for file in json.loads(capsys.readouterr().out)["files"]}
    codes = {path: (file["error"] or "loaded").split(":")[0] for path, file in files.items()}
    assert {codes.pop(path) for path in UNSTORABLE} == {"wrong_envelope", "bad_header"}
    assert set(codes.values()) == {"loaded"} and len(codes) == 3
    assert {entry.attempts for entry in site.ledger()} == {1}
    assert status == 4


def test_a_failure_that_cannot_be_noted_is_noted_as_such(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def unstorable(*_: object) -> None:
        error = ExportError("wrong_envelope", "")
        error.message = "\x00"
        raise error

    site.put("2024-06-01.json", [order("A")])
    workspace = site.workspace()
    [entry] = export_stages.discover(workspace).pending
    monkeypatch.setattr(export_stages, "archive_and_keep", unstorable)
    monkeypatch.setattr(ledger_changes, "storable", str)
    failed = load_export(workspace, entry.id)
    assert (failed.status, failed.attempts) == ("failed", 1)
    assert failed.error is not None and failed.error.startswith("unforeseen: wrong_envelope, and DataError")


def test_very_many_unknown_fields_are_counted_by_the_most_frequent(site: Site) -> None:
    records = [order(number, common=1, **{f"x{number}_{n}": n for n in range(200)}) for number in range(10)]
    entry = site.load("2024-06-01.json", records)
    assert len(entry.unknown_fields) == 1_000
    assert entry.unknown_fields["common"] == 10


@examples(5, skip_checks=HealthCheck)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=FILES_AT_ONCE, max_size=FILES_AT_ONCE, unique=True),
    st.sampled_from(SETTINGS),
)
def test_law_4_no_bytes_keep_a_neighbor_from_loading(
    fresh_site: Callable[[], Site], seeds: list[int], source: dict[str, Any]
) -> None:
    outcomes = Outcomes()
    sync_beside(fresh_site(), seeds, source, outcomes)
    assert [(file.seed, file.path, why) for file, why in outcomes.broken] == []
    assert outcomes.counts.total() == len(seeds)


def test_the_hostile_files_are_of_every_stream_format_and_compression() -> None:
    kinds = {(file.path.split("/")[0::2][0], *file.path.split(".", 1)[1].split(".")) for file in some_files(1_500)}
    partners = {"replenit", "traede", "reten", "nilo", "pocketflows"}
    assert kinds >= {(partner, form) for partner in partners for form in FORMS}
    assert {kind[2] for kind in kinds if len(kind) > 2} == {"gz", "zst", "bz2", "zip"}
    assert len(sources()) == 6


def some_files(count: int) -> list[HostileFile]:
    return [hostile_file(seed, f"2024-06-02_{seed}") for seed in range(count)]


def test_values_of_parquet_that_python_cannot_hold_refuse_their_records(site: Site) -> None:
    text = pa.array([b"fine", b"\xff", b"fine", b"fine"], pa.binary())
    table = pa.table(
        {
            "OrderId": ["A", "B", "C", "D"],
            "Currency": ["USD"] * 4,
            "note": pa.Array.from_buffers(pa.utf8(), 4, text.buffers()),
            "nested": pa.StructArray.from_arrays([pa.Array.from_buffers(pa.utf8(), 4, text.buffers())], ["x"]),
            "at": pa.array([0, 0, 2**62, 0], pa.int64()).view(pa.timestamp("us")),
            "day": pa.array([0, 0, 0, 2**31 - 1], pa.int32()).view(pa.date32()),
        }
    )
    target = io.BytesIO()
    pq.write_table(table, target)
    entry = site.load("2024-06-01.parquet", target.getvalue())
    assert (entry.status, entry.created) == ("loaded", 1)
    found = [(reject["position"], reject["code"], reject["message"]) for reject in site.rejects()]
    assert found == [
        ("2", "invalid_text", "the text in 'nested' is not UTF-8"),
        ("3", "out_of_range", "the time in 'at' is not in the years 1 to 9999"),
        ("4", "out_of_range", "the time in 'day' is not in the years 1 to 9999"),
    ]


@pytest.mark.parametrize("fraction", ["1" * 1_000_000, "0" * 16_001 + "1"])
def test_a_million_decimals_refuse_their_record_quickly(site: Site, fraction: str) -> None:
    started = time.monotonic()
    entry = site.load(
        "2024-06-01.json", f'[{{"OrderId":"1","Currency":"EUR","zzz":0.{fraction}}},{json.dumps(order(2))}]'
    )
    assert time.monotonic() - started < 5
    assert (entry.status, entry.created, entry.rejected) == ("loaded", 1, 1)
    assert [(reject["code"], reject["field_path"]) for reject in site.rejects()] == [("out_of_range", "zzz")]


@pytest.mark.parametrize("place", range(4, 46, 2))
def test_a_damaged_zip_is_damaged_and_no_fault_of_the_disk(site: Site, place: int) -> None:
    whole = zipped({"export.json": json.dumps([order("A")]).encode()})
    end = len(whole) - 22 - 46 - len("export.json")
    damaged = bytearray(whole)
    damaged[end + place] ^= 0xFF
    error = site.load("2024-06-01.json.zip", bytes(damaged)).error
    assert error is None or error.startswith("bad_compression: ")


def test_a_disk_that_cannot_be_read_is_no_damage() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise OSError(errno.EIO, "no luck")

    for name in ("export.json.gz", "export.zip", "export.xlsx", "export.parquet", "export.csv"):
        with pytest.raises(ExportError) as caught:
            list(read_export(io.BufferedReader(Broken()), name))
        assert caught.value.code == "file_unreadable"
