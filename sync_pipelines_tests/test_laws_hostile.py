"""Law 4 against hostile bytes: no export keeps the ones beside it from loading, and each ends with a code of its own."""

from __future__ import annotations

import json

import pytest

from sync_pipelines import ledger, sync
from sync_pipelines.cli import cli
from sync_pipelines.errors import ExportError
from sync_pipelines.sync import load_export
from sync_pipelines_tests.loading import TENANT, Site, order

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
    site.put_at("traede/acme/customers/2024-06-02.json", [{"customer_number": "1"}])
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
    [entry] = sync.discover(workspace).pending
    monkeypatch.setattr(sync, "keep_records", unstorable)
    monkeypatch.setattr(ledger, "storable", str)
    failed = load_export(workspace, entry.id)
    assert (failed.status, failed.attempts) == ("failed", 1)
    assert failed.error is not None and failed.error.startswith("unforeseen: wrong_envelope, and DataError")


def test_unknown_fields_are_counted_under_names_that_can_be_stored(site: Site) -> None:
    site.load("2024-06-01.json", [order("A", **{"a\ud800": 1, "b\x00": 1}), order("B", fine=1)])
    [entry] = site.ledger()
    assert entry.status == "loaded"
    assert all(name.isprintable() for name in entry.unknown_fields)


def test_very_many_unknown_fields_are_counted_by_the_most_frequent(site: Site) -> None:
    records = [order(number, common=1, **{f"x{number}_{n}": n for n in range(200)}) for number in range(10)]
    entry = site.load("2024-06-01.json", records)
    assert len(entry.unknown_fields) == 1_000
    assert entry.unknown_fields["common"] == 10
