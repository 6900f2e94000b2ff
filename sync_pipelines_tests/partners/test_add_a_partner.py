"""`docs/add_a_partner.md`, followed to the letter: its package is built, installed and tested, and loads exports.

Packages that cannot be used are left out, and named.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.postgres import Database
from sync_pipelines.partners import PARTNERS
from sync_pipelines.partners.installed import GROUP, installed_partners
from sync_pipelines.partners.replenit import ORDERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/add_a_partner.md").read_text()
SYNC_AND_DESCRIBE = """
import json
from sync_pipelines.cli import cli
status = cli(["sync", "--json"], standalone_mode=False)
from sync_pipelines.definitions import defs
repository = defs.get_repository_def()
graph = defs.resolve_asset_graph()
print(json.dumps({
    "status": status,
    "assets": sorted(key.to_user_string() for key in graph.get_all_asset_keys()),
    "job": sorted(job.name for job in repository.get_all_jobs()),
    "sensor": sorted(sensor.name for sensor in repository.sensor_defs),
    "schedule": sorted(schedule.name for schedule in repository.schedule_defs),
    "described": [graph.get(key).description for key in graph.get_all_asset_keys() if "mercadia" in key.path],
}))
"""


@dataclass(frozen=True)
class Package:
    """The page's package, installed beside a broken one.

    Attributes:
        folder: its source.
        target: where both are installed.
    """

    folder: Path
    target: Path

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Python that has the packages, without settings of this process."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("SYNC_", "PYTEST_", "DAGSTER_"))}
        variables = {**kept, "PYTHONPATH": str(self.target), **environment}
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=variables, cwd=self.folder, capture_output=True, text=True, check=False)

    def case(self, rule: str) -> dict[str, Any]:
        """The case of a rule."""
        (path,) = (self.folder / "cases").glob(f"{rule}_*")
        found: dict[str, Any] = yaml.safe_load(path.read_text())
        return found


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder, target = tmp_path_factory.mktemp("mercadia-exports"), tmp_path_factory.mktemp("target")
    for name, text in re.findall(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options, str(folder)]
    subprocess.run(command, check=True)
    broken = target / "broken_exports-2.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-exports\nVersion: 2.0\n")
    (broken / "entry_points.txt").write_text(f"[{GROUP}]\nshopline = nowhere_to_be_found\n")
    return Package(folder, target)


def test_one_command_runs_the_cases_and_the_tests_of_the_declaration(package: Package) -> None:
    options = ["--cases", "cases", "-v", "-p", "no:cacheprovider"]
    done = package.python("-W", "error", "-m", "sync_pipelines.testing", "mercadia", *options)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = [line.split(" ")[0].split("::")[-1] for line in done.stdout.splitlines() if " PASSED" in line]
    assert passed == [
        "test_the_declaration_fits_the_tables[mercadia/sales]",
        "test_records_are_equal_in_blocks_and_one_by_one[mercadia/sales]",
        "test_case[M7_lines_are_found_by_sku]",
        "test_case[M8_calls_of_a_request_log]",
    ]


def test_an_installed_package_is_synced_and_a_broken_one_is_named(
    package: Package, database: Database, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    for path, content in package.case("M7")["exports"].items():
        (landing / path).parent.mkdir(parents=True, exist_ok=True)
        (landing / path).write_text(json.dumps(content))
    # What is said of a broken partner does not keep the other sources from being read.
    listed = [{"partner": "shopline", "tenant": "x"}, {"partner": "mercadia", "tenant": "acme"}]
    (tmp_path / "sources.yaml").write_text(json.dumps({"sources": listed}))
    settings = {
        "SYNC_HOME": str(tmp_path / "home"),
        "SYNC_LANDING": str(landing),
        "SYNC_DATABASE_URL": database.url,
        "SYNC_SOURCES": str(tmp_path / "sources.yaml"),
    }

    done = package.python("-W", "error", "-c", SYNC_AND_DESCRIBE, **settings)

    assert done.returncode == 0, done.stderr
    synced, there = map(json.loads, done.stdout.splitlines())
    assert {name: number for name, number in synced["totals"].items() if number} == {
        "read": 5, "created": 1, "updated": 1, "rejected": 3,
    }  # fmt: skip
    left_out = (
        "partner 'shopline' of the package broken-exports 2.0 is left out: 'nowhere_to_be_found' cannot be imported:"
        " ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    )
    assert there.pop("status") == 4 and f"error: {left_out}" in done.stderr.splitlines()
    assert all("https://mercadia.example/api/sales" in text for text in there.pop("described"))
    rows = dict(re.findall(r"^\| (assets|job|sensor|schedule) \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows.keys() == there.keys()
    for kind, names in rows.items():
        assert set(re.findall(r"`([^`]+)`", names)) == {name for name in there[kind] if "mercadia" in name}


def entry_points(**named: Any) -> list[EntryPoint]:
    """An entry point for each partner, whose value is an object of this module."""
    for partner, value in named.items():
        globals()[f"declared_{partner}"] = value
    return [EntryPoint(partner, f"{__name__}:declared_{partner}", GROUP) for partner in named]


def of(partner: str, **otherwise: Any) -> Stream:
    return replace(ORDERS, partner=partner, **otherwise)


@pytest.mark.parametrize(
    ("partner", "declared", "reason"),
    [
        ("reten", of("reten"), "sync_pipelines has a partner 'reten' of its own"),
        ("shop", of("stall"), "the stream stall/orders is of another partner than the entry point's name"),
        ("shop", "a text", "must be a module, a Stream, or a list of Streams; it has str"),
        ("shop", [], "must be a module, a Stream, or a list of Streams; it has nothing"),
        ("shop", [of("shop"), of("shop")], "two streams are called 'orders'"),
        ("shop", of("shop", table="invoices"), "shop/orders: there is no table 'invoices'"),
    ],
)
def test_a_package_that_cannot_be_used_is_left_out(partner: str, declared: Any, reason: str) -> None:
    found = entry_points(**{partner: declared, "well": [of("well")]})
    streams, (unusable,) = installed_partners(PARTNERS, found)
    assert [stream.full_name for stream in streams] == ["well/orders"]
    assert unusable.name == partner and reason in unusable.reason
    assert streams[0].fingerprint != ORDERS.fingerprint, "another version of its package reads exports anew"


def test_a_partner_that_two_packages_declare_is_left_out_of_both() -> None:
    streams, unusable = installed_partners(PARTNERS, entry_points(shop=of("shop")) * 2)
    assert streams == () and len(unusable) == 2
    assert all("both declare it; uninstall one of them" in one.reason for one in unusable)
