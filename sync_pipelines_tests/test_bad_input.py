"""Bad input of every kind, each a named case: what the ledger says, what is rejected, and that the neighbours load.

All cases lie in one landing beside a good export and are loaded by one sync: one bad file never stops its stream.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.commands.screen import json_of
from sync_pipelines.commands.sync import answer, exit_status
from sync_pipelines.contracts.codes import FILE_CODES, LENIENCY_CODES, REJECT_CODES
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.postgres import Database
from sync_pipelines.errors import DatabaseUnavailable
from sync_pipelines.stages.export_stages import discover, load_all, load_export
from sync_pipelines_tests.databases import TEMPLATE, make_database
from sync_pipelines_tests.loading import CASES, TENANT, Site, item, lines, order, outcomes

FOLDER = CASES / "bad_input"
DEEP = '{"a":' * 2_000 + "1" + "}" * 2_000
DIGITS = "7" * 5_000
GENERATED = {
    "ten_thousand_items.json": json.dumps([order("many", OrderItems=[item(f"p{n}", Price=n) for n in range(10_000)])]),
    "deep_unknown_field.json": f'[{{"OrderId":"deep","Currency":"USD","x":{DEEP}}},{json.dumps(order("good-1"))}]',
    "deep_line.ndjson": f'{lines(order("good-2"))}{{"OrderId":"deep","x":{DEEP}}}\n{lines(order("good-3"))}',
    "deep_element.json": f"[{DEEP},{json.dumps(order('good-4'))}]",
    "huge_number.json": f'[{{"OrderId":"h","Currency":"USD","TotalRevenue":{DIGITS}}},{json.dumps(order("good-5"))}]',
    "huge_unknown_number.json": f'[{{"OrderId":"good-6","Currency":"USD","x":{DIGITS}}}]',
    "a_megabyte_of_text.json": json.dumps([order("bad", Currency="x" * 1_000_000), order("good-7")]),
}


@dataclass(frozen=True)
class Landed:
    """What one sync of everything came to."""

    site: Site
    entries: dict[str, LedgerFile]
    rejects: dict[str, list[dict[str, Any]]]
    orders: dict[str | None, dict[str, Any]]


@pytest.fixture(scope="module")
def landed(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    for database in make_database(server, TEMPLATE):
        site = Site(tmp_path_factory.mktemp("bad"), database)
        for path in FOLDER.iterdir():
            site.put(path.name, path.read_bytes())
        for name, content in GENERATED.items():
            site.put(name, content)
        site.put("good.json", [order("neighbour", Email="a@b.c")])
        entries = {entry.path.rsplit("/", 1)[-1]: entry for entry in site.sync()}
        rejects: dict[str, list[dict[str, Any]]] = {name: [] for name in entries}
        for reject in site.rejects():
            rejects[reject["path"].rsplit("/", 1)[-1]].append(reject)
        orders = {key[2]: row for key, row in site.tables()["orders"].items()}
        yield Landed(site, entries, rejects, orders)


FAILED = {
    "empty.json": ("empty_file", ""),
    "empty.csv": ("empty_file", ""),
    "white_space.ndjson": ("empty_file", ""),
    "not_json.json": ("not_json", "line 1"),
    "cut_off_array.json": ("not_json", "line 3"),
    "truncated_gzip.json.gz": ("bad_compression", "byte "),
    "not_gzip.json.gz": ("bad_compression", ""),
    "wrong_envelope.json": ("wrong_envelope", "orders"),
    "scalar.json": ("wrong_envelope", ""),
    "latin1.json": ("bad_encoding", "byte 19"),
    "unknown_format.pdf": ("format_unknown", "pdf"),
    "header_twice.csv": ("bad_header", "line 1"),
}

CLEAN = {
    "empty_array.json": {},
    "header_only.csv": {},
    "bom.json": {"created": 1},
    "bom.csv": {"created": 1},
    "bom.ndjson": {"created": 1},
    "numbers_as_text.json": {"created": 1},
    "text_as_numbers.json": {"created": 1},
    "ten_thousand_items.json": {"created": 1},
    "huge_unknown_number.json": {"created": 1},
    "utf16.json": {"created": 1},
    "good.json": {"created": 1},
}

# name: (good records, [(position, code, field path), ...])
REJECTED: dict[str, tuple[int, list[tuple[str, str, str | None]]]] = {
    "half_a_line.ndjson": (1, [("2", "not_json", None)]),
    "damaged_line.ndjson": (2, [("2", "not_json", None)]),
    "half_a_line.csv": (1, [("3", "truncated_line", None)]),
    "latin1.csv": (0, [("2", "bad_encoding", None)]),
    "unclosed_quote.csv": (1, [("3", "bad_quotes", None)]),
    "unknown_currency.json": (1, [("1", "currency_unknown", "Currency")]),
    "too_long.json": (1, [("1", "too_long", "OrderId")]),
    "nan.json": (1, [("1", "not_finite", "TotalRevenue")]),
    "nul_character.json": (1, [("1", "nul_character", "OrderId")]),
    "nul_byte.ndjson": (1, [("2", "nul_character", None)]),
    "text_where_numbers_belong.json": (1, [("1", "not_a_number", "TotalQuantity")]),
    "lone_surrogate.json": (
        1,
        [("1", "invalid_text", "OrderId"), ("2", "invalid_text", "Note"), ("3", "invalid_text", None)],
    ),
    "not_objects.json": (1, [(str(n), "not_an_object", None) for n in range(1, 5)]),
    "deep_unknown_field.json": (1, [("1", "nesting_too_deep", None)]),
    "deep_line.ndjson": (2, [("2", "nesting_too_deep", None)]),
    "deep_element.json": (1, [("1", "nesting_too_deep", None)]),
    "huge_number.json": (1, [("1", "out_of_range", "TotalRevenue")]),
    "a_megabyte_of_text.json": (1, [("1", "currency_unknown", "Currency")]),
}


def test_every_case_has_its_expectation(landed: Landed) -> None:
    assert landed.entries.keys() == FAILED.keys() | CLEAN.keys() | REJECTED.keys()
    assert landed.orders["neighbour"]["customer_id"] is not None


@pytest.mark.parametrize("name", FAILED)
def test_X13_a_file_that_cannot_be_read_as_a_whole_fails(landed: Landed, name: str) -> None:
    code, words = FAILED[name]
    entry = landed.entries[name]
    assert (entry.status, entry.read, entry.attempts) == ("failed", 0, 1)
    assert entry.error is not None
    assert entry.error.startswith(f"{code}: ")
    assert words in entry.error
    assert code in FILE_CODES
    assert landed.rejects[name] == []
    assert landed.site.query("select count(*) as n from sync.orders where source_file = %s", [entry.path])[0]["n"] == 0


@pytest.mark.parametrize("name", CLEAN)
def test_X13_what_only_looks_bad_loads(landed: Landed, name: str) -> None:
    entry = landed.entries[name]
    assert (entry.status, entry.error, outcomes(entry)) == ("loaded", None, CLEAN[name])


@pytest.mark.parametrize("name", REJECTED)
def test_X13_one_bad_record_never_stops_its_neighbours(landed: Landed, name: str) -> None:
    good, expected = REJECTED[name]
    entry, rejects = landed.entries[name], landed.rejects[name]
    assert (entry.status, entry.error) == ("loaded", None)
    assert outcomes(entry) == ({"created": good} if good else {}) | {"rejected": len(expected)}
    assert entry.read == good + len(expected)
    assert [(r["position"], r["code"], r["field_path"] or None) for r in rejects] == expected
    assert all(r["message"] and len(r["message"]) < 500 and r["status"] == "open" for r in rejects)
    assert {r["code"] for r in rejects} <= REJECT_CODES.keys()


def test_the_offending_record_is_shown_as_it_was(landed: Landed) -> None:
    shown = {name: [r["record"] for r in rejects] for name, rejects in landed.rejects.items()}
    assert shown["half_a_line.ndjson"] == ['{"OrderId": "cut", "Curr']
    assert shown["half_a_line.csv"] == ["cut,US"]
    assert shown["nan.json"][0]["TotalRevenue"] == "NaN"
    assert shown["nul_character.json"][0]["OrderId"] == "b\\u0000ad"
    assert shown["lone_surrogate.json"][1]["Note"] == "x\\udfff"
    assert shown["huge_number.json"][0]["TotalRevenue"] == DIGITS
    assert shown["not_objects.json"] == [1, "x", None, []]
    assert len(json.dumps(shown["deep_line.ndjson"])) <= 120_000


def test_the_key_of_a_rejected_record_is_told_where_it_has_one(landed: Landed) -> None:
    keys = {name: [r["external_id"] for r in rejects] for name, rejects in landed.rejects.items()}
    assert (keys["unknown_currency.json"], keys["too_long.json"]) == (["bad"], ["x" * 101])
    assert keys["half_a_line.ndjson"] == [None]


def test_half_a_line_is_told_from_a_damaged_one(landed: Landed) -> None:
    (half,), (damaged,) = landed.rejects["half_a_line.ndjson"], landed.rejects["damaged_line.ndjson"]
    assert "the file ends in the middle of this line" in half["message"]
    assert "column 19" in damaged["message"]


def test_a_wrong_encoding_is_told_with_what_it_may_be(landed: Landed) -> None:
    assert "cp1252" in (landed.entries["latin1.json"].error or "")
    assert "cp1252" in landed.rejects["latin1.csv"][0]["message"]


def test_what_was_forgiven_is_counted(landed: Landed) -> None:
    text, numbers = landed.entries["numbers_as_text.json"], landed.entries["text_as_numbers.json"]
    assert (text.leniencies["number_from_text"], text.leniencies["boolean_from_text"]) == (2, 1)
    assert (numbers.leniencies["coerced_number_to_text"], numbers.leniencies["dropped_zero_decimals"]) == (4, 1)
    assert text.leniencies.keys() | numbers.leniencies.keys() <= LENIENCY_CODES.keys()
    assert landed.orders["17850"]["order_items"][0]["product_id"] == "1"


def test_ten_thousand_items_and_five_thousand_digits_are_all_there(landed: Landed) -> None:
    rows = landed.orders["many"]["order_items"]
    assert [row["line_no"] for row in rows] == list(range(1, 10_001))
    assert sum(row["price"] for row in rows) == sum(range(10_000))
    assert landed.orders["good-6"]["extra"] == {"x": Decimal(DIGITS)}


def test_names_of_landing_folders_that_are_no_tenants(site: Site) -> None:
    site.put("good.json", [order("A")])
    for tenant in ("acme", "7d444840", "ñandú"):
        site.put("bad.json", [order("B")], tenant=tenant)
    found = {entry.tenant: (entry.status, (entry.error or "").split(":")[0]) for entry in site.sync()}
    assert found == {TENANT: ("loaded", "")} | dict.fromkeys(
        ("acme", "7d444840", "ñandú"), ("failed", "tenant_invalid")
    )
    assert len(site.tables()["orders"]) == 1


@pytest.mark.parametrize("name", ["2009-12-31.json", "2999-01-01.json", "1900-01-01/a.json"])
def test_X4_a_date_out_of_range_fails_the_file(site: Site, name: str) -> None:
    entry = site.load(name, [order("A")])
    assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "date_out_of_range")
    assert site.tables()["orders"] == {}


def test_a_corrected_file_loads_and_its_failure_is_forgotten(site: Site) -> None:
    site.load("2024-05-01.json", "[")
    entry = site.load("2024-05-01.json", [order("A")])
    assert (entry.status, entry.error, entry.revision, entry.attempts) == ("loaded", None, 1, 1)
    assert site.sync() == []


def test_a_failed_file_is_tried_again_and_its_attempts_counted(site: Site) -> None:
    site.load("2024-05-01.json", "[")
    assert [(entry.status, entry.attempts) for entry in site.sync()] == [("failed", 2)]


# -- storage and database --------------------------------------------------------------------------------------


def test_a_file_that_vanishes_after_it_was_listed(site: Site) -> None:
    path = site.put("2024-05-01.json", [order("A")])
    site.put("2024-05-02.json", [order("B")])
    workspace = site.workspace()
    found = discover(workspace)
    path.unlink()
    entries = load_all(workspace, found.pending)
    assert [(e.status, (e.error or "").split(":")[0]) for e in entries] == [("failed", "file_vanished"), ("loaded", "")]


def test_a_file_that_leads_out_of_the_landing(site: Site) -> None:
    path = site.put("2024-05-01.json", "[]")
    path.unlink()
    path.symlink_to("/proc/self/environ")
    site.put("2024-05-02.json", [order("B")])
    entries = site.sync()
    assert {e.path.rsplit("/", 1)[-1]: (e.error or "").split(":")[0] for e in entries} == {
        "2024-05-01.json": "link_refused",
        "2024-05-02.json": "",
    }


def test_a_read_only_landing_is_enough(site: Site) -> None:
    site.put("2024-05-01.json", [order("A")])
    folders = [site.landing, *(path for path in site.landing.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        before = sorted(site.landing.rglob("*"))
        assert [entry.status for entry in site.sync()] == ["loaded"]
        assert sorted(site.landing.rglob("*")) == before
    finally:
        for folder in folders:
            folder.chmod(0o755)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.loading import Site
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
site = Site(Path(sys.argv[1]), Database(sys.argv[2]))
workspace = site.workspace()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
for entry in site.sync():
    print(entry.path.rsplit("/", 1)[-1], entry.status, (entry.error or "-").split(":")[0])
"""


NOISE = random.Random(5).randbytes(160_000).hex()
TOO_LARGE = {
    "raw bytes": [order(f"k{n}", Note=NOISE[n * 40 : n * 40 + 40]) for n in range(8_000)],
    "records": [order(f"k{n}", Email=f"{n}@x.y") for n in range(8_000)],
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_full_disk_fails_the_file_and_the_next_sync_loads_it(site: Site, what: str) -> None:
    site.put("2024-05-01.ndjson", lines(*TOO_LARGE[what]))
    site.put("2024-05-02.json", [order("small")])
    arguments = [sys.executable, "-c", FULL_DISK, str(site.folder), site.database.url, "50000"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["2024-05-01.ndjson failed storage_full", "2024-05-02.json loaded -"]
    assert list(site.tables()["orders"]) == [(TENANT, "replenit", "small")]
    archive = site.folder / "home" / "archive"
    assert [path for path in (*archive.glob("tmp/*"), *archive.glob("raw/incoming/*"))] == []
    assert {entry.status for entry in site.sync()} == {"loaded"}
    assert len(site.tables()["orders"]) == 8_001


def test_an_archive_that_cannot_be_written_fails_the_files(site: Site) -> None:
    site.put("2024-05-01.json", [order("A")])
    (site.folder / "home").mkdir()
    (site.folder / "home" / "archive").write_text("a file where a folder should be")
    (entry,) = site.sync()
    assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "storage_unwritable")
    (site.folder / "home" / "archive").unlink()
    assert [entry.status for entry in site.sync()] == ["loaded"]


def test_a_database_that_is_down_before_the_sync(tmp_path: Path) -> None:
    site = Site(tmp_path, Database("postgresql://someone:secret@127.0.0.1:9/nowhere?connect_timeout=2"))
    site.put("2024-05-01.json", [order("A")])
    with pytest.raises(DatabaseUnavailable) as raised:
        site.sync()
    assert "127.0.0.1:9" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert raised.value.hint


def test_a_database_that_goes_away_during_the_sync(site: Site, server: Database) -> None:
    site.put("2024-05-01.json", [order("A")])
    workspace = site.workspace()
    (entry,) = discover(workspace).pending
    name = site.database.url.split("?")[0].rsplit("/", 1)[-1]
    with server.connect(autocommit=True) as connection:
        connection.execute(f"alter database {name} with allow_connections false")
        with pytest.raises(DatabaseUnavailable):
            load_export(workspace, entry.id)
        connection.execute(f"alter database {name} with allow_connections true")
    assert [entry.status for entry in site.sync()] == ["loaded"]


def test_the_file_size_limit_of_this_process_is_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_what_sync_says_of_them_and_its_exit_status(landed: Landed) -> None:
    status_of = {
        names: exit_status([landed.entries[name] for name in names])
        for names in (tuple(FAILED), tuple(REJECTED), tuple(CLEAN), (*CLEAN, *REJECTED), (*REJECTED, *FAILED), ())
    }
    assert list(status_of.values()) == [4, 3, 0, 3, 4, 0]
    told = json.loads(json_of(answer(list(landed.entries.values()))))
    errors = {file["path"].rsplit("/", 1)[-1]: file["error"] for file in told["files"]}
    assert {name for name, error in errors.items() if error} == FAILED.keys()
    assert all(errors[name].startswith(f"{code}: ") for name, (code, _) in FAILED.items())
    assert told["totals"]["rejected"] == sum(len(expected) for _, expected in REJECTED.values())
