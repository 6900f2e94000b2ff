"""`undo` and `redo` from the command line: what they print, and wrong input (U)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.postgres import Database
from sync_pipelines.stages import withdrawal
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.loading import TENANT, as_bytes, order

FOLDER = f"replenit/{TENANT}/orders"
RIGHT, WRONG = f"{FOLDER}/2024-03-01.json", f"{FOLDER}/2024-03-02.json"


@pytest.fixture(autouse=True)
def loaded(call: Call, landing: str) -> None:
    put(landing, RIGHT, [order("A", TotalQuantity=1, Email="ana@x.cl")])
    put(landing, WRONG, [order("A", TotalQuantity=2, Email="leo@x.cl"), order("B"), order("C", Currency="ZZZ")])
    assert call("sync").status == 3


def put(landing: str, path: str, content: Any, mtime: float = 1.7e9) -> Path:
    target = Path(landing, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(as_bytes(content))
    os.utime(target, (mtime, mtime))
    return target


def quantities(database: Database) -> dict[str, int]:
    with database.connect() as connection:
        return dict(connection.execute("select external_id, total_quantity from sync.orders").fetchall())


def test_preview_undo_redo(call: Call, landing: str, database: Database) -> None:
    preview = call("undo", WRONG, "--preview")
    assert preview.status == 0 and "Preview: nothing was changed." in preview.out
    lines = preview.out.splitlines()
    assert "  total_quantity: 2 -> 1" in lines[lines.index(f"updated orders {TENANT} A, by {RIGHT}") :]
    assert "leo@x.cl" not in preview.out and "leo@x.cl" in call("undo", WRONG, "--preview", "--unmasked").out
    assert quantities(database) == {"A": 2, "B": 1}

    done = call("undo", WRONG, "--reason", "a test", "--json")
    assert done.status == 0 and quantities(database) == {"A": 1}
    assert done.json["tables"]["orders"] == {"removed": 1, "to_placeholders": 0, "changed": 1, "created": 0}
    assert done.json["rejects_withdrawn"] == 1 and done.json["files"][0]["status"] == "withdrawn"
    changed = next(row for row in done.json["rows"] if row["key"] == "A")
    assert changed["last_word"] == RIGHT and changed["after"]["total_quantity"] == 1
    with database.connect() as connection:
        decided = connection.execute("select action, reason from sync.export_decisions").fetchall()
    assert decided == [("undo", "a test")]

    put(landing, WRONG, Path(landing, WRONG).read_bytes(), mtime=1.71e9)
    left = "Nothing to do: 1 export is withdrawn, and every other export in the landing is loaded."
    assert left in call("sync").out and left in call("sync", "--preview").out and quantities(database) == {"A": 1}
    assert call("redo", WRONG).status == 3 and quantities(database) == {"A": 2, "B": 1}


def test_a_preview_shows_rows_of_which_only_the_last_word_changes(call: Call, landing: str) -> None:
    again = f"{FOLDER}/2024-03-02_b.json"
    put(landing, again, Path(landing, WRONG).read_bytes())
    assert call("sync").status == 3
    preview = call("undo", WRONG, "--preview", "--json").json
    (only,) = [row for row in preview["rows"] if row["key"] == "B"]
    assert (only["before"], only["after"]) == ({"source_file": WRONG}, {"source_file": again})
    assert "source_file" in call("undo", WRONG, "--preview").out


def test_other_content_of_a_withdrawn_path_is_its_next_revision(call: Call, landing: str, database: Database) -> None:
    assert call("undo", WRONG, "--reason", "a test").status == 0
    put(landing, WRONG, [order("B", TotalQuantity=7)], mtime=1.72e9)
    assert call("sync").status == 0 and quantities(database) == {"A": 1, "B": 7}
    with database.connect() as connection:
        found = connection.execute(
            "select revision, status from sync.export_files where path = %s order by 1", [WRONG]
        ).fetchall()
    assert found == [(1, "withdrawn"), (2, "loaded")]
    assert call("redo", WRONG, "--revision", "1").status == 3
    assert quantities(database) == {"A": 2, "B": 7}


WRONG_INPUT: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("undo", WRONG), 2, "an undo needs a reason"),
    (("undo", WRONG, "--reason", " "), 2, "an undo needs a reason"),
    (("undo", f"{WRONG}x", "--reason", "r"), 2, f"did you mean {WRONG}"),
    (("undo", WRONG, "--reason", "r", "--revision", "2"), 2, "unknown revision 2"),
    (("undo", RIGHT, f"{WRONG}x", "--reason", "r"), 2, "unknown export"),
    (("redo", RIGHT), 1, f"{RIGHT} is loaded, not withdrawn"),
    (("redo",), 2, "PATH"),
)


def test_wrong_input(call: Call, database: Database) -> None:
    for arguments, status, why in WRONG_INPUT:
        done = call(*arguments)
        assert (done.status, done.out) == (status, "") and why in done.err and "Traceback" not in done.err
    assert quantities(database) == {"A": 2, "B": 1}


def test_what_is_not_loaded_cannot_be_undone(call: Call, landing: str) -> None:
    assert call("undo", WRONG, "--reason", "r").status == 0
    again = call("undo", WRONG, RIGHT, "--reason", "r")
    assert again.status == 1 and f"{WRONG} is already withdrawn" in again.err
    assert call("undo", RIGHT, "--preview").status == 0
    failed = f"{FOLDER}/2024-03-03.json"
    put(landing, failed, b"{")
    assert call("sync").status == 4
    assert f"{failed} is failed, not loaded" in call("undo", failed, "--reason", "r").err


def test_an_undo_waits_for_a_load_only_so_long(call: Call, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawal, "LOCK_SECONDS", 1)
    with database.connect() as loading:
        name = f"sync:orders/replenit/{TENANT}"
        loading.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        done = call("undo", WRONG, "--reason", "r")
    assert done.status == 1 and "exports of the same tenant are being loaded" in done.err
    assert quantities(database) == {"A": 2, "B": 1}
    assert call("undo", WRONG, "--reason", "r").status == 0


def test_kept_records_that_are_gone_are_rebuilt_from_raw_bytes_or_nothing_changes(
    call: Call, database: Database, settings: Settings
) -> None:
    records = settings.archive / "records"
    aside = settings.archive.parent / "aside"
    shutil.move(records, aside)
    shutil.move(settings.archive / "raw", settings.archive.parent / "raw")
    done = call("undo", WRONG, "--reason", "r")
    assert done.status == 1 and "archive" in done.err and "Traceback" not in done.err
    assert quantities(database) == {"A": 2, "B": 1}
    shutil.move(aside, records)
    assert call("undo", WRONG, "--reason", "r").status == 0
    assert quantities(database) == {"A": 1}
