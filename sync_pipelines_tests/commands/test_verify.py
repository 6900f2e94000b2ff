"""`verify` from the command line: differences, repairs, a lost database, damage, and wrong usage."""

from __future__ import annotations

import shutil

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.databases import empty_tables
from sync_pipelines_tests.loading import TENANT, Site, order


@pytest.fixture
def loaded(site: Site) -> Site:
    """A site with two loaded exports, whose landing is away since."""
    site.sources()
    site.load("2024-05-01.json", [order("A", Email="ana.rios@x.cl", TotalRevenue=5), {"Currency": "USD"}])
    site.load("2024-05-02.json", [order("B", TotalRevenue=7)])
    shutil.rmtree(site.landing)
    return site


def test_a_changed_cell_and_a_changed_ledger_row_are_listed_and_repaired(
    call: Call, loaded: Site, settings: Settings
) -> None:
    before = loaded.tables(), loaded.ledger()
    with loaded.database.connect(autocommit=True) as connection:
        connection.execute("update sync.orders set email = 'eva.soto@y.cl', total_revenue = 6 where external_id = 'A'")
        connection.execute("update sync.export_files set lines = 77 where path like '%05-02.json'")
    done = call("verify")
    assert done.status == 1 and "verify --repair" in done.err
    assert "77" in done.out and "total_revenue" in done.out and "eva.soto" not in done.out + done.err
    shown = call("verify", "--json", "--unmasked").json
    assert {d["column"]: (d["stored"], d["archive"]) for d in shown["tables"]["differences"]} == {
        "email": ("eva.soto@y.cl", "ana.rios@x.cl"),
        "total_revenue": (6, 5),
    }
    assert [(d["column"], d["stored"], d["archive"]) for d in shown["ledger"]["differences"]] == [("lines", 77, None)]
    assert "verify" in (settings.logs / "unmasked.log").read_text()
    repaired = call("verify", "--repair")
    assert repaired.status == 0 and "1 export repaired" in repaired.out and "2 differences repaired" in repaired.out
    assert (loaded.tables(), loaded.ledger()) == before
    assert call("verify").status == 0


def test_a_lost_database_is_said_by_every_command_and_rebuilt_by_one(call: Call, loaded: Site) -> None:
    before = loaded.tables(), [(e.path, e.counts, e.loaded_at) for e in loaded.ledger()]
    empty_tables(loaded.database)
    for command in ("sync", "status", "check"):
        done = call(command)
        assert done.status == 1 and "verify --repair" in done.out + done.err, command
    path, as_of = before[1][0][0], ("sql", "--as-of", "2024-03-02", "select count(*) from sync.orders")
    asked = (("undo", path, "--reason", "x"), ("redo", path), ("release", path, "--reason", "x"), ("outcomes", path))
    for arguments in (*asked, ("explain", "orders", TENANT, "A"), as_of):
        done = call(*arguments)
        assert done.status == 1 and "verify --repair" in done.err, arguments
    assert call("status", "--json").json["ledger_lost"]
    assert loaded.ledger() == []
    assert call("verify").status == 1
    assert "2 exports from the archive" in call("verify", "--repair").out
    assert (loaded.tables(), [(e.path, e.counts, e.loaded_at) for e in loaded.ledger()]) == before


def test_lost_records_are_said_by_path_and_their_stream_is_not_loaded(call: Call, loaded: Site) -> None:
    before = loaded.tables()
    archive = loaded.settings.archive
    first, second = loaded.ledger()
    assert first.kept is not None and first.sha256 is not None
    (archive / first.kept.split(":")[0]).rename(archive / "kept")
    raw = next((archive / "raw" / first.sha256[:2]).iterdir())
    raw.rename(archive / "bytes")
    empty_tables(loaded.database)
    done = call("verify", "--repair")
    assert done.status == 1 and f"NOT rebuilt: {first.path}" in done.out and "1 other export" in done.out
    assert loaded.tables()["orders"] == {}
    assert [entry.status for entry in loaded.ledger()] == ["loaded", "failed"]
    late = loaded.load("2024-05-03.json", [order("C")])
    assert (late.error or "").startswith("archive_incomplete")
    (archive / "kept").rename(archive / first.kept.split(":")[0])
    (archive / "bytes").rename(raw)
    assert call("verify", "--repair").status == 0
    assert loaded.tables() == before and second.path == loaded.ledger()[1].path


def test_damage_is_listed_with_its_exports_and_mended(call: Call, loaded: Site) -> None:
    assert call("verify", "--archive").status == 0
    entry = loaded.ledger()[0]
    assert entry.kept is not None
    path = loaded.settings.archive / entry.kept.split(":")[0]
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    done = call("verify", "--archive")
    assert done.status == 1 and path.name in done.out and entry.path in done.out
    (damage,) = call("verify", "--archive", "--repair", "--json").json["damages"]
    assert damage["is_mended"] and damage["exports"] == [entry.path]
    assert call("verify", "--archive").status == 0 and call("verify").status == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tenant", TENANT[:-1] + "e"), f"did you mean {TENANT}"),
        (("--stream", "order"), "unknown stream"),
        (("--archive", "--tenant", TENANT), "leave out"),
    ],
)
def test_wrong_usage_changes_nothing(call: Call, loaded: Site, options: tuple[str, ...], message: str) -> None:
    done = call("verify", "--repair", *options)
    assert done.status == 2 and message in done.err


def test_a_name_that_another_partner_has_is_unknown_of_this_one(call: Call, loaded: Site) -> None:
    stream = call("verify", "--partner", "replenit", "--stream", "stores")
    assert stream.status == 2 and "unknown stream 'stores' of replenit" in stream.err
    tenant = call("verify", "--stream", "nilo/stores", "--tenant", TENANT)
    assert tenant.status == 2 and f"unknown tenant '{TENANT}' of nilo/stores" in tenant.err
