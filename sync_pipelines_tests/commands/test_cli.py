"""The command line: names, exit statuses, what goes to which stream, and what a fault looks like."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from sync_pipelines.command_line import program
from sync_pipelines.commands.screen import json_of
from sync_pipelines.configuration.settings import Settings, variable_of
from sync_pipelines.partners import STREAMS
from sync_pipelines.sample_data import sample_sources
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.exports_in import OTHER, TENANT, order, put

COUNTS = ["read", "created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected"]


def shell(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sync_pipelines", *arguments]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['sync-pipelines', 'sync', '--help']\n"
        "from sync_pipelines import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pandas', 'pyarrow', 'dagster', 'sqlalchemy', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_sync_prints_one_json_object_of_what_it_handled(call: Call, landing: str) -> None:
    path = put(landing, "2010-12-01.json", [order("A"), order("B"), order("C", Currency="XXXX")])
    done = call("sync", "--json")
    assert done.status == 3
    (file,) = done.json["files"]
    assert list(file) == ["partner", "tenant", "stream", "path", "status", "effective_at", *COUNTS, "error"]
    assert (file["path"], file["tenant"], file["status"]) == (path, TENANT, "loaded")
    assert (file["effective_at"], file["error"]) == ("2010-12-01T00:00:00+00:00", None)
    assert done.json["totals"] == {**dict.fromkeys(COUNTS, 0), "read": 3, "created": 2, "rejected": 1}
    assert "loaded" in done.err


def test_a_second_sync_handles_nothing(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    assert call("sync", "--json").status == 0
    done = call("sync", "--json")
    assert done.status == 0
    assert done.json == {"files": [], "totals": dict.fromkeys(COUNTS, 0)}
    assert "Nothing to do: every export in the landing is loaded." in call("sync").out
    put(landing, "2010-12-02.json", [order("B")])
    assert "Nothing to do: whatever the landing has of these is loaded." in call("sync", "--to", "2010-12-01").out


def test_a_landing_that_is_a_file_is_status_1(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SYNC_LANDING", str(tmp_path / "file"))
    done = call("sync", "--json")
    assert (done.status, done.out) == (1, "")
    assert "the landing cannot be read" in done.err


def test_a_failed_file_is_status_4_and_tried_again(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", "not json")
    put(landing, "2010-12-02.json", [order("A"), order("")])
    first = call("sync", "--json")
    assert first.status == 4
    assert [f["status"] for f in first.json["files"]] == ["failed", "loaded"]
    assert first.json["files"][0]["error"].startswith("not_json: ")
    assert [f["status"] for f in call("sync", "--json").json["files"]] == ["failed"]
    put(landing, "2010-12-01.json", [order("B")], age=60)
    assert call("sync").status == 0


def test_a_table_of_what_happened(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", "not json")
    put(landing, "2010-12-02.json", [order("A"), order("")])
    done = call("sync")
    assert "replenit/orders" in done.out
    assert "not_json" in done.out
    assert "sync-pipelines rejects list" in done.out


def test_a_preview_says_why_records_would_be_rejected_and_which_rows_would_change(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    call("sync")
    path = put(landing, "2010-12-02.json", [order("A", Currency="USD"), order("B"), order("C", Currency="XXXX")])
    done = call("sync", "--preview")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert (
        f"replenit/orders currency_unknown 1 {path} at 3: Currency: 'XXXX' is not an ISO 4217 code, got \"XXXX\""
        in lines
    )
    at = lines.index(f"updated replenit/orders {TENANT} A, by {path}")
    assert lines[at + 1 : at + 3] == ["currency: EUR -> USD", f"created replenit/orders {TENANT} B, by {path}"]
    created = lines[at + 3]
    assert '"email": "***@example.com"' in created or '"email": "a***@example.com"' in created
    assert "ana@example.com" not in done.out + done.err
    assert lines[-1] == "This was a preview: nothing was loaded."
    assert list(call("sync", "--preview", "--json").json) == ["files", "totals"]


def test_a_tenant_that_is_none_fails_its_files(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("A")], tenant="acme")
    done = call("sync", "--json")
    assert done.status == 4
    error = done.json["files"][0]["error"]
    assert error.startswith("tenant_invalid: 'acme' is not a tenant id of replenit; its tenant ids are GUIDs (")
    assert "POST /orders/<GUID>" in error


@pytest.mark.parametrize(
    ("options", "loaded"),
    [
        (["--tenant", OTHER.upper()], ["2010-12-02.json"]),
        (["--from", "2010-12-02"], ["2010-12-02.json", "2010-12-03.json"]),
        (["--to", "2010-12-01"], ["2010-12-01.json"]),
        (["--from", "2010-12-02", "--to", "2010-12-02", "--stream", "replenit/orders"], ["2010-12-02.json"]),
        (["--partner", "replenit", "--stream", "orders", "--tenant", TENANT], ["2010-12-01.json", "2010-12-03.json"]),
    ],
)
def test_a_sync_of_a_part(call: Call, landing: str, options: list[str], loaded: list[str]) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", [order("B")], tenant=OTHER)
    put(landing, "2010-12-03.json", [order("C")])
    done = call("sync", "--json", *options)
    assert [f["path"].rsplit("/", 1)[-1] for f in done.json["files"]] == loaded
    assert done.status == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sync", "--partner", "replenti"], "did you mean replenit?"),
        (["sync", "--stream", "ordres"], "did you mean orders?"),
        (["sync", "--from", "yesterday"], "--from"),
        (["sync", "--from", "2010-12-02", "--to", "2010-12-01"], "is later than"),
        (["sink"], "No such command"),
        (["rejects", "show", "7"], "there is no rejected record 7"),
        (["rejects", "show", "x"], "not a valid integer"),
        (["sql", "selec 1"], "syntax error"),
        (["sql", "select * from nowhere"], "does not exist"),
        (["sql", "delete from sync.orders"], "read-only"),
        (["sql", ""], "returns no rows"),
        (["sample", "s3://bucket/x"], "not a local folder"),
        (["sample", "--until", "2999-01-01"], "is not over yet"),
        (["up", "--port", "0"], "--port"),
    ],
)
def test_wrong_usage_is_status_2_and_a_sentence(call: Call, arguments: list[str], says: str) -> None:
    done = call(*arguments)
    assert done.status == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    # What it says to try works as typed.
    assert "Try '" not in done.err or f"Try '{program()} " in done.err


def test_a_broken_sources_file_is_status_2_with_line_and_key(call: Call, settings: Settings) -> None:
    settings.sources.write_text("sources:\n  - partner: replenit\n    tennant: x\n")
    done = call("sync", "--json")
    assert done.status == 2
    assert "sources.yaml line 3, sources[0].tennant: unknown key; did you mean tenant?" in done.err
    assert done.out == ""


def test_a_wrong_setting_is_status_2(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_FIRST_DATE", "soon")
    done = call("status")
    assert done.status == 2
    assert "SYNC_FIRST_DATE=soon" in done.err
    monkeypatch.setenv("SYNC_FIRST_DATE", "2999-01-01")
    assert "SYNC_FIRST_DATE=2999-01-01: the first partition cannot be in the future" in call("status").err


@pytest.mark.parametrize(
    "command", [["sync"], ["sync", "--json"], ["status"], ["sql", "select 1"], ["rejects", "list"]]
)
def test_a_database_that_is_down_is_status_1_and_a_sentence(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("SYNC_DATABASE_URL", "postgresql://ana:s3cret@127.0.0.1:1/db")
    done = call(*command)
    assert done.status == 1
    assert "PostgreSQL at 127.0.0.1:1, database db: Connection refused" in done.err
    assert "hint: start the server" in done.err
    assert "s3cret" not in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_what_nobody_foresaw_is_one_line_and_a_trace_in_a_file(
    call: Call, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero\nand more")

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", broken)
    done = call("sync")
    assert done.status == 1
    assert done.err.startswith("error: ZeroDivisionError: division by zero; the full trace is in ")
    assert done.err.count("\n") == 1
    (trace,) = settings.logs.glob("cli-*.txt")
    assert "in broken" in trace.read_text()


def test_up_with_a_home_that_is_no_folder_is_status_2(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SYNC_HOME", str(tmp_path / "file"))
    done = call("up")
    assert done.status == 2
    assert f"SYNC_HOME={tmp_path / 'file'} cannot be used: Not a directory" in done.err


DAGSTERS_INTERRUPT = import_module("dagster._core.errors").DagsterExecutionInterruptedError


@pytest.mark.parametrize("error", [KeyboardInterrupt, DAGSTERS_INTERRUPT])
def test_an_interrupt_is_no_trace(call: Call, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def interrupted(*_: object) -> None:
        raise error

    monkeypatch.setattr("sync_pipelines.stages.export_stages.discover", interrupted)
    done = call("sync")
    assert done.status == 130
    assert done.err.strip() == "interrupted; the next sync continues"


RULE = "1 of 1 records would be rejected (guard rejected, every record)"


def test_a_held_export_is_released_with_a_reason(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    held = put(landing, "2010-12-02.json", [order("B", Currency="XXXX")])
    previewed = call("sync", "--preview")
    assert (previewed.status, RULE in previewed.out, "file that would be held" in previewed.out) == (5, True, True)
    synced = call("sync", "--json")
    assert synced.status == 5
    (file,) = [one for one in synced.json["files"] if one["path"] == held]
    assert (file["status"], file["read"], file["error"]) == ("held", 0, f"held: {RULE}")
    assert file["held"]["counts"]["rejected"] == 1
    assert file["held"]["rejects"][0]["code"] == "currency_unknown"
    assert "Nothing to do: 1 export is held, and every other export in the landing is loaded." in call("sync").out
    for arguments, says in {
        (held,): "Missing option '--reason'",
        (held, "--reason", " "): "a release needs a reason",
        ("2010-12-02.json", "--reason", "x"): f"did you mean {held}?",
        (held, "--reason", "x", "--revision", "2"): "unknown revision 2",
        (held.replace("02.json", "01.json"), held, "--reason", "x"): "01.json is not held: it is loaded",
    }.items():
        wrong = call("release", *arguments)
        assert (wrong.status, says in wrong.err) == (2, True), wrong
    assert call("status", "--json").json["held_count"] == 1
    released = call("release", held, "--reason", "ana@example.com said so")
    assert (released.status, "currency_unknown" in call("rejects", "list").out) == (3, True)
    decided = call("sql", "--format", "json", "select action, reason from sync.export_decisions").json
    assert decided == [{"action": "release", "reason": "a***@example.com said so"}]
    assert call("status", "--json").json["held_count"] == 0


def test_a_file_that_failed_counts_more_than_one_that_is_held(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("B", Currency="XXXX")])
    put(landing, "2010-12-02.json", "not json")
    assert call("sync").status == 4


def test_status_shows_each_stream_and_the_exports_that_need_a_person(call: Call, landing: str) -> None:
    held = put(landing, "2010-11-30.json", [order("")])
    put(landing, "2010-12-01.json", [order("A"), order("")])
    put(landing, "2010-12-02.json", "not json")
    call("sync")
    (stream,) = [s for s in call("status", "--json").json["streams"] if s["stream"] == "orders"]
    assert (stream["pending"], stream["loaded"], stream["failed"], stream["held"]) == (0, 1, 1, 1)
    assert (stream["rows"], stream["open_rejects"]) == (1, 1)
    assert stream["last_sync"].endswith("+00:00")
    assert stream["oldest_pending"] is not None
    assert "replenit/orders" in call("status").out
    assert stream["undated"] == 0
    told = call("status").out
    assert "no date" not in told
    first, second = told.splitlines()[:2]
    assert first == f"1 export is held, and not loaded. The latest: {held}: {RULE}."
    assert f"{held}: 1 x key_missing, such as at 1: OrderId" in told and f"release {held} --reason" in told
    assert second == "1 export failed; nothing of it is loaded."
    assert f"replenit/{TENANT}/orders/2010-12-02.json" in told and "not_json: " in told
    put(landing, "2010-11-30.json", [order("C")], age=60)
    for number in range(3, 10):
        put(landing, f"2010-12-{number:02}.json", "not json")
    assert call("sync").status == 4
    answer = call("status", "--json").json
    assert (answer["failed_count"], answer["held_count"]) == (8, 0)
    (failed,) = [file for file in answer["failed_files"] if file["path"].endswith("2010-12-02.json")]
    assert (failed["attempts"], failed["is_set_aside"], failed["error"][:9]) == (2, False, "not_json:")
    told = call("status").out
    assert "8 exports failed" in told.splitlines()[0]
    assert "and 3 more: " in told


def test_status_and_check_say_which_exports_have_no_date_of_their_own(
    call: Call, settings: Settings, landing: str
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "ventas_02-12-2010.json", [order("B")])
    call("sync")
    (stream,) = [s for s in call("status", "--json").json["streams"] if s["stream"] == "orders"]
    assert stream["undated"] == 1
    assert "replenit/orders: 1 file has no date in the path" in call("status").out
    told = (
        f"NOTE   landing: replenit/{TENANT}/orders: 1 export has no date in the path, such as ventas_02-12-2010.json,"
    )
    assert told in call("check").out
    streams = {"orders": {"file_date": "ventas_%d-%m-%Y"}}
    settings.sources.write_text(
        json.dumps({"sources": [{"partner": "replenit", "tenant": TENANT, "streams": streams}]})
    )
    assert "such as 2010-12-01.json" in call("check").out


def test_rejects_are_listed_and_shown(call: Call, landing: str) -> None:
    name = f"{'a-long-folder/' * 10}2010-12-01.json"
    path = put(landing, name, [order("A"), order("B", Currency="XXXX", TotalRevenue=1.10)])
    call("sync")
    listed = call("rejects", "list", "--json").json
    assert listed["total"] == 1
    (reject,) = listed["rejects"]
    assert (reject["path"], reject["position"], reject["code"]) == (path, "2", "currency_unknown")
    shown = call("rejects", "show", str(reject["id"]), "--json").json
    assert shown["record"]["Currency"] == "XXXX"
    assert "currency_unknown" in call("rejects", "list", "--code", "currency_unknown").out
    assert path in call("rejects", "list").out
    assert "No rejected records" in call("rejects", "list", "--status", "resolved").out
    assert '"Currency": "XXXX"' in call("rejects", "show", str(reject["id"])).out


def test_F20_show_has_every_fault(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("B"), order("A", Currency="XXXX", TotalQuantity="few", Email=True)])
    call("sync")
    (reject,) = call("rejects", "list", "--json").json["rejects"]
    assert [(fault["code"], fault["path"]) for fault in reject["faults"]] == [
        ("not_text", "Email"),
        ("not_a_number", "TotalQuantity"),
        ("currency_unknown", "Currency"),
    ]
    shown = call("rejects", "show", str(reject["id"])).out
    assert "not_a_number" in shown and "'XXXX' is not an ISO 4217 code" in shown
    assert "(and 2 more in this record)" in call("rejects", "list").out


def test_sql_as_json_keeps_digits_and_times(call: Call) -> None:
    query = (
        "select 1.10::numeric as n, 12345678901234567890123.4500::numeric as big,"
        " timestamptz '2010-12-01 02:00+02' as t,"
        " date '2010-12-01' as d, true as b, null as nothing, '{\"a\": 1.10}'::jsonb as j, array['x', null] as l,"
        " 'ñ\"' as s, 'NaN'::numeric as nan, 1.5::float8 as f"
    )
    done = call("sql", query, "--format", "json")
    assert '"n": 1.10' in done.out
    assert '"big": 12345678901234567890123.4500' in done.out
    assert '{"a": 1.10}' in done.out
    (row,) = done.json
    assert row["t"] == "2010-12-01T00:00:00+00:00"
    assert (row["d"], row["b"], row["nothing"], row["l"]) == ("2010-12-01", True, None, ["x", None])
    assert (row["s"], row["nan"], row["f"]) == ('ñ"', "NaN", 1.5)


def test_sql_as_csv_and_table(call: Call) -> None:
    query = "select n, n * 1000 as thousand, 'a,\"b\"' as text from generate_series(1, 2) n"
    rows = list(csv.reader(io.StringIO(call("sql", query, "--format", "csv").out)))
    assert rows == [["n", "thousand", "text"], ["1", "1000", 'a,"b"'], ["2", "2000", 'a,"b"']]
    table = call("sql", query).out
    assert "2000" in table
    assert "(2 rows)" in table
    assert call("sql", "select 1 where false", "--format", "json").json == []


def test_sql_never_writes(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    call("sync")
    for query in ("delete from sync.orders", "commit; delete from sync.orders", "select 1; select 2"):
        done = call("sql", query)
        assert (done.status, done.out) == (2, "")
    assert call("sql", "select count(*) as n from sync.orders;", "--format", "json").json == [{"n": 1}]


def test_check_lists_every_setting_and_no_secret(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_LANDING_TIMEOUT", "7")
    monkeypatch.setenv("SYNC_SFTP_PASSWORD", "opensesame")
    monkeypatch.setenv("SYNC_ALERT_WEBHOOK", "https://hooks.example.com/opensesame")
    lines = [line for line in call("check").out.splitlines() if "settings: SYNC_" in line]
    assert [line.split()[2] for line in lines] == [variable_of(name) for name in Settings.model_fields]
    said = {line.split()[2]: line.partition(" = ")[2] for line in lines}
    assert (said["SYNC_LANDING_TIMEOUT"], said["SYNC_SFTP_PASSWORD"]) == ("7.0 (environment)", "*** (environment)")
    assert "opensesame" not in "".join(lines)


def test_check_says_where_each_setting_comes_from_and_names_unknown_ones(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SYNC_KEEP_RUNS_DAYS=90\nsync_landing_timeout=9\nSYNC_LANDING_TIMEOT=7\nOTHER=1\n")
    monkeypatch.setenv("SYNC_LANDING_TIMEOUT", "")
    monkeypatch.setenv("SYNC_DB_URL", "postgresql://ana:s3cret@db/x")
    done = call("check")
    assert done.status == 0
    for told in (
        "ok     settings: SYNC_KEEP_RUNS_DAYS = 90 (.env)",
        "ok     settings: SYNC_LANDING_TIMEOUT = 9.0 (.env)",
        "ok     settings: SYNC_SFTP_KEY_FILE = the SSH agent's keys and those in ~/.ssh (default)",
        "NOTE   settings: unknown setting SYNC_DB_URL in the environment; did you mean SYNC_DATABASE_URL?",
        "NOTE   settings: unknown setting SYNC_LANDING_TIMEOT in .env; did you mean SYNC_LANDING_TIMEOUT?",
    ):
        assert told in done.out.splitlines()
    assert done.out.count("unknown setting") == 2
    assert f"SYNC_HOME = {tmp_path / 'home'} (environment)" in done.out
    assert "s3cret" not in done.out + done.err


def test_what_no_stream_takes_is_listed_by_sync_status_and_check(call: Call, landing: str) -> None:
    put(landing, "2010-12-01.cvs", [order("A")])
    folder = Path(landing) / "replenit" / TENANT / "Orders"
    folder.mkdir()
    (folder / "2010-12-02.json").write_text("[]")
    first = call("sync")
    assert first.status == 4
    assert "did you mean .csv? known formats are" in first.out
    told = f"replenit/{TENANT}/Orders  is not a stream of replenit  did you mean orders?"
    assert told in first.out
    wrong = {"path": f"replenit/{TENANT}/Orders", "why": "is not a stream of replenit", "hint": "did you mean orders?"}
    assert call("sync", "--json").json["misplaced"] == [wrong]
    assert call("sync", "--preview", "--json").json["misplaced"] == [wrong]
    found = call("status", "--json").json
    assert [one["path"][-8:] for one in found["misplaced"]] == ["2/Orders", "2-01.cvs"]
    assert found["misplaced_count"] == 2
    assert "did you mean orders?" in call("status").out
    done = call("check")
    assert f"NOTE   landing: replenit/{TENANT}/Orders is not a stream of replenit; nothing in it is loaded" in done.out
    assert "2010-12-01.cvs has an unknown file extension; nothing in it is loaded; did you mean .csv?" in done.out


def test_nothing_to_do_still_lists_what_no_stream_takes(call: Call, landing: str) -> None:
    for number in range(25):
        file = Path(landing) / f"orders_{number:02}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    done = call("sync")
    assert done.status == 0
    assert "Nothing to do" in done.out
    assert "move it to replenit/<tenant>/orders/orders_00.csv" in done.out
    assert "and 5 more files and folders that belong to no stream" in done.out


def test_status_answers_where_the_landing_does_not(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SYNC_LANDING", str(tmp_path / "file"))
    done = call("status")
    assert done.status == 0
    assert "replenit/orders" in done.out
    assert "the landing could not be read: the landing cannot be read" in done.out


def test_check_says_what_is_well_and_what_is_not(call: Call, settings: Settings, landing: str) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    (Path(landing) / "replenit" / TENANT / "ordrs").mkdir()
    done = call("check")
    assert done.status == 0
    assert "SYNC_LANDING = " in done.out
    assert f"replenit/{TENANT}/orders: 1 export\n" in done.out
    assert f"NOTE   landing: replenit/{TENANT}/ordrs is not a stream" in done.out
    settings.sources.write_text("sources: 7\n")
    done = call("check")
    assert done.status == 2
    assert "ERROR  sources: sources.yaml line 1" in done.out
    assert "database: PostgreSQL" in done.out
    assert done.out.count("sources.yaml line 1") == 1


def test_sample_fills_an_empty_landing_once(call: Call, landing: str) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    done = call("sample", "--days", "2", "--orders", "20", "--if-empty")
    assert done.status == 0
    assert f"sample exports of {yesterday - timedelta(days=1)} to {yesterday} " in done.out
    assert call("sample", "--if-empty").out == ""
    assert call("sync", "--partner", "replenit").status in (0, 3)


def test_sample_in_the_landing_brings_its_sources_file_unless_there_is_one(call: Call, settings: Settings) -> None:
    done = call("sample", "--days", "1", "--orders", "2")
    assert str(settings.sources) in done.err
    assert settings.sources.read_text() == sample_sources()
    settings.sources.write_text("sources: []\n")
    assert "was not changed" in call("sample", "--days", "1", "--orders", "2").err
    assert settings.sources.read_text() == "sources: []\n"


def test_sample_elsewhere_brings_its_sources_file_on_request(call: Call, settings: Settings, tmp_path: Path) -> None:
    dest, sources = tmp_path / "dest", tmp_path / "own.yaml"
    small = ("sample", str(dest), "--days", "1", "--orders", "2", "--until", "2026-06-30")
    assert "--sources" in call(*small).err
    assert not settings.sources.exists() and {path.name for path in dest.iterdir()} == {s.partner for s in STREAMS}
    assert "of 2026-06-30 to 2026-06-30 " in call(*small, "--sources", str(sources)).out
    assert sources.read_text() == sample_sources()
    sources.write_text("# mine\n")
    assert call(*small, "--sources", str(sources)).status == 2
    assert sources.read_text() == "# mine\n"


def test_a_reader_that_leaves_early_is_no_fault(settings: Settings) -> None:
    command = (
        f"{sys.executable} -m sync_pipelines sql 'select * from generate_series(1, 100000)' --format csv | head -1"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "SYNC_HOME": str(settings.home),
        "SYNC_DATABASE_URL": str(settings.database_url),
    }
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout == "generate_series\n"
    assert done.stderr == ""


def test_dagster_never_speaks_on_standard_output(settings: Settings) -> None:
    put(settings.landing, "2010-12-01.json", [order("A")])
    put(settings.landing, "2010-12-02.json", "not json")
    done = shell(["sync", "--json"], SYNC_HOME=str(settings.home), SYNC_DATABASE_URL=str(settings.database_url))
    assert done.returncode == 4
    assert [f["status"] for f in json.loads(done.stdout)["files"]] == ["loaded", "failed"]
    assert "dagster" not in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert done.stderr.count("not_json") == 1


def test_json_of_what_json_has_no_number_for() -> None:
    assert json_of({"a": [float("inf"), b"\x01", {"b": ()}]}) == '{"a": ["inf", "\\\\x01", {"b": []}]}'
