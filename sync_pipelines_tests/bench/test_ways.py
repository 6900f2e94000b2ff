"""The bench of the ways: each is switched off and on again, and its load counts the same without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.server import Server
from bench.switches import FOLDED, SWITCHES
from bench.ways import LOADS, WAYS, measure, write_exports
from sync_pipelines.database.postgres import Database
from sync_pipelines.upsert import folding, new_rows
from sync_pipelines.upsert.fold import Applied, apply


def test_every_switch_has_a_load_and_every_load_a_way() -> None:
    assert WAYS.keys() == SWITCHES > set(FOLDED)
    assert {way.load for way in WAYS.values()} == LOADS.keys()


def test_ways_count_the_same_without_each_other(
    server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(new_rows, "MANY", 30)
    write_exports(tmp_path, orders=60, stores=30, days=1)
    # The differential test switches the others off.
    ways = sorted(SWITCHES - set(FOLDED))
    assert measure(Server(server.url), tmp_path, ways, 1) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert sorted(row[0].removeprefix("| ") for row in rows) == ways
    assert all(float(seconds) >= 0 for row in rows for seconds in row[2:8])


def test_new_records_are_folded_without_their_way_only(
    server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded: list[Any] = []

    def noted(*given: Any) -> Applied:
        folded.append(given)
        return apply(*given)

    monkeypatch.setattr(folding, "apply", noted)
    write_exports(tmp_path, orders=20, stores=10, days=1)
    assert measure(Server(server.url), tmp_path, ["NewRowWriter"], 1) == 0
    assert len(folded) == 20
