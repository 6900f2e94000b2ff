"""A sync runs without what it has no use for, and whoever wants that has it all the same."""

from __future__ import annotations

import subprocess
import sys

from sync_pipelines_tests.loading import TENANT, Site, lines, order

ARRAYS = """
import datetime, decimal, sys
from sync_pipelines.process.lean_arrow import leave_pandas_out
leave_pandas_out()
import pyarrow as pa
import pyarrow.compute as pc
at = datetime.datetime(2024, 5, 6, tzinfo=datetime.timezone.utc)
for values in ([], [1, None], ["x"], [at], [decimal.Decimal("1.50")], [{"a": [1]}], [[], None], [at.date()], [True]):
    assert pa.array(values).to_pylist() == values
assert pc.sum(pa.array([1, 2])).as_py() == 3
assert "pandas" not in sys.modules
"""
FRAMES = """
frame = pa.table({"a": [1, 2], "at": [at, None]}).to_pandas()
import pandas
assert isinstance(frame, pandas.DataFrame) and frame["a"].tolist() == [1, 2]
assert pa.Table.from_pandas(frame).column("a").to_pylist() == [1, 2]
assert pa.array(pandas.Series(["x", None])).to_pylist() == ["x", None]
leave_pandas_out()
assert pa.table({"a": [3]}).to_pandas()["a"].tolist() == [3]
"""
SYNC = """
import sys
from pathlib import Path
from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.loading import Site
entries = Site(Path(sys.argv[1]), Database(sys.argv[2])).sync()
assert [entry.status for entry in entries] == ["loaded", "loaded"], entries
assert "pandas" not in sys.modules
"""


def run(code: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_arrays_are_made_without_pandas_and_frames_with_it() -> None:
    run(ARRAYS + FRAMES)


def test_without_that_the_first_array_would_import_it() -> None:
    run("import sys, pyarrow\npyarrow.array([1])\nassert 'pandas' in sys.modules")


def test_a_sync_runs_without_pandas(site: Site) -> None:
    for day in (1, 2):
        site.put(f"2024-05-0{day}.ndjson", lines(*(order(f"A{n}", Email="a@x.cl") for n in range(100 * day))))
    run(SYNC, str(site.folder), site.database.url)
    assert len(site.tables()["orders"]) == 200
    assert {entry.path.split("/")[1] for entry in site.ledger()} == {TENANT}


DAGSTER = """
import sys
from sync_pipelines.process.lean_imports import without
with without("pygments", "rich.traceback"):
    import sync_pipelines.orchestration.runs
assert "pygments" not in sys.modules
import rich.traceback, pygments
"""


def test_dagster_is_imported_without_what_colours_traces() -> None:
    run(DAGSTER)
