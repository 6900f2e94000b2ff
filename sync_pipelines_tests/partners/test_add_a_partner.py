"""`docs/add_a_partner.md`, followed to the letter in a copy of the project: a module, a line, cases, nothing else."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sync_pipelines.database.postgres import Database

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/add_a_partner.md").read_text()
REGISTRY = "sync_pipelines/partners/__init__.py"
COPIED = (
    "sync_pipelines", "sync_pipelines_tests", "docs", "README.md", "SECURITY.md", "deploy", "CHANGELOG.md", "LICENSE",
    "Makefile", "mkdocs.yml", "pyproject.toml", "sync-pipelines",
    "dagster.yaml", "workspace.yaml",
)  # fmt: skip
HELD = (
    "sync_pipelines_tests/partners/test_cases.py",
    "sync_pipelines_tests/partners/test_declarations.py",
    "sync_pipelines_tests/contracts/test_streams.py",
    "sync_pipelines_tests/orchestration/test_definitions.py",
    "sync_pipelines_tests/test_docs.py",
)
"""Tests that know the registry, its declarations, the names in Dagster and the docs."""
DESCRIBE = """
import json
from sync_pipelines.definitions import defs
repository = defs.get_repository_def()
print(json.dumps({
    "assets": sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()),
    "job": sorted(job.name for job in repository.get_all_jobs()),
    "sensor": sorted(sensor.name for sensor in repository.sensor_defs),
    "schedule": sorted(schedule.name for schedule in repository.schedule_defs),
}))
"""


@dataclass(frozen=True)
class Project:
    """A copy of the project.

    Attributes:
        root: its folder.
        written: the files that the page says to write.
    """

    root: Path
    written: dict[str, str]

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Python in this copy, without the settings of the one it was copied from."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("SYNC_", "PYTEST_", "DAGSTER_"))}
        command = [sys.executable, *arguments]
        variables = {**kept, "PYTHONPATH": str(self.root), **environment}
        return subprocess.run(command, env=variables, cwd=self.root, capture_output=True, text=True, check=False)


def case(project: Project, rule: str) -> dict[str, Any]:
    (text,) = (text for name, text in project.written.items() if f"/{rule}_" in name)
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name, follow_symlinks=False)
    written = dict(re.findall(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    for name, text in written.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (line,) = re.findall(r"^```text\n(    [^\n]+\n)```", PAGE, re.MULTILINE)
    before = (root / REGISTRY).read_text()
    (root / REGISTRY).write_text(re.sub(r"(PARTNERS: Final = \(\n(?:    .*\n)*)", rf"\1{line}", before, count=1))
    return Project(root, written)


def test_one_module_one_line_and_cases(project: Project) -> None:
    changed = difflib.ndiff(
        (ROOT / REGISTRY).read_text().splitlines(), (project.root / REGISTRY).read_text().splitlines()
    )
    assert [line for line in changed if line[:1] in "+-"] == ['+     "mercadia",']
    modules = [name for name in project.written if name.endswith(".py")]
    assert modules == ["sync_pipelines/partners/mercadia.py"]
    assert all(
        name.startswith("sync_pipelines_tests/cases/mercadia/") for name in project.written if name not in modules
    )
    assert not [name for name in project.written if (ROOT / name).exists()]


def test_every_test_of_names_docs_and_cases_still_passes(project: Project, tmp_path: Path) -> None:
    options = ["-v", "-p", "no:xdist", "-k", "not wrong", f"--basetemp={tmp_path / 'inner'}"]
    done = project.python("-m", "pytest", *options, *HELD, HYPOTHESIS_PROFILE="brief")
    assert done.returncode == 0, done.stdout[-4000:]
    passed = [line for line in done.stdout.splitlines() if "PASSED" in line and "test_cases" in line]
    assert len([line for line in passed if "mercadia-" in line]) == len(project.written) - 1


def test_created_updated_and_refused_by_the_command_line(project: Project, database: Database, tmp_path: Path) -> None:
    told = case(project, "M7")
    landing = tmp_path / "landing"
    for path, content in told["exports"].items():
        (landing / path).parent.mkdir(parents=True, exist_ok=True)
        (landing / path).write_text(json.dumps(content))
    settings = {
        "SYNC_HOME": str(tmp_path / "home"),
        "SYNC_LANDING": str(landing),
        "SYNC_DATABASE_URL": database.url,
        "SYNC_SOURCES": str(tmp_path / "sources.yaml"),
    }

    done = project.python("-m", "sync_pipelines", "sync", "--partner", "mercadia", "--json", **settings)

    assert done.returncode == 3, done.stderr
    totals = json.loads(done.stdout)["totals"]
    assert {name: number for name, number in totals.items() if number} == {
        "read": 5, "created": 1, "updated": 1, "rejected": 3,
    }  # fmt: skip
    with database.connect() as connection:
        refused = connection.execute("select code, field_path from sync.rejected_records order by id").fetchall()
    assert refused == [("not_a_number", "lines[0].unit_price"), ("not_a_choice", "state"), ("required", "currency")]
    again = project.python("-m", "sync_pipelines", "sync", "--stream", "mercadia/sales", "--json", **settings)
    assert (again.returncode, json.loads(again.stdout)["files"]) == (0, [])


def test_what_the_page_says_is_in_dagster(project: Project, tmp_path: Path) -> None:
    done = project.python("-W", "error", "-c", DESCRIBE, SYNC_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    rows = dict(re.findall(r"^\| (assets|job|sensor|schedule) \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows.keys() == there.keys()
    for kind, names in rows.items():
        assert set(re.findall(r"`([^`]+)`", names)) == {name for name in there[kind] if "mercadia" in name}
