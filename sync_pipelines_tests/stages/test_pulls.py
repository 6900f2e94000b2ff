"""Pulls from the partner's server to the tables, through the stages and the command line (N11)."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pytest

from sync_pipelines import cli
from sync_pipelines.database.ledger import COUNTS
from sync_pipelines.exports.landing import Landing
from sync_pipelines.partners.nilo import STORES
from sync_pipelines.stages import pulls
from sync_pipelines.stages.export_stages import discover
from sync_pipelines_tests.listing_server import (
    ENVIRONMENT,
    KEY,
    TOKEN,
    Answer,
    Partner,
    pull_of,
    served,
    store,
    stores,
    write_sources,
)
from sync_pipelines_tests.loading import Site

NAME = re.compile(r"nilo/acme/stores/(\d{4}-\d\d-\d\d)/stores_(\1T\d{6})(_\d+)?\.json")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def partner() -> Iterator[Partner]:
    with served() as running:
        yield running


@pytest.fixture
def pulled(site: Site, partner: Partner) -> Site:
    """A site whose `nilo/acme` is pulled from the partner."""
    write_sources(site.folder / "sources.yaml", pull_of(partner))
    return site


class Shell:
    """The command line in this process, on a site."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd
        monkeypatch.setenv("SYNC_HOME", str(site.settings.home))
        monkeypatch.setenv("SYNC_DATABASE_URL", str(site.settings.database_url))
        monkeypatch.setenv("SYNC_LANDING", site.settings.landing)
        monkeypatch.setenv("SYNC_SOURCES", str(site.settings.sources))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["sync-pipelines", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = self._capfd.readouterr()
        assert KEY not in printed.out + printed.err and TOKEN not in printed.out + printed.err
        return int(left.value.code or 0), printed.out, printed.err

    def sync(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        status, out, _ = self("sync", "--json", *arguments)
        return status, json.loads(out)


@pytest.fixture
def shell(pulled: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(pulled, monkeypatch, capfd)


def landed(site: Site) -> list[str]:
    """Every file below the landing, temporary ones too."""
    return sorted(str(p.relative_to(site.landing)) for p in site.landing.rglob("*") if p.is_file())


def names(site: Site) -> list[Any]:
    return [row["external_id"] for row in site.query("select external_id from sync.live_stores order by 1")]


# -- the stage -----------------------------------------------------------------------------------------------------


def test_N11_a_pull_is_one_export_that_says_when_it_began(pulled: Site, partner: Partner) -> None:
    partner.list(stores(1, 70))
    before = datetime.now(UTC).replace(microsecond=0)
    (done,) = pulls.pull(pulled.workspace(), STORES)
    assert done.error is None and done.records == 70
    assert landed(pulled) == [done.path]
    match = NAME.fullmatch(done.path)
    assert match
    (entry,) = discover(pulled.workspace()).pending
    assert entry.effective_at == datetime.strptime(match[2], "%Y-%m-%dT%H%M%S").replace(tzinfo=UTC)
    assert before <= entry.effective_at <= datetime.now(UTC)


def test_N11_a_pull_that_stops_half_way_leaves_nothing_and_the_next_completes(pulled: Site, partner: Partner) -> None:
    partner.list(stores(1, 120))
    partner.answers = [None, None, Answer({"message": "no"}, 401)]
    (failed,) = pulls.pull(pulled.workspace(), STORES)
    assert failed.error is not None and failed.error.startswith("pull_refused: page 3 ")
    assert NAME.fullmatch(failed.path)
    assert landed(pulled) == [] and discover(pulled.workspace()).pending == []
    pulls.pull(pulled.workspace(), STORES)
    assert [e.status for e in pulled.sync()] == ["loaded"]
    assert len(names(pulled)) == 120


def test_N11_the_export_shows_only_when_it_is_complete(pulled: Site, partner: Partner) -> None:
    seen: list[list[str]] = []
    partner.on_ask = lambda: seen.append(landed(pulled))
    partner.list(stores(1, 120))
    pulls.pull(pulled.workspace(), STORES)
    assert seen == [[], [], []]


def test_N11_one_tenant_does_not_stop_another(site: Site, partner: Partner) -> None:
    write_sources(
        site.folder / "sources.yaml", pull_of(partner, api_key={"env": "NOT_SET"}), pull_of(partner, enabled=True)
    )
    partner.list(stores(1, 2))
    first, second = pulls.pull(site.workspace(), STORES)
    assert first.tenant == "acme" and first.error is not None
    assert first.error.startswith("secret_missing: the environment variable NOT_SET is not set")
    assert (second.tenant, second.error) == ("globex", None)
    assert [p.tenant for p in pulls.pull(site.workspace(), STORES, ["globex"])] == ["globex"]


def test_N11_two_pulls_in_one_second_are_two_exports(pulled: Site, partner: Partner) -> None:
    partner.list(stores(1, 3))
    workspace = pulled.workspace()
    paths: list[str] = []
    threads = [
        threading.Thread(target=lambda: paths.extend(p.path for p in pulls.pull(workspace, STORES))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 8 and sorted(paths) == landed(pulled)
    assert all(NAME.fullmatch(path) for path in paths)


def test_N11_a_landing_that_cannot_be_written_fails_the_pull(pulled: Site, partner: Partner) -> None:
    partner.list(stores(1, 3))
    pulled.landing.mkdir(exist_ok=True)
    (pulled.landing / "nilo").write_text("no folder")
    (failed,) = pulls.pull(pulled.workspace(), STORES)
    assert failed.error is not None and failed.error.startswith("landing_unwritable: ")


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_N11_a_landing_never_overwrites_and_leaves_no_temporary_name(tmp_path: Path, kind: str) -> None:
    url = str(tmp_path / "landing") if kind == "local" else f"memory://N11-{tmp_path.name}"
    landing = Landing(url)
    made = []
    for content in (b"[1]", b"[2]"):
        with (tmp_path / "content").open("wb+") as spool:
            spool.write(content)
            made.append(landing.publish("nilo/t/stores/2026-01-01/a_2026-01-01T000000.json", spool))
    assert made == [f"nilo/t/stores/2026-01-01/a_2026-01-01T000000{n}.json" for n in ("", "_2")]
    assert [f.path for f in landing.list("nilo", "stores")] == made
    for path, content in zip(made, (b"[1]", b"[2]"), strict=True):
        with landing.open(path) as stored:
            assert stored.read() == content
    storage, root = fsspec.core.url_to_fs(url)
    assert len(storage.find(root)) == 2
    storage.rm(root, recursive=True)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_N11_a_write_that_breaks_off_leaves_nothing(tmp_path: Path, kind: str) -> None:
    class Broken:
        def seek(self, _: int) -> None:
            pass

        def read(self, _: int = -1) -> bytes:
            if next(blocks, None):
                return b"[" * 10_000
            raise OSError("gone")

    blocks = iter([1, 1])
    url = str(tmp_path / "landing") if kind == "local" else f"memory://N11-{tmp_path.name}"
    with pytest.raises(Exception, match="landing_unwritable"):
        Landing(url).publish("nilo/t/stores/a.json", Broken())  # type: ignore[arg-type]
    storage, root = fsspec.core.url_to_fs(url)
    assert storage.find(root) == []


# -- the command line ----------------------------------------------------------------------------------------------


def test_N11_sync_pulls_and_loads_into_the_stores(shell: Shell, pulled: Site, partner: Partner) -> None:
    listed = stores(1, 60)
    exact = '"latitude":-34.5452780000001,"longitude":-58.449722,"creditLimit":0.10,"legalId"'
    body = json.dumps({"code": 200, "data": listed[:50]}).replace('"legalId"', exact)
    partner.pages = {2: listed[50:]}
    partner.answers = [Answer("", 503), Answer(body)]
    status, told = shell.sync()
    assert status == 0
    (file,) = told["files"]
    assert NAME.fullmatch(file["path"])
    assert (file["partner"], file["tenant"], file["stream"], file["status"]) == ("nilo", "acme", "stores", "loaded")
    assert (file["read"], file["created"], file["error"]) == (60, 60, None)
    rows = pulled.query("select * from sync.live_stores order by external_id")
    assert [row["external_id"] for row in rows] == [s["internalCode"] for s in listed]
    assert (rows[0]["latitude"], rows[0]["credit_limit"]) == (Decimal("-34.545278"), Decimal("0.1000"))
    assert rows[0]["source_file"] == file["path"]
    assert b"-34.5452780000001," in (pulled.landing / file["path"]).read_bytes()

    partner.list([store("S0001", name="New name"), *listed[1:]])
    status, told = shell.sync("--partner", "nilo")
    assert status == 0
    assert (told["totals"]["updated"], told["totals"]["unchanged"]) == (1, 59)
    assert len(landed(pulled)) == 2


def test_N11_a_pull_that_fails_is_a_failed_file_and_stops_nothing(shell: Shell, pulled: Site, partner: Partner) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    pulled.put_at(f"nilo/acme/stores/{today}.json", [store("DROPPED")])
    pulled.put_at("nilo/acme/stores/2024-01-01.json", [store("OLD")])
    pulled.put_at("reten/t/commerces/2024-01-01.json", [{"external_id": "C", "name": "C"}])
    partner.answers = [Answer({"message": "Token inválido"}, 401)]
    status, told = shell.sync()
    assert status == 4
    (failed,) = [file for file in told["files"] if file["status"] == "failed"]
    assert NAME.fullmatch(failed["path"]) and not (pulled.landing / failed["path"]).exists()
    assert failed["error"].startswith("pull_refused: page 1 of ") and "Token inválido" in failed["error"]
    assert {failed[name] for name in COUNTS} == {0}
    assert list(failed) == list(told["files"][0])
    assert [f["status"] for f in told["files"]].count("loaded") == 3
    assert names(pulled) == ["DROPPED", "OLD"]
    assert {entry.status for entry in pulled.ledger()} == {"loaded"} and len(pulled.ledger()) == 3

    status, out, err = shell("sync")
    assert status == 0 and "nilo/stores" in out and "pulled nilo/acme/stores/" in err
    partner.answers = [Answer("", 401)]
    status, out, err = shell("sync")
    assert status == 4
    assert "failed file" in out and "pull_refused" in out and "failed nilo/acme/stores/" in err


def test_N11_a_missing_variable_fails_the_pull_alone(
    shell: Shell, pulled: Site, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NILO_API_KEY")
    pulled.put_at("nilo/acme/stores/2024-01-01.json", [store("OLD")])
    status, told = shell.sync()
    assert status == 4
    assert [f["status"] for f in told["files"]] == ["loaded", "failed"]
    assert told["files"][1]["error"].startswith("secret_missing: the environment variable NILO_API_KEY is not set")
    assert partner.asked == []


def test_N11_what_other_tenants_listed_is_loaded_all_the_same(shell: Shell, pulled: Site, partner: Partner) -> None:
    refused = pull_of(partner, authorization={"env": "NOT_SET"})
    write_sources(pulled.folder / "sources.yaml", refused, pull_of(partner))
    partner.list(stores(1, 3))
    status, told = shell.sync()
    assert status == 4
    assert [(f["tenant"], f["status"], f["created"]) for f in told["files"]] == [
        ("globex", "loaded", 3),
        ("acme", "failed", 0),
    ]
    assert len(names(pulled)) == 3


def test_N11_sync_pulls_only_what_it_was_asked_for(shell: Shell, partner: Partner) -> None:
    today = datetime.now(UTC).date()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    for arguments in (
        ["--partner", "replenit"],
        ["--stream", "orders"],
        ["--tenant", "globex"],
        ["--to", str(yesterday)],
        ["--from", str(tomorrow)],
    ):
        assert shell.sync(*arguments) == (0, {"files": [], "totals": dict.fromkeys(COUNTS, 0)})
    assert partner.asked == []
    status, told = shell.sync("--stream", "nilo/stores", "--tenant", "acme", "--from", str(today))
    assert (status, len(told["files"])) == (0, 1)


def test_N11_no_secret_is_written_anywhere(shell: Shell, pulled: Site, partner: Partner) -> None:
    partner.list(stores(1, 3))
    shell("sync")
    partner.answers = [Answer({"message": f"{TOKEN} and {KEY} are wrong"}, 403)]
    status, told = shell.sync()
    assert status == 4 and "*** and *** are wrong" in told["files"][0]["error"]
    for file in pulled.folder.rglob("*"):
        if file.is_file() and not os.path.islink(file):
            content = file.read_bytes()
            assert KEY.encode() not in content and TOKEN.encode() not in content, file
    events = pulled.query("select event from public.event_logs")
    assert events and all(KEY not in row["event"] and TOKEN not in row["event"] for row in events)
    assert any("pull_refused" in row["event"] for row in events)


def test_N11_check_says_whether_the_settings_are_complete(
    shell: Shell, partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, _ = shell("check")
    assert status == 0
    assert f"pull of nilo/acme/stores: settings are complete; no request was sent to {partner.url}" in out
    assert "NOTE   pull of nilo/acme/stores: the URL is not https" in out
    monkeypatch.delenv("NILO_TOKEN")
    status, out, _ = shell("check")
    assert status == 2
    assert "ERROR  pull of nilo/acme/stores: the environment variable NILO_TOKEN is not set" in out
    assert partner.asked == []
