"""A letter with an accent is the same whether it is written as one character or as two, as macOS does (NFD)."""

from __future__ import annotations

from datetime import datetime
from unicodedata import normalize

from sync_pipelines.exports.file_dates import effective_time_in
from sync_pipelines_tests.loading import Site

ROW = "external_id,name\n{},A\n"


def nfd(text: str) -> str:
    return normalize("NFD", text)


def test_tenants_paths_and_keys_are_compared_in_nfc(site: Site) -> None:
    (site.folder / "sources.yaml").write_text(
        "sources:\n- partner: reten\n  tenant: año\n  streams:\n    commerces:\n      path: Añadidos/*.csv\n"
    )
    site.put_at(nfd("reten/año/commerces/Añadidos/2024-01-01.csv"), ROW.format("ñ1").encode())
    site.put_at("reten/año/commerces/Añadidos/2024-01-02.csv", ROW.format(nfd("ñ1")).encode())
    assert [(entry.status, entry.tenant, entry.read) for entry in site.sync()] == [("loaded", "año", 1)] * 2
    assert [(tenant, key) for tenant, _, key in site.tables()["commerces"]] == [("año", "ñ1")]


def test_patterns_of_dates_are_compared_in_nfc() -> None:
    for path, pattern in ((nfd("año_05-01-2024.csv"), "año_%d-%m-%Y"), ("año_05-01-2024.csv", nfd("año_%d-%m-%Y"))):
        found = effective_time_in(path, pattern)
        assert found is not None and found.replace(tzinfo=None) == datetime(2024, 1, 5)
