"""The bench of the other streams: its floor holds the rows of its records, its counts are those of its files."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from bench import floor_streams
from bench.flat import shapes_of, write_rows
from bench.process import Ended, run_process
from bench.server import Server
from bench.streams import Turn, build_table, make_files
from sync_pipelines.database.postgres import Database
from sync_pipelines.sample_data.bulk_streams import BULK, bulk_records


def test_the_floor_holds_every_list_of_a_record(server: Database, tmp_path: Path) -> None:
    url = Server(server.url).create_database("streams")
    for sent in make_files("reten/commerces", 40, tmp_path / "data"):
        ended = run_process([sys.executable, floor_streams.__file__, url, str(sent.folder)], {}, tmp_path)
        assert ended.status == 0, ended.errors
    with psycopg.connect(url) as connection:
        tables = ("main", "main_addresses", "main_users", "main_users_contacts")
        held = [connection.execute(f"select count(*) from {table}").fetchone() for table in tables]
        changed = connection.execute("select count(*) from main_users_contacts where k2 = 2 and is_primary").fetchone()
    assert held == [(42,), (84,), (42,), (84,)]
    assert changed == (4,)


@pytest.mark.parametrize("stream", list(BULK))
def test_records_are_as_many_as_they_say_and_fit_one_shape(stream: str, tmp_path: Path) -> None:
    first, again = list(bulk_records(stream, 50)), list(bulk_records(stream, 50, changed=0.1, new=0.04))
    assert len(again) == 52
    assert sum(one != other for one, other in zip(first, again, strict=False)) == 5
    shapes = list(shapes_of(first[0]))
    write_rows(again, shapes, tmp_path)
    assert len((tmp_path / "main.csv").read_text().splitlines()) == 52


def test_the_table_has_ratios_with_and_without_the_start() -> None:
    floor, sync, start = (Ended(0, took, cpu, 1.0, "", "") for took, cpu in ((2.0, 0.1), (6.0, 4.0), (1.0, 0.9)))
    line = build_table([Turn("nilo/stores", "first", floor, sync, start, [])]).splitlines()[2]
    assert line == "| nilo/stores | first load | 2.00 | 6.00 | 3.0 | 5.00 | 2.5 | 4.00 |"
